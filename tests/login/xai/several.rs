//! Several logins of one provider: the choice for a request, and the rest of one whose quota is
//! used up.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mock_cloud::{Canned, Fault, Login};
use serde_json::{Value, json};
use support::environment::skipped;
use support::{Daemon, PATIENCE, built, chat, client, ctl, program};

use super::pool::{Hermes, block, row, with};
use super::{World, now};

/// A world with two logins in rows.
pub(super) async fn two_logins() -> (World, [Login; 2]) {
    let world = World::new().await;
    let logins = [world.cloud.login(), world.cloud.login()];
    let rows = [row("one", 0, &logins[0]), row("two", 1, &logins[1])];
    world.holds(&Value::Null, &rows);
    (world, logins)
}

pub(super) fn limited(seconds: u64) -> Fault {
    Fault::rate_limited(seconds)
}

fn refused(status: u16, words: &str) -> Fault {
    Fault::Answer(Canned::api_error(status, "error", "refused", words))
}

impl World {
    pub(super) async fn asks(&self, daemon: &Daemon) -> reqwest::Response {
        let post = client().post(daemon.url("/chat/completions"));
        post.json(&chat("hello")).send().await.unwrap()
    }

    /// The row once it is marked so.
    pub(super) async fn marked(&self, daemon: &Daemon, id: &str, status: &Value) -> Value {
        self.until(daemon, |world| world.row(id)["last_status"] == *status)
            .await;
        self.row(id)
    }

    pub(super) fn configured(&self, more: &str) {
        let config = format!(
            "default_provider = \"xai\"\n[providers.xai]\nissuer_url = {:?}\nbase_url = {:?}\n{more}\n",
            self.cloud.portal_url(),
            self.cloud.inference_base_url(),
        );
        self.configure(&config);
    }

