//! An estimate of the memory for parsing a body, from its text.

use super::json::{JsonItems, JsonMembers};

/// A value in a list or an object, with what the reader keeps around it.
const VALUE: usize = 96;

/// The bytes of a JSON text's parsed values, in addition to the text: starts and separators outside of strings are
/// counted.
pub fn weight(text: &[u8]) -> usize {
    let (mut values, mut rest) = (0_usize, text);
    while let Some(quote) = memchr::memchr(b'"', rest) {
        let (before, behind) = rest.split_at(quote);
        values += separators(before);
        rest = behind.get(1..).unwrap_or_default();
        // To the end of the string.
        loop {
            let Some(at) = memchr::memchr2(b'"', b'\\', rest) else {
                return values.saturating_mul(VALUE);
            };
            let is_end = rest.get(at) == Some(&b'"');
            rest = rest
                .get(at + if is_end { 1 } else { 2 }..)
                .unwrap_or_default();
            if is_end {
                break;
            }
        }
    }
    values += separators(rest);
    values.saturating_mul(VALUE)
}

fn separators(text: &[u8]) -> usize {
    let counts = |byte: &&u8| matches!(byte, b'{' | b'[' | b',');
    text.iter().filter(counts).count()
}

/// The same of a request, of whose list with this name the items are read one by one.
pub(super) fn of_request(text: &[u8], list: &str) -> usize {
    counted(text, list.as_bytes()).unwrap_or_else(|| weight(text))
}

fn counted(text: &[u8], list: &[u8]) -> Option<usize> {
    let (mut members, mut bytes) = (JsonMembers::of(text).ok()?, 0_usize);
    while let Some((name, value)) = members.next().ok()? {
        if name != list || !value.starts_with(b"[") {
            bytes = bytes.saturating_add(VALUE + weight(value));
            continue;
        }
        let (mut items, mut most) = (JsonItems::of(value).ok()?, 0);
        while let Some(item) = items.next().ok()? {
            most = most.max(weight(item));
            // Ids are kept to the end.
            bytes = bytes.saturating_add(VALUE);
        }
        bytes = bytes.saturating_add(most);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of empty objects took a hundred times its size.
    #[test]
    fn what_is_read_of_a_body_weighs_by_its_values_and_texts_weigh_nothing() {
        assert_eq!(weight(br#"{"a":"{[,\"{,","b":[1,2]}"#), 4 * VALUE);
        assert_eq!(weight(b"[{},{}]"), 4 * VALUE);
        assert_eq!(weight(br#"["an open string, which is no JSON"#), VALUE);
        assert_eq!(weight(b""), 0);
    }

    #[test]
    fn of_a_long_list_the_largest_item_weighs() {
        let of = |text: &str| of_request(text.as_bytes(), "input");
        // Each item's own place, and the three values of the largest.
        assert_eq!(of(r#"{"input":[{"a":[1,2]},{},"x"]}"#), (3 + 3) * VALUE);
        assert_eq!(
            of(r#"{"input":"a,b","tools":[{},{}]}"#),
            (1 + 1 + 4) * VALUE
        );
        assert_eq!(of(r#"{"other":[1,2,3]}"#), (1 + 3) * VALUE);
        assert_eq!(of("[{},{}]"), 4 * VALUE, "no object");
        assert_eq!(of(r#"{"input":[{},"#), 4 * VALUE, "no JSON");
    }
}
