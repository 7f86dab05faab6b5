//! Logging in and out with the real programs against the mock portal: through the daemon, and
//! without one.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, ExitStatus, Output, Stdio};
use std::time::Duration;

use hermes_proxy::clock::{Clock, SystemClock};
use mock_cloud::{Canned, Endpoint, Options, PortalFault};
use serde_json::{Value, json};
use support::environment::skipped;
use support::{Daemon, PATIENCE, World, chat, client, post, program};
use tokio::task::JoinSet;

fn run(world: &World, args: &[&str]) -> Output {
    world.hermesctl(args).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn own_store(world: &World) -> PathBuf {
    let state = world.home.path().join(".local/state/hermes-proxyd");
    state.join("auth.json")
}

fn block(file: &std::path::Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    document["providers"]["nous"].clone()
}

/// `hermesctl auth login --json` while it waits.
struct Login {
    child: Child,
    lines: BufReader<ChildStdout>,
    code: Value,
}

impl Drop for Login {
    /// A test that is over leaves nothing that waits.
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Login {
    fn begin(world: &World, flags: &[&str]) -> Self {
        let mut command = world.hermesctl(&["auth", "login", "nous", "--json"]);
        let mut child = command
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut login = Self {
            child,
            lines,
            code: Value::Null,
        };
        login.code = login.line()["code"].clone();
        login
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| {
            let mut errors = String::new();
            let stderr = self.child.stderr.take().unwrap();
            std::io::Read::read_to_string(&mut { stderr }, &mut errors).unwrap();
            panic!("{error}: {line:?} {errors}")
        })
    }

    fn user_code(&self) -> &str {
        self.code["user_code"].as_str().unwrap()
    }

    fn end(mut self) -> (Value, ExitStatus) {
        let line = self.line();
        (line, self.child.wait().unwrap())
    }
}

/// Logs in and says yes.
fn log_in(world: &World, flags: &[&str]) -> Value {
    let login = Login::begin(world, flags);
    world.cloud.approve(login.user_code());
    let (end, status) = login.end();
    assert!(status.success(), "{end}");
    end["done"].clone()
}

async fn assert_serves(daemon: &Daemon) {
    let answer = post(daemon, &chat("x")).await;
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_through_the_daemon_serves_at_once_and_is_hermes_agents_too() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
    let done = log_in(&world, &[]);
    assert_serves(&daemon).await;
    assert_eq!(done["store"], json!(world.store_file()));
    assert_eq!(done["separate"], false);
    let stored = block(&world.store_file());
    let (access, refresh) = (&stored["access_token"], &stored["refresh_token"]);
    assert!(access.is_string() && refresh.is_string());
    // What Hermes Agent writes at a login of its own.
    assert_eq!(&stored["agent_key"], access);
    assert_eq!(stored["client_id"], "hermes-cli");
    assert_eq!(stored["portal_base_url"], "https://portal.nousresearch.com");
    let mirror = world.home.path().join(".hermes/shared/nous_auth.json");
    let mirror: Value = serde_json::from_slice(&std::fs::read(mirror).unwrap()).unwrap();
    assert_eq!(&mirror["refresh_token"], refresh);
    // Thirty days from now.
    let status = daemon.status();
    let login = &status["providers"][0]["login"];
    let days = login["ends_in_seconds"].as_i64().unwrap() / 86_400;
    assert!((29..=30).contains(&days), "{login}");
    let counts = world.cloud.counts();
    assert_eq!((counts.early_polls, counts.reuse_events), (0, 0));
    world.assert_no_secret_in("the log", &daemon.logged());
    world.assert_no_secret_in("status", &status.to_string());
    world.assert_no_secret_in("the end", &done.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_daemon_is_there_when_it_starts() {
    let world = World::without_a_login().await;
    log_in(&world, &[]);
    let status = run(&world, &["auth", "status", "--json"]);
    assert!(status.status.success(), "{status:?}");
    let before = world.cloud.counts();
    let daemon = world.daemon();
    assert_serves(&daemon).await;
    assert_eq!(world.cloud.counts().refresh_calls, before.refresh_calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_there_is_used_and_no_second_one_is_made() {
    let world = World::new(Options::default()).await;
    for with_daemon in [false, true] {
        let daemon = with_daemon.then(|| world.daemon());
        let output = run(&world, &["auth", "login", "nous", "--json"]);
        assert!(output.status.success(), "{output:?}");
        let existing = &json_of(&output)["existing"];
        assert_eq!(existing["store"], json!(world.store_file()));
        assert_eq!(existing["separate"], false);
        drop(daemon);
    }
    assert_eq!(world.cloud.counts().refresh_calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_only_the_mirror_holds_is_taken_over() {
    let world = World::new(Options::default()).await;
    let store = block(&world.store_file());
    let shared = world.home.path().join(".hermes/shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("nous_auth.json"), store.to_string()).unwrap();
    std::fs::remove_file(world.store_file()).unwrap();
    let output = run(&world, &["auth", "login", "nous", "--json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        json_of(&output)["existing"]["adopted"],
        true,
        "it was not there before"
    );
    assert_eq!(
        json_of(&output)["existing"]["store"],
        json!(world.store_file())
    );
    assert!(world.cloud.is_alive(world.family()));
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(block(&world.store_file())["refresh_token"], current);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_separate_login_lies_in_a_store_that_nobody_else_writes() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let hermes = block(&world.store_file());
    let done = log_in(&world, &["--separate"]);
    assert_eq!(done["store"], json!(own_store(&world)));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(own_store(&world)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert_serves(&daemon).await;
    // Refreshed, it is still ours alone.
    let refreshed = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(json_of(&refreshed)["result"], "refreshed", "{refreshed:?}");
    assert_eq!(
        block(&world.store_file()),
        hermes,
        "Hermes Agent's login was touched"
    );
    assert!(
        !world
            .home
            .path()
            .join(".hermes/shared/nous_auth.json")
            .exists()
    );
    // Hermes Agent's login may even end.
    world.cloud.revoke(world.family());
    assert_serves(&daemon).await;

    // Logged out, Hermes Agent's is used again.
    let output = run(&world, &["auth", "logout", "--json"]);
    let report = json_of(&output);
    assert_eq!(
        report["removed_from"],
        json!([own_store(&world)]),
        "{output:?}"
    );
    assert_eq!(report["shared_with_hermes"], false);
    assert_eq!(report["still_logged_in"], json!(world.store_file()));
    assert!(block(&own_store(&world)).is_null());
}

/// What is used next is not known, and that is no reason to go on with what was removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_separate_login_is_out_of_use_at_once_though_the_next_one_can_not_be_read() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    log_in(&world, &["--separate"]);
    assert_serves(&daemon).await;
    std::fs::remove_file(world.store_file()).unwrap();
    let nothing = world.home.path().join("unmounted/auth.json");
    std::os::unix::fs::symlink(nothing, world.store_file()).unwrap();
    let output = run(&world, &["auth", "logout", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let report = json_of(&output);
    assert_eq!(report["removed_from"], json!([own_store(&world)]));
    assert_eq!(report["still_logged_in"], Value::Null);
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.status(), 503, "{}", daemon.logged());
    assert!(answer.text().await.unwrap().contains("auth.json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_takes_the_login_out_of_every_file_and_asks_before() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    let asked = run(&world, &["auth", "logout"]);
    assert!(!asked.status.success(), "{asked:?}");
    assert_serves(&daemon).await;

    let output = run(&world, &["auth", "logout", "--yes", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let report = json_of(&output);
    let mirror = world.home.path().join(".hermes/shared/nous_auth.json");
    assert_eq!(report["removed_from"], json!([world.store_file(), mirror]));
    assert_eq!(report["shared_with_hermes"], true);
    let text = std::fs::read_to_string(world.store_file()).unwrap();
    world.assert_no_secret_in("the store", &text);
    assert!(!mirror.exists());
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(run(&world, &["auth", "status"]).status.code(), Some(4));
    // Nothing died: the user has said so.
    assert!(
        !daemon.logged().contains("login_ended"),
        "{}",
        daemon.logged()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_on_request_spends_one_token_with_and_without_a_daemon() {
    let world = World::new(Options::default()).await;
    let output = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(json_of(&output)["result"], "refreshed", "{output:?}");
    let daemon = world.daemon();
    let output = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(json_of(&output)["result"], "refreshed", "{output:?}");
    assert_serves(&daemon).await;
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refreshes, counts.reuse_events, counts.unauthorized),
        (2, 0, 0)
    );

    world
        .cloud
        .break_portal(Endpoint::Refresh, PortalFault::Answer(Canned::status(503)));
    let output = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(json_of(&output)["result"], "failed");
    assert_serves(&daemon).await;
    world.cloud.heal();
    world.cloud.revoke(world.family());
    let output = run(&world, &["auth", "refresh", "--json"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(json_of(&output)["result"], "rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_without_a_login_says_so_and_asks_nobody() {
    let world = World::without_a_login().await;
    let assert_told = || {
        let output = run(&world, &["auth", "refresh", "--json"]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert_eq!(json_of(&output)["result"], "no_login");
        let output = run(&world, &["auth", "refresh"]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("nous has no login to renew"), "{said}");
        assert!(said.contains("`hermesctl auth login nous`"), "{said}");
        assert!(!said.contains("refused"), "{said}");
    };
    assert_told();
    let _daemon = world.daemon();
    assert_told();
    assert!(world.cloud.calls().is_empty());
}

/// RFC 6761 §6.4: nobody has a name in `.invalid`.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_network_names_the_host_and_what_looks_further() {
    let world = World::without_a_login().await;
    let mut command = world.hermesctl(&["auth", "login", "nous"]);
    command.env("HERMES_PORTAL_BASE_URL", "https://portal.invalid");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    for says in [
        "Can't reach portal.invalid: its name can't be resolved; are you offline?",
        "`hermesctl doctor`",
        "hermesctl auth login nous",
    ] {
        assert!(said.contains(says), "{said}");
    }
    assert!(!said.contains("client error"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_or_runs_out_says_so_and_changes_nothing() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    let login = Login::begin(&world, &[]);
    world.cloud.deny(login.user_code());
    let (end, status) = login.end();
    assert_eq!(
        (end["error"]["code"].as_str(), status.code()),
        (Some("login_denied"), Some(1))
    );

    let login = Login::begin(&world, &[]);
    world.cloud.advance(Duration::from_hours(1));
    let (end, status) = login.end();
    assert_eq!(
        (end["error"]["code"].as_str(), status.code()),
        (Some("login_expired"), Some(1))
    );
    assert!(!world.store_file().exists());
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_login_and_a_late_yes_logs_nobody_in() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    let login = Login::begin(&world, &[]);
    let pid = rustix::process::Pid::from_raw(login.child.id().try_into().unwrap());
    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::INT).unwrap();
    let code = login.user_code().to_owned();
    let (end, status) = login.end();
    assert_eq!(status.code(), Some(130), "{end}");
    world.cloud.approve(&code);
    let polls = world.cloud.counts().device_polls;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        world.cloud.counts().device_polls,
        polls,
        "it is still polled"
    );
    assert!(!world.store_file().exists());
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_and_a_slow_portal_do_not_end_a_login() {
    let world = World::without_a_login().await;
    let faults = [
        PortalFault::Answer(Canned::oauth_error(400, "slow_down", "polled too early")),
        PortalFault::Answer(Canned::edge_block()),
        PortalFault::Answer(Canned::status(502)),
        PortalFault::Answer(Canned::status(429).header("retry-after", "1")),
        PortalFault::DropBeforeCommit,
    ];
    let _daemon = world.daemon();
    // One each, so that the test does not wait for the sum of all backoffs.
    let logins: Vec<_> = faults
        .into_iter()
        .map(|fault| {
            world.cloud.fail_portal(Endpoint::DevicePoll, 1, &fault);
            let polls = world.cloud.counts().device_polls;
            let login = Login::begin(&world, &["--separate", "--force"]);
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while world.cloud.counts().device_polls == polls {
                assert!(tokio::time::Instant::now() < deadline, "no poll");
                std::thread::yield_now();
            }
            world.cloud.approve(login.user_code());
            login
        })
        .collect();
    for login in logins {
        let (end, status) = login.end();
        assert!(status.success(), "{end}");
    }
    assert_eq!(world.cloud.counts().early_polls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_can_not_be_written_is_told_before_the_user_is_sent_anywhere() {
    let world = World::without_a_login().await;
    std::fs::write(world.home.path().join(".hermes"), "in the way").unwrap();
    let output = run(&world, &["auth", "login", "nous", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error = json_of(&output)["error"].clone();
    assert_eq!(error["code"], "store_unusable", "{error}");
    assert!(
        error["message"].as_str().unwrap().contains(".hermes"),
        "{error}"
    );
    assert_eq!(world.cloud.calls().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_login_is_told_to_the_hooks_and_a_new_one_too() {
    let world = World::new(Options::default()).await;
    let told = world.home.path().join("told");
    let config = format!(
        "[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n\
         [[hooks]]\nurl = \"http://127.0.0.1:9/dead\"\ntimeout = \"1s\"\n",
        told.display()
    );
    let daemon = world.daemon_with(&config, &[]);
    world.cloud.revoke(world.family());
    post(&daemon, &chat("x")).await;
    let events = || -> Vec<Value> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    let wait_for = |count: usize| {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while events().len() < count {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{:?} {}",
                events(),
                daemon.logged()
            );
            std::thread::yield_now();
        }
        events()
    };
    let event = wait_for(1).remove(0);
    assert_eq!(event["event"], "login_ended", "{event}");
    assert_eq!(event["command"], "hermesctl auth login nous");
    let line = daemon.wait_for_log("login_ended");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["message_id"].as_str().unwrap().len(), 32);
    for _ in 0..5 {
        assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
    }
    log_in(&world, &[]);
    assert_serves(&daemon).await;
    let events = wait_for(2);
    assert_eq!(
        (events.len(), &events[1]["event"]),
        (2, &json!("login_restored"))
    );
    world.assert_no_secret_in("the hook's input", &json!(events).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_ends_soon_is_told_everywhere_before() {
    let world = World::new(Options::default()).await;
    let mut store = world.store();
    let clock: &dyn hermes_proxy::clock::Clock = &hermes_proxy::clock::SystemClock;
    let login_at = clock.now() - chrono::Duration::days(26);
    store["providers"]["nous"]["hermes_proxyd"] = json!({"login_at": login_at.to_rfc3339()});
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let daemon = world.daemon();
    let line: Value = serde_json::from_str(&daemon.wait_for_log("login_ends_soon")).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["command"], "hermesctl auth login nous --force");
    let get = async |path: &str| {
        let answer = client()
            .get(format!("{}{path}", daemon.origin()))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, ready) = get("/readyz").await;
    assert!(
        status == 200 && ready.contains("hermesctl auth login nous --force"),
        "{ready}"
    );
    let health: Value = serde_json::from_str(&get("/health").await.1).unwrap();
    assert_eq!(
        (&health["login"]["ends_soon"], &health["login"]["saved"]),
        (&json!(true), &json!(true))
    );
    let login = &daemon.status()["providers"][0]["login"];
    assert_eq!(login["ends_soon"], true);
    let text = String::from_utf8(world.ctl(&["proxy", "status"]).stdout).unwrap();
    assert!(text.contains("hermesctl auth login"), "{text}");

    // A new login before the end, without a gap.
    log_in(&world, &["--force"]);
    assert_eq!(daemon.status()["providers"][0]["login"]["ends_soon"], false);
    assert_serves(&daemon).await;
    assert_eq!(
        daemon.logged().matches("login_ends_soon").count(),
        1,
        "{}",
        daemon.logged()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_put_back_from_a_backup_does_not_end_the_login() {
    let world = World::new(Options::default()).await;
    let backup = std::fs::read(world.store_file()).unwrap();
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    std::fs::write(world.store_file(), backup).unwrap();
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while block(&world.store_file())["refresh_token"] != current {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_separate_login_that_ends_gives_way_to_hermes_agents_and_a_logout_spares_that_one() {
    let world = World::new(Options::default()).await;
    let told = world.home.path().join("told");
    let hook = format!(
        "[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n",
        told.display()
    );
    let daemon = world.daemon_with(&hook, &[]);
    log_in(&world, &["--separate"]);
    let hermes = block(&world.store_file());
    let own = block(&own_store(&world))["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let family = world.cloud.family_of(&own).unwrap();
    world.cloud.revoke(family);
    // The first request learns of the end; the next ones are Hermes Agent's login's.
    let first = post(&daemon, &chat("x")).await.status();
    assert!(first == 200 || first == 401, "{first}");
    assert_serves(&daemon).await;
    let line: Value = serde_json::from_str(&daemon.wait_for_log("login_ended")).unwrap();
    assert_eq!(line["command"], "hermesctl auth login nous --separate");
    let login = daemon.status()["providers"][0]["login"].clone();
    assert_eq!(
        (&login["separate"], &login["store"]),
        (&json!(false), &json!(world.store_file()))
    );
    // Whoever wants the ended one out is asked about the living one.
    let output = run(&world, &["auth", "logout", "nous"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(block(&world.store_file()), hermes);
    assert_serves(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_login_that_can_not_be_saved_survives_the_daemons_end() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let home = world.home.path().join(".hermes");
    // The folder goes away while the token is being spent.
    let slow = PortalFault::DelayAfterCommit(Duration::from_millis(500));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
    world.cloud.revoke_access_tokens();
    let mut asking = JoinSet::new();
    asking.spawn(
        client()
            .post(daemon.url("/chat/completions"))
            .json(&chat("x"))
            .send(),
    );
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
        .await;
    let aside = world.home.path().join("aside");
    std::fs::rename(&home, &aside).unwrap();
    std::fs::write(&home, "in the way").unwrap();
    assert_eq!(
        asking.join_next().await.unwrap().unwrap().unwrap().status(),
        200,
        "{}",
        daemon.logged()
    );
    daemon.wait_for_log("login_not_saved");
    daemon.kill();
    std::fs::remove_file(&home).unwrap();
    std::fs::rename(&aside, &home).unwrap();
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_ne!(block(&world.store_file())["refresh_token"], current);
    let daemon = world.daemon();
    assert_serves(&daemon).await;
    assert_eq!(block(&world.store_file())["refresh_token"], current);
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.reuse_events),
        (1, 0),
        "{}",
        daemon.logged()
    );
    let journal = world.home.path().join(".local/state/hermes-proxyd/journal");
    assert_eq!(
        std::fs::read_dir(journal).unwrap().count(),
        0,
        "the login lies about"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_a_mirror_that_are_both_dead_are_one_dead_login() {
    let world = World::new(Options::default()).await;
    let other = world.cloud.login();
    let shared = world.home.path().join(".hermes/shared");
    std::fs::create_dir(&shared).unwrap();
    let mirror = world.cloud.hermes_store(&other)["providers"]["nous"].clone();
    std::fs::write(shared.join("nous_auth.json"), mirror.to_string()).unwrap();
    world.cloud.revoke(world.family());
    world.cloud.revoke(other.family);
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while daemon.status()["providers"][0]["state"] != "login_needed" {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        post(&daemon, &chat("x")).await;
    }
    let calls = world.cloud.counts().refresh_calls;
    assert!(calls <= 2, "{calls} calls with two dead tokens");
    post(&daemon, &chat("x")).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.cloud.counts().refresh_calls, calls);
    assert!(block(&world.store_file())["refresh_token"].is_null());
    assert!(!shared.join("nous_auth.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_outlasts_a_reload_of_its_provider() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    let login = Login::begin(&world, &[]);
    world.write_config("[timeouts]\ncredential = \"11s\"\n");
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    world.cloud.approve(login.user_code());
    let (end, status) = login.end();
    assert!(status.success(), "{end}");
    assert_serves(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_before_another_programs_rotation_is_put_right_too() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    let backup = std::fs::read(world.store_file()).unwrap();
    // Another program rotates, as Hermes Agent does: the helper, told by nobody.
    let mirror = world.home.path().join(".hermes/shared/nous_auth.json");
    let old_mirror = std::fs::read(&mirror).unwrap();
    let alone = tempfile::tempdir().unwrap();
    let output = world
        .hermesctl(&["auth", "refresh", "--json"])
        .env("XDG_RUNTIME_DIR", alone.path())
        .output()
        .unwrap();
    assert_eq!(json_of(&output)["result"], "refreshed", "{output:?}");
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while daemon.status()["providers"][0]["last_refresh"]["result"] != "adopted" {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::write(world.store_file(), backup).unwrap();
    std::fs::write(&mirror, old_mirror).unwrap();
    while block(&world.store_file())["refresh_token"] != current {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

/// As in a container: a file that is mounted by itself can't be replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_mounted_by_itself_is_written_in_place() {
    if !rustix::process::geteuid().is_root() {
        skipped("a mount namespace needs root");
        return;
    }
    let world = World::new(Options::default()).await;
    let mut command = program("unshare", world.home.path());
    let script = "mount --bind \"$HOME/.hermes/auth.json\" \"$HOME/.hermes/auth.json\" && exec \"$0\" \"$@\"";
    command
        .args(["-m", "--propagation", "private", "sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_hermes-proxyd"))
        .args(["--port", "0", "--log-format", "json"])
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url());
    let daemon = Daemon::start(command, world.home.path());
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(
        block(&world.store_file())["refresh_token"],
        current,
        "{}",
        daemon.logged()
    );
    assert_eq!(daemon.status()["providers"][0]["unsaved"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_kept_beside_the_journal_gives_way_to_somebody_elses() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let home = world.home.path().join(".hermes");
    let slow = PortalFault::DelayAfterCommit(Duration::from_millis(500));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
    world.cloud.revoke_access_tokens();
    let mut asking = JoinSet::new();
    asking.spawn(
        client()
            .post(daemon.url("/chat/completions"))
            .json(&chat("x"))
            .send(),
    );
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
        .await;
    let aside = world.home.path().join("aside");
    std::fs::rename(&home, &aside).unwrap();
    std::fs::write(&home, "in the way").unwrap();
    asking.join_next().await.unwrap().unwrap().unwrap();
    daemon.wait_for_log("login_not_saved");
    daemon.kill();
    // Meanwhile the user logs in with Hermes Agent.
    std::fs::remove_file(&home).unwrap();
    let theirs = world.cloud.login();
    world.cloud.write_hermes_home(&home, &theirs).unwrap();
    let daemon = world.daemon();
    // And an answer is lost, which makes us look for what a killed process has left.
    let grace = PortalFault::DropBeforeCommit;
    world.cloud.fail_portal(Endpoint::Refresh, 1, &grace);
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    let current = world.cloud.current_refresh_token(theirs.family).unwrap();
    assert_eq!(block(&world.store_file())["refresh_token"], current);
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_written_half_is_finished_from_the_temporary_file() {
    let world = World::new(Options::default()).await;
    let whole = std::fs::read(world.store_file()).unwrap();
    let temporary = world
        .store_file()
        .with_file_name("auth.json.hermes-proxyd.killed");
    std::fs::write(&temporary, &whole).unwrap();
    std::fs::write(world.store_file(), &whole[..whole.len() / 2]).unwrap();
    let daemon = world.daemon();
    assert_serves(&daemon).await;
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(block(&world.store_file())["refresh_token"], current);
    assert!(!temporary.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_not_minted_in_a_loop_while_the_refresh_token_is_in_doubt() {
    let options = Options::default()
        .opaque_access_tokens(true)
        .grace(Duration::from_mins(1));
    let world = World::new(options).await;
    let unauthorized = PortalFault::Answer(Canned::status(401));
    world
        .cloud
        .fail_portal(Endpoint::AgentKey, 1, &unauthorized);
    let lost = PortalFault::AnswerAfterCommit(Canned::status(502));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &lost);
    let daemon = world.daemon();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while post(&daemon, &chat("x")).await.status() != 200 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let counts = world.cloud.counts();
    assert!(
        counts.mint_calls <= 3 && counts.refresh_calls <= 3,
        "{counts:?}\n{}",
        daemon.logged()
    );
    assert_eq!(counts.reuse_events, 0);
    assert_eq!(
        daemon.status()["providers"][0]["login"]["may_be_spent"],
        false
    );
}

/// The store after a rotation that reached the mirror alone: it has the spent tokens.
fn leave_the_store_behind(world: &World) {
    let before = std::fs::read(world.store_file()).unwrap();
    let output = run(world, &["auth", "refresh", "--json"]);
    assert!(output.status.success(), "{output:?}");
    std::fs::write(world.store_file(), before).unwrap();
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    let mirror = std::fs::read_to_string(world.mirror_file()).unwrap();
    assert!(mirror.contains(&current));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_takes_a_rotation_along_that_reached_the_mirror_alone() {
    let world = World::new(Options::default()).await;
    leave_the_store_behind(&world);
    let output = run(&world, &["auth", "logout", "--yes", "--json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        json_of(&output)["removed_from"],
        json!([world.store_file(), world.mirror_file()])
    );
    assert!(!world.mirror_file().exists());
    let login = Login::begin(&world, &[]);
    assert!(!login.user_code().is_empty(), "it is logged in already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_leaves_the_mirror_of_somebody_elses_older_login() {
    let world = World::new(Options::default()).await;
    world.write_mirror();
    let mut mirror: Value =
        serde_json::from_slice(&std::fs::read(world.mirror_file()).unwrap()).unwrap();
    mirror["refresh_token"] = json!("another-login");
    mirror["access_token"] = json!("another-token");
    mirror["obtained_at"] = json!("2020-01-01T00:00:00+00:00");
    std::fs::write(world.mirror_file(), mirror.to_string()).unwrap();
    let output = run(&world, &["auth", "logout", "--yes", "--json"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        json_of(&output)["removed_from"],
        json!([world.store_file()])
    );
    assert!(world.mirror_file().exists());
}

/// What hooks are told, one JSON object a line.
fn told(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.home.path().join("told")).unwrap_or_default();
    let lines = text.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn a_hook(world: &World) -> String {
    let file = world.home.path().join("told");
    format!(
        "[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n",
        file.display()
    )
}

async fn until_told(world: &World, daemon: &Daemon, event: &str) -> Value {
    let waiting = async {
        loop {
            if let Some(told) = told(world).into_iter().find(|told| told["event"] == event) {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, waiting).await;
    told.unwrap_or_else(|_| panic!("no {event}:\n{}", daemon.logged()))
}

async fn ready(daemon: &Daemon) -> (u16, String) {
    let request = client().get(format!("{}/readyz", daemon.origin()));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn spoil(file: &std::path::Path, how: &str) {
    let length = std::fs::read(file).unwrap().len();
    match how {
        "emptied" => std::fs::write(file, "").unwrap(),
        "cut" => {
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_len(length as u64 / 2).unwrap();
        }
        "full of NULs" => std::fs::write(file, vec![0; length]).unwrap(),
        "a folder" => {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        }
        how => panic!("{how}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_can_not_be_read_is_told_within_seconds() {
    for how in ["emptied", "cut", "full of NULs", "a folder"] {
        let world = World::new(Options::default()).await;
        let daemon = world.daemon_with(&a_hook(&world), &[]);
        assert_serves(&daemon).await;
        let whole = std::fs::read(world.store_file()).unwrap();
        spoil(&world.store_file(), how);
        let told = until_told(&world, &daemon, "login_unreadable").await;
        let message = told["message"].as_str().unwrap();
        assert!(message.contains("auth.json"), "{how}: {message}");
        // The token in memory serves on, and nothing else is left of the login.
        assert_serves(&daemon).await;
        let (status, text) = ready(&daemon).await;
        assert_eq!(status, 503, "{how}: {text}");
        assert!(text.contains("auth.json"), "{how}: {text}");
        let status = world.ctl(&["proxy", "status", "--json"]);
        assert_eq!(status.status.code(), Some(1), "{how}: {status:?}");
        let error = &json_of(&status)["providers"][0]["last_error"];
        assert_eq!(error["code"], "store_unreadable", "{how}");
        let login = run(&world, &["auth", "login", "nous", "--json"]);
        assert!(!login.status.success(), "{how}: {login:?}");
        let hint = json_of(&login)["error"]["hint"].clone();
        let hint = hint.as_str().unwrap();
        assert!(
            hint.contains("mv ") && hint.contains("auth.json"),
            "{how}: {hint}"
        );

        // The command is followed, the whole file comes back.
        let aside = world.home.path().join("aside");
        std::fs::rename(world.store_file(), aside).unwrap();
        std::fs::write(world.store_file(), whole).unwrap();
        until_told(&world, &daemon, "login_restored").await;
        assert_eq!(ready(&daemon).await.0, 200, "{how}");
        assert!(world.ctl(&["proxy", "status"]).status.success());
        assert_eq!(world.cloud.counts().refresh_calls, 0, "{how}");
    }
}

/// What `sudo hermes` leaves. An ordinary user's test, who can give nothing away, closes the file.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_belongs_to_somebody_else_is_told_with_the_command_that_takes_it_back() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    let world = World::new(Options::default()).await;
    world.write_config(&a_hook(&world));
    let (mut command, mut login) = (
        world.command(&[]),
        world.hermesctl(&["auth", "login", "nous", "--json"]),
    );
    let root = rustix::process::geteuid().is_root();
    if root {
        let given = support::environment::tool("chown")
            .arg("-R")
            .arg(format!("{SOMEBODY}:{SOMEBODY}"))
            .arg(world.home.path())
            .status();
        assert!(given.unwrap().success());
        command.uid(SOMEBODY).gid(SOMEBODY);
        login.uid(SOMEBODY).gid(SOMEBODY);
    }
    let daemon = Daemon::start(command, world.home.path());
    assert_serves(&daemon).await;
    let store = world.store_file();
    let hint = if root {
        chown(&store, Some(0), Some(0)).unwrap();
        format!("sudo chown -h {SOMEBODY} {}", store.display())
    } else {
        std::fs::set_permissions(&store, PermissionsExt::from_mode(0o000)).unwrap();
        format!("chmod u+rwX {}", store.display())
    };
    let told = until_told(&world, &daemon, "login_unreadable").await;
    assert_eq!(told["command"], hint);
    assert_eq!(world.ctl(&["proxy", "status"]).status.code(), Some(1));
    let (status, text) = ready(&daemon).await;
    assert!(status == 503 && text.contains(&hint), "{status} {text}");
    let login = login.output().unwrap();
    let error = json_of(&login)["error"].clone();
    assert!(
        error["hint"].as_str().unwrap().contains(&hint),
        "{error}: {}",
        daemon.logged()
    );
    if root {
        chown(&store, Some(SOMEBODY), None).unwrap();
    } else {
        std::fs::set_permissions(&store, PermissionsExt::from_mode(0o600)).unwrap();
    }
    until_told(&world, &daemon, "login_restored").await;
    assert_eq!(ready(&daemon).await.0, 200);
}

/// As a hook or the log tells it, without anything around it.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_that_is_told_brings_a_broken_store_back_from_the_mirror() {
    let world = World::new(Options::default()).await;
    world.write_mirror();
    spoil(&world.store_file(), "cut");
    let daemon = world.daemon_with(&a_hook(&world), &[]);
    let told = until_told(&world, &daemon, "login_unreadable").await;
    let command = told["command"].as_str().unwrap();
    let (aside, login) = command.split_once(" && ").unwrap();
    assert_eq!(login, "hermesctl auth login nous");
    let moved = program("sh", world.home.path())
        .args(["-c", aside])
        .status();
    assert!(moved.unwrap().success(), "{aside}");
    let login = run(&world, &["auth", "login", "nous", "--json"]);
    assert!(login.status.success(), "{login:?}");
    assert_serves(&daemon).await;
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(block(&world.store_file())["refresh_token"], current);
    until_told(&world, &daemon, "login_restored").await;
}

/// A grant ends thirty days after the login, also when its file could not be read for a moment: the
/// mirror does not know when that was.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_keeps_its_age_while_its_store_can_not_be_read() {
    for started in ["before", "after"] {
        let world = World::new(Options::default()).await;
        let text = std::fs::read_to_string(world.store_file()).unwrap();
        let mut store: Value = serde_json::from_str(&text).unwrap();
        let since = SystemClock.now() - chrono::Duration::days(20);
        let since = since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        store["providers"]["nous"]["hermes_proxyd"] = serde_json::json!({ "login_at": since });
        let whole = store.to_string();
        std::fs::write(world.store_file(), &whole).unwrap();
        world.write_mirror();
        let daemon = (started == "before").then(|| world.daemon_with(&a_hook(&world), &[]));
        if let Some(daemon) = &daemon {
            assert_serves(daemon).await;
        }
        spoil(&world.store_file(), "emptied");
        let daemon = daemon.unwrap_or_else(|| world.daemon_with(&a_hook(&world), &[]));
        // The second one has a login whose age the first one did not know.
        daemon.renew().await;
        daemon.renew().await;
        let current = world.cloud.current_refresh_token(world.family()).unwrap();
        std::fs::write(world.store_file(), &whole).unwrap();
        let put_right = async {
            while block(&world.store_file())["refresh_token"] != current {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, put_right).await;
        assert!(done.is_ok(), "{started}: {}", daemon.logged());
        let note = &block(&world.store_file())["hermes_proxyd"]["login_at"];
        assert_eq!(*note, since, "{started}");
        daemon.renew().await;
        let note = &block(&world.store_file())["hermes_proxyd"]["login_at"];
        assert_eq!(*note, since, "{started}, after another rotation");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_serves_while_the_store_can_not_be_read() {
    for how in ["emptied", "cut", "full of NULs", "a folder"] {
        let world = World::new(Options::default()).await;
        world.write_mirror();
        spoil(&world.store_file(), how);
        let spoiled = std::fs::read(world.store_file()).ok();
        let daemon = world.daemon_with(&a_hook(&world), &[]);
        until_told(&world, &daemon, "login_unreadable").await;
        assert_serves(&daemon).await;
        let (status, text) = ready(&daemon).await;
        assert_eq!(status, 200, "{how}: {text}");
        assert!(text.contains("auth.json"), "{how}: {text}");
        // It is kept fresh there, and the store is left as it is.
        world.cloud.revoke_access_tokens();
        assert_serves(&daemon).await;
        let current = world.cloud.current_refresh_token(world.family()).unwrap();
        let mirror = std::fs::read_to_string(world.mirror_file()).unwrap();
        assert!(mirror.contains(&current), "{how}");
        assert_eq!(std::fs::read(world.store_file()).ok(), spoiled, "{how}");
        let status = world.ctl(&["proxy", "status", "--json"]);
        assert_eq!(status.status.code(), Some(1), "{how}: {status:?}");
        assert_eq!(json_of(&status)["providers"][0]["state"], "ready", "{how}");

        // A store from a backup has the token that is spent by now.
        if how == "a folder" {
            std::fs::remove_dir(world.store_file()).unwrap();
        }
        let home = world.home.path().join(".hermes");
        world.cloud.write_hermes_home(&home, &world.login).unwrap();
        let put_right = async {
            while block(&world.store_file())["refresh_token"] != current {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, put_right).await;
        assert!(done.is_ok(), "{how}: {}", daemon.logged());
        assert_serves(&daemon).await;
        let counts = world.cloud.counts();
        assert_eq!((counts.refresh_calls, counts.reuse_events), (1, 0), "{how}");
    }
}

/// Whom root's tests run the programs as; an ordinary user's run them as they are.
const SOMEBODY: u32 = 65_534;

/// The daemon of an ordinary user, to whom a mode means something.
fn as_somebody(world: &World, config: &str) -> Daemon {
    use std::os::unix::process::CommandExt;
    world.write_config(config);
    let mut command = world.command(&[]);
    if rustix::process::geteuid().is_root() {
        give_to_somebody(world.home.path());
        command.uid(SOMEBODY).gid(SOMEBODY);
    }
    Daemon::start(command, world.home.path())
}

fn give_to_somebody(path: &std::path::Path) {
    let given = support::environment::tool("chown")
        .args(["-hR", &format!("{SOMEBODY}:{SOMEBODY}")])
        .arg(path)
        .status();
    assert!(given.unwrap().success());
}

/// Runs a command as a shell of the user's does; with `sudo` as root.
fn follow(world: &World, command: &str) {
    use std::os::unix::process::CommandExt;
    let mut shell = program("sh", world.home.path());
    let plain = command.strip_prefix("sudo ");
    shell.args(["-c", plain.unwrap_or(command)]);
    if plain.is_none() && rustix::process::geteuid().is_root() {
        shell.uid(SOMEBODY).gid(SOMEBODY);
    }
    assert!(shell.status().unwrap().success(), "{command}");
}

/// Puts something in the place of a lock with which it can't be used.
fn obstruct(lock: &std::path::Path, how: &str) {
    use std::os::unix::fs::{PermissionsExt, chown};
    if how == "a folder without the right to write" {
        let folder = lock.parent().unwrap();
        return std::fs::set_permissions(folder, PermissionsExt::from_mode(0o500)).unwrap();
    }
    std::fs::remove_file(lock).ok();
    match how {
        "a folder" => std::fs::create_dir(lock).unwrap(),
        "a pipe" => {
            let made = support::environment::tool("mkfifo").arg(lock).status();
            assert!(made.unwrap().success());
        }
        "closed" => std::fs::write(lock, "").unwrap(),
        "root's" => {
            std::fs::write(lock, "").unwrap();
            chown(lock, Some(0), Some(0)).unwrap();
            return std::fs::set_permissions(lock, PermissionsExt::from_mode(0o600)).unwrap();
        }
        how => panic!("{how}"),
    }
    give_to_somebody(lock);
    if how == "closed" {
        std::fs::set_permissions(lock, PermissionsExt::from_mode(0o000)).unwrap();
    }
}

/// Long before the token ends, and nothing is spent.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_can_not_be_renewed_is_told_within_seconds_with_the_command_that_helps() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root gives files away");
        return;
    }
    let cases = [
        ("auth.lock", "a folder"),
        ("auth.lock", "closed"),
        ("auth.lock", "root's"),
        ("shared/nous_auth.lock", "a pipe"),
        ("shared/nous_auth.lock", "root's"),
        ("auth.lock", "a folder without the right to write"),
    ];
    let mut each = JoinSet::new();
    for (lock, how) in cases {
        each.spawn(assert_hindrance_is_told(lock, how));
    }
    each.join_all().await;
}

async fn assert_hindrance_is_told(lock: &'static str, how: &'static str) {
    let world = World::new(Options::default()).await;
    world.write_mirror();
    // The mock cloud runs on the same threads.
    let ctl = |args: &[&str]| tokio::task::block_in_place(|| world.ctl(args));
    let daemon = as_somebody(&world, &a_hook(&world));
    assert_serves(&daemon).await;
    obstruct(&world.home.path().join(".hermes").join(lock), how);
    let told = until_told(&world, &daemon, "login_not_saved").await;
    let message = told["message"].as_str().unwrap();
    let file = lock.split('.').next().unwrap();
    assert!(message.contains(file), "{how}: {message}");
    let command = told["command"].as_str().unwrap();
    assert_serves(&daemon).await;
    let (status, text) = ready(&daemon).await;
    assert_eq!(status, 503, "{how}: {text}");
    assert!(
        text.contains(command) && text.contains(file),
        "{how}: {text}"
    );
    let status = ctl(&["proxy", "status", "--json"]);
    assert_eq!(status.status.code(), Some(1), "{how}: {status:?}");
    let error = &json_of(&status)["providers"][0]["last_error"];
    assert_eq!(error["code"], "store_unusable", "{how}");
    assert!(
        error["message"].as_str().unwrap().contains(command),
        "{how}: {error}"
    );
    let refused = ctl(&["auth", "refresh"]);
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(
        !refused.status.success() && said.contains(command),
        "{how}: {refused:?}"
    );
    assert_eq!(world.cloud.counts().refresh_calls, 0, "{how}");
    follow(&world, command);
    until_told(&world, &daemon, "login_restored").await;
    assert_eq!(ready(&daemon).await.0, 200, "{how}");
    assert!(ctl(&["proxy", "status"]).status.success(), "{how}");
    let renewed = ctl(&["auth", "refresh"]);
    assert!(
        renewed.status.success(),
        "{how}: {renewed:?}\n{}",
        daemon.logged()
    );
}

/// Where the token has ended too, the app is told what to do and the portal is not blamed.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_because_its_lock_was_unusable_says_so() {
    let options = Options::default().access_ttl(Duration::from_secs(1));
    let world = World::new(options).await;
    std::fs::create_dir(world.home.path().join(".hermes/auth.lock")).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let daemon = world.daemon();
    until_hindered(&world).await;
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.contains("auth.lock") && text.contains("mv "), "{text}");
    let doctor = run(&world, &["doctor", "--json"]);
    let text = String::from_utf8_lossy(&doctor.stdout);
    assert!(
        text.contains("can't be renewed") && !text.contains("the portal does not"),
        "{text}"
    );
}

async fn until_hindered(world: &World) {
    let waiting = async {
        loop {
            let status = json_of(&world.ctl(&["proxy", "status", "--json"]));
            if status["providers"][0]["last_error"]["code"] == "store_unusable" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

/// The link's target may be on a disk that is not mounted: it is no logout, and no login takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_to_nothing_is_neither_a_logout_nor_replaced() {
    let world = World::new(Options::default()).await;
    let (store, disk) = (world.store_file(), world.home.path().join("disk/auth.json"));
    std::fs::create_dir(disk.parent().unwrap()).unwrap();
    std::fs::rename(&store, &disk).unwrap();
    std::os::unix::fs::symlink(&disk, &store).unwrap();
    let daemon = world.daemon_with(&a_hook(&world), &[]);
    assert_serves(&daemon).await;
    let away = world.home.path().join("away");
    std::fs::rename(disk.parent().unwrap(), &away).unwrap();
    let told = until_told(&world, &daemon, "login_unreadable").await;
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("disk/auth.json, which is missing"),
        "{message}"
    );
    let command = format!("rm {} && hermesctl auth login nous", store.display());
    assert_eq!(told["command"], command);
    assert_serves(&daemon).await;
    let login = run(&world, &["auth", "login", "nous", "--json"]);
    assert!(!login.status.success(), "{login:?}");
    let doctor = run(&world, &["doctor", "--json"]);
    let text = String::from_utf8_lossy(&doctor.stdout);
    assert!(text.contains("which is missing"), "{text}");
    drop(daemon);
    let login = run(&world, &["auth", "login", "nous", "--json"]);
    let error = json_of(&login)["error"].to_string();
    assert!(
        error.contains("which is missing") && error.contains("rm "),
        "{error}"
    );
    assert!(store.is_symlink());
    // The disk is back, and the login is written through the link.
    std::fs::rename(&away, disk.parent().unwrap()).unwrap();
    let daemon = world.daemon();
    assert!(world.ctl(&["auth", "refresh"]).status.success());
    assert_serves(&daemon).await;
    assert!(store.is_symlink());
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(block(&disk)["refresh_token"], current);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_and_doctor_tell_of_copies_that_may_hold_tokens() {
    let world = World::new(Options::default()).await;
    world.write_mirror();
    let copies = [world.store_file(), world.mirror_file()].map(|file| {
        let mut copy = file.clone().into_os_string();
        copy.push(".corrupt");
        std::fs::copy(&file, &copy).unwrap();
        PathBuf::from(copy)
    });
    let doctor = run(&world, &["doctor", "--json"]);
    let report = json_of(&doctor);
    let findings = report["findings"].as_array().unwrap();
    for copy in &copies {
        let named = |finding: &&Value| finding["name"] == copy.to_str().unwrap();
        let found = findings.iter().find(named).unwrap();
        assert_eq!(found["fix"][0]["run"], format!("rm {}", copy.display()));
    }
    let output = run(&world, &["auth", "logout", "--yes", "--json"]);
    assert_eq!(json_of(&output)["copies"], json!(copies));
    let again = run(&world, &["auth", "logout", "--yes"]);
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(
        text.contains(&format!("rm '{}'", copies[0].display())),
        "{text}"
    );
}

/// The text of a child's standard error once it holds the words.
fn heard(child: &mut Child, words: &str) -> String {
    let mut text = String::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    while !text.contains(words) {
        assert!(lines.read_line(&mut text).unwrap() > 0, "{text}");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_says_what_it_waits_for_and_ctrl_c_leaves_the_login() {
    for with_daemon in [true, false] {
        let world = World::new(Options::default()).await;
        let daemon = with_daemon.then(|| world.daemon());
        let before = std::fs::read(world.store_file()).unwrap();
        let lock = world.home.path().join(".hermes/auth.lock");
        let held = std::fs::File::create(&lock).unwrap();
        held.lock().unwrap();
        let mut logout = world.hermesctl(&["auth", "logout", "--yes"]);
        let mut logout = logout
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = heard(&mut logout, "Ctrl-C");
        assert!(said.contains(lock.to_str().unwrap()), "{said}");
        let holder = format!("process {}", std::process::id());
        assert!(said.contains(&holder), "{said}");
        let pid = rustix::process::Pid::from_child(&logout);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(logout.wait().unwrap().code(), Some(130));
        held.unlock().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(std::fs::read(world.store_file()).unwrap(), before);
        if let Some(daemon) = &daemon {
            assert_serves(daemon).await;
        }
        // Not given up, it waits for the lock and logs out.
        held.lock().unwrap();
        let mut logout = world.hermesctl(&["auth", "logout", "--yes"]);
        let mut logout = logout
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        heard(&mut logout, "Ctrl-C");
        held.unlock().unwrap();
        assert!(logout.wait().unwrap().success());
        assert_eq!(block(&world.store_file()), Value::Null);
    }
}
