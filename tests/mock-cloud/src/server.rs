//! Accepting: plain or TLS, HTTP/1.1 or HTTP/2, connections that can be reset, and a server that
//! can go away and come back.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use hyper::header::DATE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::AnswerBody;

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    /// Set, the connection ends with RST.
    pub(crate) reset: Arc<AtomicBool>,
}

/// The handler's word that the connection is to be closed without an answer.
#[derive(Debug)]
pub(crate) struct Hangup;

impl std::fmt::Display for Hangup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up")
    }
}

impl std::error::Error for Hangup {}

/// What a server does with a request.
pub(crate) trait Service: Send + Sync + 'static {
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> impl Future<Output = Result<Response<AnswerBody>, Hangup>> + Send;

    fn connected(&self) {}

    /// What the server's clock says, for the field `Date`.
    fn now(&self) -> DateTime<Utc>;
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    open: watch::Sender<bool>,
    bound: watch::Receiver<bool>,
    connections: Arc<AtomicU64>,
}

impl Server {
    pub(crate) async fn start<S: Service>(
        service: Arc<S>,
        tls: Option<TlsAcceptor>,
        (tracker, stop): (&TaskTracker, &CancellationToken),
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (open, open_changes) = watch::channel(true);
        let (bound_tx, bound) = watch::channel(true);
        let connections = Arc::new(AtomicU64::new(0));
        let tasks = (tracker.clone(), connections.clone());
        let token = stop.clone();
        tracker.spawn(async move {
            let accepting = accept(
                listener,
                address,
                (open_changes, bound_tx),
                (service, tls),
                tasks,
            );
            token.run_until_cancelled(accepting).await;
        });
        Ok(Self {
            address,
            open,
            bound,
            connections,
        })
    }

    /// Waits until every connection that was made before has ended.
    pub(crate) async fn drained(&self) {
        // Connections are accepted in their order: once this one is answered, all earlier ones count.
        if let Ok(mut fence) = TcpStream::connect(self.address).await {
            let word = b"GET / HTTP/1.1\r\nhost: fence\r\nconnection: close\r\n\r\n";
            fence.write_all(word).await.ok();
            fence.read_to_end(&mut Vec::new()).await.ok();
        }
        while self.connections.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// Closes the port and every connection, or opens it again on the same number.
    pub(crate) async fn set_open(&self, open: bool) {
        self.open.send_replace(open);
        let mut bound = self.bound.clone();
        bound.wait_for(|bound| *bound == open).await.ok();
    }
}

async fn accept<S: Service>(
    listener: TcpListener,
    address: SocketAddr,
    (mut open, bound): (watch::Receiver<bool>, watch::Sender<bool>),
    (service, tls): (Arc<S>, Option<TlsAcceptor>),
    (tracker, connections): (TaskTracker, Arc<AtomicU64>),
) {
    let numbers = AtomicU64::new(0);
    let mut listener = Some(listener);
    // Dropped with this future, the guard ends the connections of the port's present opening.
    let mut session = CancellationToken::new().drop_guard();
    loop {
        let Some(port) = &listener else {
            becomes(&mut open, true).await;
            listener = bind_again(address).await;
            bound.send_replace(true);
            continue;
        };
        let stream = tokio::select! {
            accepted = port.accept() => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                stream
            }
            () = becomes(&mut open, false) => {
                listener = None;
                session = CancellationToken::new().drop_guard();
                bound.send_replace(false);
                continue;
            }
        };
        stream.set_nodelay(true).ok();
        service.connected();
        let connection = Connection {
            number: numbers.fetch_add(1, Ordering::Relaxed) + 1,
            reset: Arc::new(AtomicBool::new(false)),
        };
        let socket = Socket {
            stream,
            reset: connection.reset.clone(),
        };
        let (service, tls, token) = (service.clone(), tls.clone(), session.token().clone());
        let connections = connections.clone();
        connections.fetch_add(1, Ordering::Release);
        tracker.spawn(async move {
            token
                .run_until_cancelled(serve(socket, tls, service, connection))
                .await;
            connections.fetch_sub(1, Ordering::Release);
        });
    }
}

async fn becomes(open: &mut watch::Receiver<bool>, wanted: bool) {
    if open.wait_for(|open| *open == wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn bind_again(address: SocketAddr) -> Option<TcpListener> {
    for _ in 0..100 {
        let socket = tokio::net::TcpSocket::new_v4().ok()?;
        socket.set_reuseaddr(true).ok()?;
        if socket.bind(address).is_ok()
            && let Ok(listener) = socket.listen(1024)
        {
            return Some(listener);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

async fn serve<S: Service>(
    socket: Socket,
    tls: Option<TlsAcceptor>,
    service: Arc<S>,
    connection: Connection,
) {
    let service = service_fn(move |request| {
        let (service, connection) = (service.clone(), connection.clone());
        async move {
            let mut answer = service.clone().answer(request, connection).await?;
            let now = service.now().format("%a, %d %b %Y %H:%M:%S GMT");
            let now = now.to_string().parse().expect("a date is a field's value");
            answer.headers_mut().insert(DATE, now);
            Ok::<_, Hangup>(answer)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(10_000);
    match tls {
        None => {
            let http1 = hyper::server::conn::http1::Builder::new();
            http1
                .serve_connection(TokioIo::new(socket), service)
                .await
                .ok();
        }
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(socket).await {
                builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .ok();
            }
        }
    }
}

/// A socket that can end with RST.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
