//! The meeting point of the two sides: a Unix socket or a Windows named pipe, and the lock beside
//! it.
//!
//! A locked file decides which daemon lives, not the socket: a socket's file outlives a crash,
//! and binding can't tell a dead one from a living one. Only the lock's holder replaces it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use interprocess::local_socket::tokio::Listener as LocalListener;
use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, Name, ToFsName};
use tokio::sync::Notify;

use crate::files::Locked;

pub use interprocess::local_socket::tokio::Stream;

/// The file whose lock the living daemon holds; it stays when the daemon ends.
const LOCK: &str = "control.lock";

/// The place where a user's daemon and its clients meet.
#[derive(Debug, Clone)]
pub struct Endpoint {
    folder: PathBuf,
}

/// The daemon's side of the endpoint: holds the lock, and removes its socket when dropped.
#[derive(Debug)]
pub struct ControlListener {
    inner: LocalListener,
    endpoint: Endpoint,
    identity: platform::SocketIdentity,
    /// Wakes the server, to check whether the socket still exists.
    prod: Arc<Notify>,
    /// Held until the socket's file is removed.
    _way: platform::ShortPath,
    /// Released last, so that no other daemon binds before our socket is gone.
    lock: Arc<Locked>,
}

/// The identity of a daemon's socket for its clients.
#[derive(Debug, Clone)]
pub struct SocketMark {
    address: PathBuf,
    identity: platform::SocketIdentity,
}

/// Why a daemon can't listen for clients.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon of this user lives.
    #[error("{}", already_running(*pid, version.as_deref()))]
    AlreadyRunning {
        /// Its process, where that is known.
        pid: Option<u32>,
        /// Its version, where it answered.
        version: Option<String>,
    },
    /// Another user could change the folder.
    #[error("the folder {} can't be used for the control socket: {reason}", folder.display())]
    UnsafeFolder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The folder or the lock in it can't be made.
    #[error("the folder {} for the control socket can't be prepared", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The socket or pipe can't be made.
    #[error("the control socket {} can't be opened", address.display())]
    Socket {
        /// The socket or pipe.
        address: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Endpoint {
    /// The endpoint in this folder, usually
    /// [`Environment::runtime_dir`](crate::paths::Environment::runtime_dir). Touches nothing.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { folder }
    }

    /// The socket's path or the pipe's name.
    pub fn address(&self) -> PathBuf {
        platform::address(&self.folder)
    }

    /// Becomes the one daemon of this folder. Must be called within a tokio runtime.
    ///
    /// The folder is made if need be, and closed to other users. A socket that a crashed daemon
    /// left is replaced.
    pub fn bind(&self) -> Result<ControlListener, BindError> {
        let lock = platform::open_lock(&self.folder)?;
        let folder = |source| BindError::Folder {
            folder: self.folder.clone(),
            source,
        };
        let mut lock = match Locked::now(lock) {
            Ok(locked) => locked,
            Err((mut tried, None)) => {
                return Err(BindError::AlreadyRunning {
                    pid: holder(&mut tried),
                    version: None,
                });
            }
            Err((_, Some(source))) => return Err(folder(source)),
        };
        sign(&mut lock).map_err(folder)?;
        self.listen(Arc::new(lock), Arc::default())
    }

    /// Makes the socket. The caller holds the lock.
    fn listen(&self, lock: Arc<Locked>, prod: Arc<Notify>) -> Result<ControlListener, BindError> {
        let address = self.address();
        let socket = |source| BindError::Socket {
            address: address.clone(),
            source,
        };
        let way = platform::way(&self.folder).map_err(socket)?;
        let options = ListenerOptions::new()
            .name(name(way.path()).map_err(socket)?)
            .try_overwrite(true);
        let inner = platform::close_to_others(options)
            .and_then(ListenerOptions::create_tokio)
            .map_err(socket)?;
        let identity = platform::identity(&address).map_err(socket)?;
        Ok(ControlListener {
            inner,
            endpoint: self.clone(),
            identity,
            prod,
            _way: way,
            lock,
        })
    }

    /// Connects to the daemon, and makes sure that it is this user's. For one in another container that is unknown:
    /// then an error of kind `HostUnreachable`.
    pub async fn connect(&self) -> std::io::Result<Stream> {
        let way = platform::way(&self.folder)?;
        let stream = Stream::connect(name(way.path())?).await?;
        platform::check_server(&stream)?;
        Ok(stream)
    }
}

