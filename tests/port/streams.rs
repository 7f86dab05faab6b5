//! Answers under way: silence, slow clients, broken providers, the end mark.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "a test may fail loudly"
)]
#![expect(clippy::disallowed_methods, reason = "real time")]

use std::os::unix::process::CommandExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mock_cloud::{Options, Raw, RawEnd, Script, Tls};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use support::app_wire::{Answer, Wire};
use support::environment::{has, program};
use support::hermes::test_env;
use support::wire::{Wire as CannedServer, read_request};
use support::{Daemon, PATIENCE, World, chat, client, post, until};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// A daemon whose default provider is `raw`, with more lines for its table and below.
fn before(world: &World, raw: &Raw, table: &str, rest: &str) -> Daemon {
    let home = world.home.path();
    let (key, ca) = (home.join("key"), home.join("ca.pem"));
    std::fs::write(&key, "a-key").unwrap();
    world.cloud.write_ca(&ca).unwrap();
    let config = format!(
        "default_provider = \"raw\"\n{rest}\n[providers.raw]\ntype = \"static\"\nbase_url = {:?}\n\
         api_key_file = {:?}\nca_file = {:?}\nextra_paths = [\"/responses\"]\n{table}\n",
        raw.base_url(),
        key.to_str().unwrap(),
        ca.to_str().unwrap()
    );
    world.daemon_with(&config, &[])
}

/// A daemon before the cloud's inference API over TLS, with HTTP/2 or without.
async fn over_tls(http2: bool, config: &str) -> (World, Daemon) {
    let options = Options::default().inference_tls(Tls::On).http2(http2);
    let world = World::new(options).await;
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let config = format!(
        "{config}\n[providers.nous]\nca_file = {:?}\nextra_paths = [\"GET /sse\"]\n",
        ca.to_str().unwrap()
    );
    let daemon = world.daemon_with(&config, &[]);
    (world, daemon)
}

fn head(kind: &str, framing: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n")
}

