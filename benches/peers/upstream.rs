//! The provider of the bench: as little work as possible, in a process of its own. What it answers is told by the model
//! that is asked for, the one thing that passes through every contestant unchanged.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use mock_cloud::{MockCloud, Options};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;

use super::common::cloud;
use super::common::process::Process;
use super::far;

/// What a program of ours is told when it is to be the upstream.
pub(crate) const ROLE: &str = "upstream:";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A whole answer of fixed bytes.
    Chat,
    /// So many events as fast as they come.
    Burst(usize),
    /// One event at once, and one each time this has passed, until the client leaves.
    Paced(Duration),
}

/// How the upstream is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Way {
    Plain,
    /// Offers HTTP/2 and HTTP/1.1, as providers do.
    Tls,
    /// Offers HTTP/1.1 alone.
    TlsHttp1,
    /// As `Tls`, over a round trip of `far::ROUND_TRIP`.
    Far,
}

/// A running upstream.
pub(crate) struct Upstream {
    pub(crate) process: Process,
    ports: Value,
    home: TempDir,
}

impl Ask {
    /// The model that asks for it.
    pub(crate) fn model(self) -> String {
        match self {
            Self::Chat => "bench/chat".to_owned(),
            Self::Burst(events) => format!("bench/burst/{events}"),
            Self::Paced(pace) => format!("bench/paced/{}", pace.as_millis()),
        }
    }

    /// Out of a body's first bytes.
    fn of(body: &[u8]) -> Option<Self> {
        let start = memmem::find(body, b"\"bench/")? + b"\"bench/".len();
        let rest = body.get(start..)?;
        let end = memchr::memchr(b'"', rest)?;
        let words = std::str::from_utf8(rest.get(..end)?).ok()?;
        match words.split_once('/') {
            None => (words == "chat").then_some(Self::Chat),
            Some(("burst", events)) => Some(Self::Burst(events.parse().ok()?)),
            Some(("paced", pace)) => Some(Self::Paced(Duration::from_millis(pace.parse().ok()?))),
            Some(_) => None,
        }
    }
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Tls, Self::TlsHttp1, Self::Far];

    pub(crate) fn is_tls(self) -> bool {
        self != Self::Plain
    }

    fn key(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
            Self::TlsHttp1 => "tls-http1",
            Self::Far => "far",
        }
    }
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let home = tempfile::Builder::new().prefix("hp").tempdir();
        let home = home.expect("a folder");
        let (process, ports) = cloud::once_more(ROLE, &home);
        Self {
            process,
            ports,
            home,
        }
    }

    pub(crate) fn port(&self, way: Way) -> u16 {
        let port = self.ports[way.key()].as_u64();
        port.and_then(|port| port.try_into().ok()).expect("a port")
    }

    pub(crate) fn ca_file(&self, way: Way) -> Option<PathBuf> {
        way.is_tls().then(|| self.home.path().join("ca.pem"))
    }

    /// As a provider's base URL.
    pub(crate) fn base_url(&self, way: Way) -> String {
        let scheme = if way.is_tls() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/v1", self.port(way))
    }
}

/// The upstream's process.
pub(crate) fn be_the_upstream() -> ExitCode {
    cloud::runtime().block_on(async {
        let cloud = MockCloud::start(Options::default()).await;
        let home = cloud::given_home();
        cloud.write_ca(&home.join("ca.pem")).expect("a file");
        let mut ports = serde_json::Map::new();
        for way in Way::ALL {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            ports.insert(way.key().to_owned(), port.into());
            let tls = ["localhost", "127.0.0.1"];
            match way {
                Way::Plain => spawn(accept(listener, None)),
                Way::Tls => {
                    let tls = cloud.authority().acceptor_for(&tls, true);
                    spawn(accept(listener, Some(tls)));
                }
                Way::TlsHttp1 => {
                    let tls = cloud.authority().acceptor_for(&tls, false);
                    spawn(accept(listener, Some(tls)));
                }
                Way::Far => {
                    let near = ports[Way::Tls.key()].as_u64().unwrap_or_default();
                    spawn(far::relay(listener, near.try_into().unwrap_or_default()));
                }
            }
        }
        cloud::serve(&ports.into()).await;
    });
    ExitCode::SUCCESS
}

#[expect(
    clippy::disallowed_methods,
    reason = "the process ends with its runtime, and nothing is lost"
)]
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many files: the others go on.
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        let tls = tls.clone();
        spawn(async move {
            // That a client leaves is no error.
            serve(stream, tls).await.ok();
        });
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<()> {
    let Some(tls) = tls else {
        return serve_http1(stream).await;
    };
    let stream = tls.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let service = service_fn(answer_http2);
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let served = builder.serve_connection(TokioIo::new(stream), service);
        served.await.map_err(io::Error::other)
    } else {
        serve_http1(stream).await
    }
}

