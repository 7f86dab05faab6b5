//! What a client gets: an answer's head and body in HTTP's framing (RFC 9112 §6 and §7), written as soon
//! as nothing more is there at once.

use std::io::{self, IoSlice, Write};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::SizeHint;
use hyper::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use hyper::http::response::Parts;
use hyper::{HeaderMap, StatusCode};

use super::super::socket::WriteHalf;
use super::inbound::Asked;
use super::{buffers, date};

/// So much is gathered before it is written, while more is there at once.
const GATHERED: usize = 16 * 1024;
/// A piece up to this size is copied behind what goes before it: that costs less than to have the system look at one
/// more part.
const COPIED: usize = 2 * 1024;

/// Where an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Behind so many bytes more.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// What is still to be written of an answer.
#[derive(Debug)]
pub(super) struct Outbound<'c> {
    socket: &'c WriteHalf,
    /// Heads, sizes of chunks and small pieces, of which so much has been written.
    text: Vec<u8>,
    written: usize,
    /// A piece behind the text, and what is behind that.
    piece: Bytes,
    tail: &'static [u8],
    framing: Framing,
    has_moved: bool,
}

/// An answer's body does not go with its head.
#[derive(Debug)]
pub(super) struct Mismatch;

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
            text: Vec::new(),
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            framing: Framing::Length(0),
            has_moved: false,
        }
    }

    /// Has the client send the body that it waits with.
    pub(super) fn proceed(&mut self) {
        self.text()
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Writes an answer's head; `length` is that of its body, as far as it is known, and `None` where there is
    /// none.
    pub(super) fn begin(
        &mut self,
        head: &Parts,
        asked: Asked,
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
        self.framing = match size {
            _ if is_bodiless => Framing::Length(0),
            Some(size) => Framing::Length(size),
            None if asked.http10 => Framing::Close,
            None => Framing::Chunked,
        };
        let persists = asked.persists && self.framing != Framing::Close;
        let is_chunked = self.framing == Framing::Chunked;
        let text = self.text();
        write_status(text, status, asked.http10);
        let size = size.filter(|_| !never_has_body);
        let kept = size.filter(|_| length.is_some() || asked.to_head);
        let is_sized = write_fields(text, &head.headers, kept);
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
        if !head.headers.contains_key(DATE) {
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

    /// Whether another piece can be put behind what is there.
    pub(super) fn has_room(&self) -> bool {
        let is_gathering = self.piece.is_empty() && self.tail.is_empty();
        is_gathering && self.text.len() - self.written < GATHERED
    }

    /// Puts a piece of the body behind what is there.
    ///
    /// # Errors
    /// When the answer is longer than its head says.
    pub(super) fn put(&mut self, piece: Bytes) -> Result<(), Mismatch> {
        let size = piece.len();
        if size == 0 {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => *left = left.checked_sub(size as u64).ok_or(Mismatch)?,
            Framing::Chunked => {
                write_chunk_size(self.text(), size);
                self.tail = b"\r\n";
            }
            Framing::Close => {}
        }
        if size <= COPIED {
            let tail = std::mem::take(&mut self.tail);
            let text = self.text();
            text.extend_from_slice(&piece);
            text.extend_from_slice(tail);
        } else {
            self.piece = piece;
        }
        Ok(())
    }

    /// The body is over.
    ///
    /// # Errors
    /// When the answer is shorter than its head says.
    pub(super) fn end(&mut self) -> Result<(), Mismatch> {
        match self.framing {
            Framing::Length(0) | Framing::Close => {}
            Framing::Length(_) => return Err(Mismatch),
            Framing::Chunked => match self.tail {
                b"\r\n" => self.tail = b"\r\n0\r\n\r\n",
                b"\n" => self.tail = b"\n0\r\n\r\n",
                _ => self.text().extend_from_slice(b"0\r\n\r\n"),
            },
        }
        Ok(())
    }

    /// Whether the client took anything since it was asked last.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Writes all that is there.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let text = self.text.get(self.written..).unwrap_or_default();
            let parts = [text, &*self.piece, self.tail].map(IoSlice::new);
            let parts = match () {
                () if !self.piece.is_empty() || !self.tail.is_empty() => parts.as_slice(),
                () if !text.is_empty() => parts.get(..1).unwrap_or_default(),
                () => {
                    self.give_back();
                    return Poll::Ready(Ok(()));
                }
            };
            let count = ready!(self.socket.poll_write(cx, parts))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.has_moved = true;
            self.advance(count);
        }
    }

    fn advance(&mut self, count: usize) {
        let of_text = count.min(self.text.len() - self.written);
        self.written += of_text;
        let of_piece = (count - of_text).min(self.piece.len());
        self.piece.advance(of_piece);
        let of_tail = count - of_text - of_piece;
        self.tail = self.tail.get(of_tail..).unwrap_or_default();
    }

    fn text(&mut self) -> &mut Vec<u8> {
        if self.text.capacity() == 0 {
            self.text = buffers::to_write();
        }
        &mut self.text
    }

    fn give_back(&mut self) {
        self.written = 0;
        self.piece = Bytes::new();
        if self.text.capacity() > 0 {
            buffers::has_written(std::mem::take(&mut self.text));
        }
    }
}

fn write_chunk_size(text: &mut Vec<u8>, size: usize) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        text.push(HEX.get(size >> (4 * digit) & 15).copied().unwrap_or(b'0'));
    }
    text.extend_from_slice(b"\r\n");
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

fn write_length(text: &mut Vec<u8>, size: u64) {
    write!(text, "content-length: {size}\r\n").ok();
}

/// All but those that say how the answer is framed; of these only the length, which keeps its place. Whether that was
/// there.
fn write_fields(text: &mut Vec<u8>, fields: &HeaderMap, size: Option<u64>) -> bool {
    let mut is_sized = false;
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
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    is_sized
}
