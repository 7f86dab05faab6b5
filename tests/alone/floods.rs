//! Too many connections, too large bodies: the daemon stays up, keeps serving others and stays
//! small.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::sync::Mutex;
use std::time::Duration;

use mock_cloud::{Fault, Options, Tls};
use rustix::process::{Resource, Rlimit};
use serde_json::Value;
use support::app_wire;
use support::environment::skipped;
use support::{Daemon, PATIENCE, World, chat, post, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

const MIB: u64 = 1024 * 1024;
const CHUNKED: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\
                       Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Resident memory.
fn memory(daemon: &Daemon) -> u64 {
    let file = format!("/proc/{}/status", daemon.pid());
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}

async fn served(daemon: &Daemon) -> Duration {
    let began = Instant::now();
    // How long it may take is each test's own matter; a machine that is busy with other things takes its time.
    let answer = tokio::time::timeout(3 * PATIENCE, post(daemon, &chat("x"))).await;
    assert_eq!(answer.unwrap().status(), 200);
    began.elapsed()
}

async fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads until the daemon closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.expect("the daemon closes").expect("in order");
    String::from_utf8(answer).unwrap()
}

/// A daemon with a place for each of this many connections, and descriptors for them.
fn spacious(world: &World, connections: usize) -> Daemon {
    world.write_config(&format!("[limits]\nconnections = {connections}\n"));
    with_descriptors(world, "$(ulimit -H -n)")
}

/// A daemon that may open this many files.
fn with_descriptors(world: &World, limit: &str) -> Daemon {
    let mut shell = program("sh", world.home.path());
    shell
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args([
            "-c",
            &format!("ulimit -n {limit} && exec \"$0\" --port 0 --log-format json"),
        ])
        .arg(env!("CARGO_BIN_EXE_hermes-proxyd"));
    Daemon::start(shell, world.home.path())
}

/// Descriptors for both ends of this many connections, if this machine gives them.
fn descriptors(wanted: u64) -> bool {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let enough = now.maximum.is_none_or(|most| most >= wanted);
    if enough {
        let more = Rlimit {
            current: now.current.map(|now| now.max(wanted)),
            ..now
        };
        rustix::process::setrlimit(Resource::Nofile, more).unwrap();
    }
    enough
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_others_are_served() {
    let _turn = support::turn();
    // Ten thousand, if there are descriptors for both ends of each.
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    let most = most.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    });
    let many = (most / 2).saturating_sub(500).min(10_000);
    if many < 2_000 || !descriptors(many as u64 + 500) {
        skipped("this machine gives too few descriptors");
        return;
    }
    let world = World::new(Options::default()).await;
    let daemon = spacious(&world, many + 100);
    served(&daemon).await;
    let before = memory(&daemon);
    // Each has asked once and is kept: what it was answered with is given back.
    let mut idle = Vec::new();
    for _ in 0..many {
        let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        stream.readable().await.unwrap();
        idle.push(stream);
    }
    let after = memory(&daemon);
    let took = served(&daemon).await;
    let each = (after - before) / many as u64;
    println!(
        "{many} idle connections: {} MiB, then {} MiB, {each} bytes each; a request took {took:?}",
        before / MIB,
        after / MIB
    );
    assert!(each < 8 * 1024, "{each} bytes each");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// Each waits for its next event. Over HTTP/1.1, which takes a connection to the provider for each.
