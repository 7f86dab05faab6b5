//! Each event leads from one state of the login to the next.

use std::path::Path;

use serde_json::json;

use super::super::journal::{JournalEntry, RefreshJournal};
use super::*;
use crate::credentials::tests::layout;

fn token(name: &str) -> Secret {
    Secret::new(name.to_owned())
}

fn login(name: &str) -> Login {
    let fields = json!({"access_token": "a", "refresh_token": name});
    Login::new(fields.as_object().cloned().unwrap(), layout())
}

fn entry(name: &str) -> JournalEntry {
    JournalEntry {
        token: token(name).fingerprint(),
        started_at: DateTime::default(),
    }
}

fn seat(file: &str) -> LoginFile {
    let file = Path::new(file);
    LoginFile::new(
        file,
        false,
        RefreshJournal::new(Path::new("/journal"), layout(), file),
    )
}

fn granted(name: &str, spent: &str) -> LoginEvent<'static> {
    LoginEvent::Granted {
        login: login(name),
        spent: [Some(token(spent)), None],
    }
}

/// A login whose journal is read and empty.
fn held() -> Knowledge {
    let mut known = Knowledge::default();
    known.on(LoginEvent::Found(seat("/auth.json")));
    known.on(LoginEvent::Entered(None));
    taken(&mut known, &login("r0"));
    assert_eq!(*known.state(), LoginState::Held);
    known
}

fn taken(known: &mut Knowledge, login: &Login) {
    let (now, life) = (DateTime::default(), Duration::from_hours(1));
    known.on(LoginEvent::Taken { login, now, life });
}

/// The names of the states, so that a row of the table is one line.
fn name(state: &LoginState) -> &'static str {
    match state {
        LoginState::None => "none",
        LoginState::Held => "held",
        LoginState::Suspect(_) => "suspect",
        LoginState::Unsaved(unsaved) if unsaved.begun.is_some() => "unsaved, begun",
        LoginState::Unsaved(_) => "unsaved",
        LoginState::Ended(_) => "ended",
    }
}

#[test]
fn each_event_leads_from_one_state_to_the_next() {
    use LoginEvent::{
        Begun, Elsewhere, Entered, Forgotten, Found, NoLogin, PutBack, Refused, Saved, Settled,
        Superseded,
    };
    for (what, events, expected) in [
        ("a refresh", vec![Begun(entry("r0"))], "suspect"),
        ("not spent", vec![Begun(entry("r0")), Settled], "held"),
        (
            "an answer",
            vec![Begun(entry("r0")), granted("r1", "r0")],
            "unsaved, begun",
        ),
        (
            "saved, and known to be",
            vec![Begun(entry("r0")), granted("r1", "r0"), Saved, Settled],
            "held",
        ),
        (
            "a key was minted, and saved",
            vec![Begun(entry("r0")), granted("r0", "r0"), Saved],
            "suspect",
        ),
        (
            "someone logged in meanwhile",
            vec![Begun(entry("r0")), granted("r1", "r0"), Superseded],
            "suspect",
        ),
        (
            "a backup",
            vec![granted("r1", "r0"), Saved, PutBack],
            "unsaved",
        ),
        ("a backup of nothing that is known", vec![PutBack], "held"),
        (
            "refused",
            vec![Settled, Refused, NoLogin(Some("ended"))],
            "ended",
        ),
        (
            "not for these settings",
            vec![granted("r1", "r0"), Elsewhere("x")],
            "unsaved",
        ),
        ("gone", vec![NoLogin(None)], "none"),
        (
            "unusable, and maybe spent",
            vec![Begun(entry("r0")), NoLogin(Some("x"))],
            "suspect",
        ),
        (
            "gone, and maybe spent",
            vec![Begun(entry("r0")), NoLogin(None)],
            "none",
        ),
        ("a logout", vec![granted("r1", "r0"), Forgotten], "held"),
        (
            "another file",
            vec![granted("r1", "r0"), Found(seat("/own.json"))],
            "held",
        ),
        (
            "the same file",
            vec![granted("r1", "r0"), Found(seat("/auth.json"))],
            "unsaved",
        ),
        ("after a crash", vec![Entered(Some(entry("r0")))], "suspect"),
    ] {
        let mut known = held();
        for event in events {
            known.on(event);
        }
        assert_eq!(name(known.state()), expected, "{what}");
    }
}

#[test]
fn a_token_may_be_sent_only_once_it_is_noted() {
    let mut known = held();
    assert!(known.noted(&login("r0")).is_none());
    known.on(LoginEvent::Begun(entry("r0")));
    assert!(known.noted(&login("r0")).is_some());
    assert!(known.noted(&login("another")).is_none());
    known.on(granted("r1", "r0"));
    // The store has the spent one still, and the entry is about that.
    assert!(known.noted(&login("r1")).is_some());
    known.on(LoginEvent::Saved);
    known.on(LoginEvent::Settled);
    assert!(known.noted(&login("r1")).is_none());
}

#[test]
fn what_was_spent_stays_known_over_all_rotations() {
    let mut known = held();
    for number in 0..5 {
        known.on(granted(&format!("r{}", number + 1), &format!("r{number}")));
        known.on(LoginEvent::Saved);
    }
    let spent = |known: &Knowledge, name: &str| known.was_spent(Some(&token(name)));
    assert!(spent(&known, "r0") && spent(&known, "r4") && !spent(&known, "r5"));
    assert!(known.is_put_back(&login("r2")) && !known.is_put_back(&login("r5")));
    known.on(LoginEvent::PutBack);
    assert_eq!(name(known.state()), "unsaved");
    assert!(spent(&known, "r0") && known.unsaved().unwrap().still_stands(&login("r2")));
}

#[test]
fn the_user_is_told_once_that_a_login_is_not_saved() {
    let mut known = held();
    known.on(granted("r1", "r0"));
    assert!(!known.is_unsaved_told());
    known.on(LoginEvent::ToldUnsaved);
    known.on(granted("r2", "r1"));
    assert!(known.is_unsaved_told(), "it is the same trouble");
    known.on(LoginEvent::Saved);
    known.on(granted("r3", "r2"));
    assert!(!known.is_unsaved_told());
}

#[test]
fn what_a_journal_does_not_need_any_more_is_removed_unless_it_is_written_again() {
    let mut known = held();
    known.on(LoginEvent::Begun(entry("r0")));
    known.on(granted("r1", "r0"));
    known.on(LoginEvent::Saved);
    known.on(LoginEvent::Settled);
    let ends = |known: &Knowledge| {
        let ends = |chore: &&Chore| matches!(chore, Chore::End(..));
        known.chores().iter().filter(ends).count()
    };
    assert_eq!((known.chores().len(), ends(&known)), (2, 1));
    known.on(LoginEvent::Begun(entry("r1")));
    assert_eq!(
        (known.chores().len(), ends(&known)),
        (1, 0),
        "the new entry stays"
    );
    known.on(LoginEvent::KeptBeside);
    assert!(known.chores().is_empty());
}

#[test]
fn what_waits_beside_the_journal_goes_with_a_login_that_ended_and_stays_under_other_settings() {
    let kept = |end: LoginEvent<'_>| {
        let mut knowledge = Knowledge::default();
        knowledge.on(LoginEvent::Found(seat("/auth.json")));
        knowledge.on(granted("r1", "r0"));
        knowledge.on(end);
        knowledge.chores().is_empty()
    };
    assert!(!kept(LoginEvent::NoLogin(Some("it has ended"))));
    assert!(kept(LoginEvent::Elsewhere("another issuer")));
}
