//! The user's logins: read from the store that Hermes Agent shares, kept fresh, and handed to
//! requests.
//!
//! [`Keeper`] is the one task that owns a login's tokens. Requests ask their provider's [`Pool`], which reads
//! the snapshot that a keeper last published: no lock, no file, no wait while there is a valid token.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        reason = "tokens and files hold odd numbers, and an overflow would end what looks after a login"
    )
)]

mod attempt;
mod commands;
mod core;
mod file_lock;
mod grant;
mod handle;
mod hindrance;
pub mod inspection;
mod journal;
mod keeper;
mod knowledge;
mod leftover;
mod life;
mod merge;
mod notice;
mod pool;
mod pulse;
mod remedy;
mod renewal;
pub mod schedule;
mod spent;
mod status;
mod store;
mod terms;
#[cfg(test)]
mod tests;
mod timing;
mod trials;
mod unreadable;
mod write;

/// The code of a keeper that failed by a panic.
const DEFECT: &str = "keeper_failed";
/// The code of a store that can't be read.
const UNREADABLE: &str = "store_unreadable";
/// The code of a login whose refresh token is spent, while its access token serves.
const STALE: &str = "login_stale";
/// The code of a store in which a renewed login could not be saved, so that none is asked for.
const UNSAVABLE: &str = "store_unusable";

pub use self::commands::Refreshed;
pub use self::handle::{Handle, Lease, NotReplaced, Refusal, Replay};
pub use self::keeper::{Initiative, Keeper, NO_LOGIN, Settings};
pub use self::leftover::remove_leftover;
pub use self::notice::{Audience, Notice, NoticeKind};
pub use self::pool::{Called, Entry as PoolEntry, MAIN, NotCalled, Pool, Strategy};
pub use self::remedy::remedy;
pub use self::status::{
    Event, Fault, Hindrance, LoginStatus, RefreshResult, Renewals, StandingKind, Status, Unreadable,
};
pub use self::store::{
    Added, Extent, Place, Removed, Store, StoreError, StoreFiles, stored_ca_bundle,
};
pub use self::terms::Terms;
