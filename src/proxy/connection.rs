//! One client's connection: its requests one after the other, its limits, and how it ends.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::download::Aborted;
use super::error::{ErrorKind, ProxyError};
use super::framing::{MOST_FIELDS, Scanner};
use super::gateway::Gateway;
use super::guard;
use super::handler::{self, Entry};
use super::parting;
use super::parting::Teller;
use super::patience::{self, Watched};
use super::places::{Place, Reason};
use super::presence::{Presence, Present};
use super::socket::Socket;
use crate::config::Timeouts;

/// What hyper's buffer is larger than a head, so that its own limit is never the one that ends it.
const ROOM: usize = 8 * 1024;
/// Bytes that wait in the kernel for a client that does not read. It also makes a slow reader one
/// that takes something now and then: the kernel says that there is room again when a third of it
/// is free.
const SEND_BUFFER: usize = 256 * 1024;
/// After a shutdown's grace, and where a newcomer needs the place, answers have this long for their last word.
const LAST_WORD: Duration = Duration::from_millis(500);
/// At a shutdown, a connection that was accepted has this long for its first request to come: where
/// another process goes on at the same socket, no connection is to be lost in between.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Which web pages may read answers; none where it has no gateway.
type Listed<'a> = Option<&'a Gateway>;

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
    let rules = gateway.rules();
    let (headers, timeouts) = (rules.limits.headers, rules.timeouts);
    drop(rules);
    let teller = Teller {
        ledger: gateway.ledger().clone(),
        from: entry.from.clone(),
    };
    let presence = Presence::new(stop.abort.clone(), place.seat());
    let theirs = presence.clone();
    let listed = gateway.clone();
    let answer = move |request| {
        let (gateway, entry) = (gateway.clone(), entry.clone());
        presence.answering(handler::handle(gateway, entry, presence.clone(), request))
    };
    let ends = (stop, theirs, place);
    drive(
        stream,
        (headers, timeouts),
        (ends, teller),
        answer,
        Some(&listed),
    )
    .await;
}

/// The same with whatever answers the requests.
async fn drive<F, B>(
    stream: Socket,
    (headers, timeouts): (usize, Timeouts),
    ((stop, presence, place), teller): ((Stop, Presence, Place), Teller),
    answer: impl Fn(Request<Incoming>) -> F,
    listed: Listed<'_>,
) where
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = Aborted> + 'static,
{
    stream.set_nodelay();
    stream.set_send_buffer(SEND_BUFFER);
    let http10 = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        if request.version() == Version::HTTP_10 {
            http10.store(true, Ordering::Relaxed);
        }
        answer(request).map(Ok::<_, Infallible>)
    });
    let (stream, timer) = patience::watch(
        stream,
        (Scanner::new(headers), place.seat()),
        timeouts.headers,
        timeouts.keep_alive,
    );
    let begun = timer.clone();
    let stream = Present::watch(stream, presence.clone(), timeouts.idle);
    let mut connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(timeouts.headers)
        .max_headers(MOST_FIELDS)
        .max_buf_size(headers + ROOM)
        .serve_connection(TokioIo::new(stream), service);
    let mut draining = pin!(async {
        stop.drain.cancelled().await;
        begun.first_request(FIRST_REQUEST).await;
    });
    let (mut drained, mut cut_at) = (false, None);
    let result = loop {
        tokio::select! {
            result = AssertUnwindSafe(&mut connection).catch_unwind() => break result,
            () = &mut draining, if !drained => {
                drained = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            reason = place.asked_to_leave(), if cut_at.is_none() => {
                if reason == Reason::Idle {
                    return;
                }
                presence.make_way();
                cut_at = Some(Instant::now() + LAST_WORD);
            }
            // The answers see it when they are polled next, which is at once.
            () = stop.abort.cancelled(), if cut_at.is_none() => {
                cut_at = Some(Instant::now() + LAST_WORD);
            }
            () = sleep_until(cut_at.unwrap_or_else(Instant::now)), if cut_at.is_some() => {
                let stream = connection.into_parts().io.into_inner().into_inner().into_inner();
                end_abruptly(&stream, &http10);
                return;
            }
        }
    };
    let parts = connection.into_parts();
    let watched = parts.io.into_inner().into_inner();
    if presence.has_stalled() && presence.is_refusing() {
        tracing::debug!("a client did not read a refusal; its connection is closed");
    } else if presence.has_stalled() {
        tracing::info!(
            idle_seconds = timeouts.idle.as_secs(),
            "a client read nothing of its answer for `timeouts.idle`; its connection is closed"
        );
    }
    let ends = (&stop, &presence, &place, &teller);
    // Boxed, so that a connection keeps no room for its end.
    let seen = (&http10, listed);
    Box::pin(part(watched, &parts.read_buf, result, seen, ends)).await;
}

