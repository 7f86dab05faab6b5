//! Every answer that the daemon makes itself: each of its own routes and each error code.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::Duration;

use hermes_proxy::proxy::error::ErrorKind;
use hermes_proxy::proxy::route::Local;
use mock_cloud::{Fault, Options, Tls};
use serde_json::Value;
use support::{Daemon, PATIENCE, World, chat, client, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends raw bytes, and reads until the daemon closes.
async fn raw(daemon: &Daemon, request: &str) -> String {
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("the daemon closes")
        .ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Checks one of our errors in full; returns its message.
async fn error(answer: reqwest::Response, kind: ErrorKind) -> String {
    assert_eq!(answer.status(), kind.status());
    assert_eq!(answer.headers()["x-hermes-error"], kind.code());
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["x-hermes-request-id"].len(), 16);
    let body: Value = answer.json().await.unwrap();
    let error = &body["error"];
    assert_eq!(
        (&error["code"], &error["type"]),
        (&kind.code().into(), &kind.code().into())
    );
    // Anthropic's clients look at the outer type.
    assert_eq!(body["type"], "error");
    assert!(error["param"].is_null() && body.as_object().unwrap().len() == 2);
    error["message"].as_str().unwrap().to_owned()
}

async fn ask(daemon: &Daemon) -> reqwest::Response {
    post(daemon, &chat("x")).await
}

#[tokio::test]
async fn the_routes_of_our_own_answer() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    for (path, _) in Local::ALL {
        let answer = client()
            .get(format!("{}{path}", daemon.origin()))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let answer = client()
            .head(format!("{}{path}", daemon.origin()))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "HEAD {path}");
    }
    let health = client()
        .get(format!("{}/health", daemon.origin()))
        .send()
        .await
        .unwrap();
    let health: Value = health.json().await.unwrap();
    assert_eq!(health["authenticated"], true);
    assert_eq!(
        world.cloud.counts().requests,
        0,
        "health asked the provider"
    );
}

