//! Which of the login in use and the store's is newer.

use std::sync::Arc;

use super::super::journal::JournalEntry;
use super::renewed::Renewed;

/// Which of the login in use and the store's is newer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::credentials) enum LoginState {
    /// There is no login, or nothing has been read yet.
    #[default]
    None,
    /// It is the store's.
    Held,
    /// It is the store's, and a refresh that spends a token of it was begun whose end is not known.
    Suspect(JournalEntry),
    /// It was renewed, and is not known to be saved.
    Unsaved(Unsaved),
    /// It has ended; why.
    Ended(Arc<str>),
}

/// A renewed login that is not in the store.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::credentials) struct Unsaved {
    pub(in crate::credentials) renewed: Renewed,
    /// A refresh that was begun; while it waits, that is the one of the token in the store.
    pub(super) begun: Option<JournalEntry>,
    /// The user was notified that it is in memory only.
    pub(super) told: bool,
}

impl LoginState {
    /// The refresh that was begun.
    pub(super) fn begun(&self) -> Option<&JournalEntry> {
        match self {
            Self::Suspect(begun) => Some(begun),
            Self::Unsaved(unsaved) => unsaved.begun.as_ref(),
            Self::None | Self::Held | Self::Ended(_) => None,
        }
    }

    /// The same login with a different unfinished refresh.
    pub(super) fn with_begun(self, begun: Option<JournalEntry>) -> Self {
        match (self, begun) {
            (Self::Unsaved(unsaved), begun) => Self::Unsaved(Unsaved { begun, ..unsaved }),
            (_, Some(begun)) => Self::Suspect(begun),
            (Self::Suspect(_), None) => Self::Held,
            (state @ (Self::None | Self::Held | Self::Ended(_)), None) => state,
        }
    }

    /// What was renewed does not wait any more.
    pub(super) fn without_unsaved(self) -> Self {
        match self {
            Self::Unsaved(unsaved) => Self::Held.with_begun(unsaved.begun),
            state @ (Self::None | Self::Held | Self::Suspect(_) | Self::Ended(_)) => state,
        }
    }

    /// The settings don't allow its use, and others may: what waits for the store keeps waiting.
    pub(super) fn elsewhere(self, why: &str) -> Self {
        match self {
            state @ (Self::Suspect(_) | Self::Unsaved(_)) => state,
            Self::None | Self::Held | Self::Ended(_) => Self::Ended(why.into()),
        }
    }
}
