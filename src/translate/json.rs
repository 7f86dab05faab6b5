//! Reads the text of JSON only as far as needed: members and items are found and never copied. Copied values (a
//! string, a number) are checked, so that the output stays JSON.

use memchr::memchr2;

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// A member's name without its quotes, and its value.
pub(super) type JsonMember<'t> = (&'t [u8], &'t [u8]);

/// The members of an object, one by one.
#[derive(Debug)]
pub(super) struct JsonMembers<'t> {
    rest: &'t [u8],
    is_first: bool,
}

/// The items of a list, one by one.
#[derive(Debug)]
pub(super) struct JsonItems<'t> {
    rest: &'t [u8],
    is_first: bool,
}

impl<'t> JsonMembers<'t> {
    /// Of an object.
    pub(super) fn of(text: &'t [u8]) -> Result<Self, Broken> {
        let rest = text.trim_ascii_start().strip_prefix(b"{").ok_or(Broken)?;
        let is_first = true;
        Ok(Self { rest, is_first })
    }

    pub(super) fn next(&mut self) -> Result<Option<JsonMember<'t>>, Broken> {
        let Some(rest) = next(self.rest, &mut self.is_first, b'}')? else {
            return Ok(None);
        };
        let (name, rest) = split(rest)?;
        let name = inner(name).ok_or(Broken)?;
        let rest = rest.trim_ascii_start().strip_prefix(b":").ok_or(Broken)?;
        let (value, rest) = split(rest.trim_ascii_start())?;
        self.rest = rest;
        Ok(Some((name, value)))
    }
}

impl<'t> JsonItems<'t> {
    /// The members of the next one, which is an object; its leftovers have to be given back.
    pub(super) fn enter(&mut self) -> Result<Option<JsonMembers<'t>>, Broken> {
        let Some(rest) = next(self.rest, &mut self.is_first, b']')? else {
            return Ok(None);
        };
        JsonMembers::of(rest).map(Some)
    }

    /// Continues after an object that was entered.
    pub(super) fn leave(&mut self, mut members: JsonMembers<'t>) -> Result<(), Broken> {
        while members.next()?.is_some() {}
        let rest = members.rest.trim_ascii_start();
        self.rest = rest.strip_prefix(b"}").ok_or(Broken)?;
        Ok(())
    }

    /// Of a list.
    pub(super) fn of(text: &'t [u8]) -> Result<Self, Broken> {
        let rest = text.trim_ascii_start().strip_prefix(b"[").ok_or(Broken)?;
        let is_first = true;
        Ok(Self { rest, is_first })
    }

    pub(super) fn next(&mut self) -> Result<Option<&'t [u8]>, Broken> {
        let Some(rest) = next(self.rest, &mut self.is_first, b']')? else {
            return Ok(None);
        };
        let (item, rest) = split(rest)?;
        self.rest = rest;
        Ok(Some(item))
    }
}

/// What precedes the next value; `None` at the closing bracket.
fn next<'t>(rest: &'t [u8], is_first: &mut bool, close: u8) -> Result<Option<&'t [u8]>, Broken> {
    let rest = rest.trim_ascii_start();
    if rest.first() == Some(&close) {
        return Ok(None);
    }
    if std::mem::take(is_first) {
        return Ok(Some(rest));
    }
    let rest = rest.strip_prefix(b",").ok_or(Broken)?;
    Ok(Some(rest.trim_ascii_start()))
}

/// A value, and what follows it.
fn split(text: &[u8]) -> Result<(&[u8], &[u8]), Broken> {
    text.split_at_checked(length(text)?).ok_or(Broken)
}

/// The bytes of the value that a text begins with.
pub(super) fn length(text: &[u8]) -> Result<usize, Broken> {
    let end = match text.first().ok_or(Broken)? {
        b'"' => string_end(text, 0)?,
        b'{' | b'[' => {
            let (mut at, mut depth) = (0, 0_usize);
            loop {
                let rest = text.get(at..).ok_or(Broken)?;
                // Most bytes between strings don't matter.
                let marks = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
                at += rest.iter().position(marks).ok_or(Broken)?;
                match text.get(at) {
                    Some(b'"') => {
                        at = string_end(text, at)?;
                        continue;
                    }
                    Some(b'{' | b'[') => depth += 1,
                    _ => depth -= 1,
                }
                at += 1;
                if depth == 0 {
                    break at;
                }
            }
        }
        _ => {
            let ends =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            text.iter().position(ends).unwrap_or(text.len())
        }
    };
    if end > 0 { Ok(end) } else { Err(Broken) }
}

/// Behind the closing quote of the string that begins at `at`.
pub(super) fn string_end(text: &[u8], at: usize) -> Result<usize, Broken> {
    let mut at = at + 1;
    loop {
        let rest = text.get(at..).ok_or(Broken)?;
        at += mark(rest).ok_or(Broken)?;
        if text.get(at) == Some(&b'"') {
            return Ok(at + 1);
        }
        at += 2;
    }
}

/// Where the first quote or backslash is. Most names and values are short, and found eight bytes at a time; a search by
/// many bytes at once takes longer to begin.
fn mark(text: &[u8]) -> Option<usize> {
    const SHORT: usize = 5;
    const ONES: u64 = 0x0101_0101_0101_0101;
    /// The highest bit of each byte that is zero, and of some above the first one.
    fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & (ONES << 7)
    }
    let mut rest = text;
    for eight in 0..SHORT {
        let Some((word, behind)) = rest.split_first_chunk() else {
            let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
            return found.map(|at| 8 * eight + at);
        };
        let word = u64::from_le_bytes(*word);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let marks = quotes | zeros(word ^ (ONES * u64::from(b'\\')));
        if marks != 0 {
            let at = usize::try_from(marks.trailing_zeros() / 8).ok()?;
            return Some(8 * eight + at);
        }
        rest = behind;
    }
    memchr2(b'"', b'\\', rest).map(|at| 8 * SHORT + at)
}

