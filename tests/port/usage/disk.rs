//! Disks that can't be written: requests continue, and the counts are written as soon as possible.

use support::{mount_namespace, program, wrapped};

use super::*;

/// The state folder has no room left for the counts.
const FULL: &str = r#"
set -eu
state="$HOME/.local/state/hermes-proxyd"
mkdir -p "$state"
mount -t tmpfs -o size=256k,mode=700 none "$state"
cat /dev/zero > "$state/filler" 2> /dev/null || true
exec "$@"
"#;

const READ_ONLY: &str = r#"
set -eu
state="$HOME/.local/state/hermes-proxyd"
mkdir -p "$state"
mount -t tmpfs -o size=256k,mode=700 none "$state"
mkdir "$state/spent" "$state/journal"
mount -o remount,bind,ro "$state"
exec "$@"
"#;

fn confined(world: &World, namespace: &[&str], script: &str) -> Daemon {
    world.write_config("");
    let inner = world.command(&[]);
    let mut command = program("unshare", world.home.path());
    command.args(namespace).args(["sh", "-c", script, "sh"]);
    Daemon::start(wrapped(command, &inner), world.home.path())
}

/// What a daemon tells that can't save it.
fn trouble(home: &Path) -> String {
    let output = ctl(home, &["usage"]);
    let texts = [output.stdout, output.stderr].concat();
    String::from_utf8(texts).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_requests_go_on_and_their_counts_wait_for_room() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let daemon = confined(&world, namespace, FULL);
    for round in 1..=3 {
        for _ in 0..5 {
            assert_eq!(support::status_of(&daemon, &chat("x")).await, 200);
        }
        let text = trouble(home);
        assert!(text.contains("full"), "{round}: {text}");
    }
    daemon.wait_for_log("usage can't be saved");
    let status = daemon.status();
    let findings = status["findings"].as_array().unwrap().iter();
    let codes: Vec<_> = findings.map(|one| &one["code"]).collect();
    assert!(codes.contains(&&json!("usage_unsaved")), "{status:#}");
    let root = PathBuf::from(format!("/proc/{}/root", daemon.pid()));
    let filler = file(home).with_file_name("filler");
    std::fs::remove_file(root.join(filler.strip_prefix("/").unwrap())).unwrap();
    assert_eq!(told(home, "client")["total"]["requests"], 15);
    daemon.wait_for_log("usage is saved again");
    let told_once = daemon.logged().matches("usage can't be saved").count();
    assert_eq!(told_once, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_read_only_disk_requests_go_on() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    let world = World::new(Options::default()).await;
    let daemon = confined(&world, namespace, READ_ONLY);
    for _ in 0..5 {
        assert_eq!(support::status_of(&daemon, &chat("x")).await, 200);
    }
    let text = trouble(world.home.path());
    assert!(text.contains("ead-only"), "{text}");
}
