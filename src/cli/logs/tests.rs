use chrono::TimeZone;
use clap::Parser;
use serde_json::json;

use super::*;
use crate::cli::args::{Arguments, Noun};

fn flags(line: &str) -> Logs {
    let line = format!("hermesctl logs {line}");
    let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
    let Noun::Logs(flags) = arguments.noun else {
        panic!("{arguments:?}");
    };
    flags
}

fn request(status: &str, end: &str) -> LogEntry {
    let line = json!({
        "__REALTIME_TIMESTAMP": "1795463040000000", "PRIORITY": "5", "MESSAGE": "request",
        "SYSLOG_IDENTIFIER": "hermes-proxyd", "HERMES_ID": "49f2", "HERMES_PROVIDER": "nous",
        "HERMES_CLIENT": "karakeep", "HERMES_STATUS": status, "HERMES_END": end, "_PID": "1",
    });
    LogEntry::of_journal(&line.to_string()).unwrap()
}

#[test]
fn a_journals_entry_keeps_our_fields_only() {
    let entry = request("200", "complete");
    assert_eq!(entry.message, "request");
    assert_eq!(
        (entry.level, entry.number("status")),
        (LogLevel::Info, Some(200))
    );
    assert_eq!(entry.fields.len(), 5);
    assert_eq!(entry.at.unwrap().to_string(), "2026-11-23T19:44:00Z");
}

#[test]
fn bytes_that_are_no_text_and_several_values_are_read() {
    let of = |message| {
        let line = json!({"MESSAGE": message, "PRIORITY": "3"});
        LogEntry::of_journal(&line.to_string()).unwrap().message
    };
    assert_eq!(of(json!([104, 105, 255])), "hi\u{fffd}");
    assert_eq!(of(json!(["one", "two"])), "two");
    assert_eq!(of(json!(null)), "");
    assert_eq!(LogEntry::of_journal("no JSON"), None);
}

#[test]
fn systemds_info_is_not_our_debug() {
    let of = |who: &str| {
        let line = json!({"SYSLOG_IDENTIFIER": who, "PRIORITY": "6"});
        LogEntry::of_journal(&line.to_string()).unwrap().level
    };
    assert_eq!(
        (of("systemd"), of("hermes-proxyd")),
        (LogLevel::Info, LogLevel::Debug)
    );
}

#[test]
fn a_file_has_json_or_words_and_neither_is_lost() {
    let json = r#"{"timestamp":"2026-11-23T19:44:00.1Z","level":"WARN","message":"m","id":"a","n":7,"target":"t"}"#;
    let entry = LogEntry::of_line(json).unwrap();
    assert_eq!(
        (entry.level, entry.text("id"), entry.number("n")),
        (LogLevel::Warn, Some("a"), Some(7))
    );
    let words = "\u{1b}[2m2026-11-23T19:44:00.1Z\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m the request ended id=\"a\" status=502";
    let entry = LogEntry::of_line(words).unwrap();
    assert_eq!(
        (entry.message.as_str(), entry.text("id")),
        ("the request ended", Some("a"))
    );
    assert!(entry.failed());
    assert_eq!(
        LogEntry::of_line("thread panicked").unwrap().message,
        "thread panicked"
    );
    assert_eq!(LogEntry::of_line(" \n"), None);
}

#[test]
fn a_value_with_blanks_is_whole() {
    let line = "2026-11-23T19:44:00.1Z  WARN it failed error=another process has held a=b /x/auth.lock for \
                over 20 s command=\"mv \\\"a b\\\" c=d; ls\" path=/v1 n=7";
    let entry = LogEntry::of_line(line).unwrap();
    assert_eq!(entry.message, "it failed");
    // An unquoted value looks the same as a following field.
    assert_eq!(entry.text("error"), Some("another process has held"));
    assert_eq!(entry.text("a"), Some("b /x/auth.lock for over 20 s"));
    assert_eq!(entry.text("command"), Some("mv \"a b\" c=d; ls"));
    assert_eq!(
        (entry.text("path"), entry.number("n")),
        (Some("/v1"), Some(7))
    );
}

#[test]
fn each_filter_takes_and_leaves() {
    let (good, bad) = (request("200", "complete"), request("502", "refused"));
    for (line, takes) in [
        ("", true),
        ("--level warn", false),
        ("--level info", true),
        ("--provider nous", true),
        ("--provider other", false),
        ("--client karakeep", true),
        ("--client open-webui", false),
        ("--request 49f2", true),
        ("--request 49", false),
        ("--errors", false),
    ] {
        assert_eq!(is_meant(&good, &flags(line)), takes, "{line}");
    }
    assert!(is_meant(&bad, &flags("--errors")));
    assert!(is_meant(&request("200", "client left"), &flags("--errors")));
}

#[test]
fn times_are_given_as_people_write_them() {
    let now = Utc.with_ymd_and_hms(2026, 11, 23, 19, 44, 0).unwrap();
    for (text, time) in [
        ("15m", "2026-11-23T19:29:00Z"),
        ("2 h", "2026-11-23T17:44:00Z"),
        ("3d", "2026-11-20T19:44:00Z"),
        ("10 min ago", "2026-11-23T19:34:00Z"),
        ("today", "2026-11-23T00:00:00Z"),
        ("yesterday", "2026-11-22T00:00:00Z"),
        ("2026-11-20", "2026-11-20T00:00:00Z"),
        ("2026-11-20 08:30", "2026-11-20T08:30:00Z"),
        ("2026-11-20T08:30:00+01:00", "2026-11-20T07:30:00Z"),
    ] {
        let at: chrono::DateTime<Utc> = since::since(text, &now).unwrap();
        assert_eq!(at, time.parse::<chrono::DateTime<Utc>>().unwrap(), "{text}");
    }
    let no_times = [
        "",
        "soon",
        "15",
        "99999999999999999d",
        "99999999d",
        "99999999999h",
        "9223372036854775s",
        "2026-13-01",
        "-262144-01-01",
        "+262143-01-01",
    ];
    for text in no_times {
        assert!(since::since(text, &now).is_err(), "{text}");
    }
}
