//! One client's connection: its requests one after the other, its limits, and how it ends.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::error::{ErrorKind, ProxyError};
use super::framing::{MOST_FIELDS, Scanner};
use super::gateway::Gateway;
use super::handler::{self, Entry};
use super::parting;
use super::patience::{self, Watched};
use super::places::Place;
use super::socket::Socket;

/// What hyper's buffer is larger than a head, so that its own limit is never the one that ends it.
const ROOM: usize = 8 * 1024;

/// When connections end.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    /// No new requests; those that run may finish.
    pub(super) drain: CancellationToken,
    /// At once.
    pub(super) abort: CancellationToken,
}

/// Serves one client until it leaves or `stop` ends it.
pub(super) async fn serve(
    stream: Socket,
    gateway: Arc<Gateway>,
    entry: Arc<Entry>,
    (stop, place): (Stop, Place),
) {
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
    let (stream, timer) = patience::watch(
        stream,
        (Scanner::new(headers), place.seat()),
        timeouts.headers,
        timeouts.keep_alive,
    );
    let mut connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(timeouts.headers)
        .max_headers(MOST_FIELDS)
        .max_buf_size(headers + ROOM)
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
            () = place.asked_to_leave() => return,
            () = stop.abort.cancelled() => {
                end_abruptly(&connection.into_parts().io.into_inner().into_inner(), &http10);
                return;
            }
        }
    };
    let parts = connection.into_parts();
    let ending = end(parts.io.into_inner(), &parts.read_buf, result, &http10);
    tokio::select! {
        () = ending => {}
        () = stop.abort.cancelled() => {}
    }
}

/// Ends a connection that hyper is done with; `unread` is what it has read and not looked at.
async fn end(watched: Watched, unread: &[u8], result: hyper::Result<()>, http10: &AtomicBool) {
    let last_word = match (watched.unanswered(), &result) {
        (Some(violation), _) => Some(violation.error()),
        // Without a byte of a head it was an idle connection.
        (None, Err(error)) if error.is_timeout() => watched.is_in_head().then(|| {
            let message = "hermes-proxyd: the request's head came too slowly (`timeouts.headers`)";
            ProxyError::new(ErrorKind::RequestTimeout, message)
        }),
        (None, Ok(())) => None,
        (None, Err(error)) => {
            tracing::debug!(%error, "a client's connection ended");
            end_abruptly(&watched.into_inner(), http10);
            return;
        }
    };
    let goes_on = watched.is_unfinished() || !unread.is_empty();
    let to_head = watched.is_head_request();
    let mut stream = watched.into_inner();
    if let Some(error) = &last_word {
        parting::refuse(&mut stream, error, to_head).await;
    }
    if goes_on {
        parting::linger(&mut stream).await;
    }
}

/// An answer to HTTP/1.0 ends with its connection (RFC 9112 §6.3), so a connection that is cut
/// must not end in order.
fn end_abruptly(stream: &Socket, http10: &AtomicBool) {
    if http10.load(Ordering::Relaxed) {
        stream.set_zero_linger();
    }
}
