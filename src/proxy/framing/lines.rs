//! Lines, complete or in part.

use memchr::memchr;

use super::Violation;

/// How much of the current line was read, so that no byte is read again for each piece of a line.
#[derive(Debug, Default)]
pub(super) struct Line {
    seen: usize,
    /// It is a request's first one.
    pub(super) begins: bool,
}

impl Line {
    /// The length of the line at the start of `bytes`, its end included; `None` until that has come. It
    /// may have this many bytes, its end included. The result must not depend on how a line was cut: so
    /// the first byte that is wrong by itself counts, then the length, then the rest.
    pub(super) fn next(
        &mut self,
        bytes: &[u8],
        room: usize,
        long: Violation,
    ) -> Result<Option<usize>, Violation> {
        let before = self.seen;
        let new = bytes.get(before..).unwrap_or_default();
        let end = memchr(b'\n', new).map(|at| before + at + 1);
        let size = end.unwrap_or(bytes.len());
        if before == 0 && end.is_some() && size <= room {
            check(bytes, size, self.begins)?;
            return Ok(end);
        }
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

/// A whole line without its end.
pub(super) fn text(line: &[u8]) -> Result<&[u8], Violation> {
    line.strip_suffix(b"\r\n").ok_or(Violation::BareLf)
}

fn check(bytes: &[u8], size: usize, begins: bool) -> Result<(), Violation> {
    let line = bytes.get(..size).unwrap_or_default();
    clean(line.strip_suffix(b"\n").unwrap_or(line), begins)
}

/// No control character but tabs; a carriage return only at the very end.
fn clean(text: &[u8], begins_request: bool) -> Result<(), Violation> {
    let body = text.strip_suffix(b"\r").unwrap_or(text);
    // Without an early end, so that many bytes are compared in one instruction.
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
