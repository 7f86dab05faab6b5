//! Slots for connections, over all listeners. When all are taken, a connection makes way for a newcomer: first one of a
//! client that the guard has not accepted, then one that waits for its next request, then one whose body arrives more
//! slowly than any honest client's. Only a request that the guard has accepted protects its slot, until it is answered.
//! A few slots are kept free of requests to providers, which can take hours, so that our own answers always find one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How many milliseconds a new connection has for its request before it must make way, so that under a flood of
/// connections those with a request are served.
const GRACE: u64 = 250;
/// The time is halved after each newcomer that had to wait for it, at most this often: with few slots, each connection
/// of a flood waiting in the kernel would otherwise take its quarter of a second, and a request behind it would wait
/// many of them.
const HALVINGS: u32 = 7;
/// The full time applies again after this many milliseconds without an early eviction.
const RECOVERY: u64 = 1_000;
/// How long a body is awaited at its start, in milliseconds, plus one for each of its bytes, which is a kilobyte a
/// second. After that it counts as too slow when all slots are taken. A phone at the edge of its network sends ten
/// times as much. Only time in which we read the body counts.
const FIRST_CREDIT: i64 = 5_000;
/// The most credit a body can save up: a line that hangs for this long may be honest, but a flood could send much at
/// once, and then nothing for hours.
const MOST_CREDIT: i64 = 30_000;
/// How long a head may take during a shutdown.
const LAST_HEAD: Duration = Duration::from_secs(2);
/// How often the connections are searched for one that can go, while all slots are taken.
const LOOK: Duration = Duration::from_millis(50);
/// Unfinished heads: the uncounted part of each, and the limit of all others together, unless four of the largest ones
/// exceed it. No client is accepted before its head is complete.
const FREE_HEAD: usize = 4 * 1024;
const ALL_HEADS: usize = 4 * 1024 * 1024;
/// "All slots taken" is logged again only after there were free ones for this long.
const QUIET: Duration = Duration::from_mins(1);
/// One slot in this many is kept for clients that the guard has accepted.
const KEPT: usize = 8;
/// One slot in this many is kept free of requests to providers.
const KEPT_FROM_ASKING: usize = 64;
/// A client key without a number of its own may have one slot in this many for such requests.
const SHARE: usize = 4;

/// The slots for connections.
#[derive(Debug)]
pub struct ConnectionSlots {
    count: usize,
    number: AtomicU64,
    lobby: Arc<SlotQueue>,
    /// When a newcomer last had to wait, in milliseconds since `opened`; 0 means never.
    full_at: AtomicU64,
    pressure: Mutex<Pressure>,
    opened: Instant,
}

/// How many newcomers arrive, as far as that shortens the time of each.
#[derive(Debug, Default)]
struct Pressure {
    halvings: u32,
    /// When it last grew, in milliseconds since `opened`.
    at: u64,
}

/// The state that all slots share.
#[derive(Debug)]
struct SlotQueue {
    /// The number of slots.
    count: usize,
    /// Requests in flight to providers.
    asking: AtomicUsize,
    /// Every connection's state, by its number.
    seats: Mutex<HashMap<u64, Arc<SlotUse>>>,
    /// Bytes of incomplete heads.
    heads: AtomicUsize,
    /// Connections of clients that the guard has not accepted yet.
    strangers: AtomicUsize,
    /// Signals that a newcomer may find a slot now.
    freed: Notify,
}

/// A connection's slot, freed when this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    places: Arc<ConnectionSlots>,
    number: u64,
    seat: Arc<SlotUse>,
}

/// A request in flight to a provider, counted until this is dropped.
#[derive(Debug)]
#[must_use = "the request counts until this is dropped"]
pub(super) struct Asking(Arc<SlotQueue>);

/// Why a connection must make way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvictionReason {
    /// It has no accepted request in flight.
    Idle,
    /// The body of its request arrives too slowly.
    SlowBody,
}

