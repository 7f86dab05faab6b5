//! A file's place, and the rights with which it is touched.
//!
//! Root often works on a user's files: `sudo hermesctl auth login`, or a container with a folder of the
//! host's. Then every component of the path is opened by descriptor, and from the user's first folder
//! (or first link) on, the kernel checks that user's rights. So a link can't lead to anything that the
//! user could not touch, and new files belong to the user from the start. A folder of root's inside is
//! root's again, and so is a file of root's that is not a link.
//!
//! For every other user a place is just a path.

mod flaw;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod linux_mounts;
mod lookup;
#[cfg(not(target_os = "linux"))]
mod no_reach;
#[cfg(all(unix, not(target_os = "linux")))]
mod other_mounts;
#[cfg(all(unix, not(target_os = "linux")))]
mod other_unix;
#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

pub use self::flaw::FileFlaw;
#[cfg(target_os = "linux")]
use self::linux as platform;
#[cfg(target_os = "linux")]
use self::linux_mounts as mounts;
use self::lookup::{Missing, SymlinkState};
#[cfg(all(unix, not(target_os = "linux")))]
use self::other_mounts as mounts;
#[cfg(all(unix, not(target_os = "linux")))]
use self::other_unix as platform;
#[cfg(not(unix))]
use self::windows as platform;

/// A file's place. The file need not be there.
#[derive(Debug, Clone)]
pub struct FileAccess {
    target: PathBuf,
    reach: Option<platform::FileReach>,
}

impl FileAccess {
    /// The place of `file`. A link is followed.
    ///
    /// # Errors
    /// When its folder can't be reached.
    pub fn of(file: &Path) -> io::Result<Self> {
        Self::find(file, Missing::Stay, SymlinkState::IsFollowed)
    }

    /// The same, with the folders above it made where they are missing, private and their owner's.
    ///
    /// # Errors
    /// When a folder can't be reached or made.
    pub fn made(file: &Path) -> io::Result<Self> {
        Self::find(file, Missing::AreMade, SymlinkState::IsFollowed)
    }

    /// The place of a file to create or replace itself, even if it is a link, with the folders above it.
    ///
    /// # Errors
    /// When a folder can't be reached or made.
    pub fn of_itself(file: &Path) -> io::Result<Self> {
        Self::find(file, Missing::AreMade, SymlinkState::Stays)
    }

    fn find(file: &Path, missing: Missing, link: SymlinkState) -> io::Result<Self> {
        if let Some((target, reach)) = platform::reach(file, missing, link)? {
            return Ok(Self {
                target,
                reach: Some(reach),
            });
        }
        if let (Missing::AreMade, Some(folder)) = (missing, file.parent()) {
            make_folders(folder)?;
        }
        let followed = match link {
            SymlinkState::IsFollowed => file.canonicalize().ok(),
            SymlinkState::Stays => None,
        };
        Ok(Self {
            target: followed.unwrap_or_else(|| file.to_owned()),
            reach: None,
        })
    }

    /// Another name in the same folder.
    #[must_use]
    pub fn sibling(&self, name: &OsStr) -> Self {
        Self {
            target: self.target.with_file_name(name),
            reach: self.reach.as_ref().map(|reach| reach.sibling(name)),
        }
    }

    /// The file as people know it; no link, if it was there.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Does file work with the rights of the place's owner. The work gets the path to use, which is
    /// valid only within it, and must not wait for anything else.
    ///
    /// # Errors
    /// The work's, or when root can't take on the user's rights.
    pub fn act<T>(&self, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        match &self.reach {
            Some(reach) => reach.act(work),
            None => work(&self.target),
        }
    }

    /// Opens the file for reading. Never waits for the other end of a pipe.
    ///
    /// # Errors
    /// The system's error, or if it is not a regular file.
    pub fn open(&self) -> io::Result<File> {
        regular(self.open_with(OpenOptions::new().read(true))?)
    }

