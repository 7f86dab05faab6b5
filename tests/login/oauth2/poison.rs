//! Attempts to send a token to another host: none succeeds.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use mock_cloud::{Canned, Endpoint, PortalFault, Tls};
use serde_json::{Value, json};

use super::{Login, World, ask, options};

const DEVICE: &str = "issuer_url = \"{portal}\"";

/// Another host, as it were: it keeps what it is sent, and answers like a token endpoint.
struct Thief {
    url: String,
    heard: Arc<Mutex<String>>,
}

impl Thief {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(String::new()));
        let writer = heard.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut bytes = [0; 16 * 1024];
                let read = stream.read(&mut bytes).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                writer.lock().unwrap().push_str(&text);
                let body = r#"{"access_token":"stolen","refresh_token":"stolen"}"#;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                let length = body.len();
                write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{body}").ok();
            }
        });
        Self { url, heard }
    }

    fn assert_heard_nothing(&self, what: &str) {
        let heard = self.heard.lock().unwrap();
        assert!(heard.is_empty(), "{what}: {heard}");
    }
}

/// The document of this cloud with something else in it.
pub(super) fn document(world: &World, change: &Value) -> Canned {
    let portal = world.cloud.portal_url();
    let mut document = json!({
        "issuer": portal,
        "authorization_endpoint": format!("{portal}/oauth2/authorize"),
        "token_endpoint": format!("{portal}/oauth2/token"),
        "device_authorization_endpoint": format!("{portal}/oauth2/device/code"),
    });
    for (key, value) in change.as_object().unwrap() {
        document[key] = value.clone();
    }
    Canned::json(200, &document)
}

