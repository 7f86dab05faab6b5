//! Keeps a provider's list, and decides when to fetch it again: once for all waiting requests.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::disk::Disk;
use super::fetch;
use super::list::FetchedList;
use crate::credentials::{Lease, NoCredential};
use crate::proxy::error::ProxyError;
use crate::proxy::gateway::Upstream;
use crate::proxy::handler::no_credential;

/// How long a missing list is awaited. Open WebUI waits for ten seconds.
pub(super) const FIRST: Duration = Duration::from_secs(8);
/// A list that is much older than it should be goes out after this time, if no other one has come.
const RENEWED: Duration = Duration::from_millis(1500);
/// How long hermesctl waits for unknown lists.
const SOON: Duration = Duration::from_secs(3);
/// So many times as old as it should be is much older.
const MUCH_OLDER: u32 = 6;
/// A kept list is not asked for again before this time is over, after a failure or where it may have changed.
const PAUSE: Duration = Duration::from_secs(10);

/// A list that is on its way.
type PendingList = watch::Receiver<Option<FetchOutcome>>;

/// A provider's list, if it exists, and the request for the next one, if one is under way.
#[derive(Debug, Default)]
pub struct ModelListCache {
    list: ArcSwapOption<FetchedList>,
    /// Whether the last request for the list failed.
    fails: AtomicBool,
    /// Counts how often it was emptied: a list that was asked for before is not kept.
    emptied: AtomicU64,
    flight: Mutex<PendingFetch>,
    tasks: TaskTracker,
    disk: Option<Arc<Disk>>,
    /// Whether the file was read: once, and never again if its list may be another account's.
    looked: OnceCell<()>,
}

#[derive(Debug, Default)]
struct PendingFetch {
    under_way: Option<PendingList>,
    failed: Option<Instant>,
    /// When a list came that is too long to keep, and its error.
    too_long: Option<(Instant, ProxyError)>,
}

/// How a request for the list ended.
#[derive(Debug, Clone)]
pub(super) enum FetchOutcome {
    List(Arc<FetchedList>),
    /// The provider can't say right now.
    Outage(ProxyError),
    /// The provider gives none, as to a login that is dead.
    Refused(ProxyError),
    /// It is too long to be kept, and passes as it comes.
    TooLong(ProxyError),
}

/// What there is.
#[derive(Debug)]
pub(super) enum ListLookup {
    List {
        list: Arc<FetchedList>,
        /// Its age, if it is stale or can't be renewed.
        stale: Option<Duration>,
        /// Whether the provider has just sent it.
        is_new: bool,
    },
    /// No list, and why.
    Nothing(ProxyError),
    /// No list, and only the user can help.
    NoLogin(ProxyError),
    /// None in time.
    TooSlow,
}

impl ModelListCache {
    /// A cache whose list is kept in this file across restarts.
    pub fn of(file: PathBuf) -> Self {
        Self {
            disk: Some(Arc::new(Disk::new(file))),
            ..Self::default()
        }
    }

    /// The list from before the start, as long as no other is known.
    async fn recall(&self) -> Option<Arc<FetchedList>> {
        let disk = self.disk.as_ref()?;
        let emptied = self.emptied.load(Ordering::Relaxed);
        let look = async {
            let Some(list) = disk.read().await else {
                return;
            };
            let _flight = self.flight();
            if emptied == self.emptied.load(Ordering::Relaxed) && self.list.load().is_none() {
                self.list.store(Some(Arc::new(list)));
            }
        };
        self.looked.get_or_init(|| look).await;
        self.list.load_full()
    }

    /// Saves the list for the next start, unless the cache is emptied in the meantime.
    async fn keep(upstream: Arc<Upstream>, list: &FetchedList, emptied: u64) {
        let Some(disk) = upstream.models.disk.clone() else {
            return;
        };
        let is_wanted = move || upstream.models.emptied.load(Ordering::Relaxed) == emptied;
        disk.write(list, is_wanted).await;
    }

    fn forget_file(&self) {
        self.looked.set(()).ok();
        if let Some(disk) = self.disk.clone().filter(|disk| disk.takes_away()) {
            self.tasks.spawn(async move { disk.remove().await });
        }
    }

