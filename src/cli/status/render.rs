//! The home screen.

use std::fmt::Display;

use chrono::TimeZone;

use super::verdict::{HomeVerdict, VerdictLevel};
use super::view::Home;
use crate::cli::service::ServiceJson;
use crate::cli::text::{
    self, ReaderClock, Style, TextTone, both, inline, quota_rows, refresh_result, title,
};
use crate::control::human::{count, duration};
use crate::control::judge::{self, ConfigDrift};
use crate::control::protocol::{
    ClientEntry, Finding, ListenerStatus, ProviderStatus, RequestCounts, RequestFailures, Status,
    Timestamp,
};

/// The last line of a screen that is shown again and again.
pub(in crate::cli) fn foot(now: &str, seconds: u64) -> String {
    format!("{now} · every {seconds} s · Ctrl-C ends")
}

/// The column of values in the head, and below a provider's name.
const HEAD: usize = 12;
const BELOW: usize = 14;
/// A client that asked within this many seconds is on the screen.
const LATELY: i64 = 3600;
/// How many clients are named.
const NAMED: usize = 5;

/// The home screen. Times of the day are those of `zone`.
pub(in crate::cli) fn home<Z>(home: &Home, zone: &Z, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let mut text = verdict(&home.verdict, style);
    let service = home.service.as_ref();
    let Some(status) = &home.status else {
        if let Some(service) = service.filter(|service| service.installed) {
            text += &style.row("", "service", HEAD, &service_row(service, None));
        }
        let mended = home.verdict.command.is_some();
        let how = how_to_start(service).filter(|_| !mended);
        return text + &how.map_or_else(String::new, |how| style.prose(how));
    };
    let clock = ReaderClock {
        now: status.now,
        zone,
    };
    text += &daemon(status, home.pending.as_ref(), &clock, style);
    if let Some(service) = service {
        let row = service_row(service, Some(status.daemon.pid));
        text += &style.row("", "service", HEAD, &row);
    }
    if let Some(clients) = &home.clients {
        let lately = lately(clients, &clock);
        text += &lately.map_or_else(String::new, |lately| {
            style.row("", "clients", HEAD, &lately)
        });
    }
    if let Some(refused) = &status.refused {
        text += &style.row("", "refused", HEAD, &mishaps(refused, &clock));
    }
    let findings = judge::of_logins(&judge::findings(status));
    for one in &status.providers {
        text.push('\n');
        text += &provider(one, &findings, &clock, style);
    }
    text
}

/// The service's state, beside the daemon of this process.
fn service_row(service: &ServiceJson, daemon: Option<u32>) -> String {
    if !service.installed {
        return "not installed; `hermesctl service install` installs it".to_owned();
    }
    let state = match (service.pid, daemon) {
        (Some(pid), Some(daemon)) if pid != daemon => "running, in addition to this hermes-proxyd",
        (Some(_), Some(_)) => "running",
        (Some(_), None) => "starting",
        (None, Some(_)) => "not running; this hermes-proxyd is not the service",
        (None, None) => "not running",
    };
    let starts = match (service.enabled, service.linger) {
        (false, _) => "does not start automatically: `hermesctl service install` changes that",
        (true, Some(true)) => "starts at boot and keeps running after logout",
        (true, Some(false)) => "stops when you log out: `loginctl enable-linger` changes that",
        (true, None) => "starts at login",
    };
    let failure = service.last_failure.as_deref();
    let failure = failure.filter(|_| service.pid.is_none());
    let failure = failure.map(|failure| format!(": {}", inline(failure)));
    format!("{state}{}; {starts}", failure.unwrap_or_default())
}

/// Where there is no service that could be started.
fn how_to_start(service: Option<&ServiceJson>) -> Option<&'static str> {
    let installed = service.is_some_and(|service| service.installed);
    (!installed).then_some(
        "Set everything up with `hermesctl setup`, or run it in the foreground with `hermesctl \
         proxy start`. If it stops again, `hermesctl doctor` shows why.",
    )
}

/// The first line: whether all is well, and what to do if not.
fn verdict(verdict: &HomeVerdict, style: Style) -> String {
    let (tone, sign) = match verdict.level {
        VerdictLevel::Good => (TextTone::Good, '✓'),
        VerdictLevel::Attention => (TextTone::Waiting, '!'),
        VerdictLevel::Bad => (TextTone::Bad, '✗'),
    };
    let message = style.paint(tone, &format!("{sign} {}", inline(&verdict.message)));
    let command = verdict.command.as_deref();
    let command = command.map(|command| format!(": `{}`", inline(command)));
    style.prose(&(message + &command.unwrap_or_default()))
}

fn daemon<Z>(
    status: &Status,
    pending: Option<&ConfigDrift>,
    clock: &ReaderClock<'_, Z>,
    style: Style,
) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let daemon = &status.daemon;
    let name = format!("hermes-proxyd {}", inline(&daemon.version));
    let name = style.paint(TextTone::Heading, &name);
    let since = clock.time(daemon.started_at);
    let uptime = duration(daemon.uptime_seconds);
    let line = format!(
        "{name} · running {uptime}, since {since} · pid {}",
        daemon.pid
    );
    let mut text = style.prose(&line);
    for (position, one) in status.listeners.iter().enumerate() {
        let label = if position == 0 { "listening" } else { "" };
        text += &style.row("", label, HEAD, &listener(one));
    }
    if status.listeners.is_empty() {
        text += &style.row("", "listening", HEAD, "nowhere");
    }
    let config = daemon.config_file.as_ref();
    let config = config.map_or_else(
        || "none, all defaults".to_owned(),
        |file| inline(&file.display().to_string()),
    );
    let state = match pending {
        None => "",
        Some(ConfigDrift::Broken) => " (can't be used as it is now)",
        Some(ConfigDrift::Gone) => " (gone since it was read)",
        Some(ConfigDrift::Restart(_)) => " (changes need a restart)",
        Some(ConfigDrift::Reload) => " (changed since it was read)",
    };
    text + &style.row("", "config", HEAD, &(config + state))
}

