//! HTTP/1.1: a connection serves one request at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::{Cause, Failure, HEAD, MOST_INTERIM, Origin};
use crate::proxy::egress::{ConnectError, Link};
use crate::proxy::life::Life;
use crate::proxy::upload::UploadBody;

/// A connection that serves no request.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<UploadBody>,
    life: Arc<Life>,
}

/// The right to use a connection. Unused, it goes back.
#[derive(Debug)]
pub(super) struct Checkout {
    connection: Option<Connection>,
    origin: Weak<Origin>,
}

/// A connection that serves a request. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct InUse {
    connection: Connection,
    origin: Weak<Origin>,
}

/// Counts a request's interim answers.
#[derive(Debug, Default)]
struct Interim {
    seen: AtomicUsize,
    too_many: Notify,
}

impl Connection {
    pub(super) async fn start(link: Link, drivers: &TaskTracker) -> Result<Self, ConnectError> {
        let life = link.life().clone();
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD).max_header_size(HEAD);
        let failed = |error: hyper::Error| ConnectError::Tcp(error.into());
        let (mut sender, connection) = builder
            .handshake(TokioIo::new(link))
            .await
            .map_err(failed)?;
        // Ends with the last of sender and answer; why is told to the request.
        drivers.spawn(async move { connection.await.ok() });
        sender.ready().await.map_err(failed)?;
        Ok(Self { sender, life })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Itself, once it takes another request; `None` when it ended instead.
    pub(super) async fn ready(mut self) -> Option<Self> {
        self.sender.ready().await.ok()?;
        Some(self)
    }

    pub(super) fn check_out(self, origin: &Arc<Origin>) -> Checkout {
        Checkout {
            connection: Some(self),
            origin: Arc::downgrade(origin),
        }
    }
}

impl Checkout {
    /// Sends a request and waits for its answer's head.
    pub(super) async fn send(
        mut self,
        mut request: Request<UploadBody>,
    ) -> Result<Response<Answer>, Failure> {
        let Some(connection) = self.connection.take() else {
            return Err(Failure::none_sent(Cause::Gone));
        };
        let origin = std::mem::take(&mut self.origin);
        let mut used = InUse { connection, origin };
        to_wire_form(&mut request);
        let interim = Arc::new(Interim::default());
        let counted = interim.clone();
        hyper::ext::on_informational(&mut request, move |_| counted.count());
        let life = used.connection.life.clone();
        let (reused, written) = (life.is_reused(), life.written());
        life.asks();
        let answer = tokio::select! {
            biased;
            answer = used.connection.sender.try_send_request(request) => answer,
            () = interim.too_many.notified() => {
                return Err(Failure { cause: Cause::Interim, unsent: false, reused, unheard: false });
            }
        };
        match answer {
            Ok(_) if interim.seen.load(Ordering::Relaxed) > MOST_INTERIM => Err(Failure {
                cause: Cause::Interim,
                unsent: false,
                reused,
                unheard: false,
            }),
            Ok(answer) => {
                life.answered();
                Ok(answer.map(|body| Answer::http1(body, used)))
            }
            Err(error) => Err(Failure {
                unsent: error.message().is_some() || life.written() == written,
                reused,
                unheard: !life.was_heard(),
                cause: Cause::Http1(error.into_error()),
            }),
        }
    }
}

impl InUse {
    /// The whole answer has passed.
    pub(super) fn has_served(self) {
        give_back(self.connection, &self.origin);
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            give_back(connection, &self.origin);
        }
    }
}

fn give_back(connection: Connection, origin: &Weak<Origin>) {
    if !connection.is_closed()
        && let Some(origin) = origin.upgrade()
    {
        origin.give_back(connection);
    }
}

impl Interim {
    fn count(&self) {
        if self.seen.fetch_add(1, Ordering::Relaxed) == MOST_INTERIM {
            self.too_many.notify_one();
        }
    }
}

/// A path as the target, and the host in its field (RFC 9112 §3.2).
fn to_wire_form(request: &mut Request<UploadBody>) {
    let target = request.uri();
    let (https, port) = (target.scheme_str() == Some("https"), target.port_u16());
    let host = target.host().unwrap_or_default();
    let value = match port {
        Some(port) if port != if https { 443 } else { 80 } => {
            HeaderValue::try_from(format!("{host}:{port}"))
        }
        _ => HeaderValue::from_str(host),
    };
    let path = target.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    if let Ok(host) = value {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    *request.uri_mut() = Uri::from(path);
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::super::Pool;
    use super::*;
    use crate::proxy::egress::Connector;

    /// The runtime gets no turn between the end and the request, so only the system knows of the end.
    #[tokio::test]
    async fn no_byte_of_a_request_goes_out_behind_the_unseen_end_of_its_connection() {
        for behind in [&b""[..], b"HTTP/1.1 408 Request Timeout\r\n\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let target: Uri = format!("http://{}/", listener.local_addr().unwrap())
                .parse()
                .unwrap();
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
            let tls = crate::provider::client_config(None).unwrap();
            let pool = Pool::new(Connector::new(tls, Duration::from_secs(5)), None);
            let origin = pool.origin(&target);
            let request = || {
                let mut request = Request::new(UploadBody::empty());
                *request.method_mut() = hyper::Method::POST;
                *request.uri_mut() = target.clone();
                request
            };
            let answer = origin.send(request(), false).await.unwrap();
            assert_eq!(answer.status(), 200);
            drop(answer);
            ends.send(()).unwrap();
            has_ended.recv().unwrap();
            let failure = origin.send(request(), false).await.unwrap_err();
            assert!(failure.unsent && failure.reused, "{failure:?}");
            let answer = origin.send(request(), false).await.unwrap();
            assert_eq!(answer.status(), 200);
            server.join().unwrap();
        }
    }
}
