//! Logging in and out, and renewals that are asked for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::key::IssuedKey;
use super::provider::RefreshResult;
use super::time::Timestamp;

/// Which provider is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderChoice {
    /// Its name; `None` means the default provider.
    pub provider: Option<String>,
    /// For a logout: the file of the login that the user was asked about. With another login in
    /// use by then, nothing is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<PathBuf>,
    /// For a renewal: the label of the login that is meant; `None` means the one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Which login is to begin, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginBegin {
    /// The provider's name; `None` means the default provider.
    pub provider: Option<String>,
    /// Whether the login is to be the daemon's own instead of shared with Hermes Agent.
    pub separate: bool,
    /// Whether to log in although a login that works is there.
    pub force: bool,
    /// Which ways to log in the client can show.
    #[serde(skip_serializing_if = "is_default")]
    pub way: LoginWay,
    /// The label of a login that is to be added to the provider's others and replaces none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Which ways to log in a client can show, and what the user wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginWay {
    /// A code alone, as old clients know it.
    #[default]
    Code,
    /// A code, or a page in a browser where the provider has no codes.
    Any,
    /// A page in a browser.
    Browser,
}

/// Whether it is what an old client means by saying nothing.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What came of the beginning of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginBegun {
    /// A login that works is there; nothing was begun.
    Existing(ExistingLogin),
    /// The user is to enter a code.
    Code(LoginCode),
    /// The user is to log in on a page, which sends the browser back to this machine.
    Page(LoginPage),
}

/// A login that is there and works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingLogin {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// The file that holds it.
    pub store: PathBuf,
    /// Whether it is the daemon's own, so that Hermes Agent does not use it.
    pub separate: bool,
    /// Whether this very call found it in Hermes Agent's shared folder and saved it in `store`; before
    /// that there was no login. An old daemon does not say.
    #[serde(default)]
    pub adopted: bool,
    /// What another login of the same account is called, where this one was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_account_as: Option<String>,
}

/// What the user is to enter, and where (RFC 8628).
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
    /// What to enter there.
    pub user_code: String,
    /// How long the code is good for.
    pub expires_in_seconds: u64,
    /// Whether the pages are https and on the provider's own host, so that a browser may be opened
    /// and a QR code be shown.
    pub trusted_uri: bool,
}

/// The page that the user is to log in on (RFC 8252), and where it sends the browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPage {
    /// The login's number, for [`LoginWait`](super::calls::LoginWait), [`LoginPaste`](super::calls::LoginPaste) and
    /// [`LoginCancel`](super::calls::LoginCancel).
    pub session: u64,
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// The page to open. It is good for this login alone.
    pub url: String,
    /// Where the browser is sent back to, on the daemon's machine.
    pub redirect_uri: String,
    /// Why the daemon does not hear the browser there, so that the user has to paste, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deaf: Option<String>,
    /// How long the user has.
    pub expires_in_seconds: u64,
    /// Whether the page is https and on the provider's own host, so that a browser may be opened.
    pub trusted_uri: bool,
}

/// What the user has pasted: the address that the browser ended at, or the code in it. It goes to the daemon alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPaste {
    /// The number in [`LoginPage`].
    pub session: u64,
    /// The text as it was pasted.
    pub text: IssuedKey,
}

/// What was pasted is an answer to this login; [`LoginWait`](super::calls::LoginWait) tells what comes of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPasteTaken {}

/// Which login is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginSession {
    /// The number in [`LoginCode`] or [`LoginPage`].
    pub session: u64,
}

/// How a login goes; one that failed is a [`ControlError`](super::ControlError) instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginProgress {
    /// The code was not entered yet; comes after two seconds at most.
    Pending(LoginPending),
    /// The login is there and saved.
    Done(LoginDone),
}

/// A code that was not entered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPending {
    /// How long the code is still good for.
    pub expires_in_seconds: u64,
    /// What holds it up, for people: `the provider is busy; still trying`.
    pub note: Option<String>,
}

/// A login that is there and saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginDone {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// The file that it was saved in.
    pub store: PathBuf,
    /// Whether it is the daemon's own, so that Hermes Agent does not use it.
    pub separate: bool,
    /// When the grant ends and the user must log in again, where that is known.
    pub ends_at: Option<Timestamp>,
    /// What it is called, where another login that was added meanwhile has the label that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What another login of the same account is called, where one was added to the provider's others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_account_as: Option<String>,
}

/// A login was cancelled; nothing of it is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginCancelled {}

/// What a logout did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutReport {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The files that the login was taken out of; none when there was no login.
    pub removed_from: Vec<PathBuf>,
    /// Whether Hermes Agent used that login too, and is logged out with it.
    pub shared_with_hermes: bool,
    /// The file of another login, which takes its place.
    pub still_logged_in: Option<PathBuf>,
    /// Copies of broken files that were moved aside and may hold tokens still.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<PathBuf>,
    /// How many logins were taken out, where they were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logins: Option<u64>,
}

/// What came of a renewal that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshOutcome {
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// How it ended.
    pub result: RefreshResult,
    /// More about it, for people.
    pub detail: Option<String>,
    /// When the credential in use now expires.
    pub expires_at: Option<Timestamp>,
}
