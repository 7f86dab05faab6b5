//! A rotation on disk: complete, with everything else kept, and finished whatever ends meanwhile.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::refresh::{ask, ask_until, reload};
use mock_cloud::{Endpoint, Options, PortalFault};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, World, chat, client, until};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

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
        let gate = Arc::new(Semaphore::new(0));
        let held = PortalFault::HeldAfterCommit(gate.clone());
        world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
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
            gate.add_permits(1);
        });
        assert_eq!(answer, (200, None), "{}", daemon.logged());
        until("it is told", || {
            daemon.status()["providers"][0]["unsaved"] == true
        });
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
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
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
        gate.add_permits(1);
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
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    world.cloud.revoke_access_tokens();
    let asking = client()
        .post(daemon.url("/chat/completions"))
        .json(&chat("x"))
        .send();
    tokio::select! {
        _ = asking => panic!("it was answered"),
        () = world.cloud.wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1) => {}
    }
    gate.add_permits(1);
    ask_until(&daemon, (200, None)).await;
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(world.store()["providers"]["nous"]["refresh_token"], current);
    assert_eq!(world.cloud.counts().refresh_calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_under_way_at_shutdown_is_finished_and_persisted() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    world.cloud.revoke_access_tokens();
    let asking = client()
        .post(daemon.url("/chat/completions"))
        .json(&chat("x"))
        .send();
    tokio::select! {
        _ = asking => panic!("it was answered"),
        () = world.cloud.wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1) => {}
    }
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for_log("stopping");
    gate.add_permits(1);
    assert!(daemon.wait().success());
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(world.store()["providers"]["nous"]["refresh_token"], current);
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
