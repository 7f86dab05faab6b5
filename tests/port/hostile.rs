//! Requests in the raw, hostile and good: `tests/hostile/README.md` says how the tables read.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "a test may fail loudly"
)]

mod answer;
mod table;

use std::time::Duration;

use answer::Reader;
use mock_cloud::{Options, Seen};
use support::{Daemon, PATIENCE, World, chat, client};
use table::{Expected, Piece, Row, Whole};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Small limits, so that the rows can exceed them.
// The provider is to see each request.
const CONFIG: &str = "models_cache = \"0s\"\n[guard]\nallowed_origins = [\"https://app.example\"]\n\
                      [limits]\nbody = \"64KiB\"\nheaders = \"8KiB\"\n";
const IMPATIENT: &str = "[timeouts]\nheaders = \"400ms\"\nbody = \"400ms\"\n";
/// How long a row may take: some are 70,000 chunks, which a debug build on a busy machine reads for many seconds.
const ROW: Duration = PATIENCE.saturating_mul(6);
/// The pause that `\p` stands for.
const PAUSE: Duration = Duration::from_millis(50);

#[tokio::test]
async fn foreign_hosts() {
    group("host", CONFIG, 60).await;
}

#[tokio::test]
async fn web_pages() {
    group("browser", CONFIG, 40).await;
}

#[tokio::test]
async fn odd_headers() {
    group("headers", CONFIG, 90).await;
}

#[tokio::test]
async fn odd_framing() {
    group("framing", CONFIG, 120).await;
}

#[tokio::test]
async fn requests_within_requests() {
    group("desync", CONFIG, 45).await;
}

#[tokio::test]
async fn odd_paths() {
    group("path", CONFIG, 75).await;
}

#[tokio::test]
async fn odd_methods() {
    group("methods", CONFIG, 50).await;
}

#[tokio::test]
async fn too_much() {
    group("sizes", CONFIG, 35).await;
}

#[tokio::test]
async fn too_slow() {
    group("slow", &format!("{CONFIG}{IMPATIENT}"), 20).await;
}

#[tokio::test]
async fn what_real_apps_send() {
    group("good", CONFIG, 100).await;
}

/// Sends every row of a group to one daemon. `least`: the table has not been cut short.
async fn group(name: &str, config: &str, least: usize) {
    let rows = table::read(name);
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with(config, &[]);
    let mut failures = Vec::new();
    for row in &rows {
        let check = check(&world, &daemon, row);
        match tokio::time::timeout(ROW, check).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => failures.push(format!("{}: {why}", row.name)),
            Err(_) => failures.push(format!("{}: no end", row.name)),
        }
    }
    println!("{name}: {} rows", rows.len());
    assert!(rows.len() >= least, "{} rows", rows.len());
    assert!(
        failures.is_empty(),
        "{} of {} rows:\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n")
    );
}

/// One row: its answers, what the provider saw of it, and a good request right after.
async fn check(world: &World, daemon: &Daemon, row: &Row) -> Result<(), String> {
    let before = world.cloud.requests().len();
    talk(daemon, row).await?;
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().in_flight == 0)
        .await;
    let good = client()
        .post(format!(
            "{}?good={}",
            daemon.url("/chat/completions"),
            row.number
        ))
        .json(&chat("x"))
        .send()
        .await;
    let good = good.map_err(|error| format!("the good request: {error}"))?;
    if good.status() != 200 {
        return Err(format!("the good request got {}", good.status()));
    }
    good.bytes().await.map_err(|error| error.to_string())?;
    let mut seen = world.cloud.requests().split_off(before);
    // What an earlier row began and never ended may come late.
    seen.retain(|seen| table::is_of_row(&seen.target, row.number));
    match seen.pop() {
        Some(last) if last.target.ends_with(&format!("?good={}", row.number)) => {}
        last => return Err(format!("the good request was seen as {last:?}")),
    }
    upstream(row, &seen)
}

