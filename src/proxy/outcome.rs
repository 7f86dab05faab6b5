//! How a request ended: one log line and the counters, when its last byte went or it died.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{Method, StatusCode, Uri};
use tokio::time::Instant;

use super::error::ErrorKind;
use super::trouble::Mishaps;
use super::upload::Upload;
use crate::clients::{Client, Visit};

/// A provider's requests.
#[derive(Debug, Default)]
pub struct Counters {
    in_flight: AtomicU64,
    served: AtomicU64,
    failed: AtomicU64,
    /// Requests that the provider failed, one after another.
    pub failing: Mishaps,
}

/// A provider's requests at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Under way.
    pub in_flight: u64,
    /// Ended with the provider's whole answer, whatever its status.
    pub served: u64,
    /// Ended with an error of ours, a broken answer, or the client's leaving.
    pub failed: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The whole answer went out.
    Complete,
    /// The answer was an error of ours, with this code.
    Refused(&'static str),
    /// The provider's answer broke off.
    UpstreamBroke,
    /// A shutdown's grace was over.
    Cut,
    /// Its body came too slowly while its place was needed for another.
    MadeWay,
    /// A defect of ours ended it.
    Defect,
    /// The client left first.
    ClientLeft,
}

/// A request under way. Dropping it counts and logs its end.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) id: RequestId,
    target: Target,
    counters: Option<Arc<Counters>>,
    /// The app whose key was shown.
    client: Option<Arc<Client>>,
    /// Its place, given back with the last byte.
    visit: Option<Visit>,
    /// hermesctl's own request, which counts as no app's.
    is_own: bool,
    /// A request that was refused before any provider was asked.
    refusal: Option<Box<Refusal>>,
    /// Unless it is unknown.
    method: Option<Method>,
    started: Instant,
    first_byte: Option<Instant>,
    status: Option<StatusCode>,
    upload: Option<Upload>,
    bytes_out: u64,
    end: End,
}

/// What the log says of a refusal.
#[derive(Debug)]
struct Refusal {
    /// Whether it says it, and how many like it were only counted.
    untold: Option<u64>,
    /// The host or the web page that was refused.
    about: Option<String>,
}

/// What a request is for.
#[derive(Debug)]
enum Target {
    /// What the client asked for. It shares the buffer that the request was read into, so it must
    /// not be kept for as long as a stream lasts.
    Asked(Uri),
    /// A provider and its path.
    Routed(Arc<str>, Arc<str>),
    /// Its head was refused before anybody read it.
    Unread,
}

/// A request's number: in the log, and in the answer's `x-hermes-request-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestId(u64);

impl RequestId {
    pub(super) fn draw() -> Self {
        Self(fastrand::u64(..))
    }

    /// Sixteen hexadecimal digits.
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

impl Counters {
    /// The counts now.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            in_flight: read(&self.in_flight),
            served: read(&self.served),
            failed: read(&self.failed),
        }
    }
}

impl Outcome {
    /// A request that has just come. Until told otherwise, its end is that the client left.
    pub(super) fn new(id: RequestId, method: Method, uri: Uri) -> Self {
        Self::of(id, Some(method), Target::Asked(uri))
    }

    /// A request whose head was refused before anybody read it.
    pub(super) fn unread() -> Self {
        Self::of(RequestId::draw(), None, Target::Unread)
    }

    fn of(id: RequestId, method: Option<Method>, target: Target) -> Self {
        Self {
            id,
            target,
            counters: None,
            client: None,
            visit: None,
            is_own: false,
            refusal: None,
            method,
            started: Instant::now(),
            first_byte: None,
            status: None,
            upload: None,
            bytes_out: 0,
            end: End::ClientLeft,
        }
    }

    /// It is for this provider.
    pub(super) fn routed(
        &mut self,
        provider: &Arc<str>,
        path: &Arc<str>,
        counters: &Arc<Counters>,
    ) {
        self.target = Target::Routed(provider.clone(), path.clone());
        if self.is_own {
            return;
        }
        counters.in_flight.fetch_add(1, Ordering::Relaxed);
        self.counters = Some(counters.clone());
    }

    /// It is hermesctl's own.
    pub(super) fn is_own(&mut self) {
        self.is_own = true;
    }

