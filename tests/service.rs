//! `systemd/hermes-proxyd.service` as it stands, under a real user manager and a real journald.
//!
//! The manager is an unprivileged user's, in a mount namespace and in control groups of the test's
//! own, so that the kernel keeps it from touching any other process. That takes root, and is
//! skipped with a word where that or something else is missing, and where systemd runs the machine:
//! there the control groups are its own.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test's helper may fail loudly")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{program, scratch};

/// Makes the control groups, runs the rest in them, and takes them away.
const OUTER: &str = r#"
set -u
own=hermes-proxyd-test-$$
groups=
for tree in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -f $tree/cgroup.procs ] && mkdir $tree/$own || continue
    groups="$groups $tree/$own"
    chown -R $1:$1 $tree/$own
done
sh -eu -c '
    for group in $3; do echo $$ > $group/cgroup.procs; done
    # A manager outside of its own group would move every process of the group that it is in.
    own=$(grep -cE "^([0-9]+:name=systemd|0:):/$4\$" /proc/self/cgroup)
    [ "$own" -eq "$(echo $3 | wc -w)" ] && [ "$own" -gt 0 ]
    exec unshare -m --propagation private sh -euc "$2" "$0" "$1"
' "$0" "$1" "$2" "$groups" $own
code=$?
for group in $groups; do find $group -depth -type d -exec rmdir {} +; done
exit $code
"#;

const INNER: &str = r#"
user=$1
export XDG_RUNTIME_DIR=/run/user/$user
mount -t tmpfs none /run
mkdir -p /run/log/journal /run/systemd/journald.conf.d /run/systemd/system $XDG_RUNTIME_DIR
printf '[Journal]\nStorage=volatile\nAudit=\nReadKMsg=no\n' > /run/systemd/journald.conf.d/test.conf
chown $user:$user $XDG_RUNTIME_DIR
chown -R $user:$user "$HOME"
chmod 700 $XDG_RUNTIME_DIR

as_user() { setpriv --reuid=$user --regid=$user --clear-groups "$@"; }
manage() { exec setpriv --reuid=$user --regid=$user --clear-groups /lib/systemd/systemd --user; }
control() { as_user systemctl --user "$@" hermes-proxyd; }
tries=0
again() {
    tries=$((tries + 1))
    [ $tries -lt 400 ]
    sleep 0.05
}

/lib/systemd/systemd-journald & journald=$!
manager=
trap 'kill $manager; wait $manager; kill $journald; wait $journald || true' EXIT
while [ ! -S /run/systemd/journal/stdout ]; do again; done
manage > "$HOME/manager.log" 2>&1 & manager=$!
while [ ! -S $XDG_RUNTIME_DIR/systemd/private ]; do again; done

control start
echo "status=$(control show -P StatusText)"
control reload
first=$(control show -P MainPID)
kill -KILL $first
while [ "$(control show -P SubState)" != running ] || [ "$(control show -P MainPID)" = $first ]; do again; done
echo "restarts=$(control show -P NRestarts)"
control stop
echo "result=$(control show -P Result)"
journalctl --sync
echo "listening=$(journalctl --no-pager -o cat SYSLOG_IDENTIFIER=hermes-proxyd MESSAGE=listening | wc -l)"
echo "reloaded=$(journalctl --no-pager -o cat SYSLOG_IDENTIFIER=hermes-proxyd MESSAGE=reloaded | wc -l)"
echo "stopped=$(journalctl --no-pager -o cat SYSLOG_IDENTIFIER=hermes-proxyd MESSAGE=stopped | wc -l)"
"#;

/// Nobody's, on every distribution.
const USER: &str = "65534";

/// Why the test can't run here.
fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("control groups of its own need root".to_owned());
    }
    if Path::new("/run/systemd/system").exists() {
        return Some("systemd runs this machine: use its own user manager".to_owned());
    }
    for file in [
        "/lib/systemd/systemd",
        "/lib/systemd/systemd-journald",
        "/sys/fs/cgroup",
    ] {
        if !Path::new(file).exists() {
            return Some(format!("there is no {file}"));
        }
    }
    let works = |name: &str, args: &[&str]| {
        let output = program(name, "/".as_ref()).args(args).output();
        output.is_ok_and(|output| output.status.success())
    };
    for (name, args) in [
        ("unshare", ["-m", "true"].as_slice()),
        ("setpriv", &["--dump"]),
        ("systemctl", &["--version"]),
        ("journalctl", &["--version"]),
    ] {
        if !works(name, args) {
            return Some(format!("{name} does not work"));
        }
    }
    let probe = format!(
        "/sys/fs/cgroup/systemd/hermes-proxyd-probe-{}",
        std::process::id()
    );
    let probe = if Path::new("/sys/fs/cgroup/systemd").exists() {
        probe
    } else {
        probe.replace("/systemd", "")
    };
    if let Err(error) = std::fs::create_dir(&probe) {
        return Some(format!("no control group can be made: {error}"));
    }
    std::fs::remove_dir(&probe).unwrap();
    None
}

#[test]
#[ignore = "makes control groups on this machine; run it with: cargo test --test service -- --ignored"]
fn the_service_file_works_under_a_real_user_manager() {
    if let Some(obstacle) = obstacle() {
        eprintln!("skipped: {obstacle}");
        return;
    }
    let home = scratch();
    let place = |from: &str, to: &str| {
        let to = home.path().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    place(
        env!("CARGO_BIN_EXE_hermes-proxyd"),
        ".local/bin/hermes-proxyd",
    );
    place(env!("CARGO_BIN_EXE_hermesctl"), ".local/bin/hermesctl");
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/hermes-proxyd.service");
    place(unit, ".config/systemd/user/hermes-proxyd.service");
    let config = home.path().join(".config/hermes-proxyd/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    std::fs::write(config, "[[listen]]\naddress = \"127.0.0.1:0\"\n").unwrap();

    let output = program("sh", home.path())
        .args(["-c", OUTER, "service-test", USER, INNER])
        .output()
        .unwrap();
    let manager = std::fs::read_to_string(home.path().join("manager.log")).unwrap_or_default();
    assert!(
        output.status.success(),
        "{}{manager}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let said: BTreeMap<_, _> = said
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    let expected = [
        // Ready only after it was told so.
        ("status", "nous needs a login"),
        ("restarts", "1"),
        ("result", "success"),
        ("listening", "2"),
        ("reloaded", "1"),
        ("stopped", "1"),
    ];
    assert_eq!(said, BTreeMap::from(expected), "{manager}");
}
