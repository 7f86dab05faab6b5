//! The users' programs: the official OpenAI SDKs on the daemon's port, and Hermes Agent on the
//! store that it shares with the daemon. See `tests/clients/README.md`.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper's failure is the test's"
)]

use std::process::Output;
use std::time::Duration;

use mock_cloud::Options;
use serde_json::{Value, json};
use support::hermes::{Hermes, clients, fingerprint, hermes_command, hermes_home, test_env};
use support::{Daemon, PATIENCE, World, chat, client, program};

pub(super) const CHECKS: [&str; 8] = [
    "chat",
    "streaming_chat",
    "broken_stream",
    "completions",
    "embeddings_base64",
    "embeddings_float",
    "models",
    "path_not_allowed",
];
const LOGIN_CHECKS: [&str; 2] = ["login_needed", "login_needed_streaming"];

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works() {
    assert_sdk_works("python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_works() {
    assert_sdk_works("node").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_tells_that_a_login_is_needed() {
    assert_sdk_tells_of_the_login("python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_tells_that_a_login_is_needed() {
    assert_sdk_tells_of_the_login("node").await;
}

/// On a provider that serves Chat Completions alone.
#[tokio::test(flavor = "multi_thread")]
async fn both_sdks_read_responses_that_are_translated() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[providers.nous]\ntranslate = true\n", &[]);
    for language in ["python", "node"] {
        let output = run_sdk(language, &daemon, &["--responses"]);
        assert_checks_pass(&output, &["responses", "streaming_responses"]);
    }
    let requests = world.cloud.requests();
    let chats = requests
        .iter()
        .filter(|seen| seen.target == "/v1/chat/completions");
    assert_eq!((chats.count(), requests.len()), (4, 4));
}

/// Both programs refresh the one login in turn. Each spends the token that the other one got: had
/// either missed a rotation, the cloud would have revoked the login.
#[tokio::test(flavor = "multi_thread")]
async fn hermes_and_the_daemon_refresh_one_login_in_turn() {
    let world = World::new(Options::default()).await;
    let planted = plant_unknown_fields(&world);
    let daemon = world.daemon_with("", &["--log-level", "debug"]);
    let app = App::new(&daemon);
    let mut hermes = Hermes::start(&world, &hermes_home(&world));

    for round in 0..12 {
        // Hermes Agent's turn. Sometimes the daemon's own token ends with it, so that a 401
        // makes it look; sometimes nothing does, and it has to notice the store's change.
        let noticed_by_401 = round % 4 != 0;
        if noticed_by_401 {
            world.cloud.revoke_access_tokens();
        }
        let force = if round % 3 == 2 {
            "pool-force"
        } else {
            "force"
        };
        let taken = hermes.step(force);
        assert_eq!(taken.refresh_token, current(&world), "{round}: {taken:?}");
        let refreshes = world.cloud.counts().refreshes;
        if noticed_by_401 {
            app.ask().await;
        } else {
            app.ask_until(&world, &taken.access_token).await;
        }
        assert_eq!(
            last_bearer(&world),
            taken.access_token,
            "{round}: the daemon adopts"
        );
        assert_eq!(
            world.cloud.counts().refreshes,
            refreshes,
            "{round}: and refreshes nothing"
        );

        // The daemon's turn. Not every time for a refusal's sake: it holds up too many in a row.
        if round % 3 == 0 {
            world.cloud.revoke_access_tokens();
        } else {
            daemon.renew().await;
        }
        app.ask().await;
        assert_eq!(
            world.cloud.counts().refreshes,
            refreshes + 1,
            "{round}: it refreshes"
        );
        let seen = hermes.step(if round % 3 == 1 { "pool" } else { "resolve" });
        assert_eq!(seen.access_token, last_bearer(&world), "{round}: {seen:?}");
        assert_eq!(seen.refresh_token, current(&world), "{round}: {seen:?}");
        assert_eq!(
            world.cloud.counts().refreshes,
            refreshes + 1,
            "{round}: and Hermes doesn't"
        );
    }
    assert_eq!(world.cloud.counts().refreshes, 24);
    assert_login_is_whole(&world, &daemon);
    assert_kept(&planted, &world.store(), "auth.json");
}

/// Three of Hermes Agent force refreshes as fast as they can, while all that the daemon holds is
/// revoked again and again under a load of requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_refreshers_loses_no_login() {
    assert_a_crowd_loses_no_login(".hermes").await;
}

/// The same from within a profile, whose own lock the others don't take.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_outside_of_the_daemons_profile_loses_no_login() {
    assert_a_crowd_loses_no_login(".hermes/profiles/work").await;
}

