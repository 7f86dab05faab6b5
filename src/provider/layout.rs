//! The layout of a provider's login in the credential store.
//!
//! Hermes Agent writes one block per provider, and the blocks differ in the place of the tokens, in
//! other fields of a login, and in whether there is a mirror. Only a [`Layout`] knows these names;
//! all other code reads [`LoginTokens`] and asks a [`Login`]. The names of the default methods are those
//! of RFC 6749 and of Hermes Agent's own tables, at the top of the block.

use std::fmt::Debug;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::login::Login;
use super::pool_row::{self, PoolRow};
use crate::secret::Secret;

const ACCESS: &str = "access_token";
const REFRESH: &str = "refresh_token";
const OBTAINED: &str = "obtained_at";
const EXPIRES: &str = "expires_at";
const COUNTDOWN: &str = "expires_in";
/// Where a login's end is noted.
pub(super) const ENDED: &str = "last_auth_error";
/// What only a mirror's file has.
const OF_MIRROR: [&str; 2] = ["_schema", "updated_at"];

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

/// A provider's place in the store, and what its fields mean. Pure: no file, no network, no clock.
pub trait Layout: Debug + Send + Sync {
    /// The block's name below `providers` and `credential_pool`.
    fn key(&self) -> &'static str;

    /// The file in the shared folder that mirrors the tokens for all profiles.
    fn mirror_file(&self) -> Option<&'static str> {
        None
    }

    /// Whether the login is in our own store alone: Hermes Agent knows no such provider.
    fn is_ours_alone(&self) -> bool {
        false
    }

    /// Whether the login is only in the root home's store, with any profile.
    fn is_in_root_only(&self) -> bool {
        false
    }

    /// The tokens of a block, or of a mirror.
    fn tokens(&self, login: &Login) -> LoginTokens {
        LoginTokens {
            access: login.secret(ACCESS),
            refresh: login.secret(REFRESH),
            minted: None,
            obtained: login.time(OBTAINED),
            expires: login.time(EXPIRES),
        }
    }

    /// Writes only the access and refresh tokens that are present into the block: for an answer
    /// that is not understood as a whole.
    fn put(&self, login: &mut Login, tokens: &LoginTokens) {
        for (key, token) in [(ACCESS, &tokens.access), (REFRESH, &tokens.refresh)] {
            if let Some(token) = token {
                login.set(key, token.expose().to_owned());
            }
        }
        if let Some(at) = tokens.obtained {
            login.set(OBTAINED, at.to_rfc3339());
        }
    }

    /// Takes the refresh token out.
    fn remove_refresh(&self, login: &mut Login) {
        login.remove(REFRESH);
    }

    /// Removes the tokens and their details; the addresses for their use stay.
    fn remove_tokens(&self, login: &mut Login) {
        for key in [ACCESS, REFRESH, EXPIRES, COUNTDOWN, OBTAINED] {
            login.remove(key);
        }
    }

    /// Removes all fields that the next grant sets.
    fn remove_grant(&self, login: &mut Login) {
        self.remove_tokens(login);
        for key in ["client_id", "scope"] {
            login.remove(key);
        }
    }

    /// Notes that the login has ended, in Hermes Agent's form.
    fn note_end(&self, login: &mut Login, end: &LoginEndReason<'_>) {
        let error = json!({
            "provider": end.provider,
            "code": end.code,
            "message": end.message,
            "reason": "hermes_proxyd_refresh_failure",
            "relogin_required": true,
            "at": end.at.to_rfc3339(),
        });
        login.set(ENDED, error);
    }

    /// The code in that note.
    fn end_code<'l>(&self, login: &'l Login) -> Option<&'l str> {
        login.fields().get(ENDED)?.get("code")?.as_str()
    }

    /// Takes that note out.
    fn forget_end(&self, login: &mut Login) {
        login.remove(ENDED);
    }

    /// Whether a field of the block only counts down from read to read.
    fn is_countdown(&self, key: &str) -> bool {
        key == COUNTDOWN
    }

    /// The block's value for a field that a row of the pool has too.
    fn row_value<'l>(&self, login: &'l Login, key: &str) -> Option<&'l Value> {
        login.fields().get(key)
    }

    /// The login in a row of the pool that Hermes Agent keeps in step with this block, in the block's
    /// layout; `None` for a row that is a separate login.
    fn of_row(&self, _row: &Map<String, Value>) -> Option<Login> {
        None
    }

    /// Lays the tokens of a row of the pool, and their details, out like a block. Each row that does not follow the
    /// block is a separate login; see [`pool_row::own_login`].
    fn lay_out(&self, login: &mut Login, row: &Map<String, Value>) {
        let row = PoolRow::new(row);
        let obtained = row.time("last_refresh").or_else(|| row.time(OBTAINED));
        let tokens = LoginTokens {
            access: row.access(),
            refresh: row.refresh(),
            obtained,
            ..LoginTokens::default()
        };
        self.put(login, &tokens);
    }

    /// What of a login goes into its row though the row lacks it, under these names.
    fn row_fields(&self) -> &'static [&'static str] {
        &[ACCESS, REFRESH]
    }

    /// The source that our rows name. Hermes Agent treats any name that begins with `manual:` as a separate login.
    fn row_source(&self) -> &'static str {
        pool_row::OWN
    }

    /// Where Hermes Agent sends the requests of a row.
    fn row_base_url(&self) -> Option<&'static str> {
        None
    }

    /// Copies such a row's tokens into `login` when they are known to be fresher at `now`, as after a
    /// rotation that was written to the row alone.
    fn merge_row(&self, _login: &mut Login, _row: &Login, _now: DateTime<Utc>) -> Merge {
        Merge::Same
    }

    /// The CA file that the login names for its provider.
    fn ca_file(&self, login: &Login) -> Option<PathBuf> {
        let file = login.fields().get("tls")?.get("ca_bundle")?.as_str()?;
        Some(file.into())
    }

    /// The block that a mirror alone makes.
    fn of_mirror(&self, mirror: &Login) -> Login {
        let mut login = mirror.clone();
        for key in OF_MIRROR {
            login.remove(key);
        }
        login
    }

    /// Whether a mirror would differ from `other`, apart from its time of writing.
    fn mirrors_differ(&self, mirror: &Login, other: &Login) -> bool {
        let other = other.fields();
        let mut fields = mirror.fields().iter();
        fields.any(|(key, value)| key != "updated_at" && other.get(key) != Some(value))
    }

    /// Copies the mirror's tokens into `login` when they are known to be fresher at `now`.
    fn merge_mirror(&self, _login: &mut Login, _mirror: &Login, _now: DateTime<Utc>) -> Merge {
        Merge::Same
    }

    /// What the mirror should hold for `login`; `None` when there is nothing to share.
    fn mirror(&self, _login: &Login, _now: DateTime<Utc>) -> Option<Login> {
        None
    }
}

/// Each block has one layout.
impl PartialEq for dyn Layout {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for dyn Layout {}
