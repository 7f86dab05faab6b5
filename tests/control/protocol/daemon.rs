//! The daemon's process and its log.

use super::*;

#[test]
fn the_answer_on_an_end() {
    golden("reply_stop.json", &ok(StopNotice { in_flight: 2 }));
}

#[test]
fn the_answer_on_the_log() {
    let tail = |place| LogTail {
        place,
        next: 9,
        lines: vec!["2026-11-23T19:44:00Z  INFO listening\n".into()],
    };
    golden("reply_log.json", &ok(tail(LogPlace::StandardError)));
    let file = LogPlace::File("/var/log/hermes-proxyd.log".into());
    golden("reply_log_file.json", &ok(tail(file)));
}

/// A daemon that was started with flags.
#[test]
fn the_answer_on_the_configuration() {
    let mut status = status();
    status.providers.clear();
    status.daemon.config_digest = Some("9f86d081884c7d65".into());
    status.daemon.needs_restart = vec!["listen[0].address".into()];
    status.daemon.command_line = CommandLine {
        provider: Some("nous".into()),
        host: Some("::1".into()),
        port: Some(9000),
        log_level: Some("debug".into()),
        log_format: Some("json".into()),
    };
    golden("reply_status_config.json", &ok(status));
}
