//! Logins in rows of the pool, where `hermes auth add` puts them.

use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mock_cloud::{Canned, Endpoint, Fault, Login, MockCloud, PortalFault};
use serde_json::{Value, json};
use support::hermes::{clients, fingerprint, json_line, test_env};
use support::{Daemon, PATIENCE, chat, client, ctl, program};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{World, now};

/// A row as Hermes Agent 0.20 makes it for an account of its own, after a failure.
pub(super) fn row(id: &str, priority: i64, login: &Login) -> Value {
    json!({
        "id": id, "label": "me@example.org", "auth_type": "oauth", "priority": priority,
        "source": "manual:device_code", "access_token": login.access_token,
        "refresh_token": login.refresh_token, "last_status": null, "last_status_at": null,
        "last_error_code": null, "last_error_reason": null, "last_error_message": null,
        "last_error_reset_at": null, "base_url": "https://api.x.ai/v1", "last_refresh": now(),
        "request_count": 7, "theirs": [1],
    })
}

pub(super) fn with(mut row: Value, fields: &Value) -> Value {
    for (key, value) in fields.as_object().unwrap() {
        row[key] = value.clone();
    }
    row
}

impl World {
    /// Writes the store, with these rows beside this block.
    pub(super) fn holds(&self, block: &Value, rows: &[Value]) {
        let mut store =
            json!({"version": 1, "providers": {}, "credential_pool": {"xai-oauth": rows}});
        if !block.is_null() {
            store["providers"]["xai-oauth"] = block.clone();
        }
        std::fs::create_dir_all(self.store_file().parent().unwrap()).unwrap();
        std::fs::write(self.store_file(), store.to_string()).unwrap();
    }

    pub(super) fn row(&self, id: &str) -> Value {
        let store = self.store();
        let rows = store["credential_pool"]["xai-oauth"].as_array().unwrap();
        let found = rows.iter().find(|row| row["id"] == id);
        found
            .unwrap_or_else(|| panic!("no row {id}: {store:#}"))
            .clone()
    }

    pub(super) fn refreshed(&self) -> bool {
        let output = ctl(self.home.path(), &["auth", "refresh", "xai"]);
        output.status.success()
    }

    /// The bearer that a request is answered with.
    pub(super) async fn serves_with(&self, daemon: &Daemon) -> String {
        let post = client().post(daemon.url("/chat/completions"));
        let answer = post.json(&chat("hello")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", daemon.logged());
        self.cloud.last_bearer().unwrap()
    }

    /// The login after another program has rotated it.
    pub(super) async fn rotated_by_another(&self, login: &Login) -> Login {
        let document = format!(
            "{}/.well-known/openid-configuration",
            self.cloud.portal_url()
        );
        let document: Value = client()
            .get(document)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", super::CLIENT),
            ("refresh_token", &login.refresh_token),
        ];
        let post = client().post(document["token_endpoint"].as_str().unwrap());
        let granted: Value = post.form(&form).send().await.unwrap().json().await.unwrap();
        let text = |name: &str| granted[name].as_str().unwrap().to_owned();
        Login {
            access_token: text("access_token"),
            refresh_token: text("refresh_token"),
            ..login.clone()
        }
    }

    pub(super) fn assert_nothing_reused(&self) {
        assert_eq!(self.cloud.counts().reuse_events, 0);
    }
}

