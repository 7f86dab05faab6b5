//! Disks and folders that can't be written, stores that can't be read: no token is spent, the old one
//! serves, the error names the file, and all is well again as soon as the disk is.
//!
//! The disks are mounts in a namespace of the daemon's own; where none can be made, their tests are
//! skipped with a word.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mock_cloud::{Canned, Endpoint, Options, PortalFault};
use serde_json::Value;
use support::environment::{has, skipped};
use support::hermes::fingerprint;
use support::{
    Daemon, PATIENCE, World, chat, client, copy_program, mount_namespace, program, wrapped,
};

/// Someone who is not root.
const NOBODY: u32 = 65534;
/// Somebody else again.
const STRANGER: u32 = 54321;
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
    let slow = PortalFault::DelayAfterCommit(Duration::from_millis(500));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
    let daemon = confined(&world, namespace, ROOMY);
    let inside = hermes_home_inside(&daemon);
    let spent = |cloud: &mock_cloud::MockCloud| cloud.counts().refreshes == 1;
    world.cloud.wait_for(PATIENCE, spent).await;
    let filler = std::fs::write(inside.join("filler"), vec![0; 64 * 1024]);
    assert!(filler.is_err(), "there is still room");
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

/// A mount whose server is away, as of a network file system: whoever touches it waits.
const HUNG: &str = r#"
exec 3<> /dev/fuse
for folder in "$@"; do
    mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung "$folder" && break
done
# Nobody ever answers; when this ends, so does the waiting.
read -r _
"#;

/// Everything that is read now and then hangs: store, mirror, client keys and configuration.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_home_hangs_requests_are_served_and_afterwards_all_is_well() {
    let Some(namespace) = namespace_with_fuse() else {
        return;
    };
    let world = World::new(Options::default()).await;
    world.write_mirror();
    let daemon = confined(&world, namespace, "exec \"$@\"");
    assert_eq!(ask(&daemon).await, 200);
    let home = world.home.path();
    let mut hung = Vec::new();
    for folder in [
        ".hermes",
        ".local/state/hermes-proxyd",
        ".config/hermes-proxyd",
    ] {
        hung.push(Hung::begin(&daemon, &home.join(folder)).await);
    }
    served_for(Duration::from_secs(25), &daemon).await;
    until(&daemon, "the error", || {
        last_error(&daemon).contains("has not answered")
    })
    .await;
    for hung in hung {
        hung.end();
    }
    until_within(Duration::from_mins(1), &daemon, "no error", || {
        last_error(&daemon).is_empty()
    })
    .await;
    let refreshed = daemon_ctl(&daemon, &["auth", "refresh"]);
    assert!(
        refreshed.status.success(),
        "{refreshed:?}\n{}",
        daemon.logged()
    );
    assert_eq!(
        stored_token(&home.join(".hermes")),
        world.cloud.current_refresh_token(world.family())
    );
}

/// The journal lies in the state folder, which need not be on the home's disk.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_journals_folder_hangs_streams_go_on_and_no_token_is_spent() {
    let Some(namespace) = namespace_with_fuse() else {
        return;
    };
    let world = World::new(Options::default()).await;
    let journal = world.home.path().join(".local/state/hermes-proxyd/journal");
    std::fs::create_dir_all(&journal).unwrap();
    let daemon = confined(&world, namespace, "exec \"$@\"");
    let stream = stream(&daemon).await;
    let store = world.store_file();
    let login = std::fs::read(&store).unwrap();
    let hung = Hung::begin(&daemon, &journal).await;
    // Another program logs out, and in again.
    std::fs::write(&store, "{}").unwrap();
    answers(&daemon, 401).await;
    std::fs::write(&store, &login).unwrap();
    answers(&daemon, 200).await;
    let refused = daemon_ctl(&daemon, &["auth", "refresh"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success(), "{refused:?}");
    assert!(said.contains("/journal can't be read"), "{said}");
    assert_eq!(world.cloud.counts().refresh_calls, 0, "a token was spent");
    hung.end();
    let renewed = || daemon_ctl(&daemon, &["auth", "refresh"]).status.success();
    until_within(Duration::from_mins(1), &daemon, "the renewal", renewed).await;
    assert_eq!(last_error(&daemon), "");
    assert_eq!(
        stored_token(&world.home.path().join(".hermes")),
        world.cloud.current_refresh_token(world.family())
    );
    assert_eq!(std::fs::read_dir(&journal).unwrap().count(), 0);
    stream.1.cancel();
    let times = stream.0.await.unwrap();
    let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = pauses.max().unwrap();
    assert!(longest < Duration::from_secs(3), "silent for {longest:?}");
}

