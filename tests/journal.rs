//! Started by systemd, the daemon logs to the journal with fields.
//!
//! A stand-in for journald's socket, in a mount namespace of the test's own: needs root, and is
//! skipped with a word where that is missing.

#![cfg(target_os = "linux")]

mod common;

use common::{program, scratch};

const SCRIPT: &str = r#"
set -eu
mount -t tmpfs none /run
mkdir -p /run/systemd/journal
python3 - "$HOME/journal" <<'PYTHON' &
import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind("/run/systemd/journal/socket")
listener.settimeout(20)
with open(sys.argv[1], "wb") as out:
    while b"listening" not in (message := listener.recv(65536)):
        out.write(message)
    out.write(message)
PYTHON
reader=$!
while [ ! -S /run/systemd/journal/socket ]; do sleep 0.02; done
: > "$HOME/stderr"
JOURNAL_STREAM=$(stat -c %d:%i "$HOME/stderr") "$0" --port 0 2> "$HOME/stderr" &
daemon=$!
wait $reader
kill $daemon
wait $daemon
"#;

#[test]
fn started_by_systemd_it_logs_to_the_journal_with_fields() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a mount namespace needs root");
        return;
    }
    let probe = program("unshare", "/".as_ref())
        .args(["-m", "true"])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mount namespace can be made here");
        return;
    }
    let home = scratch();
    let output = program("unshare", home.path())
        .args(["-m", "--propagation", "private", "sh", "-c", SCRIPT])
        .arg(env!("CARGO_BIN_EXE_hermes-proxyd"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let journal = std::fs::read(home.path().join("journal")).unwrap();
    let journal = String::from_utf8_lossy(&journal);
    for field in [
        "SYSLOG_IDENTIFIER",
        "hermes-proxyd",
        "PRIORITY",
        "HERMES_URL",
        "MESSAGE",
    ] {
        assert!(journal.contains(field), "no {field} in {journal}");
    }
    let stderr = std::fs::read_to_string(home.path().join("stderr")).unwrap();
    assert_eq!(stderr, "", "it was logged twice");
}
