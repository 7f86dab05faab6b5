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
mod fault_code;
mod file_lock;
mod grant;
mod handle;
mod heartbeat;
pub mod inspection;
mod journal;
mod keeper;
mod keeper_settings;
mod knowledge;
mod leftover;
mod life;
mod login_name;
mod login_sight;
mod merge;
mod no_login;
mod notice;
mod pool;
mod refresh_token;
mod refreshed;
mod refused_paths;
mod reload;
mod remedy;
mod renewal;
mod save_failure;
pub mod schedule;
mod settings;
mod spent_tokens;
mod standing;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod timing;
mod unreadable;
mod write;

pub use self::handle::{
    CredentialHandle, CredentialStamp, Lease, NoCredential, NotReplaced, Replay,
};
pub use self::keeper::Keeper;
pub use self::keeper_settings::{Initiative, KeeperSettings};
pub use self::leftover::remove_leftover;
pub use self::login_name::MAIN;
pub use self::no_login::NO_LOGIN;
pub use self::notice::{Audience, LoginNotice, NoticeKind};
pub use self::pool::{Called, LoginPool, NotCalled, PoolEntry, Strategy};
pub use self::refreshed::Refreshed;
pub use self::remedy::remedy;
pub use self::settings::KeeperContext;
pub use self::status::{
    AvailabilityKind, Hindrance, KeeperStatus, LoginFault, RenewalResult, Renewals, StatusEvent,
    StoredLogin, UnreadableStore,
};
pub use self::store::{
    Added, Extent, LoginDestination, LoginStore, Removed, StoreError, StoreFiles, stored_ca_bundle,
};
