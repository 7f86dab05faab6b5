//! The record of a request: collected while it is in flight, and entered into the ledger once, after its last byte or
//! its failure.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Uri};
use tokio::time::Instant;

use super::admission::Asking;
use super::error::{ErrorFormat, ErrorKind};
use super::in_flight::{InFlightEntry, TrackedRequest};
use super::ledger::Ledger;
use super::route;
use super::tally::{PathCounters, Streaming};
use super::upload::Upload;
use crate::clients::{Client, Full, InFlightPermit};
use crate::usage::{self, EndedRequest, EstimatedBody, UsageMeter};

/// A request that has ended.
#[derive(Debug)]
pub(super) struct RequestRecord {
    pub(super) id: RequestId,
    /// `None` if the head could not be read.
    pub(super) method: Option<Method>,
    pub(super) target: RequestTarget,
    /// The app whose key was presented.
    pub(super) client: Option<Arc<Client>>,
    /// Whether hermesctl sent it, so that it counts as no app's.
    pub(super) is_own: bool,
    /// Whether it is a supervisor's probe, which arrives every few seconds.
    pub(super) is_probe: bool,
    /// Set if it was refused before any provider was asked.
    pub(super) refusal: Option<Box<CountedRefusal>>,
    pub(super) started: Instant,
    pub(super) first_byte: Option<Instant>,
    pub(super) ended: Instant,
    /// The answer's status; `None` without an answer.
    pub(super) status: Option<StatusCode>,
    /// Why the provider refuses the account, if its answer or an event in it says so.
    pub(super) blocked: Option<&'static str>,
    /// The size of the request's body.
    pub(super) bytes_in: u64,
    /// The size of the answer's body.
    pub(super) bytes_out: u64,
    pub(super) end: RequestEnd,
}

/// A refusal that the apps' owner should know about.
#[derive(Debug)]
pub(super) struct CountedRefusal {
    pub(super) kind: ErrorKind,
    /// The app's name or address.
    pub(super) from: Box<str>,
    /// The host or web page that was refused.
    pub(super) about: Option<Box<str>>,
    /// Whether an app may notice: `false` for what browsers and monitors request on their own.
    pub(super) matters: bool,
}

/// What a request is addressed to.
#[derive(Debug)]
pub(super) enum RequestTarget {
    /// The URI as requested. It shares the buffer of the request's head, so it must not live as long as a stream.
    Asked(Uri),
    /// A provider's path.
    Routed {
        provider: Arc<str>,
        path: Arc<str>,
        /// The counters of this path.
        counters: Arc<PathCounters>,
    },
    /// The head was refused before it was read.
    Unread,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestEnd {
    /// The complete answer was sent.
    Complete,
    /// The complete answer was sent from the cache.
    Kept,
    /// The answer was an error of ours, with this code.
    Refused(&'static str),
    /// The provider's answer was truncated.
    UpstreamBroke,
    /// The shutdown's grace period ended.
    Cut,
    /// Its body arrived too slowly while another request needed its slot.
    MadeWay,
    /// A bug of ours ended it.
    Defect,
    /// The client disconnected first.
    ClientLeft,
}

/// What a request's end says about its provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProviderSignal {
    /// The provider fails, with this code.
    Fails(Cow<'static, str>),
    Works,
    /// Nothing: the client or a shutdown ended the request, or it was refused here.
    Nothing,
}

/// A request's id, for the log and the answer's `x-hermes-request-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestId(u64);

impl RequestId {
    pub(super) fn draw() -> Self {
        Self(fastrand::u64(..))
    }

    /// The id as 16 hexadecimal digits.
    pub(super) fn digits(self) -> [u8; 16] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 16];
        for (index, digit) in digits.iter_mut().enumerate() {
            let nibble = usize::try_from(self.0 >> (60 - 4 * index) & 15).unwrap_or_default();
            *digit = HEX.get(nibble).copied().unwrap_or(b'0');
        }
        digits
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl RequestTarget {
    /// The provider's name, if there is one, and the path.
    pub(super) fn names(&self) -> (&str, &str) {
        match self {
            Self::Routed { provider, path, .. } => (provider, path),
            Self::Asked(uri) => ("", uri.path()),
            Self::Unread => ("", ""),
        }
    }
}

impl RequestEnd {
    /// The end and our error's code, as they appear in the log.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Complete => ("complete", ""),
            Self::Kept => ("from memory", ""),
            Self::Refused(code) => ("refused", code),
            Self::UpstreamBroke => ("upstream broke", ""),
            Self::Cut => ("cut at shutdown", ""),
            Self::MadeWay => ("made way", ""),
            Self::Defect => ("defect", ""),
            Self::ClientLeft => ("client left", ""),
        }
    }
}

