//! The several logins of a provider, as hermesctl asks for them.

use chrono::{DateTime, Utc};

use super::control;
use super::fleet::Report;
use super::logins::{not_supported, unusable};
use crate::control::pools::{Cooldown, LoginEntry, LoginResetReport, PoolStatus};
use crate::control::protocol::{ControlError, ErrorCode, LogoutReport, Timestamp};
use crate::credentials::{Called, NotCalled, PoolEntry, StandingKind};
use crate::provider::Layout;

/// A provider's logins.
pub(super) fn entries(report: &Report, now: DateTime<Utc>) -> Vec<LoginEntry> {
    let entries = report.upstream.credentials.entries();
    entries
        .into_iter()
        .map(|login| entry(report, login, now))
        .collect()
}

fn entry(report: &Report, login: PoolEntry, now: DateTime<Utc>) -> LoginEntry {
    let seconds_until = |time: DateTime<Utc>| (time - now).num_seconds();
    let status = login.status;
    LoginEntry {
        provider: report.upstream.name.to_string(),
        display_name: report.upstream.display_name.clone(),
        label: login.label,
        row: login.row,
        source: login.source,
        state: control::state(&status),
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
        error: status.last_error.map(|event| event.what.message),
        separate: status.login.as_ref().is_some_and(|login| login.own),
        store: status.login.map(|login| login.store),
    }
}

/// What a provider's several logins allow; `None` where there is one.
pub(super) fn status(report: &Report) -> Option<PoolStatus> {
    let credentials = &report.upstream.credentials;
    if !credentials.has_rows() {
        return None;
    }
    let entries = credentials.entries();
    let label = |login: &PoolEntry| login.label.clone().or(login.row.clone());
    let labels = |is_meant: &dyn Fn(&&PoolEntry) -> bool| {
        let meant = entries.iter().filter(|login| is_meant(login));
        meant
            .map(|login| label(login).unwrap_or_else(|| report.upstream.name.to_string()))
            .collect()
    };
    let has_ended = |login: &&PoolEntry| login.status.standing == StandingKind::LoginNeeded;
    Some(PoolStatus {
        logins: entries.len() as u64,
        cooling_down: labels(&|login| login.rests_until.is_some() && !has_ended(login)),
        ended: labels(&has_ended),
        used_again_at: credentials.rests_until().map(Timestamp),
    })
}

/// Uses logins again that are cooling down.
pub(super) async fn reset(
    report: &Report,
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
    report: &Report,
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
    let removed = match credentials.remove(&called).await {
        Ok(removed) => removed,
        Err(error) => return Err(unusable("removed", error).await),
    };
    let Some(file) = removed else {
        let message =
            format!("{label} is the provider's own login, which has no row of its own to remove.");
        return Err(
            ControlError::new(ErrorCode::NotSupported, message).with_hint(format!(
                "To remove all logins of {provider}, run: hermesctl auth logout {provider}"
            )),
        );
    };
    let layout = report.adapter.layout();
    tracing::info!(provider, label, "the user has logged out of one login");
    Ok(LogoutReport {
        provider,
        removed_from: vec![file],
        shared_with_hermes: !layout.is_some_and(Layout::is_ours_alone),
        still_logged_in: None,
        copies: Vec::new(),
    })
}

/// The login that is called so.
pub(super) fn called(report: &Report, label: &str) -> Result<Called, ControlError> {
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

/// That a login of this label may be added.
pub(super) fn is_free(report: &Report, label: &str) -> Result<(), ControlError> {
    let name = &report.upstream.name;
    let is_plain = !label.trim().is_empty()
        && label.chars().count() <= 64
        && !label.chars().any(char::is_control);
    if !is_plain {
        let message = "A label has 1 to 64 characters.";
        return Err(ControlError::new(ErrorCode::BadRequest, message));
    }
    let called = report.upstream.credentials.called(label);
    if matches!(called, Err(NotCalled::Unknown)) {
        return Ok(());
    }
    let message = format!("The provider {name} has a login {label:?} already.");
    let hint =
        format!("Choose another label, or first run: hermesctl auth logout {name} --label {label}");
    Err(ControlError::new(ErrorCode::LabelTaken, message).with_hint(hint))
}
