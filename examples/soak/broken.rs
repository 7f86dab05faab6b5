//! A provider that keeps no promise of HTTP. What it does, each request says: `?how=…`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::load::event;

/// The ways that it can go, and what the daemon makes of them.
pub(crate) const WAYS: [(&str, Fate); 15] = [
    ("fin", Fate::Error("upstream_unreachable")),
    ("rst", Fate::Error("upstream_unreachable")),
    ("garbage", Fate::Error("upstream_unreachable")),
    ("header-bomb", Fate::Error("upstream_unreachable")),
    ("interim", Fate::Whole),
    ("extra", Fate::Whole),
    ("until-close", Fate::Whole),
    ("short", Fate::Cut),
    ("short-rst", Fate::Cut),
    ("bad-chunk", Fate::Cut),
    ("no-last-chunk", Fate::Cut),
    ("sse-between", Fate::CutStream),
    ("sse-within", Fate::CutStream),
    ("sse-rst", Fate::CutStream),
    ("no-done", Fate::Done),
];

/// What an app is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// An error of the daemon's own, with this code.
    Error(&'static str),
    /// All of [`events`].
    Whole,
    /// The start of [`events`], and an end that is none.
    Cut,
    /// The same, with an error event where one can be told.
    CutStream,
    /// All of [`events`], and the end mark that they lack.
    Done,
}

/// The provider; its requests are counted by their mark.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<HashMap<u64, u32>>>,
}

/// What the answer to the request with this mark is made of.
pub(crate) fn events(mark: u64) -> Vec<u8> {
    let mut text = String::new();
    for index in 0..40 {
        text.push_str(&event(mark, index));
    }
    text += "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    text.into_bytes()
}

impl Broken {
    pub(crate) async fn start(tasks: &TaskTracker) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let broken = Self {
            address: listener.local_addr()?,
            seen: Arc::default(),
        };
        let (served, spawner) = (broken.clone(), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).ok();
                spawner.spawn(served.clone().serve(stream));
            }
        });
        Ok(broken)
    }

    /// How often a request with this mark came; it is forgotten then.
    pub(crate) fn unmark(&self, mark: u64) -> u32 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(&mark).unwrap_or(0)
    }

    async fn serve(self, mut stream: TcpStream) {
        while let Some(asked) = self.read(&mut stream).await {
            if answer(&mut stream, &asked).await.is_none() {
                return;
            }
        }
    }

    /// A request, whole: what its query says.
    async fn read(&self, stream: &mut TcpStream) -> Option<HashMap<String, String>> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = memmem::find(&bytes, b"\r\n\r\n") {
                break end + 4;
            }
            let more = stream.read_buf(&mut bytes).await.ok()?;
            (more > 0).then_some(())?;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let url = head.split(' ').nth(1)?;
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let asked: HashMap<_, _> = pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        if let Some(Ok(mark)) = asked.get("mark").map(|mark| mark.parse()) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen.entry(mark).or_default() += 1;
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        while bytes.len() < end + length {
            let more = stream.read_buf(&mut bytes).await.ok()?;
            (more > 0).then_some(())?;
        }
        Some(asked)
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: ";
const CHUNKED: &str = "\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// `Some` when the connection goes on.
async fn answer(stream: &mut TcpStream, asked: &HashMap<String, String>) -> Option<()> {
    let mark = asked.get("mark").and_then(|mark| mark.parse().ok());
    let events = events(mark.unwrap_or(0));
    let how = asked.get("how").map_or("", String::as_str);
    let kind = if how.starts_with("sse") || how == "no-done" || how == "silence" {
        "text/event-stream"
    } else {
        "application/json"
    };
    let length = format!("\r\ncontent-length: {}\r\n\r\n", events.len());
    let sized = [HEAD.as_bytes(), kind.as_bytes(), length.as_bytes()].concat();
    let chunked = [HEAD, kind, CHUNKED].concat().into_bytes();
    let cut = events.len() / 2;
    let within = memmem::find(&events[cut..], b"index").map_or(cut, |at| cut + at);
    let between = memmem::find(&events[cut..], b"\n\n").map_or(cut, |at| cut + at + 2);
    let ends = how.ends_with("rst");
    let bytes = match how {
        "garbage" => b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        "header-bomb" => [HEAD.as_bytes(), &vec![b'a'; 300_000]].concat(),
        "interim" => {
            let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(3);
            [hints.as_bytes(), &sized, &events].concat()
        }
        "extra" => [&*sized, &events, b"HTTP/1.1 200 OK\r\n\r\nmore"].concat(),
        "until-close" => [HEAD.as_bytes(), kind.as_bytes(), b"\r\n\r\n", &events].concat(),
        "short" | "short-rst" => [&*sized, &events[..cut]].concat(),
        "bad-chunk" => [&*chunked, &chunk(&events[..cut]), b"zz\r\n"].concat(),
        "no-last-chunk" => [&*chunked, &chunk(&events)].concat(),
        "sse-between" | "sse-rst" => [&*chunked, &chunk(&events[..between])].concat(),
        "sse-within" => [&*chunked, &chunk(&events[..within])].concat(),
        "no-done" => [&*chunked, &chunk(&events), b"0\r\n\r\n"].concat(),
        "silence" => {
            let ms = asked.get("ms").and_then(|ms| ms.parse().ok()).unwrap_or(0);
            stream.write_all(&chunked).await.ok()?;
            let first = chunk(&events[..between]);
            stream.write_all(&first).await.ok()?;
            sleep(Duration::from_millis(ms)).await;
            [&*chunk(&events[between..]), b"0\r\n\r\n"].concat()
        }
        // Neither a head nor an end.
        "mute" => std::future::pending().await,
        _ => Vec::new(),
    };
    // In two halves, so that what is cut has often passed already.
    let (first, second) = bytes.split_at(bytes.len() / 3);
    for part in [first, second] {
        stream.write_all(part).await.ok()?;
        sleep(Duration::from_millis(1)).await;
    }
    if ends {
        stream.set_zero_linger().ok();
    }
    matches!(how, "no-done" | "silence" | "interim").then_some(())
}