/// A login that comes while nobody can read its journal: the journal is read as soon as it can be, and
/// not when the token ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_was_cut_off_is_finished_once_the_journals_folder_answers() {
    let Some(namespace) = namespace_with_fuse() else {
        return;
    };
    let world = World::new(Options::default()).await;
    let store = world.store_file();
    let login = std::fs::read(&store).unwrap();
    let token = stored_token(&world.home.path().join(".hermes")).unwrap();
    std::fs::write(&store, "{}").unwrap();
    let journal = journal(&world);
    let entry = serde_json::json!({
        "version": 1,
        "refresh_token_fingerprint": fingerprint(&token),
        "started_at": "2026-11-23T12:00:00Z",
        "pid": 1,
    });
    std::fs::write(journal.with_extension("json"), entry.to_string()).unwrap();
    let daemon = confined(&world, namespace, "exec \"$@\"");
    answers(&daemon, 401).await;
    let hung = Hung::begin(&daemon, journal.parent().unwrap()).await;
    std::fs::write(&store, &login).unwrap();
    answers(&daemon, 200).await;
    assert_eq!(world.cloud.counts().refresh_calls, 0, "a token was spent");
    hung.end();
    let finished = || world.cloud.counts().refreshes == 1;
    until(&daemon, "the refresh", finished).await;
    let saved = || {
        let current = world.cloud.current_refresh_token(world.family());
        stored_token(&world.home.path().join(".hermes")) == current
    };
    until(&daemon, "the login on disk", saved).await;
    assert_eq!(world.cloud.counts().refresh_calls, 1);
}

/// The token is due, and no look at the store shows what is in the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_hangs_from_the_first_look_on_is_told_and_stays_told() {
    let Some(namespace) = namespace_with_fuse() else {
        return;
    };
    let world = World::with_a_refresh_due(Options::default()).await;
    let store = world.store_file();
    let login = std::fs::read(&store).unwrap();
    std::fs::write(&store, "{}").unwrap();
    let journal = journal(&world);
    let daemon = confined(&world, namespace, "exec \"$@\"");
    answers(&daemon, 401).await;
    let hung = Hung::begin(&daemon, journal.parent().unwrap()).await;
    std::fs::write(&store, &login).unwrap();
    let code = || {
        let status = daemon_ctl(&daemon, &["proxy", "status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["providers"][0]["last_error"]["code"].clone()
    };
    let told = || daemon.logged().contains("login_not_saved");
    until_within(Duration::from_mins(1), &daemon, "the notice", told).await;
    let deadline = Instant::now() + Duration::from_secs(7);
    while Instant::now() < deadline {
        assert_eq!(code(), "store_unusable", "{}", daemon.logged());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(world.cloud.counts().refresh_calls, 0, "a token was spent");
    hung.end();
    assert_recovers(
        &world,
        &daemon,
        &world.home.path().join(".hermes"),
        "a journal that hung",
    )
    .await;
    assert_eq!(code(), Value::Null);
}

/// What can't be read may be the login that replaces the stored one, whose token is spent.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_login_that_can_not_be_read_is_neither_passed_over_nor_removed() {
    let world = World::with_a_refresh_due(Options::default()).await;
    let home = world.home.path().join(".hermes");
    let spent = stored_token(&home).unwrap();
    let before = std::fs::read(world.store_file()).unwrap();
    let renewed = world.hermesctl(&["auth", "refresh"]).output().unwrap();
    assert!(renewed.status.success(), "{renewed:?}");
    let kept = serde_json::json!({
        "replaces": [fingerprint(&spent)],
        "login": world.store()["providers"]["nous"],
    });
    std::fs::remove_dir_all(home.join("shared")).ok();
    std::fs::write(world.store_file(), before).unwrap();
    let file = journal(&world).with_extension("login");
    // Nobody reads it, not even root.
    let made = program("mkfifo", &home).arg(&file).status().unwrap();
    assert!(made.success());
    let daemon = world.daemon();
    until(&daemon, "the error", || {
        last_error(&daemon).contains(".login")
    })
    .await;
    assert_eq!(ask(&daemon).await, 200);
    assert_eq!(world.cloud.counts().refresh_calls, 1, "the spent one again");
    assert!(file.symlink_metadata().is_ok(), "it was removed");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, kept.to_string()).unwrap();
    let current = world.cloud.current_refresh_token(world.family());
    until(&daemon, "the kept login in its place", || {
        stored_token(&home) == current
    })
    .await;
    until(&daemon, "no error", || last_error(&daemon).is_empty()).await;
    assert!(!file.exists(), "the login lies about");
    let counts = world.cloud.counts();
    assert_eq!((counts.refresh_calls, counts.reuse_events), (1, 0));
}

