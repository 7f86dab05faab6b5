//! The messages of the control protocol: plain data, no behaviour beyond its JSON form.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use zeroize::Zeroizing;

use super::flights::InFlightQuery;
use super::pools::{LoginChoice, PoolStatus};
use super::usage::UsageQuery;
use super::wires::Wires;

/// The protocol's own version; it has nothing to do with the package's.
pub const VERSION: u32 = 1;

/// The client's first line: `{"hello":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Who calls.
    pub hello: ClientHello,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// The version that the client speaks.
    pub protocol: u32,
    /// Name and version for the log, such as `hermesctl 0.1.0`.
    pub client: String,
}

/// The daemon's first line: `{"hello":{…}}`, or `{"error":{…}}` before it closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Welcome {
    /// The client may ask.
    Hello(DaemonHello),
    /// The client is turned away.
    Error(ControlError),
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonHello {
    /// The version that the daemon speaks.
    pub protocol: u32,
    /// The daemon's package version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
}

/// One request: `{"id":1,"op":"status"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The client's number, given back with the reply.
    pub id: u64,
    /// What is asked.
    pub op: Operation,
}

/// What a client can ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The state of the daemon and its providers; answered with [`Status`].
    Status,
    /// Which providers are served; answered with [`Providers`].
    Providers,
    /// The same, after the providers were asked for lists of models that are not known; answered with [`Providers`].
    Models,
    /// What shows that a request on the port is the client's own and no app's; answered with
    /// [`OwnMark`].
    OwnMark,
    /// The last lines of the log; answered with [`LogTail`].
    Log(LogFrom),
    /// Stop once running requests have finished; answered with [`Ending`] before that.
    Stop,
    /// The same, and start again as it was started; answered with [`Ending`] before that.
    Restart,
    /// Read the configuration and the logins again; answered with [`ReloadReport`].
    Reload,
    /// Begin a login with a code that the user enters; answered with [`LoginBegun`].
    LoginBegin(LoginBegin),
    /// Wait a moment for the user to enter it; answered with [`LoginProgress`].
    LoginWait(LoginSession),
    /// Cancel a login; answered with [`LoginCancelled`].
    LoginCancel(LoginSession),
    /// Take what the user has pasted of a browser's way back; answered with [`LoginPasteTaken`].
    LoginPaste(LoginPaste),
    /// Forget a login; answered with [`LogoutReport`].
    Logout(ProviderChoice),
    /// Renew a credential now; answered with [`RefreshOutcome`].
    Refresh(ProviderChoice),
    /// Every login of every provider; answered with [`LoginList`](super::pools::LoginList).
    Logins,
    /// Use logins again that are cooling down; answered with
    /// [`LoginResetReport`](super::pools::LoginResetReport).
    LoginReset(LoginChoice),
    /// Forget one of several logins; answered with [`LogoutReport`].
    LoginRemove(LoginChoice),
    /// Which apps have a key; answered with [`Clients`].
    Clients,
    /// Make a key for an app; answered with [`NewKey`].
    ClientAdd(ClientAdd),
    /// Revoke an app's key; answered with [`ClientRevoked`].
    ClientRevoke(ClientChoice),
    /// Replace an app's key; answered with [`NewKey`].
    ClientRotate(ClientChoice),
    /// Change an app's limits; answered with [`ClientChanged`].
    ClientChange(ClientChange),
    /// Take over the tokens that apps present to another proxy; answered with
    /// [`ClientImportReport`].
    ClientImport(ClientImport),
    /// Who used how much; answered with [`UsageReport`](super::usage::UsageReport).
    Usage(UsageQuery),
    /// The requests in flight; answered with [`InFlightReport`](super::flights::InFlightReport).
    InFlight(InFlightQuery),
    /// The name of an operation of a newer client, with arguments or without; answered with
    /// [`ErrorCode::UnknownOperation`].
    #[serde(untagged)]
    Unknown(#[serde(deserialize_with = "unknown_name")] String),
}

/// The operations with arguments. One of them with wrong arguments is not unknown, but no request.
const WITH_ARGUMENTS: [&str; 16] = [
    "log",
    "login_begin",
    "login_wait",
    "login_cancel",
    "login_paste",
    "logout",
    "refresh",
    "login_reset",
    "login_remove",
    "client_add",
    "client_revoke",
    "client_rotate",
    "client_change",
    "client_import",
    "usage",
    "in_flight",
];

