//! Log lines in one contiguous buffer: adding a line costs no allocation, and many lines are written at once.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// Formatted lines, each including its line feed, if it has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogLines<'l> {
    bytes: &'l [u8],
    sizes: &'l [u32],
}

/// A queue of lines.
#[derive(Debug, Default)]
pub(super) struct Queued {
    bytes: VecDeque<u8>,
    sizes: VecDeque<u32>,
}

/// A batch of lines to write together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sizes: Vec<u32>,
}

impl<'l> LogLines<'l> {
    pub(super) fn count(&self) -> usize {
        self.sizes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// The text of all lines.
    pub(super) fn bytes(&self) -> &'l [u8] {
        self.bytes
    }

    /// The length of each line in bytes.
    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> + 'l {
        self.sizes.iter().map(|size| *size as usize)
    }

    /// The lines in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'l [u8]> + 'l {
        let mut rest = self.bytes;
        self.sizes().map(move |size| {
            let (line, later) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            rest = later;
            line
        })
    }

    /// The first `count` lines, and the rest.
    pub(super) fn split_at(&self, count: usize) -> (Self, Self) {
        let (first, second) = self
            .sizes
            .split_at_checked(count)
            .unwrap_or((self.sizes, &[]));
        let size = first.iter().map(|size| *size as usize).sum();
        let (one, other) = self
            .bytes
            .split_at_checked(size)
            .unwrap_or((self.bytes, &[]));
        let lines = |bytes, sizes| Self { bytes, sizes };
        (lines(one, first), lines(other, second))
    }
}

impl Queued {
    pub(super) fn count(&self) -> usize {
        self.sizes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Appends a line.
    pub(super) fn push(&mut self, line: &[u8]) {
        // No buffer in memory is longer than this.
        let size = u32::try_from(line.len()).unwrap_or(u32::MAX);
        self.bytes.extend(line.get(..size as usize).unwrap_or(line));
        self.sizes.push_back(size);
    }

    /// Removes the first line and returns its length.
    pub(super) fn drop_first(&mut self) -> Option<usize> {
        let size = self.sizes.pop_front()? as usize;
        self.bytes.drain(..size.min(self.bytes.len()));
        Some(size)
    }

    /// Copies of all lines after the first `skip`.
    pub(super) fn rest(&self, skip: usize) -> Vec<Box<[u8]>> {
        let sizes = || self.sizes.iter().map(|size| *size as usize);
        let mut at: usize = sizes().take(skip).sum();
        let rest = sizes().skip(skip).map(|size| {
            let line = self.bytes.range(at..at + size).copied().collect();
            at += size;
            line
        });
        rest.collect()
    }

    /// Moves lines from the front into an empty batch: as many as fit in `most` bytes, but at least one.
    pub(super) fn take(&mut self, most: usize, batch: &mut Batch) {
        let mut size = 0;
        for next in self.sizes.iter().map(|size| *size as usize) {
            if size > 0 && size + next > most {
                break;
            }
            size += next;
            batch.sizes.push(u32::try_from(next).unwrap_or(u32::MAX));
        }
        self.sizes.drain(..batch.sizes.len());
        let (one, other) = self.bytes.as_slices();
        let (one, left) = (
            one.get(..size).unwrap_or(one),
            size.saturating_sub(one.len()),
        );
        batch.bytes.extend_from_slice(one);
        batch
            .bytes
            .extend_from_slice(other.get(..left).unwrap_or(other));
        self.bytes.drain(..size.min(self.bytes.len()));
    }

    /// Releases capacity beyond this many bytes.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
        self.sizes.shrink_to(bytes / 64);
    }

    /// The capacity in bytes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Batch {
    pub(super) fn lines(&self) -> LogLines<'_> {
        LogLines {
            bytes: &self.bytes,
            sizes: &self.sizes,
        }
    }

    /// Removes the first `count` lines and returns their total length.
    pub(super) fn drop_first(&mut self, count: usize) -> usize {
        let gone = self.sizes.drain(..count.min(self.sizes.len()));
        let size: usize = gone.map(|size| size as usize).sum();
        self.bytes.drain(..size.min(self.bytes.len()));
        size
    }

    /// Clears the batch and releases capacity beyond this many bytes.
    pub(super) fn clear(&mut self, bytes: usize) {
        self.bytes.clear();
        self.sizes.clear();
        self.bytes.shrink_to(bytes);
        self.sizes.shrink_to(bytes / 64);
    }

    /// A batch of these lines.
    #[cfg(test)]
    pub(super) fn of(lines: &[&str]) -> Self {
        let size = |line: &&str| u32::try_from(line.len()).unwrap();
        Self {
            bytes: lines.concat().into_bytes(),
            sizes: lines.iter().map(size).collect(),
        }
    }
}

/// The position within the next line, for a stream that accepts part of a line.
#[derive(Debug, Default)]
pub(super) struct WriteProgress {
    /// How many bytes of the next line are already written.
    begun: usize,
}

