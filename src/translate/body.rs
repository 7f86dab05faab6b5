//! A request's body as values. What JSON allows and `serde_json`'s values can't hold is set aside during the
//! translation, and put back as it came: half of a surrogate pair in a string, a number that no double holds, and deep
//! nesting.

use std::cell::RefCell;
use std::fmt;

use memchr::memmem;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::fields::RequestFields;
use super::{
    LEFT, StillWanted, TranslatedRequest, UntranslatableRequest, VALUES_A_LOOK, goes_on, json,
};

/// In front of the digits of half a surrogate pair. Unicode will never give this code point to a character.
const HALF: &str = "\u{10fffe}";
/// Around the number of a value that was set aside. Such a value is a string meanwhile.
const VALUE: &str = "\u{10ffff}";
/// What both begin with, and all code points up to there from this one on.
const MARK: &[u8] = HALF.as_bytes().split_at(3).0;
const MARKED: u16 = 0xdfc0;
/// What is deeper is set aside: `serde_json` reads 128 levels, and the other wire may have some more around it.
const DEEPEST: usize = 96;

/// Reads a body, turns it, and puts back what was set aside. Of the list with this name, which may be long, items are read
/// one by one while the request is turned: all of them at once would take many times their text.
pub(super) fn through(
    body: &[u8],
    list: &str,
    wanted: StillWanted<'_>,
    turn: impl Fn(
        RequestFields,
        Option<UnreadList<'_>>,
    ) -> Result<TranslatedRequest, UntranslatableRequest>,
) -> Result<TranslatedRequest, UntranslatableRequest> {
    let text = std::str::from_utf8(body).map_err(|error| {
        UntranslatableRequest::new("", format!("the body is not UTF-8: {error}"))
    })?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
        UntranslatableRequest::new("", format!("the body is not JSON: {error}"))
    })?;
    let why = match turned(body, list, wanted, &turn)? {
        Ok(turned) => return Ok(turned),
        Err(why) => why,
    };
    let (readable, aside) = set_aside(text).ok_or_else(|| unreadable(&why))?;
    let turned = turned(readable.as_bytes(), list, wanted, &turn);
    match turned.and_then(|turned| turned.map_err(|why| unreadable(&why))) {
        Ok(turned) => Ok(TranslatedRequest {
            body: put_back(&turned.body, &aside).ok_or_else(|| unreadable(&why))?,
            model: shown(&turned.model),
            namespaces: turned.namespaces.iter().map(|name| shown(name)).collect(),
            ..turned
        }),
        Err(refused) => Err(UntranslatableRequest::new(
            shown(&refused.field),
            shown(&refused.reason),
        )),
    }
}

/// What a text that is JSON is turned to. The inner error is that of one that can't be held.
fn turned(
    text: &[u8],
    name: &str,
    wanted: StillWanted<'_>,
    turn: impl Fn(
        RequestFields,
        Option<UnreadList<'_>>,
    ) -> Result<TranslatedRequest, UntranslatableRequest>,
) -> Result<Result<TranslatedRequest, serde_json::Error>, UntranslatableRequest> {
    let (mut made, mut list) = (Map::new(), None);
    let members = json::JsonMembers::of(text);
    let mut members =
        members.map_err(|_| UntranslatableRequest::new("", "the body must be a JSON object"))?;
    let why = RefCell::new(None);
    while let Ok(Some((member, value))) = members.next() {
        let quoted = [b"\"", member, b"\""].concat();
        let member = match serde_json::from_slice::<String>(&quoted) {
            Ok(member) => member,
            Err(why) => return Ok(Err(why)),
        };
        let is_list = member == name && value.starts_with(b"[");
        if made.contains_key(&member) || list.is_some() && member == name {
            return Err(twice(&member));
        }
        if is_list {
            list = Some(UnreadList {
                name,
                text: value,
                wanted,
                why: &why,
            });
            continue;
        }
        let value = match read(value, wanted) {
            Ok(Ok(value)) => value,
            Ok(Err(why)) => return Ok(Err(why)),
            Err(refused) => return Err(refused.below(&member)),
        };
        made.insert(member, value);
    }
    let turned = turn(RequestFields::body(made), list);
    match why.take() {
        Some(why) => Ok(Err(why)),
        None => turned.map(Ok),
    }
}

