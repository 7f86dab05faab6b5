//! The several logins of a provider, for hermesctl.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::login_error::{not_supported, unusable};
use super::login_state;
use super::logout;
use super::providers::ProviderReport;
use crate::control::pools::{Cooldown, LoginEntry, LoginResetReport, PoolStatus};
use crate::control::protocol::{ControlError, ErrorCode, LogoutReport, Timestamp};
use crate::credentials::{AvailabilityKind, Called, MAIN, NotCalled, PoolEntry};
use crate::files::quoted;
use crate::provider::Layout;

/// A longer label fits into no table.
const LONGEST_LABEL: usize = 64;

/// A provider's logins.
pub(super) fn entries(report: &ProviderReport, now: DateTime<Utc>) -> Vec<LoginEntry> {
    let entries = report.upstream.credentials.entries();
    entries
        .into_iter()
        .map(|login| entry(report, login, now))
        .collect()
}

fn entry(report: &ProviderReport, login: PoolEntry, now: DateTime<Utc>) -> LoginEntry {
    let seconds_until = |time: DateTime<Utc>| (time - now).num_seconds();
    let status = login.status;
    LoginEntry {
        provider: report.upstream.name.to_string(),
        display_name: report.upstream.display_name.clone(),
        label: login.label,
        row: login.row,
        source: login.source,
        state: login_state::state(&status),
        next: login.is_next,
        cooldown: login.rests_until.map(|until| Cooldown {
            until: Timestamp(until),
            in_seconds: seconds_until(until),
            status: login.rests_for,
            code: login.rest_code,
            failures: login.failures,
        }),
        expires_at: status.expires_at.map(Timestamp),
        expires_in_seconds: status.expires_at.map(seconds_until),
        quota: login_state::quota(report, login.place, now),
        error: status.last_error.map(|event| event.what.message),
        separate: status.login.as_ref().is_some_and(|login| login.own),
        store: status.login.map(|login| login.store),
    }
}

/// The state of a provider's several logins; `None` if there is one.
pub(super) fn status(report: &ProviderReport) -> Option<PoolStatus> {
    let credentials = &report.upstream.credentials;
    if !credentials.has_rows() {
        return None;
    }
    let entries = credentials.entries();
    let label = |login: &PoolEntry| login.label.clone().or(login.row.clone());
    let labels = |is_meant: &dyn Fn(&&PoolEntry) -> bool| {
        let meant = entries.iter().filter(|login| is_meant(login));
        meant
            .map(|login| label(login).unwrap_or_else(|| MAIN.to_owned()))
            .collect()
    };
    let has_ended = |login: &&PoolEntry| login.status.standing == AvailabilityKind::LoginNeeded;
    let mut ended = entries.iter().filter(has_ended);
    let only = ended.next().filter(|_| ended.next().is_none());
    Some(PoolStatus {
        logins: entries.len() as u64,
        login_command: only.and_then(|login| login_command(report, login)),
        cooling_down: labels(&|login| login.rests_until.is_some() && !has_ended(login)),
        ended: labels(&has_ended),
        used_again_at: credentials.rests_until().map(Timestamp),
    })
}

/// What logs in again in the place of this login.
fn login_command(report: &ProviderReport, login: &PoolEntry) -> Option<String> {
    let is_own = login.status.login.as_ref().is_some_and(|login| login.own);
    let command = report
        .adapter
        .remedy()
        .command(is_own && login.row.is_none());
    let Some(called) = login.row.as_ref().and(login.called.as_ref()) else {
        return command;
    };
    let called = quoted(Path::new(called));
    command.map(|command| format!("{command} --label {called}"))
}

/// Uses logins again that are cooling down.
pub(super) async fn reset(
    report: &ProviderReport,
    label: Option<&str>,
) -> Result<LoginResetReport, ControlError> {
    if report.adapter.layout().is_none() {
        return Err(not_supported(report));
    }
    let credentials = &report.upstream.credentials;
    let called = label.map(|label| called(report, label)).transpose()?;
    match credentials.reset(called.as_ref()).await {
        Ok(reset) => Ok(LoginResetReport {
            provider: report.upstream.name.to_string(),
            reset,
        }),
        Err(error) => Err(unusable("changed", error).await),
    }
}

