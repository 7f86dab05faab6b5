//! Asks providers in the background how much of an account's quota is used, where they tell: once at the start, and
//! then at most every quarter of an hour, if requests were answered meanwhile.

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

/// When a provider was asked, and how many requests it had answered by then.
#[derive(Debug, Clone, Copy)]
struct Asked {
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
        let mut asked = BTreeMap::new();
        loop {
            for report in &view.load_full().reports {
                ask(report, &mut asked, &*clock).await;
            }
            sleep(LOOK).await;
        }
    };
    stop.run_until_cancelled(asking).await;
}

async fn ask(report: &Report, asked: &mut BTreeMap<ProviderName, Asked>, clock: &dyn Clock) {
    let upstream = &report.upstream;
    if !report.adapter.tells_quota() || !upstream.credentials.is_authenticated() {
        return;
    }
    let served = upstream.counters.counts().served;
    let is_due = asked
        .get(&upstream.name)
        .is_none_or(|last| last.at.elapsed() >= EVERY && last.served != served);
    if !is_due {
        return;
    }
    if let Ok(lease) = upstream.credentials.lease().await {
        let at = Instant::now();
        asked.insert(upstream.name.clone(), Asked { at, served });
        report
            .adapter
            .ask_quota(lease.credential(), clock.now())
            .await;
    }
}