#[tokio::test]
async fn a_thousand_open_streams_cost_little() {
    const STREAMS: usize = 1000;
    let _turn = support::turn();
    if !descriptors(3 * STREAMS as u64 + 1000) {
        skipped("this machine gives too few descriptors");
        return;
    }
    for (tls, most) in [(Tls::Off, 12), (Tls::On, 20)] {
        let options = Options::default().inference_tls(tls).http2(false);
        let world = World::new(options).await;
        let ca = world.home.path().join("ca.pem");
        world.cloud.write_ca(&ca).unwrap();
        world.write_config(&format!(
            "[limits]\nconnections = {}\n[providers.nous]\nca_file = {:?}\n",
            2 * STREAMS,
            ca.to_str().unwrap()
        ));
        let daemon = with_descriptors(&world, "$(ulimit -H -n)");
        let mut request = chat("x");
        request["stream"] = true.into();
        request["mock"] = serde_json::json!({"events": 2, "delay_chunk_ms": 60_000});
        let request = app_wire::request("/chat/completions", &request.to_string());
        let mut streams = Vec::new();
        // A few at once, as apps begin them.
        let mut open = async |count: usize| {
            for _ in 0..count / 50 {
                let mut begun = Vec::new();
                for _ in 0..50 {
                    let mut stream = connect(&daemon).await;
                    stream.write_all(request.as_bytes()).await.unwrap();
                    begun.push(stream);
                }
                for stream in &mut begun {
                    let mut text = Vec::new();
                    while !String::from_utf8_lossy(&text).contains("data: ") {
                        assert!(stream.read_buf(&mut text).await.unwrap() > 0);
                    }
                    let text = String::from_utf8(text).unwrap();
                    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
                }
                streams.append(&mut begun);
            }
            memory(&daemon)
        };
        let before = open(50).await;
        let after = open(STREAMS).await;
        let each = (after - before) / STREAMS as u64;
        println!("{STREAMS} open streams, TLS {tls:?}: {each} bytes each");
        assert!(each < most * 1024, "{each} bytes each");
    }
}

