//! A file's place, and the rights with which it is touched.
//!
//! Root often works on a user's files: `sudo hermesctl auth login`, or a container with a folder of the
//! host's. Then every component of the path is opened by descriptor, and from the user's first folder
//! (or first link) on, the kernel checks that user's rights. So a link can't lead to anything that the
//! user could not touch, and new files belong to the user from the start. A folder of root's inside is
//! root's again, and so is a file of root's that is not a link.
//!
//! For every other user a place is just a path.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A file's place. The file need not be there.
#[derive(Debug, Clone)]
pub struct Spot {
    target: PathBuf,
    reach: Option<platform::FileReach>,
}

/// What becomes of folders that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// They are an error, or the file's own operation fails.
    Stay,
    /// They are made, private.
    AreMade,
}

/// What becomes of a link in the file's own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SymlinkState {
    /// The place is where it leads.
    IsFollowed,
    /// The place is the link's.
    Stays,
}

/// Why a file is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFlaw {
    /// It belongs to another user.
    Foreign {
        /// Whose it is.
        owner: u32,
        /// Who we are.
        ours: u32,
    },
    /// All users may write it.
    Writable {
        /// Its permissions.
        mode: u32,
    },
}

impl Spot {
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

#[cfg(unix)]
mod unix {
    use std::fs::{DirBuilder, File, Metadata, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};

    use rustix::fs::OFlags;
    use rustix::process::geteuid;

    use super::FileFlaw;

    /// Who owns a file whose owner has no number here.
    const NOBODY: u32 = 65534;

    pub(in crate::files) fn private_folder() -> DirBuilder {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        builder
    }

    /// Opening a pipe would wait for its writer.
    pub(in crate::files) fn never_wait(options: &mut OpenOptions, not_through_links: bool) {
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        if not_through_links {
            flags |= OFlags::NOFOLLOW;
        }
        options.custom_flags(flags.bits().cast_signed());
    }

    /// A file that was opened without waiting is written with it.
    pub(in crate::files) fn waiting(file: File) -> io::Result<File> {
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        Ok(file)
    }

    pub(in crate::files) fn flaw(
        file: &File,
        metadata: &Metadata,
        at_home: impl Fn(u32) -> bool,
    ) -> Option<FileFlaw> {
        let (ours, owner) = (geteuid().as_raw(), metadata.uid());
        let known = owner == ours || owner == 0 || (ours == 0 && at_home(owner));
        let is_hidden = owner == NOBODY && hides_owners(file);
        if !known && !is_hidden {
            return Some(FileFlaw::Foreign { owner, ours });
        }
        let mode = metadata.mode() & 0o7777;
        (mode & 0o002 != 0 && keeps_modes(file)).then_some(FileFlaw::Writable { mode })
    }

    /// Whether a file's mode can be changed there. On these file systems it is the mount's, and
    /// usually lets all users in.
    #[cfg(target_os = "linux")]
    fn keeps_modes(file: &File) -> bool {
        /// `vfat`, `exfat`, `ntfs`, `ntfs3`, `cifs`, `smb2`, `9p`, `vboxsf`, `fuse`.
        const WITHOUT: [u32; 9] = [
            0x4d44,
            0x2011_bab0,
            0x5346_544e,
            0x7366_746e,
            0xff53_4d42,
            0xfe53_4d42,
            0x0102_1997,
            0x786f_4256,
            0x6573_5546,
        ];
        let kind = rustix::fs::fstatfs(file).map(|stat| stat.f_type);
        // The kernel's ids have 32 bits, whatever the field's type.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "see above"
        )]
        kind.map_or(true, |kind| !WITHOUT.contains(&(kind as u32)))
    }

    #[cfg(not(target_os = "linux"))]
    fn keeps_modes(_file: &File) -> bool {
        true
    }

    /// On NFS, all files show as `nobody`'s if the two machines have different names for their users.
    /// The server still knows the owners.
    #[cfg(target_os = "linux")]
    fn hides_owners(file: &File) -> bool {
        rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type == rustix::fs::NFS_SUPER_MAGIC)
    }

    #[cfg(not(target_os = "linux"))]
    fn hides_owners(_file: &File) -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
mod platform {
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

    pub(in crate::files) use super::unix::{flaw, never_wait, private_folder, waiting};
    use super::{Missing, SymlinkState};

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
                        if error.kind() == ErrorKind::NotFound
                            && self.missing == Missing::AreMade =>
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
        let map =
            MAP.get_or_init(|| std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default());
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
}

