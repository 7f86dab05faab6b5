//! Several logins of OpenAI Codex: the account that a request names, the next login, and the length
//! of a rest.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mock_cloud::{Canned, Endpoint, Fault, Login, Options, PortalFault};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, ctl};
use tokio::time::Instant;

use super::{World, json_of, now};

/// The accounts of the rows, and the regions where their data has to stay.
const ACCOUNTS: [(&str, Option<&str>); 3] = [
    ("acc-one", Some("eu")),
    ("acc-two", None),
    ("acc-three", Some("us")),
];
const IDS: [&str; 3] = ["one", "two", "three"];

fn row(id: &str, priority: usize, login: &Login) -> Value {
    json!({
        "id": id, "label": format!("{id}@example.org"), "auth_type": "oauth", "priority": priority,
        "source": "manual:device_code", "access_token": login.access_token,
        "refresh_token": login.refresh_token, "last_status": null, "last_status_at": null,
        "last_error_code": null, "last_error_reason": null, "last_error_message": null,
        "last_error_reset_at": null, "last_refresh": now(), "theirs": [1],
    })
}

/// A world with a row for each account, in this order.
async fn three_logins(more: &str) -> (World, [Login; 3]) {
    let world = World::of(Options::default().codex("acc-none", None), more).await;
    let logins = ACCOUNTS.map(|(account, region)| world.cloud.login_of(account, region));
    let rows = [0, 1, 2].map(|nth| row(IDS[nth], nth, &logins[nth]));
    world.holds(&rows);
    (world, logins)
}

impl World {
    fn holds(&self, rows: &[Value]) {
        let store =
            json!({"version": 1, "providers": {}, "credential_pool": {"openai-codex": rows}});
        std::fs::create_dir_all(self.store_file().parent().unwrap()).unwrap();
        std::fs::write(self.store_file(), store.to_string()).unwrap();
    }

    fn row(&self, id: &str) -> Value {
        let store = self.store();
        let rows = store["credential_pool"]["openai-codex"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == id).unwrap().clone()
    }

    /// The accounts that requests have named so far.
    fn named(&self) -> Vec<String> {
        let requests = self.requests();
        let accounts = requests
            .iter()
            .flat_map(|seen| seen.header("chatgpt-account-id"));
        accounts.map(str::to_owned).collect()
    }

    /// The account that serves the next request.
    async fn served_by(&self, daemon: &Daemon) -> String {
        let answer = self.ask(daemon).await;
        assert_eq!(answer.status(), 200, "{}", daemon.logged());
        answer.bytes().await.unwrap();
        self.named().pop().unwrap()
    }

    async fn marked(&self, daemon: &Daemon, id: &str, status: &Value) -> Value {
        self.until(daemon, |world| world.row(id)["last_status"] == *status)
            .await;
        self.row(id)
    }
}

fn used_up(seconds: u64) -> Fault {
    let body = json!({"error": {
        "type": "usage_limit_reached", "message": "The usage limit has been reached",
        "plan_type": "plus", "resets_at": 4_000_000_000_u64, "resets_in_seconds": seconds,
    }});
    Fault::Answer(Canned::json(429, &body))
}

fn seconds_from_now(time: &Value) -> i64 {
    let at = time.as_f64().unwrap();
    let now: DateTime<Utc> = now().parse().unwrap();
    let at = DateTime::<Utc>::from_timestamp(format!("{at:.0}").parse().unwrap(), 0).unwrap();
    (at - now).num_seconds()
}