/// Our errors that occur before a request reaches the provider.
const BEFORE_SENDING: [ErrorKind; 6] = [
    ErrorKind::UpstreamUnreachable,
    ErrorKind::UpstreamAuthFailed,
    ErrorKind::UpstreamRateLimited,
    ErrorKind::CredentialsUnavailable,
    ErrorKind::CredentialsCoolingDown,
    ErrorKind::Overloaded,
];

impl RequestEnd {
    /// Whether the request failed before it reached the provider.
    fn is_before_sending(self) -> bool {
        let Self::Refused(code) = self else {
            return false;
        };
        BEFORE_SENDING.iter().any(|kind| kind.code() == code)
    }
}

impl RequestRecord {
    /// The kind of failure, for usage counts and the recent failures; `None` for a complete, successful answer.
    pub(super) fn failure(&self) -> Option<Cow<'static, str>> {
        let status = self.status.map_or(0, |status| status.as_u16());
        let kind = match self.end {
            RequestEnd::Complete | RequestEnd::Kept => match (self.blocked, status) {
                (Some(code), _) => code,
                (None, ..400) => return None,
                (None, 400..=599) => return Some(format!("http_{status}").into()),
                (None, _) => "http_other",
            },
            RequestEnd::Refused(code) => code,
            RequestEnd::UpstreamBroke => "answer_cut",
            RequestEnd::Cut => ErrorKind::ShuttingDown.code(),
            RequestEnd::MadeWay => ErrorKind::RequestTimeout.code(),
            RequestEnd::Defect => ErrorKind::Internal.code(),
            RequestEnd::ClientLeft => "client_left",
        };
        Some(kind.into())
    }

    /// What the end says about the provider. A 401 to 403 or 429 shows a login or quota that has ended, a 500 or above
    /// a failing provider. Any other status is due to the request itself.
    pub(super) fn news(&self) -> ProviderSignal {
        // The client may have left because of it.
        if let Some(code) = self.blocked {
            return ProviderSignal::Fails(code.into());
        }
        let status = self.status.map_or(0, |status| status.as_u16());
        match self.end {
            RequestEnd::Complete if matches!(status, 401..=403 | 429 | 500..) => {
                ProviderSignal::Fails(format!("http_{status}").into())
            }
            RequestEnd::Complete => ProviderSignal::Works,
            RequestEnd::Refused(code) if is_of_the_provider(code) => {
                ProviderSignal::Fails(code.into())
            }
            RequestEnd::UpstreamBroke => ProviderSignal::Fails("answer_cut".into()),
            RequestEnd::Kept
            | RequestEnd::Refused(_)
            | RequestEnd::Cut
            | RequestEnd::MadeWay
            | RequestEnd::Defect
            | RequestEnd::ClientLeft => ProviderSignal::Nothing,
        }
    }
}

/// Whether one of our errors means that the provider, or the route to it, fails.
fn is_of_the_provider(code: &str) -> bool {
    [
        ErrorKind::UpstreamUnreachable,
        ErrorKind::UpstreamTimeout,
        ErrorKind::UpstreamAuthFailed,
        ErrorKind::CredentialsUnavailable,
    ]
    .iter()
    .any(|kind| kind.code() == code)
}

