//! The names of several logins, and the report on one that has ended.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mock_cloud::{Canned, Endpoint, Fault, Login, PortalFault};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, built, ctl, program};
use tokio::sync::Semaphore;

use super::pool::{block, row, with};
use super::several::{logins_of, seconds_from_now, two_logins};
use super::turns::log_in;
use super::{World, now};

/// A world with a main login, and one in a row that is labelled `work`.
async fn main_and_work() -> (World, [Login; 2]) {
    let world = World::new().await;
    let logins = [world.cloud.login(), world.cloud.login()];
    let work = with(row("one", 3, &logins[1]), &json!({"label": "work"}));
    world.holds(&block(&logins[0], &now()), &[work]);
    (world, logins)
}

impl World {
    /// Runs hermesctl; whether it went well, and what it told.
    fn runs(&self, line: &[&str]) -> (bool, String) {
        let output = ctl(self.home.path(), line);
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        (output.status.success(), told)
    }

    fn rows(&self) -> Vec<Value> {
        let rows = self.store()["credential_pool"]["xai-oauth"].clone();
        rows.as_array().cloned().unwrap_or_default()
    }

    /// The login with this label ends.
    fn ends(&self, daemon: &Daemon, label: &str) {
        let token = self.rows().into_iter().find(|row| row["label"] == label);
        let token = token.unwrap()["refresh_token"].as_str().unwrap().to_owned();
        self.cloud.revoke(self.cloud.family_of(&token).unwrap());
        let (is_well, told) = self.runs(&["auth", "refresh", "xai", "--label", label]);
        assert!(!is_well, "{told}");
        let rows = self.rows();
        let row = rows.iter().find(|row| row["label"] == label).unwrap();
        assert_eq!(row["last_status"], "dead", "{}", daemon.logged());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_login_is_told_with_the_command_that_takes_its_place_while_the_others_serve() {
    let (world, logins) = main_and_work().await;
    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
    world.ends(&daemon, "work");
    let line = daemon.wait_for_log("login_ended");
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["command"], "hermesctl auth login xai --label work");
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("xAI Grok (work)")
            && message.contains("requests go to the provider's other logins"),
        "{message}"
    );
    let findings = daemon.status()["findings"].clone();
    let findings = findings.as_array().unwrap();
    let ended: Vec<_> = findings
        .iter()
        .filter(|one| one["code"] == "login_ended")
        .collect();
    assert_eq!(ended.len(), 1, "{findings:#?}");
    assert_eq!(ended[0]["command"], "hermesctl auth login xai --label work");
    let (_, report) = world.runs(&["doctor"]);
    assert_eq!(
        report.matches("auth login xai --label work").count(),
        1,
        "{report}"
    );

    let (is_well, told) = log_in(&world, &["--label", "work"]);
    assert!(is_well, "{told}");
    let rows = world.rows();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(
        (&rows[0]["label"], &rows[0]["priority"]),
        (&json!("work"), &json!(3))
    );
    assert!(rows[0]["last_status"].is_null() && rows[0]["id"] != "one");
    assert_ne!(rows[0]["refresh_token"], json!(logins[1].refresh_token));
    support::until("both are ready", || {
        let states: Vec<_> = logins_of(&world)
            .iter()
            .map(|one| one["state"].clone())
            .collect();
        states == ["ready", "ready"]
    });
    // One that works is replaced where the user says so.
    let (is_well, told) = log_in(&world, &["--label", "work"]);
    assert!(
        !is_well && told.contains("label_taken") && told.contains("--force"),
        "{told}"
    );
    assert_eq!(world.rows(), rows);
    let (is_well, told) = log_in(&world, &["--label", "work", "--force"]);
    assert!(is_well, "{told}");
    let replaced = world.rows();
    assert_eq!((replaced.len(), &replaced[0]["label"]), (1, &json!("work")));
    assert_ne!(replaced[0]["refresh_token"], rows[0]["refresh_token"]);
    // An ended one can be taken out.
    support::until("it is ready", || {
        logins_of(&world).last().unwrap()["state"] == "ready"
    });
    world.ends(&daemon, "work");
    let (is_well, told) = world.runs(&["auth", "logout", "xai", "--label", "work", "--yes"]);
    assert!(is_well && world.rows().is_empty(), "{told}");
    world.assert_nothing_reused();
}

