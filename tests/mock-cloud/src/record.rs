//! The requests that the inference API saw.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::lock;

/// One request to the inference API.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Seen {
    /// The request's number, from 1.
    pub number: u64,
    /// The connection that it came on.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// Path and query, exactly as received.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Every field line in order.
    pub headers: Vec<(String, String)>,
    /// The start of the body, up to the limit.
    #[serde(serialize_with = "as_text")]
    pub body: Vec<u8>,
    /// The whole body's length, as far as it came.
    pub body_bytes: u64,
    /// The whole body's SHA-256 in hexadecimal, once it has come.
    pub body_sha256: Option<String>,
    /// Whether the bearer was valid.
    pub authorized: bool,
    /// Whether the client left before the answer's end.
    pub cancelled: bool,
    /// Whether the answer's last byte went out.
    pub finished: bool,
}

fn as_text<S: serde::Serializer>(body: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

impl Seen {
    /// All values of a field.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(key, _)| key == name);
        same.map(|(_, value)| value.as_str()).collect()
    }
}

/// The counters of both servers.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Refresh requests to the token endpoint.
    pub refresh_calls: u64,
    /// Those that rotated.
    pub refreshes: u64,
    /// Those that got the last rotation's answer once more, within the grace.
    pub reissues: u64,
    /// Spent refresh tokens that were presented, and not forgiven.
    pub reuse_events: u64,
    /// Agent keys asked for.
    pub mint_calls: u64,
    /// Device-code polls.
    pub device_polls: u64,
    /// Those that came before the interval was over.
    pub early_polls: u64,
    /// Inference requests.
    pub requests: u64,
    /// Those whose bearer was not valid.
    pub unauthorized: u64,
    /// Those whose client left before the end.
    pub cancelled: u64,
    /// Those under way.
    pub in_flight: u64,
    /// Connections to the inference API.
    pub connections: u64,
}

/// Counters and records, and word of each change.
#[derive(Debug)]
pub(crate) struct Log {
    recording: bool,
    body_limit: usize,
    counts: Mutex<Counts>,
    seen: Mutex<Vec<Seen>>,
    number: AtomicU64,
    changed: watch::Sender<()>,
}

impl Log {
    pub(crate) fn new(recording: bool, body_limit: usize) -> Self {
        Self {
            recording,
            body_limit,
            counts: Mutex::default(),
            seen: Mutex::default(),
            number: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        }
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut lock(&self.counts));
        self.changed.send_replace(());
    }

    pub(crate) fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(crate) fn begin(&self, head: &Parts, connection: u64, authorized: bool) -> u64 {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        if self.recording {
            let text = |value: &hyper::header::HeaderValue| {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            lock(&self.seen).push(Seen {
                number,
                connection,
                method: head.method.to_string(),
                target: head
                    .uri
                    .path_and_query()
                    .map_or_else(String::new, ToString::to_string),
                version: format!("{:?}", head.version),
                headers: head
                    .headers
                    .iter()
                    .map(|(k, v)| (k.to_string(), text(v)))
                    .collect(),
                body: Vec::new(),
                body_bytes: 0,
                body_sha256: None,
                authorized,
                cancelled: false,
                finished: false,
            });
        }
        self.count(|counts| {
            counts.requests += 1;
            counts.in_flight += 1;
            counts.unauthorized += u64::from(!authorized);
        });
        number
    }

    pub(crate) fn body(&self, number: u64, part: &Bytes) {
        self.edit(number, |seen| {
            let room = self.body_limit.saturating_sub(seen.body.len());
            seen.body.extend_from_slice(&part[..part.len().min(room)]);
            seen.body_bytes += part.len() as u64;
        });
        self.changed.send_replace(());
    }

    pub(crate) fn body_ended(&self, number: u64, hash: Sha256) {
        let mut digits = String::new();
        for byte in hash.finalize() {
            write!(digits, "{byte:02x}").ok();
        }
        self.edit(number, |seen| seen.body_sha256 = Some(digits));
        self.changed.send_replace(());
    }

    pub(crate) fn end(&self, number: u64, finished: bool) {
        self.edit(number, |seen| {
            seen.finished = finished;
            seen.cancelled = !finished;
        });
        self.count(|counts| {
            counts.in_flight -= 1;
            counts.cancelled += u64::from(!finished);
        });
    }

    fn edit(&self, number: u64, change: impl FnOnce(&mut Seen)) {
        if self.recording
            && let Some(seen) = lock(&self.seen)
                .iter_mut()
                .rev()
                .find(|s| s.number == number)
        {
            change(seen);
        }
    }
}
