//! A pool that several programs renew in turn, and one whose daemon is killed.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has threads and tasks of its own"
)]

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hermes_proxy::control::client::ControlClient;
use hermes_proxy::control::endpoint::Endpoint;
use hermes_proxy::control::protocol::calls;
use hermes_proxy::control::protocol::{ProviderChoice, RefreshResult};
use mock_cloud::{Endpoint as Portal, Fault, Login, MockCloud, Options, PortalFault};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, chat, client, ctl, scratch};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::pool::{Hermes, block, row};
use super::{CLIENT, World, now};

/// So many rotations by default; `HERMES_TEST_ROTATIONS=1000` is what the daemon is held to.
const USUAL: usize = 60;

fn wanted() -> usize {
    let wanted = std::env::var("HERMES_TEST_ROTATIONS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(USUAL)
}

/// Hermes Agent and the daemon renew the two logins of one pool in turn, while apps ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hermes_agent_and_the_daemon_renew_one_pool_in_turn_under_load_and_reuse_no_token() {
    let world = World::new().await;
    world.cloud.set_access_ttl(Duration::from_mins(30));
    std::fs::create_dir_all(world.home.path().join(".hermes")).unwrap();
    let logins = [world.cloud.login(), world.cloud.login()];
    let mut hermes = Hermes::start(&world);
    let ids = logins.each_ref().map(|login| added(&mut hermes, login));
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    let asking = CancellationToken::new();
    let apps = [(); 3].map(|()| {
        let (asking, post) = (
            asking.clone(),
            client().post(daemon.url("/chat/completions")),
        );
        tokio::spawn(async move {
            let mut served = 0;
            while !asking.is_cancelled() {
                let answer = post.try_clone().unwrap().json(&chat("x")).send().await;
                assert_eq!(answer.unwrap().status(), 200);
                served += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            served
        })
    });
    let (mut theirs, mut ours) = (0, 0);
    while theirs + ours < wanted() {
        let (one, other) = (&ids[theirs % 2], &ids[(theirs + 1) % 2]);
        let told = hermes.step(&format!("force {one}"));
        assert_eq!(told["ok"], true, "{told}");
        theirs += 1;
        // The first time it takes what Hermes Agent has renewed before.
        while renewed(&world, other).await == RefreshResult::Adopted {}
        ours += 1;
    }
    asking.cancel();
    let mut served = 0;
    for app in apps {
        served += app.await.unwrap();
    }
    let counts = world.cloud.counts();
    println!("{theirs} rotations by Hermes Agent, {ours} by the daemon; {served} requests");
    assert_eq!(counts.reuse_events, 0, "{counts:?}");
    assert_eq!(
        counts.refreshes, counts.refresh_calls,
        "one came to nothing"
    );
    assert_eq!(counts.refreshes, u64::try_from(theirs + ours).unwrap());
    for (id, login) in ids.iter().zip(&logins) {
        let current = world.cloud.current_refresh_token(login.family);
        assert!(world.cloud.is_alive(login.family));
        assert_eq!(world.row(id)["refresh_token"].as_str(), current.as_deref());
    }
}

/// Adds a login with Hermes Agent; its row's id.
fn added(hermes: &mut Hermes, login: &Login) -> String {
    let tokens = json!({"access_token": login.access_token, "refresh_token": login.refresh_token});
    let added = hermes.step(&format!("add {tokens}"));
    added["id"].as_str().unwrap().to_owned()
}

/// Has the daemon renew a login.
async fn renewed(world: &World, label: &str) -> RefreshResult {
    let endpoint = Endpoint::new(world.home.path().join("run/hermes-proxyd"));
    let mut control = ControlClient::connect(&endpoint, "a test").await.unwrap();
    let choice = ProviderChoice {
        provider: None,
        store: None,
        label: Some(label.to_owned()),
    };
    let outcome = control.call(calls::Refresh(choice)).await.unwrap();
    let is_well = matches!(
        outcome.result,
        RefreshResult::Refreshed | RefreshResult::Adopted
    );
    assert!(is_well, "{outcome:?}");
    outcome.result
}

/// Hermes Agent writes all rows as it has read them. It may have waited for the lock meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_hermes_agent_puts_back_is_written_anew_before_its_spent_token_is_shown() {
    let world = World::new().await;
    world.cloud.set_access_ttl(Duration::from_mins(30));
    std::fs::create_dir_all(world.home.path().join(".hermes")).unwrap();
    let logins = [world.cloud.login(), world.cloud.login()];
    let mut hermes = Hermes::start(&world);
    let [one, two] = logins.each_ref().map(|login| added(&mut hermes, login));
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    for by_us in [true, false] {
        assert_eq!(hermes.step("hold")["ok"], true);
        if by_us {
            assert_eq!(renewed(&world, &two).await, RefreshResult::Refreshed);
        } else {
            let mut other = Hermes::start(&world);
            world.cloud.advance(Duration::from_secs(1));
            assert_eq!(other.step(&format!("force {two}"))["ok"], true);
            // It has seen that.
            assert_eq!(renewed(&world, &two).await, RefreshResult::Adopted);
        }
        let current = world.cloud.current_refresh_token(logins[1].family);
        let told = hermes.step(&format!("late {one}"));
        assert_eq!(told["ok"], true, "{told}");
        world
            .until(&daemon, |world| {
                world.row(&two)["refresh_token"].as_str() == current.as_deref()
            })
            .await;
        let first = world.cloud.current_refresh_token(logins[0].family);
        assert_eq!(world.row(&one)["refresh_token"].as_str(), first.as_deref());
    }
    assert_eq!(renewed(&world, &two).await, RefreshResult::Refreshed);
    world.assert_nothing_reused();
}

