//! Several logins of a provider by its settings: their rows are in our own store, with their owner.

use std::time::Duration;

use mock_cloud::{Canned, Fault};
use serde_json::{Value, json};
use support::PATIENCE;
use tokio::time::{Instant, sleep};

use super::{Login, World, ask};

/// Adds a login under this label.
fn added(world: &World, label: &str) -> Value {
    let mut login = Login::begin(world, &["acme", "--label", label]);
    let begun = login.line();
    world
        .cloud
        .approve(begun["code"]["user_code"].as_str().unwrap());
    let (end, success) = login.end();
    assert!(success, "{end}");
    end
}

/// A row is seen at the next look at the store.
async fn until_ready(world: &World, logins: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, list) = world.ctl(&["auth", "list", "--json"]);
        let all = list["logins"].as_array().cloned().unwrap_or_default();
        let ready = all.iter().filter(|login| login["state"] == "ready");
        if ready.count() == logins {
            return;
        }
        assert!(Instant::now() < deadline, "{list:#}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A model that costs more than any of the accounts has: one app's wish must not take the provider from the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_no_account_can_pay_for_holds_no_login_back() {
    let world = World::with("issuer_url = \"{portal}\"").await;
    let daemon = world.daemon();
    world.log_in("acme");
    added(&world, "work");
    until_ready(&world, 2).await;
    let credits = Canned::api_error(402, "billing", "insufficient_credits", "Ask for less.");
    for refusal in [credits, Canned::status(402), Canned::status(429)] {
        let status = refusal.clone();
        world.cloud.fail_next(2, &Fault::Answer(refusal));
        let answer = ask(&daemon, "acme").await;
        assert!(answer.status().is_client_error(), "{status:?}");
        assert!(answer.headers().get("x-hermes-error").is_none());
        let answer = ask(&daemon, "acme").await;
        assert_eq!(answer.status(), 200, "{}", daemon.logged());
    }
    let (_, list) = world.ctl(&["auth", "list", "--json"]);
    assert!(!list.to_string().contains("cooldown"), "{list:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_login_is_added_in_our_own_store_renewed_and_used_where_the_first_has_nothing_left()
 {
    let world = World::with("issuer_url = \"{portal}\"").await;
    let daemon = world.daemon();
    world.log_in("acme");
    let first = world.block("acme");
    let end = added(&world, "work");
    assert_eq!(end["done"]["store"], json!(world.store_file()));
    let rows = || world.store()["credential_pool"]["oauth2-acme"].clone();
    let work = rows()[0].clone();
    assert_eq!(
        (&work["label"], &work["authority"]),
        (&json!("work"), &first["authority"])
    );
    assert_eq!(world.block("acme"), first, "it replaces none");
    assert!(!world.home.path().join(".hermes/auth.json").exists());

    until_ready(&world, 2).await;
    world.cloud.fail_next(1, &Fault::rate_limited(60));
    let answer = ask(&daemon, "acme").await;
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
    let served = world.cloud.last_bearer().unwrap();
    assert_eq!(work["access_token"], served.as_str());
    let (renewed, outcome) = world.ctl(&["auth", "refresh", "acme", "--label", "work", "--json"]);
    assert!(renewed, "{outcome}");
    assert_ne!(rows()[0]["refresh_token"], work["refresh_token"]);
    assert_eq!(world.block("acme")["refresh_token"], first["refresh_token"]);
    // It is there after a restart too.
    drop(daemon);
    let _daemon = world.daemon();
    let (listed, list) = world.ctl(&["auth", "list", "--json"]);
    assert!(listed);
    let logins = list["logins"].as_array().unwrap();
    let mut mine = logins.iter().filter(|login| login["provider"] == "acme");
    assert!(mine.all(|login| login["state"] == "ready"), "{list:#}");
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

/// Both have asked for the label before either of them was there.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_logins_that_are_made_at_once_under_one_label_each_gets_a_label_of_its_own() {
    let world = World::with("issuer_url = \"{portal}\"").await;
    let _daemon = world.daemon();
    let logins = [(); 2].map(|()| {
        let mut login = Login::begin(&world, &["acme", "--label", "work"]);
        let begun = login.line();
        (
            login,
            begun["code"]["user_code"].as_str().unwrap().to_owned(),
        )
    });
    let mut told = Vec::new();
    for (login, code) in logins {
        world.cloud.approve(&code);
        let (end, success) = login.end();
        assert!(success, "{end}");
        told.push(end["done"]["label"].clone());
    }
    assert_eq!(told, [Value::Null, json!("work-2")]);
    let rows = world.store()["credential_pool"]["oauth2-acme"].clone();
    let labels = rows.as_array().unwrap().iter().map(|row| &row["label"]);
    assert_eq!(labels.collect::<Vec<_>>(), ["work", "work-2"]);
    until_ready(&world, 2).await;
    let line = [
        "auth", "logout", "acme", "--label", "work", "--yes", "--json",
    ];
    let (removed, told) = world.ctl(&line);
    assert!(removed, "{told}");
}
