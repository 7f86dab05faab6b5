//! Places for connections, over all listeners. When all are taken, whoever has waited longest for a
//! request to come makes way for a newcomer; whoever is being answered never does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// A newcomer has this long to send a request before it must make way, so that under a flood of
/// connections each is served that has something to ask.
const GRACE: Duration = Duration::from_millis(250);
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

/// What a connection does in its place.
#[derive(Debug)]
pub(super) struct Seat {
    /// Since when it waits for a head, in milliseconds from the first day, and one; 0: it does not.
    waits_since: AtomicU64,
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
                "all places for connections are taken (`limits.connections`); the idle ones are \
                 closed for new ones"
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
        let before = Seat::now(self.opened).saturating_sub(grace);
        let seats = self.seats();
        let idle = seats.values().filter_map(|seat| {
            let since = seat.waits_since.load(Ordering::Relaxed);
            let can_go = since > 0 && since <= before && !seat.asked.load(Ordering::Relaxed);
            can_go.then_some((since, seat))
        });
        if let Some((_, seat)) = idle.min_by_key(|(since, _)| *since) {
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

    /// Waits until a newcomer needs the place and this connection waits for a request.
    pub(super) async fn asked_to_leave(&self) {
        loop {
            self.seat.ask.notified().await;
            // A request may have come in between.
            if self.seat.asked.load(Ordering::Relaxed) {
                return;
            }
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
