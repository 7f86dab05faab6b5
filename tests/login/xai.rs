//! xAI's dialect: discovery, the device login, rotation, and what its refusals mean.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod answers;
mod named;
mod pool;
mod refused;
mod several;
mod spent;
mod surfaces;
mod turns;
mod twins;

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
        let world = Self {
            cloud,
            home: scratch(),
        };
        world.asks_at(&world.cloud.inference_base_url());
        world
    }

    /// Writes the configuration, with requests going to `base`.
    fn asks_at(&self, base: &str) {
        let config = format!(
            "default_provider = \"xai\"\n[providers.xai]\nissuer_url = {:?}\nbase_url = {base:?}\n",
            self.cloud.portal_url(),
        );
        self.configure(&config);
    }

    fn configure(&self, text: &str) {
        let folder = self.home.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), text).unwrap();
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

impl World {
    /// Has the daemon look at what was written to the store.
    fn look_again(&self) {
        let output = support::ctl(self.home.path(), &["proxy", "reload"]);
        assert!(output.status.success(), "{output:?}");
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

/// A refresh token would go there.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_elsewhere_is_not_asked_whether_the_store_or_the_discovery_names_it() {
    use support::wire::{OK, Wire};

    let stranger = Wire::canned(OK).await;
    let elsewhere = format!("http://{}/oauth2/token", stranger.address);
    // The store's: the issuer's own is asked instead.
    let (world, login) = World::with_a_login(&now()).await;
    let mut store = world.store();
    store["providers"]["xai-oauth"]["discovery"] = json!({"token_endpoint": elsewhere});
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let daemon = world.daemon();
    daemon.renew().await;
    world
        .until(&daemon, |world| world.cloud.counts().refreshes == 1)
        .await;
    drop(daemon);
    // The issuer's: nothing is sent, and the login stays.
    let document = json!({"token_endpoint": elsewhere}).to_string();
    let length = document.len();
    let issuer = Wire::canned(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{document}"
    ));
    let issuer = issuer.await;
    world.configure(&format!(
        "default_provider = \"xai\"\n[providers.xai]\nissuer_url = \"http://{}\"\n",
        issuer.address
    ));
    let mut store = world.store();
    store["providers"]["xai-oauth"]["discovery"] = json!({"token_endpoint": elsewhere});
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let daemon = world.daemon();
    let refreshed = support::ctl(world.home.path(), &["auth", "refresh", "xai"]);
    assert!(!refreshed.status.success(), "{refreshed:?}");
    daemon.wait_for_log("names a token endpoint that is not xAI's");
    let current = world.cloud.current_refresh_token(login.family);
    assert_eq!(
        world.block()["tokens"]["refresh_token"].as_str(),
        current.as_deref()
    );
    assert_eq!(stranger.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_refresh_token_leaves_the_one_that_is_there() {
    let (world, login) = World::with_a_login(&now()).await;
    world.cloud.advance(std::time::Duration::from_secs(1));
    let daemon = world.daemon();
    world
        .cloud
        .fail_portal(Endpoint::Refresh, 1, &PortalFault::KeepRefreshToken);
    daemon.renew().await;
    let renewed =
        |world: &World| world.block()["tokens"]["access_token"] != json!(login.access_token);
    world.until(&daemon, renewed).await;
    assert_eq!(
        world.block()["tokens"]["refresh_token"],
        json!(login.refresh_token)
    );
    assert_ne!(ask(&daemon).await.status(), 401);
}
