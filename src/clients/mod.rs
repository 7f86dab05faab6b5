//! Client keys: which apps may use the port, with what limits, and how they have used it.
//!
//! - [`Registry`]: all keys. A request finds its [`Client`] in a snapshot, without a lock or a file.
//! - [`Client`]: one key's name and limits; [`Client::enter`] counts a request.
//! - `allowance`: a key's limits in a minute and a day.
//! - `key`: making a key, and its hash, which is all that is kept.
//! - `document`: the content of `clients.json`.
//! - `import`: the tokens of Hermes Agent's proxy.
//! - `disk`: the file itself: its owner, its lock, and its replacement.

mod allowance;
mod client;
mod disk;
mod document;
mod error;
mod import;
mod key;
mod registry;

pub use allowance::{AllowanceUse, ClientRates};
pub use client::{Client, ClientUse, Full, InFlightPermit, KeyLimits};
pub use error::ClientsError;
pub use import::{Imported, LONGEST_KEY, Token, TokenOutcome};
pub use key::{KEY_LENGTH, KEY_PREFIX, OwnMark};
pub use registry::{ClientIdentity, Listed, Registry, Unread};

#[cfg(test)]
mod tests;
