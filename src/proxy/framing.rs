//! Where one request of a client's bytes ends and the next begins, and whether everybody would say
//! so. Pure.
//!
//! A port that hands on somebody else's subscription is strict: a request that two programs may read in
//! two ways is refused. A [`Reader`] is given the bytes as they come off the connection and hands out
//! heads and pieces of bodies, which share its buffer, over any number of requests (RFC 9112).
//!
//! `Host`, `Origin` and the path are not its matter, but [`super::guard`]'s and [`super::route`]'s.

mod head;
mod lines;
#[cfg(test)]
mod tests;
mod violation;

use bytes::{Buf, Bytes, BytesMut};
use hyper::Request;

use self::head::Progress;
use self::lines::Line;
pub use self::violation::Violation;

/// Field lines that a request may have.
pub const MOST_FIELDS: usize = 100;
/// Room that is made at once where it is not known how much will come.
pub const ROOM: usize = 8 * 1024;
/// The same where a body of known length is under way.
const LARGE_ROOM: usize = 64 * 1024;
/// A chunk's size line without its end: 16 digits and an extension.
const LONGEST_SIZE_LINE: usize = 272;
/// Digits of a chunk's size: 64 bits.
const MOST_DIGITS: usize = 16;
/// The extensions of all chunks of a body.
const MOST_EXTENSIONS: usize = 16 * 1024 - 1;
/// The trailer section.
const MOST_TRAILERS: usize = 8 * 1024;

/// How long a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    Empty,
    /// So many bytes.
    Known(u64),
    /// In chunks.
    Chunked,
}

/// A request's head.
#[derive(Debug)]
pub struct Head {
    /// The head itself.
    pub request: Request<()>,
    /// The body behind it.
    pub length: Length,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the client would ask again over the same connection.
    pub persists: bool,
}

/// What [`Reader::body`] gives.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes of the body.
    Data(Bytes),
    /// More has to come.
    Lacking,
    /// The body is over.
    End,
}

/// Reads one connection's bytes.
#[derive(Debug)]
pub struct Reader {
    /// What has come and was not handed out.
    bytes: BytesMut,
    place: Place,
    line: Line,
    head: Progress,
    /// The largest head.
    limit: usize,
    extensions: usize,
    trailers: usize,
    trailer_fields: usize,
    requests: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    /// So many bytes are left.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    Trailers,
    /// Behind a request that asked for another protocol. It was answered in this one, and whatever
    /// follows may be meant for the other.
    BehindUpgrade,
    Refused {
        violation: Violation,
        in_body: bool,
    },
}

