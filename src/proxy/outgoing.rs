//! A message on its way out over HTTP/1.1: heads, sizes of chunks and small pieces are gathered in one buffer, a large
//! piece is written beside it in the same call, and all of it goes out as soon as nothing more is there at once.

use std::io::{self, IoSlice, Write};
use std::task::{Poll, ready};

use bytes::{Buf, Bytes};

use super::buffers;

/// So much is gathered before it is written, while more is there at once.
const GATHERED: usize = 16 * 1024;
/// A piece up to this size is copied behind what goes before it: that costs less than to have the system look at one
/// more part.
const COPIED: usize = 2 * 1024;

/// Where a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Behind so many bytes more.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
}

/// What is still to be written of a message.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Heads, sizes of chunks and small pieces, of which so much has been written.
    text: Vec<u8>,
    written: usize,
    /// A piece behind the text, and what is behind that.
    piece: Bytes,
    tail: &'static [u8],
    framing: Framing,
    has_moved: bool,
}

/// A body does not go with its head.
#[derive(Debug)]
pub(super) struct Mismatch;

impl Outgoing {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self {
            text: Vec::new(),
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            framing: Framing::Length(0),
            has_moved: false,
        }
    }

    /// Where a head is put. It has said that the body ends so.
    pub(super) fn begin(&mut self, framing: Framing) -> &mut Vec<u8> {
        self.framing = framing;
        self.text()
    }

    /// Where text is put that belongs to no message.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        if self.text.capacity() == 0 {
            self.text = buffers::to_write();
        }
        &mut self.text
    }

    /// Whether another piece can be put behind what is there.
    pub(super) fn has_room(&self) -> bool {
        let is_gathering = self.piece.is_empty() && self.tail.is_empty();
        is_gathering && self.text.len() - self.written < GATHERED
    }

    /// Puts a piece of the body behind what is there.
    ///
    /// # Errors
    /// When the body is longer than its head says.
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
    /// When it is shorter than its head says.
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

    /// Whether the other side took anything since it was asked last.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Writes all that is there; `write` writes as much of some parts as is taken.
    pub(super) fn poll_write(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
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
            let count = ready!(write(parts))?;
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

/// Writes the field that says how long a body is.
pub(super) fn write_length(text: &mut Vec<u8>, size: u64) {
    write!(text, "content-length: {size}\r\n").ok();
}

/// Writes a field.
pub(super) fn write_field(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}