/// A request in flight. Dropping it makes and enters its record, so a request whose client has disconnected is
/// recorded, too.
#[derive(Debug)]
pub(super) struct Underway {
    ledger: Arc<Ledger>,
    id: RequestId,
    method: Option<Method>,
    target: RequestTarget,
    client: Option<Arc<Client>>,
    /// Its slot in its app's `in_flight` limit, freed after the last byte.
    visit: Option<InFlightPermit>,
    /// Counts it as sent to the provider for the same time.
    asking: Option<Asking>,
    is_own: bool,
    is_probe: bool,
    reached: RequestStage,
    refusal: Option<Box<CountedRefusal>>,
    started: Instant,
    first_byte: Option<Instant>,
    status: Option<StatusCode>,
    blocked: Option<&'static str>,
    upload: Option<Upload>,
    /// Set if the answer is an event stream.
    streaming: Option<Streaming>,
    /// Counts its tokens.
    meter: Option<Box<UsageMeter>>,
    /// Its row among the requests in flight, once it is routed.
    entry: Option<InFlightEntry>,
    bytes_out: u64,
    end: RequestEnd,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestStage {
    /// No provider has been asked yet.
    Nobody,
    /// The provider has been asked.
    Asked,
    /// The provider has started to answer.
    Answered,
}

impl Underway {
    /// A request that has just arrived. Unless set otherwise, it ends as disconnected by its client.
    pub(super) fn new(ledger: &Arc<Ledger>, id: RequestId, method: Method, uri: Uri) -> Box<Self> {
        Self::of(ledger, id, Some(method), RequestTarget::Asked(uri))
    }

    /// A request whose head was refused before it was read.
    pub(super) fn unread(ledger: &Arc<Ledger>) -> Box<Self> {
        Self::of(ledger, RequestId::draw(), None, RequestTarget::Unread)
    }

    fn of(
        ledger: &Arc<Ledger>,
        id: RequestId,
        method: Option<Method>,
        target: RequestTarget,
    ) -> Box<Self> {
        // Boxed, because it is moved through many hands into the answer's body.
        Box::new(Self {
            ledger: ledger.clone(),
            id,
            method,
            target,
            client: None,
            visit: None,
            asking: None,
            is_own: false,
            is_probe: false,
            reached: RequestStage::Nobody,
            refusal: None,
            started: Instant::now(),
            first_byte: None,
            status: None,
            blocked: None,
            upload: None,
            streaming: None,
            meter: None,
            entry: None,
            bytes_out: 0,
            end: RequestEnd::ClientLeft,
        })
    }

    pub(super) fn id(&self) -> RequestId {
        self.id
    }

    /// The format in which its client expects errors.
    pub(super) fn error_format(&self) -> ErrorFormat {
        route::error_format(self.target.names().1)
    }

    /// Sets the provider that it was routed to.
    pub(super) fn routed(
        &mut self,
        provider: &Arc<str>,
        path: &Arc<str>,
        counters: &Arc<PathCounters>,
    ) {
        self.target = RequestTarget::Routed {
            provider: provider.clone(),
            path: path.clone(),
            counters: counters.clone(),
        };
        if !self.is_own {
            counters.provider.begin();
            let (names, client) = ((provider, path), self.client.as_ref());
            let flight = TrackedRequest::new(self.id.digits(), self.started, names, client);
            if let Some(upload) = &self.upload {
                flight.upload.set(upload.clone()).ok();
            }
            self.entry = Some(self.ledger.flights().begin(flight));
        }
    }

    /// Its entry among the requests in flight.
    fn flight(&self) -> Option<&TrackedRequest> {
        self.entry.as_ref().map(|entry| &*entry.flight)
    }

    /// Starts to count its usage, if it uses any. Called once it is routed; `body` describes what it sends. Only a POST
    /// generates tokens: a GET may report those of an earlier request.
    pub(super) fn metered(&mut self, head: &Parts, body: impl FnOnce() -> EstimatedBody) {
        let is_limited = || self.limited().is_some();
        if self.ledger.usage().is_none() && !is_limited() {
            return;
        }
        let names_itself = self.client.is_none() && !self.is_own;
        let agent = head.headers.get(USER_AGENT).filter(|_| names_itself);
        let agent = agent.map(HeaderValue::as_bytes);
        let mut meter = UsageMeter::new(head.method == Method::POST, agent);
        if let (Some(flight), Some(app)) = (self.flight(), meter.named()) {
            flight.app.set(app.clone()).ok();
        }
        if is_limited() {
            meter.estimates(body());
        }
        self.meter = Some(Box::new(meter));
    }

