//! Texts about logins.

pub(in crate::cli) mod pools;

use std::fmt::Display;

use chrono::TimeZone;

use super::view::AuthStatusOutput;
use crate::cli::text::{
    ReaderClock, Style, TextTone, both, inline, refresh_result, state, title, warnings,
};
use crate::control::protocol::{
    CredentialKind, Finding, LoginBegun, LoginProgress, LoginStatus, LogoutReport, ProviderStatus,
    RefreshOutcome, RefreshResult, Timestamp,
};

/// What the beginning of a login says on standard output.
pub(in crate::cli) fn login_begun(begun: &LoginBegun, style: Style) -> String {
    match begun {
        LoginBegun::Existing(existing) if existing.adopted => style.prose(&format!(
            "You are logged in to {} now: a login of Hermes Agent was found in its shared folder and \
             saved in {}.\n{}To use another account, run `hermesctl auth login {} --force`.\n",
            inline(&existing.display_name),
            inline(&existing.store.display().to_string()),
            shared(existing.same_account_as.as_deref()),
            inline(&existing.provider),
        )),
        LoginBegun::Existing(existing) => {
            let whose = if existing.separate {
                "hermes-proxyd's own login"
            } else {
                "the login of Hermes Agent"
            };
            style.prose(&format!(
                "You are already logged in to {}: {whose} in {} is used, so you don't need another \
                 one.\nTo log in again, run `hermesctl auth login {}{} --force`.\n",
                inline(&existing.display_name),
                inline(&existing.store.display().to_string()),
                inline(&existing.provider),
                separate(existing.separate),
            ))
        }
        // That is on standard error.
        LoginBegun::Code(_) | LoginBegun::Page(_) => String::new(),
    }
}

/// The flag that keeps a login of our own apart.
fn separate(separate: bool) -> &'static str {
    if separate { " --separate" } else { "" }
}

/// A login that was cancelled.
pub(in crate::cli) const LOGIN_CANCELLED: &str = "The login was cancelled; nothing has changed.\n";

/// The good end of a login.
pub(in crate::cli) fn login_done<Z>(progress: &LoginProgress, zone: &Z, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let LoginProgress::Done(done) = progress else {
        return String::new();
    };
    let mut text = format!(
        "Logged in to {}. Saved in {}.\n",
        inline(&done.display_name),
        inline(&done.store.display().to_string()),
    );
    if !done.separate {
        text += "Hermes Agent uses this login too.\n";
    }
    let end = done.ends_at.map(|at| time(at, zone));
    let end = end.map(|time| format!("The login ends at {time}.\n"));
    text += &end.unwrap_or_default();
    if let Some(label) = done.label.as_deref().map(inline) {
        text += "It is called ";
        text += &label;
        text += ", because another login got the label first.\n";
    }
    text += &shared(done.same_account_as.as_deref());
    style.prose(&text)
}

/// That another login is of the same account.
fn shared(other: Option<&str>) -> String {
    let other = other.map(inline);
    let told = other.map(|other| {
        format!("The login {other} is of the same account, so the two share one quota.\n")
    });
    told.unwrap_or_default()
}

/// What a logout did.
pub(in crate::cli) fn logout(report: &LogoutReport, style: Style) -> String {
    let provider = inline(&report.provider);
    let mut text = if report.removed_from.is_empty() {
        format!("{provider} has no login to remove.\n")
    } else {
        match report.logins {
            Some(logins) => format!("Logged out of {provider} ({logins} logins).\n"),
            None => format!("Logged out of {provider}.\n"),
        }
    };
    for (position, file) in report.removed_from.iter().enumerate() {
        let label = if position == 0 { "removed from" } else { "" };
        text += &style.row("  ", label, 14, &inline(&file.display().to_string()));
    }
    if report.shared_with_hermes && !report.removed_from.is_empty() {
        text += "Hermes Agent is logged out too.\n";
    }
    let other = report.still_logged_in.as_ref().map(|file| {
        let file = inline(&file.display().to_string());
        style.prose(&format!(
            "The login in {file} is used now; `hermesctl auth logout {provider}` removes that \
             one too."
        ))
    });
    text += &other.unwrap_or_default();
    for copy in &report.copies {
        let copy = inline(&copy.display().to_string());
        text += &style.prose(&format!(
            "{copy} is a copy of a broken file and may still hold tokens. To remove it, run \
             `rm '{copy}'`."
        ));
    }
    text
}

