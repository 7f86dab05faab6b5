//! What only one platform tells: modes and owners, locks and processes, disks. If a system does not
//! tell, the check says so or is omitted.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::files::FileAccess;

/// The time limit of a system tool for a diagnosis: its silence is not an answer.
pub const QUESTION: Duration = Duration::from_secs(4);
pub(super) use crate::files::quoted;

pub(super) use platform::{
    Socket, attributes, can_write, connect, network_file_system, our_user, peer, room,
};
pub(super) use proc::{
    descriptor_limit, environment, is_alive, listening_user, lock_holders, open_files,
    process_name, processes, shows_files, user_of,
};

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    /// The permissions.
    pub(super) mode: u32,
    /// The owner's id.
    pub(super) user: u32,
}

/// Opens a file for reading. A pipe in its place is an error and is not waited for.
pub(super) fn open(file: &Path) -> io::Result<File> {
    FileAccess::of(file)?.open()
}

/// Reads a file of text.
pub(super) fn read(file: &Path) -> io::Result<String> {
    /// The size limit of files that are read.
    const LARGEST: u64 = 4 << 20;
    let mut text = String::new();
    open(file)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The free space of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskSpace {
    pub(super) bytes: u64,
    /// How many files it takes, where that is limited.
    pub(super) files: Option<u64>,
    pub(super) is_read_only: bool,
}

/// A running program of this user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunningProgram {
    pub(super) pid: u32,
    pub(super) arguments: Vec<String>,
}

/// Whether users other than the owner may do anything.
pub(super) fn is_open(mode: u32) -> bool {
    const OTHERS: u32 = 0o077;
    mode & OTHERS != 0
}

/// How long ago a file was written.
pub(super) fn age(file: &Path) -> Option<Duration> {
    let written = std::fs::metadata(file).ok()?.modified().ok()?;
    let written: chrono::DateTime<chrono::Utc> = written.into();
    (SystemClock.now() - written).to_std().ok()
}

/// The program that listens on this port of TCP, and its process.
pub(super) fn port_holder(port: u16) -> Option<(String, u32)> {
    let process = listeners::get_process_by_port(port, listeners::Protocol::TCP).ok()?;
    Some((process.name, process.pid))
}

/// The command line of a process of this user's, as far as it may be shown: its program and the
/// words that are not secret. `None` if the system does not tell.
pub(super) fn command_line(pid: u32) -> Option<String> {
    let processes = processes()?;
    let process = processes.into_iter().find(|process| process.pid == pid)?;
    Some(shown(&process.arguments))
}

/// A command line, shortened, with `…` for every possible secret.
fn shown(arguments: &[String]) -> String {
    const LONGEST: usize = 120;
    let mut words: Vec<String> = Vec::new();
    let mut hide_next = false;
    for argument in arguments {
        let option = argument.starts_with('-');
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument.as_str(), None),
        };
        let is_private = is_private(name);
        words.push(match value {
            _ if words.is_empty() => argument.clone(),
            _ if hide_next && !option => "…".to_owned(),
            Some(value) if is_private || looks_secret(value) => format!("{name}=…"),
            None if looks_secret(argument) => "…".to_owned(),
            Some(_) | None => argument.clone(),
        });
        hide_next = option && value.is_none() && is_private;
    }
    let line = words.join(" ");
    let line = line.replace(char::is_control, " ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST).chain("…".chars()).collect()
}

/// Whether a word that follows this one may be a secret.
fn is_private(name: &str) -> bool {
    const NAMES: [&str; 7] = ["key", "token", "secret", "pass", "auth", "cred", "header"];
    let name = name.to_ascii_lowercase();
    ["-h", "-u"].contains(&name.as_str()) || NAMES.iter().any(|one| name.contains(one))
}

/// Long letters and digits that are not a path, and what precedes the `@` of a URL.
fn looks_secret(word: &str) -> bool {
    const LONG: usize = 20;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_+=".contains(c);
    let mixed = word.contains(|c: char| c.is_ascii_digit())
        && word.contains(|c: char| c.is_ascii_alphabetic());
    let is_url = word.contains("://") && word.contains('@');
    let parts = word.split(['/', '.', ':', ',']);
    let long = parts
        .into_iter()
        .any(|part| part.len() >= LONG && part.chars().all(plain));
    is_url || (long && mixed)
}