#[tokio::test]
async fn a_flood_of_idle_connections_makes_way_for_who_has_something_to_ask() {
    let _turn = support::turn();
    if !descriptors(6000) {
        skipped("this machine gives too few descriptors");
        return;
    }
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    // An answer under way keeps its place.
    let mut request = chat("x");
    request["stream"] = true.into();
    request["mock"] = serde_json::json!({"events": 2, "delay_chunk_ms": 3000});
    let mut stream = post(&daemon, &request).await;
    assert!(stream.chunk().await.unwrap().is_some());
    let mut flood = Vec::new();
    for _ in 0..1500 {
        flood.push(TcpStream::connect(daemon.address()).await.unwrap());
    }
    let took = served(&daemon).await;
    println!("1500 idle connections for 1024 places: a request took {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    daemon.wait_for_log("all connections are in use");
    // It goes on while good clients come.
    for _ in 0..20 {
        for _ in 0..50 {
            flood.push(TcpStream::connect(daemon.address()).await.unwrap());
        }
        served(&daemon).await;
    }
    let text = stream.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_and_does_not_finish_its_body_makes_way() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nconnections = 8\n", &[]);
    let refused = b"POST /v1/models HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 100\r\n\r\nx";
    let mut flood = Vec::new();
    for _ in 0..8 {
        let mut stream = connect(&daemon).await;
        stream.write_all(refused).await.unwrap();
        // The refusal is there, and its body still to come.
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 403");
        flood.push(stream);
    }
    let took = served(&daemon).await;
    println!("8 refused connections for 8 places: a request took {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// Sends requests while it can and never reads, until the connection is full; returns whether the
/// daemon has cut it by then. The stream stays open.
async fn asks_and_never_reads(address: &str) -> (TcpStream, bool) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // So that the daemon's own buffers are full soon.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let burst = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20);
    let mut quiet = 0;
    while quiet < 3 {
        let write = stream.write_all(burst.as_bytes());
        match tokio::time::timeout(Duration::from_millis(300), write).await {
            Ok(Ok(())) => quiet = 0,
            Ok(Err(_)) => return (stream, true),
            Err(_) => quiet += 1,
        }
    }
    (stream, false)
}

#[tokio::test]
async fn clients_that_are_refused_and_do_not_read_hold_no_place() {
    const PLACES: usize = 16;
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let added = world.ctl(&["clients", "add", "phone"]);
    assert!(added.status.success(), "{added:?}");
    let config = format!(
        "[[listen]]\n[[listen]]\naddress = \"127.0.0.1:0\"\nauth = \"keys\"\n\
         [limits]\nconnections = {PLACES}\n"
    );
    let daemon = world.daemon_with(&config, &[]);
    let locked = daemon.status()["listeners"][1]["url"].clone();
    let locked = locked.as_str().unwrap().trim_start_matches("http://");
    let locked = locked.strip_suffix("/v1").unwrap();
    // An app's connection, kept from before.
    let kept = support::client();
    let ask = || kept.get(daemon.url("/models")).send();
    assert_eq!(ask().await.unwrap().status(), 200);
    let flood = (0..PLACES).map(|_| asks_and_never_reads(locked));
    let flood = tokio::time::timeout(6 * PATIENCE, futures_util::future::join_all(flood));
    let mut flood = flood.await.expect("no more goes out, or it is cut");
    let mut times = Vec::new();
    for _ in 0..6 {
        times.push(served(&daemon).await);
        assert_eq!(ask().await.unwrap().status(), 200);
    }
    println!(
        "{PLACES} connections that don't read their refusals: {} were cut by then, requests took \
         {times:?}",
        flood.iter().filter(|(_, cut)| *cut).count()
    );
    // They are cut, even while no other connection needs their place.
    for (stream, _) in &mut flood {
        let ended = async { while stream.write_all(b"GET / HTTP/1.1\r\n").await.is_ok() {} };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        ended.expect("it is cut");
    }
}

/// Each refusal takes time from others, so a client without a key gets one for each connection.
#[tokio::test]
async fn pipelined_requests_without_a_key_get_one_refusal() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    assert!(world.ctl(&["clients", "add", "phone"]).status.success());
    let daemon = world.daemon_with(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nauth = \"keys\"\n",
        &[],
    );
    let mut stream = connect(&daemon).await;
    let request = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream
        .write_all(request.repeat(100).as_bytes())
        .await
        .unwrap();
    let answers = rest(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 401 ").count(), 1, "{answers}");
    assert!(answers.contains("connection: close"), "{answers}");
    assert_eq!(daemon.status()["refused"]["count"], 1);
}

/// Heads that never end, in one line and in many; the larger part of each is read before the sender is
/// known.
#[tokio::test]
async fn unfinished_heads_take_little_memory_and_give_it_back() {
    const MANY: usize = 1000;
    const HEAD: usize = 60_000;
    let _turn = support::turn();
    if !descriptors(3000) {
        skipped("this machine gives too few descriptors");
        return;
    }
    let field = format!("X-A: {}\r\n", "a".repeat(93));
    let begins = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n";
    let one_line = format!("{begins}X-A: {}", "a".repeat(HEAD));
    // No more than 100 fields, so each is some 600 bytes long.
    let field = field.replace("\r\n", &format!("{}\r\n", "b".repeat(505)));
    let many_lines = format!("{begins}{}", field.repeat(98));
    for (what, head) in [("one line", one_line), ("98 lines", many_lines)] {
        let world = World::new(Options::default()).await;
        world.write_config("[timeouts]\nheaders = \"10m\"\n");
        let daemon = with_descriptors(&world, "$(ulimit -H -n)");
        served(&daemon).await;
        let before = memory(&daemon);
        let mut most = before;
        let mut flood = Vec::new();
        for number in 0..MANY {
            let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
            // It may have been cut already.
            stream.write_all(head.as_bytes()).await.ok();
            flood.push(stream);
            if number % 20 == 0 {
                most = most.max(memory(&daemon));
            }
        }
        for _ in 0..5 {
            served(&daemon).await;
            most = most.max(memory(&daemon));
        }
        drop(flood);
        // What a thousand connections take by themselves may stay with the allocator.
        let deadline = Instant::now() + PATIENCE;
        let mut after = memory(&daemon);
        while after > before + 32 * MIB && Instant::now() < deadline {
            served(&daemon).await;
            after = memory(&daemon);
        }
        println!(
            "{MANY} unfinished heads of {HEAD} bytes in {what}: {} MiB, then at most {} MiB; {} \
             MiB after their end",
            before / MIB,
            most / MIB,
            after / MIB
        );
        assert!(most < before + 48 * MIB, "{what}: {most}");
        assert!(after <= before + 32 * MIB, "{what}: {after}");
    }
}

#[tokio::test]
async fn with_fewer_descriptors_than_places_everybody_with_a_question_is_served() {
    let _turn = support::turn();
    if !descriptors(2500) {
        skipped("this machine gives too few descriptors");
        return;
    }
    for limit in [64, 128, 256, 1024] {
        let world = World::new(Options::default()).await;
        // Only what is needed ends them.
        world.write_config("[timeouts]\nheaders = \"10m\"\n");
        let daemon = with_descriptors(&world, &limit.to_string());
        let mut flood = Vec::new();
        // More than wait in the kernel's queue would be turned away by it.
        for _ in 0..1000.max(limit + 100) {
            flood.push(TcpStream::connect(daemon.address()).await.unwrap());
        }
        let mut times = Vec::new();
        for _ in 0..6 {
            times.push(served(&daemon).await);
        }
        println!(
            "{limit} descriptors, {} idle connections: requests took {times:?}",
            flood.len()
        );
        // A quarter of a second for each place, over and over, would be ten.
        assert!(times[0] < Duration::from_secs(6), "{limit}: {times:?}");
        daemon.wait_for_log("too few files for `limits.connections`");
        let log = daemon.logged();
        assert!(!log.contains("could not be accepted"), "{log}");
    }
}

/// Sends a chat's head and then the body at its pace, this many bytes at each interval; returns the
/// answer.
async fn upload(daemon: &Daemon, size: usize, (piece, pause): (usize, Duration)) -> String {
    let (mut read, mut write) = connect(daemon).await.into_split();
    let head = CHUNKED.replace(
        "Transfer-Encoding: chunked",
        &format!("Content-Length: {size}"),
    );
    let filler = size - chat("").to_string().len();
    let body = chat(&"x".repeat(filler)).to_string();
    assert_eq!(body.len(), size);
    let writing = async {
        write.write_all(head.as_bytes()).await.ok();
        for piece in body.as_bytes().chunks(piece) {
            tokio::time::sleep(pause).await;
            if write.write_all(piece).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        loop {
            let read = read.read(&mut piece).await.unwrap_or(0);
            answer.extend_from_slice(&piece[..read]);
            if read == 0 || answer.ends_with(b"}") {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn bodies_that_hardly_come_make_way_and_an_honest_slow_one_does_not() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nconnections = 8\n", &[]);
    let began = Instant::now();
    let ended = Mutex::new(Vec::new());
    // Four send a byte now and then, three nothing at all.
    let flood = (0..7_u64).map(|number| {
        let pause = Duration::from_millis(if number < 4 { 700 } else { 3_600_000 });
        let (daemon, ended) = (&daemon, &ended);
        async move {
            let answer = upload(daemon, 100_000, (1, pause)).await;
            ended.lock().unwrap().push(answer);
        }
    });
    let flood = async {
        futures_util::future::join_all(flood).await;
        std::future::pending::<()>().await;
    };
    let honest = upload(&daemon, 400 * 1024, (2048, Duration::from_millis(100)));
    let others = async {
        let all_there = |cloud: &mock_cloud::MockCloud| cloud.counts().requests == 8;
        world.cloud.wait_for(PATIENCE, all_there).await;
        let mut times = Vec::new();
        for _ in 0..20 {
            times.push(served(&daemon).await);
        }
        times
    };
    let (honest, times) = tokio::select! {
        () = flood => unreachable!(),
        both = futures_util::future::join(honest, others) => both,
    };
    let ended = ended.into_inner().unwrap();
    let next = times[1..].iter().max().unwrap();
    println!(
        "7 hardly moving bodies and one of 20 KiB/s for 8 places: {} made way, a request took \
         {:?}, the next ones {next:?} at most; the honest one was served after {:?}",
        ended.len(),
        times[0],
        began.elapsed()
    );
    assert!(honest.starts_with("HTTP/1.1 200 "), "{honest}");
    assert!(times[0] < Duration::from_secs(10), "{times:?}");
    assert!(*next < Duration::from_secs(2), "{times:?}");
    assert!(!ended.is_empty());
    for answer in ended {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("`limits.connections`"), "{answer}");
    }
}

#[tokio::test]
async fn a_tebibyte_is_refused_at_its_announcement() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let mut stream = connect(&daemon).await;
    let head = CHUNKED.replace(
        "Transfer-Encoding: chunked",
        "Content-Length: 1099511627776",
    );
    let began = Instant::now();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b' '; 5000]).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(world.cloud.counts().requests, 0);
}

#[tokio::test]
async fn who_sends_all_before_reading_gets_the_refusal_too() {
    const MUCH: usize = 20 * 1024 * 1024;
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nbody = \"64KiB\"\n", &[]);
    let length = format!("Content-Length: {MUCH}");
    let head = CHUNKED.replace("Transfer-Encoding: chunked", &length);
    for (head, status) in [
        (head.clone(), 413),
        (head.replace("localhost", "evil.example"), 403),
        (head.replace("/chat", "/nope"), 404),
        (format!("GET http://a/ HTTP/1.1\r\n{head}"), 400),
        (format!("A : b\r\n{head}"), 400),
    ] {
        let mut stream = connect(&daemon).await;
        let request = [head.as_bytes(), &vec![b' '; MUCH]].concat();
        let sent = tokio::time::timeout(PATIENCE, stream.write_all(&request)).await;
        sent.expect("it reads on").expect("no reset");
        let answer = rest(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.ends_with('}'), "{answer}");
    }
    assert_eq!(world.cloud.counts().requests, 0);
}

#[tokio::test]
async fn chunks_without_end_are_refused_at_the_limit_and_not_kept() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    served(&daemon).await;
    let before = memory(&daemon);
    let mut most = before;
    let (mut read, mut write) = connect(&daemon).await.into_split();
    write.write_all(CHUNKED.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n", &vec![b' '; 0x10000][..], b"\r\n"].concat();
    let answer = async {
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.ok();
        String::from_utf8(answer).unwrap()
    };
    tokio::pin!(answer);
    let mut sent = 0;
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            written = write.write_all(&chunk) => {
                sent += written.map_or(0, |()| 0x10000_u64);
                most = most.max(memory(&daemon));
            }
        }
        assert!(sent < 1024 * MIB, "it reads on");
    };
    println!(
        "chunks without end: refused after {} MiB, {} MiB at most, {} before",
        sent / MIB,
        most / MIB,
        before / MIB
    );
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(sent >= 64 * MIB);
    assert!(most < before + 16 * MIB, "{most}");
    assert!(
        world
            .cloud
            .requests()
            .iter()
            .skip(1)
            .all(|seen| seen.body_sha256.is_none())
    );
}

