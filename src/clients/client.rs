//! One client: its name, its limits and its use of the port.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::allowance::{Allowance, AllowanceUse, ClientRates, Day, DayMoment, ReachedLimit, Which};
use crate::clock::Clock;

/// How many source addresses are kept per client, the latest included.
pub(super) const MOST_SOURCES: usize = 9;
/// The longest source address that is kept, in bytes.
const LONGEST_SOURCE: usize = 64;

/// What a key may be used for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Provider names in lower case; empty means all.
    pub providers: Vec<String>,
    /// Paths below `/v1`; empty means all.
    pub paths: Vec<String>,
    /// Model names; empty means all.
    pub models: Vec<String>,
    /// How many requests may be in flight at once.
    pub in_flight: Option<NonZeroU32>,
    /// Limits per minute and per day.
    pub rates: ClientRates,
}

/// How a key has been used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientUse {
    /// Requests admitted.
    pub requests: u64,
    /// The latest request.
    pub last: Option<DateTime<Utc>>,
    /// Source addresses, the latest first; nine at most.
    pub from: Vec<String>,
}

/// An app that has a key.
#[derive(Debug)]
pub struct Client {
    pub(super) name: String,
    pub(super) limits: KeyLimits,
    pub(super) created: Option<DateTime<Utc>>,
    pub(super) rotated: Option<DateTime<Utc>>,
    /// The use that the file has.
    pub(super) recorded: ClientUse,
    /// Fields of its entry in the file that this version does not know.
    pub(super) unknown: Vec<String>,
    /// The use since then, shared by every version of this client.
    pub(super) meter: Arc<ClientMeter>,
}

/// A client's current use, and the part of it that the file does not have yet.
#[derive(Debug)]
pub(super) struct ClientMeter {
    clock: Arc<dyn Clock>,
    /// The end of the day in seconds since 1970, shared by all clients; 0 until it is known.
    midnight: Arc<AtomicI64>,
    in_flight: AtomicU64,
    requests: AtomicU64,
    /// Requests since the daemon started, saved or not.
    entered: AtomicU64,
    last: Mutex<LastUse>,
    allowance: Mutex<Allowance>,
}

/// The latest use: when, and from where. Less than the whole [`ClientUse`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LastUse {
    pub(super) at: Option<DateTime<Utc>>,
    /// The latest first.
    pub(super) from: Vec<String>,
}

/// One of the requests that a client's `in_flight` limit allows; dropping it frees the slot.
#[derive(Debug)]
#[must_use = "the request's slot is freed when this is dropped"]
pub struct InFlightPermit {
    client: Arc<Client>,
}

/// A limit of a client is reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    /// The client has as many requests in flight as it may.
    #[error("the client key {name} has {limit} requests in flight, which is its limit")]
    InFlight {
        /// The client's name.
        name: String,
        /// The limit on requests in flight.
        limit: u32,
    },
    /// The client has made as many requests as it may.
    #[error("the client key {name} has made {limit} requests {within}, which is its limit")]
    Requests {
        /// The client's name.
        name: String,
        /// The limit on requests.
        limit: u32,
        /// The limit's period, in words.
        within: &'static str,
        /// The time until the next request is allowed.
        wait: Duration,
    },
    /// The client has used as many tokens as it may.
    #[error("the client key {name} has used the {limit} tokens of its day{}", guess(*.estimated))]
    Tokens {
        /// The client's name.
        name: String,
        /// The limit on tokens per day.
        limit: u64,
        /// How many of the tokens are estimated.
        estimated: u64,
        /// The time until tokens are free again.
        wait: Duration,
    },
}

fn guess(estimated: u64) -> String {
    if estimated == 0 {
        return String::new();
    }
    format!(", {estimated} of them by an estimate, since not every answer told its tokens")
}

impl LimitReached {
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

    /// The time until another request is allowed; `None` where that depends on the requests in flight.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::InFlight { .. } => None,
            Self::Requests { wait, .. } | Self::Tokens { wait, .. } => Some(*wait),
        }
    }
}

impl Client {
    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the key may use the provider with this lower-case name.
    pub fn allows_provider(&self, name: &str) -> bool {
        let providers = &self.limits.providers;
        providers.is_empty() || providers.iter().any(|allowed| allowed == name)
    }

    /// Whether the key is limited to certain models.
    pub fn is_for_models(&self) -> bool {
        !self.limits.models.is_empty()
    }

    /// Whether the key has any limit. A limited key sees nothing of other apps.
    pub fn is_limited(&self) -> bool {
        self.limits != KeyLimits::default()
    }

    /// Whether the key may use this path below `/v1`, such as `/chat/completions`.
    pub fn allows_path(&self, path: &str) -> bool {
        let paths = &self.limits.paths;
        paths.is_empty() || paths.iter().any(|allowed| allowed == path)
    }