/// What gives us a folder that we may not write: the owner's rights, or the folder itself.
pub(super) fn make_writable(folder: &Path) -> String {
    let shown = quoted(folder);
    match attributes(folder) {
        Some(attributes) if attributes.user == our_user() => format!("chmod u+rwx {shown}"),
        Some(_) | None => give(folder),
    }
}

/// The command that makes a file or folder ours. For a link, it shows the target instead, which may
/// belong to any user.
pub(super) fn give(path: &Path) -> String {
    let shown = quoted(path);
    if path.is_symlink() {
        return format!("ls -lL {shown}");
    }
    format!("sudo chown -h {} {shown}", our_user())
}

/// The folders of `PATH`.
pub(super) fn programs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_shows_no_secret() {
        for (line, expected) in [
            ("python3 -m http.server 8645", "python3 -m http.server 8645"),
            (
                "ssh -N -L 8645:localhost:8645 me@host",
                "ssh -N -L 8645:localhost:8645 me@host",
            ),
            ("app --api-key abc --port 1", "app --api-key … --port 1"),
            ("app --token=abc -p 1", "app --token=… -p 1"),
            ("curl -H x -u y z", "curl -H … -u … z"),
            ("app http://me:hidden@host/", "app …"),
            ("app sk-0123456789abcdefghij", "app …"),
            ("app --to=sk-0123456789abcdefghij", "app --to=…"),
            (
                "/opt/some-long-folder-name-of-1/app a-long-word-of-letters",
                "/opt/some-long-folder-name-of-1/app a-long-word-of-letters",
            ),
        ] {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(shown(&words), expected, "{line}");
        }
        assert_eq!(shown(&["a\nb".to_owned()]), "a b");
        assert_eq!(shown(&["a ".repeat(100)]).chars().count(), 121);
    }
}

#[cfg(unix)]
mod platform {
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
    use tokio::net::UnixStream;

    use super::{Attributes, DiskSpace};

    /// Mode and owner; for a link, those of its target. `None` if it does not exist.
    pub(in crate::doctor) fn attributes(path: &Path) -> Option<Attributes> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Attributes {
            mode: metadata.mode() & 0o7777,
            user: metadata.uid(),
        })
    }

    /// Our own id.
    pub(in crate::doctor) fn our_user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Whether files can be made in a folder; nothing is made.
    pub(in crate::doctor) fn can_write(folder: &Path) -> io::Result<()> {
        Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
    }

    pub(in crate::doctor) fn room(folder: &Path) -> Option<DiskSpace> {
        let found = statvfs(folder).ok()?;
        Some(DiskSpace {
            bytes: found.f_bavail.saturating_mul(found.f_frsize),
            // Some file systems have no limit, and say 0 of 0.
            files: (found.f_files > 0).then_some(found.f_favail),
            is_read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    /// A Unix socket.
    pub(in crate::doctor) type Socket = UnixStream;

    /// Opens a Unix socket.
    pub(in crate::doctor) async fn connect(path: &Path) -> io::Result<Socket> {
        UnixStream::connect(path).await
    }

    /// The user at the other end, and the process if the system tells.
    pub(in crate::doctor) fn peer(socket: &Socket) -> Option<(u32, Option<u32>)> {
        let peer = socket.peer_cred().ok()?;
        let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
        Some((peer.uid(), pid))
    }

    /// The kind of a file system that other machines see too.
    #[cfg(target_os = "linux")]
    pub(in crate::doctor) fn network_file_system(path: &Path) -> Option<&'static str> {
        // The numbers of statfs(2).
        const KINDS: [(i128, &str); 8] = [
            (0x6969, "NFS"),
            (0xff53_4d42, "CIFS"),
            (0xfe53_4d42, "SMB"),
            (0x517b, "SMB"),
            (0x5346_414f, "AFS"),
            (0x0102_1997, "9P"),
            (0x00c3_6400, "Ceph"),
            (0x6573_5546, "FUSE"),
        ];
        let there = path.ancestors().find(|path| path.exists())?;
        // Its type is another one on each architecture.
        let kind = rustix::fs::statfs(there).ok()?.f_type;
        let kind = i128::from(kind);
        let mut known = KINDS.iter();
        known
            .find(|(number, _)| *number == kind)
            .map(|(_, name)| *name)
    }

    #[cfg(not(target_os = "linux"))]
    pub(in crate::doctor) fn network_file_system(_: &Path) -> Option<&'static str> {
        None
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;
    use std::path::Path;

    use tokio::io::DuplexStream;

    use super::{Attributes, DiskSpace};

    pub(in crate::doctor) fn attributes(_: &Path) -> Option<Attributes> {
        None
    }

    pub(in crate::doctor) fn our_user() -> u32 {
        0
    }

    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
    pub(in crate::doctor) fn can_write(_: &Path) -> io::Result<()> {
        Ok(())
    }

    pub(in crate::doctor) fn room(_: &Path) -> Option<DiskSpace> {
        None
    }

    pub(in crate::doctor) type Socket = DuplexStream;

    pub(in crate::doctor) async fn connect(_: &Path) -> io::Result<Socket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in crate::doctor) fn peer(_: &Socket) -> Option<(u32, Option<u32>)> {
        None
    }

    pub(in crate::doctor) fn network_file_system(_: &Path) -> Option<&'static str> {
        None
    }
}