/// The journal of the world's login, without the ending of its file's name. Its folder is made.
fn journal(world: &World) -> PathBuf {
    let folder = world.home.path().join(".local/state/hermes-proxyd/journal");
    std::fs::create_dir_all(&folder).unwrap();
    let store = fingerprint(world.store_file().to_str().unwrap());
    folder.join(format!("nous-{store}"))
}

/// Where no session has a runtime folder, as in a container and on macOS, it is the state folder.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_control_sockets_folder_hangs_requests_are_served() {
    let Some(namespace) = namespace_with_fuse() else {
        return;
    };
    if Path::new("/run/user/0").exists() {
        skipped("root has a runtime folder");
        return;
    }
    let world = World::new(Options::default()).await;
    world.write_config("");
    let mut inner = world.command(&[]);
    inner.env("XDG_RUNTIME_DIR", "");
    let mut command = program("unshare", world.home.path());
    command.args(namespace);
    let daemon = Daemon::start(wrapped(command, &inner), world.home.path());
    assert_eq!(ask(&daemon).await, 200);
    let state = world.home.path().join(".local/state/hermes-proxyd");
    assert!(state.join("control.sock").exists());
    let hung = Hung::begin(&daemon, &state).await;
    served_for(Duration::from_secs(8), &daemon).await;
    hung.end();
}

/// A mount namespace in which a file system can be made that hangs.
fn namespace_with_fuse() -> Option<&'static [&'static str]> {
    let namespace = mount_namespace()?;
    if namespace.contains(&"-Ur") || !Path::new("/dev/fuse").exists() {
        skipped("FUSE and root make a file system that hangs");
        return None;
    }
    Some(namespace)
}

/// A folder that hangs in a daemon's namespace.
struct Hung {
    server: std::process::Child,
    unmount: std::process::Command,
}

impl Hung {
    async fn begin(daemon: &Daemon, folder: &Path) -> Self {
        let inside = |script: &str| {
            let mut nsenter = program("nsenter", &daemon.home);
            nsenter.args(["-t", &daemon.pid().to_string(), "-m"]);
            nsenter.args(["sh", "-c", script, "sh"]).arg(folder);
            nsenter
        };
        let mut server = inside(HUNG);
        let server = server.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mounts = format!("/proc/{}/mountinfo", daemon.pid());
        until(daemon, "the mount", || {
            let mounts = std::fs::read_to_string(&mounts).unwrap();
            mounts.contains(&format!(" {} ", folder.display()))
        })
        .await;
        let unmount = inside("umount -l \"$1\"");
        Self { server, unmount }
    }

    fn end(mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        assert!(self.unmount.status().unwrap().success());
    }
}

/// A stream that is read all the time.
struct Watched(
    tokio::task::JoinHandle<Vec<Instant>>,
    tokio_util::sync::CancellationToken,
);

async fn stream(daemon: &Daemon) -> Watched {
    let mut body = chat("x");
    body["stream"] = true.into();
    body["mock"] = serde_json::json!({"events": 3000, "delay_chunk_ms": 100});
    let request = client().post(daemon.url("/chat/completions")).json(&body);
    let mut answer = request.send().await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.clone();
    let reading = tokio::spawn(async move {
        let mut times = vec![Instant::now()];
        while let Some(Ok(Some(_))) = stopped.run_until_cancelled(answer.chunk()).await {
            times.push(Instant::now());
        }
        times
    });
    Watched(reading, stop)
}

