//! `hermes-proxyd bridge`, by which containers without a network reach the socket.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mock_cloud::{Fault, Options, Steering};
use support::environment::skipped;
use support::{Daemon, PATIENCE, World, chat, client, post, program, until};

/// A bridge to a daemon's socket, in a home of its own.
pub(crate) fn bridge(home: &Path, socket: &Path) -> Daemon {
    let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), home);
    command
        .args(["bridge", "--listen", "127.0.0.1:0", "--to"])
        .arg(socket);
    launched(command, home)
}

/// A bridge that may open 64 files.
fn narrow_bridge(home: &Path, socket: &Path) -> Daemon {
    let mut shell = program("sh", home);
    let line = "ulimit -n 64 && exec \"$0\" bridge --listen 127.0.0.1:0 --to \"$1\"";
    shell.args(["-c", line, env!("CARGO_BIN_EXE_hermes-proxyd")]);
    shell.arg(socket);
    launched(shell, home)
}

/// A bridge by this command.
fn launched(command: Command, home: &Path) -> Daemon {
    let mut bridge = Daemon::launch(command, home);
    let line = bridge.wait_for_log("bridging");
    let url = line
        .split("url=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    url.trim_matches('"').clone_into(&mut bridge.base);
    bridge
}

#[tokio::test(flavor = "multi_thread")]
async fn no_neighbour_of_the_bridge_keeps_others_out() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const FLOOD: usize = 1100;
    let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if now.maximum.is_some_and(|most| most < 6 * FLOOD as u64) {
        skipped("this machine gives too few descriptors");
        return;
    }
    let more = rustix::process::Rlimit {
        current: now.maximum,
        ..now
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, more).unwrap();
    let world = World::new(Options::default()).await;
    // Only what is needed ends them.
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n\
                  [limits]\nconnections = 3000\n[timeouts]\nheaders = \"10m\"\n";
    let _daemon = world.daemon_with(config, &[]);
    let socket = world.home.path().join("apps/proxy.sock");
    let elsewhere = support::scratch();
    let bridge = bridge(elsewhere.path(), &socket);
    let mut flood = Vec::new();
    let connect = async || {
        let neighbour = tokio::net::TcpSocket::new_v4().unwrap();
        neighbour.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        let address = bridge.address().parse().unwrap();
        let connecting = tokio::time::timeout(PATIENCE, neighbour.connect(address)).await;
        connecting.expect("it accepts").unwrap()
    };
    for _ in 0..FLOOD {
        flood.push(connect().await);
    }
    for _ in 0..6 {
        let answer = tokio::time::timeout(PATIENCE, post(&bridge, &chat("x"))).await;
        assert_eq!(answer.expect("it is served").status(), 200);
    }
    // And itself it is served too, in place of what it left unused.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = connect().await;
        let exchange = async {
            let request =
                b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = exchange.await.unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(answer.contains("bridge_full"), "{answer}");
        assert!(Instant::now() < deadline);
    }
}

