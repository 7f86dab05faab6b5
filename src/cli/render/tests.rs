//! Snapshots: the golden files of the protocol, rendered.

use chrono::{FixedOffset, Utc};

use crate::cli::home::Home;
use crate::control::protocol::{ClientImportReport, ClientRevoked, Clients};

use super::samples::{self, answer, golden};
use super::*;

/// `UPDATE_GOLDEN=1` writes the snapshots anew.
fn snapshot(name: &str, text: &str) {
    let path = golden("cli", name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn times_of_the_day_are_the_readers() {
    let zone = FixedOffset::east_opt(2 * 3600).unwrap();
    let text = home::home(
        &Home::of(Some(samples::status()), None),
        &zone,
        Style::PLAIN,
    );
    assert!(text.contains("in 47 min (2026-11-23 22:31)"), "{text}");
}

#[test]
fn the_providers() {
    let answer: Providers = answer("reply_providers.json");
    snapshot("providers.txt", &providers(&answer, Style::PLAIN));
}

#[test]
fn the_clients() {
    let answer: Clients = answer("reply_clients.json");
    snapshot("clients.txt", &clients::list(&answer, &Utc, Style::PLAIN));
    let nobody = Clients {
        clients: Vec::new(),
        ..answer
    };
    let text = clients::list(&nobody, &Utc, Style::PLAIN);
    assert!(text.contains("hermesctl clients add NAME"), "{text}");
}

#[test]
fn an_import() {
    let answer: ClientImportReport = answer("reply_client_import.json");
    let text = clients::imported(&answer, Style::PLAIN);
    snapshot("clients_import.txt", &text);
}

#[test]
fn a_revocation() {
    let answer: ClientRevoked = answer("reply_client_revoked.json");
    let text = clients::revoked(&answer, Style::PLAIN);
    assert_eq!(text, "The key of karakeep no longer works.\n");
    let answer = ClientRevoked {
        keyless: true,
        ..answer
    };
    let text = clients::revoked(&answer, Style::PLAIN);
    assert!(
        text.contains("`auth = \"keys\"` under [[listen]]"),
        "{text}"
    );
}

#[test]
fn a_reload() {
    let answer: ReloadReport = answer("reply_reload.json");
    snapshot("reload.txt", &reload(&answer, Style::PLAIN));
    let nothing = reload(&ReloadReport::default(), Style::PLAIN);
    assert_eq!(nothing.lines().count(), 1);
}

#[test]
fn a_terminal_is_not_steered() {
    assert_eq!(
        printable("a\u{1b}[31m\rb\u{9b}c\u{202e}\nd"),
        "a\u{fffd}[31m\u{fffd}b\u{fffd}c\u{fffd}\nd"
    );
}
