//! An app's request at the provider, and the answer at the app.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mock_cloud::{Canned, Fault, Options, pattern};
use serde_json::{Value, json};
use support::{PATIENCE, World, chat, client, post};
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_reaches_the_provider_with_the_users_credential_in_place_of_the_apps() {
    let world = World::new(Options::default()).await;
    // What a reverse proxy adds needs a key.
    let added = world.ctl(&["clients", "add", "app"]);
    let key = String::from_utf8(added.stdout).unwrap();
    let daemon = world.daemon();
    let response = client()
        .post(daemon.url("/chat/completions?beta=%5B1%5D&x"))
        .bearer_auth(key.trim())
        .header("cookie", "session=1")
        .header("x-api-key", key.trim())
        .header("openai-organization", "org")
        .header("x-forwarded-for", "10.1.2.3")
        .header("connection", "authorization, x-stainless-lang")
        .header("x-stainless-lang", "rust")
        .json(&chat("hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-request-id"], "req_mock");
    assert!(response.headers().contains_key("x-hermes-request-id"));
    assert!(!response.headers().contains_key("x-hermes-error"));
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        body["choices"][0]["message"]["content"],
        pattern::reply_to("hello")
    );

    let requests = world.cloud.requests();
    let seen = &requests[0];
    assert_eq!(seen.target, "/v1/chat/completions?beta=%5B1%5D&x");
    assert_eq!(
        seen.header("authorization"),
        [format!("Bearer {}", world.login.access_token)]
    );
    assert_eq!(
        seen.header("user-agent"),
        [format!("hermes-proxyd/{}", env!("CARGO_PKG_VERSION"))]
    );
    assert_eq!(seen.header("x-stainless-lang"), ["rust"]);
    for name in [
        "cookie",
        "x-api-key",
        "openai-organization",
        "x-forwarded-for",
        "connection",
    ] {
        assert!(seen.header(name).is_empty(), "{name} went upstream");
    }
}

#[tokio::test]
async fn ten_megabytes_arrive_identical_in_both_directions() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with(
        "[providers.nous]\nextra_paths = [\"/echo\", \"GET /bytes\"]\n",
        &[],
    );
    let size = 10 * 1024 * 1024;
    let sent = pattern::noise(7, size);
    let echoed = client()
        .post(daemon.url("/echo"))
        .header("content-type", "application/json")
        .body(sent.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(echoed.status(), 200);
    assert!(
        echoed.bytes().await.unwrap() == sent,
        "the body came back changed"
    );

    let url = daemon.url(&format!("/bytes?size={size}&seed=9&chunk=1500"));
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.content_length(), Some(size as u64));
    assert!(
        answer.bytes().await.unwrap() == pattern::noise(9, size),
        "the answer was changed"
    );
}

#[tokio::test]
async fn an_event_stream_in_pieces_of_one_byte_arrives_identical() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[providers.nous]\nextra_paths = [\"GET /sse\"]\n", &[]);
    let answer = client()
        .get(daemon.url("/sse?events=40&chunk=1"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        answer.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );
    assert_eq!(answer.bytes().await.unwrap(), pattern::sse(40));
}