/// The name in `"name"` or `{"name":…}`.
fn unknown_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let op = Value::deserialize(deserializer)?;
    let mut keys = op.as_object().into_iter().flat_map(serde_json::Map::keys);
    let name = op.as_str().or_else(|| {
        keys.next()
            .filter(|_| keys.next().is_none())
            .map(String::as_str)
    });
    name.filter(|name| !WITH_ARGUMENTS.contains(name))
        .map(str::to_owned)
        .ok_or_else(|| de::Error::custom("no operation"))
}

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
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
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
    /// The login's number, for [`Operation::LoginWait`] and [`Operation::LoginCancel`].
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
    /// The login's number, for [`Operation::LoginWait`], [`Operation::LoginPaste`] and
    /// [`Operation::LoginCancel`].
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
    pub text: Key,
}

/// What was pasted is an answer to this login; [`Operation::LoginWait`] tells what comes of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginPasteTaken {}

/// Which login is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginSession {
    /// The number in [`LoginCode`] or [`LoginPage`].
    pub session: u64,
}

/// How a login goes; one that failed is a [`ControlError`] instead.
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

/// What a request on the port shows in `x-hermes-own`, so that it counts as no app's. It is known to
/// this user alone and good until the daemon ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnMark {
    /// The field's value.
    pub mark: Key,
}

/// The daemon is about to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Requests under way, which may finish first.
    pub in_flight: u64,
}

/// Which lines of the log are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogFrom {
    /// From this number on; 0 is all that there are.
    pub from: u64,
}

/// The last lines of the log, as far as the daemon keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTail {
    /// Where they are written.
    pub place: LogPlace,
    /// The number that the next line will have.
    pub next: u64,
    /// The lines, the last one last; none where the journal has them.
    pub lines: Vec<String>,
}

/// Where the log is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogPlace {
    /// The journal.
    Journal,
    /// The file that `--log-file` names.
    File(PathBuf),
    /// Standard error.
    StandardError,
    /// A place of a newer daemon.
    #[serde(untagged)]
    Other(Value),
}

/// Which apps have a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// The daemon's wall clock when it answered; what all relative times refer to.
    pub now: Timestamp,
    /// The apps by name.
    pub clients: Vec<ClientEntry>,
    /// The providers that keys are limited to and that are not configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_providers: Vec<String>,
}

/// One app that has a key. The key itself is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientEntry {
    /// The name that the key was given.
    pub name: String,
    /// When it was added.
    pub created_at: Option<Timestamp>,
    /// When it got another key.
    pub rotated_at: Option<Timestamp>,
    /// The providers that the key is good for; none means all.
    pub providers: Vec<String>,
    /// The paths below `/v1` that the key is good for; none means all.
    pub paths: Vec<String>,
    /// How many requests may be under way at once; `None` means any number.
    pub in_flight: Option<u32>,
    /// How much the key may be used, and for which models.
    #[serde(flatten)]
    pub limits: ClientLimits,
    /// What it was used for today, where that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub today: Option<ClientToday>,
    /// Requests that were let in, ever.
    pub requests: u64,
    /// The last one.
    pub last_used_at: Option<Timestamp>,
    /// Where requests came from, an IP address or `unix socket`, the last place first.
    pub last_used_from: Vec<String>,
    /// Fields of its entry in the file that mean nothing to the daemon, such as a misspelled limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_fields: Vec<String>,
}

/// How much a key may be used, and for which models.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientLimits {
    /// The models that the key is good for; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Requests within a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Requests on a day of the machine's time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u32>,
    /// Tokens on such a day, in and out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
}

/// What a key was used for today.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientToday {
    /// Requests that were sent to a provider.
    pub requests: u64,
    /// Tokens, in and out.
    pub tokens: u64,
    /// Those of them that no answer has told, by an estimate.
    #[serde(default, skip_serializing_if = "is_default")]
    pub estimated_tokens: u64,
}

/// Which app is to get a key, and what for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAdd {
    /// Its name: 1 to 64 lower-case letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The providers that the key is to be good for; none means all.
    #[serde(default)]
    pub providers: Vec<String>,
    /// The paths below `/v1` that the key is to be good for; none means all.
    #[serde(default)]
    pub paths: Vec<String>,
    /// How many requests may be under way at once; `None` means any number.
    #[serde(default)]
    pub in_flight: Option<u32>,
    /// How much the key may be used, and for which models.
    #[serde(flatten)]
    pub limits: ClientLimits,
}

