//! Places for connections, over all listeners. When all are taken, whoever has waited longest for a
//! request to come makes way for a newcomer; where nobody does, whoever's body comes so slowly that
//! no honest client sends it. Whoever else is being answered never does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// A newcomer has this long to send a request before it must make way, so that under a flood of
/// connections each is served that has something to ask.
const GRACE: Duration = Duration::from_millis(250);
/// A body is waited for this long at its start, and then for a millisecond for each of its bytes, which
/// is a kilobyte a second; only after that is it too slow for a full house. A telephone at the edge of
/// its network sends ten times as much. Nothing is counted while nobody takes the body.
const FIRST_CREDIT: i64 = 5_000;
/// More is not saved up: a line that hangs for this long may be honest, while a flood could send much
/// at once, and then nothing for hours.
const MOST_CREDIT: i64 = 30_000;
/// How often a full house is looked through for somebody who can go.
const LOOK: Duration = Duration::from_millis(50);

/// The places.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
    number: AtomicU64,
    /// Newcomers wait; said once while it lasts.
    full: AtomicBool,
    opened: Instant,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
    _permit: OwnedSemaphorePermit,
}

/// Why a connection makes way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It waits for a request.
    Idle,
    /// The body of its request comes too slowly.
    SlowBody,
}

/// What a connection does in its place.
#[derive(Debug)]
pub(super) struct Seat {
    /// Since when it waits for a head, in milliseconds from the first day, and one; 0: it does not.
    waits_since: AtomicU64,
    /// The same for the next bytes of a body.
    lacks_since: AtomicU64,
    /// For how many milliseconds they may still be waited for.
    credit: AtomicI64,
    asked: AtomicBool,
    ask: Notify,
    opened: Instant,
}