#[tokio::test]
async fn the_providers_routes_answer_in_every_form_that_apps_use() {
    let world = World::new(Options::default()).await;
    let config = "models_cache = \"0s\"\n[providers.nous]\nextra_paths = [\"/responses\"]\n";
    let daemon = world.daemon_with(config, &[]);
    let origin = daemon.origin();
    let nothing = ["/favicon.ico", "/apple-touch-icon.png", "/robots.txt"];
    for path in nothing {
        for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
            let request = client().request(method, format!("{origin}{path}"));
            let answer = request.header("sec-fetch-site", "same-origin").send().await;
            assert_eq!(answer.unwrap().status(), 204, "{path}");
        }
    }
    let answer = client().head(daemon.url("/models")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(world.cloud.requests().remove(0).target, "/v1/models");
    let status = daemon.status();
    assert!(status["refused"].is_null(), "{status}");
    for path in [
        "/v1/models",
        "/models",
        "//v1//models",
        "/v1/v1/models/",
        "/nous/v1/models",
        "/NOUS/v1/models",
    ] {
        let answer = client()
            .get(format!("{origin}{path}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    for path in [
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/responses",
    ] {
        let answer = client()
            .post(daemon.url(path))
            .json(&chat("x"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let seen = world.cloud.requests();
    assert!(
        seen[..7].iter().all(|seen| seen.target == "/v1/models"),
        "{:?}",
        seen[0].target
    );
}

#[tokio::test]
async fn what_the_head_alone_gives_away_is_refused_with_a_reason() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nbody = \"1KiB\"\n", &[]);
    let url = daemon.url("/chat/completions");
    let json = |request: reqwest::RequestBuilder| request.json(&chat("x")).send();

    let answer = json(client().post(&url).header("host", "evil.example"))
        .await
        .unwrap();
    let message = error(answer, ErrorKind::HostNotAllowed).await;
    assert!(message.contains("`allowed_hosts`"), "{message}");

    let answer = json(client().post(&url).header("origin", "https://evil.example"))
        .await
        .unwrap();
    let message = error(answer, ErrorKind::OriginNotAllowed).await;
    assert!(message.contains("`allowed_origins`"), "{message}");

    let answer = json(client().post(daemon.url("/files"))).await.unwrap();
    let message = error(answer, ErrorKind::PathNotAllowed).await;
    assert!(
        message.ends_with("/chat/completions, /completions, /embeddings, /messages, /messages/count_tokens, /models"),
        "{message}"
    );

    let answer = json(client().post(format!("{}/openai/v1/models", daemon.origin())))
        .await
        .unwrap();
    error(answer, ErrorKind::UnknownProvider).await;

    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.headers()["allow"], "POST");
    error(answer, ErrorKind::MethodNotAllowed).await;

    let answer = client()
        .post(&url)
        .header("content-type", "text/plain")
        .header("sec-fetch-site", "same-origin")
        .body("{}")
        .send();
    error(answer.await.unwrap(), ErrorKind::UnsupportedMediaType).await;

    let answer = client()
        .post(&url)
        .header("content-type", "application/json")
        .body(vec![b' '; 8 * 1024 * 1024])
        .send();
    let message = error(answer.await.unwrap(), ErrorKind::RequestTooLarge).await;
    assert!(message.contains("`limits.body`"), "{message}");

    assert_eq!(world.cloud.counts().requests, 0);
    assert_eq!(ask(&daemon).await.status(), 200);
}

#[tokio::test]
async fn a_body_that_grows_too_large_on_the_way_is_refused_in_json_too() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nbody = \"100KiB\"\n", &[]);
    let mut request = String::from(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    for _ in 0..40 {
        request.push_str("1000\r\n");
        request.push_str(&" ".repeat(0x1000));
        request.push_str("\r\n");
    }
    request.push_str("0\r\n\r\n");
    let answer = raw(&daemon, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains("\"code\":\"request_too_large\""),
        "{answer}"
    );
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().in_flight == 0)
        .await;
    assert!(world.cloud.requests().iter().all(|seen| !seen.finished));
}

#[tokio::test]
async fn what_is_no_request_for_us_is_a_bad_request() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let request = "GET http://evil.example/v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = raw(&daemon, request).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{request}{answer}");
    assert!(
        answer.contains("\"code\":\"bad_request\""),
        "{request}{answer}"
    );
    assert_eq!(world.cloud.counts().requests, 0);
}

#[tokio::test]
async fn an_upgrade_is_ignored_and_ends_the_connection() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let body = chat("x").to_string();
    let (mut asked, length) = (0, body.len());
    for upgrade in [
        // Apache's HttpClient from 5.4 on, with every plain request.
        "connection: upgrade\r\nupgrade: TLS/1.2",
        // Java's own client.
        "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQ",
        "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13",
        "upgrade: foo/2, bar",
    ] {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n{upgrade}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let behind = "GET /v1/models?behind HTTP/1.1\r\nhost: localhost\r\n\r\n";
        for behind in ["", behind] {
            // It reads until the daemon closes.
            let answer = raw(&daemon, &format!("{head}{behind}")).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{upgrade}: {answer}");
            assert!(answer.contains("connection: close\r\n"), "{answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
            asked += 1;
            let seen = world.cloud.requests();
            assert_eq!(seen.len(), asked, "{seen:?}");
            assert!(seen[asked - 1].header("upgrade").is_empty());
        }
    }
}

#[tokio::test]
async fn a_client_that_is_too_slow_is_told() {
    let world = World::new(Options::default()).await;
    let config = "[timeouts]\nheaders = \"200ms\"\nbody = \"200ms\"\n";
    let daemon = world.daemon_with(config, &[]);
    let answer = raw(&daemon, "GET /v1/models HTTP/1.1\r\nhost: loc").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
    // A connection that never says anything is closed without a word.
    assert_eq!(raw(&daemon, "").await, "");
    let answer = raw(
        &daemon,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("`timeouts.body`"), "{answer}");
}

