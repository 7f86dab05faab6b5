//! The login: kept fresh, never spent twice, and its end told.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod refusals;
mod saved;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use mock_cloud::{Canned, Endpoint, Options, PortalFault};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, World, chat, client, post};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// One chat; its status and `x-hermes-error`.
pub(crate) async fn ask(http: &reqwest::Client, daemon: &Daemon) -> (u16, Option<String>) {
    let answer = http
        .post(daemon.url("/chat/completions"))
        .json(&chat("x"))
        .send()
        .await
        .unwrap();
    let code = answer
        .headers()
        .get("x-hermes-error")
        .map(|code| code.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    (status, code)
}

/// Asks again until `wanted` comes.
pub(crate) async fn ask_until(daemon: &Daemon, wanted: (u16, Option<&str>)) {
    let http = client();
    let asking = async {
        loop {
            let (status, code) = ask(&http, daemon).await;
            if (status, code.as_deref()) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, asking).await;
    assert!(done.is_ok(), "{wanted:?} never came:\n{}", daemon.logged());
}

/// A busy machine takes long for a thousand requests, and their renewal is held until all are there.
const LONG_WAITS: &str =
    "[timeouts]\ncredential = \"2m\"\n[providers.nous]\ntoken_timeout = \"2m\"\n";

/// Waits until this many requests are under way.
async fn until_in_flight(daemon: &Daemon, wanted: u64) {
    let waiting = async {
        while tokio::task::block_in_place(|| daemon.status())["providers"][0]["requests"]["in_flight"]
            != wanted
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let done = tokio::time::timeout(3 * PATIENCE, waiting).await;
    assert!(done.is_ok(), "{}", daemon.status());
}

/// Lets the test process hold as many sockets as it may.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refreshed_in_the_background_before_it_expires() {
    // Renewed after four fifths of its life, so that a busy machine has more than a second for it, twice.
    let world = World::new(Options::default().access_ttl(Duration::from_secs(6))).await;
    let daemon = world.daemon();
    let http = client();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(11);
    let mut asked = 0;
    while tokio::time::Instant::now() < deadline {
        assert_eq!(
            ask(&http, &daemon).await,
            (200, None),
            "{}",
            daemon.logged()
        );
        asked += 1;
    }
    let counts = world.cloud.counts();
    assert!(asked > 20, "{asked} requests in 11 s");
    assert!((2..=5).contains(&counts.refreshes), "{counts:?}");
    assert_eq!((counts.unauthorized, counts.reuse_events), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_the_moment_of_expiry_cause_one_refresh_and_none_fails() {
    raise_descriptor_limit();
    let world = World::new(Options::default().access_ttl(Duration::from_secs(5))).await;
    world.cloud.set_access_ttl(Duration::from_hours(1));
    // The refresh begins before the end and its answer comes after it.
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldBefore(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    let daemon = Arc::new(world.daemon_with(LONG_WAITS, &[]));
    let http = client();
    assert_eq!(ask(&http, &daemon).await.0, 200);
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refresh_calls == 1)
        .await;
    let expiry = world.login.expires_at - chrono_now();
    tokio::time::sleep(expiry.to_std().unwrap_or_default()).await;
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let (daemon, http) = (daemon.clone(), http.clone());
        requests.spawn(async move { ask(&http, &daemon).await });
    }
    until_in_flight(&daemon, 1000).await;
    gate.add_permits(1);
    let answers = requests.join_all().await;
    let failed = answers
        .iter()
        .filter(|answer| **answer != (200, None))
        .count();
    let counts = world.cloud.counts();
    println!(
        "1000 requests at expiry: {failed} failed, {} refresh calls",
        counts.refresh_calls
    );
    assert_eq!(
        (failed, counts.refresh_calls, counts.unauthorized),
        (0, 1, 0)
    );
}

fn chrono_now() -> chrono::DateTime<chrono::Utc> {
    use hermes_proxy::clock::{Clock, SystemClock};
    SystemClock.now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_valid_token_waits_for_no_lock_and_no_file() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let http = client();
    assert_eq!(ask(&http, &daemon).await, (200, None));
    // Another program holds the lock, and the store can't even be read.
    let lock = std::fs::File::create(world.home.path().join(".hermes/auth.lock")).unwrap();
    lock.lock().unwrap();
    let aside = world.home.path().join("aside");
    std::fs::write(&aside, "no longer a store").unwrap();
    std::fs::rename(&aside, world.store_file()).unwrap();
    for _ in 0..50 {
        assert_eq!(
            ask(&http, &daemon).await,
            (200, None),
            "{}",
            daemon.logged()
        );
    }
    assert_eq!(world.cloud.counts().refresh_calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_refusals_of_one_token_cause_one_refresh() {
    raise_descriptor_limit();
    let world = World::new(Options::default()).await;
    let daemon = Arc::new(world.daemon_with(LONG_WAITS, &[]));
    let http = client();
    assert_eq!(ask(&http, &daemon).await, (200, None));
    // All of them are refused, or wait, before the first one has another token.
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldBefore(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    world.cloud.revoke_access_tokens();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let (daemon, http) = (daemon.clone(), http.clone());
        requests.spawn(async move { ask(&http, &daemon).await });
    }
    until_in_flight(&daemon, 1000).await;
    gate.add_permits(1);
    assert!(
        requests
            .join_all()
            .await
            .iter()
            .all(|answer| *answer == (200, None))
    );
    let counts = world.cloud.counts();
    println!(
        "1000 requests, {} of them refused: {} refresh calls",
        counts.unauthorized, counts.refresh_calls
    );
    assert_eq!(
        (counts.refresh_calls, counts.reuse_events),
        (1, 0),
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_login_is_told_with_the_command_that_helps_and_causes_no_more_calls() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let http = client();
    world.cloud.revoke(world.family());
    // The first request learns it from the provider, all further ones from us.
    assert_eq!(ask(&http, &daemon).await, (401, None));
    for _ in 0..20 {
        let answer = http
            .post(daemon.url("/chat/completions"))
            .json(&chat("x"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["x-hermes-error"], "upstream_auth_failed");
        assert_eq!(answer.headers()["x-should-retry"], "false");
        let text = answer.text().await.unwrap();
        assert!(text.contains("hermesctl auth login nous"), "{text}");
    }
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.requests),
        (1, 1),
        "{counts:?}"
    );
    let nous = &world.store()["providers"]["nous"];
    assert!(nous["refresh_token"].is_null() && nous["access_token"].is_null());
    assert_eq!(nous["last_auth_error"]["code"], "invalid_grant");
    assert_eq!(nous["client_id"], "hermes-cli");
    let output = world.ctl(&["proxy", "status"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("hermesctl auth login nous")
    );

    // A new login is noticed without a restart.
    let again = world.cloud.login();
    world
        .cloud
        .write_hermes_home(&world.home.path().join(".hermes"), &again)
        .unwrap();
    ask_until(&daemon, (200, None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_portal_is_not_a_dead_login() {
    let world = World::new(Options::default().access_ttl(Duration::from_secs(3))).await;
    let faults = [
        Canned::status(503),
        Canned::captive_portal(),
        Canned::edge_block(),
        Canned::redirect(302, "https://login.hotel.example/"),
        Canned::oauth_error(429, "invalid_grant", "too many"),
        Canned::oauth_error(400, "temporarily_unavailable", "later"),
    ];
    for fault in faults {
        world
            .cloud
            .fail_portal(Endpoint::Refresh, 1, &PortalFault::Answer(fault));
    }
    world
        .cloud
        .break_portal(Endpoint::Refresh, PortalFault::DropBeforeCommit);
    let daemon = world.daemon_with("[timeouts]\ncredential = \"100ms\"\n", &[]);
    assert_eq!(ask(&client(), &daemon).await, (200, None));
    ask_until(&daemon, (503, Some("credentials_unavailable"))).await;
    let answer = post(&daemon, &chat("x")).await;
    let wait: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait));
    // While it is asked once more, the state is another one.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let status = loop {
        let status = daemon.status();
        if status["providers"][0]["state"] == "unavailable" {
            break status;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status["providers"][0]["last_refresh"]["result"], "failed");

    world.cloud.heal();
    world.cloud.set_access_ttl(Duration::from_hours(1));
    ask_until(&daemon, (200, None)).await;
    assert!(world.cloud.is_alive(world.family()));
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_that_can_not_infer_gets_an_agent_key_minted() {
    let world = World::new(Options::default().opaque_access_tokens(true)).await;
    let mut store = world.store();
    store["providers"]["nous"]["agent_key"] = Value::Null;
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let daemon = world.daemon();
    assert_eq!(ask(&client(), &daemon).await, (200, None));
    let counts = world.cloud.counts();
    assert_eq!((counts.mint_calls, counts.refresh_calls), (1, 0));
    let nous = &world.store()["providers"]["nous"];
    let key = nous["agent_key"].as_str().unwrap();
    assert_eq!(
        world.cloud.requests()[0].header("authorization"),
        [format!("Bearer {key}")]
    );
    assert_eq!(daemon.status()["providers"][0]["credential"], "agent_key");
    // Both refused: the access token is refreshed and a new key minted, in one go.
    world.cloud.revoke_access_tokens();
    assert_eq!(
        ask(&client(), &daemon).await,
        (200, None),
        "{}",
        daemon.logged()
    );
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.mint_calls, counts.refresh_calls),
        (3, 1),
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_login_it_starts_and_says_what_helps() {
    let world = World::new(Options::default()).await;
    std::fs::remove_dir_all(world.home.path().join(".hermes")).unwrap();
    let daemon = world.daemon();
    assert_eq!(
        ask(&client(), &daemon).await,
        (401, Some("upstream_auth_failed".to_owned()))
    );
    let health = client()
        .get(format!("{}/health", daemon.origin()))
        .send()
        .await
        .unwrap();
    let health: Value = health.json().await.unwrap();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["upstream"], "Nous Portal");
    assert_eq!(health["authenticated"], false);
    assert!(
        !world.home.path().join(".hermes").exists(),
        "it made files for no login"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_holds_a_secret_at_the_most_talkative_level() {
    let options = Options::default().tls(mock_cloud::Tls::On).http2(true);
    let world = World::new(options).await;
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let config = format!("[providers.nous]\nca_file = {:?}\n", ca.to_str().unwrap());
    let mut daemon = world.daemon_with(&config, &["--log-level", "trace"]);
    let http = client();
    assert_eq!(
        ask(&http, &daemon).await,
        (200, None),
        "{}",
        daemon.logged()
    );
    world.cloud.revoke_access_tokens();
    assert_eq!(ask(&http, &daemon).await, (200, None));
    let fault = PortalFault::Answer(Canned::status(500));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &fault);
    world.cloud.revoke_access_tokens();
    ask(&http, &daemon).await;
    let mut outputs = String::new();
    for args in [
        ["proxy", "status"].as_slice(),
        &["proxy", "status", "--json"],
        &["proxy", "providers"],
        &["proxy", "reload"],
    ] {
        let output = world.ctl(args);
        outputs.push_str(&String::from_utf8_lossy(&output.stdout));
        outputs.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    world.cloud.revoke(world.family());
    for _ in 0..3 {
        let answer = http
            .post(daemon.url("/chat/completions"))
            .json(&chat("x"))
            .send()
            .await
            .unwrap();
        write!(outputs, "{:?}", answer.headers()).unwrap();
        outputs.push_str(&answer.text().await.unwrap());
    }
    daemon.stop();
    let log = daemon.logged();
    assert!(log.contains("TRACE") && world.cloud.issued_secrets().len() > 4);
    world.assert_no_secret_in("the log", &log);
    world.assert_no_secret_in("an output", &outputs);
}

/// Different settings of the provider, so that it is set up again.
pub(crate) fn reload(world: &World) {
    world.write_config("[providers.nous]\nuser_agent = \"client\"\n");
    let reload = world.ctl(&["proxy", "reload", "--json"]);
    assert_eq!(reload.status.code(), Some(0), "{reload:?}");
    let report: Value = serde_json::from_slice(&reload.stdout).unwrap();
    let applied = report.get("applied");
    assert_eq!(applied, Some(&json!(["providers.nous.user_agent"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_lives_for_a_second_is_not_rotated_for_ever() {
    let world = World::new(Options::default().access_ttl(Duration::from_secs(1))).await;
    let daemon = world.daemon_with("[timeouts]\ncredential = \"100ms\"\n", &[]);
    let started = tokio::time::Instant::now();
    let http = client();
    // Some follow one another, and then there is none for half a minute.
    let (mut calls, mut since) = (0, started);
    while since.elapsed() < Duration::from_secs(4) {
        assert!(started.elapsed() < PATIENCE, "{}", daemon.logged());
        ask(&http, &daemon).await;
        let now = world.cloud.counts().refresh_calls;
        if now != calls {
            (calls, since) = (now, tokio::time::Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let counts = world.cloud.counts();
    let most = 7 + started.elapsed().as_secs() / 30;
    assert!(counts.refresh_calls <= most, "{counts:?}");
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.status(), 503);
    let wait = answer.headers()["retry-after"].to_str().unwrap();
    assert!(
        (1..=30).contains(&wait.parse::<u64>().unwrap()),
        "{wait}: {}",
        daemon.logged()
    );
}

/// A JWT with these claims, that may infer.
fn jwt(claims: &Value) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut claims = claims.clone();
    claims["scope"] = json!("inference:invoke");
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "none"})), part(&claims))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_odd_times_costs_a_rotation_and_no_more() {
    let far = 8_000_000_000_000_i64;
    for claims in [
        json!({"iat": -far, "exp": far}),
        json!({"iat": far, "exp": -far}),
        json!({"iat": -1e300, "exp": 1e300}),
        json!({"iat": 0, "exp": 253_402_300_799_i64}),
    ] {
        let world = World::new(Options::default()).await;
        let mut store = world.store();
        let nous = &mut store["providers"]["nous"];
        nous["access_token"] = json!(jwt(&claims));
        nous["agent_key"] = nous["access_token"].clone();
        std::fs::write(world.store_file(), store.to_string()).unwrap();
        let daemon = world.daemon();
        assert_eq!(
            ask(&client(), &daemon).await,
            (200, None),
            "{claims}: {}",
            daemon.logged()
        );
        let doctor = world.ctl(&["doctor", "--json"]);
        let text = String::from_utf8_lossy(&doctor.stderr).into_owned();
        assert!(!text.contains("panicked"), "{claims}: {text}");
        let status = daemon.status();
        assert_eq!(status["providers"][0]["state"], "ready", "{claims}");
        assert_eq!(world.cloud.counts().refresh_calls, 1, "{claims}");
    }
}