fn chunk(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const CHUNKED: &str = "transfer-encoding: chunked";

/// What of a broken answer has passed before it breaks, by where it breaks.
const PASSED: [(&str, &str, &str); 6] = [
    ("in JSON", JSON, "{\"id\":\"chatcmpl-1\",\"choi"),
    ("between two events", EVENTS, "data: {\"n\":1}\n\n"),
    ("within an event", EVENTS, "data: {\"n\":1}\n\ndata: {\"n\""),
    (
        "within an event, between two lines",
        EVENTS,
        "data: {\"n\":1}\n\ndata: {\"n\":2}\n",
    ),
    ("within a comment", EVENTS, "data: {\"n\":1}\n\n: keep-al"),
    (
        "behind the end mark",
        EVENTS,
        "data: {\"n\":1}\n\ndata: [DONE]\n\n",
    ),
];

/// The ways in which a provider's answer breaks after it has passed `text`: the bytes, the end, and
/// whether over TLS.
fn breaks(kind: &str, text: &str) -> Vec<(&'static str, String, RawEnd, bool)> {
    use RawEnd::{Close, Fin, Rst, Wait};
    let chunked = head(kind, CHUNKED) + &chunk(text);
    let half = format!("{}{:x}\r\n{text}", head(kind, CHUNKED), text.len() + 10);
    let long = head(kind, &format!("content-length: {}", text.len() + 10)) + text;
    let closed = head(kind, "connection: close") + text;
    vec![
        ("FIN before the last chunk", chunked.clone(), Fin, false),
        ("RST", chunked.clone(), Rst, false),
        ("FIN within a chunk", half, Fin, false),
        ("FIN before the announced length", long.clone(), Fin, false),
        ("a bad chunk size", format!("{chunked}zz\r\n"), Wait, false),
        (
            "garbage behind a chunk",
            format!("{}XX4\r\nmore\r\n", chunked.trim_end_matches("\r\n")),
            Wait,
            false,
        ),
        ("RST where only FIN is an end", closed.clone(), Rst, false),
        ("TLS cut off", chunked.clone(), Fin, true),
        ("TLS cut off before the length", long, Fin, true),
        ("TLS cut off where only its end is one", closed, Fin, true),
        ("TLS closed before the last chunk", chunked, Close, true),
    ]
}

#[tokio::test]
async fn whatever_breaks_an_answer_it_never_looks_whole_and_nothing_is_lost_or_invented() {
    let world = World::new(Options::default()).await;
    let nothing = Script::new("", RawEnd::Close);
    for tls in [false, true] {
        let raw = world.cloud.raw(nothing.clone(), tls).await;
        let mut daemon = before(&world, &raw, "", "");
        let mut rows = 0;
        for (place, kind, text) in PASSED {
            for (how, bytes, end, _) in breaks(kind, text).into_iter().filter(|row| row.3 == tls) {
                let mut script = Script::new(bytes, end);
                // What came before the break has passed by then.
                script.answer.push(Vec::new());
                script.pause = Duration::from_millis(30);
                raw.set(script);
                let answer = Wire::ask(&daemon, "/chat/completions", "{}")
                    .await
                    .answer()
                    .await;
                check_cut(&answer, text, &format!("{how} {place}: {}", answer.text()));
                rows += 1;
            }
        }
        println!("tls {tls}: {rows} broken answers");
        assert!(daemon.stop().success());
    }
}

fn check_cut(answer: &Answer, text: &str, what: &str) {
    assert_eq!(answer.status, 200, "{what}");
    assert!(!answer.complete, "{what}: it looks whole");
    let rest = answer.body.strip_prefix(text.as_bytes());
    let rest = std::str::from_utf8(rest.unwrap_or_else(|| panic!("{what}: lost"))).unwrap();
    let announced = answer.head.contains("content-length");
    let told = match () {
        () if announced || !answer.head.contains(EVENTS) => None,
        () if text.contains("[DONE]") => None,
        () if text.ends_with("\n\n") => Some(rest),
        () if text.ends_with("keep-al") => rest.strip_prefix('\n'),
        () => None,
    };
    let Some(event) = told else {
        assert_eq!(rest, "", "{what}: something was invented");
        return;
    };
    let event = event
        .strip_prefix("data: ")
        .and_then(|event| event.strip_suffix("\n\n"));
    let event: Value = serde_json::from_str(event.expect(what)).expect(what);
    assert_eq!(event["error"]["code"], "upstream_unreachable", "{what}");
}

/// Some tokens at once, and a cut.
fn cut_after_tokens(end: RawEnd) -> Script {
    let tokens = "data: {\"n\":1}\n\n".repeat(10);
    Script::new(head(EVENTS, CHUNKED) + &chunk(&tokens), end)
}

/// `fetch` throws away what its reader has not taken when the connection is aborted.
#[tokio::test]
async fn between_the_last_event_of_a_cut_stream_and_its_abort_there_is_time_to_read() {
    let world = World::new(Options::default()).await;
    let raw = world.cloud.raw(cut_after_tokens(RawEnd::Rst), false).await;
    let daemon = before(&world, &raw, "", "");
    // On a busy machine both may be seen at once, so the longest of some tries counts.
    let mut longest = Duration::ZERO;
    for _ in 0..5 {
        let mut wire = Wire::ask(&daemon, "/chat/completions", "{}").await;
        wire.read_until("upstream_unreachable").await;
        let told = Instant::now();
        while wire.more().await {}
        longest = longest.max(told.elapsed());
    }
    assert!(longest >= Duration::from_millis(150), "{longest:?}");
    // The request itself is over before: its counts and the places of its key are free.
    let mut wire = Wire::ask(&daemon, "/chat/completions", "{}").await;
    wire.read_until("upstream_unreachable").await;
    for provider in daemon.status()["providers"].as_array().unwrap() {
        assert_eq!(provider["requests"]["in_flight"], 0, "{provider}");
    }
}

const COUNT_LOST: &str = include_str!("../clients/node/cut_streams.js");
const TRIES: usize = 20;

/// Where a busy machine kept the client from reading for longer than the pause, it is asked again.
async fn loses_nothing(what: &str, mut lost: impl AsyncFnMut() -> usize) {
    for _ in 0..3 {
        let lost = lost().await;
        println!("{what}: {lost} of {TRIES} lost");
        if lost == 0 {
            return;
        }
    }
    panic!("{what}: the last event is lost again and again");
}

/// Node with the script, and what it is to print.
fn node(world: &World, call: &str) -> tokio::process::Command {
    let node = test_env("node").join("node/bin/node");
    let mut command = program(node, world.home.path());
    command.args([
        "-e",
        &format!("{COUNT_LOST};{call}.then(lost => console.log(lost))"),
    ]);
    let mut command = tokio::process::Command::from(command);
    command
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true);
    command
}

