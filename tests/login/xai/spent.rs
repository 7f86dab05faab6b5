//! Refresh tokens that are known to be spent stay known after a restart: an older copy of a login is never sent.

use mock_cloud::{Login, MockCloud, Options};
use serde_json::{Value, json};
use support::Daemon;
use support::hermes::fingerprint;
use tokio::time::Instant;

use super::pool::{block, row};
use super::{CLIENT, World, now};

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

/// A login with opaque tokens, so that an old one is known to have expired.
async fn opaque() -> (World, Login) {
    let options = Options::default()
        .client_id(CLIENT)
        .opaque_access_tokens(true)
        .opaque_tokens_infer();
    let cloud = MockCloud::start(options.scope("api:access inference:invoke")).await;
    let world = World {
        cloud,
        home: support::scratch(),
    };
    world.asks_at(&world.cloud.inference_base_url());
    let login = world.cloud.login();
    (world, login)
}

fn old_row(login: &Login) -> Value {
    let mut row = row("ab12cd", 3, login);
    row["last_refresh"] = LONG_AGO.into();
    row["expires_in"] = 3600.into();
    row
}

fn provider(daemon: &Daemon) -> Value {
    daemon.status()["providers"][0].clone()
}

async fn until_in(state: &str, daemon: &Daemon) -> Value {
    let deadline = Instant::now() + support::PATIENCE;
    loop {
        let provider = provider(daemon);
        if provider["state"] == state {
            return provider;
        }
        assert!(
            Instant::now() < deadline,
            "{provider:#}\n{}",
            daemon.logged()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The token in the block, or in the first row.
fn stored(world: &World) -> String {
    let store = world.store();
    let block = &store["providers"]["xai-oauth"]["tokens"]["refresh_token"];
    let row = &store["credential_pool"]["xai-oauth"][0]["refresh_token"];
    block
        .as_str()
        .or(row.as_str())
        .unwrap_or_default()
        .to_owned()
}

/// The store is renewed, put back to its earlier content, and the daemon restarted.
async fn assert_an_older_copy_is_not_sent_after_a_restart(world: &World, login: &Login) {
    let older = std::fs::read(world.store_file()).unwrap();
    let mut daemon = world.daemon();
    world
        .until(&daemon, |world| stored(world) != login.refresh_token)
        .await;
    assert!(daemon.stop().success(), "{}", daemon.logged());
    let newer = std::fs::read(world.store_file()).unwrap();
    std::fs::write(world.store_file(), &older).unwrap();
    let daemon = world.daemon();
    let needed = until_in("login_needed", &daemon).await;
    assert_eq!(needed["login_command"], "hermesctl auth login xai");
    let message = needed["last_error"]["message"].as_str().unwrap();
    assert!(
        message.contains("its refresh token was used before"),
        "{message}"
    );
    let output = support::ctl(world.home.path(), &["auth", "refresh", "xai"]);
    assert!(!output.status.success(), "{output:?}");
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.reuse_events),
        (1, 0),
        "{}",
        daemon.logged()
    );
    assert_eq!(std::fs::read(world.store_file()).unwrap(), older);
    // The newer one comes back by itself.
    std::fs::write(world.store_file(), newer).unwrap();
    until_in("ready", &daemon).await;
    daemon.renew().await;
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refreshes, counts.reuse_events),
        (2, 0),
        "{}",
        daemon.logged()
    );
    assert!(world.cloud.is_alive(login.family));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_a_block_is_not_sent_after_a_restart() {
    let (world, login) = opaque().await;
    world.holds(&block(&login, LONG_AGO), &[]);
    assert_an_older_copy_is_not_sent_after_a_restart(&world, &login).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_a_row_is_not_sent_after_a_restart() {
    let (world, login) = opaque().await;
    world.holds(&Value::Null, &[old_row(&login)]);
    assert_an_older_copy_is_not_sent_after_a_restart(&world, &login).await;
}

/// What another program has rotated counts as spent too.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_another_program_has_replaced_is_not_sent_after_a_restart() {
    let world = World::new().await;
    let login = world.cloud.login();
    world.holds(&block(&login, &now()), &[]);
    let older = std::fs::read(world.store_file()).unwrap();
    let mut daemon = world.daemon();
    until_in("ready", &daemon).await;
    world.cloud.advance(std::time::Duration::from_secs(2));
    let next = world.rotated_by_another(&login).await;
    world.holds(&block(&next, &now()), &[]);
    world.look_again();
    let noted = |world: &World| ledger(world).contains(&fingerprint(&login.refresh_token));
    world.until(&daemon, noted).await;
    assert!(daemon.stop().success());
    std::fs::write(world.store_file(), &older).unwrap();
    let daemon = world.daemon();
    // Its access token serves while it lives.
    let ready = until_in("ready", &daemon).await;
    assert_eq!(ready["last_error"]["code"], "login_stale", "{ready:#}");
    let findings = daemon.status()["findings"].to_string();
    assert!(
        findings.contains("hermesctl auth login xai --force"),
        "{findings}"
    );
    world.cloud.revoke_access_tokens();
    let refused = super::ask(&daemon).await.status();
    assert_eq!(refused, 401, "{}", daemon.logged());
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.reuse_events),
        (1, 0),
        "{}",
        daemon.logged()
    );
    assert!(world.cloud.is_alive(login.family));
}