/// A daemon whose provider answers every request with bytes of the test's own; `{own}` in them is the
/// provider's address.
#[expect(clippy::unwrap_used, reason = "a test's helper may fail loudly")]
async fn canned(world: &World) -> (support::Daemon, Arc<Mutex<String>>, String) {
    let answer = Arc::new(Mutex::new(String::new()));
    let shared = answer.clone();
    let wire = support::wire::Wire::start(move |mut stream, _| {
        let answer = shared.clone();
        async move {
            let own = stream.local_addr().unwrap().to_string();
            while support::wire::read_request(&mut stream).await.is_some() {
                let answer = answer.lock().unwrap().replace("{own}", &own);
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let daemon = support::wire::daemon_at(world, &wire.base_url(), "");
    let own = wire.address.to_string();
    // It serves until the runtime ends.
    std::mem::forget(wire);
    (daemon, answer, own)
}

#[tokio::test]
async fn a_redirect_to_another_host_does_not_reach_the_client() {
    let world = World::new(Options::default()).await;
    let (daemon, canned, own) = canned(&world).await;
    for (location, passes) in [
        ("http://{own}/v1/other", true),
        ("/v1/other", true),
        ("other?a=b", true),
        ("HTTP://{own}/v1/other#x", true),
        ("http://evil.example/v1", false),
        ("https://{own}/v1", false),
        ("http://user@{own}/v1", false),
        ("//evil.example/v1", false),
        ("/\\evil.example/v1", false),
        ("\\\\evil.example/v1", false),
        (" //evil.example/v1", false),
        ("http:evil.example/v1", false),
        ("http://127.0.0.1:1/v1", false),
        ("http://{own}.evil.example/v1", false),
        ("javascript:alert(1)", false),
        ("", false),
        // Some clients end the host at the backslash, others at the `@`.
        ("http://{own}\\@evil.example/v1", false),
        ("http://{own}\\\\@evil.example/v1", false),
        ("http://{own}?@evil.example/v1", false),
        ("http://{own}#@evil.example/v1", false),
        ("http://{own} @evil.example/v1", false),
        ("http://{own}/v1/\u{e9}", false),
        // With the scheme of the app's base URL, which is not the provider's.
        ("//{own}/v1", false),
        ("http://{own}/a\r\nlocation: http://evil.example/", false),
    ] {
        for status in [301, 302, 303, 307, 308, 300] {
            let head = format!(
                "HTTP/1.1 {status} Moved\r\nlocation: {location}\r\nx-a: b\r\ncontent-length: 0\r\n\r\n"
            );
            *canned.lock().unwrap() = head;
            let answer = post(&daemon, &chat("x")).await;
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()["x-a"], "b");
            let told = answer.headers().get("location");
            let expected = location.replace("{own}", &own);
            assert_eq!(
                told.map(|told| told.to_str().unwrap()),
                passes.then_some(expected.trim()),
                "{status} {location}"
            );
            if !passes {
                break;
            }
        }
    }
    // The created object's address is not a redirect.
    let head = "HTTP/1.1 201 Made\r\nlocation: https://cdn.example/a\r\ncontent-length: 0\r\n\r\n";
    head.clone_into(&mut canned.lock().unwrap());
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.headers()["location"], "https://cdn.example/a");
}

#[tokio::test]
async fn an_event_stream_asks_reverse_proxies_not_to_hold_it_back() {
    let world = World::new(Options::default()).await;
    let (daemon, canned, _) = canned(&world).await;
    let head = |fields: &str| {
        format!("HTTP/1.1 200 OK\r\n{fields}content-length: 11\r\n\r\ndata: {{}}\n\n")
    };
    for (fields, expected) in [
        ("content-type: text/event-stream\r\n", Some("no")),
        (
            "content-type: Text/Event-Stream; charset=utf-8\r\n",
            Some("no"),
        ),
        (
            "content-type: text/event-stream\r\nx-accel-buffering: yes\r\n",
            Some("no"),
        ),
        (
            "content-type: text/event-stream\r\ncontent-encoding: gzip\r\n",
            Some("no"),
        ),
        ("content-type: application/json\r\n", None),
        ("", None),
    ] {
        *canned.lock().unwrap() = head(fields);
        let answer = post(&daemon, &chat("x")).await;
        let told = answer.headers().get_all("x-accel-buffering").iter();
        let told: Vec<_> = told.map(|told| told.to_str().unwrap()).collect();
        assert_eq!(told, expected.into_iter().collect::<Vec<_>>(), "{fields}");
    }
}

#[tokio::test]
async fn each_event_is_passed_on_before_the_next_one_comes() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[providers.nous]\nextra_paths = [\"GET /sse\"]\n", &[]);
    // The second piece comes a minute later: the first must not wait for it.
    let url = daemon.url("/sse?events=2&chunk=30&delay_ms=60000");
    let mut answer = client().get(url).send().await.unwrap();
    let first = tokio::time::timeout(PATIENCE, answer.chunk())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(first, pattern::sse(2)[..30]);
}

#[tokio::test]
async fn a_large_body_is_passed_on_while_it_comes() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[providers.nous]\nextra_paths = [\"/echo\"]\n", &[]);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = reqwest::Body::wrap(http_body_util::StreamBody::new(Pieces(receiver)));
    sender.send(Ok(b"first".to_vec())).await.unwrap();
    let sending = client()
        .post(daemon.url("/echo"))
        .header("content-type", "application/json")
        .body(body)
        .send();
    let mut answer = tokio::time::timeout(PATIENCE, sending)
        .await
        .unwrap()
        .unwrap();
    // The answer to the first piece is there before the second one is sent.
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
    sender.send(Ok(b"second".to_vec())).await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "second");
    drop(sender);
    assert_eq!(answer.chunk().await.unwrap(), None);
}