fn number(output: &std::process::Output) -> usize {
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().and_then(|line| line.parse().ok());
    last.unwrap_or_else(|| panic!("{output:?}"))
}

#[tokio::test]
async fn fetch_in_node_gets_the_last_event_of_a_cut_stream() {
    let world = World::new(Options::default()).await;
    for (how, end) in [("a reset", RawEnd::Rst), ("an early end", RawEnd::Fin)] {
        let raw = world.cloud.raw(cut_after_tokens(end), false).await;
        let mut daemon = before(&world, &raw, "", "");
        let call = format!(
            "countLost({:?}, 'upstream_unreachable', {TRIES})",
            daemon.base
        );
        loses_nothing(how, async || {
            number(&node(&world, &call).output().await.unwrap())
        })
        .await;
        daemon.stop();
    }
}

#[tokio::test]
async fn fetch_in_node_gets_the_last_event_of_a_stream_that_a_shutdown_cuts() {
    let world = World::new(Options::default()).await;
    let raw = world.cloud.raw(cut_after_tokens(RawEnd::Wait), false).await;
    loses_nothing("a shutdown", async || {
        let mut daemon = before(&world, &raw, "", "[timeouts]\ndrain = \"100ms\"");
        let base = &daemon.base;
        let ready = "() => console.log('ready')";
        let call = format!("countLost({base:?}, 'shutting_down', {TRIES}, {TRIES}, {ready})");
        let mut child = node(&world, &call).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(said.next_line().await.unwrap().as_deref(), Some("ready"));
        assert!(daemon.stop().success());
        let lost = said.next_line().await.unwrap().unwrap();
        lost.parse().unwrap()
    })
    .await;
}

