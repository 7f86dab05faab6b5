//! Client keys: the apps that have one, and what each key may do.

use serde::{Deserialize, Serialize};

use super::key::IssuedKey;
use super::login::is_default;
use super::time::Timestamp;

/// The apps that have a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientList {
    /// The daemon's wall clock at the time of the reply; relative times refer to it.
    pub now: Timestamp,
    /// The apps, sorted by name.
    pub clients: Vec<ClientEntry>,
    /// Providers that a key is limited to and that are not configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_providers: Vec<String>,
}

/// An app that has a key. The key itself is never part of this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientEntry {
    /// The app's name.
    pub name: String,
    /// When the app was added.
    pub created_at: Option<Timestamp>,
    /// When its key was last replaced.
    pub rotated_at: Option<Timestamp>,
    /// The providers that the key may use; empty means all.
    pub providers: Vec<String>,
    /// The paths below `/v1` that the key may use; empty means all.
    pub paths: Vec<String>,
    /// How many requests may be in flight at once; `None` means no limit.
    pub in_flight: Option<u32>,
    /// The key's limits on models and use.
    #[serde(flatten)]
    pub limits: ClientLimits,
    /// Today's use, if the key has a daily limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub today: Option<ClientToday>,
    /// Requests admitted so far.
    pub requests: u64,
    /// The time of the latest request.
    pub last_used_at: Option<Timestamp>,
    /// Where requests came from, the latest first: IP addresses, or `unix socket`.
    pub last_used_from: Vec<String>,
    /// Unknown fields of its entry in the file, such as a misspelled limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_fields: Vec<String>,
}

/// A key's limits on models and use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientLimits {
    /// The models that the key may use; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Requests per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Requests per day in the machine's time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u32>,
    /// Tokens per day, input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
}

/// A key's use today.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientToday {
    /// Requests sent to a provider.
    pub requests: u64,
    /// Tokens, input and output.
    pub tokens: u64,
    /// How many of those tokens are estimated, because the answer reported no count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub estimated_tokens: u64,
}

/// The app that needs a key, and the key's limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAdd {
    /// The app's name: 1 to 64 lower-case letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The providers that the key may use; empty means all.
    #[serde(default)]
    pub providers: Vec<String>,
    /// The paths below `/v1` that the key may use; empty means all.
    #[serde(default)]
    pub paths: Vec<String>,
    /// How many requests may be in flight at once; `None` means no limit.
    #[serde(default)]
    pub in_flight: Option<u32>,
    /// The key's limits on models and use.
    #[serde(flatten)]
    pub limits: ClientLimits,
}

/// A change of a key's limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChange {
    /// The app and its new limits. A limit that is empty or `None` stays as it is.
    #[serde(flatten)]
    pub set: ClientAdd,
    /// The limits to remove.
    #[serde(default)]
    pub clear: Vec<ClientLimit>,
}

/// A limit of a key, named as in [`ClientEntry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientLimit {
    /// See [`ClientEntry::providers`].
    Providers,
    /// See [`ClientEntry::paths`].
    Paths,
    /// The models.
    Models,
    /// Requests in flight at once.
    InFlight,
    /// Requests per minute.
    RequestsPerMinute,
    /// Requests per day.
    RequestsPerDay,
    /// Tokens per day.
    TokensPerDay,
}

/// The result of a change of limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChanged {
    /// The time that all relative times refer to.
    pub now: Timestamp,
    /// The app with its new limits.
    pub client: ClientEntry,
    /// Warnings for the user, as whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The app that a call is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChoice {
    /// The app's name.
    pub name: String,
}

/// An app and its new key. The only reply with a secret: the daemon makes the key, keeps its hash alone, and shows it
/// once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// The app.
    pub client: ClientEntry,
    /// The key. It can't be shown again.
    pub key: IssuedKey,
    /// Warnings for the user, as whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// An app's key was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRevoked {
    /// The app's name.
    pub name: String,
    /// Whether this was the last key, so that a listener that requires one now refuses every request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_last: bool,
    /// Whether some listener requires no key, so that the app can still use that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keyless: bool,
}

/// Tokens that apps present to another proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientImport {
    /// The tokens. A request holds at most 64 KiB, so many tokens take several requests.
    pub keys: Vec<ImportedKey>,
}

/// One such token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedKey {
    /// The token's label at the other proxy.
    pub label: String,
    /// The token, which the app continues to present.
    pub key: IssuedKey,
}

/// The result of an import, in the order of the tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientImportReport {
    /// One result per token.
    pub results: Vec<ClientImportResult>,
}

/// The result for one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientImportResult {
    /// The token's label at the other proxy.
    pub label: String,
    /// The app's name here, if it has one.
    pub name: Option<String>,
    /// What happened to the token.
    pub outcome: ImportOutcome,
    /// The reason, for people.
    pub detail: Option<String>,
}

/// What happened to a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportOutcome {
    /// It is now an app's key.
    Imported,
    /// The token or its name exists already; nothing changed.
    Skipped,
    /// It can't serve as a key.
    Refused,
    /// An outcome of a newer daemon.
    #[serde(untagged)]
    Other(String),
}
