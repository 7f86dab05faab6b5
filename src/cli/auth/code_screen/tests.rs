//! Terminals of all sizes.

use std::path::Path;

use super::*;

fn code() -> LoginCode {
    LoginCode {
        session: 7,
        provider: "nous".into(),
        display_name: "Nous Portal".into(),
        verification_uri: "https://portal.nousresearch.com/manage-subscription".into(),
        verification_uri_complete: Some(
            "https://portal.nousresearch.com/manage-subscription?code=WDJB-MJHT".into(),
        ),
        user_code: "WDJB-MJHT".into(),
        expires_in_seconds: 900,
        trusted_uri: true,
    }
}

fn at(columns: usize, rows: usize) -> String {
    screen(&code(), TerminalSize { columns, rows }, Style::PLAIN)
}

/// `UPDATE_GOLDEN=1` rewrites the snapshots.
fn snapshot(name: &str, text: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/golden/cli").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn the_usual_sizes() {
    snapshot("login_80x24.txt", &at(80, 24));
    snapshot("login_120x40.txt", &at(120, 40));
    snapshot("login_80x12.txt", &at(80, 12));
}

#[test]
fn nothing_is_wider_or_higher_than_the_terminal() {
    for columns in [1, 20, 39, 41, 70, 73, 80, 99, 120] {
        for rows in [1, 5, 8, 9, 14, 23, 24, 26, 50] {
            let text = at(columns, rows);
            let drawn = text.lines().skip(4);
            assert!(drawn.clone().all(|line| line.chars().count() <= columns));
            let head = text.lines().take(4);
            let head: usize = head
                .map(|line| line.chars().count().div_ceil(columns))
                .sum();
            assert!(drawn.clone().count() == 0 || head + drawn.count() < rows);
            assert!(text.contains("WDJB-MJHT"));
        }
    }
}

#[test]
fn without_a_page_that_holds_the_code_it_is_to_be_entered() {
    let code = LoginCode {
        verification_uri_complete: None,
        ..code()
    };
    let room = TerminalSize {
        columns: 120,
        rows: 40,
    };
    let text = screen(&code, room, Style::PLAIN);
    assert!(text.contains("enter this code"), "{text}");
    // The letters, and no QR code.
    assert_eq!(text.lines().count(), 4 + 4);
}

#[test]
fn a_strange_page_gets_no_qr_code_but_a_warning() {
    let code = LoginCode {
        trusted_uri: false,
        ..code()
    };
    let room = TerminalSize {
        columns: 120,
        rows: 40,
    };
    let text = screen(&code, room, Style::PLAIN);
    assert!(text.contains("not on the provider's own host"), "{text}");
    assert_eq!(text.lines().count(), 5 + 4);
}

#[test]
fn a_code_that_the_large_letters_lack_is_shown_small_and_whole() {
    for user_code in ["wdjb-mjht", "WDJB MJHT", "123.456"] {
        let code = LoginCode {
            user_code: user_code.into(),
            trusted_uri: false,
            ..code()
        };
        let room = TerminalSize {
            columns: 120,
            rows: 40,
        };
        let text = screen(&code, room, Style::PLAIN);
        assert!(text.lines().any(|line| line.trim() == user_code), "{text}");
        assert!(!text.contains('█'), "{text}");
    }
}

#[test]
fn a_terminal_is_not_steered() {
    let code = LoginCode {
        display_name: "N\u{1b}[2Jous".into(),
        verification_uri_complete: Some("https://x/\u{1b}]8;;".into()),
        user_code: "A\u{202e}B\nC".into(),
        trusted_uri: false,
        ..code()
    };
    let room = TerminalSize {
        columns: 80,
        rows: 24,
    };
    for text in [screen(&code, room, Style::PLAIN), plain(&code)] {
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert!(text.contains("A\u{fffd}B C"));
    }
}

#[test]
fn in_a_pipe_it_is_words() {
    snapshot("login_piped.txt", &plain(&code()));
}