    /// Whether its usage is counted.
    pub(super) fn is_metered(&self) -> bool {
        self.meter.is_some()
    }

    /// Its app, if that has a token limit.
    fn limited(&self) -> Option<&Client> {
        let client = self.client.as_deref().filter(|_| !self.is_own);
        client.filter(|client| client.counts_tokens())
    }

    /// Sets the model that its provider is asked for.
    pub(super) fn asks_for(&mut self, model: Option<&str>) {
        let Some(model) = model else {
            return;
        };
        if let Some(flight) = self.flight() {
            flight.model.set(usage::clean(model).into()).ok();
        }
        if let Some(meter) = &mut self.meter {
            meter.asks_for(model);
        }
    }

    /// Sets which of several logins it uses.
    pub(super) fn goes_with(&mut self, login: impl FnOnce() -> Option<String>) {
        if self.meter.is_none() && self.entry.is_none() {
            return;
        }
        let Some(login) = login() else {
            return;
        };
        if let Some(flight) = self.flight() {
            flight.login.set(usage::clean(&login).into()).ok();
        }
        if let Some(meter) = &mut self.meter {
            meter.goes_with(&login);
        }
    }

    /// The provider's answer starts with this status and these fields; [`Self::reads`] receives what follows.
    pub(super) fn begins(&mut self, status: StatusCode, fields: &HeaderMap) {
        let Some(meter) = &mut self.meter else {
            return;
        };
        if status.is_success() {
            let kind = fields.get(CONTENT_TYPE);
            let kind = kind.map(HeaderValue::as_bytes).unwrap_or_default();
            let encodings = fields.get_all(CONTENT_ENCODING).iter();
            meter.answered(kind, encodings.map(HeaderValue::as_bytes));
        } else {
            meter.failed();
        }
    }

    /// The provider's answer is an event stream.
    pub(super) fn streams(&mut self) {
        if let (RequestTarget::Routed { counters, .. }, false) = (&self.target, self.is_own) {
            self.streaming = Some(Streaming::begin(counters));
        }
        if let Some(flight) = self.flight() {
            flight.is_stream.store(true, Ordering::Relaxed);
        }
    }

    /// Takes note of a piece of the provider's answer.
    pub(super) fn reads(&mut self, piece: &[u8]) {
        let Some(meter) = &mut self.meter else {
            return;
        };
        meter.pass(piece);
        if self.streaming.is_some()
            && let Some(told) = meter.completion()
            && let Some(flight) = self.flight()
        {
            flight.tokens.store(told, Ordering::Relaxed);
        }
    }

    /// Marks it as hermesctl's own. Called before it is routed.
    pub(super) fn is_own(&mut self) {
        self.is_own = true;
    }

    /// Sets whether it is a supervisor's probe.
    pub(super) fn is_probe(&mut self, is_probe: bool) {
        self.is_probe = is_probe;
    }

    /// Records its refusal, before any provider was asked.
    pub(super) fn refused(&mut self, refusal: CountedRefusal) {
        self.refusal = Some(Box::new(refusal));
    }

    /// Sets the app whose key it presents.
    pub(super) fn asked_by(&mut self, client: &Arc<Client>) {
        self.client = Some(client.clone());
    }

    /// Takes one of its app's slots, on behalf of this address.
    ///
    /// # Errors
    /// When a limit of the app is reached.
    pub(super) fn visits(&mut self, client: &Arc<Client>, from: &str) -> Result<(), Full> {
        self.visit = Some(Ledger::admit(client, from, self.is_own)?);
        Ok(())
    }

    /// It is about to be sent to the provider.
    pub(super) fn asks(&mut self, asking: Asking) {
        self.asking = Some(asking);
    }