#[cfg(target_os = "linux")]
mod proc {
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use super::RunningProgram;

    /// All programs of this user's.
    pub(in crate::doctor) fn processes() -> Option<Vec<RunningProgram>> {
        let ours = super::our_user();
        let entries = fs::read_dir("/proc").ok()?;
        let of_entry = |entry: fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // A process that closed itself to others has files of root's, and still our folder.
            let owner = user_of(pid).unwrap_or(u32::MAX);
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let arguments = line.split(|byte| *byte == 0).filter(|one| !one.is_empty());
            let arguments: Vec<_> = arguments
                .map(|one| String::from_utf8_lossy(one).into_owned())
                .collect();
            (owner == ours && !arguments.is_empty()).then_some(RunningProgram { pid, arguments })
        };
        Some(entries.flatten().filter_map(of_entry).collect())
    }

    /// Whose a process is: the folder's own owner is root where the process is closed to others.
    pub(in crate::doctor) fn user_of(pid: u32) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// The files that a process has open, as far as it lets us look.
    pub(in crate::doctor) fn open_files(pid: u32) -> Vec<PathBuf> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let files = entries.flatten().map(|entry| fs::read_link(entry.path()));
        files.flatten().collect()
    }

    /// Whether a process has not ended.
    pub(in crate::doctor) fn is_alive(pid: u32) -> bool {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    }

    /// Whether a process lets us see its open files, and so its sockets.
    pub(in crate::doctor) fn shows_files(pid: u32) -> bool {
        fs::read_dir(format!("/proc/{pid}/fd")).is_ok()
    }

    /// The user of the socket that listens at this TCP address, or at all addresses with this port
    /// (`proc_pid_net(5)`). It shows every socket's user to everyone.
    pub(in crate::doctor) fn listening_user(address: SocketAddr) -> Option<u32> {
        let read = |name: &str| fs::read_to_string(format!("/proc/net/{name}"));
        let tables = [read("tcp"), read("tcp6")].into_iter().flatten();
        let sockets: Vec<_> = tables.flat_map(|table| listening(&table)).collect();
        let find = |ip: IpAddr| {
            let wanted = SocketAddr::new(ip, address.port());
            let found = sockets.iter().find(|(place, _)| *place == wanted);
            found.map(|(_, user)| *user)
        };
        let all = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        find(address.ip()).or_else(|| all.into_iter().find_map(find))
    }

    /// The listening sockets of a table, with their users.
    fn listening(table: &str) -> Vec<(SocketAddr, u32)> {
        const LISTENS: &str = "0A";
        let of_line = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            let (ip, port) = words.next()?.split_once(':')?;
            let state = words.nth(1)?;
            let user = words.nth(3)?.parse().ok()?;
            let port = u16::from_str_radix(port, 16).ok()?;
            (state == LISTENS).then_some((SocketAddr::new(kernel_address(ip)?, port), user))
        };
        table.lines().skip(1).filter_map(of_line).collect()
    }

    /// An address as the kernel writes it: words of 32 bits in its own byte order.
    fn kernel_address(text: &str) -> Option<IpAddr> {
        let word = |at: usize| {
            let word = text.get(at..at + 8)?;
            u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
        };
        if text.len() == 8 {
            return Some(IpAddr::V4(word(0)?.into()));
        }
        let words = [word(0)?, word(8)?, word(16)?, word(24)?];
        let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
        Some(IpAddr::V6(bytes.into()))
    }

    /// What a process was started with, as far as it lets us look: `NAME=value`.
    pub(in crate::doctor) fn environment(pid: u32) -> Option<Vec<String>> {
        let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let lines = bytes.split(|byte| *byte == 0);
        let lines = lines.map(|line| String::from_utf8_lossy(line).into_owned());
        Some(lines.filter(|line| !line.is_empty()).collect())
    }

    pub(in crate::doctor) fn process_name(pid: u32) -> Option<String> {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(name.trim().to_owned())
    }

    /// Who holds a `flock(2)` on this file (`proc_locks(5)`).
    pub(in crate::doctor) fn lock_holders(path: &Path) -> Vec<u32> {
        let Ok(metadata) = fs::metadata(path) else {
            return Vec::new();
        };
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        holders(&locks, metadata.ino())
    }

    /// The device is ignored: some file systems name a different one there than in stat(2).
    fn holders(locks: &str, inode: u64) -> Vec<u32> {
        let mut holders = Vec::new();
        for line in locks.lines() {
            let mut words = line.split_whitespace().skip(1);
            let is_held = words.next() == Some("FLOCK");
            let pid = words.nth(2).and_then(|pid| pid.parse().ok());
            let file = words.next().and_then(|file| file.rsplit_once(':'));
            let number: Option<u64> = file.and_then(|(_, inode)| inode.parse().ok());
            if let (true, Some(pid), Some(number)) = (is_held, pid, number)
                && number == inode
                && !holders.contains(&pid)
            {
                holders.push(pid);
            }
        }
        holders
    }

    /// How many files a process may have open.
    pub(in crate::doctor) fn descriptor_limit(pid: u32) -> Option<u64> {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        let mut lines = limits.lines();
        let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn holders_are_read_from_the_kernels_list() {
            let locks = "1: FLOCK  ADVISORY  WRITE 24133 fe:00:1941505 0 EOF\n\
                         1: -> FLOCK  ADVISORY  WRITE 99 fe:00:1941505 0 EOF\n\
                         2: POSIX  ADVISORY  WRITE 23449 fe:00:1941505 0 EOF\n\
                         3: FLOCK  ADVISORY  READ  7 00:2a:5 0 EOF\n";
            assert_eq!(holders(locks, 1_941_505), [24133]);
            assert_eq!(holders(locks, 5), [7]);
            assert_eq!(holders(locks, 6), [0; 0]);
        }

        #[test]
        fn a_listening_sockets_user_is_read_from_the_kernels_list() {
            for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
                let listener = std::net::TcpListener::bind(address).unwrap();
                let address = listener.local_addr().unwrap();
                let ours = crate::doctor::system::our_user();
                assert_eq!(listening_user(address), Some(ours), "{address}");
                let here = SocketAddr::from(([127, 0, 0, 1], address.port()));
                let is_here = !address.is_ipv6();
                assert_eq!(listening_user(here).is_some(), is_here, "{address}");
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod proc {
    use std::net::SocketAddr;
    use std::path::{Path, PathBuf};

    use super::RunningProgram;

    pub(in crate::doctor) fn processes() -> Option<Vec<RunningProgram>> {
        None
    }

    pub(in crate::doctor) fn open_files(_: u32) -> Vec<PathBuf> {
        Vec::new()
    }

    pub(in crate::doctor) fn environment(_: u32) -> Option<Vec<String>> {
        None
    }

    pub(in crate::doctor) fn is_alive(_: u32) -> bool {
        true
    }

    pub(in crate::doctor) fn shows_files(_: u32) -> bool {
        true
    }

    pub(in crate::doctor) fn listening_user(_: SocketAddr) -> Option<u32> {
        None
    }

    pub(in crate::doctor) fn user_of(_: u32) -> Option<u32> {
        None
    }

    pub(in crate::doctor) fn process_name(_: u32) -> Option<String> {
        None
    }

    pub(in crate::doctor) fn lock_holders(_: &Path) -> Vec<u32> {
        Vec::new()
    }

    pub(in crate::doctor) fn descriptor_limit(_: u32) -> Option<u64> {
        None
    }
}
