//! The log in a file that stays small: `--log-file`, for service managers that keep no log of their
//! own, such as launchd.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::paths::older_log;

/// The file grows no further, in bytes; with the one before it the log takes twice as much. A request
/// takes some 250 bytes, so that is the last 80 000 of them.
pub(super) const LARGEST: u64 = 10 * 1024 * 1024;

/// A file that is appended to. Before it would grow beyond its limit, it becomes [`older_log`], in the
/// place of the one that was that before, and a new one takes its own.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Its size, as far as we wrote it: what others append is seen when it is opened.
    size: u64,
    largest: u64,
}

impl LogFile {
    /// Opens it, or makes it and its folder.
    pub(super) fn open(path: &Path, largest: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        Ok(Self {
            size: file.metadata()?.len(),
            path: path.to_owned(),
            file,
            largest,
        })
    }

    /// Where that fails, what is there is written on, until as much has come again.
    fn turn(&mut self) {
        self.size = 0;
        let renamed = fs::rename(&self.path, older_log(&self.path));
        if let Ok(file) = renamed.and_then(|()| append(&self.path)) {
            self.file = file;
        }
    }
}

impl Write for LogFile {
    /// Takes a whole line at a time, so none is in two files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > self.largest {
            self.turn();
        }
        self.file.write_all(line)?;
        self.size += length;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_lost_or_cut_and_two_files_are_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Logs/x.log");
        let mut log = LogFile::open(&path, 100).unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let mut written = String::new();
        for number in 0..50 {
            let line = format!("line {number:04}\n");
            log.write_all(line.as_bytes()).unwrap();
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
            log.write_all(line.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), line);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_can_not_make_way_is_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut log = LogFile::open(&path, 10).unwrap();
        // Nothing can be renamed to a folder with something in it.
        fs::create_dir_all(older_log(&path).join("in the way")).unwrap();
        for _ in 0..3 {
            log.write_all(b"a line\n").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "a line\n".repeat(3));
    }
}