struct Pieces(tokio::sync::mpsc::Receiver<Result<Vec<u8>, std::io::Error>>);

impl futures_util::Stream for Pieces {
    type Item = Result<hyper::body::Frame<bytes::Bytes>, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| piece.map(|p| hyper::body::Frame::data(p.into()))))
    }
}

#[tokio::test]
async fn the_providers_answer_passes_but_for_what_concerns_one_connection_or_a_browser() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.fail_next(1, &Fault::noisy_headers());
    let answer = post(&daemon, &chat("x")).await;
    let repeated: Vec<_> = answer.headers().get_all("x-repeat").iter().collect();
    assert_eq!(repeated, ["one", "two"]);
    assert_eq!(answer.headers()["x-ratelimit-remaining-requests"], "99");
    for name in [
        "set-cookie",
        "alt-svc",
        "strict-transport-security",
        "refresh",
        "report-to",
        "reporting-endpoints",
        "nel",
        "clear-site-data",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "x-hop",
        "proxy-authenticate",
    ] {
        assert!(
            !answer.headers().contains_key(name),
            "{name} reached the client"
        );
    }
}

/// Text in our name would be mistaken for ours: by apps, by `proxy test`, by the user.
#[tokio::test]
async fn fields_with_our_names_are_ours_alone() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let forged = || {
        Canned::status(402)
            .header("x-hermes-error", "login_needed")
            .header("x-hermes-stale", "7")
            .header("x-hermes-translated", "chat-to-responses")
            .header("x-hermes-request-id", "forged")
            .header("x-theirs", "1")
    };
    world.cloud.fail_next(1, &Fault::Answer(forged()));
    let answer = post(&daemon, &chat("x")).await;
    let ours: Vec<_> = answer
        .headers()
        .keys()
        .map(hyper::http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-hermes-"))
        .collect();
    assert_eq!(ours, ["x-hermes-request-id"]);
    assert_ne!(answer.headers()["x-hermes-request-id"], "forged");
    assert_eq!(answer.headers()["x-theirs"], "1");
}

#[tokio::test]
async fn the_providers_errors_redirects_and_encodings_pass_untouched() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let ask = || {
        client()
            .post(daemon.url("/chat/completions"))
            .json(&chat("x"))
            .send()
    };

    world.cloud.fail_next(1, &Fault::rate_limited(42));
    let answer = ask().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "42");
    assert!(!answer.headers().contains_key("x-hermes-error"));

    let redirect = Canned::redirect(307, "https://elsewhere.example/steal");
    world.cloud.fail_next(1, &Fault::Answer(redirect));
    assert_eq!(ask().await.unwrap().status(), 307);

    world.cloud.fail_next(1, &Fault::Gzip);
    let answer = ask().await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert_eq!(answer.bytes().await.unwrap()[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn a_cut_answer_never_looks_complete() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    for cut in ["fin", "rst"] {
        for stream in [false, true] {
            let mut request = chat("a longer question, so that there is something to cut");
            request["stream"] = json!(stream);
            request["mock"] = json!({"cut_after_bytes": 150, "cut": cut, "chunk_bytes": 50});
            let answer = post(&daemon, &request).await;
            assert_eq!(answer.status(), 200);
            let result = answer.bytes().await;
            assert!(
                result.is_err(),
                "{cut}, stream {stream}: it looks complete: {result:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_between_two_events_says_so_in_one() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let mut request = chat("x");
    request["stream"] = json!(true);
    let whole = post(&daemon, &request).await;
    let whole = whole.text().await.unwrap();
    let first = whole.find("\n\n").unwrap() + 2;
    request["mock"] = json!({"cut_after_bytes": first, "chunk_bytes": first});
    let mut answer = post(&daemon, &request).await;
    let mut text = Vec::new();
    let error = loop {
        match answer.chunk().await {
            Ok(Some(piece)) => text.extend_from_slice(&piece),
            Ok(None) => panic!("the stream looks complete"),
            Err(error) => break error,
        }
    };
    let text = String::from_utf8(text).unwrap();
    let event = text
        .strip_prefix(whole.split_at(first).0)
        .expect("the first event, untouched");
    let event: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event["error"]["code"], "upstream_unreachable", "{error}");
}

#[tokio::test]
async fn the_clients_leaving_cancels_the_request_in_every_phase() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[providers.nous]\nextra_paths = [\"/echo\"]\n", &[]);

    // While waiting for the head.
    let mut request = chat("x");
    request["mock"] = json!({"delay_head_ms": 600_000});
    let waiting = client()
        .post(daemon.url("/chat/completions"))
        .json(&request)
        .send();
    leave_when(&world, waiting, 1).await;

    // In the middle of the stream.
    request["stream"] = json!(true);
    request["mock"] = json!({"delay_chunk_ms": 600_000});
    let answer = post(&daemon, &request).await;
    drop(answer);
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().cancelled == 2)
        .await;

    // While the body is being sent.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(Ok(b"first".to_vec())).await.unwrap();
    let body = reqwest::Body::wrap(http_body_util::StreamBody::new(Pieces(receiver)));
    let url = daemon.url("/chat/completions");
    let sending = client()
        .post(url)
        .header("content-type", "application/json")
        .body(body)
        .send();
    leave_when(&world, sending, 3).await;
    drop(sender);
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().in_flight == 0)
        .await;
}

