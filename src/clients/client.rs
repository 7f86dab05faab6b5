//! One client: its name, its limits, and how it uses the port.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::allowance::{Allowance, AllowanceUse, ClientRates, Day, DayMoment, ReachedLimit, Which};
use crate::clock::Clock;

/// So many places of use are kept, the last one included.
pub(super) const PLACES: usize = 9;
/// No place's name is longer.
const LONGEST_PLACE: usize = 64;

/// What a key may be used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// The providers, in lower case; none means all.
    pub providers: Vec<String>,
    /// The paths below `/v1`; none means all.
    pub paths: Vec<String>,
    /// The models; none means all.
    pub models: Vec<String>,
    /// How many requests may be under way at once.
    pub in_flight: Option<NonZeroU32>,
    /// How much it may be used.
    pub rates: ClientRates,
}

/// How a key was used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientUse {
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
    pub(super) limits: KeyLimits,
    pub(super) created: Option<DateTime<Utc>>,
    pub(super) rotated: Option<DateTime<Utc>>,
    /// The use that stands in the file.
    pub(super) recorded: ClientUse,
    /// Fields of its entry there that mean nothing here.
    pub(super) unknown: Vec<String>,
    /// The use since; the same for every version of this client.
    pub(super) meter: Arc<ClientMeter>,
}

/// What a client does now, and what of it is not in the file yet.
#[derive(Debug)]
pub(super) struct ClientMeter {
    clock: Arc<dyn Clock>,
    /// When the day ends, in seconds since 1970; 0 until that is known. The same for all clients.
    midnight: Arc<AtomicI64>,
    in_flight: AtomicU64,
    requests: AtomicU64,
    /// Those since the daemon's start, whether they are in the file or not.
    entered: AtomicU64,
    last: Mutex<LastUse>,
    allowance: Mutex<Allowance>,
}

/// When and from where; a subset of the whole use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LastUse {
    pub(super) at: Option<DateTime<Utc>>,
    /// The last place first.
    pub(super) from: Vec<String>,
}

/// A place of a client's `in_flight` limit; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "the request's place is given back when this is dropped"]
pub struct InFlightPermit {
    client: Arc<Client>,
}

/// A limit is reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All places are taken.
    #[error("the client key {name} has {limit} requests in flight, which is its limit")]
    InFlight {
        /// The client.
        name: String,
        /// How many requests it may have under way.
        limit: u32,
    },
    /// It has made as many requests as it may.
    #[error("the client key {name} has made {limit} requests {within}, which is its limit")]
    Requests {
        /// The client.
        name: String,
        /// How many it may make.
        limit: u32,
        /// In which time, in words.
        within: &'static str,
        /// The time until it may make another.
        wait: Duration,
    },
    /// It has used as many tokens as it may.
    #[error("the client key {name} has used the {limit} tokens of its day{}", guess(*.estimated))]
    Tokens {
        /// The client.
        name: String,
        /// How many it may use on a day.
        limit: u64,
        /// Those that no answer has told.
        estimated: u64,
        /// The time until it may use others.
        wait: Duration,
    },
}

fn guess(estimated: u64) -> String {
    if estimated == 0 {
        return String::new();
    }
    format!(", {estimated} of them by an estimate, since not every answer told its tokens")
}

impl Full {
    fn of(name: &str, reached: ReachedLimit) -> Self {
        let (name, wait) = (name.to_owned(), reached.wait);
        let requests = |name, limit, within| Self::Requests {
            name,
            limit,
            within,
            wait,
        };
        match reached.limit {
            Which::Minute(limit) => requests(name, limit, "within a minute"),
            Which::Day(limit) => requests(name, limit, "today"),
            Which::Tokens { limit, estimated } => Self::Tokens {
                name,
                limit,
                estimated,
                wait,
            },
        }
    }

