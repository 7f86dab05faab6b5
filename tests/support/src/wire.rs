//! A provider made of bytes: the test decides what it sends and when.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::{Daemon, World};

/// A server whose connections are the test's.
pub struct Wire {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Serves each connection, counted from 1, with `serve`.
    pub async fn start<F, S>(serve: S) -> Self
    where
        S: Fn(TcpStream, usize) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::at("127.0.0.1:0", serve).await
    }

    /// The same on an address.
    pub async fn at<F, S>(address: &str, serve: S) -> Self
    where
        S: Fn(TcpStream, usize) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(serve(stream, number));
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    /// A server that answers every request with the same bytes, on one connection.
    pub async fn canned(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::new(answer.into());
        Self::start(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                while read_request(&mut stream).await.is_some() {
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// How many were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A whole request, head and body; `None` when the connection ended before it was whole.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    let mut whole = None;
    while whole.is_none_or(|whole| bytes.len() < whole) {
        let read = stream
            .read(&mut piece)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        if whole.is_none()
            && let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
            whole = Some(end + 4 + length.unwrap_or(0));
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A small good answer after which the connection stays.
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                      content-length: 2\r\n\r\n{}";

/// A daemon whose provider is at `base`, which gets each request for its models.
pub fn daemon_at(world: &World, base: &str, config: &str) -> Daemon {
    world.write_config(&format!("models_cache = \"0s\"\n{config}"));
    let mut command = world.command(&[]);
    command.env("NOUS_INFERENCE_BASE_URL", base);
    Daemon::start(command, world.home.path())
}

/// The daemon's memory now and at its peak, in KiB.
#[cfg(target_os = "linux")]
pub fn memory(daemon: &Daemon) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// HTTP/2 by hand: frames are written as they are, and read without a look at the headers.
pub struct Frames<S> {
    stream: S,
}

/// A string as HPACK has it, without Huffman's code (RFC 7541 §5).
fn literal(block: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap());
    }
    block.extend_from_slice(text.as_bytes());
}

/// One frame (RFC 9113 §4.1).
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
/// On `SETTINGS` and `PING`.
pub const ACK: u8 = 1;
/// In `SETTINGS`.
pub const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// Reads the client's preface and sends settings: identifiers and values.
    pub async fn greet(mut stream: S, settings: &[(u16, u32)]) -> Option<Self> {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.ok()?;
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut frames = Self { stream };
        let settings = settings.iter().flat_map(|(name, value)| {
            let (name, value) = (name.to_be_bytes(), value.to_be_bytes());
            name.into_iter().chain(value)
        });
        let settings: Vec<_> = settings.collect();
        frames.send(SETTINGS, 0, 0, &settings).await?;
        Some(frames)
    }

    /// Sends a frame; `None` when the connection has ended.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Option<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await.ok()
    }

    /// The next frame, of any kind; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// The stream of the next request, once its headers are there. Settings and pings are
    /// answered on the way.
    pub async fn request(&mut self) -> Option<u32> {
        loop {
            let frame = self.next().await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await?,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).await?,
                HEADERS => return Some(frame.stream),
                _ => {}
            }
        }
    }

    /// The head of a 200.
    pub async fn head(&mut self, stream: u32) -> Option<()> {
        // HPACK's static table, entry 8: `:status: 200` (RFC 7541, appendix A).
        self.send(HEADERS, END_HEADERS, stream, &[0x88]).await
    }

    /// The head of an answer with this status and these fields, in as many frames as it takes.
    pub async fn fields(
        &mut self,
        stream: u32,
        status: &str,
        fields: &[(&str, &str)],
    ) -> Option<()> {
        // `:status` is entry 8 of HPACK's static table, its value a literal (RFC 7541 §6.2.2).
        let mut block = vec![0x08];
        literal(&mut block, status);
        for (name, value) in fields {
            block.push(0);
            literal(&mut block, name);
            literal(&mut block, value);
        }
        let parts: Vec<_> = block.chunks(16_384).collect();
        for (number, part) in parts.iter().enumerate() {
            let kind = if number == 0 { HEADERS } else { CONTINUATION };
            let is_last = number + 1 == parts.len();
            let flags = if is_last { END_HEADERS } else { 0 };
            self.send(kind, flags, stream, part).await?;
        }
        Some(())
    }

    /// A whole answer with this body.
    pub async fn answer(&mut self, stream: u32, body: &[u8]) -> Option<()> {
        self.head(stream).await?;
        self.send(DATA, END_STREAM, stream, body).await
    }

    pub async fn reset(&mut self, stream: u32, reason: u32) -> Option<()> {
        self.send(RST_STREAM, 0, stream, &reason.to_be_bytes())
            .await
    }

    pub async fn go_away(&mut self, last: u32, reason: u32) -> Option<()> {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await
    }
}

/// A TLS port that speaks HTTP/2 by hand, and a daemon that uses it.
pub async fn http2<F, S>(world: &World, config: &str, serve: S) -> (Wire, Daemon)
where
    S: Fn(Frames<Box<dyn Stream>>, usize) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<()>> + Send + 'static,
{
    http2_with(world, config, &[], serve).await
}

/// The same with settings of the server's.
pub async fn http2_with<F, S>(
    world: &World,
    config: &str,
    settings: &'static [(u16, u32)],
    serve: S,
) -> (Wire, Daemon)
where
    S: Fn(Frames<Box<dyn Stream>>, usize) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<()>> + Send + 'static,
{
    let authority = world.cloud.authority();
    let tls = authority.acceptor_speaking(&["localhost"], &["h2"]);
    let wire = Wire::start(move |stream, number| {
        let (tls, serve) = (tls.clone(), serve.clone());
        async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let stream: Box<dyn Stream> = Box::new(stream);
            if let Some(frames) = Frames::greet(stream, settings).await {
                serve(frames, number).await;
            }
        }
    })
    .await;
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let ca = ca.to_str().unwrap();
    let config = format!("{config}\n[providers.nous]\nca_file = {ca:?}\n");
    let base = format!("https://localhost:{}/v1", wire.address.port());
    let daemon = daemon_at(world, &base, &config);
    (wire, daemon)
}

pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

/// Every request for `/models` is answered well, others with what `bad` sends.
pub async fn half_bad<F>(bad: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static) -> Wire
where
    F: Future<Output = ()> + Send + 'static,
{
    Wire::start(move |mut stream, _| {
        let bad = bad.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                if !request.starts_with("GET") {
                    return bad(stream).await;
                }
                if stream.write_all(OK.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}
