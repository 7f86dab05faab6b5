//! Disks and folders that can't be written, stores that can't be read: no token is spent, the old one
//! serves, the error names the file, and all recovers as soon as the disk does.
//!
//! The disks are mounts in the daemon's namespace; if none can be made, their tests are skipped
//! with a note.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

mod hangs;
mod owners;

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mock_cloud::{Canned, Endpoint, Options, PortalFault};
use serde_json::Value;
use support::environment::{has, skipped};
use support::{
    Daemon, PATIENCE, World, chat, client, copy_program, mount_namespace, program, wrapped,
};
use tokio::sync::Semaphore;

/// A user other than root.
pub(crate) const NOBODY: u32 = 65534;

const FULL: &str = r#"
set -eu
cp "$HOME/.hermes/auth.json" "$HOME/aside"
mount -t tmpfs -o size=64k,mode=700 none "$HOME/.hermes"
cp "$HOME/aside" "$HOME/.hermes/auth.json"
chmod 600 "$HOME/.hermes/auth.json"
cat /dev/zero > "$HOME/.hermes/filler" 2> /dev/null || true
exec "$@"
"#;

const ROOMY: &str = r#"
set -eu
cp "$HOME/.hermes/auth.json" "$HOME/aside"
mount -t tmpfs -o size=64k,mode=700 none "$HOME/.hermes"
cp "$HOME/aside" "$HOME/.hermes/auth.json"
chmod 600 "$HOME/.hermes/auth.json"
exec "$@"
"#;

const READ_ONLY: &str = r#"
set -eu
mount --bind "$HOME/.hermes" "$HOME/.hermes"
mount -o remount,bind,ro "$HOME/.hermes"
exec "$@"
"#;

