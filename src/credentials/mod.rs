//! The user's logins: read from the store that Hermes Agent shares, kept fresh, and handed to
//! requests.
//!
//! [`Keeper`] is the one task that owns a login's tokens. Requests ask their provider's [`LoginPool`], which reads
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
mod heartbeat;
pub mod inspection;
mod journal;
mod keeper;
mod knowledge;
mod leftover;
mod life;
mod merge;
mod notice;
mod pool;
mod refused_paths;
mod remedy;
mod renewal;
mod save_failure;
pub mod schedule;
mod settings;
mod spent_tokens;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod timing;
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
pub use self::handle::{CredentialHandle, Lease, NoCredential, NotReplaced, Replay};
pub use self::keeper::{Initiative, Keeper, KeeperSettings, NO_LOGIN};
pub use self::leftover::remove_leftover;
pub use self::notice::{Audience, LoginNotice, NoticeKind};
pub use self::pool::{Called, LoginPool, MAIN, NotCalled, PoolEntry, Strategy};
pub use self::remedy::remedy;
pub use self::settings::Terms;
pub use self::status::{
    Hindrance, KeeperStatus, LoginFault, RenewalResult, Renewals, StandingKind, StatusEvent,
    StoredLogin, UnreadableStore,
};
pub use self::store::{
    Added, Extent, LoginDestination, LoginStore, Removed, StoreError, StoreFiles, stored_ca_bundle,
};
