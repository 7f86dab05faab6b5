//! Logouts on behalf of hermesctl.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::login_error::{gone, not_supported, unusable};
use super::providers::ProviderReport;
use crate::config::ProviderName;
use crate::control::protocol::{ControlError, LogoutReport};
use crate::credentials::{self, Extent, StoreFiles};
use crate::provider::{self};

/// Removes the login from its files.
pub(super) async fn logout(
    report: &ProviderReport,
    meant: Option<PathBuf>,
) -> Result<LogoutReport, ControlError> {
    if report.adapter.layout().is_none() {
        return Err(not_supported(report));
    }
    log_out(report, meant, Extent::All).await
}

/// Removes the provider's own login from its file; the additional logins of its pool stay.
pub(super) async fn logout_of_main(report: &ProviderReport) -> Result<LogoutReport, ControlError> {
    log_out(report, None, Extent::Main).await
}

async fn log_out(
    report: &ProviderReport,
    meant: Option<PathBuf>,
    extent: Extent,
) -> Result<LogoutReport, ControlError> {
    let handle = report.upstream.credentials.block();
    let removed = handle.logout(meant, extent).await;
    let removed = removed.ok_or_else(|| gone(handle))?;
    let removed = match removed {
        Ok(removed) => removed,
        Err(error) => return Err(unusable("removed", error).await),
    };
    let provider = report.upstream.name.to_string();
    tracing::info!(provider, "the user has logged out");
    Ok(LogoutReport {
        provider,
        removed_from: removed.files,
        shared_with_hermes: removed.shared,
        still_logged_in: removed.next,
        copies: removed.copies,
        logins: (removed.logins > 1).then_some(removed.logins as u64),
    })
}

/// Removes what our store still holds of a provider that is no longer configured, or no longer with a login.
pub(super) async fn remove_leftover(
    files: &StoreFiles,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Option<LogoutReport>, ControlError> {
    let Some(name) = ProviderName::new(name) else {
        return Ok(None);
    };
    let layout = provider::own_layout(&name);
    let removed = match credentials::remove_leftover(files, layout, now).await {
        Ok(removed) => removed,
        Err(error) => return Err(unusable("removed", error).await),
    };
    Ok(removed.map(|removed| {
        tracing::info!(provider = %name, "a login of a provider that is not configured was removed");
        LogoutReport {
            provider: name.to_string(),
            removed_from: removed.files,
            shared_with_hermes: false,
            still_logged_in: None,
            copies: removed.copies,
            logins: None,
        }
    }))
}
