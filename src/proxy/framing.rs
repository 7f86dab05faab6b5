//! Where one request of a client's bytes ends and the next begins, and whether everybody would say
//! so; the same of a provider's answer ([`AnswerReader`]). Pure.
//!
//! A port that hands on somebody else's subscription is strict: a request that two programs may read in
//! two ways is refused. A [`RequestReader`] is given the bytes as they come off the connection and hands out
//! heads and pieces of bodies, which share its buffer, over any number of requests (RFC 9112).
//!
//! `Host`, `Origin` and the path are not its matter, but [`super::guard`]'s and [`super::route`]'s.

mod answer;
mod body;
mod head;
mod lines;
mod reuse;
#[cfg(test)]
mod tests;
mod violation;

use bytes::{Bytes, BytesMut};
use hyper::{Method, Uri, Version};

pub use self::answer::{AnswerHead, AnswerReader};
use self::body::BodyReader;
use self::head::RequestHeadProgress;
pub(super) use self::head::is_target;
use self::lines::LineProgress;
pub(super) use self::reuse::{give_back, name};
pub use self::violation::Violation;
use super::fields::Fields;

/// Field lines that a request may have.
pub const MOST_FIELDS: usize = 100;
/// Room that is made at once where it is not known how much will come.
pub const ROOM: usize = 8 * 1024;

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
    /// Its method.
    pub method: Method,
    /// Its target, which is a path.
    pub uri: Uri,
    /// Its version.
    pub version: Version,
    /// Its fields.
    pub headers: Fields,
}

/// A request's head, and what it says of its body and its connection.
#[derive(Debug)]
pub struct RequestHead {
    /// The head itself.
    pub head: Head,
    /// The body behind it.
    pub length: Length,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the client would ask again over the same connection.
    pub persists: bool,
}

/// What [`RequestReader::body`] gives.
#[derive(Debug)]
pub enum BodyPiece {
    /// The next bytes of the body.
    Data(Bytes),
    /// More has to come.
    Lacking,
    /// The body is over.
    End,
}

/// Reads one connection's bytes.
#[derive(Debug)]
pub struct RequestReader {
    /// What has come and was not handed out.
    bytes: BytesMut,
    place: ReaderPosition,
    line: LineProgress,
    head: RequestHeadProgress,
    body: BodyReader,
    /// The largest head.
    limit: usize,
    requests: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReaderPosition {
    Head,
    Body,
    /// Behind a request that asked for another protocol. It was answered in this one, and whatever
    /// follows may be meant for the other.
    BehindUpgrade,
    Refused {
        violation: Violation,
        in_body: bool,
    },
}

impl RequestReader {
    /// A reader from a connection's first byte on; `limit` is the largest head, in bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            place: ReaderPosition::Head,
            line: LineProgress::default(),
            head: RequestHeadProgress::default(),
            body: BodyReader::default(),
            limit,
            requests: 0,
        }
    }

    /// Where the bytes that come next are put, with room for them.
    pub fn room(&mut self) -> &mut BytesMut {
        // Outside of a body that is what a head needs.
        make_room(&mut self.bytes, self.body.wanted());
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
        take_free(&mut self.bytes)
    }

    /// The next request's head; `None` until it has come whole.
    ///
    /// # Errors
    /// What is wrong, and every time from then on.
    pub fn head(&mut self) -> Result<Option<RequestHead>, Violation> {
        let result = match self.place {
            ReaderPosition::Head => self.read_head(),
            ReaderPosition::BehindUpgrade if self.bytes.is_empty() => Ok(None),
            ReaderPosition::BehindUpgrade => Err(Violation::BehindUpgrade),
            ReaderPosition::Refused { violation, .. } => Err(violation),
            // The body before it is not over.
            ReaderPosition::Body => Ok(None),
        };
        result.inspect_err(|violation| self.refuse(*violation, false))
    }

    fn read_head(&mut self) -> Result<Option<RequestHead>, Violation> {
        if !self
            .head
            .read(&mut self.bytes, &mut self.line, self.limit)?
        {
            return Ok(None);
        }
        let head = self.head.take(&mut self.bytes)?;
        self.requests += 1;
        self.body.begin(head.length, self.head.count());
        self.place = ReaderPosition::Body;
        self.look_for_end();
        Ok(Some(head))
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// What is wrong, and every time from then on.
    pub fn body(&mut self) -> Result<BodyPiece, Violation> {
        let result = self.read_body();
        result.inspect_err(|violation| self.refuse(*violation, true))
    }

    fn read_body(&mut self) -> Result<BodyPiece, Violation> {
        match self.place {
            ReaderPosition::Head | ReaderPosition::BehindUpgrade => Ok(BodyPiece::End),
            ReaderPosition::Refused { violation, .. } => Err(violation),
            ReaderPosition::Body => {
                let piece = self.body.read(&mut self.bytes, head::trailer)?;
                self.look_for_end();
                Ok(piece)
            }
        }
    }

    /// Behind a request comes the next one.
    fn look_for_end(&mut self) {
        if !self.body.is_over() {
            return;
        }
        self.place = if self.head.asks_for_another_protocol() {
            ReaderPosition::BehindUpgrade
        } else {
            ReaderPosition::Head
        };
        self.head.begin();
    }

    fn refuse(&mut self, violation: Violation, in_body: bool) {
        if !matches!(self.place, ReaderPosition::Refused { .. }) {
            self.place = ReaderPosition::Refused { violation, in_body };
        }
    }

    /// Whether the first byte of a head has come, but not its last.
    pub fn is_in_head(&self) -> bool {
        match self.place {
            ReaderPosition::Head => {
                self.head.has_begun() || self.bytes.iter().any(|byte| *byte != b'\r')
            }
            ReaderPosition::Refused { in_body, .. } => !in_body,
            ReaderPosition::BehindUpgrade | ReaderPosition::Body => false,
        }
    }

    /// Whether a head has come whose body is not whole.
    pub fn is_in_body(&self) -> bool {
        match self.place {
            ReaderPosition::Body => true,
            ReaderPosition::Refused { in_body, .. } => in_body,
            ReaderPosition::Head | ReaderPosition::BehindUpgrade => false,
        }
    }

    /// Whether the client may be sending bytes that will not be read.
    pub fn is_unfinished(&self) -> bool {
        !self.bytes.is_empty() || !matches!(self.place, ReaderPosition::Head)
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

/// Makes room for what comes next, unless there is some.
fn make_room(bytes: &mut BytesMut, wanted: usize) {
    let spare = bytes.capacity() - bytes.len();
    if spare < wanted / 4 {
        bytes.reserve(wanted);
    }
}

/// A buffer that has nothing in it.
fn take_free(bytes: &mut BytesMut) -> Option<BytesMut> {
    let is_free = bytes.is_empty() && bytes.capacity() > 0;
    is_free.then(|| std::mem::take(bytes))
}
