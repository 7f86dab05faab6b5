//! Hermes Agent and the daemon refresh one login in turn, again and again, while apps keep asking: xAI and OpenAI
//! Codex. `HERMES_ROTATIONS` says how many rotations (20).

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mock_cloud::{Login, MockCloud, Options};
use serde_json::{Value, json};
use support::hermes::{clients, fingerprint, test_env};
use support::{Daemon, PATIENCE, client, ctl, program, scratch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::codex::Hermes;

mod pools;

const XAI_CLIENT: &str = "b1a00492-073a-47ea-816f-4c329264a828";
const APPS: usize = 4;
/// So many of the daemon's tokens end at the provider before it has seen that Hermes Agent renewed the login.
const REVOKED: u64 = 5;

/// A provider's login, as Hermes Agent leaves it.
struct Kind {
    provider: &'static str,
    /// Hermes Agent's name for it.
    stored: &'static str,
    script: &'static str,
    /// How Hermes Agent renews it, by turns.
    forces: &'static [&'static str],
    block: fn(&Login) -> Value,
}

const XAI: Kind = Kind {
    provider: "xai",
    stored: "xai-oauth",
    script: "hermes/hermes_xai.py",
    forces: &["pool-force"],
    block: |login| {
        json!({
            "tokens": {"access_token": login.access_token, "refresh_token": login.refresh_token,
                       "id_token": "", "expires_in": 21600, "token_type": "Bearer"},
            "redirect_uri": "", "last_refresh": "2026-11-29T12:00:00Z",
            "auth_mode": "oauth_device_code",
        })
    },
};
const CODEX: Kind = Kind {
    provider: "openai-codex",
    stored: "openai-codex",
    script: "hermes/hermes_codex.py",
    forces: &["force", "pool-force"],
    block: |login| {
        json!({
            "tokens": {"access_token": login.access_token, "refresh_token": login.refresh_token},
            "last_refresh": "2026-11-29T12:00:00Z", "auth_mode": "chatgpt",
        })
    },
};

struct World {
    kind: &'static Kind,
    cloud: MockCloud,
    home: tempfile::TempDir,
    key: String,
    login: Login,
}

/// So many rotations.
fn wanted() -> u64 {
    let all = std::env::var("HERMES_ROTATIONS").ok();
    all.map_or(20, |all| all.parse().unwrap())
}

impl World {
    async fn new(kind: &'static Kind) -> Self {
        let options = Options::default()
            .record(false)
            .access_ttl(Duration::from_hours(6));
        let is_codex = kind.provider == CODEX.provider;
        let options = if is_codex {
            options.codex("acc-0001", None)
        } else {
            options
                .client_id(XAI_CLIENT)
                .scope("api:access inference:invoke")
        };
        let cloud = MockCloud::start(options).await;
        let base = if is_codex {
            cloud.codex_base_url()
        } else {
            cloud.inference_base_url()
        };
        let home = scratch();
        let added = ctl(home.path(), &["clients", "add", "app"]);
        let key = String::from_utf8(added.stdout).unwrap().trim().to_owned();
        let name = kind.provider;
        let config = format!(
            "default_provider = {name:?}\n[providers.{name}]\nissuer_url = {:?}\nbase_url = {base:?}\n",
            cloud.portal_url(),
        );
        let folder = home.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), config).unwrap();
        let login = cloud.login();
        let store = json!({"version": 1, "providers": {kind.stored: (kind.block)(&login)}});
        std::fs::create_dir_all(home.path().join(".hermes")).unwrap();
        std::fs::write(home.path().join(".hermes/auth.json"), store.to_string()).unwrap();
        Self {
            kind,
            cloud,
            home,
            key,
            login,
        }
    }

    fn daemon(&self) -> Daemon {
        let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), self.home.path());
        command.args(["--port", "0", "--log-format", "json"]);
        Daemon::start(command, self.home.path())
    }

    fn hermes(&self) -> Hermes {
        let python = test_env("hermes").join("hermes/bin/python");
        let mut command = program(python, self.home.path());
        command
            .env("HERMES_HOME", self.home.path().join(".hermes"))
            .arg(clients().join(self.kind.script))
            .arg(self.cloud.portal_url());
        Hermes::start(command)
    }

    fn current(&self) -> String {
        self.cloud.current_refresh_token(self.login.family).unwrap()
    }

    /// The refresh token in the provider's block.
    fn stored(&self) -> Value {
        let store = std::fs::read(self.home.path().join(".hermes/auth.json")).unwrap();
        let store: Value = serde_json::from_slice(&store).unwrap();
        store["providers"][self.kind.stored]["tokens"]["refresh_token"].clone()
    }
}