/// The folder of the spent tokens alone has no room.
const SPENT_FULL: &str = r#"
set -eu
spent="$HOME/.local/state/hermes-proxyd/spent"
mkdir -p "$spent"
mount -t tmpfs -o size=64k,mode=700 none "$spent"
cat /dev/zero > "$spent/filler" 2> /dev/null || true
exec "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn where_spent_tokens_can_not_be_noted_renewals_go_on_and_it_is_told() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    let world = World::new(Options::default()).await;
    let daemon = confined(&world, namespace, SPENT_FULL);
    daemon.renew().await;
    daemon.wait_for_log("spent refresh tokens can't be recorded on disk");
    daemon.renew().await;
    assert_eq!(ask(&daemon).await, 200);
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refreshes, counts.reuse_events),
        (2, 0),
        "{}",
        daemon.logged()
    );
    // Both are noted as soon as there is room.
    let root = PathBuf::from(format!("/proc/{}/root", daemon.pid()));
    let state = daemon.home.join(".local/state/hermes-proxyd/spent");
    let spent = root.join(state.strip_prefix("/").unwrap());
    std::fs::remove_file(spent.join("filler")).unwrap();
    let noted = || {
        let text = std::fs::read_to_string(spent.join("nous.txt")).unwrap_or_default();
        text.lines().count() == 3
    };
    until(&daemon, "both tokens on disk", noted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_no_token_is_spent_and_room_is_all_that_it_takes() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    let world = World::with_a_refresh_due(Options::default()).await;
    let daemon = confined(&world, namespace, FULL);
    let inside = hermes_home_inside(&daemon);
    assert_spends_nothing(&world, &daemon, &["auth.json", "No space left"]).await;
    std::fs::remove_file(inside.join("filler")).unwrap();
    assert_recovers(&world, &daemon, &inside, "a full disk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_while_the_answer_comes_loses_nothing() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    let world = World::with_a_refresh_due(Options::default()).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    let daemon = confined(&world, namespace, ROOMY);
    let inside = hermes_home_inside(&daemon);
    let spent = |cloud: &mock_cloud::MockCloud| cloud.counts().refreshes == 1;
    world.cloud.wait_for(PATIENCE, spent).await;
    let filler = std::fs::write(inside.join("filler"), vec![0; 64 * 1024]);
    assert!(filler.is_err(), "there is still room");
    gate.add_permits(1);
    daemon.wait_for_log("the login was renewed");
    let status = daemon.status();
    assert_eq!(status["providers"][0]["unsaved"], false, "{status}");
    assert_eq!(
        status["providers"][0]["last_error"],
        Value::Null,
        "{status}"
    );
    assert_eq!(
        stored_token(&inside),
        world.cloud.current_refresh_token(world.family())
    );
    assert_eq!(ask(&daemon).await, 200);
    println!("a disk that fills up while the answer comes: 1 refresh, on disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_read_only_disk_no_token_is_spent_and_writing_is_all_that_it_takes() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    let world = World::with_a_refresh_due(Options::default()).await;
    let daemon = confined(&world, namespace, READ_ONLY);
    assert_spends_nothing(
        &world,
        &daemon,
        &["/.hermes/auth.", "Read-only file system"],
    )
    .await;
    let mut remount = program("nsenter", world.home.path());
    if namespace.contains(&"-Ur") {
        remount.args(["-U", "--preserve-credentials"]);
    }
    remount.args(["-t", &daemon.pid().to_string(), "-m"]);
    remount.args(["mount", "-o", "remount,bind,rw"]);
    let done = remount
        .arg(world.home.path().join(".hermes"))
        .status()
        .unwrap();
    assert!(done.success());
    assert_recovers(
        &world,
        &daemon,
        &world.home.path().join(".hermes"),
        "a read-only disk",
    )
    .await;
}

/// `VirtualBox` shares, older CIFS and some FUSE file systems sync no folder: what was written
/// is written.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_synced_renewals_are_saved_and_a_key_is_shown() {
    if !has("strace") {
        return;
    }
    for error in ["EINVAL", "EOPNOTSUPP"] {
        let world = World::with_a_refresh_due(Options::default()).await;
        world.write_mirror();
        world.write_config("");
        let mut strace = program("strace", world.home.path());
        let inject = format!("--inject=fsync:error={error}");
        // The tracer is the grandchild (-D), so that the daemon is ours to end.
        strace.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
        strace.args(["-e", "trace=fsync", &inject]);
        let daemon = Daemon::start(wrapped(strace, &world.command(&[])), world.home.path());
        daemon.wait_for_log("the login was renewed");
        let status = daemon.status();
        assert_eq!(status["providers"][0]["unsaved"], false, "{status}");
        assert_eq!(last_error(&daemon), "", "{error}");
        let added = daemon_ctl(&daemon, &["clients", "add", "app"]);
        assert!(added.status.success(), "{added:?}");
        assert!(
            String::from_utf8_lossy(&added.stdout).contains("hpx-"),
            "{added:?}"
        );
    }
}

/// A disk that fails at the last step has registered the key, so it is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_registered_is_shown_even_if_the_disk_fails_then() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root sees which folder the daemon syncs");
        return;
    }
    if !has("strace") {
        return;
    }
    let world = World::new(Options::default()).await;
    world.write_config("");
    let state = world.home.path().join(".local/state/hermes-proxyd");
    std::fs::create_dir_all(&state).unwrap();
    let mut strace = program("strace", world.home.path());
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync"]);
    strace.arg("-P").arg(&state).arg("--inject=fsync:error=EIO");
    let daemon = Daemon::start(wrapped(strace, &world.command(&[])), world.home.path());
    let added = daemon_ctl(&daemon, &["clients", "add", "app"]);
    assert!(added.status.success(), "{added:?}");
    assert!(
        String::from_utf8_lossy(&added.stdout).contains("hpx-"),
        "{added:?}"
    );
    daemon.wait_for_log("may not outlive a crash");
}

/// A file system that answers late has made the change by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_have_been_registered_is_told_with_the_command_that_shows_one() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root sees which folder the daemon syncs");
        return;
    }
    if !has("strace") {
        return;
    }
    let world = World::new(Options::default()).await;
    world.write_config("");
    let state = world.home.path().join(".local/state/hermes-proxyd");
    std::fs::create_dir_all(&state).unwrap();
    let mut strace = program("strace", world.home.path());
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync"]);
    let late = "--inject=fsync:delay_enter=22s:when=1";
    strace.arg("-P").arg(&state).arg(late);
    let daemon = Daemon::start(wrapped(strace, &world.command(&[])), world.home.path());
    let added = daemon_ctl(&daemon, &["clients", "add", "app"]);
    let said = String::from_utf8_lossy(&added.stderr).into_owned();
    assert!(!added.status.success(), "{added:?}");
    assert!(said.contains("may be made"), "{said}");
    assert!(said.contains("`hermesctl clients list`"), "{said}");
    assert!(said.contains("`hermesctl clients rotate app`"), "{said}");
    until(&daemon, "the key", || {
        let listed = daemon_ctl(&daemon, &["clients", "list"]);
        String::from_utf8_lossy(&listed.stdout).contains("app")
    })
    .await;
}

