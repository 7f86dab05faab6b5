//! The buffer that is read into.

use bytes::BytesMut;

/// Buffer space allocated when the amount to come is unknown, in bytes.
pub const ROOM: usize = 8 * 1024;

/// Reserves space for what comes next, unless there is some.
pub(super) fn make_room(bytes: &mut BytesMut, wanted: usize) {
    let spare = bytes.capacity() - bytes.len();
    if spare < wanted / 4 {
        bytes.reserve(wanted);
    }
}

/// Takes the buffer if it is empty.
pub(super) fn take_free(bytes: &mut BytesMut) -> Option<BytesMut> {
    let is_free = bytes.is_empty() && bytes.capacity() > 0;
    is_free.then(|| std::mem::take(bytes))
}
