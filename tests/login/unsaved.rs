//! Logins that can't be saved or renewed: reported in time with the command that helps, and not
//! lost.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::steps::{SOMEBODY, a_hook, assert_serves, block, json_of, ready, run, until_told};
use mock_cloud::{Endpoint, Options, PortalFault};
use support::environment::skipped;
use support::{Daemon, PATIENCE, World, chat, client, post, program};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_login_that_can_not_be_saved_survives_the_daemons_end() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let home = world.home.path().join(".hermes");
    // The folder goes away while the token is being spent.
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    world.cloud.revoke_access_tokens();
    let mut asking = JoinSet::new();
    asking.spawn(
        client()
            .post(daemon.url("/chat/completions"))
            .json(&chat("x"))
            .send(),
    );
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
        .await;
    let aside = world.home.path().join("aside");
    std::fs::rename(&home, &aside).unwrap();
    std::fs::write(&home, "in the way").unwrap();
    gate.add_permits(1);
    assert_eq!(
        asking.join_next().await.unwrap().unwrap().unwrap().status(),
        200,
        "{}",
        daemon.logged()
    );
    daemon.wait_for_log("login_not_saved");
    daemon.kill();
    std::fs::remove_file(&home).unwrap();
    std::fs::rename(&aside, &home).unwrap();
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_ne!(block(&world.store_file())["refresh_token"], current);
    let daemon = world.daemon();
    assert_serves(&daemon).await;
    assert_eq!(block(&world.store_file())["refresh_token"], current);
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.reuse_events),
        (1, 0),
        "{}",
        daemon.logged()
    );
    let journal = world.home.path().join(".local/state/hermes-proxyd/journal");
    assert_eq!(
        std::fs::read_dir(journal).unwrap().count(),
        0,
        "the login lies about"
    );
}

/// As in a container: a file that is mounted by itself can't be replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_mounted_by_itself_is_written_in_place() {
    if !rustix::process::geteuid().is_root() {
        skipped("a mount namespace needs root");
        return;
    }
    let world = World::new(Options::default()).await;
    let mut command = program("unshare", world.home.path());
    let script = "mount --bind \"$HOME/.hermes/auth.json\" \"$HOME/.hermes/auth.json\" && exec \"$0\" \"$@\"";
    command
        .args(["-m", "--propagation", "private", "sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_hermes-proxyd"))
        .args(["--port", "0", "--log-format", "json"])
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url());
    let daemon = Daemon::start(command, world.home.path());
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(
        block(&world.store_file())["refresh_token"],
        current,
        "{}",
        daemon.logged()
    );
    assert_eq!(daemon.status()["providers"][0]["unsaved"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_kept_beside_the_journal_gives_way_to_somebody_elses() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let home = world.home.path().join(".hermes");
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    world.cloud.revoke_access_tokens();
    let mut asking = JoinSet::new();
    asking.spawn(
        client()
            .post(daemon.url("/chat/completions"))
            .json(&chat("x"))
            .send(),
    );
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
        .await;
    let aside = world.home.path().join("aside");
    std::fs::rename(&home, &aside).unwrap();
    std::fs::write(&home, "in the way").unwrap();
    gate.add_permits(1);
    asking.join_next().await.unwrap().unwrap().unwrap();
    daemon.wait_for_log("login_not_saved");
    daemon.kill();
    // Meanwhile the user logs in with Hermes Agent.
    std::fs::remove_file(&home).unwrap();
    let theirs = world.cloud.login();
    world.cloud.write_hermes_home(&home, &theirs).unwrap();
    let daemon = world.daemon();
    // And an answer is lost, which makes us look for what a killed process has left.
    let grace = PortalFault::DropBeforeCommit;
    world.cloud.fail_portal(Endpoint::Refresh, 1, &grace);
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    let current = world.cloud.current_refresh_token(theirs.family).unwrap();
    assert_eq!(block(&world.store_file())["refresh_token"], current);
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

/// The daemon of an ordinary user, to whom a mode means something.
fn as_somebody(world: &World, config: &str) -> Daemon {
    use std::os::unix::process::CommandExt;
    world.write_config(config);
    let mut command = world.command(&[]);
    if rustix::process::geteuid().is_root() {
        give_to_somebody(world.home.path());
        command.uid(SOMEBODY).gid(SOMEBODY);
    }
    Daemon::start(command, world.home.path())
}

fn give_to_somebody(path: &std::path::Path) {
    let given = support::environment::tool("chown")
        .args(["-hR", &format!("{SOMEBODY}:{SOMEBODY}")])
        .arg(path)
        .status();
    assert!(given.unwrap().success());
}

/// Runs a command as a shell of the user's does; with `sudo` as root.
fn follow(world: &World, command: &str) {
    use std::os::unix::process::CommandExt;
    let mut shell = program("sh", world.home.path());
    let plain = command.strip_prefix("sudo ");
    shell.args(["-c", plain.unwrap_or(command)]);
    if plain.is_none() && rustix::process::geteuid().is_root() {
        shell.uid(SOMEBODY).gid(SOMEBODY);
    }
    assert!(shell.status().unwrap().success(), "{command}");
}

/// Puts something in the place of a lock with which it can't be used.
fn obstruct(lock: &std::path::Path, how: &str) {
    use std::os::unix::fs::{PermissionsExt, chown};
    if how == "a folder without the right to write" {
        let folder = lock.parent().unwrap();
        return std::fs::set_permissions(folder, PermissionsExt::from_mode(0o500)).unwrap();
    }
    std::fs::remove_file(lock).ok();
    match how {
        "a folder" => std::fs::create_dir(lock).unwrap(),
        "a pipe" => {
            let made = support::environment::tool("mkfifo").arg(lock).status();
            assert!(made.unwrap().success());
        }
        "a link to nothing" => {
            let target = lock.with_file_name("unmounted").join("lock");
            std::os::unix::fs::symlink(target, lock).unwrap();
        }
        "closed" => std::fs::write(lock, "").unwrap(),
        "root's" => {
            std::fs::write(lock, "").unwrap();
            chown(lock, Some(0), Some(0)).unwrap();
            return std::fs::set_permissions(lock, PermissionsExt::from_mode(0o600)).unwrap();
        }
        how => panic!("{how}"),
    }
    give_to_somebody(lock);
    if how == "closed" {
        std::fs::set_permissions(lock, PermissionsExt::from_mode(0o000)).unwrap();
    }
}

/// Long before the token ends, and nothing is spent.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_can_not_be_renewed_is_told_within_seconds_with_the_command_that_helps() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root gives files away");
        return;
    }
    let cases = [
        ("auth.lock", "a folder"),
        ("auth.lock", "a link to nothing"),
        ("auth.lock", "closed"),
        ("auth.lock", "root's"),
        ("shared/nous_auth.lock", "a pipe"),
        ("shared/nous_auth.lock", "root's"),
        ("auth.lock", "a folder without the right to write"),
    ];
    let mut each = JoinSet::new();
    for (lock, how) in cases {
        each.spawn(assert_hindrance_is_told(lock, how));
    }
    each.join_all().await;
}

