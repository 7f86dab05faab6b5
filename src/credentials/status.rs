//! A keeper's status.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::provider::BearerKind;

/// A provider's login at a moment, for `proxy status`. Holds no secret.
#[derive(Debug, Clone)]
pub struct KeeperStatus {
    /// Whether requests can be served.
    pub standing: AvailabilityKind,
    /// Whether a renewal is under way.
    pub renewing: bool,
    /// Where requests go.
    pub base_url: Option<String>,
    /// The kind of bearer.
    pub kind: Option<BearerKind>,
    /// When the bearer ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the next renewal is due.
    pub next_renewal: Option<DateTime<Utc>>,
    /// The last renewal and its result.
    pub last_renewal: Option<StatusEvent<RenewalResult>>,
    /// How renewals ended since the keeper's start.
    pub renewals: Renewals,
    /// The last failure that has not been resolved since.
    pub last_error: Option<StatusEvent<LoginFault>>,
    /// A rotated token is only in memory, because the store can't be written.
    pub unsaved: bool,
    /// A refresh was cut off, and its token may be spent.
    pub may_be_spent: bool,
    /// The last look could not read the login; it may still serve.
    pub unreadable: Option<UnreadableStore>,
    /// Why a renewed login could not be saved, so that none is asked for; the credential in use serves
    /// for as long as it lives.
    pub hindrance: Option<Hindrance>,
    /// Where the login is stored and how long it lasts.
    pub login: Option<StoredLogin>,
}

/// What keeps a login from being renewed on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// Since when.
    pub at: DateTime<Utc>,
    /// Why, with the file's name.
    pub reason: String,
    /// The command that helps.
    pub command: Option<String>,
}

impl Hindrance {
    /// Why, and what helps.
    pub fn told(&self) -> String {
        let command = self.command.as_deref().unwrap_or("hermesctl doctor");
        format!("{}; run `{command}`", self.reason)
    }
}

/// A login that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableStore {
    /// Since when.
    pub at: DateTime<Utc>,
    /// Why, with the file's name.
    pub reason: String,
    /// The command that helps.
    pub command: Option<String>,
    /// Whether the mirror holds the login whole and serves.
    pub mirrored: bool,
}

impl KeeperStatus {
    /// Nothing is known yet.
    pub(super) fn starting() -> Self {
        Self {
            standing: AvailabilityKind::Starting,
            renewing: false,
            base_url: None,
            kind: None,
            expires_at: None,
            next_renewal: None,
            last_renewal: None,
            renewals: Renewals::default(),
            last_error: None,
            unsaved: false,
            may_be_spent: false,
            unreadable: None,
            hindrance: None,
            login: None,
        }
    }

    /// Whether the last look could not read the store. An earlier credential may still serve.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable.is_some()
    }
}

/// Where a login is stored and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLogin {
    /// The file.
    pub store: PathBuf,
    /// Whether it is ours alone, not shared with Hermes Agent.
    pub own: bool,
    /// When the user logged in; for a login of another program, when it was first seen.
    pub since: Option<DateTime<Utc>>,
    /// The latest end of the grant, whatever the rotation.
    pub ends_at: Option<DateTime<Utc>>,
    /// Whether that is near enough to warn of.
    pub ends_soon: bool,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct StatusEvent<T> {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub what: T,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginFault {
    /// What a program branches on.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// How a renewal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalResult {
    /// The token endpoint granted a new credential.
    Refreshed,
    /// Another program had renewed the login; its tokens are used.
    Adopted,
    /// The token endpoint could not answer; it is tried again.
    Failed,
    /// The login is dead.
    Rejected,
    /// There is no login.
    NoLogin,
    /// The login works while its token lives, and the provider has given nothing that renews it.
    NotRenewable,
}

/// How many renewals ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Renewals {
    /// The token endpoint granted a new credential.
    pub refreshed: u64,
    /// Another program had renewed the login.
    pub adopted: u64,
    /// The token endpoint could not answer, or the store could not be used.
    pub failed: u64,
    /// The login was dead.
    pub rejected: u64,
}

impl KeeperStatus {
    /// A renewal came to its end.
    pub(super) fn renewal_ended(&mut self, what: RenewalResult, at: DateTime<Utc>) {
        let all = &mut self.renewals;
        let count = match what {
            RenewalResult::Refreshed => Some(&mut all.refreshed),
            RenewalResult::Adopted => Some(&mut all.adopted),
            RenewalResult::Failed => Some(&mut all.failed),
            RenewalResult::Rejected => Some(&mut all.rejected),
            RenewalResult::NoLogin | RenewalResult::NotRenewable => None,
        };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        self.last_renewal = Some(StatusEvent { at, what });
    }
}

/// Whether requests can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvailabilityKind {
    /// The store has not been read yet.
    Starting,
    /// There is a valid credential.
    Ready,
    /// The credential has expired and can't be renewed right now.
    Expired,
    /// The user must log in.
    LoginNeeded,
    /// The store can't be read.
    Unreadable,
}

impl AvailabilityKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::Ready,
        Self::Expired,
        Self::LoginNeeded,
        Self::Unreadable,
    ];

    /// The name as shown in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Expired => "expired",
            Self::LoginNeeded => "login_needed",
            Self::Unreadable => "store_unreadable",
        }
    }
}
