//! What `hermesctl auth status` tells.

use serde::Serialize;

use crate::control::judge;
use crate::control::protocol::{Finding, ProviderStatus, Status, Timestamp};

/// The JSON form of `auth status`.
#[derive(Serialize)]
pub(in crate::cli) struct AuthStatusOutput {
    /// Whether a daemon answered, or a process of ours.
    running: bool,
    pub(in crate::cli) now: Timestamp,
    /// What is wrong with them.
    pub(in crate::cli) findings: Vec<Finding>,
    pub(in crate::cli) providers: Vec<ProviderStatus>,
}

impl AuthStatusOutput {
    /// What a daemon with this status tells.
    pub(in crate::cli) fn of(status: Status, running: bool) -> Self {
        Self {
            running,
            now: status.now,
            findings: judge::of_logins(&judge::findings(&status)),
            providers: status.providers,
        }
    }
}
