//! OpenAI Codex with its users' programs: OpenAI's SDKs on the port, and Hermes Agent on the shared
//! store.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use mock_cloud::{Login, MockCloud, Options};
use serde_json::{Value, json};
use support::hermes::{clients, fingerprint, json_line, test_env};
use support::{Daemon, PATIENCE, client, ctl, program, scratch};
use tokio::time::Instant;

/// Its chats are translated.
const CHECKS: [&str; 6] = [
    "responses",
    "created_stream",
    "no_such_parameter",
    "chat",
    "streaming_chat",
    "models",
];

/// A cloud with the dialect, a home with a login as Hermes Agent leaves it, and a client key.
pub(super) struct World {
    pub(super) cloud: MockCloud,
    home: tempfile::TempDir,
    pub(super) key: String,
    login: Login,
}

impl World {
    pub(super) async fn new() -> Self {
        let cloud = MockCloud::start(Options::default().codex("acc-0001", Some("eu"))).await;
        let home = scratch();
        let added = ctl(home.path(), &["clients", "add", "app"]);
        let key = String::from_utf8(added.stdout).unwrap().trim().to_owned();
        let config = format!(
            "default_provider = \"openai-codex\"\n[providers.openai-codex]\nissuer_url = {:?}\n\
             base_url = {:?}\n",
            cloud.portal_url(),
            cloud.codex_base_url(),
        );
        let folder = home.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), config).unwrap();
        let login = cloud.login();
        let store = json!({"version": 1, "providers": {"openai-codex": {
            "tokens": {"access_token": login.access_token, "refresh_token": login.refresh_token},
            "last_refresh": "2026-11-29T12:00:00Z", "auth_mode": "chatgpt",
        }}});
        std::fs::create_dir_all(home.path().join(".hermes")).unwrap();
        std::fs::write(home.path().join(".hermes/auth.json"), store.to_string()).unwrap();
        Self {
            cloud,
            home,
            key,
            login,
        }
    }

    pub(super) fn daemon(&self) -> Daemon {
        let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), self.home.path());
        command.args(["--port", "0", "--log-format", "json"]);
        Daemon::start(command, self.home.path())
    }

    fn block(&self) -> Value {
        let store = std::fs::read(self.home.path().join(".hermes/auth.json")).unwrap();
        let store: Value = serde_json::from_slice(&store).unwrap();
        store["providers"]["openai-codex"].clone()
    }

    /// The fingerprint of the one refresh token that is good.
    fn current(&self) -> String {
        fingerprint(&self.cloud.current_refresh_token(self.login.family).unwrap())
    }

    /// The fingerprint of the bearer of a request that is served.
    async fn bearer(&self, daemon: &Daemon) -> String {
        let request = client()
            .post(daemon.url("/responses"))
            .bearer_auth(&self.key);
        let body = json!({"model": "gpt-6-codex", "input": "hello"});
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", daemon.logged());
        fingerprint(&self.cloud.last_bearer().unwrap())
    }

    fn hermes(&self) -> Hermes {
        let python = test_env("hermes").join("hermes/bin/python");
        let mut command = program(python, self.home.path());
        command
            .env("HERMES_HOME", self.home.path().join(".hermes"))
            .arg(clients().join("hermes/hermes_codex.py"))
            .arg(self.cloud.portal_url());
        Hermes::start(command)
    }
}

/// Hermes Agent's own code.
pub(super) struct Hermes {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Hermes {
    pub(super) fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// A step that is good: the fingerprints of both tokens.
    pub(super) fn step(&mut self, step: &str) -> (String, String) {
        let told = self.told(step);
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        (text("access_token_fp"), text("refresh_token_fp"))
    }

    /// The report on a good step.
    pub(super) fn told(&mut self, step: &str) -> Value {
        writeln!(self.child.stdin.as_ref().unwrap(), "{step}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let told = json_line(&line);
        assert_eq!(told["ok"], true, "{told}");
        told
    }
}

impl Drop for Hermes {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Each spends the token that the other one got: had either missed a rotation, the cloud would have revoked the login.
#[tokio::test(flavor = "multi_thread")]
async fn hermes_agent_and_the_daemon_refresh_one_codex_login_in_turn() {
    let world = World::new().await;
    let daemon = world.daemon();
    let mut hermes = world.hermes();
    assert_eq!(hermes.step("resolve").1, world.current());
    for (round, step) in ["force", "pool-force", "force", "pool-force"]
        .iter()
        .enumerate()
    {
        // No two tokens of one second are alike, but their times are.
        world.cloud.advance(Duration::from_secs(1));
        let (access, refresh) = hermes.step(step);
        assert_eq!(refresh, world.current(), "{round}: Hermes Agent renews");
        let deadline = Instant::now() + PATIENCE;
        while world.bearer(&daemon).await != access {
            assert!(
                Instant::now() < deadline,
                "{round}: not adopted\n{}",
                daemon.logged()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.cloud.advance(Duration::from_secs(1));
        daemon.renew().await;
        let ours = world.bearer(&daemon).await;
        assert_ne!(ours, access, "{round}: the daemon renews");
        let read = if round % 2 == 0 { "resolve" } else { "pool" };
        assert_eq!(
            hermes.step(read),
            (ours, world.current()),
            "{round}: and it is read"
        );
    }
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.reuse_events, counts.refreshes),
        (0, 8),
        "{counts:?}"
    );
    let block = world.block();
    assert_eq!(block["auth_mode"], "chatgpt");
    let stored = block["tokens"]["refresh_token"].as_str().unwrap();
    assert_eq!(fingerprint(stored), world.current());
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_python_sdk_gets_streams_and_whole_answers() {
    sdk("python/bin/python", "python/openai_client.py", "python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_node_sdk_gets_streams_and_whole_answers() {
    sdk("node/bin/node", "node/openai_client.mjs", "node").await;
}

async fn sdk(binary: &str, script: &str, part: &str) {
    let world = World::new().await;
    let daemon = world.daemon();
    let env = test_env(part);
    let output = program(env.join(binary), world.home.path())
        .env("HERMES_TEST_ENV", &env)
        .arg(clients().join(script))
        .arg(daemon.url(""))
        .args(["--streams-only", "--api-key", &world.key])
        .output()
        .unwrap();
    let wanted: Vec<_> = CHECKS.iter().map(|check| format!("ok {check}")).collect();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed.lines().collect::<Vec<_>>(), wanted, "{output:?}");
    assert!(output.status.success(), "{output:?}");
    assert!(!daemon.logged().contains(&world.login.access_token));
}
