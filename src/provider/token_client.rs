//! The OAuth wire that providers share: one POST, bounded in time and size, and what its answer
//! means (RFC 6749 §5).

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use reqwest::RequestBuilder;
use serde_json::{Map, Value};
use url::{Host, Url};
use zeroize::Zeroizing;

use super::proxies::Proxies;
use super::{Skew, TokenError, verdict};
use crate::causes::{chain, root, with_causes};
use crate::clock::{Clock, SystemClock};
use crate::redact::GONE;
use crate::secret::Secret;

/// The largest token answer; a larger one is rejected.
const LARGEST_ANSWER: usize = 256 * 1024;
/// Room for an answer, so that it need not move and leave a copy behind.
const USUAL_ANSWER: usize = 16 * 1024;
/// A provider's description is cut to this many characters.
const LONGEST_DESCRIPTION: usize = 200;
/// The share of a request's limit for connecting; so a limit that ends the request later means that
/// it was sent.
const CONNECT_PART: f64 = 0.6;
/// The codes that mean a dead grant; any other error may pass.
const DEAD: [&str; 3] = ["invalid_grant", "invalid_token", "refresh_token_reused"];

/// A client for token endpoints: no redirect is followed, nothing is decompressed, no connection
/// is kept.
#[derive(Debug, Clone)]
pub(super) struct TokenClient {
    /// Takes the proxy that the environment names.
    http: reqwest::Client,
    /// For this machine, which no proxy leads to.
    direct: reqwest::Client,
    skew: Arc<Skew>,
}

/// An answer of a token endpoint, whole.
#[derive(Debug)]
pub(super) struct TokenResponse {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Option<Map<String, Value>>,
    /// What the request carried, which no message repeats though the answer does.
    carried: Vec<Secret>,
}

impl TokenClient {
    /// A client with this trust store, and this limit for one whole request.
    pub(super) fn new(
        tls: rustls::ClientConfig,
        timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        let builder = |tls| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .user_agent(crate::USER_AGENT)
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .timeout(timeout)
                .connect_timeout(timeout.mul_f64(CONNECT_PART))
                .pool_max_idle_per_host(0)
        };
        Ok(Self {
            http: builder(tls.clone())
                .proxy(Proxies::from_env().for_reqwest())
                .build()?,
            direct: builder(tls).no_proxy().build()?,
            skew: Arc::default(),
        })
    }

    /// The client's request builder for a POST.
    pub(super) fn post(&self, url: &str) -> RequestBuilder {
        self.request(hyper::Method::POST, url)
    }

    /// The client's request builder for a GET, as of a document that names the endpoints.
    pub(super) fn get(&self, url: &str) -> RequestBuilder {
        self.request(hyper::Method::GET, url)
    }

    fn request(&self, method: hyper::Method, url: &str) -> RequestBuilder {
        let http = if is_loopback(url) {
            &self.direct
        } else {
            &self.http
        };
        http.request(method, url)
            .header(hyper::header::ACCEPT, "application/json")
    }

    /// This machine's clock by the answers.
    pub(super) fn skew(&self) -> &Skew {
        &self.skew
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// [`TokenError::Transient`] when the endpoint could not be reached, or answers without end;
    /// [`TokenError::Lost`] when the request was sent and no whole answer came.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<TokenResponse, TokenError> {
        let (client, request) = request.build_split();
        let request = request.map_err(|error| unanswered(error, None, true))?;
        let carried = carried(&request);
        let mut response = client
            .execute(request)
            .await
            .map_err(|error| unanswered(error, None, true))?;
        self.skew.hear(response.headers(), SystemClock.now());
        let status = response.status();
        let retry_after = verdict::retry_after(response.headers());
        let mut body = Zeroizing::new(Vec::with_capacity(USUAL_ANSWER));
        while let Some(part) = response
            .chunk()
            .await
            .map_err(|error| unanswered(error, retry_after, may_be_spent(status)))?
        {
            if body.len().saturating_add(part.len()) > LARGEST_ANSWER {
                let what =
                    format!("the token endpoint's answer is larger than {LARGEST_ANSWER} bytes");
                let may_be_spent = may_be_spent(status);
                return Err(TokenError::Transient {
                    may_be_spent,
                    what,
                    retry_after,
                });
            }
            body.extend_from_slice(&part);
        }
        Ok(TokenResponse {
            status,
            retry_after,
            body: serde_json::from_slice(&body).ok(),
            carried,
        })
    }
}

/// Tokens, keys and codes in a request's headers and form.
fn carried(request: &reqwest::Request) -> Vec<Secret> {
    const SHORTEST: usize = 8;
    const SECRETS: [&str; 5] = [
        "refresh_token",
        "device_code",
        "code",
        "code_verifier",
        "client_secret",
    ];
    let headers = request.headers().values();
    let headers = headers
        .filter(|value| value.is_sensitive())
        .filter_map(|value| value.to_str().ok()?.split(' ').next_back());
    let form = request.body().and_then(reqwest::Body::as_bytes);
    let form = url::form_urlencoded::parse(form.unwrap_or_default());
    let form = form.filter(|(key, _)| SECRETS.contains(&key.as_ref()));
    // A short one inside a word means nothing.
    let headers = headers
        .filter(|text| text.len() >= SHORTEST)
        .map(str::to_owned);
    let form = form.filter(|(_, value)| value.len() >= SHORTEST);
    let form = form.map(|(_, value)| value.into_owned());
    headers.chain(form).map(Secret::new).collect()
}