fn ledger(world: &World) -> String {
    let file = world
        .home
        .path()
        .join(".local/state/hermes-proxyd/spent/xai-oauth.txt");
    std::fs::read_to_string(file).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_list_of_spent_tokens_is_told_and_written_anew() {
    let (world, login) = opaque().await;
    world.holds(&block(&login, LONG_AGO), &[]);
    let folder = world.home.path().join(".local/state/hermes-proxyd/spent");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("xai-oauth.txt"), b"\0\xff{\"half").unwrap();
    let older = std::fs::read(world.store_file()).unwrap();
    let mut daemon = world.daemon();
    daemon.wait_for_log("the list of spent refresh tokens is damaged");
    world
        .until(&daemon, |world| stored(world) != login.refresh_token)
        .await;
    assert!(daemon.stop().success());
    assert!(ledger(&world).contains(&fingerprint(&login.refresh_token)));
    assert!(!ledger(&world).contains(&login.refresh_token));
    std::fs::write(world.store_file(), older).unwrap();
    let daemon = world.daemon();
    until_in("login_needed", &daemon).await;
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

/// RFC 6749 §5.1: `expires_in` is optional, and an opaque token contains no lifetime.
#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_without_a_known_end_serves_until_it_is_refused() {
    for in_block in [true, false] {
        let (world, login) = opaque().await;
        if in_block {
            let mut block = block(&login, &now());
            block["tokens"]
                .as_object_mut()
                .unwrap()
                .remove("expires_in");
            world.holds(&block, &[]);
        } else {
            world.holds(&Value::Null, &[row("ab12cd", 3, &login)]);
        }
        let daemon = world.daemon();
        let ready = until_in("ready", &daemon).await;
        assert!(ready["expires_at"].is_null(), "{ready:#}");
        assert_eq!(world.serves_with(&daemon).await, login.access_token);
        assert_eq!(world.cloud.counts().refresh_calls, 0, "{}", daemon.logged());
        world.cloud.revoke_access_tokens();
        assert_ne!(world.serves_with(&daemon).await, login.access_token);
        let counts = world.cloud.counts();
        assert_eq!((counts.refreshes, counts.reuse_events), (1, 0));
    }
}

/// A provider that keeps the refresh token spends none.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_not_replaced_is_not_spent() {
    let (world, login) = World::with_a_login(&now()).await;
    world.cloud.advance(std::time::Duration::from_secs(1));
    let fault = mock_cloud::PortalFault::KeepRefreshToken;
    world
        .cloud
        .fail_portal(mock_cloud::Endpoint::Refresh, 2, &fault);
    let mut daemon = world.daemon();
    daemon.renew().await;
    let renewed =
        |world: &World| world.block()["tokens"]["access_token"] != json!(login.access_token);
    world.until(&daemon, renewed).await;
    assert!(daemon.stop().success());
    assert_eq!(ledger(&world), "");
    let daemon = world.daemon();
    daemon.renew().await;
    assert_eq!(world.cloud.counts().refreshes, 2);
}
