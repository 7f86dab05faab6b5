//! Private files that are replaced as a whole, and the locks beside them: a temporary file with mode
//! 0600 in the same folder, renamed over the old one, then the folder synced. Root touches a user's
//! files as that user (`spot`).

mod access;
mod advice;
mod disk_space;
mod lock;
mod offload;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use tempfile::NamedTempFile;

pub use access::{FileAccess, FileFlaw};
pub use advice::{chmod_private, chown_to, quoted};
pub use disk_space::has_room;
pub use lock::{Locked, lock};
pub use offload::{FileWorker, LIMIT};

/// A temporary file beside its target. Dropping it removes it.
#[derive(Debug)]
pub struct Temporary {
    file: NamedTempFile,
    /// After the file, whose path leads through it.
    place: FileAccess,
}

/// A temporary file that could not be renamed, and why.
#[derive(Debug)]
pub struct NotRenamed {
    /// What the system says.
    pub error: io::Error,
    /// The target is unchanged, unless not even that was tried.
    pub temporary: Option<Temporary>,
}

impl Temporary {
    /// Makes one, empty and with mode 0600. A link is followed, so that it stays one. The caller holds
    /// the file's lock: what a killed process left is removed before.
    ///
    /// # Errors
    /// When the folder is missing and can't be made, or takes no file, or a link leads to nothing.
    pub fn beside(file: &Path) -> io::Result<Self> {
        Self::tagged(file, None)
    }

    /// The same for one of several writers of a file, each with its own tag: leftovers of the others stay,
    /// because they need them.
    ///
    /// # Errors
    /// As [`Temporary::beside`].
    pub fn tagged(file: &Path, tag: Option<&str>) -> io::Result<Self> {
        there_or_missing(file)?;
        let place = FileAccess::made(file)?;
        let prefix = temporary_prefix(place.target(), tag)
            .ok_or_else(|| io::Error::new(ErrorKind::NotFound, "it has no folder"))?;
        clear_leftovers(&place, tag);
        let file = place.act(|path| {
            let folder = path.parent().unwrap_or_else(|| Path::new("."));
            // Made with mode 0600, under an unused name.
            tempfile::Builder::new().prefix(&prefix).tempfile_in(folder)
        })?;
        place.give(file.as_file())?;
        Ok(Self { file, place })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// The target, which is not a link.
    pub fn place(&self) -> &FileAccess {
        &self.place
    }

    /// Whether it outlives its own drop.
    pub fn outlives(&mut self, outlives: bool) {
        self.file.disable_cleanup(outlives);
    }

    /// Gives the new version the old one's owner, if there is one. Only root has anything to do here.
    ///
    /// # Errors
    /// The owner is another user and we can't give the file away; with both ids.
    #[cfg(unix)]
    pub fn keep_owner(&self) -> Result<(), (u32, u32)> {
        use std::os::unix::fs::{MetadataExt, fchown};
        let old = self.place.act(|path| fs::symlink_metadata(path));
        let (Ok(old), Ok(new)) = (old, self.file().metadata()) else {
            return Ok(());
        };
        if old.uid() == new.uid() || !old.is_file() {
            return Ok(());
        }
        let given = fchown(self.file(), Some(old.uid()), Some(old.gid()));
        given.map_err(|_| (old.uid(), new.uid()))
    }

    /// Elsewhere whose a file is follows from where it is.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub fn keep_owner(&self) -> Result<(), (u32, u32)> {
        Ok(())
    }

    /// Puts it into its place. It outlives a crash of the machine once it was synced before, and its
    /// folder is after.
    ///
    /// # Errors
    /// When it can't be renamed; the old file is as it was.
    pub fn persist(self) -> Result<File, NotRenamed> {
        let Self { file, place } = self;
        match place.act(|path| Ok(file.persist(path))) {
            Ok(Ok(file)) => Ok(file),
            Ok(Err(failed)) => Err(NotRenamed {
                error: failed.error,
                temporary: Some(Self {
                    file: failed.file,
                    place,
                }),
            }),
            Err(error) => Err(NotRenamed {
                error,
                temporary: None,
            }),
        }
    }
}

/// The names of our temporary files beside `target` with this tag.
fn temporary_prefix(target: &Path, tag: Option<&str>) -> Option<OsString> {
    let mut prefix = target.file_name()?.to_owned();
    prefix.push(".hermes-proxyd.");
    if let Some(tag) = tag {
        prefix.push(tag);
        prefix.push(".");
    }
    Some(prefix)
}

