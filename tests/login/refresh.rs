//! The login: kept fresh, never spent twice, never lost, and its end told.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use mock_cloud::{Canned, Endpoint, Fault, Options, PortalFault, Steering};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, World, chat, client, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// One chat; its status and `x-hermes-error`.
async fn ask(http: &reqwest::Client, daemon: &Daemon) -> (u16, Option<String>) {
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
async fn ask_until(daemon: &Daemon, wanted: (u16, Option<&str>)) {
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

/// Lets the test process hold as many sockets as it may.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refreshed_in_the_background_before_it_expires() {
    let world = World::new(Options::default().access_ttl(Duration::from_secs(3))).await;
    let daemon = world.daemon();
    let http = client();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(8);
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
    assert!(asked > 50, "{asked} requests in 8 s");
    assert!((2..=5).contains(&counts.refreshes), "{counts:?}");
    assert_eq!((counts.unauthorized, counts.reuse_events), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_the_moment_of_expiry_cause_one_refresh_and_none_fails() {
    raise_descriptor_limit();
    let world = World::new(Options::default().access_ttl(Duration::from_secs(4))).await;
    world.cloud.set_access_ttl(Duration::from_hours(1));
    // The refresh begins before the end and its answer comes after it.
    let slow = PortalFault::DelayBefore(Duration::from_millis(1800));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
    let daemon = Arc::new(world.daemon());
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
    let daemon = Arc::new(world.daemon());
    let http = client();
    assert_eq!(ask(&http, &daemon).await, (200, None));
    // All of them are refused before the first one has another token.
    let slow = PortalFault::DelayBefore(Duration::from_secs(3));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
    world.cloud.revoke_access_tokens();
    let mut requests = JoinSet::new();
    for _ in 0..1000 {
        let (daemon, http) = (daemon.clone(), http.clone());
        requests.spawn(async move { ask(&http, &daemon).await });
    }
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
async fn a_provider_that_refuses_every_token_gets_its_401_through_and_costs_one_refresh() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let http = client();
    world.cloud.break_inference(Fault::unauthorized());
    for _ in 0..20 {
        assert_eq!(ask(&http, &daemon).await, (401, None));
    }
    assert_eq!(world.cloud.counts().refresh_calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_replay_limit_is_not_sent_again_but_the_token_is_refreshed() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nreplay_body = \"64KiB\"\n", &[]);
    world.cloud.revoke_access_tokens();
    let mut large = chat("x");
    large["padding"] = json!("y".repeat(200_000));
    let answer = post(&daemon, &large).await;
    assert_eq!(answer.status(), 401);
    let answer = post(&daemon, &large).await;
    assert_eq!(answer.status(), 200);
    let counts = world.cloud.counts();
    assert_eq!((counts.refresh_calls, counts.requests), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_body_is_identical() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    let mut request = chat("x");
    request["padding"] = json!("z".repeat(500_000));
    let answer = post(&daemon, &request).await;
    assert_eq!(answer.status(), 200);
    let seen = world.cloud.requests();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].body_sha256.is_some() && seen[0].body_sha256 == seen[1].body_sha256);
}

/// Reads a request's head, byte by byte; what stands behind it stays unread.
async fn read_head(stream: &mut tokio::net::TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_body_is_whole_when_the_answers_head_comes_before_its_end() {
    const SIZE: usize = 900_000;
    let world = World::new(Options::default()).await;
    // A provider that refuses once, and then answers before it reads the body.
    let provider = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = format!(
        "[providers.nous]\nbase_url = \"http://{}/v1\"\n",
        provider.local_addr().unwrap()
    );
    let serving = async {
        let (mut first, _) = provider.accept().await.unwrap();
        read_head(&mut first).await;
        first.read_exact(&mut vec![0; SIZE]).await.unwrap();
        let refusal = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        first.write_all(refusal.as_bytes()).await.unwrap();
        let (mut second, _) = provider.accept().await.unwrap();
        let head = read_head(&mut second).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
        second.write_all(answer.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut body = vec![0; SIZE];
        second.read_exact(&mut body).await.unwrap();
        second.write_all(b"done").await.unwrap();
        (head, body)
    };
    let daemon = world.daemon_with(&config, &[]);
    let body = mock_cloud::pattern::noise(3, SIZE);
    let asking = client()
        .post(daemon.url("/chat/completions"))
        .header("content-type", "application/json")
        .body(body.clone())
        .send();
    let ((head, received), answer) = tokio::time::timeout(PATIENCE, async {
        tokio::join!(serving, async {
            asking.await.unwrap().text().await.unwrap()
        })
    })
    .await
    .expect("the body arrives");
    assert_eq!(answer, "done");
    assert!(head.contains(&format!("content-length: {SIZE}")), "{head}");
    assert!(received == body, "the replayed body was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_on_disk_with_everything_else_kept() {
    let world = World::new(Options::default()).await;
    let mut store = world.store();
    store["from_the_future"] = json!({"z": 1, "a": [1.5, 18_446_744_073_709_551_615_u64]});
    store["providers"]["nous"]["label"] = json!("mine ✓");
    store["providers"]["other"] = json!({"tokens": {"access_token": "theirs"}});
    std::fs::write(
        world.store_file(),
        serde_json::to_string_pretty(&store).unwrap(),
    )
    .unwrap();
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    assert_eq!(ask(&client(), &daemon).await, (200, None));

    let written = world.store();
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    let nous = &written["providers"]["nous"];
    assert_eq!(nous["refresh_token"], current);
    assert_eq!(nous["agent_key"], nous["access_token"]);
    assert_eq!(nous["label"], "mine ✓");
    assert_eq!(
        written["credential_pool"]["nous"][0]["refresh_token"],
        current
    );
    assert_eq!(
        written["credential_pool"]["nous"][0]["label"],
        "me@example.org"
    );
    assert_eq!(written["from_the_future"], store["from_the_future"]);
    assert_eq!(written["providers"]["other"], store["providers"]["other"]);
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&written), keys(&store));
    let shared = world.home.path().join(".hermes/shared/nous_auth.json");
    let shared: Value = serde_json::from_slice(&std::fs::read(&shared).unwrap()).unwrap();
    assert_eq!(shared["refresh_token"], current);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(world.store_file()).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_was_left_behind_does_not_bring_back_a_spent_token() {
    let world = World::new(Options::default()).await;
    let shared = world.home.path().join(".hermes/shared");
    std::fs::create_dir(&shared).unwrap();
    let mut old = world.store()["providers"]["nous"].clone();
    old["obtained_at"] = json!("2020-01-01T00:00:00+00:00");
    old["refresh_token"] = json!("spent-long-ago");
    std::fs::write(shared.join("nous_auth.json"), old.to_string()).unwrap();
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    assert_eq!(ask(&client(), &daemon).await, (200, None));
    assert!(world.cloud.is_alive(world.family()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_was_left_behind_is_mended_before_anyone_spends_its_token() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    assert_eq!(ask(&client(), &daemon).await, (200, None));
    let mirror = world.home.path().join(".hermes/shared/nous_auth.json");
    let left_behind = std::fs::read(&mirror).unwrap();
    world.cloud.revoke_access_tokens();
    assert_eq!(ask(&client(), &daemon).await, (200, None));
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    std::fs::write(&mirror, left_behind).unwrap();
    let mended = async {
        loop {
            let text = std::fs::read_to_string(&mirror).unwrap_or_default();
            let token = serde_json::from_str::<Value>(&text).unwrap_or_default();
            if token["refresh_token"] == current {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, mended).await;
    assert!(
        done.is_ok(),
        "the mirror is still behind:\n{}",
        daemon.logged()
    );
    assert_eq!(
        world.cloud.counts().refresh_calls,
        2,
        "a token was spent for it"
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
    let status = daemon.status();
    assert_eq!(status["providers"][0]["state"], "unavailable", "{status}");
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
async fn a_store_that_can_not_be_read_is_told_and_never_written() {
    for content in [
        b"{\"providers\": {\"nous\": {\"refr".as_slice(),
        b"[]",
        b"\xff\xfe",
        b"",
    ] {
        let world = World::new(Options::default()).await;
        std::fs::write(world.store_file(), content).unwrap();
        let daemon = world.daemon();
        let answer = ask(&client(), &daemon).await;
        assert_eq!(answer, (503, Some("credentials_unavailable".to_owned())));
        let status = daemon.status();
        assert_eq!(status["providers"][0]["state"], "store_unreadable");
        assert!(
            status["providers"][0]["last_error"]["message"]
                .as_str()
                .unwrap()
                .contains("auth.json")
        );
        world.ctl(&["proxy", "reload"]);
        drop(daemon);
        assert_eq!(std::fs::read(world.store_file()).unwrap(), content);
    }
    // A folder in its place.
    let world = World::new(Options::default()).await;
    std::fs::remove_file(world.store_file()).unwrap();
    std::fs::create_dir(world.store_file()).unwrap();
    let daemon = world.daemon();
    let answer = ask(&client(), &daemon).await;
    assert_eq!(answer, (503, Some("credentials_unavailable".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_store_can_not_be_written_no_token_is_spent_and_the_old_one_serves() {
    let world = World::new(Options::default().access_ttl(Duration::from_secs(30))).await;
    // A file where the mirror's folder should be; and the store's own folder is full of nothing:
    // the new version can't be made beside it.
    let real = world.home.path().join(".hermes/auth.json");
    let elsewhere = world.home.path().join("gone");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::rename(&real, elsewhere.join("auth.json")).unwrap();
    std::os::unix::fs::symlink("/proc/self/auth.json", &real).unwrap();
    let daemon = world.daemon();
    // A link to nowhere is a login that can't be read, and nothing is made at its end.
    assert_eq!(ask(&client(), &daemon).await.0, 503);
    assert_eq!(world.cloud.counts().refresh_calls, 0);
    std::fs::remove_file(&real).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("auth.json"), &real).unwrap();
    ask_until(&daemon, (200, None)).await;
    world.cloud.revoke_access_tokens();
    ask_until(&daemon, (200, None)).await;
    assert!(std::fs::symlink_metadata(&real).unwrap().is_symlink());
    assert!(world.cloud.is_alive(world.family()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_can_not_be_written_is_used_told_and_written_later() {
    for mirror_fails_too in [false, true] {
        let world = World::new(Options::default()).await;
        let mut daemon = world.daemon();
        let slow = PortalFault::DelayAfterCommit(Duration::from_millis(400));
        world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
        world.cloud.revoke_access_tokens();
        let (store, aside) = (world.store_file(), world.home.path().join("aside.json"));
        let mirror = world.home.path().join(".hermes/shared/nous_auth.json");
        let http = client();
        let (answer, ()) = tokio::join!(ask(&http, &daemon), async {
            // While the answer is on its way, the files become what can't be replaced.
            world
                .cloud
                .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
                .await;
            std::fs::rename(&store, &aside).unwrap();
            std::fs::create_dir(&store).unwrap();
            if mirror_fails_too {
                std::fs::create_dir(&mirror).unwrap();
            }
        });
        assert_eq!(answer, (200, None), "{}", daemon.logged());
        let status = daemon.status();
        assert_eq!(status["providers"][0]["unsaved"], true, "{status}");
        assert_eq!(ask(&http, &daemon).await, (200, None));
        // A reload that replaces the keeper loses nothing either.
        world.write_config("[providers.nous]\nrefresh_lead = \"4m\"\n");
        let reload = world.ctl(&["proxy", "reload", "--json"]);
        let report: Value = serde_json::from_slice(&reload.stdout).unwrap();
        // It may say that the store can't be read just now.
        let applied = report.get("applied");
        assert_eq!(applied, Some(&json!(["providers.nous.refresh_lead"])));
        assert_eq!(
            ask(&http, &daemon).await,
            (200, None),
            "{}",
            daemon.logged()
        );
        // The store comes back as it was, with the spent token.
        std::fs::remove_dir(&store).unwrap();
        std::fs::rename(&aside, &store).unwrap();
        if mirror_fails_too {
            std::fs::remove_dir(&mirror).unwrap();
        }
        let current = world.cloud.current_refresh_token(world.family()).unwrap();
        let saved = async {
            while world.store()["providers"]["nous"]["refresh_token"] != current {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            while daemon.status()["providers"][0]["unsaved"] != false {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, saved).await;
        assert!(done.is_ok(), "it is not written:\n{}", daemon.logged());
        assert!(std::fs::read_to_string(&mirror).unwrap().contains(&current));
        assert_eq!(ask(&http, &daemon).await, (200, None));
        assert!(daemon.stop().success());
        let counts = world.cloud.counts();
        assert_eq!(
            (counts.refresh_calls, counts.reuse_events),
            (1, 0),
            "{counts:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_is_finished_when_a_reload_replaces_its_keeper() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let slow = PortalFault::DelayAfterCommit(Duration::from_millis(700));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
    world.cloud.revoke_access_tokens();
    let http = client();
    let (answer, ()) = tokio::join!(ask(&http, &daemon), async {
        world
            .cloud
            .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
            .await;
        world.write_config("[providers.nous]\ntoken_timeout = \"14s\"\n");
        let output = tokio::task::block_in_place(|| world.ctl(&["proxy", "reload"]));
        assert!(output.status.success(), "{output:?}");
    });
    assert_eq!(answer, (200, None), "{}", daemon.logged());
    assert_eq!(ask(&http, &daemon).await, (200, None));
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.reuse_events),
        (1, 0),
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_under_load_leaves_the_store_whole_and_the_login_working() {
    let world = World::new(Options::default()).await;
    for round in 0..10 {
        let mut daemon = world.daemon();
        let http = client();
        world.cloud.revoke_access_tokens();
        assert_eq!(
            ask(&http, &daemon).await,
            (200, None),
            "round {round}: {}",
            daemon.logged()
        );
        let mut load = JoinSet::new();
        for _ in 0..16 {
            let (http, url) = (http.clone(), daemon.url("/chat/completions"));
            load.spawn(
                async move { while http.post(&url).json(&chat("x")).send().await.is_ok() {} },
            );
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..60))).await;
        daemon.kill();
        load.join_all().await;
        let current = world.cloud.current_refresh_token(world.family()).unwrap();
        assert_eq!(world.store()["providers"]["nous"]["refresh_token"], current);
    }
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refreshes, counts.reuse_events),
        (10, 0),
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_is_finished_when_the_client_leaves() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let slow = PortalFault::DelayAfterCommit(Duration::from_millis(700));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
    world.cloud.revoke_access_tokens();
    let asking = client()
        .post(daemon.url("/chat/completions"))
        .json(&chat("x"))
        .send();
    tokio::select! {
        _ = asking => panic!("it was answered"),
        () = world.cloud.wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1) => {}
    }
    ask_until(&daemon, (200, None)).await;
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(world.store()["providers"]["nous"]["refresh_token"], current);
    assert_eq!(world.cloud.counts().refresh_calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_at_shutdown_is_finished_and_persisted() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let slow = PortalFault::DelayAfterCommit(Duration::from_millis(700));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
    world.cloud.revoke_access_tokens();
    let asking = client()
        .post(daemon.url("/chat/completions"))
        .json(&chat("x"))
        .send();
    tokio::select! {
        _ = asking => panic!("it was answered"),
        () = world.cloud.wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1) => {}
    }
    assert!(daemon.stop().success());
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(world.store()["providers"]["nous"]["refresh_token"], current);
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

/// Other settings of the provider, so that it is set up anew.
fn reload(world: &World) {
    world.write_config("[providers.nous]\nuser_agent = \"client\"\n");
    let reload = world.ctl(&["proxy", "reload", "--json"]);
    assert_eq!(reload.status.code(), Some(0), "{reload:?}");
    let report: Value = serde_json::from_slice(&reload.stdout).unwrap();
    let applied = report.get("applied");
    assert_eq!(applied, Some(&json!(["providers.nous.user_agent"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_that_comes_after_a_reload_is_met_with_a_new_token_all_the_same() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let late = Steering {
        status: Some(401),
        delay_head_ms: 3000,
        ..Steering::default()
    };
    world.cloud.fail_next(1, &Fault::Steer(Box::new(late)));
    let http = client();
    let asking = ask(&http, &daemon);
    let reloading = async {
        let arrived = world
            .cloud
            .wait_for(PATIENCE, |cloud| cloud.counts().requests == 1);
        arrived.await;
        reload(&world);
    };
    let (answer, ()) = tokio::join!(asking, reloading);
    assert_eq!(answer, (200, None));
    let counts = world.cloud.counts();
    assert_eq!((counts.requests, counts.refreshes), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_provider_has_taken_is_replaced_after_a_reload_too() {
    let world = World::with_a_refresh_due(Options::default()).await;
    let daemon = world.daemon();
    daemon.wait_for_log("the login was renewed");
    let http = client();
    assert_eq!(ask(&http, &daemon).await, (200, None));
    reload(&world);
    world.cloud.revoke_access_tokens();
    assert_eq!(ask(&http, &daemon).await, (200, None));
    assert_eq!(world.cloud.counts().refreshes, 2);
}

/// A request that the provider refuses for its own sake, whatever the token.
fn not_permitted() -> Value {
    let mut request = chat("x");
    request["mock"] = json!({"status": 401});
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_refused_for_their_own_sake_cost_one_rotation() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    for round in 0..40 {
        assert_eq!(
            post(&daemon, &chat("x")).await.status(),
            200,
            "round {round}"
        );
        let refused = post(&daemon, &not_permitted()).await;
        assert_eq!(refused.status(), 401, "round {round}");
        assert!(refused.headers().get("x-hermes-error").is_none());
    }
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.reuse_events),
        (1, 0),
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_now_and_then_causes_few_rotations() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let started = tokio::time::Instant::now();
    let mut passed = 0;
    for _ in 0..40 {
        // Whatever the token is: the first try is refused, and the second one is not.
        world.cloud.fail_next(1, &Fault::unauthorized());
        passed += usize::from(post(&daemon, &chat("x")).await.status() == 401);
    }
    let counts = world.cloud.counts();
    // Six in a row, and one every thirty seconds.
    let most = 7 + started.elapsed().as_secs() / 30;
    assert!(counts.refresh_calls <= most, "{counts:?}, {passed} passed");
    assert!(world.cloud.is_alive(world.family()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_lives_for_a_second_is_not_rotated_for_ever() {
    let world = World::new(Options::default().access_ttl(Duration::from_secs(1))).await;
    let daemon = world.daemon_with("[timeouts]\ncredential = \"100ms\"\n", &[]);
    let started = tokio::time::Instant::now();
    let http = client();
    while started.elapsed() < Duration::from_secs(12) {
        ask(&http, &daemon).await;
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

/// The store's lock, in another program's hands.
fn hold_the_lock(world: &World) -> std::fs::File {
    let lock = std::fs::File::create(world.home.path().join(".hermes/auth.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

/// A renewal that waits for the store's lock has spent nothing.
async fn until_a_renewal_waits(daemon: &Daemon) {
    let waits = async {
        while daemon.status()["providers"][0]["state"] != "unavailable" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The renewal begins when the token ends, and is told only once the locks are held.
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let done = tokio::time::timeout(PATIENCE, waits).await;
    assert!(
        done.is_ok(),
        "no renewal: {}\n{}",
        daemon.status(),
        daemon.logged()
    );
    assert_eq!(daemon.status()["providers"][0]["state"], "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_waits_for_the_lock_holds_up_no_end_and_no_reload() {
    let world = World::new(Options::default().access_ttl(Duration::from_secs(1))).await;
    let _lock = hold_the_lock(&world);
    let mut daemon = world.daemon();
    until_a_renewal_waits(&daemon).await;
    // Far below the fifteen seconds that a lock is waited for.
    let soon = Duration::from_secs(8);
    let started = tokio::time::Instant::now();
    reload(&world);
    assert!(started.elapsed() < soon, "{:?}", started.elapsed());
    until_a_renewal_waits(&daemon).await;
    let started = tokio::time::Instant::now();
    assert!(daemon.stop().success());
    assert!(
        started.elapsed() < soon,
        "{:?}: {}",
        started.elapsed(),
        daemon.logged()
    );
    let counts = world.cloud.counts();
    assert_eq!(counts.refresh_calls, 0, "{counts:?}");
    assert!(world.cloud.is_alive(world.family()));
}
