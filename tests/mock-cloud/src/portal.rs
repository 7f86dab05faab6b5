//! The portal: device login, the token endpoint with rotation and reuse detection, agent keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::form_urlencoded;

use crate::authorize::is_discovery;
use crate::body::AnswerBody;
use crate::clock::Clock;
use crate::faults::{Canned, Endpoint, Faults, PortalFault};
use crate::options::{Options, Policy, ReuseError};
use crate::record::{Counts, Log};
use crate::server::{Connection, Hangup, Service};
use crate::steering::Steering;
use crate::tokens::{Device, Presented, Tokens, span};
use crate::{admin, codex, lock};

/// A request to the portal.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// The status of the answer; 0 when there is none.
    pub status: u16,
    /// What was in its form. Holds secrets.
    pub form: std::collections::HashMap<String, String>,
    /// When the request had been read.
    pub received: Instant,
    /// When a refresh token was spent by it.
    pub committed: Option<Instant>,
    /// When the answer was handed to the connection; `None` while it is not, or when the client had
    /// left before.
    pub answered: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Portal {
    pub(crate) clock: Arc<Clock>,
    pub(crate) tokens: Arc<Mutex<Tokens>>,
    pub(crate) policy: Arc<Mutex<Policy>>,
    pub(crate) log: Arc<Log>,
    pub(crate) faults: [Faults<PortalFault>; 5],
    pub(crate) calls: Mutex<Vec<Call>>,
    /// In place of the true discovery document.
    pub(crate) document: Mutex<Option<Canned>>,
    /// What the login pages were asked for.
    pub(crate) pages: Mutex<Vec<Form>>,
    /// The page's user says no.
    pub(crate) declines: Mutex<bool>,
    pub(crate) in_flight: Arc<AtomicU64>,
    pub(crate) options: Options,
}

pub(crate) type Form = std::collections::HashMap<String, String>;

impl Service for Portal {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> Result<Response<AnswerBody>, Hangup> {
        let under_way = UnderWay::begin(&self.in_flight);
        let (head, body) = request.into_parts();
        let body = http_body_util::BodyExt::collect(body)
            .await
            .map_err(|_| Hangup)?
            .to_bytes();
        if let Some(answer) = admin::answer(&self, &head) {
            return Ok(render(answer));
        }
        if is_discovery(head.uri.path()) {
            return Ok(render(self.discovery(&head)));
        }
        if head.method == Method::GET
            && ["/oauth2/authorize", "/oauth/authorize"].contains(&head.uri.path())
        {
            return Ok(render(self.page(&head)));
        }
        let form: Form = form_urlencoded::parse(&body).into_owned().collect();
        let Some(endpoint) = endpoint(&head, &form) else {
            return Ok(render(Canned::oauth_error(
                404,
                "not_found",
                "no such endpoint",
            )));
        };
        // What has begun is finished, whether or not the client waits for it.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let portal = self.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "a server outlives its clients' patience"
        )]
        tokio::spawn(async move {
            let number = {
                let mut calls = lock(&portal.calls);
                calls.push(Call::begin(endpoint, form.clone()));
                calls.len() - 1
            };
            let request = Asked {
                endpoint,
                number,
                head,
                form,
                body,
            };
            let answer = portal.process(&request).await;
            portal.note(number, |call| {
                call.status = answer.as_ref().map_or(0, Answer::status);
            });
            sender.send((number, answer)).ok();
            drop(under_way);
        });
        let (number, answer) = receiver.await.map_err(|_| Hangup)?;
        let answer = answer?;
        self.note(number, |call| call.answered = Some(Instant::now()));
        Ok(match answer {
            Answer::Whole(canned) => render(canned),
            Answer::Endless => Response::new(AnswerBody::endless(vec![b' '; 16 * 1024])),
            Answer::Cut(canned) => {
                let steering = Steering {
                    cut_after_bytes: Some(canned.body.len() as u64 / 2),
                    ..Steering::default()
                };
                let cut = |body: AnswerBody| body.steered(&steering, connection.reset);
                render(canned).map(cut)
            }
        })
    }
}

