//! The daemon's answers as text for people. Pure: the answer carries the daemon's clock.

mod page;

use std::fmt::Display;

use chrono::TimeZone;

use crate::control::protocol::{
    FindingCode, ProviderEntry, ProviderState, Providers, RefreshResult, ReloadReport, Timestamp,
};
use crate::control::wires::{Service, Wire, Wires};

use super::auth::render as auth;
use super::documents::Written;
use super::proxy::Ended;
use super::version::Versions;
use crate::control::human::distance;

pub(super) use page::{Style, Tone, USUAL, cut, visible};

/// The providers with what is forwarded to them.
pub(super) fn providers(providers: &Providers, style: Style) -> String {
    let configured = providers.providers.iter();
    let configured = configured.map(|provider| provider_entry(provider, style));
    let available = providers.available.iter().map(|one| {
        let command = format!("not set up: `{}`", inline(&one.command));
        let title = title(&one.name, &one.display_name, false, style);
        title + &style.row("  ", "login", 14, &command)
    });
    let blocks: Vec<String> = configured.chain(available).collect();
    if blocks.is_empty() {
        return "No providers are configured.\n".to_owned();
    }
    blocks.join("\n")
}

/// What a stop or a restart did.
pub(super) fn ended(ended: &Ended, style: Style) -> String {
    let text = match ended.running {
        None => format!("hermes-proxyd (process {}) has stopped.", ended.pid),
        Some(pid) => format!("hermes-proxyd is running again, as process {pid}."),
    };
    style.prose(&text)
}

/// What a reload did.
pub(super) fn reload(report: &ReloadReport, style: Style) -> String {
    let rows = [
        ("applied", &report.applied),
        ("needs restart", &report.needs_restart),
        ("reloaded", &report.providers_reloaded),
        ("unreadable", &report.providers_unreadable),
        ("finishing", &report.providers_finishing),
    ];
    let mut text = style.prose("The configuration and the logins were reloaded.");
    for (label, names) in rows.into_iter().filter(|(_, names)| !names.is_empty()) {
        text += &style.row("  ", label, 14, &inline(&names.join(", ")));
    }
    if !report.providers_unreadable.is_empty() {
        text +=
            &style.prose("Their logins or API keys can't be read: `hermesctl doctor` shows why.");
    }
    if !report.providers_finishing.is_empty() {
        let note = "A renewal with the earlier settings is still running there. Requests use the new settings.";
        text += &style.prose(note);
    }
    if !report.needs_restart.is_empty() {
        text += &style.prose("To apply the rest, run `hermesctl proxy restart`.");
    }
    text
}

/// Files that were made, a line each.
pub(super) fn files(written: &Written, _: Style) -> String {
    let lines = written.files.iter();
    let lines = lines.map(|file| inline(&file.display().to_string()) + "\n");
    lines.collect()
}

/// Both sides' versions.
pub(super) fn version(versions: &Versions, style: Style) -> String {
    let daemon = versions.daemon.as_ref().map_or_else(
        || "not running".to_owned(),
        |daemon| format!("{} (pid {})", inline(&daemon.version), daemon.pid),
    );
    let commit = versions.commit.map(|commit| format!(", {commit}"));
    let (ours, target) = (versions.hermesctl, &versions.target);
    let text = format!(
        "hermesctl     {ours} ({target}{})\nhermes-proxyd {daemon}\n",
        commit.unwrap_or_default()
    );
    if !versions.daemon_is_older {
        return text;
    }
    let advice =
        "The running hermes-proxyd is older than hermesctl. Restart it: `hermesctl proxy restart`.";
    text + &style.prose(advice)
}

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
pub(super) struct Clock<'a, Z> {
    pub(super) now: Timestamp,
    pub(super) zone: &'a Z,
}

impl<Z> Clock<'_, Z>
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

fn provider_entry(provider: &ProviderEntry, style: Style) -> String {
    let mut text = title(
        &provider.name,
        &provider.display_name,
        provider.default,
        style,
    );
    let (label, there, absent) = if provider.no_key {
        ("API key", "not needed", "missing")
    } else if provider.api_key {
        ("API key", "set", "missing")
    } else {
        ("login", "logged in", "not logged in")
    };
    let login = match &provider.finding {
        Some(finding) if finding.code != FindingCode::LoginNeeded => auth::words(finding, style),
        _ if provider.logged_in => style.paint(Tone::Good, there),
        Some(finding) => {
            let command = finding.command.as_deref().map(inline);
            let command = command.map_or_else(String::new, |command| format!(": `{command}`"));
            style.paint(Tone::Bad, &format!("{absent}{command}"))
        }
        None => style.paint(Tone::Bad, absent),
    };
    text += &style.row("  ", label, 14, &login);
    if let Some(url) = &provider.app_url {
        text += &style.row("  ", "apps use", 14, &inline(url));
    }
    if let Some(url) = &provider.base_url {
        text += &style.row("  ", "base URL", 14, &inline(url));
    }
    if !provider.wires.is_empty() {
        text += &style.row("  ", "APIs", 14, &wires(&provider.wires));
    }
    for (position, entry) in provider.paths.iter().enumerate() {
        let label = if position == 0 { "paths" } else { "" };
        let body = entry.body.as_ref().map(|body| format!(" {body}"));
        let body = body.unwrap_or_default();
        let translated = entry.translated_to.as_ref();
        let translated = translated.map(|path| format!(", translated to {path}"));
        let translated = translated.unwrap_or_default();
        let methods = entry.methods.join(",");
        let path = inline(&format!("{methods} {}{body}{translated}", entry.path));
        text += &style.row("  ", label, 14, &path);
    }
    if !provider.models.is_empty() {
        text += &style.row("  ", "models", 14, &models(&provider.models));
    }
    text
}

/// The APIs for chats that apps can choose.
fn wires(wires: &Wires) -> String {
    let served = Wire::ALL.into_iter().filter_map(|wire| {
        let how = match wires.get(wire)? {
            Service::Native => "",
            Service::Translated => " (translated)",
            Service::Other(_) => " (in another way)",
        };
        let name = match wire {
            Wire::Chat => "Chat Completions",
            Wire::Responses => "Responses",
            Wire::Messages => "Anthropic's Messages",
        };
        Some(format!("{name}{how}"))
    });
    served.collect::<Vec<_>>().join(", ")
}

/// How many there are, and the first of them.
fn models(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let first: Vec<_> = ids.iter().take(SHOWN).map(|id| inline(id)).collect();
    let rest = if ids.len() > SHOWN { ", …" } else { "" };
    format!("{}: {}{rest}", ids.len(), first.join(", "))
}

pub(super) fn title(name: &str, display_name: &str, default: bool, style: Style) -> String {
    let painted = style.paint(Tone::Heading, &inline(name));
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
