//! What the daemon answers, as text for people. Pure: the answer carries the daemon's clock.

pub(super) mod auth;
pub(super) mod clients;
pub(super) mod doctor;
pub(super) mod probe;

use std::fmt::Display;
use std::io::IsTerminal;

use chrono::TimeZone;

use crate::control::protocol::{
    ListenerStatus, ProviderEntry, ProviderState, ProviderStatus, Providers, RefreshResult,
    ReloadReport, Status, Timestamp,
};

use super::human::{count, distance, duration};

/// Whether the reader's terminal shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Text only.
    Plain,
    /// With ANSI colours.
    Coloured,
}

/// What a text means to the reader.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tone {
    Heading,
    Good,
    Waiting,
    Bad,
    Label,
}

/// The home screen. Times of the day are those of `zone`.
pub(super) fn status<Z>(status: &Status, zone: &Z, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let daemon = &status.daemon;
    let name = style.paint(
        Tone::Heading,
        &format!("hermes-proxyd {}", inline(&daemon.version)),
    );
    let uptime = duration(daemon.uptime_seconds);
    let mut text = format!("{name} · running {uptime} · pid {}\n", daemon.pid);
    for listener in &status.listeners {
        text += &style.row("", "listening", 12, &listener_status(listener));
    }
    if status.listeners.is_empty() {
        text += &style.row("", "listening", 12, "nowhere");
    }
    let config = daemon.config_file.as_ref();
    let config = config.map_or_else(
        || "none, all defaults".to_owned(),
        |file| inline(&file.display().to_string()),
    );
    text += &style.row("", "config", 12, &config);
    for provider in &status.providers {
        text.push('\n');
        text += &provider_status(
            provider,
            &Clock {
                now: status.now,
                zone,
            },
            style,
        );
    }
    text
}

/// The providers with what is forwarded to them.
pub(super) fn providers(providers: &Providers, style: Style) -> String {
    let blocks: Vec<String> = providers
        .providers
        .iter()
        .map(|provider| provider_entry(provider, style))
        .collect();
    if blocks.is_empty() {
        return "No providers are configured.\n".to_owned();
    }
    blocks.join("\n")
}

/// What a reload did.
pub(super) fn reload(report: &ReloadReport, style: Style) -> String {
    let rows = [
        ("applied", &report.applied),
        ("needs restart", &report.needs_restart),
        ("reloaded", &report.providers_reloaded),
    ];
    let mut text = String::from("The configuration and the logins were read again.\n");
    for (label, names) in rows.into_iter().filter(|(_, names)| !names.is_empty()) {
        text += &style.row("  ", label, 14, &inline(&names.join(", ")));
    }
    if !report.needs_restart.is_empty() {
        text += "To apply the rest, restart hermes-proxyd: `systemctl --user restart \
                 hermes-proxyd` where it is a service.\n";
    }
    text
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

/// The daemon's clock and the reader's zone.
struct Clock<'a, Z> {
    now: Timestamp,
    zone: &'a Z,
}

impl<Z> Clock<'_, Z>
where
    Z: TimeZone,
    Z::Offset: Display,
{
    fn distance(&self, at: Timestamp) -> String {
        distance((at.0 - self.now.0).num_seconds())
    }

    fn time(&self, at: Timestamp) -> String {
        let local = at.0.with_timezone(self.zone);
        local.format("%Y-%m-%d %H:%M").to_string()
    }
}

fn listener_status(listener: &ListenerStatus) -> String {
    let key = if listener.needs_key {
        ", with a client key"
    } else {
        ""
    };
    let waiting = if listener.waiting {
        " (this machine does not have the address yet)"
    } else {
        ""
    };
    let (url, provider) = (inline(&listener.url), inline(&listener.provider));
    format!("{url} → {provider}{key}{waiting}")
}

