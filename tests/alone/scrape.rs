//! What it takes to be scraped by Prometheus while much is under way.
//!
//! Prometheus, the apps and the provider are on other machines. Here they share the daemon's cores, and where they compete
//! with it for them, the slowest scrapes time something else. So the provider and the apps have a core of their own, which
//! they saturate, and the scraper has a thread that does nothing else. That thread and the daemon go before the other
//! programs of the machine (`chrt`, as root): in a trace of the scheduler (`perf`) without that, a scrape took 8.8 ms, of which
//! the answer lay in the scraper's socket for 7.9 ms while a supervisor of the machine with a nice value of -10 had the core.
//! What remains is the daemon's: the requests that it serves before the scrape, since one thread serves them all in turn,
//! and the page.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::{Read, Write};
use std::time::Duration;

use mock_cloud::Options;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;
use support::{Daemon, World, chat, program, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

const STREAMS: usize = 1000;
const BUSY: usize = 32;
const SCRAPES: usize = 400;
const MODELS: usize = 200;
/// The longest that a scrape may take.
const GOAL: Duration = Duration::from_millis(5);
/// Of the daemon's processor time.
const COST: Duration = Duration::from_millis(1);
const SCRAPE: &str = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn post(body: &serde_json::Value) -> String {
    let body = body.to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Whether an answer that says how long it is has come whole.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let length = fields.find(|(name, _)| *name == "content-length");
    let length: usize = length.unwrap().1.parse().unwrap();
    body.len() >= length
}

/// Sends a request on a kept connection and reads its answer.
async fn exchange(stream: &mut TcpStream, request: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut piece) = (Vec::new(), vec![0; 4096]);
    while !is_whole(&answer) {
        let read = stream.read(&mut piece).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
}

/// The same of a scrape, on this thread.
fn scrape(stream: &mut std::net::TcpStream) -> String {
    stream.write_all(SCRAPE.as_bytes()).unwrap();
    let (mut answer, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    while !is_whole(&answer) {
        let read = stream.read(&mut piece).unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    String::from_utf8(answer).unwrap()
}

/// The processor time that the thread that serves has taken so far (`proc_pid_schedstat(5)`).
fn processor_time(daemon: &Daemon) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", daemon.pid())).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// Leaves the last core to the load and the others to this thread and what it starts; returns the load's.
fn share_cores() -> CpuSet {
    let mut all = sched_getaffinity(None).unwrap();
    assert!(all.count() > 1, "with one core, the load is in the way");
    let is_last = (0..CpuSet::MAX_CPU).rfind(|core| all.is_set(*core));
    let mut last = CpuSet::new();
    last.set(is_last.unwrap());
    all.unset(is_last.unwrap());
    sched_setaffinity(None, &all).unwrap();
    last
}

/// Has the daemon and this thread go before the other programs of the machine (`sched(7)`); whether that is allowed.
fn go_first(daemon: &Daemon, home: &std::path::Path) -> bool {
    let is_done = |whose: &[&str]| {
        let mut chrt = program("chrt", home);
        chrt.args(["--fifo", "--pid"]).args(whose);
        chrt.status().is_ok_and(|status| status.success())
    };
    let thread = rustix::thread::gettid().to_string();
    is_done(&["--all-tasks", "1", &daemon.pid().to_string()]) && is_done(&["1", &thread])
}

/// `HERMES_PROXYD=target/release/hermes-proxyd cargo test --test alone -- --ignored --nocapture scrape` prints the times of
/// a release build.
#[test]
#[ignore = "a figure of a release build, on a machine that has nothing else to do"]
fn a_scrape_under_load_takes_a_few_milliseconds() {
    let _turn = support::turn();
    let load = share_cores();
    // The provider and the apps run on its worker, the rest on this thread.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || sched_setaffinity(None, &load).unwrap())
        .enable_all()
        .build()
        .unwrap();
    let found = runtime.block_on(scrape_under_load());
    eprintln!("{}", found.told);
    assert!(found.each < COST, "{:?}", found.each);
    assert!(found.most <= GOAL, "{:?}", found.most);
}

/// Of a release build, if one is named.
fn daemon(world: &World) -> Daemon {
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
    Daemon::start(shell, world.home.path())
}

/// What scrapes take.
struct Found {
    told: String,
    /// The slowest one, under load.
    most: Duration,
    /// Each of the daemon's processor time.
    each: Duration,
}

async fn scrape_under_load() -> Found {
    let world = World::new(Options::default()).await;
    let daemon = daemon(&world);
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
    let is_first = go_first(&daemon, world.home.path());
    let mut stream = std::net::TcpStream::connect(daemon.address()).unwrap();
    let (mut times, mut page) = (Vec::new(), String::new());
    for _ in 0..SCRAPES {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begun = Instant::now();
        page = scrape(&mut stream);
        times.push(begun.elapsed());
    }
    busy.shutdown().await;
    times.sort();
    let served = daemon.status()["providers"][0]["requests"]["served"].clone();
    let told = format!(
        "{SCRAPES} scrapes of {} bytes, {BUSY} connections busy ({served} answers), {STREAMS} streams open: \
         median {:?}, 90 % within {:?}, 99 % within {:?}, most {:?} ({GOAL:?} is the goal){}",
        page.len(),
        times[SCRAPES / 2],
        times[SCRAPES * 9 / 10],
        times[SCRAPES * 99 / 100],
        times[SCRAPES - 1],
        if is_first {
            ""
        } else {
            "; other programs may have taken the core in between: run it as root"
        },
    );
    let before = processor_time(&daemon);
    for _ in 0..SCRAPES {
        scrape(&mut stream);
    }
    let taken = processor_time(&daemon).checked_sub(before).unwrap();
    let each = taken / u32::try_from(SCRAPES).unwrap();
    assert!(page.contains(&format!(
        "hermes_proxy_streams_in_flight{{provider=\"nous\"}} {STREAMS}"
    )));
    Found {
        told: format!(
            "{told}\nwith the streams alone, one takes {each:?} of the daemon's processor time"
        ),
        most: times[SCRAPES - 1],
        each,
    }
}
