//! The fields of a message's head. Names and values stay in the buffer into which they were read, and only their ranges
//! are listed: reading a head allocates nothing per field, and forwarding one copies its bytes once. Pure.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// The fields of a head in their order. Names are in lower case. A clone shares the buffer.
#[derive(Clone, Default)]
pub struct Fields {
    /// The head as it was read.
    head: Bytes,
    /// The text of fields that were added later; their ranges continue from the end of the head.
    added: Vec<u8>,
    places: Vec<FieldPlace>,
}

/// Where a field's name and value are.
#[derive(Debug, Clone)]
pub(super) struct FieldPlace {
    name: Range<u32>,
    value: Range<u32>,
}

impl FieldPlace {
    /// The ranges of this name and value; `None` if the text is larger than any head.
    pub(super) fn new(name: Range<usize>, value: Range<usize>) -> Option<Self> {
        let short = |range: Range<usize>| {
            let end = u32::try_from(range.end).ok()?;
            Some(u32::try_from(range.start).ok()?..end)
        };
        Some(Self {
            name: short(name)?,
            value: short(value)?,
        })
    }

    pub(super) fn name(&self) -> Range<usize> {
        long(&self.name)
    }

    pub(super) fn value(&self) -> Range<usize> {
        long(&self.value)
    }
}

fn long(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

impl Fields {
    /// The fields at these ranges of a head, whose names and values were checked.
    pub(super) fn read(mut head: BytesMut, places: Vec<FieldPlace>) -> Self {
        for place in &places {
            if let Some(name) = head.get_mut(place.name()) {
                name.make_ascii_lowercase();
            }
        }
        Self {
            head: head.freeze(),
            added: Vec::new(),
            places,
        }
    }

    pub(super) fn head(&self) -> &Bytes {
        &self.head
    }

    fn text(&self, range: Range<usize>) -> &[u8] {
        let added = || {
            let start = range.start.checked_sub(self.head.len())?;
            self.added.get(start..range.end - self.head.len())
        };
        let text = self.head.get(range.clone()).or_else(added);
        text.unwrap_or_default()
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        let places = self.places.iter();
        places.map(|place| (self.text(place.name()), self.text(place.value())))
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| self.text(place.name()))
    }

    /// Whether the field at this index has this name.
    fn goes_by(&self, place: &FieldPlace, name: &[u8]) -> bool {
        // The length alone distinguishes most names.
        let range = place.name();
        range.len() == name.len() && self.text(range) == name
    }

    /// The values of all fields with this name.
    pub fn all<'f>(
        &'f self,
        name: &'f (impl AsRef<str> + ?Sized),
    ) -> impl Iterator<Item = &'f [u8]> + Clone {
        let name = name.as_ref().as_bytes();
        let found = self.places.iter();
        let found = found.filter(move |place| self.goes_by(place, name));
        found.map(|place| self.text(place.value()))
    }

    /// The value of the first field with this name.
    pub fn get(&self, name: impl AsRef<str>) -> Option<&[u8]> {
        let name = name.as_ref().as_bytes();
        let mut places = self.places.iter();
        let place = places.find(|place| self.goes_by(place, name))?;
        Some(self.text(place.value()))
    }

    /// Whether any field has this name.
    pub fn has(&self, name: impl AsRef<str>) -> bool {
        self.get(name).is_some()
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Appends a field. A value with a control character, which no field may have, is dropped.
    pub fn add(&mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) {
        let place = self.write(name.as_ref(), value.as_ref());
        self.places.extend(place);
    }

    /// Replaces the fields with this name, or appends the field.
    pub fn put(&mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) {
        let name = name.as_ref();
        let Some(place) = self.write(name, value.as_ref()) else {
            return;
        };
        let mut places = self.places.iter();
        let Some(at) = places.position(|place| self.goes_by(place, name.as_bytes())) else {
            self.places.push(place);
            return;
        };
        self.remove(name);
        self.places.insert(at, place);
    }

    /// Removes all fields with this name.
    pub fn remove(&mut self, name: impl AsRef<str>) {
        let name = name.as_ref().as_bytes();
        let mut places = std::mem::take(&mut self.places);
        places.retain(|place| !self.goes_by(place, name));
        self.places = places;
    }

    fn write(&mut self, name: &str, value: &[u8]) -> Option<FieldPlace> {
        if !value.iter().copied().all(may_be_in_value) {
            return None;
        }
        let at = self.head.len() + self.added.len();
        let end = at + name.len();
        self.added.extend_from_slice(name.as_bytes());
        self.added.extend_from_slice(value);
        FieldPlace::new(at..end, end..end + value.len())
    }
}

/// RFC 9110 §5.5.
fn may_be_in_value(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// A value as text, if it contains only visible ASCII, spaces and tabs.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    let value = value.iter().all(is_plain).then_some(value)?;
    std::str::from_utf8(value).ok()
}

/// Shows names only: values may be keys.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names().map(String::from_utf8_lossy);
        f.debug_list().entries(names).finish()
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs {
            fields.add(name, value);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read() -> Fields {
        let head = BytesMut::from("Cookie: k3y\r\nX-A: 1\r\nCOOKIE:\r\n");
        let places = [(0..6, 8..11), (13..16, 18..19), (21..27, 28..28)];
        let places = places.map(|(name, value)| FieldPlace::new(name, value).unwrap());
        Fields::read(head, places.into())
    }

    fn shown(fields: &Fields) -> String {
        let lines = fields
            .iter()
            .map(|(name, value)| [name, b"=", value].concat());
        String::from_utf8(lines.collect::<Vec<_>>().join(&b' ')).unwrap()
    }

    #[test]
    fn fields_are_found_by_name_and_changed_in_their_places() {
        let mut fields = read();
        assert_eq!(shown(&fields), "cookie=k3y x-a=1 cookie=");
        let cookies = fields.all("cookie").collect::<Vec<_>>();
        assert_eq!(cookies, [&b"k3y"[..], b""]);
        assert_eq!(
            (fields.get("x-a"), fields.get("x-b")),
            (Some(&b"1"[..]), None)
        );
        fields.put("x-b", "22");
        fields.add("x-a", "3");
        fields.put("cookie", "c");
        assert_eq!(shown(&fields), "cookie=c x-a=1 x-b=22 x-a=3");
        fields.remove("x-a");
        fields.put("x-b", "");
        assert_eq!(shown(&fields), "cookie=c x-b=");
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn no_value_can_become_a_field_of_its_own() {
        let mut fields = read();
        for value in ["a\r\nx-b: 1", "a\n", "\0", "\x7f"] {
            fields.put("x-a", value);
            fields.add("x-c", value);
        }
        fields.put("cookie", "\u{e9}\t~");
        assert_eq!(shown(&fields), "cookie=\u{e9}\t~ x-a=1");
    }

    #[test]
    fn values_are_not_shown() {
        let mut fields = read();
        fields.put("authorization", "Bearer s3cret");
        assert_eq!(
            format!("{fields:?}"),
            r#"["cookie", "x-a", "cookie", "authorization"]"#
        );
    }

    #[test]
    fn a_value_is_text_where_it_is_visible_ascii() {
        assert_eq!(text(b"a ~\tb"), Some("a ~\tb"));
        for other in [&b"\xe9"[..], b"\0", b"\x7f", "\u{e9}".as_bytes()] {
            assert_eq!(text(other), None);
        }
    }
}
