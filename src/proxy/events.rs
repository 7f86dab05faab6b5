//! The state of an event stream under way: its position, whether it lacks its end mark, and what an event in it
//! says about the account. Pure, with constant memory.

use super::ending::StreamEnding;
use super::error_events::ErrorEvents;
use crate::provider::ReadError;
use crate::sse::{StreamPosition, Tap, Tokenizer};

/// An event stream that passes, and what listens to it.
#[derive(Debug, Clone)]
pub(super) struct PassingEvents {
    lines: Tokenizer,
    taps: Taps,
    /// Its length is announced: an event more would break the framing.
    is_sized: bool,
}

/// What listens.
#[derive(Debug, Clone)]
struct Taps {
    ending: StreamEnding,
    errors: Option<Box<ErrorEvents>>,
    /// Events that have ended.
    count: u64,
    has_data: bool,
}

impl PassingEvents {
    /// A stream at its start. `ends`: whether its end is looked for. `reads`: what its error events are read by, and
    /// what an event holds that tells of the quota.
    pub(super) fn new(ends: bool, reads: Option<(ReadError, Option<&'static str>)>) -> Self {
        Self {
            lines: Tokenizer::default(),
            taps: Taps {
                ending: StreamEnding::new(ends),
                errors: reads.map(|(reads, quota)| Box::new(ErrorEvents::new(reads, quota))),
                count: 0,
                has_data: false,
            },
            is_sized: false,
        }
    }

    /// The same of a stream whose length is announced.
    pub(super) fn sized(self) -> Self {
        Self {
            is_sized: true,
            ..self
        }
    }

    /// A piece passes.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        self.lines.pass(piece, &mut self.taps);
    }

    /// How many events with data have passed.
    pub(super) fn count(&self) -> u64 {
        self.taps.count
    }

    /// Why the provider refuses the account, once an event has said so.
    pub(super) fn blocked(&self) -> Option<&'static str> {
        self.taps.errors.as_ref()?.code()
    }

    /// The last event that told of the account's quota, once.
    pub(super) fn told(&mut self) -> Option<Vec<u8>> {
        self.taps.errors.as_mut()?.told()
    }

    /// The bytes that must precede an event of ours, so that it is separate. `None` within an event,
    /// since it would be glued to the half; and after the end mark, where reading has ended.
    pub(super) fn gap(&self) -> Option<&'static str> {
        match self.lines.at() {
            _ if self.is_sized || self.taps.ending.is_done() => None,
            StreamPosition::Between => Some(""),
            // The rest of a comment is never missed.
            StreamPosition::Comment => Some("\n"),
            StreamPosition::Within => None,
        }
    }

    /// The end mark, when the stream, ending now, lacks nothing else: all choices that began have finished.
    pub(super) fn missing_end(&self) -> Option<&'static str> {
        let missing = self.taps.ending.lacks_mark();
        match self.gap() {
            Some("") if missing => Some("data: [DONE]\n\n"),
            Some(_) if missing => Some("\ndata: [DONE]\n\n"),
            Some(_) | None => None,
        }
    }
}

impl Tap for Taps {
    fn data(&mut self, piece: &[u8]) {
        self.ending.data(piece);
        if let Some(errors) = &mut self.errors {
            errors.data(piece);
        }
    }

    fn end_data(&mut self) {
        self.has_data = true;
        self.ending.end_data();
        if let Some(errors) = &mut self.errors {
            errors.end_data();
        }
    }

    fn end_event(&mut self) {
        self.count += u64::from(std::mem::take(&mut self.has_data));
        self.ending.end_event();
        if let Some(errors) = &mut self.errors {
            errors.end_event();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stream in pieces of every size, and in two pieces at every place.
    fn cuts(text: &str, check: impl Fn(&PassingEvents, &str)) {
        let bytes = text.as_bytes();
        let pieces = (1..=bytes.len().max(1)).map(|size| bytes.chunks(size).collect::<Vec<_>>());
        let halves = (0..bytes.len()).map(|at| {
            let (one, two) = bytes.split_at(at);
            vec![one, two]
        });
        for pieces in pieces.chain(halves) {
            let mut events = PassingEvents::new(true, None);
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
    fn the_end_mark_is_missing_only_when_every_choice_has_finished_and_between_events() {
        let chunk = |index: usize, reason: &str| {
            format!(
                "data: {{\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":{reason}}}]}}\n\n"
            )
        };
        let stop = |index| chunk(index, "\"stop\"");
        let open = |index| chunk(index, "null");
        let (finish, done) = (stop(0), "data: [DONE]\n\n");
        let tool = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":\
                    {\"arguments\":\"{\\\"finish_reason\\\": \\\"stop\\\"\"}}]},\"finish_reason\":null}]}\n\n";
        for (text, missing) in [
            (finish.clone(), true),
            (finish.replace(':', " : ").replace("data : ", "data:"), true),
            (finish.replace('\n', "\r\n"), true),
            (finish.replace("\"index\":0,", ""), true),
            (format!("{}{finish}", open(0)), true),
            (format!("{finish}: usage\n\n"), true),
            (
                format!("{finish}data: {{\"choices\":[],\"usage\":{{}}}}\n\n"),
                true,
            ),
            (format!("{finish}data: {{\"usage\":{{}}}}\n\n"), true),
            (format!("{finish}event: ping\ndata: {{}}\n\n"), true),
            // One event, two lines of data.
            (finish.replace("[{", "[\ndata: {"), true),
            (open(0), false),
            (chunk(0, "\"\""), false),
            (String::new(), false),
            (format!("{finish}{done}"), false),
            (format!("{finish}data:[DONE]\n\n"), false),
            (format!("{finish}data: [DONE]\r\n\r\n"), false),
            // `n` is 2.
            (format!("{}{}{}", open(0), open(1), stop(0)), false),
            (
                format!("{}{}{}{}", open(0), open(1), stop(1), stop(0)),
                true,
            ),
            (format!("{}{}", stop(0), stop(1)), true),
            (format!("{}{}", stop(0), open(1)), false),
            (format!("{}{}", stop(127), stop(3)), true),
            // It goes on.
            (format!("{finish}{}", open(0)), false),
            (format!("{finish}{}{finish}", open(0)), true),
            // More than are counted.
            (format!("{finish}{}", stop(128)), false),
            (format!("{finish}{}", stop(usize::MAX)), false),
            // An error instead of the rest.
            (
                format!("{finish}data: {{\"error\":{{\"message\":\"overloaded\"}}}}\n\n"),
                false,
            ),
            (
                format!("{finish}data: {{\"error\":null,\"usage\":{{}}}}\n\n"),
                true,
            ),
            // A tool call's index and a model's words are not a choice's.
            (tool.to_owned(), false),
            (format!("{tool}{finish}"), true),
            // Cut in the middle of an event, whose meaning is unknown.
            (format!("{finish}data: {{"), false),
            (finish.trim_end().to_owned(), false),
            (
                "data: {\"native_finish_reason\":\"stop\"}\n\n".to_owned(),
                false,
            ),
            ("data: {\"finish_reason\":\"stop\"}\n\n".to_owned(), false),
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
        let mut events = PassingEvents::new(true, None);
        events.pass(format!("{finish}: keep-al").as_bytes());
        assert_eq!(events.missing_end(), Some("\ndata: [DONE]\n\n"));
        let mut events = PassingEvents::new(false, None);
        events.pass(finish.as_bytes());
        assert_eq!(events.missing_end(), None);
    }
}