    /// The time until another request may be made, where it does not depend on those under way.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::InFlight { .. } => None,
            Self::Requests { wait, .. } | Self::Tokens { wait, .. } => Some(*wait),
        }
    }
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

    /// Whether the key is for some models alone.
    pub fn is_for_models(&self) -> bool {
        !self.limits.models.is_empty()
    }

    /// Whether the key has any limit. One that has sees nothing of other apps.
    pub fn is_limited(&self) -> bool {
        self.limits != KeyLimits::default()
    }

    /// Whether the key is good for this path below `/v1`, such as `/chat/completions`.
    pub fn allows_path(&self, path: &str) -> bool {
        let paths = &self.limits.paths;
        paths.is_empty() || paths.iter().any(|allowed| allowed == path)
    }

    /// Whether the key is good for this model. `Hermes-4-*` allows all that begin with `Hermes-4-`.
    pub fn allows_model(&self, name: &str) -> bool {
        let models = &self.limits.models;
        let allows = |allowed: &String| match allowed.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => allowed == name,
        };
        models.is_empty() || models.iter().any(allows)
    }

    /// The models that the key is for; none means all.
    pub fn models(&self) -> &[String] {
        &self.limits.models
    }

    /// Whether its tokens are limited.
    pub fn counts_tokens(&self) -> bool {
        self.limits.rates.tokens_per_day.is_some()
    }

    /// Counts tokens that it has used, `estimated` of which no answer has told. A limit that it is given later in the
    /// day takes them into account.
    pub fn spends(&self, tokens: u64, estimated: u64) {
        if tokens > 0 {
            self.meter.used(AllowanceUse {
                requests: 0,
                tokens,
                estimated,
            });
        }
    }

    /// What it has used today, where that is limited.
    pub(super) fn today(&self) -> Option<AllowanceUse> {
        let times = self.meter.times();
        let is_limited = self.limits.rates.has_days();
        is_limited.then(|| lock(&self.meter.allowance).today(times))
    }

    /// Takes a place for a request and counts it; `from` is the address that it comes from, or
    /// `unix socket`. Costs a look at the clock, a lock that only this app's requests take, and three atomic operations.
    ///
    /// # Errors
    /// When all places are taken or another limit is reached; such a request is not counted.
    pub fn enter(self: &Arc<Self>, from: &str) -> Result<InFlightPermit, Full> {
        let visit = self.enter_uncounted()?;
        let taken = lock(&self.meter.allowance).take(&self.limits.rates, self.meter.times());
        taken.map_err(|reached| Full::of(&self.name, reached))?;
        self.meter.requests.fetch_add(1, Ordering::Relaxed);
        self.meter.entered.fetch_add(1, Ordering::Relaxed);
        lock(&self.meter.last).note(self.meter.clock.now(), from);
        Ok(visit)
    }

    /// The same for a request that is not the app's.
    ///
    /// # Errors
    /// When all places are taken.
    pub fn enter_uncounted(self: &Arc<Self>) -> Result<InFlightPermit, Full> {
        let limit = self.limits.in_flight;
        let most = limit.map_or(u64::MAX, |limit| limit.get().into());
        let one_more = |under_way: u64| (under_way < most).then(|| under_way.saturating_add(1));
        let in_flight = &self.meter.in_flight;
        let taken = in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if taken.is_err() {
            return Err(Full::InFlight {
                name: self.name.clone(),
                limit: limit.map_or(u32::MAX, NonZeroU32::get),
            });
        }
        Ok(InFlightPermit {
            client: Arc::clone(self),
        })
    }

    /// Whether it was given no number of requests that may be under way, and has this many by now.
    pub fn has_its_share(&self, share: u32) -> bool {
        let under_way = || self.meter.in_flight.load(Ordering::Relaxed);
        self.limits.in_flight.is_none() && under_way() >= u64::from(share)
    }

    /// Requests since the daemon's start, and those that are in flight.
    pub fn counts(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.meter.entered), read(&self.meter.in_flight))
    }

    /// The use in the file and the use since.
    pub(super) fn usage(&self) -> ClientUse {
        let mut usage = self.recorded.clone();
        self.meter.pending().add_to(&mut usage);
        usage
    }
}

impl InFlightPermit {
    /// The request was not sent to a provider: it uses nothing of the day on which
    /// it came, so long ago. Not for one that was not counted.
    pub fn gives_back(&self, age: Duration) {
        let meter = &self.client.meter;
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let began = meter.clock.seconds().saturating_sub(age);
        lock(&meter.allowance).give_back(began);
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.client.meter.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is not in the file yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnsavedUse {
    requests: u64,
    last: LastUse,
    /// All of them, where they have changed.
    days: Option<Vec<Day>>,
}

impl ClientMeter {
    /// Of a client that has used so much on these days.
    pub(super) fn new(clock: Arc<dyn Clock>, midnight: Arc<AtomicI64>, days: Vec<Day>) -> Self {
        Self {
            clock,
            midnight,
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            last: Mutex::default(),
            allowance: Mutex::new(Allowance::of(days)),
        }
    }

    /// Now, and the end of the day.
    fn times(&self) -> DayMoment {
        DayMoment {
            now: self.clock.seconds(),
            midnight: self.midnight.load(Ordering::Relaxed),
        }
    }

    /// Adds to what was used today.
    pub(super) fn used(&self, used: AllowanceUse) {
        lock(&self.allowance).add(used, self.times());
    }

    /// What is to be added to the file; it stays here until [`ClientMeter::settle`].
    pub(super) fn pending(&self) -> UnsavedUse {
        UnsavedUse {
            requests: self.requests.load(Ordering::Relaxed),
            last: lock(&self.last).clone(),
            days: lock(&self.allowance).unwritten(),
        }
    }

    /// That much stands in the file now.
    pub(super) fn settle(&self, written: &UnsavedUse) {
        self.requests.fetch_sub(written.requests, Ordering::Relaxed);
        let mut last = lock(&self.last);
        if *last == written.last {
            *last = LastUse::default();
        }
        if let Some(days) = &written.days {
            lock(&self.allowance).settle(days);
        }
    }
}

impl UnsavedUse {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The days with their use, where the file has other ones.
    pub(super) fn days(&self) -> Option<&[Day]> {
        self.days.as_deref()
    }

    /// Adds it to the use that the file knows.
    pub(super) fn add_to(&self, usage: &mut ClientUse) {
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

impl LastUse {
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

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
