//! The state in one flat object, for dashboards whose widgets read one level. Pure.

use serde_json::{Map, Value, json};

use super::health::HealthLevel;
use super::{PageView, overview, usage};
use crate::control::judge;
use crate::control::protocol::{ProviderStatus, Timestamp};

/// Every name is always there, `null` where there is nothing to say.
pub(super) fn object(sight: &PageView) -> Value {
    let status = &sight.status;
    let findings = judge::findings(status);
    let worst = findings.first();
    let level = HealthLevel::of(findings.iter());
    let (ready, all) = overview::providers_ready(sight);
    let today = usage::today(sight);
    let sums = usage::of_week_and_month(sight);
    let of_today = |part: fn(&crate::control::usage::UsageSums) -> u64| today.as_ref().map(part);
    let of_week = |part: fn(&usage::DaySums) -> u64| sums.as_ref().map(|(week, _)| part(week));
    let of_month = |part: fn(&usage::DaySums) -> u64| sums.as_ref().map(|(_, month)| part(month));
    let ends = status.providers.iter().filter_map(login_end).min();
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| {
        object.entry(name).or_insert(value);
    };
    set("status", json!(level.word()));
    set(
        "code",
        json!(worst.map_or("all_well", |one| one.code.as_str())),
    );
    set(
        "message",
        json!(worst.map_or("All is well", |one| &one.text)),
    );
    set(
        "command",
        json!(worst.and_then(|one| one.command.as_deref())),
    );
    set("version", json!(status.daemon.version));
    set("now", json!(status.now));
    set("uptime_seconds", json!(status.daemon.uptime_seconds));
    set("providers", json!(all));
    set("providers_ready", json!(ready));
    set("streams_open", json!(overview::under_way(sight)));
    set("clients_with_key", json!(sight.clients.len()));
    set("requests_today", json!(of_today(|one| one.requests)));
    set("tokens_today", json!(of_today(|one| one.total_tokens)));
    set("errors_today", json!(of_today(|one| one.failed)));
    set("requests_7d", json!(of_week(|one| one.requests)));
    set("tokens_7d", json!(of_week(|one| one.tokens)));
    set("errors_7d", json!(of_week(|one| one.failed)));
    set("requests_30d", json!(of_month(|one| one.requests)));
    set("tokens_30d", json!(of_month(|one| one.tokens)));
    set("errors_30d", json!(of_month(|one| one.failed)));
    set(
        "last_error_code",
        json!(sight.failures.first().map(|one| &one.code)),
    );
    set(
        "last_error_at",
        json!(sight.failures.first().map(|one| Timestamp(one.at))),
    );
    set("login_ends_at", json!(ends));
    set(
        "login_ends_in_days",
        json!(ends.map(|at| (at.0 - sight.now()).num_days())),
    );
    for provider in &status.providers {
        let mine = judge::about(&findings, &provider.name);
        let level = HealthLevel::of(mine.iter().copied());
        for (name, value) in of_provider(provider, level, sight) {
            set(&format!("{}_{name}", key(&provider.name)), value);
        }
    }
    Value::Object(object)
}

fn login_end(provider: &ProviderStatus) -> Option<Timestamp> {
    provider.login.as_ref()?.ends_at
}

/// A provider's name as part of a name that needs no quotation marks anywhere.
fn key(name: &str) -> String {
    name.replace('-', "_")
}

fn of_provider(
    provider: &ProviderStatus,
    level: HealthLevel,
    sight: &PageView,
) -> Vec<(&'static str, Value)> {
    let ends = login_end(provider);
    let windows = provider.quota.iter().flat_map(|quota| &quota.windows);
    let fullest = windows.max_by_key(|window| window.used_percent);
    vec![
        ("status", json!(level.word())),
        ("state", json!(provider.state)),
        ("token_expires_at", json!(provider.expires_at)),
        ("login_ends_at", json!(ends)),
        (
            "login_ends_in_days",
            json!(ends.map(|at| (at.0 - sight.now()).num_days())),
        ),
        ("requests_served", json!(provider.requests.served)),
        ("requests_failed", json!(provider.requests.failed)),
        ("requests_in_flight", json!(provider.requests.in_flight)),
        (
            "quota_used_percent",
            json!(fullest.map(|window| window.used_percent)),
        ),
        (
            "quota_resets_at",
            json!(fullest.and_then(|window| window.resets_at)),
        ),
    ]
}
