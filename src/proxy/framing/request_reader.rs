//! Reads the requests of one connection, one after the other.

use bytes::BytesMut;

use super::body::BodyReader;
use super::buffer::{make_room, take_free};
use super::head::{self, RequestHeadProgress};
use super::lines::LineProgress;
use super::message::{BodyPiece, RequestHead};
use super::violation::Violation;

/// Reads the requests of one connection.
#[derive(Debug)]
pub struct RequestReader {
    /// Bytes received and not returned yet.
    bytes: BytesMut,
    place: ReaderPosition,
    line: LineProgress,
    head: RequestHeadProgress,
    body: BodyReader,
    /// The largest head, in bytes.
    limit: usize,
    requests: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReaderPosition {
    Head,
    Body,
    /// After a request for another protocol. The answer uses HTTP, and the bytes that follow may belong to that
    /// protocol.
    BehindUpgrade,
    Refused {
        violation: Violation,
        in_body: bool,
    },
}

impl RequestReader {
    /// A reader for a connection's first byte on; `limit` is the largest head, in bytes.
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

    /// The buffer for the next bytes, with space reserved.
    pub fn room(&mut self) -> &mut BytesMut {
        // Outside a body, this reserves what a head needs.
        make_room(&mut self.bytes, self.body.wanted());
        &mut self.bytes
    }

    /// Whether it has no buffer at the moment.
    pub fn has_no_buffer(&self) -> bool {
        self.bytes.capacity() == 0
    }

    /// Lends it an empty buffer. It must have none.
    pub fn lend(&mut self, buffer: BytesMut) {
        self.bytes = buffer;
    }

    /// Takes its buffer back, if that is empty.
    pub fn give_back(&mut self) -> Option<BytesMut> {
        take_free(&mut self.bytes)
    }

    /// The next request's head; `None` until all of it has arrived.
    ///
    /// # Errors
    /// A violation; every later call returns it too.
    pub fn head(&mut self) -> Result<Option<RequestHead>, Violation> {
        let result = match self.place {
            ReaderPosition::Head => self.read_head(),
            ReaderPosition::BehindUpgrade if self.bytes.is_empty() => Ok(None),
            ReaderPosition::BehindUpgrade => Err(Violation::BehindUpgrade),
            ReaderPosition::Refused { violation, .. } => Err(violation),
            // The body of the request before is not complete.
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
    /// A violation; every later call returns it too.
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

    /// After a complete request, expects the next one.
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

    /// Whether a head has started to arrive and is incomplete.
    pub fn is_in_head(&self) -> bool {
        match self.place {
            ReaderPosition::Head => {
                self.head.has_begun() || self.bytes.iter().any(|byte| *byte != b'\r')
            }
            ReaderPosition::Refused { in_body, .. } => !in_body,
            ReaderPosition::BehindUpgrade | ReaderPosition::Body => false,
        }
    }

    /// Whether a complete head has arrived whose body is incomplete.
    pub fn is_in_body(&self) -> bool {
        match self.place {
            ReaderPosition::Body => true,
            ReaderPosition::Refused { in_body, .. } => in_body,
            ReaderPosition::Head | ReaderPosition::BehindUpgrade => false,
        }
    }

    /// Whether the client may still be sending bytes that will not be read.
    pub fn is_unfinished(&self) -> bool {
        !self.bytes.is_empty() || !matches!(self.place, ReaderPosition::Head)
    }

    /// The `Origin` of the incomplete head, if it has exactly one so far.
    pub fn origin(&self) -> Option<&[u8]> {
        self.head.origin(&self.bytes)
    }

    /// Whether the incomplete head is a HEAD request, as far as known.
    pub fn is_head_request(&self) -> bool {
        self.head.is_head_request(&self.bytes)
    }

    /// The size of the incomplete head so far; 0 without one.
    pub fn head_size(&self) -> usize {
        if self.is_in_head() {
            self.bytes.len()
        } else {
            0
        }
    }

    /// The largest head, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes are buffered.
    pub fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// How many complete heads have arrived.
    pub fn requests(&self) -> u64 {
        self.requests
    }
}
