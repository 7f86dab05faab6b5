//! Stores that can't be read: reported within seconds with the command that helps, and never
//! overwritten.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::time::Duration;

use crate::steps::{SOMEBODY, a_hook, assert_serves, block, json_of, ready, run, until_told};
use hermes_proxy::clock::{Clock, SystemClock};
use mock_cloud::Options;
use serde_json::Value;
use support::{Daemon, PATIENCE, World, program};

fn spoil(file: &std::path::Path, how: &str) {
    let length = std::fs::read(file).unwrap().len();
    match how {
        "emptied" => std::fs::write(file, "").unwrap(),
        "cut" => {
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_len(length as u64 / 2).unwrap();
        }
        "full of NULs" => std::fs::write(file, vec![0; length]).unwrap(),
        "a folder" => {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        }
        how => panic!("{how}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_can_not_be_read_is_told_within_seconds() {
    for how in ["emptied", "cut", "full of NULs", "a folder"] {
        let world = World::new(Options::default()).await;
        let daemon = world.daemon_with(&a_hook(&world), &[]);
        assert_serves(&daemon).await;
        let whole = std::fs::read(world.store_file()).unwrap();
        spoil(&world.store_file(), how);
        let told = until_told(&world, &daemon, "login_unreadable").await;
        let message = told["message"].as_str().unwrap();
        assert!(message.contains("auth.json"), "{how}: {message}");
        // The token in memory serves on, and nothing else is left of the login.
        assert_serves(&daemon).await;
        let (status, text) = ready(&daemon).await;
        assert_eq!(status, 503, "{how}: {text}");
        assert!(text.contains("auth.json"), "{how}: {text}");
        let status = world.ctl(&["proxy", "status", "--json"]);
        assert_eq!(status.status.code(), Some(1), "{how}: {status:?}");
        let error = &json_of(&status)["providers"][0]["last_error"];
        assert_eq!(error["code"], "store_unreadable", "{how}");
        let login = run(&world, &["auth", "login", "nous", "--json"]);
        assert!(!login.status.success(), "{how}: {login:?}");
        let hint = json_of(&login)["error"]["hint"].clone();
        let hint = hint.as_str().unwrap();
        assert!(
            hint.contains("mv ") && hint.contains("auth.json"),
            "{how}: {hint}"
        );

        // The command is followed, the whole file comes back.
        let aside = world.home.path().join("aside");
        std::fs::rename(world.store_file(), aside).unwrap();
        std::fs::write(world.store_file(), whole).unwrap();
        until_told(&world, &daemon, "login_restored").await;
        assert_eq!(ready(&daemon).await.0, 200, "{how}");
        assert!(world.ctl(&["proxy", "status"]).status.success());
        assert_eq!(world.cloud.counts().refresh_calls, 0, "{how}");
    }
}

/// What `sudo hermes` leaves. An ordinary user's test, who can give nothing away, closes the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_belongs_to_somebody_else_is_told_with_the_command_that_takes_it_back() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    let world = World::new(Options::default()).await;
    world.write_config(&a_hook(&world));
    let (mut command, mut login) = (
        world.command(&[]),
        world.hermesctl(&["auth", "login", "nous", "--json"]),
    );
    let root = rustix::process::geteuid().is_root();
    if root {
        let given = support::environment::tool("chown")
            .arg("-R")
            .arg(format!("{SOMEBODY}:{SOMEBODY}"))
            .arg(world.home.path())
            .status();
        assert!(given.unwrap().success());
        command.uid(SOMEBODY).gid(SOMEBODY);
        login.uid(SOMEBODY).gid(SOMEBODY);
    }
    let daemon = Daemon::start(command, world.home.path());
    assert_serves(&daemon).await;
    let store = world.store_file();
    let hint = if root {
        chown(&store, Some(0), Some(0)).unwrap();
        format!("sudo chown -h {SOMEBODY} {}", store.display())
    } else {
        std::fs::set_permissions(&store, PermissionsExt::from_mode(0o000)).unwrap();
        format!("chmod u+rwX {}", store.display())
    };
    let told = until_told(&world, &daemon, "login_unreadable").await;
    assert_eq!(told["command"], hint);
    assert_eq!(world.ctl(&["proxy", "status"]).status.code(), Some(1));
    let (status, text) = ready(&daemon).await;
    assert!(status == 503 && text.contains(&hint), "{status} {text}");
    let login = login.output().unwrap();
    let error = json_of(&login)["error"].clone();
    assert!(
        error["hint"].as_str().unwrap().contains(&hint),
        "{error}: {}",
        daemon.logged()
    );
    if root {
        chown(&store, Some(SOMEBODY), None).unwrap();
    } else {
        std::fs::set_permissions(&store, PermissionsExt::from_mode(0o600)).unwrap();
    }
    until_told(&world, &daemon, "login_restored").await;
    assert_eq!(ready(&daemon).await.0, 200);
}

/// In the form of a hook or the log, without anything around it.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_that_is_told_brings_a_broken_store_back_from_the_mirror() {
    let world = World::new(Options::default()).await;
    world.write_mirror();
    spoil(&world.store_file(), "cut");
    let daemon = world.daemon_with(&a_hook(&world), &[]);
    let told = until_told(&world, &daemon, "login_unreadable").await;
    let command = told["command"].as_str().unwrap();
    let (aside, login) = command.split_once(" && ").unwrap();
    assert_eq!(login, "hermesctl auth login nous");
    let moved = program("sh", world.home.path())
        .args(["-c", aside])
        .status();
    assert!(moved.unwrap().success(), "{aside}");
    let login = run(&world, &["auth", "login", "nous", "--json"]);
    assert!(login.status.success(), "{login:?}");
    assert_serves(&daemon).await;
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(block(&world.store_file())["refresh_token"], current);
    until_told(&world, &daemon, "login_restored").await;
}