async fn assert_hindrance_is_told(lock: &'static str, how: &'static str) {
    let world = World::new(Options::default()).await;
    world.write_mirror();
    // The mock cloud runs on the same threads.
    let ctl = |args: &[&str]| tokio::task::block_in_place(|| world.ctl(args));
    let daemon = as_somebody(&world, &a_hook(&world));
    assert_serves(&daemon).await;
    obstruct(&world.home.path().join(".hermes").join(lock), how);
    let told = until_told(&world, &daemon, "login_not_saved").await;
    let message = told["message"].as_str().unwrap();
    let file = lock.split('.').next().unwrap();
    assert!(message.contains(file), "{how}: {message}");
    let command = told["command"].as_str().unwrap();
    assert_serves(&daemon).await;
    let (status, text) = ready(&daemon).await;
    assert_eq!(status, 503, "{how}: {text}");
    assert!(
        text.contains(command) && text.contains(file),
        "{how}: {text}"
    );
    let status = ctl(&["proxy", "status", "--json"]);
    assert_eq!(status.status.code(), Some(1), "{how}: {status:?}");
    let error = &json_of(&status)["providers"][0]["last_error"];
    assert_eq!(error["code"], "store_unusable", "{how}");
    assert!(
        error["message"].as_str().unwrap().contains(command),
        "{how}: {error}"
    );
    let refused = ctl(&["auth", "refresh"]);
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(
        !refused.status.success() && said.contains(command),
        "{how}: {refused:?}"
    );
    assert_eq!(world.cloud.counts().refresh_calls, 0, "{how}");
    follow(&world, command);
    until_told(&world, &daemon, "login_restored").await;
    assert_eq!(ready(&daemon).await.0, 200, "{how}");
    assert!(ctl(&["proxy", "status"]).status.success(), "{how}");
    let renewed = ctl(&["auth", "refresh"]);
    assert!(
        renewed.status.success(),
        "{how}: {renewed:?}\n{}",
        daemon.logged()
    );
}

/// Where the token has ended too, the app is told what to do and the portal is not blamed.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_because_its_lock_was_unusable_says_so() {
    let options = Options::default().access_ttl(Duration::from_secs(1));
    let world = World::new(options).await;
    std::fs::create_dir(world.home.path().join(".hermes/auth.lock")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let daemon = world.daemon();
    until_hindered(&world).await;
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.contains("auth.lock") && text.contains("mv "), "{text}");
    let doctor = run(&world, &["doctor", "--json"]);
    let text = String::from_utf8_lossy(&doctor.stdout);
    assert!(
        text.contains("can't be renewed") && !text.contains("the portal does not"),
        "{text}"
    );
}

async fn until_hindered(world: &World) {
    let waiting = async {
        loop {
            let status = json_of(&world.ctl(&["proxy", "status", "--json"]));
            if status["providers"][0]["last_error"]["code"] == "store_unusable" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}
