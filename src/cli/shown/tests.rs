//! Snapshots: the golden files of the protocol, rendered.

use chrono::{FixedOffset, Utc};

use crate::cli::auth::view::AuthStatusOutput;
use crate::cli::status::view::Home;
use crate::control::judge;
use crate::control::protocol::{
    ClientImportReport, ClientList, ClientRevoked, ErrorReport, ExistingLogin, LoginBegun,
    ProviderState, Providers, ReloadReport, Timestamp,
};

use super::samples::{self, answer, golden};
use super::*;

/// `UPDATE_GOLDEN=1` rewrites the snapshots.
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

/// A clock that was years ahead at a login leaves dates that have not come yet.
#[test]
fn what_has_happened_is_never_told_as_something_to_come() {
    let mut status = samples::status_with_login();
    let at = Timestamp(status.now.0 + chrono::TimeDelta::days(3649));
    status.providers.truncate(1);
    let provider = &mut status.providers[0];
    let login = provider.login.as_mut().unwrap();
    login.since = Some(at);
    let refresh = provider.last_refresh.as_mut().unwrap();
    refresh.at = at;
    let mut answer: ClientList = answer("reply_clients.json");
    answer.clients[0].last_used_at = Some(at);
    let now = answer.now;
    let style = Style::PLAIN.in_columns(200);
    let logins = auth::logins(&AuthStatusOutput::of(status.clone(), true), &Utc, style);
    let home = Home::of(Some(status), Some(answer.clients.clone()));
    let home = home::home(&home, &Utc, style);
    let clients = clients::list(&answer, &Utc, style);
    let told = ", which is in the future: a clock is or was wrong";
    for (text, count) in [(logins, 1), (home, 2), (clients, 1)] {
        assert_eq!(text.matches(told).count(), count, "{text}");
        assert!(!text.contains("in 3649 d"), "{text}");
    }
    // Two clocks are never quite the same.
    let clock = ReaderClock { now, zone: &Utc };
    let soon = Timestamp(now.0 + chrono::TimeDelta::seconds(SKEW));
    assert_eq!(clock.ago(soon), "now");
    assert!(clock.happened(soon).starts_with("now ("));
}

#[test]
fn a_state_says_only_what_is_known() {
    let mut status = samples::status();
    let mut told = |now: ProviderState, error: Option<ErrorReport>| {
        status.providers[0].state = now;
        status.providers[0].last_error = error;
        let (provider, findings) = (&status.providers[0], judge::judge(&status));
        let rows = warnings(provider, &findings, Style::PLAIN).into_iter();
        let rows = rows.map(|(_, text)| format!("; {text}"));
        state(provider, &findings, Style::PLAIN) + &rows.collect::<String>()
    };
    let error = samples::troubled_status().providers.remove(0).last_error;
    assert_eq!(
        told(ProviderState::Refreshing, None),
        "trying to renew the expired token"
    );
    let failed = told(ProviderState::Unavailable, error);
    assert!(failed.contains("can't be renewed"), "{failed}");
    // Without a daemon, nothing has been tried.
    let untried = told(ProviderState::Unavailable, None);
    assert!(untried.contains("has not been renewed yet"), "{untried}");
}

#[test]
fn a_login_that_was_taken_over_was_not_there_already() {
    let LoginBegun::Existing(mut existing) = answer("reply_login_existing.json") else {
        panic!("no login");
    };
    let told = |existing: &ExistingLogin| {
        let begun = LoginBegun::Existing(existing.clone());
        auth::login_begun(&begun, Style::PLAIN.in_columns(200))
    };
    assert!(told(&existing).contains("already"));
    existing.adopted = true;
    let text = told(&existing);
    assert!(!text.contains("already"), "{text}");
    assert!(text.contains("found in its shared folder"), "{text}");
}

/// "7 asked, 5 answered" was read as requests.
#[test]
fn tokens_are_told_as_tokens() {
    let text = probe::report(&samples::report(false), Style::PLAIN);
    let row = text.lines().find(|line| line.contains("tokens")).unwrap();
    assert!(row.ends_with("14 in the prompt, 9 in the answer"), "{row}");
}

#[test]
fn the_providers() {
    let answer: Providers = answer("reply_providers.json");
    snapshot("providers.txt", &providers(&answer, Style::PLAIN));
}

#[test]
fn the_clients() {
    let answer: ClientList = answer("reply_clients.json");
    snapshot("clients.txt", &clients::list(&answer, &Utc, Style::PLAIN));
    let nobody = ClientList {
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
