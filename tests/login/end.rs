//! A login's end: reported before it comes and when it has come, once, also to the hooks.

#![cfg(unix)]

use std::time::Duration;

use crate::steps::{assert_serves, block, log_in};
use mock_cloud::Options;
use serde_json::{Value, json};
use support::{PATIENCE, World, chat, client, post};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_login_is_told_to_the_hooks_and_a_new_one_too() {
    let world = World::new(Options::default()).await;
    let told = world.home.path().join("told");
    let config = format!(
        "[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n\
         [[hooks]]\nurl = \"http://127.0.0.1:9/dead\"\ntimeout = \"1s\"\n",
        told.display()
    );
    let daemon = world.daemon_with(&config, &[]);
    world.cloud.revoke(world.family());
    post(&daemon, &chat("x")).await;
    let events = || -> Vec<Value> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    let wait_for = |count: usize| {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while events().len() < count {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{:?} {}",
                events(),
                daemon.logged()
            );
            std::thread::yield_now();
        }
        events()
    };
    let event = wait_for(1).remove(0);
    assert_eq!(event["event"], "login_ended", "{event}");
    assert_eq!(event["command"], "hermesctl auth login nous");
    let line = daemon.wait_for_log("login_ended");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["message_id"].as_str().unwrap().len(), 32);
    for _ in 0..5 {
        assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
    }
    log_in(&world, &[]);
    assert_serves(&daemon).await;
    let events = wait_for(2);
    assert_eq!(
        (events.len(), &events[1]["event"]),
        (2, &json!("login_restored"))
    );
    world.assert_no_secret_in("the hook's input", &json!(events).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_ends_soon_is_told_everywhere_before() {
    let world = World::new(Options::default()).await;
    let mut store = world.store();
    let clock: &dyn hermes_proxy::clock::Clock = &hermes_proxy::clock::SystemClock;
    let login_at = clock.now() - chrono::Duration::days(26);
    store["providers"]["nous"]["hermes_proxyd"] = json!({"login_at": login_at.to_rfc3339()});
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let daemon = world.daemon();
    let line: Value = serde_json::from_str(&daemon.wait_for_log("login_ends_soon")).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["command"], "hermesctl auth login nous --force");
    let get = async |path: &str| {
        let answer = client()
            .get(format!("{}{path}", daemon.origin()))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, ready) = get("/readyz").await;
    assert!(
        status == 200 && ready.contains("hermesctl auth login nous --force"),
        "{ready}"
    );
    let health: Value = serde_json::from_str(&get("/health").await.1).unwrap();
    assert_eq!(
        (&health["login"]["ends_soon"], &health["login"]["saved"]),
        (&json!(true), &json!(true))
    );
    let login = &daemon.status()["providers"][0]["login"];
    assert_eq!(login["ends_soon"], true);
    let text = String::from_utf8(world.ctl(&["proxy", "status"]).stdout).unwrap();
    assert!(text.contains("hermesctl auth login"), "{text}");

    // A new login before the end, without a gap.
    log_in(&world, &["--force"]);
    assert_eq!(daemon.status()["providers"][0]["login"]["ends_soon"], false);
    assert_serves(&daemon).await;
    assert_eq!(
        daemon.logged().matches("login_ends_soon").count(),
        1,
        "{}",
        daemon.logged()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_a_mirror_that_are_both_dead_are_one_dead_login() {
    let world = World::new(Options::default()).await;
    let other = world.cloud.login();
    let shared = world.home.path().join(".hermes/shared");
    std::fs::create_dir(&shared).unwrap();
    let mirror = world.cloud.hermes_store(&other)["providers"]["nous"].clone();
    std::fs::write(shared.join("nous_auth.json"), mirror.to_string()).unwrap();
    world.cloud.revoke(world.family());
    world.cloud.revoke(other.family);
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while daemon.status()["providers"][0]["state"] != "login_needed" {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        post(&daemon, &chat("x")).await;
    }
    let calls = world.cloud.counts().refresh_calls;
    assert!(calls <= 2, "{calls} calls with two dead tokens");
    post(&daemon, &chat("x")).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.cloud.counts().refresh_calls, calls);
    assert!(block(&world.store_file())["refresh_token"].is_null());
    assert!(!shared.join("nous_auth.json").exists());
}
