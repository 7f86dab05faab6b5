//! xAI's dialect: discovery, the device login, rotation, and what its refusals mean.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::time::Instant;

use mock_cloud::{Canned, Endpoint, Fault, Login, MockCloud, Options, PortalFault};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, chat, client, scratch};

const CLIENT: &str = "b1a00492-073a-47ea-816f-4c329264a828";

/// A cloud that speaks to xAI's client, and a home.
struct World {
    cloud: MockCloud,
    home: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let options = Options::default().client_id(CLIENT);
        let options = options.scope("api:access inference:invoke");
        let cloud = MockCloud::start(options).await;
        let home = scratch();
        let config = format!(
            "default_provider = \"xai\"\n[providers.xai]\nissuer_url = {:?}\nbase_url = {:?}\n",
            cloud.portal_url(),
            cloud.inference_base_url()
        );
        let folder = home.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), config).unwrap();
        Self { cloud, home }
    }

    /// A login as Hermes Agent leaves it, whose token was obtained then.
    async fn with_a_login(obtained: &str) -> (Self, Login) {
        let world = Self::new().await;
        let login = world.cloud.login();
        let block = json!({
            "tokens": {
                "access_token": login.access_token, "refresh_token": login.refresh_token,
                "id_token": "", "expires_in": 3600, "token_type": "Bearer", "theirs": [1],
            },
            "redirect_uri": "", "last_refresh": obtained, "auth_mode": "oauth_pkce",
        });
        let pool = json!([{
            "id": "ab12cd", "source": "device_code", "access_token": login.access_token,
            "refresh_token": login.refresh_token, "last_status": "exhausted",
        }]);
        let store = json!({
            "version": 1, "providers": {"xai-oauth": block}, "credential_pool": {"xai-oauth": pool},
        });
        std::fs::create_dir_all(world.store_file().parent().unwrap()).unwrap();
        std::fs::write(world.store_file(), store.to_string()).unwrap();
        (world, login)
    }

    fn store_file(&self) -> PathBuf {
        self.home.path().join(".hermes/auth.json")
    }

    fn store(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.store_file()).unwrap()).unwrap()
    }

    fn block(&self) -> Value {
        self.store()["providers"]["xai-oauth"].clone()
    }

    fn daemon(&self) -> Daemon {
        let mut command = support::program(env!("CARGO_BIN_EXE_hermes-proxyd"), self.home.path());
        command.args(["--port", "0", "--log-format", "json"]);
        Daemon::start(command, self.home.path())
    }

    async fn until(&self, daemon: &Daemon, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{}", daemon.logged());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// A moment ago.
fn now() -> String {
    use hermes_proxy::clock::Clock as _;
    hermes_proxy::clock::SystemClock.now().to_rfc3339()
}

async fn ask(daemon: &Daemon) -> reqwest::Response {
    let post = client().post(daemon.url("/responses"));
    post.json(&chat("hello")).send().await.unwrap()
}

fn failing(daemon: &Daemon) -> Value {
    daemon.status()["providers"][0]["failing"]["code"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_hermes_agent_is_renewed_at_the_discovered_endpoint_in_its_own_layout() {
    // So long ago that a refresh is due.
    let (world, login) = World::with_a_login("2020-01-01T00:00:00Z").await;
    world.cloud.advance(std::time::Duration::from_secs(1));
    let daemon = world.daemon();
    let refreshed =
        |world: &World| world.block()["tokens"]["refresh_token"] != json!(login.refresh_token);
    if !refreshed(&world) {
        daemon.renew().await;
    }
    world.until(&daemon, refreshed).await;
    let block = world.block();
    let current = world.cloud.current_refresh_token(login.family);
    assert_eq!(
        block["tokens"]["refresh_token"].as_str(),
        current.as_deref()
    );
    assert_eq!(
        block["tokens"]["theirs"],
        json!([1]),
        "unknown fields are kept"
    );
    assert_eq!(block["auth_mode"], "oauth_pkce", "kept as it is");
    let endpoint = format!("{}/oauth2/token", world.cloud.portal_url());
    assert_eq!(block["discovery"]["token_endpoint"], json!(endpoint));
    assert!(block.get("access_token").is_none() && block.get("obtained_at").is_none());
    let row = &world.store()["credential_pool"]["xai-oauth"][0];
    assert_eq!(row["refresh_token"], block["tokens"]["refresh_token"]);
    assert_eq!(
        (&row["last_status"], &row["id"]),
        (&Value::Null, &json!("ab12cd"))
    );
    assert!(
        !world.home.path().join(".hermes/shared").exists(),
        "no mirror"
    );
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_login_serves_and_lies_where_hermes_agent_looks_for_it() {
    let world = World::new().await;
    let daemon = world.daemon();
    assert_eq!(ask(&daemon).await.status(), 401);
    let mut command = support::program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    let command = command.args(["auth", "login", "xai", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let begun: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    world
        .cloud
        .approve(begun["code"]["user_code"].as_str().unwrap());
    let end = lines.next().unwrap().unwrap();
    assert!(child.wait().unwrap().success(), "{end}");
    let block = world.block();
    assert_eq!(block["auth_mode"], "oauth_device_code");
    assert_eq!(block["tokens"]["token_type"], "Bearer");
    assert!(block["tokens"]["access_token"].is_string());
    assert_ne!(ask(&daemon).await.status(), 401);
    let status = daemon.status();
    assert_eq!(status["providers"][0]["state"], "ready");
    assert_eq!(status["providers"][0]["credential"], "access_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_renews_only_where_its_body_says_that_the_token_is_stale() {
    for (body, replayed, code) in [
        ("unauthenticated:bad-credentials", true, Value::Null),
        (
            "The OAuth2 access token could not be validated.",
            true,
            Value::Null,
        ),
        (
            "personal-team-blocked:spending-limit",
            false,
            json!("spending_limit"),
        ),
        (
            "You do not have an active Grok subscription.",
            false,
            json!("no_subscription"),
        ),
        (
            "You are out of available resources.",
            false,
            json!("no_subscription"),
        ),
        ("Something else.", false, json!("account_tier")),
    ] {
        let (world, _) = World::with_a_login(&now()).await;
        let daemon = world.daemon();
        let refusal = json!({"code": body, "error": body});
        let fault = Fault::Answer(Canned::json(403, &refusal));
        world.cloud.fail_next(1, &fault);
        let post = client().post(daemon.url("/chat/completions"));
        let answer = post.json(&chat("hello")).send().await.unwrap();
        let status = if replayed { 200 } else { 403 };
        assert_eq!(answer.status(), status, "{body}");
        let text = answer.text().await.unwrap();
        let refusal = refusal.to_string();
        assert_eq!(text == refusal, !replayed, "{body}");
        assert_eq!(
            world.cloud.counts().refreshes,
            u64::from(replayed),
            "{body}"
        );
        assert_eq!(failing(&daemon), code, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_passes_as_it_is_and_renews_nothing() {
    let (world, _) = World::with_a_login(&now()).await;
    let daemon = world.daemon();
    for code in ["subscription:free-usage-exhausted", "rate_limit_exceeded"] {
        let refusal = json!({"code": code});
        let fault = Fault::Answer(Canned::json(429, &refusal));
        world.cloud.fail_next(1, &fault);
        let post = client().post(daemon.url("/chat/completions"));
        let answer = post.json(&chat("hello")).send().await.unwrap();
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.text().await.unwrap(), refusal.to_string());
    }
    assert_eq!(world.cloud.counts().refresh_calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_endpoints_400_and_401_end_the_login_and_its_403_does_not() {
    for (status, code, ends) in [
        (400, "invalid_request", true),
        (401, "unauthorized_client", true),
        (403, "access_denied", false),
        (503, "unavailable", false),
    ] {
        let (world, login) = World::with_a_login(&now()).await;
        let daemon = world.daemon();
        let refusal = Canned::oauth_error(status, code, "no");
        let fault = PortalFault::Answer(refusal);
        world.cloud.break_portal(Endpoint::Refresh, fault);
        world.cloud.fail_next(1, &Fault::unauthorized());
        ask(&daemon).await;
        world
            .until(&daemon, |world| world.cloud.counts().refresh_calls > 0)
            .await;
        world
            .until(&daemon, |_| {
                !daemon.status()["providers"][0]["last_error"].is_null()
            })
            .await;
        let block = world.block();
        if ends {
            assert!(block.get("tokens").is_none(), "{status}");
            assert_eq!(block["last_auth_error"]["code"], code);
            assert_eq!(block["auth_mode"], "oauth_pkce");
        } else {
            assert_eq!(block["tokens"]["refresh_token"], json!(login.refresh_token));
        }
        let error = daemon.status()["providers"][0]["last_error"]["message"].clone();
        let told = error
            .as_str()
            .unwrap()
            .contains("a new login does not help");
        assert_eq!(told, status == 403, "{error}");
    }
}
