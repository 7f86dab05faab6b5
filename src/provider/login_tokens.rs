//! A login's tokens, independent of its fields' names, and what becomes of them.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::secret::Secret;

pub(super) const ACCESS: &str = "access_token";
pub(super) const REFRESH: &str = "refresh_token";

/// A login's content, independent of its fields' names.
#[derive(Debug, Clone, Default)]
pub struct LoginTokens {
    /// The access token.
    pub access: Option<Secret>,
    /// The refresh token, which is single-use.
    pub refresh: Option<Secret>,
    /// A key that was minted with the access token.
    pub minted: Option<Secret>,
    /// When the tokens were obtained, by the clock of the program that wrote them.
    pub obtained: Option<DateTime<Utc>>,
    /// When the access token ends, as it was noted.
    pub expires: Option<DateTime<Utc>>,
}

impl LoginTokens {
    /// Whether there is anything that could be used.
    pub fn any(&self) -> bool {
        self.access.is_some() || self.refresh.is_some() || self.minted.is_some()
    }

    /// Fingerprints of the refresh and the access token.
    pub fn fingerprints(&self) -> Vec<String> {
        let tokens = self.refresh.iter().chain(&self.access);
        tokens.map(Secret::fingerprint).collect()
    }

    /// Whether it can both be used and be renewed.
    pub fn whole(&self) -> bool {
        self.access.is_some() && self.refresh.is_some()
    }

    /// The tokens of a token endpoint's answer (RFC 6749 §5.1), received at `now`.
    pub(super) fn of_answer(answer: &Map<String, Value>, now: DateTime<Utc>) -> Self {
        let token = |key: &str| {
            let text = answer.get(key)?.as_str()?;
            (!text.is_empty()).then(|| Secret::new(text.to_owned()))
        };
        Self {
            access: token(ACCESS),
            refresh: token(REFRESH),
            obtained: Some(now),
            ..Self::default()
        }
    }
}

/// Which of a login and its mirror, or its row of the pool, is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// They hold the same tokens, or the row is stale, which Hermes Agent notices by itself.
    Same,
    /// The other one's were fresher and have been taken.
    Taken,
    /// The mirror was left behind.
    MirrorBehind,
    /// It is unknown which one is spent: neither may overwrite the other.
    Undecided,
}

impl Merge {
    /// The result once the mirror was merged too.
    #[must_use]
    pub fn and_mirror(self, mirror: Self) -> Self {
        match (self, mirror) {
            (Self::Undecided, Self::Taken) => Self::Taken,
            (Self::Undecided, _) | (_, Self::Undecided) => Self::Undecided,
            (Self::Taken, _) => Self::Taken,
            (Self::Same | Self::MirrorBehind, mirror) => mirror,
        }
    }
}

/// Why a login has ended, in the store's form.
#[derive(Debug, Clone, Copy)]
pub struct LoginEndReason<'e> {
    /// The provider's name.
    pub provider: &'e str,
    /// The OAuth error code.
    pub code: &'e str,
    /// The provider's words, without any token.
    pub message: &'e str,
    /// When.
    pub at: DateTime<Utc>,
}
