//! Several logins of which some are refused.

use mock_cloud::{Canned, Fault, Login};
use serde_json::{Value, json};
use support::{chat, client};

use super::World;
use super::pool::row;
use super::several::{logins_of, seconds_from_now};

const IDS: [&str; 3] = ["one", "two", "three"];

/// A world with this many logins in rows.
async fn logins(count: usize) -> (World, Vec<Login>) {
    let world = World::new().await;
    let logins: Vec<_> = (0..count).map(|_| world.cloud.login()).collect();
    let rows = IDS.iter().zip(0..).zip(&logins);
    let rows: Vec<_> = rows
        .map(|((id, place), login)| row(id, place, login))
        .collect();
    world.holds(&Value::Null, &rows);
    (world, logins)
}

/// As a path or model that the account may not use: no login is the cause.
#[tokio::test(flavor = "multi_thread")]
async fn what_every_login_is_refused_for_puts_none_to_rest() {
    for count in [2, 3] {
        let (world, _) = logins(count).await;
        let daemon = world.daemon();
        world.cloud.fail_next(2 * count, &Fault::unauthorized());
        assert_eq!(world.asks(&daemon).await.status(), 401);
        let asked = world.bearers().len();
        assert_eq!(asked, 2 * count, "each login and its newer token");
        let served = world.serves_with(&daemon).await;
        assert_eq!(world.row("one")["access_token"], served.as_str());
        for id in &IDS[..count] {
            assert!(world.row(id)["last_status"].is_null());
        }
        world.assert_nothing_reused();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_refused_logins_hide_no_third_one() {
    let (world, logins) = logins(3).await;
    let daemon = world.daemon();
    world.cloud.fail_next(4, &Fault::unauthorized());
    assert_eq!(world.serves_with(&daemon).await, logins[2].access_token);
    for id in ["one", "two"] {
        let marked = world.marked(&daemon, id, &json!("exhausted")).await;
        assert_eq!(marked["last_error_code"], 401, "{id}");
    }
    assert!(world.row("three")["last_status"].is_null());
    // They are not tried again for each request.
    let asked = world.bearers().len();
    assert_eq!(world.serves_with(&daemon).await, logins[2].access_token);
    assert_eq!(world.bearers().len(), asked + 1);
    world.assert_nothing_reused();
}

/// What a provider answers where the request, its model or its size is the cause.
fn blaming() -> [(u16, Canned); 3] {
    let credits = Canned::api_error(402, "billing", "insufficient_credits", "Ask for less.");
    let busy = Canned::api_error(429, "server", "overloaded", "The model is busy.");
    let model = Canned::json(
        403,
        &json!({"code": "denied", "error": "Not for this model."}),
    );
    [(402, credits), (429, busy), (403, model)]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_login_has_anything_left_for_is_the_requests_fault_and_puts_none_to_rest() {
    for (status, answer) in blaming() {
        for count in [2, 3] {
            let (world, logins) = logins(count).await;
            let daemon = world.daemon();
            world.cloud.fail_next(count, &Fault::Answer(answer.clone()));
            assert_eq!(world.asks(&daemon).await.status(), status);
            assert_eq!(world.bearers().len(), count, "each login once");
            assert_eq!(world.serves_with(&daemon).await, logins[0].access_token);
            let list = logins_of(&world);
            assert!(
                list.iter().all(|login| login["cooldown"].is_null()),
                "{list:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_logins_that_have_nothing_left_hide_no_third_one() {
    let (world, logins) = logins(3).await;
    let daemon = world.daemon();
    let [(_, credits), ..] = blaming();
    world.cloud.fail_next(2, &Fault::Answer(credits));
    assert_eq!(world.serves_with(&daemon).await, logins[2].access_token);
    for id in ["one", "two"] {
        let marked = world.marked(&daemon, id, &json!("exhausted")).await;
        assert_eq!(marked["last_error_code"], 402, "{id}");
        let ends = seconds_from_now(&marked["last_error_reset_at"]);
        assert!((3590..=3601).contains(&ends), "{id}: {ends}");
    }
    let asked = world.bearers().len();
    assert_eq!(world.serves_with(&daemon).await, logins[2].access_token);
    assert_eq!(world.bearers().len(), asked + 1);
}

/// Nothing tells then whether the request is the cause, and the others are needed for other apps' requests.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_login_that_has_something_left_serves_on_whatever_an_app_asks_for() {
    for (status, answer) in blaming() {
        let (world, logins) = logins(2).await;
        world.configured("[limits]\nreplay_body = \"1KiB\"");
        let daemon = world.daemon();
        // Its body can't be sent to another login.
        let large = || async {
            world.cloud.fail_next(1, &Fault::Answer(answer.clone()));
            let post = client().post(daemon.url("/chat/completions"));
            let answer = post.json(&chat(&"x".repeat(4096))).send().await.unwrap();
            assert_eq!(answer.status(), status);
        };
        large().await;
        let list = logins_of(&world);
        let seconds = list[0]["cooldown"]["in_seconds"].as_u64();
        assert!(seconds.is_some_and(|left| left <= 61), "{list:?}");
        assert_eq!(list[0]["cooldown"]["status"], status);
        assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
        for _ in 0..2 {
            large().await;
            assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
        }
        for id in ["one", "two"] {
            assert_ne!(world.row(id)["last_status"], "exhausted", "{id}");
        }
    }
    // Also where the other one has surely nothing left.
    let (world, logins) = logins(2).await;
    let daemon = world.daemon();
    world.cloud.fail_next(1, &Fault::rate_limited(300));
    assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    for (status, answer) in blaming() {
        world.cloud.fail_next(1, &Fault::Answer(answer));
        assert_eq!(world.asks(&daemon).await.status(), status);
        assert_eq!(world.serves_with(&daemon).await, logins[1].access_token);
    }
}