/// The result of one attempt to write.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Lines written completely.
    pub(super) lines: usize,
    /// Bytes written.
    pub(super) bytes: usize,
    /// The error that stopped the attempt.
    pub(super) error: Option<io::Error>,
}

impl WriteProgress {
    /// Writes lines, continuing a partly written first one. Lines that are not written completely must be passed again.
    pub(super) fn write(
        &mut self,
        lines: LogLines<'_>,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> Attempt {
        let rest = lines.bytes().get(self.begun..).unwrap_or_default();
        let (bytes, error) = write_all(rest, &mut write);
        let mut left = self.begun + bytes;
        let whole = lines.sizes().take_while(|size| {
            let is_whole = left >= *size;
            left -= if is_whole { *size } else { 0 };
            is_whole
        });
        let lines = whole.count();
        self.begun = left;
        Attempt {
            lines,
            bytes,
            error,
        }
    }
}

/// Writes as many bytes as possible; returns their number and the error that stopped it.
fn write_all(
    bytes: &[u8],
    write: &mut impl FnMut(&[u8]) -> io::Result<usize>,
) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while let Some(rest @ [_, ..]) = bytes.get(written..) {
        match write(rest) {
            Ok(some @ 1..) => written += some,
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another program that shares the terminal may have made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => nap(),
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log's own thread, which no task runs on"
)]
fn nap() {
    std::thread::sleep(Duration::from_millis(10));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts three bytes at a time until `room` is used up.
    fn into(text: &mut Vec<u8>, room: &mut usize) -> impl FnMut(&[u8]) -> io::Result<usize> {
        |bytes| {
            let some = bytes.len().min(*room).min(3);
            if some == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= some;
            text.extend_from_slice(&bytes[..some]);
            Ok(some)
        }
    }

    #[test]
    fn a_line_that_was_cut_goes_on_where_it_stopped_once() {
        let all = ["one\n", "two\n", "three\n"];
        let length = all.concat().len();
        // Room comes in three steps: some, some more, then the rest.
        for (first, second) in (0..=length).flat_map(|one| (0..=length).map(move |two| (one, two)))
        {
            let (mut progress, mut text) = (WriteProgress::default(), Vec::new());
            let mut batch = Batch::of(&all);
            for room in [first, second, 0, length] {
                let before = text.len();
                let attempt = progress.write(batch.lines(), into(&mut text, &mut { room }));
                assert_eq!(attempt.bytes, text.len() - before);
                assert_eq!(
                    attempt.error.is_some(),
                    attempt.lines < batch.lines().count()
                );
                batch.drop_first(attempt.lines);
            }
            assert!(batch.lines().is_empty());
            let later = progress.write(Batch::of(&["four\n"]).lines(), into(&mut text, &mut 9));
            assert_eq!(later.lines, 1);
            assert_eq!(text, b"one\ntwo\nthree\nfour\n", "{first} {second}");
        }
    }

    #[test]
    fn lines_come_out_in_their_order_whole_and_as_many_as_there_is_room_for() {
        let mut queued = Queued::default();
        let mut taken: Vec<String> = Vec::new();
        let all: Vec<String> = (0..500)
            .map(|n| format!("{}\n", "x".repeat(n % 37)))
            .collect();
        let mut batch = Batch::default();
        for (number, line) in all.iter().enumerate() {
            queued.push(line.as_bytes());
            if number % 7 == 0 {
                batch.clear(0);
                queued.take(100, &mut batch);
                assert!(batch.lines().bytes().len() <= 100);
                taken.extend(
                    batch
                        .lines()
                        .iter()
                        .map(|line| String::from_utf8(line.to_vec()).unwrap()),
                );
            }
        }
        assert_eq!(queued.count(), all.len() - taken.len());
        let rest = queued.rest(1);
        assert_eq!(rest[0], all[taken.len() + 1].as_bytes().into());
        assert_eq!(queued.drop_first(), Some(all[taken.len()].len()));
        assert_eq!(queued.rest(0), rest);
        let skipped = all[taken.len()].clone();
        taken.push(skipped);
        while !queued.is_empty() {
            batch.clear(0);
            // A line longer than the limit goes alone.
            queued.take(1, &mut batch);
            let lines = batch.lines();
            assert!(lines.count() == 1 && !lines.is_empty());
            taken.extend(
                lines
                    .iter()
                    .map(|line| String::from_utf8(line.to_vec()).unwrap()),
            );
        }
        assert_eq!(taken, all);
    }

    #[test]
    fn lines_are_parted_where_one_ends() {
        let batch = Batch::of(&["one\n", "two\n", "three\n"]);
        let (first, others) = batch.lines().split_at(1);
        assert_eq!((first.bytes(), others.count()), (&b"one\n"[..], 2));
        assert_eq!(
            others.iter().collect::<Vec<_>>(),
            [&b"two\n"[..], b"three\n"]
        );
        let (all, none) = batch.lines().split_at(9);
        assert!(all.count() == 3 && none.is_empty() && none.bytes().is_empty());
    }
}
