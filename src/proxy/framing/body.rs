//! Reads a body, whichever way its end is marked.

use bytes::{Buf, Bytes, BytesMut};

use super::buffer::ROOM;
use super::lines::{self, LineProgress};
use super::message::{BodyPiece, Length, MOST_FIELDS};
use super::violation::Violation;

/// Buffer space for a body of known length, in bytes.
const LARGE_ROOM: usize = 64 * 1024;
/// The longest chunk size line without its end: 16 digits and an extension.
const LONGEST_SIZE_LINE: usize = 272;
/// The most digits of a chunk size: 64 bits.
const MOST_DIGITS: usize = 16;
/// The most bytes of chunk extensions per body.
const MOST_EXTENSIONS: usize = 16 * 1024 - 1;
/// The largest trailer section, in bytes.
const MOST_TRAILERS: usize = 8 * 1024;

/// The body being read, if there is one.
#[derive(Debug, Default)]
pub(super) struct BodyReader {
    place: BodyPosition,
    line: LineProgress,
    extensions: usize,
    trailers: usize,
    /// Fields of the head and of the trailer section so far.
    fields: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum BodyPosition {
    #[default]
    Over,
    /// This many bytes remain.
    Known(u64),
    /// Everything up to the connection's end.
    ToEnd,
    ChunkSize,
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    Trailers,
}

impl BodyReader {
    /// Starts the body after a head with this many fields.
    pub(super) fn begin(&mut self, length: Length, fields: usize) {
        let place = match length {
            Length::Empty | Length::Known(0) => BodyPosition::Over,
            Length::Known(length) => BodyPosition::Known(length),
            Length::Chunked => BodyPosition::ChunkSize,
        };
        *self = Self {
            place,
            fields,
            ..Self::default()
        };
    }

    /// Starts a body that ends with the connection.
    pub(super) fn begin_to_end(&mut self) {
        *self = Self {
            place: BodyPosition::ToEnd,
            ..Self::default()
        };
    }

    pub(super) fn is_over(&self) -> bool {
        self.place == BodyPosition::Over
    }

    /// Whether the body's own bytes mark its end.
    pub(super) fn is_delimited(&self) -> bool {
        self.place != BodyPosition::ToEnd
    }

    /// How many bytes remain, if known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.place {
            BodyPosition::Over => Some(0),
            BodyPosition::Known(left) => Some(left),
            BodyPosition::ToEnd
            | BodyPosition::ChunkSize
            | BodyPosition::Chunk(_)
            | BodyPosition::ChunkCr
            | BodyPosition::ChunkLf
            | BodyPosition::Trailers => None,
        }
    }

    /// Handles an orderly end of the connection; returns whether the body ends with it.
    pub(super) fn ends(&mut self) -> bool {
        if self.place == BodyPosition::ToEnd {
            self.place = BodyPosition::Over;
        }
        self.place == BodyPosition::Over
    }

    /// How much buffer space the next bytes need.
    pub(super) fn wanted(&self) -> usize {
        match self.place {
            BodyPosition::Known(left) | BodyPosition::Chunk(left) => {
                usize::try_from(left).map_or(LARGE_ROOM, |left| left.clamp(ROOM, LARGE_ROOM))
            }
            BodyPosition::Over
            | BodyPosition::ToEnd
            | BodyPosition::ChunkSize
            | BodyPosition::ChunkCr
            | BodyPosition::ChunkLf
            | BodyPosition::Trailers => ROOM,
        }
    }

    /// The next piece of the body, taken from `bytes`. `judge` checks each trailer field.
    pub(super) fn read(
        &mut self,
        bytes: &mut BytesMut,
        judge: fn(&[u8]) -> Result<(), Violation>,
    ) -> Result<BodyPiece, Violation> {
        loop {
            match self.place {
                BodyPosition::Over => return Ok(BodyPiece::End),
                _ if bytes.is_empty() => return Ok(BodyPiece::Lacking),
                BodyPosition::ToEnd => return Ok(BodyPiece::Data(bytes.split().freeze())),
                BodyPosition::Known(left) => {
                    let (data, left) = take(bytes, left);
                    self.place = if left == 0 {
                        BodyPosition::Over
                    } else {
                        BodyPosition::Known(left)
                    };
                    return Ok(BodyPiece::Data(data));
                }
                BodyPosition::Chunk(left) => {
                    let (data, left) = take(bytes, left);
                    self.place = if left == 0 {
                        BodyPosition::ChunkCr
                    } else {
                        BodyPosition::Chunk(left)
                    };
                    return Ok(BodyPiece::Data(data));
                }
                BodyPosition::ChunkCr => self.expect(bytes, b'\r', BodyPosition::ChunkLf)?,
                BodyPosition::ChunkLf => self.expect(bytes, b'\n', BodyPosition::ChunkSize)?,
                BodyPosition::ChunkSize => {
                    let long = Violation::LongExtension;
                    let Some(size) = self.line.next(bytes, LONGEST_SIZE_LINE, long)? else {
                        return Ok(BodyPiece::Lacking);
                    };
                    let line = bytes.get(..size).unwrap_or_default();
                    let (size_of_chunk, extension) = chunk_size(lines::text(line)?)?;
                    self.extensions += extension;
                    if self.extensions > MOST_EXTENSIONS {
                        return Err(long);
                    }
                    bytes.advance(size);
                    self.place = match size_of_chunk {
                        0 => BodyPosition::Trailers,
                        size => BodyPosition::Chunk(size),
                    };
                }
                BodyPosition::Trailers => {
                    let room = MOST_TRAILERS.saturating_sub(self.trailers);
                    let long = Violation::LargeTrailers;
                    let Some(size) = self.line.next(bytes, room, long)? else {
                        return Ok(BodyPiece::Lacking);
                    };
                    let line = bytes.get(..size).unwrap_or_default();
                    let text = lines::text(line)?;
                    if text.is_empty() {
                        self.place = BodyPosition::Over;
                    } else {
                        self.fields += 1;
                        if self.fields > MOST_FIELDS {
                            return Err(Violation::ManyFields);
                        }
                        judge(text)?;
                    }
                    self.trailers += size;
                    bytes.advance(size);
                }
            }
        }
    }

    fn expect(
        &mut self,
        bytes: &mut BytesMut,
        byte: u8,
        next: BodyPosition,
    ) -> Result<(), Violation> {
        if bytes.first() != Some(&byte) {
            return Err(Violation::ChunkEnd);
        }
        bytes.advance(1);
        self.place = next;
        Ok(())
    }
}

/// Takes the buffered part of a body with `left` bytes to come; returns it and what remains.
fn take(bytes: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let here = bytes.len();
    let used = usize::try_from(left).map_or(here, |left| left.min(here));
    let data = bytes.split_to(used).freeze();
    (data, left - used as u64)
}

/// A chunk's size, and the length of its extension.
fn chunk_size(text: &[u8]) -> Result<(u64, usize), Violation> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = digits.count();
    let (number, extension) = text.split_at_checked(digits).unwrap_or((text, &[]));
    if digits == 0 || digits > MOST_DIGITS {
        return Err(Violation::ChunkSize);
    }
    // White space is tolerated only before an extension (RFC 9112 §7.1.1).
    if !extension.is_empty() && !extension.trim_ascii_start().starts_with(b";") {
        return Err(Violation::ChunkSize);
    }
    let size = number.iter().fold(0, |size: u64, digit| {
        let digit = char::from(*digit).to_digit(16).unwrap_or_default();
        size << 4 | u64::from(digit)
    });
    Ok((size, extension.len()))
}
