//! The `Date` of an answer (RFC 9110 §6.6.1), written once a second.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// As in `Sun, 06 Nov 1994 08:49:37 GMT`.
const SIZE: usize = 29;

thread_local! {
    static WRITTEN: Cell<Option<(Instant, [u8; SIZE])>> = const { Cell::new(None) };
}

/// Appends the date.
pub(super) fn write(to: &mut Vec<u8>) {
    let now = Instant::now();
    let written = WRITTEN.get().filter(|(until, _)| now < *until);
    let (_, text) = written.unwrap_or_else(|| {
        let (date, left) = clock::http_date(&clock::SystemClock);
        let mut text = [b' '; SIZE];
        for (to, from) in text.iter_mut().zip(date.bytes()) {
            *to = from;
        }
        // A suspended machine's timers stop; not for longer than that.
        let fresh = (now + left.min(Duration::from_secs(1)), text);
        WRITTEN.set(Some(fresh));
        fresh
    });
    to.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_long_as_it_has_to_be() {
        let mut text = Vec::new();
        write(&mut text);
        write(&mut text);
        let text = String::from_utf8(text).unwrap();
        assert!(text.ends_with(" GMT") && text.len() == 2 * SIZE, "{text}");
    }
}