impl Reader {
    /// A reader from a connection's first byte on; `limit` is the largest head, in bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            place: Place::Head,
            line: Line::default(),
            head: Progress::default(),
            limit,
            extensions: 0,
            trailers: 0,
            trailer_fields: 0,
            requests: 0,
        }
    }

    /// Where the bytes that come next are put, with room for them.
    pub fn room(&mut self) -> &mut BytesMut {
        let wanted = match self.place {
            Place::Body(left) | Place::Chunk(left) => {
                usize::try_from(left).map_or(LARGE_ROOM, |left| left.clamp(ROOM, LARGE_ROOM))
            }
            Place::Head
            | Place::ChunkSize
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::Trailers
            | Place::BehindUpgrade
            | Place::Refused { .. } => ROOM,
        };
        let spare = self.bytes.capacity() - self.bytes.len();
        if spare < wanted / 4 {
            self.bytes.reserve(wanted);
        }
        &mut self.bytes
    }

    /// Whether it holds no buffer.
    pub fn has_no_buffer(&self) -> bool {
        self.bytes.capacity() == 0
    }

    /// Reads into this buffer from now on. It has none, and this one is empty.
    pub fn lend(&mut self, buffer: BytesMut) {
        self.bytes = buffer;
    }

    /// Its buffer, if there is nothing in it.
    pub fn give_back(&mut self) -> Option<BytesMut> {
        let is_free = self.bytes.is_empty() && self.bytes.capacity() > 0;
        is_free.then(|| std::mem::take(&mut self.bytes))
    }

    /// The next request's head; `None` until it has come whole.
    ///
    /// # Errors
    /// What is wrong, and every time from then on.
    pub fn head(&mut self) -> Result<Option<Head>, Violation> {
        let result = match self.place {
            Place::Head => self.read_head(),
            Place::BehindUpgrade if self.bytes.is_empty() => Ok(None),
            Place::BehindUpgrade => Err(Violation::BehindUpgrade),
            Place::Refused { violation, .. } => Err(violation),
            // The body before it is not over.
            Place::Body(_)
            | Place::ChunkSize
            | Place::Chunk(_)
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::Trailers => Ok(None),
        };
        result.inspect_err(|violation| self.refuse(*violation, false))
    }

    fn read_head(&mut self) -> Result<Option<Head>, Violation> {
        if !self
            .head
            .read(&mut self.bytes, &mut self.line, self.limit)?
        {
            return Ok(None);
        }
        let head = self.head.take(&mut self.bytes)?;
        self.requests += 1;
        match head.length {
            Length::Empty => self.next_request(),
            Length::Known(length) => self.place = Place::Body(length),
            Length::Chunked => self.place = Place::ChunkSize,
        }
        Ok(Some(head))
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// What is wrong, and every time from then on.
    pub fn body(&mut self) -> Result<Piece, Violation> {
        let result = self.read_body();
        result.inspect_err(|violation| self.refuse(*violation, true))
    }

    fn read_body(&mut self) -> Result<Piece, Violation> {
        loop {
            match self.place {
                Place::Head | Place::BehindUpgrade => return Ok(Piece::End),
                Place::Refused { violation, .. } => return Err(violation),
                _ if self.bytes.is_empty() => return Ok(Piece::Lacking),
                Place::Body(left) => {
                    let (data, left) = self.take(left);
                    self.place = Place::Body(left);
                    if left == 0 {
                        self.next_request();
                    }
                    return Ok(Piece::Data(data));
                }
                Place::Chunk(left) => {
                    let (data, left) = self.take(left);
                    self.place = if left == 0 {
                        Place::ChunkCr
                    } else {
                        Place::Chunk(left)
                    };
                    return Ok(Piece::Data(data));
                }
                Place::ChunkCr => self.expect(b'\r', Place::ChunkLf)?,
                Place::ChunkLf => self.expect(b'\n', Place::ChunkSize)?,
                Place::ChunkSize => {
                    let long = Violation::LongExtension;
                    let Some(size) = self.line.next(&self.bytes, LONGEST_SIZE_LINE, long)? else {
                        return Ok(Piece::Lacking);
                    };
                    let line = self.bytes.get(..size).unwrap_or_default();
                    let (size_of_chunk, extension) = chunk_size(lines::text(line)?)?;
                    self.extensions += extension;
                    if self.extensions > MOST_EXTENSIONS {
                        return Err(long);
                    }
                    self.bytes.advance(size);
                    self.place = match size_of_chunk {
                        0 => Place::Trailers,
                        size => Place::Chunk(size),
                    };
                }
                Place::Trailers => {
                    let room = MOST_TRAILERS.saturating_sub(self.trailers);
                    let long = Violation::LargeTrailers;
                    let Some(size) = self.line.next(&self.bytes, room, long)? else {
                        return Ok(Piece::Lacking);
                    };
                    let line = self.bytes.get(..size).unwrap_or_default();
                    let text = lines::text(line)?;
                    let is_last = text.is_empty();
                    if !is_last {
                        self.trailer_fields += 1;
                        if self.head.count() + self.trailer_fields > MOST_FIELDS {
                            return Err(Violation::ManyFields);
                        }
                        head::trailer(text)?;
                    }
                    self.trailers += size;
                    self.bytes.advance(size);
                    if is_last {
                        self.next_request();
                    }
                }
            }
        }
    }

    /// What of a body has come already, if `left` is to come; and what is left then.
    fn take(&mut self, left: u64) -> (Bytes, u64) {
        let here = self.bytes.len();
        let used = usize::try_from(left).map_or(here, |left| left.min(here));
        let data = self.bytes.split_to(used).freeze();
        (data, left - used as u64)
    }

    fn expect(&mut self, byte: u8, next: Place) -> Result<(), Violation> {
        if self.bytes.first() != Some(&byte) {
            return Err(Violation::ChunkEnd);
        }
        self.bytes.advance(1);
        self.place = next;
        Ok(())
    }

    fn next_request(&mut self) {
        self.place = if self.head.asks_for_another_protocol() {
            Place::BehindUpgrade
        } else {
            Place::Head
        };
        self.head.begin();
        (self.extensions, self.trailers, self.trailer_fields) = (0, 0, 0);
    }

    fn refuse(&mut self, violation: Violation, in_body: bool) {
        if !matches!(self.place, Place::Refused { .. }) {
            self.place = Place::Refused { violation, in_body };
        }
    }

    /// Whether the first byte of a head has come, but not its last.
    pub fn is_in_head(&self) -> bool {
        match self.place {
            Place::Head => self.head.has_begun() || self.bytes.iter().any(|byte| *byte != b'\r'),
            Place::Refused { in_body, .. } => !in_body,
            Place::BehindUpgrade
            | Place::Body(_)
            | Place::ChunkSize
            | Place::Chunk(_)
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::Trailers => false,
        }
    }

    /// Whether a head has come whose body is not whole.
    pub fn is_in_body(&self) -> bool {
        match self.place {
            Place::Body(_)
            | Place::ChunkSize
            | Place::Chunk(_)
            | Place::ChunkCr
            | Place::ChunkLf
            | Place::Trailers => true,
            Place::Refused { in_body, .. } => in_body,
            Place::Head | Place::BehindUpgrade => false,
        }
    }

    /// Whether the client may be sending bytes that will not be read.
    pub fn is_unfinished(&self) -> bool {
        !self.bytes.is_empty() || !matches!(self.place, Place::Head)
    }

    /// The web page that sends the head under way, as far as is known: its one `Origin`.
    pub fn origin(&self) -> Option<&[u8]> {
        self.head.origin(&self.bytes)
    }

    /// Whether the head under way is that of a HEAD, as far as is known.
    pub fn is_head_request(&self) -> bool {
        self.head.is_head_request(&self.bytes)
    }

    /// How large the head under way is so far; 0 where none is.
    pub fn head_size(&self) -> usize {
        if self.is_in_head() {
            self.bytes.len()
        } else {
            0
        }
    }

    /// The largest head.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes wait to be read.
    pub fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// Heads that have come whole.
    pub fn requests(&self) -> u64 {
        self.requests
    }
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