/// A page's own server: serves the page, once there is one, and passes on its messages.
async fn serve_page(
    page: Arc<OnceLock<String>>,
) -> (CannedServer, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (told, tells) = tokio::sync::mpsc::unbounded_channel();
    let server = CannedServer::start(move |mut stream, _| {
        let (told, page) = (told.clone(), page.clone());
        async move {
            while let Some(request) = read_request(&mut stream).await {
                let body = if request.starts_with("GET / ") { page.get().unwrap().as_str() } else { "" };
                if request.starts_with("POST /told") {
                    let (_, text) = request.split_once("\r\n\r\n").unwrap();
                    told.send(text.to_owned()).ok();
                }
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (server, tells)
}

#[tokio::test]
async fn fetch_in_chromium_gets_the_last_event_of_a_cut_stream() {
    if !has("chromium") {
        return;
    }
    let world = World::new(Options::default()).await;
    let raw = world.cloud.raw(cut_after_tokens(RawEnd::Rst), false).await;
    // The page names the daemon, and the daemon the page.
    let page = Arc::new(OnceLock::new());
    let (server, mut tells) = serve_page(page.clone()).await;
    let origin = format!("http://{}", server.address);
    let daemon = before(
        &world,
        &raw,
        "",
        &format!("[guard]\nallowed_origins = [{origin:?}]"),
    );
    let base = &daemon.base;
    let call = format!("countLost({base:?}, 'upstream_unreachable', {TRIES})");
    let tell = "lost => fetch('/told', {method: 'POST', body: lost})";
    page.set(format!(
        "<script>{COUNT_LOST};{call}.then(String, String).then({tell})</script>"
    ))
    .unwrap();
    let mut tries = 0;
    loses_nothing("Chromium", async || {
        tries += 1;
        let profile = world.home.path().join(format!("chromium-{tries}"));
        let chromium = program("chromium", world.home.path())
            // It is killed, and leaves its socket's folder behind.
            .env("TMPDIR", world.home.path())
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .arg("--disable-dev-shm-usage")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(&origin)
            // Its other processes write into its profile until they are gone, too.
            .process_group(0)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        let mut chromium = chromium.unwrap();
        let told = tokio::time::timeout(PATIENCE * 6, tells.recv()).await;
        kill_process_group(Pid::from_child(&chromium), Signal::KILL).unwrap();
        chromium.wait().unwrap();
        let told = told.expect("the page says nothing").unwrap();
        told.parse().unwrap_or_else(|_| panic!("{told}"))
    })
    .await;
}

#[tokio::test]
async fn an_http2_stream_that_is_reset_never_looks_whole() {
    let (_world, daemon) = over_tls(true, "").await;
    for cut in ["fin", "rst"] {
        let mut request = chat("x");
        request["stream"] = json!(true);
        let whole = post(&daemon, &request).await.text().await.unwrap();
        let first = whole.find("\n\n").unwrap() + 2;
        for (bytes, between) in [(first, true), (first + 9, false)] {
            request["mock"] = json!({"cut_after_bytes": bytes, "chunk_bytes": first, "cut": cut});
            let mut wire = Wire::ask(&daemon, "/chat/completions", &request.to_string()).await;
            let answer = wire.answer().await;
            assert!(!answer.complete);
            let text = answer.text();
            let rest = text.strip_prefix(&whole[..bytes]).expect("nothing is lost");
            assert_eq!(rest.contains("upstream_unreachable"), between, "{rest}");
            assert!(between || rest.is_empty(), "{rest}");
        }
    }
}

#[tokio::test]
async fn what_is_an_end_is_passed_as_one() {
    let world = World::new(Options::default()).await;
    let text = "data: {\"n\":1}\n\n";
    let chunked = head(EVENTS, CHUNKED) + &chunk(text) + "0\r\n\r\n";
    let close = head(EVENTS, "connection: close") + text;
    let length = head(EVENTS, &format!("content-length: {}", text.len())) + text;
    for (how, bytes, end, tls) in [
        ("the last chunk", chunked.clone(), RawEnd::Wait, false),
        (
            "bytes behind the end",
            format!("{chunked}HTTP/1.1 200 OK\r\n\r\nmore"),
            RawEnd::Wait,
            false,
        ),
        (
            "bytes behind the length",
            format!("{length}more"),
            RawEnd::Wait,
            false,
        ),
        ("a last chunk and FIN", chunked.clone(), RawEnd::Fin, false),
        // In plain TCP it can't be told from a cut (RFC 9112 §8).
        (
            "FIN of an answer without framing",
            close.clone(),
            RawEnd::Fin,
            false,
        ),
        ("TLS closed in order", close, RawEnd::Close, true),
        ("TLS cut off behind the end", chunked, RawEnd::Fin, true),
    ] {
        let raw = world.cloud.raw(Script::new(bytes, end), tls).await;
        let mut daemon = before(&world, &raw, "", "");
        // Nothing of it becomes the next one's answer.
        for _ in 0..2 {
            let deadline = Instant::now() + PATIENCE;
            let answer = loop {
                let mut wire = Wire::ask(&daemon, "/chat/completions", "{}").await;
                let answer = wire.answer().await;
                // A daemon that has not seen the connection's end yet has asked on it, and nothing may be sent twice.
                let lost = end != RawEnd::Wait && answer.text().contains("upstream_unreachable");
                if !lost || Instant::now() > deadline {
                    break answer;
                }
            };
            assert!(answer.complete, "{how}: {answer:?}");
            assert_eq!(answer.text(), text, "{how}");
        }
        daemon.stop();
    }
}

#[tokio::test]
async fn floods_before_an_answer_are_bounded() {
    let world = World::new(Options::default()).await;
    let field = format!("x-a: {}\r\n", "a".repeat(1000));
    for (how, bytes, end) in [
        (
            "many fields",
            "HTTP/1.1 200 OK\r\n".to_owned() + &"a: b\r\n".repeat(5000) + "\r\n",
            RawEnd::Wait,
        ),
        (
            "a large head",
            "HTTP/1.1 200 OK\r\n".to_owned() + &field.repeat(5000),
            RawEnd::Wait,
        ),
        ("an endless line", "x".repeat(1 << 16), RawEnd::Repeat),
        (
            "one 1xx after the other",
            "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n".repeat(100),
            RawEnd::Wait,
        ),
        ("no HTTP", "SSH-2.0-x\r\n".to_owned(), RawEnd::Wait),
    ] {
        let mut script = Script::new(bytes, end);
        if how.contains("1xx") {
            // For longer than the limit that has to end it.
            script.answer = vec![script.answer.concat(); 500];
            script.pause = Duration::from_millis(20);
        }
        let raw = world.cloud.raw(script, false).await;
        let mut daemon = before(&world, &raw, "", "[timeouts]\nresponse_head = \"1s\"");
        let idle = rss(&daemon);
        let answer = Wire::ask(&daemon, "/chat/completions", "{}")
            .await
            .answer()
            .await;
        let more = rss(&daemon).saturating_sub(idle);
        println!("{how}: {} after {} KiB more", answer.status, more / 1024);
        assert!([502, 504].contains(&answer.status), "{how}: {answer:?}");
        assert!(answer.complete && more < 8 << 20, "{how}");
        daemon.stop();
    }
}

/// Resident bytes of the daemon.
fn rss(daemon: &Daemon) -> usize {
    let file = format!("/proc/{}/status", daemon.pid());
    let status = std::fs::read_to_string(file).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: usize = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

/// Ticks of processor time that the daemon has used.
fn work(daemon: &Daemon) -> usize {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let fields = stat.rsplit(") ").next().unwrap().split(' ');
    let times = fields.skip(11).take(2);
    times.map(|ticks| ticks.parse::<usize>().unwrap()).sum()
}

/// Waits until `count` was the same for this many looks; on a busy machine each of them takes
/// longer, too.
async fn standstill(count: impl Fn() -> usize) -> usize {
    let deadline = Instant::now() + 3 * PATIENCE;
    let mut last = (count(), 0);
    while last.1 < 25 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = count();
        last = if now == last.0 {
            (now, last.1 + 1)
        } else {
            (now, 0)
        };
        assert!(Instant::now() < deadline, "it goes on: {now}");
    }
    last.0
}

const STALLED: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_at_most_one_mebibyte_and_its_provider_back() {
    let world = World::new(Options::default()).await;
    let piece = chunk(&format!("data: {}\n\n", "x".repeat(8000)));
    let mut script = Script::new(head(EVENTS, CHUNKED), RawEnd::Repeat);
    script.answer.push(piece.into());
    let raw = world.cloud.raw(script, false).await;
    let daemon = before(&world, &raw, "", "");
    let idle = rss(&daemon);
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(Wire::ask(&daemon, "/chat/completions", "{}").await);
    }
    let sent = standstill(|| raw.sent()).await;
    let held = rss(&daemon).saturating_sub(idle) / STALLED;
    println!(
        "HTTP/1.1: {} KiB resident for each stalled client; its provider could send {} KiB",
        held / 1024,
        sent / STALLED / 1024
    );
    assert!(held <= 1 << 20, "{held}");
    // Once it reads, the stream continues where it was.
    let mut one = stalled.pop().unwrap();
    let enough = sent / STALLED + (1 << 20);
    while one.received() < enough {
        assert!(one.more().await);
    }
    daemon_serves(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_too_and_other_streams_of_the_connection_go_on() {
    let (world, daemon) = over_tls(true, "").await;
    let mut request = chat("x");
    request["stream"] = json!(true);
    request["mock"] = json!({"endless": true, "chunk_bytes": 16384});
    // One connection exists before all of them need one.
    post(&daemon, &chat("x")).await.text().await.unwrap();
    let idle = rss(&daemon);
    let mut stalled = Vec::new();
    // More than the connection's window holds of the streams' windows.
    let count = STALLED * 2;
    for _ in 0..count {
        stalled.push(Wire::ask(&daemon, "/chat/completions", &request.to_string()).await);
    }
    standstill(|| work(&daemon)).await;
    let held = rss(&daemon).saturating_sub(idle) / count;
    println!(
        "HTTP/2: {} KiB resident for each of {count} stalled clients",
        held / 1024
    );
    assert!(held <= 1 << 20, "{held}");
    let other = client().get(daemon.url("/sse?events=20000")).send();
    // Held back, it would never come; a busy machine may not be done with the stalled ones yet.
    let other = tokio::time::timeout(3 * PATIENCE, async { other.await.unwrap().bytes().await });
    assert_eq!(
        other.await.expect("it is held back").unwrap(),
        mock_cloud::pattern::sse(20000)
    );
    assert_eq!(world.cloud.counts().connections, 1);
}

async fn daemon_serves(daemon: &Daemon) {
    let url = format!("{}/livez", daemon.origin());
    assert_eq!(client().get(url).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
    let world = World::new(Options::default()).await;
    let piece = chunk(&format!("data: {}\n\n", "x".repeat(8000)));
    let mut script = Script::new(head(EVENTS, CHUNKED), RawEnd::Repeat);
    script.answer.push(piece.into());
    let raw = world.cloud.raw(script, false).await;
    let daemon = before(&world, &raw, "", "[timeouts]\nidle = \"1s\"");
    let mut slow = Wire::ask(&daemon, "/chat/completions", "{}").await;
    let dead = Wire::ask(&daemon, "/chat/completions", "{}").await;
    let reading = tokio::spawn(async move {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(4) {
            // Enough for the kernel to report room, every now and then.
            let goal = slow.received() + (300 << 10);
            while slow.received() < goal {
                assert!(slow.more().await, "a slow reader was cut");
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        slow
    });
    tokio::task::block_in_place(|| daemon.wait_for_log("read nothing of its answer"));
    let slow = reading.await.unwrap();
    until("the provider of the dead one is let go", || {
        !raw.ended().is_empty()
    });
    assert_eq!(raw.ended().len(), 1, "that of the slow one too");
    dead.close();
    slow.close();
}

/// Silence before the head, and silence in the middle of a stream, at the same time. The client is
/// silent after its request, too.
async fn survives(daemon: &Daemon, silence: Duration) {
    let one = async |mock: Value| {
        let mut request = chat("x");
        request["stream"] = json!(true);
        request["mock"] = mock;
        let started = Instant::now();
        let post = client().post(daemon.url("/chat/completions"));
        let answer = post.json(&request).send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        assert!(started.elapsed() >= silence, "{:?}", started.elapsed());
    };
    let millis = silence.as_millis();
    tokio::join!(
        one(json!({"delay_head_ms": millis})),
        // Two pieces, so there are two pauses: before the second one and before the end.
        one(
            json!({"chunk_bytes": 150, "delay_chunk_ms": millis, "events": 0, "omit_finish": true})
        ),
    );
}

#[tokio::test]
async fn silence_within_the_limits_cuts_nothing() {
    let world = World::new(Options::default()).await;
    // Every other limit is shorter than the silence, and longer than it takes a busy machine to send a request.
    let limits = "[timeouts]\nheaders = \"1s\"\nkeep_alive = \"1s\"\nbody = \"1s\"\n\
                  connect = \"1s\"\ncredential = \"1s\"\nidle = \"20s\"\nresponse_head = \"20s\"\n";
    let daemon = world.daemon_with(limits, &[]);
    let started = Instant::now();
    survives(&daemon, Duration::from_millis(1500)).await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "more pauses than two"
    );
}

#[tokio::test]
#[ignore = "waits for an hour, twice half of it; run it with: cargo test --test port half_an_hour -- --ignored"]
async fn half_an_hour_of_silence_cuts_nothing() {
    let world = World::new(Options::default().access_ttl(Duration::from_hours(2))).await;
    let limits = "[timeouts]\nidle = \"31m\"\nresponse_head = \"31m\"\n";
    let daemon = world.daemon_with(limits, &[]);
    survives(&daemon, Duration::from_secs(30 * 60 + 20)).await;
}

const FINISH: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[tokio::test]
async fn a_missing_end_mark_is_added_where_it_belongs_and_nowhere_else() {
    let world = World::new(Options::default()).await;
    let open = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":null}]}\n\n";
    let half = "data: {\"choices\":[{\"index\":0,\"finish_reason\":null},{\"index\":1,\"finish_reason\":null}]}\n\n\
                data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let both = half.replace("1,\"finish_reason\":null", "1,\"finish_reason\":\"length\"");
    let more = [FINISH, open].concat();
    let chunked = |kind: &str, text: &str| head(kind, CHUNKED) + &chunk(text) + "0\r\n\r\n";
    let length = head(EVENTS, &format!("content-length: {}", FINISH.len())) + FINISH;
    let gzip = format!("{CHUNKED}\r\ncontent-encoding: gzip");
    let raw = world.cloud.raw(Script::new("", RawEnd::Close), false).await;
    for (table, rows) in [
        (
            "append_done = true",
            vec![
                ("a finish", chunked(EVENTS, FINISH), FINISH, true),
                (
                    "without framing",
                    head(EVENTS, "connection: close") + FINISH,
                    FINISH,
                    true,
                ),
                ("no finish", chunked(EVENTS, open), open, false),
                // `n` is 2, and the second choice was cut off.
                ("half of it", chunked(EVENTS, half), half, false),
                ("both", chunked(EVENTS, &both), &both, true),
                ("more behind it", chunked(EVENTS, &more), &more, false),
                ("a length", length, FINISH, false),
                ("no events", chunked(JSON, FINISH), FINISH, false),
                (
                    "encoded",
                    head(EVENTS, &gzip) + &chunk(FINISH) + "0\r\n\r\n",
                    FINISH,
                    false,
                ),
                (
                    "not 200",
                    chunked(EVENTS, FINISH).replace("200 OK", "201 Created"),
                    FINISH,
                    false,
                ),
            ],
        ),
        (
            "",
            vec![("not configured", chunked(EVENTS, FINISH), FINISH, false)],
        ),
    ] {
        let mut daemon = before(&world, &raw, table, "");
        for (what, bytes, text, added) in rows {
            raw.set(Script::new(bytes, RawEnd::Fin));
            let answer = Wire::ask(&daemon, "/chat/completions", "{}")
                .await
                .answer()
                .await;
            let expected = if added {
                [text, DONE].concat()
            } else {
                text.to_owned()
            };
            assert_eq!(answer.text(), expected, "{what}");
            assert!(answer.complete, "{what}");
        }
        // A broken stream is not made whole.
        raw.set(Script::new(
            head(EVENTS, CHUNKED) + &chunk(FINISH),
            RawEnd::Fin,
        ));
        let answer = Wire::ask(&daemon, "/chat/completions", "{}")
            .await
            .answer()
            .await;
        assert!(!answer.complete && !answer.text().contains(DONE));
        daemon.stop();
    }
}

#[tokio::test]
async fn the_end_mark_is_added_however_the_stream_is_cut_over_http1_and_http2() {
    for http2 in [false, true] {
        let (_world, daemon) = over_tls(http2, "").await;
        let mut request = chat("x");
        request["stream"] = json!(true);
        let whole = post(&daemon, &request).await.text().await.unwrap();
        assert!(whole.ends_with(DONE) && whole.matches(DONE).count() == 1);
        for size in [1, 2, 3, 7, 16, 1 << 20] {
            for omit in [false, true] {
                request["mock"] = json!({"chunk_bytes": size, "omit_done": omit});
                let text = post(&daemon, &request).await.text().await.unwrap();
                assert_eq!(
                    text, whole,
                    "http2 {http2}, pieces of {size}, omitted: {omit}"
                );
            }
        }
    }
}