/// Lets a connection go that hyper is done with, or that a defect has ended; `unread` is what was
/// read of it and not looked at.
async fn part(
    watched: Watched,
    unread: &[u8],
    result: std::thread::Result<hyper::Result<()>>,
    (http10, listed): (&AtomicBool, Listed<'_>),
    (stop, presence, place, teller): (&Stop, &Presence, &Place, &Teller),
) {
    let Ok(result) = result else {
        // The log has it already; the answer must not look complete.
        watched.into_inner().set_zero_linger();
        return;
    };
    if presence.has_stalled() {
        watched.into_inner().set_zero_linger();
        return;
    }
    if presence.is_making_way() {
        if result.is_err() {
            end_abruptly(&watched.into_inner(), http10);
        }
        return;
    }
    let ending = end((watched, unread), result, (http10, listed), teller);
    // From now on only for the client's sake, so a newcomer goes first.
    place.seat().waits();
    tokio::select! {
        () = ending => {}
        _ = place.asked_to_leave() => {}
        () = stop.abort.cancelled() => {}
    }
}

/// Ends a connection that hyper is done with; `unread` is what it has read and not looked at.
async fn end(
    (watched, unread): (Watched, &[u8]),
    result: hyper::Result<()>,
    (http10, listed): (&AtomicBool, Listed<'_>),
    teller: &Teller,
) {
    let last_word = match (watched.unanswered(), &result) {
        (Some(violation), _) => Some(violation.error()),
        // Without a byte of a head it was an idle connection.
        (None, Err(error)) if error.is_timeout() => watched.is_in_head().then(|| {
            let message = "hermes-proxyd: the request's head arrived too slowly \
                           (`timeouts.headers`)";
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
    let origin = watched.origin().filter(|origin| {
        listed.is_some_and(|gateway| guard::is_listed(origin, &gateway.rules().guard))
    });
    let origin = origin.and_then(|origin| HeaderValue::from_bytes(origin).ok());
    let mut stream = watched.into_inner();
    if let Some(error) = &last_word {
        parting::refuse(&mut stream, (error, teller), to_head, origin.as_ref()).await;
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::proxy::error::ErrorFormat;
    use crate::proxy::places::Places;
    use crate::proxy::record::RequestId;

    /// A body that has a defect behind its first piece.
    #[derive(Default)]
    struct Defective(bool);

    impl Body for Defective {
        type Data = Bytes;
        type Error = Aborted;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
            assert!(!std::mem::replace(&mut self.0, true), "the bearer is xyz");
            Poll::Ready(Some(Ok(Frame::data("data: 1\n\n".into()))))
        }
    }

    /// A client's connection, and the task that serves it and gives its place back.
    async fn serve_one<F, B>(
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> (TcpStream, JoinHandle<()>)
    where
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes, Error = Aborted> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let stop = Stop {
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        let limits = (64 * 1024, Timeouts::default());
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        let task = tokio::spawn(async move {
            let stream = Socket::Tcp(accepted.unwrap().0);
            let places = Places::new(1);
            let place = places.take().await;
            let presence = Presence::new(stop.abort.clone(), place.seat());
            let teller = Teller {
                ledger: Arc::default(),
                from: "127.0.0.1".into(),
            };
            let ends = ((stop, presence, place), teller);
            drive(stream, limits, ends, answer, None).await;
            places.take().now_or_never().expect("the place is free");
        });
        (client.unwrap(), task)
    }

    async fn ask(stream: &mut TcpStream, version: &str) -> (String, bool) {
        let request = format!("GET / HTTP/{version}\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).await.is_ok();
        (String::from_utf8(answer).unwrap(), ended)
    }

    /// A thousand streams are a thousand of these; the one that waits for a head leaves a hole in
    /// the heap, which is as large as it is.
    #[test]
    fn what_a_stream_keeps_is_small() {
        fn size<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(serve) <= 2560, "{}", size(serve));
        let waiting = size(handler::handle);
        assert!(waiting <= 4864, "{waiting}");
    }

    #[tokio::test]
    async fn a_defect_before_the_answer_is_a_500_with_the_requests_id() {
        let id = RequestId::draw();
        let held = Arc::new(());
        let holds = held.clone();
        let answer = move |_| {
            let permit = holds.clone();
            let defect = async move { panic!("the bearer is xyz: {permit:?}") };
            handler::unharmed((id, ErrorFormat::OpenAi), defect)
        };
        let (mut client, task) = serve_one(answer).await;
        let (answer, _) = ask(&mut client, "1.1").await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(
            answer.contains("x-hermes-error: internal_error\r\n"),
            "{answer}"
        );
        assert!(
            answer.contains(&format!("x-hermes-request-id: {id}\r\n")),
            "{answer}"
        );
        assert!(answer.contains("\"code\":\"internal_error\""), "{answer}");
        assert!(answer.contains(&format!("Request {id}")), "{answer}");
        assert!(!answer.contains("xyz"), "{answer}");
        task.await.unwrap();
        assert_eq!(Arc::strong_count(&held), 1, "what it held is given back");
    }

    #[tokio::test]
    async fn a_defect_in_the_middle_of_an_answer_cuts_it_and_ends_only_its_connection() {
        let answer = |_| async { Response::new(Defective::default()) };
        let (mut client, task) = serve_one(answer).await;
        let (text, _) = ask(&mut client, "1.1").await;
        assert!(!text.contains("\r\n0\r\n"), "it looks whole: {text}");
        task.await
            .expect("the task ends in order, with what it counted");
        let (mut client, task) = serve_one(answer).await;
        let (text, ended) = ask(&mut client, "1.0").await;
        assert!(!ended, "it looks whole: {text}");
        task.await.unwrap();
    }
}
