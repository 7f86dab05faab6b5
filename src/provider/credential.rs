//! What goes upstream with a request, and how it is got.

use chrono::{DateTime, Utc};
use hyper::header::{HeaderName, HeaderValue};

use super::BaseUrl;
use crate::secret::Secret;

/// What goes upstream with a request.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The bearer itself, to compare credentials with.
    pub bearer: Secret,
    /// The ready `Authorization` value, marked sensitive; empty for a server that gets none.
    pub authorization: HeaderValue,
    /// The only address that it may go to.
    pub base_url: BaseUrl,
    /// Which kind of bearer it is, for `proxy status`.
    pub kind: BearerKind,
    /// When it was issued, as far as that is known.
    pub issued_at: Option<DateTime<Utc>>,
    /// When the provider stops taking it; `None` never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Header fields that the provider requires besides the bearer, such as the account's id. They
    /// replace what a client sent under these names. A value that identifies the account is marked
    /// sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A kind of bearer, in the adapter's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BearerKind {
    name: &'static str,
    from: Renewal,
}

impl BearerKind {
    /// A fixed API key.
    pub const API_KEY: Self = Self::new("api_key", Renewal::Never);

    /// Nothing: the server takes requests without a key.
    pub const NO_KEY: Self = Self::new("none", Renewal::Never);

    /// A kind of this name, as `proxy status --json` has it, which renewals of this way give.
    pub const fn new(name: &'static str, from: Renewal) -> Self {
        Self { name, from }
    }

    /// Whether a renewal of this way gives a bearer of this kind.
    pub fn is_from(self, renewal: Renewal) -> bool {
        self.from != Renewal::Never && self.from == renewal
    }

    /// The name as shown in `proxy status --json`.
    pub fn as_str(self) -> &'static str {
        self.name
    }
}

/// What a stored login allows at some moment.
#[derive(Debug, Clone)]
pub enum Assessment {
    /// There is a login.
    Login {
        /// What can go upstream right now.
        credential: Option<Credential>,
        /// How to get the next one.
        renewal: Renewal,
    },
    /// There is no login, or it is dead: the user must log in.
    NoLogin {
        /// Why, as a short clause.
        reason: String,
    },
}

/// How the next credential is got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Spend the refresh token.
    Refresh,
    /// Have a key minted for the access token, which is still good.
    Mint,
    /// Not at all.
    Never,
}
