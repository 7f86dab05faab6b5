//! The daemon's state in one line, for `systemctl status`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::control::ControlHandler;
use super::service_manager;
use crate::containers::{self, ListenEndpoint};
use crate::control::judge;
use crate::control::protocol::{Finding, ProviderStatus, Severity, Status};

/// How soon the service manager hears of a change.
const PERIOD: Duration = Duration::from_secs(2);
/// How many findings are shown: it is one line.
const TOLD: usize = 3;

/// Tells the service manager of every change until `stop`. Ends at once without one.
pub(super) async fn keep_told(answers: Arc<ControlHandler>, stop: CancellationToken) {
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

/// What is served, unless apps get errors, and what is wrong, the worst first.
pub(super) fn line(status: &Status) -> String {
    let findings = judge::findings(status);
    let is_bad = findings.iter().any(|one| one.severity == Severity::Bad);
    let served = served(status, &findings).filter(|_| !is_bad);
    let mut parts: Vec<_> = served.into_iter().collect();
    parts.extend(findings.iter().take(TOLD).map(words));
    if findings.len() > TOLD {
        parts.push("see hermesctl proxy status".to_owned());
    }
    // A line break would end the message to the service manager.
    parts.join("; ").replace(char::is_control, " ")
}

fn served(status: &Status, findings: &[Finding]) -> Option<String> {
    if status.providers.is_empty() {
        return Some("No provider".to_owned());
    }
    let serves = |one: &&ProviderStatus| {
        let mine = judge::about(findings, &one.name);
        !mine.iter().any(|finding| finding.blocks)
    };
    let names = status.providers.iter().filter(serves);
    let names: Vec<_> = names.map(|one| one.name.as_str()).collect();
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(format!("Serving {names} at {}", address(status)))
}

fn words(finding: &Finding) -> String {
    let command = finding.command.as_ref();
    let command = command.map_or_else(String::new, |command| format!(": run {command}"));
    finding.text.clone() + &command
}

/// Where most apps connect.
fn address(status: &Status) -> String {
    let listeners = &status.listeners;
    let doors: Vec<_> = listeners
        .iter()
        .filter_map(ListenEndpoint::of_status)
        .collect();
    let local = containers::local(&doors).map(|target| target.base_url());
    let first = || listeners.iter().min_by_key(|one| one.waiting);
    let other = || first().map(|one| one.url.clone());
    local
        .or_else(other)
        .unwrap_or_else(|| "no address".to_owned())
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
        let listener = |url: &str, waiting: bool| json!({"address": url.trim_start_matches("http://").trim_end_matches("/v1"), "url": url, "provider": "nous", "connections": 0, "waiting": waiting});
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
                "Serving local at http://127.0.0.1:8645/v1; Login needed for nous: run hermesctl \
                 auth login nous",
            ),
            (
                &[("keyed", "login_needed")],
                "There is no usable API key: run hermesctl doctor",
            ),
            (
                &[("unsaved", "refreshing")],
                "Serving unsaved at http://127.0.0.1:8645/v1; The renewed login of unsaved could \
                 not be saved and is lost when hermes-proxyd stops: run hermesctl doctor",
            ),
            (
                &[
                    ("nous", "ready"),
                    ("a", "starting"),
                    ("b", "starting"),
                    ("c", "starting"),
                ],
                "Serving nous at http://127.0.0.1:8645/v1; Starting for a; Starting for b; \
                 Starting for c",
            ),
            (&[("nous", "starting")], "Starting"),
            (
                &[("a\nNOTIFY=1", "ready")],
                "Serving a NOTIFY=1 at http://127.0.0.1:8645/v1",
            ),
            (&[], "No provider"),
        ] {
            // The sample waits for one of its addresses, too.
            let mut status = status(providers);
            status.listeners.retain(|one| !one.waiting);
            assert_eq!(line(&status), expected);
        }
        let waits = status(&[("nous", "ready")]);
        assert!(line(&waits).ends_with("/v1; Waiting for the address [::1]:1"));
    }
}