/// Longer than the pauses between any two looks at a file; a reload reads them all at once.
async fn served_for(duration: Duration, daemon: &Daemon) {
    let (deadline, mut served, mut slowest) = (Instant::now() + duration, 0, Duration::ZERO);
    while Instant::now() < deadline {
        if served % 20 == 10 {
            daemon.signal(rustix::process::Signal::HUP);
        }
        let started = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, ask(daemon)).await;
        let logged = || daemon.logged();
        assert_eq!(asked, Ok(200), "after {served} requests:\n{}", logged());
        slowest = slowest.max(started.elapsed());
        served += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{served} requests while the home hung, the slowest in {slowest:?}");
}

/// A named pipe in a file's place would keep whoever opens it waiting for its other end.
#[tokio::test(flavor = "multi_thread")]
async fn pipes_in_the_place_of_files_keep_nobody_waiting() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    assert_eq!(ask(&daemon).await, 200);
    let home = world.home.path();
    let (store, aside) = (world.store_file(), home.join("aside"));
    std::fs::rename(&store, &aside).unwrap();
    for file in [".hermes/auth.json", ".hermes/auth.lock"] {
        let file = home.join(file);
        std::fs::remove_file(&file).ok();
        let made = program("mkfifo", home).arg(&file).status().unwrap();
        assert!(made.success());
    }
    until(&daemon, "the error", || {
        last_error(&daemon).contains("not a regular file")
    })
    .await;
    let refused = daemon_ctl(&daemon, &["auth", "refresh"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(ask(&daemon).await, 200, "{}", daemon.logged());
    std::fs::remove_file(home.join(".hermes/auth.lock")).unwrap();
    std::fs::rename(&aside, &store).unwrap();
    until(&daemon, "no error", || last_error(&daemon).is_empty()).await;
    let refreshed = daemon_ctl(&daemon, &["auth", "refresh"]);
    assert!(refreshed.status.success(), "{refreshed:?}");
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

/// Replacing it would take it from its owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_somebody_else_is_refused_before_a_token_is_spent() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root makes a file of somebody else");
        return;
    }
    let world = World::with_a_refresh_due(Options::default()).await;
    let (store, home) = (world.store_file(), world.home.path().join(".hermes"));
    let theirs = || {
        chown(&store, Some(0), Some(0)).unwrap();
        std::fs::set_permissions(&store, PermissionsExt::from_mode(0o644)).unwrap();
    };
    let Some(daemon) = as_nobody(&world, theirs) else {
        return;
    };
    assert_spends_nothing(&world, &daemon, &["auth.json belongs to uid 0", "chown"]).await;
    chown(&store, Some(NOBODY), Some(NOBODY)).unwrap();
    assert_recovers(&world, &daemon, &home, "a store of somebody else").await;
}

/// As after `sudo`: whatever is written must stay the user's, or Hermes Agent is locked out.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_user_stays_theirs() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root writes another user's store");
        return;
    }
    let world = World::with_a_refresh_due(Options::default()).await;
    let home = world.home.path().join(".hermes");
    world.write_mirror();
    give_to_nobody(world.home.path());
    keep_runtime_folder(&world);
    let daemon = world.daemon();
    daemon.wait_for_log("the login was renewed");
    let files = files_below(&home);
    for file in &files {
        let owner = std::fs::metadata(file).unwrap().uid();
        assert_eq!(owner, NOBODY, "{} is the user's no more", file.display());
    }
    println!(
        "another user's store: {} files, all still theirs",
        files.len()
    );
}

