//! The status page's data, gathered for each reader. It asks nothing of a provider and holds a lock no longer than a
//! copy takes; the counts of usage come from their own thread.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::clients;
use super::control::ControlHandler;
use crate::control::usage::{UsageBy, UsageQuery};
use crate::page::{self, ConnectHint, DailyCounts, FailedRequest, PageUsage, PageView};
use crate::proxy::{Failures, PageReader, Pages, StatusPage};

/// However many browsers look, the counts are asked for once in this time.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// A disk that is slower leaves the page without them.
const PATIENCE: Duration = Duration::from_secs(2);
/// The days that are shown.
const MONTH: u32 = 30;
const WEEK: u32 = 7;

/// Makes the page.
#[derive(Debug)]
pub(super) struct StatusPageMaker {
    answers: Arc<ControlHandler>,
    failures: Arc<Failures>,
    /// Held while the counts are asked for, so that concurrent readers wait for the same answer.
    usage: Mutex<Option<(Instant, PageUsage)>>,
}

impl StatusPageMaker {
    /// Of this daemon.
    pub(super) fn new(answers: Arc<ControlHandler>, failures: Arc<Failures>) -> Self {
        Self {
            answers,
            failures,
            usage: Mutex::default(),
        }
    }

    async fn sight(&self, reader: PageReader) -> PageView {
        let usage = self.usage().await;
        let answers = &self.answers;
        let status = answers.picture();
        let now = status.now.0;
        let sight = PageView {
            logins: answers.logins_now(),
            clients: clients::known(&answers.clients),
            failures: failures(&self.failures, now),
            usage,
            door: ConnectHint {
                origin: reader.origin,
                provider: reader.provider,
                needs_key: reader.needs_key,
            },
            status,
        };
        match reader.client.filter(|client| client.is_limited()) {
            Some(client) => {
                sight.narrowed(client.name(), |provider| client.allows_provider(provider))
            }
            None => sight,
        }
    }

    async fn usage(&self) -> PageUsage {
        let mut known = self.usage.lock().await;
        if let Some((at, usage)) = &*known
            && at.elapsed() < GOOD_FOR
        {
            return usage.clone();
        }
        let asked = timeout(PATIENCE, self.ask()).await;
        let usage = asked.unwrap_or_else(|_| {
            PageUsage::Unknown(
                "The counts of usage can't be read: the disk is too slow.".to_owned(),
            )
        });
        *known = Some((Instant::now(), usage.clone()));
        usage
    }

    async fn ask(&self) -> PageUsage {
        let now = self.answers.clock.now();
        let report = |by: UsageBy, days: u32| {
            let query = UsageQuery {
                by,
                since: None,
                days: Some(days),
            };
            self.answers.usage.report(query, now)
        };
        let reports = tokio::try_join!(
            report(UsageBy::Day, MONTH),
            report(UsageBy::Model, WEEK),
            report(UsageBy::Model, MONTH),
            report(UsageBy::Client, 1),
            report(UsageBy::Client, WEEK),
            report(UsageBy::Client, MONTH),
        );
        match reports {
            Ok((days, ..)) if !days.enabled => PageUsage::Off,
            Ok((
                days,
                models_of_week,
                models_of_month,
                clients_today,
                clients_of_week,
                clients_of_month,
            )) => PageUsage::Known(Arc::new(DailyCounts {
                days,
                models_of_week,
                models_of_month,
                clients_today,
                clients_of_week,
                clients_of_month,
            })),
            Err(error) => PageUsage::Unknown(error.message),
        }
    }
}

fn failures(failures: &Failures, now: DateTime<Utc>) -> Vec<FailedRequest> {
    let failures = failures.look().into_iter();
    failures
        .map(|one| FailedRequest {
            at: now - one.at.elapsed(),
            code: one.code.into_owned(),
            provider: one.provider.into(),
            client: one.from.into(),
            about: one.about.map(Into::into),
        })
        .collect()
}

#[async_trait]
impl Pages for StatusPageMaker {
    async fn html(&self, reader: PageReader) -> StatusPage {
        let sight = self.sight(reader).await;
        StatusPage {
            text: page::html(&sight),
            policy: page::policy(),
        }
    }

    async fn json(&self, reader: PageReader) -> String {
        let sight = self.sight(reader).await;
        format!("{:#}\n", page::json(&sight))
    }
}
