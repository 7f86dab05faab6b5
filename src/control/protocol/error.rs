//! Why the daemon could not do what was asked.

use serde::{Deserialize, Serialize};

/// Why the daemon could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// The kind of error, for programs.
    pub code: ErrorCode,
    /// The text for people: full sentences, one line per problem.
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

    /// Adds a hint.
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
    /// The limit on connected clients is reached.
    TooManyClients,
    /// The line is not a request.
    BadRequest,
    /// The line exceeds the size limit of a request.
    TooLong,
    /// The client was silent for too long.
    Timeout,
    /// The daemon does not know the operation.
    UnknownOperation,
    /// The configuration has mistakes; the message lists all of them.
    ConfigInvalid,
    /// The user denied the login in the browser.
    LoginDenied,
    /// The code expired before the user entered it.
    LoginExpired,
    /// The login failed for another reason, which the message gives.
    LoginFailed,
    /// The pasted text does not answer the login, which continues.
    LoginPasteRefused,
    /// No provider with this name is configured.
    UnknownProvider,
    /// No login with this number is in progress.
    NoSuchSession,
    /// The provider has no login with this label.
    UnknownLogin,
    /// The provider already has a login with this label.
    LabelTaken,
    /// The provider uses a fixed key and has no login.
    NotSupported,
    /// The credential store can't be read or written.
    StoreUnusable,
    /// No app with this name has a key.
    UnknownClient,
    /// An app with this name already has a key.
    ClientExists,
    /// An app's name or limit is invalid.
    InvalidClient,
    /// The file of client keys can't be read or written.
    ClientsUnusable,
    /// The daemon is stopping.
    ShuttingDown,
    /// The daemon failed; the message says at what.
    Internal,
    /// A code of a newer daemon.
    #[serde(untagged)]
    Other(String),
}