/// Removes our temporary files beside a file that a killed process left: those with this tag, and those without
/// any. The caller holds the lock, so no other process uses them.
pub fn clear_leftovers(place: &FileAccess, tag: Option<&str>) {
    for leftover in leftovers_of(place, tag) {
        // A leftover that can't be removed does no harm.
        leftover.act(|path| fs::remove_file(path)).ok();
    }
}

/// Our temporary files beside a file, with any tag.
pub fn leftovers(place: &FileAccess) -> Vec<FileAccess> {
    named(place, |_| true)
}

/// Those with this tag, and those without any.
pub fn leftovers_of(place: &FileAccess, tag: Option<&str>) -> Vec<FileAccess> {
    named(place, |rest| match rest.split_once('.') {
        Some((its, _)) => tag == Some(its),
        None => true,
    })
}

/// Our temporary files beside a file whose remaining name is `wanted`.
fn named(place: &FileAccess, wanted: impl Fn(&str) -> bool) -> Vec<FileAccess> {
    let Some(prefix) = temporary_prefix(place.target(), None) else {
        return Vec::new();
    };
    let entries = place.act(|path| {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        Ok(fs::read_dir(folder)?
            .flatten()
            .map(|entry| entry.file_name())
            .collect::<Vec<_>>())
    });
    let ours = |name: &OsString| {
        let rest = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes());
        rest.is_some_and(|rest| wanted(&String::from_utf8_lossy(rest)))
    };
    let names = entries.unwrap_or_default().into_iter().filter(ours);
    names.map(|name| place.sibling(&name)).collect()
}

/// Says why a file that was not found is not just missing: a link leads to where nothing is, as when a
/// disk is not mounted. What it led to is not gone.
///
/// # Errors
/// `NotFound`, with the link's target.
pub fn there_or_missing(file: &Path) -> io::Result<()> {
    let is_lost = |path: &&Path| path.is_symlink() && matches!(path.try_exists(), Ok(false));
    let Some(link) = file.ancestors().find(is_lost) else {
        return Ok(());
    };
    let target = fs::read_link(link)?;
    let whose = if link == file {
        "it".to_owned()
    } else {
        link.display().to_string()
    };
    let message = format!(
        "{whose} is a link to {}, which is missing",
        target.display()
    );
    Err(io::Error::new(ErrorKind::NotFound, message))
}

/// Makes a private folder when it is missing, with those above it.
///
/// # Errors
/// When one can't be made.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    FileAccess::made(&folder.join("x")).map(drop)
}

/// Reads a small file whole.
///
/// # Errors
/// The system's error, or if it is not a regular file or larger than `largest`.
pub fn read(file: &Path, largest: u64) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    read_opened(FileAccess::of(file)?.open()?, largest)
}

/// Reads an open file whole.
///
/// # Errors
/// The system's, or when it is larger than `largest`.
pub fn read_opened(file: File, largest: u64) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    // Room for all of it at once: a vector that grows leaves unwiped copies behind.
    let size = file.metadata()?.len().min(largest);
    let room = usize::try_from(size).unwrap_or_default() + 1;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(room));
    file.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Removes a file.
///
/// # Errors
/// The system's; not when there is none.
pub fn remove(file: &Path) -> io::Result<()> {
    let removed = FileAccess::of(file).and_then(|place| place.act(|path| fs::remove_file(path)));
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes sure that what was renamed in a file's folder is found after a crash.
///
/// # Errors
/// When the folder can't be opened or synced.
#[cfg(unix)]
pub fn sync_folder_of(place: &FileAccess) -> io::Result<()> {
    let folder = place.act(|path| File::open(path.parent().unwrap_or_else(|| Path::new("."))));
    match folder {
        Ok(folder) => sync(&folder),
        // It may be written and not read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

/// Elsewhere a folder can't be synced.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn sync_folder_of(_place: &FileAccess) -> io::Result<()> {
    Ok(())
}

/// Makes sure that a file outlives a crash. A file system that can't do that (EINVAL, ENOTSUP or ENOSYS
/// of shared folders, older CIFS, some of FUSE) gives all that it has: what was written is written.
///
/// # Errors
/// When the disk fails or is full.
pub fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            tracing::debug!(%error, "this file system can't sync");
            Ok(())
        }
        synced => synced,
    }
}
