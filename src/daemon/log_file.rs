//! The log in a file of bounded size: `--log-file`, for service managers that keep no log of their own, such as
//! launchd.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::log_lines::{Attempt, LogLines, WriteProgress};
use super::log_queue::{LogSink, Taken};
use crate::files::FileAccess;
use crate::paths::older_log;

/// The size limit in bytes. With the rotated file, the log takes up to twice as much. A request takes some 250 bytes,
/// so this covers the last 80 000 requests.
pub(super) const LARGEST: u64 = 10 * 1024 * 1024;

/// An append-only file. Before it would exceed its limit, it is renamed to [`older_log`], replacing the one there, and
/// a new file takes its place. If something else is found at its path, as after newsyslog or logrotate, writing
/// continues there.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// The size as last checked or written.
    size: u64,
    /// Whether it is rotated: a pipe or device never is.
    turns: bool,
    largest: u64,
    progress: WriteProgress,
}

impl LogFile {
    /// Opens the file, or creates it and its folder. Opening a FIFO waits for a reader.
    pub(super) fn open(path: &Path, largest: u64) -> io::Result<Self> {
        let (file, attributes) = append(path)?;
        Ok(Self {
            size: attributes.len(),
            turns: attributes.is_file(),
            path: path.to_owned(),
            file,
            largest,
            progress: WriteProgress::default(),
        })
    }

    /// Rotates the file. If that fails, writing continues in the open file, and the next attempt follows after as many
    /// bytes again.
    fn turn(&mut self) {
        self.size = 0;
        let place = FileAccess::of_itself(&self.path);
        let moved = place.and_then(|place| place.act(|path| fs::rename(path, older_log(path))));
        if moved.is_ok() {
            self.open_again();
        }
    }

    /// Opens the path again; `false` if that fails and the former file stays open.
    fn open_again(&mut self) -> bool {
        let Ok((file, attributes)) = append(&self.path) else {
            return false;
        };
        // A partly written line is continued only in the same file.
        let before = self.file.metadata();
        let is_another = before.map_or(true, |before| platform::are_two(&before, &attributes));
        if is_another || !attributes.is_file() || attributes.len() < self.size {
            self.progress = WriteProgress::default();
        }
        self.size = attributes.len();
        self.turns = attributes.is_file();
        self.file = file;
        true
    }

    /// Checks whether the path still leads to the open file, and how large it is.
    fn look(&mut self) {
        match fs::metadata(&self.path) {
            Ok(now) => {
                let open = self.file.metadata();
                if open.is_ok_and(|open| platform::are_two(&open, &now)) {
                    self.open_again();
                } else {
                    // The beginning of a partly written line was truncated away, so write it whole.
                    if now.len() < self.size {
                        self.progress = WriteProgress::default();
                    }
                    self.size = now.len();
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.open_again();
            }
            // Unknown, so continue with the open file.
            Err(_) => {}
        }
    }

    /// How many of these lines fit in the file; at least one if the file is empty.
    fn fitting(&self, lines: LogLines<'_>) -> usize {
        if !self.turns {
            return lines.count();
        }
        let mut size = self.size;
        let fits = lines.sizes().take_while(|line| {
            let is_first = size == 0;
            size += *line as u64;
            is_first || size <= self.largest
        });
        fits.count()
    }

    fn append(&mut self, lines: LogLines<'_>) -> Attempt {
        let Self { file, progress, .. } = self;
        let attempt = progress.write(lines, |bytes| file.write(bytes));
        self.size += attempt.bytes as u64;
        attempt
    }
}

impl LogSink for LogFile {
    /// A line is never split across two files.
    fn write(&mut self, lines: LogLines<'_>) -> Taken {
        self.look();
        let mut rest = lines;
        while !rest.is_empty() {
            let mut count = self.fitting(rest);
            if count == 0 {
                self.turn();
                count = self.fitting(rest).max(1);
            }
            let (now, _) = rest.split_at(count);
            let mut attempt = self.append(now);
            // After its reader left, a FIFO accepts lines again once a new reader has opened it.
            if attempt.error.is_some() && !self.turns && self.open_again() {
                let (_, again) = now.split_at(attempt.lines);
                let second = self.append(again);
                attempt.lines += second.lines;
                attempt.error = second.error;
            }
            (_, rest) = rest.split_at(attempt.lines);
            if attempt.error.is_some() {
                break;
            }
        }
        Taken {
            done: lines.count() - rest.count(),
            lost: 0,
            takes_more: rest.is_empty(),
        }
    }

