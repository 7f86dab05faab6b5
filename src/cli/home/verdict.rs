//! Whether all is well, in one word. Pure.

use serde::Serialize;

use crate::cli::human::{count, distance};
use crate::cli::service::ServiceJson;
use crate::control::protocol::{Mishaps, ProviderState, ProviderStatus, Status, Timestamp};
use crate::doctor::Pending;

/// So many requests that fail one after another are no accident.
const NO_ACCIDENT: u64 = 3;
/// What went wrong is news for so many seconds.
const NEWS: i64 = 3600;
/// The code of a request that was refused.
pub(super) const REFUSED_CODE: &str = "requests_refused";
/// Who was refused is news for so many seconds: a machine has stray visitors.
const REFUSED: i64 = 600;

/// Whether all is well, and what to do if not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Verdict {
    pub(in crate::cli) level: Level,
    /// What a program branches on.
    pub(in crate::cli) code: &'static str,
    /// What a person reads; no full stop.
    pub(in crate::cli) message: String,
    /// What mends it, where a command does.
    pub(in crate::cli) command: Option<String>,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Level {
    /// Nothing is to be done.
    Good,
    /// It works; something is to be looked after.
    Attention,
    /// Apps get errors.
    Bad,
}

/// Of a daemon with this status, if one runs: the worst that is known of it.
pub(super) fn verdict(status: Option<&Status>, service: Option<&ServiceJson>) -> Verdict {
    let Some(status) = status else {
        let message = "hermes-proxyd is not running".to_owned();
        return bad("not_running", message, service.and_then(starts));
    };
    let all = status.providers.iter();
    let all = all.flat_map(|provider| troubles(provider, status.now));
    let all = all.chain(listening(status)).chain(refused(status));
    // The first of the worst: `max_by_key` alone would take the last.
    let worst = all.reduce(|worst, next| {
        if next.level > worst.level {
            next
        } else {
            worst
        }
    });
    worst.unwrap_or(Verdict {
        level: Level::Good,
        code: "all_well",
        message: "All is well".to_owned(),
        command: None,
    })
}

/// Of a daemon of this process that has not applied all of its file.
pub(super) fn of_file(
    pending: &Pending,
    pid: Option<u32>,
    service: Option<&ServiceJson>,
) -> Verdict {
    let (code, message, command) = match pending {
        Pending::Broken => (
            "config_broken",
            "The configuration file can't be used, so the next start will fail".to_owned(),
            "hermesctl config check".to_owned(),
        ),
        Pending::Restart(keys) => {
            let is_service =
                service.is_some_and(|service| service.pid.is_some() && service.pid == pid);
            let command = if is_service {
                "hermesctl service restart"
            } else {
                "hermesctl proxy restart"
            };
            let message = format!("Changed settings need a restart: {}", keys.join(", "));
            ("restart_needed", message, command.to_owned())
        }
        Pending::Reload => (
            "config_changed",
            "The configuration file has changed since hermes-proxyd read it".to_owned(),
            "hermesctl proxy reload".to_owned(),
        ),
    };
    attention(code, message, Some(command))
}

/// What leads on where a service does not run. Starting one that failed would fail again.
fn starts(service: &ServiceJson) -> Option<String> {
    let command = match service.last_failure.as_deref() {
        // `EX_CONFIG`
        Some("exited with 78") => "hermesctl config check",
        Some(_) => "hermesctl doctor",
        None => "hermesctl service start",
    };
    service.installed.then(|| command.to_owned())
}

/// An app that was turned away a moment ago.
fn refused(status: &Status) -> Option<Verdict> {
    let refused = status.refused_apps.as_ref()?;
    let age = (status.now.0 - refused.at.0).num_seconds();
    if age > REFUSED {
        return None;
    }
    let from = refused.from.as_deref().unwrap_or("an app");
    let (when, code) = (distance(-age), &refused.code);
    let about = refused.about.as_deref();
    let about = about.map_or_else(String::new, |about| format!(" ({about})"));
    let message = format!("A request from {from} was refused {when}, {code}{about}");
    let command = format!("hermesctl logs --request {}", refused.request_id);
    Some(attention(REFUSED_CODE, message, Some(command)))
}

/// Requests that the provider fails, up to now.
fn failing(provider: &ProviderStatus, failing: &Mishaps, now: Timestamp) -> Verdict {
    let (name, code) = (&provider.name, &failing.code);
    let age = (now.0 - failing.at.0).num_seconds();
    let when = distance(-age);
    let message = match failing.count {
        1 => format!("The last request to {name} failed {when}: {code}"),
        more => format!(
            "The last {} requests to {name} failed, the last one {when}: {code}",
            count(more)
        ),
    };
    let command = Some("hermesctl doctor".to_owned());
    let matters = provider.default && failing.count >= NO_ACCIDENT && age <= NEWS;
    if matters {
        bad("requests_fail", message, command)
    } else {
        attention("requests_fail", message, command)
    }
}

/// Of a daemon that did not answer as it should.
pub(super) fn unknown(message: &str) -> Verdict {
    let message = message.trim_end_matches('.').to_owned();
    bad("no_answer", message, None)
}