/// A request, whole, and its number among the calls.
#[derive(Debug)]
pub(crate) struct Asked {
    endpoint: Endpoint,
    number: usize,
    pub(crate) head: Parts,
    pub(crate) form: Form,
    body: bytes::Bytes,
}

/// An answer and how it is sent.
#[derive(Debug)]
enum Answer {
    Whole(Canned),
    /// The connection ends in the middle of it.
    Cut(Canned),
    Endless,
}

impl Answer {
    fn status(&self) -> u16 {
        match self {
            Self::Whole(canned) | Self::Cut(canned) => canned.status.as_u16(),
            Self::Endless => 200,
        }
    }
}

impl Call {
    fn begin(endpoint: Endpoint, form: Form) -> Self {
        Self {
            endpoint,
            status: 0,
            form,
            received: Instant::now(),
            committed: None,
            answered: None,
        }
    }
}

/// Counts a request until it is processed.
#[derive(Debug)]
struct UnderWay(Arc<AtomicU64>);

impl UnderWay {
    fn begin(counter: &Arc<AtomicU64>) -> Self {
        counter.fetch_add(1, Ordering::AcqRel);
        Self(counter.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The endpoints of OpenAI's own kind of device login.
const USER_CODE: &str = "/api/accounts/deviceauth/usercode";
const POLL: &str = "/api/accounts/deviceauth/token";

fn endpoint(head: &Parts, form: &Form) -> Option<Endpoint> {
    if head.method != Method::POST {
        return None;
    }
    match head.uri.path() {
        "/api/oauth/device/code" | "/oauth2/device/code" | USER_CODE => Some(Endpoint::DeviceCode),
        "/api/oauth/agent-key" => Some(Endpoint::AgentKey),
        "/api/oauth/token" | "/oauth2/token" if form.contains_key("device_code") => {
            Some(Endpoint::DevicePoll)
        }
        POLL => Some(Endpoint::DevicePoll),
        "/oauth/token" | "/api/oauth/token" | "/oauth2/token" if form.contains_key("code") => {
            Some(Endpoint::Exchange)
        }
        "/oauth/token" | "/api/oauth/token" | "/oauth2/token" => Some(Endpoint::Refresh),
        _ => None,
    }
}

impl Portal {
    pub(crate) fn faults(&self, endpoint: Endpoint) -> &Faults<PortalFault> {
        &self.faults[endpoint as usize]
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Acquire)
    }

    fn note(&self, number: usize, change: impl FnOnce(&mut Call)) {
        change(&mut lock(&self.calls)[number]);
    }

    async fn process(&self, asked: &Asked) -> Result<Answer, Hangup> {
        self.count(asked.endpoint);
        let fault = self.faults(asked.endpoint).next();
        let rotate = !matches!(fault, Some(PortalFault::KeepRefreshToken));
        match &fault {
            Some(PortalFault::Answer(canned)) => return Ok(Answer::Whole(canned.clone())),
            Some(PortalFault::LateAnswer(delay, canned)) => {
                tokio::time::sleep(*delay).await;
                return Ok(Answer::Whole(canned.clone()));
            }
            Some(PortalFault::HeldAnswer(gate, canned)) => {
                gate.acquire().await.map_err(|_| Hangup)?.forget();
                return Ok(Answer::Whole(canned.clone()));
            }
            Some(PortalFault::DropBeforeCommit) => return Err(Hangup),
            Some(PortalFault::EndlessBody) => return Ok(Answer::Endless),
            Some(PortalFault::DelayBefore(delay)) => tokio::time::sleep(*delay).await,
            Some(PortalFault::HeldBefore(gate)) => {
                gate.acquire().await.map_err(|_| Hangup)?.forget();
            }
            _ => {}
        }
        let path = asked.head.uri.path();
        let answer = match asked.endpoint {
            Endpoint::DeviceCode if path == USER_CODE => self.codex_user_code(&asked.body),
            Endpoint::DevicePoll if path == POLL => self.codex_poll(&asked.body),
            Endpoint::Exchange if self.is_of_device(&asked.form) => {
                self.codex_exchange(&asked.head, &asked.form)
            }
            Endpoint::DeviceCode => self.device_code(&asked.form),
            Endpoint::DevicePoll => self.device_poll(&asked.form),
            Endpoint::Refresh => self.refresh(asked, rotate),
            Endpoint::AgentKey => self.agent_key(&asked.head, &asked.body),
            Endpoint::Exchange => self.exchange(asked),
        };
        Ok(Answer::Whole(match fault {
            Some(PortalFault::AnswerAfterCommit(canned)) => canned,
            Some(PortalFault::DropAfterCommit) => return Err(Hangup),
            Some(PortalFault::CutAfterCommit) => return Ok(Answer::Cut(answer)),
            Some(PortalFault::DelayAfterCommit(delay)) => {
                tokio::time::sleep(delay).await;
                answer
            }
            Some(PortalFault::HeldAfterCommit(gate)) => {
                gate.acquire().await.map_err(|_| Hangup)?.forget();
                answer
            }
            Some(PortalFault::EditAnswer(edit)) => edited(answer, &edit),
            Some(PortalFault::NullAnswer(member)) => with_null(answer, member),
            _ => answer,
        }))
    }

    fn count(&self, endpoint: Endpoint) {
        self.log.count(|counts: &mut Counts| match endpoint {
            Endpoint::Refresh => counts.refresh_calls += 1,
            Endpoint::AgentKey => counts.mint_calls += 1,
            Endpoint::DevicePoll => counts.device_polls += 1,
            Endpoint::DeviceCode | Endpoint::Exchange => {}
        });
    }

    fn refresh(&self, asked: &Asked, rotate: bool) -> Canned {
        let Asked { head, form, .. } = asked;
        if form.get("grant_type").map(String::as_str) != Some("refresh_token") {
            return Canned::oauth_error(400, "unsupported_grant_type", "refresh_token expected");
        }
        if form.get("client_id") != Some(&self.options.client_id) {
            return Canned::oauth_error(400, "invalid_client", "unknown client_id");
        }
        if !self.knows_client(asked) {
            return Canned::oauth_error(401, "invalid_client", "the secret is wrong");
        }
        let header = head
            .headers
            .get("x-nous-refresh-token")
            .and_then(|v| v.to_str().ok());
        let Some(token) = header.or_else(|| form.get("refresh_token").map(String::as_str)) else {
            return Canned::oauth_error(400, "invalid_request", "no refresh token");
        };
        let policy = lock(&self.policy).clone();
        let presented = lock(&self.tokens).present(token, &policy, self.clock.now(), rotate);
        match presented {
            Presented::Reissued(login) => {
                self.log.count(|counts| counts.reissues += 1);
                Canned::json(200, &self.token_answer(&login))
            }
            Presented::Rotated(login) => {
                if rotate {
                    self.note(asked.number, |call| call.committed = Some(Instant::now()));
                }
                self.log.count(|counts| counts.refreshes += 1);
                let mut answer = self.token_answer(&login);
                if !rotate {
                    answer
                        .as_object_mut()
                        .expect("an object")
                        .remove("refresh_token");
                }
                Canned::json(200, &answer)
            }
            Presented::Reused => {
                self.log.count(|counts| counts.reuse_events += 1);
                let code = match self.options.reuse_error {
                    ReuseError::InvalidGrant => "invalid_grant",
                    ReuseError::RefreshTokenReused => "refresh_token_reused",
                };
                if self.options.policy.account.is_some() {
                    return codex::error_object(401, "refresh_token_reused", "already used");
                }
                Canned::oauth_error(400, code, "refresh token reuse detected")
            }
            Presented::Unknown => {
                Canned::oauth_error(400, "invalid_grant", "the refresh token is not valid")
            }
        }
    }

    pub(crate) fn token_answer(&self, login: &crate::Login) -> Value {
        let mut answer = json!({
            "access_token": login.access_token,
            "refresh_token": login.refresh_token,
            "token_type": "Bearer",
            "expires_in": login.expires_in,
            "scope": login.scope,
        });
        if let Some(told) = &self.options.told_lifetime {
            let fields = answer.as_object_mut().expect("an object");
            fields.insert("expires_in".to_owned(), told.clone());
            fields.retain(|_, value| !value.is_null());
        }
        if let Some(url) = &self.options.announced_inference_url {
            answer["inference_base_url"] = json!(url);
        }
        answer
    }

    fn agent_key(&self, head: &Parts, body: &[u8]) -> Canned {
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        let min_ttl = wanted["min_ttl_seconds"].as_u64().unwrap_or(1800);
        if min_ttl < 60 {
            return Canned::oauth_error(400, "invalid_request", "min_ttl_seconds is at least 60");
        }
        let token = bearer(head).unwrap_or_default();
        let ttl = lock(&self.policy).agent_key_ttl;
        let now = self.clock.now();
        let key = lock(&self.tokens).mint(token, Duration::from_secs(min_ttl), ttl, now);
        let Some(key) = key else {
            return Canned::oauth_error(401, "invalid_token", "the access token is not valid");
        };
        let mut answer = json!({
            "api_key": key.key,
            "key_id": key.id,
            "expires_at": key.expires_at.to_rfc3339(),
            "expires_in": (key.expires_at - now).num_seconds(),
            "reused": key.reused,
        });
        if let Some(url) = &self.options.announced_inference_url {
            answer["inference_base_url"] = json!(url);
        }
        Canned::json(200, &answer)
    }

    fn device_code(&self, form: &Form) -> Canned {
        if form.get("client_id") != Some(&self.options.client_id) {
            return Canned::oauth_error(400, "invalid_client", "unknown client_id");
        }
        let mut tokens = lock(&self.tokens);
        let code = tokens.secret("dc");
        let user_code = format!(
            "{:04}-{:04}",
            fastrand::u32(..10_000),
            fastrand::u32(..10_000)
        );
        let device = Device {
            user_code: user_code.clone(),
            expires_at: self.clock.now() + span(self.options.device_lifetime),
            interval: self.options.interval,
            last_poll: None,
            verdict: None,
        };
        tokens.devices.insert(code.clone(), device);
        Canned::json(
            200,
            &json!({
                "device_code": code,
                "user_code": user_code,
                "verification_uri": "https://portal.nousresearch.com/device",
                "verification_uri_complete":
                    format!("https://portal.nousresearch.com/device?user_code={user_code}"),
                "expires_in": self.options.device_lifetime.as_secs(),
                "interval": self.options.interval,
            }),
        )
    }

    fn device_poll(&self, form: &Form) -> Canned {
        let code = form.get("device_code").cloned().unwrap_or_default();
        let now = self.clock.now();
        let mut tokens = lock(&self.tokens);
        let Some(device) = tokens.devices.get_mut(&code) else {
            return Canned::oauth_error(400, "invalid_grant", "unknown device code");
        };
        if device.expires_at <= now {
            return Canned::oauth_error(400, "expired_token", "the code has expired");
        }
        let wait = chrono::Duration::seconds(i64::try_from(device.interval).unwrap_or(i64::MAX));
        let early = device
            .last_poll
            .replace(now)
            .is_some_and(|last| now - last < wait);
        if early {
            device.interval += 5;
            self.log.count(|counts| counts.early_polls += 1);
            return Canned::oauth_error(400, "slow_down", "polled too early");
        }
        match device.verdict {
            None => Canned::oauth_error(400, "authorization_pending", "not yet"),
            Some(false) => Canned::oauth_error(400, "access_denied", "the user said no"),
            Some(true) => {
                tokens.devices.remove(&code);
                let policy = lock(&self.policy).clone();
                let login = tokens.login(&policy, now);
                Canned::json(200, &self.token_answer(&login))
            }
        }
    }
}

pub(crate) fn bearer(head: &Parts) -> Option<&str> {
    let value = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}

fn edited(answer: Canned, edit: &Value) -> Canned {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    for (key, value) in edit.as_object().into_iter().flatten() {
        if value.is_null() {
            body.as_object_mut().expect("an object").remove(key);
        } else {
            body[key] = value.clone();
        }
    }
    answer.body(body.to_string())
}

fn with_null(answer: Canned, member: &str) -> Canned {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body[member] = Value::Null;
    answer.body(body.to_string())
}

pub(crate) fn render(answer: Canned) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(answer.body));
    *response.status_mut() = answer.status;
    for (name, value) in &answer.headers {
        let name = hyper::header::HeaderName::try_from(name).expect("a header name");
        response
            .headers_mut()
            .append(name, value.parse().expect("a header value"));
    }
    response
}
