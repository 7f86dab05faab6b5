//! A client that leaves: in every phase, by FIN and by RST, its request to the provider is
//! cancelled at once.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail loudly, and tells its figures"
)]
#![expect(clippy::disallowed_methods, reason = "real time")]

use std::time::{Duration, Instant};

use mock_cloud::{Endpoint, Options, PortalFault, RawEnd, Script, Tls};
use serde_json::{Value, json};
use support::app_wire::{Wire, request};
use support::{Daemon, PATIENCE, World, chat};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

const TRIES: usize = 3;
/// What the median has to keep to.
const GOAL: Duration = Duration::from_millis(100);

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Way {
    Fin,
    Rst,
}

impl Way {
    fn go(self, wire: Wire) -> Instant {
        let now = Instant::now();
        match self {
            Self::Fin => wire.close(),
            Self::Rst => wire.reset(),
        }
        now
    }
}

fn report(phase: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let millis = |time: &Duration| time.as_secs_f64() * 1000.0;
    let all: Vec<_> = times
        .iter()
        .map(|time| format!("{:.1}", millis(time)))
        .collect();
    println!("{phase}: {} ms", all.join(" "));
    assert!(times[times.len() / 2] <= GOAL, "{phase}: {times:?}");
}

/// A daemon before the cloud over HTTP/1.1 in plain text, or HTTP/2 over TLS.
async fn start(http2: bool) -> (World, Daemon) {
    let tls = if http2 { Tls::On } else { Tls::Off };
    let world = World::new(Options::default().inference_tls(tls).http2(http2)).await;
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let config = format!(
        "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n[providers.nous]\nca_file = {:?}\n",
        ca.to_str().unwrap()
    );
    let daemon = world.daemon_with(&config, &[]);
    (world, daemon)
}

/// TCP or a Unix socket.
trait Client: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Client for S {}

