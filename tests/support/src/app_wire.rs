//! A client that records every byte, and whether the answer ended or was cut.

#[cfg(target_os = "linux")]
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::{Daemon, PATIENCE};

/// A connection to the daemon.
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer as far as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The framing says that this was all.
    pub complete: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A POST's head, and the start of its body.
pub fn request(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

impl Wire {
    pub async fn connect(daemon: &Daemon) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Little of what was sent stays on this side.
        socket.set_send_buffer_size(8192).unwrap();
        let stream = socket
            .connect(daemon.address().parse().unwrap())
            .await
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Sends a request; its answer is read by the caller.
    pub async fn ask(daemon: &Daemon, path: &str, body: &str) -> Self {
        let mut wire = Self::connect(daemon).await;
        wire.send(request(path, body).as_bytes()).await;
        wire
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Waits until the daemon has read all that was sent.
    #[cfg(target_os = "linux")]
    pub async fn is_read(&self) {
        let (Ok(SocketAddr::V4(ours)), Ok(SocketAddr::V4(theirs))) =
            (self.stream.local_addr(), self.stream.peer_addr())
        else {
            panic!("a connection over IPv4")
        };
        let hex = |at: SocketAddrV4| {
            let address = u32::from_ne_bytes(at.ip().octets());
            format!("{address:08X}:{:04X}", at.port())
        };
        let (ours, theirs) = (hex(ours), hex(theirs));
        // Each side has a line: its address, the other one's, the state, and what waits to be sent and to be read.
        let waits = |from: &str, to: &str| {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let pair = format!(" {from} {to} ");
            let line = table
                .lines()
                .find_map(|line| Some(line.split_once(&pair)?.1));
            let queues = line.expect("a connection").split_whitespace().nth(1);
            queues != Some("00000000:00000000")
        };
        let reading = async {
            while waits(&ours, &theirs) || waits(&theirs, &ours) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.expect("the daemon reads");
    }

    /// The same where the system does not tell.
    #[cfg(not(target_os = "linux"))]
    pub async fn is_read(&self) {
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    /// Sends as much as is taken until nothing was for `pause`.
    pub async fn stuff(&mut self, bytes: &[u8], pause: Duration) -> usize {
        let mut sent = 0;
        while let Ok(more) = tokio::time::timeout(pause, self.stream.write(&bytes[sent..])).await {
            sent += more.unwrap();
            assert!(sent < bytes.len(), "all of it was taken");
        }
        sent
    }

    /// Reads until what came holds `text`.
    pub async fn read_until(&mut self, text: &str) {
        let holds = |received: &[u8]| {
            let mut places = received.windows(text.len());
            places.any(|place| place == text.as_bytes())
        };
        while !holds(&self.received) {
            let more = self.more().await;
            assert!(more, "{}", String::from_utf8_lossy(&self.received));
        }
    }

    /// Some more bytes; false at an end of any kind.
    pub async fn more(&mut self) -> bool {
        let reading = self.stream.read_buf(&mut self.received);
        let read = tokio::time::timeout(PATIENCE, reading).await;
        let read = read.unwrap_or_else(|_| {
            panic!("no end: {}", String::from_utf8_lossy(&self.received));
        });
        read.is_ok_and(|read| read > 0)
    }

    /// Reads to the end of the answer, or of the connection.
    pub async fn answer(&mut self) -> Answer {
        loop {
            if let Some((answer, used)) = parse(&self.received)
                && answer.complete
            {
                self.received.drain(..used);
                return answer;
            }
            if !self.more().await {
                let (answer, _) = parse(&self.received).expect("a head");
                return answer;
            }
        }
    }

    pub fn received(&self) -> usize {
        self.received.len()
    }

    /// Closes it in order.
    pub fn close(self) {
        drop(self.stream);
    }

    /// Aborts it.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
        drop(self.stream);
    }
}

/// The first answer in the bytes, and how many of them it is. Without its head's end: none.
fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if status == 100 {
        let (answer, used) = parse(&bytes[end..])?;
        return Some((answer, used + end));
    }
    let rest = &bytes[end..];
    let field = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let (body, complete, used) = if field("transfer-encoding:").is_some() {
        dechunk(rest)
    } else {
        let length = field("content-length:").map_or(0, |length| length.parse().unwrap());
        let body = &rest[..rest.len().min(length)];
        (body.to_vec(), body.len() == length, body.len())
    };
    let answer = Answer {
        status,
        head,
        body,
        complete,
    };
    Some((answer, end + used))
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool, usize) {
    let all = rest.len();
    let mut body = Vec::new();
    loop {
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return (body, false, all);
        };
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        rest = &rest[line + 2..];
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        if rest.len() < size + 2 {
            return (body, false, all);
        }
        rest = &rest[size + 2..];
        if size == 0 {
            return (body, true, all - rest.len());
        }
    }
}