/// The mock refuses an account or region that is not the token's.
#[tokio::test(flavor = "multi_thread")]
async fn each_login_names_its_own_account_and_region_and_they_are_asked_in_their_order() {
    let (world, logins) = three_logins("").await;
    let daemon = world.daemon();
    for nth in [0, 1] {
        assert_eq!(world.served_by(&daemon).await, ACCOUNTS[nth].0);
        world.cloud.fail_next(1, &used_up(900));
        let next = ACCOUNTS[nth + 1];
        assert_eq!(world.served_by(&daemon).await, next.0);
        let seen = world.requests().pop().unwrap();
        let bearer = format!("Bearer {}", logins[nth + 1].access_token);
        assert_eq!(seen.header("authorization"), [&bearer]);
        let region: Vec<_> = next.1.into_iter().collect();
        assert_eq!(seen.header("x-openai-internal-codex-residency"), region);
        let marked = world.marked(&daemon, IDS[nth], &json!("exhausted")).await;
        assert_eq!(marked["last_error_code"], 429);
        assert_eq!(marked["theirs"], json!([1]));
        let rest = seconds_from_now(&marked["last_error_reset_at"]);
        assert!((890..=901).contains(&rest), "{rest}");
    }
    // Nothing was renewed for it, and the last one's answer is the client's.
    assert_eq!(world.cloud.counts().refresh_calls, 0);
    world.cloud.fail_next(1, &used_up(60));
    let answer = world.ask(&daemon).await;
    assert_eq!(answer.status(), 429);
    assert!(answer.text().await.unwrap().contains("usage_limit_reached"));
    let sent = world.named().len();
    let answer = world.ask(&daemon).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(
        answer.headers()["x-hermes-error"],
        "credentials_cooling_down"
    );
    assert_eq!(world.named().len(), sent, "nothing was sent");
    let list = json_of(&ctl(world.home.path(), &["auth", "list", "--json"]));
    let resting = list["logins"].as_array().unwrap().iter();
    let resting = resting.filter(|login| login["cooldown"]["code"] == "usage_limit_reached");
    assert_eq!(resting.count(), 3, "{list:#}");
    let reset = ctl(world.home.path(), &["auth", "reset", "openai-codex"]);
    assert!(reset.status.success(), "{reset:?}");
    assert_eq!(world.served_by(&daemon).await, ACCOUNTS[0].0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_has_ended_brings_its_login_back() {
    let (world, _) = three_logins("").await;
    let daemon = world.daemon();
    world.cloud.fail_next(1, &used_up(1));
    assert_eq!(world.served_by(&daemon).await, ACCOUNTS[1].0);
    let deadline = Instant::now() + PATIENCE;
    while world.served_by(&daemon).await != ACCOUNTS[0].0 {
        assert!(Instant::now() < deadline, "it never came back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let row = world.marked(&daemon, "one", &json!("ok")).await;
    assert!(row["last_error_code"].is_null(), "{row:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_round_robin_the_accounts_take_turns_and_one_that_rests_is_left_out() {
    let (world, _) = three_logins("pool = \"round_robin\"\n").await;
    let daemon = world.daemon();
    for _ in 0..6 {
        world.served_by(&daemon).await;
    }
    let named = world.named();
    let (first, second) = named.split_at(3);
    assert_eq!(first, second);
    for (account, _) in ACCOUNTS {
        assert!(first.iter().any(|one| one == account), "{named:?}");
    }
    world.cloud.fail_next(1, &used_up(900));
    world.served_by(&daemon).await;
    let rests = world.named()[6].clone();
    for _ in 0..4 {
        assert_ne!(world.served_by(&daemon).await, rests);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_renews_the_row_first_and_a_403_of_the_plan_goes_to_the_next_login() {
    let (world, logins) = three_logins("").await;
    let daemon = world.daemon();
    world.cloud.fail_next(1, &Fault::unauthorized());
    assert_eq!(world.served_by(&daemon).await, ACCOUNTS[0].0);
    let renewed = world.row("one");
    let current = world.cloud.current_refresh_token(logins[0].family);
    assert_eq!(renewed["refresh_token"].as_str(), current.as_deref());
    assert_ne!(renewed["access_token"], json!(logins[0].access_token));
    assert!(renewed["last_status"].is_null(), "{renewed:#}");

    let plan = json!({"error": {"code": "usage_not_included", "message": "no"}});
    let plan = Fault::Answer(Canned::json(403, &plan));
    world.cloud.fail_next(1, &plan);
    assert_eq!(world.served_by(&daemon).await, ACCOUNTS[1].0);
    let marked = world.marked(&daemon, "one", &json!("exhausted")).await;
    assert_eq!(marked["last_error_code"], 403, "{marked:#}");
    // Those that are about no account pass, and hold none back: what all of them answer is the request's fault.
    for busy in [
        Canned::status(429),
        Canned::api_error(429, "server", "overloaded", "busy"),
    ] {
        world.cloud.fail_next(2, &Fault::Answer(busy));
        assert_eq!(world.ask(&daemon).await.status(), 429);
        assert_eq!(world.served_by(&daemon).await, ACCOUNTS[1].0);
    }
    // A 403 that says nothing of the account is the request's own.
    let other = Fault::Answer(Canned::json(403, &json!({"detail": "Forbidden"})));
    world.cloud.fail_next(1, &other);
    assert_eq!(world.ask(&daemon).await.status(), 403);
    assert!(world.row("two")["last_status"].is_null());
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_login_has_ended_is_marked_and_the_next_account_serves() {
    let (world, logins) = three_logins("").await;
    let daemon = world.daemon();
    assert_eq!(world.served_by(&daemon).await, ACCOUNTS[0].0);
    let refresh = |id: &str| {
        let line = ["auth", "refresh", "openai-codex", "--label", id];
        ctl(world.home.path(), &line).status.success()
    };
    // What a company's proxy may say ends nothing.
    let no = PortalFault::Answer(Canned::status(403));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &no);
    assert!(!refresh("one"));
    assert_eq!(
        world.row("one")["refresh_token"],
        json!(logins[0].refresh_token)
    );
    assert_eq!(world.served_by(&daemon).await, ACCOUNTS[0].0);
    let ended = json!({"error": {"code": "refresh_token_invalidated", "message": "no"}});
    let ended = PortalFault::Answer(Canned::json(401, &ended));
    world.cloud.fail_portal(Endpoint::Refresh, 1, &ended);
    assert!(!refresh("one"));
    let marked = world.row("one");
    assert_eq!(marked["last_status"], "dead", "{marked:#}");
    assert_eq!(marked["last_error_reason"], "refresh_token_invalidated");
    assert_eq!(world.served_by(&daemon).await, ACCOUNTS[1].0);
    assert_eq!(
        world.row("two")["refresh_token"],
        json!(logins[1].refresh_token)
    );
    assert!(refresh("two"));
    assert_eq!(world.served_by(&daemon).await, ACCOUNTS[1].0);
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_login_shows_its_own_quota() {
    let (world, _) = three_logins("").await;
    let daemon = world.daemon();
    let quotas = || -> Vec<Value> {
        let output = ctl(world.home.path(), &["auth", "list", "--json"]);
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        let logins = list["logins"].as_array().unwrap().iter();
        let mine = logins.filter(|login| login["provider"] == "openai-codex");
        mine.map(|login| login["quota"]["windows"][0]["used_percent"].clone())
            .collect()
    };
    // Each is asked for at the start.
    support::until("all are told", || quotas().iter().all(Value::is_number));
    let asked = quotas()[0].clone();
    assert_eq!(world.ask(&daemon).await.status(), 200);
    support::until("the answer is heard", || {
        quotas() == [json!(12), asked.clone(), asked.clone()]
    });
    let used = daemon.status()["providers"][0]["quota"]["windows"][0]["used_percent"].clone();
    assert_eq!(used, 12);
    let list = ctl(world.home.path(), &["auth", "list"]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(
        list.contains("12 % used") && list.contains("34 % used"),
        "{list}"
    );
}