async fn assert_a_crowd_loses_no_login(daemons_home: &str) {
    let world = World::new(Options::default()).await;
    let planted = plant_unknown_fields(&world);
    let daemons_home = world.home.path().join(daemons_home);
    std::fs::create_dir_all(&daemons_home).unwrap();
    let mut command = world.command(&["--log-level", "debug"]);
    command.env("HERMES_HOME", &daemons_home);
    let daemon = Daemon::start(command, world.home.path());
    let app = App::new(&daemon);
    let mut crowd = [(); 3].map(|()| Hermes::start(&world, &hermes_home(&world)));
    for one in &mut crowd {
        one.step("resolve");
    }
    for (one, step) in crowd.iter_mut().zip(["force", "force", "pool-force"]) {
        one.give(&[step; 8]);
    }

    let mut turns = 0;
    while crowd.iter_mut().any(Hermes::is_at_work) {
        turns += 1;
        // The daemon holds up too many rotations in a row that refusals cause.
        if turns <= 3 {
            world.cloud.revoke_access_tokens();
        } else {
            daemon.renew().await;
        }
        let four = futures_util::future::join_all([(); 4].map(|()| app.status_of_a_chat())).await;
        // The token that is adopted after a 401 may have been revoked in the same moment: then the
        // provider's second 401 is final. The next request must get over it.
        for status in four {
            assert!(matches!(status, 200 | 401), "{}", daemon.logged());
        }
        app.ask().await;
    }
    // What they left may be adopted first; in the end the daemon has to refresh on its own.
    world.cloud.revoke_access_tokens();
    app.status_of_a_chat().await;
    app.ask().await;
    for mut one in crowd {
        assert_eq!(one.rest().len(), 8);
    }
    daemon.wait_for_log(r#""result":"Refreshed""#);
    let refreshes = world.cloud.counts().refreshes;
    let ours = daemon.logged().matches(r#""result":"Refreshed""#).count() as u64;
    let theirs = refreshes - ours;
    assert!(ours > 0 && theirs >= 16, "{ours} and {theirs}");
    assert_login_is_whole(&world, &daemon);
    assert_kept(&planted, &world.store(), "auth.json");
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_proxy_status_is_ready_after_the_daemons_refresh() {
    let world = World::new(Options::default()).await;
    let mut planted = plant_unknown_fields(&world);
    // Hermes Agent itself keeps nothing at these two places.
    planted["providers"]["nous"]["tls"]["x-tls"] = json!([1]);
    planted["credential_pool"]["nous"][0]["x-entry"] = json!({"b": 1, "a": 2});
    write_store(&world, &planted);
    let daemon = world.daemon();
    let app = App::new(&daemon);
    world.cloud.revoke_access_tokens();
    app.ask().await;
    assert_eq!(world.cloud.counts().refreshes, 1);
    assert_kept(&planted, &world.store(), "auth.json");

    let hermes = test_env("hermes").join("hermes/bin/hermes");
    let output = hermes_command(&hermes, &world, &hermes_home(&world))
        .args(["proxy", "status"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("[nous    ] Nous Portal — ready"),
        "{output:?}"
    );
    assert_eq!(
        world.cloud.counts().refresh_calls,
        1,
        "Hermes had no need to refresh"
    );
    assert_login_is_whole(&world, &daemon);
}

/// A profile without a login of its own uses the global one, and rotations go back there.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_without_a_login_shares_the_global_one() {
    for own_store in [
        None,
        Some(r#"{"version": 1, "providers": {"other": {"x": 1}}}"#),
    ] {
        let world = World::new(Options::default()).await;
        let planted = plant_unknown_fields(&world);
        let profile = hermes_home(&world).join("profiles/work");
        std::fs::create_dir_all(&profile).unwrap();
        let file = profile.join("auth.json");
        if let Some(text) = own_store {
            std::fs::write(&file, text).unwrap();
        }
        let mut command = world.command(&["--log-level", "debug"]);
        command.env("HERMES_HOME", &profile);
        let daemon = Daemon::start(command, world.home.path());
        let app = App::new(&daemon);

        world.cloud.revoke_access_tokens();
        app.ask().await;
        assert_eq!(world.cloud.counts().refreshes, 1);
        let own = std::fs::read_to_string(&file).ok();
        assert_eq!(
            own.as_deref(),
            own_store,
            "the profile's store is left alone"
        );
        assert_login_is_whole(&world, &daemon);

        // Hermes Agent finds the daemon's token from the profile and from outside of it, and the
        // daemon finds that of the profile's Hermes Agent.
        for home in [&profile, &hermes_home(&world)] {
            let mut hermes = Hermes::start(&world, home);
            let seen = hermes.step("resolve");
            assert_eq!(seen.access_token, last_bearer(&world), "{home:?}");
            world.cloud.revoke_access_tokens();
            let taken = hermes.step("force");
            app.ask().await;
            assert_eq!(last_bearer(&world), taken.access_token, "{home:?}");
        }
        assert_eq!(world.cloud.counts().refreshes, 3);
        assert_login_is_whole(&world, &daemon);
        assert_kept(&planted, &world.store(), "auth.json");
    }
}

/// The program that learns that the login is dead writes it down; the other one believes it,
/// without sending the token once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_has_ended_is_over_for_both() {
    for daemon_learns_first in [false, true] {
        let world = World::new(Options::default()).await;
        let daemon = world.daemon_with("", &["--log-level", "debug"]);
        let app = App::new(&daemon);
        app.ask().await;
        let mut hermes = Hermes::start(&world, &hermes_home(&world));
        hermes.step("resolve");

        world.cloud.revoke(world.family());
        world.cloud.revoke_access_tokens();
        let step = if daemon_learns_first {
            app.chat().await;
            "resolve"
        } else {
            "force"
        };
        let failure = hermes.answer(step);
        assert_eq!(failure["ok"], false, "{failure}");
        assert_eq!(failure["relogin_required"], true, "{failure}");
        // The first request's 401 makes the daemon look.
        app.chat().await;
        let refused = app.chat().await;
        assert_eq!(refused.status(), 401);
        assert_eq!(refused.headers()["x-hermes-error"], "upstream_auth_failed");
        let body: Value = refused.json().await.unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("hermesctl auth login nous"), "{message}");
        assert_eq!(world.cloud.counts().refresh_calls, 1, "one of the two asks");

        // A new login is noticed without a restart, and serves both.
        let login = world.cloud.login();
        world
            .cloud
            .write_hermes_home(&hermes_home(&world), &login)
            .unwrap();
        let deadline = tokio::time::timeout(PATIENCE, async {
            while app.chat().await.status() != 200 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(deadline.await.is_ok(), "{}", daemon.logged());
        let seen = hermes.step("resolve");
        assert_eq!(seen.access_token, last_bearer(&world));
        assert_eq!(world.cloud.counts().refresh_calls, 1);
        world.assert_no_secret_in("the daemon's log", &daemon.logged());
    }
}

async fn assert_sdk_works(language: &str) {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    assert_checks_pass(&run_sdk(language, &daemon, &[]), &CHECKS);
    let requests = world.cloud.requests();
    assert_eq!(
        requests.len(),
        CHECKS.len() - 1,
        "the last one is not the provider's"
    );
    let ours = format!("Bearer {}", world.login.access_token);
    for seen in requests {
        assert_eq!(seen.header("authorization"), [&ours], "{}", seen.target);
    }
    world.assert_no_secret_in("the daemon's log", &daemon.logged());
}

async fn assert_sdk_tells_of_the_login(language: &str) {
    let world = World::new(Options::default()).await;
    std::fs::remove_file(world.store_file()).unwrap();
    let daemon = world.daemon();
    let output = run_sdk(language, &daemon, &["--expect-login-needed"]);
    assert_checks_pass(&output, &LOGIN_CHECKS);
    assert_eq!(world.cloud.counts().requests, 0);
}

pub(super) fn run_sdk(language: &str, daemon: &Daemon, flags: &[&str]) -> Output {
    let env = test_env(language);
    let (binary, script) = match language {
        "python" => ("python/bin/python", "python/openai_client.py"),
        _ => ("node/bin/node", "node/openai_client.mjs"),
    };
    program(env.join(binary), &daemon.home)
        .env("HERMES_TEST_ENV", &env)
        .arg(clients().join(script))
        .arg(&daemon.base)
        .args(flags)
        .output()
        .unwrap()
}

pub(super) fn assert_checks_pass(output: &Output, checks: &[&str]) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let wanted: Vec<_> = checks.iter().map(|check| format!("ok {check}")).collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), wanted, "{output:?}");
    assert!(output.status.success(), "{output:?}");
}

/// The fingerprint of the one refresh token that is good.
fn current(world: &World) -> String {
    fingerprint(&world.cloud.current_refresh_token(world.family()).unwrap())
}

/// The fingerprint of what the daemon last sent upstream.
fn last_bearer(world: &World) -> String {
    let requests = world.cloud.requests();
    let sent = requests.last().unwrap().header("authorization");
    fingerprint(sent[0].strip_prefix("Bearer ").unwrap())
}

/// An app that uses the daemon.
struct App<'a> {
    client: reqwest::Client,
    daemon: &'a Daemon,
}