impl Places {
    /// So many places.
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(count)),
            seats: Mutex::default(),
            number: AtomicU64::new(0),
            full: AtomicBool::new(false),
            opened: Instant::now(),
        })
    }

    /// Waits for a place.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            self.full.store(false, Ordering::Relaxed);
            return self.seat(permit);
        }
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "all places for connections are taken (`limits.connections`); the idle ones, then \
                 those with the slowest bodies, are closed for new ones"
            );
        }
        loop {
            self.ask_somebody_to_leave();
            let permit = timeout(LOOK, self.free.clone().acquire_owned()).await;
            if let Ok(Ok(permit)) = permit {
                return self.seat(permit);
            }
        }
    }

    fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat::new(self.opened));
        self.seats().insert(number, seat.clone());
        Place {
            places: self.clone(),
            number,
            seat,
            _permit: permit,
        }
    }

    fn ask_somebody_to_leave(&self) {
        let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
        let now = Seat::now(self.opened);
        let before = now.saturating_sub(grace);
        let seats = self.seats();
        let others = || {
            let seats = seats.values();
            seats.filter(|seat| !seat.asked.load(Ordering::Relaxed))
        };
        let idle = others().filter_map(|seat| {
            let since = seat.waits_since.load(Ordering::Relaxed);
            (since > 0 && since <= before).then_some((since, seat))
        });
        let idle = idle.min_by_key(|(since, _)| *since).map(|(_, seat)| seat);
        let slowest = || {
            let bodies = others().filter_map(|seat| Some((seat.credit_at(now)?, seat)));
            let slow = bodies.filter(|(credit, _)| *credit <= 0);
            slow.min_by_key(|(credit, _)| *credit).map(|(_, seat)| seat)
        };
        if let Some(seat) = idle.or_else(slowest) {
            seat.asked.store(true, Ordering::Relaxed);
            seat.ask.notify_one();
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What its connection shares with its stream.
    pub(super) fn seat(&self) -> Arc<Seat> {
        self.seat.clone()
    }

    /// Waits until a newcomer needs the place and this connection can go.
    pub(super) async fn asked_to_leave(&self) -> Reason {
        loop {
            self.seat.ask.notified().await;
            // A request, or more of a body, may have come in between.
            if !self.seat.asked.load(Ordering::Relaxed) {
                continue;
            }
            return match self.seat.waits_since.load(Ordering::Relaxed) {
                0 => Reason::SlowBody,
                _ => Reason::Idle,
            };
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.seats().remove(&self.number);
    }
}

impl Seat {
    /// A seat whose connection waits for its first request.
    pub(super) fn new(opened: Instant) -> Self {
        Self {
            waits_since: AtomicU64::new(Self::now(opened)),
            lacks_since: AtomicU64::new(0),
            credit: AtomicI64::new(0),
            asked: AtomicBool::new(false),
            ask: Notify::new(),
            opened,
        }
    }

    /// It waits for a head from now on.
    pub(super) fn waits(&self) {
        let now = Self::now(self.opened);
        self.waits_since.store(now, Ordering::Relaxed);
    }

    /// It has a head.
    pub(super) fn has_request(&self) {
        self.waits_since.store(0, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// A request's body begins.
    pub(super) fn begins_body(&self) {
        self.lacks_since.store(0, Ordering::Relaxed);
        self.credit.store(FIRST_CREDIT, Ordering::Relaxed);
    }

    /// It waits for the body's next bytes, from now on unless it did already.
    pub(super) fn lacks_body(&self) {
        if self.lacks_since.load(Ordering::Relaxed) == 0 {
            let now = Self::now(self.opened);
            self.lacks_since.store(now, Ordering::Relaxed);
        }
    }

    /// So many bytes have come.
    pub(super) fn gets_body(&self, bytes: usize) {
        if let Some(left) = self.credit_at(Self::now(self.opened)) {
            self.credit.store(left.max(0), Ordering::Relaxed);
        }
        let bytes = i64::try_from(bytes).unwrap_or(MOST_CREDIT);
        let credit = self.credit.load(Ordering::Relaxed).saturating_add(bytes);
        self.credit
            .store(credit.min(MOST_CREDIT), Ordering::Relaxed);
        self.lacks_since.store(0, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// What is left of its credit, if a body's bytes are waited for.
    fn credit_at(&self, now: u64) -> Option<i64> {
        let since = self.lacks_since.load(Ordering::Relaxed);
        let lacked = i64::try_from(now.saturating_sub(since)).unwrap_or(i64::MAX);
        (since > 0).then(|| self.credit.load(Ordering::Relaxed).saturating_sub(lacked))
    }

    fn now(opened: Instant) -> u64 {
        u64::try_from(opened.elapsed().as_millis()).map_or(u64::MAX, |millis| millis + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn takes(places: &Arc<Places>) -> Option<Place> {
        timeout(Duration::from_secs(10), places.take()).await.ok()
    }

    async fn leaves(place: &Place) -> bool {
        let asked = timeout(Duration::ZERO, place.asked_to_leave());
        asked.await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_makes_way() {
        let places = Places::new(3);
        let (first, second, third) = (
            takes(&places).await.unwrap(),
            takes(&places).await.unwrap(),
            takes(&places).await.unwrap(),
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.seat.waits();
        third.seat.has_request();
        let newcomer = {
            let places = places.clone();
            async move { takes(&places).await }
        };
        let makes_way = async {
            second.asked_to_leave().await;
            drop(second);
        };
        let (newcomer, ()) = tokio::join!(newcomer, makes_way);
        assert!(newcomer.is_some());
        assert!(!leaves(&first).await && !leaves(&third).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_answered_stays_and_the_newcomer_waits() {
        let places = Places::new(1);
        let place = takes(&places).await.unwrap();
        place.seat.has_request();
        assert!(takes(&places).await.is_none());
        assert!(!leaves(&place).await);
    }

    /// Three bodies: one that never comes, one of a byte now and then, an honest one.
    #[tokio::test(start_paused = true)]
    async fn the_slowest_body_makes_way_and_an_honest_one_never() {
        let places = Places::new(3);
        let (silent, dripping, honest) = (
            takes(&places).await.unwrap(),
            takes(&places).await.unwrap(),
            takes(&places).await.unwrap(),
        );
        for place in [&silent, &dripping, &honest] {
            place.seat.has_request();
            place.seat.begins_body();
            place.seat.lacks_body();
        }
        let newcomers = async {
            let first = takes(&places).await.unwrap();
            first.seat.has_request();
            let second = takes(&places).await.unwrap();
            second.seat.has_request();
            assert!(takes(&places).await.is_none(), "nobody else can go");
        };
        let began = Instant::now();
        let leave = async {
            assert_eq!(silent.asked_to_leave().await, Reason::SlowBody);
            let waited = began.elapsed();
            assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(6));
            drop(silent);
            assert_eq!(dripping.asked_to_leave().await, Reason::SlowBody);
            drop(dripping);
            std::future::pending::<()>().await;
        };
        let uploading = async {
            let slow = places.seats().get(&1).unwrap().clone();
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                honest.seat.gets_body(200);
                honest.seat.lacks_body();
                slow.gets_body(1);
                slow.lacks_body();
            }
        };
        tokio::select! {
            () = newcomers => {}
            () = leave => {}
            () = uploading => {}
        }
        assert!(!leaves(&honest).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_takes_and_a_line_that_hangs_cost_no_place() {
        let places = Places::new(2);
        let (untaken, hanging) = (takes(&places).await.unwrap(), takes(&places).await.unwrap());
        for place in [&untaken, &hanging] {
            place.seat.has_request();
            place.seat.begins_body();
        }
        hanging.seat.gets_body(100 * 1024);
        hanging.seat.lacks_body();
        // For as long as is tried here.
        assert!(takes(&places).await.is_none());
        assert!(takes(&places).await.is_none());
        let newcomer = {
            let places = places.clone();
            async move { takes(&places).await }
        };
        let leave = async {
            assert_eq!(hanging.asked_to_leave().await, Reason::SlowBody);
            drop(hanging);
        };
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (newcomer, ()) = tokio::join!(newcomer, leave);
        assert!(newcomer.is_some(), "it hung for more than its credit");
        assert!(!leaves(&untaken).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_has_time_for_its_request() {
        let places = Places::new(1);
        let place = takes(&places).await.unwrap();
        let began = Instant::now();
        let newcomer = async { takes(&places).await };
        let makes_way = async {
            place.asked_to_leave().await;
            assert!(began.elapsed() >= GRACE);
            drop(place);
        };
        let (newcomer, ()) = tokio::join!(newcomer, makes_way);
        assert!(newcomer.is_some() && places.seats().len() == 1);
        drop(newcomer);
        assert!(places.seats().is_empty());
    }
}
