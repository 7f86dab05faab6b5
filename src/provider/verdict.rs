//! What a provider's answer says about the credential of the request.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};

use super::skew;

/// An answer, as far as it has been read.
#[derive(Debug, Clone, Copy)]
pub struct ProviderReply<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub fields: &'a HeaderMap,
    /// The beginning of its body, once an adapter has asked for it. Nothing of an encoded one, which
    /// is not decoded.
    pub start: Option<&'a [u8]>,
    /// Whether that is the whole body: it ended within the limits of size and time.
    pub is_whole: bool,
}

/// When and with which login a request was answered, and whether it was sent while the provider was known to answer none.
#[derive(Debug, Clone, Copy)]
pub struct AnswerContext {
    /// When the answer's head came.
    pub at: DateTime<Utc>,
    /// Whether it was sent anyway.
    pub while_limited: bool,
    /// The place of the login that it was sent with among the provider's.
    pub login: usize,
}

/// Reads why the provider refuses the account out of an error's JSON: the code of a
/// [`Verdict::Blocked`], for `proxy status`.
pub type ReadError = fn(&[u8]) -> Option<&'static str>;

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is the client's, unchanged.
    Pass,
    /// The token was refused: renew it, and ask once more.
    RenewAndRetry,
    /// The account is refused, and not its token: no renewal and no new login helps, and the answer
    /// is the client's. The code says why, for `proxy status`.
    Blocked(&'static str),
    /// This login's quota is used up, and another one may be free. With a single login the answer
    /// passes.
    NextLogin {
        /// How long this one's quota is used up; `None` if the provider does not say.
        cooldown: Option<Duration>,
        /// The reason for `proxy status`, if it is more than the status.
        code: Option<&'static str>,
        /// The request or its model may be the reason, and no other login would have anything left for it either.
        may_be_request: bool,
    },
    /// The head is not enough. The beginning of the body, which is read before it goes to the
    /// client, may be.
    ReadOn,
}

/// The pause that an answer asks for: a number of seconds, or until a date by its own clock (RFC 9110 §10.2.3). Zero
/// for a date in the past, `None` if the answer names none or has no `Date`.
pub(super) fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    let asked = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(asked).ok()?.timestamp();
    let left = until.checked_sub(skew::sent(fields)?)?;
    left.max(0).try_into().ok().map(Duration::from_secs)
}

impl ProviderReply<'_> {
    /// How long the provider wants to be left alone, as far as it says.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.fields)
    }

    /// What the status alone says.
    pub fn by_status(&self) -> Verdict {
        match self.status {
            StatusCode::UNAUTHORIZED => Verdict::RenewAndRetry,
            StatusCode::PAYMENT_REQUIRED => Verdict::NextLogin {
                cooldown: self.retry_after(),
                code: None,
                may_be_request: true,
            },
            StatusCode::TOO_MANY_REQUESTS => {
                let told = self.retry_after();
                Verdict::NextLogin {
                    cooldown: told,
                    code: None,
                    may_be_request: told.is_none(),
                }
            }
            _ => Verdict::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_a_number_of_seconds_or_a_date_by_the_senders_clock() {
        let sent = Some("Thu, 26 Nov 2026 12:00:00 GMT");
        for (asked, date, expected) in [
            ("7", None, Some(7)),
            (" 7 ", sent, Some(7)),
            ("Thu, 26 Nov 2026 12:10:00 GMT", sent, Some(600)),
            ("Thu, 26 Nov 2026 11:59:00 GMT", sent, Some(0)),
            ("Thu, 26 Nov 2026 12:10:00 GMT", None, None),
            ("soon", sent, None),
            ("-7", sent, None),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(RETRY_AFTER, asked.parse().unwrap());
            if let Some(date) = date {
                fields.insert(hyper::header::DATE, date.parse().unwrap());
            }
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&fields), expected, "{asked} at {date:?}");
        }
    }
}
