//! A token's lifetime, as far as it is known: none, too short a one, and an end that nothing
//! renews.

use std::time::Duration;

use mock_cloud::{Canned, Endpoint, PortalFault};
use serde_json::json;

use super::{Login, World, ask, options};

const DEVICE: &str = "issuer_url = \"{portal}\"";

/// RFC 6749 §5.1: `expires_in` is optional, and an opaque token contains no lifetime.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_known_end_serves_until_it_is_refused() {
    for told in [None, Some(json!(0)), Some(json!(-5)), Some(json!(0.5))] {
        let world = World::new(options().opaque_tokens_infer().told_lifetime(told.clone())).await;
        world.configure(DEVICE);
        let mut daemon = world.daemon();
        world.log_in("acme");
        for restarted in [false, true] {
            if restarted {
                daemon.stop();
                daemon = world.daemon();
            }
            let answer = ask(&daemon, "acme").await.status();
            assert_eq!(answer, 200, "{told:?} {}", daemon.logged());
            let status = daemon.home_screen();
            let acme = &status["providers"][0];
            assert!(acme["expires_at"].is_null(), "{told:?} {acme}");
            assert!(acme["next_refresh_at"].is_null(), "{told:?} {acme}");
            assert_eq!(status["verdict"]["code"], "all_well", "{told:?} {status}");
            assert_eq!(world.cloud.counts().refresh_calls, 0, "{told:?}");
        }
        world.cloud.revoke_access_tokens();
        let answer = ask(&daemon, "acme").await.status();
        assert_eq!(answer, 200, "{told:?} {}", daemon.logged());
        assert_eq!(world.cloud.counts().refresh_calls, 1, "{told:?}");
        assert_eq!(world.cloud.counts().reuse_events, 0, "{told:?}");
    }
}

/// Each renewal spends a refresh token.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_over_when_they_come_are_renewed_at_the_pace_alone() {
    let world = World::new(options().access_ttl(Duration::ZERO)).await;
    world.configure(DEVICE);
    let daemon = world.daemon();
    world.log_in("acme");
    daemon.wait_for_log("renewals_paced");
    let begun = world.cloud.counts().refresh_calls;
    assert!(begun <= 6, "{begun}");
    for _ in 0..3 {
        assert_eq!(ask(&daemon, "acme").await.status(), 503);
    }
    assert_eq!(world.cloud.counts().refresh_calls, begun);
}

/// Nothing renews it: it is told from the login on, and not only once requests fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_refresh_token_tells_its_end_from_the_start() {
    let world = World::new(options()).await;
    world.configure(DEVICE);
    let mut daemon = world.daemon();
    let fault = PortalFault::NullAnswer("refresh_token");
    world.cloud.break_portal(Endpoint::DevicePoll, fault);
    let done = world.log_in("acme");
    assert!(done["ends_at"].is_string(), "{done}");
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
    let status = daemon.home_screen();
    assert_eq!(status["verdict"]["code"], "login_ends_soon", "{status}");
    let acme = &status["providers"][0];
    assert_eq!(acme["login"]["ends_at"], acme["expires_at"], "{acme}");
    assert!(acme["next_refresh_at"].is_null(), "{acme}");
    for running in [true, false] {
        if !running {
            daemon.stop();
        }
        let (renewed, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
        assert!(!renewed, "{running} {outcome}");
        assert_eq!(outcome["result"], "not_renewable", "{running}");
        assert_eq!(outcome["expires_at"], acme["expires_at"], "{running}");
        let told = support::ctl(world.home.path(), &["auth", "refresh", "acme"]);
        assert_eq!(told.status.code(), Some(4), "{running} {told:?}");
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains("without a refresh token"), "{running} {told}");
        let command = "hermesctl auth login acme --force";
        assert!(told.contains(command), "{running} {told}");
        let report = support::ctl(world.home.path(), &["doctor", "--json"]);
        let report = String::from_utf8(report.stdout).unwrap();
        assert!(report.contains("login_ends_soon"), "{running} {report}");
        assert!(
            report.contains("gave no refresh token"),
            "{running} {report}"
        );
        assert!(
            !report.contains("renewed before then"),
            "{running} {report}"
        );
    }
}

/// A login that no provider of the configuration uses is still a login.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_a_provider_that_is_not_configured_any_more_is_named_and_removed() {
    for retyped in [false, true] {
        let world = World::with(DEVICE).await;
        let mut daemon = world.daemon();
        world.log_in("acme");
        daemon.stop();
        let name = if retyped { "acme" } else { "other" };
        world.write(&format!(
            "default_provider = {name:?}\n[providers.{name}]\ntype = \"static\"\n\
             base_url = {:?}\nauth = \"none\"\n",
            world.cloud.inference_base_url()
        ));
        let _daemon = world.daemon();
        let report = support::ctl(world.home.path(), &["doctor", "--json"]);
        let report = String::from_utf8(report.stdout).unwrap();
        assert!(report.contains("still has a login of acme"), "{report}");
        assert!(report.contains("hermesctl auth logout acme"), "{report}");
        let (out, told) = world.ctl(&["auth", "logout", "acme", "--json"]);
        assert!(out, "{retyped} {told}");
        assert_eq!(told["removed_from"], json!([world.store_file()]), "{told}");
        assert!(world.block("acme").is_null(), "{}", world.store());
        let (again, told) = world.ctl(&["auth", "logout", "acme", "--json"]);
        assert!(!again, "{retyped} {told}");
        assert!(!told.to_string().contains("auth login"), "{retyped} {told}");
    }
}

/// A browser opens other schemes on the machine itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_whose_page_is_no_web_page_is_refused() {
    let world = World::with(DEVICE).await;
    let _daemon = world.daemon();
    let answer = json!({
        "device_code": "device-code-1", "user_code": "AB-CD", "expires_in": 600, "interval": 1,
        "verification_uri": "file:///etc/passwd",
    });
    let fault = PortalFault::Answer(Canned::json(200, &answer));
    world.cloud.break_portal(Endpoint::DeviceCode, fault);
    let (logged_in, end) = world.ctl(&["auth", "login", "acme", "--json"]);
    assert!(!logged_in, "{end}");
    let text = end.to_string();
    assert!(text.contains("not a web address"), "{text}");
    assert!(!text.contains("/etc/passwd"), "{text}");
}

/// No redirect is followed with a code, so that waiting is of no use.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_of_the_token_endpoint_ends_the_login_which_names_its_provider() {
    let world = World::with(DEVICE).await;
    let _daemon = world.daemon();
    let fault = PortalFault::Answer(Canned::status(307));
    world.cloud.break_portal(Endpoint::DevicePoll, fault);
    let mut login = Login::begin(&world, &["acme"]);
    login.line();
    let (end, success) = login.end();
    assert!(!success, "{end}");
    let text = end.to_string();
    assert!(text.contains("307") && text.contains("redirect"), "{text}");
    assert!(text.contains("hermesctl auth login acme"), "{text}");
}
