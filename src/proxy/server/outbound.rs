//! What a client gets: an answer's head and body in HTTP's framing (RFC 9112 §6 and §7).

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::SizeHint;
use hyper::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use hyper::http::response::Parts;
use hyper::{HeaderMap, StatusCode};

use super::super::outgoing::{Framing, Mismatch, Outgoing, write_field, write_length};
use super::super::socket::WriteHalf;
use super::date;
use super::inbound::ResponseForm;

/// What is still to be written of an answer.
#[derive(Debug)]
pub(super) struct Outbound<'c> {
    socket: &'c WriteHalf,
    outgoing: Outgoing,
}

/// What an answer's head has said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    /// No body follows, whatever there is.
    pub(super) is_bodiless: bool,
    /// Another answer may follow.
    pub(super) persists: bool,
}

impl<'c> Outbound<'c> {
    pub(super) fn new(socket: &'c WriteHalf) -> Self {
        Self {
            socket,
            outgoing: Outgoing::new(),
        }
    }

    /// Has the client send the body that it waits with.
    pub(super) fn proceed(&mut self) {
        let text = self.outgoing.text();
        text.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Writes an answer's head; `length` is that of its body, as far as it is known, and `None` where there is
    /// none.
    pub(super) fn begin(
        &mut self,
        head: &Parts,
        asked: ResponseForm,
        length: Option<&SizeHint>,
    ) -> Announced {
        let status = head.status;
        let never_has_body = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_bodiless = asked.to_head || never_has_body;
        let announced = head.headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let size = match length {
            None if asked.to_head => announced,
            None => Some(0),
            Some(length) => announced.or(length.exact()),
        };
        let framing = match size {
            _ if is_bodiless => Framing::Length(0),
            Some(size) => Framing::Length(size),
            None if asked.http10 => Framing::Close,
            None => Framing::Chunked,
        };
        let persists = asked.persists && framing != Framing::Close;
        let is_chunked = framing == Framing::Chunked;
        let text = self.outgoing.begin(framing);
        write_status(text, status, asked.http10);
        let size = size.filter(|_| !never_has_body);
        let kept = size.filter(|_| length.is_some() || asked.to_head);
        let (is_sized, is_dated) = write_fields(text, &head.headers, kept);
        if !persists {
            text.extend_from_slice(b"connection: close\r\n");
        } else if asked.http10 {
            text.extend_from_slice(b"connection: keep-alive\r\n");
        }
        if let Some(size) = size.filter(|_| !is_sized) {
            write_length(text, size);
        } else if is_chunked {
            text.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if !is_dated {
            text.extend_from_slice(b"date: ");
            date::write(text);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        Announced {
            is_bodiless,
            persists,
        }
    }

    /// As [`Outgoing::has_room`].
    pub(super) fn has_room(&self) -> bool {
        self.outgoing.has_room()
    }

    /// As [`Outgoing::put`].
    pub(super) fn put(&mut self, piece: Bytes) -> Result<(), Mismatch> {
        self.outgoing.put(piece)
    }

    /// As [`Outgoing::end`].
    pub(super) fn end(&mut self) -> Result<(), Mismatch> {
        self.outgoing.end()
    }

    /// Whether the client took anything since it was asked last.
    pub(super) fn has_moved(&mut self) -> bool {
        self.outgoing.has_moved()
    }

    /// Writes all available bytes.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.socket;
        self.outgoing
            .poll_write(|parts| socket.poll_write(cx, parts))
    }
}

fn write_status(text: &mut Vec<u8>, status: StatusCode, http10: bool) {
    if status == StatusCode::OK && !http10 {
        text.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let version: &[u8] = if http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    text.extend_from_slice(version);
    text.extend_from_slice(status.as_str().as_bytes());
    text.push(b' ');
    let reason = status.canonical_reason().unwrap_or("<none>");
    text.extend_from_slice(reason.as_bytes());
    text.extend_from_slice(b"\r\n");
}

/// All but those that say how the answer is framed; of these only the length, which keeps its place. Whether that was
/// there, and the date.
fn write_fields(text: &mut Vec<u8>, fields: &HeaderMap, size: Option<u64>) -> (bool, bool) {
    let (mut is_sized, mut is_dated) = (false, false);
    for (name, value) in fields {
        if name == CONTENT_LENGTH {
            if let Some(size) = size.filter(|_| !is_sized) {
                write_length(text, size);
                is_sized = true;
            }
            continue;
        }
        if name == TRANSFER_ENCODING || name == CONNECTION {
            continue;
        }
        is_dated |= name == DATE;
        write_field(text, name.as_str().as_bytes(), value.as_bytes());
    }
    (is_sized, is_dated)
}
