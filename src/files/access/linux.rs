//! The rights of a path component by component, by descriptor, with those of the user whose folder it is.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use rustix::process::{self, DumpableBehavior};
use rustix::thread;

use super::lookup::{Missing, SymlinkState};
pub(in crate::files) use super::unix::{flaw, never_wait, private_folder, waiting};

/// The most links that are followed, the same as the kernel's limit.
const LINKS: usize = 40;

/// A name in a folder that is held open, and whose rights are used there.
#[derive(Debug, Clone)]
pub(in crate::files) struct FileReach {
    folder: Arc<OwnedFd>,
    name: OsString,
    user: FileUser,
    /// All users may put files there.
    is_open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileUser {
    uid: Uid,
    gid: Gid,
}

const ROOT: FileUser = FileUser {
    uid: Uid::ROOT,
    gid: Gid::ROOT,
};

impl FileReach {
    pub(super) fn sibling(&self, name: &OsStr) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    pub(super) fn is_home_of(&self, owner: u32) -> bool {
        self.user.uid.as_raw() == owner
    }

    pub(super) fn is_closed(&self) -> bool {
        !self.is_open
    }

    pub(super) fn act<T>(&self, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let folder = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        let path = Path::new(&folder).join(&self.name);
        let _acting = self.user.acting()?;
        work(&path)
    }

    /// Root's own file in a user's folder, as a program in a container leaves it. A link, or a
    /// second name of a file elsewhere, does not count, nor does the target of a user's link in
    /// a folder of root's.
    pub(super) fn roots_own(&self, options: &OpenOptions) -> Option<File> {
        let folder = rustix::fs::fstat(&self.folder).ok()?;
        if self.user == ROOT || folder.st_uid != self.user.uid.as_raw() {
            return None;
        }
        let folder = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        let file = options.open(Path::new(&folder).join(&self.name)).ok()?;
        let metadata = file.metadata().ok()?;
        let is_roots = metadata.is_file() && metadata.uid() == 0 && metadata.nlink() == 1;
        is_roots.then_some(file)
    }
}

/// While it lives, this thread has a user's rights on files and no others.
struct Acting {
    groups: Vec<Gid>,
    group: Gid,
    dumpable: Option<DumpableBehavior>,
}

impl FileUser {
    fn acting(self) -> io::Result<Option<Acting>> {
        if self == ROOT {
            return Ok(None);
        }
        let acting = Acting {
            groups: process::getgroups()?,
            group: process::getegid(),
            dumpable: process::dumpable_behavior().ok(),
        };
        // Dropping takes back what was done when the rest fails.
        let taken = thread::set_thread_groups(&[])
            .and_then(|()| thread::set_thread_res_gid(None, self.gid, None))
            .and_then(|()| thread::set_thread_res_uid(None, self.uid, None));
        match taken {
            Ok(()) => Ok(Some(acting)),
            Err(errno) => {
                let error = io::Error::from(errno);
                let message = format!(
                    "root can't act as the user with the id {} here ({error}): run it as that \
                     user",
                    self.uid.as_raw()
                );
                Err(io::Error::new(ErrorKind::PermissionDenied, message))
            }
        }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        let back = thread::set_thread_res_uid(None, Uid::ROOT, None)
            .and_then(|()| thread::set_thread_res_gid(None, self.group, None))
            .and_then(|()| thread::set_thread_groups(&self.groups));
        if let Err(error) = back {
            tracing::error!(%error, "this thread could not regain root's rights");
        }
        // The kernel forgets it with every change of rights.
        if let Some(behavior) = self.dumpable {
            process::set_dumpable_behavior(behavior).ok();
        }
    }
}

/// `None` if a plain path is enough: we are not root, or no other user owns a part of it.
pub(super) fn reach(
    file: &Path,
    missing: Missing,
    link: SymlinkState,
) -> io::Result<Option<(PathBuf, FileReach)>> {
    if !process::geteuid().is_root() {
        return Ok(None);
    }
    Walk::start(missing, link)?.go(&std::path::absolute(file)?)
}

struct Walk {
    missing: Missing,
    link: SymlinkState,
    folder: OwnedFd,
    /// Whose the folder is, or who has led us here by a link.
    user: FileUser,
    led: bool,
    /// Whether any part belonged to another user.
    shared: bool,
    links: usize,
}

impl Walk {
    fn start(missing: Missing, link: SymlinkState) -> io::Result<Self> {
        Ok(Self {
            missing,
            link,
            folder: open_root()?,
            user: ROOT,
            led: false,
            shared: false,
            links: 0,
        })
    }

