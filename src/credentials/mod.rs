//! The user's logins: read from the store that Hermes Agent shares, kept fresh, and handed to
//! requests.
//!
//! [`Keeper`] is the one task that owns a provider's tokens. Requests hold a [`Handle`] and read
//! the snapshot that the keeper last published: no lock, no file, no wait while a valid token is
//! there.

mod file_lock;
mod handle;
mod keeper;
mod renewal;
pub mod schedule;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod write;

pub use self::handle::{Handle, Lease, Refusal};
pub use self::keeper::{Estate, Keeper, Settings};
pub use self::status::{Event, Fault, RefreshResult, StandingKind, Status};
pub use self::store::{Store, StoreError, StoreFiles, stored_ca_bundle};
