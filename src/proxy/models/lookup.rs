//! Looks a provider's list up, and decides when to fetch it again: once for all waiting requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::cache::{FetchOutcome, PendingList, pause};
use super::fetch;
use super::list::FetchedList;
use super::query::PATH;
use super::reply::FIRST;
use crate::credentials::{Lease, NoCredential};
use crate::proxy::error::ProxyError;
use crate::proxy::gateway::Upstream;
use crate::proxy::handler::no_credential;

/// A list that is much older than it should be goes out after this time, if no other one has come.
const RENEWED: Duration = Duration::from_millis(1500);
/// How long hermesctl waits for unknown lists.
const SOON: Duration = Duration::from_secs(3);
/// So many times as old as it should be is much older.
const MUCH_OLDER: u32 = 6;

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
        return first(ask(upstream, fresh, false)).await;
    };
    let age = list.age(upstream.client.now());
    let is_old = age >= fresh || list.is_recalled;
    let is_doubtful = || is_of_another(&list, lease.as_ref()) || upstream.counters.fails();
    let is_due = is_old || (age >= pause(fresh) && is_doubtful());
    let next = is_due.then(|| ask(upstream, fresh, true)).flatten();
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
        paths.any(|allowed| allowed.path == PATH) && !fresh.is_zero()
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
            asked.extend(ask(upstream, fresh, true));
        }
    }
    let end = Instant::now() + SOON;
    for next in asked {
        outcome(Some(next), end.saturating_duration_since(Instant::now())).await;
    }
}

/// Whether the same login has another credential now: it may be another account's.
fn is_of_another(list: &FetchedList, lease: Option<&Lease>) -> bool {
    lease.is_some_and(|lease| {
        let stamp = lease.stamp();
        list.stamp.login == stamp.login && list.stamp.generation != stamp.generation
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

/// The next list, for which there is one request at a time; `None` where a kept one is not asked for
/// again so soon after a failure.
fn ask(upstream: &Arc<Upstream>, fresh: Duration, is_kept: bool) -> Option<PendingList> {
    let shelf = &upstream.models;
    let mut flight = shelf.flight();
    if let Some(under_way) = &flight.under_way {
        return Some(under_way.clone());
    }
    if is_kept && flight.failed.is_some_and(|at| at.elapsed() < pause(fresh)) {
        return None;
    }
    let (sender, receiver) = watch::channel(None);
    flight.under_way = Some(receiver.clone());
    let emptied = shelf.emptied.load(Ordering::Relaxed);
    drop(flight);
    let upstream = upstream.clone();
    // It continues when the first requester has left.
    shelf.tasks.spawn(async move {
        let outcome = fetch::list(&upstream).await;
        let name = upstream.name.as_str();
        let is_kept = upstream.models.ended(name, &outcome, fresh, emptied);
        sender.send_replace(Some(outcome.clone()));
        if let (true, FetchOutcome::List(list)) = (is_kept, &outcome) {
            keep(upstream, list, emptied).await;
        }
    });
    Some(receiver)
}

/// Saves the list for the next start, unless the cache is emptied in the meantime.
async fn keep(upstream: Arc<Upstream>, list: &FetchedList, emptied: u64) {
    let Some(disk) = upstream.models.disk.clone() else {
        return;
    };
    let is_wanted = move || upstream.models.emptied.load(Ordering::Relaxed) == emptied;
    disk.write(list, is_wanted).await;
}