/// Gives the request up once the cloud has it, and waits until the cloud knows.
async fn leave_when<T>(world: &World, request: impl Future<Output = T>, nth: u64) {
    tokio::select! {
        _ = request => panic!("it was answered"),
        () = world.cloud.wait_for(PATIENCE, |cloud| cloud.counts().in_flight == 1) => {}
    }
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().cancelled == nth)
        .await;
}

#[tokio::test]
async fn tls_over_http1_and_http2_keeps_one_connection() {
    for http2 in [false, true] {
        let options = Options::default()
            .inference_tls(mock_cloud::Tls::On)
            .http2(http2);
        let world = World::new(options).await;
        let ca = world.home.path().join("ca.pem");
        world.cloud.write_ca(&ca).unwrap();
        let config = format!("[providers.nous]\nca_file = {:?}\n", ca.to_str().unwrap());
        let daemon = world.daemon_with(&config, &[]);
        for _ in 0..5 {
            let answer = post(&daemon, &chat("x")).await;
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
        }
        let requests = world.cloud.requests();
        let version = if http2 { "HTTP/2.0" } else { "HTTP/1.1" };
        assert!(
            requests.iter().all(|seen| seen.version == version),
            "{:?}",
            requests[0]
        );
        assert_eq!(world.cloud.counts().connections, 1);
    }
}

#[tokio::test]
async fn an_upstream_that_answers_before_the_body_is_read_is_heard() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let refusal = Canned::api_error(400, "invalid_request_error", "too_long", "Too long.");
    world.cloud.fail_next(1, &Fault::Early(refusal));
    let body = vec![b' '; 4 * 1024 * 1024];
    let answer = client()
        .post(daemon.url("/chat/completions"))
        .header("content-type", "application/json")
        .body(body)
        .timeout(Duration::from_secs(20))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("too_long"));
}

#[tokio::test]
async fn a_ca_that_the_login_or_the_environment_names_is_trusted() {
    for stored in [true, false] {
        let world = World::new(Options::default().tls(mock_cloud::Tls::On)).await;
        let ca = world.home.path().join("ca.pem");
        world.cloud.write_ca(&ca).unwrap();
        let mut command = world.command(&[]);
        if stored {
            let mut store = world.store();
            store["providers"]["nous"]["tls"]["ca_bundle"] = json!(ca.to_str().unwrap());
            std::fs::write(world.store_file(), store.to_string()).unwrap();
        } else {
            command.env("HERMES_CA_BUNDLE", &ca);
        }
        let daemon = support::Daemon::start(command, world.home.path());
        world.cloud.revoke_access_tokens();
        let post = client()
            .post(daemon.url("/chat/completions"))
            .json(&chat("x"));
        assert_eq!(
            post.send().await.unwrap().status(),
            200,
            "{}",
            daemon.logged()
        );
        assert_eq!(world.cloud.counts().refreshes, 1);
    }
}
