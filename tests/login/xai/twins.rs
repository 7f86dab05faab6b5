//! One login in two files, each with a lock and a keeper of its own.

use std::sync::Arc;
use std::time::Duration;

use mock_cloud::{Endpoint, Login, PortalFault};
use serde_json::{Value, json};
use support::PATIENCE;
use tokio::sync::Semaphore;

use super::pool::{block, row};
use super::several::{limited, logins_of};
use super::{World, now};

impl World {
    /// Writes our own store, with this login in it.
    fn keeps_apart(&self, login: &Login) {
        let file = self.own_store_file();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let store = json!({"version": 1, "providers": {"xai-oauth": block(login, &now())}});
        std::fs::write(file, store.to_string()).unwrap();
    }

    fn own_store_file(&self) -> std::path::PathBuf {
        let state = self.home.path().join(".local/state/hermes-proxyd");
        state.join("auth.json")
    }

    /// The refresh token of the login in our own store.
    fn kept_apart(&self) -> Value {
        let store = std::fs::read(self.own_store_file()).unwrap();
        let store: Value = serde_json::from_slice(&store).unwrap();
        store["providers"]["xai-oauth"]["tokens"]["refresh_token"].clone()
    }
}

/// The row has got the token of our own store's login, and is not recognised as a copy yet.
#[tokio::test(flavor = "multi_thread")]
async fn two_keepers_that_have_one_token_under_different_locks_send_it_once() {
    let world = World::new().await;
    world.cloud.put_back(Duration::from_hours(30));
    // It is due at once, in any place.
    let own = world.cloud.login();
    world.cloud.advance(Duration::from_hours(30));
    let other = world.cloud.login();
    world.keeps_apart(&own);
    world.holds(&Value::Null, &[row("copy", 0, &other)]);
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldBefore(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 2, &held);
    let daemon = world.daemon();
    let sent = |cloud: &mock_cloud::MockCloud| cloud.counts().refresh_calls == 1;
    world.cloud.wait_for(PATIENCE, sent).await;
    assert_eq!(world.serves_with(&daemon).await, other.access_token);
    world.holds(&Value::Null, &[row("copy", 0, &own)]);
    world.look_again();
    daemon.wait_for_log("token_in_use");
    assert_eq!(world.cloud.counts().refresh_calls, 1);
    gate.add_permits(2);
    let current = || world.cloud.current_refresh_token(own.family);
    let is_saved = |world: &World| world.kept_apart().as_str() == current().as_deref();
    world
        .until(&daemon, |world| {
            world.kept_apart() != json!(own.refresh_token)
        })
        .await;
    assert!(is_saved(&world), "{}", daemon.logged());
    world.serves_with(&daemon).await;
    assert_eq!(world.cloud.counts().refresh_calls, 1);
    world.assert_nothing_reused();
    assert!(world.cloud.is_alive(own.family));
    // The copy follows, or Hermes Agent would show its spent token.
    let follows =
        |world: &World| world.row("copy")["refresh_token"].as_str() == current().as_deref();
    world.until(&daemon, follows).await;
    assert_eq!(world.row("copy")["theirs"], json!([1]));
    assert!(world.refreshed(), "{}", daemon.logged());
    world.until(&daemon, follows).await;
    assert!(is_saved(&world));
    world.assert_nothing_reused();
}

/// Only what is known to be spent is replaced, and not while another program has the lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_another_file_follows_once_its_lock_is_free() {
    let world = World::new().await;
    let own = world.cloud.login();
    world.keeps_apart(&own);
    world.holds(&Value::Null, &[row("copy", 0, &own)]);
    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, own.access_token);
    let lock = world.lock();
    assert!(world.refreshed(), "{}", daemon.logged());
    let current = world.cloud.current_refresh_token(own.family);
    assert_eq!(world.kept_apart().as_str(), current.as_deref());
    assert_eq!(world.row("copy")["refresh_token"], json!(own.refresh_token));
    drop(lock);
    let follows = |world: &World| world.row("copy")["refresh_token"].as_str() == current.as_deref();
    world.until(&daemon, follows).await;
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_added_serves_without_a_restart_and_an_older_copy_is_not_renewed() {
    let world = World::new().await;
    world.cloud.put_back(Duration::from_hours(30));
    let login = world.cloud.login();
    world.cloud.advance(Duration::from_hours(30));
    let (rotated, other) = (world.rotated_by_another(&login).await, world.cloud.login());
    world.holds(&block(&rotated, &now()), &[]);
    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, rotated.access_token);
    world.holds(
        &block(&rotated, &now()),
        &[row("older", 0, &login), row("new", 1, &other)],
    );
    let states = || -> Vec<_> {
        let logins = logins_of(&world);
        logins.iter().map(|login| login["state"].clone()).collect()
    };
    support::until("all are seen", || {
        states() == ["ready", "login_needed", "ready"]
    });
    world.cloud.fail_next(1, &limited(300));
    assert_eq!(world.serves_with(&daemon).await, other.access_token);
    assert_eq!(world.cloud.counts().refresh_calls, 1, "the one of the test");
    world.assert_nothing_reused();
}
