//! The requests in flight, and how many began in each minute of the last hour, for `hermesctl top`. A request costs two short
//! locks and one allocation for it, a piece of its answer two stores; nothing is done between the looks.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::upload::Upload;
use crate::clients::Client;
use crate::clock::{Clock, SystemClock};
use crate::usage;

/// So many minutes are kept.
const MINUTES: usize = 60;
/// So many seconds are one.
const SECONDS: i64 = 60;

/// The requests of this daemon that are in flight to a provider.
#[derive(Debug)]
pub struct InFlightRequests {
    table: Mutex<InFlightTable>,
    clock: Box<dyn Clock>,
}

/// A row for each, so no more than there are connections.
#[derive(Debug, Default)]
struct InFlightTable {
    rows: Vec<InFlightRow>,
    /// The first free row.
    free: Option<usize>,
    count: usize,
    minutes: Minutes,
}

#[derive(Debug)]
enum InFlightRow {
    Taken(Arc<TrackedRequest>),
    /// With the next free one.
    Free(Option<usize>),
}

/// A request in flight. What comes to be known of it is written where it comes to be known, and read by a look.
#[derive(Debug)]
pub(super) struct TrackedRequest {
    /// Its number in the log.
    pub(super) id: [u8; 16],
    pub(super) started: Instant,
    pub(super) provider: Arc<str>,
    pub(super) path: Arc<str>,
    /// The app whose key was shown.
    pub(super) client: Option<Arc<Client>>,
    /// Its body, which tells the model where that was not looked for.
    pub(super) upload: OnceLock<Upload>,
    /// What an app without a key calls itself.
    pub(super) app: OnceLock<Arc<str>>,
    pub(super) model: OnceLock<Box<str>>,
    pub(super) login: OnceLock<Box<str>>,
    /// 0: none has come.
    pub(super) status: AtomicU16,
    pub(super) is_stream: AtomicBool,
    /// Microseconds from its start to the first byte of its answer; 0: none has gone out.
    pub(super) first_byte: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) events: AtomicU64,
    /// Completion tokens of a stream, as far as the provider has told them; 0: of none.
    pub(super) tokens: AtomicU64,
}

/// A request's row.
#[derive(Debug)]
pub(super) struct InFlightEntry {
    pub(super) flight: Arc<TrackedRequest>,
    row: usize,
}

/// Which requests are listed where there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Those that take longest.
    Oldest,
    /// Those that began last.
    Newest,
}

/// What a look finds.
#[derive(Debug)]
pub struct InFlightSnapshot {
    /// Requests in flight, as they were asked for.
    pub listed: Vec<InFlight>,
    /// How many more there are.
    pub unlisted: usize,
    /// How many of all have an event stream as their answer.
    pub streams: usize,
    /// The last 60 minutes, the present one last.
    pub minutes: Vec<Minute>,
}

/// The requests of a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minute {
    /// Those that began in it.
    pub requests: u32,
    /// Those that failed in it. Clients that left don't count.
    pub failed: u32,
}

/// A request in flight at a moment.
#[derive(Debug)]
pub struct InFlight {
    /// Its number, as the log has it.
    pub id: [u8; 16],
    /// Since its head came.
    pub age: Duration,
    /// Its provider's name.
    pub provider: Arc<str>,
    /// Its path as the provider lists it.
    pub path: Arc<str>,
    /// The app: the name of its key, else what it calls itself.
    pub client: Box<str>,
    /// The model that its provider is asked for, as far as it is known.
    pub model: Option<Box<str>>,
    /// The login that it went with, where the provider has several.
    pub login: Option<Box<str>>,
    /// Whether its whole body has come.
    pub is_uploaded: bool,
    /// The status of the answer, once that has begun.
    pub status: Option<u16>,
    /// Whether the answer is an event stream.
    pub is_stream: bool,
    /// From its head to the first byte of its answer.
    pub first_byte: Option<Duration>,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Events of the provider's stream; 0 where it is compressed.
    pub events: u64,
    /// Completion tokens of a stream, where the provider has told of some so far.
    pub tokens: Option<u64>,
}

impl Default for InFlightRequests {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            clock: Box::new(SystemClock),
        }
    }
}

impl InFlightRequests {
    /// A request is in flight, until it is told to end.
    pub(super) fn begin(&self, flight: TrackedRequest) -> InFlightEntry {
        let flight = Arc::new(flight);
        let minute = self.clock.seconds().div_euclid(SECONDS);
        let mut table = self.table();
        table.minutes.at(minute).requests += 1;
        let row = table.take(flight.clone());
        drop(table);
        InFlightEntry { flight, row }
    }

    /// Ends it.
    pub(super) fn end(&self, entry: &InFlightEntry, has_failed: bool) {
        let failed_in = has_failed.then(|| self.clock.seconds().div_euclid(SECONDS));
        let mut table = self.table();
        if let Some(minute) = failed_in {
            table.minutes.at(minute).failed += 1;
        }
        let given_back = table.give_back(entry.row);
        drop(table);
        // What it holds is given back without the lock.
        drop(given_back);
    }