#[tokio::test]
async fn a_provider_that_can_not_be_reached_is_named_with_what_failed() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.set_inference_open(false).await;
    let message = error(ask(&daemon).await, ErrorKind::UpstreamUnreachable).await;
    assert!(message.contains("connect:"), "{message}");
    world.cloud.set_inference_open(true).await;
    assert_eq!(ask(&daemon).await.status(), 200);

    world.cloud.fail_next(1, &Fault::CloseBeforeHead);
    let message = error(ask(&daemon).await, ErrorKind::UpstreamUnreachable).await;
    assert!(message.contains("protocol:"), "{message}");
    assert_eq!(world.cloud.counts().requests, 2, "a POST was sent again");

    let config = "[providers.nous]\nbase_url = \"https://no-such-host.invalid/v1\"\n";
    let daemon = world_daemon_without_override(&world, config);
    let message = error(ask(&daemon).await, ErrorKind::UpstreamUnreachable).await;
    assert!(message.contains("DNS:"), "{message}");
}

/// The configuration's URL wins over the environment's, so the usual command does.
fn world_daemon_without_override(world: &World, config: &str) -> Daemon {
    // Another runtime folder, so that two daemons live at once.
    world.write_config(config);
    let run = world.home.path().join("run2");
    std::fs::create_dir_all(&run).unwrap();
    let mut command = world.command(&[]);
    command.env("XDG_RUNTIME_DIR", &run);
    Daemon::start(command, world.home.path())
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_a_tls_failure() {
    for tls in [Tls::Expired, Tls::WrongName, Tls::On] {
        let world = World::new(Options::default().inference_tls(tls)).await;
        let ca = world.home.path().join("ca.pem");
        world.cloud.write_ca(&ca).unwrap();
        // A valid certificate of an unknown authority is refused as well.
        let config = match tls {
            Tls::On => String::new(),
            Tls::Off | Tls::Expired | Tls::WrongName => {
                format!("[providers.nous]\nca_file = {:?}\n", ca.to_str().unwrap())
            }
        };
        let daemon = world.daemon_with(&config, &[]);
        let message = error(ask(&daemon).await, ErrorKind::UpstreamUnreachable).await;
        assert!(message.contains("TLS:"), "{tls:?}: {message}");
        assert_eq!(world.cloud.counts().requests, 0);
    }
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_a_timeout_with_its_key() {
    let world = World::new(Options::default()).await;
    let config = "[timeouts]\nresponse_head = \"200ms\"\nidle = \"300ms\"\n";
    let daemon = world.daemon_with(config, &[]);
    world.cloud.fail_next(1, &Fault::Silent);
    let message = error(ask(&daemon).await, ErrorKind::UpstreamTimeout).await;
    assert!(message.contains("`timeouts.response_head`"), "{message}");
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().cancelled == 1)
        .await;

    // Silence in the middle of an answer.
    let mut request = chat("x");
    request["stream"] = true.into();
    request["mock"] = serde_json::json!({"delay_chunk_ms": 60_000});
    let mut answer = post(&daemon, &request).await;
    let mut text = Vec::new();
    let reading = async {
        while let Ok(Some(piece)) = answer.chunk().await {
            text.extend_from_slice(&piece);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("upstream_timeout") && text.contains("`timeouts.idle`"),
        "{text}"
    );
}

#[tokio::test]
async fn a_listed_page_gets_its_preflight_and_its_origin_back() {
    let world = World::new(Options::default()).await;
    let config = "[guard]\nallowed_origins = [\"https://app.example\"]\n";
    let daemon = world.daemon_with(config, &[]);
    let url = daemon.url("/chat/completions");
    let preflight = client()
        .request(reqwest::Method::OPTIONS, &url)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization, x-anything",
        )
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(
        preflight.headers()["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(
        preflight.headers()["access-control-allow-headers"],
        "authorization, x-anything"
    );
    let answer = client()
        .post(&url)
        .header("origin", "https://app.example")
        .json(&chat("x"));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(world.cloud.counts().requests, 1);
}

/// Requests that fail in every way, and two that don't: the status, the request line, and the headers
/// after `Origin`.
fn outcomes(key: &str) -> Vec<(u16, &'static str, String)> {
    let long = format!("x-a: {}\r\n", "a".repeat(9000));
    let json = "content-type: application/json\r\n";
    vec![
        (200, "GET /v1/models", format!("{key}\r\n")),
        (200, "GET /health", format!("{key}\r\n")),
        (401, "GET /v1/models", "\r\n".to_owned()),
        (
            401,
            "GET /v1/models",
            "authorization: Bearer hpx-x\r\n\r\n".to_owned(),
        ),
        (
            403,
            "GET /v1/models",
            "host: evil.example\r\n\r\n".to_owned(),
        ),
        (404, "GET /v1/nope", format!("{key}\r\n")),
        (405, "DELETE /v1/models", format!("{key}\r\n")),
        (
            413,
            "POST /v1/embeddings",
            format!("{key}{json}content-length: 9999\r\n\r\n"),
        ),
        (
            415,
            "POST /v1/embeddings",
            format!("{key}content-type: text/plain\r\ncontent-length: 2\r\n\r\n{{}}"),
        ),
        // What no handler ever sees.
        (400, "GET /v1/models", "a b: c\r\n\r\n".to_owned()),
        (
            400,
            "POST /v1/embeddings",
            format!("{key}{json}transfer-encoding: x\r\n\r\n"),
        ),
        (
            400,
            "POST /v1/embeddings",
            format!("{key}{json}transfer-encoding: chunked\r\n\r\nx\r\n"),
        ),
        (408, "GET /v1/models", "x-a: b\r\n".to_owned()),
        (
            408,
            "POST /v1/embeddings",
            format!("{key}{json}content-length: 9\r\n\r\n{{"),
        ),
        (431, "GET /v1/models", long),
    ]
}

/// The names that a web page may read, if it may read anything.
fn exposed(head: &str) -> Option<Vec<&str>> {
    let fields = head.split("access-control-expose-headers: ").nth(1)?;
    Some(fields.lines().next()?.split(", ").collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_page_can_read_why_it_was_refused() {
    let world = World::new(Options::default()).await;
    let added = world.ctl(&["clients", "add", "page"]);
    let key = String::from_utf8(added.stdout).unwrap();
    let key = format!("authorization: Bearer {}\r\n", key.trim());
    let config = "[[listen]]\nauth = \"keys\"\n\
                  [guard]\nallowed_origins = [\"https://app.example\"]\n\
                  [timeouts]\nheaders = \"2s\"\nbody = \"2s\"\n[limits]\nheaders = \"8KiB\"\nbody = \"1KiB\"\n";
    let daemon = world.daemon_with(config, &[]);
    for (status, line, rest) in outcomes(&key) {
        let host = if rest.starts_with("host") {
            ""
        } else {
            "host: localhost\r\n"
        };
        for (origin, listed) in [
            ("https://app.example", true),
            ("https://evil.example", false),
        ] {
            let request =
                format!("{line} HTTP/1.1\r\norigin: {origin}\r\nconnection: close\r\n{host}{rest}");
            let answer = raw(&daemon, &request).await;
            let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
            if listed {
                assert!(
                    head.starts_with(&format!("http/1.1 {status} ")),
                    "{line} {rest} {answer}"
                );
                let allowed = "access-control-allow-origin: https://app.example\r\n";
                assert!(head.contains(allowed), "{line} {rest}: {answer}");
                assert!(head.contains("\r\nvary: origin"), "{answer}");
                let exposed = exposed(&head).expect("it exposes");
                for name in [
                    "retry-after",
                    "x-hermes-error",
                    "x-hermes-request-id",
                    "x-should-retry",
                ] {
                    assert!(exposed.contains(&name), "{name}: {exposed:?}");
                }
            } else {
                assert!(!head.contains("access-control"), "{line} {rest}: {answer}");
            }
        }
    }
    // Two origins belong to no page.
    let request = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\norigin: https://app.example\r\n\
                   origin: https://app.example\r\nconnection: close\r\n\r\n";
    let answer = raw(&daemon, request).await;
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && !answer.contains("access-control"),
        "{answer}"
    );
    let request = request.replace("connection: close", "a b: c");
    let answer = raw(&daemon, &request).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && !answer.contains("access-control"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_static_key_is_sent_and_its_absence_told() {
    let world = World::new(Options::default()).await;
    let key = world.home.path().join("key");
    std::fs::write(&key, format!("{}\nsecond line\n", world.login.access_token)).unwrap();
    let config = format!(
        "default_provider = \"mine\"\n[providers.mine]\ntype = \"static\"\nbase_url = \"{{base}}\"\napi_key_file = {:?}\n",
        key.to_str().unwrap()
    );
    let daemon = world.daemon_with(&config, &[]);
    assert_eq!(ask(&daemon).await.status(), 200);
    std::fs::remove_file(&key).unwrap();
    world.ctl(&["proxy", "reload"]);
    let message = error(ask(&daemon).await, ErrorKind::UpstreamAuthFailed).await;
    assert!(message.contains("put the API key in"), "{message}");
    assert!(!message.contains("run: put"), "{message}");
    // Advice that is not a single command is in no field for a command.
    let mine = |status: &serde_json::Value| {
        let mut providers = status["providers"].as_array().unwrap().iter();
        providers.find(|one| one["name"] == "mine").unwrap().clone()
    };
    let status = mine(&daemon.status());
    assert_eq!(status["state"], "login_needed");
    assert!(status["login_command"].is_null(), "{status}");
    let told = status["last_error"]["message"].as_str().unwrap();
    let advice = format!(
        "put the API key in {}, then run `hermesctl proxy reload`",
        key.display()
    );
    assert!(told.ends_with(&advice), "{told}");
    let logged = daemon.wait_for_log("mine needs its API key");
    let line = logged
        .lines()
        .find(|line| line.contains("mine needs its API key"));
    let line = line.unwrap();
    assert!(
        line.contains(&advice) && !line.contains("log in again"),
        "{line}"
    );
    assert!(!line.contains("command="), "{line}");
    let answer = client()
        .post(format!("{}/nous/v1/chat/completions", daemon.origin()))
        .json(&chat("x"))
        .timeout(Duration::from_secs(20));
    assert_eq!(answer.send().await.unwrap().status(), 200);
    // The advice is true.
    std::fs::write(&key, &world.login.access_token).unwrap();
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    assert_eq!(ask(&daemon).await.status(), 200);
    assert!(mine(&daemon.status())["last_error"].is_null());
}

#[tokio::test]
async fn a_connection_stays_open_longer_between_requests_than_a_head_may_take() {
    let world = World::new(Options::default()).await;
    let config = "[timeouts]\nheaders = \"150ms\"\nkeep_alive = \"3s\"\n";
    let daemon = world.daemon_with(config, &[]);
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    let request = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut answer = [0; 1024];
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let size = stream.read(&mut answer).await.unwrap();
        assert!(answer[..size].ends_with(b"alive\n"));
        // Longer than a head may take.
        tokio::time::sleep(Duration::from_millis(450)).await;
    }
    // Once a head has begun, its own limit runs.
    stream.write_all(b"GET /li").await.unwrap();
    let begun = tokio::time::Instant::now();
    let size = stream.read(&mut answer).await.unwrap();
    assert!(answer[..size].starts_with(b"HTTP/1.1 408 "));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    // And without any request it ends in silence.
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut all))
        .await
        .unwrap()
        .unwrap();
    assert!(all.ends_with("alive\n"), "{all}");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nheaders = \"8KiB\"\n", &[]);
    let long = "x".repeat(9000);
    let request = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx-long: {long}\r\n\r\n");
    let answer = raw(&daemon, &request).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(
        answer.contains("\"code\":\"request_headers_too_large\""),
        "{answer}"
    );
    assert!(answer.contains("`limits.headers`"), "{answer}");
}

#[tokio::test]
async fn beyond_the_limit_a_connection_waits_until_an_answer_is_over() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nconnections = 1\n", &[]);
    let mut request = chat("x");
    request["stream"] = true.into();
    request["mock"] = serde_json::json!({"events": 1, "delay_chunk_ms": 2000});
    let stream = post(&daemon, &request).await;
    let second = client().get(format!("{}/livez", daemon.origin())).send();
    tokio::pin!(second);
    let waited = tokio::time::timeout(Duration::from_millis(600), &mut second).await;
    assert!(waited.is_err(), "it was served");
    let text = stream.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let served = tokio::time::timeout(PATIENCE, second).await.unwrap();
    assert_eq!(served.unwrap().status(), 200);
}

