//! The provider's side of a request: what is repeated and what never, what passes, and what a
//! provider that misbehaves can do. Its connections are bytes of the test's own.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and tells its figures"
)]

mod pool;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mock_cloud::{Options, pattern};
use serde_json::Value;
use support::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, OK, PING, Wire, daemon_at,
    read_request,
};
use support::{Daemon, PATIENCE, World, chat, client, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Requests as they were received, by whatever the test takes from them.
type Seen = Arc<Mutex<Vec<String>>>;

async fn get(daemon: &Daemon, path: &str) -> reqwest::Response {
    client().get(daemon.url(path)).send().await.unwrap()
}

/// Checks an error of ours; its message.
async fn error(answer: reqwest::Response, status: u16, code: &str) -> String {
    let got = answer.status();
    let header = answer.headers().get("x-hermes-error").cloned();
    let text = answer.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    assert_eq!(header.unwrap(), code, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["error"]["code"], code);
    body["error"]["message"].as_str().unwrap().to_owned()
}

/// The request's line, without the version.
fn line(request: &str) -> String {
    let line = request.lines().next().unwrap();
    line.strip_suffix(" HTTP/1.1").unwrap().to_owned()
}

fn count(seen: &Seen, what: &str) -> usize {
    let seen = seen.lock().unwrap();
    seen.iter().filter(|line| line.contains(what)).count()
}

// ---- What passes ----

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

// ---- Connections that end at the wrong moment ----

/// Answers the first request of each connection; reads the next one and closes, if it is on the
/// first connection.
async fn closes_on_the_second(mut stream: impl Stream, number: usize, seen: Seen) {
    let mut nth = 0;
    while let Some(request) = read_request(&mut stream).await {
        nth += 1;
        seen.lock().unwrap().push(line(&request));
        if number == 1 && nth == 2 {
            return;
        }
        stream.write_all(OK.as_bytes()).await.unwrap();
    }
}

async fn second_closer() -> (Wire, Seen) {
    let seen = Seen::default();
    let log = seen.clone();
    let wire = Wire::start(move |stream, number| closes_on_the_second(stream, number, log.clone()));
    (wire.await, seen)
}

#[tokio::test]
async fn a_get_is_repeated_once_on_a_kept_connection_that_ended_without_an_answer() {
    let world = World::new(Options::default()).await;
    let (wire, seen) = second_closer().await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    for _ in 0..2 {
        assert_eq!(get(&daemon, "/models").await.status(), 200);
    }
    assert_eq!(count(&seen, "GET"), 3);
    assert_eq!(wire.connections(), 2);
}

#[tokio::test]
async fn over_tls_too_a_get_is_repeated_and_a_post_is_not() {
    let world = World::new(Options::default()).await;
    let tls = world.cloud.authority().acceptor_for(&["localhost"], false);
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    for (is_post, status, received) in [(false, 200, 2), (true, 502, 1)] {
        let seen = Seen::default();
        let (log, tls) = (seen.clone(), tls.clone());
        let wire = Wire::start(move |stream, number| {
            let (log, tls) = (log.clone(), tls.clone());
            async move {
                // Its end is told by `close_notify`, which is not a part of an answer.
                let stream = tls.accept(stream).await.unwrap();
                let mut stream = Box::pin(stream);
                closes_on_the_second(&mut stream, number, log).await;
                stream.shutdown().await.ok();
            }
        })
        .await;
        let base = format!("https://localhost:{}/v1", wire.address.port());
        let daemon = daemon_at(
            &world,
            &base,
            &format!("[providers.nous]\nca_file = {ca:?}\n"),
        );
        assert_eq!(get(&daemon, "/models?first").await.status(), 200);
        let answer = if is_post {
            post(&daemon, &chat("x")).await
        } else {
            get(&daemon, "/models?second").await
        };
        assert_eq!(answer.status(), status);
        let all = seen.lock().unwrap().len();
        assert_eq!(all, 1 + received, "{:?}", seen.lock().unwrap());
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_received_is_never_repeated() {
    let world = World::new(Options::default()).await;
    let (wire, seen) = second_closer().await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    assert_eq!(get(&daemon, "/models").await.status(), 200);
    let answer = post(&daemon, &chat("x")).await;
    let message = error(answer, 502, "upstream_unreachable").await;
    assert!(
        message.contains("the connection broke before an answer arrived"),
        "{message}"
    );
    assert!(message.contains(&wire.address.to_string()), "{message}");
    assert_eq!(count(&seen, "POST"), 1);
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
}

#[tokio::test]
async fn a_get_is_not_repeated_on_a_new_connection_nor_after_a_part_of_an_answer_nor_twice() {
    let world = World::new(Options::default()).await;
    for (first, rest, asked) in [
        // A connection that never answered anything: the provider is out of order.
        ("", "", 1),
        // A kept one that says something, and breaks off.
        (OK, "HTTP/1.1 200 OK\r\ncontent-le", 2),
        // Every connection answers once and then ends.
        (OK, "", 3),
    ] {
        let seen = Seen::default();
        let log = seen.clone();
        let wire = Wire::start(move |mut stream, number| {
            let log = log.clone();
            async move {
                for part in [if number == 1 { first } else { "" }, rest] {
                    let Some(request) = read_request(&mut stream).await else {
                        return;
                    };
                    log.lock().unwrap().push(line(&request));
                    if part.is_empty() {
                        return;
                    }
                    stream.write_all(part.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let daemon = daemon_at(&world, &wire.base_url(), "");
        if !first.is_empty() {
            assert_eq!(get(&daemon, "/models").await.status(), 200);
        }
        error(get(&daemon, "/models").await, 502, "upstream_unreachable").await;
        assert_eq!(count(&seen, "GET"), asked);
    }
}

#[tokio::test]
async fn a_post_for_which_only_a_closed_connection_was_kept_is_sent_anew() {
    const ROUNDS: usize = 200;
    let world = World::new(Options::default()).await;
    let (seen, closed) = (Seen::default(), Arc::new(Notify::new()));
    let (log, told) = (seen.clone(), closed.clone());
    // Each connection is closed behind its answer, without a word that it would be.
    let wire = Wire::start(move |mut stream, _| {
        let (log, told) = (log.clone(), told.clone());
        async move {
            if let Some(request) = read_request(&mut stream).await {
                log.lock().unwrap().push(line(&request));
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
            drop(stream);
            told.notify_one();
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    let (client, url) = (client(), daemon.url("/chat/completions"));
    for round in 0..ROUNDS {
        let answer = client.post(format!("{url}?n={round}.")).json(&chat("x"));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200, "round {round}");
        answer.bytes().await.unwrap();
        closed.notified().await;
    }
    let repeated = (0..ROUNDS).filter(|n| count(&seen, &format!("n={n}.")) != 1);
    let repeated = repeated.count();
    println!("{ROUNDS} POSTs after a close: all answered, {repeated} sent more than once");
    assert_eq!(repeated, 0);
}

/// The idle connection is closed at the very moment at which the next request goes out: by FIN or
/// RST, before it is read or in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_race_with_a_close_no_post_is_repeated_and_every_get_is_answered() {
    const ROUNDS: usize = 600;
    let world = World::new(Options::default()).await;
    let seen = Seen::default();
    let log = seen.clone();
    let wire = Wire::start(move |mut stream, number| {
        let log = log.clone();
        async move {
            // What a connection did before the race is always answered.
            let Some(request) = read_request(&mut stream).await else {
                return;
            };
            log.lock().unwrap().push(line(&request));
            stream.write_all(OK.as_bytes()).await.unwrap();
            let wait = Duration::from_micros((number as u64 * 37) % 2500);
            let spun = Instant::now();
            while spun.elapsed() < wait {
                tokio::task::yield_now().await;
            }
            // What arrived by now counts as received, whether or not it is read.
            let mut bytes = vec![0; 4096];
            let std = stream.into_std().unwrap();
            if let Ok(arrived) = std.peek(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..arrived]).into_owned();
                let mut log = log.lock().unwrap();
                log.extend(text.lines().next().map(str::to_owned));
            }
            let mut stream = TcpStream::from_std(std).unwrap();
            if number % 3 == 0 {
                // With everything read the end is a FIN.
                tokio::time::timeout(Duration::ZERO, stream.read(&mut bytes))
                    .await
                    .ok();
            }
            if number % 2 == 0 {
                stream.set_zero_linger().unwrap();
            }
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    let client = client();
    let (mut answered, mut told) = ([0, 0], [0, 0]);
    for round in 0..ROUNDS {
        let is_post = round % 2;
        let request = if is_post == 1 {
            let url = daemon.url(&format!("/chat/completions?n={round}."));
            client.post(url).json(&chat("x"))
        } else {
            client.get(daemon.url(&format!("/models?n={round}.")))
        };
        let answer = request.send().await.unwrap();
        match answer.status().as_u16() {
            200 => answered[is_post] += 1,
            502 => told[is_post] += 1,
            other => panic!("{other}"),
        }
        answer.bytes().await.unwrap();
        // The next one goes out about when the connection is closed.
        let wait = Duration::from_micros((round as u64 * 53) % 700);
        let spun = Instant::now();
        while spun.elapsed() < wait {
            std::hint::spin_loop();
        }
    }
    let twice = (0..ROUNDS)
        .filter(|n| n % 2 == 1 && count(&seen, &format!("n={n}.")) > 1)
        .count();
    println!(
        "{ROUNDS} requests against a closing connection: {} of {} POSTs answered, {} got a 502, \
         {twice} POSTs repeated; {} of {} GETs answered",
        answered[1],
        ROUNDS / 2,
        told[1],
        answered[0],
        ROUNDS / 2
    );
    assert_eq!(twice, 0);
    assert_eq!(answered[0], ROUNDS / 2, "a GET was not answered");
}

// ---- HTTP/2 ----

/// A TLS port that speaks HTTP/2 by hand, and a daemon that uses it.
async fn http2<F, S>(world: &World, config: &str, serve: S) -> (Wire, Daemon)
where
    S: Fn(Frames<Box<dyn Stream>>, usize) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<()>> + Send + 'static,
{
    http2_with(world, config, &[], serve).await
}

/// The same with settings of the server's.
async fn http2_with<F, S>(
    world: &World,
    config: &str,
    settings: &'static [(u16, u32)],
    serve: S,
) -> (Wire, Daemon)
where
    S: Fn(Frames<Box<dyn Stream>>, usize) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<()>> + Send + 'static,
{
    let tls = world.cloud.authority().acceptor_for(&["localhost"], true);
    let wire = Wire::start(move |stream, number| {
        let (tls, serve) = (tls.clone(), serve.clone());
        async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let stream: Box<dyn Stream> = Box::new(stream);
            if let Some(frames) = Frames::greet(stream, settings).await {
                serve(frames, number).await;
            }
        }
    })
    .await;
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let ca = ca.to_str().unwrap();
    let config = format!("{config}\n[providers.nous]\nca_file = {ca:?}\n");
    let base = format!("https://localhost:{}/v1", wire.address.port());
    let daemon = daemon_at(world, &base, &config);
    (wire, daemon)
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// Counts requests by what became of them.
type Tally = Arc<Mutex<BTreeMap<&'static str, usize>>>;

fn tally(tally: &Tally, what: &'static str) {
    *tally.lock().unwrap().entry(what).or_default() += 1;
}

#[tokio::test]
async fn a_post_that_http2_says_was_not_processed_is_sent_again() {
    for by_go_away in [true, false] {
        let world = World::new(Options::default()).await;
        let seen = Tally::default();
        let log = seen.clone();
        let (wire, daemon) = http2(&world, "", move |mut frames, number| {
            let log = log.clone();
            async move {
                let mut refuse = number == 1;
                loop {
                    let stream = frames.request().await?;
                    if std::mem::take(&mut refuse) {
                        tally(&log, "refused");
                        if by_go_away {
                            frames.go_away(0, NO_ERROR).await?;
                        } else {
                            frames.reset(stream, REFUSED_STREAM).await?;
                        }
                    } else {
                        tally(&log, "processed");
                        frames.answer(stream, b"{}").await?;
                    }
                }
            }
        })
        .await;
        let answer = post(&daemon, &chat("x")).await;
        assert_eq!(answer.status(), 200, "{}", daemon.logged());
        assert_eq!(answer.text().await.unwrap(), "{}");
        let expected = BTreeMap::from([("processed", 1), ("refused", 1)]);
        assert_eq!(*seen.lock().unwrap(), expected);
        assert_eq!(wire.connections(), if by_go_away { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_provider_that_refuses_every_stream_is_left_after_three() {
    let world = World::new(Options::default()).await;
    let seen = Tally::default();
    let log = seen.clone();
    let (_wire, daemon) = http2(&world, "", move |mut frames, _| {
        let log = log.clone();
        async move {
            loop {
                let stream = frames.request().await?;
                tally(&log, "refused");
                frames.reset(stream, REFUSED_STREAM).await?;
            }
        }
    })
    .await;
    error(post(&daemon, &chat("x")).await, 502, "upstream_unreachable").await;
    assert_eq!(seen.lock().unwrap()["refused"], 3);
}

#[tokio::test]
async fn a_post_whose_stream_broke_is_not_sent_again() {
    for reason in [INTERNAL_ERROR, CANCEL, NO_ERROR] {
        let world = World::new(Options::default()).await;
        let seen = Tally::default();
        let log = seen.clone();
        let (_wire, daemon) = http2(&world, "", move |mut frames, _| {
            let log = log.clone();
            async move {
                loop {
                    let stream = frames.request().await?;
                    tally(&log, "asked");
                    frames.reset(stream, reason).await?;
                }
            }
        })
        .await;
        error(post(&daemon, &chat("x")).await, 502, "upstream_unreachable").await;
        assert_eq!(seen.lock().unwrap()["asked"], 1, "reason {reason}");
    }
}

#[tokio::test]
async fn after_a_goaway_running_streams_end_whole_and_new_requests_use_a_new_connection() {
    let world = World::new(Options::default()).await;
    let finish = Arc::new(Notify::new());
    let told = finish.clone();
    let (wire, daemon) = http2(&world, "", move |mut frames, number| {
        let told = told.clone();
        async move {
            let stream = frames.request().await?;
            if number == 1 {
                frames.head(stream).await?;
                frames.send(DATA, 0, stream, b"first, ").await?;
                frames.go_away(stream, NO_ERROR).await?;
                told.notified().await;
                frames.send(DATA, END_STREAM, stream, b"last").await?;
            } else {
                frames.answer(stream, b"another").await?;
            }
            while frames.next().await.is_some() {}
            Some(())
        }
    })
    .await;
    let mut running = post(&daemon, &chat("x")).await;
    assert_eq!(running.chunk().await.unwrap().unwrap(), "first, ");
    let another = post(&daemon, &chat("y")).await;
    assert_eq!(another.text().await.unwrap(), "another");
    assert_eq!(wire.connections(), 2);
    finish.notify_one();
    assert_eq!(running.text().await.unwrap(), "last");
}

/// The same when we are the one who leaves a connection, because its time is over.
#[tokio::test]
async fn running_streams_end_whole_on_a_connection_that_takes_no_new_requests() {
    let world = World::new(Options::default()).await;
    let finish = Arc::new(Notify::new());
    let told = finish.clone();
    let config = "[timeouts]\nreuse = \"500ms\"\n";
    let (wire, daemon) = http2(&world, config, move |mut frames, number| {
        let told = told.clone();
        async move {
            if number == 1 {
                let stream = frames.request().await?;
                frames.head(stream).await?;
                frames.send(DATA, 0, stream, b"first, ").await?;
                told.notified().await;
                frames.send(DATA, END_STREAM, stream, b"last").await?;
            }
            while let Some(stream) = frames.request().await {
                frames.answer(stream, b"another").await?;
            }
            Some(())
        }
    })
    .await;
    let mut running = post(&daemon, &chat("x")).await;
    assert_eq!(running.chunk().await.unwrap().unwrap(), "first, ");
    // The first connection answers nothing more until it is told to.
    let deadline = Instant::now() + PATIENCE;
    let asking = || tokio::time::timeout(Duration::from_millis(300), get(&daemon, "/models"));
    let another = loop {
        assert!(Instant::now() < deadline, "no other connection is made");
        if let Ok(answer) = asking().await {
            break answer;
        }
    };
    assert_eq!(another.text().await.unwrap(), "another");
    assert_eq!(wire.connections(), 2);
    finish.notify_one();
    assert_eq!(running.text().await.unwrap(), "last");
}

#[tokio::test]
async fn a_fresh_connection_resumes_the_tls_session_of_the_old_one() {
    let world = World::new(Options::default()).await;
    let tls = world.cloud.authority().acceptor_for(&["localhost"], false);
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let seen = Seen::default();
    let log = seen.clone();
    let wire = Wire::start(move |stream, _| {
        let (log, tls) = (log.clone(), tls.clone());
        async move {
            let mut stream = tls.accept(stream).await.unwrap();
            let kind = stream.get_ref().1.handshake_kind().unwrap();
            log.lock().unwrap().push(format!("{kind:?}"));
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let base = format!("https://localhost:{}/v1", wire.address.port());
    let ca = ca.to_str().unwrap();
    let config = format!("[timeouts]\nreuse = \"200ms\"\n[providers.nous]\nca_file = {ca:?}\n");
    let daemon = daemon_at(&world, &base, &config);
    let deadline = Instant::now() + PATIENCE;
    while wire.connections() < 3 {
        assert!(Instant::now() < deadline, "no other connection is made");
        assert_eq!(get(&daemon, "/models").await.status(), 200);
    }
    println!("handshakes: {:?}", seen.lock().unwrap());
    assert_eq!(seen.lock().unwrap()[..3], ["Full", "Resumed", "Resumed"]);
}

#[tokio::test]
async fn a_stream_that_is_reset_in_its_answer_never_looks_complete() {
    for reason in [NO_ERROR, INTERNAL_ERROR, CANCEL, REFUSED_STREAM] {
        let world = World::new(Options::default()).await;
        let seen = Tally::default();
        let log = seen.clone();
        let (_wire, daemon) = http2(&world, "", move |mut frames, _| {
            let log = log.clone();
            async move {
                loop {
                    let stream = frames.request().await?;
                    tally(&log, "asked");
                    frames.head(stream).await?;
                    frames.send(DATA, 0, stream, b"{\"half").await?;
                    frames.reset(stream, reason).await?;
                }
            }
        })
        .await;
        let answer = post(&daemon, &chat("x")).await;
        assert_eq!(answer.status(), 200);
        let body = answer.bytes().await;
        assert!(
            body.is_err(),
            "reason {reason}: it looks complete: {body:?}"
        );
        assert_eq!(seen.lock().unwrap()["asked"], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_died_is_noticed_by_its_pings() {
    let world = World::new(Options::default()).await;
    let (wire, daemon) = http2(&world, "", |mut frames, number| async move {
        let stream = frames.request().await?;
        // Before anything else: our ping is answered.
        frames.send(PING, 0, 0, b"are you?").await?;
        while frames
            .next()
            .await
            .is_none_or(|frame| frame.payload != b"are you?")
        {}
        frames.answer(stream, b"{}").await?;
        if number == 1 {
            // As if every packet were lost from now on.
            std::future::pending::<()>().await;
        }
        while let Some(stream) = frames.request().await {
            frames.answer(stream, b"{}").await?;
        }
        Some(())
    })
    .await;
    assert_eq!(get(&daemon, "/models").await.status(), 200);
    let asked = Instant::now();
    let request = chat("x");
    let both = async { tokio::join!(post(&daemon, &request), get(&daemon, "/models")) };
    let both = tokio::time::timeout(Duration::from_mins(1), both).await;
    let (sent, got) = both.expect("it is never noticed");
    let noticed = asked.elapsed();
    println!("a dead HTTP/2 connection was noticed after {noticed:?}");
    error(sent, 502, "upstream_unreachable").await;
    assert_eq!(
        got.status(),
        200,
        "the GET is repeated on another connection"
    );
    assert!(noticed < Duration::from_secs(35), "{noticed:?}");
    assert_eq!(wire.connections(), 2);
}

// ---- Garbage ----

/// Every request for `/models` is answered well, others with what `bad` sends.
async fn half_bad<F>(bad: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static) -> Wire
where
    F: Future<Output = ()> + Send + 'static,
{
    Wire::start(move |mut stream, _| {
        let bad = bad.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                if !request.starts_with("GET") {
                    return bad(stream).await;
                }
                if stream.write_all(OK.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

/// Sends the same bytes again and again, until nobody takes them any more.
async fn flood(mut stream: TcpStream, first: &[u8], again: &[u8], pause: Duration) {
    let mut sent = stream.write_all(first).await;
    while sent.is_ok() {
        tokio::time::sleep(pause).await;
        sent = stream.write_all(again).await;
    }
}

const SHORT: &str = "[timeouts]\nresponse_head = \"2s\"\n";

/// Asks for something bad, and meanwhile and afterwards for something good.
async fn assert_harmless(what: &str, daemon: &Daemon, outcome: (u16, &str)) {
    assert_eq!(get(daemon, "/models").await.status(), 200, "{what}");
    let before = support::wire::memory(daemon).1;
    let asked = Instant::now();
    let request = chat("x");
    let neighbours = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            let good = get(daemon, "/models").await;
            assert_eq!(good.status(), 200, "{what}: another request was harmed");
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let (bad, slowest) = tokio::join!(post(daemon, &request), neighbours);
    let (status, code) = outcome;
    let message = error(bad, status, code).await;
    assert_eq!(get(daemon, "/models").await.status(), 200, "{what}");
    let grown = support::wire::memory(daemon).1.saturating_sub(before);
    println!(
        "{what}: {status} after {:?}, others within {slowest:?}, {grown} KiB more: {message}",
        asked.elapsed()
    );
    assert!(grown < 8192, "{what}: {grown} KiB");
}

#[tokio::test]
async fn garbage_in_place_of_a_head_is_an_error_of_ours() {
    let long = |name: &str, size: usize| {
        format!("HTTP/1.1 200 OK\r\n{name}: {}\r\n\r\n", "x".repeat(size))
    };
    let many: Vec<_> = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = many.concat();
    let noise = String::from_utf8_lossy(&pattern::noise(3, 65536)).into_owned();
    let cases = [
        ("noise", noise),
        ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n".to_owned()),
        ("an old version", "HTTP/0.9 200 OK\r\n\r\n".to_owned()),
        ("HTTP/2 unasked", "HTTP/2 200 OK\r\n\r\n".to_owned()),
        (
            "a status that is none",
            "HTTP/1.1 2x0 OK\r\n\r\n".to_owned(),
        ),
        (
            "a name with a space",
            "HTTP/1.1 200 OK\r\nx y: z\r\n\r\n".to_owned(),
        ),
        (
            "a value with NUL",
            "HTTP/1.1 200 OK\r\nx: \0\r\n\r\n".to_owned(),
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx".to_owned(),
        ),
        (
            "a negative length",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned(),
        ),
        ("half a head", "HTTP/1.1 200 OK\r\ncontent-ty".to_owned()),
        ("nothing", String::new()),
        ("10,000 headers", format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
        ("one header of 10 MB", long("x", 10_000_000)),
        (
            "a name of 1 MB",
            format!("HTTP/1.1 200 OK\r\n{}: y\r\n\r\n", "x".repeat(1_000_000)),
        ),
        (
            "switching protocols unasked",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                .to_owned(),
        ),
    ];
    let world = World::new(Options::default()).await;
    for (what, bytes) in cases {
        let bytes = Arc::new(bytes);
        let wire = half_bad(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                stream.write_all(bytes.as_bytes()).await.ok();
                // An orderly end: what was sent must not be lost to a reset.
                stream.shutdown().await.ok();
                stream.read_to_end(&mut Vec::new()).await.ok();
            }
        })
        .await;
        let daemon = daemon_at(&world, &wire.base_url(), SHORT);
        assert_harmless(what, &daemon, (502, "upstream_unreachable")).await;
    }
}

#[tokio::test]
async fn a_head_without_an_end_costs_no_memory_and_a_bounded_time() {
    let world = World::new(Options::default()).await;
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let flooded = early.repeat(500);
    let pauses = [Duration::ZERO, Duration::from_millis(50)];
    let timeout = (504, "upstream_timeout");
    let refused = (502, "upstream_unreachable");
    for (what, first, again, pause, outcome) in [
        ("a flood of 103", "", &*flooded, pauses[0], refused),
        ("a trickle of 103", "", early, pauses[1], timeout),
        (
            "a trickled head",
            "HTTP/1.1 200 OK\r\n",
            "x: y\r\n",
            pauses[1],
            timeout,
        ),
        (
            "a trickled header",
            "HTTP/1.1 200 OK\r\nx: ",
            "y",
            pauses[1],
            timeout,
        ),
        (
            "an endless header",
            "HTTP/1.1 200 OK\r\nx: ",
            &*"y".repeat(65536),
            pauses[0],
            refused,
        ),
    ] {
        let bytes = Arc::new((first.to_owned(), again.to_owned()));
        let wire = half_bad(move |stream| {
            let bytes = bytes.clone();
            async move { flood(stream, bytes.0.as_bytes(), bytes.1.as_bytes(), pause).await }
        })
        .await;
        let daemon = daemon_at(&world, &wire.base_url(), SHORT);
        assert_harmless(what, &daemon, outcome).await;
    }
}

/// As [`flood`], from threads of their own and without a pause.
async fn flooding(stream: TcpStream, bytes: Arc<Vec<u8>>) {
    let mut stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let flood = move || while std::io::Write::write_all(&mut stream, &bytes).is_ok() {};
    tokio::task::spawn_blocking(flood).await.unwrap();
}

/// Asks for something good until `end`; how long the answers took, the quickest first.
async fn neighbours(daemon: &Daemon, end: impl Future<Output = ()>) -> Vec<Duration> {
    let (client, mut times) = (client(), Vec::new());
    let asking = async {
        loop {
            let asked = Instant::now();
            let answer = client.get(daemon.url("/models")).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            times.push(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = asking => {}
        () = end => {}
    }
    times.sort_unstable();
    times
}

#[tokio::test]
async fn a_flood_of_interim_answers_as_fast_as_can_be_is_ended_and_starves_nobody() {
    let world = World::new(Options::default()).await;
    for (what, early) in [
        ("100 Continue", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("103", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    ] {
        let bytes = Arc::new(early.repeat(5000).into_bytes());
        let wire = half_bad(move |stream| flooding(stream, bytes.clone())).await;
        let daemon = daemon_at(&world, &wire.base_url(), "");
        let quiet = neighbours(&daemon, tokio::time::sleep(Duration::from_secs(1))).await;
        let before = support::wire::memory(&daemon).1;
        // One after the other for some seconds, two at a time.
        let ended = Mutex::new(Vec::new());
        let floods = || async {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(3) {
                let asked = Instant::now();
                let answer = post(&daemon, &chat("x")).await;
                let message = error(answer, 502, "upstream_unreachable").await;
                assert!(message.contains("interim answers"), "{message}");
                ended.lock().unwrap().push(asked.elapsed());
            }
        };
        let both = async {
            tokio::join!(floods(), floods());
        };
        let flooded = neighbours(&daemon, both).await;
        let grown = support::wire::memory(&daemon).1.saturating_sub(before);
        let figures = |times: &[Duration]| (times[times.len() / 2], *times.last().unwrap());
        let ((usual, most), (median, slowest)) = (figures(&quiet), figures(&flooded));
        let ended = ended.into_inner().unwrap();
        println!(
            "{} floods of {what} were ended within {:?}; meanwhile {} requests of others took \
             {median:?}, {slowest:?} at most (else {usual:?}, {most:?}), {grown} KiB more",
            ended.len(),
            ended.iter().max().unwrap(),
            flooded.len()
        );
        // It was the whole time of the flood.
        let bound = Duration::from_secs(1).max(usual * 100);
        assert!(median < bound, "{median:?}");
        assert!(
            slowest < Duration::from_secs(2).max(most * 50),
            "{slowest:?}"
        );
        assert!(grown < 8192, "{grown} KiB");
    }
}

#[tokio::test]
async fn http2_floods_cost_no_memory_and_a_bounded_time() {
    for (what, outcome) in [
        ("endless CONTINUATION", (502, "upstream_unreachable")),
        ("endless 103", (502, "upstream_unreachable")),
        ("endless PING", (504, "upstream_timeout")),
    ] {
        let world = World::new(Options::default()).await;
        let (_wire, daemon) = http2(&world, SHORT, move |mut frames, number| async move {
            // The requests of one connection are answered by what it is asked first.
            let stream = frames.request().await?;
            if number == 1 {
                frames.answer(stream, b"{}").await?;
            }
            let stream = if number == 1 {
                frames.request().await?
            } else {
                stream
            };
            if number != 1 {
                frames.answer(stream, b"{}").await?;
                while let Some(stream) = frames.request().await {
                    frames.answer(stream, b"{}").await?;
                }
                return Some(());
            }
            // A literal field `x: yyyy…` that is not indexed (RFC 7541 §6.2.2).
            let field = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
            let early: &[u8] = &[0x08, 3, b'1', b'0', b'3'];
            let begun = match what {
                "endless CONTINUATION" => frames.send(HEADERS, 0, stream, &[0x88]).await,
                _ => Some(()),
            };
            begun?;
            loop {
                match what {
                    "endless CONTINUATION" => {
                        frames
                            .send(CONTINUATION, 0, stream, &field.repeat(50))
                            .await?;
                    }
                    "endless 103" => frames.send(HEADERS, END_HEADERS, stream, early).await?,
                    _ => frames.send(PING, 0, 0, b"xxxxxxxx").await?,
                }
            }
        })
        .await;
        assert_eq!(get(&daemon, "/models").await.status(), 200);
        let before = support::wire::memory(&daemon).1;
        let asked = Instant::now();
        let message = error(post(&daemon, &chat("x")).await, outcome.0, outcome.1).await;
        let took = asked.elapsed();
        let grown = support::wire::memory(&daemon).1.saturating_sub(before);
        println!(
            "{what}: {} after {took:?}, {grown} KiB more: {message}",
            outcome.0
        );
        assert!(grown < 8192, "{what}: {grown} KiB");
        assert!(took < PATIENCE);
        // The daemon lives, and answers.
        let health = client().get(format!("{}/health", daemon.origin()));
        assert_eq!(health.send().await.unwrap().status(), 200);
    }
}

// ---- Loops ----

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

#[tokio::test]
async fn a_request_that_comes_back_by_a_detour_ends_at_its_first_turn() {
    let world = World::new(Options::default()).await;
    let target = Arc::new(Mutex::new(String::new()));
    let wire = detour(target.clone()).await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    daemon.address().clone_into(&mut target.lock().unwrap());
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.headers()["x-should-retry"], "false");
    let message = error(answer, 508, "loop_detected").await;
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
        error(post(daemon, &chat("x")).await, 508, "loop_detected").await;
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