/// A user who may log in leaves links where root will write, in the hope that root follows them.
#[tokio::test(flavor = "multi_thread")]
async fn roots_work_for_a_user_reaches_nothing_that_the_user_could_not() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root works for another user");
        return;
    }
    let world = World::with_a_refresh_due(Options::default()).await;
    world.write_mirror();
    let home = world.home.path();
    let state = home.join(".local/state/hermes-proxyd");
    std::fs::create_dir_all(&state).unwrap();
    give_to_nobody(home);
    keep_runtime_folder(&world);
    // Root's alone; within its home, so that the test leaves nothing.
    let vault = support::scratch();
    let own = vault.path().join("own.json");
    std::fs::write(&own, "{}").unwrap();
    let folder = vault.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let links = [
        (".hermes/auth.lock", "made-1"),
        (".hermes/shared/nous_auth.lock", "made-2"),
        (".local/state/hermes-proxyd/clients.lock", "made-3"),
        (".local/state/hermes-proxyd/auth.json", "own.json"),
        (".local/state/hermes-proxyd/journal", "folder"),
    ];
    for (link, target) in links {
        std::os::unix::fs::symlink(vault.path().join(target), home.join(link)).unwrap();
        std::os::unix::fs::lchown(home.join(link), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let before = contents(vault.path());
    let daemon = world.daemon();
    for args in [
        &["auth", "refresh"][..],
        &["clients", "add", "app"],
        &["auth", "status"],
    ] {
        // As root, as `sudo` runs it.
        let output = world.hermesctl(args).output().unwrap();
        println!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    drop(daemon);
    assert_eq!(
        contents(vault.path()),
        before,
        "root followed a user's link"
    );
    for (link, _) in links {
        std::fs::remove_file(home.join(link)).unwrap();
    }
    // A link to nothing is not taken for no keys.
    let keys = state.join("clients.json");
    std::os::unix::fs::symlink(vault.path().join("made-4"), &keys).unwrap();
    std::os::unix::fs::lchown(&keys, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut refused = Daemon::launch(world.command(&[]), home);
    assert!(!refused.wait().success());
    assert!(refused.logged().contains("made-4, which is missing"));
    assert_eq!(contents(vault.path()), before);
    std::fs::remove_file(&keys).unwrap();
    // Without the links all of it works, and all is the user's.
    let daemon = world.daemon();
    daemon.wait_for_log("the login was renewed");
    let added = world
        .hermesctl(&["clients", "add", "app"])
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    drop(daemon);
    for file in files_below(&home.join(".hermes"))
        .iter()
        .chain(&files_below(&state))
    {
        let owner = std::fs::metadata(file).unwrap().uid();
        assert_eq!(owner, NOBODY, "{} is root's", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_roots_in_a_users_folder_follows_no_link_of_theirs_and_is_theirs() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root works for another user");
        return;
    }
    let world = World::new(Options::default()).await;
    let vault = support::scratch();
    let theirs = world.home.path().join("logs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(vault.path().join("there.log"), "root's\n").unwrap();
    for target in ["missing.log", "there.log"] {
        let link = theirs.join(target);
        std::os::unix::fs::symlink(vault.path().join(target), &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    let before = contents(vault.path());
    for target in ["missing.log", "there.log"] {
        let log = theirs.join(target);
        let daemon = world.daemon_with("", &["--log-file", log.to_str().unwrap()]);
        daemon.wait_for_log("--log-file");
        assert_eq!(ask(&daemon).await, 200);
        drop(daemon);
        assert_eq!(
            contents(vault.path()),
            before,
            "root followed a user's link"
        );
    }
    // Without a link it is theirs, with the folder that was missing.
    let log = theirs.join("deep/x.log");
    let command = world.command(&["--log-file", log.to_str().unwrap()]);
    let mut daemon = Daemon::launch(command, world.home.path());
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("listening")) {
        assert!(std::time::Instant::now() < deadline, "{}", daemon.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon.stop();
    assert!(std::fs::read_to_string(&log).unwrap().contains("stopped"));
    for made in [log.as_path(), log.parent().unwrap()] {
        assert_eq!(std::fs::metadata(made).unwrap().uid(), NOBODY);
    }
}

/// What a container that runs as root leaves in a folder of the host's user.
#[tokio::test(flavor = "multi_thread")]
async fn roots_own_files_in_a_users_folder_stay_of_use_to_root() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root has files of root");
        return;
    }
    let world = World::with_a_refresh_due(Options::default()).await;
    world.write_mirror();
    let home = world.home.path().join(".hermes");
    std::fs::write(home.join("auth.lock"), "").unwrap();
    for private in ["auth.json", "auth.lock", "shared/nous_auth.json"] {
        std::fs::set_permissions(home.join(private), PermissionsExt::from_mode(0o600)).unwrap();
    }
    std::fs::set_permissions(home.join("shared"), PermissionsExt::from_mode(0o700)).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let daemon = world.daemon();
    daemon.wait_for_log("the login was renewed");
    assert_eq!(ask(&daemon).await, 200);
    let owner = std::fs::metadata(world.store_file()).unwrap().uid();
    assert_eq!(owner, 0, "it is whose the old one was");
    assert_eq!(
        stored_token(&home),
        world.cloud.current_refresh_token(world.family())
    );
}

/// In a folder that many may write, anybody can leave a mirror with a login of their own: prompts would
/// go to their account.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_fresher_mirror_is_neither_taken_nor_written_over() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root makes a file of somebody else");
        return;
    }
    for (owner, mode) in [(STRANGER, 0o644), (NOBODY, 0o666)] {
        let world = World::new(Options::default()).await;
        let home = world.home.path().join(".hermes");
        world.cloud.advance(Duration::from_mins(1));
        let theirs = world.cloud.login();
        let mut mirror = world.cloud.hermes_store(&theirs)["providers"]["nous"].clone();
        mirror["_schema"] = 1.into();
        let file = world.mirror_file();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, mirror.to_string()).unwrap();
        let prepare = || {
            chown(&file, Some(owner), Some(owner)).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            let folder = home.join("shared");
            chown(&folder, Some(0), Some(0)).unwrap();
            std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o1777)).unwrap();
        };
        let Some(daemon) = as_nobody(&world, prepare) else {
            return;
        };
        assert_eq!(ask(&daemon).await, 200);
        let used = world.cloud.last_bearer();
        assert_eq!(
            used.as_deref(),
            Some(world.login.access_token.as_str()),
            "{owner}"
        );
        // A renewal still works, and is saved.
        let refreshed = daemon_ctl(&daemon, &["auth", "refresh"]);
        assert!(
            refreshed.status.success(),
            "{refreshed:?}\n{}",
            daemon.logged()
        );
        assert_eq!(
            stored_token(&home),
            world.cloud.current_refresh_token(world.family())
        );
        assert_eq!(daemon.status()["providers"][0]["unsaved"], false);
        if owner == STRANGER {
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(text, mirror.to_string(), "a stranger's file was changed");
            daemon.wait_for_log("the mirror belongs to another user");
        }
    }
}

/// Whoever could write it could put a login of their own there.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_a_stranger_could_have_written_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root makes a file of somebody else");
        return;
    }
    for (owner, mode, words) in [
        (STRANGER, 0o644, ["belongs to uid 54321", "chown"]),
        (
            NOBODY,
            0o666,
            ["everyone on this machine can write", "chmod 600"],
        ),
    ] {
        let world = World::new(Options::default()).await;
        let (store, home) = (world.store_file(), world.home.path().join(".hermes"));
        let prepare = || {
            chown(&store, Some(owner), Some(owner)).unwrap();
            std::fs::set_permissions(&store, PermissionsExt::from_mode(mode)).unwrap();
        };
        let Some(daemon) = as_nobody(&world, prepare) else {
            return;
        };
        until(&daemon, "the error", || {
            // What is wrong, and the command.
            let told = daemon.status().to_string();
            words.iter().all(|word| told.contains(word))
        })
        .await;
        assert_eq!(ask(&daemon).await, 503, "{}", daemon.logged());
        chown(&store, Some(NOBODY), Some(NOBODY)).unwrap();
        std::fs::set_permissions(&store, PermissionsExt::from_mode(0o600)).unwrap();
        until(&daemon, "no error", || last_error(&daemon).is_empty()).await;
        assert_eq!(ask(&daemon).await, 200);
        assert!(home.exists());
    }
}