    /// Whether the key may use this model. `Hermes-4-*` allows every name that begins with `Hermes-4-`.
    pub fn allows_model(&self, name: &str) -> bool {
        let models = &self.limits.models;
        let allows = |allowed: &String| match allowed.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => allowed == name,
        };
        models.is_empty() || models.iter().any(allows)
    }

    /// The models that the key may use; empty means all.
    pub fn models(&self) -> &[String] {
        &self.limits.models
    }

    /// Whether the key has a token limit.
    pub fn counts_tokens(&self) -> bool {
        self.limits.rates.tokens_per_day.is_some()
    }

    /// Counts tokens used, `estimated` of them without a count from the provider. They are counted even without a
    /// limit, since one may be set later in the day.
    pub fn spends(&self, tokens: u64, estimated: u64) {
        if tokens > 0 {
            self.meter.used(AllowanceUse {
                requests: 0,
                tokens,
                estimated,
            });
        }
    }

    /// Today's use, if the key has a daily limit.
    pub(super) fn today(&self) -> Option<AllowanceUse> {
        let times = self.meter.times();
        let is_limited = self.limits.rates.has_days();
        is_limited.then(|| lock(&self.meter.allowance).today(times))
    }

    /// Takes a slot for a request and counts it. `from` is the peer's IP address or `unix socket`. Costs one clock
    /// read, a lock shared only by this app's requests, and three atomic operations.
    ///
    /// # Errors
    /// When the limit on requests in flight, or another one, is reached. A refused request is not counted.
    pub fn enter(self: &Arc<Self>, from: &str) -> Result<InFlightPermit, LimitReached> {
        let permit = self.enter_uncounted()?;
        let taken = lock(&self.meter.allowance).take(&self.limits.rates, self.meter.times());
        taken.map_err(|reached| LimitReached::of(&self.name, reached))?;
        self.meter.requests.fetch_add(1, Ordering::Relaxed);
        self.meter.entered.fetch_add(1, Ordering::Relaxed);
        lock(&self.meter.last).note(self.meter.clock.now(), from);
        Ok(permit)
    }

    /// Takes a slot without counting the request, because hermesctl sent it.
    ///
    /// # Errors
    /// When the limit on requests in flight is reached.
    pub fn enter_uncounted(self: &Arc<Self>) -> Result<InFlightPermit, LimitReached> {
        let limit = self.limits.in_flight;
        let most = limit.map_or(u64::MAX, |limit| limit.get().into());
        let one_more = |under_way: u64| (under_way < most).then(|| under_way.saturating_add(1));
        let in_flight = &self.meter.in_flight;
        let taken = in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if taken.is_err() {
            return Err(LimitReached::InFlight {
                name: self.name.clone(),
                limit: limit.map_or(u32::MAX, NonZeroU32::get),
            });
        }
        Ok(InFlightPermit {
            client: Arc::clone(self),
        })
    }

    /// Whether the client has no `in_flight` limit of its own and has reached this share.
    pub fn has_its_share(&self, share: u32) -> bool {
        let under_way = || self.meter.in_flight.load(Ordering::Relaxed);
        self.limits.in_flight.is_none() && under_way() >= u64::from(share)
    }

    /// Requests since the daemon started, and requests in flight.
    pub fn counts(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.meter.entered), read(&self.meter.in_flight))
    }

    /// The use in the file plus the use since.
    pub(super) fn usage(&self) -> ClientUse {
        let mut usage = self.recorded.clone();
        self.meter.pending().add_to(&mut usage);
        usage
    }
}

impl InFlightPermit {
    /// Returns a request that was never sent to a provider to the limits of the day on which it arrived, `age` ago.
    /// Only for a request that was counted.
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

/// The use that is still to be saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnsavedUse {
    requests: u64,
    last: LastUse,
    /// All days, if they have changed.
    days: Option<Vec<Day>>,
}

impl ClientMeter {
    /// A meter that starts with the use of these days.
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

    fn times(&self) -> DayMoment {
        DayMoment {
            now: self.clock.seconds(),
            midnight: self.midnight.load(Ordering::Relaxed),
        }
    }

    pub(super) fn used(&self, used: AllowanceUse) {
        lock(&self.allowance).add(used, self.times());
    }

    /// The use to add to the file. It stays pending until [`ClientMeter::settle`].
    pub(super) fn pending(&self) -> UnsavedUse {
        UnsavedUse {
            requests: self.requests.load(Ordering::Relaxed),
            last: lock(&self.last).clone(),
            days: lock(&self.allowance).unwritten(),
        }
    }

    /// Marks this use as saved.
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

    /// The days and their use, if they differ from those in the file.
    pub(super) fn days(&self) -> Option<&[Day]> {
        self.days.as_deref()
    }

    /// Adds this to the use that the file has.
    pub(super) fn add_to(&self, usage: &mut ClientUse) {
        usage.requests = usage.requests.saturating_add(self.requests);
        usage.last = usage.last.max(self.last.at);
        let known = std::mem::take(&mut usage.from);
        let sources = self.last.from.iter().chain(&known);
        for source in sources {
            if usage.from.len() < MOST_SOURCES && !usage.from.contains(source) {
                usage.from.push(source.clone());
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
        // `::ffff:127.0.0.1` is the same address as 127.0.0.1.
        let source = match from.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => from.chars().take(LONGEST_SOURCE).collect(),
        };
        self.from.retain(|known| *known != source);
        self.from.insert(0, source);
        self.from.truncate(MOST_SOURCES);
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
