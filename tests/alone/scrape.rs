//! What it takes to be scraped by Prometheus while much is under way.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::Duration;

use mock_cloud::Options;
use serde_json::json;
use support::{Daemon, World, chat, program, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

const STREAMS: usize = 1000;
const BUSY: usize = 32;
const SCRAPES: usize = 200;
const MODELS: usize = 200;

fn post(body: &serde_json::Value) -> String {
    let body = body.to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request on a kept connection and reads its answer, which says how long it is.
async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let length = fields.find(|(name, _)| *name == "content-length");
        let length: usize = length.unwrap().1.parse().unwrap();
        if body.len() >= length {
            return text.into_owned();
        }
    }
}

/// `HERMES_PROXYD=target/release/hermes-proxyd cargo test --test alone -- --ignored --nocapture scrape` prints the times of
/// a release build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure of a release build, on a machine that has nothing else to do"]
async fn a_scrape_under_load_takes_a_few_milliseconds() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    world.write_config("[limits]\nconnections = 4096\n");
    let path = std::env::var("HERMES_PROXYD");
    let path = path.unwrap_or_else(|_| env!("CARGO_BIN_EXE_hermes-proxyd").to_owned());
    let mut shell = program("sh", world.home.path());
    shell
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args([
            "-c",
            "ulimit -n $(ulimit -H -n) && exec \"$0\" --port 0 --log-format json",
        ])
        .arg(path);
    let daemon = Daemon::start(shell, world.home.path());
    let mut open = Vec::new();
    let mut silent = chat("x");
    silent["stream"] = true.into();
    silent["mock"] = json!({"hang_after_bytes": 400});
    for number in 0..STREAMS {
        silent["model"] = format!("model-{}", number % MODELS).into();
        let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
        stream.write_all(post(&silent).as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        open.push(stream);
    }
    until("the streams are open", || {
        daemon.status()["providers"][0]["requests"]["in_flight"] == STREAMS
    });
    let mut busy = JoinSet::new();
    for number in 0..BUSY {
        let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
        let mut body = chat("x");
        body["model"] = format!("busy-{number}").into();
        let request = post(&body);
        busy.spawn(async move {
            loop {
                exchange(&mut stream, &request).await;
            }
        });
    }
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    let scrape = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let (mut times, mut page) = (Vec::new(), String::new());
    for _ in 0..SCRAPES {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begun = Instant::now();
        page = exchange(&mut stream, scrape).await;
        times.push(begun.elapsed());
    }
    busy.abort_all();
    times.sort();
    let (median, most) = (times[SCRAPES / 2], times[SCRAPES - 1]);
    let served = daemon.status()["providers"][0]["requests"]["served"].clone();
    eprintln!(
        "{SCRAPES} scrapes of {} bytes, {BUSY} connections busy ({served} answers), {STREAMS} streams open: \
         median {median:?} (at most 5 ms is the goal), 90 % below {:?}, most {most:?}",
        page.len(),
        times[SCRAPES * 9 / 10],
    );
    assert!(page.contains(&format!(
        "hermes_proxy_streams_in_flight{{provider=\"nous\"}} {STREAMS}"
    )));
}
