//! File systems that hang, and files that never answer: requests are served, and no token is spent.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::disk::{
    answers, ask, assert_recovers, confined, daemon_ctl, last_error, stored_token, until,
    until_within,
};
use mock_cloud::Options;
use serde_json::Value;
use support::environment::skipped;
use support::hermes::fingerprint;
use support::{Daemon, PATIENCE, World, chat, client, mount_namespace, program, wrapped};

/// A mount whose server is away, as of a network file system: every access waits.
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

/// The journal is in the state folder, which need not be on the home's disk.
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

/// A login that comes while its journal can't be read: the journal is read as soon as possible, and
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
    // Unreadable, even for root.
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
    until(&daemon, "the kept file's end", || !file.exists()).await;
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

/// A named pipe in a file's place would block every reader until its other end opens.
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
