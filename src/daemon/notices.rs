//! Tells the user about changes of a login: in the log, under ids that never change, and by the
//! hooks.

use crate::credentials::{self, Audience};
use crate::hooks::{self, HookEvent, HookNotice};
use crate::provider::Remedy;

/// The target of notices, which are lines with a `message_id`.
pub(super) const NOTICES: &str = "hermes_proxy::notice";

/// Every receiver of notices.
#[derive(Debug, Clone)]
pub(super) struct Notices {
    hooks: hooks::HooksHandle,
}

impl Notices {
    /// Tells the log and these hooks.
    pub(super) fn new(hooks: hooks::HooksHandle) -> Self {
        Self { hooks }
    }

    /// Tells of something that happened. Waits for nothing.
    pub(super) fn tell(&self, notice: HookNotice) {
        log(&notice);
        self.hooks.send(notice);
    }

    /// The hooks of a new configuration.
    pub(super) fn replace(&self, settings: hooks::HookSettings) {
        self.hooks.replace(settings);
    }
}

impl Audience for Notices {
    fn hear(&self, notice: credentials::LoginNotice) {
        self.tell(told(notice));
    }
}

/// A keeper's notice in the words of the log and the hooks.
fn told(notice: credentials::LoginNotice) -> HookNotice {
    let name = &notice.display_name;
    let command = notice.login_command;
    let (event, message, command, ends_at) = match notice.what {
        credentials::NoticeKind::Ended { reason, remedy } => {
            let message = match remedy {
                Remedy::Run(_) | Remedy::RunAsItIs(_) if notice.others_serve => {
                    format!("{name}: {reason}; requests go to the provider's other logins")
                }
                Remedy::Run(_) | Remedy::RunAsItIs(_) => {
                    format!("{name}: {reason}; requests fail until you log in again")
                }
                Remedy::Advice(advice) => {
                    format!("{name} needs its API key: {reason}; {advice}")
                }
            };
            (HookEvent::LoginEnded, message, command, None)
        }
        credentials::NoticeKind::EndsSoon { ends_at } => {
            let day = ends_at.format("%Y-%m-%d %H:%M UTC");
            let message = format!(
                "{name}: the login ends on {day} at the latest and can't be renewed beyond that; \
                 log in again before then"
            );
            let command = command.map(|command| format!("{command} --force"));
            (HookEvent::LoginEndsSoon, message, command, Some(ends_at))
        }
        credentials::NoticeKind::Restored => {
            let message = format!("{name}: the login works again");
            (HookEvent::LoginRestored, message, None, None)
        }
        credentials::NoticeKind::NotSaved { reason } => {
            let message = format!(
                "{name}: the renewed login can't be saved and is lost when hermes-proxyd stops: \
                 {reason}"
            );
            let command = Some("hermesctl proxy status".to_owned());
            (HookEvent::LoginNotSaved, message, command, None)
        }
        credentials::NoticeKind::Hindered { reason, command } => {
            let message = format!(
                "{name}: the login can't be renewed, because a renewed one could not be saved: \
                 {reason}; requests fail once the current token has expired"
            );
            let command = command.unwrap_or_else(|| "hermesctl doctor".to_owned());
            (HookEvent::LoginNotSaved, message, Some(command), None)
        }
        credentials::NoticeKind::Unreadable {
            reason,
            command,
            mirrored,
        } => {
            let until = if mirrored {
                "hermes-proxyd uses the copy in Hermes Agent's shared folder"
            } else {
                "requests fail once the current token has expired"
            };
            let message = format!("{name}: the login can't be read: {reason}; {until}");
            let command = command.unwrap_or_else(|| "hermesctl doctor".to_owned());
            (HookEvent::LoginUnreadable, message, Some(command), None)
        }
    };
    HookNotice {
        event,
        provider: notice.provider,
        display_name: notice.display_name,
        message,
        command,
        ends_at,
        at: notice.at,
        quota: None,
    }
}

