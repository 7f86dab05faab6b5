//! Places for connections, over all listeners. When all are taken, a connection makes way for a newcomer: first
//! one of a client that the guard has not accepted, then one that waits for its next request, then one whose body
//! comes more slowly than any honest client's. Only a request that the guard has accepted protects its place,
//! until it is answered. A few places are kept free of requests to providers, which can take hours, so that our
//! own answers always find one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How many milliseconds a newcomer has for its request before it must make way, so that under a flood of
/// connections each one with a request is served.
const GRACE: u64 = 250;
/// It is halved after each newcomer that had to wait for it, at most this often: with few places a flood
/// that waits in the kernel would otherwise take its quarter of a second each, and a request behind it,
/// many.
const HALVINGS: u32 = 7;
/// It is whole again after this many milliseconds without an early departure.
const RECOVERY: u64 = 1_000;
/// A body is awaited this long at its start, and then for a millisecond for each of its bytes, which is
/// a kilobyte a second; only after that is it too slow when all places are taken. A telephone at the
/// edge of its network sends ten times as much. Time counts only while we read the body.
const FIRST_CREDIT: i64 = 5_000;
/// More is not saved up: a line that hangs for this long may be honest, while a flood could send much
/// at once, and then nothing for hours.
const MOST_CREDIT: i64 = 30_000;
/// At a shutdown, a head may take this long.
const LAST_HEAD: Duration = Duration::from_secs(2);
/// How often a full set of places is searched for a connection that can go.
const LOOK: Duration = Duration::from_millis(50);
/// Unfinished heads: the uncounted part of each, and the limit of all others together, unless four of
/// the largest ones are more. No client is accepted before its head is complete.
const FREE_HEAD: usize = 4 * 1024;
const ALL_HEADS: usize = 4 * 1024 * 1024;
/// A full set of places is logged again only after it was not full for this long.
const QUIET: Duration = Duration::from_mins(1);
/// One place in this many is kept for clients that the guard has accepted.
const KEPT: usize = 8;
/// One place in this many is kept free of requests to providers.
const KEPT_FROM_ASKING: usize = 64;
/// A client key may have one place in this many for such requests, unless it was given a number.
const SHARE: usize = 4;

/// The places.
#[derive(Debug)]
pub struct Places {
    count: usize,
    number: AtomicU64,
    lobby: Arc<Lobby>,
    /// When newcomers waited last, in milliseconds from `opened` on; 0: they never did.
    full_at: AtomicU64,
    pressure: Mutex<Pressure>,
    opened: Instant,
}

/// How many newcomers come, as far as it shortens what each is given.
#[derive(Debug, Default)]
struct Pressure {
    halvings: u32,
    /// When it was felt last, in milliseconds from the first day.
    at: u64,
}

/// What all places share.
#[derive(Debug)]
struct Lobby {
    /// How many places there are.
    count: usize,
    /// Requests under way that are sent on to a provider.
    asking: AtomicUsize,
    /// Every connection's seat, by its number.
    seats: Mutex<HashMap<u64, Arc<SlotUse>>>,
    /// Bytes of heads that are not whole.
    heads: AtomicUsize,
    /// Connections of clients that the guard has not let in yet.
    strangers: AtomicUsize,
    /// A newcomer may find a place now.
    freed: Notify,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    places: Arc<Places>,
    number: u64,
    seat: Arc<SlotUse>,
}

/// A request under way that is sent on to a provider, until it is dropped.
#[derive(Debug)]
#[must_use = "the request counts until this is dropped"]
pub(super) struct Asking(Arc<Lobby>);

/// Why a connection makes way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvictionReason {
    /// No request that the guard has let in is under way.
    Idle,
    /// The body of its request comes too slowly.
    SlowBody,
}

