//! `hermesctl auth logout`: the login is removed from every file and out of use, and every other
//! login stays.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::steps::{Login, assert_serves, block, json_of, log_in, own_store, run};
use mock_cloud::Options;
use serde_json::{Value, json};
use support::{World, chat, post};

/// The next login is unknown, and that does not justify using the removed one.
#[tokio::test(flavor = "multi_thread")]
async fn a_separate_login_is_out_of_use_at_once_though_the_next_one_can_not_be_read() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    log_in(&world, &["--separate"]);
    assert_serves(&daemon).await;
    std::fs::remove_file(world.store_file()).unwrap();
    let nothing = world.home.path().join("unmounted/auth.json");
    std::os::unix::fs::symlink(nothing, world.store_file()).unwrap();
    let output = run(&world, &["auth", "logout", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let report = json_of(&output);
    assert_eq!(report["removed_from"], json!([own_store(&world)]));
    assert_eq!(report["still_logged_in"], Value::Null);
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.status(), 503, "{}", daemon.logged());
    assert!(answer.text().await.unwrap().contains("auth.json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_takes_the_login_out_of_every_file_and_asks_before() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    let asked = run(&world, &["auth", "logout"]);
    assert!(!asked.status.success(), "{asked:?}");
    assert_serves(&daemon).await;

    let output = run(&world, &["auth", "logout", "--yes", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let report = json_of(&output);
    let mirror = world.home.path().join(".hermes/shared/nous_auth.json");
    assert_eq!(report["removed_from"], json!([world.store_file(), mirror]));
    assert_eq!(report["shared_with_hermes"], true);
    let text = std::fs::read_to_string(world.store_file()).unwrap();
    world.assert_no_secret_in("the store", &text);
    assert!(!mirror.exists());
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(run(&world, &["auth", "status"]).status.code(), Some(4));
    // Nothing died: the user has said so.
    assert!(
        !daemon.logged().contains("login_ended"),
        "{}",
        daemon.logged()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_separate_login_that_ends_gives_way_to_hermes_agents_and_a_logout_spares_that_one() {
    let world = World::new(Options::default()).await;
    let told = world.home.path().join("told");
    let hook = format!(
        "[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n",
        told.display()
    );
    let daemon = world.daemon_with(&hook, &[]);
    log_in(&world, &["--separate"]);
    let hermes = block(&world.store_file());
    let own = block(&own_store(&world))["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let family = world.cloud.family_of(&own).unwrap();
    world.cloud.revoke(family);
    // The first request learns of the end; the next ones are Hermes Agent's login's.
    let first = post(&daemon, &chat("x")).await.status();
    assert!(first == 200 || first == 401, "{first}");
    assert_serves(&daemon).await;
    let line: Value = serde_json::from_str(&daemon.wait_for_log("login_ended")).unwrap();
    assert_eq!(line["command"], "hermesctl auth login nous --separate");
    let login = daemon.status()["providers"][0]["login"].clone();
    assert_eq!(
        (&login["separate"], &login["store"]),
        (&json!(false), &json!(world.store_file()))
    );
    // A user who wants the ended one removed is asked about the living one.
    let output = run(&world, &["auth", "logout", "nous"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(block(&world.store_file()), hermes);
    assert_serves(&daemon).await;
}

/// The store after a rotation that reached the mirror alone: it has the spent tokens.
fn leave_the_store_behind(world: &World) {
    let before = std::fs::read(world.store_file()).unwrap();
    let output = run(world, &["auth", "refresh", "--json"]);
    assert!(output.status.success(), "{output:?}");
    std::fs::write(world.store_file(), before).unwrap();
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    let mirror = std::fs::read_to_string(world.mirror_file()).unwrap();
    assert!(mirror.contains(&current));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_takes_a_rotation_along_that_reached_the_mirror_alone() {
    let world = World::new(Options::default()).await;
    leave_the_store_behind(&world);
    let output = run(&world, &["auth", "logout", "--yes", "--json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        json_of(&output)["removed_from"],
        json!([world.store_file(), world.mirror_file()])
    );
    assert!(!world.mirror_file().exists());
    let login = Login::begin(&world, &[]);
    assert!(!login.user_code().is_empty(), "it is logged in already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_leaves_the_mirror_of_somebody_elses_older_login() {
    let world = World::new(Options::default()).await;
    world.write_mirror();
    let mut mirror: Value =
        serde_json::from_slice(&std::fs::read(world.mirror_file()).unwrap()).unwrap();
    mirror["refresh_token"] = json!("another-login");
    mirror["access_token"] = json!("another-token");
    mirror["obtained_at"] = json!("2020-01-01T00:00:00+00:00");
    std::fs::write(world.mirror_file(), mirror.to_string()).unwrap();
    let output = run(&world, &["auth", "logout", "--yes", "--json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        json_of(&output)["removed_from"],
        json!([world.store_file()])
    );
    assert!(world.mirror_file().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_and_doctor_tell_of_copies_that_may_hold_tokens() {
    let world = World::new(Options::default()).await;
    world.write_mirror();
    let copies = [world.store_file(), world.mirror_file()].map(|file| {
        let mut copy = file.clone().into_os_string();
        copy.push(".corrupt");
        std::fs::copy(&file, &copy).unwrap();
        PathBuf::from(copy)
    });
    let doctor = run(&world, &["doctor", "--json"]);
    let report = json_of(&doctor);
    let findings = report["findings"].as_array().unwrap();
    for copy in &copies {
        let named = |finding: &&Value| finding["name"] == copy.to_str().unwrap();
        let found = findings.iter().find(named).unwrap();
        assert_eq!(found["fix"][0]["run"], format!("rm {}", copy.display()));
    }
    let output = run(&world, &["auth", "logout", "--yes", "--json"]);
    assert_eq!(json_of(&output)["copies"], json!(copies));
    let again = run(&world, &["auth", "logout", "--yes"]);
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(
        text.contains(&format!("rm '{}'", copies[0].display())),
        "{text}"
    );
}

/// The text of a child's standard error once it holds the words.
fn heard(child: &mut Child, words: &str) -> String {
    let mut text = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    while !text.contains(words) {
        assert!(lines.read_line(&mut text).unwrap() > 0, "{text}");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_says_what_it_waits_for_and_ctrl_c_leaves_the_login() {
    for with_daemon in [true, false] {
        let world = World::new(Options::default()).await;
        let daemon = with_daemon.then(|| world.daemon());
        let before = std::fs::read(world.store_file()).unwrap();
        let lock = world.home.path().join(".hermes/auth.lock");
        let held = std::fs::File::create(&lock).unwrap();
        held.lock().unwrap();
        let mut logout = world.hermesctl(&["auth", "logout", "--yes"]);
        let mut logout = logout
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = heard(&mut logout, "Ctrl-C");
        assert!(said.contains(lock.to_str().unwrap()), "{said}");
        let holder = format!("process {}", std::process::id());
        assert!(said.contains(&holder), "{said}");
        let pid = rustix::process::Pid::from_child(&logout);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(logout.wait().unwrap().code(), Some(130));
        held.unlock().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(std::fs::read(world.store_file()).unwrap(), before);
        if let Some(daemon) = &daemon {
            assert_serves(daemon).await;
        }
        // Not given up, it waits for the lock and logs out.
        held.lock().unwrap();
        let mut logout = world.hermesctl(&["auth", "logout", "--yes"]);
        let mut logout = logout
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        heard(&mut logout, "Ctrl-C");
        held.unlock().unwrap();
        assert!(logout.wait().unwrap().success());
        assert_eq!(block(&world.store_file()), Value::Null);
    }
}
