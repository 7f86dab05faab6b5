//! The last word on a connection: an error that no request's answer can carry, and an end after
//! which the client still gets it.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::{ErrorFormat, ProxyError, REQUEST_ID};
use super::headers;
use super::ledger::Ledger;
use super::record::{End, Refusal, Underway};
use super::socket::Socket;

/// How long the client may take to read the error.
const WRITE: Duration = Duration::from_secs(1);
/// How long the client may go on sending, and how much.
const LINGER: Duration = Duration::from_secs(5);
const DISCARD: usize = 256 * 1024 * 1024;
/// Read at once of what nobody needs.
const PIECE: usize = 16 * 1024;

/// Where what is refused on one connection is entered.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    pub(super) ledger: Arc<Ledger>,
    /// The client's address.
    pub(super) from: Arc<str>,
}

/// Tells the client what is wrong with a request that was never whole, and closes. To a HEAD the
/// error has no body. `origin` is the listed web page that may read it.
pub(super) async fn refuse(
    stream: &mut Socket,
    (error, teller): (&ProxyError, &Teller),
    to_head: bool,
    origin: Option<&HeaderValue>,
) {
    let mut underway = Underway::unread(&teller.ledger);
    underway.refused(Refusal {
        kind: error.kind,
        from: (&*teller.from).into(),
        about: error.about.as_deref().map(Into::into),
        matters: false,
    });
    let (mut head, body) = error.response(ErrorFormat::OpenAi).into_parts();
    if let Some(origin) = origin {
        headers::allow_origin(&mut head.headers, origin);
    }
    underway.answered(head.status);
    let mut text = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let id = underway.id().digits();
    text.extend([REQUEST_ID.as_str().as_bytes(), b": ", &id[..], b"\r\n"].concat());
    let length = format!("content-length: {}\r\n", body.len());
    text.extend([length.as_bytes(), b"connection: close\r\n\r\n"].concat());
    if !to_head {
        text.extend(&body);
    }
    let write = async {
        stream.write_all(&text).await?;
        stream.shutdown().await
    };
    if let Ok(Ok(())) = tokio::time::timeout(WRITE, write).await {
        underway.sent(body.len(), tokio::time::Instant::now());
        underway.ended(End::Refused(error.kind.code()));
    }
    drop(underway);
    tracing::debug!(
        reason = error.message,
        "a request was refused before it was read"
    );
}

/// Reads and throws away what the client is still sending, for a time. Closing at once would reset
/// the connection, and take our answer with it.
pub(super) async fn linger(stream: &mut Socket) {
    // hyper leaves it open where another protocol was asked for.
    if stream.shutdown().await.is_err() {
        return;
    }
    let read = async {
        let mut piece = vec![0; PIECE];
        let mut left = DISCARD;
        while left > 0 {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    tokio::time::timeout(LINGER, read).await.ok();
}
