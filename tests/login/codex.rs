//! OpenAI Codex: its login in Hermes Agent's layout, its own kind of device login, and who may ask.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod bodies;
mod chat;
mod chat_ends;
mod elsewhere;
mod pool;
mod surfaces;
mod token_endpoint;

use std::path::PathBuf;
use std::sync::Arc;

use hermes_proxy::config::{Provider, ProviderKind, ProviderName, Variables};
use hermes_proxy::provider::{Adapter, DeviceError, Poll};
use mock_cloud::{Canned, Endpoint, Login, MockCloud, Options, PortalFault};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, client, ctl, program, scratch};
use tokio::time::Instant;

const ACCOUNT: &str = "acc-0001";
const REGION: &str = "eu";

/// A cloud that speaks as OpenAI's backend does, a home, and a client key.
struct World {
    cloud: MockCloud,
    home: tempfile::TempDir,
    key: String,
}

impl World {
    async fn new() -> Self {
        Self::of(Options::default().codex(ACCOUNT, Some(REGION)), "").await
    }

    /// The same with more lines of configuration.
    async fn of(options: Options, more: &str) -> Self {
        let cloud = MockCloud::start(options).await;
        let home = scratch();
        let added = ctl(home.path(), &["clients", "add", "app"]);
        assert!(added.status.success(), "{added:?}");
        let key = String::from_utf8(added.stdout).unwrap().trim().to_owned();
        let world = Self { cloud, home, key };
        world.configure(more);
        world
    }

    fn configure(&self, more: &str) {
        let folder = self.home.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder).unwrap();
        let config = format!(
            "default_provider = \"openai-codex\"\n[providers.openai-codex]\nissuer_url = {:?}\n\
             base_url = {:?}\n{more}",
            self.cloud.portal_url(),
            self.cloud.codex_base_url(),
        );
        std::fs::write(folder.join("config.toml"), config).unwrap();
    }

    async fn with_a_login() -> (Self, Login) {
        let world = Self::new().await;
        let login = world.log_in();
        (world, login)
    }

    /// A login as Hermes Agent leaves it.
    fn log_in(&self) -> Login {
        let login = self.cloud.login();
        let store = json!({
            "version": 1, "providers": {"openai-codex": {
                "tokens": {
                    "access_token": login.access_token, "refresh_token": login.refresh_token,
                    "theirs": [1],
                },
                "last_refresh": now(), "auth_mode": "chatgpt", "label": "me",
            }},
            "credential_pool": {"openai-codex": [{
                "id": "ab12cd", "source": "device_code", "access_token": login.access_token,
                "refresh_token": login.refresh_token, "last_status": "exhausted",
            }]},
        });
        std::fs::create_dir_all(self.store_file().parent().unwrap()).unwrap();
        std::fs::write(self.store_file(), store.to_string()).unwrap();
        login
    }

    fn store_file(&self) -> PathBuf {
        self.home.path().join(".hermes/auth.json")
    }

    fn store(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.store_file()).unwrap()).unwrap()
    }

    fn block(&self) -> Value {
        self.store()["providers"]["openai-codex"].clone()
    }

    fn daemon(&self) -> Daemon {
        let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), self.home.path());
        command.args(["--port", "0", "--log-format", "json"]);
        Daemon::start(command, self.home.path())
    }

    /// The requests that the backend has seen, except those about the quota.
    fn requests(&self) -> Vec<mock_cloud::Seen> {
        let seen = self.cloud.requests().into_iter();
        seen.filter(|seen| !seen.target.ends_with("/wham/usage"))
            .collect()
    }

    /// A request of the app that has the key.
    fn post(&self, daemon: &Daemon, path: &str) -> reqwest::RequestBuilder {
        client().post(daemon.url(path)).bearer_auth(&self.key)
    }

    async fn ask(&self, daemon: &Daemon) -> reqwest::Response {
        let body = json!({"model": "gpt-6-codex", "input": "hello"});
        let request = self.post(daemon, "/responses").json(&body);
        request.send().await.unwrap()
    }

    async fn until(&self, daemon: &Daemon, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{}", daemon.logged());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// The adapter, as the daemon builds it.
    fn adapter(&self) -> Arc<dyn Adapter> {
        let kind = ProviderKind::Codex {
            issuer_url: Some(self.cloud.portal_url().parse().unwrap()),
        };
        let settings = Provider::of_kind(kind);
        let name = ProviderName::new("openai-codex").unwrap();
        let tls = hermes_proxy::provider::client_config(None).unwrap();
        let variables = Variables::of_process();
        hermes_proxy::provider::build(&name, &settings, tls, &variables).unwrap()
    }
}

