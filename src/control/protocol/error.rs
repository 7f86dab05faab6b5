//! Why the daemon did not do what was asked.

use serde::{Deserialize, Serialize};

/// Why the daemon did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What a program branches on.
    pub code: ErrorCode,
    /// What a person reads: full sentences, several lines where there are several problems.
    pub message: String,
    /// How to fix it, preferably a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ControlError {
    /// An error without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// The kinds of [`ControlError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The two sides speak different versions.
    ProtocolMismatch,
    /// All places for clients are taken.
    TooManyClients,
    /// The line is no request.
    BadRequest,
    /// The line is longer than a request may be.
    TooLong,
    /// The client was silent for too long.
    Timeout,
    /// The daemon doesn't know the operation.
    UnknownOperation,
    /// The configuration has mistakes; the message lists them all.
    ConfigInvalid,
    /// The user refused the login in the browser.
    LoginDenied,
    /// The code was not entered in time.
    LoginExpired,
    /// The login came to another bad end, and the message says which.
    LoginFailed,
    /// What was pasted is no answer to the login, which goes on.
    LoginPasteRefused,
    /// No provider of this name is configured.
    UnknownProvider,
    /// No login of this number is under way.
    NoSuchSession,
    /// The provider has no login with this label.
    UnknownLogin,
    /// The provider has a login with this label already.
    LabelTaken,
    /// The provider has a fixed key and no login.
    NotSupported,
    /// The credential store can't be read or written.
    StoreUnusable,
    /// No app of this name has a key.
    UnknownClient,
    /// An app of this name has a key already.
    ClientExists,
    /// An app's name or limit is invalid.
    InvalidClient,
    /// The file of client keys can't be read or written.
    ClientsUnusable,
    /// The daemon stops.
    ShuttingDown,
    /// The daemon failed, and the message says at what.
    Internal,
    /// A code of a newer daemon.
    #[serde(untagged)]
    Other(String),
}