    /// Takes the list away: another account or another server may have another one.
    pub fn empty(&self) {
        let mut flight = self.flight();
        self.emptied.fetch_add(1, Ordering::Relaxed);
        self.list.store(None);
        self.fails.store(false, Ordering::Relaxed);
        // Later requests wait for no list that was requested before.
        *flight = PendingFetch::default();
        drop(flight);
        self.forget_file();
    }

    /// The ids of the kept list; none where no list is kept.
    pub fn ids(&self) -> Vec<String> {
        let list = self.list.load_full();
        list.map(|list| list.ids()).unwrap_or_default()
    }

    /// Why the list is not kept, which is not tried with each request.
    fn too_long(&self, fresh: Duration) -> Option<ProxyError> {
        let flight = self.flight();
        let (came, error) = flight.too_long.as_ref()?;
        (came.elapsed() < pause(fresh)).then(|| error.clone())
    }

    fn flight(&self) -> std::sync::MutexGuard<'_, PendingFetch> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next list, for which there is one request at a time; `None` where a kept one is not asked for
    /// again so soon after a failure.
    fn ask(&self, upstream: &Arc<Upstream>, fresh: Duration, is_kept: bool) -> Option<PendingList> {
        let mut flight = self.flight();
        if let Some(under_way) = &flight.under_way {
            return Some(under_way.clone());
        }
        if is_kept && flight.failed.is_some_and(|at| at.elapsed() < pause(fresh)) {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        flight.under_way = Some(receiver.clone());
        let emptied = self.emptied.load(Ordering::Relaxed);
        drop(flight);
        let upstream = upstream.clone();
        // It continues when the first requester has left.
        self.tasks.spawn(async move {
            let outcome = fetch::list(&upstream).await;
            let is_kept = upstream.models.ended(&upstream, &outcome, fresh, emptied);
            sender.send_replace(Some(outcome.clone()));
            if let (true, FetchOutcome::List(list)) = (is_kept, &outcome) {
                Self::keep(upstream, list, emptied).await;
            }
        });
        Some(receiver)
    }

    /// Whether the list that came is kept.
    fn ended(
        &self,
        upstream: &Upstream,
        outcome: &FetchOutcome,
        fresh: Duration,
        emptied: u64,
    ) -> bool {
        let mut flight = self.flight();
        if emptied != self.emptied.load(Ordering::Relaxed) {
            return false;
        }
        flight.under_way = None;
        let fails = matches!(outcome, FetchOutcome::Outage(_) | FetchOutcome::Refused(_));
        flight.failed = fails.then(Instant::now);
        self.fails.store(fails, Ordering::Relaxed);
        let former = flight.too_long.take();
        if let FetchOutcome::TooLong(error) = outcome {
            if former.is_none() {
                let what = "a list of models is too long to be kept; it passes as it comes";
                tracing::warn!(provider = %upstream.name, "{what}");
            }
            flight.too_long = Some((Instant::now(), error.clone()));
        }
        match outcome {
            FetchOutcome::List(list) if !fresh.is_zero() => {
                let former = self.list.swap(Some(list.clone()));
                // The same once more is in the file already.
                let is_same =
                    |former: Arc<FetchedList>| !former.is_recalled && former.body == list.body;
                list.is_plain && !former.is_some_and(is_same)
            }
            FetchOutcome::List(_) | FetchOutcome::Outage(_) => false,
            FetchOutcome::Refused(_) | FetchOutcome::TooLong(_) => {
                self.list.store(None);
                self.forget_file();
                false
            }
        }
    }
}

/// The provider's list: the kept one at once while it is good enough, else the one that comes in time.
pub(super) async fn find(upstream: &Arc<Upstream>, fresh: Duration) -> ListLookup {
    let shelf = &upstream.models;
    // The credential is read without waiting: a kept list needs none.
    let lease = upstream.credentials.lease_for_nothing().now_or_never();
    if let Some(Err(refusal @ NoCredential::LoginNeeded { .. })) = lease {
        shelf.empty();
        return ListLookup::NoLogin(no_credential(refusal, upstream));
    }
    let lease = lease.and_then(Result::ok);
    let is_from_there = |list: &Arc<FetchedList>| {
        let base_url = lease.as_ref().map(|lease| &lease.credential().base_url);
        base_url.is_none_or(|base_url| list.base_url == *base_url)
    };
    let kept = match shelf.list.load_full() {
        None if !fresh.is_zero() => shelf.recall().await,
        kept => kept,
    };
    let Some(list) = kept.filter(|list| !fresh.is_zero() && is_from_there(list)) else {
        if let Some(error) = shelf.too_long(fresh) {
            return ListLookup::Nothing(error);
        }
        return first(shelf.ask(upstream, fresh, false)).await;
    };
    let age = list.age(upstream.client.now());
    let is_old = age >= fresh || list.is_recalled;
    let is_doubtful = || is_of_another(&list, lease.as_ref()) || upstream.counters.fails();
    let is_due = is_old || (age >= pause(fresh) && is_doubtful());
    let next = is_due.then(|| shelf.ask(upstream, fresh, true)).flatten();
    let fails = || shelf.fails.load(Ordering::Relaxed);
    let stale = (is_old || fails()).then_some(age);
    if age >= fresh.saturating_mul(MUCH_OLDER) {
        match outcome(next, RENEWED).await {
            Some(FetchOutcome::List(list)) => return new(list),
            Some(FetchOutcome::Refused(error) | FetchOutcome::TooLong(error)) => {
                return ListLookup::Nothing(error);
            }
            Some(FetchOutcome::Outage(_)) | None => {}
        }
    }
    ListLookup::List {
        list,
        stale,
        is_new: false,
    }
}

/// The same as one list of several: a provider that has kept an app waiting is not waited for again until it has
/// answered.
pub(super) async fn find_soon(upstream: &Arc<Upstream>, fresh: Duration) -> ListLookup {
    let fails = &upstream.models.fails;
    let limit = if fails.load(Ordering::Relaxed) {
        Duration::ZERO
    } else {
        RENEWED
    };
    let found = timeout(limit, find(upstream, fresh)).await;
    found.unwrap_or_else(|_| {
        fails.store(true, Ordering::Relaxed);
        ListLookup::TooSlow
    })
}

/// Asks for each list that is kept and not known, of those at once, and waits a moment for them.
pub async fn know_models(upstreams: &[Arc<Upstream>], fresh: Duration) {
    let mut asked = Vec::new();
    let has_list = |upstream: &&Arc<Upstream>| {
        let mut paths = upstream.paths.iter();
        paths.any(|allowed| allowed.path == super::PATH) && !fresh.is_zero()
    };
    for upstream in upstreams.iter().filter(has_list) {
        let shelf = &upstream.models;
        let has_login = || {
            let lease = upstream.credentials.lease_for_nothing().now_or_never();
            matches!(lease, Some(Ok(_)))
        };
        if shelf.list.load().is_none()
            && shelf.recall().await.is_none()
            && shelf.too_long(fresh).is_none()
            && has_login()
        {
            asked.extend(shelf.ask(upstream, fresh, true));
        }
    }
    let end = Instant::now() + SOON;
    for next in asked {
        outcome(Some(next), end.saturating_duration_since(Instant::now())).await;
    }
}

fn pause(fresh: Duration) -> Duration {
    PAUSE.min(fresh)
}

/// Whether the same login has another credential now: it may be another account's.
fn is_of_another(list: &FetchedList, lease: Option<&Lease>) -> bool {
    lease.is_some_and(|lease| {
        let (place, count) = lease.stamp();
        list.stamp.0 == place && list.stamp.1 != count
    })
}

async fn first(next: Option<PendingList>) -> ListLookup {
    match outcome(next, FIRST).await {
        Some(FetchOutcome::List(list)) => new(list),
        Some(
            FetchOutcome::Outage(error)
            | FetchOutcome::Refused(error)
            | FetchOutcome::TooLong(error),
        ) => ListLookup::Nothing(error),
        None => ListLookup::TooSlow,
    }
}

fn new(list: Arc<FetchedList>) -> ListLookup {
    ListLookup::List {
        list,
        stale: None,
        is_new: true,
    }
}

/// How the request ends, if it does within `limit`.
async fn outcome(next: Option<PendingList>, limit: Duration) -> Option<FetchOutcome> {
    let mut next = next?;
    let ended = timeout(limit, next.wait_for(Option::is_some)).await;
    ended.ok()?.ok()?.clone()
}
