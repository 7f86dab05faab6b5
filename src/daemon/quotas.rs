//! Asks providers in the background how much of each login's quota is used, where they tell: once at the start, and then
//! at most every quarter of an hour, if requests were answered meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::control::View;
use super::fleet::Report;
use crate::clock::Clock;
use crate::config::ProviderName;

/// A provider is asked again after this time.
const EVERY: Duration = Duration::from_mins(15);
/// And it is looked so often whether one is due.
const LOOK: Duration = Duration::from_secs(30);

/// By provider, and the place of the login.
type Asked = BTreeMap<(ProviderName, usize), Last>;

/// When it was asked with a login, and how many requests it had answered by then.
#[derive(Debug, Clone, Copy)]
struct Last {
    at: Instant,
    served: u64,
}

/// Asks until `stop`.
pub(super) async fn keep_asked(
    view: Arc<ArcSwap<View>>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let asking = async {
        let mut asked = Asked::new();
        loop {
            for report in &view.load_full().reports {
                ask(report, &mut asked, &*clock).await;
            }
            sleep(LOOK).await;
        }
    };
    stop.run_until_cancelled(asking).await;
}

async fn ask(report: &Report, asked: &mut Asked, clock: &dyn Clock) {
    let upstream = &report.upstream;
    if !report.adapter.tells_quota() || !upstream.credentials.is_authenticated() {
        return;
    }
    let served = upstream.counters.counts().served;
    let mut leases = upstream.credentials.leases();
    let is_first = asked.keys().all(|(name, _)| *name != upstream.name);
    if leases.is_empty() && is_first {
        leases.extend(upstream.credentials.lease().await.ok());
    }
    for lease in leases {
        let login = lease.stamp().0;
        let key = (upstream.name.clone(), login);
        let is_due = asked
            .get(&key)
            .is_none_or(|last| last.at.elapsed() >= EVERY && last.served != served);
        if is_due {
            let at = Instant::now();
            asked.insert(key, Last { at, served });
            let credential = lease.credential();
            let now = clock.now();
            report.adapter.ask_quota(credential, login, now).await;
        }
    }
}