impl<'a> App<'a> {
    fn new(daemon: &'a Daemon) -> Self {
        Self {
            client: client(),
            daemon,
        }
    }

    /// A request that must be served.
    async fn ask(&self) {
        let status = self.status_of_a_chat().await;
        assert_eq!(status, 200, "{}", self.daemon.logged());
    }

    /// The status of a chat; fails if the error is the daemon's own.
    async fn status_of_a_chat(&self) -> u16 {
        let answer = self.chat().await;
        let error = answer.headers().get("x-hermes-error");
        assert_eq!(error, None, "{}", self.daemon.logged());
        let status = answer.status().as_u16();
        answer.bytes().await.unwrap();
        status
    }

    async fn chat(&self) -> reqwest::Response {
        let request = self.client.post(self.daemon.url("/chat/completions"));
        let request = request.json(&chat("x")).timeout(PATIENCE);
        request.send().await.unwrap()
    }

    /// Asks until the daemon uses the access token with this fingerprint.
    async fn ask_until(&self, world: &World, access_token: &str) {
        let adopted = async {
            loop {
                self.ask().await;
                if last_bearer(world) == access_token {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, adopted).await;
        assert!(done.is_ok(), "not adopted:\n{}", self.daemon.logged());
    }
}

/// The login lives, each place holds its current token, and the daemon sent no notice.
fn assert_login_is_whole(world: &World, daemon: &Daemon) {
    let counts = world.cloud.counts();
    assert_eq!(counts.reuse_events, 0, "{counts:?}");
    assert!(world.cloud.is_alive(world.family()));
    let store = world.store();
    let text = std::fs::read_to_string(hermes_home(world).join("shared/nous_auth.json")).unwrap();
    let shared: Value = serde_json::from_str(&text).unwrap();
    let pool = &store["credential_pool"]["nous"][0];
    let login = &store["providers"]["nous"];
    for (place, holder) in [("login", login), ("pool", pool), ("mirror", &shared)] {
        let token = holder["refresh_token"].as_str().unwrap();
        assert_eq!(fingerprint(token), current(world), "{place}");
    }
    world.assert_no_secret_in("the daemon's log", &daemon.logged());
    assert_eq!(daemon.status()["providers"][0]["last_error"], Value::Null);
}

/// Puts unknown fields into the store, at several levels, between known ones and with contents that
/// are easily changed. Returns the resulting store.
fn plant_unknown_fields(world: &World) -> Value {
    let odd =
        json!({"z": 1.5e300, "a": [null, "ü\u{1f600}\\\"", {"y": 9_007_199_254_740_993_u64}]});
    let mut store = json!({"x-first": odd});
    for (key, value) in world.store().as_object().unwrap() {
        store[key] = value.clone();
        store[format!("x-after-{key}")] = json!(key);
    }
    let login = store["providers"]["nous"].take();
    store["providers"]["nous"] = json!({"x-login": odd});
    for (key, value) in login.as_object().unwrap() {
        store["providers"]["nous"][key] = value.clone();
        store["providers"]["nous"][format!("x-after-{key}")] = json!(key);
    }
    store["providers"]["x-provider"] = json!({"tokens": {"refresh_token": "theirs", "b": odd}});
    store["credential_pool"]["x-provider"] = json!([{"id": "1", "x": odd}]);
    write_store(world, &store);
    store
}

fn write_store(world: &World, store: &Value) {
    let text = serde_json::to_string_pretty(store).unwrap();
    std::fs::write(world.store_file(), text).unwrap();
}

/// Whatever the store held is still there, in its order; what was unknown is unchanged.
fn assert_kept(before: &Value, after: &Value, place: &str) {
    let known = |object: &Value| {
        let keys = object.as_object().unwrap().keys();
        keys.filter(|key| before.get(key).is_some())
            .cloned()
            .collect::<Vec<_>>()
    };
    match before {
        Value::Object(fields) => {
            assert_eq!(known(after), known(before), "{place}");
            for (key, value) in fields {
                let place = format!("{place}: {key}");
                if key.starts_with("x-") {
                    assert_eq!(&after[key], value, "{place}");
                }
                assert_kept(value, &after[key], &place);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                assert_kept(item, &after[index], &format!("{place}: {index}"));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
