//! `[[listen]]`: where clients connect; pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::reader::{Field, Place, Report, Section, Wrong};
use super::{DEFAULT_PORT, ProviderName, values};
use crate::paths::Environment;

/// Who may use a Unix socket, when the file does not say: its owner.
const OWNER_ONLY: u32 = 0o600;

/// One address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: ListenAddress,
    /// The provider that `/v1` means here, when it is not the default one.
    pub provider: Option<ProviderName>,
    /// Whether a client key is needed.
    pub auth: Auth,
    /// The operator's word that everyone who can reach an address of other machines may use it.
    pub allow_unauthenticated: bool,
}

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
pub enum Auth {
    /// Where other machines and containers can reach it.
    Auto,
    /// In any case.
    Keys,
}

impl Auth {
    /// The values by the names that the file uses.
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("auto", Self::Auto), ("keys", Self::Keys)];
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: ListenAddress::Ip(SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT))),
            provider: None,
            auth: Auth::Auto,
            allow_unauthenticated: false,
        }
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
            Auth::Keys => true,
            Auth::Auto => !self.allow_unauthenticated && self.address.is_reachable_by_others(),
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

/// A listener whose provider and neighbours are not checked yet.
pub(super) struct ListenerFields {
    /// `None` if it can't be read, so that it duplicates no other address.
    address: Option<Field<ListenAddress>>,
    pub(super) provider: Option<Field<ProviderName>>,
    auth: Auth,
    allow_unauthenticated: bool,
}

impl ListenerFields {
    pub(super) fn listener(self) -> Listener {
        let default = Listener::default();
        Listener {
            address: self.address.map_or(default.address, |field| field.value),
            provider: self.provider.map(|field| field.value),
            auth: self.auth,
            allow_unauthenticated: self.allow_unauthenticated,
        }
    }
}

pub(super) fn listener(table: &Section<'_>, env: &Environment) -> ListenerFields {
    let default = Listener::default();
    let tcp = table.text("address", "127.0.0.1:8645", values::listen_address);
    let unix = table.text("unix", "%t/hermes-proxyd/proxy.sock", |text| {
        values::socket_path(text, env)
    });
    let mode = table.text("mode", "0600", values::socket_mode);
    let provider = table.text("provider", "nous", values::provider_name);
    let auth = table.choice("auth", &Auth::NAMES);
    let allow = table.flag("allow_unauthenticated");

    let auth = auth.map_or(default.auth, |field| field.value);
    let allow_unauthenticated = allow.is_some_and(|field| field.value);
    if allow_unauthenticated && auth == Auth::Keys {
        let message = "contradicts `auth = \"keys\"`; remove one of the two";
        table
            .report()
            .add(&table.place("allow_unauthenticated"), message);
    }
    let mode = mode.map_or(OWNER_ONLY, |field| field.value);
    if table.has("mode") && !table.has("unix") {
        let message = "only a Unix socket has a mode; set `unix`, or remove this";
        table.report().add(&table.place("mode"), message);
    }
    let everyone = mode & 0o007 != 0;
    if everyone && auth == Auth::Auto && !allow_unauthenticated {
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
        (true, false) => tcp,
        (false, true) => unix.map(|Field { value: path, place }| Field {
            value: ListenAddress::Unix { path, mode },
            place,
        }),
        (false, false) => Some(Field {
            value: default.address,
            place: table.place("address"),
        }),
    };
    ListenerFields {
        address,
        provider,
        auth,
        allow_unauthenticated,
    }
}

/// Reports listeners that want the same address.
pub(super) fn check_duplicates<'l>(
    report: &Report,
    listeners: impl Iterator<Item = &'l ListenerFields>,
) {
    let mut seen: BTreeMap<&ListenAddress, &Place> = BTreeMap::new();
    for Field { value, place } in listeners.filter_map(|fields| fields.address.as_ref()) {
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
