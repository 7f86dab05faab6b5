//! Reuses what most answers have in common: field names, and the maps that held them. A request to the provider over
//! HTTP/2 takes its names from here, too.

use std::cell::{Cell, RefCell};

use hyper::HeaderMap;
use hyper::header::HeaderName;

use super::super::fields::FieldPlace;

/// How many names are cached; each name has a group of slots that it may use.
const PLACES: usize = 128;
const GROUP: usize = 4;
/// The longest name that is cached, in bytes; together they take at most 24 KiB.
const LONGEST: usize = 64;
/// How many maps are kept, and the capacity of each, in fields.
const MAPS: usize = 4;
const ROOM: usize = 32;
/// The most fields of a usual head.
const USUAL: usize = 24;

thread_local! {
    static NAMES: RefCell<Vec<Option<KnownFieldName>>> = const { RefCell::new(Vec::new()) };
    static KEPT: Cell<Vec<HeaderMap>> = const { Cell::new(Vec::new()) };
    static FIELDS: Cell<Vec<FieldPlace>> = const { Cell::new(Vec::new()) };
}

/// A list of field ranges. A complete head gives it back, so one per thread is enough.
pub(super) fn places() -> Vec<FieldPlace> {
    let mut places = FIELDS.take();
    places.reserve(USUAL);
    places
}

/// Returns a list for reuse.
pub(super) fn give_back_places(mut places: Vec<FieldPlace>) {
    if (1..=USUAL).contains(&places.capacity()) {
        places.clear();
        FIELDS.set(places);
    }
}

/// A name as clients spell it, and its parsed form.
struct KnownFieldName(Box<[u8]>, HeaderName);

/// The name for these bytes in any case; `None` if they are not a valid one.
pub(in crate::proxy) fn name(bytes: &[u8]) -> Option<HeaderName> {
    if bytes.len() > LONGEST {
        return HeaderName::from_bytes(bytes).ok();
    }
    NAMES.with_borrow_mut(|names| {
        if names.is_empty() {
            names.resize_with(PLACES, || None);
        }
        let group = GROUP * (number(bytes) % (PLACES / GROUP));
        let mut free = group;
        for at in group..group + GROUP {
            match names.get(at) {
                Some(Some(KnownFieldName(written, name))) if **written == *bytes => {
                    return Some(name.clone());
                }
                Some(None) => free = at,
                Some(Some(_)) | None => {}
            }
        }
        let name = HeaderName::from_bytes(bytes).ok()?;
        if let Some(place) = names.get_mut(free) {
            *place = Some(KnownFieldName(bytes.into(), name.clone()));
        }
        Some(name)
    })
}

/// A hash of a name: its length and its last eight bytes, in which related names differ.
fn number(bytes: &[u8]) -> usize {
    let last = bytes.last_chunk().map(|last| u64::from_le_bytes(*last));
    let short = || {
        bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte))
    };
    let number = last.unwrap_or_else(short) ^ (bytes.len() as u64);
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(mixed).unwrap_or_default()
}

/// An empty map with capacity for this many fields.
pub(super) fn map(count: usize) -> HeaderMap {
    let mut kept = KEPT.take();
    let found = kept.pop();
    KEPT.set(kept);
    found
        .filter(|map| map.capacity() >= count)
        .unwrap_or_else(|| HeaderMap::with_capacity(count))
}

/// Returns a map for reuse.
pub(in crate::proxy) fn give_back(mut map: HeaderMap) {
    let mut kept = KEPT.take();
    if kept.len() < MAPS && (1..=ROOM).contains(&map.capacity()) {
        map.clear();
        kept.push(map);
    }
    KEPT.set(kept);
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_name_is_the_same_as_without_a_memory_whatever_was_there_before() {
        let long = "x".repeat(LONGEST + 1);
        let mut names = vec![
            "Host".to_owned(),
            "host".to_owned(),
            "X-Stainless-OS".to_owned(),
            "x-stainless-os".to_owned(),
            "a".to_owned(),
            String::new(),
            "no name".to_owned(),
            long,
        ];
        // Far more than the cache has slots for.
        names.extend((0..2000).map(|number| format!("x-{number}")));
        for _ in 0..2 {
            for text in &names {
                let known = name(text.as_bytes());
                assert_eq!(
                    known,
                    HeaderName::from_bytes(text.as_bytes()).ok(),
                    "{text}"
                );
            }
        }
        NAMES.with_borrow(|names| assert_eq!(names.len(), PLACES));
    }

    #[test]
    fn the_names_of_an_openai_client_are_all_remembered() {
        let names = [
            "Host",
            "Accept",
            "Content-Type",
            "User-Agent",
            "X-Stainless-Lang",
            "X-Stainless-Package-Version",
            "X-Stainless-OS",
            "X-Stainless-Arch",
            "X-Stainless-Runtime",
            "X-Stainless-Runtime-Version",
            "Authorization",
            "X-Stainless-Async",
            "x-stainless-retry-count",
            "x-stainless-read-timeout",
            "Content-Length",
            "Accept-Encoding",
            "Connection",
        ];
        for _ in 0..2 {
            assert!(names.iter().all(|text| name(text.as_bytes()).is_some()));
        }
        let is_known = |text: &&str| {
            NAMES.with_borrow(|names| {
                let written = names
                    .iter()
                    .flatten()
                    .map(|KnownFieldName(written, _)| &**written);
                { written }.any(|written| *written == *text.as_bytes())
            })
        };
        let known = names.iter().filter(|name| is_known(name)).count();
        assert_eq!(known, names.len());
    }

    #[test]
    fn a_map_comes_back_empty_and_no_large_one_is_kept() {
        let mut fields = map(10);
        fields.insert("a", HeaderValue::from_static("secret"));
        let capacity = fields.capacity();
        give_back(fields);
        let again = map(10);
        assert!(again.is_empty() && again.capacity() == capacity);
        give_back(HeaderMap::with_capacity(1000));
        give_back(HeaderMap::new());
        assert!(map(1).capacity() < 1000);
        for _ in 0..2 * MAPS {
            give_back(HeaderMap::with_capacity(8));
        }
        let kept = KEPT.take();
        assert_eq!(kept.len(), MAPS);
        assert!(map(100).capacity() >= 100);
    }
}