/// The process at the other end, where the system tells.
pub(super) fn peer(stream: &Stream) -> Option<u32> {
    platform::peer(stream)
}

impl ControlListener {
    /// The next client, unless it is another user's: then an error of kind `PermissionDenied`.
    pub async fn accept(&self) -> std::io::Result<Stream> {
        let stream = self.inner.accept().await?;
        platform::check_client(&stream)?;
        Ok(stream)
    }
}

impl ControlListener {
    /// `notify_one` has the socket checked at once.
    pub fn prod(&self) -> Arc<Notify> {
        self.prod.clone()
    }

    /// The identity of this socket for its clients.
    pub fn mark(&self) -> SocketMark {
        SocketMark {
            address: self.endpoint.address(),
            identity: self.identity,
        }
    }

    /// Whether clients find this socket.
    pub fn is_found(&self) -> bool {
        self.mark().is_found()
    }

    /// Another socket in place of one that is not found, under the same lock where that is still there.
    ///
    /// # Errors
    /// When it can't be made, or another daemon has taken the folder meanwhile.
    pub fn again(&self) -> Result<Self, BindError> {
        if platform::is_in(&self.lock, &self.endpoint.folder) {
            return self.endpoint.listen(self.lock.clone(), self.prod.clone());
        }
        let mut made = self.endpoint.bind()?;
        made.prod = self.prod.clone();
        Ok(made)
    }
}

impl SocketMark {
    /// Whether clients find the socket. They don't once its folder was removed, as the runtime folder
    /// is when the user's last session ends. Waits for as long as its file system does.
    pub fn is_found(&self) -> bool {
        let identity = platform::identity(&self.address);
        identity.is_ok_and(|now| now == self.identity)
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        if !self.is_found() {
            self.inner.do_not_reclaim_name_on_drop();
        }
    }
}

/// A process that has our own number is in another container, with which we share the folder.
fn already_running(pid: Option<u32>, version: Option<&str>) -> String {
    let version = version.map_or_else(String::new, |version| format!(" (version {version})"));
    match pid {
        Some(pid) if pid == std::process::id() => format!(
            "another container or pod already runs hermes-proxyd{version} on this volume, and a login can have \
             only one keeper; stop the other one (in Kubernetes: `kubectl scale --replicas=1`), or give this one \
             its own volume"
        ),
        Some(pid) => format!(
            "hermes-proxyd is already running as process {pid}{version}; `hermesctl proxy status` shows it"
        ),
        None => {
            format!("hermes-proxyd is already running{version}; `hermesctl proxy status` shows it")
        }
    }
}

fn name(address: &Path) -> std::io::Result<Name<'_>> {
    address.to_fs_name::<GenericFilePath>()
}

/// Writes our process into the lock's file, for those who find it locked.
fn sign(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())
}

fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(unix)]
mod platform {
    use std::fs::{DirBuilder, File};
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    use std::path::{Path, PathBuf};

    use interprocess::local_socket::ListenerOptions;
    use interprocess::local_socket::tokio::{Stream, prelude::*};
    use interprocess::os::unix::local_socket::ListenerOptionsExt;
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    use rustix::process::geteuid;

    use super::{BindError, LOCK};

    /// Which file the socket is: device and inode.
    pub(super) type SocketIdentity = (u64, u64);

    /// The socket's name in its folder.
    const SOCKET: &str = "control.sock";

    /// So long may a socket's path be, in bytes (`sun_path` of `unix(7)` without its end mark).
    const LONGEST: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

    /// A path to the socket that is short enough for the system, good while this lives.
    #[derive(Debug)]
    pub(super) struct ShortPath {
        path: PathBuf,
        _folder: Option<OwnedFd>,
    }

    impl ShortPath {
        pub(super) fn path(&self) -> &Path {
            &self.path
        }
    }

    pub(super) fn address(folder: &Path) -> PathBuf {
        folder.join(SOCKET)
    }

