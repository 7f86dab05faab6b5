//! Logging in with the real programs against the mock portal: through the daemon, and without one.

#![cfg(unix)]

use std::time::Duration;

use crate::steps::{Login, assert_serves, block, json_of, log_in, own_store, run};
use mock_cloud::{Canned, Endpoint, Options, PortalFault};
use serde_json::{Value, json};
use support::{PATIENCE, World, chat, post};

#[tokio::test(flavor = "multi_thread")]
async fn a_login_through_the_daemon_serves_at_once_and_is_hermes_agents_too() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
    let done = log_in(&world, &[]);
    assert_serves(&daemon).await;
    assert_eq!(done["store"], json!(world.store_file()));
    assert_eq!(done["separate"], false);
    let stored = block(&world.store_file());
    let (access, refresh) = (&stored["access_token"], &stored["refresh_token"]);
    assert!(access.is_string() && refresh.is_string());
    // What Hermes Agent writes at a login of its own.
    assert_eq!(&stored["agent_key"], access);
    assert_eq!(stored["client_id"], "hermes-cli");
    assert_eq!(stored["portal_base_url"], "https://portal.nousresearch.com");
    let mirror = world.home.path().join(".hermes/shared/nous_auth.json");
    let mirror: Value = serde_json::from_slice(&std::fs::read(mirror).unwrap()).unwrap();
    assert_eq!(&mirror["refresh_token"], refresh);
    // Thirty days from now.
    let status = daemon.home_screen();
    let login = &status["providers"][0]["login"];
    let days = login["ends_in_seconds"].as_i64().unwrap() / 86_400;
    assert!((29..=30).contains(&days), "{login}");
    let counts = world.cloud.counts();
    assert_eq!((counts.early_polls, counts.reuse_events), (0, 0));
    world.assert_no_secret_in("the log", &daemon.logged());
    world.assert_no_secret_in("status", &status.to_string());
    world.assert_no_secret_in("the end", &done.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_daemon_is_there_when_it_starts() {
    let world = World::without_a_login().await;
    log_in(&world, &[]);
    let status = run(&world, &["auth", "status", "--json"]);
    assert!(status.status.success(), "{status:?}");
    let before = world.cloud.counts();
    let daemon = world.daemon();
    assert_serves(&daemon).await;
    assert_eq!(world.cloud.counts().refresh_calls, before.refresh_calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_there_is_used_and_no_second_one_is_made() {
    let world = World::new(Options::default()).await;
    for with_daemon in [false, true] {
        let daemon = with_daemon.then(|| world.daemon());
        let output = run(&world, &["auth", "login", "nous", "--json"]);
        assert!(output.status.success(), "{output:?}");
        let existing = &json_of(&output)["existing"];
        assert_eq!(existing["store"], json!(world.store_file()));
        assert_eq!(existing["separate"], false);
        drop(daemon);
    }
    assert_eq!(world.cloud.counts().refresh_calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_only_the_mirror_holds_is_taken_over() {
    let world = World::new(Options::default()).await;
    let store = block(&world.store_file());
    let shared = world.home.path().join(".hermes/shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("nous_auth.json"), store.to_string()).unwrap();
    std::fs::remove_file(world.store_file()).unwrap();
    let output = run(&world, &["auth", "login", "nous", "--json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        json_of(&output)["existing"]["adopted"],
        true,
        "it was not there before"
    );
    assert_eq!(
        json_of(&output)["existing"]["store"],
        json!(world.store_file())
    );
    assert!(world.cloud.is_alive(world.family()));
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(block(&world.store_file())["refresh_token"], current);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_taken_over_names_another_one_of_its_account() {
    let world = World::new(Options::default()).await;
    world.cloud.set_subject("me");
    let [mirrored, other] = [(); 2].map(|()| world.cloud.login());
    let mut store = world.cloud.hermes_store(&mirrored);
    let block = store["providers"]["nous"].take();
    store["providers"].as_object_mut().unwrap().remove("nous");
    let mut row = world.cloud.hermes_store(&other)["providers"]["nous"].clone();
    for (key, value) in [
        ("id", json!("ab12cd")),
        ("label", json!("work")),
        ("auth_type", json!("oauth")),
        ("source", json!("manual:device_code")),
        ("priority", json!(0)),
    ] {
        row[key] = value;
    }
    store["credential_pool"] = json!({"nous": [row]});
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let shared = world.home.path().join(".hermes/shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("nous_auth.json"), block.to_string()).unwrap();
    let output = run(&world, &["auth", "login", "nous", "--json"]);
    let existing = &json_of(&output)["existing"];
    assert_eq!(existing["adopted"], true, "{output:?}");
    assert_eq!(existing["same_account_as"], "work", "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_separate_login_lies_in_a_store_that_nobody_else_writes() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let hermes = block(&world.store_file());
    let done = log_in(&world, &["--separate"]);
    assert_eq!(done["store"], json!(own_store(&world)));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(own_store(&world)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert_serves(&daemon).await;
    // Refreshed, it is still ours alone.
    let refreshed = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(json_of(&refreshed)["result"], "refreshed", "{refreshed:?}");
    assert_eq!(
        block(&world.store_file()),
        hermes,
        "Hermes Agent's login was touched"
    );
    assert!(
        !world
            .home
            .path()
            .join(".hermes/shared/nous_auth.json")
            .exists()
    );
    // Hermes Agent's login may even end.
    world.cloud.revoke(world.family());
    assert_serves(&daemon).await;

    // Logged out, Hermes Agent's is used again.
    let output = run(&world, &["auth", "logout", "--json"]);
    let report = json_of(&output);
    assert_eq!(
        report["removed_from"],
        json!([own_store(&world)]),
        "{output:?}"
    );
    assert_eq!(report["shared_with_hermes"], false);
    assert_eq!(report["still_logged_in"], json!(world.store_file()));
    assert!(block(&own_store(&world)).is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_on_request_spends_one_token_with_and_without_a_daemon() {
    let world = World::new(Options::default()).await;
    let output = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(json_of(&output)["result"], "refreshed", "{output:?}");
    let daemon = world.daemon();
    let output = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(json_of(&output)["result"], "refreshed", "{output:?}");
    assert_serves(&daemon).await;
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refreshes, counts.reuse_events, counts.unauthorized),
        (2, 0, 0)
    );

    world
        .cloud
        .break_portal(Endpoint::Refresh, PortalFault::Answer(Canned::status(503)));
    let output = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(json_of(&output)["result"], "failed");
    assert_serves(&daemon).await;
    world.cloud.heal();
    world.cloud.revoke(world.family());
    let output = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(json_of(&output)["result"], "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_without_a_login_says_so_and_asks_nobody() {
    let world = World::without_a_login().await;
    let assert_told = || {
        let output = run(&world, &["auth", "refresh", "--json"]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert_eq!(json_of(&output)["result"], "no_login");
        let output = run(&world, &["auth", "refresh"]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("nous has no login to renew"), "{said}");
        assert!(said.contains("`hermesctl auth login nous`"), "{said}");
        assert!(!said.contains("refused"), "{said}");
    };
    assert_told();
    let _daemon = world.daemon();
    assert_told();
    assert!(world.cloud.calls().is_empty());
}

/// RFC 6761 §6.4: no name in `.invalid` exists.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_network_names_the_host_and_what_looks_further() {
    let world = World::without_a_login().await;
    let mut command = world.hermesctl(&["auth", "login", "nous"]);
    command.env("HERMES_PORTAL_BASE_URL", "https://portal.invalid");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    for says in [
        "Can't reach portal.invalid: its name can't be resolved; this machine may be offline",
        "`hermesctl doctor`",
        "hermesctl auth login nous",
    ] {
        assert!(said.contains(says), "{said}");
    }
    assert!(!said.contains("client error"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_or_runs_out_says_so_and_changes_nothing() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    let login = Login::begin(&world, &[]);
    world.cloud.deny(login.user_code());
    let (end, status) = login.end();
    assert_eq!(
        (end["error"]["code"].as_str(), status.code()),
        (Some("login_denied"), Some(1))
    );

    let login = Login::begin(&world, &[]);
    world.cloud.advance(Duration::from_hours(1));
    let (end, status) = login.end();
    assert_eq!(
        (end["error"]["code"].as_str(), status.code()),
        (Some("login_expired"), Some(1))
    );
    assert!(!world.store_file().exists());
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_login_and_a_late_yes_logs_nobody_in() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    let login = Login::begin(&world, &[]);
    let pid = rustix::process::Pid::from_raw(login.child.id().try_into().unwrap());
    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::INT).unwrap();
    let code = login.user_code().to_owned();
    let (end, status) = login.end();
    assert_eq!(status.code(), Some(130), "{end}");
    world.cloud.approve(&code);
    // The daemon of a busy machine may hear of it a little later.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let polls = world.cloud.counts().device_polls;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        world.cloud.counts().device_polls,
        polls,
        "it is still polled"
    );
    assert!(!world.store_file().exists());
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_and_a_slow_portal_do_not_end_a_login() {
    let world = World::without_a_login().await;
    let faults = [
        PortalFault::Answer(Canned::oauth_error(400, "slow_down", "polled too early")),
        PortalFault::Answer(Canned::edge_block()),
        PortalFault::Answer(Canned::status(502)),
        PortalFault::Answer(Canned::status(429).header("retry-after", "1")),
        PortalFault::DropBeforeCommit,
    ];
    let _daemon = world.daemon();
    // One each, so that the test does not wait for the sum of all backoffs.
    let logins: Vec<_> = faults
        .into_iter()
        .map(|fault| {
            world.cloud.fail_portal(Endpoint::DevicePoll, 1, &fault);
            let polls = world.cloud.counts().device_polls;
            let login = Login::begin(&world, &["--separate", "--force"]);
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while world.cloud.counts().device_polls == polls {
                assert!(tokio::time::Instant::now() < deadline, "no poll");
                std::thread::yield_now();
            }
            world.cloud.approve(login.user_code());
            login
        })
        .collect();
    for login in logins {
        let (end, status) = login.end();
        assert!(status.success(), "{end}");
    }
    assert_eq!(world.cloud.counts().early_polls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_can_not_be_written_is_told_before_the_user_is_sent_anywhere() {
    let world = World::without_a_login().await;
    std::fs::write(world.home.path().join(".hermes"), "in the way").unwrap();
    let output = run(&world, &["auth", "login", "nous", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error = json_of(&output)["error"].clone();
    assert_eq!(error["code"], "store_unusable", "{error}");
    assert!(
        error["message"].as_str().unwrap().contains(".hermes"),
        "{error}"
    );
    assert_eq!(world.cloud.calls().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_outlasts_a_reload_of_its_provider() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    let login = Login::begin(&world, &[]);
    world.write_config("[timeouts]\ncredential = \"11s\"\n");
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    world.cloud.approve(login.user_code());
    let (end, status) = login.end();
    assert!(status.success(), "{end}");
    assert_serves(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_not_minted_in_a_loop_while_the_refresh_token_is_in_doubt() {
    let options = Options::default()
        .opaque_access_tokens(true)
        .grace(Duration::from_mins(1));
    let world = World::new(options).await;
    let unauthorized = PortalFault::Answer(Canned::status(401));
    world
        .cloud
        .fail_portal(Endpoint::AgentKey, 1, &unauthorized);
    let lost = PortalFault::AnswerAfterCommit(Canned::status(502));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &lost);
    let daemon = world.daemon();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while post(&daemon, &chat("x")).await.status() != 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let counts = world.cloud.counts();
    assert!(
        counts.mint_calls <= 3 && counts.refresh_calls <= 3,
        "{counts:?}\n{}",
        daemon.logged()
    );
    assert_eq!(counts.reuse_events, 0);
    assert_eq!(
        daemon.status()["providers"][0]["login"]["may_be_spent"],
        false
    );
}