/// Apps that ask until they are told to stop; what became of it.
struct Load {
    over: Arc<AtomicBool>,
    apps: JoinSet<(usize, Vec<String>)>,
}

impl Load {
    fn begin(world: &World, daemon: &Daemon) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let mut apps = JoinSet::new();
        for _ in 0..APPS {
            let over = over.clone();
            let (url, key) = (daemon.url("/responses"), world.key.clone());
            apps.spawn(async move {
                let (client, mut served, mut failed) = (client(), 0, Vec::new());
                while !over.load(Ordering::Relaxed) {
                    let body = json!({"model": "gpt-6-codex", "input": "hello"});
                    let request = client.post(&url).bearer_auth(&key).json(&body);
                    let answer = request.send().await.unwrap();
                    let status = answer.status();
                    let text = answer.text().await.unwrap();
                    if status == 200 && text.contains("hello") {
                        served += 1;
                    } else {
                        failed.push(format!("{status} {text}"));
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                (served, failed)
            });
        }
        Self { over, apps }
    }

    async fn end(self) -> (usize, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        let (mut served, mut failed) = (0, Vec::new());
        for (some, others) in self.apps.join_all().await {
            served += some;
            failed.extend(others);
        }
        (served, failed)
    }
}

/// Each spends the token that the other one got: had either missed a rotation, the cloud would have revoked the login.
async fn assert_they_take_turns(kind: &'static Kind) {
    let all = wanted();
    let world = World::new(kind).await;
    let daemon = world.daemon();
    let mut hermes = world.hermes();
    assert_eq!(hermes.step("resolve").1, fingerprint(&world.current()));
    let load = Load::begin(&world, &daemon);
    let started = Instant::now();
    let (mut ours, mut theirs) = (0, 0);
    for force in kind.forces.iter().cycle() {
        // Their tokens are of different seconds, as outside of tests.
        world.cloud.advance(Duration::from_secs(1));
        let used = world.cloud.last_bearer();
        let (_, refresh) = hermes.step(force);
        assert_eq!(refresh, fingerprint(&world.current()), "{theirs}: {force}");
        theirs += 1;
        if theirs <= REVOKED
            && let Some(used) = used
        {
            world.cloud.revoke_access_token(&used);
        }
        world.cloud.advance(Duration::from_secs(1));
        let deadline = Instant::now() + PATIENCE;
        // The first one may find what Hermes Agent left.
        while world.cloud.counts().refreshes == ours + theirs {
            assert!(Instant::now() < deadline, "{}", daemon.logged());
            daemon.renew().await;
        }
        ours = world.cloud.counts().refreshes - theirs;
        if ours + theirs >= all {
            break;
        }
    }
    assert_eq!(hermes.step("resolve").1, fingerprint(&world.current()));
    let took = started.elapsed().as_secs_f64();
    let (served, failed) = load.end().await;
    let counts = world.cloud.counts();
    println!(
        "{}: {} rotations in {took:.1} s, {theirs} by Hermes Agent, {ours} by the daemon; {} requests, {} failed; {} \
         reuse events",
        kind.provider,
        counts.refreshes,
        served + failed.len(),
        failed.len(),
        counts.reuse_events
    );
    assert_eq!(failed, [""; 0], "{}", daemon.logged());
    assert_eq!((counts.reuse_events, counts.reissues), (0, 0), "{counts:?}");
    assert_eq!(
        counts.refresh_calls, counts.refreshes,
        "a call came to nothing"
    );
    assert!(served > 0 && ours >= all / 3, "{served} and {ours}");
    assert!(world.cloud.is_alive(world.login.family));
    assert_eq!(world.stored(), world.current());
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_agent_and_the_daemon_rotate_an_xai_login_in_turn_under_load() {
    assert_they_take_turns(&XAI).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_agent_and_the_daemon_rotate_a_codex_login_in_turn_under_load() {
    assert_they_take_turns(&CODEX).await;
}
