//! What a provider's answer to a request says of the credential that the request carried.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::{HeaderMap, StatusCode};

/// An answer, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub fields: &'a HeaderMap,
    /// The beginning of its body, once an adapter has asked for it. A body that came whole within
    /// the limits is here whole.
    pub start: Option<&'a [u8]>,
}

/// When a request was answered, and whether it was sent while the provider was known to answer none.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// When the answer's head came.
    pub at: DateTime<Utc>,
    /// Whether it was sent all the same.
    pub while_limited: bool,
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is the client's, whatever it says.
    Pass,
    /// The token was refused: renew it, and ask once more.
    RenewAndRetry,
    /// The account is refused, and not its token: no renewal and no new login helps, and the answer
    /// is the client's. The code says why, for `proxy status`.
    Blocked(&'static str),
    /// This login has nothing left, and another one may have. With a single login the answer passes.
    NextLogin {
        /// How long this one has nothing; `None` where the provider does not say.
        cooldown: Option<Duration>,
    },
    /// The head does not tell. The beginning of the body, which comes before it goes to the client,
    /// may.
    ReadOn,
}
