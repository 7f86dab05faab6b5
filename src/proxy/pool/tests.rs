//! Connections that are idle between requests.

use std::io::Write;
use std::net::TcpListener;
use std::task::{Context, Waker};
use std::time::Duration;

use hyper::Method;

use super::*;
use crate::config::{BodyKind, UserAgent};
use crate::proxy::fields::Fields;
use crate::proxy::headers::{Onward, Passing};
use crate::proxy::upload::UploadBody;

/// A request causes a dial and is abandoned; the connection then waits for the next request. Bytes that the server
/// sends on it in the meantime, as proxies do without a request, are not an answer to that request.
#[tokio::test]
async fn what_comes_on_a_connection_that_its_request_left_is_no_answer_to_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let base_url = BaseUrl::new(&url.parse().unwrap()).unwrap();
    let tls = crate::provider::client_config(None).unwrap();
    let (limit, http) = (Duration::from_secs(5), HttpVersion::Auto);
    let connector = Connector::new(tls, limit, http, Arc::default());
    let pool = ConnectionPool::new(connector, http, None);
    let origin = pool.origin_of(&base_url).unwrap();
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
        base_url: &base_url,
        path: "/",
        query: None,
        fields: &fields,
    };
    let send = || Box::pin(origin.send(&ask, UploadBody::empty(), false));
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