async fn read_until(client: &mut (impl AsyncRead + Unpin), text: &[u8]) {
    let mut seen = Vec::new();
    let reading = async {
        while !seen.windows(text.len()).any(|part| part == text) {
            assert!(client.read_buf(&mut seen).await.unwrap() > 0);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
}

fn steered(mock: Value) -> String {
    let mut request = chat("x");
    request["stream"] = json!(true);
    request["mock"] = mock;
    request.to_string()
}

/// From the client's leaving until the provider knows.
async fn cancelled(world: &World, before: u64, left: Instant) -> Duration {
    let is_cancelled = |cloud: &mock_cloud::MockCloud| cloud.counts().cancelled > before;
    world.cloud.wait_for(PATIENCE, is_cancelled).await;
    left.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_it_sends_waits_reads_or_does_not_read() {
    let _turn = support::turn();
    for http2 in [false, true] {
        // They mostly wait, each with a world of its own; more than two at a time would delay one another.
        let mut running = JoinSet::new();
        for way in [Way::Fin, Way::Rst] {
            running.spawn(in_every_phase(http2, way));
        }
        running.join_all().await;
    }
}

async fn in_every_phase(http2: bool, way: Way) {
    let (world, daemon) = start(http2).await;
    let name = if http2 { "HTTP/2" } else { "HTTP/1.1" };
    let waiting = steered(json!({"delay_head_ms": 600_000}));
    let running = steered(json!({"delay_chunk_ms": 20, "events": 3000}));
    let silent = steered(json!({"hang_after_bytes": 400}));
    let stalled = steered(json!({"endless": true, "chunk_bytes": 16384}));
    for (phase, body) in [
        ("while sending its body", None),
        ("while waiting for the head", Some(&waiting)),
        ("in a running stream", Some(&running)),
        ("in a silent stream", Some(&silent)),
        ("while it does not read", Some(&stalled)),
    ] {
        let mut times = Vec::new();
        for _ in 0..TRIES {
            let before = world.cloud.counts();
            let text = body.map_or_else(
                || request("/chat/completions", &" ".repeat(9999)).replace(": 9999", ": 99999"),
                |body| request("/chat/completions", body),
            );
            let mut wire = Wire::connect(&daemon).await;
            wire.send(text.as_bytes()).await;
            let there = |cloud: &mock_cloud::MockCloud| cloud.counts().requests > before.requests;
            world.cloud.wait_for(PATIENCE, there).await;
            match phase {
                "in a running stream" | "in a silent stream" => {
                    wire.read_until("data: ").await;
                }
                _ => tokio::time::sleep(Duration::from_millis(80)).await,
            }
            let left = way.go(wire);
            times.push(cancelled(&world, before.cancelled, left).await);
        }
        report(&format!("{name}, {way:?} {phase}"), times);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_bytes_behind_its_request() {
    let _turn = support::turn();
    for (behind, what) in [
        ("\r\n", "a stray CRLF"),
        (
            "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "a pipelined request",
        ),
        ("nonsense\r\n\r\n", "what is no request"),
    ] {
        let mut running = JoinSet::new();
        for unix in [false, true] {
            running.spawn(with_bytes_behind(behind, what, unix));
        }
        running.join_all().await;
    }
}

async fn with_bytes_behind(behind: &str, what: &str, unix: bool) {
    let (world, daemon) = start(false).await;
    let socket = world.home.path().join("apps/proxy.sock");
    let waiting = steered(json!({"delay_head_ms": 600_000}));
    let running = steered(json!({"delay_chunk_ms": 20, "events": 3000}));
    let silent = steered(json!({"hang_after_bytes": 400}));
    for (body, phase) in [
        (&waiting, "before the head"),
        (&running, "in a running stream"),
        (&silent, "in a silent stream"),
    ] {
        // Together, or when the answer is waited for already.
        for apart in [false, true] {
            let mut times = Vec::new();
            for _ in 0..TRIES {
                let before = world.cloud.counts();
                let mut client: Box<dyn Client> = if unix {
                    Box::new(UnixStream::connect(&socket).await.unwrap())
                } else {
                    Box::new(TcpStream::connect(daemon.address()).await.unwrap())
                };
                let mut text = request("/chat/completions", body);
                if !apart {
                    text.push_str(behind);
                }
                client.write_all(text.as_bytes()).await.unwrap();
                let there =
                    |cloud: &mock_cloud::MockCloud| cloud.counts().requests > before.requests;
                world.cloud.wait_for(PATIENCE, there).await;
                if phase.ends_with("stream") {
                    read_until(&mut client, b"data: ").await;
                }
                if apart {
                    client.write_all(behind.as_bytes()).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(80)).await;
                let left = Instant::now();
                drop(client);
                times.push(cancelled(&world, before.cancelled, left).await);
            }
            let way = if unix { "Unix socket" } else { "TCP" };
            let when = if apart { "later" } else { "at once" };
            report(&format!("{way}, {what} {when}, {phase}"), times);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_does_not_take_its_body() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let mut script = Script::new("", RawEnd::Wait);
    script.reads_body = false;
    let raw = world.cloud.raw(script, false).await;
    let key = world.home.path().join("key");
    std::fs::write(&key, "a-key").unwrap();
    let config = format!(
        "default_provider = \"raw\"\n[providers.raw]\ntype = \"static\"\nbase_url = {:?}\napi_key_file = {:?}\n",
        raw.base_url(),
        key.to_str().unwrap()
    );
    let daemon = world.daemon_with(&config, &[]);
    let body = vec![b' '; 48 << 20];
    let head = request("/chat/completions", "").replace(": 0\r\n", ": 50331648\r\n");
    let mut times = Vec::new();
    for seen in 1..=TRIES {
        let mut wire = Wire::connect(&daemon).await;
        wire.send(head.as_bytes()).await;
        // All buffers on the way are full. A FIN would wait in the client's own system for room,
        // invisible to all; with room it is the one behind unread bytes, as below.
        wire.stuff(&body, Duration::from_millis(300)).await;
        let left = Way::Rst.go(wire);
        tokio::task::block_in_place(|| daemon.wait_for_log_count("client left", seen));
        times.push(left.elapsed());
    }
    report("Rst while the provider does not take its body", times);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_waits_for_a_credential() {
    let _turn = support::turn();
    let options = Options::default().access_ttl(Duration::from_secs(2));
    let world = World::new(options).await;
    let hang = PortalFault::DelayBefore(Duration::from_mins(10));
    world.cloud.break_portal(Endpoint::Refresh, hang);
    let daemon = world.daemon_with(
        "[timeouts]\ncredential = \"5m\"\n[providers.nous]\ntoken_timeout = \"5m\"\n",
        &[],
    );
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let mut seen = 0;
    // With a body that is unread before the client's end, and without.
    let models = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let large = request("/chat/completions", &" ".repeat(40_000));
    for (what, text) in [
        ("a body", request("/chat/completions", "{}")),
        ("a body that nobody reads", large),
        ("no body", models.into()),
    ] {
        for way in [Way::Fin, Way::Rst] {
            let mut times = Vec::new();
            for _ in 0..TRIES {
                let mut wire = Wire::connect(&daemon).await;
                wire.send(text.as_bytes()).await;
                let in_flight = || daemon.status()["providers"][0]["requests"]["in_flight"] == 1;
                tokio::task::block_in_place(|| {
                    let deadline = Instant::now() + PATIENCE;
                    while !in_flight() {
                        assert!(Instant::now() < deadline, "{}", daemon.logged());
                    }
                });
                seen += 1;
                let left = way.go(wire);
                tokio::task::block_in_place(|| daemon.wait_for_log_count("client left", seen));
                times.push(left.elapsed());
            }
            report(
                &format!("{way:?} while waiting for a credential, with {what}"),
                times,
            );
        }
    }
    assert_eq!(world.cloud.counts().requests, 0);
}

/// Such a client can't be told from one that has left, so nothing is asked of the provider for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_ends_its_sending_gets_what_we_answer_ourselves() {
    let world = World::new(Options::default()).await;
    assert!(world.ctl(&["clients", "add", "app"]).status.success());
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n\
                  [[listen]]\nunix = \"~/apps/locked.sock\"\nauth = \"keys\"\n";
    let daemon = world.daemon_with(config, &[]);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let apps = world.home.path().join("apps");
    let livez = get("/livez");
    for (text, locked, statuses) in [
        (livez.clone(), false, &[200][..]),
        (livez.repeat(3), false, &[200, 200, 200]),
        (livez.replace("1.1", "1.0"), false, &[200]),
        (get("/"), false, &[200]),
        (get("/health"), false, &[200]),
        (get("/readyz"), false, &[200]),
        (get("/v1/nothing"), false, &[404]),
        (get("/v1/chat/completions"), false, &[405]),
        (livez.replace("localhost", "evil.example"), false, &[403]),
        (livez.replace("host", "host "), false, &[400]),
        (get("/v1/models"), true, &[401]),
        (request("/chat/completions", "{}"), true, &[401]),
        (request("/nothing", &" ".repeat(90_000)), false, &[404]),
    ] {
        for unix in [true, false] {
            if locked && !unix {
                continue;
            }
            for _ in 0..10 {
                let socket = if locked { "locked.sock" } else { "proxy.sock" };
                let mut client: Box<dyn Client> = if unix {
                    Box::new(UnixStream::connect(apps.join(socket)).await.unwrap())
                } else {
                    Box::new(TcpStream::connect(daemon.address()).await.unwrap())
                };
                client.write_all(text.as_bytes()).await.unwrap();
                client.shutdown().await.unwrap();
                let mut answer = String::new();
                let reading = client.read_to_string(&mut answer);
                let read = tokio::time::timeout(PATIENCE, reading).await.unwrap();
                let found: Vec<_> = answer
                    .match_indices("HTTP/1.")
                    .map(|(at, _)| answer.get(at + 9..at + 12).unwrap().parse::<u16>().unwrap())
                    .collect();
                assert_eq!(found, statuses, "{text:.80} {unix} {read:?} {answer}");
                assert!(read.is_ok(), "{text:.80} {unix} {read:?} {answer}");
            }
        }
    }
    // The provider is not asked, or left at once.
    for _ in 0..10 {
        let mut client = TcpStream::connect(daemon.address()).await.unwrap();
        let waiting = steered(json!({"delay_head_ms": 600_000}));
        let text = request("/chat/completions", &waiting);
        client.write_all(text.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        let reading = client.read_to_string(&mut answer);
        let read = tokio::time::timeout(PATIENCE, reading).await;
        assert!(read.is_ok() && answer.is_empty(), "{answer}");
    }
    let counts = world.cloud.counts();
    world
        .cloud
        .wait_for(PATIENCE, |cloud| {
            cloud.counts().cancelled == counts.requests
        })
        .await;
}
