//! `[[listen]]`: where clients connect; pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::changes::Changes;
use super::form::{AsText, Flag, Optional, Path, Text, Word};
use super::reader::{ConfigReport, KeyLocation, TableReader, Wrong};
use super::table::{Table, table};
use super::writer::SettingsWriter;
use super::{ProviderName, values};

/// The port of the original `hermes proxy`, which apps are configured for.
pub const DEFAULT_PORT: u16 = 8645;

/// Who may use a Unix socket, when the file does not say: its owner.
const OWNER_ONLY: Mode = Mode(0o600);

table! {
    /// One address that clients connect to.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Listener {
        beside {
            /// Where.
            pub address: ListenAddress;
        }

        /// Whether apps need a client key (`hermesctl clients add NAME`). auto: only on an address that other
        /// machines or containers can reach; keys: always.
        pub auth: ListenerAuth = Word(&ListenerAuth::NAMES), or ListenerAuth::Auto, on restart;
        /// true lets everyone who can reach the address use your subscription without a key; keep it false
        /// unless you want exactly that.
        pub allow_unauthenticated: bool = Flag, or false, on restart;
        /// The provider that is served at /v1 of this address, if it is not `default_provider`.
        pub provider: Option<ProviderName> = Optional(Text("nous", values::provider_name)), or None, on restart;
    }
}

table! {
    /// Where a listener listens: an address, or a Unix socket.
    pub(super) struct AddressKeys {
        /// An IP address or a network interface, with a port, such as "docker0:8645"; it may appear on this
        /// machine later. `localhost` means 127.0.0.1, which includes `[::1]`; port 0 lets the system choose.
        address: Option<ListenAddress> = Optional(Text("127.0.0.1:8645", parse_address)), or None, on restart;
        /// The socket's file; a leading %t is the runtime folder. Mount the folder, not the file, which is
        /// replaced at a restart.
        unix: Option<PathBuf> = Optional(Path("%t/hermes-proxyd/proxy.sock", values::socket_path)), or None, on restart;
        /// Who may connect: "0600" (the default) is only you, "0660" your group too.
        mode: Option<Mode> = Optional(Text("0600", |text| values::socket_mode(text).map(Mode))), or None, on restart;
    }
}

/// The permissions of a Unix socket, in octal in the file.
#[derive(Clone, Copy, PartialEq)]
struct Mode(u32);

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenAddress {
    /// An IP address, which this machine need not have yet; port 0 lets the system choose one.
    Ip(SocketAddr),
    /// Whatever addresses a network interface has, now or later.
    Interface {
        /// Its name, such as `docker0`.
        name: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Whether a listener wants client keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerAuth {
    /// Where other machines and containers can reach it.
    Auto,
    /// In any case.
    Keys,
}

impl ListenerAuth {
    /// The values by the names that the file uses.
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("auto", Self::Auto), ("keys", Self::Keys)];
}

impl Default for Listener {
    fn default() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT));
        Self::with_defaults(ListenAddress::Ip(address))
    }
}

impl Listener {
    /// The address, where it is an IP address.
    pub fn ip_address(&self) -> Option<SocketAddr> {
        match self.address {
            ListenAddress::Ip(address) => Some(address),
            ListenAddress::Interface { .. } | ListenAddress::Unix { .. } => None,
        }
    }

    /// Whether a request needs a client key here.
    pub fn needs_key(&self) -> bool {
        match self.auth {
            ListenerAuth::Keys => true,
            ListenerAuth::Auto => {
                !self.allow_unauthenticated && self.address.is_reachable_by_others()
            }
        }
    }
}

impl ListenAddress {
    /// Whether more than this machine can reach it. A Unix socket guards itself by its mode.
    pub fn is_reachable_by_others(&self) -> bool {
        match self {
            Self::Ip(address) => !values::is_loopback(address.ip()),
            Self::Interface { .. } => true,
            Self::Unix { .. } => false,
        }
    }

