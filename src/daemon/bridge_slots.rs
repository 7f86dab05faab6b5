//! The bridge's slots for connections, and each client host's share of them.
//!
//! The bridge knows which side spoke last. If it was the client, and its request's head is complete, an
//! answer is awaited, and the connection is never cut for another one. If it was the daemon,
//! [`super::answer_end`] tells whether the answer has ended.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::answer_end::AnswerEnd;

/// One host may use at most one part in this many of the slots.
const SHARE: usize = 4;
/// A new connection, and one whose answer is over, has this long to ask something before it makes way for
/// another one.
const GRACE: Duration = Duration::from_millis(250);
/// The same for a request's head, from its first byte on: most come in one piece.
const HEAD: Duration = Duration::from_secs(1);
/// The same if the daemon spoke last and its answer may not be over: a provider may pause within
/// one.
const PAUSE: Duration = Duration::from_mins(1);
/// A connection on which nothing was ever asked ends. The daemon's own limit is 10 s.
const UNUSED: Duration = Duration::from_secs(30);
/// So does one on which nothing moves. The daemon's own limits are shorter, unless it hangs.
const SILENT: Duration = Duration::from_hours(1);

/// The slots of all client hosts.
#[derive(Debug)]
pub(super) struct Neighbours {
    count: usize,
    share: usize,
    lines: Mutex<HashMap<IpAddr, Vec<Arc<BridgedConnection>>>>,
    opened: Instant,
}

/// A connection's slot, freed when this is dropped.
#[derive(Debug)]
pub(super) struct BridgeSlot {
    neighbours: Arc<Neighbours>,
    from: IpAddr,
    line: Arc<BridgedConnection>,
}

/// What moves on a connection.
#[derive(Debug)]
pub(super) struct BridgedConnection {
    /// The side that sent something last.
    last: AtomicU8,
    /// When, in milliseconds from the first day.
    at: AtomicU64,
    leave: CancellationToken,
    opened: Instant,
}

/// The side that sent something last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum LastSender {
    Nobody,
    Client,
    Daemon,
    /// The daemon, and its answer is over.
    Answered,
    /// The client, and the head of its request is not whole.
    Begun,
}

/// Where a request's head ends: at its first empty line (RFC 9112 §2.1).
#[derive(Debug, Default)]
pub(super) struct HeadEnd {
    /// Bytes of its lines have come.
    begun: bool,
    /// The line that is coming is empty so far.
    at_line_start: bool,
    whole: bool,
}

impl HeadEnd {
    /// Whether it is whole with this piece.
    fn is_whole_with(&mut self, piece: &[u8]) -> bool {
        for byte in piece {
            if self.whole {
                break;
            }
            match byte {
                // Empty lines before a request are not a part of it.
                b'\n' => {
                    self.whole = self.begun && self.at_line_start;
                    self.at_line_start = true;
                }
                b'\r' => {}
                _ => {
                    self.begun = true;
                    self.at_line_start = false;
                }
            }
        }
        self.whole
    }
}