    /// From here on, its provider has been asked.
    pub(super) fn is_sent(&mut self) {
        self.reached = RequestStage::Asked;
    }

    /// Its provider has started to answer, whatever happens to the answer.
    pub(super) fn is_answered(&mut self) {
        self.reached = RequestStage::Answered;
    }

    pub(super) fn uploads(&mut self, upload: &Upload) {
        self.upload = Some(upload.clone());
        if let Some(flight) = self.flight() {
            flight.upload.set(upload.clone()).ok();
        }
    }

    /// Sets the status that the client receives.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        if let Some(flight) = self.flight() {
            flight.status.store(status.as_u16(), Ordering::Relaxed);
        }
    }

    /// The provider refuses the account for this reason.
    pub(super) fn blocked(&mut self, code: &'static str) {
        self.blocked = Some(code);
    }

    /// Counts a piece of the answer.
    pub(super) fn sent(&mut self, bytes: usize, now: Instant) {
        let is_first = self.first_byte.is_none();
        self.first_byte.get_or_insert(now);
        self.bytes_out += bytes as u64;
        if let Some(flight) = self.flight() {
            if is_first {
                flight.answers(now);
            }
            flight.bytes_out.store(self.bytes_out, Ordering::Relaxed);
        }
    }

    /// Counts events of the provider's stream.
    pub(super) fn events(&mut self, count: u64) {
        if let Some(flight) = self.flight() {
            flight.events.store(count, Ordering::Relaxed);
        }
    }

    /// Counts bytes that are not part of the provider's answer, such as a comment, and leaves its first byte unset.
    pub(super) fn sent_beside(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Sets how it ended.
    pub(super) fn ended(&mut self, end: RequestEnd) {
        self.end = end;
    }

    fn count(&self, record: &RequestRecord, meter: &UsageMeter) {
        let (Some(book), RequestTarget::Routed { provider, path, .. }) =
            (self.ledger.usage(), &record.target)
        else {
            return;
        };
        let enter = |model: Option<&str>| {
            let ended = EndedRequest {
                client: record.client.as_ref().map(|client| client.name()),
                is_own: record.is_own,
                provider,
                path,
                model,
                failure: record.failure(),
                bytes_in: record.bytes_in,
                bytes_out: record.bytes_out,
            };
            book.enter(meter, ended);
        };
        match &self.upload {
            Some(upload) => upload.with_model(enter),
            None => enter(None),
        }
    }

    fn record(&mut self) -> RequestRecord {
        RequestRecord {
            id: self.id,
            method: self.method.take(),
            target: std::mem::replace(&mut self.target, RequestTarget::Unread),
            client: self.client.take(),
            is_own: self.is_own,
            is_probe: self.is_probe,
            refusal: self.refusal.take(),
            started: self.started,
            first_byte: self.first_byte,
            ended: Instant::now(),
            status: self.status,
            blocked: self.blocked,
            bytes_in: self.upload.as_ref().map_or(0, Upload::received),
            bytes_out: self.bytes_out,
            end: self.end,
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end = RequestEnd::Defect;
        }
        let record = self.record();
        if let Some(entry) = self.entry.take() {
            let has_failed = record.end != RequestEnd::ClientLeft && record.failure().is_some();
            self.ledger.flights().end(&entry, has_failed);
        }
        self.ledger.enter(&record);
        let was_sent = match self.reached {
            RequestStage::Nobody => false,
            RequestStage::Asked => !record.end.is_before_sending(),
            RequestStage::Answered => true,
        };
        if let Some(visit) = self.visit.as_ref().filter(|_| !was_sent && !record.is_own) {
            visit.gives_back(record.ended.duration_since(record.started));
        }
        if let Some(mut meter) = self.meter.take() {
            meter.ends();
            let client = record.client.as_ref();
            if let Some(client) = client.filter(|_| !record.is_own && was_sent) {
                let is_whole = record.end == RequestEnd::Complete;
                let (tokens, estimated) = meter.spent(record.bytes_in, is_whole);
                client.spends(tokens, estimated);
            }
            self.count(&record, &meter);
        }
    }
}

#[cfg(test)]
mod tests;