fn listener(listener: &ListenerStatus) -> String {
    let key = if listener.needs_key {
        ", with a client key"
    } else {
        ""
    };
    let waiting = match listener.waiting {
        true if listener.is_unix() => " (the socket was removed and can't be restored yet)",
        true => " (this machine does not have the address yet)",
        false => "",
    };
    let (url, provider) = (inline(&listener.url), inline(&listener.provider));
    format!("{url} → {provider}{key}{waiting}")
}

/// Who asked within the last hour, the last one first; `None` where no app has a key.
fn lately<Z>(clients: &[ClientEntry], clock: &ReaderClock<'_, Z>) -> Option<String>
where
    Z: TimeZone,
    Z::Offset: Display,
{
    if clients.is_empty() {
        return None;
    }
    let recent = |at: &Timestamp| (clock.now.0 - at.0).num_seconds() <= LATELY;
    let mut used: Vec<(Timestamp, &ClientEntry)> = clients
        .iter()
        .filter_map(|client| Some((client.last_used_at.filter(recent)?, client)))
        .collect();
    used.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let all = match clients.len() {
        1 => "1 app has a key".to_owned(),
        some => format!("{some} apps have keys"),
    };
    let named: Vec<String> = used
        .iter()
        .take(NAMED)
        .map(|(at, client)| format!("{} {}", inline(&client.name), clock.ago(*at)))
        .collect();
    let more = used.len().saturating_sub(NAMED);
    let more = if more == 0 {
        String::new()
    } else {
        format!(", and {more} more")
    };
    Some(if named.is_empty() {
        format!("{all}; none was used in the last hour")
    } else {
        format!("{all}; in the last hour: {}{more}", named.join(", "))
    })
}

fn provider<Z>(
    provider: &ProviderStatus,
    findings: &[Finding],
    clock: &ReaderClock<'_, Z>,
    style: Style,
) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let name = &provider.name;
    let title = title(name, &provider.display_name, provider.default, style);
    let rows = rows(provider, findings, clock, style).into_iter();
    let rows = rows.map(|(label, value)| style.row("  ", label, BELOW, &value));
    title + &rows.collect::<String>()
}

fn rows<Z>(
    provider: &ProviderStatus,
    findings: &[Finding],
    clock: &ReaderClock<'_, Z>,
    style: Style,
) -> Vec<(&'static str, String)>
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let mut rows = vec![("state", text::state(provider, findings, style))];
    if let Some(command) = &provider.login_command {
        rows.push(("log in with", inline(command)));
    }
    rows.extend(text::warnings(provider, findings, style));
    let login_ends = provider.login.as_ref().and_then(|login| login.ends_at);
    if let Some(at) = login_ends {
        let verb = if at > clock.now { "ends" } else { "ended" };
        rows.push(("login", format!("{verb} {}", both(at, clock))));
    }
    if let Some(at) = provider.expires_at {
        let verb = if at > clock.now { "expires" } else { "expired" };
        rows.push(("token", format!("{verb} {}", both(at, clock))));
    }
    if let Some(refresh) = &provider.last_refresh {
        let detail = refresh.detail.as_deref().map(inline);
        let detail = detail.map(|detail| format!(" ({detail})"));
        let result = refresh_result(&refresh.result);
        let when = clock.happened(refresh.at);
        let detail = detail.unwrap_or_default();
        rows.push(("last refresh", format!("{when}: {result}{detail}")));
    }
    if let Some(at) = provider.next_refresh_at {
        rows.push(("next refresh", both(at, clock)));
    }
    if let Some(error) = &provider.last_error {
        let (message, code) = (inline(&error.message), inline(&error.code));
        let when = clock.happened(error.at);
        rows.push(("last error", format!("{when}: {message} [{code}]")));
    }
    rows.push(("requests", requests(provider.requests)));
    rows.extend(
        provider
            .quota
            .iter()
            .flat_map(|quota| quota_rows(quota, clock)),
    );
    if let Some(failing) = &provider.failing {
        rows.push(("failing", mishaps(failing, clock)));
    }
    rows
}

/// How many, and the last one: `3, the last one 2 min ago: http_429 (request 49f2c0a51be7d386)`
fn mishaps<Z>(mishaps: &RequestFailures, clock: &ReaderClock<'_, Z>) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let from = mishaps.from.as_deref().map(inline);
    let from = from.map_or_else(String::new, |from| format!(" from {from}"));
    let about = mishaps.about.as_deref().map(inline);
    let about = about.map_or_else(String::new, |about| format!(", {about}"));
    format!(
        "{}, the last one {}{from}: {}{about} (request {})",
        count(mishaps.count),
        clock.ago(mishaps.at),
        inline(&mishaps.code),
        inline(&mishaps.request_id),
    )
}

fn requests(requests: RequestCounts) -> String {
    format!(
        "{} in flight, {} served, {} failed",
        count(requests.in_flight),
        count(requests.served),
        count(requests.failed)
    )
}