    /// Until this many programs of ours have the store's lock open, which the test holds: they wait
    /// for it.
    #[cfg(target_os = "linux")]
    async fn until_waiting(&self, processes: usize) {
        let lock = self.store_file().with_extension("lock");
        let lock = lock.canonicalize().unwrap();
        // A child that this process is forking has its files open too.
        let is_ours = |process: &std::fs::DirEntry| {
            let name = std::fs::read_to_string(process.path().join("comm"));
            name.is_ok_and(|name| name.starts_with("hermes"))
        };
        let has_it_open = |process: &std::fs::DirEntry| {
            let files = std::fs::read_dir(process.path().join("fd"));
            let mut files = files.into_iter().flatten().flatten();
            files.any(|file| file.path().read_link().is_ok_and(|file| file == lock))
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let all = std::fs::read_dir("/proc").unwrap().flatten();
            let open = all.filter(is_ours).filter(has_it_open).count();
            if open >= processes {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{open} of {processes}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The store's lock, as another program holds it.
    pub(super) fn lock(&self) -> std::fs::File {
        let file = self.store_file().with_extension("lock");
        let file = std::fs::File::create(file).unwrap();
        file.lock().unwrap();
        file
    }

    pub(super) fn bearers(&self) -> Vec<String> {
        let requests = self.cloud.requests();
        let bearers = requests
            .iter()
            .flat_map(|seen| seen.header("authorization"));
        bearers
            .map(|bearer| bearer.replace("Bearer ", ""))
            .collect()
    }
}

pub(super) fn seconds_from_now(time: &Value) -> i64 {
    let at = time.as_f64().unwrap() * 1000.0;
    let at = DateTime::<Utc>::from_timestamp_millis(format!("{at:.0}").parse().unwrap()).unwrap();
    let now: DateTime<Utc> = now().parse().unwrap();
    (at - now).num_seconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_has_nothing_left_is_marked_and_the_same_request_goes_on_with_the_next() {
    for (fault, status, cooldown, reason) in [
        (limited(120), 429, 120, Some("rate_limit")),
        (
            Fault::Answer(Canned::status(429)),
            429,
            3600,
            Some("rate_limit"),
        ),
        (
            Fault::Answer(Canned::status(402)),
            402,
            3600,
            Some("billing"),
        ),
        (
            refused(429, "subscription:free-usage-exhausted"),
            429,
            24 * 3600,
            Some("rate_limit"),
        ),
        (
            refused(403, "You do not have an active Grok subscription"),
            403,
            3600,
            None,
        ),
    ] {
        let (world, logins) = two_logins().await;
        let daemon = world.daemon();
        world.cloud.fail_next(1, &fault);
        assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
        let asked = world.bearers();
        assert_eq!(asked, [&*logins[0].access_token, &*logins[1].access_token]);
        let marked = world.marked(&daemon, "one", &json!("exhausted")).await;
        assert_eq!(marked["last_error_code"], status);
        let ends = seconds_from_now(&marked["last_error_reset_at"]);
        assert!(
            (cooldown - 10..=cooldown + 1).contains(&ends),
            "{status}: {ends}"
        );
        assert!(marked["last_status_at"].is_f64(), "{marked:#}");
        assert_eq!(marked["failure_reason"].as_str(), reason);
        assert_eq!(marked["consecutive_failures"], 1);
        assert_eq!(marked["theirs"], json!([1]));
        // The next requests don't try it again, and nothing was renewed for it.
        assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
        assert_eq!(world.bearers().len(), 3);
        assert_eq!(world.cloud.counts().refresh_calls, 0);
        assert!(world.row("two")["last_status"].is_null());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_all_logins_cool_down_nothing_is_sent_and_a_reset_ends_it() {
    let (world, logins) = two_logins().await;
    let daemon = world.daemon();
    world.cloud.fail_next(2, &limited(300));
    // The last one's answer is the client's, as it came.
    let answer = world.asks(&daemon).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "300");
    assert!(answer.headers().get("x-hermes-error").is_none());
    let sent = world.bearers().len();
    let answer = world.asks(&daemon).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(
        answer.headers()["x-hermes-error"],
        "credentials_cooling_down"
    );
    assert_eq!(answer.headers()["x-should-retry"], "false");
    let wait: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let text = answer.text().await.unwrap();
    assert!(text.contains("hermesctl auth reset xai"), "{text}");
    assert_eq!(world.bearers().len(), sent, "nothing was sent");
    // What uses nothing up goes on.
    let models = client().get(daemon.url("/models")).send().await.unwrap();
    assert_eq!(models.status(), 200);

    world.marked(&daemon, "two", &json!("exhausted")).await;
    let output = ctl(world.home.path(), &["auth", "reset", "xai"]);
    assert!(output.status.success(), "{output:?}");
    for id in ["one", "two"] {
        let row = world.row(id);
        assert!(row["last_status"].is_null() && row["last_error_code"].is_null());
        assert!(row.get("failure_reason").is_none());
    }
    assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_renewed_first_and_then_the_next_login_is_asked() {
    let (world, logins) = two_logins().await;
    let daemon = world.daemon();
    world.cloud.fail_next(1, &Fault::unauthorized());
    let served = world.serves_with(&daemon).await;
    assert_eq!(world.row("one")["access_token"], served.as_str());
    assert!(world.row("one")["last_status"].is_null());

    world.cloud.fail_next(2, &Fault::unauthorized());
    assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    let marked = world.marked(&daemon, "one", &json!("exhausted")).await;
    assert_eq!(marked["last_error_code"], 401);
    let ends = seconds_from_now(&marked["last_error_reset_at"]);
    assert!((290..=301).contains(&ends), "{ends}");
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_ends_at_a_success_and_at_a_rotation() {
    let (world, logins) = two_logins().await;
    let daemon = world.daemon();
    world.cloud.fail_next(1, &limited(1));
    assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    world.marked(&daemon, "one", &json!("exhausted")).await;
    // Its time is over.
    let first = || async { world.serves_with(&daemon).await == logins[0].access_token };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !first().await {
        assert!(tokio::time::Instant::now() < deadline, "it never came back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let row = world.marked(&daemon, "one", &json!("ok")).await;
    assert!(row["last_error_code"].is_null() && row.get("consecutive_failures").is_none());

    world.cloud.fail_next(1, &limited(300));
    assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    world.marked(&daemon, "one", &json!("exhausted")).await;
    // Another program renews it, which clears its marks.
    let renewed = with(row, &json!({"last_status": null, "last_status_at": null}));
    world.holds(&Value::Null, &[renewed, world.row("two")]);
    world.look_again();
    assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logins_come_and_go_with_their_rows_and_their_order_is_that_of_their_priorities() {
    let world = World::new().await;
    let [a, b, c] = [(); 3].map(|()| world.cloud.login());
    world.holds(&block(&a, &now()), &[]);
    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, a.access_token);
    // Added behind the block, and before it where the block's own row has a later place.
    world.holds(&block(&a, &now()), &[row("b", 0, &b)]);
    world.look_again();
    assert_eq!(world.serves_with(&daemon).await, a.access_token);
    let seeded = with(row("seed", 5, &a), &json!({"source": "device_code"}));
    world.holds(
        &block(&a, &now()),
        &[seeded.clone(), row("b", 2, &b), row("c", 1, &c)],
    );
    world.look_again();
    assert_eq!(world.serves_with(&daemon).await, c.access_token);
    assert!(world.refreshed(), "the one in use");
    let renewed = world.row("c");
    assert_ne!(renewed["refresh_token"], json!(c.refresh_token));
    assert_eq!(world.cloud.counts().refresh_calls, 1);
    // A request under way outlives its row.
    let mut answer = client()
        .post(daemon.url("/chat/completions"))
        .json(&json!({"stream": true, "messages": [{"role": "user", "content": "x"}]}))
        .send()
        .await
        .unwrap();
    world.holds(&block(&a, &now()), &[seeded, row("b", 2, &b)]);
    world.look_again();
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        text.extend(chunk);
    }
    assert!(String::from_utf8_lossy(&text).contains("[DONE]"));
    assert_eq!(world.serves_with(&daemon).await, b.access_token);
    world.holds(&Value::Null, &[]);
    world.look_again();
    assert_eq!(world.asks(&daemon).await.status(), 401);
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_has_one_keeper_wherever_it_stands() {
    let world = World::new().await;
    let [a, b] = [(); 2].map(|()| world.cloud.login());
    let seeded = with(row("seed", 0, &a), &json!({"source": "device_code"}));
    let rows = [
        seeded,
        row("copy", 1, &a),
        row("b", 2, &b),
        row("b2", 3, &b),
    ];
    world.holds(&block(&a, &now()), &rows);
    let daemon = world.daemon();
    assert_eq!(logins_of(&world).len(), 2);
    assert!(world.refreshed());
    let current = world.cloud.current_refresh_token(a.family).unwrap();
    for id in ["seed", "copy"] {
        assert_eq!(world.row(id)["refresh_token"], current, "{id}");
    }
    assert_eq!(world.block()["tokens"]["refresh_token"], current);
    // Another program renews one of two rows: the other one's token is spent, and no login.
    let stale = world.row("b2");
    world.cloud.fail_next(1, &limited(60));
    world.serves_with(&daemon).await;
    world.cloud.fail_next(1, &Fault::unauthorized());
    world.serves_with(&daemon).await;
    assert_ne!(world.row("b")["refresh_token"], stale["refresh_token"]);
    world.holds(&world.block(), &[world.row("b"), stale]);
    world.look_again();
    assert_eq!(logins_of(&world).len(), 2);
    world.assert_nothing_reused();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_alone_puts_its_login_not_to_rest() {
    let (world, logins) = two_logins().await;
    world.configured("[limits]\nreplay_body = \"1KiB\"");
    let daemon = world.daemon();
    world.cloud.fail_next(1, &Fault::unauthorized());
    // Its body can't be sent again.
    let post = client().post(daemon.url("/chat/completions"));
    let answer = post.json(&chat(&"x".repeat(4096))).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let renewed = world.row("one");
    assert_ne!(renewed["access_token"], json!(logins[0].access_token));
    let served = world.serves_with(&daemon).await;
    assert_eq!(renewed["access_token"], served.as_str());
    assert!(world.row("one")["last_status"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_several_logins_have_means_none_and_an_id_means_one() {
    let (world, logins) = two_logins().await;
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    let before = world.store();
    let run = |line: &[&str]| {
        let output = ctl(world.home.path(), line);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), told)
    };
    let shared = "me@example.org";
    for line in [
        ["auth", "logout", "xai", "--yes", "--label", shared].as_slice(),
        &["auth", "refresh", "xai", "--label", shared],
        &["auth", "reset", "xai", shared],
    ] {
        let (is_well, told) = run(line);
        assert!(!is_well && told.contains("one, two"), "{line:?}: {told}");
    }
    assert_eq!(world.store(), before);
    // An id goes before a label.
    let named = with(row("one", 0, &logins[0]), &json!({"label": "two"}));
    world.holds(&Value::Null, &[named.clone(), row("two", 1, &logins[1])]);
    world.look_again();
    let (is_well, told) = run(&["auth", "logout", "xai", "--yes", "--label", "two"]);
    assert!(is_well, "{told}");
    assert_eq!(
        world.store()["credential_pool"]["xai-oauth"],
        json!([named])
    );
}

/// What comes into a row while its refresh waits for the lock was not meant, so its token is not spent.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_by_label_spends_no_token_of_another_login_that_came_into_its_place() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root sees which files the programs have open");
        return;
    }
    let (world, _) = two_logins().await;
    let daemon = world.daemon();
    world.serves_with(&daemon).await;
    // An account whose access token has expired, so that only its refresh token is of use.
    let mut other = world.cloud.login();
    other.access_token.clear();
    let lock = world.lock();
    let mut refresh = program(built("hermesctl"), world.home.path());
    let refresh = refresh.args(["auth", "refresh", "xai", "--label", "one", "--json"]);
    let refresh = refresh.stdout(std::process::Stdio::piped());
    let refresh = refresh.spawn().unwrap();
    world.until_waiting(1).await;
    let mut replaced = row("one", 0, &other);
    replaced.as_object_mut().unwrap().remove("access_token");
    world.holds(&Value::Null, &[replaced, world.row("two")]);
    drop(lock);
    let output = refresh.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("not the one you meant"), "{told}");
    assert!(!told.contains(&other.refresh_token), "{told}");
    world.assert_nothing_reused();
}

/// Both have read the same token, and the second one has the lock when it is spent.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_refresh_one_row_at_once_spend_its_token_once() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root sees which files the programs have open");
        return;
    }
    let (world, logins) = two_logins().await;
    let lock = world.lock();
    // Without a daemon each is a process of its own that has the store open.
    let refreshes = [(); 2].map(|()| {
        let mut refresh = program(built("hermesctl"), world.home.path());
        let refresh = refresh.args(["auth", "refresh", "xai", "--label", "two", "--json"]);
        refresh
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    });
    world.until_waiting(2).await;
    drop(lock);
    for refresh in refreshes {
        let output = refresh.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let current = world.cloud.current_refresh_token(logins[1].family);
    assert_eq!(
        world.row("two")["refresh_token"].as_str(),
        current.as_deref()
    );
    assert_eq!(
        world.row("one")["refresh_token"],
        json!(logins[0].refresh_token)
    );
    assert_eq!(world.cloud.counts().refresh_calls, 1);
    world.assert_nothing_reused();
}

/// Hermes Agent renews a row that was made with `hermes auth add` alone, also where its token is in the block too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_rotated_into_a_twin_alone_is_taken_and_the_spent_token_is_not_sent() {
    for in_block in [true, false] {
        let world = World::new().await;
        world.cloud.set_access_ttl(Duration::from_hours(6));
        let login = world.cloud.login();
        let before = "2026-01-01T00:00:00Z";
        let hold = |alias: &Value| {
            let owner = json!({"last_refresh": before});
            let owner = with(row("one", 0, &login), &owner);
            if in_block {
                world.holds(&block(&login, before), std::slice::from_ref(alias));
            } else {
                world.holds(&Value::Null, &[owner, alias.clone()]);
            }
        };
        hold(&row("alias", 1, &login));
        let daemon = world.daemon();
        assert_eq!(logins_of(&world).len(), 1);
        world.cloud.advance(Duration::from_secs(2));
        let rotated = world.rotated_by_another(&login).await;
        hold(&row("alias", 1, &rotated));
        world.look_again();
        assert_eq!(world.serves_with(&daemon).await, rotated.access_token);
        assert_eq!(logins_of(&world).len(), 1);
        assert!(world.refreshed());
        let current = world.cloud.current_refresh_token(login.family);
        assert_ne!(current.as_ref(), Some(&rotated.refresh_token));
        let owner = if in_block {
            world.block()["tokens"]["refresh_token"].clone()
        } else {
            world.row("one")["refresh_token"].clone()
        };
        assert_eq!(owner.as_str(), current.as_deref());
        let alias = world.row("alias")["refresh_token"].clone();
        assert_eq!(alias.as_str(), current.as_deref(), "it follows");
        world.assert_nothing_reused();
    }
}

/// While no daemon ran, Hermes Agent has renewed one of two copies, and the other one's token has expired.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_left_behind_before_the_start_is_not_renewed() {
    for is_block_behind in [true, false] {
        let world = World::new().await;
        world.cloud.put_back(Duration::from_hours(30));
        let login = world.cloud.login();
        world.cloud.advance(Duration::from_hours(30));
        let rotated = world.rotated_by_another(&login).await;
        let (in_block, in_row) = if is_block_behind {
            (&login, &rotated)
        } else {
            (&rotated, &login)
        };
        let alias = row("alias", 1, in_row);
        world.holds(&block(in_block, &now()), std::slice::from_ref(&alias));
        let daemon = world.daemon();
        assert_eq!(world.serves_with(&daemon).await, rotated.access_token);
        let told = logins_of(&world);
        let stale = usize::from(!is_block_behind);
        assert_eq!(told[stale]["state"], "login_needed", "{told:#?}");
        world.look_again();
        assert_eq!(world.serves_with(&daemon).await, rotated.access_token);
        assert_eq!(world.cloud.counts().refresh_calls, 1, "the one of the test");
        // The other one is renewed as ever.
        let label = if is_block_behind { "alias" } else { "xai" };
        let line = ["auth", "refresh", "xai", "--label", label];
        let line = if is_block_behind {
            &line[..]
        } else {
            &line[..3]
        };
        assert!(ctl(world.home.path(), line).status.success());
        world.assert_nothing_reused();
        assert!(world.cloud.is_alive(login.family));
    }
}

pub(super) fn logins_of(world: &World) -> Vec<Value> {
    let output = ctl(world.home.path(), &["auth", "list", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mine = |login: &&Value| login["provider"] == "xai";
    let logins = list["logins"].as_array().unwrap();
    logins.iter().filter(mine).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_round_robin_the_logins_take_turns_and_a_reload_changes_that() {
    let (world, logins) = two_logins().await;
    world.configured("pool = \"round_robin\"");
    let daemon = world.daemon();
    let mut served = Vec::new();
    for _ in 0..4 {
        served.push(world.serves_with(&daemon).await);
    }
    assert_ne!(served[0], served[1]);
    assert_eq!((&served[0], &served[1]), (&served[2], &served[3]));
    world.configured("");
    world.look_again();
    for _ in 0..2 {
        assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
    }
    assert_eq!(world.cloud.counts().refresh_calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_marks_of_hermes_agent_are_obeyed_and_ours_by_it() {
    let world = World::new().await;
    world.cloud.set_access_ttl(Duration::from_mins(30));
    let logins = [world.cloud.login(), world.cloud.login()];
    std::fs::create_dir_all(world.home.path().join(".hermes")).unwrap();
    let mut hermes = Hermes::start(&world);
    let ids = logins.each_ref().map(|login| {
        let tokens =
            json!({"access_token": login.access_token, "refresh_token": login.refresh_token});
        let added = hermes.step(&format!("add {tokens}"));
        added["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{added}"))
            .to_owned()
    });
    let daemon = world.daemon();
    assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
    // Theirs, and the same end.
    let told = hermes.step("exhaust 429");
    assert_eq!(
        (&told["ok"], &told["id"]),
        (&json!(true), &json!(ids[1])),
        "{told}"
    );
    world.look_again();
    assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    let theirs = world.row(&ids[0])["last_status_at"].as_f64().unwrap() + 3600.0;
    let ours = logins_of(&world)[0]["cooldown"]["until"]
        .as_str()
        .unwrap()
        .to_owned();
    let ours: DateTime<Utc> = ours.parse().unwrap();
    let theirs =
        DateTime::<Utc>::from_timestamp(format!("{theirs:.0}").parse().unwrap(), 0).unwrap();
    assert!(
        (ours - theirs).num_seconds().abs() <= 1,
        "{ours} and {theirs}"
    );
    // Ours: then neither has any.
    world.cloud.fail_next(1, &limited(200));
    assert_eq!(world.asks(&daemon).await.status(), 429);
    world.marked(&daemon, &ids[1], &json!("exhausted")).await;
    let told = hermes.step("pool");
    assert!(
        told["error"].as_str().unwrap().contains("no usable entry"),
        "{told}"
    );
    let until = hermes.step(&format!("until {}", ids[1]));
    let marked = world.row(&ids[1]);
    assert_eq!(until["until"], marked["last_error_reset_at"]);
    // Theirs are taken out, and both go on.
    let told = hermes.step("reset");
    assert_eq!(told["ok"], true, "{told}");
    world.look_again();
    assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
    let told = hermes.step("pool");
    assert_eq!(told["id"], ids[0], "{told}");
}
