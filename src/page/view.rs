//! What is shown to one reader. Pure.

use chrono::{DateTime, Utc};

use crate::control::judge;
use crate::control::pools::LoginEntry;
use crate::control::protocol::{ClientEntry, Finding, Status};
use crate::control::usage::UsageReport;

/// What is shown to one reader.
#[derive(Debug)]
pub struct PageView {
    /// The daemon and its providers.
    pub status: Status,
    /// Each login of each provider.
    pub logins: Vec<LoginEntry>,
    /// The apps that have a key.
    pub clients: Vec<ClientEntry>,
    /// The last requests that failed, the latest first.
    pub failures: Vec<FailedRequest>,
    /// Who used how much.
    pub usage: PageUsage,
    /// How the reader's app would connect.
    pub door: ConnectHint,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRequest {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// An error code of ours, `http_` and the provider's status, or `answer_cut`.
    pub code: String,
    /// The provider that it was for; empty where none was asked.
    pub provider: String,
    /// The app that asked: its key's name, its address, or empty.
    pub client: String,
    /// The host or web page that was refused.
    pub about: Option<String>,
}

/// Who used how much.
#[derive(Debug, Clone)]
pub enum PageUsage {
    /// Nothing is counted, by the configuration.
    Off,
    /// The reader's key is not for all providers.
    Hidden,
    /// The counts can't be read, and why.
    Unknown(String),
    /// The counts.
    Known(std::sync::Arc<DailyCounts>),
}

/// The counts of the last days.
#[derive(Debug, Clone)]
pub struct DailyCounts {
    /// The last 30 days, by day.
    pub days: UsageReport,
    /// The last 7 days, by model.
    pub models_of_week: UsageReport,
    /// The last 30 days, by model.
    pub models_of_month: UsageReport,
    /// Today, by client.
    pub clients_today: UsageReport,
    /// The last 7 days, by client.
    pub clients_of_week: UsageReport,
    /// The last 30 days, by client.
    pub clients_of_month: UsageReport,
}

/// How an app connects from where the reader is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectHint {
    /// Scheme, host and port.
    pub origin: String,
    /// The provider that `/v1` means there.
    pub provider: Option<String>,
    /// Whether an app needs a client key there.
    pub needs_key: bool,
}

impl PageView {
    /// Leaves what a key with limits may see: its providers, what is wrong with them, and its own app.
    #[must_use]
    pub fn narrowed(mut self, app: &str, sees: impl Fn(&str) -> bool) -> Self {
        let findings = judge::findings(&self.status).into_owned();
        let is_open = |finding: &Finding| finding.provider.as_deref().is_some_and(&sees);
        self.status.findings = Some(findings.into_iter().filter(is_open).collect());
        self.status.providers.retain(|one| sees(&one.name));
        self.status.listeners.clear();
        self.status.refused = None;
        self.status.refused_apps = None;
        self.logins.retain(|login| sees(&login.provider));
        self.clients.retain(|client| client.name == app);
        self.failures
            .retain(|one| one.client == app && sees(&one.provider));
        self.usage = PageUsage::Hidden;
        self
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.status.now.0
    }

    pub(super) fn counts(&self) -> Option<&DailyCounts> {
        match &self.usage {
            PageUsage::Known(counts) => Some(counts),
            PageUsage::Off | PageUsage::Hidden | PageUsage::Unknown(_) => None,
        }
    }
}
