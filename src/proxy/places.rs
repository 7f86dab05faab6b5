//! Places for connections, over all listeners. When all are taken, a connection makes way for a
//! newcomer: first one of a client that the guard has not let in, then one that waits for its next
//! request, then one whose body comes so slowly that no honest client sends it. Only a request that the
//! guard has let in protects its place, until it is answered. A few places are kept from requests that a provider
//! answers, which can take hours, so that what is answered here always is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// A newcomer has so many milliseconds to send a request before it must make way, so that under a flood of
/// connections each is served that has something to ask.
const GRACE: u64 = 250;
/// Half of it after each newcomer that had to wait for it, so often at most: with few places a flood that
/// waits in the kernel would else take its quarter of a second each, and whoever is behind it, many.
const HALVINGS: u32 = 7;
/// It is whole again when nobody had to go before it was over for so many milliseconds.
const RECOVERY: u64 = 1_000;
/// A body is waited for this long at its start, and then for a millisecond for each of its bytes, which
/// is a kilobyte a second; only after that is it too slow for a full house. A telephone at the edge of
/// its network sends ten times as much. Nothing is counted while nobody takes the body.
const FIRST_CREDIT: i64 = 5_000;
/// More is not saved up: a line that hangs for this long may be honest, while a flood could send much
/// at once, and then nothing for hours.
const MOST_CREDIT: i64 = 30_000;
/// At a shutdown, a head may take this long.
const LAST_HEAD: Duration = Duration::from_secs(2);
/// How often a full house is looked through for somebody who can go.
const LOOK: Duration = Duration::from_millis(50);
/// Unfinished heads: what one may hold without being counted, and what all others together may, unless
/// four of the largest ones are more. Nobody is let in before a head is whole.
const FREE_HEAD: usize = 4 * 1024;
const ALL_HEADS: usize = 4 * 1024 * 1024;
/// A full house is told again after it was not full for so long.
const QUIET: Duration = Duration::from_mins(1);
/// One place in so many is kept for clients that the guard has let in.
const KEPT: usize = 8;
/// One place in so many is kept from requests that are sent on to a provider.
const KEPT_FROM_ASKING: usize = 64;
/// A client key may have one place in so many for such requests, unless it was given a number.
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
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
    /// Bytes of heads that are not whole.
    heads: AtomicUsize,
    /// Connections of clients that the guard has not let in yet.
    strangers: AtomicUsize,
    /// A newcomer may find a place now.
    freed: Notify,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
}

/// A request under way that is sent on to a provider, until it is dropped.
#[derive(Debug)]
#[must_use = "the request counts until this is dropped"]
pub(super) struct Asking(Arc<Lobby>);

/// Why a connection makes way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// No request that the guard has let in is under way.
    Idle,
    /// The body of its request comes too slowly.
    SlowBody,
}