/// A world with a login, whose daemon restarts with the poisoned document; returns what `auth
/// refresh` says then.
async fn refreshed_with(change: impl FnOnce(&World) -> Canned) -> (World, String) {
    let world = World::with(DEVICE).await;
    let daemon = world.daemon();
    world.log_in("acme");
    drop(daemon);
    world.cloud.set_document(change(&world));
    let daemon = world.daemon();
    let before = world.block("acme");
    let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert_eq!(outcome["result"], "failed", "{outcome}");
    assert_eq!(world.block("acme"), before, "the login is as it was");
    assert_eq!(world.cloud.counts().refresh_calls, 0);
    // The token in use still serves.
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
    (world, outcome["detail"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_with_a_token_endpoint_on_another_host_is_not_followed() {
    let thief = Thief::new();
    let endpoint = json!({"token_endpoint": format!("{}/oauth2/token", thief.url)});
    let (_, detail) = refreshed_with(|world| document(world, &endpoint)).await;
    assert!(detail.contains("begins with http://"), "{detail}");
    assert!(detail.contains("providers.acme.token_url"), "{detail}");
    thief.assert_heard_nothing("a token endpoint elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_another_issuer_is_not_believed() {
    let thief = Thief::new();
    let other = json!({"issuer": thief.url});
    let (_, detail) = refreshed_with(|world| document(world, &other)).await;
    assert!(detail.contains("another issuer"), "{detail}");
    assert!(detail.contains("providers.acme.issuer_url"), "{detail}");
    thief.assert_heard_nothing("another issuer's document");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_redirects_is_not_followed() {
    let thief = Thief::new();
    let location = format!("{}/.well-known/openid-configuration", thief.url);
    let (_, detail) = refreshed_with(|_| Canned::redirect(302, &location)).await;
    assert!(detail.contains("no discovery document"), "{detail}");
    thief.assert_heard_nothing("a redirect of the document");
}

/// An attacker in between could read a token that goes by http, even to the issuer's own host.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_with_an_endpoint_by_http_on_the_issuers_own_host_is_not_followed() {
    let world = World::new(options().portal_tls(Tls::On)).await;
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    world.configure(&format!("{DEVICE}\nca_file = {ca:?}"));
    let daemon = world.daemon();
    world.log_in("acme");
    drop(daemon);
    let plain = world.cloud.portal_url().replace("https://", "http://");
    let endpoint = json!({"token_endpoint": format!("{plain}/oauth2/token")});
    world.cloud.set_document(document(&world, &endpoint));
    let daemon = world.daemon();
    let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert_eq!(outcome["result"], "failed", "{outcome}");
    let detail = outcome["detail"].as_str().unwrap();
    assert!(
        detail.contains("begins with http://") && detail.contains("providers.acme.token_url"),
        "{detail}"
    );
    assert_eq!(world.cloud.counts().refresh_calls, 0);
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
}

/// A code, and the secret of the client, are as good as a token.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_with_a_page_or_codes_elsewhere_begins_no_login() {
    for (flow, field) in [
        ("device", "device_authorization_endpoint"),
        ("browser", "authorization_endpoint"),
    ] {
        let thief = Thief::new();
        let world = World::with(&format!("{DEVICE}\nflow = {flow:?}")).await;
        let elsewhere = json!({field: format!("{}/oauth2", thief.url)});
        world.cloud.set_document(document(&world, &elsewhere));
        let _daemon = world.daemon();
        let mut login = Login::begin(&world, &["acme"]);
        let end = login.line();
        assert_eq!(end["error"]["code"], "login_failed", "{end}");
        thief.assert_heard_nothing(field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_redirects_is_not_followed_and_spends_nothing() {
    for status in [301, 302, 307, 308] {
        let thief = Thief::new();
        let world = World::with(DEVICE).await;
        let daemon = world.daemon();
        world.log_in("acme");
        let location = format!("{}/oauth2/token", thief.url);
        let redirect = PortalFault::Answer(Canned::redirect(status, &location));
        world.cloud.break_portal(Endpoint::Refresh, redirect);
        let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
        assert_eq!(outcome["result"], "failed", "{outcome}");
        thief.assert_heard_nothing("a redirect of the token endpoint");
        world.cloud.heal();
        let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
        assert_eq!(
            outcome["result"],
            "refreshed",
            "{status}: {}",
            daemon.logged()
        );
        assert_eq!(world.cloud.counts().reuse_events, 0);
    }
}

/// The fields that other providers' logins have for where a token goes, and any other that might.
#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_the_store_or_of_a_token_answer_says_where_a_token_goes() {
    let thief = Thief::new();
    let world = World::with(DEVICE).await;
    let daemon = world.daemon();
    world.log_in("acme");
    drop(daemon);
    let poison = json!({
        "base_url": format!("{}/v1", thief.url),
        "inference_base_url": format!("{}/v1", thief.url),
        "portal_base_url": thief.url,
        "issuer_url": thief.url,
        "token_url": format!("{}/oauth2/token", thief.url),
        "discovery": {"token_endpoint": format!("{}/oauth2/token", thief.url)},
        "tls": {"insecure": true, "ca_bundle": "/nowhere"},
    });
    let mut store = world.store();
    for (key, value) in poison.as_object().unwrap() {
        store["providers"]["oauth2-acme"][key] = value.clone();
    }
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let daemon = world.daemon();
    assert_eq!(
        ask(&daemon, "acme").await.status(),
        200,
        "{}",
        daemon.logged()
    );
    world
        .cloud
        .break_portal(Endpoint::Refresh, PortalFault::EditAnswer(poison));
    let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert_eq!(outcome["result"], "refreshed", "{outcome}");
    assert_eq!(
        ask(&daemon, "acme").await.status(),
        200,
        "{}",
        daemon.logged()
    );
    thief.assert_heard_nothing("the store and the token answer");
}

/// A store that was made at one issuer is not shown to another that the configuration names now.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_one_issuer_is_not_shown_to_another() {
    let thief = Thief::new();
    let world = World::with(DEVICE).await;
    let daemon = world.daemon();
    world.log_in("acme");
    world.configure(&format!(
        "token_url = \"{0}/oauth2/token\"\ndevice_url = \"{0}/oauth2/device\"",
        thief.url
    ));
    let (reloaded, report) = world.ctl(&["proxy", "reload", "--json"]);
    assert!(reloaded, "{report}");
    let (_, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert_ne!(outcome["result"], "refreshed", "{outcome}");
    let answer = ask(&daemon, "acme").await;
    assert_eq!(answer.status(), 401);
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("another issuer") && text.contains("hermesctl auth login acme"),
        "{text}"
    );
    thief.assert_heard_nothing("another issuer");
    // Put back, the login is there as it was.
    world.configure(DEVICE);
    world.ctl(&["proxy", "reload", "--json"]);
    assert_eq!(
        ask(&daemon, "acme").await.status(),
        200,
        "{}",
        daemon.logged()
    );
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

/// A redirect of the API goes to the client, whose own business it is; the token stays here.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_of_the_api_takes_no_token_along() {
    let thief = Thief::new();
    let world = World::with(DEVICE).await;
    let daemon = world.daemon();
    world.log_in("acme");
    let location = format!("{}/v1/chat/completions", thief.url);
    let redirect = mock_cloud::Fault::Answer(Canned::redirect(307, &location));
    world.cloud.fail_next(1, &redirect);
    let status = ask(&daemon, "acme").await.status();
    assert!(!status.is_success(), "{status}");
    thief.assert_heard_nothing("a redirect of the API");
}

/// A reload in the middle of a login: what the former issuer grants is not the new one's.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_begun_elsewhere_is_not_stored_as_one_of_the_present_issuer_or_client() {
    let thief = Thief::new();
    for changed in [
        format!("issuer_url = {:?}", thief.url),
        "issuer_url = \"{portal}\"\nclient_id = \"another-client\"".to_owned(),
    ] {
        let world = World::with(DEVICE).await;
        let _daemon = world.daemon();
        let mut login = Login::begin(&world, &["acme"]);
        let begun = login.line();
        if changed.contains("client_id") {
            let settings = changed.replace("{portal}", &world.cloud.portal_url());
            world.write(&format!(
                "default_provider = \"acme\"\n[providers.acme]\ntype = \"oauth2\"\nbase_url = {:?}\n{settings}\n",
                world.cloud.inference_base_url(),
            ));
        } else {
            world.configure(&changed);
        }
        let (_, reloaded) = world.ctl(&["proxy", "reload", "--json"]);
        world
            .cloud
            .approve(begun["code"]["user_code"].as_str().unwrap());
        let (end, success) = login.end();
        let said = end.to_string();
        assert!(
            !success && said.contains("configuration of the provider acme changed"),
            "{said} {reloaded}"
        );
        assert!(said.contains("hermesctl auth login acme"), "{said}");
        let stored = std::fs::read_to_string(world.store_file()).unwrap_or_default();
        assert!(!stored.contains("refresh_token"), "{stored}");
    }
    thief.assert_heard_nothing("the issuer of the new configuration");
}

/// RFC 6749 §7.1: a client that does not understand a token's type does not use it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_type_goes_nowhere() {
    let world = World::with(DEVICE).await;
    let daemon = world.daemon();
    world.log_in("acme");
    drop(daemon);
    let mut store = world.store();
    store["providers"]["oauth2-acme"]["token_type"] = "mac".into();
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let daemon = world.daemon();
    let message = support::error(ask(&daemon, "acme").await, 401, "upstream_auth_failed").await;
    assert!(message.contains("type \"mac\""), "{message}");
    assert_eq!(world.cloud.counts().requests, 0);
    assert_eq!(world.store(), store, "nothing is lost");
}

/// What no request could carry takes the place of no login that works.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_can_not_be_used_is_refused_and_nothing_of_the_former_one_is_lost() {
    let world = World::with(DEVICE).await;
    let daemon = world.daemon();
    for (granted, why) in [
        (json!({"token_type": "mac"}), "type \"mac\""),
        (json!({"token_type": "N_A"}), "type \"N_A\""),
        (
            json!({"access_token": "one\r\ntwo"}),
            "no request can carry",
        ),
        (
            json!({"access_token": "one\u{7f}two"}),
            "no request can carry",
        ),
    ] {
        for args in [
            &["acme"][..],
            &["acme", "--force"],
            &["acme", "--label", "work"],
        ] {
            let store = std::fs::read(world.store_file()).ok();
            if store.is_some() == (args == ["acme"]) {
                continue;
            }
            let odd = PortalFault::EditAnswer(granted.clone());
            world.cloud.fail_portal(Endpoint::DevicePoll, 9, &odd);
            let mut login = Login::begin(&world, args);
            let begun = login.line();
            world
                .cloud
                .approve(begun["code"]["user_code"].as_str().unwrap());
            let (end, success) = login.end();
            assert!(!success, "{granted} {end}");
            assert_eq!(end["error"]["code"], "login_failed", "{end}");
            let said = end["error"].to_string();
            let why = json!(why).to_string();
            assert!(said.contains(why.trim_matches('"')), "{granted} {said}");
            assert!(said.contains("hermesctl auth login acme"), "{said}");
            assert_eq!(std::fs::read(world.store_file()).ok(), store, "{granted}");
        }
        world.cloud.heal();
        // From here on there is one that works.
        if !world.store_file().exists() {
            world.log_in("acme");
        }
        assert_eq!(ask(&daemon, "acme").await.status(), 200);
    }
}
