//! The provider's side: its answers pass unchanged, and requests that come back to us are detected.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

mod ahead;
mod garbage;
mod http1;
mod http2;
mod pool;
mod repeats;
mod versions;

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use mock_cloud::{Options, pattern};
use serde_json::Value;
use support::wire::{OK, Wire, daemon_at, read_request};
use support::{Daemon, World, chat, client, post};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Requests as they were received, by whatever the test takes from them.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

pub(crate) async fn get(daemon: &Daemon, path: &str) -> reqwest::Response {
    client().get(daemon.url(path)).send().await.unwrap()
}

/// The request's line, without the version.
pub(crate) fn line(request: &str) -> String {
    let line = request.lines().next().unwrap();
    line.strip_suffix(" HTTP/1.1").unwrap().to_owned()
}

pub(crate) fn count(seen: &Seen, what: &str) -> usize {
    let seen = seen.lock().unwrap();
    seen.iter().filter(|line| line.contains(what)).count()
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let world = World::new(Options::default()).await;
    let other = Wire::canned(OK).await;
    for status in [301, 302, 303, 307, 308] {
        for location in [
            format!("{}/models", other.base_url()),
            "/v1/models".to_owned(),
            format!("//{}/steal", other.address),
        ] {
            let seen = Seen::default();
            let log = seen.clone();
            let answer = Arc::new(format!(
                "HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\nset-cookie: a=b\r\n\
                 access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n\
                 content-length: 4\r\n\r\nhere"
            ));
            let wire = Wire::start(move |mut stream, _| {
                let (log, answer) = (log.clone(), answer.clone());
                async move {
                    while let Some(request) = read_request(&mut stream).await {
                        log.lock().unwrap().push(line(&request));
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            })
            .await;
            let daemon = daemon_at(&world, &wire.base_url(), "");
            for method in ["GET", "POST"] {
                let answer = match method {
                    "GET" => get(&daemon, "/models").await,
                    _ => post(&daemon, &chat("x")).await,
                };
                assert_eq!(answer.status(), status);
                // Only one that leads back to the provider's own host.
                let passed = answer.headers().get("location");
                let own = location.starts_with("/v1").then_some(location.as_str());
                assert_eq!(passed.map(|value| value.to_str().unwrap()), own);
                assert!(answer.headers().get("set-cookie").is_none());
                let mut names = answer.headers().keys();
                assert!(!names.any(|name| name.as_str().starts_with("access-control-")));
                assert_eq!(answer.text().await.unwrap(), "here");
            }
            let expected = ["GET /v1/models", "POST /v1/chat/completions"];
            assert_eq!(*seen.lock().unwrap(), expected);
        }
    }
    assert_eq!(other.connections(), 0, "the other host was asked");
}

#[tokio::test]
async fn encoded_bytes_pass_as_they_are_and_a_bomb_costs_no_memory() {
    let world = World::new(Options::default()).await;
    let bomb = support::environment::tool("sh")
        .args(["-c", "head -c 268435456 /dev/zero | gzip -9"])
        .stderr(Stdio::null())
        .output()
        .unwrap()
        .stdout;
    assert!(bomb.len() > 100_000, "{}", bomb.len());
    for encoding in ["gzip", "br", "zstd", "gzip, br"] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {encoding}\r\n\
             content-length: {}\r\n\r\n",
            bomb.len()
        );
        let wire = Wire::canned([head.as_bytes(), &bomb].concat()).await;
        let daemon = daemon_at(&world, &wire.base_url(), "");
        get(&daemon, "/models").await.bytes().await.unwrap();
        let before = support::wire::memory(&daemon).1;
        let answer = get(&daemon, "/models").await;
        assert_eq!(answer.headers()["content-encoding"], encoding);
        assert!(answer.bytes().await.unwrap() == bomb, "the bytes changed");
        let grown = support::wire::memory(&daemon).1.saturating_sub(before);
        println!(
            "{encoding}: {} bytes passed, {grown} KiB more at the peak",
            bomb.len()
        );
        assert!(grown < 4096, "{grown} KiB");
    }
}