/// Takes one of several logins out of its file.
pub(super) async fn remove(
    report: &ProviderReport,
    label: Option<&str>,
) -> Result<LogoutReport, ControlError> {
    let provider = report.upstream.name.to_string();
    let Some(label) = label else {
        let message = "No label was given.";
        return Err(ControlError::new(ErrorCode::BadRequest, message));
    };
    let credentials = &report.upstream.credentials;
    credentials.block().look().await;
    let called = called(report, label)?;
    if called.is_main() {
        return logout::logout_of_main(report).await;
    }
    let removed = match credentials.remove(&called).await {
        Ok(removed) => removed,
        Err(error) => return Err(unusable("removed", error).await),
    };
    let layout = report.adapter.layout();
    tracing::info!(provider, label, "the user has logged out of one login");
    Ok(LogoutReport {
        provider,
        removed_from: removed.into_iter().collect(),
        shared_with_hermes: !layout.is_some_and(Layout::is_ours_alone),
        still_logged_in: None,
        copies: Vec::new(),
        logins: None,
    })
}

/// The login that is called so.
pub(super) fn called(report: &ProviderReport, label: &str) -> Result<Called, ControlError> {
    let name = &report.upstream.name;
    let shown: String = label.chars().take(40).collect();
    report
        .upstream
        .credentials
        .called(label)
        .map_err(|error| match error {
            NotCalled::Unknown => {
                let message = format!("The provider {name} has no login {shown:?}.");
                ControlError::new(ErrorCode::UnknownLogin, message)
                    .with_hint("See: hermesctl auth list")
            }
            NotCalled::Several(ids) => {
                let message = format!(
                    "The provider {name} has several logins called {shown:?}, with the ids {}.",
                    ids.join(", ")
                );
                ControlError::new(ErrorCode::UnknownLogin, message)
                    .with_hint("Name the one that you mean by its id: --label ID")
            }
        })
}

/// Where a login is added.
#[derive(Debug, Clone)]
pub(super) struct NewLogin {
    /// Its name for people.
    pub(super) label: String,
    /// The one whose place it takes.
    pub(super) replaces: Option<Called>,
}

/// That a login of this label may be added: none that works is called so, unless the user means to replace it.
pub(super) fn vacancy(
    report: &ProviderReport,
    label: &str,
    force: bool,
) -> Result<NewLogin, ControlError> {
    let name = &report.upstream.name;
    let label = label.trim();
    is_plain(report, label)?;
    let refused = |message: String, hint: String| {
        Err(ControlError::new(ErrorCode::LabelTaken, message).with_hint(hint))
    };
    let shown = quoted(Path::new(label));
    match report.upstream.credentials.called(label) {
        _ if label == MAIN => refused(
            format!("{MAIN:?} is what the main login of the provider {name} is called."),
            format!(
                "Choose another label. To log in again to the main login, run: hermesctl auth login {name} --force"
            ),
        ),
        Err(NotCalled::Unknown) => Ok(NewLogin {
            label: label.to_owned(),
            replaces: None,
        }),
        Err(NotCalled::Several(ids)) => refused(
            format!(
                "The provider {name} has several logins {label:?}, with the ids {}.",
                ids.join(", ")
            ),
            "Choose another label. To replace one of these logins, name it by its id: --label ID --force"
                .to_owned(),
        ),
        Ok(called) if called.is_main() => refused(
            format!("The main login of the provider {name} is called {label:?} already."),
            format!(
                "Choose another label. To log in again to the main login, run: hermesctl auth login {name} --force"
            ),
        ),
        Ok(called) if called.has_ended() || force => Ok(NewLogin {
            label: called.name(),
            replaces: Some(called),
        }),
        Ok(_) => refused(
            format!("The provider {name} has a login {label:?} already, and it works."),
            format!(
                "Choose another label. To replace that login, run: hermesctl auth login {name} --label {shown} --force"
            ),
        ),
    }
}

fn is_plain(report: &ProviderReport, label: &str) -> Result<(), ControlError> {
    let name = &report.upstream.name;
    let message = if label.is_empty() {
        "The label is empty.".to_owned()
    } else if label.chars().any(char::is_control) {
        "A label is one line without control characters.".to_owned()
    } else if label.chars().count() > LONGEST_LABEL {
        format!("A label has at most {LONGEST_LABEL} characters.")
    } else {
        return Ok(());
    };
    let hint = format!("For example: hermesctl auth login {name} --label work");
    Err(ControlError::new(ErrorCode::BadRequest, message).with_hint(hint))
}
