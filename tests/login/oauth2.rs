//! A provider by its settings alone: the examples of the configuration, run unchanged; where the login is stored, how
//! it is renewed, and that it goes nowhere else.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod keeping;
mod lifetimes;
mod pages;
mod poison;
mod pools;
mod stranger;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use mock_cloud::{Canned, Endpoint, MockCloud, Options, PortalFault};
use serde_json::{Value, json};
use support::{Daemon, chat, client, scratch};

/// A cloud that speaks the generic dialect, and a home.
struct World {
    cloud: MockCloud,
    home: tempfile::TempDir,
}

/// A cloud for the client of the examples.
fn options() -> Options {
    let options = Options::default().client_id("my-client");
    options.scope("offline_access inference:invoke")
}

impl World {
    async fn new(options: Options) -> Self {
        Self {
            cloud: MockCloud::start(options).await,
            home: scratch(),
        }
    }

    /// With a provider of this name, whose table ends with `settings`.
    async fn with(settings: &str) -> Self {
        let world = Self::new(options()).await;
        world.configure(settings);
        world
    }

    /// Writes the configuration of a provider `acme` at this cloud, whose table ends with
    /// `settings`.
    fn configure(&self, settings: &str) {
        self.write(&format!(
            "default_provider = \"acme\"\n[providers.acme]\ntype = \"oauth2\"\nbase_url = {:?}\n\
             client_id = \"my-client\"\n{}\n",
            self.cloud.inference_base_url(),
            settings.replace("{portal}", &self.cloud.portal_url()),
        ));
    }

    fn write(&self, text: &str) {
        let folder = self.home.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), text).unwrap();
    }

    fn daemon(&self) -> Daemon {
        let mut command = support::program(env!("CARGO_BIN_EXE_hermes-proxyd"), self.home.path());
        command.args(["--port", "0", "--log-format", "json"]);
        Daemon::start(command, self.home.path())
    }

    fn ctl(&self, args: &[&str]) -> (bool, Value) {
        let output = support::ctl(self.home.path(), args);
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let last = text.lines().last().unwrap_or_default();
        let value = serde_json::from_str(&text).or_else(|_| serde_json::from_str(last));
        let value = value.unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output.status.success(), value)
    }

    fn store_file(&self) -> PathBuf {
        let state = self.home.path().join(".local/state/hermes-proxyd");
        state.join("auth.json")
    }

    fn store(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.store_file()).unwrap()).unwrap()
    }

    fn block(&self, provider: &str) -> Value {
        self.store()["providers"][format!("oauth2-{provider}")].clone()
    }

    /// `hermesctl auth login --json` with a user who says yes to its code.
    fn log_in(&self, provider: &str) -> Value {
        let mut login = Login::begin(self, &[provider]);
        let begun = login.line();
        let Some(code) = begun["code"]["user_code"].as_str() else {
            panic!("no code: {begun}")
        };
        self.cloud.approve(code);
        let (end, success) = login.end();
        assert!(success, "{end}");
        end["done"].clone()
    }

    /// Fails if any file of the home but the store, or a text, holds a secret.
    fn assert_no_secret_in(&self, what: &str, text: &str) {
        for secret in self.cloud.issued_secrets() {
            assert!(!text.contains(&secret), "{what} holds {secret}:\n{text}");
        }
    }
}

/// `hermesctl auth login --json` while it waits.
struct Login {
    child: Child,
    lines: BufReader<ChildStdout>,
    stdin: ChildStdin,
}