/// What a key is to be good for from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChange {
    /// The app, and its new limits. An empty list or `None` leaves one as it is.
    #[serde(flatten)]
    pub set: ClientAdd,
    /// The limits that it is to have no longer.
    #[serde(default)]
    pub clear: Vec<ClientLimit>,
}

/// A limit of a key, by its name in [`ClientEntry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientLimit {
    /// The providers.
    Providers,
    /// The paths.
    Paths,
    /// The models.
    Models,
    /// Requests at once.
    InFlight,
    /// Requests within a minute.
    RequestsPerMinute,
    /// Requests on a day.
    RequestsPerDay,
    /// Tokens on a day.
    TokensPerDay,
}

/// A key with other limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChanged {
    /// What all times refer to.
    pub now: Timestamp,
    /// The app.
    pub client: ClientEntry,
    /// What the user may want to look at again; whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Which app is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChoice {
    /// Its name.
    pub name: String,
}

/// An app and the key that was just made for it: the only answer with a secret, because it is made
/// where its hash is kept, and shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// The app.
    pub client: ClientEntry,
    /// The key, which can't be shown again.
    pub key: Key,
    /// What the user may want to look at again; whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The key of an app, in JSON a string. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<String>);

/// An app's key is good for no further request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRevoked {
    /// The app.
    pub name: String,
    /// No key is left, so a listener that needs one refuses everyone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_last: bool,
    /// A listener needs no key, so the app can still ask there without one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keyless: bool,
}

/// Tokens that apps present to another proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientImport {
    /// The tokens; one request may have 64 KiB, so many take several.
    pub keys: Vec<ImportedKey>,
}

/// One such token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedKey {
    /// Whose it is, in the other proxy's words.
    pub label: String,
    /// The token, which stays what it is.
    pub key: Key,
}

/// What became of tokens, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientImportReport {
    /// One for each token.
    pub results: Vec<ClientImportResult>,
}

/// What became of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientImportResult {
    /// Whose it is, in the other proxy's words.
    pub label: String,
    /// The app's name here; `None` where there is none.
    pub name: Option<String>,
    /// The result.
    pub outcome: ImportOutcome,
    /// Why, for people.
    pub detail: Option<String>,
}

/// What became of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportOutcome {
    /// It is an app's key now.
    Imported,
    /// It is known, or its name is; nothing has changed.
    Skipped,
    /// It can't be a key.
    Refused,
    /// An outcome of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// One reply: `{"id":1,"ok":{…}}` or `{"id":1,"error":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<T> {
    /// The request's number; `null` when the request was too broken to have one.
    pub id: Option<u64>,
    /// The result.
    #[serde(flatten)]
    pub outcome: Outcome<T>,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<T> {
    /// The answer.
    Ok(T),
    /// Why there is none.
    Error(ControlError),
}

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

/// The state of the daemon and its providers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's wall clock when it answered; what all relative times refer to.
    pub now: Timestamp,
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
    /// Its providers, the default one first.
    pub providers: Vec<ProviderStatus>,
    /// Requests that were refused before any provider was asked, since the daemon started; `None`
    /// where there was none, and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Mishaps>,
    /// Of these, those that an app may miss: what a browser or a monitor asks for by itself and pages
    /// of other sites are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_apps: Option<Mishaps>,
    /// How many apps have a client key; `None` with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys: Option<u64>,
    /// Why their file could not be read when it was read last; the keys of before are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys_fault: Option<String>,
    /// The command that makes it readable again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys_command: Option<String>,
    /// Why usage could not be saved when that was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_fault: Option<String>,
    /// What is wrong, the worst first, as [`judge`](super::judge) finds it; empty where all is well,
    /// `None` with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<Finding>>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What a program branches on.
    pub code: FindingCode,
    /// How much it matters.
    pub severity: Severity,
    /// What a person reads; no full stop.
    pub text: String,
    /// What fixes it or shows more, where a command does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The provider that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The listener's address that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The provider's requests can't be served, now or once the token in use expires: `/readyz`
    /// answers with 503.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocks: bool,
}

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It works, but needs attention.
    Attention,
    /// Apps get errors, or will when the token in use expires.
    Bad,
    /// A severity of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// What a [`Finding`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingCode {
    /// No daemon runs.
    NotRunning,
    /// The daemon did not answer as it should.
    NoAnswer,
    /// It listens on no address.
    ListensNowhere,
    /// The machine does not have a listener's address.
    AddressMissing,
    /// A listener's Unix socket was removed and can't be restored yet.
    SocketMissing,
    /// A listener requires a client key, and none exists.
    NoClientKeys,
    /// The file of client keys can't be read.
    ClientKeysUnreadable,
    /// There is no login, or no API key.
    LoginNeeded,
    /// The login's file can't be read.
    StoreUnreadable,
    /// A renewed login could not be saved, so none is asked for.
    StoreUnusable,
    /// The token has expired and can't be renewed.
    Unavailable,
    /// The login was not read yet.
    Starting,
    /// The provider fails requests.
    RequestsFail,
    /// An app was refused a moment ago.
    RequestsRefused,
    /// The login works, but can't be kept fresh.
    LoginTrouble,
    /// A renewed login could not be saved.
    Unsaved,
    /// The grant ends soon, or has ended.
    LoginEndsSoon,
    /// A renewal was cut off, and its refresh token may have been spent.
    LoginMayBeSpent,
    /// One of several logins has nothing left for a while; the others serve.
    LoginCoolingDown,
    /// All of several logins have nothing left for a while.
    LoginsCoolingDown,
    /// One of several logins has ended; the others serve.
    LoginEnded,
    /// The quota of the only login is used up.
    QuotaSpent,
    /// This machine's clock differs from the provider's.
    ClockWrong,
    /// What is counted of usage can't be saved.
    UsageUnsaved,
    /// The configuration file can't be used.
    ConfigBroken,
    /// The configuration file is gone.
    ConfigMissing,
    /// Changed settings wait for a restart.
    RestartNeeded,
    /// A reload applies the configuration file.
    ConfigChanged,
    /// A code of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// A login that can't be renewed, because the renewed one could not be saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsavableLogin {
    /// Since when.
    pub at: Timestamp,
    /// Why, with the file's name.
    pub reason: String,
    /// The command that fixes it, where one does.
    pub command: Option<String>,
}

