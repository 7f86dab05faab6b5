//! A pool of two logins, one added by Hermes Agent and one by us, which both programs refresh in turn while apps ask.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use hermes_proxy::control::client::ControlClient;
use hermes_proxy::control::endpoint::Endpoint;
use hermes_proxy::control::protocol::calls;
use hermes_proxy::control::protocol::{ProviderChoice, RefreshResult};
use mock_cloud::Family;
use serde_json::{Value, json};
use support::built;
use tokio::time::{Duration, Instant};

use super::{CODEX, Hermes, Kind, Load, World, XAI, fingerprint, program, wanted};

/// A login of the pool: its row's id, and what the cloud knows it by.
struct Row {
    id: String,
    family: Family,
}

impl World {
    /// A world with a pool and no block.
    async fn of_a_pool(kind: &'static Kind) -> Self {
        let world = Self::new(kind).await;
        let store = json!({"version": 1, "providers": {}});
        std::fs::write(world.store_file(), store.to_string()).unwrap();
        world
    }

    fn store_file(&self) -> std::path::PathBuf {
        self.home.path().join(".hermes/auth.json")
    }

    fn row(&self, is_meant: impl Fn(&Value) -> bool) -> Value {
        let store: Value =
            serde_json::from_slice(&std::fs::read(self.store_file()).unwrap()).unwrap();
        let rows = store["credential_pool"][self.kind.stored].as_array();
        let mut rows = rows.into_iter().flatten();
        rows.find(|row| is_meant(row)).unwrap().clone()
    }

    fn refresh_token(&self, row: &Row) -> String {
        let row = self.row(|one| one["id"] == *row.id);
        row["refresh_token"].as_str().unwrap().to_owned()
    }

    /// As `hermes auth add` does.
    fn added_by(&self, hermes: &mut Hermes) -> Row {
        let login = self.cloud.login();
        let tokens = json!({
            "access_token": login.access_token, "refresh_token": login.refresh_token,
        });
        let added = hermes.told(&format!("add {tokens}"));
        Row {
            id: added["id"].as_str().unwrap().to_owned(),
            family: login.family,
        }
    }

    /// As `hermesctl auth login --label` does.
    fn added_by_us(&self) -> Row {
        let mut command = program(built("hermesctl"), self.home.path());
        command.args(["auth", "login", self.kind.provider]);
        command.args(["--label", "ours", "--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        self.cloud
            .approve(begun["code"]["user_code"].as_str().unwrap());
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        assert!(child.wait().unwrap().success(), "{begun} {rest:?}");
        let row = self.row(|row| row["label"] == "ours");
        let token = row["refresh_token"].as_str().unwrap();
        Row {
            id: row["id"].as_str().unwrap().to_owned(),
            family: self.cloud.family_of(token).unwrap(),
        }
    }

    /// Has the daemon refresh this row, once it has seen what Hermes Agent left there.
    async fn renewed_by_us(&self, row: &Row) {
        let endpoint = Endpoint::new(self.home.path().join("run/hermes-proxyd"));
        loop {
            let mut control = ControlClient::connect(&endpoint, "a test").await.unwrap();
            let choice = ProviderChoice {
                provider: None,
                store: None,
                label: Some(row.id.clone()),
            };
            let outcome = control.call(calls::Refresh(choice)).await.unwrap();
            if outcome.result == RefreshResult::Refreshed {
                return;
            }
            assert_eq!(outcome.result, RefreshResult::Adopted, "{outcome:?}");
        }
    }
}

/// Each spends the token that the other one got, of both logins: had either missed a rotation, the cloud would have
/// revoked that login.
async fn assert_they_take_turns_with_a_pool(kind: &'static Kind) {
    let all = wanted();
    let world = World::of_a_pool(kind).await;
    let mut hermes = world.hermes();
    let theirs = world.added_by(&mut hermes);
    let daemon = world.daemon();
    let rows = [theirs, world.added_by_us()];
    let load = Load::begin(&world, &daemon);
    let started = Instant::now();
    let (mut ours, mut theirs) = (0, 0);
    while ours + theirs < all {
        for row in &rows {
            // Their tokens are of different seconds, as outside of tests.
            world.cloud.advance(Duration::from_secs(1));
            let told = hermes.told(&format!("force {}", row.id));
            let current = world.cloud.current_refresh_token(row.family).unwrap();
            assert_eq!(told["refresh_token_fp"], fingerprint(&current), "{told}");
            theirs += 1;
        }
        for row in &rows {
            world.cloud.advance(Duration::from_secs(1));
            world.renewed_by_us(row).await;
            ours += 1;
        }
    }
    let took = started.elapsed().as_secs_f64();
    let (served, failed) = load.end().await;
    let counts = world.cloud.counts();
    println!(
        "a pool of {}: {} rotations in {took:.1} s, {theirs} by Hermes Agent, {ours} by the daemon; {} requests, {} \
         failed; {} reuse events",
        kind.provider,
        counts.refreshes,
        served + failed.len(),
        failed.len(),
        counts.reuse_events
    );
    assert_eq!(failed, [""; 0], "{}", daemon.logged());
    assert_eq!((counts.reuse_events, counts.reissues), (0, 0), "{counts:?}");
    assert_eq!(counts.refreshes, ours + theirs, "{counts:?}");
    assert_eq!(
        counts.refresh_calls, counts.refreshes,
        "a call came to nothing"
    );
    assert!(served > 0);
    for row in &rows {
        assert!(world.cloud.is_alive(row.family));
        let current = world.cloud.current_refresh_token(row.family).unwrap();
        assert_eq!(world.refresh_token(row), current);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_agent_and_the_daemon_rotate_a_pool_of_xai_in_turn_under_load() {
    assert_they_take_turns_with_a_pool(&XAI).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_agent_and_the_daemon_rotate_a_pool_of_codex_in_turn_under_load() {
    assert_they_take_turns_with_a_pool(&CODEX).await;
}
