//! The settings of a keeper.

use std::sync::Arc;
use std::time::Duration;

use super::notice::Audience;

/// Commands to a keeper.
#[derive(Debug, Clone)]
pub struct KeeperSettings {
    /// About how long before its end a credential is renewed; see `schedule`.
    pub refresh_lead: Duration,
    /// The limit of one request to the token endpoint; a lock is awaited longer than that, because
    /// its holder may be in the middle of one.
    pub token_timeout: Duration,
    /// How long a request waits for a credential when it has none. After the provider's 401 it
    /// waits for another one up to 20 s, if that is longer.
    pub wait: Duration,
    /// Whether it renews what is due, or only on request.
    pub initiative: Initiative,
    /// Where the user hears of what matters at once.
    pub audience: Option<Arc<dyn Audience>>,
}

/// Whether a keeper acts unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiative {
    /// It renews what is due.
    Keeps,
    /// It looks, and acts on request: another daemon may be the one that keeps the login.
    Waits,
}