/// A login whose file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableLogin {
    /// Since when.
    pub at: Timestamp,
    /// Why, with the file's name.
    pub reason: String,
    /// The command that makes it usable again, where one does.
    pub command: Option<String>,
    /// Whether the copy for Hermes Agent's profiles holds the login whole and serves.
    pub copied: bool,
}

/// Requests that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mishaps {
    /// How many.
    pub count: u64,
    /// When the last one ended.
    pub at: Timestamp,
    /// The code of its error, `answer_cut`, or `http_` and the provider's status.
    pub code: String,
    /// Its number, as the log has it.
    pub request_id: String,
    /// The app's name or its address, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The host, the web page or the user that was refused, where it is one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The package version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it has run.
    pub uptime_seconds: u64,
    /// The configuration that is in force; `None` when there is no file and defaults apply.
    pub config_file: Option<PathBuf>,
    /// Tells that file's text, when it was read, from what stands in it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<String>,
    /// The keys of that file whose new values wait for a restart, such as `listen[0].address`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
    /// The flags that win over the file.
    #[serde(default, skip_serializing_if = "CommandLine::is_empty")]
    pub command_line: CommandLine,
    /// The proxies of its environment: the variable, and `host:port` of its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proxies: BTreeMap<String, String>,
    /// Whether a service manager started it, which alone can restart it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub managed: bool,
}

/// The flags of the daemon that win over its file; `None` where one was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandLine {
    /// `--provider`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// `--host`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `--port`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `--log-level`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// `--log-format`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,
}

