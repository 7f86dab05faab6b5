//! A provider's state, in the protocol's words.

use chrono::{DateTime, Utc};

use super::login_state::{quota, refresh_result, state};
use super::pools;
use super::providers::ProviderReport;
use super::view::View;
use crate::control::protocol::{
    CredentialKind, ErrorReport, LoginStatus, ProviderState, ProviderStatus, RefreshReport,
    RequestCounts, RequestFailures, Timestamp, UnreadableLogin, UnsavableLogin,
};
use crate::credentials::{self, StatusEvent};
use crate::provider::{self, Skew};
use crate::proxy::{self};

pub(super) fn mishaps(
    mishaps: &proxy::FailureTally,
    now: DateTime<Utc>,
) -> Option<RequestFailures> {
    let (count, last) = mishaps.look()?;
    Some(RequestFailures {
        count,
        at: Timestamp(now - last.at.elapsed()),
        code: last.code.into_owned(),
        request_id: last.request_id,
        from: (!last.from.is_empty()).then(|| last.from.into()),
        about: last.about.map(Into::into),
    })
}

pub(super) fn provider_status(
    report: &ProviderReport,
    view: &View,
    now: DateTime<Utc>,
) -> ProviderStatus {
    let status = report.upstream.credentials.status();
    let counts = report.upstream.counters.counts();
    let seconds_until = |time: DateTime<Utc>| (time - now).num_seconds();
    let state = state(&status);
    ProviderStatus {
        name: report.upstream.name.to_string(),
        display_name: report.upstream.display_name.clone(),
        default: report.upstream.name == view.default_provider,
        login_command: (state == ProviderState::LoginNeeded)
            .then(|| login_command(report, &status))
            .flatten(),
        state,
        base_url: status.base_url,
        credential: status.kind.map(credential_kind),
        expires_at: status.expires_at.map(Timestamp),
        expires_in_seconds: status.expires_at.map(seconds_until),
        last_refresh: status.last_renewal.as_ref().map(refresh_report),
        next_refresh_at: status.next_renewal.map(Timestamp),
        next_refresh_in_seconds: status.next_renewal.map(seconds_until),
        last_error: status.last_error.map(|event| ErrorReport {
            at: Timestamp(event.at),
            code: event.what.code.to_owned(),
            message: event.what.message,
        }),
        unsaved: status.unsaved,
        requests: RequestCounts {
            in_flight: counts.in_flight,
            served: counts.served,
            failed: counts.failed,
        },
        failing: mishaps(&report.upstream.counters.failing, now),
        login: status
            .login
            .map(|login| login_status(login, status.may_be_spent, now)),
        unreadable: status.unreadable.map(|unreadable| UnreadableLogin {
            at: Timestamp(unreadable.at),
            reason: unreadable.reason,
            command: unreadable.command,
            copied: unreadable.mirrored,
        }),
        unsavable: status.hindrance.map(|hindrance| UnsavableLogin {
            at: Timestamp(hindrance.at),
            reason: hindrance.reason,
            command: hindrance.command,
        }),
        clock_ahead_seconds: clock_ahead(report, now),
        quota: quota(report, report.upstream.credentials.place(), now),
        pool: pools::status(report),
        client_keys: None,
    }
}

/// How far this machine's clock is ahead, by the last answer of the provider.
fn clock_ahead(report: &ProviderReport, now: DateTime<Utc>) -> Option<i64> {
    let of_requests = report.upstream.client.skew();
    let skews = std::iter::once(of_requests).chain(report.adapter.skew());
    Skew::latest(skews, now)
}

/// The command that logs in again in the store of the login in use; none with a fixed key.
fn login_command(report: &ProviderReport, status: &credentials::KeeperStatus) -> Option<String> {
    let own = status.login.as_ref().is_some_and(|login| login.own);
    report.adapter.remedy().command(own)
}

fn login_status(
    login: credentials::StoredLogin,
    may_be_spent: bool,
    now: DateTime<Utc>,
) -> LoginStatus {
    LoginStatus {
        store: login.store,
        separate: login.own,
        since: login.since.map(Timestamp),
        ends_at: login.ends_at.map(Timestamp),
        ends_in_seconds: login.ends_at.map(|end| (end - now).num_seconds()),
        ends_soon: login.ends_soon,
        may_be_spent,
    }
}

fn credential_kind(kind: provider::BearerKind) -> CredentialKind {
    if kind == provider::BearerKind::API_KEY {
        CredentialKind::ApiKey
    } else if kind == provider::BearerKind::NO_KEY {
        CredentialKind::NoKey
    } else {
        CredentialKind::OfLogin(kind.as_str().to_owned())
    }
}

fn refresh_report(event: &StatusEvent<credentials::RenewalResult>) -> RefreshReport {
    RefreshReport {
        at: Timestamp(event.at),
        result: refresh_result(event.what),
        detail: None,
    }
}
