//! Which choices of an event stream have begun, and which have finished. Pure, with constant
//! memory.
//!
//! A chunk is `{"choices": [{"index": 0, "finish_reason": null, …}, …], …}`. Only the keys of the chunk and of its
//! choices count: deltas have an `index` of their own (tool calls), and a model may write about all of them.

use memchr::memchr2;

/// As many as OpenAI's `n` allows. Whether a stream with more is whole isn't known.
const MOST: u32 = u128::BITS;
/// Room for the longest key that counts, and a byte more that tells a longer one.
const KEY: usize = b"finish_reason".len() + 1;
/// As much of a beginning is remembered, and no less is worth it.
const LONGEST: usize = 192;
const SHORTEST: usize = 16;
/// It is looked at in steps of so many bytes, as to whether it tells something.
const STEP: usize = 8;

/// The choices of a stream, and the place in the JSON of the present event.
#[derive(Debug, Clone, Default)]
pub(super) struct Choices {
    told: Told,
    at: At,
    /// Something of the present event has passed.
    is_under_way: bool,
    /// How the events begin.
    beginning: Option<Box<Beginning>>,
}

/// What the events have told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    /// One bit for each index.
    begun: u128,
    finished: u128,
    /// There was an error, or more choices than are counted.
    unknown: bool,
}

/// A place in the JSON of an event.
#[derive(Debug, Clone, Copy, Default)]
struct At {
    /// Brackets that are open.
    depth: u32,
    /// The string that contains the position, and whether it follows a backslash.
    text: StringUse,
    escaped: bool,
    /// What a key is so far.
    key: [u8; KEY],
    key_len: usize,
    /// The chunk's own key, and the choice's.
    chunk: ObjectPosition,
    choice: ObjectPosition,
    within: Within,
    index: u32,
    ends: bool,
}

/// The bytes that the last events began with, and the place behind them: the chunks of a stream differ in little but a
/// word of their deltas. They tell nothing by themselves.
#[derive(Debug, Clone)]
struct Beginning {
    text: [u8; LONGEST],
    size: usize,
    at: At,
}

/// What the bytes of a string are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum StringUse {
    /// There is no string.
    #[default]
    Outside,
    Ignored,
    Key,
    FinishReason,
}

/// What the brackets are that are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Other,
    /// The chunk's `choices`.
    List,
    /// One of them.
    Choice,
}

/// The position of an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ObjectPosition {
    /// Before a colon.
    #[default]
    Key,
    /// Behind the colon of a key.
    Choices,
    Error,
    Index,
    FinishReason,
    Other,
}

impl Choices {
    /// All choices that began have finished, at least one did, and there was no error.
    pub(super) fn are_finished(&self) -> bool {
        let Told {
            begun,
            finished,
            unknown,
        } = self.told;
        !unknown && begun != 0 && begun == finished
    }

    /// The event has ended; the next one is read from its start.
    pub(super) fn end_event(&mut self) {
        self.at = At::default();
        self.is_under_way = false;
    }

    /// A piece of an event's data.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        if piece.is_empty() || std::mem::replace(&mut self.is_under_way, true) {
            return self.at.pass(piece, &mut self.told);
        }
        if let Some(beginning) = &self.beginning
            && let Some(rest) = piece.strip_prefix(beginning.text())
        {
            self.at = beginning.at;
            return self.at.pass(rest, &mut self.told);
        }
        self.begins_otherwise(piece);
    }

    /// The first piece of an event that does not begin as the last ones did, or that is shorter than that.
    fn begins_otherwise(&mut self, piece: &[u8]) {
        let size = self.beginning.as_ref().map_or(LONGEST, |beginning| {
            let mut both = beginning.text().iter().zip(piece);
            let differs = both.position(|(one, other)| one != other);
            differs.unwrap_or_default()
        });
        // Up to what tells something, which has to be read each time.
        let (mut start, mut at) = (0, At::default());
        let mut told = Told::default();
        for part in piece.get(..size).unwrap_or(piece).chunks(STEP) {
            let before = at;
            at.pass(part, &mut told);
            if told != Told::default() {
                at = before;
                break;
            }
            start += part.len();
        }
        self.at = at;
        let (start, rest) = piece.split_at_checked(start).unwrap_or((&[], piece));
        if size > 0 {
            let is_worth_it = start.len() >= SHORTEST;
            self.beginning = is_worth_it.then(|| Beginning::new(start, at));
        }
        self.at.pass(rest, &mut self.told);
    }
}

impl Beginning {
    fn new(start: &[u8], at: At) -> Box<Self> {
        let mut text = [0; LONGEST];
        for (to, from) in text.iter_mut().zip(start) {
            *to = *from;
        }
        let size = start.len().min(LONGEST);
        Box::new(Self { text, size, at })
    }