/// A list of a request whose items have not been read.
#[derive(Clone, Copy)]
pub(super) struct UnreadList<'l> {
    name: &'l str,
    text: &'l [u8],
    wanted: StillWanted<'l>,
    /// Why an item can't be held.
    why: &'l RefCell<Option<serde_json::Error>>,
}

impl UnreadList<'_> {
    /// Takes each item with its place, while the result is still awaited.
    pub(super) fn each(
        self,
        mut take: impl FnMut(String, Value) -> Result<(), UntranslatableRequest>,
    ) -> Result<(), UntranslatableRequest> {
        let broken = |_| UntranslatableRequest::new(self.name, "must be a list");
        let mut items = json::JsonItems::of(self.text).map_err(broken)?;
        let mut at = 0;
        while let Some(item) = items.next().map_err(broken)? {
            goes_on(self.wanted)?;
            let place = format!("{}[{at}]", self.name);
            match read(item, self.wanted) {
                Ok(Ok(item)) => take(place, item)?,
                Ok(Err(why)) => {
                    *self.why.borrow_mut() = Some(why);
                    return Err(UntranslatableRequest::new(place, "can't be read"));
                }
                Err(refused) => return Err(refused.below(&place)),
            }
            at += 1;
        }
        Ok(())
    }
}

/// It is JSON, and still can't be read.
fn unreadable(why: &serde_json::Error) -> UntranslatableRequest {
    UntranslatableRequest::new("", format!("the body can't be read: {why}"))
}

fn twice(field: &str) -> UntranslatableRequest {
    UntranslatableRequest::new(shown(field), "appears twice; send it once")
}

impl UntranslatableRequest {
    /// The same for the member of this name.
    fn below(self, name: &str) -> Self {
        if self.field.is_empty() && self.reason == LEFT {
            return self;
        }
        let dot = if self.field.is_empty() || self.field.starts_with('[') {
            ""
        } else {
            "."
        };
        Self::new(format!("{}{dot}{}", shown(name), self.field), self.reason)
    }
}

/// A text's value. The inner error is that of a text that is JSON and can't be held.
fn read(
    text: &[u8],
    wanted: StillWanted<'_>,
) -> Result<Result<Value, serde_json::Error>, UntranslatableRequest> {
    let mut found = FoundMembers {
        twice: Vec::new(),
        values: 0,
        wanted,
    };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = ValueReading(&mut found).deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    let FoundMembers {
        twice: mut places, ..
    } = found;
    if value.is_err() {
        goes_on(wanted)?;
    }
    if places.is_empty() {
        return Ok(value);
    }
    places.reverse();
    let place = places.concat();
    Err(twice(place.strip_prefix('.').unwrap_or(&place)))
}

/// What was found so far.
struct FoundMembers<'w> {
    /// Where an object has two members of one name, from the member outwards.
    twice: Vec<String>,
    values: usize,
    wanted: StillWanted<'w>,
}

/// Reads a value in which no object has two members of one name.
struct ValueReading<'r, 'w>(&'r mut FoundMembers<'w>);

impl<'w> ValueReading<'_, 'w> {
    fn again(&mut self) -> ValueReading<'_, 'w> {
        ValueReading(&mut *self.0)
    }

    /// Adds the place of a duplicated member.
    fn places<T, E>(&mut self, read: Result<T, E>, place: impl FnOnce() -> String) -> Result<T, E> {
        if read.is_err() && !self.0.twice.is_empty() {
            self.0.twice.push(place());
        }
        read
    }
}

