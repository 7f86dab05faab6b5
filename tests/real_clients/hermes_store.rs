//! Logins and removals by Hermes Agent and by hermesctl: each sees the other's changes.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::Duration;

use mock_cloud::Options;
use serde_json::json;
use support::hermes::{Hermes, fingerprint, hermes_command, hermes_home, test_env};
use support::{Daemon, PATIENCE, World, chat, post};
use tokio::time::Instant;

/// Runs `hermes` to its end; what it prints.
fn hermes(world: &World, args: &[&str]) -> String {
    let program = test_env("hermes").join("hermes/bin/hermes");
    let mut command = hermes_command(&program, world, &hermes_home(world));
    let output = command.args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {output:?}");
    text
}

/// What it lists of Nous Portal.
fn listed(world: &World) -> String {
    hermes(world, &["auth", "list", "nous"])
}

async fn until_needed(daemon: &Daemon) {
    let deadline = Instant::now() + PATIENCE;
    while daemon.status()["providers"][0]["state"] != "login_needed" {
        assert!(Instant::now() < deadline, "{}", daemon.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hermes_agent_removes_stays_away_until_a_login_that_it_then_lists() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    // Both renew it, so that everything that can hold it does.
    daemon.renew().await;
    Hermes::start(&world, &hermes_home(&world)).step("pool-force");
    assert!(world.mirror_file().exists());
    assert!(listed(&world).contains("device_code"), "{}", listed(&world));

    hermes(&world, &["auth", "remove", "nous", "1"]);
    assert_eq!(
        world.store()["suppressed_sources"],
        json!({"nous": ["device_code"]})
    );
    until_needed(&daemon).await;
    let calls = world.cloud.counts().refresh_calls;
    // Several looks at the store, and a restart.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
    drop(daemon);
    let daemon = world.daemon();
    until_needed(&daemon).await;
    assert_eq!(world.cloud.counts().refresh_calls, calls);
    assert_eq!(listed(&world).trim(), "");
    assert!(world.store()["providers"].get("nous").is_none());

    world.log_in();
    let list = listed(&world);
    assert!(list.contains("device_code"), "{list}\n{}", world.store());
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    // And it can use it.
    Hermes::start(&world, &hermes_home(&world)).step("pool");
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_agent_knows_its_provider_after_a_login_by_hermesctl_alone() {
    let world = World::without_a_login().await;
    world.log_in();
    let told = hermes(&world, &["status"]);
    let line = told
        .lines()
        .find(|line| line.trim_start().starts_with("Provider:"));
    assert!(
        line.is_some_and(|line| line.contains("Nous")),
        "{line:?}\n{told}"
    );
    assert!(listed(&world).contains("device_code"), "{}", listed(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_a_label_outlives_the_end_of_the_providers_own() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    world.log_in_with(&["nous", "--label", "work"]);
    let rows = || world.store()["credential_pool"]["nous"].clone();
    let is_work = |row: &&serde_json::Value| row["label"] == "work";
    let work = rows()
        .as_array()
        .unwrap()
        .iter()
        .find(is_work)
        .cloned()
        .unwrap();
    let mut agent = Hermes::start(&world, &hermes_home(&world));
    let listed_by_it = |agent: &mut Hermes| {
        let told = agent.answer("rows");
        let rows = told["rows"].as_array().unwrap().clone();
        let work = rows.into_iter().find(|row| row["label"] == "work");
        let token = work.map(|work| work["access_token_fp"].clone());
        token.unwrap_or_else(|| json!(null))
    };
    let expected = json!(fingerprint(work["access_token"].as_str().unwrap()));
    assert_eq!(listed_by_it(&mut agent), expected);
    // The first login's grant ends.
    world.cloud.revoke(world.family());
    world.ctl(&["auth", "refresh", "nous"]);
    let block = world.store()["providers"]["nous"].clone();
    assert!(block.get("refresh_token").is_none(), "{block:#}");
    assert!(block["last_auth_error"].is_object(), "{block:#}");
    assert_eq!(listed_by_it(&mut agent), expected);
    // Hermes Agent may lay the row out in its own way and mark it, since it asks a portal that does
    // not exist.
    let is_same = |row: &serde_json::Value| {
        let mut keys = ["id", "label", "access_token", "refresh_token"].iter();
        keys.all(|key| row[key] == work[key])
    };
    let is_there = rows().as_array().unwrap().iter().any(is_same);
    assert!(is_there, "{:#}", rows());
}