/// The portal is asked for nothing, and the user hears of it long before the token ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_within_seconds() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    let world = World::new(Options::default()).await;
    let daemon = confined(&world, namespace, FULL);
    daemon.wait_for_log("login_not_saved");
    let error = last_error(&daemon);
    assert!(
        error.contains("No space left") && error.contains("`df -h"),
        "{error}"
    );
    let inside = hermes_home_inside(&daemon);
    std::fs::remove_file(inside.join("filler")).unwrap();
    daemon.wait_for_log("login_restored");
    assert_eq!(last_error(&daemon), "");
    assert_eq!(world.cloud.counts().refresh_calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_without_the_right_to_write_no_token_is_spent() {
    let world = World::with_a_refresh_due(Options::default()).await;
    let home = world.home.path().join(".hermes");
    std::fs::set_permissions(&home, PermissionsExt::from_mode(0o500)).unwrap();
    let Some(daemon) = as_nobody(&world, || {}) else {
        return;
    };
    assert_spends_nothing(&world, &daemon, &["/.hermes/auth.", "Permission denied"]).await;
    std::fs::set_permissions(&home, PermissionsExt::from_mode(0o700)).unwrap();
    assert_recovers(&world, &daemon, &home, "a folder of mode 0500").await;
}

pub(crate) fn daemon_ctl(daemon: &Daemon, args: &[&str]) -> std::process::Output {
    support::ctl(&daemon.home, args)
}

/// The daemon's own folder stays root's, so that each test has its own.
pub(crate) fn keep_runtime_folder(world: &World) {
    chown(world.home.path().join("run"), Some(0), Some(0)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_cut_in_half_is_left_alone_until_it_is_whole_again() {
    assert_survives_a_broken_store("a store cut in half", |store| {
        let text = std::fs::read(store).unwrap();
        std::fs::write(store, &text[..text.len() / 2]).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_the_stores_place_is_left_alone_until_the_store_is_back() {
    assert_survives_a_broken_store("a folder for a store", |store| {
        std::fs::remove_file(store).unwrap();
        std::fs::create_dir(store).unwrap();
    })
    .await;
}

/// A refresh is due all the time, and the store can't be read.
async fn assert_survives_a_broken_store(what: &str, break_it: impl Fn(&Path)) {
    let world = World::with_a_refresh_due(Options::default()).await;
    let outage = PortalFault::Answer(Canned::status(503));
    world.cloud.break_portal(Endpoint::Refresh, outage);
    let daemon = world.daemon();
    let asked = |cloud: &mock_cloud::MockCloud| cloud.counts().refresh_calls > 0;
    world.cloud.wait_for(PATIENCE, asked).await;
    let (store, aside) = (world.store_file(), world.home.path().join("aside"));
    std::fs::copy(&store, &aside).unwrap();
    break_it(&store);
    let broken = snapshot(&store);
    until(&daemon, "the error names the store", || {
        last_error(&daemon).contains("auth.json")
    })
    .await;
    let error = last_error(&daemon);
    // The portal is well, the refresh is due, and still nothing is spent.
    world.cloud.heal();
    let calls = world.cloud.counts().refresh_calls;
    let (deadline, mut served) = (Instant::now() + Duration::from_secs(3), 0);
    while Instant::now() < deadline {
        assert_eq!(ask(&daemon).await, 200, "{}", daemon.logged());
        served += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        world.cloud.counts().refresh_calls,
        calls,
        "it spends a token that it can't keep"
    );
    assert_eq!(
        snapshot(&store),
        broken,
        "the broken store was written over"
    );
    if store.is_dir() {
        std::fs::remove_dir(&store).unwrap();
    }
    std::fs::rename(&aside, &store).unwrap();
    println!("{what}: {served} requests from memory, 0 calls; {error}");
    assert_recovers(&world, &daemon, &world.home.path().join(".hermes"), what).await;
}

/// For some seconds nothing is asked of the portal, requests are served, and the error says what helps.
pub(crate) async fn assert_spends_nothing(world: &World, daemon: &Daemon, words: &[&str]) {
    until(daemon, "an error", || {
        words.iter().all(|word| last_error(daemon).contains(word))
    })
    .await;
    let (deadline, mut served) = (Instant::now() + Duration::from_secs(2), 0);
    while Instant::now() < deadline {
        assert_eq!(ask(daemon).await, 200, "{}", daemon.logged());
        served += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.cloud.counts().refresh_calls, 0, "a token was spent");
    println!(
        "{served} requests with the old token, 0 calls; {}",
        last_error(daemon)
    );
}

/// The refresh that was due happens on its own, and is on disk.
pub(crate) async fn assert_recovers(world: &World, daemon: &Daemon, home: &Path, after: &str) {
    let started = Instant::now();
    let written = || {
        world.cloud.counts().refreshes == 1
            && stored_token(home) == world.cloud.current_refresh_token(world.family())
    };
    // The backoff has grown meanwhile.
    until_within(Duration::from_mins(1), daemon, "the refresh", written).await;
    let took = started.elapsed();
    until(daemon, "no error", || last_error(daemon).is_empty()).await;
    assert_eq!(ask(daemon).await, 200);
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.reuse_events, counts.unauthorized),
        (0, 0),
        "{counts:?}"
    );
    assert!(world.cloud.is_alive(world.family()));
    println!(
        "{after}: refreshed {:.1} s after it was mended",
        took.as_secs_f64()
    );
}

pub(crate) async fn until(daemon: &Daemon, what: &str, condition: impl Fn() -> bool) {
    until_within(PATIENCE, daemon, what, condition).await;
}

pub(crate) async fn until_within(
    limit: Duration,
    daemon: &Daemon,
    what: &str,
    condition: impl Fn() -> bool,
) {
    let waiting = async {
        while !tokio::task::block_in_place(&condition) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(limit, waiting).await;
    assert!(done.is_ok(), "{what} never came:\n{}", daemon.logged());
}

/// Within a minute a request is answered with this status; until then each is answered soon.
pub(crate) async fn answers(daemon: &Daemon, wanted: u16) {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let asked = tokio::time::timeout(PATIENCE, ask(daemon)).await;
        let status = asked.unwrap_or_else(|_| panic!("no answer:\n{}", daemon.logged()));
        if status == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{status}:\n{}", daemon.logged());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) async fn ask(daemon: &Daemon) -> u16 {
    let request = client()
        .post(daemon.url("/chat/completions"))
        .json(&chat("x"));
    request.send().await.unwrap().status().as_u16()
}

/// What `proxy status` tells; empty without an error.
pub(crate) fn last_error(daemon: &Daemon) -> String {
    let status = daemon.status();
    let message = &status["providers"][0]["last_error"]["message"];
    message.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn stored_token(home: &Path) -> Option<String> {
    let text = std::fs::read(home.join("auth.json")).ok()?;
    let store: Value = serde_json::from_slice(&text).unwrap();
    store["providers"]["nous"]["refresh_token"]
        .as_str()
        .map(str::to_owned)
}

/// What is at a path: a file's content, or that it is a folder.
fn snapshot(path: &Path) -> Option<Vec<u8>> {
    if path.is_dir() {
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
        return None;
    }
    Some(std::fs::read(path).unwrap())
}

/// The daemon in a mount namespace that a script has prepared.
pub(crate) fn confined(world: &World, namespace: &[&str], script: &str) -> Daemon {
    world.write_config("");
    let inner = world.command(&[]);
    let mut command = program("unshare", world.home.path());
    command.args(namespace).args(["sh", "-c", script, "sh"]);
    Daemon::start(wrapped(command, &inner), world.home.path())
}

/// `~/.hermes` as the daemon in its namespace sees it.
fn hermes_home_inside(daemon: &Daemon) -> PathBuf {
    let home = daemon.home.join(".hermes");
    let root = PathBuf::from(format!("/proc/{}/root", daemon.pid()));
    root.join(home.strip_prefix("/").unwrap())
}

/// The daemon without root's rights, started after `prepare`. To root a folder's mode means nothing.
pub(crate) fn as_nobody(world: &World, prepare: impl FnOnce()) -> Option<Daemon> {
    world.write_config("");
    let mut inner = world.command(&[]);
    if rustix::process::geteuid().is_root() {
        if !has("setpriv") {
            return None;
        }
        // The build's own folder may be closed to others.
        let copy = world.home.path().join("hermes-proxyd");
        copy_program(inner.get_program(), &copy);
        give_to_nobody(world.home.path());
        prepare();
        let mut outer = program("setpriv", world.home.path());
        let user = NOBODY.to_string();
        outer.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        let mut direct = program(copy, world.home.path());
        direct.args(inner.get_args());
        for (name, value) in inner.get_envs() {
            direct.env(name, value.unwrap_or_default());
        }
        inner = wrapped(outer, &direct);
    }
    Some(Daemon::start(inner, world.home.path()))
}

pub(crate) fn give_to_nobody(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_to_nobody(&entry.unwrap().path());
        }
    }
}