    /// Opens the file, which must be there, for writing over it.
    ///
    /// # Errors
    /// The system's error, or if it is not a regular file.
    pub fn open_to_write(&self) -> io::Result<File> {
        regular(self.open_with(OpenOptions::new().write(true))?)
    }

    /// Makes the file, which must not be there, with mode 0600.
    ///
    /// # Errors
    /// The system's, also when there is a link.
    pub fn create(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let made = self.act(|path| options.open(path))?;
        self.give(&made)?;
        Ok(made)
    }

    /// Opens an existing lock file.
    ///
    /// # Errors
    /// The system's error, or if it is not a regular file.
    pub fn open_lock_there(&self) -> io::Result<File> {
        regular(self.open_with(OpenOptions::new().read(true).append(true))?)
    }

    /// Opens a lock file, and creates a missing one with mode 0600.
    ///
    /// # Errors
    /// If it can't be opened or made, or is not a regular file.
    pub fn open_lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true);
        match self.open_with(&mut options) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return regular(opened?),
        }
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match self.act(|path| options.clone().create_new(true).open(path)) {
            // Another process was faster, or a link is dangling.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if self.reach.is_none() {
                    options.create(true);
                }
                regular(self.open_with(&mut options)?)
            }
            made => {
                let made = made?;
                self.give(&made)?;
                Ok(made)
            }
        }
    }

    /// Opens a log's file for appending; it is made when it is missing, with mode 0600. A pipe is open
    /// when something reads it; one in a user's folder, for root, only if something reads it already.
    ///
    /// # Errors
    /// When it can't be opened or made.
    pub fn open_to_append(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true);
        let open = |options: &mut OpenOptions| match &self.reach {
            Some(_) => self.open_with(options).and_then(platform::waiting),
            None => options.open(&self.target),
        };
        match open(&mut options) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => return opened,
        }
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match self.act(|path| options.clone().create_new(true).open(path)) {
            // Another process was faster, or a link is dangling.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if self.reach.is_none() {
                    options.create(true);
                }
                open(&mut options)
            }
            made => {
                let made = made?;
                self.give(&made)?;
                Ok(made)
            }
        }
    }

    fn open_with(&self, options: &mut OpenOptions) -> io::Result<File> {
        let reach = self.reach.as_ref();
        platform::never_wait(options, reach.is_some());
        let opened = self.act(|path| options.open(path));
        match (opened, reach) {
            (Err(error), Some(reach)) if error.kind() == ErrorKind::PermissionDenied => {
                reach.roots_own(options).ok_or(error)
            }
            (opened, _) => opened,
        }
    }

    /// Gives a new file to the place's owner, if it does not belong to that user already.
    ///
    /// # Errors
    /// When the system does not let us.
    pub(super) fn give(&self, made: &File) -> io::Result<()> {
        if self.reach.is_some() {
            return Ok(());
        }
        platform::give(made, &self.target)
    }

    /// Whether an existing file is untrusted: it belongs to another user, or all users may write it,
    /// on a file system that has owners and modes.
    pub fn flaw(&self, file: &File, metadata: &Metadata) -> Option<FileFlaw> {
        platform::flaw(file, metadata, |owner| {
            // As when a user's file alone is mounted into a container.
            self.is_home_of(owner) || self.is_closed()
        })
    }

    /// Whether only trusted users may put a file there.
    fn is_closed(&self) -> bool {
        match &self.reach {
            Some(reach) => reach.is_closed(),
            None => platform::is_closed(&self.target),
        }
    }

    /// Whether root may use a file of this user there for them: it is their folder.
    pub fn is_home_of(&self, owner: u32) -> bool {
        match &self.reach {
            Some(reach) => reach.is_home_of(owner),
            None => platform::is_home_of(&self.target, owner),
        }
    }
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

/// Makes a private folder when it is missing, with those above it.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folders(parent)?;
    }
    match platform::private_folder().create(folder) {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => {
            made?;
            platform::give_folder(folder)
        }
    }
}
