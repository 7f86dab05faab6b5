//! Logging in and out, and renewals on request.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::key::IssuedKey;
use super::provider::RefreshResult;
use super::time::Timestamp;

/// The provider that a call is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderChoice {
    /// The provider's name; `None` means the default provider.
    pub provider: Option<String>,
    /// For a logout: the file of the login that the user confirmed. If another login is in use by then, nothing is
    /// removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// For a renewal: the login's label; `None` means the login in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A request to begin a login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginBegin {
    /// The provider's name; `None` means the default provider.
    pub provider: Option<String>,
    /// Whether the daemon keeps the login to itself instead of sharing it with Hermes Agent.
    pub separate: bool,
    /// Whether to log in even if a working login exists.
    pub force: bool,
    /// The ways to log in that the client can show.
    #[serde(skip_serializing_if = "is_default")]
    pub way: LoginWay,
    /// The label of an additional login, which replaces none of the provider's others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The ways to log in that a client can show, as far as the user wants them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginWay {
    /// A code only; all that old clients know.
    #[default]
    Code,
    /// A code, or a page in a browser if the provider has no codes.
    Any,
    /// A page in a browser.
    Browser,
}

/// Whether the value is the default, which old clients leave out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The first result of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginBegun {
    /// A working login exists; nothing was begun.
    Existing(ExistingLogin),
    /// The user must enter a code.
    Code(LoginCode),
    /// The user must log in on a page, which then sends the browser back to this machine.
    Page(LoginPage),
}

/// A working login that exists already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingLogin {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// The file with the login.
    pub store: PathBuf,
    /// Whether the login is the daemon's own, so that Hermes Agent does not use it.
    pub separate: bool,
    /// Whether this call found the login in Hermes Agent's shared folder and saved it in `store`; before, the provider
    /// had no login. Missing from old daemons.
    #[serde(default)]
    pub adopted: bool,
    /// The label of another login of the same account, if this one was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_account_as: Option<String>,
}

/// The code that the user must enter, and where (RFC 8628).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginCode {
    /// The login's number, for [`LoginWait`](super::calls::LoginWait) and [`LoginCancel`](super::calls::LoginCancel).
    pub session: u64,
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// The page to open.
    pub verification_uri: String,
    /// The same page with the code filled in.
    pub verification_uri_complete: Option<String>,
    /// The code to enter.
    pub user_code: String,
    /// The code's remaining lifetime.
    pub expires_in_seconds: u64,
    /// Whether the pages are https on the provider's own host, so that a browser may be opened and a QR code shown.
    pub trusted_uri: bool,
}

/// The page to log in on (RFC 8252), and where it sends the browser afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPage {
    /// The login's number, for [`LoginWait`](super::calls::LoginWait), [`LoginPaste`](super::calls::LoginPaste) and
    /// [`LoginCancel`](super::calls::LoginCancel).
    pub session: u64,
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// The page to open, valid for this login only.
    pub url: String,
    /// Where the browser is sent back to, on the daemon's machine.
    pub redirect_uri: String,
    /// Why the daemon can't receive the browser there, as a sentence; the user then has to paste the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deaf: Option<String>,
    /// The time that is left.
    pub expires_in_seconds: u64,
    /// Whether the page is https on the provider's own host, so that a browser may be opened.
    pub trusted_uri: bool,
}

/// The address at which the browser ended, or the code in it, as the user pasted it. It is sent only to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPaste {
    /// The number in [`LoginPage`].
    pub session: u64,
    /// The text as pasted.
    pub text: IssuedKey,
}

/// The pasted text answers this login; [`LoginWait`](super::calls::LoginWait) reports the outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPasteTaken {}

/// The login that a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginSession {
    /// The number in [`LoginCode`] or [`LoginPage`].
    pub session: u64,
}

/// The progress of a login. A failed one is a [`ControlError`](super::ControlError) instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginProgress {
    /// The user has not finished yet; sent after two seconds at most.
    Pending(LoginPending),
    /// The login succeeded and is saved.
    Done(LoginDone),
}

/// A login that the user has not finished yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPending {
    /// The time that is left.
    pub expires_in_seconds: u64,
    /// The reason for a delay, for people: `the provider is busy; still trying`.
    pub note: Option<String>,
}

/// A login that succeeded and is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginDone {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// The file in which it was saved.
    pub store: PathBuf,
    /// Whether the login is the daemon's own, so that Hermes Agent does not use it.
    pub separate: bool,
    /// When the grant ends and the user must log in again, if known.
    pub ends_at: Option<Timestamp>,
    /// The login's label, if another one took the requested label in the meantime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The label of another login of the same account, if this one was added to the provider's others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_account_as: Option<String>,
}

/// A login was cancelled, and nothing of it remains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginCancelled {}

/// The result of a logout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutReport {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The files from which the login was removed; empty if it did not exist.
    pub removed_from: Vec<PathBuf>,
    /// Whether Hermes Agent used the login too and is now logged out.
    pub shared_with_hermes: bool,
    /// The file of another login that takes over.
    pub still_logged_in: Option<PathBuf>,
    /// Copies of broken files that were moved aside and may still hold tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<PathBuf>,
    /// How many logins were removed, if several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logins: Option<u64>,
}

/// The result of a renewal on request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshOutcome {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// How it ended.
    pub result: RefreshResult,
    /// Details, for people.
    pub detail: Option<String>,
    /// When the credential now in use expires.
    pub expires_at: Option<Timestamp>,
}
