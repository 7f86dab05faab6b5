//! Failures of logins and logouts, as errors for hermesctl.

use super::providers::ProviderReport;
use crate::config::ProviderName;
use crate::control::protocol::{ControlError, ErrorCode, LoginSession};
use crate::credentials::{CredentialHandle, StoreError, UnreadableStore, remedy};
use crate::files::FileWorker;
use crate::provider::{Adapter, BearerKind, DeviceError};

/// Our own store holds one login per provider.
pub(super) fn no_label_apart() -> ControlError {
    let message = "A separate login can't have a label.";
    let hint = "Leave out either --separate or --label.";
    ControlError::new(ErrorCode::NotSupported, message).with_hint(hint)
}

pub(super) fn no_such(login: LoginSession) -> ControlError {
    let message = format!("Login number {} is not waiting.", login.session);
    ControlError::new(ErrorCode::NoSuchSession, message)
        .with_hint("Start again: hermesctl auth login")
}

/// The grant is unusable. The stored login stays unchanged.
pub(super) fn of_no_use(adapter: &dyn Adapter, flaw: &str) -> ControlError {
    let (name, display_name) = (adapter.name(), adapter.display_name());
    let message =
        format!("{display_name} granted a login that can't be used: {flaw}. Nothing was saved.");
    ControlError::new(ErrorCode::LoginFailed, message).with_hint(format!(
        "Check [providers.{name}] and what is registered for it at the provider, then run: hermesctl auth login {name}"
    ))
}

/// A reload removed the provider during the login.
pub(super) fn removed(provider: &ProviderName) -> ControlError {
    let message = format!(
        "The login was not saved, because the configuration of the provider {provider} changed meanwhile: it was removed, or its logins now come from another authority."
    );
    ControlError::new(ErrorCode::UnknownProvider, message).with_hint(format!(
        "Check [providers.{provider}] in the configuration, then run: hermesctl auth login {provider}"
    ))
}

pub(super) fn stopping() -> ControlError {
    ControlError::new(ErrorCode::ShuttingDown, "The daemon is stopping.")
}

/// The keeper did not answer: it was stopped, or it failed.
pub(super) fn gone(handle: &CredentialHandle) -> ControlError {
    if handle.has_ended() {
        return stopping();
    }
    let message = "A defect in hermes-proxyd stopped this; see its log. Please report it.";
    ControlError::new(ErrorCode::Internal, message).with_hint("hermesctl bugreport")
}

/// A file that can't be read can't take a new login either.
pub(super) fn no_room(report: &ProviderReport, unreadable: &UnreadableStore) -> ControlError {
    let message = format!("The login can't be saved: {}.", unreadable.reason);
    let then = format!("hermesctl auth login {}", report.upstream.name);
    let hint = match &unreadable.command {
        Some(command) => format!("Run `{command}`, then `{then}`."),
        None => format!("`hermesctl doctor` shows more; then run `{then}`."),
    };
    ControlError::new(ErrorCode::StoreUnusable, message).with_hint(hint)
}

pub(super) fn cancelled() -> ControlError {
    let message = "The login was cancelled; nothing has changed.";
    ControlError::new(ErrorCode::LoginFailed, message)
}

pub(super) fn not_supported(report: &ProviderReport) -> ControlError {
    let name = &report.upstream.name;
    let kind = report.upstream.credentials.status().kind;
    let (has, hint) = if kind == Some(BearerKind::NO_KEY) {
        let hint = format!(
            "It needs no login; `hermesctl proxy test {name}` tests it. If it wants a key, name that in \
             `providers.{name}.api_key_file` instead of `auth = \"none\"`."
        );
        ("neither an API key nor a login (`auth = \"none\"`)", hint)
    } else {
        let hint = format!(
            "Change the key in the place that `providers.{name}.api_key_file`, `api_key_env` or \
             `api_key_credential` names."
        );
        ("a fixed API key and no login", hint)
    };
    let message = format!("The provider {name} has {has}.");
    ControlError::new(ErrorCode::NotSupported, message).with_hint(hint)
}

pub(super) fn no_page(report: &ProviderReport) -> ControlError {
    let name = &report.upstream.name;
    let message = format!("The provider {name} has no login in a browser, only with a code.");
    ControlError::new(ErrorCode::NotSupported, message)
        .with_hint(format!("Run: hermesctl auth login {name}"))
}

pub(super) fn too_old(report: &ProviderReport) -> ControlError {
    let message = format!(
        "The provider {} has a login in a browser only, which this hermesctl does not know.",
        report.upstream.name
    );
    ControlError::new(ErrorCode::NotSupported, message)
        .with_hint("Use the hermesctl of the same release as hermes-proxyd.")
}

pub(super) async fn unusable(what: &str, error: StoreError) -> ControlError {
    let message = format!("The login can't be {what}: {}.", error.cause());
    let hint = hint(&error);
    // Looking up a file's owner may block on a file system that hangs.
    let asked = FileWorker::default()
        .run(move || remedy(&error, None))
        .await;
    let hint = match asked.ok().flatten() {
        Some(command) => format!("Run `{command}`, then try again."),
        None => hint.to_owned(),
    };
    ControlError::new(ErrorCode::StoreUnusable, message).with_hint(hint)
}

fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::LockHeld { .. } | StoreError::Restless { .. } | StoreError::RowGone { .. } => {
            "Try again when the other program has finished."
        }
        StoreError::Parse { .. } => "Fix or remove the file, then try again.",
        StoreError::Moved { .. } => "See `hermesctl auth status`, then try again.",
        StoreError::Foreign { .. }
        | StoreError::Writable { .. }
        | StoreError::Waiting
        | StoreError::Stopping => "Then try again.",
        StoreError::Read { .. } | StoreError::Lock { .. } | StoreError::Write { .. } => {
            "Make the file and its folder readable and writable for you, then try again."
        }
    }
}

pub(super) fn failed(report: &ProviderReport, error: &DeviceError) -> ControlError {
    let again = format!("hermesctl auth login {}", report.upstream.name);
    let hint = match error {
        DeviceError::Unreachable { .. } => {
            format!("`hermesctl doctor` checks the network; then try again: {again}")
        }
        DeviceError::Denied | DeviceError::Expired | DeviceError::Refused { .. } => {
            format!("Try again: {again}")
        }
    };
    ended(&report.upstream.name, error).with_hint(hint)
}

/// A failed login as an error for hermesctl.
pub(super) fn ended(provider: &ProviderName, error: &DeviceError) -> ControlError {
    let code = match error {
        DeviceError::Denied => ErrorCode::LoginDenied,
        DeviceError::Expired => ErrorCode::LoginExpired,
        DeviceError::Refused { .. } | DeviceError::Unreachable { .. } => ErrorCode::LoginFailed,
    };
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let message = format!("{}{}.", first.unwrap_or_default(), letters.as_str());
    let hint = format!("Start again: hermesctl auth login {provider}");
    ControlError::new(code, message).with_hint(hint)
}