/// What a connection does in its place.
#[derive(Debug)]
pub(super) struct SlotUse {
    lobby: Arc<Lobby>,
    /// The guard has let in a request of this connection.
    is_known: AtomicBool,
    /// Since when no such request is under way, in milliseconds from the first day, and one; 0: one is.
    /// Requests that are refused change nothing.
    waits_since: AtomicU64,
    /// Its unfinished head's bytes beyond the uncounted part.
    head: AtomicUsize,
    /// Since when the next bytes of a body are waited for, in the same way; 0: they are not.
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
            count,
            number: AtomicU64::new(0),
            lobby: Arc::new(Lobby::new(count)),
            full_at: AtomicU64::new(0),
            pressure: Mutex::default(),
            opened: Instant::now(),
        })
    }

    /// Waits for a place.
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
            // Told of what happened before.
            self.lobby.freed.notified().now_or_never();
            if let Some(place) = self.seat() {
                if waited {
                    self.pressure().grows(SlotUse::now(self.opened));
                }
                return place;
            }
            // If strangers use their whole limit, closing another connection does not help.
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

    /// A newcomer waits; whether that is news. Under a flood places are free and taken many times a second.
    fn is_newly_full(&self) -> bool {
        let now = SlotUse::now(self.opened);
        let last = self.full_at.swap(now, Ordering::Relaxed);
        last == 0 || u128::from(now.saturating_sub(last)) >= QUIET.as_millis()
    }

    /// Closes a connection, as when no descriptor is left, and waits until one has ended, or for a
    /// short time.
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

    /// Has everyone leave who waits for a head, for as long as this is awaited. A shutdown waits for
    /// requests, and a head that is not complete after two seconds is dropped.
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

    /// Closes a connection that can go. If one can as soon as its time is over, returns how soon.
    fn ask_somebody_to_leave(&self, strangers_only: bool) -> Option<Duration> {
        let now = SlotUse::now(self.opened);
        let grace = self.pressure().grace(now);
        let seats = self.seats();
        let others = || {
            let seats = seats.values();
            seats.filter(|seat| !seat.asked.load(Ordering::Relaxed))
        };
        // Strangers first, then the one that has waited longest.
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
    /// For how many milliseconds a connection may be there without a request.
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

    /// A connection went after this many milliseconds.
    fn took(&mut self, age: u64, now: u64) {
        if age < GRACE {
            self.at = now;
        }
    }
}

impl Lobby {
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

    /// Closes the connection with the largest unfinished head; of equal ones, the one that has
    /// waited longest.
    fn ask_the_largest_head_to_leave(&self) {
        let seats = self.seats();
        let others = seats.values();
        let others = others.filter(|seat| !seat.asked.load(Ordering::Relaxed));
        let largest = others.max_by_key(|seat| {
            let waits_since = seat.waits_since.load(Ordering::Relaxed);
            (seat.head.load(Ordering::Relaxed), u64::MAX - waits_since)
        });
        if let Some(seat) = largest {
            // It is as good as gone.
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
    /// What its connection shares with its stream.
    pub(super) fn seat(&self) -> Arc<SlotUse> {
        self.seat.clone()
    }

    /// Waits until a newcomer needs the place and this connection can go.
    pub(super) async fn asked_to_leave(&self) -> EvictionReason {
        loop {
            self.seat.ask.notified().await;
            // A request, or more of a body, may have come in between.
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
    /// Counts the request under way as one that is sent on; `None` where there are as many as may be.
    pub(super) fn asks(&self) -> Option<Asking> {
        let most = self.lobby.count - self.lobby.count / KEPT_FROM_ASKING;
        let one_more = |asking: usize| (asking < most).then(|| asking + 1);
        let asking = &self.lobby.asking;
        let counted = asking.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.is_ok().then(|| Asking(self.lobby.clone()))
    }

    /// How many of these a client key may have that was given no number.
    pub(super) fn share(&self) -> u32 {
        u32::try_from((self.lobby.count / SHARE).max(1)).unwrap_or(u32::MAX)
    }

    /// A seat whose connection waits for its first request.
    fn new(lobby: Arc<Lobby>, opened: Instant) -> Self {
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

    /// Nothing is under way: it waits for a head, or only for the client's sake.
    pub(super) fn waits(&self) {
        if self.waits_since.load(Ordering::Relaxed) == 0 {
            let now = Self::now(self.opened);
            self.waits_since.store(now, Ordering::Relaxed);
        }
    }

    /// The guard has let in the request under way.
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

    /// How many bytes of an unfinished head, which may have `limit`, have come; 0 without one. If all
    /// of them together take too much, the largest goes.
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
mod tests;