/// What came of a renewal. The command logs in again, where the daemon names one.
pub(in crate::cli) fn refresh<Z>(
    outcome: &RefreshOutcome,
    command: Option<&str>,
    zone: &Z,
    style: Style,
) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let provider = inline(&outcome.provider);
    let detail = outcome.detail.as_deref().map(inline);
    let detail = detail
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    let (tone, text) = match &outcome.result {
        RefreshResult::Refreshed => (
            TextTone::Good,
            format!("The token of {provider} was renewed"),
        ),
        RefreshResult::Adopted => (
            TextTone::Good,
            format!("Another program has renewed the token of {provider}, which is used now"),
        ),
        RefreshResult::Failed => (
            TextTone::Bad,
            format!("The token of {provider} could not be renewed"),
        ),
        RefreshResult::Rejected => (
            TextTone::Bad,
            format!("{provider} refused to renew the token"),
        ),
        RefreshResult::NoLogin => (TextTone::Bad, format!("{provider} has no login to renew")),
        RefreshResult::NotRenewable => (
            TextTone::Bad,
            format!("The token of {provider} can't be renewed"),
        ),
        other @ RefreshResult::Other(_) => (
            TextTone::Waiting,
            format!(
                "The renewal for {provider} ended as {}",
                refresh_result(other)
            ),
        ),
    };
    let expiry = outcome.expires_at.map(|at| time(at, zone));
    let expiry = expiry.map(|time| format!("The token in use expires at {time}.\n"));
    let command = command.map_or_else(|| format!("hermesctl auth login {provider}"), inline);
    let hint = match &outcome.result {
        RefreshResult::Rejected | RefreshResult::NotRenewable => {
            format!("Log in again with `{command}`.\n")
        }
        RefreshResult::NoLogin => format!("Log in with `{command}`.\n"),
        RefreshResult::Refreshed
        | RefreshResult::Adopted
        | RefreshResult::Failed
        | RefreshResult::Other(_) => String::new(),
    };
    // It would say the same once more.
    let detail = if outcome.result == RefreshResult::NoLogin {
        String::new()
    } else {
        detail
    };
    let text = [
        style.paint(tone, &text),
        ended(&detail) + "\n",
        expiry.unwrap_or_default(),
        hint,
    ];
    style.prose(&text.concat())
}

/// All logins.
pub(in crate::cli) fn logins<Z>(logins: &AuthStatusOutput, zone: &Z, style: Style) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let clock = ReaderClock {
        now: logins.now,
        zone,
    };
    let blocks = logins.providers.iter();
    let blocks: Vec<String> = blocks
        .map(|one| provider(one, &logins.findings, &clock, style))
        .collect();
    if blocks.is_empty() {
        return "No providers are configured.\n".to_owned();
    }
    blocks.join("\n")
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
    let mut rows = vec![("state", state(provider, findings, style))];
    if let Some(command) = &provider.login_command {
        rows.push(("log in with", inline(command)));
    }
    match &provider.login {
        Some(login) => rows.extend(login_rows(login, clock)),
        None if provider.credential == Some(CredentialKind::ApiKey) => {
            rows.push(("login", "not needed: a fixed key".to_owned()));
        }
        None if provider.credential == Some(CredentialKind::NoKey) => {
            rows.push(("login", "not needed: the server asks for no key".to_owned()));
        }
        None => {}
    }
    if let Some(at) = provider.expires_at {
        let verb = if at > clock.now { "expires" } else { "expired" };
        rows.push(("token", format!("{verb} {}", both(at, clock))));
    }
    rows.extend(warnings(provider, findings, style));
    let name = &provider.name;
    let rows = rows
        .iter()
        .map(|(label, value)| style.row("  ", label, 14, value));
    title(name, &provider.display_name, provider.default, style) + &rows.collect::<String>()
}

fn login_rows<Z>(login: &LoginStatus, clock: &ReaderClock<'_, Z>) -> Vec<(&'static str, String)>
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let whose = if login.separate {
        "hermes-proxyd's own"
    } else {
        "shared with Hermes Agent"
    };
    let store = inline(&login.store.display().to_string());
    let mut rows = vec![("login", store), ("", whose.to_owned())];
    if let Some(at) = login.since {
        rows.push(("since", clock.happened(at)));
    }
    if let Some(at) = login.ends_at {
        let label = if at > clock.now { "ends" } else { "ended" };
        rows.push((label, both(at, clock)));
    }
    rows
}

fn time<Z>(at: Timestamp, zone: &Z) -> String
where
    Z: TimeZone,
    Z::Offset: Display,
{
    let local = at.0.with_timezone(zone);
    local.format("%Y-%m-%d %H:%M").to_string()
}

/// With a full stop, where there is none.
fn ended(text: &str) -> String {
    text.trim_end_matches('.').to_owned() + "."
}
