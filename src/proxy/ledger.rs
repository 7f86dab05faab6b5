//! Where every request is entered when it ends. The log line, a provider's totals and its last failure, what was
//! refused and what an app's key was used for are all fed from here.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use hyper::Method;
use tokio::time::Instant;

use super::in_flight::InFlightRequests;
use super::recent_failures::{Failures, RecentFailure};
use super::record::{RequestEnd, RequestRecord, RequestTarget};
use super::refusal_log::{Refusals, RefusedRequest};
use super::tally::PathCounters;
use crate::clients::{Client, InFlightPermit, LimitReached};
use crate::usage::UsageCounter;

/// As much of a path is logged, in bytes.
const LONGEST_PATH: usize = 200;

/// The requests of this daemon.
#[derive(Debug, Default)]
pub struct Ledger {
    refusals: Arc<Refusals>,
    failures: Arc<Failures>,
    flights: InFlightRequests,
    usage: OnceLock<UsageCounter>,
}

/// The one line. A refusal that was only counted is logged at debug level.
macro_rules! line {
    (if $counted:expr; { $($fields:tt)* }) => {
        if $counted {
            tracing::debug!($($fields)*);
        } else {
            tracing::info!($($fields)*);
        }
    };
}

impl Ledger {
    /// Requests that were refused before any provider was asked, since the start.
    pub fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// The last requests that failed.
    pub fn failures(&self) -> &Arc<Failures> {
        &self.failures
    }

    /// The requests in flight to providers.
    pub fn flights(&self) -> &InFlightRequests {
        &self.flights
    }

    /// Counts usage in `book` from now on. Only the first call has an effect.
    pub fn counts_in(&self, book: UsageCounter) {
        self.usage.set(book).ok();
    }

    /// Where usage is counted, if it is.
    pub(super) fn usage(&self) -> Option<&UsageCounter> {
        self.usage.get()
    }

    /// Takes a place of an app's limit, and counts it as a use of its key from this address, unless the request is
    /// hermesctl's own.
    ///
    /// # Errors
    /// When all places are taken; such a request is useless.
    pub(super) fn admit(
        client: &Arc<Client>,
        from: &str,
        is_own: bool,
    ) -> Result<InFlightPermit, LimitReached> {
        if is_own {
            client.enter_uncounted()
        } else {
            client.enter(from)
        }
    }

    /// Enters a request that has ended; also in the counters of its path, if it has some.
    pub(super) fn enter(&self, record: &RequestRecord, counters: Option<&PathCounters>) {
        if let Some(counters) = counters {
            counters.enter(record);
        }
        if let Some(code) = record.failure() {
            self.note(record, code);
        }
        // A refusal is told, with how many like it were not, or only counted. A probe is not told.
        let otherwise = (!record.is_probe, 0);
        let (is_told, untold) = record.refusal.as_ref().map_or(otherwise, |refusal| {
            let refused = RefusedRequest {
                kind: refusal.kind,
                from: &refusal.from,
                about: refusal.about.as_deref(),
                path: record.target.names().1,
                matters: refusal.matters,
            };
            let untold = self.refusals.add(&refused, record.id);
            (untold.is_some(), untold.unwrap_or_default())
        });
        Self::log(record, is_told, untold);
    }

    /// Keeps a failure that is worth a look; neither hermesctl's own nor a client that left.
    fn note(&self, record: &RequestRecord, code: Cow<'static, str>) {
        let (provider, from, about) = match (&record.target, &record.refusal) {
            (_, Some(refusal)) if refusal.matters => ("", &*refusal.from, refusal.about.clone()),
            (RequestTarget::Routed { provider, .. }, None) => {
                let client = record.client.as_ref();
                (&**provider, client.map_or("", |client| client.name()), None)
            }
            (RequestTarget::Routed { .. } | RequestTarget::Asked(_) | RequestTarget::Unread, _) => {
                return;
            }
        };
        if record.is_own || record.end == RequestEnd::ClientLeft {
            return;
        }
        self.failures.add(RecentFailure {
            at: record.ended,
            code,
            provider: provider.into(),
            from: from.into(),
            about,
        });
    }

    fn log(record: &RequestRecord, is_told: bool, untold: u64) {
        let micros = |time: Instant| {
            u64::try_from(time.duration_since(record.started).as_micros()).unwrap_or(u64::MAX)
        };
        let digits = record.id.digits();
        let (provider, path) = record.target.names();
        let (end, code) = record.end.words();
        let refusal = record.refusal.as_deref();
        line!(if !is_told; {
            id = std::str::from_utf8(&digits).unwrap_or_default(),
            by = record.is_own.then_some("hermesctl"),
            client = record.client.as_ref().map(|client| client.name()),
            provider,
            method = record.method.as_ref().map_or("", Method::as_str),
            path = path.get(..LONGEST_PATH).unwrap_or(path),
            status = record.status.map_or(0, |status| status.as_u16()),
            first_byte_us = record.first_byte.map(micros),
            duration_us = micros(record.ended),
            bytes_in = record.bytes_in,
            bytes_out = record.bytes_out,
            end,
            code,
            about = refusal.and_then(|refusal| refusal.about.as_deref()),
            untold = (untold > 0).then_some(untold),
            "request"
        });
    }
}
