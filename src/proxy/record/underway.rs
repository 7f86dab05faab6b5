//! A request under way: what is told of it until its last byte.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, StatusCode, Uri};
use tokio::time::Instant;

use super::super::admission::Asking;
use super::super::error::ErrorFormat;
use super::super::framing::Head;
use super::super::in_flight::{InFlightEntry, TrackedRequest};
use super::super::ledger::Ledger;
use super::super::route;
use super::super::tally::{PathCounters, Streaming};
use super::super::upload::Upload;
use super::ended::{CountedRefusal, RequestEnd, RequestRecord, RequestTarget};
use super::request_id::RequestId;
use crate::clients::{Client, InFlightPermit, LimitReached};
use crate::usage::{self, EndedRequest, EstimatedBody, UsageMeter};

/// A request in flight. Dropping it makes and enters its record, so a request whose client has disconnected is
/// recorded, too.
#[derive(Debug)]
pub(in crate::proxy) struct Underway {
    ledger: Arc<Ledger>,
    id: RequestId,
    method: Option<Method>,
    target: RequestTarget,
    /// The requests for its path, once it is routed, unless it is hermesctl's own.
    counters: Option<Arc<PathCounters>>,
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
    pub(in crate::proxy) fn new(
        ledger: &Arc<Ledger>,
        id: RequestId,
        method: Method,
        uri: Uri,
    ) -> Box<Self> {
        Self::of(ledger, id, Some(method), RequestTarget::Asked(uri))
    }

    /// A request whose head was refused before it was read.
    pub(in crate::proxy) fn unread(ledger: &Arc<Ledger>) -> Box<Self> {
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
            counters: None,
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

    pub(in crate::proxy) fn id(&self) -> RequestId {
        self.id
    }

    /// The format in which its client expects errors.
    pub(in crate::proxy) fn error_format(&self) -> ErrorFormat {
        route::error_format(self.target.names().1)
    }

    /// Sets the provider that it was routed to.
    pub(in crate::proxy) fn routed(
        &mut self,
        provider: &Arc<str>,
        path: &Arc<str>,
        counters: &Arc<PathCounters>,
    ) {
        self.target = RequestTarget::Routed {
            provider: provider.clone(),
            path: path.clone(),
        };
        if !self.is_own {
            counters.provider.begin();
            self.counters = Some(counters.clone());
            let (id, client) = (self.id.digits(), self.client.as_ref());
            let flight = TrackedRequest::new(id, self.started, provider, path, client);
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
    pub(in crate::proxy) fn metered(&mut self, head: &Head, body: impl FnOnce() -> EstimatedBody) {
        let is_limited = || self.limited().is_some();
        if self.ledger.usage().is_none() && !is_limited() {
            return;
        }
        let names_itself = self.client.is_none() && !self.is_own;
        let agent = head.headers.get(USER_AGENT).filter(|_| names_itself);
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
    pub(in crate::proxy) fn is_metered(&self) -> bool {
        self.meter.is_some()
    }

    /// Its app, if that has a token limit.
    fn limited(&self) -> Option<&Client> {
        let client = self.client.as_deref().filter(|_| !self.is_own);
        client.filter(|client| client.counts_tokens())
    }

    /// Sets the model that its provider is asked for.
    pub(in crate::proxy) fn asks_for(&mut self, model: Option<&str>) {
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
    pub(in crate::proxy) fn goes_with(&mut self, login: impl FnOnce() -> Option<String>) {
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
    pub(in crate::proxy) fn begins(&mut self, status: StatusCode, fields: &HeaderMap) {
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
    pub(in crate::proxy) fn streams(&mut self) {
        self.streaming = self.counters.as_ref().map(Streaming::begin);
        if let Some(flight) = self.flight() {
            flight.is_stream.store(true, Ordering::Relaxed);
        }
    }

    /// Takes note of a piece of the provider's answer.
    pub(in crate::proxy) fn reads(&mut self, piece: &[u8]) {
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
    pub(in crate::proxy) fn is_own(&mut self) {
        self.is_own = true;
    }

    /// Sets whether it is a supervisor's probe.
    pub(in crate::proxy) fn is_probe(&mut self, is_probe: bool) {
        self.is_probe = is_probe;
    }

    /// Records its refusal, before any provider was asked.
    pub(in crate::proxy) fn refused(&mut self, refusal: CountedRefusal) {
        self.refusal = Some(Box::new(refusal));
    }

    /// Sets the app whose key it presents.
    pub(in crate::proxy) fn asked_by(&mut self, client: &Arc<Client>) {
        self.client = Some(client.clone());
    }

    /// Takes one of its app's slots, on behalf of this address.
    ///
    /// # Errors
    /// When a limit of the app is reached.
    pub(in crate::proxy) fn visits(
        &mut self,
        client: &Arc<Client>,
        from: &str,
    ) -> Result<(), LimitReached> {
        self.visit = Some(Ledger::admit(client, from, self.is_own)?);
        Ok(())
    }

    /// It is about to be sent to the provider.
    pub(in crate::proxy) fn asks(&mut self, asking: Asking) {
        self.asking = Some(asking);
    }

    /// From here on, its provider has been asked.
    pub(in crate::proxy) fn is_sent(&mut self) {
        self.reached = RequestStage::Asked;
    }

    /// Its provider has started to answer, whatever happens to the answer.
    pub(in crate::proxy) fn is_answered(&mut self) {
        self.reached = RequestStage::Answered;
    }

    pub(in crate::proxy) fn uploads(&mut self, upload: &Upload) {
        self.upload = Some(upload.clone());
        if let Some(flight) = self.flight() {
            flight.upload.set(upload.clone()).ok();
        }
    }

    /// Sets the status that the client receives.
    pub(in crate::proxy) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        if let Some(flight) = self.flight() {
            flight.status.store(status.as_u16(), Ordering::Relaxed);
        }
    }

    /// The provider refuses the account for this reason.
    pub(in crate::proxy) fn blocked(&mut self, code: &'static str) {
        self.blocked = Some(code);
    }

    /// Counts a piece of the answer.
    pub(in crate::proxy) fn sent(&mut self, bytes: usize, now: Instant) {
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
    pub(in crate::proxy) fn events(&mut self, count: u64) {
        if let Some(flight) = self.flight() {
            flight.events.store(count, Ordering::Relaxed);
        }
    }

    /// Counts bytes that are not part of the provider's answer, such as a comment, and leaves its first byte unset.
    pub(in crate::proxy) fn sent_beside(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Sets how it ended.
    pub(in crate::proxy) fn ended(&mut self, end: RequestEnd) {
        self.end = end;
    }

    fn count(&self, record: &RequestRecord, meter: &UsageMeter) {
        let (Some(book), RequestTarget::Routed { provider, path }) =
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

    pub(super) fn record(&mut self) -> RequestRecord {
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
        self.ledger.enter(&record, self.counters.as_deref());
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