/// Whether the URL is this machine's, which no proxy leads to.
pub(super) fn is_loopback(url: &str) -> bool {
    let url = Url::parse(url);
    match url.as_ref().ok().and_then(Url::host) {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

impl TokenResponse {
    #[cfg(test)]
    pub(super) fn of(status: u16, body: &Value) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            retry_after: None,
            body: body.as_object().cloned(),
            carried: Vec::new(),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The server's wish.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The object of a 200.
    pub(super) fn ok(self) -> Option<Map<String, Value>> {
        self.body.filter(|_| self.status == StatusCode::OK)
    }

    /// What the answer is refused with: the OAuth error code and its description, shortened and
    /// without any token.
    pub(super) fn refusal(&self) -> (String, String) {
        let nothing = Map::new();
        oauth_error(self.body.as_ref().unwrap_or(&nothing), &self.carried)
    }

    /// Whether the endpoint refused the bearer that the request carried.
    pub(super) fn is_unauthorized(&self) -> bool {
        matches!(
            self.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        )
    }

    /// The OAuth error code (RFC 6749 §5.2), if the answer names one.
    pub(super) fn error_code(&self) -> Option<String> {
        let body = self
            .body
            .as_ref()
            .filter(|body| body.contains_key("error"))?;
        Some(oauth_error(body, &self.carried).0)
    }

    /// Whether it is a refusal in OAuth's form: about the grant, and not the edge's.
    pub(super) fn is_oauth_refusal(&self) -> bool {
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        self.status.is_client_error()
            && !passing.contains(&self.status)
            && self.error_code().is_some()
    }

    /// The granted fields, if the answer is a 200 with a text at `required`.
    ///
    /// # Errors
    /// [`TokenError::Rejected`] for 400, 401 and 403 with a code that means a dead grant, otherwise
    /// [`TokenError::Transient`].
    pub(super) fn granted(self, required: &str) -> Result<Map<String, Value>, TokenError> {
        self.granted_by("the token endpoint", required)
    }

    /// The same of another endpoint, as messages call it.
    ///
    /// # Errors
    /// As [`TokenResponse::granted`].
    pub(super) fn granted_by(
        self,
        who: &str,
        required: &str,
    ) -> Result<Map<String, Value>, TokenError> {
        let Self {
            status,
            retry_after,
            body,
            carried,
            ..
        } = self;
        let transient = |what: String| {
            Err(TokenError::Transient {
                may_be_spent: may_be_spent(status),
                what,
                retry_after,
            })
        };
        let Some(body) = body else {
            return transient(format!("{who} answered {status} without a JSON object"));
        };
        if status == StatusCode::OK {
            let text = body
                .get(required)
                .and_then(Value::as_str)
                .unwrap_or_default();
            if text.trim().is_empty() {
                return transient(format!("{who} answered 200 without `{required}`"));
            }
            return Ok(body);
        }
        let (code, description) = oauth_error(&body, &carried);
        let refused = matches!(status.as_u16(), 400 | 401 | 403);
        if refused && DEAD.contains(&code.as_str()) {
            return Err(TokenError::Rejected { code, description });
        }
        transient(format!("{who} answered {status} ({code}): {description}"))
    }
}

/// Code and description of an error answer: `{"error": "…", "error_description": "…"}`, or
/// `{"error": {"code": "…", "message": "…"}}`, which may have a type instead of a code.
fn oauth_error(body: &Map<String, Value>, carried: &[Secret]) -> (String, String) {
    let text = |value: Option<&Value>| Some(shortened(value?.as_str()?, carried));
    let error = body.get("error");
    let inner = error.and_then(Value::as_object);
    let code = text(error)
        .or_else(|| text(inner?.get("code")))
        .or_else(|| text(inner?.get("type")));
    let description = text(body.get("error_description")).or_else(|| text(inner?.get("message")));
    (
        code.unwrap_or_else(|| "no error code".to_owned()),
        description.unwrap_or_else(|| "no description".to_owned()),
    )
}

/// One line of at most 200 characters, without anything that looks like a token, or was carried as one.
pub(super) fn shortened(text: &str, carried: &[Secret]) -> String {
    let is_secret = |word: &str| word.len() > 40 || carried.iter().any(|secret| secret.is_in(word));
    let words = text
        .split_whitespace()
        .map(|word| if is_secret(word) { GONE } else { word });
    let line: String = words.collect::<Vec<_>>().join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_DESCRIPTION)
        .collect()
}

/// A lifetime in whole seconds: a number, or a number in a text. Anything else, and negative
/// values, count as zero; more than ten years count as ten years.
pub(super) fn seconds(value: Option<&Value>) -> u64 {
    const TEN_YEARS: f64 = 315_360_000.0;
    let number = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    let number = number
        .filter(|number| number.is_finite())
        .unwrap_or_default();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped"
    )]
    {
        number.clamp(0.0, TEN_YEARS) as u64
    }
}