/// One line; `message_id` is the journal's `MESSAGE_ID`.
fn log(notice: &HookNotice) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: NOTICES,
                message_id = notice.event.message_id(),
                event = notice.event.as_str(),
                provider = notice.provider,
                command = notice.command,
                "{}",
                notice.message
            )
        };
    }
    match notice.event {
        HookEvent::LoginEnded | HookEvent::LoginNotSaved | HookEvent::LoginUnreadable => {
            line!(error);
        }
        HookEvent::LoginEndsSoon | HookEvent::QuotaLow | HookEvent::QuotaSpent => line!(warn),
        HookEvent::LoginRestored | HookEvent::QuotaFree => line!(info),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::config::Config;

    /// A text that leaves the user with a question is not a notice.
    #[test]
    fn a_login_that_can_not_be_read_says_what_serves() {
        for (mirrored, serves) in [
            (
                true,
                "hermes-proxyd uses the copy in Hermes Agent's shared folder",
            ),
            (false, "requests fail once the current token has expired"),
        ] {
            let notice = told(credentials::LoginNotice {
                what: credentials::NoticeKind::Unreadable {
                    reason: "auth.json is empty".to_owned(),
                    command: None,
                    mirrored,
                },
                provider: "nous".to_owned(),
                display_name: "Nous Portal".to_owned(),
                login_command: None,
                others_serve: false,
                at: "2026-11-23T12:00:00Z".parse().unwrap(),
            });
            let text = notice.message;
            assert!(text.ends_with(serves) && !text.contains("then"), "{text}");
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Tells one notice of each kind.
    async fn tell_all() {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let settings = hooks::HookSettings::new(&Config::default());
        let notices = Notices::new(hooks::start(settings, &tasks, stop.clone()));
        for (name, event) in HookEvent::NAMES {
            notices.tell(HookNotice {
                event,
                provider: "nous".into(),
                display_name: "Nous Portal".into(),
                message: format!("this is {name}"),
                command: Some("hermesctl auth login nous".into()),
                ends_at: None,
                at: "2026-11-23T12:00:00Z".parse().unwrap(),
                quota: None,
            });
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn each_kind_has_its_level_and_its_id_in_the_json_log() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        let guard = super::super::logging::heard_by(subscriber);
        tell_all().await;
        drop(guard);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let levels = [
            "ERROR", "WARN", "INFO", "ERROR", "ERROR", "WARN", "WARN", "INFO",
        ];
        assert_eq!(lines.len(), levels.len(), "{text}");
        for ((line, level), (name, kind)) in lines.iter().zip(levels).zip(HookEvent::NAMES) {
            assert_eq!(line["level"], level);
            assert_eq!(line["target"], NOTICES);
            assert_eq!(line["message_id"], kind.message_id());
            assert_eq!(line["message"], format!("this is {name}"));
            assert_eq!(
                (&line["event"], &line["provider"]),
                (&name.into(), &"nous".into())
            );
            assert_eq!(line["command"], "hermesctl auth login nous");
        }
    }

    /// The journal, in a mount namespace for the test: needs root, and is skipped with a note if
    /// something is missing.
    #[cfg(target_os = "linux")]
    mod journal {
        use std::path::Path;
        use std::process::{Command, Output};

        use super::*;
        use crate::config::{Log, LogFormat};
        use crate::daemon::logging;

        const JOURNALD: &str = "/lib/systemd/systemd-journald";
        const SPEAKS: &str = "daemon::notices::tests::journal::speaks";

        /// Writes everything that comes to journald's socket into a file, until all kinds have
        /// come.
        const STAND_IN: &str = r#"
set -eu
mount -t tmpfs none /run
mkdir -p /run/systemd/journal
python3 - "$1" <<'PYTHON' &
import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("/run/systemd/journal/socket")
listener.settimeout(20)
with open(sys.argv[1], "wb") as out:
    while b"quota_free" not in (message := listener.recv(65536)):
        out.write(message)
    out.write(message)
PYTHON
reader=$!
while [ ! -S /run/systemd/journal/socket ]; do sleep 0.02; done
"$0" --ignored --exact "$2"
wait $reader
"#;

        /// The real journald, which leaves the kernel's own log and audit alone.
        const REAL: &str = r#"
set -eu
mount -t tmpfs none /run
mkdir -p /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nAudit=\nReadKMsg=no\n' > /run/systemd/journald.conf.d/test.conf
"$4" & journald=$!
trap 'kill $journald; wait $journald || true' EXIT
tries=0
while [ ! -S /run/systemd/journal/socket ]; do
    tries=$((tries + 1))
    [ $tries -lt 500 ]
    sleep 0.02
done
"$0" --ignored --exact "$2"
journalctl --sync
journalctl --no-pager -o json "MESSAGE_ID=$3" > "$1"
"#;

        fn in_namespace(script: &str, file: &Path, more: &[&str]) -> Option<Output> {
            if !rustix::process::geteuid().is_root() {
                println!("skipped: a mount namespace needs root");
                return None;
            }
            let probe = Command::new("unshare").args(["-m", "true"]).status();
            if !probe.is_ok_and(|status| status.success()) {
                println!("skipped: no mount namespace can be made here");
                return None;
            }
            let output = Command::new("unshare")
                .args(["-m", "--propagation", "private", "sh", "-c", script])
                .arg(std::env::current_exe().unwrap())
                .arg(file)
                .arg(SPEAKS)
                .args(more)
                .env("HERMES_TEST_JOURNAL", "1")
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            Some(output)
        }

        /// Runs in the namespace, in a separate process.
        #[tokio::test]
        #[ignore = "started by the tests below"]
        async fn speaks() {
            if std::env::var_os("HERMES_TEST_JOURNAL").is_none() {
                return;
            }
            let log = Log {
                level: "info".into(),
                format: LogFormat::Journald,
            };
            let (_log, _flush) = logging::start(&log, None).unwrap();
            tell_all().await;
        }

        #[test]
        fn a_notice_has_the_journals_own_message_id() {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("journal");
            if in_namespace(STAND_IN, &file, &[]).is_none() {
                return;
            }
            let journal = std::fs::read(&file).unwrap();
            for (_, kind) in HookEvent::NAMES {
                // The native protocol: name, length, value.
                let field = [
                    b"\nMESSAGE_ID\n\x20\0\0\0\0\0\0\0",
                    kind.message_id().as_bytes(),
                    b"\n",
                ]
                .concat();
                let found = journal.windows(field.len()).filter(|part| *part == field);
                assert_eq!(found.count(), 1, "{}", String::from_utf8_lossy(&journal));
            }
        }

        #[test]
        fn journalctl_finds_a_notice_by_its_message_id() {
            let journalctl = Command::new("journalctl").arg("--version").output();
            if !Path::new(JOURNALD).exists() || journalctl.is_err() {
                println!("skipped: journald or journalctl is missing");
                return;
            }
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("found");
            let id = HookEvent::LoginEnded.message_id();
            if in_namespace(REAL, &file, &[id, JOURNALD]).is_none() {
                return;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let found: Value = serde_json::from_str(&text).unwrap();
            for (field, value) in [
                ("MESSAGE_ID", id),
                ("MESSAGE", "this is login_ended"),
                ("PRIORITY", "3"),
                ("SYSLOG_IDENTIFIER", "hermes-proxyd"),
                ("HERMES_EVENT", "login_ended"),
                ("HERMES_PROVIDER", "nous"),
                ("HERMES_COMMAND", "hermesctl auth login nous"),
            ] {
                assert_eq!(found[field], value, "{text}");
            }
        }
    }
}
