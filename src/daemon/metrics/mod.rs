//! The page of metrics, made on request from what the daemon knows anyway.
//!
//! Labels are bounded by the user's setup: providers, their paths, logins and client keys. The model, which apps
//! choose, is bounded by `usage`.

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::control::ControlHandler;
use super::providers::ProviderReport;
use crate::clients::Client;
use crate::control::judge;
use crate::control::protocol::{Severity, Status};
use crate::credentials::{AvailabilityKind, MAIN, PoolEntry};
use crate::metrics::{self, Family, MetricsFormat, MetricsPage, Value};
use crate::provider::ReportedWindow;
use crate::proxy::{self, Amounts, Upstream};
use crate::usage::UsageCounter;

/// How many client keys have their own series.
const MOST_CLIENTS: usize = 200;
/// What the others are called together.
const OTHER: &str = "(other)";
/// The longest label, in characters.
const LONGEST: usize = 100;

/// A metric, and the source of its number.
type Number<T> = (&'static Family, fn(&T) -> u64);

impl proxy::Exporter for ControlHandler {
    fn export(&self, format: MetricsFormat, client: Option<&Client>) -> String {
        let view = self.view.load();
        let is_open = |report: &&ProviderReport| {
            let name = report.upstream.name.as_str();
            report.upstream.is_there() && client.is_none_or(|client| client.allows_provider(name))
        };
        let status = self.picture();
        let reports: Vec<_> = view.reports.iter().filter(is_open).collect();
        let mut page = MetricsPage::new(format);
        let version = env!("CARGO_PKG_VERSION");
        page.family(&metrics::BUILD)
            .add(&[("version", version)], true);
        process::add_to(&mut page, status.daemon.started_at.0.timestamp());
        let limited = client.filter(|client| client.is_limited());
        add_requests(&mut page, &reports);
        if limited.is_none() {
            self.add_tokens(&mut page, &reports);
        }
        self.add_clients(&mut page, limited);
        add_providers(&mut page, &reports, &status);
        add_logins(&mut page, &reports);
        add_quotas(&mut page, &reports, status.now.0);
        add_findings(&mut page, &status, &reports, limited);
        if limited.is_none() {
            self.add_rest(&mut page);
        }
        page.finish()
    }
}

/// What came of requests.
fn add_requests(page: &mut MetricsPage, reports: &[&ProviderReport]) {
    let mut samples = page.family(&metrics::REQUESTS);
    for report in reports {
        let upstream = &report.upstream;
        let mut all = BTreeMap::<_, u64>::new();
        for (path, tally) in upstream.labels.iter().zip(&upstream.tallies) {
            for (outcome, code, count) in tally.ended() {
                *all.entry((&**path, outcome, code)).or_default() += count;
            }
        }
        for ((path, outcome, code), count) in all {
            let labels = [
                ("provider", &*upstream.label),
                ("path", path),
                ("outcome", outcome),
                ("code", code),
            ];
            samples.add(&labels, count);
        }
    }
    let amounts: Vec<_> = reports
        .iter()
        .map(|report| {
            let counters = &report.upstream.counters;
            let in_flight = counters.counts().in_flight;
            let label = &*report.upstream.label;
            ([("provider", label)], in_flight, counters.traffic.amounts())
        })
        .collect();
    let mut samples = page.family(&metrics::REQUESTS_IN_FLIGHT);
    for (labels, in_flight, _) in &amounts {
        samples.add(labels, *in_flight);
    }
    let numbers: [Number<Amounts>; 3] = [
        (&metrics::STREAMS_IN_FLIGHT, |all| all.streams),
        (&metrics::REQUEST_BYTES, |all| all.bytes_in),
        (&metrics::RESPONSE_BYTES, |all| all.bytes_out),
    ];
    for (family, number) in numbers {
        let mut samples = page.family(family);
        for (labels, _, all) in &amounts {
            samples.add(labels, number(all));
        }
    }
    let mut samples = page.family(&metrics::DURATION);
    for (labels, _, all) in &amounts {
        samples.add_buckets(labels, &all.durations);
    }
    let mut samples = page.family(&metrics::FIRST_BYTE);
    for (labels, _, all) in &amounts {
        samples.add_buckets(labels, &all.first_bytes);
    }
}

fn add_providers(page: &mut MetricsPage, reports: &[&ProviderReport], status: &Status) {
    let mut samples = page.family(&metrics::PROVIDER_READY);
    for report in reports {
        let name = report.upstream.name.as_str();
        let is_blocked = judge::judge_for(status, name).iter().any(|one| one.blocks);
        samples.add(&[("provider", name)], !is_blocked);
    }
    let numbers: [Number<Upstream>; 2] = [
        (&metrics::PROVIDER_FAILURES, |one| {
            one.counters.failing.look().map_or(0, |(count, _)| count)
        }),
        (&metrics::UPSTREAM_CONNECTIONS, |one| {
            one.client.connections() as u64
        }),
    ];
    for (family, number) in numbers {
        let mut samples = page.family(family);
        for report in reports {
            samples.add(
                &[("provider", &report.upstream.label)],
                number(&report.upstream),
            );
        }
    }
}

/// A provider's logins with a unique label for each. A single one needs no label, which is often an e-mail address.
fn logins(report: &ProviderReport) -> Vec<(String, PoolEntry)> {
    let mut taken = BTreeSet::new();
    let is_one = !report.upstream.credentials.has_rows();
    let entries = report.upstream.credentials.entries();
    let named = entries.into_iter().map(|entry| {
        let name = entry.called.as_deref().or(entry.label.as_deref());
        let name = name.filter(|_| !is_one);
        let mut label: String = name.unwrap_or(MAIN).chars().take(LONGEST).collect();
        if !taken.insert(label.clone()) {
            label = format!("{label} {}", entry.place);
            taken.insert(label.clone());
        }
        (label, entry)
    });
    named.collect()
}

fn add_logins(page: &mut MetricsPage, reports: &[&ProviderReport]) {
    let all: Vec<_> = reports
        .iter()
        .filter(|report| report.adapter.layout().is_some())
        .flat_map(|report| {
            let provider = &*report.upstream.label;
            logins(report)
                .into_iter()
                .map(move |(login, entry)| (provider, login, entry.status))
        })
        .collect();
    let mut samples = page.family(&metrics::LOGIN_STATE);
    for (provider, login, status) in &all {
        for state in AvailabilityKind::ALL {
            let labels = [
                ("provider", *provider),
                ("login", login),
                ("state", state.as_str()),
            ];
            samples.add(&labels, status.standing == state);
        }
    }
    let mut samples = page.family(&metrics::LOGIN_END);
    for (provider, login, status) in &all {
        if let Some(at) = status.login.as_ref().and_then(|login| login.ends_at) {
            let labels = [("provider", *provider), ("login", login)];
            samples.add(&labels, Value::Timestamp(at.timestamp()));
        }
    }
    let mut samples = page.family(&metrics::TOKEN_END);
    for (provider, login, status) in &all {
        if let Some(at) = status.expires_at {
            let labels = [("provider", *provider), ("login", login)];
            samples.add(&labels, Value::Timestamp(at.timestamp()));
        }
    }
    let mut samples = page.family(&metrics::REFRESHES);
    for (provider, login, status) in &all {
        let renewals = status.renewals;
        for (result, count) in [
            ("refreshed", renewals.refreshed),
            ("adopted", renewals.adopted),
            ("failed", renewals.failed),
            ("rejected", renewals.rejected),
        ] {
            let labels = [
                ("provider", *provider),
                ("login", login),
                ("result", result),
            ];
            samples.add(&labels, count);
        }
    }
}

/// A number of a window of a quota, if the provider reports it.
type OfWindow = fn(&ReportedWindow) -> Option<Value>;

fn add_quotas(page: &mut MetricsPage, reports: &[&ProviderReport], now: DateTime<Utc>) {
    let mut all = Vec::new();
    for report in reports {
        for (login, entry) in logins(report) {
            let quota = report.adapter.quota(entry.place);
            let windows = quota.into_iter().flat_map(|quota| quota.windows);
            let windows = windows.map(|window| window.at(now));
            all.extend(windows.map(|window| (&*report.upstream.label, login.clone(), window)));
        }
    }
    let numbers: [(_, OfWindow); 4] = [
        (&metrics::QUOTA_USED, |window| {
            Some(Value::Float(window.used_percent / 100.0))
        }),
        (&metrics::QUOTA_LIMIT, |window| {
            Some(window.amounts?.limit.into())
        }),
        (&metrics::QUOTA_REMAINING, |window| {
            Some(window.amounts?.remaining.into())
        }),
        (&metrics::QUOTA_RESET, |window| {
            Some(Value::Timestamp(window.resets_at?.timestamp()))
        }),
    ];
    for (family, number) in numbers {
        let mut samples = page.family(family);
        for (provider, login, window) in &all {
            let labels = [
                ("provider", *provider),
                ("login", login),
                ("window", window.name),
            ];
            if let Some(number) = number(window) {
                samples.add(&labels, number);
            }
        }
    }
}

/// Codes without their texts, which may name files.
fn add_findings(
    page: &mut MetricsPage,
    status: &Status,
    reports: &[&ProviderReport],
    limited: Option<&Client>,
) {
    let is_open = |name: &str| reports.iter().any(|one| one.upstream.name.as_str() == name);
    let mut all = BTreeMap::<_, u64>::new();
    for finding in judge::findings(status).iter() {
        let provider = finding.provider.as_deref().unwrap_or_default();
        let is_told = if provider.is_empty() {
            limited.is_none()
        } else {
            is_open(provider)
        };
        if is_told {
            let severity = match finding.severity {
                Severity::Bad => "bad",
                Severity::Attention | Severity::Other(_) => "attention",
            };
            let key = (
                finding.code.as_str().to_owned(),
                severity,
                provider.to_owned(),
            );
            *all.entry(key).or_default() += 1;
        }
    }
    let mut samples = page.family(&metrics::FINDINGS);
    for ((code, severity, provider), count) in &all {
        let labels = [
            ("code", code.as_str()),
            ("severity", severity),
            ("provider", provider),
        ];
        samples.add(&labels, *count);
    }
}

impl ControlHandler {
    fn add_tokens(&self, page: &mut MetricsPage, reports: &[&ProviderReport]) {
        let mut all = self
            .usage
            .book()
            .map_or_else(Vec::new, UsageCounter::totals);
        all.retain(|total| {
            let mut open = reports.iter().map(|report| &report.upstream.label);
            open.any(|label| *label == total.provider)
        });
        all.sort_by(|one, other| (&one.provider, &one.model).cmp(&(&other.provider, &other.model)));
        let mut samples = page.family(&metrics::TOKENS);
        for total in &all {
            let tokens = &total.tokens;
            for (kind, count) in [
                ("prompt", tokens.prompt),
                ("completion", tokens.completion),
                ("cached", tokens.cached),
                ("reasoning", tokens.reasoning),
            ] {
                let labels = [
                    ("provider", &*total.provider),
                    ("model", &*total.model),
                    ("kind", kind),
                ];
                samples.add(&labels, count);
            }
        }
    }

    /// Each app's own numbers; one with a limited key sees itself alone.
    fn add_clients(&self, page: &mut MetricsPage, alone: Option<&Client>) {
        let is_seen = |client: &Arc<Client>| alone.is_none_or(|one| one.name() == client.name());
        let mut clients: Vec<_> = self.clients.all();
        clients.retain(is_seen);
        clients.sort_by(|one, other| one.name().cmp(other.name()));
        let mut all: Vec<_> = clients
            .iter()
            .map(|client| (client.name(), client.counts()))
            .collect();
        if all.len() > MOST_CLIENTS {
            let others = all.split_off(MOST_CLIENTS);
            let others = others.into_iter().map(|(_, counts)| counts);
            let sum = others.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            all.push((OTHER, sum));
        }
        let mut samples = page.family(&metrics::CLIENT_REQUESTS);
        for (name, (requests, _)) in &all {
            samples.add(&[("client", name)], *requests);
        }
        let mut samples = page.family(&metrics::CLIENT_IN_FLIGHT);
        for (name, (_, in_flight)) in &all {
            samples.add(&[("client", name)], *in_flight);
        }
    }

    /// The daemon itself.
    fn add_rest(&self, page: &mut MetricsPage) {
        let refused = self
            .ledger
            .refusals()
            .all
            .look()
            .map_or(0, |(count, _)| count);
        page.family(&metrics::REFUSED).add(&[], refused);
        let connections = self.ports.iter().map(proxy::Port::connections);
        let connections: u64 = connections.sum();
        page.family(&metrics::CLIENT_CONNECTIONS)
            .add(&[], connections);
        if let Some(book) = self.usage.book() {
            let health = book.health();
            page.family(&metrics::USAGE_UNSAVED)
                .add(&[], health.fault.is_some());
            page.family(&metrics::USAGE_DROPPED)
                .add(&[], health.dropped);
        }
        if let Some(log) = &self.log {
            page.family(&metrics::LOG_DROPPED).add(&[], log.dropped());
        }
    }
}