impl CommandLine {
    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One address that the daemon listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// The address, `127.0.0.1:8645`, `docker0:8645` or `unix:/run/…`.
    pub address: String,
    /// What an app is configured with, `http://127.0.0.1:8645/v1`; the address of a Unix socket.
    pub url: String,
    /// The provider that `/v1` means there.
    pub provider: String,
    /// Connections that are open.
    pub connections: u64,
    /// Whether apps must show a client key there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_key: bool,
    /// Whether the machine does not have the address yet, or the Unix socket was removed and can't be
    /// restored yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// What it holds beside its address: `[::1]:8645` with 127.0.0.1:8645.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

impl ListenerStatus {
    /// Whether it is a Unix socket.
    pub fn is_unix(&self) -> bool {
        self.address.starts_with("unix:")
    }
}

/// One provider and its credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStatus {
    /// The name in paths and on the command line.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// Whether `/v1` means it where a listener names none.
    pub default: bool,
    /// Whether requests can be served.
    pub state: ProviderState,
    /// Where requests go, once it is known.
    pub base_url: Option<String>,
    /// The kind of the credential in use.
    pub credential: Option<CredentialKind>,
    /// When the credential expires, if it does.
    pub expires_at: Option<Timestamp>,
    /// The time until then; negative once it has passed.
    pub expires_in_seconds: Option<i64>,
    /// The last time that the credential was renewed, or was to be.
    pub last_refresh: Option<RefreshReport>,
    /// When the next renewal is due.
    pub next_refresh_at: Option<Timestamp>,
    /// The time until then.
    pub next_refresh_in_seconds: Option<i64>,
    /// What went wrong last.
    pub last_error: Option<ErrorReport>,
    /// Whether a rotated token could not be saved: it works now and is lost at the next start.
    pub unsaved: bool,
    /// Requests since the daemon started.
    pub requests: RequestCounts,
    /// The command that logs in, where a login is what helps.
    pub login_command: Option<String>,
    /// Requests that the provider failed, one after another until now; `None` where the last one
    /// went well, and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Mishaps>,
    /// The login in use; `None` without one, with a fixed key, and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginStatus>,
    /// Why its file can't be read, if it can't be; an earlier credential or a copy may serve all the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<UnreadableLogin>,
    /// Why a renewed login could not be saved, so that none is asked for; the credential in use serves
    /// for as long as it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsavable: Option<UnsavableLogin>,
    /// How far this machine's clock is ahead of the provider's, by its last answer; negative where it
    /// is behind, `None` before an answer that tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_seconds: Option<i64>,
    /// How much of the account's quota is used, as the provider said last; `None` where it does not say,
    /// and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaStatus>,
    /// What its several logins allow; `None` with one login, and with an old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolStatus>,
    /// How many client keys may ask it, where each of its requests needs one; `None` where none is needed, and with an
    /// old daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_keys: Option<u64>,
}

/// An account's quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaStatus {
    /// When the provider said so.
    pub at: Timestamp,
    /// Its windows, the shortest first.
    pub windows: Vec<QuotaWindow>,
}

/// A window of a quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaWindow {
    /// The provider's name for it.
    pub name: String,
    /// How much of it is used.
    pub used_percent: u64,
    /// How long it is, if the provider says so.
    pub length_seconds: Option<u64>,
    /// When it begins again, if the provider says so.
    pub resets_at: Option<Timestamp>,
    /// The time until then.
    pub resets_in_seconds: Option<i64>,
    /// What it has in all, in requests or tokens, if the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What is left of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
}

/// The login that a provider's credential comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginStatus {
    /// The file that holds it.
    pub store: PathBuf,
    /// Whether it is the daemon's own, so that Hermes Agent does not use it.
    pub separate: bool,
    /// When the user logged in, as far as that is known.
    pub since: Option<Timestamp>,
    /// When the grant ends and the user must log in again, as far as that is known.
    pub ends_at: Option<Timestamp>,
    /// The time until then; negative once it has passed.
    pub ends_in_seconds: Option<i64>,
    /// Whether that is so near that the user should log in again now.
    pub ends_soon: bool,
    /// A renewal was cut off, and its refresh token may have been spent.
    pub may_be_spent: bool,
}

/// Whether a provider can serve requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderState {
    /// The credential is not yet read.
    Starting,
    /// The credential is valid.
    Ready,
    /// The credential is being renewed; requests wait for it if the old one has expired.
    Refreshing,
    /// The credential has expired and the token endpoint can't be reached; it is tried again.
    Unavailable,
    /// Only a person can help: there is no login, or the provider has revoked it.
    LoginNeeded,
    /// The credential store can't be read.
    StoreUnreadable,
    /// A state of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// The kind of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A fixed key.
    ApiKey,
    /// Nothing: the server asks for no key.
    #[serde(rename = "none")]
    NoKey,
    /// What a login gave, in the provider's own word.
    #[serde(untagged)]
    OfLogin(String),
}

/// One renewal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshReport {
    /// When it ended.
    pub at: Timestamp,
    /// How it ended.
    pub result: RefreshResult,
    /// More about it, for people.
    pub detail: Option<String>,
}

/// How a renewal ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefreshResult {
    /// The provider gave a new credential.
    Refreshed,
    /// Another program had renewed it, and its credential was taken over.
    Adopted,
    /// It failed in a way that may pass; it is tried again.
    Failed,
    /// The provider refused it; a login is needed.
    Rejected,
    /// There is no login to renew.
    NoLogin,
    /// The login has nothing that renews it: it ends with its token.
    NotRenewable,
    /// A result of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// When.
    pub at: Timestamp,
    /// What a program branches on.
    pub code: String,
    /// What a person reads.
    pub message: String,
}