fn listening(status: &Status) -> Option<Verdict> {
    let listeners = &status.listeners;
    let waiting = listeners.iter().filter(|one| one.waiting).count();
    if waiting == listeners.len() {
        let message = "hermes-proxyd is not listening on any address".to_owned();
        return Some(bad("listens_nowhere", message, None));
    }
    let first = listeners.iter().find(|one| one.waiting)?;
    if first.is_unix() {
        let message = format!(
            "The socket {} was removed and can't be restored yet",
            first.address
        );
        return Some(attention("socket_missing", message, None));
    }
    let message = format!("Waiting for the address {}", first.address);
    Some(attention("address_missing", message, None))
}

/// What is wrong with one provider, the worst first.
fn troubles(provider: &ProviderStatus, now: Timestamp) -> Vec<Verdict> {
    let of = if provider.default {
        String::new()
    } else {
        format!(" for {}", provider.name)
    };
    let command = provider.login_command.clone();
    let mut troubles = Vec::new();
    let mut state = |code, message: &str, command| {
        let message = format!("{message}{of}");
        // Without the default provider, an app that names none gets nothing.
        troubles.push(if provider.default {
            bad(code, message, command)
        } else {
            attention(code, message, command)
        });
    };
    match &provider.state {
        ProviderState::Ready | ProviderState::Refreshing | ProviderState::Other(_) => {}
        // With a fixed key there is no command; `last_error` says what to do.
        ProviderState::LoginNeeded if command.is_none() => {
            let message = "The API key is missing";
            state("login_needed", message, Some("hermesctl doctor".to_owned()));
        }
        ProviderState::LoginNeeded => state("login_needed", "Login needed", command),
        ProviderState::StoreUnreadable => {
            let command = Some("hermesctl doctor".to_owned());
            state("store_unreadable", "The login can't be read", command);
        }
        ProviderState::Unavailable => {
            let message = "The token has expired and can't be renewed";
            let command = provider
                .is_hindered()
                .then(|| "hermesctl doctor".to_owned());
            state("unavailable", message, command);
        }
        ProviderState::Starting => {
            let message = format!("Starting{of}");
            troubles.push(attention("starting", message, None));
        }
    }
    // Where the state tells why, that goes first.
    let told = provider.failing.as_ref().filter(|_| troubles.is_empty());
    troubles.extend(told.map(|one| failing(provider, one, now)));
    troubles.extend(unkept(provider));
    troubles.extend(warnings(provider));
    troubles
}

/// A login that works now and can't be kept fresh.
fn unkept(provider: &ProviderStatus) -> Option<Verdict> {
    let serves = matches!(
        provider.state,
        ProviderState::Ready | ProviderState::Refreshing
    );
    let error = provider.last_error.as_ref().filter(|_| serves)?;
    if provider.is_unreadable() {
        let message = format!(
            "The login of {} works, but its file can't be read",
            provider.name
        );
        let command = Some("hermesctl doctor".to_owned());
        return Some(attention("store_unreadable", message, command));
    }
    if provider.is_hindered() {
        let message = format!(
            "The login of {} works, but a renewed one can't be saved",
            provider.name
        );
        let command = Some("hermesctl doctor".to_owned());
        return Some(attention("store_unusable", message, command));
    }
    let mended = provider.last_refresh.as_ref();
    if mended.is_some_and(|refresh| refresh.at > error.at) {
        return None;
    }
    let (name, code) = (&provider.name, &error.code);
    let message = format!("The login of {name} works, but can't be kept fresh: {code}");
    let command = Some("hermesctl doctor".to_owned());
    Some(attention("login_trouble", message, command))
}

fn warnings(provider: &ProviderStatus) -> Vec<Verdict> {
    let mut warnings = Vec::new();
    let name = &provider.name;
    if provider.unsaved {
        let message = format!("The renewed login of {name} could not be saved");
        warnings.push(attention("unsaved", message, None));
    }
    let Some(login) = &provider.login else {
        return warnings;
    };
    let separate = if login.separate { " --separate" } else { "" };
    let again = format!("hermesctl auth login {name}{separate} --force");
    if login.ends_soon {
        let when = login.ends_in_seconds.map(distance);
        let when = when.unwrap_or_else(|| "soon".to_owned());
        let verb = if login.ends_in_seconds.is_some_and(|left| left <= 0) {
            "ended"
        } else {
            "ends"
        };
        let message = format!("The login of {name} {verb} {when}");
        warnings.push(attention("login_ends_soon", message, Some(again.clone())));
    }
    if login.may_be_spent {
        let message = format!("The login of {name} may be lost after an interrupted renewal");
        warnings.push(attention("login_may_be_spent", message, Some(again)));
    }
    warnings
}

fn bad(code: &'static str, message: String, command: Option<String>) -> Verdict {
    Verdict {
        level: Level::Bad,
        code,
        message,
        command,
    }
}

