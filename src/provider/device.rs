//! Device login (RFC 8628): what the endpoints' answers mean, and how often to ask. The wire is
//! the provider's own.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use url::Url;

use super::token_client::{TokenResponse, seconds};
use super::{Grant, TokenError};
use crate::secret::Secret;

/// The interval if the provider names none (RFC 8628 §3.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// What `slow_down` adds, for good (RFC 8628 §3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);
/// No interval and no `Retry-After` is followed for longer.
const LONGEST: Duration = Duration::from_mins(1);
/// A code that names no lifetime, or an odd one, lives this long.
const LIFETIME: Duration = Duration::from_mins(15);

/// A provider that lets the user log in on another device.
#[async_trait]
pub trait DeviceLogin: Send + Sync {
    /// Asks for a code.
    ///
    /// # Errors
    /// [`DeviceError::Refused`] when the provider won't, [`DeviceError::Unreachable`] when it can't
    /// be asked.
    async fn begin(&self) -> Result<DeviceCode, DeviceError>;

    /// Asks once whether the user has said yes.
    ///
    /// # Errors
    /// [`DeviceError`] ends the login.
    async fn poll(&self, code: &DeviceCode) -> Result<Poll, DeviceError>;
}

/// What the user is shown, and what the provider is asked with.
#[derive(Debug, Clone)]
pub struct DeviceCode {
    pub(super) secret: Secret,
    /// What the user types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// How long the code lives from its receipt.
    pub expires_in: Duration,
    /// The wait between two polls at the start.
    pub interval: Duration,
    /// Whether the address is https on the provider's own host, so that a browser may be sent there.
    pub trusted_uri: bool,
}

/// What a poll came to.
#[derive(Debug)]
pub enum Poll {
    /// The user said yes.
    Granted(Grant),
    /// Not yet.
    Pending,
    /// Not yet, and the polls come too fast.
    SlowDown,
    /// No answer about the grant: the network, or the edge before the provider.
    Busy {
        /// What happened.
        what: String,
        /// The server's wish.
        retry_after: Option<Duration>,
    },
}

/// Why a device login came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The user said no.
    #[error("the login was declined on the provider's page")]
    Denied,
    /// The user did not confirm in time.
    #[error("the code expired before the login was confirmed")]
    Expired,
    /// The provider won't.
    #[error("the provider refused the login ({code}): {description}")]
    Refused {
        /// The OAuth error code.
        code: String,
        /// The provider's words, shortened.
        description: String,
    },
    /// No code could be got.
    #[error("{what}")]
    Unreachable {
        /// What happened.
        what: String,
    },
}

/// The wait before each poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollPace {
    interval: Duration,
    failures: u32,
}

impl PollPace {
    /// As the code says.
    pub fn of(code: &DeviceCode) -> Self {
        Self {
            interval: code.interval,
            failures: 0,
        }
    }

    /// The wait before the first poll.
    pub fn first(&self) -> Duration {
        self.interval
    }

    /// The wait after a poll that was not the last: `slow_down` lengthens it for good, an answer
    /// that did not come doubles it for a while (RFC 8628 §3.5).
    pub fn after(&mut self, poll: &Poll) -> Duration {
        match poll {
            Poll::Granted(_) => Duration::ZERO,
            Poll::Pending => {
                self.failures = 0;
                self.interval
            }
            Poll::SlowDown => {
                self.failures = 0;
                self.interval = self.interval.saturating_add(SLOW_DOWN).min(LONGEST);
                self.interval
            }
            Poll::Busy { retry_after, .. } => {
                self.failures = self.failures.saturating_add(1).min(6);
                let doubled = self
                    .interval
                    .saturating_mul(2_u32.saturating_pow(self.failures));
                let asked = retry_after.unwrap_or_default().min(LONGEST);
                doubled.min(LONGEST).max(asked).max(self.interval)
            }
        }
    }
}

impl DeviceCode {
    /// Reads a device authorization answer (RFC 8628 §3.2). `trusted` says whether an address is
    /// the provider's own.
    pub(super) fn read(
        answer: TokenResponse,
        trusted: impl Fn(&str) -> bool,
    ) -> Result<Self, DeviceError> {
        let fields = answer
            .granted_by("the device endpoint", "device_code")
            .map_err(|error| refused(error, "gives no device code"))?;
        let text = |key: &str| text(&fields, key);
        let missing = |key: &str| DeviceError::Unreachable {
            what: format!("the provider's answer has no `{key}`"),
        };
        let verification_uri =
            text("verification_uri").ok_or_else(|| missing("verification_uri"))?;
        if !is_web(&verification_uri) {
            return Err(DeviceError::Unreachable {
                what: "the provider's `verification_uri` is not a web address (http or https)"
                    .to_owned(),
            });
        }
        let complete = text("verification_uri_complete").filter(|address| is_web(address));
        let life = Duration::from_secs(seconds(fields.get("expires_in")));
        let interval = Duration::from_secs(seconds(fields.get("interval")));
        Ok(Self {
            secret: Secret::new(text("device_code").ok_or_else(|| missing("device_code"))?),
            user_code: text("user_code").ok_or_else(|| missing("user_code"))?,
            trusted_uri: trusted(complete.as_deref().unwrap_or(&verification_uri)),
            verification_uri,
            verification_uri_complete: complete,
            expires_in: if life.is_zero() {
                LIFETIME
            } else {
                life.min(LIFETIME.saturating_mul(4))
            },
            interval: if interval.is_zero() {
                INTERVAL
            } else {
                interval.min(LONGEST)
            },
        })
    }
}

