//! The load: HTTP/1.1 as bytes, some microseconds for each request, on connections that are kept.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::upstream::{Ask, length_of};

/// Longer than any answer takes that is worth a figure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Target {
    port: u16,
    tls: Option<TlsConnector>,
    /// What is presented to it.
    key: String,
}

/// A connection, and what was read of its answer.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// What a turn of requests came to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// From before each request to the first byte of its answer's body.
    pub(crate) first_bytes: Vec<Duration>,
}

impl Target {
    pub(crate) fn new(port: u16, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self {
            port,
            tls: tls.map(TlsConnector::from),
            key: "sk-0123456789abcdef0123456789".to_owned(),
        }
    }

    /// The same, with this key.
    pub(crate) fn with_key(self, key: &str) -> Self {
        let key = key.to_owned();
        Self { key, ..self }
    }

    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                Box::new(tls.connect(name, stream).await?)
            }
        };
        let buffer = Vec::with_capacity(4 * 1024);
        Ok(Connection { stream, buffer })
    }

    /// A request as OpenAI's Python client sends it, of at least this size.
    pub(crate) fn request(&self, ask: Ask, size: usize) -> Arc<[u8]> {
        let stream = ask != Ask::Chat;
        let model = ask.model();
        let start = format!(
            "{{\"model\":\"{model}\",\"stream\":{stream},\"temperature\":0.7,\"messages\":[{{\"role\":\"system\",\
             \"content\":\"You answer in one short sentence, and kindly.\"}},{{\"role\":\"user\",\"content\":\"A request \
             of usual length: what would a program have to do to let every app on a machine share one subscription?"
        );
        let filling = "x".repeat(size.saturating_sub(start.len() + 4));
        let body = start + &filling + "\"}]}";
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nUser-Agent: OpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\n\
             X-Stainless-Package-Version: 3.54.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\n\
             X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.12.3\r\n\
             Authorization: Bearer {}\r\nX-Stainless-Async: false\r\n\
             x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            self.key,
            body.len()
        );
        request.into_bytes().into()
    }
}

impl Connection {
    /// Sends a request and reads its answer to the end; the time to the first byte of the answer's body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Duration> {
        let started = Instant::now();
        let head = self.begin(request).await?;
        let first_byte = started.elapsed();
        let length = self.buffer.get(..head).and_then(length_of);
        if let Some(length) = length {
            while self.buffer.len() < head + length {
                self.read().await?;
            }
        } else {
            while !self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                self.read().await?;
            }
        }
        Ok(first_byte)
    }

    /// Sends a request and reads up to the first byte of its answer's body; the length of the head.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> io::Result<usize> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        loop {
            self.read().await?;
            let head = memmem::find(&self.buffer, b"\r\n\r\n").map(|end| end + 4);
            let Some(head) = head else { continue };
            if self.buffer.get(9..12) != Some(b"200") {
                let said = String::from_utf8_lossy(&self.buffer);
                let said = said.lines().next().unwrap_or_default().to_owned();
                return Err(io::Error::other(said));
            }
            if self.buffer.len() > head {
                return Ok(head);
            }
        }
    }

    /// Reads on, and forgets it; how many bytes of events' ends were in it.
    pub(crate) async fn events(&mut self) -> io::Result<usize> {
        self.buffer.clear();
        self.read().await?;
        // No event's text has this in it twice, and a part of it is never alone in a read of ours.
        Ok(memmem::find_iter(&self.buffer, b"data:").count())
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Which connections the requests of a turn are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// So many clients, each with one that it keeps.
    Kept(usize),
    /// One client, with a new one for each request.
    New,
}

/// Clients, and the connections that they keep from one turn to the next.
pub(crate) struct Crowd {
    target: Target,
    keep: Keep,
    open: Vec<Option<Connection>>,
}

impl Crowd {
    pub(crate) fn new(target: Target, keep: Keep) -> Self {
        let clients = match keep {
            Keep::Kept(clients) => clients,
            Keep::New => 1,
        };
        let mut open = Vec::new();
        open.resize_with(clients, || None);
        Self { target, keep, open }
    }

    /// All ask in a closed loop, until this time has passed and `least` were answered. Slow ones get five times
    /// the time, and fewer answers.
    pub(crate) async fn run(&mut self, request: &Arc<[u8]>, until: Until) -> io::Result<Turn> {
        let end = Instant::now() + until.time;
        let latest = (!until.time.is_zero()).then(|| end + 4 * until.time);
        let least = until.least.div_ceil(self.open.len().max(1));
        let mut loops = JoinSet::new();
        for mut connection in self.open.drain(..) {
            let (target, request, keep) = (self.target.clone(), request.clone(), self.keep);
            loops.spawn(async move {
                let mut times = Vec::new();
                while times.is_empty()
                    || Instant::now() < end
                    || (times.len() < least && latest.is_none_or(|latest| Instant::now() < latest))
                {
                    let mut open = match connection.take() {
                        Some(open) => open,
                        None => target.connect().await?,
                    };
                    let answered = timeout(PATIENCE, open.ask(&request)).await;
                    times.push(answered.map_err(|_| io::ErrorKind::TimedOut)??);
                    if keep != Keep::New {
                        connection = Some(open);
                    }
                }
                io::Result::Ok((connection, times))
            });
        }
        let mut turn = Turn::default();
        while let Some(done) = loops.join_next().await {
            let (connection, times) = done.map_err(io::Error::other)??;
            self.open.push(connection);
            turn.first_bytes.extend(times);
        }
        Ok(turn)
    }
}

/// How long a turn goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    pub(crate) time: Duration,
    /// Requests, at least.
    pub(crate) least: usize,
}
