//! The positions of a JSON object's members in its text, so that one can be changed and all other bytes stay. Pure.
//! The text must be valid JSON; otherwise the result means nothing.

use std::ops::Range;

use memchr::memchr2;

/// A member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberRange {
    /// Its name, with the quotes.
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
}

/// The members of an object, one after the other. They take no memory, however many there are.
#[derive(Debug, Clone)]
pub(super) struct MemberRanges<'t> {
    text: &'t [u8],
    /// Where the next one begins, or the bracket is.
    at: usize,
}

/// The items of a list, in the same way.
#[derive(Debug, Clone)]
pub(super) struct ItemRanges<'t> {
    text: &'t [u8],
    at: usize,
}

/// The members of the object that begins at `at`, each as often as it comes; `None` where there is no object.
pub(super) fn members(text: &[u8], at: usize) -> Option<MemberRanges<'_>> {
    let at = inside(text, at, b'{')?;
    Some(MemberRanges { text, at })
}

/// The items of the list that begins at `at`; `None` where there is no list.
pub(super) fn items(text: &[u8], at: usize) -> Option<ItemRanges<'_>> {
    let at = inside(text, at, b'[')?;
    Some(ItemRanges { text, at })
}

impl Iterator for MemberRanges<'_> {
    type Item = MemberRange;

    fn next(&mut self) -> Option<MemberRange> {
        let (text, at) = (self.text, self.at);
        text.get(at).filter(|byte| **byte != b'}')?;
        let name = at..value_end(text, at)?;
        let at = blank(text, name.end);
        let value = blank(
            text,
            at.checked_add(1).filter(|_| text.get(at) == Some(&b':'))?,
        );
        let value = value..value_end(text, value)?;
        self.at = next(text, value.end)?;
        Some(MemberRange { name, value })
    }
}

impl Iterator for ItemRanges<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        self.text.get(self.at).filter(|byte| **byte != b']')?;
        let item = self.at..value_end(self.text, self.at)?;
        self.at = next(self.text, item.end)?;
        Some(item)
    }
}

/// Where the values of the members with these names are, of each the last one, which is the one that counts.
pub(super) fn last<const N: usize>(
    members: MemberRanges<'_>,
    names: [&str; N],
) -> [Option<Range<usize>>; N] {
    let text = members.text;
    let mut values = std::array::from_fn(|_| None);
    for member in members {
        let place = names.iter().position(|name| is_named(text, &member, name));
        if let Some(value) = place.and_then(|place| values.get_mut(place)) {
            *value = Some(member.value);
        }
    }
    values
}

/// Where the text's value begins.
pub(super) fn start(text: &[u8]) -> usize {
    blank(text, 0)
}

/// Whether a string of the text says this.
pub(super) fn says(found: &[u8], text: &str) -> bool {
    let bare = found
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    if found.contains(&b'\\') {
        return serde_json::from_slice::<String>(found).is_ok_and(|found| found == text);
    }
    bare == Some(text.as_bytes())
}

/// Whether a string of the text is this one; `json` is written without escapes, with its quotes.
pub(super) fn is(found: Option<&[u8]>, json: &str) -> bool {
    let Some(found) = found else {
        return false;
    };
    if found == json.as_bytes() {
        return true;
    }
    // The same letters may be written as escapes.
    found.contains(&b'\\')
        && serde_json::from_slice::<String>(found)
            .is_ok_and(|found| json.get(1..json.len().saturating_sub(1)) == Some(&*found))
}

/// Whether a member has this name.
pub(super) fn is_named(text: &[u8], member: &MemberRange, name: &str) -> bool {
    says(text.get(member.name.clone()).unwrap_or_default(), name)
}

/// Behind the bracket that begins at `at`.
fn inside(text: &[u8], at: usize, bracket: u8) -> Option<usize> {
    (text.get(at) == Some(&bracket)).then(|| blank(text, at + 1))
}

/// The token after a value: the next one after its comma, or the closing bracket.
fn next(text: &[u8], end: usize) -> Option<usize> {
    let at = blank(text, end);
    match text.get(at)? {
        b',' => Some(blank(text, at + 1)),
        b'}' | b']' => Some(at),
        _ => None,
    }
}

fn blank(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

fn value_end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string_end(text, at),
        b'{' | b'[' => {
            let (mut at, mut depth) = (at, 0_usize);
            loop {
                match text.get(at)? {
                    b'"' => {
                        at = string_end(text, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let rest = text.get(at..)?;
            let ends =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            let length = rest.iter().position(ends).unwrap_or(rest.len());
            (length > 0).then_some(at + length)
        }
    }
}

/// Behind the closing quote of the string that begins at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<Vec<(&str, &str)>> {
        let members = members(text.as_bytes(), start(text.as_bytes()))?;
        Some(
            members
                .map(|one| (text.get(one.name).unwrap(), text.get(one.value).unwrap()))
                .collect(),
        )
    }

    #[test]
    fn members_are_found_however_they_are_written() {
        for (text, members) in [
            ("{}", vec![]),
            (" { } ", vec![]),
            ("{\"a\":1}", vec![("\"a\"", "1")]),
            (
                "\n{ \"a\" : [1, {\"b\":\"]}\"}] ,\t\"c\\\"\":\"\\\\\" , \"a\":null}",
                vec![
                    ("\"a\"", "[1, {\"b\":\"]}\"}]"),
                    ("\"c\\\"\"", "\"\\\\\""),
                    ("\"a\"", "null"),
                ],
            ),
        ] {
            assert_eq!(found(text), Some(members), "{text}");
        }
        for text in ["", "[]", "1", "\"{}\""] {
            assert_eq!(found(text), None, "{text}");
        }
        for text in ["{", "{\"a\"", "{\"a\":", "{\"a\":1", "{]"] {
            assert_eq!(found(text), Some(vec![]), "{text}");
        }
    }

    #[test]
    fn items_are_found_and_names_are_known_in_any_spelling() {
        let text = "[ 1,\"a,b\" , {\"x\":[2]} ]";
        let items = items(text.as_bytes(), 0).unwrap();
        let items: Vec<_> = items.map(|item| text.get(item).unwrap()).collect();
        assert_eq!(items, ["1", "\"a,b\"", "{\"x\":[2]}"]);

        let text = br#"{"str\u0065am":1,"stream":2,"stream2":3}"#;
        let all = members(text, 0).unwrap();
        let named = |at: usize| is_named(text, &all.clone().nth(at).unwrap(), "stream");
        assert!(named(0) && named(1) && !named(2));
        let values = last(all, ["stream2", "stream", "other"]);
        let values = values.map(|value| value.map(|value| &text[value]));
        assert_eq!(values, [Some(&b"3"[..]), Some(&b"2"[..]), None]);
        assert!(is(Some(br#""syst\u0065m""#), "\"system\""));
        assert!(!is(Some(b"\"sys\""), "\"system\"") && !is(None, "\"system\""));
    }
}
