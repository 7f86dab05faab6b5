//! A body's bytes, in whichever way its end is told.

use bytes::{Buf, Bytes, BytesMut};

use super::lines::{self, Line};
use super::{Length, MOST_FIELDS, Piece, ROOM, Violation};

/// The room that is made at once where a body of known length is under way.
const LARGE_ROOM: usize = 64 * 1024;
/// A chunk's size line without its end: 16 digits and an extension.
const LONGEST_SIZE_LINE: usize = 272;
/// Digits of a chunk's size: 64 bits.
const MOST_DIGITS: usize = 16;
/// The extensions of all chunks of a body.
const MOST_EXTENSIONS: usize = 16 * 1024 - 1;
/// The trailer section.
const MOST_TRAILERS: usize = 8 * 1024;

/// A body under way, or none.
#[derive(Debug, Default)]
pub(super) struct Body {
    place: Place,
    line: Line,
    extensions: usize,
    trailers: usize,
    /// Fields of its head and of its trailer section.
    fields: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Over,
    /// So many bytes are left.
    Known(u64),
    /// Whatever comes before the connection's end.
    ToEnd,
    ChunkSize,
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    Trailers,
}

impl Body {
    /// Behind a head with so many fields.
    pub(super) fn begin(&mut self, length: Length, fields: usize) {
        let place = match length {
            Length::Empty | Length::Known(0) => Place::Over,
            Length::Known(length) => Place::Known(length),
            Length::Chunked => Place::ChunkSize,
        };
        *self = Self {
            place,
            fields,
            ..Self::default()
        };
    }

    /// Behind a head that says nothing of its length.
    pub(super) fn begin_to_end(&mut self) {
        *self = Self {
            place: Place::ToEnd,
            ..Self::default()
        };
    }

    pub(super) fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// Whether its end can be told from what comes.
    pub(super) fn is_delimited(&self) -> bool {
        self.place != Place::ToEnd
    }

    /// How many bytes are still to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.place {
            Place::Over => Some(0),
            Place::Known(left) => Some(left),
            Place::ToEnd
            | Place::ChunkSize
            | Place::Chunk(_)
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::Trailers => None,
        }
    }

    /// The connection has ended in order; whether the body ends with it.
    pub(super) fn ends(&mut self) -> bool {
        if self.place == Place::ToEnd {
            self.place = Place::Over;
        }
        self.place == Place::Over
    }

    /// How much room its next bytes should find.
    pub(super) fn wanted(&self) -> usize {
        match self.place {
            Place::Known(left) | Place::Chunk(left) => {
                usize::try_from(left).map_or(LARGE_ROOM, |left| left.clamp(ROOM, LARGE_ROOM))
            }
            Place::Over
            | Place::ToEnd
            | Place::ChunkSize
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::Trailers => ROOM,
        }
    }

    /// The next piece of it, taken out of `bytes`. `judge` looks at each field of the trailer section.
    pub(super) fn read(
        &mut self,
        bytes: &mut BytesMut,
        judge: fn(&[u8]) -> Result<(), Violation>,
    ) -> Result<Piece, Violation> {
        loop {
            match self.place {
                Place::Over => return Ok(Piece::End),
                _ if bytes.is_empty() => return Ok(Piece::Lacking),
                Place::ToEnd => return Ok(Piece::Data(bytes.split().freeze())),
                Place::Known(left) => {
                    let (data, left) = take(bytes, left);
                    self.place = if left == 0 {
                        Place::Over
                    } else {
                        Place::Known(left)
                    };
                    return Ok(Piece::Data(data));
                }
                Place::Chunk(left) => {
                    let (data, left) = take(bytes, left);
                    self.place = if left == 0 {
                        Place::ChunkCr
                    } else {
                        Place::Chunk(left)
                    };
                    return Ok(Piece::Data(data));
                }
                Place::ChunkCr => self.expect(bytes, b'\r', Place::ChunkLf)?,
                Place::ChunkLf => self.expect(bytes, b'\n', Place::ChunkSize)?,
                Place::ChunkSize => {
                    let long = Violation::LongExtension;
                    let Some(size) = self.line.next(bytes, LONGEST_SIZE_LINE, long)? else {
                        return Ok(Piece::Lacking);
                    };
                    let line = bytes.get(..size).unwrap_or_default();
                    let (size_of_chunk, extension) = chunk_size(lines::text(line)?)?;
                    self.extensions += extension;
                    if self.extensions > MOST_EXTENSIONS {
                        return Err(long);
                    }
                    bytes.advance(size);
                    self.place = match size_of_chunk {
                        0 => Place::Trailers,
                        size => Place::Chunk(size),
                    };
                }
                Place::Trailers => {
                    let room = MOST_TRAILERS.saturating_sub(self.trailers);
                    let long = Violation::LargeTrailers;
                    let Some(size) = self.line.next(bytes, room, long)? else {
                        return Ok(Piece::Lacking);
                    };
                    let line = bytes.get(..size).unwrap_or_default();
                    let text = lines::text(line)?;
                    if text.is_empty() {
                        self.place = Place::Over;
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

    fn expect(&mut self, bytes: &mut BytesMut, byte: u8, next: Place) -> Result<(), Violation> {
        if bytes.first() != Some(&byte) {
            return Err(Violation::ChunkEnd);
        }
        bytes.advance(1);
        self.place = next;
        Ok(())
    }
}

/// What of a body has come already, if `left` is to come; and what is left then.
fn take(bytes: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let here = bytes.len();
    let used = usize::try_from(left).map_or(here, |left| left.min(here));
    let data = bytes.split_to(used).freeze();
    (data, left - used as u64)
}

/// A chunk's size, and how long its extension is.
fn chunk_size(text: &[u8]) -> Result<(u64, usize), Violation> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = digits.count();
    let (number, extension) = text.split_at_checked(digits).unwrap_or((text, &[]));
    if digits == 0 || digits > MOST_DIGITS {
        return Err(Violation::ChunkSize);
    }
    // White space is let be before an extension only (RFC 9112 §7.1.1).
    if !extension.is_empty() && !extension.trim_ascii_start().starts_with(b";") {
        return Err(Violation::ChunkSize);
    }
    let size = number.iter().fold(0, |size: u64, digit| {
        let digit = char::from(*digit).to_digit(16).unwrap_or_default();
        size << 4 | u64::from(digit)
    });
    Ok((size, extension.len()))
}
