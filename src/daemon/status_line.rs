//! How the daemon is, in one line for `systemctl status`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::control::Answers;
use super::service_manager;
use crate::control::protocol::{ProviderState, ProviderStatus, Status};

/// How soon the service manager hears of a change.
const PERIOD: Duration = Duration::from_secs(2);

/// Tells the service manager of every change until `stop`. Ends at once where there is none.
pub(super) async fn keep_told(answers: Arc<Answers>, stop: CancellationToken) {
    if !service_manager::listens() {
        return;
    }
    let mut told = String::new();
    while !stop.is_cancelled() {
        let line = line(&answers.picture());
        if line != told && service_manager::status(&line) {
            told = line;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(PERIOD) => {}
        }
    }
}

/// The default provider first, then what other ones lack.
pub(super) fn line(status: &Status) -> String {
    let (default, others): (Vec<_>, Vec<_>) = status.providers.iter().partition(|one| one.default);
    let mut text = default
        .first()
        .map_or_else(|| "No provider".to_owned(), |one| main_words(one, status));
    for other in others {
        if other.state == ProviderState::LoginNeeded {
            let name = &other.name;
            let needs = other.login_command.as_ref().map_or_else(
                || format!("; {name} needs its API key: see hermesctl proxy status"),
                |command| format!("; login needed for {name}: run {command}"),
            );
            text.push_str(&needs);
        }
    }
    if status.providers.iter().any(|one| one.unsaved) {
        text += "; a renewed login can't be saved: see hermesctl proxy status";
    }
    // A line break would end the message to the service manager.
    text.replace(char::is_control, " ")
}

fn main_words(provider: &ProviderStatus, status: &Status) -> String {
    let name = &provider.name;
    match &provider.state {
        ProviderState::Ready | ProviderState::Refreshing => {
            let ready = status.providers.iter().filter(|one| serves(one));
            let names: Vec<_> = ready.map(|one| one.name.as_str()).collect();
            format!("Serving {} at {}", names.join(", "), address(status))
        }
        ProviderState::LoginNeeded => {
            let command = provider.login_command.as_deref();
            match command {
                Some(command) => format!("Login needed: run {command}"),
                None => format!("{name} needs its API key: see hermesctl proxy status"),
            }
        }
        ProviderState::Starting => format!("Reading the login of {name}"),
        ProviderState::Unavailable => {
            format!("The token of {name} has expired and can't be renewed; still trying")
        }
        ProviderState::StoreUnreadable => {
            format!("The login of {name} can't be read: see hermesctl proxy status")
        }
        ProviderState::Other(state) => format!("{name}: {state}"),
    }
}

fn serves(provider: &ProviderStatus) -> bool {
    matches!(
        provider.state,
        ProviderState::Ready | ProviderState::Refreshing
    )
}

/// Where most apps connect: the first port that is open.
fn address(status: &Status) -> &str {
    let rank = |one: &&crate::control::protocol::ListenerStatus| {
        (one.waiting, !one.url.starts_with("http://"))
    };
    let best = status.listeners.iter().min_by_key(rank);
    best.map_or("no address", |one| one.url.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(providers: &[(&str, &str)]) -> Status {
        let providers: Vec<_> = providers
            .iter()
            .enumerate()
            .map(|(position, (name, state))| {
                json!({
                    "name": name, "display_name": name, "default": position == 0, "state": state,
                    "unsaved": *name == "unsaved",
                    "requests": {"in_flight": 0, "served": 0, "failed": 0},
                    "login_command": (*state == "login_needed" && *name != "keyed")
                        .then(|| format!("hermesctl auth login {name}")),
                })
            })
            .collect();
        let listener = |url: &str, waiting: bool| json!({"address": "", "url": url, "provider": "nous", "connections": 0, "waiting": waiting});
        serde_json::from_value(json!({
            "now": "2026-11-26T12:00:00Z",
            "daemon": {"version": "0.1.0", "pid": 1, "started_at": "2026-11-26T12:00:00Z",
                       "uptime_seconds": 0, "config_file": null},
            "listeners": [listener("unix:/x", false), listener("http://[::1]:1/v1", true),
                          listener("http://127.0.0.1:8645/v1", false)],
            "providers": providers,
        }))
        .unwrap()
    }

    #[test]
    fn the_line_says_what_to_do() {
        for (providers, expected) in [
            (
                &[("nous", "ready"), ("local", "ready")][..],
                "Serving nous, local at http://127.0.0.1:8645/v1",
            ),
            (
                &[("nous", "login_needed"), ("local", "ready")],
                "Login needed: run hermesctl auth login nous",
            ),
            (
                &[("local", "ready"), ("nous", "login_needed")],
                "Serving local at http://127.0.0.1:8645/v1; login needed for nous: run hermesctl \
                 auth login nous",
            ),
            (
                &[("keyed", "login_needed")],
                "keyed needs its API key: see hermesctl proxy status",
            ),
            (
                &[("local", "ready"), ("keyed", "login_needed")],
                "Serving local at http://127.0.0.1:8645/v1; keyed needs its API key: see hermesctl \
                 proxy status",
            ),
            (
                &[("unsaved", "refreshing")],
                "Serving unsaved at http://127.0.0.1:8645/v1; a renewed login can't be saved: see \
                 hermesctl proxy status",
            ),
            (&[("nous", "a\nNOTIFY=1")], "nous: a NOTIFY=1"),
            (&[], "No provider"),
        ] {
            assert_eq!(line(&status(providers)), expected);
        }
    }
}
