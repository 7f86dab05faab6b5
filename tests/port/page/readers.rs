//! The readers of the page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mock_cloud::Options;
use reqwest::RequestBuilder;
use support::several::Several;
use support::{World, chat, client, error};

use super::BROWSER;

const PATHS: [&str; 2] = ["/", "/status.json"];

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_and_a_rebound_name_are_refused() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    for path in PATHS {
        let ask = || {
            client()
                .get(format!("{}{path}", daemon.origin()))
                .header("accept", BROWSER)
        };
        for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
            let refused = ask().header("origin", origin).send().await.unwrap();
            error(refused, 403, "origin_not_allowed").await;
        }
        let rebound = ask().header("host", "evil.example").send().await.unwrap();
        error(rebound, 403, "host_not_allowed").await;
        for (mode, target) in [
            ("navigate", "iframe"),
            ("no-cors", "image"),
            ("no-cors", "script"),
        ] {
            let framed = ask().header("sec-fetch-site", "cross-site");
            let framed = framed
                .header("sec-fetch-mode", mode)
                .header("sec-fetch-dest", target);
            error(framed.send().await.unwrap(), 403, "origin_not_allowed").await;
        }
        // A link shows the page only to the person who follows it.
        let link = ask()
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "navigate");
        let link = link
            .header("sec-fetch-dest", "document")
            .send()
            .await
            .unwrap();
        assert_eq!(link.status(), 200);
        assert!(!link.headers().contains_key("access-control-allow-origin"));
        let post = client()
            .post(format!("{}{path}", daemon.origin()))
            .header("accept", BROWSER);
        error(post.send().await.unwrap(), 405, "method_not_allowed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn off_loopback_a_browser_is_asked_for_a_key() {
    let world = World::new(Options::default()).await;
    let key = world.ctl(&["clients", "add", "phone"]);
    let key = String::from_utf8(key.stdout).unwrap().trim().to_owned();
    let daemon = world.daemon_with("[[listen]]\naddress = \"0.0.0.0:0\"\n", &[]);
    let port = daemon.address().rsplit_once(':').unwrap().1;
    let basic = |pair: String| format!("Basic {}", STANDARD.encode(pair));
    for path in PATHS {
        let ask = |accept: &str| {
            client()
                .get(format!("http://127.0.0.1:{port}{path}"))
                .header("accept", accept)
        };
        let told = |answer: &reqwest::Response| {
            let asks = &answer.headers()["www-authenticate"];
            asks.to_str().unwrap().to_owned()
        };
        let browser = ask(BROWSER).send().await.unwrap();
        assert!(
            told(&browser).starts_with("Basic realm=\"hermes-proxyd"),
            "{browser:?}"
        );
        error(browser, 401, "invalid_client_key").await;
        let program = ask("*/*").send().await.unwrap();
        assert_eq!(told(&program), "Bearer");
        error(program, 401, "invalid_client_key").await;
        let wrong = ask(BROWSER).header("authorization", basic("me:hpx-wrong".to_owned()));
        error(wrong.send().await.unwrap(), 401, "invalid_client_key").await;
        for pair in [format!("me:{key}"), format!("{key}:")] {
            let shown = ask(BROWSER)
                .header("authorization", basic(pair))
                .send()
                .await
                .unwrap();
            assert_eq!(shown.status(), 200);
            let text = shown.text().await.unwrap();
            assert!(!text.contains(&key), "{text}");
            let base = format!("http://127.0.0.1:{port}/v1");
            assert!(
                path != "/"
                    || text.contains(&format!(
                        "OPENAI_BASE_URL={base}\nOPENAI_API_KEY=YOUR_CLIENT_KEY<"
                    ))
            );
        }
    }
    // Whatever asks for a model is told as before.
    let models = client()
        .get(format!("http://127.0.0.1:{port}/v1/models"))
        .header("accept", BROWSER);
    assert_eq!(
        models.send().await.unwrap().headers()["www-authenticate"],
        "Bearer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_one_provider_shows_nothing_of_the_others() {
    let world = Several::new().await;
    world.configure("");
    let daemon = world.daemon(&[]);
    let add = |args: &[&str]| {
        let added = support::ctl(world.path(), &[&["clients", "add"], args].concat());
        String::from_utf8(added.stdout).unwrap().trim().to_owned()
    };
    let (narrow, whole) = (add(&["narrow", "--provider", "nous"]), add(&["whole"]));
    for key in [&narrow, &whole] {
        let asked = client()
            .post(daemon.url("/chat/completions"))
            .bearer_auth(key)
            .json(&chat("x"));
        assert_eq!(asked.send().await.unwrap().status(), 200);
        let fails = client()
            .post(format!("{}/fixed/v1/chat/completions", daemon.origin()))
            .bearer_auth(key);
        fails
            .json(&chat("x"))
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
    }
    let get = |path: &str, key: &str| -> RequestBuilder {
        let url = format!("{}{path}", daemon.origin());
        client().get(url).header("accept", BROWSER).bearer_auth(key)
    };
    let text = async |request: RequestBuilder| request.send().await.unwrap().text().await.unwrap();
    let page = text(get("/", &whole)).await;
    for name in [
        "data-provider=\"nous\"",
        "data-provider=\"xai\"",
        "data-provider=\"fixed\"",
        ">narrow<",
        ">whole<",
        "<figure",
    ] {
        assert!(page.contains(name), "{name} in {page}");
    }
    let page = text(get("/", &narrow)).await;
    assert!(
        page.contains("data-provider=\"nous\"") && page.contains(">narrow<"),
        "{page}"
    );
    for name in ["xai", "xAI", "fixed", "acme", "whole", "<figure"] {
        let body = page
            .split("</style>")
            .nth(1)
            .unwrap()
            .split("<script>")
            .next()
            .unwrap();
        assert!(!body.contains(name), "{name} in {body}");
    }
    let flat: serde_json::Value =
        serde_json::from_str(&text(get("/status.json", &narrow)).await).unwrap();
    let names = flat.as_object().unwrap().keys();
    let others: Vec<_> = names
        .filter(|name| {
            ["xai", "fixed", "acme"]
                .iter()
                .any(|one| name.starts_with(one))
        })
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(flat["requests_today"], serde_json::Value::Null);
    assert_eq!(flat["clients_with_key"], 1);
}

/// Whatever its limit is, it sees no other app.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_limit_sees_nothing_of_other_apps() {
    let world = World::new(Options::default()).await;
    let add = |line: &[&str]| {
        let added = world.ctl(&[&["clients", "add"], line].concat());
        String::from_utf8(added.stdout).unwrap().trim().to_owned()
    };
    let neighbour = add(&["neighbour"]);
    let keys = [
        add(&["one", "--path", "/chat/completions"]),
        add(&["one-m", "--model", "Hermes-4-405B"]),
        add(&["one-d", "--requests-per-day", "9"]),
        add(&["one-t", "--tokens-per-day", "9000"]),
        add(&["one-f", "--in-flight", "9"]),
    ];
    let daemon = world.daemon();
    let get = async |path: &str, key: &str| {
        let url = format!("{}{path}", daemon.origin());
        let get = client().get(url).header("accept", BROWSER);
        get.bearer_auth(key)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let asked = client().post(daemon.url("/chat/completions"));
    let asked = asked.bearer_auth(&neighbour).json(&chat("x"));
    assert_eq!(asked.send().await.unwrap().status(), 200);
    // A request that is refused is the owner's matter alone.
    let refused = client().post(daemon.url("/nowhere"));
    let refused = refused.bearer_auth(&neighbour).json(&chat("x"));
    error(refused.send().await.unwrap(), 404, "path_not_allowed").await;
    let told = get("/status.json", &neighbour).await;
    assert!(told.contains("requests_refused"), "{told}");
    let metrics = get("/metrics", &neighbour).await;
    for name in [
        "neighbour",
        "refused_requests_total 1",
        "requests_refused",
        "tokens_total{",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    for key in keys {
        for path in ["/", "/status.json", "/metrics", "/health", "/readyz"] {
            let told = get(path, &key).await;
            for name in [
                "neighbour",
                "requests_refused",
                "refused_requests",
                "tokens_total{",
            ] {
                assert!(!told.contains(name), "{name} at {path}: {told}");
            }
        }
    }
}
