//! Client keys: which apps have one, and what each is good for.

use serde::{Deserialize, Serialize};

use super::key::IssuedKey;
use super::login::is_default;
use super::time::Timestamp;

/// Which apps have a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientList {
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
    pub key: IssuedKey,
    /// What the user may want to look at again; whole sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

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
    pub key: IssuedKey,
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
