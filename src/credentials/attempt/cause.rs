//! What a renewal is for.

use chrono::{DateTime, Utc};

use crate::secret::Secret;

/// What a renewal is for.
#[derive(Debug, Clone, Default)]
pub(in crate::credentials) struct RenewalCause {
    /// The provider refuses this bearer, or a person wants another one.
    pub(in crate::credentials) refused: Option<Secret>,
    /// A person asks, and may whenever they like.
    pub(in crate::credentials) by_hand: bool,
    /// The answer of the previous attempt was lost: the token may be spent.
    pub(in crate::credentials) answer_lost: bool,
    /// Fingerprints of the tokens of the login that a person means; `None` for the current one.
    pub(in crate::credentials) meant: Option<Vec<String>>,
}

/// What one turn of a renewal goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct RenewalTurn<'t> {
    pub(super) cause: &'t RenewalCause,
    pub(super) now: DateTime<Utc>,
}
