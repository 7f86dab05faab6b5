//! Where an event stream stands, however it is cut into pieces, and whether it lacks its end mark.
//! Pure, with constant memory.
//!
//! Lines end with LF, CR or CRLF; an empty line ends an event, a line that starts with a colon is a
//! comment (WHATWG HTML §9.2.6).

use std::sync::LazyLock;

use memchr::{memchr2, memmem};

/// What OpenAI's streams end with.
const DONE: &str = "[DONE]";
/// The key that a chunk with a choice's end has. Within a JSON string it can't stand like this:
/// the quotes would be escaped.
const FINISH: &[u8] = b"\"finish_reason\"";
/// The search for it, made ready once.
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(FINISH));
/// As much of a line's start tells what it is: `data: [DONE]`.
const HEAD: usize = 12;

/// How far an event stream has come.
#[derive(Debug, Clone)]
pub(super) struct Events {
    /// The start of the present line.
    line: [u8; HEAD],
    line_len: usize,
    /// The last byte was a CR: a LF that follows belongs to it.
    carriage_return: bool,
    /// Something of an event has passed, and its end has not.
    within: bool,
    done: bool,
    finish: Finish,
}

/// The search for a `finish_reason` that is a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    /// Nobody wants to know.
    Ignored,
    /// So many bytes of the key have passed.
    Key(usize),
    /// The key has passed.
    Colon,
    /// The colon has passed.
    Value,
    Found,
}

impl Events {
    /// A stream at its start. `ends`: whether its end is looked for.
    pub(super) fn new(ends: bool) -> Self {
        Self {
            line: [0; HEAD],
            line_len: 0,
            carriage_return: false,
            within: false,
            done: false,
            finish: if ends {
                Finish::Key(0)
            } else {
                Finish::Ignored
            },
        }
    }

    /// A piece passes.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        self.finish = self.finish.pass(piece);
        let mut rest = piece;
        if std::mem::take(&mut self.carriage_return)
            && let Some(after) = rest.strip_prefix(b"\n")
        {
            rest = after;
        }
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            self.extend_line(line);
            self.end_line();
            rest = match after {
                [b'\r'] => {
                    self.carriage_return = true;
                    &[]
                }
                [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.extend_line(rest);
    }

    fn extend_line(&mut self, part: &[u8]) {
        let room = self.line.get_mut(self.line_len..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(part) {
            *place = *byte;
            self.line_len += 1;
        }
    }

    fn end_line(&mut self) {
        let line = self.line.get(..self.line_len).unwrap_or_default();
        match line {
            [] => self.within = false,
            [b':', ..] => {}
            _ => {
                let data = line.strip_prefix(b"data:");
                let data = data.map(|data| data.strip_prefix(b" ").unwrap_or(data));
                self.done |= data.is_some_and(|data| data.starts_with(DONE.as_bytes()));
                self.within = true;
            }
        }
        self.line_len = 0;
    }

    /// What has to go out before an event of ours, so that it stands alone. `None` within an event:
    /// whatever followed would be glued to its half; and behind the end mark, where nobody reads on.
    pub(super) fn gap(&self) -> Option<&'static str> {
        match self.line.get(..self.line_len) {
            _ if self.within || self.done => None,
            Some([]) => Some(""),
            // The rest of a comment is missed by nobody.
            Some([b':', ..]) => Some("\n"),
            Some(_) | None => None,
        }
    }

    /// The end mark, when the stream, ending now, lacks nothing else: a choice has finished.
    pub(super) fn missing_end(&self) -> Option<&'static str> {
        let missing = self.finish == Finish::Found && !self.done;
        match self.gap() {
            Some("") if missing => Some("data: [DONE]\n\n"),
            Some(_) if missing => Some("\ndata: [DONE]\n\n"),
            Some(_) | None => None,
        }
    }
}

impl Finish {
    fn pass(self, piece: &[u8]) -> Self {
        let mut state = self;
        let mut rest = piece;
        loop {
            if matches!(state, Self::Ignored | Self::Found) {
                return state;
            }
            if state == Self::Key(0) {
                // Most pieces hold none: the search looks at many bytes at once.
                if let Some(at) = FINDER.find(rest) {
                    rest = rest.get(at + FINISH.len()..).unwrap_or_default();
                    state = Self::Colon;
                    continue;
                }
                let tail = rest.len().saturating_sub(FINISH.len() - 1);
                rest = rest.get(tail..).unwrap_or_default();
            }
            loop {
                let [byte, after @ ..] = rest else {
                    return state;
                };
                rest = after;
                state = state.step(*byte);
                if matches!(state, Self::Found)
                    || (state == Self::Key(0) && rest.len() >= FINISH.len())
                {
                    break;
                }
            }
        }
    }