/// What a connection does in its slot.
#[derive(Debug)]
pub(super) struct SlotUse {
    lobby: Arc<SlotQueue>,
    /// Whether the guard has accepted a request of this connection.
    is_known: AtomicBool,
    /// Since when it has had no accepted request in flight, in milliseconds since `opened` plus one; 0 while it has
    /// one. Refused requests change nothing.
    waits_since: AtomicU64,
    /// Bytes of its incomplete head beyond the uncounted part.
    head: AtomicUsize,
    /// Since when the next bytes of a body are awaited, in the same form; 0 while they are not.
    lacks_since: AtomicU64,
    /// How many more milliseconds they may be awaited.
    credit: AtomicI64,
    asked: AtomicBool,
    ask: Notify,
    opened: Instant,
}

impl ConnectionSlots {
    /// This many slots.
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            count,
            number: AtomicU64::new(0),
            lobby: Arc::new(SlotQueue::new(count)),
            full_at: AtomicU64::new(0),
            pressure: Mutex::default(),
            opened: Instant::now(),
        })
    }

    /// Waits for a slot.
    pub(super) async fn take(self: &Arc<Self>) -> ConnectionSlot {
        if let Some(place) = self.seat() {
            return place;
        }
        if self.is_newly_full() {
            tracing::warn!(
                places = self.count,
                "all connections are in use (`limits.connections`); connections without \
                 an accepted request, then those with the slowest bodies, are closed for new ones"
            );
        }
        let mut waited = false;
        loop {
            // Clears a signal for what happened before.
            self.lobby.freed.notified().now_or_never();
            if let Some(place) = self.seat() {
                if waited {
                    self.pressure().grows(SlotUse::now(self.opened));
                }
                return place;
            }
            // If unaccepted clients use their whole limit, closing another connection does not help.
            let strangers_only = self.is_full_of_strangers();
            let pause = match self.ask_somebody_to_leave(strangers_only) {
                Some(wait) => {
                    waited = true;
                    wait.min(LOOK)
                }
                None => LOOK,
            };
            timeout(pause, self.lobby.freed.notified()).await.ok();
        }
    }

    /// Notes that a newcomer waits; returns whether that is worth logging. Under a flood, slots are freed and taken
    /// many times a second.
    fn is_newly_full(&self) -> bool {
        let now = SlotUse::now(self.opened);
        let last = self.full_at.swap(now, Ordering::Relaxed);
        last == 0 || u128::from(now.saturating_sub(last)) >= QUIET.as_millis()
    }

    /// Closes a connection, for example when descriptors have run out, and waits a short time for one to end.
    pub(super) async fn make_room(&self) {
        self.lobby.freed.notified().now_or_never();
        let wait = self.ask_somebody_to_leave(false);
        let pause = wait.map_or(LOOK, |wait| wait.min(LOOK));
        timeout(pause, self.lobby.freed.notified()).await.ok();
        if wait.is_some() {
            self.pressure().grows(SlotUse::now(self.opened));
        }
    }

    fn seat(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let mut seats = self.seats();
        if seats.len() >= self.count || self.is_full_of_strangers() {
            return None;
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(SlotUse::new(self.lobby.clone(), self.opened));
        seats.insert(number, seat.clone());
        drop(seats);
        Some(ConnectionSlot {
            places: self.clone(),
            number,
            seat,
        })
    }

    fn is_full_of_strangers(&self) -> bool {
        let most = self.count - self.count / KEPT;
        self.lobby.strangers.load(Ordering::Relaxed) >= most
    }

    /// Closes every connection that waits for a head, as long as this is awaited. A shutdown waits for requests, and
    /// drops a head that is incomplete after two seconds.
    pub async fn dismiss_waiting(&self) {
        let last = u64::try_from(LAST_HEAD.as_millis()).unwrap_or(u64::MAX);
        loop {
            tokio::time::sleep(LOOK).await;
            let before = SlotUse::now(self.opened).saturating_sub(last);
            for seat in self.seats().values() {
                let since = seat.waits_since.load(Ordering::Relaxed);
                if since > 0 && since <= before && !seat.asked.swap(true, Ordering::Relaxed) {
                    seat.ask.notify_one();
                }
            }
        }
    }

    /// Closes a connection that can go. If one can go soon, returns the time until then.
    fn ask_somebody_to_leave(&self, strangers_only: bool) -> Option<Duration> {
        let now = SlotUse::now(self.opened);
        let grace = self.pressure().grace(now);
        let seats = self.seats();
        let others = || {
            let seats = seats.values();
            seats.filter(|seat| !seat.asked.load(Ordering::Relaxed))
        };
        // First those without an accepted request, then the one that has waited longest.
        let mut idle = None;
        let mut soonest = None;
        for seat in others() {
            let since = seat.waits_since.load(Ordering::Relaxed);
            let is_known = seat.is_known.load(Ordering::Relaxed);
            if since == 0 || (strangers_only && is_known) {
                continue;
            }
            let left = grace.saturating_sub(now.saturating_sub(since));
            if left > 0 {
                soonest = Some(soonest.map_or(left, |least: u64| least.min(left)));
            } else if idle.is_none_or(|(order, _)| (is_known, since) < order) {
                idle = Some(((is_known, since), seat));
            }
        }
        if let Some(((_, since), _)) = idle {
            self.pressure().took(now.saturating_sub(since), now);
        }
        let slowest = || {
            let bodies = others().filter_map(|seat| Some((seat.credit_at(now)?, seat)));
            let slow = bodies.filter(|(credit, _)| *credit <= 0);
            slow.min_by_key(|(credit, _)| *credit).map(|(_, seat)| seat)
        };
        let found = match idle {
            None if !strangers_only => slowest(),
            found => found.map(|(_, seat)| seat),
        };
        let Some(seat) = found else {
            return soonest.map(Duration::from_millis);
        };
        seat.asked.store(true, Ordering::Relaxed);
        seat.ask.notify_one();
        None
    }

    fn pressure(&self) -> MutexGuard<'_, Pressure> {
        self.pressure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Arc<SlotUse>>> {
        self.lobby.seats()
    }
}

