//! Connections that are idle between requests.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::task::{Context, Waker};
use std::time::Duration;

use hyper::{Method, Response};

use super::*;
use crate::config::{BodyKind, UserAgent};
use crate::proxy::fields::Fields;
use crate::proxy::headers::{Onward, Passing};
use crate::proxy::upload::UploadBody;

/// A pool, and its origin for this listener.
#[expect(clippy::unwrap_used, reason = "a test may fail loudly")]
fn origin_at(listener: &TcpListener) -> (ConnectionPool, BaseUrl, Arc<UpstreamOrigin>) {
    let url = format!("http://{}", listener.local_addr().unwrap());
    let base_url = BaseUrl::new(&url.parse().unwrap()).unwrap();
    let tls = crate::provider::client_config(None).unwrap();
    let (limit, http) = (Duration::from_secs(5), HttpVersion::Auto);
    let connector = Connector::new(tls, limit, http, Arc::default());
    let pool = ConnectionPool::new(connector, http, None);
    let origin = pool.origin_of(&base_url).unwrap();
    (pool, base_url, origin)
}

/// A POST without a body.
async fn post(
    origin: &Arc<UpstreamOrigin>,
    base_url: &BaseUrl,
) -> Result<Response<UpstreamBody>, UpstreamFailure> {
    let client = Fields::default();
    let fields = Onward {
        client: &client,
        passing: Passing {
            extra: &[],
            prefix: None,
            agent: UserAgent::Client,
            body: BodyKind::Json,
        },
        is_plain: false,
        mark: None,
        credential: None,
    };
    let ask = Ask {
        method: &Method::POST,
        base_url,
        path: "/",
        query: None,
        fields: &fields,
    };
    origin.send(&ask, UploadBody::empty(), false).await
}

/// The runtime gets no turn between the end and the request, so only the system knows of the end.
#[tokio::test]
async fn no_byte_of_a_request_goes_out_behind_the_unseen_end_of_its_connection() {
    for behind in [&b""[..], b"HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (_pool, base_url, origin) = origin_at(&listener);
        let (ends, is_to_end) = channel();
        let (ended, has_ended) = channel();
        let server = std::thread::spawn(move || {
            for is_last in [false, true] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).unwrap();
                if !is_last {
                    is_to_end.recv().unwrap();
                    stream.write_all(behind).unwrap();
                    drop(stream);
                    ended.send(()).unwrap();
                }
            }
        });
        let send = || post(&origin, &base_url);
        let answer = send().await.unwrap();
        assert_eq!(answer.status(), 200);
        drop(answer);
        ends.send(()).unwrap();
        has_ended.recv().unwrap();
        let failure = send().await.unwrap_err();
        assert!(failure.unsent && failure.reused, "{failure:?}");
        let answer = send().await.unwrap();
        assert_eq!(answer.status(), 200);
        server.join().unwrap();
    }
}

/// A request causes a dial and is abandoned; the connection then waits for the next request. Bytes that the server
/// sends on it in the meantime, as proxies do without a request, are not an answer to that request.
#[tokio::test]
async fn what_comes_on_a_connection_that_its_request_left_is_no_answer_to_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_pool, base_url, origin) = origin_at(&listener);
    let send = || Box::pin(post(&origin, &base_url));
    let mut given_up = send();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(given_up.as_mut().poll(&mut cx).is_pending());
    drop(given_up);
    while origin.state().idle.is_empty() {
        tokio::task::yield_now().await;
    }
    let (mut stream, _) = listener.accept().unwrap();
    stream
        .write_all(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    drop(stream);
    let failure = send().await.unwrap_err();
    assert!(failure.unsent && failure.reused, "{failure:?}");
}