/// A label that others have too names none of them.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_for_an_ended_login_has_its_id_where_its_label_is_not_its_own() {
    let (world, logins) = two_logins().await;
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    world.cloud.revoke(logins[0].family);
    assert!(!world.runs(&["auth", "refresh", "xai", "--label", "one"]).0);
    let line = daemon.wait_for_log("login_ended");
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["command"], "hermesctl auth login xai --label one");
    let (is_well, told) = log_in(&world, &["--label", "one"]);
    assert!(is_well, "{told}");
    let labels: Vec<_> = world
        .rows()
        .iter()
        .map(|row| row["label"].clone())
        .collect();
    assert_eq!(labels, ["me@example.org", "me@example.org"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_is_one_line_and_used_once_and_not_that_of_the_main_login() {
    let (world, _) = main_and_work().await;
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    let before = world.store();
    for (label, code, words) in [
        ("work ", "label_taken", "already"),
        ("login", "label_taken", "main login"),
        ("a\nb", "bad_request", "one line"),
        (" ", "bad_request", "empty"),
        (&"x".repeat(65), "bad_request", "at most 64"),
    ] {
        let (is_well, told) = world.runs(&["auth", "login", "xai", "--label", label, "--json"]);
        assert!(
            !is_well && told.contains(code) && told.contains(words),
            "{label:?}: {told}"
        );
    }
    assert_eq!(world.store(), before);
    let (is_well, told) = log_in(&world, &["--label", " home "]);
    assert!(is_well, "{told}");
    assert_eq!(world.rows()[1]["label"], "home");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_login_has_a_name_and_is_taken_out_alone_by_it() {
    let (world, logins) = main_and_work().await;
    let seeded = with(
        row("seed", 0, &logins[0]),
        &json!({"source": "device_code", "label": null}),
    );
    let rows = [seeded, world.row("one")];
    world.holds(&block(&logins[0], &now()), &rows);
    let daemon = world.daemon();
    world.cloud.fail_next(1, &Fault::rate_limited(300));
    assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    let (is_well, told) = world.runs(&["auth", "reset", "xai", "login"]);
    assert!(is_well && told.contains("Used again: "), "{told}");
    assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
    let (is_well, told) = world.runs(&["auth", "refresh", "xai", "--label", "login"]);
    assert!(is_well, "{told}");
    assert_ne!(
        world.block()["tokens"]["refresh_token"],
        json!(logins[0].refresh_token)
    );
    let (is_well, told) = world.runs(&["auth", "logout", "xai", "--label", "login", "--yes"]);
    assert!(is_well, "{told}");
    assert!(world.block().is_null());
    let rows = world.rows();
    assert_eq!((rows.len(), &rows[0]["label"]), (1, &json!("work")));
    assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    let (is_well, told) = world.runs(&["auth", "logout", "xai", "--label", "login", "--yes"]);
    assert!(!is_well && told.contains("no login \"login\""), "{told}");
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooldown_ends_at_the_date_that_the_provider_names() {
    let (world, logins) = two_logins().await;
    let daemon = world.daemon();
    let now: chrono::DateTime<chrono::Utc> = now().parse().unwrap();
    let date = (now + chrono::Duration::minutes(10)).format("%a, %d %b %Y %H:%M:%S GMT");
    let limited = Canned::status(429).header("retry-after", date.to_string());
    world.cloud.fail_next(1, &Fault::Answer(limited));
    assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    let marked = world.marked(&daemon, "one", &json!("exhausted")).await;
    let ends = seconds_from_now(&marked["last_error_reset_at"]);
    assert!((580..=602).contains(&ends), "{ends}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_login_is_used_next_where_none_can_be() {
    let (world, logins) = two_logins().await;
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    let next = || -> Vec<_> {
        let logins = logins_of(&world);
        logins.iter().map(|login| login["next"] == true).collect()
    };
    assert_eq!(next(), [true, false]);
    for (label, login) in ["one", "two"].iter().zip(&logins) {
        world.cloud.revoke(login.family);
        assert!(!world.runs(&["auth", "refresh", "xai", "--label", label]).0);
    }
    assert_eq!(next(), [false, false]);
    let (_, list) = world.runs(&["auth", "list"]);
    assert!(
        list.contains("login needed") && !list.contains("used next"),
        "{list}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_login_of_the_same_account_is_told_and_a_logout_tells_how_many_there_were() {
    let world = World::new().await;
    world.cloud.set_subject("me");
    let daemon = world.daemon();
    assert!(log_in(&world, &[]).0);
    let (is_well, told) = log_in(&world, &["--label", "again"]);
    assert!(
        is_well && told.contains("same_account_as") && told.contains("login"),
        "{told}"
    );
    world.cloud.set_subject("you");
    let (is_well, told) = log_in(&world, &["--label", "other"]);
    assert!(is_well && !told.contains("same_account_as"), "{told}");
    world.serves_with(&daemon).await;
    let (is_well, told) = world.runs(&["auth", "logout", "xai", "--yes"]);
    assert!(is_well && told.contains("(3 logins)"), "{told}");
}

/// Its renewal has the store's lock, and gives the row another token than it had when it was named.
#[tokio::test(flavor = "multi_thread")]
async fn a_logout_of_a_login_that_is_being_renewed_waits_and_removes_it() {
    let (world, logins) = main_and_work().await;
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    let begun = |line: &[&str]| {
        let mut command = program(built("hermesctl"), world.home.path());
        let command = command.args(line).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let refresh = begun(&["auth", "refresh", "xai", "--label", "work"]);
    let is_spent = |cloud: &mock_cloud::MockCloud| cloud.counts().refreshes == 1;
    world.cloud.wait_for(PATIENCE, is_spent).await;
    let mut logout = begun(&["auth", "logout", "xai", "--label", "work", "--yes"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(logout.try_wait().unwrap().is_none(), "it waits");
    gate.add_permits(1);
    let told = |Output { stdout, stderr, .. }: Output| {
        String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
    };
    let (refresh, logout) = (refresh.wait_with_output(), logout.wait_with_output());
    let logout = logout.unwrap();
    assert!(logout.status.success(), "{}", told(logout));
    assert!(refresh.unwrap().status.success());
    assert_eq!(world.rows(), [] as [Value; 0]);
    assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_main_login_of_the_account_of_another_one_is_told_too() {
    let world = World::new().await;
    world.cloud.set_subject("me");
    let _daemon = world.daemon();
    assert!(log_in(&world, &["--label", "work"]).0);
    let (is_well, told) = log_in(&world, &[]);
    let same = "\\\"same_account_as\\\":\\\"work\\\"";
    assert!(is_well && told.contains(same), "{told}");
    world.cloud.set_subject("you");
    let (is_well, told) = log_in(&world, &["--force"]);
    assert!(is_well && !told.contains("same_account_as"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_of_an_ended_login_beside_one_that_lives_with_and_without_a_daemon() {
    let (world, _) = main_and_work().await;
    let ended = || {
        let report = ctl(world.home.path(), &["doctor", "--json"]);
        let report: Value = serde_json::from_slice(&report.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let ended = findings.iter().find(|one| one["code"] == "login_ended");
        ended.cloned()
    };
    assert_eq!(ended(), None);
    let daemon = world.daemon();
    world.ends(&daemon, "work");
    let told = ended().expect("the daemon tells it");
    let command = "hermesctl auth login xai --label work";
    assert!(told["fix"].to_string().contains(command), "{told}");
    drop(daemon);
    assert_eq!(ended(), Some(told));
}