    fn go(mut self, file: &Path) -> io::Result<Option<(PathBuf, FileReach)>> {
        let mut rest = names(file);
        let mut name = OsString::from(".");
        while let Some(next) = rest.pop_front() {
            let last = rest.is_empty();
            let (found, stat) = match self.enter(&next) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound && last => {
                    name = next;
                    break;
                }
                Err(error)
                    if error.kind() == ErrorKind::NotFound && self.missing == Missing::AreMade =>
                {
                    self.make(&next)?
                }
                Err(error) => return Err(error),
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Symlink && (!last || self.link == SymlinkState::IsFollowed) {
                for name in self.follow(&found, &stat)?.into_iter().rev() {
                    rest.push_front(name);
                }
            } else if last {
                self.shared |= foreign(&stat).is_some();
                name = next;
            } else if kind == FileType::Directory {
                self.step_into(found, &stat);
            } else {
                return Err(ErrorKind::NotADirectory.into());
            }
        }
        if !self.shared {
            return Ok(None);
        }
        let way = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        let target = std::fs::read_link(way)?.join(&name);
        let mode = rustix::fs::fstat(&self.folder)?.st_mode;
        let reach = FileReach {
            folder: Arc::new(self.folder),
            name,
            user: self.user,
            is_open: mode & 0o002 != 0,
        };
        Ok(Some((target, reach)))
    }

    /// What a name in the folder is. The name of a folder that only root may open is still found:
    /// finding is a right on the folder above.
    fn enter(&self, name: &OsStr) -> io::Result<(OwnedFd, Stat)> {
        let _acting = self.user.acting()?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(&self.folder, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&found)?;
        Ok((found, stat))
    }

    fn make(&self, name: &OsStr) -> io::Result<(OwnedFd, Stat)> {
        {
            let _acting = self.user.acting()?;
            match rustix::fs::mkdirat(&self.folder, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.enter(name)
    }

    /// Where a link leads from here.
    fn follow(&mut self, link: &OwnedFd, stat: &Stat) -> io::Result<VecDeque<OsString>> {
        let target = rustix::fs::readlinkat(link, "", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        self.links += 1;
        if self.links > LINKS {
            return Err(Errno::LOOP.into());
        }
        if let Some(owner) = foreign(stat).filter(|_| !self.led) {
            (self.user, self.led, self.shared) = (owner, true, true);
        }
        if target.is_absolute() {
            self.folder = open_root()?;
        }
        Ok(names(&target))
    }

    fn step_into(&mut self, folder: OwnedFd, stat: &Stat) {
        self.folder = folder;
        let owner = foreign(stat);
        self.shared |= owner.is_some();
        if !self.led {
            self.user = owner.unwrap_or(ROOT);
        }
    }
}

fn open_root() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/", flags, Mode::empty())?)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

/// The owner, if that is not root.
fn foreign(stat: &Stat) -> Option<FileUser> {
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    (uid != 0 && is_user(uid)).then(|| FileUser {
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(gid),
    })
}

/// In a user namespace, users outside of it show as `nobody`: `/` and `/home` themselves.
fn is_user(uid: u32) -> bool {
    static MAP: OnceLock<String> = OnceLock::new();
    let map = MAP.get_or_init(|| std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default());
    let within = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        (first..first + count).contains(&u64::from(uid))
    };
    map.is_empty() || map.lines().any(within)
}

/// All there is root's, or we are not.
pub(super) fn is_home_of(_target: &Path, _owner: u32) -> bool {
    false
}

pub(super) fn is_closed(_target: &Path) -> bool {
    false
}

/// Whose place it is made it.
#[expect(clippy::unnecessary_wraps, reason = "the same shape as elsewhere")]
pub(super) fn give(_made: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the same shape as elsewhere")]
pub(super) fn give_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