async fn serve_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    while let Some(ask) = read_request(&mut stream, &mut buffer).await? {
        match ask {
            Ask::Chat => stream.write_all(whole().as_bytes()).await?,
            Ask::Burst(events) => {
                stream.write_all(STREAM_HEAD.as_bytes()).await?;
                for _ in 0..events {
                    stream.write_all(chunk(EVENT).as_bytes()).await?;
                    stream.flush().await?;
                    // An event at a time, as a model writes them: other connections get their turn.
                    tokio::task::yield_now().await;
                }
                let end = chunk(DONE) + "0\r\n\r\n";
                stream.write_all(end.as_bytes()).await?;
            }
            Ask::Paced(pace) => {
                stream.write_all(STREAM_HEAD.as_bytes()).await?;
                let (event, mut next) = (chunk(EVENT), Instant::now());
                loop {
                    stream.write_all(event.as_bytes()).await?;
                    stream.flush().await?;
                    next += pace;
                    sleep_until(next).await;
                }
            }
        }
        stream.flush().await?;
    }
    Ok(())
}

/// Reads a request to its end; what it asks for.
async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Ask>> {
    buffer.clear();
    let head = loop {
        if let Some(end) = memmem::find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let length = buffer.get(..head).and_then(length_of);
    let mut ask = None;
    // The size that all of the request has, where it is told.
    let whole = length.map(|length| head + length);
    let mut read = buffer.len();
    loop {
        ask = ask.or_else(|| Ask::of(buffer.get(head.min(buffer.len())..)?));
        let done = match whole {
            Some(whole) => read >= whole,
            None => buffer.ends_with(b"\r\n0\r\n\r\n"),
        };
        if done {
            break;
        }
        if ask.is_some() && buffer.len() > 64 * 1024 {
            // Its end is enough to know a chunked body's.
            buffer.drain(..buffer.len() - 16);
        }
        let got = stream.read_buf(buffer).await?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read += got;
    }
    ask.map(Some)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// What a head says of its body's length.
pub(crate) fn length_of(head: &[u8]) -> Option<usize> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok()).flatten()
    })
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn answer_http2(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let mut body = request.into_body();
    let (mut ask, mut start) = (None, Vec::new());
    while let Some(frame) = body.frame().await {
        if let (None, Ok(data)) = (ask, frame?.into_data()) {
            start.extend_from_slice(&data);
            ask = Ask::of(&start);
        }
    }
    let answer = Response::builder();
    let answer = match ask {
        None => answer.status(400).body(Full::default().boxed()),
        Some(Ask::Chat) => {
            let answer = answer.header("content-type", "application/json");
            answer.body(Full::from(CHAT).boxed())
        }
        Some(stream) => {
            let (sender, receiver) = channel::<Bytes>(1);
            spawn(send_events(stream, sender));
            let events = futures_util::stream::unfold(receiver, async |mut receiver| {
                let data = receiver.recv().await?;
                Some((Ok(Frame::data(data)), receiver))
            });
            let answer = answer.header("content-type", "text/event-stream");
            answer.body(BoxBody::new(StreamBody::new(Box::pin(events))))
        }
    };
    Ok(answer.expect("an answer"))
}

async fn send_events(ask: Ask, sender: Sender<Bytes>) {
    match ask {
        Ask::Chat => {}
        Ask::Burst(events) => {
            for _ in 0..events {
                sender.send(EVENT.into()).await.ok();
            }
            sender.send(DONE.into()).await.ok();
        }
        Ask::Paced(pace) => {
            let mut next = Instant::now();
            while sender.send(EVENT.into()).await.is_ok() {
                next += pace;
                sleep_until(next).await;
            }
        }
    }
}

/// 400 bytes of a chat's answer.
const CHAT: &str = "{\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion\",\"created\":1764000000,\
    \"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"One program that keeps \
    the login, and lets every app on the machine use it.\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\
    \"usage\":{\"prompt_tokens\":40,\"completion_tokens\":17,\"total_tokens\":57},\"system_fingerprint\":\"fp_0123456789\"}";

/// One event of a stream.
pub(crate) const EVENT: &str = "data: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\
    \"created\":1764000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\
    \"finish_reason\":null}]}\n\n";

const DONE: &str = "data: [DONE]\n\n";

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

fn whole() -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{CHAT}",
        CHAT.len()
    )
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// Keeps the certificates of one authority for all connections.
pub(crate) fn tls_client(ca_file: Option<&std::path::Path>) -> Arc<rustls::ClientConfig> {
    Arc::new(hermes_proxy::provider::client_config(ca_file).expect("a trust store"))
}