impl<'de> DeserializeSeed<'de> for ValueReading<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.values += 1;
        if self.0.values.is_multiple_of(VALUES_A_LOOK) && !(self.0.wanted)() {
            return Err(D::Error::custom(LEFT));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReading<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut made = Vec::new();
        loop {
            let item = items.next_element_seed(self.again());
            match self.places(item, || format!("[{}]", made.len()))? {
                Some(item) => made.push(item),
                None => return Ok(made.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        let mut made = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            match made.entry(name) {
                Entry::Occupied(member) => {
                    self.0.twice.push(format!(".{}", member.key()));
                    return Err(A::Error::custom("a member came twice"));
                }
                Entry::Vacant(member) => {
                    let value = members.next_value_seed(self.again());
                    let value = self.places(value, || format!(".{}", member.key()))?;
                    member.insert(value);
                }
            }
        }
        Ok(made.into())
    }
}

/// A text that `serde_json` can hold, and the values that are missing in it; `None` if it contains one of our
/// marks. The text is JSON.
fn set_aside(text: &str) -> Option<(String, Vec<&str>)> {
    let bytes = text.as_bytes();
    if memmem::find(bytes, MARK).is_some() {
        return None;
    }
    let (mut made, mut aside) = (String::with_capacity(text.len() + 64), Vec::new());
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        let end = match byte {
            b'"' => {
                let end = json::string_end(bytes, at).ok()?;
                halves(text.get(at..end)?, &mut made)?;
                at = end;
                continue;
            }
            b'{' | b'[' if depth == DEEPEST => at + json::length(bytes.get(at..)?).ok()?,
            b'-' | b'0'..=b'9' => at + json::length(bytes.get(at..)?).ok()?,
            _ => at + 1,
        };
        let token = text.get(at..end)?;
        match byte {
            b'{' | b'[' if depth < DEEPEST => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        let is_number = token.parse::<f64>();
        if end - at > 1 && !is_number.is_ok_and(f64::is_finite) {
            let number = aside.len().to_string();
            made.extend(["\"", VALUE, &number, VALUE, "\""]);
            aside.push(token);
        } else {
            made.push_str(token);
        }
        at = end;
    }
    Some((made, aside))
}

/// A string with its quotes, and marks in the place of each half of a surrogate pair that is alone.
fn halves(string: &str, made: &mut String) -> Option<()> {
    let mut rest = string;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (before, escape) = rest.split_at_checked(at)?;
        made.push_str(before);
        let half = |escape: &str| {
            let digits = escape.strip_prefix("\\u")?.get(..4)?;
            u16::from_str_radix(digits, 16).ok()
        };
        let length = match half(escape) {
            None => 2,
            Some(first @ 0xd800..=0xdbff) => match escape.get(6..).and_then(half) {
                Some(MARKED..=0xdfff) if first == 0xdbff => return None,
                Some(0xdc00..=0xdfff) => 12,
                Some(_) | None => 0,
            },
            Some(0xdc00..=0xdfff) => 0,
            Some(_) => 6,
        };
        if length == 0 {
            made.push_str(HALF);
            made.push_str(escape.get(2..6)?);
            rest = escape.get(6..)?;
        } else {
            made.push_str(escape.get(..length)?);
            rest = escape.get(length..)?;
        }
    }
    made.push_str(rest);
    Some(())
}

/// A text with everything that was set aside; `None` if a value has become a part of another text.
fn put_back(made: &[u8], aside: &[&str]) -> Option<Vec<u8>> {
    let mut rest = std::str::from_utf8(made).ok()?;
    let mut whole = String::with_capacity(rest.len());
    while let Some(at) = memmem::find(rest.as_bytes(), MARK) {
        let (before, mark) = rest.split_at_checked(at)?;
        if let Some(half) = mark.strip_prefix(HALF) {
            whole.push_str(before);
            whole.push_str("\\u");
            let (digits, behind) = half.split_at_checked(4)?;
            whole.push_str(digits);
            rest = behind;
        } else {
            whole.push_str(before.strip_suffix('"')?);
            let (number, behind) = mark.strip_prefix(VALUE)?.split_once(VALUE)?;
            whole.push_str(aside.get(number.parse::<usize>().ok()?)?);
            rest = behind.strip_prefix('"')?;
        }
    }
    whole.push_str(rest);
    Some(whole.into_bytes())
}

/// A text in which marks may be, for people to read.
fn shown(text: &str) -> String {
    let mut pieces = text.split(HALF);
    let mut made = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        made.push(char::REPLACEMENT_CHARACTER);
        made.push_str(piece.get(4..).unwrap_or_default());
    }
    made.replace(VALUE, "")
}