impl Login {
    fn begin(world: &World, args: &[&str]) -> Self {
        let mut command = support::program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
        let mut child = command
            .args(["auth", "login", "--json"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            lines: BufReader::new(child.stdout.take().unwrap()),
            stdin: child.stdin.take().unwrap(),
            child,
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn paste(&mut self, text: &str) {
        writeln!(self.stdin, "{text}").unwrap();
    }

    fn end(mut self) -> (Value, bool) {
        let line = self.line();
        (line, self.child.wait().unwrap().success())
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A browser that is shown a page and follows it to where it is sent back: that address.
async fn visit(page: &str) -> String {
    let answer = client().get(page).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let location = headers
        .get("location")
        .unwrap_or_else(|| panic!("{status} at {page}"));
    location.to_str().unwrap().to_owned()
}

async fn ask(daemon: &Daemon, provider: &str) -> reqwest::Response {
    let url = format!("{}/{provider}/v1/chat/completions", daemon.origin());
    client()
        .post(url)
        .json(&chat("hello"))
        .send()
        .await
        .unwrap()
}

/// The table of a provider in the example, as a user gets it who takes the signs of comments away.
fn example(provider: &str) -> String {
    let text = std::fs::read_to_string(support::root().join("config.example.toml")).unwrap();
    let header = format!("#[providers.{provider}]");
    let lines = text.lines().skip_while(|line| *line != header);
    let lines = lines.take_while(|line| line.starts_with('#'));
    let keys = lines.filter(|line| !line.starts_with("# "));
    keys.map(|line| line.trim_start_matches('#').to_owned() + "\n")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_with_a_code_logs_in_serves_and_is_renewed_at_the_discovered_endpoints() {
    let world = World::new(options()).await;
    let text = example("acme")
        .replace(
            "https://api.acme.example/v1",
            &world.cloud.inference_base_url(),
        )
        .replace("https://auth.acme.example", &world.cloud.portal_url())
        // What this cloud calls it.
        .replace("x-refresh-token", "x-nous-refresh-token");
    assert!(
        text.contains("issuer_url") && text.contains("refresh_token_header"),
        "{text}"
    );
    world.write(&text);
    let daemon = world.daemon();
    assert_eq!(ask(&daemon, "acme").await.status(), 401);
    let done = world.log_in("acme");
    assert_eq!(done["store"], json!(world.store_file()));
    assert_eq!(done["separate"], true, "Hermes Agent does not use it");
    let answer = ask(&daemon, "acme").await;
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
    let seen = world.cloud.requests();
    let header = |name: &str| {
        let headers = &seen.last().unwrap().headers;
        let found = headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(header("x-organization").as_deref(), Some("team-a"));
    // A renewal, with the refresh token where the settings put it.
    let before = world.block("acme");
    let (renewed, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert!(renewed, "{outcome}");
    assert_eq!(outcome["result"], "refreshed");
    let after = world.block("acme");
    assert_ne!(before["refresh_token"], after["refresh_token"]);
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
    let calls = world.cloud.calls();
    for call in &calls {
        let form = &call.form;
        assert_eq!(form["audience"], "https://api.acme.example", "{form:?}");
        assert_eq!(form["tenant"], "team-a", "{form:?}");
    }
    let begun = calls
        .iter()
        .find(|call| call.endpoint == Endpoint::DeviceCode);
    assert_eq!(begun.unwrap().form["scope"], "offline_access inference");
    let refresh = calls
        .iter()
        .find(|call| call.endpoint == Endpoint::Refresh)
        .unwrap();
    assert!(
        !refresh.form.contains_key("refresh_token"),
        "it is in the header"
    );
    // As private as any store, with nothing of it where others look.
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(world.store_file()).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert!(!world.home.path().join(".hermes/auth.json").exists());
    assert_eq!(world.cloud.counts().reuse_events, 0);
    world.assert_no_secret_in("the log", &daemon.logged());
    world.assert_no_secret_in("status", &daemon.home_screen().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_with_a_page_logs_in_with_pkce_and_a_client_secret() {
    let world = World::new(options().client_secret("s3cret-of-the-client", true)).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let text = example("umbra")
        .replace(
            "https://api.umbra.example/v1",
            &world.cloud.inference_base_url(),
        )
        .replace("https://login.umbra.example", &world.cloud.portal_url())
        .replace("localhost:1455", &format!("localhost:{port}"));
    world.write(&text);
    let secret = world.home.path().join(".config/hermes-proxyd/umbra.secret");
    std::fs::write(secret, "s3cret-of-the-client\n").unwrap();
    let daemon = world.daemon();
    let mut login = Login::begin(&world, &["umbra"]);
    let begun = login.line();
    let page = &begun["page"];
    let back = visit(page["url"].as_str().unwrap()).await;
    assert!(
        back.starts_with(&format!("http://localhost:{port}/auth/callback?")),
        "{back}"
    );
    let shown = client().get(&back).send().await.unwrap();
    assert_eq!(shown.status(), 200);
    let shown = shown.text().await.unwrap();
    assert!(shown.contains("logged in to umbra"), "{shown}");
    world.assert_no_secret_in("the page", &shown);
    let (end, success) = login.end();
    assert!(success, "{end}");
    assert_eq!(
        ask(&daemon, "umbra").await.status(),
        200,
        "{}",
        daemon.logged()
    );
    let (renewed, outcome) = world.ctl(&["auth", "refresh", "umbra", "--json"]);
    assert!(renewed && outcome["result"] == "refreshed", "{outcome}");
    assert_eq!(ask(&daemon, "umbra").await.status(), 200);
    let exchanged = world.cloud.calls();
    let exchanged = exchanged
        .iter()
        .find(|call| call.endpoint == Endpoint::Exchange)
        .unwrap();
    assert_eq!(exchanged.form["client_secret"], "s3cret-of-the-client");
    assert_eq!(world.cloud.counts().reuse_events, 0);
    // The code went only to the daemon, and no token to anyone else.
    for (what, text) in [
        ("the log", daemon.logged()),
        ("hermesctl", begun.to_string() + &end.to_string()),
    ] {
        world.assert_no_secret_in(what, &text);
        assert!(!text.contains("s3cret-of-the-client"), "{what}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_goes_into_the_header_where_the_issuer_says_nothing_else() {
    let world = World::new(options().client_secret("s3cret-of-the-client", false)).await;
    world.configure("issuer_url = \"{portal}\"\nclient_secret_file = \"~/secret\"");
    std::fs::write(world.home.path().join("secret"), "s3cret-of-the-client").unwrap();
    let daemon = world.daemon();
    world.log_in("acme");
    let (renewed, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert!(renewed && outcome["result"] == "refreshed", "{outcome}");
    let calls = world.cloud.calls();
    assert!(
        calls
            .iter()
            .all(|call| !call.form.contains_key("client_secret"))
    );
    // A missing file is reported with its key, and no token is spent.
    std::fs::remove_file(world.home.path().join("secret")).unwrap();
    let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert_eq!(outcome["result"], "failed");
    let detail = outcome["detail"].as_str().unwrap();
    assert!(
        detail.contains("providers.acme.client_secret_file"),
        "{detail}"
    );
    assert_eq!(world.cloud.counts().refresh_calls, 1);
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_of_the_token_endpoint_means_what_it_means_to_any_login() {
    let world = World::with("issuer_url = \"{portal}\"").await;
    let daemon = world.daemon();
    world.log_in("acme");
    for fault in [
        PortalFault::Answer(Canned::status(503)),
        PortalFault::Answer(Canned::rate_limited(1)),
        PortalFault::Answer(Canned::oauth_error(400, "invalid_client", "no")),
        PortalFault::DropBeforeCommit,
    ] {
        world.cloud.fail_portal(Endpoint::Refresh, 2, &fault);
        let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
        assert_eq!(outcome["result"], "failed", "{fault:?} {outcome}");
        world.cloud.heal();
        assert_eq!(
            ask(&daemon, "acme").await.status(),
            200,
            "the token still serves"
        );
    }
    // An answer without a refresh token keeps the old one.
    let before = world.block("acme")["refresh_token"].clone();
    world
        .cloud
        .fail_portal(Endpoint::Refresh, 1, &PortalFault::KeepRefreshToken);
    let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert_eq!(outcome["result"], "refreshed", "{outcome}");
    assert_eq!(world.block("acme")["refresh_token"], before);
    assert_eq!(world.cloud.counts().reuse_events, 0);
    // A dead grant ends the login, and the way back is told.
    let refused = Canned::oauth_error(400, "invalid_grant", "revoked");
    world
        .cloud
        .break_portal(Endpoint::Refresh, PortalFault::Answer(refused));
    let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert_eq!(outcome["result"], "rejected", "{outcome}");
    let answer = ask(&daemon, "acme").await;
    assert_eq!(answer.status(), 401);
    let text = answer.text().await.unwrap();
    assert!(text.contains("hermesctl auth login acme"), "{text}");
    assert!(!text.contains("--separate"), "{text}");
    world.cloud.heal();
    world.log_in("acme");
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_renewed_and_the_request_sent_again() {
    let world = World::with("issuer_url = \"{portal}\"").await;
    let daemon = world.daemon();
    world.log_in("acme");
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
    world.cloud.revoke_access_tokens();
    assert_eq!(
        ask(&daemon, "acme").await.status(),
        200,
        "{}",
        daemon.logged()
    );
    assert_eq!(world.cloud.counts().refreshes, 1);
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_outlives_a_restart_a_reload_and_is_taken_out_by_a_logout() {
    let world = World::with("issuer_url = \"{portal}\"").await;
    let daemon = world.daemon();
    world.log_in("acme");
    drop(daemon);
    let daemon = world.daemon();
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
    world.configure("issuer_url = \"{portal}\"\nheaders = [\"x-new: 1\"]");
    let (reloaded, report) = world.ctl(&["proxy", "reload", "--json"]);
    assert!(reloaded, "{report}");
    assert!(
        report.to_string().contains("providers.acme.headers"),
        "{report}"
    );
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
    let seen = world.cloud.requests();
    let headers = &seen.last().unwrap().headers;
    assert!(
        headers.iter().any(|(name, _)| name == "x-new"),
        "{headers:?}"
    );
    assert_eq!(world.cloud.counts().refresh_calls, 0);
    let (out, report) = world.ctl(&["auth", "logout", "acme", "--json"]);
    assert!(out, "{report}");
    assert_eq!(report["removed_from"], json!([world.store_file()]));
    assert_eq!(report["shared_with_hermes"], false);
    assert!(world.block("acme").is_null());
    assert_eq!(ask(&daemon, "acme").await.status(), 401);
}
