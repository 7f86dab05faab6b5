//! Texts about the several logins of a provider.

use std::fmt::Display;

use chrono::TimeZone;

use crate::cli::text::{ReaderClock, Style, TextTone, both, inline, quota_rows, state_name, title};
use crate::control::pools::{Cooldown, LoginEntry, LoginList, LoginResetReport};
use crate::control::protocol::LogoutReport;

/// Every login of every provider.
pub(in crate::cli) fn list<Z>(list: &LoginList, zone: &Z, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let clock = ReaderClock {
        now: list.now,
        zone,
    };
    let mut text = String::new();
    let mut last: Option<&str> = None;
    let width = list.logins.iter().map(|login| name(login).chars().count());
    let width = width.max().unwrap_or_default().clamp(8, 28) + 2;
    for login in &list.logins {
        if last != Some(&login.provider) {
            let gap = if last.is_some() { "\n" } else { "" };
            text += gap;
            text += &title(&login.provider, &login.display_name, false, style);
            last = Some(&login.provider);
        }
        text += &style.row("  ", &name(login), width, &told(login, &clock, style));
        let quota = login.quota.iter();
        for (_, row) in quota.flat_map(|quota| quota_rows(quota, &clock)) {
            text += &style.row("  ", "", width, &format!("quota {row}"));
        }
    }
    if text.is_empty() {
        return "No providers are configured.\n".to_owned();
    }
    text
}

/// What a login is called; the provider's own may have no label.
fn name(login: &LoginEntry) -> String {
    let label = login.label.as_deref().or(login.row.as_deref());
    inline(label.unwrap_or("login"))
}

fn told<Z>(login: &LoginEntry, clock: &ReaderClock<'_, Z>, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let mut parts = vec![state(login, clock, style)];
    if login.next {
        parts.push("used next".to_owned());
    }
    if let Some(at) = login.expires_at {
        let verb = if at > clock.now { "expires" } else { "expired" };
        parts.push(format!("token {verb} {}", both(at, clock)));
    }
    let error = login.error.as_deref().map(inline);
    parts.extend(error.map(|error| style.paint(TextTone::Bad, &error)));
    let source = login.source.as_deref().map(inline);
    parts.extend(source.map(|source| format!("from {source}")));
    if login.separate {
        parts.push("hermes-proxyd's own".to_owned());
    }
    parts.join("; ")
}

fn state<Z>(login: &LoginEntry, clock: &ReaderClock<'_, Z>, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    if let Some(cooldown) = &login.cooldown {
        let until = both(cooldown.until, clock);
        let text = format!("cooling down, used again {until}{}", why(cooldown));
        return style.paint(TextTone::Waiting, &text);
    }
    state_name(&login.state)
}

fn why(cooldown: &Cooldown) -> String {
    let code = cooldown.code.as_deref().map(inline);
    let told = [cooldown.status.map(|status| status.to_string()), code];
    let told: Vec<_> = told.into_iter().flatten().collect();
    let again = match cooldown.failures {
        0 | 1 => String::new(),
        times => format!(", {times} times in a row"),
    };
    if told.is_empty() {
        return again;
    }
    format!(", after {}{again}", told.join(" "))
}

/// What a reset did.
pub(in crate::cli) fn reset(report: &LoginResetReport, style: Style) -> String {
    let provider = inline(&report.provider);
    let labels: Vec<_> = report.reset.iter().map(|label| inline(label)).collect();
    let text = match labels.len() {
        0 => format!("No login of {provider} was cooling down.\n"),
        _ => format!("Used again: {}.\n", labels.join(", ")),
    };
    style.prose(&text)
}

/// What the logout of one of several logins did.
pub(in crate::cli) fn removed(report: &LogoutReport, label: &str, style: Style) -> String {
    let provider = inline(&report.provider);
    let mut text = format!("Logged out of {} of {provider}.\n", inline(label));
    for file in &report.removed_from {
        text += &style.row(
            "  ",
            "removed from",
            14,
            &inline(&file.display().to_string()),
        );
    }
    text
}