    /// What is in flight now; at most this many are listed.
    pub fn look(&self, most: usize, first: First) -> InFlightSnapshot {
        let minute = self.clock.seconds().div_euclid(SECONDS);
        let mut table = self.table();
        let minutes = table.minutes.look(minute);
        let count = table.count;
        let streams = table.taken().filter(|one| one.is_stream()).count();
        let flights = table.chosen(most, first);
        drop(table);
        let now = Instant::now();
        let listed: Vec<_> = flights.iter().map(|flight| flight.at(now)).collect();
        InFlightSnapshot {
            unlisted: count - listed.len(),
            listed,
            streams,
            minutes,
        }
    }

    fn table(&self) -> MutexGuard<'_, InFlightTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlightTable {
    fn take(&mut self, flight: Arc<TrackedRequest>) -> usize {
        self.count += 1;
        if let Some(row) = self.free
            && let Some(place) = self.rows.get_mut(row)
        {
            if let InFlightRow::Free(next) = std::mem::replace(place, InFlightRow::Taken(flight)) {
                self.free = next;
            }
            return row;
        }
        self.rows.push(InFlightRow::Taken(flight));
        self.rows.len() - 1
    }

    fn give_back(&mut self, row: usize) -> Option<InFlightRow> {
        let place = self.rows.get_mut(row)?;
        self.count -= 1;
        Some(std::mem::replace(
            place,
            InFlightRow::Free(self.free.replace(row)),
        ))
    }

    fn taken(&self) -> impl Iterator<Item = &Arc<TrackedRequest>> {
        self.rows.iter().filter_map(|row| match row {
            InFlightRow::Taken(flight) => Some(flight),
            InFlightRow::Free(_) => None,
        })
    }

    fn chosen(&self, most: usize, first: First) -> Vec<Arc<TrackedRequest>> {
        let mut all: Vec<&Arc<TrackedRequest>> = self.taken().collect();
        let order = |one: &&Arc<TrackedRequest>, other: &&Arc<TrackedRequest>| {
            let order = (one.started, one.id).cmp(&(other.started, other.id));
            match first {
                First::Oldest => order,
                First::Newest => order.reverse(),
            }
        };
        if all.len() > most {
            all.select_nth_unstable_by(most, order);
            all.truncate(most);
        }
        all.sort_unstable_by(order);
        all.into_iter().cloned().collect()
    }
}

impl TrackedRequest {
    /// Of a request that has just been routed.
    pub(super) fn new(
        id: [u8; 16],
        started: Instant,
        provider: &Arc<str>,
        path: &Arc<str>,
        client: Option<&Arc<Client>>,
    ) -> Self {
        Self {
            id,
            started,
            provider: provider.clone(),
            path: path.clone(),
            client: client.cloned(),
            upload: OnceLock::new(),
            app: OnceLock::new(),
            model: OnceLock::new(),
            login: OnceLock::new(),
            status: AtomicU16::new(0),
            is_stream: AtomicBool::new(false),
            first_byte: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            events: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
        }
    }

    fn is_stream(&self) -> bool {
        self.is_stream.load(Ordering::Relaxed)
    }

    /// The first byte of the answer goes out now.
    pub(super) fn answers(&self, now: Instant) {
        let micros = now.duration_since(self.started).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX).max(1);
        self.first_byte.store(micros, Ordering::Relaxed);
    }

    fn at(&self, now: Instant) -> InFlight {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let upload = self.upload.get();
        let heard = || upload?.with_model(|model| model.map(|model| usage::clean(model).into()));
        let client = match (&self.client, self.app.get()) {
            (Some(client), _) => client.name().into(),
            (None, Some(app)) => (&**app).into(),
            (None, None) => usage::NO_KEY.into(),
        };
        InFlight {
            id: self.id,
            age: now.duration_since(self.started),
            provider: self.provider.clone(),
            path: self.path.clone(),
            client,
            model: self.model.get().cloned().or_else(heard),
            login: self.login.get().cloned(),
            is_uploaded: upload.is_none_or(Upload::is_finished),
            status: Some(self.status.load(Ordering::Relaxed)).filter(|status| *status > 0),
            is_stream: self.is_stream(),
            first_byte: Some(read(&self.first_byte))
                .filter(|micros| *micros > 0)
                .map(Duration::from_micros),
            bytes_in: upload.map_or(0, Upload::received),
            bytes_out: read(&self.bytes_out),
            events: read(&self.events),
            tokens: Some(read(&self.tokens)).filter(|tokens| *tokens > 0),
        }
    }
}

/// The last hour, a place for each minute.
#[derive(Debug)]
struct Minutes {
    /// The last minute that was counted in, since 1970.
    last: i64,
    places: [Minute; MINUTES],
}

impl Default for Minutes {
    fn default() -> Self {
        Self {
            last: 0,
            places: [Minute::default(); MINUTES],
        }
    }
}