/// What is between the quotes of a string, unchecked: only to be compared.
pub(super) fn inner(string: &[u8]) -> Option<&[u8]> {
    string.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// What is between the quotes of a value that is a string, escapes as they came.
pub(super) fn string(value: &[u8]) -> Option<&[u8]> {
    let inside = inner(value)?;
    let mut rest = std::str::from_utf8(inside).ok()?.as_bytes();
    if rest.iter().any(|byte| *byte < 0x20) {
        return None;
    }
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let escape = rest.get(at + 1..)?;
        let length = match escape.first()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 1,
            b'u' if escape.get(1..5)?.iter().all(u8::is_ascii_hexdigit) => 5,
            _ => return None,
        };
        rest = escape.get(length..)?;
    }
    Some(inside)
}

/// A whole number that is not negative.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The last member of this name in an object.
pub(super) fn member<'t>(object: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let (mut members, mut found) = (JsonMembers::of(object).ok()?, None);
    while let Some((member, value)) = members.next().ok()? {
        if member == name {
            found = Some(value);
        }
    }
    found
}

/// A value, if it is short: a parsed value takes many times its text.
pub(super) fn value(text: &[u8]) -> Option<serde_json::Value> {
    const LONGEST: usize = 64 * 1024;
    let short = (text.len() <= LONGEST).then_some(text)?;
    serde_json::from_slice(short).ok()
}

/// Whether a value is `null`.
pub(super) fn is_null(value: &[u8]) -> bool {
    value == b"null"
}

/// A text in the form of a JSON string, without its quotes.
pub(super) fn escaped(text: &str) -> Vec<u8> {
    let quoted = serde_json::Value::from(text).to_string().into_bytes();
    inner(&quoted).map(<[u8]>::to_vec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Result<Vec<(String, String)>, Broken> {
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut members = JsonMembers::of(text.as_bytes())?;
        let mut found = Vec::new();
        while let Some((name, value)) = members.next()? {
            found.push((text_of(name), text_of(value)));
        }
        Ok(found)
    }

    #[test]
    fn members_and_items_are_found_and_half_an_object_is_not_one() {
        let text = " { \"a\" : [1, {\"b\":\"]}\"}] ,\t\"c\":\"\\\\\\\"\" , \"d\":null}";
        let found = members(text).unwrap();
        let expected = [
            ("a", "[1, {\"b\":\"]}\"}]"),
            ("c", "\"\\\\\\\"\""),
            ("d", "null"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(members("{}"), Ok(vec![]));
        for length in 0..text.len() {
            assert_eq!(
                members(text.get(..length).unwrap()),
                Err(Broken),
                "{length}"
            );
        }
        for text in [
            "[]",
            "{\"a\":1 \"b\":2}",
            "{\"a\":,}",
            "{1:2}",
            "{\"a\" 1}",
            "{,}",
        ] {
            assert_eq!(members(text), Err(Broken), "{text}");
        }
        let mut items = JsonItems::of(b"[ 1,\"a,b\" , {\"x\":[2]} ]").unwrap();
        for expected in ["1", "\"a,b\"", "{\"x\":[2]}"] {
            assert_eq!(items.next().unwrap().unwrap(), expected.as_bytes());
        }
        assert_eq!(items.next(), Ok(None));
        let mut items = JsonItems::of(b"[ {\"x\":[2], \"y\":3} , {} ,{\"z\":1 } ]").unwrap();
        for first in [Some(b"x"), None, Some(b"z")] {
            let mut members = items.enter().unwrap().unwrap();
            let name = members.next().unwrap().map(|(name, _)| name);
            assert_eq!(name, first.map(|name| &name[..]));
            items.leave(members).unwrap();
        }
        assert!(items.enter().unwrap().is_none());
        for text in ["[1]", "[{\"x\":1", "[{]"] {
            let mut items = JsonItems::of(text.as_bytes()).unwrap();
            let entered = items.enter();
            let left = entered.and_then(|members| items.leave(members.ok_or(Broken)?));
            assert_eq!(left, Err(Broken), "{text}");
        }
    }

    #[test]
    fn the_first_quote_or_backslash_is_found_wherever_it_is() {
        for length in 0..100 {
            // Differences from a mark by one bit, and its neighbours.
            for filler in [b'a', b'#', b'!', b']', b'[', 0xa2, 0xdc, 0, 0xff] {
                let mut text = vec![filler; length];
                assert_eq!(mark(&text), None);
                for found in [b'"', b'\\'] {
                    text.push(found);
                    text.extend([filler, b'"', b'\\', filler]);
                    assert_eq!(mark(&text), Some(length), "{found} behind {filler}");
                    text.truncate(length);
                }
            }
        }
    }

    #[test]
    fn a_string_is_taken_over_only_if_it_is_one() {
        for (value, expected) in [
            ("\"\"", Some("")),
            ("\"é \\n \\u00e9 \\ud83d\"", Some("é \\n \\u00e9 \\ud83d")),
            ("null", None),
            ("\"\\x\"", None),
            ("\"\\u12\"", None),
            ("\"\\\"", None),
            ("\"a\nb\"", None),
        ] {
            assert_eq!(
                string(value.as_bytes()),
                expected.map(str::as_bytes),
                "{value}"
            );
        }
        assert_eq!(string(b"\"\xff\""), None);
        assert_eq!(escaped("a\"\n"), b"a\\\"\\n");
    }
}
