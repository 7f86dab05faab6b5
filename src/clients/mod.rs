//! Client keys: which apps may use the port, within which limits, and how much they have used it.
//!
//! - [`Registry`]: all keys. A request finds its [`Client`] in a snapshot, without a lock or file access.
//! - [`Client`]: one key's name and limits; [`Client::enter`] counts a request.
//! - `allowance`: a key's limits per minute and per day.
//! - `key`: makes a key, and hashes it; only the hash is stored.
//! - `document`: the content of `clients.json`.
//! - `import`: tokens from Hermes Agent's proxy.
//! - `disk`: the file itself: owner, lock and atomic replacement.

mod allowance;
mod client;
mod disk;
mod document;
mod error;
mod import;
mod key;
mod registry;

pub use allowance::{AllowanceUse, ClientRates};
pub use client::{Client, ClientUse, InFlightPermit, KeyLimits, LimitReached};
pub use error::ClientsError;
pub use import::{Imported, LONGEST_KEY, Token, TokenOutcome};
pub use key::{KEY_LENGTH, KEY_PREFIX, OwnMark};
pub use registry::{ClientIdentity, Listed, Registry, Unread};

#[cfg(test)]
mod tests;
