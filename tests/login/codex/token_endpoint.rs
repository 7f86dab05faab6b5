//! The meaning of the token endpoint's answers.

use mock_cloud::{Canned, Endpoint, Fault, PortalFault};
use serde_json::json;

use super::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_hermes_agent_is_renewed_in_its_own_layout() {
    let (world, login) = World::with_a_login().await;
    world.cloud.advance(std::time::Duration::from_secs(1));
    let daemon = world.daemon();
    daemon.renew().await;
    let renewed =
        |world: &World| world.block()["tokens"]["refresh_token"] != json!(login.refresh_token);
    world.until(&daemon, renewed).await;
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
    assert_eq!(
        (&block["auth_mode"], &block["label"]),
        (&json!("chatgpt"), &json!("me"))
    );
    assert!(block["tokens"].get("expires_in").is_none());
    let row = &world.store()["credential_pool"]["openai-codex"][0];
    assert_eq!(row["refresh_token"], block["tokens"]["refresh_token"]);
    assert!(row["last_status"].is_null());
    assert_eq!(world.ask(&daemon).await.status(), 200);
    assert_eq!(world.cloud.counts().reuse_events, 0);
    assert!(
        !world.home.path().join(".hermes/shared").exists(),
        "no mirror"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_of_the_backend_renews_once_and_is_replayed() {
    let (world, login) = World::with_a_login().await;
    world.cloud.advance(std::time::Duration::from_secs(1));
    let daemon = world.daemon();
    world.cloud.revoke_access_token(&login.access_token);
    assert_eq!(
        world.ask(&daemon).await.status(),
        200,
        "{}",
        daemon.logged()
    );
    assert_eq!(world.cloud.counts().refreshes, 1);
    let seen = world.requests();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[0].body_sha256, seen[1].body_sha256,
        "the same body again"
    );
}

/// Errors come as an object or as a text.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_says_so_ends_the_login_and_nothing_else_does() {
    let object = |status, code: &str| {
        Canned::json(
            status,
            &json!({"error": {"code": code, "message": "no", "type": "t"}}),
        )
    };
    let text = |status, code: &str| Canned::json(status, &json!({ "error": code }));
    for (answer, ends) in [
        (object(400, "invalid_request"), Some("invalid_request")),
        (text(400, "invalid_grant"), Some("invalid_grant")),
        (object(400, "server_busy"), None),
        (
            object(401, "refresh_token_expired"),
            Some("refresh_token_expired"),
        ),
        (
            object(403, "refresh_token_reused"),
            Some("refresh_token_reused"),
        ),
        // A company's proxy, a country, the edge: none of them knows whether the login lives.
        (Canned::status(401), None),
        (object(403, "unsupported_country_region_territory"), None),
        (text(403, "odd"), None),
        (Canned::status(403), None),
        (Canned::edge_block(), None),
        (object(429, "usage_limit_reached"), None),
        (object(503, "overloaded"), None),
    ] {
        let (world, login) = World::with_a_login().await;
        let daemon = world.daemon();
        let shown = format!("{answer:?}");
        let fault = PortalFault::Answer(answer);
        world.cloud.break_portal(Endpoint::Refresh, fault);
        world.cloud.fail_next(1, &Fault::unauthorized());
        world.ask(&daemon).await;
        let told = |_: &World| !daemon.status()["providers"][0]["last_error"].is_null();
        world.until(&daemon, told).await;
        let block = world.block();
        if let Some(code) = ends {
            assert!(block.get("tokens").is_none(), "{shown}");
            assert_eq!(block["last_auth_error"]["code"], code, "{shown}");
            assert_eq!(block["auth_mode"], "chatgpt");
        } else {
            let kept = json!(login.refresh_token);
            assert_eq!(block["tokens"]["refresh_token"], kept, "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_token_ends_the_whole_family_at_the_cloud() {
    let world = World::new().await;
    let login = world.cloud.login();
    let refresh = async |token: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", mock_cloud::CODEX_CLIENT_ID),
        ];
        let url = format!("{}/oauth/token", world.cloud.portal_url());
        let answer = support::client()
            .post(url)
            .form(&form)
            .send()
            .await
            .unwrap();
        answer.status().as_u16()
    };
    assert_eq!(refresh(&login.refresh_token).await, 200);
    assert_eq!(refresh(&login.refresh_token).await, 401);
    assert!(!world.cloud.is_alive(login.family));
}
