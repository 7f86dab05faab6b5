//! Sends a request: its head from one buffer, and its body as it comes.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::Body;
use hyper::header::CONTENT_LENGTH;
use tokio::io::AsyncWrite;

use super::super::ask::Ask;
use crate::provider::BaseUrl;
use crate::proxy::connector::Transport;
use crate::proxy::fields::{Fields, text};
use crate::proxy::outgoing::{Framing, Outgoing, write_field, write_length};
use crate::proxy::upload::UploadBody;

/// The part of a request that is still to be written.
#[derive(Debug)]
pub(super) struct Sending {
    outgoing: Outgoing,
    /// `None` once it has ended.
    body: Option<UploadBody>,
    is_over: bool,
}

/// Why a request could not be sent completely.
#[derive(Debug)]
pub(super) enum SendEnd {
    /// Reading the client's body failed.
    Upload,
    Io(io::Error),
}

impl Sending {
    pub(super) fn new(ask: &Ask<'_>, body: UploadBody) -> Self {
        let body = (!body.is_end_stream()).then_some(body);
        let framing = framing(ask.fields.client, body.as_ref());
        let mut outgoing = Outgoing::new();
        let text = outgoing.begin(framing.unwrap_or(Framing::Length(0)));
        write_head(text, ask, framing);
        Self {
            outgoing,
            body,
            is_over: false,
        }
    }

    /// Whether everything has been sent.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Sends as much as client and provider allow.
    pub(super) fn poll(
        &mut self,
        stream: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendEnd>> {
        while !self.is_over {
            let waits = self.gather(cx).map_err(|()| SendEnd::Upload)?;
            let writing = self.outgoing.poll_write(|parts| {
                let stream = Pin::new(&mut *stream);
                match parts {
                    [part] => stream.poll_write(cx, part),
                    parts => stream.poll_write_vectored(cx, parts),
                }
            });
            ready!(writing).map_err(SendEnd::Io)?;
            let is_last = self.body.is_none();
            if is_last || waits {
                // TLS may hold data that it could not write at once.
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(SendEnd::Io)?;
            }
            self.is_over = is_last;
            if waits {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Buffers the available part of the body; returns whether more is to come but not available yet. `Err`: reading
    /// failed, or the body contradicts its head.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, ()> {
        while self.outgoing.has_room()
            && let Some(body) = &mut self.body
        {
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(frame) => frame,
            };
            let is_last = match frame {
                None => true,
                Some(Err(_)) => return Err(()),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.outgoing.put(data).map_err(drop)?;
                    }
                    body.is_end_stream()
                }
            };
            if is_last {
                self.outgoing.end().map_err(drop)?;
                self.body = None;
            }
        }
        Ok(false)
    }
}

/// How a body is framed; `None` without one.
fn framing(client: &Fields, body: Option<&UploadBody>) -> Option<Framing> {
    let body = body?;
    let told = length(client).or_else(|| body.size_hint().exact());
    Some(match told {
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    })
}

/// The length that the fields declare, if unambiguous.
fn length(fields: &Fields) -> Option<u64> {
    let mut lengths = fields.all(&CONTENT_LENGTH);
    let parse = |value| text(value)?.parse::<u64>().ok();
    let first = parse(lengths.next()?)?;
    lengths
        .all(|other| parse(other) == Some(first))
        .then_some(first)
}

/// The path as the target, and the host in its field (RFC 9112 §3.2). `Expect: 100-continue` is never sent: we wait for
/// the answer itself.
fn write_head(text: &mut Vec<u8>, ask: &Ask<'_>, framing: Option<Framing>) {
    text.extend_from_slice(ask.method.as_str().as_bytes());
    text.push(b' ');
    ask.base_url.write_target(text, ask.path, ask.query);
    text.extend_from_slice(b" HTTP/1.1\r\n");
    write_host(text, ask.base_url);
    ask.fields.each(&mut |name, value| {
        let is_ours = match name {
            b"content-length" => framing.is_some(),
            b"transfer-encoding" | b"connection" | b"expect" | b"host" => true,
            _ => false,
        };
        if !is_ours {
            write_field(text, name, value);
        }
    });
    match framing {
        Some(Framing::Length(length)) => write_length(text, length),
        Some(Framing::Chunked) => text.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Some(Framing::Close) | None => {}
    }
    text.extend_from_slice(b"\r\n");
}

fn write_host(text: &mut Vec<u8>, base_url: &BaseUrl) {
    let default = if base_url.is_https() { 443 } else { 80 };
    let authority = base_url.authority();
    text.extend_from_slice(b"host: ");
    text.extend_from_slice(authority.host().as_bytes());
    if let Some(port) = authority.port_u16().filter(|port| *port != default) {
        write!(text, ":{port}").ok();
    }
    text.extend_from_slice(b"\r\n");
}