#[tokio::test]
async fn tiny_chunks_hold_no_buffers() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    served(&daemon).await;
    let before = memory(&daemon);
    // The provider does not answer, so what was sent is kept for a replay.
    world.cloud.fail_next(1, &Fault::Silent);
    let mut stream = connect(&daemon).await;
    stream.write_all(CHUNKED.as_bytes()).await.unwrap();
    // Each one is read by itself.
    let one_by_one = async {
        for sent in 0..8_000 {
            stream.write_all(b"1\r\n \r\n").await.unwrap();
            let arrived = || {
                let requests = world.cloud.requests();
                requests.get(1).map_or(0, |seen| seen.body_bytes)
            };
            while arrived() <= sent {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(6 * PATIENCE, one_by_one)
        .await
        .unwrap();
    let after = memory(&daemon);
    println!(
        "8,000 chunks of a byte: {} MiB, then {} MiB",
        before / MIB,
        after / MIB
    );
    assert!(after < before + 12 * MIB, "{after}");
}

#[tokio::test]
async fn a_hundred_slow_heads_are_ended_and_hold_nobody_up() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[timeouts]\nheaders = \"1s\"\n", &[]);
    let mut usual = Duration::ZERO;
    for _ in 0..20 {
        usual = usual.max(served(&daemon).await);
    }
    let began = Instant::now();
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let address = daemon.address().to_owned();
            async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let (mut read, mut write) = stream.split();
                let dripping = async {
                    for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: "
                        .iter()
                        .cycle()
                    {
                        if write.write_all(&[*byte]).await.is_err() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let reading = async {
                    let mut answer = String::new();
                    read.read_to_string(&mut answer).await.unwrap();
                    answer
                };
                tokio::select! {
                    () = dripping => String::new(),
                    answer = reading => answer,
                }
            }
        })
        .collect();
    let others = async {
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            longest = longest.max(served(&daemon).await);
        }
        longest
    };
    let (answers, longest) = tokio::join!(futures_util::future::join_all(slow), others);
    println!(
        "100 heads of ten bytes a second were ended after {:?}; other requests took {longest:?} at \
         most",
        began.elapsed()
    );
    assert!(
        answers
            .iter()
            .all(|answer| answer.starts_with("HTTP/1.1 408 "))
    );
    assert!(began.elapsed() < PATIENCE);
    // Not held up by the heads, however busy the machine is with other things.
    assert!(longest < Duration::from_secs(2).max(20 * usual));
}

