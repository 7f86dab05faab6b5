//! Reads a provider's answers, as strictly as requests wherever two programs could disagree about an end. What could
//! only mislead a server, such as an underscore in a name, is tolerated, and trailers are dropped.

use bytes::{Buf, BytesMut};
use hyper::{Response, StatusCode, Version};

use super::super::fields::FieldPlace;
use super::body::BodyReader;
use super::buffer::{make_room, take_free};
use super::head::{self, ConnectionOptions, FieldLine, MOST_EMPTY_LINES};
use super::lines::{self, LineProgress};
use super::message::{BodyPiece, Length, MOST_FIELDS};
use super::reuse;
use super::violation::Violation;

/// An answer's head, and what follows from it.
#[derive(Debug)]
pub struct AnswerHead {
    /// The head itself.
    pub response: Response<()>,
    /// Whether the connection may serve another request after this answer.
    pub persists: bool,
}

impl AnswerHead {
    /// Whether the final answer is still to come (RFC 9110 §15.2). A switch of protocols is a final answer.
    pub fn is_interim(&self) -> bool {
        let status = self.response.status();
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Reads one answer, and the interim answers before it.
#[derive(Debug)]
pub struct AnswerReader {
    /// Bytes received and not returned yet.
    bytes: BytesMut,
    place: AnswerPosition,
    line: LineProgress,
    head: AnswerHeadProgress,
    body: BodyReader,
    /// The largest head, in bytes.
    limit: usize,
    /// Whether the request was a HEAD.
    to_head: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerPosition {
    Head,
    Body,
    Refused(Violation),
}

impl AnswerReader {
    /// A reader for the answer to one request; `limit` is the largest head, in bytes.
    pub fn new(limit: usize, to_head: bool) -> Self {
        Self {
            bytes: BytesMut::new(),
            place: AnswerPosition::Head,
            line: LineProgress::default(),
            head: AnswerHeadProgress::default(),
            body: BodyReader::default(),
            limit,
            to_head,
        }
    }

    /// The buffer for the next bytes, with space reserved.
    pub fn room(&mut self) -> &mut BytesMut {
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

    /// The next head, interim or final; `None` until all of it has arrived.
    ///
    /// # Errors
    /// A violation; every later call returns it too.
    pub fn head(&mut self) -> Result<Option<AnswerHead>, Violation> {
        let result = match self.place {
            AnswerPosition::Head => self.read_head(),
            AnswerPosition::Body => Ok(None),
            AnswerPosition::Refused(violation) => Err(violation),
        };
        result.inspect_err(|violation| self.place = AnswerPosition::Refused(*violation))
    }

    fn read_head(&mut self) -> Result<Option<AnswerHead>, Violation> {
        if !self
            .head
            .read(&mut self.bytes, &mut self.line, self.limit)?
        {
            return Ok(None);
        }
        let progress = std::mem::take(&mut self.head);
        let head = progress.take(&mut self.bytes)?;
        if !head.is_interim() {
            progress.begin_body(&mut self.body, self.to_head)?;
            self.place = AnswerPosition::Body;
        }
        reuse::give_back_places(progress.fields);
        let persists = head.persists && self.body.is_delimited();
        Ok(Some(AnswerHead { persists, ..head }))
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// A violation; every later call returns it too.
    pub fn body(&mut self) -> Result<BodyPiece, Violation> {
        let result = match self.place {
            AnswerPosition::Head => Ok(BodyPiece::Lacking),
            AnswerPosition::Body => self.body.read(&mut self.bytes, head::any_trailer),
            AnswerPosition::Refused(violation) => Err(violation),
        };
        result.inspect_err(|violation| self.place = AnswerPosition::Refused(*violation))
    }

    /// Whether the complete answer has been read.
    pub fn is_over(&self) -> bool {
        self.place == AnswerPosition::Body && self.body.is_over()
    }

    /// Handles an orderly end of the connection; returns whether the answer ends with it.
    pub fn ends(&mut self) -> bool {
        self.place == AnswerPosition::Body && self.bytes.is_empty() && self.body.ends()
    }

    /// How many bytes of the body remain, if known.
    pub fn left(&self) -> Option<u64> {
        self.body.left()
    }

    /// How many bytes are buffered.
    pub fn waiting(&self) -> usize {
        self.bytes.len()
    }
}

/// The head being read.
#[derive(Debug, Default)]
struct AnswerHeadProgress {
    /// Where the current line begins.
    at: usize,
    /// Empty lines skipped before the head: their number, and their bytes.
    empty_lines: u8,
    skipped: usize,
    status: StatusCode,
    is_http10: bool,
    fields: Vec<FieldPlace>,
    length: Option<u64>,
    is_chunked: bool,
    /// What is wrong with the framing; it matters only if there is a body.
    flaw: Option<Violation>,
    connection: ConnectionOptions,
}

impl AnswerHeadProgress {
    /// Reads further; returns whether the head is complete.
    fn read(
        &mut self,
        bytes: &mut BytesMut,
        line: &mut LineProgress,
        limit: usize,
    ) -> Result<bool, Violation> {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let room = limit.saturating_sub(self.skipped + self.at);
            let Some(size) = line.next(rest, room, Violation::LargeHead)? else {
                return Ok(false);
            };
            let text = lines::text(rest.get(..size).unwrap_or_default())?;
            if self.at > 0 {
                let is_last = text.is_empty();
                if !is_last {
                    self.field(text)?;
                }
                self.at += size;
                if is_last {
                    return Ok(true);
                }
            } else if text.is_empty() {
                self.empty_lines += 1;
                if self.empty_lines > MOST_EMPTY_LINES {
                    return Err(Violation::EmptyLines);
                }
                self.skipped += size;
                bytes.advance(size);
            } else {
                self.status_line(text)?;
                self.at = size;
            }
        }
    }

    /// RFC 9112 §4. The reason may be missing, together with the space before it.
    fn status_line(&mut self, text: &[u8]) -> Result<(), Violation> {
        let (version, rest) = text.split_at_checked(9).ok_or(Violation::StatusLine)?;
        self.is_http10 = match version {
            b"HTTP/1.1 " => false,
            b"HTTP/1.0 " => true,
            _ => return Err(Violation::StatusLine),
        };
        let (status, reason) = rest.split_at_checked(3).ok_or(Violation::StatusLine)?;
        if !matches!(reason.first(), None | Some(b' ')) {
            return Err(Violation::StatusLine);
        }
        self.status = StatusCode::from_bytes(status).map_err(|_| Violation::StatusLine)?;
        Ok(())
    }

    fn field(&mut self, text: &[u8]) -> Result<(), Violation> {
        if self.fields.len() >= MOST_FIELDS {
            return Err(Violation::ManyFields);
        }
        let read = head::field_line(text)?;
        let FieldLine { name, value, .. } = read;
        let flaw = match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.hear_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.hear_encoding(value),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection.hear(value);
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(flaw) = flaw {
            self.flaw.get_or_insert(flaw);
        }
        if self.fields.capacity() == 0 {
            self.fields = reuse::places();
        }
        self.fields.push(head::place(self.at, &read)?);
        Ok(())
    }

    /// A repeated, identical length is allowed (RFC 9110 §8.6).
    fn hear_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        for one in value.split(|byte| *byte == b',') {
            let one = head::length(one.trim_ascii())?;
            if *self.length.get_or_insert(one) != one {
                return Err(Violation::TwoLengths);
            }
        }
        Ok(())
    }

    fn hear_encoding(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.is_http10 {
            return Err(Violation::EncodingInHttp10);
        }
        if std::mem::replace(&mut self.is_chunked, true) {
            return Err(Violation::TwoEncodings);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Violation::Encoding);
        }
        Ok(())
    }

    /// Takes the complete head out of `bytes`.
    fn take(&self, bytes: &mut BytesMut) -> Result<AnswerHead, Violation> {
        let bytes = bytes.split_to(self.at).freeze();
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        if self.is_http10 {
            *response.version_mut() = Version::HTTP_10;
        }
        *response.headers_mut() = head::read_fields(&self.fields, &bytes)?;
        Ok(AnswerHead {
            response,
            persists: self.connection.persists(self.is_http10)
                && self.status != StatusCode::SWITCHING_PROTOCOLS,
        })
    }

    /// Determines how the body ends (RFC 9112 §6.3).
    fn begin_body(&self, body: &mut BodyReader, to_head: bool) -> Result<(), Violation> {
        let has_none = to_head
            || self.status.is_informational()
            || matches!(
                self.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        if has_none {
            body.begin(Length::Empty, 0);
            return Ok(());
        }
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        match self.length {
            Some(_) if self.is_chunked => return Err(Violation::LengthAndEncoding),
            None if self.is_chunked => body.begin(Length::Chunked, self.fields.len()),
            Some(length) => body.begin(Length::Known(length), 0),
            None => body.begin_to_end(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