/// Rights are per process there: root refuses a user's link, and gives new files away.
#[cfg(all(unix, not(target_os = "linux")))]
mod platform {
    use std::convert::Infallible;
    use std::ffi::OsStr;
    use std::fs::{File, OpenOptions};
    use std::io::{self, ErrorKind};
    use std::os::unix::fs::{MetadataExt, fchown};
    use std::path::{Path, PathBuf};

    use rustix::process::geteuid;

    pub(in crate::files) use super::unix::{flaw, never_wait, private_folder, waiting};
    use super::{Missing, SymlinkState};

    /// It does not exist.
    #[derive(Debug, Clone)]
    pub(in crate::files) struct FileReach(Infallible);

    impl FileReach {
        pub(super) fn sibling(&self, _name: &OsStr) -> Self {
            match self.0 {}
        }

        pub(super) fn is_home_of(&self, _owner: u32) -> bool {
            match self.0 {}
        }

        pub(super) fn is_closed(&self) -> bool {
            match self.0 {}
        }

        pub(super) fn act<T>(&self, _work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
            match self.0 {}
        }

        pub(super) fn roots_own(&self, _options: &OpenOptions) -> Option<File> {
            match self.0 {}
        }
    }

    pub(super) fn reach(
        file: &Path,
        _missing: Missing,
        _link: SymlinkState,
    ) -> io::Result<Option<(PathBuf, FileReach)>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        for part in file.ancestors() {
            let theirs = |there: std::fs::Metadata| there.is_symlink() && there.uid() != 0;
            if part.symlink_metadata().is_ok_and(theirs) {
                let message = format!("{} is another user's link", part.display());
                return Err(io::Error::new(ErrorKind::PermissionDenied, message));
            }
        }
        Ok(None)
    }

    pub(super) fn is_home_of(target: &Path, owner: u32) -> bool {
        let folder = target
            .parent()
            .and_then(|folder| std::fs::metadata(folder).ok());
        folder.is_some_and(|folder| folder.uid() == owner || folder.mode() & 0o002 == 0)
    }

    pub(super) fn is_closed(_target: &Path) -> bool {
        false
    }

    pub(super) fn give(made: &File, path: &Path) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let Some(folder) = path
            .parent()
            .and_then(|folder| std::fs::metadata(folder).ok())
        else {
            return Ok(());
        };
        if folder.uid() == made.metadata()?.uid() {
            return Ok(());
        }
        fchown(made, Some(folder.uid()), Some(folder.gid()))
    }

    pub(super) fn give_folder(folder: &Path) -> io::Result<()> {
        give(&File::open(folder)?, folder)
    }
}

/// What is in a user's profile is the user's alone already.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
mod platform {
    use std::convert::Infallible;
    use std::ffi::OsStr;
    use std::fs::{DirBuilder, File, Metadata, OpenOptions};
    use std::io;
    use std::path::{Path, PathBuf};

    use super::{FileFlaw, Missing, SymlinkState};

    /// It does not exist.
    #[derive(Debug, Clone)]
    pub(in crate::files) struct FileReach(Infallible);

    impl FileReach {
        pub(super) fn sibling(&self, _name: &OsStr) -> Self {
            match self.0 {}
        }

        pub(super) fn is_home_of(&self, _owner: u32) -> bool {
            match self.0 {}
        }

        pub(super) fn is_closed(&self) -> bool {
            match self.0 {}
        }

        pub(super) fn act<T>(&self, _work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
            match self.0 {}
        }

        pub(super) fn roots_own(&self, _options: &OpenOptions) -> Option<File> {
            match self.0 {}
        }
    }

    pub(super) fn reach(
        _file: &Path,
        _missing: Missing,
        _link: SymlinkState,
    ) -> io::Result<Option<(PathBuf, FileReach)>> {
        Ok(None)
    }

    pub(super) fn is_home_of(_target: &Path, _owner: u32) -> bool {
        false
    }

    pub(super) fn is_closed(_target: &Path) -> bool {
        false
    }

    pub(super) fn private_folder() -> DirBuilder {
        DirBuilder::new()
    }

    pub(super) fn never_wait(_options: &mut OpenOptions, _not_through_links: bool) {}

    pub(super) fn waiting(file: File) -> io::Result<File> {
        Ok(file)
    }

    pub(super) fn flaw(
        _file: &File,
        _metadata: &Metadata,
        _at_home: impl Fn(u32) -> bool,
    ) -> Option<FileFlaw> {
        None
    }

    pub(super) fn give(_made: &File, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn give_folder(_folder: &Path) -> io::Result<()> {
        Ok(())
    }
}