/// Requests that are refused, one after the other over one connection; their answers.
async fn refused(daemon: &Daemon, count: usize, fields: &str) {
    let request = format!("GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let mut stream = connect(daemon).await;
    for _ in 0..count {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await;
            assert!(read.expect("an answer").unwrap() > 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 403 "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_requests_are_told_once_and_counted_and_leave_the_log_to_others() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    refused(&daemon, 1000, "Origin: https://one.example\r\n").await;
    refused(&daemon, 1000, "Origin: https://two.example\r\n").await;
    // Who names ever other pages gets no line for each.
    for page in 0..300 {
        refused(&daemon, 1, &format!("Origin: https://{page}.example\r\n")).await;
    }
    // What is refused before it is read.
    for _ in 0..50 {
        let mut stream = connect(&daemon).await;
        stream.write_all(b"GET / HTTP/9.9\r\n\r\n").await.unwrap();
        assert!(rest(&mut stream).await.contains(" 400 "));
    }
    served(&daemon).await;
    let status = daemon.status();
    let about = status["refused"]["about"].as_str();
    assert!(
        status["refused"]["count"].as_u64() >= Some(2300),
        "{status}"
    );
    assert!(
        about.is_none_or(|about| about.ends_with(".example")),
        "{status}"
    );
    // The request that the status names is one that the log has.
    let id = status["refused"]["request_id"].as_str().unwrap();
    daemon.wait_for_log(id);
    assert!(daemon.stop().success());
    daemon.wait_for_log("\"stopped\"");
    let log = daemon.logged();
    let count = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    let one = "\"about\":\"https://one.example\"";
    assert_eq!(count(one), 2, "{log}");
    let again = log
        .lines()
        .find(|line| line.contains(one) && line.contains("\"requests were refused again\""));
    let again: Value = serde_json::from_str(again.unwrap()).unwrap();
    assert_eq!(
        (&again["requests"], &again["code"]),
        (&999.into(), &"origin_not_allowed".into())
    );
    assert!(count("bad_request") <= 2, "{log}");
    assert!(
        log.len() < 100_000 && log.lines().count() < 200,
        "{}",
        log.len()
    );
}