    /// Where the path is too long, the same socket is reached through the folder's descriptor.
    pub(super) fn way(folder: &Path) -> io::Result<ShortPath> {
        let path = address(folder);
        if path.as_os_str().len() <= LONGEST {
            return Ok(ShortPath {
                path,
                _folder: None,
            });
        }
        short_way(folder, &path)
    }

    #[cfg(target_os = "linux")]
    fn short_way(folder: &Path, _path: &Path) -> io::Result<ShortPath> {
        use std::os::fd::AsRawFd;

        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        Ok(ShortPath {
            path: path.join(SOCKET),
            _folder: Some(folder),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn short_way(_folder: &Path, path: &Path) -> io::Result<ShortPath> {
        let message = format!(
            "its path has {} bytes, and this system allows {LONGEST}; set XDG_RUNTIME_DIR to a \
             folder of yours with a shorter path, for both hermes-proxyd and hermesctl",
            path.as_os_str().len()
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    /// Whether this is still the lock's file in the folder.
    pub(super) fn is_in(lock: &File, folder: &Path) -> bool {
        let there = identity(&folder.join(LOCK));
        let ours = lock.metadata().map(|lock| (lock.dev(), lock.ino()));
        matches!((there, ours), (Ok(there), Ok(ours)) if there == ours)
    }

    pub(super) fn identity(address: &Path) -> io::Result<SocketIdentity> {
        let metadata = address.symlink_metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Windows")]
    pub(super) fn close_to_others(options: ListenerOptions<'_>) -> io::Result<ListenerOptions<'_>> {
        Ok(options.mode(0o600))
    }

    /// Opens the lock's file in a folder that only this user can enter.
    ///
    /// The folder is held by a descriptor, so that what is checked is what is used.
    pub(super) fn open_lock(folder: &Path) -> Result<File, BindError> {
        let unsafe_folder = |reason| BindError::UnsafeFolder {
            folder: folder.to_path_buf(),
            reason,
        };
        let failed = |source: io::Error| BindError::Folder {
            folder: folder.to_path_buf(),
            source,
        };
        let system = |errno: Errno| failed(errno.into());

        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        if folder.symlink_metadata().map_err(failed)?.is_symlink() {
            return Err(unsafe_folder("it is a symbolic link"));
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::open(folder, flags, Mode::empty()).map_err(system)?;
        let stat = rustix::fs::fstat(&handle).map_err(system)?;
        if stat.st_uid != geteuid().as_raw() {
            return Err(unsafe_folder("it belongs to another user"));
        }
        if stat.st_mode & 0o777 != 0o700 {
            rustix::fs::fchmod(&handle, Mode::RWXU).map_err(system)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&handle, LOCK, flags, Mode::RUSR | Mode::WUSR);
        lock.map(File::from).map_err(system)
    }

    /// Root may do with a user's daemon what it likes anyway.
    pub(super) fn check_client(stream: &Stream) -> io::Result<()> {
        let user = user(stream)?;
        if user == geteuid().as_raw() || user == 0 {
            return Ok(());
        }
        Err(denied("the client belongs to another user"))
    }

    pub(super) fn check_server(stream: &Stream) -> io::Result<()> {
        let user = user(stream)?;
        if user == geteuid().as_raw() || geteuid().is_root() {
            return Ok(());
        }
        Err(denied("the process at the socket belongs to another user"))
    }

    pub(super) fn peer(stream: &Stream) -> Option<u32> {
        u32::try_from(stream.peer_creds().ok()?.pid()?).ok()
    }

    fn user(stream: &Stream) -> io::Result<u32> {
        let user = stream.peer_creds().map_err(elsewhere)?.euid();
        user.ok_or_else(|| denied("the system can't tell who owns the peer's process"))
    }

    /// A process that has no number here is in another PID namespace (`unix(7)`, `SO_PEERCRED`), for which interprocess
    /// has this error.
    fn elsewhere(error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::ConnectionReset {
            return error;
        }
        let reason = "the process at the other end is in another container";
        io::Error::new(io::ErrorKind::HostUnreachable, reason)
    }

    fn denied(reason: &'static str) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, reason)
    }
}

#[cfg(windows)]
mod platform {
    use std::fs::File;
    use std::io;
    use std::path::{Path, PathBuf};

    use interprocess::local_socket::ListenerOptions;
    use interprocess::local_socket::tokio::{Stream, prelude::*};
    use interprocess::os::windows::ToWtf16;
    use interprocess::os::windows::local_socket::ListenerOptionsExt;
    use interprocess::os::windows::security_descriptor::SecurityDescriptor;
    use winsafe::{HPROCESS, TokenInfo, co};

    use super::{BindError, LOCK};

    /// A pipe's name goes away with it: nothing to compare.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct SocketIdentity;

    /// A pipe's name is always short enough.
    #[derive(Debug)]
    pub(super) struct ShortPath(PathBuf);

    impl ShortPath {
        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
    pub(super) fn way(folder: &Path) -> io::Result<ShortPath> {
        Ok(ShortPath(address(folder)))
    }

    /// An open file can't be removed.
    pub(super) fn is_in(_lock: &File, _folder: &Path) -> bool {
        true
    }

    /// Pipes share one name space, so the name carries the user. If the system does not tell the
    /// user, `bind` fails and no daemon is found under this name.
    pub(super) fn address(_: &Path) -> PathBuf {
        let user = our_user().unwrap_or_default();
        PathBuf::from(format!(r"\\.\pipe\hermes-proxyd-{user}"))
    }

    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
    pub(super) fn identity(_: &Path) -> io::Result<SocketIdentity> {
        Ok(SocketIdentity)
    }

    /// Full control for our user and the system, nothing for other users, and nothing inherited: the
    /// default would let all of them read. The owner is named, since an administrator's would
    /// otherwise be the group of all administrators.
    pub(super) fn close_to_others(options: ListenerOptions<'_>) -> io::Result<ListenerOptions<'_>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let user = our_user()?;
        let text = format!("O:{user}G:{user}D:P(A;;GA;;;{user})(A;;GA;;;SY)");
        let text = text.to_wtf_16().map_err(invalid)?;
        Ok(options.security_descriptor(SecurityDescriptor::deserialize(&text)?))
    }

    pub(super) fn open_lock(folder: &Path) -> Result<File, BindError> {
        let failed = |source| BindError::Folder {
            folder: folder.to_path_buf(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(LOCK))
            .map_err(failed)
    }

    /// The pipe's descriptor has admitted no other user.
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
    pub(super) fn check_client(_: &Stream) -> io::Result<()> {
        Ok(())
    }

    /// Any user may make a pipe of our name while no daemon of ours runs, so its process is
    /// checked. Another user's can't even be opened.
    pub(super) fn check_server(stream: &Stream) -> io::Result<()> {
        let denied = || {
            let reason = "the process at the pipe belongs to another user";
            io::Error::new(io::ErrorKind::PermissionDenied, reason)
        };
        let server = stream.peer_creds()?.pid().ok_or_else(denied)?;
        let server = HPROCESS::OpenProcess(co::PROCESS::QUERY_LIMITED_INFORMATION, false, server);
        if user(&*server.map_err(system)?)? == our_user()? {
            return Ok(());
        }
        Err(denied())
    }

    pub(super) fn peer(stream: &Stream) -> Option<u32> {
        stream.peer_creds().ok()?.pid()
    }

    fn our_user() -> io::Result<String> {
        user(&HPROCESS::GetCurrentProcess())
    }

    /// The SID of a process's user, such as `S-1-5-21-…-1001`.
    fn user(process: &HPROCESS) -> io::Result<String> {
        let token = process.OpenProcessToken(co::TOKEN::QUERY).map_err(system)?;
        let known = token.GetTokenInformation(co::TOKEN_INFORMATION_CLASS::User);
        let TokenInfo::User(user) = known.map_err(system)? else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let sid = user.User.Sid().ok_or(io::ErrorKind::Unsupported)?;
        winsafe::ConvertSidToStringSid(sid).map_err(system)
    }

    fn system(error: co::ERROR) -> io::Error {
        i32::try_from(error.raw()).map_or_else(
            |_| io::Error::other(error.to_string()),
            io::Error::from_raw_os_error,
        )
    }
}