impl Minutes {
    /// The place of this minute. A clock that was set back a little counts in the last one.
    fn at(&mut self, minute: i64) -> &mut Minute {
        self.turn(minute);
        let [place, ..] = &mut self.places;
        place
    }

    /// The last minutes, the present one last.
    fn look(&mut self, minute: i64) -> Vec<Minute> {
        self.turn(minute);
        self.places.iter().rev().copied().collect()
    }

    /// Moves on to this minute; the last one is at the front.
    fn turn(&mut self, minute: i64) {
        let passed = minute.saturating_sub(self.last);
        let longest = i64::try_from(MINUTES).unwrap_or(i64::MAX);
        if (1 - longest..=0).contains(&passed) {
            return;
        }
        let passed = usize::try_from(passed).unwrap_or(MINUTES).min(MINUTES);
        self.places.rotate_right(passed);
        let gone = self.places.iter_mut().take(passed);
        gone.for_each(|place| *place = Minute::default());
        self.last = minute;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::fake::JumpingClock;

    fn flights(clock: &Arc<JumpingClock>) -> InFlightRequests {
        #[derive(Debug)]
        struct Shared(Arc<JumpingClock>);

        impl Clock for Shared {
            fn now(&self) -> chrono::DateTime<chrono::Utc> {
                self.0.now()
            }
        }
        InFlightRequests {
            clock: Box::new(Shared(clock.clone())),
            ..InFlightRequests::default()
        }
    }

    fn flight(number: u8, started: Instant) -> TrackedRequest {
        let (provider, path) = (Arc::from("nous"), Arc::from("/chat/completions"));
        TrackedRequest::new([number; 16], started, &provider, &path, None)
    }

    #[tokio::test(start_paused = true)]
    async fn rows_are_used_again_and_listed_in_the_order_of_their_start() {
        let flights = InFlightRequests::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut entries: Vec<_> = [4, 1, 3, 0, 2]
            .into_iter()
            .map(|number| flights.begin(flight(number, at(u64::from(number)))))
            .collect();
        tokio::time::advance(Duration::from_secs(10)).await;
        let numbers = |most, first| {
            let look = flights.look(most, first);
            let listed = look.listed.iter().map(|one| one.id[0]);
            (listed.collect::<Vec<_>>(), look.unlisted)
        };
        assert_eq!(numbers(9, First::Oldest), (vec![0, 1, 2, 3, 4], 0));
        assert_eq!(numbers(2, First::Oldest), (vec![0, 1], 3));
        assert_eq!(numbers(2, First::Newest), (vec![4, 3], 3));
        assert_eq!(numbers(0, First::Newest), (vec![], 5));
        let ended = entries.remove(1);
        flights.end(&ended, false);
        assert_eq!(Arc::strong_count(&ended.flight), 1);
        flights.end(&entries.remove(0), false);
        assert_eq!(numbers(9, First::Oldest), (vec![0, 2, 3], 0));
        let again = [5, 6, 7].map(|number| flights.begin(flight(number, at(5))));
        assert_eq!(numbers(9, First::Newest), (vec![7, 6, 5, 3, 2, 0], 0));
        assert_eq!(flights.table().rows.len(), 6);
        for entry in entries.iter().chain(&again) {
            flights.end(entry, false);
        }
        assert_eq!(numbers(9, First::Oldest), (vec![], 0));
    }

    #[test]
    fn minutes_pass_by_the_wall_clock() {
        let clock = Arc::new(JumpingClock::at("2026-11-23T12:00:30Z"));
        let flights = flights(&clock);
        let request = |has_failed| {
            let entry = flights.begin(flight(0, Instant::now()));
            flights.end(&entry, has_failed);
        };
        let busy = || {
            let minutes = flights.look(0, First::Oldest).minutes;
            assert_eq!(minutes.len(), MINUTES);
            let busy = minutes.into_iter().enumerate();
            let busy = busy.filter(|(_, one)| *one != Minute::default());
            busy.map(|(place, one)| (place, one.requests, one.failed))
                .collect::<Vec<_>>()
        };
        request(false);
        request(true);
        assert_eq!(busy(), [(59, 2, 1)]);
        clock.jump(Duration::from_secs(29));
        assert_eq!(busy(), [(59, 2, 1)]);
        clock.jump(Duration::from_secs(1));
        assert_eq!(busy(), [(58, 2, 1)]);
        clock.jump(Duration::from_mins(9));
        request(false);
        assert_eq!(busy(), [(49, 2, 1), (59, 1, 0)]);
        // A clock that is set back a little loses nothing.
        clock.jump_back(Duration::from_mins(5));
        request(false);
        assert_eq!(busy(), [(49, 2, 1), (59, 2, 0)]);
        clock.jump(Duration::from_mins(5 + 50));
        assert_eq!(busy(), [(9, 2, 0)]);
        clock.jump(Duration::from_mins(10));
        assert_eq!(busy(), []);
        // One that was wrong by far starts over.
        request(false);
        clock.jump_back(Duration::from_hours(9000));
        assert_eq!(busy(), []);
        request(false);
        assert_eq!(busy(), [(59, 1, 0)]);
    }
}