/// A moment ago.
fn now() -> String {
    use hermes_proxy::clock::Clock as _;
    hermes_proxy::clock::SystemClock.now().to_rfc3339()
}

fn json_of(output: &std::process::Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_carry_the_account_its_region_and_a_true_name_whatever_the_app_sends() {
    let (world, login) = World::with_a_login().await;
    let daemon = world.daemon();
    let body = json!({"model": "gpt-6-codex", "input": "hello"});
    let request = world.post(&daemon, "/responses").json(&body);
    let request = [
        ("chatgpt-account-id", "someone-else"),
        ("x-openai-internal-codex-residency", "us"),
        ("originator", "codex_cli_rs"),
        ("user-agent", "codex_cli_rs/0.169.0"),
        ("session-id", "s1"),
        ("session_id", "s2"),
        ("thread-id", "t"),
        ("conversation_id", "c"),
        ("x-codex-turn-state", "ts"),
        ("x-openai-subagent", "no"),
        ("cookie", "a=b"),
    ]
    .into_iter()
    .fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
    let seen = world.requests().pop().unwrap();
    for (name, value) in [
        ("authorization", format!("Bearer {}", login.access_token)),
        ("chatgpt-account-id", ACCOUNT.to_owned()),
        ("x-openai-internal-codex-residency", REGION.to_owned()),
        ("originator", "hermes-proxyd".to_owned()),
        ("user-agent", hermes_proxy::USER_AGENT.to_owned()),
        ("session-id", "s1".to_owned()),
        ("session_id", "s2".to_owned()),
        ("thread-id", "t".to_owned()),
        ("conversation_id", "c".to_owned()),
        ("x-codex-turn-state", "ts".to_owned()),
    ] {
        assert_eq!(seen.header(name), [value], "{name}");
    }
    for name in ["x-openai-subagent", "cookie"] {
        assert!(seen.header(name).is_empty(), "{name}");
    }
    assert_eq!(seen.target, "/backend-api/codex/responses");
    assert!(!daemon.logged().contains(ACCOUNT), "{}", daemon.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cloud_refuses_a_request_without_the_account_or_its_region() {
    let world = World::new().await;
    let login = world.cloud.login();
    let url = format!("{}/responses", world.cloud.codex_base_url());
    let body = json!({"model": "m", "stream": true, "store": false, "instructions": "",
                      "input": []});
    for (account, region, status) in [
        (ACCOUNT, REGION, 200),
        ("", REGION, 403),
        ("other", REGION, 403),
        (ACCOUNT, "", 401),
        (ACCOUNT, "us", 401),
    ] {
        let request = client()
            .post(&url)
            .bearer_auth(&login.access_token)
            .json(&body);
        let request = request
            .header("originator", "x")
            .header("user-agent", "x")
            .header("chatgpt-account-id", account)
            .header("x-openai-internal-codex-residency", region);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{account} {region}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_key_the_provider_does_not_start_and_no_request_of_it_is_served() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let ask = async |key: Option<&str>, path: &str| {
        let request = client().post(daemon.url(path)).json(&json!({"input": "x"}));
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        request.send().await.unwrap()
    };
    for key in [None, Some("sk-anything"), Some("hpx-0000")] {
        let refused = support::error(ask(key, "/responses").await, 401, "invalid_client_key").await;
        assert!(refused.contains("hermesctl clients add"), "{refused}");
    }
    let at_path = client().post(format!("{}/openai-codex/v1/responses", daemon.origin()));
    assert_eq!(at_path.send().await.unwrap().status(), 401);
    assert!(world.requests().is_empty());
    assert_eq!(ask(Some(&world.key), "/responses").await.status(), 200);

    // The last key is revoked: every request is refused, and a start says why.
    let revoked = ctl(world.home.path(), &["clients", "revoke", "app"]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert_eq!(ask(Some(&world.key), "/responses").await.status(), 401);
    let reloaded = ctl(world.home.path(), &["proxy", "reload"]);
    assert!(
        reloaded.status.success(),
        "what runs is not stopped: {reloaded:?}"
    );
    drop(daemon);
    for flags in [&["--check"][..], &["--port", "0"]] {
        let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
        let output = command.args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("the provider openai-codex serves only apps with a client key")
                && said.contains("hermesctl clients add NAME"),
            "{said}"
        );
    }
}

/// The list of all providers is answered at an address whose own provider needs no key.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_key_the_merged_list_neither_asks_the_provider_nor_names_its_models() {
    let (world, login) = World::with_a_login().await;
    let token = world.home.path().join("token");
    std::fs::write(&token, &login.access_token).unwrap();
    let config = format!(
        "default_provider = \"work\"\naliases = {{ smart = \"openai-codex/gpt-6-codex\" }}\n\
         [providers.openai-codex]\nissuer_url = {:?}\nbase_url = {:?}\n\
         [providers.work]\ntype = \"static\"\nbase_url = {:?}\napi_key_file = {token:?}\n",
        world.cloud.portal_url(),
        world.cloud.codex_base_url(),
        world.cloud.inference_base_url(),
    );
    let file = world.home.path().join(".config/hermes-proxyd/config.toml");
    std::fs::write(file, config).unwrap();
    let daemon = world.daemon();
    let codex_was_asked = || {
        let mut seen = world.requests().into_iter();
        seen.any(|seen| seen.target.starts_with("/backend-api/codex"))
    };
    let list = async |key: Option<&str>| {
        let request = client().get(daemon.url("/models"));
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    };
    for key in [None, Some("sk-anything")] {
        let models = list(key).await;
        assert!(
            !models.contains("codex") && !models.contains("smart"),
            "{models}"
        );
        assert!(!codex_was_asked());
    }
    let models = list(Some(&world.key)).await;
    assert!(
        models.contains("openai-codex/") && models.contains("smart"),
        "{models}"
    );
    assert!(codex_was_asked());
    let models = list(None).await;
    assert!(!models.contains("codex"), "{models}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_login_serves_and_lies_where_hermes_agent_looks_for_it() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let world = World::new().await;
    let daemon = world.daemon();
    assert_eq!(world.ask(&daemon).await.status(), 401);
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    let command = command.args(["auth", "login", "openai-codex", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let begun: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let page = format!("{}/codex/device", world.cloud.portal_url());
    assert_eq!(begun["code"]["verification_uri"], page.as_str());
    assert!(
        begun["code"]["expires_in_seconds"].as_u64() <= Some(900),
        "{begun}"
    );
    let code = begun["code"]["user_code"].as_str().unwrap();
    world.cloud.approve(code);
    let end = lines.next().unwrap().unwrap();
    assert!(child.wait().unwrap().success(), "{end}");
    let block = world.block();
    assert_eq!(block["auth_mode"], "chatgpt");
    assert!(block["tokens"]["refresh_token"].is_string() && block["last_refresh"].is_string());
    assert_eq!(world.store()["active_provider"], "openai-codex");
    assert_eq!(
        world.ask(&daemon).await.status(),
        200,
        "{}",
        daemon.logged()
    );
    let status = daemon.status();
    assert_eq!(status["providers"][0]["state"], "ready");
    assert_eq!(status["providers"][0]["credential"], "access_token");
    for secret in world.cloud.issued_secrets() {
        assert!(!daemon.logged().contains(&secret), "{}", daemon.logged());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_logins_own_protocol_is_spoken_step_by_step() {
    // The interval is a text, and never less than three seconds.
    for (interval, told) in [(0, 5), (1, 3), (7, 7)] {
        let options = Options::default().codex(ACCOUNT, None).interval(interval);
        let world = World::of(options, "").await;
        let adapter = world.adapter();
        let device = adapter.device_login().unwrap();
        let code = device.begin().await.unwrap();
        assert_eq!(code.interval.as_secs(), told);
        assert_eq!(code.expires_in.as_secs(), 15 * 60);
        assert!(matches!(device.poll(&code).await, Ok(Poll::Pending)));
        // The edge knows nothing of the login.
        for status in [500, 502, 429] {
            let fault = PortalFault::Answer(Canned::status(status));
            world.cloud.fail_portal(Endpoint::DevicePoll, 1, &fault);
            assert!(matches!(device.poll(&code).await, Ok(Poll::Busy { .. })));
        }
        let gone = PortalFault::Answer(Canned::status(404));
        world.cloud.fail_portal(Endpoint::DevicePoll, 1, &gone);
        assert!(matches!(device.poll(&code).await, Ok(Poll::Pending)));
        world.cloud.approve(&code.user_code);
        // What was certainly not received is sent again.
        let busy = Canned::status(503).header("retry-after", "0");
        world
            .cloud
            .fail_portal(Endpoint::Exchange, 1, &PortalFault::Answer(busy));
        assert!(matches!(device.poll(&code).await, Ok(Poll::Granted(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_comes_back_to_the_one_address_that_openai_knows() {
    use hermes_proxy::provider::{BrowserAttempt, Callback, Redirect};

    let world = World::new().await;
    let adapter = world.adapter();
    let browser = adapter.browser_login().unwrap();
    let Redirect::Fixed(back) = browser.redirect() else {
        panic!("any port")
    };
    assert_eq!(back.as_str(), "http://localhost:1455/auth/callback");
    let attempt = BrowserAttempt::new(back).unwrap();
    let page = browser.page(&attempt).await.unwrap();
    let answer = client().get(page.url).send().await.unwrap();
    assert_eq!(answer.status(), 302);
    let ended_at = answer.headers()["location"].to_str().unwrap();
    // As the user pastes it, from a browser on another machine.
    let Ok(Callback::Code(code)) = attempt.pasted(ended_at) else {
        panic!("{ended_at}")
    };
    let granted = browser.exchange(&attempt, &code).await;
    assert!(matches!(granted, Ok(Poll::Granted(_))), "{granted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_logins_are_tried_four_times_and_one_that_is_switched_off_says_where() {
    let world = World::new().await;
    let adapter = world.adapter();
    let device = adapter.device_login().unwrap();
    let busy = PortalFault::Answer(Canned::rate_limited(0));
    world.cloud.fail_portal(Endpoint::DeviceCode, 3, &busy);
    assert!(device.begin().await.is_ok());
    world.cloud.fail_portal(Endpoint::DeviceCode, 4, &busy);
    let error = device.begin().await.unwrap_err().to_string();
    assert!(error.contains("429"), "{error}");
    let asked = |calls: &[mock_cloud::Call]| {
        let codes = calls.iter();
        codes
            .filter(|call| call.endpoint == Endpoint::DeviceCode)
            .count()
    };
    assert_eq!(asked(&world.cloud.calls()), 8);

    let missing = PortalFault::Answer(Canned::status(404));
    world.cloud.fail_portal(Endpoint::DeviceCode, 1, &missing);
    let error = device.begin().await.unwrap_err();
    assert!(matches!(error, DeviceError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("Settings"), "{error}");
}

/// A login that works is of no use to apps without a key for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_no_client_key_is_for_is_told_with_the_command_that_makes_one() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let ctl = |args: &[&str]| {
        let output = ctl(world.home.path(), args);
        // A bad finding is its exit code too.
        String::from_utf8(output.stdout).unwrap()
    };
    let codes = || {
        let status: Value = serde_json::from_str(&ctl(&["proxy", "status", "--json"])).unwrap();
        let findings = status["findings"].as_array().unwrap().clone();
        findings
            .into_iter()
            .map(|one| (one["code"].clone(), one["command"].clone()))
            .collect::<Vec<_>>()
    };
    let ready = async || {
        let answer = client()
            .get(format!("{}/readyz", daemon.origin()))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!((codes().len(), ready().await.0), (0, 200));
    // One for another provider does not help.
    let folder = world.home.path().join(".local/state/hermes-proxyd");
    assert!(folder.join("clients.json").exists());
    ctl(&["clients", "revoke", "app"]);
    let command = "hermesctl clients add my-app --provider openai-codex";
    assert_eq!(codes(), [("no_client_keys".into(), command.into())]);
    let (status, text) = ready().await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains(command), "{text}");
    let added: Vec<_> = command.split(' ').skip(1).collect();
    ctl(&added);
    assert_eq!((codes().len(), ready().await.0), (0, 200));
}
