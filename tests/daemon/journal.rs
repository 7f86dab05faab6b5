//! Started by systemd, the daemon logs to the journal with fields.
//!
//! A stand-in for journald's socket, and the real journald, in a mount namespace for the test:
//! needs root, and is skipped with a note if that or journald is missing.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helper may fail loudly and says why it skips"
)]

use std::path::Path;
use std::process::Command;

use hermes_proxy::hooks::HookEvent;
use mock_cloud::Options;
use serde_json::Value;
use support::environment::{has, lacking, skipped, works};
use support::{World, program, scratch};

const JOURNALD: &str = "/lib/systemd/systemd-journald";

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

/// The real journald, which leaves the kernel's own log and audit alone, and a daemon that logs to it.
/// Finds the address that it listens at.
const REAL: &str = r#"
set -eu
mount -t tmpfs none /run
mkdir -p /run/log/journal /run/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nAudit=\nReadKMsg=no\n' > /run/systemd/journald.conf.d/test.conf
"$1" & journald=$!
daemon=
follower=
trap 'kill $daemon $journald $follower; wait $daemon $journald || true' EXIT
tries=0
again() {
    tries=$((tries + 1))
    [ $tries -lt 400 ]
    sleep 0.05
}
while [ ! -S /run/systemd/journal/socket ]; do again; done
"$0" --port 0 --log-format journald & daemon=$!
seek() {
    until journalctl --sync && journalctl --no-pager -o json "$@" > "$HOME/found" && [ -s "$HOME/found" ]
    do again; done
}
seek SYSLOG_IDENTIFIER=hermes-proxyd MESSAGE=listening
url=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["HERMES_URL"])' < "$HOME/found")
ask() {
    curl -s -o /dev/null -D "$HOME/head" -H "Content-Type: application/json" -d '{"model": "x"}' "$url/$1"
    id=$(sed -n 's/^x-hermes-request-id: *\([0-9a-f]*\).*/\1/p' "$HOME/head")
}
"#;

/// With a message id, a request is made, and the entry sought that it leads to.
const SOUGHT: &str = r#"
if [ -n "$2" ]; then
    ask chat/completions
    seek "MESSAGE_ID=$2"
fi
"#;

/// Two requests, and what hermesctl says of them, a file for each question.
const ASKED: &str = r#"
ctl=$2
ask chat/completions
echo "$id" > "$HOME/good"
ask nowhere
echo "$id" > "$HOME/bad"
seek "HERMES_ID=$id"
logs() {
    name=$1
    shift
    "$ctl" logs --json "$@" > "$HOME/$name.json"
}
logs all
logs one -n 1
logs since --since 1h
logs later --since 2099-01-01
logs errors --errors
logs request --request "$(cat "$HOME/good")"
"$ctl" logs -f -n 1 --json > "$HOME/follow.json" & follower=$!
while [ ! -s "$HOME/follow.json" ]; do again; done
# Another path: the same one would only be counted.
ask elsewhere
echo "$id" > "$HOME/new"
until grep -q "$id" "$HOME/follow.json"; do again; done
kill -INT $follower
code=0
wait $follower || code=$?
follower=
echo $code > "$HOME/code"
"#;

/// Whether a mount namespace can be made; says why not.
fn can_mount() -> bool {
    if !rustix::process::geteuid().is_root() {
        skipped("a mount namespace needs root");
        return false;
    }
    works("unshare", &["-m", "true"])
}

/// Runs the daemon under the real journald, then the script with its one argument; `false` where that
/// can't be.
fn in_the_real_journal(command: &mut Command, script: &str, argument: &str) -> bool {
    if !can_mount() || !has("journalctl") {
        return false;
    }
    if !Path::new(JOURNALD).exists() {
        lacking("journald");
        return false;
    }
    let script = [REAL, script].concat();
    let output = command
        .args(["-m", "--propagation", "private", "sh", "-c", &script])
        .args([env!("CARGO_BIN_EXE_hermes-proxyd"), JOURNALD, argument])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

/// The entry with this message id, or with the address.
fn sought(command: &mut Command, home: &Path, id: &str) -> Option<Value> {
    if !in_the_real_journal(command, SOUGHT, id) {
        return None;
    }
    let found = std::fs::read_to_string(home.join("found")).unwrap();
    serde_json::from_str(&found).unwrap()
}

#[test]
fn journalctl_finds_what_the_daemon_logs_by_its_fields() {
    let home = scratch();
    let mut command = program("unshare", home.path());
    let Some(entry) = sought(&mut command, home.path(), "") else {
        return;
    };
    assert_eq!(entry["PRIORITY"], "5");
    assert_eq!(entry["_COMM"], "hermes-proxyd");
    let url = entry["HERMES_URL"].as_str().unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{entry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn journalctl_finds_a_dead_login_by_its_message_id() {
    let world = World::new(Options::default()).await;
    world.cloud.revoke(world.family());
    let mut command = program("unshare", world.home.path());
    command
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url());
    let id = HookEvent::LoginEnded.message_id();
    let Some(entry) = sought(&mut command, world.home.path(), id) else {
        return;
    };
    assert_eq!(entry["MESSAGE_ID"], id);
    assert_eq!(entry["PRIORITY"], "3");
    assert_eq!(entry["HERMES_PROVIDER"], "nous");
}

#[tokio::test(flavor = "multi_thread")]
async fn hermesctl_shows_what_is_in_the_journal() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let mut command = program("unshare", home);
    command
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url());
    let ctl = env!("CARGO_BIN_EXE_hermesctl");
    if !in_the_real_journal(&mut command, ASKED, ctl) {
        return;
    }
    let text = |name: &str| std::fs::read_to_string(home.join(name)).unwrap();
    let id = |name: &str| text(name).trim().to_owned();
    let (good, bad, new) = (id("good"), id("bad"), id("new"));
    assert!(
        !good.is_empty() && good != bad && bad != new,
        "{good} {bad} {new}"
    );
    let shown = |name: &str| -> Vec<Value> {
        let text = text(&format!("{name}.json"));
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    };
    let ids = |name: &str| -> Vec<String> {
        let entries = shown(name).into_iter();
        let ids = entries.filter_map(|entry| Some(entry["fields"]["id"].as_str()?.to_owned()));
        ids.collect()
    };
    let all = shown("all");
    assert!(
        all.iter().any(|entry| entry["message"] == "listening"),
        "{all:?}"
    );
    assert_eq!(ids("all"), [&*good, &*bad]);
    assert_eq!(shown("one"), all[all.len() - 1..]);
    assert_eq!(shown("since"), all);
    assert_eq!(shown("later"), [Value::Null; 0]);
    assert_eq!(ids("errors"), [&*bad]);
    assert_eq!(ids("request"), [&*good]);
    let request = &shown("request")[0];
    assert_eq!(request["fields"]["status"], "200", "{request}");
    assert_eq!(request["fields"]["provider"], "nous");
    let followed = ids("follow");
    assert_eq!(followed.iter().filter(|id| **id == new).count(), 1);
    assert_eq!(followed.last(), Some(&new));
    assert_eq!(id("code"), "130");
    let seen = text("all.json") + &text("follow.json");
    world.assert_no_secret_in("the log", &seen);
}

#[test]
fn started_by_systemd_it_logs_to_the_journal_with_fields() {
    if !can_mount() {
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
