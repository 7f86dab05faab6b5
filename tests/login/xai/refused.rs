//! Several logins of which some are refused.

use mock_cloud::{Fault, Login};
use serde_json::{Value, json};

use super::World;
use super::pool::row;

const IDS: [&str; 3] = ["one", "two", "three"];

/// A world with so many logins in rows.
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