#[tokio::test]
async fn a_provider_that_stops_taking_a_body_is_given_up() {
    // A provider that accepts and reads nothing.
    let stalled = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(Options::default()).await;
    let config = format!(
        "[providers.nous]\nbase_url = \"http://{}/v1\"\n[timeouts]\nresponse_head = \"300ms\"\nbody = \"400ms\"\n",
        stalled.local_addr().unwrap()
    );
    let daemon = world.daemon_with(&config, &[]);
    let asking = client()
        .post(daemon.url("/chat/completions"))
        .header("content-type", "application/json")
        .body(vec![b' '; 32 * 1024 * 1024])
        .send();
    let answer = tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("an answer")
        .unwrap();
    error(answer, ErrorKind::UpstreamTimeout).await;
}

#[tokio::test]
async fn a_provider_that_does_not_finish_the_handshake_is_a_timeout_with_its_key() {
    // It takes the connection, and no TLS ever comes.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(Options::default()).await;
    let config = format!(
        "[providers.nous]\nbase_url = \"https://{}/v1\"\n[timeouts]\nconnect = \"200ms\"\n",
        mute.local_addr().unwrap()
    );
    let daemon = world.daemon_with(&config, &[]);
    let message = error(ask(&daemon).await, ErrorKind::UpstreamTimeout).await;
    assert!(message.contains("`timeouts.connect`"), "{message}");
}

#[tokio::test]
async fn a_cut_answer_does_not_look_complete_to_http_1_0_either() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let body =
        r#"{"stream": true, "messages": [], "mock": {"cut_after_bytes": 60, "chunk_bytes": 30}}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(
        reading.unwrap().is_err(),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn a_listener_whose_provider_is_gone_asks_no_other_one() {
    let world = World::new(Options::default()).await;
    let key = world.home.path().join("key");
    std::fs::write(&key, &world.login.access_token).unwrap();
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\n";
    let with = format!(
        "{listen}provider = \"mine\"\n[providers.mine]\ntype = \"static\"\nbase_url = \"{{base}}\"\napi_key_file = {:?}\n",
        key.to_str().unwrap()
    );
    let daemon = world.daemon_with(&with, &[]);
    assert_eq!(ask(&daemon).await.status(), 200);
    world.write_config(listen);
    let output = world.ctl(&["proxy", "reload"]);
    assert!(output.status.success(), "{output:?}");
    error(ask(&daemon).await, ErrorKind::UnknownProvider).await;
}