pub(super) fn block(login: &Login, obtained: &str) -> Value {
    let tokens = json!({
        "access_token": login.access_token, "refresh_token": login.refresh_token, "id_token": "",
        "expires_in": 3600, "token_type": "Bearer",
    });
    json!({"tokens": tokens, "last_refresh": obtained, "auth_mode": "oauth_device_code"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_only_a_row_serves_and_is_renewed_where_it_lies() {
    let world = World::new().await;
    let login = world.cloud.login();
    let failed = json!({
        "last_status": "exhausted", "last_status_at": 1_700_000_000.5, "last_error_code": 429,
        "last_error_reason": "quota", "failure_reason": "rate_limit", "consecutive_failures": 2,
    });
    let before = with(row("ab12cd", 3, &login), &failed);
    world.holds(&Value::Null, std::slice::from_ref(&before));
    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, login.access_token);
    assert!(world.refreshed());
    let after = world.row("ab12cd");
    let current = world.cloud.current_refresh_token(login.family);
    assert_eq!(after["refresh_token"].as_str(), current.as_deref());
    assert_ne!(after["access_token"], before["access_token"]);
    assert_ne!(after["last_refresh"], before["last_refresh"]);
    for kept in [
        "id",
        "label",
        "auth_type",
        "priority",
        "source",
        "base_url",
        "request_count",
        "theirs",
    ] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    for mark in failed.as_object().unwrap().keys() {
        assert!(
            after.get(mark).is_none_or(Value::is_null),
            "{mark}: {after:#}"
        );
    }
    assert_eq!(world.store()["providers"], json!({}), "no block is made");
    let served = world.serves_with(&daemon).await;
    assert_eq!(after["access_token"], served.as_str());
    drop(daemon);
    let daemon = world.daemon();
    assert_eq!(
        world.serves_with(&daemon).await,
        served,
        "after a restart too"
    );
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_and_a_row_with_the_same_token_are_renewed_together() {
    let world = World::new().await;
    let login = world.cloud.login();
    world.holds(
        &block(&login, &now()),
        &[row("one", 0, &login), row("two", 1, &world.cloud.login())],
    );
    let other = world.row("two");
    let _daemon = world.daemon();
    assert!(world.refreshed());
    let current = world.cloud.current_refresh_token(login.family);
    assert_eq!(
        world.block()["tokens"]["refresh_token"].as_str(),
        current.as_deref()
    );
    assert_eq!(
        world.row("one")["refresh_token"].as_str(),
        current.as_deref()
    );
    assert_eq!(world.row("two"), other, "another account's");
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_rows_the_first_one_that_has_something_left_is_used() {
    let world = World::new().await;
    let logins = [(); 4].map(|()| world.cloud.login());
    let marked = |status: &str| json!({"last_status": status, "last_status_at": now(), "last_error_code": 401});
    let rows = |first: i64, second: i64| {
        [
            with(row("late", second, &logins[0]), &json!({})),
            with(row("dead", -2, &logins[1]), &marked("dead")),
            with(row("empty", -1, &logins[2]), &marked("exhausted")),
            row("used", first, &logins[3]),
        ]
    };
    world.holds(&Value::Null, &rows(5, 6));
    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, logins[3].access_token);
    assert!(world.refreshed());
    assert_eq!(
        world.row("late")["refresh_token"],
        json!(logins[0].refresh_token)
    );
    let renewed = world.row("used");
    assert_ne!(renewed["refresh_token"], json!(logins[3].refresh_token));
    // Hermes Agent turns its rows' order with each request where that is its strategy.
    let turned = |used: &Value| {
        let [late, dead, empty, _] = rows(6, 5);
        [
            late,
            dead,
            empty,
            with(used.clone(), &json!({"priority": 6})),
        ]
    };
    world.holds(&Value::Null, &turned(&renewed));
    world.look_again();
    assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
    // One that is taken out is used no more.
    world.holds(&Value::Null, &turned(&renewed)[1..]);
    world.look_again();
    let served = world.serves_with(&daemon).await;
    assert_eq!(renewed["access_token"], served.as_str());
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_login_ends_is_marked_and_the_next_one_serves() {
    let world = World::new().await;
    let (one, two) = (world.cloud.login(), world.cloud.login());
    world.holds(&Value::Null, &[row("one", 0, &one), row("two", 1, &two)]);
    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, one.access_token);
    let dead = PortalFault::Answer(Canned::oauth_error(400, "invalid_grant", "revoked"));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &dead);
    assert!(!world.refreshed());
    let marked = world.row("one");
    assert_eq!(marked["last_status"], "dead", "{marked:#}");
    assert_eq!(marked["last_error_reason"], "invalid_grant");
    assert!(
        marked["last_status_at"].is_f64(),
        "as Hermes Agent has it: {marked:#}"
    );
    assert_eq!(marked["theirs"], json!([1]));
    assert_eq!(
        world.row("two")["refresh_token"],
        json!(two.refresh_token),
        "not touched"
    );
    assert_eq!(world.serves_with(&daemon).await, two.access_token);

    // The last one's end is told, also by a daemon that begins with it.
    world.cloud.fail_portal(Endpoint::Refresh, 1, &dead);
    assert!(!world.refreshed());
    let mut begun = Some(daemon);
    for _ in 0..2 {
        let daemon = begun.take().unwrap_or_else(|| world.daemon());
        let answer = client().post(daemon.url("/chat/completions"));
        let answer = answer.json(&chat("hello")).send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert!(answer.text().await.unwrap().contains("invalid_grant"));
    }
    assert_eq!(
        world.cloud.counts().refresh_calls,
        2,
        "a dead one is never shown again"
    );
    world.assert_nothing_reused();
}

/// A daemon that was killed while it renewed the row `two`, and its store's present folder.
async fn killed_while_renewing_the_second_row(world: &World, logins: &[Login; 2]) -> PathBuf {
    let empty = json!({"last_status": "exhausted", "last_status_at": now()});
    let one = with(row("one", 0, &logins[0]), &empty);
    world.holds(&Value::Null, &[one, row("two", 1, &logins[1])]);
    let mut daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    // The folder goes away while the token is being spent.
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(gate.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    world.cloud.revoke_access_tokens();
    let post = client().post(daemon.url("/chat/completions"));
    let mut asking = JoinSet::new();
    asking.spawn(post.json(&chat("x")).send());
    let rotated = |cloud: &MockCloud| cloud.counts().refreshes == 1;
    world.cloud.wait_for(PATIENCE, rotated).await;
    let (home, aside) = (
        world.home.path().join(".hermes"),
        world.home.path().join("aside"),
    );
    std::fs::rename(&home, &aside).unwrap();
    std::fs::write(&home, "in the way").unwrap();
    gate.add_permits(1);
    let answer = asking.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
    daemon.wait_for_log("login_not_saved");
    daemon.kill();
    std::fs::remove_file(&home).unwrap();
    aside
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_row_that_could_not_be_saved_is_saved_by_the_next_daemon_whatever_it_finds_first()
{
    // A block is a login that was made with Hermes Agent meanwhile; it would go before all rows.
    for has_block in [false, true] {
        let world = World::new().await;
        let logins = [world.cloud.login(), world.cloud.login()];
        let aside = killed_while_renewing_the_second_row(&world, &logins).await;
        std::fs::rename(aside, world.home.path().join(".hermes")).unwrap();
        if has_block {
            let mut store = world.store();
            store["providers"]["xai-oauth"] = block(&world.cloud.login(), &now());
            std::fs::write(world.store_file(), store.to_string()).unwrap();
        }
        let (before, one) = (world.block(), world.row("one"));
        let current = world.cloud.current_refresh_token(logins[1].family).unwrap();
        assert_ne!(world.row("two")["refresh_token"], current);
        let daemon = world.daemon();
        let saved = |world: &World| world.row("two")["refresh_token"] == current;
        world.until(&daemon, saved).await;
        assert_eq!((world.block(), world.row("one")), (before, one));
        assert_eq!(world.cloud.counts().refresh_calls, 1);
        world.assert_nothing_reused();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_block_and_its_own_row_the_newer_pair_is_taken() {
    let world = World::new().await;
    let old = world.cloud.login();
    let seeded = json!({"source": "device_code"});
    world.holds(
        &block(&old, "2026-01-01T00:00:00Z"),
        &[with(row("own", 0, &old), &seeded)],
    );
    world.cloud.advance(Duration::from_secs(2));
    let daemon = world.daemon();
    assert!(world.refreshed());
    drop(daemon);
    // The rotation reached the row alone.
    let newer = world.row("own");
    let current = world.cloud.current_refresh_token(old.family);
    assert_eq!(newer["refresh_token"].as_str(), current.as_deref());
    world.holds(
        &block(&old, "2026-01-01T00:00:00Z"),
        std::slice::from_ref(&newer),
    );
    let daemon = world.daemon();
    let served = world.serves_with(&daemon).await;
    assert_eq!(newer["access_token"], served.as_str());
    assert!(world.refreshed());
    let current = world.cloud.current_refresh_token(old.family);
    assert_eq!(
        world.block()["tokens"]["refresh_token"].as_str(),
        current.as_deref()
    );
    assert_eq!(
        world.row("own")["refresh_token"].as_str(),
        current.as_deref()
    );
    world.assert_nothing_reused();
}

/// Hermes Agent writes every row that it has in memory when it marks one of them, so one of its processes sets
/// back what another one has rotated (`write_credential_pool` of 0.19).
#[tokio::test(flavor = "multi_thread")]
async fn a_row_or_block_that_is_set_back_behind_an_adopted_rotation_is_written_again() {
    for in_block in [false, true] {
        let world = World::new().await;
        // So long that no renewal is due: the other programs here take no lock.
        world.cloud.set_access_ttl(Duration::from_hours(6));
        let login = world.cloud.login();
        let old_row = with(
            row("one", 0, &login),
            &json!({"last_refresh": "2026-01-01T00:00:00Z"}),
        );
        let old_block = block(&login, "2026-01-01T00:00:00Z");
        let hold = |world: &World, block: &Value, row: &Value| {
            if in_block {
                world.holds(block, &[]);
            } else {
                world.holds(&Value::Null, std::slice::from_ref(row));
            }
        };
        hold(&world, &old_block, &old_row);
        world.cloud.advance(Duration::from_secs(2));
        let daemon = world.daemon();
        world.serves_with(&daemon).await;
        let rotated = world.rotated_by_another(&login).await;
        hold(&world, &block(&rotated, &now()), &row("one", 0, &rotated));
        world.look_again();
        assert_eq!(world.serves_with(&daemon).await, rotated.access_token);
        // And a third program sets it back.
        hold(&world, &old_block, &old_row);
        world.look_again();
        let text = |world: &World| std::fs::read_to_string(world.store_file()).unwrap();
        world
            .until(&daemon, |world| {
                text(world).contains(&rotated.refresh_token)
            })
            .await;
        assert!(world.refreshed(), "{}", daemon.logged());
        world.assert_nothing_reused();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profiles_rows_are_not_looked_at() {
    let world = World::new().await;
    let (root, copy) = (world.cloud.login(), world.cloud.login());
    world.holds(&Value::Null, &[row("root", 0, &root)]);
    let profile = world.home.path().join(".hermes/profiles/work");
    std::fs::create_dir_all(&profile).unwrap();
    let store = json!({"version": 1, "credential_pool": {"xai-oauth": [row("copy", 0, &copy)]}});
    std::fs::write(profile.join("auth.json"), store.to_string()).unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
    command.env("HERMES_HOME", &profile);
    command.args(["--port", "0", "--log-format", "json"]);
    let daemon = Daemon::start(command, world.home.path());
    assert_eq!(world.serves_with(&daemon).await, root.access_token);
    let kept = std::fs::read_to_string(profile.join("auth.json")).unwrap();
    assert_eq!(kept, store.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_renews_the_row_in_use_and_is_asked_once_more() {
    let world = World::new().await;
    let login = world.cloud.login();
    world.holds(&Value::Null, &[row("one", 0, &login)]);
    let daemon = world.daemon();
    world.cloud.fail_next(1, &Fault::unauthorized());
    let served = world.serves_with(&daemon).await;
    assert_eq!(world.row("one")["access_token"], served.as_str());
    assert_ne!(served, login.access_token);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_a_login_that_is_only_a_row_and_a_logout_takes_it_out() {
    let world = World::new().await;
    world.holds(&Value::Null, &[row("one", 0, &world.cloud.login())]);
    let report = ctl(world.home.path(), &["doctor"]);
    let report = String::from_utf8(report.stdout).unwrap();
    assert!(report.contains("There is a login in"), "{report}");
    let output = ctl(world.home.path(), &["auth", "logout", "xai", "--yes"]);
    assert!(output.status.success(), "{output:?}");
    assert!(world.store()["credential_pool"].get("xai-oauth").is_none());
}

/// Hermes Agent's own code, with its requests to xAI going to the mock portal.
pub(super) struct Hermes {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Hermes {
    pub(super) fn start(world: &World) -> Self {
        let python = test_env("hermes").join("hermes/bin/python");
        let mut command = program(python, world.home.path());
        command
            .env("HERMES_HOME", world.home.path().join(".hermes"))
            .arg(clients().join("hermes/hermes_xai.py"))
            .arg(world.cloud.portal_url());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    pub(super) fn step(&mut self, step: &str) -> Value {
        writeln!(self.child.stdin.as_ref().unwrap(), "{step}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        json_line(&line)
    }
}

impl Drop for Hermes {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_agent_and_the_daemon_take_turns_with_one_row() {
    let world = World::new().await;
    // Short ones, as device logins get, are not due at once for either.
    world.cloud.set_access_ttl(Duration::from_mins(30));
    let login = world.cloud.login();
    std::fs::create_dir_all(world.home.path().join(".hermes")).unwrap();
    let mut hermes = Hermes::start(&world);
    let tokens = json!({"access_token": login.access_token, "refresh_token": login.refresh_token});
    let added = hermes.step(&format!("add {tokens}"));
    let id = added["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{added}"))
        .to_owned();
    let is_current = |row: &Value| {
        let current = world.cloud.current_refresh_token(login.family);
        assert_eq!(row["refresh_token"].as_str(), current.as_deref());
        fingerprint(&current.unwrap())
    };

    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, login.access_token);
    for _ in 0..3 {
        // Ours is read by theirs.
        assert!(world.refreshed());
        let ours = is_current(&world.row(&id));
        let told = hermes.step("pool");
        assert_eq!(
            (&told["ok"], &told["id"]),
            (&json!(true), &json!(id)),
            "{told}"
        );
        assert_eq!(told["refresh_token_fp"], ours.as_str());
        // And theirs by ours, without asking for another one.
        world.cloud.advance(Duration::from_secs(1));
        let told = hermes.step("pool-force");
        assert_eq!(told["ok"], true, "{told}");
        assert_eq!(
            told["refresh_token_fp"],
            is_current(&world.row(&id)).as_str()
        );
        let refreshes = world.cloud.counts().refreshes;
        world.look_again();
        let served = world.serves_with(&daemon).await;
        assert_eq!(told["access_token_fp"], fingerprint(&served).as_str());
        assert_eq!(world.cloud.counts().refreshes, refreshes);
    }
    // A row that has ended is one for Hermes Agent too.
    world.cloud.revoke(login.family);
    assert!(!world.refreshed());
    assert_eq!(world.row(&id)["last_status"], "dead");
    let told = hermes.step("pool");
    assert!(
        told["error"].as_str().unwrap().contains("no usable entry"),
        "{told}"
    );
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_agent_reads_a_device_login_of_hermesctl_and_renews_it_for_both() {
    let world = World::new().await;
    world.cloud.set_access_ttl(Duration::from_mins(30));
    let login = world.cloud.login();
    world.holds(&block(&login, &now()), &[]);
    let daemon = world.daemon();
    assert!(world.refreshed());
    let mut hermes = Hermes::start(&world);
    let refresh_token = |world: &World| {
        let token = world.block()["tokens"]["refresh_token"]
            .as_str()
            .unwrap()
            .to_owned();
        fingerprint(&token)
    };
    for step in ["resolve", "pool"] {
        let told = hermes.step(step);
        assert_eq!(
            told["refresh_token_fp"],
            refresh_token(&world).as_str(),
            "{told}"
        );
    }
    world.cloud.advance(Duration::from_secs(1));
    let told = hermes.step("pool-force");
    assert_eq!(
        told["refresh_token_fp"],
        refresh_token(&world).as_str(),
        "{told}"
    );
    world.look_again();
    let served = world.serves_with(&daemon).await;
    assert_eq!(told["access_token_fp"], fingerprint(&served).as_str());
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_told_apart_by_the_login_that_served() {
    let world = World::new().await;
    let (one, two) = (world.cloud.login(), world.cloud.login());
    let labelled =
        |id, priority, login, label: &str| with(row(id, priority, login), &json!({"label": label}));
    let rows = [
        labelled("aaaaaa", 0, &one, "work"),
        labelled("bbbbbb", 1, &two, "home"),
    ];
    world.holds(&Value::Null, &rows);
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    // The first one's quota is used up, and the request goes with the other.
    let spent = Canned::api_error(429, "rate_limit", "rate_limit_exceeded", "Wait.");
    world.cloud.fail_next(1, &Fault::Answer(spent));
    world.serves_with(&daemon).await;
    world.serves_with(&daemon).await;
    let told = ctl(world.home.path(), &["usage", "--by", "login", "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let rows = told["rows"].as_array().unwrap().iter();
    let rows: Vec<_> = rows.map(|row| (&row["name"], &row["requests"])).collect();
    assert_eq!(
        rows,
        [(&json!("home"), &json!(2)), (&json!("work"), &json!(1))]
    );
}
