//! A provider that answers each request with given bytes, valid or not, and ends as asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::lock;

/// What each connection does with its one request.
#[derive(Debug, Clone)]
pub struct Script {
    /// Whether the request is read beyond its head.
    pub reads_body: bool,
    /// The answer, piece by piece, each flushed.
    pub answer: Vec<Vec<u8>>,
    /// The pause before each piece but the first.
    pub pause: Duration,
    /// How it ends.
    pub end: RawEnd,
}

/// How a scripted connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawEnd {
    /// In order; over TLS with `close_notify`.
    Close,
    /// FIN, over TLS without `close_notify`.
    Fin,
    /// RST.
    Rst,
    /// Not before the client does; until then it takes the next request.
    Wait,
    /// The answer's last piece is repeated for ever.
    Repeat,
}

impl Script {
    /// Reads the request, sends these bytes and ends like this.
    pub fn new(answer: impl Into<Vec<u8>>, end: RawEnd) -> Self {
        Self {
            reads_body: true,
            answer: vec![answer.into()],
            pause: Duration::ZERO,
            end,
        }
    }
}

/// A running scripted provider. Dropping it ends its connections.
#[derive(Debug)]
pub struct Raw {
    address: SocketAddr,
    tls: bool,
    state: Arc<State>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct State {
    script: Mutex<Script>,
    requests: AtomicUsize,
    sent: AtomicUsize,
    ended: Mutex<Vec<Instant>>,
}

impl Raw {
    pub(crate) async fn start(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            script: Mutex::new(script),
            requests: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            ended: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let raw = Self {
            address,
            tls: tls.is_some(),
            state: state.clone(),
            _stop: stop.clone().drop_guard(),
        };
        #[expect(clippy::disallowed_methods, reason = "ends with its guard")]
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (state, tls, stop) = (state.clone(), tls.clone(), stop.clone());
                tokio::spawn(async move {
                    stop.run_until_cancelled(serve(stream, tls, &state)).await;
                    lock(&state.ended).push(Instant::now());
                });
            }
        });
        raw
    }

    /// The API's base, ending with `/v1`.
    pub fn base_url(&self) -> String {
        if self.tls {
            format!("https://localhost:{}/v1", self.address.port())
        } else {
            format!("http://{}/v1", self.address)
        }
    }

    /// What the next connections do.
    pub fn set(&self, script: Script) {
        *lock(&self.state.script) = script;
    }

    /// Requests whose head has come.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Acquire)
    }

    /// Bytes of answers that the system took.
    pub fn sent(&self) -> usize {
        self.state.sent.load(Ordering::Acquire)
    }

    /// When each connection that has ended did so.
    pub fn ended(&self) -> Vec<Instant> {
        lock(&self.state.ended).clone()
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, state: &State) {
    stream.set_nodelay(true).ok();
    let script = lock(&state.script).clone();
    match tls {
        None => {
            let stream = run(stream, &script, state).await;
            if script.end == RawEnd::Rst {
                stream.set_zero_linger().ok();
            }
        }
        Some(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let stream = run(stream, &script, state).await;
            if script.end == RawEnd::Rst {
                stream.get_ref().0.set_zero_linger().ok();
            }
        }
    }
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: &Script,
    state: &State,
) -> S {
    while read_request(&mut stream, script, state).await.is_some() {
        for (index, piece) in script.answer.iter().enumerate() {
            if index > 0 {
                tokio::time::sleep(script.pause).await;
            }
            if !send(&mut stream, piece, state).await {
                return stream;
            }
        }
        match script.end {
            RawEnd::Close => drop(stream.shutdown().await),
            RawEnd::Fin | RawEnd::Rst => {}
            RawEnd::Wait if script.reads_body => continue,
            RawEnd::Wait => std::future::pending().await,
            RawEnd::Repeat => {
                let last = script.answer.last().cloned().unwrap_or_default();
                while send(&mut stream, &last, state).await {}
            }
        }
        break;
    }
    stream
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, mut piece: &[u8], state: &State) -> bool {
    while !piece.is_empty() {
        let Ok(sent) = stream.write(piece).await else {
            return false;
        };
        state.sent.fetch_add(sent, Ordering::Release);
        piece = &piece[sent..];
    }
    stream.flush().await.is_ok()
}

/// The head, and the body as `content-length` or the last chunk has it.
async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    script: &Script,
    state: &State,
) -> Option<()> {
    let mut request = Vec::new();
    let mut counted = false;
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&part[..read]);
        let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        if !std::mem::replace(&mut counted, true) {
            state.requests.fetch_add(1, Ordering::Release);
        }
        let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok());
        let chunked = head.contains("\r\ntransfer-encoding:");
        let whole = match length {
            Some(length) => request.len() - end - 4 >= length,
            None => !chunked || request.ends_with(b"0\r\n\r\n"),
        };
        if whole || !script.reads_body {
            return Some(());
        }
    }
}