/// A grant ends thirty days after the login, also when its file could not be read for a moment: the
/// mirror does not know when that was.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_keeps_its_age_while_its_store_can_not_be_read() {
    for started in ["before", "after"] {
        let world = World::new(Options::default()).await;
        let text = std::fs::read_to_string(world.store_file()).unwrap();
        let mut store: Value = serde_json::from_str(&text).unwrap();
        let since = SystemClock.now() - chrono::Duration::days(20);
        let since = since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        store["providers"]["nous"]["hermes_proxyd"] = serde_json::json!({ "login_at": since });
        let whole = store.to_string();
        std::fs::write(world.store_file(), &whole).unwrap();
        world.write_mirror();
        let daemon = (started == "before").then(|| world.daemon_with(&a_hook(&world), &[]));
        if let Some(daemon) = &daemon {
            assert_serves(daemon).await;
        }
        spoil(&world.store_file(), "emptied");
        let daemon = daemon.unwrap_or_else(|| world.daemon_with(&a_hook(&world), &[]));
        // The second one has a login whose age the first one did not know.
        daemon.renew().await;
        daemon.renew().await;
        let current = world.cloud.current_refresh_token(world.family()).unwrap();
        std::fs::write(world.store_file(), &whole).unwrap();
        let put_right = async {
            while block(&world.store_file())["refresh_token"] != current {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, put_right).await;
        assert!(done.is_ok(), "{started}: {}", daemon.logged());
        let note = &block(&world.store_file())["hermes_proxyd"]["login_at"];
        assert_eq!(*note, since, "{started}");
        daemon.renew().await;
        let note = &block(&world.store_file())["hermes_proxyd"]["login_at"];
        assert_eq!(*note, since, "{started}, after another rotation");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_serves_while_the_store_can_not_be_read() {
    for how in ["emptied", "cut", "full of NULs", "a folder"] {
        let world = World::new(Options::default()).await;
        world.write_mirror();
        spoil(&world.store_file(), how);
        let spoiled = std::fs::read(world.store_file()).ok();
        let daemon = world.daemon_with(&a_hook(&world), &[]);
        until_told(&world, &daemon, "login_unreadable").await;
        assert_serves(&daemon).await;
        let (status, text) = ready(&daemon).await;
        assert_eq!(status, 200, "{how}: {text}");
        assert!(text.contains("auth.json"), "{how}: {text}");
        // It is kept fresh there, and the store is left as it is.
        world.cloud.revoke_access_tokens();
        assert_serves(&daemon).await;
        let current = world.cloud.current_refresh_token(world.family()).unwrap();
        let mirror = std::fs::read_to_string(world.mirror_file()).unwrap();
        assert!(mirror.contains(&current), "{how}");
        assert_eq!(std::fs::read(world.store_file()).ok(), spoiled, "{how}");
        let status = world.ctl(&["proxy", "status", "--json"]);
        assert_eq!(status.status.code(), Some(1), "{how}: {status:?}");
        assert_eq!(json_of(&status)["providers"][0]["state"], "ready", "{how}");

        // A store from a backup has the token that is spent meanwhile.
        if how == "a folder" {
            std::fs::remove_dir(world.store_file()).unwrap();
        }
        let home = world.home.path().join(".hermes");
        world.cloud.write_hermes_home(&home, &world.login).unwrap();
        let put_right = async {
            while block(&world.store_file())["refresh_token"] != current {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, put_right).await;
        assert!(done.is_ok(), "{how}: {}", daemon.logged());
        assert_serves(&daemon).await;
        let counts = world.cloud.counts();
        assert_eq!((counts.refresh_calls, counts.reuse_events), (1, 0), "{how}");
    }
}

/// The link's target may be on a disk that is not mounted: it is not a logout, and no login
/// replaces it.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_to_nothing_is_neither_a_logout_nor_replaced() {
    let world = World::new(Options::default()).await;
    let (store, disk) = (world.store_file(), world.home.path().join("disk/auth.json"));
    std::fs::create_dir(disk.parent().unwrap()).unwrap();
    std::fs::rename(&store, &disk).unwrap();
    std::os::unix::fs::symlink(&disk, &store).unwrap();
    let daemon = world.daemon_with(&a_hook(&world), &[]);
    assert_serves(&daemon).await;
    let away = world.home.path().join("away");
    std::fs::rename(disk.parent().unwrap(), &away).unwrap();
    let told = until_told(&world, &daemon, "login_unreadable").await;
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("disk/auth.json, which is missing"),
        "{message}"
    );
    let command = format!("rm {} && hermesctl auth login nous", store.display());
    assert_eq!(told["command"], command);
    assert_serves(&daemon).await;
    let login = run(&world, &["auth", "login", "nous", "--json"]);
    assert!(!login.status.success(), "{login:?}");
    let doctor = run(&world, &["doctor", "--json"]);
    let text = String::from_utf8_lossy(&doctor.stdout);
    assert!(text.contains("which is missing"), "{text}");
    drop(daemon);
    let login = run(&world, &["auth", "login", "nous", "--json"]);
    let error = json_of(&login)["error"].to_string();
    assert!(
        error.contains("which is missing") && error.contains("rm "),
        "{error}"
    );
    assert!(store.is_symlink());
    // The disk is back, and the login is written through the link.
    std::fs::rename(&away, disk.parent().unwrap()).unwrap();
    let daemon = world.daemon();
    assert!(world.ctl(&["auth", "refresh"]).status.success());
    assert_serves(&daemon).await;
    assert!(store.is_symlink());
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(block(&disk)["refresh_token"], current);
}
