//! Hermes Agent's credential store: its files, how they are read, and what a rotation changes.
//!
//! One login can be in several files: the profile's `auth.json`, the global one that a profile
//! without its own block reads, and the mirror of the tokens that all profiles share. A
//! [`Transaction`] holds the locks of all of them, in Hermes Agent's order, from the reading to the
//! last write. A separate login is in our own store, which only we know, and takes precedence over
//! all of these.

mod cache;
mod change;
mod contents;
mod document;
mod error;
mod login_store;
mod opening;
mod paths;
mod pool;
mod roster;
mod rotation;
mod row;
mod rows;
#[cfg(test)]
mod tests;
mod transaction;
mod version;

pub use self::change::{Added, Extent, LoginDestination, Removed};
pub(super) use self::change::{Change, LoginUpdate};
pub(super) use self::contents::StoreContents;
pub(super) use self::document::read_object;
pub use self::error::StoreError;
pub(super) use self::login_store::Twins;
pub use self::login_store::{LoginStore, stored_ca_bundle};
pub use self::paths::StoreFiles;
pub(super) use self::pool::{Marking, Meant, Remark, login};
pub(super) use self::roster::Roster;
#[cfg(test)]
pub(super) use self::row::TokenOrigin;
pub(super) use self::row::{Marked, RowFacts, RowPlace, RowSeen, Twin};
pub(super) use self::rows::{NewRow, Occasion, first_login};
pub(super) use self::transaction::Transaction;
pub(super) use self::version::{LARGEST, StoreStamp, stamp};