/// Compares what the provider saw of a row with what it must have seen.
fn upstream(row: &Row, seen: &[Seen]) -> Result<(), String> {
    let name = |seen: &Seen| {
        let target = seen.target.split("?row=").next().unwrap_or_default();
        format!("{} {target}", seen.method)
    };
    match &row.upstream {
        Whole::These(expected) => {
            let seen: Vec<String> = seen.iter().map(name).collect();
            if seen != *expected {
                return Err(format!("the provider saw {seen:?}"));
            }
        }
        Whole::None => {
            let whole = seen.iter().find(|seen| seen.body_sha256.is_some());
            if let Some(seen) = whole {
                return Err(format!("the provider saw {seen:?} whole"));
            }
        }
    }
    let lines: Vec<String> = seen
        .iter()
        .flat_map(|seen| {
            let fields = seen.headers.iter();
            let fields = fields.map(|(name, value)| format!("{name}: {value}"));
            fields.chain([seen.target.clone()])
        })
        .collect();
    for lacking in &row.lacks {
        let found = lines
            .iter()
            .find(|line| line.to_lowercase().contains(&lacking.to_lowercase()));
        if let Some(line) = found {
            return Err(format!("{lacking} arrived: {line}"));
        }
    }
    for wanted in &row.has {
        let found = |line: &String| line == wanted || line.starts_with(&format!("{wanted}: "));
        if !lines.iter().any(found) {
            return Err(format!("{wanted} did not arrive: {lines:?}"));
        }
    }
    Ok(())
}

/// Sends a row and reads its answers. Then the connection is closed in order, or in step.
async fn talk(daemon: &Daemon, row: &Row) -> Result<(), String> {
    let stream = TcpStream::connect(daemon.address()).await;
    let (read, mut write) = stream.map_err(|error| error.to_string())?.into_split();
    let mut reader = Reader::new(read);
    let closed = {
        let writing = send(&mut write, &row.pieces);
        let reading = answers(&mut reader, row);
        tokio::pin!(writing, reading);
        let mut written = false;
        loop {
            tokio::select! {
                () = &mut writing, if !written => written = true,
                closed = &mut reading => break closed?,
            }
        }
    };
    if closed {
        return reader.end().await;
    }
    send(
        &mut write,
        &[Piece::Bytes(
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
        )],
    )
    .await;
    match reader.answer(false).await? {
        None => Ok(()),
        Some(answer) if answer.status == 200 && answer.body == b"alive\n" => reader.end().await,
        Some(answer) => Err(format!("out of step: {answer:?}")),
    }
}

async fn send(write: &mut (impl AsyncWrite + Unpin), pieces: &[Piece]) {
    for piece in pieces {
        match piece {
            Piece::Pause => tokio::time::sleep(PAUSE).await,
            // A refused client may be cut off while it still sends.
            Piece::Bytes(bytes) => {
                if write.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads what a row expects; whether the connection must be closed then.
async fn answers(reader: &mut Reader, row: &Row) -> Result<bool, String> {
    let mut closes = false;
    for expected in &row.expected {
        let answer = reader.answer(row.is_head).await?;
        let (status, code, words) = match (expected, &answer) {
            (Expected::Closed, None) => return Ok(true),
            (Expected::Closed, Some(answer)) => return Err(format!("not closed: {answer:?}")),
            (_, None) => return Err("closed without an answer".to_owned()),
            (Expected::Refused, Some(answer)) if answer.status < 400 => {
                return Err(format!("not refused: {answer:?}"));
            }
            (Expected::Refused, Some(answer)) => (answer.status, None, None),
            (Expected::Answer(status, code, words), Some(_)) => {
                (*status, code.as_deref(), words.as_deref())
            }
        };
        let answer = answer.unwrap();
        if answer.status != status {
            return Err(format!("{} instead of {status}: {answer:?}", answer.status));
        }
        if status >= 400 {
            answer.is_an_error_of_ours(row.is_head, code, words)?;
        }
        closes = answer.closes;
        // An ambiguous request, or one that is not HTTP, ends its connection.
        if matches!(status, 400 | 408 | 413 | 431) && !closes {
            return Err(format!("the connection goes on: {answer:?}"));
        }
    }
    Ok(closes)
}