/// Requests since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Under way.
    pub in_flight: u64,
    /// Ended with the provider's whole answer, whatever its status.
    pub served: u64,
    /// Ended with an error of the daemon's, a broken answer, or the client's leaving.
    pub failed: u64,
}

/// Which providers are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Providers {
    /// The default one first.
    pub providers: Vec<ProviderEntry>,
    /// Those that are built in and not set up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available: Vec<AvailableProvider>,
}

/// A provider that is built in and not set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailableProvider {
    /// The name in paths and on the command line.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// What sets it up.
    pub command: String,
}

/// One provider, without the state of its credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is another field of the answer"
)]
pub struct ProviderEntry {
    /// The name in paths and on the command line.
    pub name: String,
    /// The name for people.
    pub display_name: String,
    /// Whether `/v1` means it where a listener names none.
    pub default: bool,
    /// Where requests go, once it is known.
    pub base_url: Option<String>,
    /// Whether there is a login, or the fixed API key, that can be read.
    pub logged_in: bool,
    /// The worst that is wrong with it, as in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// Whether it takes a fixed API key in place of a login.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub api_key: bool,
    /// Whether its server asks for no key, and `api_key` for nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_key: bool,
    /// The base URL of its apps, while a port is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_url: Option<String>,
    /// What is forwarded.
    pub paths: Vec<PathEntry>,
    /// Which APIs for chats these are; an older daemon does not say.
    #[serde(default, skip_serializing_if = "Wires::is_empty")]
    pub wires: Wires,
    /// The ids of its models, as far as an app has asked for them lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

/// A path that is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathEntry {
    /// Below `/v1`, such as `/chat/completions`.
    pub path: String,
    /// The methods it takes, in capitals.
    pub methods: Vec<String>,
    /// Which bodies keep their type: `multipart` or `any`; `None` where all are JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The provider's own path that it is served in terms of; `None` where it is that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated_to: Option<String>,
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Keys of the configuration whose new value is in force.
    pub applied: Vec<String>,
    /// Keys whose new value takes a restart.
    pub needs_restart: Vec<String>,
    /// Providers that were told to read their credential again.
    pub providers_reloaded: Vec<String>,
    /// Those whose login or API key could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers_unreadable: Vec<String>,
    /// Providers whose login is still being renewed with the former settings. Requests go by the new ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers_finishing: Vec<String>,
}

/// A moment, in JSON as RFC 3339 in UTC to the second: `2026-11-23T20:31:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub DateTime<Utc>);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = DateTime::parse_from_rfc3339(&text).map_err(de::Error::custom)?;
        Ok(Self(time.to_utc()))
    }
}

impl Key {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The key itself, to be shown or to be hashed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
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

impl ProviderState {
    /// As a person reads it.
    pub fn in_words(&self) -> &str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Refreshing => "trying to renew the expired token",
            Self::Unavailable => "unavailable",
            Self::LoginNeeded => "login needed",
            Self::StoreUnreadable => "login unreadable",
            Self::Other(name) => name,
        }
    }
}

impl FindingCode {
    /// The code as it is in JSON.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NotRunning => "not_running",
            Self::NoAnswer => "no_answer",
            Self::ListensNowhere => "listens_nowhere",
            Self::AddressMissing => "address_missing",
            Self::SocketMissing => "socket_missing",
            Self::NoClientKeys => "no_client_keys",
            Self::ClientKeysUnreadable => "client_keys_unreadable",
            Self::LoginNeeded => "login_needed",
            Self::StoreUnreadable => "store_unreadable",
            Self::StoreUnusable => "store_unusable",
            Self::Unavailable => "unavailable",
            Self::Starting => "starting",
            Self::RequestsFail => "requests_fail",
            Self::RequestsRefused => "requests_refused",
            Self::LoginTrouble => "login_trouble",
            Self::Unsaved => "unsaved",
            Self::LoginEndsSoon => "login_ends_soon",
            Self::LoginMayBeSpent => "login_may_be_spent",
            Self::LoginCoolingDown => "login_cooling_down",
            Self::LoginsCoolingDown => "logins_cooling_down",
            Self::QuotaSpent => "quota_spent",
            Self::LoginEnded => "login_ended",
            Self::ClockWrong => "clock_wrong",
            Self::UsageUnsaved => "usage_unsaved",
            Self::ConfigBroken => "config_broken",
            Self::ConfigMissing => "config_missing",
            Self::RestartNeeded => "restart_needed",
            Self::ConfigChanged => "config_changed",
            Self::Other(code) => code,
        }
    }
}