    fn step(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Key(so_far), byte) if FINISH.get(so_far) == Some(&byte) => {
                if so_far + 1 == FINISH.len() {
                    Self::Colon
                } else {
                    Self::Key(so_far + 1)
                }
            }
            (Self::Colon | Self::Value, b' ' | b'\t') | (Self::Ignored | Self::Found, _) => self,
            (Self::Colon, b':') => Self::Value,
            (Self::Value, b'"') => Self::Found,
            // The key starts with the one byte that it also ends with.
            (Self::Key(_), b'"') => Self::Key(1),
            (Self::Key(_) | Self::Colon | Self::Value, _) => Self::Key(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stream in pieces of every size, and in two pieces at every place.
    fn cuts(text: &str, check: impl Fn(&Events, &str)) {
        let bytes = text.as_bytes();
        let pieces = (1..=bytes.len().max(1)).map(|size| bytes.chunks(size).collect::<Vec<_>>());
        let halves = (0..bytes.len()).map(|at| {
            let (one, two) = bytes.split_at(at);
            vec![one, two]
        });
        for pieces in pieces.chain(halves) {
            let mut events = Events::new(true);
            for piece in &pieces {
                events.pass(piece);
            }
            check(&events, &format!("{text:?} as {} pieces", pieces.len()));
        }
    }

    #[test]
    fn an_event_of_ours_stands_between_two_events_or_behind_a_comment() {
        for (text, gap) in [
            ("", Some("")),
            ("data: 1\n\n", Some("")),
            ("data: 1\r\n\r\n", Some("")),
            ("data: 1\r\r", Some("")),
            ("data: 1\n\r\n", Some("")),
            ("data: 1\r\n\r", Some("")),
            (": note\n\n", Some("")),
            (": note\n", Some("")),
            ("data: 1\n\n: no", Some("\n")),
            ("data: 1\n\n:", Some("\n")),
            ("data: 1\n", None),
            ("data: 1", None),
            ("data: 1\r\n", None),
            ("data: 1\n: no", None),
            ("data: 1\n\nd", None),
            ("event: x\n", None),
            ("data: 1\n\n\n\ndata: 2\n\n", Some("")),
            ("data: 1\n\ndata: [DONE]\n\n", None),
            ("data: [DONE]\n\n: bye\n\n", None),
        ] {
            cuts(text, |events, what| assert_eq!(events.gap(), gap, "{what}"));
        }
    }

    #[test]
    fn the_end_mark_is_missing_only_after_a_finish_and_between_events() {
        let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let open = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":null}]}\n\n";
        let done = "data: [DONE]\n\n";
        for (text, missing) in [
            (finish.to_owned(), true),
            (finish.replace(':', " : "), true),
            (finish.replace('\n', "\r\n"), true),
            (format!("{open}{finish}"), true),
            (format!("{finish}{open}: usage\n\n"), true),
            (format!("{finish}data: {{\"usage\":{{}}}}\n\n"), true),
            (open.to_owned(), false),
            (String::new(), false),
            (format!("{finish}{done}"), false),
            (format!("{finish}data:[DONE]\n\n"), false),
            (format!("{finish}data: [DONE]\r\n\r\n"), false),
            // Cut in the middle of an event: nobody knows what it was.
            (format!("{finish}data: {{"), false),
            (finish.trim_end().to_owned(), false),
            // A model that talks about it.
            (
                r#"data: {"delta":{"content":"\"finish_reason\":\"stop\""}}"#.to_owned() + "\n\n",
                false,
            ),
            (
                "data: {\"native_finish_reason\":\"stop\"}\n\n".to_owned(),
                false,
            ),
            ("data: {\"finish_reason\" \"stop\"}\n\n".to_owned(), false),
            ("data: \"\"finish_reason\":\"stop\"\n\n".to_owned(), true),
            (
                format!("{finish}data: {{\"content\":\"[DONE]\"}}\n\n"),
                true,
            ),
        ] {
            let expected = missing.then_some(done);
            cuts(&text, |events, what| {
                assert_eq!(events.missing_end(), expected, "{what}");
            });
        }
        let mut events = Events::new(true);
        events.pass(format!("{finish}: keep-al").as_bytes());
        assert_eq!(events.missing_end(), Some("\ndata: [DONE]\n\n"));
        let mut events = Events::new(false);
        events.pass(finish.as_bytes());
        assert_eq!(events.missing_end(), None);
    }
}
