//! The login on a page: pasted over SSH, declined, forged, and with another program at the port.

use mock_cloud::{Canned, Endpoint, PortalFault};
use serde_json::{Value, json};
use support::environment::works;
use support::{client, program};

use super::poison::document;
use super::{Login, World, ask, visit};

const BROWSER: &str = "issuer_url = \"{portal}\"\nflow = \"browser\"";

fn page(begun: &Value) -> &str {
    begun["page"]["url"]
        .as_str()
        .unwrap_or_else(|| panic!("no page: {begun}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ssh_the_address_that_the_browser_ends_at_is_pasted_with_a_daemon_and_without() {
    for with_daemon in [true, false] {
        let world = World::with(BROWSER).await;
        let daemon = with_daemon.then(|| world.daemon());
        let mut login = Login::begin(&world, &["acme"]);
        let begun = login.line();
        let back = visit(page(&begun)).await;
        // Foreign answers come first.
        login.paste(page(&begun));
        login.paste(&back.replace("state=", "state=x"));
        login.paste(&back);
        let (end, success) = login.end();
        assert!(success, "{end}");
        let daemon = daemon.unwrap_or_else(|| world.daemon());
        assert_eq!(
            ask(&daemon, "acme").await.status(),
            200,
            "{}",
            daemon.logged()
        );
        world.assert_no_secret_in("the log", &daemon.logged());
        world.assert_no_secret_in("the end", &end.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_alone_can_be_pasted() {
    let world = World::with(BROWSER).await;
    let daemon = world.daemon();
    let mut login = Login::begin(&world, &["acme"]);
    let back = visit(page(&login.line())).await;
    let back: url::Url = back.parse().unwrap();
    let code = back
        .query_pairs()
        .find(|(name, _)| name == "code")
        .unwrap()
        .1;
    login.paste(&code);
    let (end, success) = login.end();
    assert!(success, "{end}");
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_on_the_page_ends_the_login_and_the_browser_is_told_so() {
    let world = World::with(BROWSER).await;
    let _daemon = world.daemon();
    world.cloud.set_declines(true);
    let mut login = Login::begin(&world, &["acme"]);
    let back = visit(page(&login.line())).await;
    let shown = client()
        .get(&back)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(shown.contains("declined"), "{shown}");
    let (end, success) = login.end();
    assert!(!success, "{end}");
    assert_eq!(end["error"]["code"], "login_denied");
}

/// Another page of the browser, or another user, knows the port and not the state.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_answer_ends_nothing_and_nobodys_code_is_exchanged_but_the_users() {
    let world = World::with(BROWSER).await;
    let daemon = world.daemon();
    let mut login = Login::begin(&world, &["acme"]);
    let begun = login.line();
    let redirect = begun["page"]["redirect_uri"].as_str().unwrap();
    for forged in [
        "code=attackers-code",
        "code=attackers-code&state=guess",
        "error=access_denied",
    ] {
        let answer = client()
            .get(format!("{redirect}?{forged}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400);
    }
    let rebound = client()
        .get(redirect)
        .header("host", "evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), 403);
    let exchanges = || {
        let calls = world.cloud.calls();
        calls
            .iter()
            .filter(|call| call.endpoint == Endpoint::Exchange)
            .count()
    };
    assert_eq!(exchanges(), 0);
    let back = visit(page(&begun)).await;
    client().get(&back).send().await.unwrap();
    let (end, success) = login.end();
    assert!(success, "{end}");
    assert_eq!(exchanges(), 1);
    // The port is closed by then.
    assert!(client().get(&back).send().await.is_err());
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
}

/// RFC 9207: the page of one server may lead on to another server's, whose code must not reach the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_another_issuer_is_shown_to_nobody() {
    let typed = "flow = \"browser\"\nauthorize_url = \"{portal}/oauth2/authorize\"\n\
                 token_url = \"{portal}/oauth2/token\"";
    for settings in [BROWSER, typed] {
        let world = World::with(settings).await;
        let _daemon = world.daemon();
        let mut login = Login::begin(&world, &["acme"]);
        let begun = login.line();
        let back = visit(page(&begun)).await;
        let back = format!("{back}&iss=https%3A%2F%2Fgood.example");
        client().get(&back).send().await.unwrap();
        let (end, success) = login.end();
        assert!(
            !success && end.to_string().contains("another issuer"),
            "{end}"
        );
        let calls = world.cloud.calls();
        assert!(calls.iter().all(|call| call.endpoint != Endpoint::Exchange));
    }
}

/// The same of an error: it is not the provider's no.
#[tokio::test(flavor = "multi_thread")]
async fn a_no_of_another_issuer_is_not_taken_for_the_providers() {
    let no = async |world: &World, issuer: &str| {
        world.cloud.set_declines(true);
        let mut login = Login::begin(world, &["acme"]);
        let back = visit(page(&login.line())).await;
        assert!(back.contains("error=access_denied"), "{back}");
        client()
            .get(format!("{back}{issuer}"))
            .send()
            .await
            .unwrap();
        let (end, success) = login.end();
        assert!(!success, "{end}");
        end.to_string()
    };
    let world = World::with(BROWSER).await;
    let daemon = world.daemon();
    let end = no(&world, "&iss=https%3A%2F%2Fgood.example").await;
    assert!(end.contains("the error comes from another issuer"), "{end}");
    assert!(!end.contains("declined"), "{end}");
    let ours = world.cloud.portal_url().replace("://", "%3A%2F%2F");
    let end = no(&world, &format!("&iss={ours}")).await;
    assert!(end.contains("declined"), "{end}");
    assert!(no(&world, "").await.contains("declined"));
    drop(daemon);
    // A provider that says that it sends its name along.
    let world = World::with(BROWSER).await;
    let names = json!({"authorization_response_iss_parameter_supported": true});
    world.cloud.set_document(document(&world, &names));
    let _daemon = world.daemon();
    let end = no(&world, "").await;
    assert!(end.contains("the error came without the issuer"), "{end}");
    let ours = world.cloud.portal_url().replace("://", "%3A%2F%2F");
    assert!(
        no(&world, &format!("&iss={ours}"))
            .await
            .contains("declined")
    );
}

/// RFC 9207 §2.4: a provider that says so sends its name along, so a code without it is another's.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_lacks_the_issuer_which_the_provider_sends_along_is_shown_to_nobody() {
    let world = World::with(BROWSER).await;
    let names = json!({"authorization_response_iss_parameter_supported": true});
    world.cloud.set_document(document(&world, &names));
    let _daemon = world.daemon();
    let exchanges = || {
        let calls = world.cloud.calls().into_iter();
        calls
            .filter(|call| call.endpoint == Endpoint::Exchange)
            .count()
    };
    let begin = async || {
        let mut login = Login::begin(&world, &["--force", "acme"]);
        let back = visit(page(&login.line())).await;
        (login, back)
    };
    let (login, back) = begin().await;
    client().get(&back).send().await.unwrap();
    let (end, success) = login.end();
    assert!(
        !success && end.to_string().contains("came without the issuer"),
        "{end}"
    );
    assert_eq!(exchanges(), 0);
    let issuer = world.cloud.portal_url().replace("://", "%3A%2F%2F");
    let (login, back) = begin().await;
    client()
        .get(format!("{back}&iss={issuer}"))
        .send()
        .await
        .unwrap();
    let (end, success) = login.end();
    assert!(success, "{end}");
    // A page that shows the code alone has no way to say it.
    let (mut login, back) = begin().await;
    let code = back.split("code=").nth(1).unwrap();
    login.paste(code.split('&').next().unwrap());
    let (end, success) = login.end();
    assert!(success, "{end}");
    assert_eq!(exchanges(), 2);
}

/// A code that was shown may be spent; showing it twice would end what it has granted.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_whose_answer_is_lost_is_not_shown_again_and_one_that_was_not_looked_at_is() {
    let world = World::with(BROWSER).await;
    let _daemon = world.daemon();
    let exchanges = || {
        let calls = world.cloud.calls();
        calls
            .iter()
            .filter(|call| call.endpoint == Endpoint::Exchange)
            .count()
    };
    world
        .cloud
        .fail_portal(Endpoint::Exchange, 1, &PortalFault::DropAfterCommit);
    let mut login = Login::begin(&world, &["acme"]);
    let back = visit(page(&login.line())).await;
    let shown = client()
        .get(&back)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(shown.contains("Not logged in"), "{shown}");
    let (end, success) = login.end();
    assert!(!success && end["error"]["code"] == "login_failed", "{end}");
    assert_eq!(exchanges(), 1);
    let busy = PortalFault::Answer(Canned::status(503));
    world.cloud.fail_portal(Endpoint::Exchange, 1, &busy);
    let mut login = Login::begin(&world, &["acme"]);
    let back = visit(page(&login.line())).await;
    client().get(&back).send().await.unwrap();
    let (end, success) = login.end();
    assert!(success, "{end}");
    assert_eq!(exchanges(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_another_program_at_the_port_the_user_pastes_and_is_told_whose_it_is() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let redirect = format!("http://localhost:{port}/auth/callback");
    let world = World::with(&format!("{BROWSER}\nredirect_uri = {redirect:?}")).await;
    let daemon = world.daemon();
    let mut login = Login::begin(&world, &["acme"]);
    let begun = login.line();
    let deaf = begun["page"]["deaf"].as_str().unwrap();
    assert!(deaf.contains(&format!("Port {port} is used by ")), "{deaf}");
    assert!(
        deaf.contains(&format!("pid {}", std::process::id())),
        "{deaf}"
    );
    let back = visit(page(&begun)).await;
    login.paste(&back);
    let (end, success) = login.end();
    assert!(success, "{end}");
    assert_eq!(ask(&daemon, "acme").await.status(), 200);
}

/// An old hermesctl knows codes alone, and a provider with codes has no page.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_another_way_than_there_is_is_told_what_there_is() {
    let world = World::with("issuer_url = \"{portal}\"").await;
    let _daemon = world.daemon();
    let (success, end) = world.ctl(&["auth", "login", "acme", "--browser", "--json"]);
    assert!(!success);
    assert_eq!(end["error"]["code"], "not_supported", "{end}");
    assert_eq!(end["error"]["hint"], "Run: hermesctl auth login acme");
}

/// Another user may have seen the page's address, `state` and all, in the list of processes.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn another_user_of_the_machine_brings_no_answer_even_with_the_state() {
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "curl"];
    if !works("setpriv", &[&nobody[..], &["-V"]].concat()) {
        return;
    }
    let world = World::with(BROWSER).await;
    let daemon = world.daemon();
    let mut login = Login::begin(&world, &["acme"]);
    let back = visit(page(&login.line())).await;
    let forged = back.replace("code=", "code=attackers-");
    let mut curl = program("setpriv", "/".as_ref());
    curl.args(nobody).args(["-sS", "--noproxy", "*", &forged]);
    let output = curl.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    let is_exchange = |call: &mock_cloud::Call| call.endpoint == Endpoint::Exchange;
    assert!(!world.cloud.calls().iter().any(is_exchange));
    client().get(&back).send().await.unwrap();
    let (end, success) = login.end();
    assert!(success, "{end}");
    daemon.wait_for_log("not known to be this user");
}
