//! What the texts for people share: style, clocks, and the words for findings and quotas. Pure: an answer carries the
//! daemon's clock.

mod page;
mod width;

use std::fmt::Display;

use chrono::TimeZone;

use crate::control::human::{count, distance, duration};
use crate::control::judge;
use crate::control::protocol::{
    Finding, ProviderState, ProviderStatus, QuotaStatus, QuotaWindow, RefreshResult, Severity,
    Timestamp,
};

pub(super) use page::{Style, TextTone, USUAL, cut, visible};
pub(super) use width::width;

/// A text of the daemon's without anything that a terminal would act on; lines stay.
pub(super) fn printable(text: &str) -> String {
    let acts = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(acts, "\u{fffd}")
}

/// [`printable`] on one line.
pub(super) fn inline(text: &str) -> String {
    printable(text).replace('\n', " ")
}

/// Two machines' clocks may differ by this many seconds without a fault.
pub(super) const SKEW: i64 = 60;

/// The daemon's clock and the reader's zone.
pub(super) struct ReaderClock<'a, Z> {
    pub(super) now: Timestamp,
    pub(super) zone: &'a Z,
}

impl<Z> ReaderClock<'_, Z>
where
    Z: TimeZone,
    Z::Offset: Display,
{
    /// When something happened: `13 min ago`.
    pub(super) fn ago(&self, at: Timestamp) -> String {
        match (at.0 - self.now.0).num_seconds() {
            ahead if ahead > SKEW => self.impossible(at),
            seconds => distance(seconds.min(0)),
        }
    }

    /// When something happened: `13 min ago (2026-11-23 11:47)`.
    pub(super) fn happened(&self, at: Timestamp) -> String {
        match (at.0 - self.now.0).num_seconds() {
            ahead if ahead > SKEW => self.impossible(at),
            seconds => format!("{} ({})", distance(seconds.min(0)), self.time(at)),
        }
    }

    /// A past event can't be in the future.
    fn impossible(&self, at: Timestamp) -> String {
        let time = self.time(at);
        format!("{time}, which is in the future: a clock is or was wrong")
    }

    pub(super) fn time(&self, at: Timestamp) -> String {
        let local = at.0.with_timezone(self.zone);
        local.format("%Y-%m-%d\u{a0}%H:%M").to_string()
    }
}

pub(super) fn title(name: &str, display_name: &str, default: bool, style: Style) -> String {
    let painted = style.paint(TextTone::Heading, &inline(name));
    let default = if default { " (default)" } else { "" };
    if display_name == name {
        return format!("{painted}{default}\n");
    }
    format!("{painted}{default}  {}\n", inline(display_name))
}

pub(super) fn state_name(state: &ProviderState) -> String {
    inline(state.in_words())
}

pub(super) fn refresh_result(result: &RefreshResult) -> String {
    match result {
        RefreshResult::Refreshed => "refreshed".to_owned(),
        RefreshResult::Adopted => "taken over from another program".to_owned(),
        RefreshResult::Failed => "failed, will be retried".to_owned(),
        RefreshResult::Rejected => "rejected by the provider".to_owned(),
        RefreshResult::NoLogin => "no login".to_owned(),
        RefreshResult::NotRenewable => "not renewable".to_owned(),
        RefreshResult::Other(name) => inline(name),
    }
}

/// The rows that `proxy status` has too: what is wrong with a provider's login.
pub(in crate::cli) fn warnings(
    provider: &ProviderStatus,
    findings: &[Finding],
    style: Style,
) -> Vec<(&'static str, String)> {
    let login = provider.login_command.as_ref();
    // The state and the row below it say that a login is needed.
    let told = |one: &&&Finding| login.is_some() && one.command.as_ref() == login;
    let mine = judge::about(findings, &provider.name);
    let rows = mine.iter().filter(|one| !told(one));
    rows.map(|one| ("warning", words(one, style))).collect()
}

/// A finding with what fixes it.
pub(in crate::cli) fn words(finding: &Finding, style: Style) -> String {
    let command = finding.command.as_deref().map(inline);
    let command = command.map_or_else(String::new, |command| format!(": `{command}`"));
    let text = inline(&finding.text) + &command;
    style.paint(tone(&finding.severity), &text)
}

/// The state of a provider's credential, in the tone of the worst that is found.
pub(in crate::cli) fn state(
    provider: &ProviderStatus,
    findings: &[Finding],
    style: Style,
) -> String {
    let worst = judge::about(findings, &provider.name);
    let tone = worst
        .first()
        .map_or(TextTone::Good, |worst| tone(&worst.severity));
    style.paint(tone, &state_name(&provider.state))
}

fn tone(severity: &Severity) -> TextTone {
    match severity {
        Severity::Bad => TextTone::Bad,
        Severity::Attention | Severity::Other(_) => TextTone::Waiting,
    }
}

/// `in 26 d 12 h (2026-12-20 08:00)`
pub(in crate::cli) fn both<Z>(at: Timestamp, clock: &ReaderClock<'_, Z>) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let seconds = (at.0 - clock.now.0).num_seconds();
    format!("{} ({})", distance(seconds), clock.time(at))
}

/// How much of each window is used: `5 h: 12 % used, begins again …`, or `requests: 12 % used, 88 of 100 left`
pub(in crate::cli) fn quota_rows<Z>(
    quota: &QuotaStatus,
    clock: &ReaderClock<'_, Z>,
) -> Vec<(&'static str, String)>
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let row = |window: &QuotaWindow| {
        // Several limits have one length.
        let length = window.length_seconds.filter(|_| window.limit.is_none());
        let length = length.map_or_else(|| inline(&window.name), duration);
        let left = window.remaining.zip(window.limit);
        let left = left.map_or_else(String::new, |(left, limit)| {
            format!(", {} of {} left", count(left), count(limit))
        });
        let resets = window.resets_at.filter(|at| *at > clock.now);
        let resets = resets.map(|at| format!(", begins again {}", both(at, clock)));
        let used = window.used_percent;
        format!(
            "{length}: {used} % used{left}{}",
            resets.unwrap_or_default()
        )
    };
    let rows = quota.windows.iter().map(row).enumerate();
    rows.map(|(at, row)| (if at == 0 { "quota" } else { "" }, row))
        .collect()
}