    fn text(&self) -> &[u8] {
        self.text.get(..self.size).unwrap_or_default()
    }
}

impl At {
    /// Reads on.
    fn pass(&mut self, mut piece: &[u8], told: &mut Told) {
        while let [byte, after @ ..] = piece {
            piece = if self.text == StringUse::Outside {
                self.step(*byte, told);
                after
            } else {
                self.within_a_string(piece)
            };
        }
    }

    /// Most bytes are those of strings: what doesn't count is jumped over. The rest of the piece.
    fn within_a_string<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        if std::mem::take(&mut self.escaped) {
            self.text(piece.get(..1).unwrap_or_default());
            return piece.get(1..).unwrap_or_default();
        }
        let Some(end) = memchr2(b'"', b'\\', piece) else {
            self.text(piece);
            return &[];
        };
        let (text, rest) = piece.split_at_checked(end).unwrap_or((piece, &[]));
        self.text(text);
        let [byte, after @ ..] = rest else {
            return rest;
        };
        if *byte == b'\\' {
            self.escaped = true;
            // A key with an escape does not count.
            self.text(b"\\");
        } else {
            self.text = StringUse::Outside;
        }
        after
    }

    fn text(&mut self, text: &[u8]) {
        match self.text {
            StringUse::Outside | StringUse::Ignored => {}
            StringUse::Key => {
                let room = self.key.get_mut(self.key_len..).unwrap_or_default();
                for (place, byte) in room.iter_mut().zip(text) {
                    *place = *byte;
                    self.key_len += 1;
                }
            }
            // Some providers send an empty one until there is a reason.
            StringUse::FinishReason => self.ends |= !text.is_empty(),
        }
    }

    /// A byte outside of strings.
    fn step(&mut self, byte: u8, told: &mut Told) {
        match byte {
            b'"' => self.open_string(told),
            b'{' | b'[' => self.open(byte, told),
            b'}' | b']' => self.close(told),
            b':' => self.colon(),
            b',' if self.depth == 1 => self.chunk = ObjectPosition::Key,
            b',' if self.is_choice() => self.choice = ObjectPosition::Key,
            b'0'..=b'9' if self.is_choice() && self.choice == ObjectPosition::Index => {
                let digit = u32::from(byte - b'0');
                self.index = self.index.saturating_mul(10).saturating_add(digit);
            }
            _ => {}
        }
    }

    /// Whether this is a choice's own level.
    fn is_choice(&self) -> bool {
        self.depth == 3 && self.within == Within::Choice
    }

    fn open_string(&mut self, told: &mut Told) {
        self.key_len = 0;
        self.text = match () {
            () if self.depth == 1 && self.chunk == ObjectPosition::Key => StringUse::Key,
            () if self.is_choice() && self.choice == ObjectPosition::Key => StringUse::Key,
            () if self.is_choice() && self.choice == ObjectPosition::FinishReason => {
                StringUse::FinishReason
            }
            () => StringUse::Ignored,
        };
        told.unknown |= self.depth == 1 && self.chunk == ObjectPosition::Error;
    }

    fn open(&mut self, byte: u8, told: &mut Told) {
        match self.depth {
            1 => {
                let is_list = self.chunk == ObjectPosition::Choices && byte == b'[';
                self.within = if is_list { Within::List } else { Within::Other };
                told.unknown |= self.chunk == ObjectPosition::Error;
            }
            2 if self.within == Within::List && byte == b'{' => {
                self.within = Within::Choice;
                self.choice = ObjectPosition::Key;
                (self.index, self.ends) = (0, false);
            }
            _ => {}
        }
        self.depth = self.depth.saturating_add(1);
    }

    fn close(&mut self, told: &mut Told) {
        if self.is_choice() {
            self.count(told);
            self.within = Within::List;
        }
        self.depth = self.depth.saturating_sub(1);
        if self.depth < 2 {
            self.within = Within::Other;
        }
    }

    fn colon(&mut self) {
        let key = self.key.get(..self.key_len).unwrap_or_default();
        if self.depth == 1 && self.chunk == ObjectPosition::Key {
            self.chunk = match key {
                b"choices" => ObjectPosition::Choices,
                b"error" => ObjectPosition::Error,
                _ => ObjectPosition::Other,
            };
        } else if self.is_choice() && self.choice == ObjectPosition::Key {
            self.choice = match key {
                b"index" => {
                    self.index = 0;
                    ObjectPosition::Index
                }
                b"finish_reason" => ObjectPosition::FinishReason,
                _ => ObjectPosition::Other,
            };
        }
    }

    /// A choice was sent whole.
    fn count(&self, told: &mut Told) {
        if self.index >= MOST {
            told.unknown = true;
            return;
        }
        let bit = 1_u128 << self.index;
        told.begun |= bit;
        if self.ends {
            told.finished |= bit;
        } else {
            // It continues after its end.
            told.finished &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(events: &[String], size: usize) -> Choices {
        let mut choices = Choices::default();
        for event in events {
            for piece in event.as_bytes().chunks(size) {
                choices.pass(piece);
            }
            choices.end_event();
        }
        choices
    }

    /// The same by serde's word.
    fn is_finished(events: &[Value]) -> bool {
        let mut open = std::collections::BTreeMap::new();
        for event in events {
            if event
                .get("error")
                .is_some_and(|error| error.is_object() || error.is_array() || error.is_string())
            {
                return false;
            }
            for choice in event
                .get("choices")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                if !choice.is_object() {
                    continue;
                }
                let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
                let reason = choice.get("finish_reason").and_then(Value::as_str);
                open.insert(index, reason.is_none_or(str::is_empty));
            }
        }
        !open.is_empty() && open.iter().all(|(index, open)| *index < 128 && !open)
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (0_u64..200).prop_map(Value::from),
            "[a-c\"\\\\{}:,\\[\\]é]{0,6}".prop_map(Value::String),
            Just(json!("stop")),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop_oneof![
                Just("choices".to_owned()),
                Just("index".to_owned()),
                Just("finish_reason".to_owned()),
                Just("error".to_owned()),
                Just("finish_reasons".to_owned()),
                "[a-c\"\\\\:{]{0,4}",
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec((key, inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    fn choice() -> impl Strategy<Value = Value> {
        let reason = prop_oneof![Just(json!("stop")), Just(Value::Null), Just(json!(""))];
        let index = prop_oneof![0_u64..3, 126_u64..131];
        (index, reason, value(), any::<bool>()).prop_map(|(index, reason, delta, first)| {
            if first {
                json!({"index": index, "delta": delta, "finish_reason": reason})
            } else {
                json!({"finish_reason": reason, "logprobs": delta, "index": index})
            }
        })
    }

    fn chunk() -> impl Strategy<Value = Value> {
        let chunk = (value(), prop::collection::vec(choice(), 0..3));
        let chunk = chunk.prop_map(|(usage, choices)| json!({"id": usage, "choices": choices}));
        prop_oneof![4 => chunk, 1 => value()]
    }

    proptest! {
        #[test]
        fn any_stream_is_judged_as_by_a_whole_reader(
            events in prop::collection::vec(chunk(), 0..6),
            size in 1_usize..200,
            repeated in 1_usize..4,
            pretty in any::<bool>(),
        ) {
            let text = |event: &Value| {
                if pretty {
                    serde_json::to_string_pretty(event).unwrap()
                } else {
                    event.to_string()
                }
            };
            // The same event comes again, as most of a stream's do.
            let events: Vec<_> = events.into_iter().flat_map(|event| vec![event; repeated]).collect();
            let texts: Vec<_> = events.iter().map(text).collect();
            // Only an object is a chunk.
            let chunks: Vec<_> = events.iter().filter(|event| event.is_object()).cloned().collect();
            prop_assert_eq!(read(&texts, size).are_finished(), is_finished(&chunks), "{:?}", texts);
        }

        #[test]
        fn whatever_comes_is_read_without_harm(bytes: Vec<u8>, size in 1_usize..20) {
            let mut choices = Choices::default();
            for piece in bytes.chunks(size) {
                choices.pass(piece);
            }
            choices.end_event();
        }
    }

    #[test]
    fn what_a_beginning_tells_is_read_each_time() {
        let event = |index: u32, reason: Value| {
            json!({"choices": [{"index": index, "delta": {}, "finish_reason": reason}], "model": "a model with a long name"})
                .to_string()
        };
        let (open, stop) = (event(0, Value::Null), event(0, json!("stop")));
        let other = event(1, Value::Null);
        let is_finished = |events: &[&String]| {
            let events: Vec<String> = events.iter().map(|event| (*event).clone()).collect();
            let sizes = 1..=open.len().max(stop.len());
            let mut read = sizes.map(|size| read(&events, size).are_finished());
            let first = read.next().unwrap();
            assert!(read.all(|one| one == first), "{events:?}");
            first
        };
        for count in 1..5 {
            let mut events = vec![&open; count];
            assert!(!is_finished(&events));
            events.push(&stop);
            assert!(is_finished(&events));
            events.push(&stop);
            assert!(is_finished(&events));
            events.push(&open);
            assert!(!is_finished(&events));
            events.push(&stop);
            assert!(is_finished(&events));
            events.push(&other);
            assert!(!is_finished(&events));
        }
    }

    #[test]
    fn it_is_as_small_however_many_choices_there_are() {
        assert!(size_of::<Choices>() <= 112, "{}", size_of::<Choices>());
    }
}
