//! Refused requests: logged once for each code and origin, then counted.
//!
//! A refused client may ask as often as it likes, so a line for each refusal would let another user
//! or a web page push everything else out of the log. The first one has its line; later ones are
//! counted, and one line reports the number, after a minute at first and after an hour at most. The
//! table is bounded: when it is full, new origins are reported together, once for each code.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::error::ErrorKind;
use super::recent_failures::FailureTally;
use super::record::RequestId;

/// How many codes and origins are distinguished.
const MOST: usize = 64;
/// How often due reports are checked.
const LOOK: Duration = Duration::from_mins(1);
/// The shortest interval between reports of a continuing flood; doubled each time, up to the
/// longest.
const PERIOD: Duration = Duration::from_mins(1);
const LONGEST_PERIOD: Duration = Duration::from_hours(1);
/// An entry that is quiet for this long makes room.
const QUIET: Duration = Duration::from_mins(10);
/// How many characters of a place or a path count.
const LONGEST: usize = 100;

/// What was refused, and whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusedRequest<'r> {
    pub(super) kind: ErrorKind,
    /// The app's name or its address.
    pub(super) from: &'r str,
    /// The host or the web page that was refused.
    pub(super) about: Option<&'r str>,
    /// What was asked for.
    pub(super) path: &'r str,
    /// Whether an app may miss it; not what a browser or a monitor asks for by itself.
    pub(super) matters: bool,
}

/// The refused requests since the start.
#[derive(Debug, Default)]
pub struct Refusals {
    /// All.
    pub all: FailureTally,
    /// Those that an app may miss.
    pub apps: FailureTally,
    table: Mutex<Vec<RefusalCounter>>,
    /// There is an unreported count.
    counted: Notify,
}

#[derive(Debug)]
struct RefusalCounter {
    code: &'static str,
    from: Box<str>,
    about: Box<str>,
    /// The request that was logged.
    id: RequestId,
    told_at: Instant,
    last_at: Instant,
    /// How many were not.
    untold: u64,
    period: Duration,
}

impl Refusals {
    /// One more. `Some`: it is to be logged, with this many unlogged ones; `None`: it is counted.
    pub(super) fn add(&self, refused: &RefusedRequest<'_>, id: RequestId) -> Option<u64> {
        let now = Instant::now();
        let code = refused.kind.code();
        let about = refused.tells_apart();
        let mut table = self.table();
        let known = position(&table, code, refused.from, about);
        let known = known.or_else(|| {
            let full = table.len() >= MOST && !make_room(&mut table, now);
            full.then(|| position(&table, code, OTHERS, ""))?
        });
        let (told, untold) = if let Some(entry) = known.and_then(|at| table.get_mut(at)) {
            let untold = entry.again(id, now);
            if entry.untold == 1 {
                self.counted.notify_one();
            }
            (entry.id, untold)
        } else {
            let (from, about) = if table.len() >= MOST {
                (OTHERS, "")
            } else {
                (refused.from, about)
            };
            table.push(RefusalCounter {
                code,
                from: from.into(),
                about: about.into(),
                id,
                told_at: now,
                last_at: now,
                untold: 0,
                period: PERIOD,
            });
            (id, Some(0))
        };
        drop(table);
        // The number of an existing line.
        self.all.add(code, told, refused.from, refused.about);
        if refused.matters {
            self.apps.add(code, told, refused.from, refused.about);
        }
        untold
    }

    /// Tells now and then what was only counted, until `stop`, and then a last time.
    pub async fn keep_told(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = self.counted.notified() => {}
                () = stop.cancelled() => {}
            }
            while !stop.is_cancelled() && self.has_untold() {
                tokio::select! {
                    () = sleep(LOOK) => {}
                    () = stop.cancelled() => {}
                }
                self.tell(stop.is_cancelled());
            }
        }
    }

    fn has_untold(&self) -> bool {
        self.table().iter().any(|entry| entry.untold > 0)
    }

    /// Tells what is due, or all.
    fn tell(&self, all: bool) {
        let now = Instant::now();
        let mut table = self.table();
        for entry in table.iter_mut() {
            if entry.untold > 0 && (all || entry.is_due(now)) {
                tracing::info!(
                    code = entry.code,
                    from = &*entry.from,
                    about = (!entry.about.is_empty()).then_some(&*entry.about),
                    requests = entry.untold,
                    like = %entry.id,
                    "requests were refused again"
                );
                entry.tell(now);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Vec<RefusalCounter>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry for new origins when the table is full.
const OTHERS: &str = "others";

impl<'r> RefusedRequest<'r> {
    /// Its identity among others with its code and place. A path counts only if the guard has
    /// accepted the app: a refused client can name any number of them.
    fn tells_apart(&self) -> &'r str {
        let by_path = matches!(
            self.kind,
            ErrorKind::PathNotAllowed
                | ErrorKind::MethodNotAllowed
                | ErrorKind::UnknownProvider
                | ErrorKind::UnsupportedMediaType
        );
        let about = match self.about {
            Some(about) => about,
            None if by_path => self.path,
            None => "",
        };
        let end = about.char_indices().nth(LONGEST);
        end.and_then(|(end, _)| about.get(..end)).unwrap_or(about)
    }
}

impl RefusalCounter {
    fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.told_at) >= self.period
    }

    /// Counts another one; see [`Refusals::add`].
    fn again(&mut self, id: RequestId, now: Instant) -> Option<u64> {
        self.last_at = now;
        if !self.is_due(now) {
            self.untold += 1;
            return None;
        }
        self.id = id;
        Some(self.tell(now))
    }

    /// It is logged now; returns how many were not. A continuing flood is logged ever more rarely.
    fn tell(&mut self, now: Instant) -> u64 {
        let untold = std::mem::take(&mut self.untold);
        self.told_at = now;
        self.period = if untold > 0 {
            (self.period * 2).min(LONGEST_PERIOD)
        } else {
            PERIOD
        };
        untold
    }
}

