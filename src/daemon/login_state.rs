//! A login's state, quota and renewal in the protocol's words.

use chrono::{DateTime, Utc};

use super::providers::ProviderReport;
use crate::control::protocol::{ProviderState, QuotaStatus, QuotaWindow, RefreshResult, Timestamp};
use crate::credentials::{self, AvailabilityKind};
use crate::provider::{self};

/// The used part of a login's quota, as far as the provider has reported it.
pub(super) fn quota(
    report: &ProviderReport,
    login: usize,
    now: DateTime<Utc>,
) -> Option<QuotaStatus> {
    let quota = report.adapter.quota(login);
    quota.map(|quota| quota_status(quota, now))
}

/// A little that is left shows.
fn rounded(used_percent: f64) -> f64 {
    let whole = used_percent.round();
    if used_percent < 100.0 {
        whole.min(99.0)
    } else {
        whole
    }
}

fn quota_status(quota: provider::Quota, now: DateTime<Utc>) -> QuotaStatus {
    let windows = quota.windows.into_iter().map(|window| window.at(now));
    let windows = windows.map(|window| QuotaWindow {
        name: window.name.to_owned(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float casts to the nearest u64"
        )]
        used_percent: rounded(window.used_percent) as u64,
        length_seconds: window.length.map(|length| length.as_secs()),
        resets_at: window.resets_at.map(Timestamp),
        resets_in_seconds: window.resets_at.map(|at| (at - now).num_seconds()),
        limit: window.amounts.map(|amounts| amounts.limit),
        remaining: window.amounts.map(|amounts| amounts.remaining),
    });
    QuotaStatus {
        at: Timestamp(quota.at),
        windows: windows.collect(),
    }
}

/// A login's state, in the protocol's words.
pub(super) fn state(status: &credentials::KeeperStatus) -> ProviderState {
    match status.standing {
        AvailabilityKind::Starting => ProviderState::Starting,
        AvailabilityKind::Ready => ProviderState::Ready,
        AvailabilityKind::Expired if status.renewing => ProviderState::Refreshing,
        AvailabilityKind::Expired => ProviderState::Unavailable,
        AvailabilityKind::LoginNeeded => ProviderState::LoginNeeded,
        AvailabilityKind::Unreadable => ProviderState::StoreUnreadable,
    }
}

/// How a renewal ended, in the protocol's words.
pub(super) fn refresh_result(result: credentials::RenewalResult) -> RefreshResult {
    match result {
        credentials::RenewalResult::Refreshed => RefreshResult::Refreshed,
        credentials::RenewalResult::Adopted => RefreshResult::Adopted,
        credentials::RenewalResult::Failed => RefreshResult::Failed,
        credentials::RenewalResult::Rejected => RefreshResult::Rejected,
        credentials::RenewalResult::NoLogin => RefreshResult::NoLogin,
        credentials::RenewalResult::NotRenewable => RefreshResult::NotRenewable,
    }
}
