//! The port's own loop and hyper's server are given the same bytes. Each request that the loop hands on is the same to
//! hyper, with the same body, and is answered with the same statuses. Where the loop refuses nothing, neither does hyper,
//! and neither has a request more than the other. What the reader says of the same bytes is what the loop does.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use hermes_proxy::proxy::serve_alone;
use http_body_util::{BodyExt, Empty};
use hyper::body::Body;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::framing;

const LIMIT: usize = 8 * 1024;

/// A request as a server saw it.
#[derive(Debug)]
struct Seen {
    head: Parts,
    /// `None` when the body was not whole.
    body: Option<Bytes>,
}

type Log = Rc<RefCell<Vec<Seen>>>;

/// One input.
pub fn run(bytes: &[u8]) {
    let read = framing::read(bytes, || usize::MAX);
    let (ours, answers) = talk(bytes, async |stream, log| {
        serve_alone(stream, LIMIT, |head, body| {
            let mut request = Request::new(body);
            *request.method_mut() = head.method;
            *request.uri_mut() = head.uri;
            *request.version_mut() = head.version;
            *request.headers_mut() = framing::map(&head.headers);
            see(log.clone(), request)
        })
        .await;
    });
    let (theirs, their_answers) = talk(bytes, async |stream, log| {
        let service = service_fn(|request| {
            let answer = see(log.clone(), request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        hyper::server::conn::http1::Builder::new()
            .max_headers(100)
            .max_buf_size(LIMIT + 8 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await
            .ok();
    });
    // The reader alone goes on behind a request that ends its connection.
    let closed = read.requests.iter().position(|whole| !whole.persists);
    let expected = closed.map_or(read.requests.len(), |at| at + 1);
    assert_eq!(ours.len(), expected, "{ours:?}");
    for (whole, seen) in read.requests.iter().zip(&ours) {
        assert_eq!(whole.head.uri, seen.head.uri);
        let body = whole.is_whole.then_some(&whole.body[..]);
        assert_eq!(body, seen.body.as_deref());
    }
    assert!(theirs.len() >= ours.len(), "{theirs:?} {ours:?}");
    // Who answers does not care whether a body was in order. Behind the last answer the reader is alone.
    let is_last = closed.is_none_or(|at| at + 1 == read.requests.len());
    let is_refused = statuses(&answers).iter().any(|status| *status >= 400)
        || (is_last && read.violation.is_some());
    assert!(
        is_refused || theirs.len() == ours.len(),
        "{theirs:?} {ours:?}"
    );
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours.head.method, theirs.head.method);
        assert_eq!(ours.head.uri, theirs.head.uri);
        assert_eq!(ours.head.version, theirs.head.version);
        assert_eq!(ours.head.headers, theirs.head.headers);
        // It may take a body that is refused here.
        assert!(
            ours.body.is_none() || ours.body == theirs.body,
            "{ours:?} {theirs:?}"
        );
    }
    // Of a head that is not whole, hyper may refuse the beginning of a line.
    if !is_refused && !read.in_head {
        assert_eq!(statuses(&answers), statuses(&their_answers));
    }
}

/// The statuses of some answers without bodies. Whether a client is told to go on that has sent its body already is up to
/// the server (RFC 9110 §10.1.1).
fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = std::str::from_utf8(answers).expect("heads, and JSON");
    let lines = text.split("\r\n");
    let lines = lines.filter_map(|line| line.strip_prefix("HTTP/1."));
    lines
        .map(|line| {
            line.get(2..5)
                .and_then(|code| code.parse().ok())
                .expect("a status")
        })
        .filter(|status| *status != 100)
        .collect()
}

/// Reads a request and answers it.
async fn see<B: Body>(log: Log, request: Request<B>) -> Response<Empty<Bytes>> {
    let (head, body) = request.into_parts();
    let at = log.borrow().len();
    log.borrow_mut().push(Seen { head, body: None });
    if let Ok(body) = body.collect().await {
        log.borrow_mut()[at].body = Some(body.to_bytes());
    }
    Response::new(Empty::new())
}

/// What a server saw of the bytes, and what it answered.
fn talk(bytes: &[u8], serve: impl AsyncFnOnce(UnixStream, &Log)) -> (Vec<Seen>, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let log = Log::default();
    let answers = runtime.block_on(async {
        let (mut ours, theirs) = UnixStream::pair().expect("sockets");
        // It may close before it has taken all.
        ours.write_all(bytes).await.ok();
        let serving = serve(theirs, &log);
        let talking = async {
            // All that can be served is served before the end is seen.
            for _ in 0..300 {
                tokio::task::yield_now().await;
            }
            ours.shutdown().await.ok();
            let mut answers = Vec::new();
            ours.read_to_end(&mut answers).await.ok();
            answers
        };
        tokio::join!(serving, talking).1
    });
    (log.take(), answers)
}