/// What a connection does in its place.
#[derive(Debug)]
pub(super) struct Seat {
    lobby: Arc<Lobby>,
    /// The guard has let in a request of this connection.
    is_known: AtomicBool,
    /// Since when no such request is under way, in milliseconds from the first day, and one; 0: one is.
    /// Requests that are refused change nothing.
    waits_since: AtomicU64,
    /// What it holds of a head that is not whole, beyond what everybody may.
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
    pub(super) async fn take(self: &Arc<Self>) -> Place {
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
                    self.pressure().grows(Seat::now(self.opened));
                }
                return place;
            }
            // Where strangers have all that they may, nobody else's leaving helps another one.
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
        let now = Seat::now(self.opened);
        let last = self.full_at.swap(now, Ordering::Relaxed);
        last == 0 || u128::from(now.saturating_sub(last)) >= QUIET.as_millis()
    }

    /// Has somebody leave, as when no descriptor is left, and waits until somebody has, or for a
    /// short time.
    pub(super) async fn make_room(&self) {
        self.lobby.freed.notified().now_or_never();
        let wait = self.ask_somebody_to_leave(false);
        let pause = wait.map_or(LOOK, |wait| wait.min(LOOK));
        timeout(pause, self.lobby.freed.notified()).await.ok();
        if wait.is_some() {
            self.pressure().grows(Seat::now(self.opened));
        }
    }

    fn seat(self: &Arc<Self>) -> Option<Place> {
        let mut seats = self.seats();
        if seats.len() >= self.count || self.is_full_of_strangers() {
            return None;
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat::new(self.lobby.clone(), self.opened));
        seats.insert(number, seat.clone());
        drop(seats);
        Some(Place {
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
            let before = Seat::now(self.opened).saturating_sub(last);
            for seat in self.seats().values() {
                let since = seat.waits_since.load(Ordering::Relaxed);
                if since > 0 && since <= before && !seat.asked.swap(true, Ordering::Relaxed) {
                    seat.ask.notify_one();
                }
            }
        }
    }

    /// Has somebody leave who can go. Where somebody can as soon as its time is over, says how soon.
    fn ask_somebody_to_leave(&self, strangers_only: bool) -> Option<Duration> {
        let now = Seat::now(self.opened);
        let grace = self.pressure().grace(now);
        let seats = self.seats();
        let others = || {
            let seats = seats.values();
            seats.filter(|seat| !seat.asked.load(Ordering::Relaxed))
        };
        // Strangers first, then whoever has waited longest.
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

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
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

    /// A newcomer had to wait until somebody's time was over.
    fn grows(&mut self, now: u64) {
        self.halvings = (self.halvings + 1).min(HALVINGS);
        self.at = now;
    }

    /// Somebody went after so many milliseconds.
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

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever holds the largest unfinished head leave; of equal ones, who has waited longest.
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

    fn forget_head(&self, seat: &Seat) {
        let head = seat.head.swap(0, Ordering::Relaxed);
        self.heads.fetch_sub(head, Ordering::Relaxed);
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

impl Seat {
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

    /// Of a head that may be as large as `limit`, so much has come, and it is not whole; 0 where none
    /// is under way. Where all of them together take too much, the largest goes.
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
    async fn a_full_house_is_told_once_for_as_long_as_newcomers_wait_now_and_then() {
        let places = Places::new(1);
        let mut told = 0;
        for _ in 0..1000 {
            told += usize::from(places.is_newly_full());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!(told, 1);
        tokio::time::sleep(QUIET).await;
        assert!(places.is_newly_full());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_makes_way() {
        let places = Places::new(3);
        let second = takes(&places).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (first, third) = (takes(&places).await.unwrap(), takes(&places).await.unwrap());
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

    /// Sixteen places: two are kept, and strangers never have more than the others.
    #[tokio::test(start_paused = true)]
    async fn strangers_go_before_clients_that_were_let_in_and_some_places_are_kept_from_them() {
        let places = Places::new(16);
        let mut known = Vec::new();
        for _ in 0..2 {
            let place = takes(&places).await.unwrap();
            place.seat.has_request();
            place.seat.waits();
            known.push(place);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut strangers = Vec::new();
        for _ in 0..14 {
            strangers.push(takes(&places).await.unwrap());
        }
        // They ask and are refused, over and over, which protects nobody.
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..100 {
            let oldest = strangers.remove(0);
            oldest.seat.waits();
            let leaves = async {
                assert_eq!(oldest.asked_to_leave().await, Reason::Idle);
                drop(oldest);
            };
            let (newcomer, ()) = tokio::join!(takes(&places), leaves);
            strangers.push(newcomer.unwrap());
            tokio::time::sleep(Duration::from_millis(GRACE)).await;
        }
        for place in &known {
            assert!(!leaves(place).await, "it was let in, and waits for longest");
        }
        // Nor while all strangers are new.
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..14 {
            drop(strangers.remove(0));
            strangers.push(takes(&places).await.unwrap());
        }
        let leaving = async {
            strangers[0].asked_to_leave().await;
            drop(strangers.remove(0));
        };
        let (newcomer, ()) = tokio::join!(takes(&places), leaving);
        strangers.push(newcomer.unwrap());
        for place in &known {
            assert!(!leaves(place).await, "nobody's place is won by that");
        }
        // A stranger that is let in makes room for another.
        strangers[13].seat.has_request();
        known.remove(0);
        assert_eq!(places.lobby.strangers.load(Ordering::Relaxed), 13);
        let newcomer = takes(&places).await.unwrap();
        assert_eq!(places.lobby.strangers.load(Ordering::Relaxed), 14);
        drop((newcomer, strangers));
        assert_eq!(places.lobby.strangers.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_unfinished_heads_the_largest_and_oldest_goes() {
        const LARGE: usize = 64 * 1024;
        let places = Places::new(1000);
        let honest = takes(&places).await.unwrap();
        honest.seat.holds_head(20_000, LARGE);
        let mut flood = Vec::new();
        for _ in 0..ALL_HEADS / LARGE {
            let place = takes(&places).await.unwrap();
            place.seat.holds_head(LARGE, LARGE);
            flood.push(place);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for place in &flood {
            assert!(!leaves(place).await);
        }
        for turn in 0..20 {
            let next = takes(&places).await.unwrap();
            // It comes in pieces.
            for size in [1, 9000, 30_000, LARGE] {
                next.seat.holds_head(size, LARGE);
            }
            flood.push(next);
            let held = places.lobby.heads.load(Ordering::Relaxed);
            assert!(held <= ALL_HEADS + LARGE, "{turn}: {held}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(leaves(&flood[0]).await && !leaves(flood.last().unwrap()).await);
        assert!(!leaves(&honest).await);
        honest.seat.holds_head(0, LARGE);
        drop((honest, flood));
        assert_eq!(places.lobby.heads.load(Ordering::Relaxed), 0);
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

    /// With 16 places, 14 of them for strangers, a thousand of them took 18 s at a quarter of a second each.
    #[tokio::test(start_paused = true)]
    async fn behind_a_thousand_who_ask_nothing_nobody_waits_for_long() {
        let places = Places::new(16);
        let tasks = tokio_util::task::TaskTracker::new();
        for _ in 0..3 {
            let began = Instant::now();
            for _ in 0..1000 {
                let place = takes(&places).await.unwrap();
                tasks.spawn(async move {
                    place.asked_to_leave().await;
                });
            }
            let took = began.elapsed();
            assert!(took < Duration::from_secs(1), "{took:?}");
            // Whoever comes without hurry has the whole time again.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let mut all = Vec::new();
            for _ in 0..14 {
                all.push(takes(&places).await.unwrap());
            }
            let began = Instant::now();
            let leaves = async {
                all[0].asked_to_leave().await;
                assert!(began.elapsed() >= Duration::from_millis(GRACE));
                all.remove(0);
            };
            tokio::join!(takes(&places), leaves).0.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_has_time_for_its_request() {
        let places = Places::new(1);
        let place = takes(&places).await.unwrap();
        let began = Instant::now();
        let newcomer = async { takes(&places).await };
        let makes_way = async {
            place.asked_to_leave().await;
            assert!(began.elapsed() >= Duration::from_millis(GRACE));
            drop(place);
        };
        let (newcomer, ()) = tokio::join!(newcomer, makes_way);
        assert!(newcomer.is_some() && places.seats().len() == 1);
        drop(newcomer);
        assert!(places.seats().is_empty());
    }
}
