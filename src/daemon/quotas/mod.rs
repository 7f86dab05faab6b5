//! Asks providers in the background how much of each login's quota is used, if they offer that: once at the start, and
//! then at most every quarter of an hour, if requests were answered meanwhile. It also notifies the user when a quota
//! runs out.

mod crossing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::crossing::{QuotaReport, ThresholdTracker, WindowUse};
use super::notices::Notices;
use super::providers::ProviderReport;
use super::view::View;
use crate::clock::{self, Clock};
use crate::config::ProviderName;
use crate::hooks::{HookEvent, HookNotice, QuotaNotice};
use crate::provider::ReportedWindow;

/// A provider is asked again after this time.
const EVERY: Duration = Duration::from_mins(15);
/// How often the due time is checked.
const LOOK: Duration = Duration::from_secs(30);

/// By provider, and the place of the login.
type AskedByLogin = BTreeMap<(ProviderName, usize), LastAsked>;

/// When it was asked with a login, and how many requests it had answered by then.
#[derive(Debug, Clone, Copy)]
struct LastAsked {
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
        let mut asked = AskedByLogin::new();
        loop {
            for report in &view.load_full().reports {
                ask(report, &mut asked, &*clock).await;
            }
            sleep(LOOK).await;
        }
    };
    stop.run_until_cancelled(asking).await;
}

async fn ask(report: &ProviderReport, asked: &mut AskedByLogin, clock: &dyn Clock) {
    let upstream = &report.upstream;
    if !report.adapter.answers_for_quota() || !upstream.credentials.is_authenticated() {
        return;
    }
    let served = upstream.counters.counts().served;
    let mut leases = upstream.credentials.leases();
    let is_first = asked.keys().all(|(name, _)| *name != upstream.name);
    if leases.is_empty() && is_first {
        leases.extend(upstream.credentials.lease().await.ok());
    }
    for lease in leases {
        let login = lease.stamp().login;
        let key = (upstream.name.clone(), login);
        let is_due = asked
            .get(&key)
            .is_none_or(|last| last.at.elapsed() >= EVERY && last.served != served);
        if is_due {
            let at = Instant::now();
            asked.insert(key, LastAsked { at, served });
            let credential = lease.credential();
            let now = clock.now();
            report.adapter.ask_quota(credential, login, now).await;
        }
    }
}

/// The reports so far, by provider, place of the login, and window.
type Crossings = BTreeMap<(ProviderName, usize, &'static str), ThresholdTracker>;

/// Tells when a window of a quota is used to 80 %, used up, or has room again, until `stop`. It looks when an answer
/// has `changed` one, when one begins again, and now and then.
pub(super) async fn keep_told(
    view: Arc<ArcSwap<View>>,
    notices: Notices,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
    stop: CancellationToken,
) {
    let telling = async {
        let mut crossings = Crossings::new();
        loop {
            let now = clock.now();
            let due = tell_all(&view.load(), &mut crossings, &notices, now);
            let pause = due.map_or(LOOK, |due| clock::until(due, now).min(LOOK));
            tokio::select! {
                () = changed.notified() => {}
                () = sleep(pause) => {}
            }
        }
    };
    stop.run_until_cancelled(telling).await;
}

/// Sends the reports that are due; returns when the next window begins again.
fn tell_all(
    view: &View,
    crossings: &mut Crossings,
    notices: &Notices,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let reports = view.reports.iter();
    let due = reports.filter_map(|report| tell(report, crossings, notices, now));
    due.min()
}

/// The same of one provider's logins; when the next window begins again.
fn tell(
    report: &ProviderReport,
    crossings: &mut Crossings,
    notices: &Notices,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let upstream = &report.upstream;
    report.adapter.quotas()?;
    let mut due: Option<DateTime<Utc>> = None;
    for login in upstream.credentials.places() {
        let windows = report.adapter.quota(login);
        for window in windows.into_iter().flat_map(|quota| quota.windows) {
            let key = (upstream.name.clone(), login, window.name);
            let resets_at = window.resets_at;
            let window = window.at(now);
            let now_used = WindowUse {
                used: window.used_percent,
                length: window.length,
                resets_at,
            };
            due = [due, window.resets_at].into_iter().flatten().min();
            if let Some(news) = crossings.entry(key).or_default().on(now_used, now) {
                notices.tell(notice(report, login, &window, news, now));
            }
        }
    }
    due
}

fn notice(
    report: &ProviderReport,
    login: usize,
    window: &ReportedWindow,
    news: QuotaReport,
    now: DateTime<Utc>,
) -> HookNotice {
    let upstream = &report.upstream;
    let login = upstream.credentials.label_of(login);
    let of = login.as_ref().map(|login| format!(" of the login {login}"));
    let of = of.unwrap_or_default();
    let name = &upstream.display_name;
    let which = window.length.map_or_else(|| window.name.to_owned(), length);
    let again = window.resets_at.map_or_else(String::new, |at| {
        format!("; it begins again on {}", at.format("%Y-%m-%d %H:%M UTC"))
    });
    let used_percent = window.used_percent;
    let (event, message) = match news {
        QuotaReport::Low => {
            let message =
                format!("{name}: {used_percent:.0} % of the quota{of} ({which}) are used{again}");
            (HookEvent::QuotaLow, message)
        }
        QuotaReport::Spent => {
            let message = format!("{name}: the quota{of} ({which}) is used up{again}");
            (HookEvent::QuotaSpent, message)
        }
        QuotaReport::Free => {
            let message = format!("{name}: the quota{of} ({which}) has room again");
            (HookEvent::QuotaFree, message)
        }
    };
    HookNotice {
        event,
        provider: upstream.name.to_string(),
        display_name: name.clone(),
        message,
        command: Some("hermesctl proxy status".to_owned()),
        ends_at: None,
        at: now,
        quota: Some(QuotaNotice {
            login,
            window: window.name.to_owned(),
            used_percent,
            resets_at: window.resets_at,
        }),
    }
}

/// A window's length in words.
fn length(length: Duration) -> String {
    let minutes = length.as_secs() / 60;
    match minutes {
        0 => format!("{} s", length.as_secs()),
        _ if minutes.is_multiple_of(1440) => format!("{} d", minutes / 1440),
        _ if minutes.is_multiple_of(60) => format!("{} h", minutes / 60),
        _ => format!("{minutes} min"),
    }
}