fn attention(code: &'static str, message: String, command: Option<String>) -> Verdict {
    Verdict {
        level: Level::Attention,
        ..bad(code, message, command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::samples;

    #[test]
    fn the_worst_decides_and_the_default_provider_goes_before_others() {
        let mut status = samples::status();
        let code = |status: &Status| verdict(Some(status), None).code;
        // The sample's other provider has no login.
        assert_eq!(code(&status), "login_needed");
        assert_eq!(verdict(Some(&status), None).level, Level::Attention);
        status.providers.truncate(1);
        assert_eq!(code(&status), "all_well");
        status.providers[0].unsaved = true;
        assert_eq!(code(&status), "unsaved");
        status.listeners[0].waiting = true;
        assert_eq!(code(&status), "listens_nowhere");
        status.providers[0].state = ProviderState::LoginNeeded;
        assert_eq!(code(&status), "login_needed");
        assert_eq!(verdict(Some(&status), None).level, Level::Bad);
        assert_eq!(verdict(None, None).code, "not_running");
    }

    #[test]
    fn a_listener_that_is_not_there_is_named_by_its_kind() {
        let mut status = samples::status();
        status.providers.truncate(1);
        let mut other = status.listeners[0].clone();
        other.waiting = true;
        for (address, code) in [
            ("172.17.0.1:8645", "address_missing"),
            ("unix:/run/user/1000/proxy.sock", "socket_missing"),
        ] {
            address.clone_into(&mut other.address);
            status.listeners.truncate(1);
            status.listeners.push(other.clone());
            let verdict = verdict(Some(&status), None);
            assert_eq!(verdict.code, code);
            assert!(verdict.message.contains(address), "{}", verdict.message);
        }
    }

    #[test]
    fn requests_that_fail_are_told_and_those_of_long_ago_are_no_news() {
        let mut status = samples::failing_status();
        let told = |status: &Status| {
            let verdict = verdict(Some(status), None);
            (verdict.level, verdict.code)
        };
        assert_eq!(told(&status), (Level::Bad, "requests_fail"));
        let failing = status.providers[0].failing.as_mut().unwrap();
        failing.count = 2;
        assert_eq!(told(&status), (Level::Attention, "requests_fail"));
        status.providers[0].failing = None;
        assert_eq!(told(&status), (Level::Attention, "requests_refused"));
        // A refused page is no trouble of the service.
        let apps = status.refused_apps.take();
        assert_eq!(told(&status), (Level::Good, "all_well"));
        status.refused_apps = apps;
        let refused = status.refused_apps.as_mut().unwrap();
        refused.about = Some("nas.lan".into());
        assert!(verdict(Some(&status), None).message.ends_with("(nas.lan)"));
        let refused = status.refused_apps.as_mut().unwrap();
        refused.at = status.daemon.started_at;
        assert_eq!(told(&status), (Level::Good, "all_well"));
        // Since it was last renewed, the login could not be read.
        let provider = &mut status.providers[0];
        provider.last_error.as_mut().unwrap().at = status.now;
        assert_eq!(told(&status), (Level::Attention, "login_trouble"));
    }

    #[test]
    fn a_file_that_is_not_in_force_is_told() {
        let keys = vec!["listen".to_owned()];
        let mut service = samples::service(Some(4242));
        for (pending, pid, code, command) in [
            (
                Pending::Broken,
                1,
                "config_broken",
                "hermesctl config check",
            ),
            (
                Pending::Reload,
                1,
                "config_changed",
                "hermesctl proxy reload",
            ),
            (
                Pending::Restart(keys.clone()),
                1,
                "restart_needed",
                "hermesctl proxy restart",
            ),
            (
                Pending::Restart(keys),
                4242,
                "restart_needed",
                "hermesctl service restart",
            ),
        ] {
            service.pid = Some(4242);
            let told = of_file(&pending, Some(pid), Some(&service));
            assert_eq!((told.level, told.code), (Level::Attention, code));
            assert_eq!(told.command.as_deref(), Some(command));
        }
    }

    #[test]
    fn a_service_that_failed_is_not_just_started_again() {
        let command = |failure: Option<&str>| {
            let mut service = samples::service(None);
            service.last_failure = failure.map(str::to_owned);
            verdict(None, Some(&service)).command
        };
        let says = |command: &str| Some(command.to_owned());
        assert_eq!(command(None), says("hermesctl service start"));
        assert_eq!(
            command(Some("exited with 78")),
            says("hermesctl config check")
        );
        assert_eq!(command(Some("exited with 1")), says("hermesctl doctor"));
    }

    #[test]
    fn a_login_that_ends_names_the_command_that_goes_on() {
        let mut status = samples::status_with_login();
        status.providers.truncate(1);
        if let Some(login) = &mut status.providers[0].login {
            login.ends_soon = true;
            login.ends_in_seconds = Some(-60);
            login.separate = true;
        }
        let verdict = verdict(Some(&status), None);
        assert_eq!(verdict.message, "The login of nous ended 1 min ago");
        let command = "hermesctl auth login nous --separate --force";
        assert_eq!(verdict.command.as_deref(), Some(command));
    }
}