/// Whether a person may be sent there: a browser opens other schemes on the machine itself.
fn is_web(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| ["http", "https"].contains(&url.scheme()))
}

fn text(fields: &Map<String, Value>, key: &str) -> Option<String> {
    let text = fields.get(key)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What an answer of the token endpoint means to a poll (RFC 8628 §3.5).
pub(super) fn polled(answer: Result<TokenResponse, TokenError>) -> Result<Poll, DeviceError> {
    let busy = |what, retry_after| Ok(Poll::Busy { what, retry_after });
    let answer = match answer {
        Ok(answer) => answer,
        Err(
            TokenError::Lost { what, retry_after }
            | TokenError::Transient {
                what, retry_after, ..
            },
        ) => {
            return busy(what, retry_after);
        }
        Err(error) => return Err(refused(error, "does not grant the login")),
    };
    if let Some(code) = answer.error_code() {
        match code.as_str() {
            "authorization_pending" => return Ok(Poll::Pending),
            "slow_down" => return Ok(Poll::SlowDown),
            "access_denied" => return Err(DeviceError::Denied),
            "expired_token" => return Err(DeviceError::Expired),
            _ => {}
        }
    }
    redirected(&answer)?;
    // A 4xx in OAuth's form is about the grant; anything else is from the edge before the provider.
    let final_word = answer.is_oauth_refusal();
    match answer.granted("access_token") {
        Ok(fields) => Ok(Poll::Granted(Grant::of_login(fields))),
        Err(
            TokenError::Transient {
                what, retry_after, ..
            }
            | TokenError::Lost { what, retry_after },
        ) if !final_word => busy(what, retry_after),
        Err(error) => Err(refused(error, "does not grant the login")),
    }
}

/// A redirect stays one: the tokens are asked for at the configured endpoint alone, so that asking again is of no use.
///
/// # Errors
/// [`DeviceError::Unreachable`] for a redirect.
pub(super) fn redirected(answer: &TokenResponse) -> Result<(), DeviceError> {
    if !answer.status().is_redirection() {
        return Ok(());
    }
    Err(DeviceError::Unreachable {
        what: format!(
            "the token endpoint answered {}, and hermes-proxyd follows no redirect with a login's codes",
            answer.status()
        ),
    })
}

fn refused(error: TokenError, what: &str) -> DeviceError {
    match error {
        TokenError::Rejected { code, description } => DeviceError::Refused { code, description },
        TokenError::AccessTokenRefused | TokenError::Lost { .. } | TokenError::Transient { .. } => {
            DeviceError::Unreachable {
                what: format!("the provider {what}: {error}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fields: &Value) -> TokenResponse {
        TokenResponse::of(200, fields)
    }

    #[test]
    fn a_person_is_sent_to_web_pages_alone() {
        let read = |address: &str, complete: &str| {
            let fields = serde_json::json!({
                "device_code": "d", "user_code": "u", "verification_uri": address,
                "verification_uri_complete": complete,
            });
            DeviceCode::read(answer(&fields), |_| true)
        };
        let page = "https://login.example/device";
        for other in [
            "file:///etc/passwd",
            "javascript:alert(1)",
            "ms-msdt:/id",
            "x",
        ] {
            assert!(
                matches!(read(other, page), Err(DeviceError::Unreachable { .. })),
                "{other}"
            );
            let read = read(page, other).unwrap();
            assert_eq!(read.verification_uri_complete, None, "{other}");
            assert_eq!(read.verification_uri, page);
        }
        assert!(read("http://login.example", page).is_ok());
    }

    #[test]
    fn a_redirect_ends_the_login() {
        let moved = polled(Ok(TokenResponse::of(307, &serde_json::json!({}))));
        assert!(matches!(moved, Err(DeviceError::Unreachable { .. })));
    }

    fn pace(interval: u64) -> PollPace {
        PollPace {
            interval: Duration::from_secs(interval),
            failures: 0,
        }
    }

    fn busy(retry_after: Option<u64>) -> Poll {
        Poll::Busy {
            what: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn slow_down_adds_five_seconds_for_good() {
        let mut pace = pace(1);
        assert_eq!(pace.after(&Poll::SlowDown).as_secs(), 6);
        assert_eq!(pace.after(&Poll::Pending).as_secs(), 6);
        assert_eq!(pace.after(&Poll::SlowDown).as_secs(), 11);
    }

    #[test]
    fn an_answer_that_does_not_come_doubles_the_wait_until_one_comes() {
        let mut pace = pace(5);
        assert_eq!(pace.after(&busy(None)).as_secs(), 10);
        assert_eq!(pace.after(&busy(None)).as_secs(), 20);
        assert_eq!(pace.after(&busy(Some(45))).as_secs(), 45);
        assert_eq!(pace.after(&busy(Some(7200))).as_secs(), 60);
        assert_eq!(pace.after(&Poll::Pending).as_secs(), 5);
    }
}
