//! The lines of an event stream, cut into any pieces, for taps that listen to them. Pure, with constant memory: a
//! piece is read as it passes and never copied.
//!
//! Lines end with LF, CR or CRLF; an empty line ends an event, a line that starts with a colon is a
//! comment (WHATWG HTML §9.2.6).

use memchr::memchr2;

/// What a line of an event's data begins with.
const DATA: &[u8] = b"data:";

/// What listens to an event stream. It sees slices, and can neither change nor hold back a byte.
pub(crate) trait Tap {
    /// A piece of a line of data, behind its `data:`.
    fn data(&mut self, piece: &[u8]);
    /// That line has ended.
    fn end_data(&mut self);
    /// The event has ended.
    fn end_event(&mut self);
}

/// How far an event stream has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tokenizer {
    line: SseLine,
    /// The last byte was a CR: a LF that follows belongs to it.
    carriage_return: bool,
    /// Something of an event has passed, and its end has not.
    within: bool,
}

/// The present line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum SseLine {
    /// Nothing of it has passed.
    #[default]
    Start,
    /// So many bytes of [`DATA`].
    Name(usize),
    Data,
    Comment,
    Other,
}

/// The position within an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamPosition {
    /// Between two events, at the start of a line.
    Between,
    /// Between two events, in a comment.
    Comment,
    /// In an event.
    Within,
}

impl Tokenizer {
    /// A piece passes.
    pub(crate) fn pass(&mut self, piece: &[u8], tap: &mut impl Tap) {
        let mut rest = piece;
        if std::mem::take(&mut self.carriage_return)
            && let Some(after) = rest.strip_prefix(b"\n")
        {
            rest = after;
        }
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            self.extend_line(line, tap);
            self.end_line(tap);
            rest = match after {
                [b'\r'] => {
                    self.carriage_return = true;
                    &[]
                }
                [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.extend_line(rest, tap);
    }

    /// The position within the stream.
    pub(crate) fn at(&self) -> StreamPosition {
        match self.line {
            _ if self.within => StreamPosition::Within,
            SseLine::Start => StreamPosition::Between,
            SseLine::Comment => StreamPosition::Comment,
            SseLine::Name(_) | SseLine::Data | SseLine::Other => StreamPosition::Within,
        }
    }

    fn extend_line(&mut self, mut part: &[u8], tap: &mut impl Tap) {
        while let [byte, after @ ..] = part {
            let matched = match self.line {
                SseLine::Data => return tap.data(part),
                SseLine::Comment | SseLine::Other => return,
                SseLine::Start if *byte == b':' => {
                    self.line = SseLine::Comment;
                    return;
                }
                SseLine::Start => 0,
                SseLine::Name(matched) => matched,
            };
            self.line = match DATA.get(matched..) {
                Some([next]) if next == byte => SseLine::Data,
                Some([next, ..]) if next == byte => SseLine::Name(matched + 1),
                Some(_) | None => SseLine::Other,
            };
            part = after;
        }
    }

    fn end_line(&mut self, tap: &mut impl Tap) {
        match std::mem::take(&mut self.line) {
            SseLine::Start => {
                self.within = false;
                tap.end_event();
            }
            SseLine::Comment => {}
            SseLine::Data => {
                tap.end_data();
                self.within = true;
            }
            SseLine::Name(_) | SseLine::Other => self.within = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a tap.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Heard {
        line: String,
        events: Vec<Vec<String>>,
        lines: Vec<String>,
    }

    impl Tap for Heard {
        fn data(&mut self, piece: &[u8]) {
            self.line.push_str(std::str::from_utf8(piece).unwrap());
        }

        fn end_data(&mut self) {
            self.lines.push(std::mem::take(&mut self.line));
        }

        fn end_event(&mut self) {
            self.events.push(std::mem::take(&mut self.lines));
        }
    }

    #[test]
    fn a_tap_hears_the_same_of_a_stream_however_it_is_cut() {
        let text = "data: 1\n: data: no\n\ndat: no\ndataa: no\nevent: data:\ndata:2\r\ndata\r\ndata:\rdata: \
                    {\"data:\"}\r\n\r\n: bye\r\rdata: 3\n\ndata: half";
        let events = [
            vec![" 1"],
            vec!["2", "", " {\"data:\"}"],
            vec![],
            vec![" 3"],
        ];
        for size in 1..=text.len() {
            let (mut lines, mut heard) = (Tokenizer::default(), Heard::default());
            for piece in text.as_bytes().chunks(size) {
                lines.pass(piece, &mut heard);
            }
            assert_eq!(heard.events, events, "in pieces of {size}");
            assert_eq!((heard.lines.len(), &*heard.line), (0, " half"), "{size}");
            assert_eq!(lines.at(), StreamPosition::Within);
        }
    }
}