/// However often a piece of it comes.
#[tokio::test(flavor = "multi_thread")]
async fn neighbours_of_the_bridge_with_half_requests_make_way_soon() {
    use tokio::io::AsyncWriteExt;

    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n";
    let _daemon = world.daemon_with(config, &[]);
    let socket = world.home.path().join("apps/proxy.sock");
    let elsewhere = support::scratch();
    let bridge = narrow_bridge(elsewhere.path(), &socket);
    let connect = async |last: u8| {
        let neighbour = tokio::net::TcpSocket::new_v4().unwrap();
        neighbour.bind(([127, 0, 0, last], 0).into()).unwrap();
        let address = bridge.address().parse().unwrap();
        neighbour.connect(address).await.unwrap()
    };
    // One that is slow to ask may find its refusal gone.
    let status = async || {
        let request = client().post(bridge.url("/chat/completions"));
        let answer = request.json(&chat("x")).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    let mut flood = Vec::new();
    let began = Instant::now();
    while status().await != Some(503) {
        assert!(began.elapsed() < PATIENCE, "the places are not taken");
        // All at once: a later one may find that the first have made way.
        let half = (10..14).flat_map(|last| [last; 4]).map(async |last| {
            let mut stream = connect(last).await;
            stream.write_all(b"GET /livez HTTP/1.1\r\n").await.ok();
            stream
        });
        flood.extend(futures_util::future::join_all(half).await);
    }
    let began = Instant::now();
    while status().await != Some(200) {
        assert!(began.elapsed() < PATIENCE, "they hold all places");
        for stream in &mut flood {
            stream.write_all(b"x: y\r\n").await.ok();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("half requests made way after {:?}", began.elapsed());
    drop(flood);
}

/// With 64 descriptors the bridge has sixteen slots, four for each client host.
#[tokio::test(flavor = "multi_thread")]
async fn several_neighbours_of_the_bridge_together_keep_nobody_out_and_whoever_is_refused_is_told()
{
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n";
    let _daemon = world.daemon_with(config, &[]);
    let socket = world.home.path().join("apps/proxy.sock");
    let elsewhere = support::scratch();
    let bridge = narrow_bridge(elsewhere.path(), &socket);
    let connect = async |last: u8| {
        let neighbour = tokio::net::TcpSocket::new_v4().unwrap();
        neighbour.bind(([127, 0, 0, last], 0).into()).unwrap();
        let address = bridge.address().parse().unwrap();
        neighbour.connect(address).await.unwrap()
    };
    let livez = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut flood = Vec::new();
    for last in 10..14 {
        for _ in 0..4 {
            let mut stream = connect(last).await;
            stream.write_all(livez).await.unwrap();
            let mut piece = [0; 4096];
            assert!(stream.read(&mut piece).await.unwrap() > 0);
            flood.push(stream);
        }
    }
    // They were answered, and wait for nothing.
    let began = Instant::now();
    let answer = loop {
        let answer = post(&bridge, &chat("x")).await;
        if answer.status() != 503 {
            break answer;
        }
        assert!(began.elapsed() < PATIENCE, "they hold all places");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer.status(), 200);
    println!(
        "sixteen idle connections made way after {:?}",
        began.elapsed()
    );
    drop((answer, flood));

    // A client that awaits an answer stays, so all others are refused, however many come at once.
    let mut waiting = Vec::new();
    for last in 10..14 {
        for _ in 0..4 {
            let deadline = Instant::now() + PATIENCE;
            let stream = loop {
                let mut stream = connect(last).await;
                let head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
                             content-type: application/json\r\ncontent-length: 100\r\n\r\n";
                stream.write_all(head).await.unwrap();
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece);
                let refused = tokio::time::timeout(Duration::from_millis(100), read).await;
                if refused.is_err() {
                    break stream;
                }
                assert!(Instant::now() < deadline);
            };
            waiting.push(stream);
        }
    }
    let many = (0..100).map(|_| async {
        let mut stream = connect(20).await;
        // A slow client gets the refusal too.
        tokio::time::sleep(Duration::from_millis(10)).await;
        stream.write_all(livez).await.ok();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        (answer, read.map_err(|error| error.kind()))
    });
    for (answer, read) in futures_util::future::join_all(many).await {
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer} {read:?}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(
            answer.ends_with('}') && answer.contains("\"bridge_full\""),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_carries_everything_and_says_when_nobody_is_there() {
    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n";
    let mut daemon = world.daemon_with(config, &[]);
    let socket = world.home.path().join("apps/proxy.sock");
    let elsewhere = support::scratch();
    let mut bridge = bridge(elsewhere.path(), &socket);

    assert_eq!(post(&bridge, &chat("x")).await.status(), 200);
    let stream = client()
        .post(bridge.url("/chat/completions"))
        .json(&serde_json::json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "hello"}]}));
    let through = stream.send().await.unwrap().text().await.unwrap();
    assert!(through.ends_with("data: [DONE]\n\n"), "{through}");
    // The guard is the daemon's.
    let foreign = client()
        .get(bridge.url("/models"))
        .header("host", "evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);

    // An answer that comes before the body is over arrives.
    for _ in 0..5 {
        let large = client().post(bridge.url("/chat/completions"));
        let large = large.header("content-type", "application/json");
        let answer = large.body(vec![b' '; 80 << 20]).send().await;
        assert_eq!(answer.expect("an answer").status(), 413);
    }

    // A cut answer is one here too.
    let cut = Steering {
        cut_after_bytes: Some(20),
        ..Steering::default()
    };
    world.cloud.fail_next(1, &Fault::Steer(Box::new(cut)));
    let cut = post(&bridge, &chat("x")).await;
    assert!(cut.bytes().await.is_err(), "a cut answer looks complete");

    // The app's leaving reaches the provider.
    world.cloud.fail_next(1, &Fault::Silent);
    let before = world.cloud.counts().requests;
    let leaving = tokio::spawn({
        let request = client()
            .post(bridge.url("/chat/completions"))
            .json(&chat("x"));
        request.send()
    });
    until("it is with the provider", || {
        world.cloud.counts().requests > before
    });
    leaving.abort();
    until("the provider is left", || {
        daemon.status()["providers"][0]["requests"]["in_flight"] == 0
    });

    // A daemon that restarts is waited for; one that does not come is named.
    assert!(daemon.stop().success());
    let waiting = tokio::spawn({
        let request = client()
            .post(bridge.url("/chat/completions"))
            .json(&chat("x"));
        request.send()
    });
    let mut daemon = world.daemon_with(config, &[]);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert!(daemon.stop().success());
    let answer = post(&bridge, &chat("x")).await;
    assert_eq!(answer.status(), 502);
    let text = answer.text().await.unwrap();
    assert!(text.contains("start hermes-proxyd with `unix`"), "{text}");
    assert!(bridge.stop().success());
}
