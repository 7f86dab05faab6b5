//! One client's connection: its requests one after the other, its limits, and how it ends.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::error::{ErrorKind, ProxyError};
use super::gateway::Gateway;
use super::handler::{self, Entry};
use super::patience;
use super::socket::Socket;

/// Field lines that a request may have.
const MOST_FIELDS: usize = 100;

/// When connections end.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    /// No new requests; those that run may finish.
    pub(super) drain: CancellationToken,
    /// At once.
    pub(super) abort: CancellationToken,
}

/// Serves one client until it leaves or `stop` ends it.
pub(super) async fn serve(stream: Socket, gateway: Arc<Gateway>, entry: Arc<Entry>, stop: Stop) {
    stream.set_nodelay();
    let rules = gateway.rules();
    let (headers, timeouts) = (rules.limits.headers, rules.timeouts);
    drop(rules);
    let http10 = Arc::new(AtomicBool::new(false));
    let seen = http10.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        if request.version() == Version::HTTP_10 {
            seen.store(true, Ordering::Relaxed);
        }
        let answer = handler::handle(gateway.clone(), entry.clone(), request);
        // Boxed, so that a connection whose answer streams keeps no room for it.
        let answer: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { Ok::<_, Infallible>(answer.await) });
        answer
    });
    let (stream, timer) = patience::watch(stream, timeouts.headers, timeouts.keep_alive);
    let mut connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(timeouts.headers)
        .max_headers(MOST_FIELDS)
        .max_buf_size(headers)
        .serve_connection(TokioIo::new(stream), service);
    let mut draining = pin!(stop.drain.cancelled());
    let mut drained = false;
    let result = loop {
        tokio::select! {
            result = &mut connection => break result,
            () = &mut draining, if !drained => {
                drained = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            () = stop.abort.cancelled() => {
                end_abruptly(&connection.into_parts().io.into_inner().into_inner(), &http10);
                return;
            }
        }
    };
    let Err(error) = result else { return };
    if error.is_timeout() {
        let parts = connection.into_parts();
        // Without a byte of a head it was an idle connection.
        if !parts.read_buf.is_empty() {
            say_timeout(parts.io.into_inner().into_inner()).await;
        }
    } else {
        tracing::debug!(%error, "a client's connection ended");
        end_abruptly(
            &connection.into_parts().io.into_inner().into_inner(),
            &http10,
        );
    }
}

/// An answer to HTTP/1.0 ends with its connection (RFC 9112 §6.3), so a connection that is cut
/// must not end in order.
fn end_abruptly(stream: &Socket, http10: &AtomicBool) {
    if http10.load(Ordering::Relaxed) {
        stream.set_zero_linger();
    }
}

/// hyper closes a connection whose head came too slowly without a word; the client gets one.
async fn say_timeout(mut stream: Socket) {
    let message = "hermes-proxyd: the request's head came too slowly (`timeouts.headers`)";
    let error = ProxyError::new(ErrorKind::RequestTimeout, message);
    let body = error.body();
    let code = error.kind.code();
    let head = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nx-hermes-error: {code}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let write = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        stream.shutdown().await
    };
    if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), write).await {
        tracing::debug!(%error, "a slow client did not take its error");
    }
}