    fn reopen(&mut self) {
        self.open_again();
    }
}

/// Opens for appending. In a user's folder, root writes as that user.
fn append(path: &Path) -> io::Result<(File, Metadata)> {
    let file = FileAccess::made(path)?.open_to_append()?;
    let attributes = file.metadata()?;
    Ok((file, attributes))
}

#[cfg(unix)]
mod platform {
    use std::fs::Metadata;
    use std::os::unix::fs::MetadataExt;

    pub(super) fn are_two(one: &Metadata, other: &Metadata) -> bool {
        (one.dev(), one.ino()) != (other.dev(), other.ino())
    }
}

#[cfg(not(unix))]
mod platform {
    use std::fs::Metadata;

    /// Elsewhere only a missing file is detected.
    pub(super) fn are_two(_: &Metadata, _: &Metadata) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::log_lines::Batch;
    use super::*;

    /// Returns how many lines were not written.
    fn write(log: &mut LogFile, lines: &[&str]) -> usize {
        lines.len() - log.write(Batch::of(lines).lines()).done
    }

    #[test]
    fn no_line_is_lost_or_cut_and_two_files_are_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Logs/x.log");
        let mut log = LogFile::open(&path, 100).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let mut written = String::new();
        for number in 0..50 {
            let line = format!("line {number:04}\n");
            assert_eq!(write(&mut log, &[&line]), 0);
            written += &line;
            let (old, new) = (read(&older_log(&path)), read(&path));
            assert!(new.len() <= 100 && old.len() <= 100);
            assert!(written.ends_with(&(old + &new)));
            assert!(written.len() <= 100 || read(&older_log(&path)).len() == 100);
        }
        let files = fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(files.count(), 2);
    }

    #[test]
    fn a_line_that_is_longer_than_a_file_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut log = LogFile::open(&path, 10).unwrap();
        for line in ["a line that is long\n", "short\n"] {
            assert_eq!(write(&mut log, &[line]), 0);
            assert_eq!(fs::read_to_string(&path).unwrap(), line);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_can_not_make_way_is_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut log = LogFile::open(&path, 10).unwrap();
        // A rename onto a folder that is not empty fails.
        fs::create_dir_all(older_log(&path).join("in the way")).unwrap();
        for _ in 0..3 {
            assert_eq!(write(&mut log, &["a line\n"]), 0);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "a line\n".repeat(3));
    }

    #[test]
    fn lines_that_come_together_are_turned_between_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut log = LogFile::open(&path, 20).unwrap();
        let all: Vec<String> = (0..5).map(|number| format!("line {number}\n")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(write(&mut log, &all), 0);
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&older_log(&path)), "line 2\nline 3\n");
        assert_eq!(read(&path), "line 4\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_moved_removed_or_cut_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Logs/x.log");
        let moved = folder.path().join("x.log.0");
        let mut log = LogFile::open(&path, 100).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(write(&mut log, &["1\n"]), 0);
        fs::rename(&path, &moved).unwrap();
        assert_eq!(write(&mut log, &["2\n"]), 0);
        assert_eq!((read(&moved), read(&path)), ("1\n".into(), "2\n".into()));
        // newsyslog creates the new file itself.
        fs::rename(&path, &moved).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(write(&mut log, &["3\n"]), 0);
        assert_eq!((read(&moved), read(&path)), ("2\n".into(), "3\n".into()));
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(write(&mut log, &["4\n"]), 0);
        assert_eq!(read(&path), "4\n");
        // logrotate's `copytruncate`
        fs::write(&path, "").unwrap();
        assert_eq!(write(&mut log, &["5\n"]), 0);
        assert_eq!(read(&path), "5\n");
    }
}
