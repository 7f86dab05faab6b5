//! Buffers for connections that read or write. A quiet connection has none: it gives its buffer to
//! the next that needs one.

use std::cell::RefCell;

use bytes::BytesMut;

use super::framing::ROOM;

/// How many of each kind are kept; connections that are busy at the same moment need more, for a
/// moment.
const MOST: usize = 32;
/// A larger buffer is not kept.
const LARGEST: usize = 16 * 1024;

thread_local! {
    static READ: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static WRITTEN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer to read into.
pub(super) fn to_read() -> BytesMut {
    let kept = READ.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| BytesMut::with_capacity(ROOM))
}

/// Keeps an empty buffer for others, unless a part of it is still in use.
pub(super) fn has_read(mut buffer: BytesMut) {
    if buffer.try_reclaim(ROOM) && buffer.capacity() <= LARGEST {
        READ.with_borrow_mut(|kept| {
            if kept.len() < MOST {
                kept.push(buffer);
            }
        });
    }
}

/// An empty buffer to write from.
pub(super) fn to_write() -> Vec<u8> {
    let kept = WRITTEN.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| Vec::with_capacity(1024))
}

/// Keeps a buffer for others.
pub(super) fn has_written(mut buffer: Vec<u8>) {
    if buffer.capacity() <= LARGEST {
        buffer.clear();
        WRITTEN.with_borrow_mut(|kept| {
            if kept.len() < MOST {
                kept.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_goes_to_the_next_who_needs_one_unless_it_is_held_or_large() {
        let mut buffer = to_read();
        buffer.extend_from_slice(b"abc");
        let place = buffer.as_ptr();
        let held = buffer.split().freeze();
        has_read(buffer);
        let mut other = to_read();
        other.extend_from_slice(b"def");
        assert_ne!(other.as_ptr(), place);
        assert_eq!(held, "abc");
        let place = other.as_ptr();
        drop(other.split());
        has_read(other);
        let mut again = to_read();
        again.extend_from_slice(b"g");
        assert_eq!(again.as_ptr(), place);
        has_read(BytesMut::with_capacity(64 * 1024));
        assert!(to_read().capacity() < 64 * 1024);

        let mut text = to_write();
        text.extend_from_slice(b"abc");
        let place = text.as_ptr();
        has_written(text);
        let text = to_write();
        assert_eq!((text.as_ptr(), text.len()), (place, 0));
        has_written(Vec::with_capacity(64 * 1024));
        assert!(to_write().capacity() < 64 * 1024);
    }
}
