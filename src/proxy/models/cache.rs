//! Keeps a provider's list, and what is known of the requests for it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::disk::Disk;
use super::list::FetchedList;
use crate::proxy::error::ProxyError;

/// A kept list is not asked for again before this time is over, after a failure or where it may have changed.
const PAUSE: Duration = Duration::from_secs(10);

/// A list that is on its way.
pub(super) type PendingList = watch::Receiver<Option<FetchOutcome>>;

/// A provider's list, if it exists, and the request for the next one, if one is under way.
#[derive(Debug, Default)]
pub struct ModelListCache {
    pub(super) list: ArcSwapOption<FetchedList>,
    /// Whether the last request for the list failed.
    pub(super) fails: AtomicBool,
    /// Counts how often it was emptied: a list that was asked for before is not kept.
    pub(super) emptied: AtomicU64,
    flight: Mutex<PendingFetch>,
    pub(super) tasks: TaskTracker,
    pub(super) disk: Option<Arc<Disk>>,
    /// Whether the file was read: once, and never again if its list may be another account's.
    looked: OnceCell<()>,
}

/// The request for the next list, and how the last one ended.
#[derive(Debug, Default)]
pub(super) struct PendingFetch {
    pub(super) under_way: Option<PendingList>,
    pub(super) failed: Option<Instant>,
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

impl ModelListCache {
    /// A cache whose list is kept in this file across restarts.
    pub fn of(file: PathBuf) -> Self {
        Self {
            disk: Some(Arc::new(Disk::new(file))),
            ..Self::default()
        }
    }

    /// The list from before the start, as long as no other is known.
    pub(super) async fn recall(&self) -> Option<Arc<FetchedList>> {
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
    pub(super) fn too_long(&self, fresh: Duration) -> Option<ProxyError> {
        let flight = self.flight();
        let (came, error) = flight.too_long.as_ref()?;
        (came.elapsed() < pause(fresh)).then(|| error.clone())
    }

    pub(super) fn flight(&self) -> std::sync::MutexGuard<'_, PendingFetch> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the list that came is kept.
    pub(super) fn ended(
        &self,
        provider: &str,
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
                tracing::warn!(provider, "{what}");
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

/// How long a kept list is not asked for again.
pub(super) fn pause(fresh: Duration) -> Duration {
    PAUSE.min(fresh)
}