    /// Whether two listeners can't both have it.
    pub(super) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(address), Self::Ip(other)) => {
                let same_ip = address.ip().to_canonical() == other.ip().to_canonical();
                same_ip && address.port() == other.port() && address.port() != 0
            }
            (Self::Unix { path, .. }, Self::Unix { path: theirs, .. }) => path == theirs,
            _ => self == other,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Interface { name, port } => write!(f, "{name}:{port}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listener whose provider, and whose overlap with other listeners, are not checked yet.
pub(super) struct UncheckedListener {
    pub(super) listener: Listener,
    /// `None` if the address can't be read, so that it duplicates no other.
    address: Option<KeyLocation>,
    /// `None` without a provider.
    pub(super) provider: Option<KeyLocation>,
}

/// Reads one of the tables.
pub(super) fn read(table: &TableReader<'_>) -> UncheckedListener {
    let keys = AddressKeys::read(table, AddressKeys::default());
    let listener = Listener::read(table, Listener::default());

    if listener.allow_unauthenticated && listener.auth == ListenerAuth::Keys {
        let message = "contradicts `auth = \"keys\"`; remove one of the two";
        table
            .report()
            .add(&table.place("allow_unauthenticated"), message);
    }
    let Mode(mode) = keys.mode.unwrap_or(OWNER_ONLY);
    if table.has("mode") && !table.has("unix") {
        let message = "only a Unix socket has a mode; set `unix`, or remove this";
        table.report().add(&table.place("mode"), message);
    }
    let everyone = mode & 0o007 != 0;
    if everyone && listener.auth == ListenerAuth::Auto && !listener.allow_unauthenticated {
        let message = "everyone on this machine could use your subscription; use \"0660\" at most, \
                       or set `auth = \"keys\"` in this [[listen]]";
        table.report().add(&table.place("mode"), message);
    }
    let address = match (table.has("address"), table.has("unix")) {
        (true, true) => {
            let message = "set this or `address`, not both; repeat [[listen]] for a second one";
            table.report().add(&table.place("unix"), message);
            None
        }
        (true, false) => keys.address.zip(table.right("address")),
        (false, true) => {
            let address = keys.unix.map(|path| ListenAddress::Unix { path, mode });
            address.zip(table.right("unix"))
        }
        (false, false) => Some((listener.address.clone(), table.place("address"))),
    };
    let (address, place) = address.unzip();
    UncheckedListener {
        address: place,
        provider: table.right("provider"),
        listener: Listener {
            address: address.unwrap_or(listener.address),
            ..listener
        },
    }
}

impl Listener {
    /// Writes its table.
    pub(super) fn write_all(&self, table: &mut SettingsWriter<'_>) {
        let mut keys = AddressKeys::default();
        match &self.address {
            ListenAddress::Ip(_) | ListenAddress::Interface { .. } => {
                keys.address = Some(self.address.clone());
            }
            ListenAddress::Unix { path, mode } => {
                keys.unix = Some(path.clone());
                keys.mode = Some(Mode(*mode));
            }
        }
        keys.write(table);
        self.write(table);
    }

    /// Names the keys that differ from the new ones.
    pub(super) fn compare_all(&self, new: &Self, changes: &mut Changes) {
        changes.restart("address", &self.address, &new.address);
        self.compare(new, changes);
    }
}

impl AsText for ListenAddress {
    fn as_text(&self) -> String {
        self.to_string()
    }
}

impl AsText for Mode {
    fn as_text(&self) -> String {
        format!("{:04o}", self.0)
    }
}

/// Reports listeners that want the same address.
pub(super) fn check_duplicates<'l>(
    report: &ConfigReport,
    listeners: impl Iterator<Item = &'l UncheckedListener>,
) {
    let mut seen: BTreeMap<&ListenAddress, &KeyLocation> = BTreeMap::new();
    for one in listeners {
        let (value, Some(place)) = (&one.listener.address, &one.address) else {
            continue;
        };
        match seen.iter().find(|(address, _)| address.collides(value)) {
            Some((_, first)) => {
                let message = format!("{value} is already the address of {first}");
                report.add(place, message);
            }
            None => {
                seen.insert(value, place);
            }
        }
    }
}

/// `address:port`, `localhost:port`, or `interface:port`.
pub(super) fn parse_address(text: &str) -> Result<ListenAddress, Wrong> {
    if let Ok(address) = text.parse() {
        return Ok(ListenAddress::Ip(address));
    }
    let wrong = || {
        Wrong::from(format!(
            "{text:?} is not an IP address or a network interface with a port, such as \
             \"127.0.0.1:8645\", \"[::1]:8645\" or \"docker0:8645\""
        ))
    };
    let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if name == "localhost" {
        return Ok(ListenAddress::Ip(SocketAddr::from(([127, 0, 0, 1], port))));
    }
    // Linux allows 15 bytes; dots and colons would make it look like an address or a host.
    let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'@';
    let is_name = (1..=15).contains(&name.len())
        && name.bytes().all(byte)
        && name.bytes().any(|b| b.is_ascii_alphabetic());
    if !is_name {
        return Err(wrong());
    }
    if port == 0 {
        return Err("an interface needs a fixed port, not 0".into());
    }
    Ok(ListenAddress::Interface {
        name: name.to_owned(),
        port,
    })
}
