//! A log's file, read to its end and followed, even when another one replaces it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

use crate::cli::platform::are_two;
use crate::paths::older_log;

/// A log's file. It is read in place: hermesctl has nothing else to do meanwhile.
pub(super) struct LogReader {
    path: PathBuf,
    lines: BufReader<File>,
    /// The part of a line that has come.
    begun: Vec<u8>,
    reads: Reads,
}

/// Which file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// The content before the file.
    Older,
    /// The file.
    Current,
    /// What was the file, until it is known that nothing more came before it had to make way.
    Left,
}

/// What the end of a file means.
enum AtEndOfFile {
    /// For now there is no more.
    Here,
    /// Read it again.
    Again,
    /// Another file is read from here on.
    Other,
}

impl LogReader {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::reading(path, File::open(path)?, Reads::Current))
    }

    /// Opens the one that had to make way for it, which is read before it.
    pub(super) fn with_older(path: &Path) -> io::Result<Self> {
        match File::open(older_log(path)) {
            Ok(older) => Ok(Self::reading(path, older, Reads::Older)),
            Err(_) => Self::open(path),
        }
    }

    fn reading(path: &Path, file: File, reads: Reads) -> Self {
        Self {
            path: path.to_owned(),
            lines: BufReader::new(file),
            begun: Vec::new(),
            reads,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next available line, with its end. The last one has none, unless its end `may_come`.
    pub(super) fn line(&mut self, may_come: bool) -> io::Result<Option<Vec<u8>>> {
        loop {
            self.lines.read_until(b'\n', &mut self.begun)?;
            if self.begun.ends_with(b"\n") {
                return Ok(Some(std::mem::take(&mut self.begun)));
            }
            let rest = match self.end()? {
                AtEndOfFile::Again => false,
                AtEndOfFile::Here if may_come => return Ok(None),
                // No more comes of the line that was begun there.
                AtEndOfFile::Other => !self.begun.is_empty(),
                AtEndOfFile::Here if self.begun.is_empty() => return Ok(None),
                AtEndOfFile::Here => true,
            };
            if rest {
                return Ok(Some(std::mem::take(&mut self.begun)));
            }
        }
    }

    fn end(&mut self) -> io::Result<AtEndOfFile> {
        match self.reads {
            Reads::Current => {
                if !self.is_replaced()? {
                    return Ok(AtEndOfFile::Here);
                }
                self.reads = Reads::Left;
                Ok(AtEndOfFile::Again)
            }
            Reads::Older | Reads::Left => match File::open(&self.path) {
                Ok(file) => {
                    self.lines = BufReader::new(file);
                    self.reads = Reads::Current;
                    Ok(AtEndOfFile::Other)
                }
                // It comes in a moment, if it comes.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(AtEndOfFile::Here),
                Err(error) => Err(error),
            },
        }
    }

    /// Whether the path now leads to another file, or this one was emptied.
    fn is_replaced(&mut self) -> io::Result<bool> {
        let now = match fs::metadata(&self.path) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let file = self.lines.get_mut();
        let read = file.stream_position()?;
        Ok(now.len() < read || are_two(&now, &file.metadata()?))
    }
}
