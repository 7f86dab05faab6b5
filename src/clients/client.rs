//! One client: its name, its limits, and how it uses the port.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::clock::Clock;

/// So many places of use are kept, the last one included.
pub(super) const PLACES: usize = 9;
/// No place's name is longer.
const LONGEST_PLACE: usize = 64;

/// What a key may be used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The providers, in lower case; none means all.
    pub providers: Vec<String>,
    /// The paths below `/v1`; none means all.
    pub paths: Vec<String>,
    /// How many requests may be under way at once.
    pub in_flight: Option<NonZeroU32>,
}

/// How a key was used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Use {
    /// Requests that were let in.
    pub requests: u64,
    /// The last one.
    pub last: Option<DateTime<Utc>>,
    /// Where requests came from, the last place first: nine places at most.
    pub from: Vec<String>,
}

/// One app that has a key.
#[derive(Debug)]
pub struct Client {
    pub(super) name: String,
    pub(super) limits: Limits,
    pub(super) created: Option<DateTime<Utc>>,
    pub(super) rotated: Option<DateTime<Utc>>,
    /// The use that stands in the file.
    pub(super) recorded: Use,
    /// The use since; the same for every version of this client.
    pub(super) meter: Arc<Meter>,
}

/// What a client does now, and what of it is not in the file yet.
#[derive(Debug)]
pub(super) struct Meter {
    clock: Arc<dyn Clock>,
    in_flight: AtomicU64,
    requests: AtomicU64,
    last: Mutex<Last>,
}

/// When and from where; a subset of the whole use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) at: Option<DateTime<Utc>>,
    /// The last place first.
    pub(super) from: Vec<String>,
}

/// A place of a client's `in_flight` limit; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "the request's place is given back when this is dropped"]
pub struct Visit {
    client: Arc<Client>,
}

/// All places are taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the client key {name} has {limit} requests in flight, which is its limit")]
pub struct Full {
    /// The client.
    pub name: String,
    /// How many requests it may have under way.
    pub limit: u32,
}

impl Client {
    /// The name that the key was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the key is good for the provider of this name, in lower case.
    pub fn allows_provider(&self, name: &str) -> bool {
        let providers = &self.limits.providers;
        providers.is_empty() || providers.iter().any(|allowed| allowed == name)
    }

    /// Whether the key is not for all providers.
    pub fn is_for_some(&self) -> bool {
        !self.limits.providers.is_empty()
    }

    /// Whether the key is good for this path below `/v1`, such as `/chat/completions`.
    pub fn allows_path(&self, path: &str) -> bool {
        let paths = &self.limits.paths;
        paths.is_empty() || paths.iter().any(|allowed| allowed == path)
    }

    /// Takes a place for a request and counts it; `from` is the address that it comes from, or
    /// `unix socket`. Costs a look at the clock and three atomic operations.
    ///
    /// # Errors
    /// When all places are taken; such a request is not counted.
    pub fn enter(self: &Arc<Self>, from: &str) -> Result<Visit, Full> {
        let visit = self.enter_uncounted()?;
        self.meter.requests.fetch_add(1, Ordering::Relaxed);
        lock(&self.meter.last).note(self.meter.clock.now(), from);
        Ok(visit)
    }

    /// The same for a request that is not the app's.
    ///
    /// # Errors
    /// When all places are taken.
    pub fn enter_uncounted(self: &Arc<Self>) -> Result<Visit, Full> {
        let limit = self.limits.in_flight;
        let most = limit.map_or(u64::MAX, |limit| limit.get().into());
        let one_more = |under_way: u64| (under_way < most).then(|| under_way.saturating_add(1));
        let in_flight = &self.meter.in_flight;
        let taken = in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if taken.is_err() {
            return Err(Full {
                name: self.name.clone(),
                limit: limit.map_or(u32::MAX, NonZeroU32::get),
            });
        }
        Ok(Visit {
            client: Arc::clone(self),
        })
    }

    /// Whether it was given no number of requests that may be under way, and has this many by now.
    pub fn has_its_share(&self, share: u32) -> bool {
        let under_way = || self.meter.in_flight.load(Ordering::Relaxed);
        self.limits.in_flight.is_none() && under_way() >= u64::from(share)
    }

    /// The use in the file and the use since.
    pub(super) fn usage(&self) -> Use {
        let mut usage = self.recorded.clone();
        self.meter.pending().add_to(&mut usage);
        usage
    }
}

impl Visit {
    /// Whose request it is.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.client.meter.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is not in the file yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pending {
    requests: u64,
    last: Last,
}

impl Meter {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    /// What is to be added to the file; it stays here until [`Meter::settle`].
    pub(super) fn pending(&self) -> Pending {
        Pending {
            requests: self.requests.load(Ordering::Relaxed),
            last: lock(&self.last).clone(),
        }
    }

    /// That much stands in the file now.
    pub(super) fn settle(&self, written: &Pending) {
        self.requests.fetch_sub(written.requests, Ordering::Relaxed);
        let mut last = lock(&self.last);
        if *last == written.last {
            *last = Last::default();
        }
    }
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds it to the use that the file knows.
    pub(super) fn add_to(&self, usage: &mut Use) {
        usage.requests = usage.requests.saturating_add(self.requests);
        usage.last = usage.last.max(self.last.at);
        let known = std::mem::take(&mut usage.from);
        let places = self.last.from.iter().chain(&known);
        for place in places {
            if usage.from.len() < PLACES && !usage.from.contains(place) {
                usage.from.push(place.clone());
            }
        }
    }
}

impl Last {
    fn note(&mut self, at: DateTime<Utc>, from: &str) {
        self.at = self.at.max(Some(at));
        if self.from.first().is_some_and(|last| last == from) {
            return;
        }
        // `::ffff:127.0.0.1` is 127.0.0.1.
        let place = match from.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => from.chars().take(LONGEST_PLACE).collect(),
        };
        self.from.retain(|known| *known != place);
        self.from.insert(0, place);
        self.from.truncate(PLACES);
    }
}

fn lock(last: &Mutex<Last>) -> MutexGuard<'_, Last> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}
