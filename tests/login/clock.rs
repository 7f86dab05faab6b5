//! The portal's clock differs, or it reports odd lifetimes: requests are still served, without a
//! storm of refreshes.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and tells its figures"
)]

use std::time::{Duration, Instant};

use mock_cloud::{Endpoint, Options, PortalFault};
use serde_json::json;
use support::{Daemon, World, chat, client};

const HOUR: i64 = 3600;
/// How long a storm would have to begin.
const WATCHED: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_an_hour_ahead_is_no_reason_to_fail_a_request() {
    assert_serves_with_a_portal_that_is_ahead(HOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_an_hour_behind_is_no_reason_to_fail_a_request() {
    assert_serves_with_a_portal_that_is_ahead(-HOUR).await;
}

/// A login that Hermes Agent left, then a rotation, then a restart: the first request of each is
/// served, and each costs one refresh at most.
async fn assert_serves_with_a_portal_that_is_ahead(seconds: i64) {
    let world = World::new(Options::default().clock_ahead(seconds)).await;
    let calls = || world.cloud.counts().refresh_calls;
    let mut daemon = world.daemon();
    serve_for_a_while(&daemon, "the first start").await;
    let first = calls();
    world.cloud.revoke_access_tokens();
    serve_for_a_while(&daemon, "after a rotation").await;
    let rotated = calls() - first;
    assert!(daemon.stop().success());
    let daemon = world.daemon();
    serve_for_a_while(&daemon, "after a restart").await;
    let restarted = calls() - rotated - first;
    let counts = world.cloud.counts();
    println!(
        "a portal {seconds} s ahead: {first} refreshes after the start, {rotated} after a 401, \
         {restarted} after a restart; {} requests, all served",
        counts.requests
    );
    assert!(first <= 1 && restarted <= 1, "{first}, {restarted}");
    assert_eq!((rotated, counts.reuse_events), (1, 0), "{counts:?}");
    assert!(world.cloud.is_alive(world.family()));
    assert_eq!(daemon.status()["providers"][0]["state"], "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_lifetime_serves_on_without_a_storm() {
    assert_odd_lifetimes_cause_no_storm("expires_in of an invoke JWT", false, Endpoint::Refresh)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_lifetime_of_an_opaque_token_serves_on_without_a_storm() {
    assert_odd_lifetimes_cause_no_storm("expires_in of an opaque token", true, Endpoint::Refresh)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_lifetime_of_an_agent_key_serves_on_without_a_storm() {
    assert_odd_lifetimes_cause_no_storm("expires_in of an agent key", true, Endpoint::AgentKey)
        .await;
}

async fn assert_odd_lifetimes_cause_no_storm(what: &str, opaque: bool, endpoint: Endpoint) {
    // An agent key's end is reported twice.
    let edit = |value| PortalFault::EditAnswer(json!({"expires_in": value, "expires_at": null}));
    let rows = [
        ("0", edit(json!(0))),
        ("-5", edit(json!(-5))),
        ("\"3600\"", edit(json!("3600"))),
        ("1e18", edit(json!(1e18))),
        ("\"soon\"", edit(json!("soon"))),
        ("null", PortalFault::NullAnswer("expires_in")),
        ("absent", edit(json!(null))),
    ];
    let watched = rows.map(|(name, fault)| async move {
        let world = World::new(Options::default().opaque_access_tokens(opaque)).await;
        world.cloud.break_portal(endpoint, fault);
        let daemon = world.daemon();
        world.cloud.revoke_access_tokens();
        let failed = failures_in_a_while(&daemon).await;
        let counts = world.cloud.counts();
        let next = daemon.status()["providers"][0]["next_refresh_in_seconds"].clone();
        assert!(world.cloud.is_alive(world.family()), "{name}");
        (name, counts.refresh_calls, counts.mint_calls, failed, next)
    });
    let rows = futures_util::future::join_all(watched).await;
    println!(
        "| {what} | refreshes in {} s | minted | failed requests | next (s) |",
        WATCHED.as_secs()
    );
    for (name, refreshes, minted, failed, next) in &rows {
        println!("| {name} | {refreshes} | {minted} | {failed} | {next} |");
    }
    for (name, refreshes, minted, failed, _) in rows {
        assert_eq!(failed, 0, "{what}: {name}");
        assert!(
            refreshes <= 2 && minted <= 2,
            "{what}: {name}: {refreshes}, {minted}"
        );
    }
}

/// Asks all the time. Every request must be served.
async fn serve_for_a_while(daemon: &Daemon, when: &str) {
    let failed = failures_in_a_while(daemon).await;
    assert_eq!(failed, 0, "{when}: {}", daemon.logged());
}

/// Asks all the time; how many requests were not served.
async fn failures_in_a_while(daemon: &Daemon) -> usize {
    let http = client();
    let deadline = Instant::now() + WATCHED;
    let mut failed = 0;
    while Instant::now() < deadline {
        let request = http.post(daemon.url("/chat/completions")).json(&chat("x"));
        failed += usize::from(request.send().await.unwrap().status() != 200);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    failed
}