/// What went wrong, with the host and the root cause. A connection that was never established has
/// carried nothing. `told` is false if the answer's status proves that nothing was spent.
fn unanswered(error: reqwest::Error, retry_after: Option<Duration>, told: bool) -> TokenError {
    let host = error
        .url()
        .and_then(Url::host_str)
        .unwrap_or("the provider")
        .to_owned();
    let error = error.without_url();
    let sent = told && !(error.is_connect() || error.is_builder());
    if sent {
        let what = format!("the answer from {host} was lost: {}", with_causes(&error));
        return TokenError::Lost { what, retry_after };
    }
    let what = if error.is_connect() {
        format!("can't reach {host}: {}", unconnected(&error))
    } else {
        format!("the request to {host} failed: {}", with_causes(&error))
    };
    TokenError::Transient {
        may_be_spent: false,
        what,
        retry_after,
    }
}

/// Why there is no connection, for a reader who knows nothing of our layers.
fn unconnected(error: &reqwest::Error) -> String {
    let chain = || chain(error);
    // hyper-util's connector marks a failed look-up by these words only.
    if chain().any(|cause| cause.to_string() == "dns error") {
        return "its name can't be resolved; this machine may be offline".to_owned();
    }
    let kinds = chain().filter_map(|cause| Some(cause.downcast_ref::<std::io::Error>()?.kind()));
    let away = [
        ErrorKind::NetworkUnreachable,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkDown,
    ];
    if kinds.into_iter().any(|kind| away.contains(&kind)) {
        return "the network is unreachable; this machine may be offline".to_owned();
    }
    root(error).to_string()
}

/// Whether an answer with this status, other than a grant, leaves the token's fate open.
///
/// Only three kinds of answers prove that the request was not carried out: a redirect (300 to 399),
/// a refusal of the request with a status that the RFCs know (400 to 451; the last registered one),
/// and 503, by which the server or its gateway says that it did not take the request. Any other may
/// come from an edge that lost the provider's answer on its way back: 500, 502 and 504 do, 520 to
/// 530 of Cloudflare and 561 and such of others do, nginx's 499 does, and so does a success that
/// can't be read.
fn may_be_spent(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 300..=451 | 503)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> TokenResponse {
        TokenResponse {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(Duration::from_secs(7)),
            body: body.as_object().cloned(),
            carried: Vec::new(),
        }
    }

    #[test]
    fn only_the_dead_codes_of_a_refusal_mean_a_dead_grant() {
        for code in DEAD {
            for status in [400, 401, 403] {
                let error = answer(status, &json!({"error": code})).granted("access_token");
                assert!(
                    matches!(error, Err(TokenError::Rejected { .. })),
                    "{status} {code}"
                );
            }
        }
        let nested = json!({"error": {"code": "refresh_token_reused", "message": "spent"}});
        let error = answer(401, &nested).granted("access_token").unwrap_err();
        assert!(
            matches!(error, TokenError::Rejected { .. }) && error.to_string().contains("spent")
        );
    }

    #[test]
    fn everything_else_may_pass() {
        for (status, body) in [
            (200, json!({})),
            (200, json!({"access_token": " "})),
            (200, json!("captive portal")),
            (302, json!(null)),
            (400, json!({"error": "invalid_client"})),
            (403, json!({"message": "edge"})),
            (429, json!({"error": "invalid_grant"})),
            (500, json!({"error": "invalid_grant"})),
        ] {
            let error = answer(status, &body).granted("access_token").unwrap_err();
            let TokenError::Transient { retry_after, .. } = error else {
                panic!("{status} {body}")
            };
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn a_token_is_unspent_only_where_the_answer_says_so() {
        let told = |status: u16| {
            let error = answer(status, &json!({})).granted("access_token");
            match error {
                Err(TokenError::Transient { may_be_spent, .. }) => may_be_spent,
                other => panic!("{status}: {other:?}"),
            }
        };
        for status in [
            301, 302, 307, 400, 401, 403, 404, 405, 408, 425, 429, 451, 503,
        ] {
            assert!(!told(status), "{status}");
        }
        for status in (500..=599).filter(|status| *status != 503) {
            assert!(told(status), "{status}");
        }
        for status in [200, 204, 460, 463, 494, 499] {
            assert!(told(status), "{status}");
        }
    }

    #[test]
    fn a_description_is_short_and_holds_no_token() {
        let token = "t".repeat(60);
        let body = json!({"error": "invalid_grant", "error_description": format!("{token} {}", "x ".repeat(500))});
        let (_, description) = oauth_error(body.as_object().unwrap(), &[]);
        assert!(
            !description.contains(&token) && description.len() <= 200,
            "{description}"
        );
    }
}