fn provider_status<Z>(provider: &ProviderStatus, clock: &Clock<'_, Z>, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let mut text = title(
        &provider.name,
        &provider.display_name,
        provider.default,
        style,
    );
    let mut row = |label: &str, value: &str| text += &style.row("  ", label, 14, value);

    let (tone, state) = state(&provider.state);
    row("state", &style.paint(tone, &state));
    if let Some(command) = &provider.login_command {
        row("log in with", &inline(command));
    }
    for (label, warning) in auth::warnings(provider, clock, style) {
        row(label, &warning);
    }
    if let Some(at) = provider.expires_at {
        let label = if at > clock.now { "expires" } else { "expired" };
        row(
            label,
            &format!("{} ({})", clock.distance(at), clock.time(at)),
        );
    }
    if let Some(refresh) = &provider.last_refresh {
        let detail = refresh
            .detail
            .as_deref()
            .map(|detail| format!(" ({})", inline(detail)));
        let result = refresh_result(&refresh.result);
        let value = format!(
            "{}: {result}{}",
            clock.distance(refresh.at),
            detail.unwrap_or_default()
        );
        row("last refresh", &value);
    }
    if let Some(at) = provider.next_refresh_at {
        row("next refresh", &clock.distance(at));
    }
    if let Some(error) = &provider.last_error {
        let message = inline(&error.message);
        row(
            "last error",
            &format!(
                "{}: {message} [{}]",
                clock.distance(error.at),
                inline(&error.code)
            ),
        );
    }
    let requests = provider.requests;
    let value = format!(
        "{} in flight, {} served, {} failed",
        count(requests.in_flight),
        count(requests.served),
        count(requests.failed)
    );
    row("requests", &value);
    text
}

fn provider_entry(provider: &ProviderEntry, style: Style) -> String {
    let mut text = title(
        &provider.name,
        &provider.display_name,
        provider.default,
        style,
    );
    let login = if provider.logged_in {
        style.paint(Tone::Good, "logged in")
    } else {
        style.paint(Tone::Bad, "not logged in")
    };
    text += &style.row("  ", "login", 14, &login);
    if let Some(url) = &provider.base_url {
        text += &style.row("  ", "base URL", 14, &inline(url));
    }
    for (position, entry) in provider.paths.iter().enumerate() {
        let label = if position == 0 { "paths" } else { "" };
        let path = inline(&format!("{} {}", entry.methods.join(","), entry.path));
        text += &style.row("  ", label, 14, &path);
    }
    text
}

fn title(name: &str, display_name: &str, default: bool, style: Style) -> String {
    let painted = style.paint(Tone::Heading, &inline(name));
    let default = if default { " (default)" } else { "" };
    if display_name == name {
        return format!("{painted}{default}\n");
    }
    format!("{painted}{default}  {}\n", inline(display_name))
}

fn state(state: &ProviderState) -> (Tone, String) {
    let (tone, text) = match state {
        ProviderState::Starting => (Tone::Waiting, "starting"),
        ProviderState::Ready => (Tone::Good, "ready"),
        ProviderState::Refreshing => (Tone::Waiting, "refreshing"),
        ProviderState::Unavailable => (
            Tone::Bad,
            "unavailable: expired, and the token endpoint can't be reached",
        ),
        ProviderState::LoginNeeded => (Tone::Bad, "login needed"),
        ProviderState::StoreUnreadable => (Tone::Bad, "the credential store can't be read"),
        ProviderState::Other(name) => (Tone::Waiting, name.as_str()),
    };
    (tone, inline(text))
}

fn refresh_result(result: &RefreshResult) -> String {
    match result {
        RefreshResult::Refreshed => "refreshed".to_owned(),
        RefreshResult::Adopted => "taken over from another program".to_owned(),
        RefreshResult::Failed => "failed, will be tried again".to_owned(),
        RefreshResult::Rejected => "rejected by the provider".to_owned(),
        RefreshResult::Other(name) => inline(name),
    }
}

impl Style {
    /// Coloured where a person looks and does not mind.
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        let minds = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !minds {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    fn row(self, indent: &str, label: &str, width: usize, value: &str) -> String {
        let label = self.paint(Tone::Label, &format!("{label:width$}"));
        format!("{indent}{label}{value}\n")
    }

    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match (self, tone) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Coloured, Tone::Heading) => "1",
            (Self::Coloured, Tone::Good) => "32",
            (Self::Coloured, Tone::Waiting) => "33",
            (Self::Coloured, Tone::Bad) => "31",
            (Self::Coloured, Tone::Label) => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests;