/// A stranger's key would send prompts to the stranger's account.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_a_stranger_could_have_written_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root makes a file of somebody else");
        return;
    }
    let world = World::new(Options::default()).await;
    let folder = world.home.path().join("drop");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o1777)).unwrap();
    let key = folder.join("key");
    let config = format!(
        "default_provider = \"mine\"\n[providers.mine]\ntype = \"static\"\nbase_url = \
         \"{{base}}\"\napi_key_file = {:?}\n",
        key.display().to_string()
    );
    world.write_config(&config);
    for (owner, mode, text, words) in [
        (STRANGER, 0o644, "sk-1\n", Some("chown")),
        (0, 0o666, "sk-1\n", Some("chmod 600")),
        (0, 0o600, "\"sk-1\"\n", Some("quotes")),
        (0, 0o600, "KEY=sk-1\n", Some("NAME=value")),
        // As secrets are mounted into containers.
        (0, 0o444, "\u{feff}\n\nsk-1\r\n", None),
    ] {
        std::fs::remove_file(&key).ok();
        std::fs::write(&key, text).unwrap();
        chown(&key, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let daemon = Daemon::start(world.command(&[]), world.home.path());
        let sent = ask(&daemon).await;
        let check = daemon_ctl(&daemon, &["config", "check"]);
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        let Some(word) = words else {
            // The cloud knows no such key, but it came as it should.
            let requests = world.cloud.requests();
            let mut headers = requests.last().unwrap().headers.iter();
            let sent = headers.find(|(name, _)| name == "authorization");
            assert_eq!(sent.map(|(_, value)| value.as_str()), Some("Bearer sk-1"));
            assert!(check.status.success(), "{said}");
            continue;
        };
        assert_eq!(sent, 401, "{owner} {mode:o}");
        let error = last_error(&daemon);
        assert!(error.contains(word) && error.contains("key"), "{error}");
        assert!(
            !check.status.success() && said.contains(word),
            "{owner} {mode:o} {text:?}: {check:?}"
        );
        assert!(!error.contains("sk-1") && !said.contains("sk-1"));
    }
}