impl Pressure {
    /// How many milliseconds a connection may stay without a request.
    fn grace(&mut self, now: u64) -> u64 {
        if now.saturating_sub(self.at) > RECOVERY {
            self.halvings = 0;
        }
        GRACE >> self.halvings
    }

    /// A newcomer had to wait until a connection's time was over.
    fn grows(&mut self, now: u64) {
        self.halvings = (self.halvings + 1).min(HALVINGS);
        self.at = now;
    }

    /// A connection left after this many milliseconds.
    fn took(&mut self, age: u64, now: u64) {
        if age < GRACE {
            self.at = now;
        }
    }
}

impl SlotQueue {
    fn new(count: usize) -> Self {
        Self {
            count,
            asking: AtomicUsize::new(0),
            seats: Mutex::default(),
            heads: AtomicUsize::new(0),
            strangers: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Arc<SlotUse>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection with the largest incomplete head; among equals, the one that has waited longest.
    fn ask_the_largest_head_to_leave(&self) {
        let seats = self.seats();
        let others = seats.values();
        let others = others.filter(|seat| !seat.asked.load(Ordering::Relaxed));
        let largest = others.max_by_key(|seat| {
            let waits_since = seat.waits_since.load(Ordering::Relaxed);
            (seat.head.load(Ordering::Relaxed), u64::MAX - waits_since)
        });
        if let Some(seat) = largest {
            // It is about to end anyway.
            self.forget_head(seat);
            seat.asked.store(true, Ordering::Relaxed);
            seat.ask.notify_one();
        }
    }

    fn forget_head(&self, seat: &SlotUse) {
        let head = seat.head.swap(0, Ordering::Relaxed);
        self.heads.fetch_sub(head, Ordering::Relaxed);
    }
}

impl ConnectionSlot {
    /// The state that its connection shares with its stream.
    pub(super) fn seat(&self) -> Arc<SlotUse> {
        self.seat.clone()
    }

    /// Waits until a newcomer needs the slot and this connection can go.
    pub(super) async fn asked_to_leave(&self) -> EvictionReason {
        loop {
            self.seat.ask.notified().await;
            // A request, or more of a body, may have arrived in between.
            if !self.seat.asked.load(Ordering::Relaxed) {
                continue;
            }
            return match self.seat.waits_since.load(Ordering::Relaxed) {
                0 => EvictionReason::SlowBody,
                _ => EvictionReason::Idle,
            };
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.places.seats().remove(&self.number);
        self.places.lobby.forget_head(&self.seat);
        self.seat.becomes_known();
        self.places.lobby.freed.notify_one();
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SlotUse {
    /// Counts the request in flight as one to a provider; `None` if the limit is reached.
    pub(super) fn asks(&self) -> Option<Asking> {
        let most = self.lobby.count - self.lobby.count / KEPT_FROM_ASKING;
        let one_more = |asking: usize| (asking < most).then(|| asking + 1);
        let asking = &self.lobby.asking;
        let counted = asking.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.is_ok().then(|| Asking(self.lobby.clone()))
    }

    /// How many of these a client key without a number of its own may have.
    pub(super) fn share(&self) -> u32 {
        u32::try_from((self.lobby.count / SHARE).max(1)).unwrap_or(u32::MAX)
    }

    /// The state of a connection that waits for its first request.
    fn new(lobby: Arc<SlotQueue>, opened: Instant) -> Self {
        lobby.strangers.fetch_add(1, Ordering::Relaxed);
        Self {
            lobby,
            is_known: AtomicBool::new(false),
            waits_since: AtomicU64::new(Self::now(opened)),
            head: AtomicUsize::new(0),
            lacks_since: AtomicU64::new(0),
            credit: AtomicI64::new(0),
            asked: AtomicBool::new(false),
            ask: Notify::new(),
            opened,
        }
    }

    /// Notes that nothing is in flight: it waits for a head, or only for the client's sake.
    pub(super) fn waits(&self) {
        if self.waits_since.load(Ordering::Relaxed) == 0 {
            let now = Self::now(self.opened);
            self.waits_since.store(now, Ordering::Relaxed);
        }
    }

    /// Notes that the guard has accepted the request in flight.
    pub(super) fn has_request(&self) {
        self.waits_since.store(0, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
        self.becomes_known();
    }

    fn becomes_known(&self) {
        if !self.is_known.swap(true, Ordering::Relaxed) {
            self.lobby.strangers.fetch_sub(1, Ordering::Relaxed);
            self.lobby.freed.notify_one();
        }
    }

    /// Notes how many bytes of an incomplete head, limited to `limit`, have arrived; 0 without one. If all of them
    /// together exceed their limit, the largest one is closed.
    pub(super) fn holds_head(&self, bytes: usize, limit: usize) {
        let bytes = bytes.saturating_sub(FREE_HEAD);
        let before = self.head.load(Ordering::Relaxed);
        if bytes == before || self.asked.load(Ordering::Relaxed) {
            return;
        }
        self.head.store(bytes, Ordering::Relaxed);
        let heads = if bytes > before {
            let more = bytes - before;
            self.lobby.heads.fetch_add(more, Ordering::Relaxed) + more
        } else {
            let less = before - bytes;
            self.lobby.heads.fetch_sub(less, Ordering::Relaxed) - less
        };
        if bytes > before && heads > ALL_HEADS.max(limit.saturating_mul(4)) {
            self.lobby.ask_the_largest_head_to_leave();
        }
    }

    /// Notes that a request's body begins.
    pub(super) fn begins_body(&self) {
        self.lacks_since.store(0, Ordering::Relaxed);
        self.credit.store(FIRST_CREDIT, Ordering::Relaxed);
    }

    /// Notes that it waits for the body's next bytes, from now on or from earlier.
    pub(super) fn lacks_body(&self) {
        if self.lacks_since.load(Ordering::Relaxed) == 0 {
            let now = Self::now(self.opened);
            self.lacks_since.store(now, Ordering::Relaxed);
        }
    }

    /// Notes that this many bytes have arrived.
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

    /// What remains of its credit, while a body's bytes are awaited.
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
mod tests;
