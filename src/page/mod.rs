//! The status page and its JSON: the daemon's state, rendered. It judges nothing and asks no other module: the daemon
//! gathers a [`PageView`], [`html`] and [`json`] are made of it.
//!
//! The page works without scripts. Its style and its one script are part of it, and [`policy`] allows these two texts and
//! nothing else.

mod charts;
mod connect;
mod errors;
mod flat;
mod markup;
mod overview;
mod providers;
mod usage;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::markup::{Html, put};
use crate::control::pools::LoginEntry;
use crate::control::protocol::{ClientEntry, Finding, Severity, Status, Timestamp};
use crate::control::usage::UsageReport;
use crate::control::{human, judge};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

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

/// How well something is, as a word and a class of the style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HealthLevel {
    Good,
    Attention,
    Bad,
}

impl HealthLevel {
    /// Of the worst of these findings.
    fn of<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Self {
        let mut level = Self::Good;
        for finding in findings {
            match finding.severity {
                Severity::Bad => return Self::Bad,
                Severity::Attention | Severity::Other(_) => level = Self::Attention,
            }
        }
        level
    }

    /// As JSON has it, and the style's class.
    fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Attention => "attention",
            Self::Bad => "bad",
        }
    }

    /// As a person reads it.
    fn label(self) -> &'static str {
        match self {
            Self::Good => "Good",
            Self::Attention => "Attention",
            Self::Bad => "Failing",
        }
    }
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

    fn now(&self) -> DateTime<Utc> {
        self.status.now.0
    }

    fn counts(&self) -> Option<&DailyCounts> {
        match &self.usage {
            PageUsage::Known(counts) => Some(counts),
            PageUsage::Off | PageUsage::Hidden | PageUsage::Unknown(_) => None,
        }
    }
}

/// The page.
pub fn html(sight: &PageView) -> String {
    let findings = judge::findings(&sight.status);
    let level = HealthLevel::of(findings.iter());
    let mut page = Html::default();
    put!(
        &mut page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
        "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n<title>",
        title(level),
        "</title>\n"
    );
    page.markup(icon(level));
    page.markup("<style>");
    page.markup(STYLE);
    page.markup("</style>\n</head>\n<body>\n");
    overview::header(&mut page, sight);
    page.markup("<main id=\"main\">\n");
    overview::verdict(&mut page, sight, &findings);
    overview::figures(&mut page, sight);
    providers::section(&mut page, sight, &findings);
    usage::days(&mut page, sight);
    usage::models(&mut page, sight);
    usage::clients(&mut page, sight);
    errors::section(&mut page, sight);
    connect::section(&mut page, sight);
    page.markup("</main>\n");
    overview::footer(&mut page, sight);
    page.markup("<script>");
    page.markup(SCRIPT);
    page.markup("</script>\n</body>\n</html>\n");
    page.into_string()
}

/// The same in one flat object, whose names `docs/status-page.md` lists.
pub fn json(sight: &PageView) -> Value {
    flat::object(sight)
}

/// The `Content-Security-Policy` that the page needs, and no more.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            hash(STYLE),
            hash(SCRIPT)
        )
    });
    &POLICY
}

fn title(level: HealthLevel) -> String {
    let word = match level {
        HealthLevel::Good => "all is well",
        HealthLevel::Attention => "needs attention",
        HealthLevel::Bad => "failing",
    };
    format!("hermes-proxyd: {word}")
}

/// A dot for the browser's tab, in the verdict's colour and shape.
fn icon(level: HealthLevel) -> &'static str {
    match level {
        HealthLevel::Good => {
            "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%231a7f4b'/%3E%3C/svg%3E\">\n"
        }
        HealthLevel::Attention => {
            "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M8 1l7 14H1z' fill='%23b7791f'/%3E%3C/svg%3E\">\n"
        }
        HealthLevel::Bad => {
            "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M1 1h14v14H1z' fill='%23c5303a'/%3E%3C/svg%3E\">\n"
        }
    }
}

/// A time: how far it is from now, and when it is. The script shows it in the reader's time zone.
fn time(page: &mut Html, at: DateTime<Utc>, now: DateTime<Utc>) {
    let distance = human::distance((at - now).num_seconds());
    put!(
        page,
        distance,
        " <time datetime=\"",
        Timestamp(at),
        "\">",
        at.format("%Y-%m-%d %H:%M UTC").to_string(),
        "</time>"
    );
}

/// A pill with the level's colour and its word.
fn pill(page: &mut Html, level: HealthLevel) {
    put!(
        page,
        "<span class=\"pill ",
        level.word(),
        "\">",
        level.label(),
        "</span>"
    );
}
