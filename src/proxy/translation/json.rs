//! Where the members of a JSON object are in its text, so that one can be changed and all other bytes stay. Pure. The
//! text has been read as JSON before; of anything else these say nothing.

use std::ops::Range;

use memchr::memchr2;

/// A member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name, with the quotes.
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
}

/// The members of the object that begins at `at`, each as often as it comes; `None` where there is no object.
pub(super) fn members(text: &[u8], at: usize) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    let mut at = inside(text, at, b'{')?;
    while text.get(at)? != &b'}' {
        let name = at..value_end(text, at)?;
        at = blank(text, name.end);
        let value = blank(
            text,
            at.checked_add(1).filter(|_| text.get(at) == Some(&b':'))?,
        );
        let value = value..value_end(text, value)?;
        at = next(text, value.end)?;
        members.push(Member { name, value });
    }
    Some(members)
}

/// The items of the list that begins at `at`; `None` where there is no list.
pub(super) fn items(text: &[u8], at: usize) -> Option<Vec<Range<usize>>> {
    let mut items = Vec::new();
    let mut at = inside(text, at, b'[')?;
    while text.get(at)? != &b']' {
        let item = at..value_end(text, at)?;
        at = next(text, item.end)?;
        items.push(item);
    }
    Some(items)
}

/// Where the text's value begins.
pub(super) fn start(text: &[u8]) -> usize {
    blank(text, 0)
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
pub(super) fn is_named(text: &[u8], member: &Member, name: &str) -> bool {
    let found = text.get(member.name.clone()).unwrap_or_default();
    let bare = found
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    bare.is_some_and(|bare| bare == name.as_bytes())
        || found.contains(&b'\\')
            && serde_json::from_slice::<String>(found).is_ok_and(|found| found == name)
}

/// The last of the members with this name, which is the one that counts.
pub(super) fn last<'m>(text: &[u8], members: &'m [Member], name: &str) -> Option<&'m Member> {
    let mut members = members.iter().rev();
    members.find(|member| is_named(text, member, name))
}

/// Behind the bracket that begins at `at`.
fn inside(text: &[u8], at: usize, bracket: u8) -> Option<usize> {
    (text.get(at) == Some(&bracket)).then(|| blank(text, at + 1))
}

/// What follows a value: the next one behind its comma, or the closing bracket.
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
        let all = members.into_iter();
        Some(
            all.map(|one| (text.get(one.name).unwrap(), text.get(one.value).unwrap()))
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
        for text in [
            "", "[]", "1", "\"{}\"", "{", "{\"a\"", "{\"a\":", "{\"a\":1",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn items_are_found_and_names_are_known_in_any_spelling() {
        let text = "[ 1,\"a,b\" , {\"x\":[2]} ]";
        let items = items(text.as_bytes(), 0).unwrap().into_iter();
        let items: Vec<_> = items.map(|item| text.get(item).unwrap()).collect();
        assert_eq!(items, ["1", "\"a,b\"", "{\"x\":[2]}"]);

        let text = br#"{"str\u0065am":1,"stream":2,"stream2":3}"#;
        let all = members(text, 0).unwrap();
        assert!(is_named(text, &all[0], "stream") && !is_named(text, &all[2], "stream"));
        let value = last(text, &all, "stream").unwrap().value.clone();
        assert_eq!(&text[value], b"2");
        assert!(is(Some(br#""syst\u0065m""#), "\"system\""));
        assert!(!is(Some(b"\"sys\""), "\"system\"") && !is(None, "\"system\""));
    }
}
