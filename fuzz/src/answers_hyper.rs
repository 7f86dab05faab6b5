//! The reader of providers' answers and hyper's client, which read them before, are given the same bytes. An answer that
//! the reader takes is the same to hyper: interim answers, status, fields and body; and what is whole to the one is whole
//! to the other. The reader may refuse what hyper takes, never the other way round. What it makes of an answer does not
//! depend on how the bytes are cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hermes_proxy::proxy::framing::{AnswerReader, BodyPiece, Violation};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::http::response::Parts;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LIMIT: usize = 8 * 1024;

/// What a reader makes of the bytes.
#[derive(Debug, Default)]
struct Read {
    interim: usize,
    head: Option<Parts>,
    body: Vec<u8>,
    is_whole: bool,
    violation: Option<Violation>,
}

/// One input: the answer to HEAD where it begins with `?`, which is not a part of it, else to GET.
pub fn run(bytes: &[u8]) {
    let (bytes, to_head) = match bytes.strip_prefix(b"?") {
        Some(rest) => (rest, true),
        None => (bytes, false),
    };
    let ours = read(bytes, to_head, || usize::MAX);
    let same = |other: Read| assert_eq!(format!("{other:?}"), format!("{ours:?}"));
    same(read(bytes, to_head, || 1));
    let mut state = bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    same(read(bytes, to_head, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as usize >> (state >> 22 & 3)
    }));
    let theirs = ask_hyper(bytes, to_head);
    let (Some(our_head), their_head) = (&ours.head, &theirs.head) else {
        assert!(
            ours.violation.is_some() || theirs.head.is_none(),
            "{ours:?} {theirs:?}"
        );
        return;
    };
    let their_head = their_head.as_ref().expect("what we take, hyper takes");
    assert_eq!(ours.interim, theirs.interim);
    assert_eq!(our_head.status, their_head.status);
    assert_eq!(our_head.version, their_head.version);
    assert_eq!(our_head.headers, their_head.headers);
    if ours.violation.is_some() {
        let common = ours.body.len().min(theirs.body.len());
        assert_eq!(ours.body[..common], theirs.body[..common]);
    } else {
        assert_eq!(ours.is_whole, theirs.is_whole, "{ours:?} {theirs:?}");
        assert_eq!(ours.body, theirs.body);
    }
}

/// Reads all of it, in pieces of these sizes, and then the connection's end.
fn read(bytes: &[u8], to_head: bool, mut cut: impl FnMut() -> usize) -> Read {
    let mut reader = AnswerReader::new(LIMIT, to_head);
    let mut rest = bytes;
    let mut read = Read::default();
    while !rest.is_empty() && !reader.is_over() {
        let (piece, later) = rest.split_at(cut().clamp(1, rest.len()));
        reader.room().extend_from_slice(piece);
        read.violation = step(&mut reader, &mut read).err();
        if read.violation.is_some() {
            return read;
        }
        rest = later;
    }
    read.is_whole = reader.is_over() || reader.ends();
    read
}

fn step(reader: &mut AnswerReader, read: &mut Read) -> Result<(), Violation> {
    while read.head.is_none() {
        let Some(head) = reader.head()? else {
            return Ok(());
        };
        if head.is_interim() {
            read.interim += 1;
        } else {
            read.head = Some(head.response.into_parts().0);
        }
    }
    while let BodyPiece::Data(data) = reader.body()? {
        read.body.extend_from_slice(&data);
    }
    Ok(())
}

/// What hyper's client makes of the same bytes.
fn ask_hyper(bytes: &[u8], to_head: bool) -> Read {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(200)
            .max_buf_size(16 * LIMIT)
            .handshake(TokioIo::new(ours))
            .await
            .expect("nothing was sent yet");
        let answering = async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                theirs.read_buf(&mut request).await.expect("a request");
            }
            theirs.write_all(bytes).await.ok();
            theirs.shutdown().await.ok();
        };
        let asking = async {
            let count = Arc::new(AtomicUsize::new(0));
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.method_mut() = if to_head { Method::HEAD } else { Method::GET };
            let counted = count.clone();
            hyper::ext::on_informational(&mut request, move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            let mut read = Read::default();
            let Ok(answer) = sender.send_request(request).await else {
                return read;
            };
            read.interim = count.load(Ordering::Relaxed);
            let (head, mut body) = answer.into_parts();
            read.head = Some(head);
            loop {
                match body.frame().await {
                    None => break,
                    Some(Err(_)) => return read,
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            read.body.extend_from_slice(&data);
                        }
                    }
                }
            }
            read.is_whole = true;
            read
        };
        let driving = async { connection.await.ok() };
        tokio::join!(answering, driving, asking).2
    })
}
