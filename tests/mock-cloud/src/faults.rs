//! The faults that can be injected, and their queue.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::lock;
use crate::steering::Steering;

/// A ready answer: status, headers and body.
#[must_use]
#[derive(Debug, Clone)]
pub struct Canned {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Canned {
    /// An empty answer. Panics when the status is not one.
    pub fn status(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a valid status"),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::status(status)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// An OAuth error (RFC 6749 §5.2).
    pub fn oauth_error(status: u16, error: &str, description: &str) -> Self {
        Self::json(
            status,
            &json!({"error": error, "error_description": description}),
        )
    }

    /// An error as the inference API forms it.
    pub fn api_error(status: u16, kind: &str, code: &str, message: &str) -> Self {
        Self::json(
            status,
            &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}),
        )
    }

    /// A 429 in the API's form, with `Retry-After`.
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        Self::api_error(
            429,
            "requests",
            "rate_limit_exceeded",
            "Rate limit reached.",
        )
        .header("retry-after", retry_after_seconds.to_string())
    }

    /// The 401 that a bearer gets which is not valid now.
    pub fn unauthorized() -> Self {
        Self::api_error(
            401,
            "invalid_request_error",
            "invalid_api_key",
            "The bearer token is not valid.",
        )
        .header("www-authenticate", "Bearer error=\"invalid_token\"")
    }

    /// The 200 with a web page that a hotel's network answers everything with.
    pub fn captive_portal() -> Self {
        Self::status(200)
            .header("content-type", "text/html; charset=utf-8")
            .body("<!doctype html><title>Welcome</title><p>Accept the terms to go online.")
    }

    /// The 403 of the edge before the portal, which says nothing about the grant.
    pub fn edge_block() -> Self {
        Self::status(403)
            .header("content-type", "text/html; charset=utf-8")
            .header("x-vercel-mitigated", "challenge")
            .body("<!doctype html><title>Vercel Security Checkpoint</title>")
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).header("location", location)
    }

    /// Adds a header; a name may come twice.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// The portal's endpoints, as faults and the log name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /api/oauth/device/code`.
    DeviceCode,
    /// `POST /api/oauth/token` with a device code.
    DevicePoll,
    /// `POST /api/oauth/token` with a refresh token.
    Refresh,
    /// `POST /api/oauth/agent-key`.
    AgentKey,
    /// `POST /oauth2/token` with a code of the login page.
    Exchange,
}

/// What goes wrong at a portal's endpoint.
#[derive(Debug, Clone)]
pub enum PortalFault {
    /// This answer; the request is not processed.
    Answer(Canned),
    /// This answer after a wait; the request is not processed.
    LateAnswer(Duration, Canned),
    /// This answer, once there is a permit; the request is not processed.
    HeldAnswer(Arc<Semaphore>, Canned),
    /// The request is processed, then this is the answer: a rotation that the client never sees.
    AnswerAfterCommit(Canned),
    /// Waits, then goes on as usual. The client's leaving does not stop it.
    DelayBefore(Duration),
    /// Processes at once, then waits before it answers.
    DelayAfterCommit(Duration),
    /// Processes at once, then answers once there is a permit.
    HeldAfterCommit(Arc<Semaphore>),
    /// Waits until there is a permit, then goes on as usual. The client's leaving does not stop it.
    HeldBefore(Arc<Semaphore>),
    /// Closes the connection; the request is not processed.
    DropBeforeCommit,
    /// Processes the request, then closes the connection without an answer.
    DropAfterCommit,
    /// Processes the request, then closes the connection in the middle of the answer's body.
    CutAfterCommit,
    /// Answers 200 with a body of spaces that never ends; the request is not processed.
    EndlessBody,
    /// Processes the request and sets these members of the answer; null removes one.
    EditAnswer(Value),
    /// Processes the request and sets this member of the answer to JSON's null.
    NullAnswer(&'static str),
    /// Answers a refresh with a new access token and no refresh token; the old one stays good.
    KeepRefreshToken,
}

/// Faults of the inference API. All except `Headers`, `Gzip` and `Steer` come before the bearer is
/// checked.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This answer, after the request was read.
    Answer(Canned),
    /// Reads the request, then closes the connection in order (FIN).
    CloseBeforeHead,
    /// Reads the request, then aborts the connection (RST).
    ResetBeforeHead,
    /// Aborts the connection without reading the request's body.
    ResetUnread,
    /// Reads the request and never answers.
    Silent,
    /// This answer, before the request's body was read; the body is read afterwards.
    Early(Canned),
    /// This answer, without ever reading the request's body.
    EarlyUnread(Canned),
    /// The usual answer, wrapped in gzip with `content-encoding: gzip`.
    Gzip,
    /// The usual answer with these headers added.
    Headers(Vec<(String, String)>),
    /// The usual answer, steered.
    Steer(Box<Steering>),
}

impl Fault {
    /// The 401 of a bearer that is not valid.
    pub fn unauthorized() -> Self {
        Self::Answer(Canned::unauthorized())
    }

    /// A 429 with `Retry-After`.
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        Self::Answer(Canned::rate_limited(retry_after_seconds))
    }

    /// Headers that test a proxy: repeated, of one hop, and such as must not reach an app.
    pub fn noisy_headers() -> Self {
        Self::Headers(
            [
                ("x-repeat", "one"),
                ("x-repeat", "two"),
                ("set-cookie", "session=mock; Secure; HttpOnly"),
                ("set-cookie", "__cf_bm=mock"),
                ("alt-svc", "h3=\":443\"; ma=86400"),
                ("strict-transport-security", "max-age=31536000"),
                ("refresh", "0; url=https://elsewhere.example/"),
                (
                    "report-to",
                    "{\"endpoints\":[{\"url\":\"https://elsewhere.example/\"}]}",
                ),
                ("reporting-endpoints", "a=\"https://elsewhere.example/\""),
                ("nel", "{\"report_to\":\"a\"}"),
                ("clear-site-data", "\"*\""),
                ("access-control-allow-origin", "*"),
                ("access-control-allow-credentials", "true"),
                ("connection", "x-hop"),
                ("x-hop", "of this hop only"),
                ("proxy-authenticate", "Basic realm=\"mock\""),
                ("x-ratelimit-remaining-requests", "99"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        )
    }
}

/// Faults that wait for their requests: a queue, and one that stays when the queue is empty.
#[derive(Debug)]
pub(crate) struct Faults<T> {
    armed: AtomicBool,
    waiting: Mutex<(VecDeque<T>, Option<T>)>,
}

impl<T> Default for Faults<T> {
    fn default() -> Self {
        Self {
            armed: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }
}

impl<T: Clone> Faults<T> {
    pub(crate) fn push(&self, count: usize, fault: &T) {
        let mut waiting = lock(&self.waiting);
        waiting.0.extend(std::iter::repeat_n(fault, count).cloned());
        self.armed.store(true, Ordering::Release);
    }

    pub(crate) fn stick(&self, fault: T) {
        lock(&self.waiting).1 = Some(fault);
        self.armed.store(true, Ordering::Release);
    }

    pub(crate) fn heal(&self) {
        let mut waiting = lock(&self.waiting);
        *waiting = (VecDeque::new(), None);
        self.armed.store(false, Ordering::Release);
    }

    /// The fault for one request. Costs one atomic load when there is none.
    pub(crate) fn next(&self) -> Option<T> {
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        let mut waiting = lock(&self.waiting);
        let fault = waiting.0.pop_front().or_else(|| waiting.1.clone());
        if waiting.0.is_empty() && waiting.1.is_none() {
            self.armed.store(false, Ordering::Release);
        }
        fault
    }
}