fn position(table: &[RefusalCounter], code: &str, from: &str, about: &str) -> Option<usize> {
    table
        .iter()
        .position(|entry| entry.code == code && *entry.from == *from && *entry.about == *about)
}

/// Whether there is room now.
fn make_room(table: &mut Vec<RefusalCounter>, now: Instant) -> bool {
    table.retain(|entry| entry.untold > 0 || now.duration_since(entry.last_at) < QUIET);
    table.len() < MOST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(refusals: &Refusals, kind: ErrorKind, about: Option<&str>, path: &str) -> Option<u64> {
        let refused = RefusedRequest {
            kind,
            from: "127.0.0.1",
            about,
            path,
            matters: true,
        };
        refusals.add(&refused, RequestId::draw())
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_told_once_and_then_counted() {
        use ErrorKind::{OriginNotAllowed, PathNotAllowed, PeerNotAllowed};
        let refusals = Refusals::default();
        let peer = |path| add(&refusals, PeerNotAllowed, Some("uid 7"), path);
        assert_eq!(peer("/1"), Some(0));
        assert_eq!(peer("/2"), None);
        let told = refusals.all.look().unwrap().1.request_id;
        assert_eq!(peer("/1"), None);
        // The number in the status is one that is in the log.
        assert_eq!(refusals.all.look().unwrap().1.request_id, told);
        assert_eq!(add(&refusals, PeerNotAllowed, Some("uid 8"), "/1"), Some(0));
        assert_eq!(
            add(&refusals, OriginNotAllowed, Some("null"), "/1"),
            Some(0)
        );
        assert_eq!(add(&refusals, PathNotAllowed, None, "/1"), Some(0));
        assert_eq!(add(&refusals, PathNotAllowed, None, "/2"), Some(0));
        assert_eq!(add(&refusals, PathNotAllowed, None, "/1"), None);
        assert_eq!(refusals.all.look().unwrap().0, 8);
        tokio::time::advance(PERIOD).await;
        assert_eq!(peer("/1"), Some(2));
        assert_eq!(peer("/1"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_origins_is_told_in_a_bounded_number_of_lines() {
        let refusals = Refusals::default();
        let mut told = 0;
        for minute in 0..120 {
            for number in 0..200 {
                let about = format!("https://{minute}-{number}.example");
                let kind = ErrorKind::OriginNotAllowed;
                told += usize::from(add(&refusals, kind, Some(&about), "/").is_some());
            }
            assert!(refusals.table().len() <= MOST + ErrorKind::ALL.len());
            tokio::time::advance(LOOK).await;
            refusals.tell(false);
        }
        assert_eq!(refusals.all.look().unwrap().0, 120 * 200);
        assert!(told <= MOST * 14, "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_told_ever_more_seldom_and_the_rest_at_the_end() {
        let refusals = std::sync::Arc::new(Refusals::default());
        let stop = CancellationToken::new();
        let (kept, ends) = (refusals.clone(), stop.clone());
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        let task = tokio::spawn(async move { kept.keep_told(ends).await });
        let mut told = 0;
        for _ in 0..24 * 60 {
            for _ in 0..3 {
                let line = add(&refusals, ErrorKind::InvalidClientKey, None, "/");
                told += usize::from(line.is_some());
            }
            sleep(Duration::from_mins(1)).await;
        }
        assert!(told <= 40, "{told}");
        add(&refusals, ErrorKind::InvalidClientKey, None, "/");
        stop.cancel();
        task.await.unwrap();
        assert!(!refusals.has_untold());
    }
}