/// Passes connections on to wherever `target` says by then, and counts the requests' heads.
async fn detour(target: Arc<Mutex<String>>) -> Wire {
    Wire::start(move |mut near, _| {
        let target = target.clone();
        async move {
            let target = target.lock().unwrap().clone();
            let mut far = TcpStream::connect(target).await.unwrap();
            tokio::io::copy_bidirectional(&mut near, &mut far)
                .await
                .ok();
        }
    })
    .await
}

/// Checks the error of a daemon behind the one that was asked, which passes as a provider's own: without our field.
async fn looped(answer: reqwest::Response) -> String {
    assert_eq!(answer.status(), 508);
    assert!(!answer.headers().contains_key("x-hermes-error"));
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "loop_detected");
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_that_comes_back_by_a_detour_ends_at_its_first_turn() {
    let world = World::new(Options::default()).await;
    let target = Arc::new(Mutex::new(String::new()));
    let wire = detour(target.clone()).await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    daemon.address().clone_into(&mut target.lock().unwrap());
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.headers()["x-should-retry"], "false");
    let message = looped(answer).await;
    assert!(message.contains("base_url"), "{message}");
    assert_eq!(wire.connections(), 1);
    daemon.wait_for_log_count("\"message\":\"request\"", 2);
    assert_eq!(
        daemon.logged().matches("\"message\":\"request\"").count(),
        2
    );
}

#[tokio::test]
async fn two_daemons_that_point_at_each_other_end_a_request_at_its_first_turn() {
    let world = World::new(Options::default()).await;
    let other = World::new(Options::default()).await;
    let target = Arc::new(Mutex::new(String::new()));
    let wire = detour(target.clone()).await;
    let first = daemon_at(&world, &wire.base_url(), "");
    let second = daemon_at(&other, &format!("{}/v1", first.origin()), "");
    second.address().clone_into(&mut target.lock().unwrap());
    for daemon in [&first, &second] {
        looped(post(daemon, &chat("x")).await).await;
    }
    // Each daemon saw each request once, and the one that came back once more.
    for (daemon, count) in [(&first, 3), (&second, 3)] {
        daemon.wait_for_log_count("\"message\":\"request\"", count);
        let seen = daemon.logged().matches("\"message\":\"request\"").count();
        assert_eq!(seen, count, "{}", daemon.logged());
    }
}

#[tokio::test]
async fn a_chain_of_daemons_works() {
    let world = World::new(Options::default()).await;
    let other = World::new(Options::default()).await;
    let last = world.daemon();
    let first = daemon_at(&other, &format!("{}/v1", last.origin()), "");
    let answer = post(&first, &chat("hello")).await;
    assert_eq!(answer.status(), 200);
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains(&pattern::reply_to("hello"))
    );
    let requests = world.cloud.requests();
    let marks = requests[0].header("x-hermes-via");
    assert_eq!(marks.len(), 2, "{marks:?}");
    assert_ne!(marks[0], marks[1]);
}

#[tokio::test]
async fn a_base_url_on_a_listener_of_ours_is_a_mistake_of_the_configuration() {
    let world = World::new(Options::default()).await;
    for host in ["127.0.0.1", "localhost"] {
        world.write_config(&format!(
            "[providers.nous]\nbase_url = \"http://{host}:8645/v1\"\n"
        ));
        let check = |flags: &[&str]| {
            let mut command =
                support::program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
            command.arg("--check").args(flags).output().unwrap()
        };
        let refused = check(&[]);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(78), "{text}");
        assert!(
            text.contains("`providers.nous.base_url`") && text.contains("127.0.0.1:8645"),
            "{text}"
        );
        // A second daemon on another port may well lead to the first one.
        assert!(check(&["--port", "8646"]).status.success());
    }

    let daemon = world.daemon_with("", &[]);
    let address = |status: Value| status["listeners"][0]["address"].clone();
    let before = address(daemon.status());
    world.write_config(
        "[[listen]]\naddress = \"127.0.0.1:9\"\n[[listen]]\naddress = \"[::1]:8645\"\n\
         [providers.nous]\nbase_url = \"http://[::1]:8645/v1\"\n",
    );
    let reload = world.ctl(&["proxy", "reload"]);
    let text = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert_eq!(reload.status.code(), Some(78), "{text}");
    assert!(text.contains("listener [::1]:8645"), "{text}");
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    assert_eq!(address(daemon.status()), before);
}
