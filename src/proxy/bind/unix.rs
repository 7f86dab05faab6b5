//! A Unix socket with its file: made, found, and removed only if it is ours.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use tokio::net::UnixListener;

use crate::config::ListenAddress;
use crate::files::FileAccess;

/// How often another process may put a socket in the place of ours before it has it.
const ATTEMPTS: usize = 3;

/// A socket's file, removed when dropped, if it is still the same.
#[derive(Debug)]
pub(in crate::proxy) struct SocketFile(SocketPath);

/// Where clients look for a socket, and which file that is.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct SocketPath {
    path: PathBuf,
    spot: FileAccess,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    pub(super) fn path(&self) -> SocketPath {
        self.0.clone()
    }
}

impl SocketPath {
    /// Whether clients find this socket. They don't once its folder was removed, as the runtime
    /// folder is when the user's last session ends.
    pub(in crate::proxy) fn is_found(&self) -> bool {
        identity(&self.path).is_ok_and(|now| now == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let SocketPath {
            spot,
            identity: own,
            ..
        } = &self.0;
        let removed = spot.act(|path| {
            if identity(path)? == *own {
                std::fs::remove_file(path)?;
            }
            Ok(())
        });
        if let Err(error) = removed {
            tracing::debug!(%error, "a socket's file could not be removed");
        }
    }
}

pub(super) fn address(address: &std::os::unix::net::SocketAddr) -> io::Result<ListenAddress> {
    let path = address
        .as_pathname()
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "the socket has no file"))?;
    let mode = path.metadata().map_or(0o600, |data| data.mode() & 0o777);
    Ok(ListenAddress::Unix {
        path: path.to_path_buf(),
        mode,
    })
}

/// Makes the socket under another name and gives it its permissions before it can be found.
/// What a crashed process left is replaced; what a living one has is not.
pub(super) fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let is_new = !folder.exists();
    let spot = FileAccess::of_itself(path)?;
    if is_new {
        // Who may use the socket must be able to reach it, whatever our umask.
        let others = [(0o060, 0o050), (0o006, 0o005)];
        let enter = others.iter().filter(|(may_use, _)| mode & may_use != 0);
        let mode = enter.fold(0o700, |all, (_, one)| all | one);
        spot.act(|path| {
            let folder = path.parent().unwrap_or_else(|| Path::new("/"));
            std::fs::set_permissions(folder, Permissions::from_mode(mode))
        })?;
    }
    check_folder(folder)?;
    match path.symlink_metadata() {
        Ok(there) if !there.file_type().is_socket() => {
            let message = "a file that is not a socket already exists there";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        Ok(_) if !is_dead(path) => {
            let message = "another process already listens there";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        Ok(_) | Err(_) => {}
    }
    let listener = spot.act(|path| {
        // Another process that binds there at this moment has a name of its own.
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(format!(".{:03x}", std::process::id() & 0xfff));
        let hidden = PathBuf::from(hidden);
        // Left by a crash between the next lines, or nothing.
        std::fs::remove_file(&hidden).ok();
        let listener = UnixListener::bind(&hidden)?;
        let put = std::fs::set_permissions(&hidden, Permissions::from_mode(mode))
            .and_then(|()| put(&hidden, path));
        if put.is_err() {
            std::fs::remove_file(&hidden).ok();
        }
        put.map(|()| listener)
    })?;
    let file = SocketPath {
        path: path.to_path_buf(),
        identity: spot.act(identity)?,
        spot,
    };
    Ok((listener, SocketFile(file)))
}

/// Gives a socket its name. What has the name now is replaced only if nothing listens there.
fn put(hidden: &Path, path: &Path) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        match rename_new(hidden, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result,
        }
        let there = identity(path);
        if !is_dead(path) {
            break;
        }
        // Between the two, a living one may have come: then it gets its name back.
        let mut aside = hidden.as_os_str().to_owned();
        aside.push("d");
        let aside = Path::new(&aside);
        std::fs::rename(path, aside)?;
        if identity(aside).ok() == there.ok() {
            std::fs::remove_file(aside)?;
        } else {
            rename_new(aside, path)?;
            break;
        }
    }
    let message = "another process already listens there";
    Err(io::Error::new(io::ErrorKind::AddrInUse, message))
}

/// Renames where nothing has the new name; where a file system can't do that, over what has it.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => std::fs::rename(from, to),
        result => Ok(result?),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// A user who can put another socket there would get the apps' requests.
fn check_folder(folder: &Path) -> io::Result<()> {
    const STICKY: u32 = 0o1000;
    let there = folder.metadata()?;
    let (owner, ours) = (there.uid(), rustix::process::geteuid().as_raw());
    let refused = |message| Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    let shown = folder.display();
    if owner != ours && owner != 0 && ours != 0 {
        return refused(format!(
            "its folder {shown} belongs to the user with the id {owner}, who could replace the \
             socket; name a folder of your own"
        ));
    }
    if there.mode() & 0o002 != 0 && there.mode() & STICKY == 0 {
        return refused(format!(
            "everyone could replace the socket; run `chmod o-w {shown}`"
        ));
    }
    Ok(())
}

/// Nothing listens any more. A socket that we may not ask is not known to be dead. It is asked
/// without waiting: a busy living one accepts nothing for a while.
fn is_dead(path: &Path) -> bool {
    let asked = (|| {
        let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        net::connect(&socket, &SocketAddrUnix::new(path)?)
    })();
    asked == Err(Errno::CONNREFUSED)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let data = path.symlink_metadata()?;
    Ok((data.dev(), data.ino()))
}

#[cfg(test)]
mod tests;