    /// It was refused, which is to be told, with how many like it were not, or not at all.
    pub(super) fn refused(&mut self, untold: Option<u64>, about: Option<&str>) {
        self.refusal = Some(Box::new(Refusal {
            untold,
            about: about.map(str::to_owned),
        }));
    }

    /// It shows this app's key.
    pub(super) fn asked_by(&mut self, client: &Arc<Client>) {
        self.client = Some(client.clone());
    }

    /// It has one of its app's places.
    pub(super) fn visits(&mut self, visit: Visit) {
        self.visit = Some(visit);
    }

    /// Its body.
    pub(super) fn uploads(&mut self, upload: &Upload) {
        self.upload = Some(upload.clone());
    }

    /// The answer's head.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// A piece of the answer.
    pub(super) fn sent(&mut self, bytes: usize, now: Instant) {
        self.first_byte.get_or_insert(now);
        self.bytes_out += bytes as u64;
    }

    /// How it ended.
    pub(super) fn ended(&mut self, end: End) {
        self.end = end;
    }
}

impl Outcome {
    /// Whether it shows that the provider fails, or that it does not. Neither does what the client
    /// or a shutdown ended.
    fn tell(&self, failing: &Mishaps) {
        let status = self.status.map_or(0, |status| status.as_u16());
        match self.end {
            // A login or a quota that is at its end, or a provider in trouble; all others are the
            // request's own fault.
            End::Complete if matches!(status, 401..=403 | 429 | 500..) => {
                failing.add(format!("http_{status}"), self.id, "", None);
            }
            End::Complete => failing.clear(),
            End::Refused(code) if is_of_the_provider(code) => failing.add(code, self.id, "", None),
            End::UpstreamBroke => failing.add("answer_cut", self.id, "", None),
            End::Refused(_) | End::Cut | End::MadeWay | End::Defect | End::ClientLeft => {}
        }
    }
}

/// Whether an error of ours says that the provider, or the way to it, fails.
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

/// The one line. What was only counted stands in the log where debug lines do.
macro_rules! line {
    (if $counted:expr; { $($fields:tt)* }) => {
        if $counted {
            tracing::debug!($($fields)*);
        } else {
            tracing::info!($($fields)*);
        }
    };
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end = End::Defect;
        }
        if let Some(counters) = &self.counters {
            self.tell(&counters.failing);
            counters.in_flight.fetch_sub(1, Ordering::Relaxed);
            let counter = if self.end == End::Complete {
                &counters.served
            } else {
                &counters.failed
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let micros = |time: Instant| {
            u64::try_from(time.duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
        };
        let digits = self.id.digits();
        let (provider, path) = match &self.target {
            Target::Routed(provider, path) => (&**provider, &**path),
            Target::Asked(uri) => ("", uri.path()),
            Target::Unread => ("", ""),
        };
        let (end, code) = match self.end {
            End::Complete => ("complete", ""),
            End::Refused(code) => ("refused", code),
            End::UpstreamBroke => ("upstream broke", ""),
            End::Cut => ("cut at shutdown", ""),
            End::MadeWay => ("made way", ""),
            End::Defect => ("defect", ""),
            End::ClientLeft => ("client left", ""),
        };
        let refusal = self.refusal.as_deref();
        let about = refusal.and_then(|refusal| refusal.about.as_deref());
        let untold = refusal.and_then(|refusal| refusal.untold);
        line!(if refusal.is_some() && untold.is_none(); {
            id = std::str::from_utf8(&digits).unwrap_or_default(),
            by = self.is_own.then_some("hermesctl"),
            client = self.client.as_ref().map(|client| client.name()),
            provider,
            method = self.method.as_ref().map_or("", Method::as_str),
            path = path.get(..200).unwrap_or(path),
            status = self.status.map_or(0, |status| status.as_u16()),
            first_byte_us = self.first_byte.map(micros),
            duration_us = micros(Instant::now()),
            bytes_in = self.upload.as_ref().map_or(0, Upload::received),
            bytes_out = self.bytes_out,
            end,
            code,
            about,
            untold = untold.filter(|untold| *untold > 0),
            "request"
        });
    }
}
