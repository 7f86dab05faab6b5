use hyper::body::Frame;
use hyper::header::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::proxy::admission::ConnectionSlots;
use crate::proxy::download::Aborted;
use crate::proxy::error::ErrorFormat;
use crate::proxy::record::RequestId;

/// A body that panics after its first piece.
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
    answer: impl Fn(Head, RequestBody) -> F + Send + Sync + 'static,
) -> (TcpStream, JoinHandle<()>)
where
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let task = tokio::spawn(serve_stream(Socket::Tcp(accepted.unwrap().0), answer));
    (client.unwrap(), task)
}

/// Serves one connection, and sees that its place is given back.
async fn serve_stream<F, B>(socket: Socket, answer: impl Fn(Head, RequestBody) -> F)
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    let stop = Stop {
        drain: CancellationToken::new(),
        abort: CancellationToken::new(),
    };
    let limits = ConnectionLimits {
        head: 64 * 1024,
        timeouts: Timeouts::default(),
    };
    let places = ConnectionSlots::new(1);
    let place = places.take().await;
    let reporter = RefusalReporter {
        ledger: Arc::default(),
        from: "127.0.0.1".into(),
        gateway: None,
    };
    let context = ConnectionContext::new(limits, stop, place, reporter);
    drive(socket, context, answer).await;
    places.take().now_or_never().expect("the place is free");
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
    fn size_of_serving<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }
    fn size_of_handling<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }
    let serving = size_of_serving(serve);
    assert!(serving <= 2560, "{serving}");
    let waiting = size_of_handling(handler::handle);
    assert!(waiting <= 4864, "{waiting}");
}

