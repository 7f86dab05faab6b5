//! Snapshots: the golden files of the protocol, rendered.

use std::path::Path;

use chrono::{FixedOffset, Utc};
use serde::de::DeserializeOwned;

use crate::control::protocol::{
    ClientImportReport, ClientRevoked, Clients, CredentialKind, ErrorReport, Outcome,
    RefreshReport, Reply, RequestCounts,
};

use super::*;

fn golden(folder: &str, name: &str) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/golden").join(folder).join(name)
}

fn answer<T: DeserializeOwned>(name: &str) -> T {
    let file = std::fs::read(golden("control", name)).unwrap();
    let reply: Reply<T> = serde_json::from_slice(&file).unwrap();
    let Outcome::Ok(answer) = reply.outcome else {
        panic!("{name} holds an error");
    };
    answer
}

/// `UPDATE_GOLDEN=1` writes the snapshots anew.
fn snapshot(name: &str, text: &str) {
    let path = golden("cli", name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
}

fn a_status() -> Status {
    answer("reply_status.json")
}

#[test]
fn the_home_screen() {
    snapshot("status.txt", &status(&a_status(), &Utc, Style::Plain));
    snapshot(
        "status_coloured.txt",
        &status(&a_status(), &Utc, Style::Coloured),
    );
}

#[test]
fn times_of_the_day_are_the_readers() {
    let zone = FixedOffset::east_opt(2 * 3600).unwrap();
    assert!(status(&a_status(), &zone, Style::Plain).contains("in 47 min (2026-11-23 22:31)"));
}

#[test]
fn a_provider_in_trouble() {
    let mut answer = a_status();
    let at = answer.daemon.started_at;
    answer.daemon.config_file = None;
    answer.listeners.clear();
    answer.providers = [
        ProviderState::Unavailable,
        ProviderState::LoginNeeded,
        ProviderState::StoreUnreadable,
    ]
    .map(|state| ProviderStatus {
        name: "nous".into(),
        display_name: "Nous Portal".into(),
        default: true,
        base_url: None,
        credential: Some(CredentialKind::InvokeJwt),
        expires_at: Some(at),
        expires_in_seconds: Some(-11_520),
        last_refresh: Some(RefreshReport {
            at,
            result: RefreshResult::Rejected,
            detail: Some("invalid_grant".into()),
        }),
        next_refresh_at: None,
        next_refresh_in_seconds: None,
        last_error: Some(ErrorReport {
            at,
            code: "invalid_grant".into(),
            message: "The portal has revoked the login.\nIt says: \u{1b}[2Jgone.".into(),
        }),
        unsaved: state == ProviderState::Unavailable,
        requests: RequestCounts::default(),
        login_command: (state == ProviderState::LoginNeeded)
            .then(|| "hermesctl auth login nous".into()),
        login: None,
        state,
    })
    .to_vec();
    snapshot("status_trouble.txt", &status(&answer, &Utc, Style::Plain));
}

#[test]
fn the_providers() {
    let answer: Providers = answer("reply_providers.json");
    snapshot("providers.txt", &providers(&answer, Style::Plain));
}

#[test]
fn the_clients() {
    let answer: Clients = answer("reply_clients.json");
    snapshot("clients.txt", &clients::list(&answer, &Utc, Style::Plain));
    let nobody = Clients {
        clients: Vec::new(),
        ..answer
    };
    let text = clients::list(&nobody, &Utc, Style::Plain);
    assert!(text.contains("hermesctl clients add NAME"), "{text}");
}

#[test]
fn an_import() {
    let answer: ClientImportReport = answer("reply_client_import.json");
    let text = clients::imported(&answer, Style::Plain);
    snapshot("clients_import.txt", &text);
}

#[test]
fn a_revocation() {
    let answer: ClientRevoked = answer("reply_client_revoked.json");
    let text = clients::revoked(&answer, Style::Plain);
    assert_eq!(text, "The key of karakeep is refused from now on.\n");
}

#[test]
fn a_reload() {
    let answer: ReloadReport = answer("reply_reload.json");
    snapshot("reload.txt", &reload(&answer, Style::Plain));
    let nothing = reload(&ReloadReport::default(), Style::Plain);
    assert_eq!(nothing.lines().count(), 1);
}

#[test]
fn a_terminal_is_not_steered() {
    assert_eq!(
        printable("a\u{1b}[31m\rb\u{9b}c\u{202e}\nd"),
        "a\u{fffd}[31m\u{fffd}b\u{fffd}c\u{fffd}\nd"
    );
}