async fn asked(daemon: &Daemon) -> u16 {
    let post = client().post(daemon.url("/chat/completions"));
    let answer = post.json(&chat("x")).send().await.unwrap();
    answer.status().as_u16()
}

/// A world whose portal forgives a token that is shown once more within a minute, as after a crash.
async fn forgiving() -> World {
    let options = Options::default().client_id(CLIENT);
    let options = options.scope("api:access inference:invoke");
    let cloud = MockCloud::start(options.grace(Duration::from_mins(1))).await;
    let world = World {
        cloud,
        home: scratch(),
    };
    world.asks_at(&world.cloud.inference_base_url());
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_over_a_mark_and_two_rotations_loses_no_login() {
    let world = forgiving().await;
    let logins = [(); 3].map(|()| world.cloud.login());
    let rows = [row("one", 0, &logins[1]), row("two", 1, &logins[2])];
    world.holds(&block(&logins[0], &now()), &rows);
    for round in 0..6 {
        let mut daemon = world.daemon();
        let slow = PortalFault::DelayAfterCommit(Duration::from_millis(40));
        world.cloud.fail_portal(Portal::Refresh, 3, &slow);
        // The quota of the block's login is used up, the next one is refused once and renewed, and
        // all are renewed by hand.
        world.cloud.fail_next(1, &Fault::rate_limited(1));
        let asking = tokio::spawn({
            let post = client().post(daemon.url("/chat/completions"));
            post.json(&chat("x")).send()
        });
        let endpoint = Endpoint::new(world.home.path().join("run/hermes-proxyd"));
        let renewing = ["one", "two"].map(|label| {
            let endpoint = endpoint.clone();
            tokio::spawn(async move {
                let mut control = ControlClient::connect(&endpoint, "a test").await.ok()?;
                let choice = ProviderChoice {
                    provider: None,
                    store: None,
                    label: Some(label.to_owned()),
                };
                control.call(calls::Refresh(choice)).await.ok()
            })
        });
        tokio::time::sleep(Duration::from_millis(15 + 25 * round)).await;
        daemon.kill();
        asking.await.unwrap().ok();
        for one in renewing {
            one.await.unwrap();
        }
        world.cloud.heal();
        let daemon = world.daemon();
        // What was cut off is made good at once.
        world
            .until(&daemon, |world| {
                let rows = ["one", "two"].map(|id| world.row(id)["refresh_token"].clone());
                let stored = [world.block()["tokens"]["refresh_token"].clone()];
                let stored = stored.into_iter().chain(rows);
                stored.zip(&logins).all(|(stored, login)| {
                    let current = world.cloud.current_refresh_token(login.family);
                    stored.as_str() == current.as_deref()
                })
            })
            .await;
        assert_eq!(asked(&daemon).await, 200, "{}", daemon.logged());
        assert_eq!(world.cloud.counts().reuse_events, 0, "round {round}");
        assert!(
            logins
                .iter()
                .all(|login| world.cloud.is_alive(login.family))
        );
    }
    let daemon = world.daemon();
    // An entry that was cut off before its token was sent does not count yet, and goes with the
    // next renewal.
    for label in ["one", "two"] {
        while renewed(&world, label).await == RefreshResult::Adopted {}
    }
    let journal = world.home.path().join(".local/state/hermes-proxyd/journal");
    world
        .until(&daemon, |_| {
            std::fs::read_dir(&journal).map_or(0, Iterator::count) == 0
        })
        .await;
}

/// `hermesctl auth login xai` with a user who says yes; whether it went well, and what it told.
pub(super) fn log_in(world: &World, more: &[&str]) -> (bool, String) {
    let mut command = support::program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    command.args(["auth", "login", "xai", "--json"]).args(more);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let begun: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    if let Some(code) = begun["code"]["user_code"].as_str() {
        world.cloud.approve(code);
    }
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    (child.wait().unwrap().success(), format!("{begun} {rest:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_label_is_the_providers_own_whatever_rows_there_are() {
    let world = World::new().await;
    let login = world.cloud.login();
    world.holds(&Value::Null, &[row("one", 0, &login)]);
    let before = world.row("one");
    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, login.access_token);
    let (is_well, told) = log_in(&world, &[]);
    assert!(is_well && told.contains("user_code"), "{told}");
    assert!(world.block()["tokens"]["refresh_token"].is_string());
    assert_eq!(world.row("one"), before);
    let (is_well, told) = log_in(&world, &[]);
    assert!(is_well && !told.contains("user_code"), "{told}");
}

/// A writer without the lock, such as an editor, takes the row away while its answer is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_taken_away_while_it_is_renewed_comes_back_with_the_new_token() {
    let world = World::new().await;
    let logins = [world.cloud.login(), world.cloud.login()];
    let rows = [row("one", 0, &logins[0]), row("two", 1, &logins[1])];
    world.holds(&Value::Null, &rows);
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    let answer = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(answer.clone());
    world.cloud.fail_portal(Portal::Refresh, 1, &held);
    let endpoint = Endpoint::new(world.home.path().join("run/hermes-proxyd"));
    let renewing = tokio::spawn(async move {
        let mut control = ControlClient::connect(&endpoint, "a test").await.unwrap();
        let choice = ProviderChoice {
            provider: None,
            store: None,
            label: Some("two".to_owned()),
        };
        control.call(calls::Refresh(choice)).await.ok()
    });
    let is_spent = |cloud: &MockCloud| cloud.counts().refreshes == 1;
    world.cloud.wait_for(PATIENCE, is_spent).await;
    world.holds(&Value::Null, &rows[..1]);
    answer.add_permits(1);
    renewing.await.unwrap();
    world.look_again();
    world.holds(&Value::Null, &rows);
    let current = world.cloud.current_refresh_token(logins[1].family);
    assert_ne!(current.as_ref(), Some(&logins[1].refresh_token));
    let is_back = |world: &World| world.row("two")["refresh_token"].as_str() == current.as_deref();
    world.until(&daemon, is_back).await;
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_added_under_a_label_and_taken_out_again() {
    let world = World::new().await;
    let login = world.cloud.login();
    world.holds(&block(&login, &now()), &[]);
    let daemon = world.daemon();
    let added = |label: &str| log_in(&world, &["--label", label]);
    let (is_well, told) = added("work");
    assert!(is_well, "{told}");
    let rows = world.store()["credential_pool"]["xai-oauth"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows:#}");
    let work = &rows[0];
    assert_eq!(
        (&work["label"], &work["source"]),
        (&json!("work"), &json!("manual:device_code"))
    );
    assert_eq!(work["base_url"], "https://api.x.ai/v1");
    assert_eq!(
        world.block()["tokens"]["refresh_token"],
        json!(login.refresh_token)
    );
    // What has been added is read aside.
    support::until("the new login is ready", || {
        let list = ctl(world.home.path(), &["auth", "list"]);
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        list.lines()
            .any(|line| line.contains("work") && line.contains("ready"))
    });
    // It serves when the first one's quota is used up, and Hermes Agent treats it as a separate
    // login.
    world.cloud.fail_next(1, &Fault::rate_limited(60));
    let served = world.serves_with(&daemon).await;
    assert_eq!(work["access_token"], served.as_str());
    let mut hermes = Hermes::start(&world);
    let told = hermes.step(&format!("until {}", work["id"].as_str().unwrap()));
    assert_eq!(told["ok"], true, "{told}");
    // It replaces none.
    let (is_well, told) = added("work");
    assert!(!is_well && told.contains("label_taken"), "{told}");
    let list = ctl(world.home.path(), &["auth", "list"]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(
        list.contains("work") && list.contains("used next"),
        "{list}"
    );

    let out = |label: &str| {
        let line = ["auth", "logout", "xai", "--label", label, "--yes"];
        ctl(world.home.path(), &line)
    };
    assert!(!out("nowhere").status.success());
    let output = out("work");
    assert!(output.status.success(), "{output:?}");
    let rows = world.store()["credential_pool"]["xai-oauth"].clone();
    assert!(
        rows.as_array()
            .unwrap()
            .iter()
            .all(|row| row["label"] != "work"),
        "{rows:#}"
    );
    assert_eq!(
        world.block()["tokens"]["refresh_token"],
        json!(login.refresh_token)
    );
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while asked(&daemon).await != 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
    }
    world.assert_nothing_reused();
}
