//! Splits bytes into lines, which may arrive in parts.

use memchr::memchr;

use super::violation::Violation;

/// How much of the current line has been examined, so that no byte is examined again when more arrives.
#[derive(Debug, Default)]
pub(super) struct LineProgress {
    seen: usize,
    /// Whether this is a request's first line.
    pub(super) begins: bool,
}

impl LineProgress {
    /// The length of the first line of `bytes` with its end, or `None` if it is incomplete. `limit` includes the end.
    /// The result must not depend on how the line was cut into reads: a byte that is wrong by itself counts first, then
    /// the length, then everything else.
    pub(super) fn next(
        &mut self,
        bytes: &[u8],
        room: usize,
        long: Violation,
    ) -> Result<Option<usize>, Violation> {
        if self.seen == 0
            && let Some(size) = whole_line(bytes).filter(|size| *size <= room)
        {
            return Ok(Some(size));
        }
        let before = self.seen;
        let new = bytes.get(before..).unwrap_or_default();
        let end = memchr(b'\n', new).map(|at| before + at + 1);
        let size = end.unwrap_or(bytes.len());
        if new.is_empty() {
            return Ok(None);
        }
        let is_behind_cr = before > 0 && bytes.get(before - 1) == Some(&b'\r');
        if is_behind_cr && new.first() != Some(&b'\n') {
            return Err(if before < room {
                Violation::BareCr
            } else {
                long
            });
        }
        let visible = bytes.get(before..size.min(room)).unwrap_or_default();
        let visible = visible.strip_suffix(b"\n").unwrap_or(visible);
        clean(visible, before == 0 && self.begins)?;
        if size > room {
            return Err(long);
        }
        if end.is_none() {
            self.seen = size;
            return Ok(None);
        }
        self.seen = 0;
        check(bytes, size, self.begins)?;
        Ok(end)
    }
}

/// The length of a complete line without any flaw, which is nearly every line: its first control character is the
/// carriage return of its end. One pass checks both.
fn whole_line(bytes: &[u8]) -> Option<usize> {
    let end = first_control(bytes);
    let is_end = bytes.get(end..end + 2) == Some(b"\r\n");
    is_end.then_some(end + 2)
}

/// The position of the first control character other than a tab, or the length if there is none. Compares eight bytes
/// at a time.
fn first_control(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
    const DELETES: u64 = u64::from_ne_bytes([0x7f; 8]);
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let eight = u64::from_le_bytes(*eight);
        // The lowest set bit belongs to the first such byte: a borrow changes only the bits above it.
        let below = eight.wrapping_sub(SPACES) & !eight;
        let deletes = eight ^ DELETES;
        let deletes = deletes.wrapping_sub(ONES) & !deletes;
        let found = (below | deletes) & HIGH;
        if found == 0 {
            at += 8;
            continue;
        }
        at += (found.trailing_zeros() / 8) as usize;
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let found = rest.iter().position(|byte| is_control(*byte));
    at + found.unwrap_or(rest.len())
}

/// A complete line without its end.
pub(super) fn text(line: &[u8]) -> Result<&[u8], Violation> {
    line.strip_suffix(b"\r\n").ok_or(Violation::BareLf)
}

fn check(bytes: &[u8], size: usize, begins: bool) -> Result<(), Violation> {
    let line = bytes.get(..size).unwrap_or_default();
    clean(line.strip_suffix(b"\n").unwrap_or(line), begins)
}

/// Allows no control character but tabs, and a carriage return only at the very end.
fn clean(text: &[u8], begins_request: bool) -> Result<(), Violation> {
    let body = text.strip_suffix(b"\r").unwrap_or(text);
    // Without an early exit, so that many bytes are compared in one instruction.
    if !body.iter().fold(false, |bad, byte| bad | is_control(*byte)) {
        return Ok(());
    }
    match body.iter().position(|byte| is_control(*byte)) {
        Some(0) if begins_request && body.first() == Some(&0x16) => Err(Violation::Tls),
        Some(at) => match body.get(at) {
            Some(b'\r') => Err(Violation::BareCr),
            Some(byte) => Err(Violation::Control(*byte)),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_control_character_is_found_wherever_it_stands() {
        for fill in [b' ', b'~', b'\t', 0x80, 0xff, 0x9f, 0x20, 0x7e] {
            for size in 0..40 {
                let mut text = vec![fill; size];
                assert_eq!(first_control(&text), size, "{fill}");
                for at in 0..size {
                    for byte in 0..=u8::MAX {
                        text[at] = byte;
                        let expected = if is_control(byte) { at } else { size };
                        assert_eq!(first_control(&text), expected, "{fill} {size} {at} {byte}");
                        if let Some(last) = text.last_mut().filter(|_| is_control(byte)) {
                            let before = std::mem::replace(last, b'\n');
                            assert_eq!(first_control(&text), at);
                            *text.last_mut().unwrap() = before;
                        }
                    }
                    text[at] = fill;
                }
            }
        }
    }
}