impl Neighbours {
    /// This many slots.
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            count,
            share: (count / SHARE).max(1),
            lines: Mutex::default(),
            opened: Instant::now(),
        })
    }

    /// Takes a slot for a connection from this host. If the host has used its share, one of its own connections makes
    /// way; if all slots are taken, one of the host that uses the most and can spare one. `None` if none can.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<BridgeSlot> {
        let from = from.to_canonical();
        let mut lines = self.lines();
        let own = lines.get(&from).map_or(0, Vec::len);
        let all: usize = lines.values().map(Vec::len).sum();
        if own >= self.share {
            self.cut_one(lines.get_mut(&from)?)?;
        } else if all >= self.count {
            let mut others: Vec<_> = lines.values_mut().filter(|one| one.len() >= own).collect();
            others.sort_unstable_by_key(|one| std::cmp::Reverse(one.len()));
            others.into_iter().find_map(|one| self.cut_one(one))?;
        }
        let line = Arc::new(BridgedConnection {
            last: AtomicU8::new(LastSender::Nobody as u8),
            at: AtomicU64::new(BridgedConnection::now(self.opened)),
            leave: CancellationToken::new(),
            opened: self.opened,
        });
        lines.entry(from).or_default().push(line.clone());
        drop(lines);
        Some(BridgeSlot {
            neighbours: self.clone(),
            from,
            line,
        })
    }

    /// Ends one of these that was never used, otherwise the one that has been quiet for longest, if
    /// any can go.
    fn cut_one(&self, lines: &mut Vec<Arc<BridgedConnection>>) -> Option<()> {
        let now = BridgedConnection::now(self.opened);
        let quiet = lines.iter().enumerate().filter_map(|(at, line)| {
            let silence = now.saturating_sub(line.at.load(Ordering::Relaxed));
            let may_go_after = match line.last() {
                LastSender::Nobody | LastSender::Answered => GRACE,
                LastSender::Begun => HEAD,
                LastSender::Daemon => PAUSE,
                LastSender::Client => return None,
            };
            let is_unused = matches!(line.last(), LastSender::Nobody | LastSender::Begun);
            let can_go = u128::from(silence) >= may_go_after.as_millis();
            can_go.then_some((is_unused, silence, at))
        });
        let (_, _, at) = quiet.max()?;
        lines.swap_remove(at).leave.cancel();
        Some(())
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<IpAddr, Vec<Arc<BridgedConnection>>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BridgeSlot {
    /// What moves on its connection.
    pub(super) fn line(&self) -> &BridgedConnection {
        &self.line
    }

    /// Completes when the connection must end: another one needs its slot, or nothing moves on it.
    pub(super) async fn is_over(&self) {
        loop {
            let line = &self.line;
            let silent = match line.last() {
                LastSender::Nobody => UNUSED,
                LastSender::Client
                | LastSender::Daemon
                | LastSender::Answered
                | LastSender::Begun => SILENT,
            };
            let at = Duration::from_millis(line.at.load(Ordering::Relaxed));
            let deadline = line.opened + at + silent;
            if deadline <= Instant::now() {
                return;
            }
            tokio::select! {
                () = line.leave.cancelled() => return,
                () = sleep_until(deadline) => {}
            }
        }
    }
}

impl Drop for BridgeSlot {
    fn drop(&mut self) {
        let mut lines = self.neighbours.lines();
        if let Some(own) = lines.get_mut(&self.from) {
            own.retain(|line| !Arc::ptr_eq(line, &self.line));
            if own.is_empty() {
                lines.remove(&self.from);
            }
        }
    }
}

impl BridgedConnection {
    /// The client sent something; `head` is the state of its request's head.
    pub(super) fn client_spoke(&self, head: &mut HeadEnd, piece: &[u8]) {
        let last = self.last();
        if matches!(last, LastSender::Daemon | LastSender::Answered) {
            *head = HeadEnd::default();
        }
        if head.is_whole_with(piece) {
            self.spoke(LastSender::Client);
        } else if last != LastSender::Begun {
            // Its time counts from its first byte.
            self.spoke(LastSender::Begun);
        }
    }

    /// The daemon sent something; `answer` is the state of its answer.
    pub(super) fn daemon_spoke(&self, answer: &mut AnswerEnd, piece: &[u8]) {
        if matches!(self.last(), LastSender::Client | LastSender::Begun) {
            *answer = AnswerEnd::default();
        }
        self.spoke(if answer.is_over_with(piece) {
            LastSender::Answered
        } else {
            LastSender::Daemon
        });
    }

    fn spoke(&self, who: LastSender) {
        self.last.store(who as u8, Ordering::Relaxed);
        self.at.store(Self::now(self.opened), Ordering::Relaxed);
    }

    fn last(&self) -> LastSender {
        match self.last.load(Ordering::Relaxed) {
            0 => LastSender::Nobody,
            1 => LastSender::Client,
            2 => LastSender::Daemon,
            3 => LastSender::Answered,
            _ => LastSender::Begun,
        }
    }

    fn now(opened: Instant) -> u64 {
        u64::try_from(opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    impl BridgeSlot {
        fn asks(&self) {
            let head = b"GET / HTTP/1.1\r\n\r\n";
            self.line().client_spoke(&mut HeadEnd::default(), head);
        }
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        for (pieces, whole) in [
            (&[&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]][..], true),
            (&[b"GET / HTTP/1.1\nHost: a\n\n"], true),
            (&[b"GET / HTTP/1.1\r\n\r", b"\nbody"], true),
            (&[b"\r\n\r\nGET / HTTP/1.1\r\n"], false),
            (&[b"\r\n", b"GET / HTTP/1.1\r\n", b"\r\n"], true),
            (&[b"GET / HTTP/1.1\r\nHost: a\r\n"], false),
            (&[b""], false),
        ] {
            let mut head = HeadEnd::default();
            let told = pieces
                .iter()
                .fold(false, |_, piece| head.is_whole_with(piece));
            assert_eq!(told, whole, "{pieces:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_sent_half_a_request_makes_way_soon_however_often_it_sends_more() {
        let neighbours = Neighbours::new(8);
        let slow = neighbours.take(ip(1)).unwrap();
        let asks = neighbours.take(ip(1)).unwrap();
        asks.asks();
        let mut head = HeadEnd::default();
        slow.line().client_spoke(&mut head, b"GET / HTTP/1.1\r\n");
        advance(HEAD / 2).await;
        slow.line().client_spoke(&mut head, b"X: y\r\n");
        assert!(neighbours.take(ip(1)).is_none());
        advance(HEAD / 2).await;
        let newcomer = neighbours.take(ip(1)).unwrap();
        assert!(is_cut(&slow).await && !is_cut(&asks).await);
        // One that gets its head together in time stays.
        let mut head = HeadEnd::default();
        newcomer
            .line()
            .client_spoke(&mut head, b"GET / HTTP/1.1\r\n");
        newcomer.line().client_spoke(&mut head, b"\r\n");
        advance(HEAD).await;
        assert!(neighbours.take(ip(1)).is_none());
    }

    async fn is_cut(place: &BridgeSlot) -> bool {
        timeout(Duration::ZERO, place.is_over()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_neighbour_has_its_share_and_its_oldest_unused_connection_makes_way() {
        let neighbours = Neighbours::new(8);
        let first = neighbours.take(ip(1)).unwrap();
        advance(GRACE / 2).await;
        let second = neighbours.take(ip(1)).unwrap();
        assert!(neighbours.take(ip(1)).is_none(), "both are new");
        advance(GRACE).await;
        let third = neighbours.take(ip(1)).unwrap();
        assert!(is_cut(&first).await && !is_cut(&second).await && !is_cut(&third).await);
        // Others are not concerned, and neither is one that came as a mapped address.
        let mapped = "::ffff:10.0.0.2".parse().unwrap();
        let others = [neighbours.take(ip(2)), neighbours.take(mapped)];
        assert!(others.iter().all(Option::is_some));
        assert!(neighbours.take(ip(2)).is_none());
        drop(others);
        drop((first, second, third));
        assert!(neighbours.lines().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_an_answer_stays() {
        let neighbours = Neighbours::new(8);
        let asks = neighbours.take(ip(1)).unwrap();
        asks.asks();
        let answered = neighbours.take(ip(1)).unwrap();
        let mut answer = AnswerEnd::default();
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{";
        answered.line().daemon_spoke(&mut answer, head);
        advance(PAUSE / 2).await;
        assert!(neighbours.take(ip(1)).is_none());
        advance(PAUSE / 2).await;
        let next = neighbours.take(ip(1)).unwrap();
        assert!(is_cut(&answered).await && !is_cut(&asks).await);
        next.asks();
        drop(asks);
        // One whose answer is over waits for nothing.
        let done = neighbours.take(ip(1)).unwrap();
        done.asks();
        let mut answer = AnswerEnd::default();
        done.line().daemon_spoke(&mut answer, head);
        done.line().daemon_spoke(&mut answer, b"}");
        advance(GRACE).await;
        let last = neighbours.take(ip(1)).unwrap();
        assert!(is_cut(&done).await && !is_cut(&next).await);
        // And if it asks again, it waits again.
        last.asks();
        assert!(neighbours.take(ip(1)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_most_and_can_spare_none_is_passed_over() {
        let neighbours = Neighbours::new(8);
        let take = |last| neighbours.take(ip(last)).unwrap();
        let busy: Vec<_> = [1, 1, 2, 2, 3, 3].map(take).into();
        for place in &busy {
            place.asks();
        }
        let idle = [take(4), take(5)];
        assert!(neighbours.take(ip(6)).is_none(), "both are new");
        advance(GRACE).await;
        let _newcomer = take(6);
        assert!(is_cut(&idle[0]).await || is_cut(&idle[1]).await);
        for place in &busy {
            assert!(!is_cut(place).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_all_neighbours_who_has_most_makes_way() {
        let neighbours = Neighbours::new(8);
        let take = |last| neighbours.take(ip(last)).unwrap();
        let mut full: Vec<_> = [1, 1, 2, 2, 3, 3, 4].map(take).into();
        full.push(take(5));
        advance(GRACE).await;
        let newcomer = take(4);
        assert!(!is_cut(&newcomer).await);
        let mut cut = 0;
        for place in &full {
            cut += usize::from(is_cut(place).await);
        }
        assert_eq!(cut, 1);
        assert!(!is_cut(&full[6]).await && !is_cut(&full[7]).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_never_used_and_what_never_moves_ends() {
        let neighbours = Neighbours::new(8);
        let began = Instant::now();
        let unused = neighbours.take(ip(1)).unwrap();
        unused.is_over().await;
        assert_eq!(began.elapsed(), UNUSED);
        let used = neighbours.take(ip(2)).unwrap();
        advance(Duration::from_secs(5)).await;
        used.asks();
        let began = Instant::now();
        used.is_over().await;
        assert_eq!(began.elapsed(), SILENT);
    }
}