fn daemon_ctl(daemon: &Daemon, args: &[&str]) -> std::process::Output {
    support::ctl(&daemon.home, args)
}

/// The daemon's own folder stays root's, so that each test has its own.
fn keep_runtime_folder(world: &World) {
    chown(world.home.path().join("run"), Some(0), Some(0)).unwrap();
}

/// Every file below a folder, with what it holds and whose it is.
fn contents(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>, u32)> {
    let files = files_below(folder).into_iter();
    files
        .map(|file| {
            let metadata = std::fs::metadata(&file).unwrap();
            (file.clone(), std::fs::read(&file).ok(), metadata.uid())
        })
        .collect()
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
async fn assert_spends_nothing(world: &World, daemon: &Daemon, words: &[&str]) {
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
async fn assert_recovers(world: &World, daemon: &Daemon, home: &Path, after: &str) {
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

async fn until(daemon: &Daemon, what: &str, condition: impl Fn() -> bool) {
    until_within(PATIENCE, daemon, what, condition).await;
}

async fn until_within(limit: Duration, daemon: &Daemon, what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !tokio::task::block_in_place(&condition) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(limit, waiting).await;
    assert!(done.is_ok(), "{what} never came:\n{}", daemon.logged());
}

/// Within a minute a request is answered with this status; until then each is answered soon.
async fn answers(daemon: &Daemon, wanted: u16) {
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

async fn ask(daemon: &Daemon) -> u16 {
    let request = client()
        .post(daemon.url("/chat/completions"))
        .json(&chat("x"));
    request.send().await.unwrap().status().as_u16()
}

/// What `proxy status` tells; empty without an error.
fn last_error(daemon: &Daemon) -> String {
    let status = daemon.status();
    let message = &status["providers"][0]["last_error"]["message"];
    message.as_str().unwrap_or_default().to_owned()
}

fn stored_token(home: &Path) -> Option<String> {
    let text = std::fs::read(home.join("auth.json")).ok()?;
    let store: Value = serde_json::from_slice(&text).unwrap();
    store["providers"]["nous"]["refresh_token"]
        .as_str()
        .map(str::to_owned)
}

/// What lies at a path: a file's content, or that it is a folder without any.
fn snapshot(path: &Path) -> Option<Vec<u8>> {
    if path.is_dir() {
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
        return None;
    }
    Some(std::fs::read(path).unwrap())
}

/// The daemon in a mount namespace that a script has prepared.
fn confined(world: &World, namespace: &[&str], script: &str) -> Daemon {
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
fn as_nobody(world: &World, prepare: impl FnOnce()) -> Option<Daemon> {
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

fn give_to_nobody(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_to_nobody(&entry.unwrap().path());
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(files_below(&path));
        }
        files.push(path);
    }
    files
}
