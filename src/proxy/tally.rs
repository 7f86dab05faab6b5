//! Totals of requests for monitoring. Entering a request costs a few additions: no lock, and after a path's first
//! request no allocation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::recent_failures::FailureTally;
use super::record::{ProviderSignal, RequestEnd, RequestRecord};
use crate::metrics::{Buckets, Histogram};

/// The ends of requests, and what they are called.
const ENDS: [&str; 8] = [
    "complete",
    "from_memory",
    "refused",
    "answer_cut",
    "shutting_down",
    "made_way",
    "defect",
    "client_left",
];
/// The classes of their statuses.
const CODES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// A provider's requests.
#[derive(Debug, Default)]
pub struct Counters {
    in_flight: AtomicU64,
    served: AtomicU64,
    failed: AtomicU64,
    /// Requests that the provider failed, one after another.
    pub failing: FailureTally,
    /// Bytes and times.
    pub traffic: Traffic,
}

/// A provider's requests at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderCounts {
    /// Under way.
    pub in_flight: u64,
    /// Ended with the provider's whole answer, whatever its status.
    pub served: u64,
    /// Ended with an error of ours, a broken answer, or the client's leaving.
    pub failed: u64,
}

impl Counters {
    /// The counts now.
    pub fn counts(&self) -> ProviderCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProviderCounts {
            in_flight: read(&self.in_flight),
            served: read(&self.served),
            failed: read(&self.failed),
        }
    }

    /// Whether the last request that tells of the provider says that it fails.
    pub(super) fn fails(&self) -> bool {
        self.failing.is_any()
    }

    /// A request is under way, until it is entered.
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn enter(&self, record: &RequestRecord) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        match record.news() {
            ProviderSignal::Fails(code) => self.failing.add(code, record.id, "", None),
            ProviderSignal::Works => self.failing.clear(),
            ProviderSignal::Nothing => {}
        }
        let counter = if matches!(record.end, RequestEnd::Complete | RequestEnd::Kept) {
            &self.served
        } else {
            &self.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Bytes, times and streams of one provider.
#[derive(Debug, Default)]
pub struct Traffic {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    streams: AtomicU64,
    durations: Histogram,
    first_bytes: Histogram,
}

/// The same at a moment.
#[derive(Debug, Clone)]
pub struct Amounts {
    /// Bytes of the bodies of requests.
    pub bytes_in: u64,
    /// Bytes of the bodies of answers.
    pub bytes_out: u64,
    /// Event streams that are in flight.
    pub streams: u64,
    /// From heads to the last bytes of answers.
    pub durations: Buckets,
    /// From heads to the first bytes of answers.
    pub first_bytes: Buckets,
}

/// The requests for one of a provider's paths.
#[derive(Debug, Default)]
pub struct PathCounters {
    /// All of the provider's requests.
    pub(super) provider: Arc<Counters>,
    /// By end and class of status; made with the first request.
    ended: OnceLock<Box<[[AtomicU64; CODES.len()]; ENDS.len()]>>,
}

/// An event stream that is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct Streaming(Arc<PathCounters>);

impl Traffic {
    fn enter(&self, record: &RequestRecord) {
        self.bytes_in.fetch_add(record.bytes_in, Ordering::Relaxed);
        self.bytes_out
            .fetch_add(record.bytes_out, Ordering::Relaxed);
        // Our own answers say nothing about the provider's speed.
        if record.status.is_none()
            || matches!(record.end, RequestEnd::Kept | RequestEnd::Refused(_))
        {
            return;
        }
        let since = |time: tokio::time::Instant| time.duration_since(record.started);
        self.durations.add(since(record.ended));
        if let Some(first) = record.first_byte {
            self.first_bytes.add(since(first));
        }
    }

    /// The amounts now.
    pub fn amounts(&self) -> Amounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Amounts {
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            streams: read(&self.streams),
            durations: self.durations.buckets(),
            first_bytes: self.first_bytes.buckets(),
        }
    }
}

impl PathCounters {
    /// Of a path of the provider that has these.
    pub fn new(provider: Arc<Counters>) -> Self {
        Self {
            provider,
            ended: OnceLock::new(),
        }
    }

    pub(super) fn enter(&self, record: &RequestRecord) {
        self.provider.enter(record);
        self.provider.traffic.enter(record);
        let ended = self.ended.get_or_init(Box::default);
        let status = record.status.map_or(0, |status| status.as_u16() / 100);
        let code = usize::from(status).min(CODES.len() - 1);
        let codes = ended.get(place(record.end));
        if let Some(counter) = codes.and_then(|codes| codes.get(code)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many requests ended how, and with which class of status; none of those that did not come.
    pub fn ended(&self) -> Vec<(&'static str, &'static str, u64)> {
        let counters = self
            .ended
            .get()
            .into_iter()
            .flat_map(|all| all.iter().flatten());
        let names = ENDS
            .iter()
            .flat_map(|end| CODES.iter().map(move |code| (*end, *code)));
        counters
            .zip(names)
            .map(|(counter, (end, code))| (end, code, counter.load(Ordering::Relaxed)))
            .filter(|(.., count)| *count > 0)
            .collect()
    }
}

impl Streaming {
    pub(super) fn begin(counters: &Arc<PathCounters>) -> Self {
        let streams = &counters.provider.traffic.streams;
        streams.fetch_add(1, Ordering::Relaxed);
        Self(counters.clone())
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let streams = &self.0.provider.traffic.streams;
        streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of an end among [`ENDS`].
fn place(end: RequestEnd) -> usize {
    match end {
        RequestEnd::Complete => 0,
        RequestEnd::Kept => 1,
        RequestEnd::Refused(_) => 2,
        RequestEnd::UpstreamBroke => 3,
        RequestEnd::Cut => 4,
        RequestEnd::MadeWay => 5,
        RequestEnd::Defect => 6,
        RequestEnd::ClientLeft => 7,
    }
}