#[tokio::test]
async fn a_defect_before_the_answer_is_a_500_with_the_requests_id() {
    let id = RequestId::draw();
    let held = Arc::new(());
    let holds = held.clone();
    let answer = move |_, _| {
        let permit = holds.clone();
        let defect = async move { panic!("the bearer is xyz: {permit:?}") };
        handler::unharmed(id, ErrorFormat::OpenAi, defect)
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
    let answer = |_, _| async { Response::new(Defective::default()) };
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

/// Pieces of an answer, of unknown length.
#[derive(Default)]
struct Pieces(Vec<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let piece = (!self.0.is_empty()).then(|| self.0.remove(0));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// An answer of these pieces; their length in its head, if it is to have one.
fn pieces(status: u16, pieces: &[&str], length: Option<usize>) -> Response<Pieces> {
    let pieces = pieces
        .iter()
        .map(|piece| Bytes::copy_from_slice(piece.as_bytes()));
    let mut response = Response::new(Pieces(pieces.collect()));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    let date = HeaderValue::from_static("now");
    response.headers_mut().insert(hyper::header::DATE, date);
    if let Some(length) = length {
        let fields = response.headers_mut();
        fields.insert(hyper::header::CONTENT_LENGTH, length.into());
    }
    response
}

/// Asks twice at once and compares the answers; `|` ends a line. If the connection continues, both
/// are answered.
async fn framed(
    request: &str,
    (status, body, length): (u16, &'static [&'static str], Option<usize>),
    answer: &str,
) {
    let respond = move |_, _| std::future::ready(pieces(status, body, length));
    let (mut client, task) = serve_one(respond).await;
    let text = format!("{request}host: a||").replace('|', "\r\n");
    client.write_all(text.repeat(2).as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut read = String::new();
    client.read_to_string(&mut read).await.unwrap();
    let closes = answer.contains("connection: close");
    let expected = answer.replace('|', "\r\n");
    let expected = expected.repeat(if closes { 1 } else { 2 });
    assert_eq!(read, expected, "{request} {status}");
    task.await.unwrap();
}

#[tokio::test]
async fn an_answer_is_framed_as_its_request_and_its_status_want_it() {
    const GET: &str = "GET / HTTP/1.1|";
    const HEAD: &str = "HEAD / HTTP/1.1|";
    const OK: &str = "HTTP/1.1 200 OK|date: now|";
    const CHUNKED: &str = "HTTP/1.1 200 OK|date: now|transfer-encoding: chunked|";
    const LAST: &str = "HTTP/1.1 200 OK|date: now|connection: close|transfer-encoding: chunked|";
    let long = "x".repeat(3000);
    let long: &'static str = long.leak();
    let long: &'static [&'static str] = vec!["ab", long].leak();
    let chunks = format!("{CHUNKED}|2|ab|BB8|{}|0||", long[1]);
    framed(GET, (200, long, None), &chunks).await;
    let chunks = format!("{CHUNKED}|2|ab|1|c|0||");
    framed(GET, (200, &["ab", "c"], None), &chunks).await;
    let last = format!("{LAST}|2|ab|0||");
    let close = format!("{GET}Connection: close|");
    framed(&close, (200, &["ab"], None), &last).await;
    let sized = "HTTP/1.1 404 Not Found|date: now|content-length: 3||abc";
    framed(GET, (404, &["ab", "c"], Some(3)), sized).await;
    framed(GET, (200, &[], None), &format!("{OK}content-length: 0||")).await;
    framed(
        HEAD,
        (200, &["ab"], Some(2)),
        &format!("{OK}content-length: 2||"),
    )
    .await;
    framed(HEAD, (200, &["ab"], None), &format!("{OK}|")).await;
    framed(
        HEAD,
        (200, &[], Some(7)),
        &format!("{OK}content-length: 7||"),
    )
    .await;
    let none = "HTTP/1.1 204 No Content|date: now||";
    framed(GET, (204, &["ab"], None), none).await;
    let unchanged = "HTTP/1.1 304 Not Modified|date: now||";
    framed(GET, (304, &[], Some(2)), unchanged).await;
}

#[tokio::test]
async fn an_answer_to_http_1_0_has_a_length_or_ends_with_its_connection() {
    const OK: &str = "HTTP/1.0 200 OK|date: now|";
    let sized = |connection: &str| format!("{OK}content-length: 2|connection: {connection}||ab");
    let old = "GET / HTTP/1.0|";
    framed(old, (200, &["ab"], Some(2)), &sized("close")).await;
    let kept = "GET / HTTP/1.0|Connection: keep-alive|";
    framed(kept, (200, &["ab"], Some(2)), &sized("keep-alive")).await;
    let unsized_answer = format!("{OK}connection: close||abc");
    framed(kept, (200, &["ab", "c"], None), &unsized_answer).await;
}

#[tokio::test]
async fn an_answer_that_does_not_go_with_its_head_is_cut() {
    for (body, read) in [(&["abc"][..], "abc"), (&["abc", "defghijk"], "abc")] {
        let respond = move |_, _| std::future::ready(pieces(200, body, Some(10)));
        let (mut client, task) = serve_one(respond).await;
        let text = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(text.repeat(2).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // It may be a reset.
        client.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-length: 10"), "{answer}");
        assert_eq!(body, read);
        task.await.unwrap();
    }
}

/// The one who answers does not look at it.
#[tokio::test]
async fn a_body_that_is_not_read_does_not_become_a_request() {
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    let length = hidden.len();
    for (fields, body, goes_on) in [
        (format!("content-length: {length}"), hidden.to_owned(), true),
        (
            format!("content-length: {}", length + 100),
            hidden.to_owned(),
            false,
        ),
        (
            "transfer-encoding: chunked".to_owned(),
            format!("{length:x}\r\n{hidden}\r\n0\r\n\r\n"),
            true,
        ),
        (
            "transfer-encoding: chunked".to_owned(),
            format!("{length:x}\r\n{hidden}\r\n"),
            false,
        ),
        (
            format!("expect: 100-continue\r\ncontent-length: {length}"),
            String::new(),
            false,
        ),
    ] {
        let respond = |head: Head, _| {
            assert_eq!(head.uri, "/");
            std::future::ready(pieces(200, &[], None))
        };
        let (mut client, task) = serve_one(respond).await;
        let text = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}");
        client.write_all(text.as_bytes()).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let answers = answer.matches("HTTP/1.1 200 OK").count();
        assert_eq!(answers, if goes_on { 2 } else { 1 }, "{fields} {answer}");
        assert_eq!(answer.contains("connection: close"), !goes_on, "{answer}");
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_body_goes_to_another_task_and_its_client_is_told_to_send_it() {
    let respond = |_, body: RequestBody| async {
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        let reading = tokio::spawn(http_body_util::BodyExt::collect(body));
        let body = reading.await.unwrap().unwrap().to_bytes();
        let text = format!("{}", body.len());
        pieces(200, &[&text], None)
    };
    let (mut client, task) = serve_one(respond).await;
    let head =
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 100000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    client.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(&vec![b'x'; 100_000]).await.unwrap();
    let mut answer = [0; 1024];
    let size = client.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..size]);
    assert!(answer.ends_with("6\r\n100000\r\n0\r\n\r\n"), "{answer}");
    drop(client);
    task.await.unwrap();
}

/// What a client gets for these bytes from a server that answers all with these pieces.
async fn got<F: Future<Output = ()>>(bytes: &str, serve: impl FnOnce(TcpStream) -> F) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    let mut client = client.unwrap();
    client.write_all(bytes.as_bytes()).await.unwrap();
    let talking = async {
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        answers
    };
    tokio::join!(serve(accepted.unwrap().0), talking).1
}

/// hyper, which served clients before, is the measure: the same fields in the same order, letter by letter.
#[tokio::test]
async fn an_answer_is_written_as_hyper_writes_it() {
    const REQUESTS: [&str; 4] = [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab",
        "GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
    ];
    const LAST: &str = "GET / HTTP/1.1\r\nhost: a\r\nConnection: close\r\n\r\n";
    const BODIES: [(&[&str], Option<usize>); 5] = [
        (&[], None),
        (&[], Some(0)),
        (&["ab", "c"], None),
        (&["ab", "c"], Some(3)),
        (&["ab"], Some(2)),
    ];
    let respond = |(status, body, length): (u16, &[&str], Option<usize>)| {
        let mut response = pieces(status, body, length);
        let fields = response.headers_mut();
        let value = HeaderValue::from_static;
        fields.insert("x-hermes-request-id", value("1"));
        fields.append("set-cookie", value("a=b"));
        fields.append("set-cookie", value("c=d"));
        fields.insert("X-Kept", value("\"Two  Words\""));
        response
    };
    for request in REQUESTS {
        for status in [200, 201, 204, 299, 304, 404, 500] {
            for (body, length) in BODIES {
                let answer = (status, body, length);
                // hyper tells a length there, though RFC 9110 §8.6 has none with a 204.
                if matches!(status, 204 | 304) && (length.is_some() || !body.is_empty()) {
                    continue;
                }
                // hyper says keep-alive there, and ends the connection.
                if request.contains("HTTP/1.0") && length.is_none() && !body.is_empty() {
                    continue;
                }
                let bytes = [request, LAST].concat();
                let theirs = got(&bytes, |stream| async move {
                    let service = hyper::service::service_fn(|_| {
                        std::future::ready(Ok::<_, std::convert::Infallible>(respond(answer)))
                    });
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                        .await
                        .ok();
                });
                let theirs = theirs.await;
                let ours = got(&bytes, |stream| async move {
                    let service = |_, _| std::future::ready(respond(answer));
                    serve_stream(Socket::Tcp(stream), service).await;
                });
                assert_eq!(ours.await, theirs, "{request} {answer:?}");
            }
        }
    }
}
