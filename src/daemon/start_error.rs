//! Why the daemon did not start.

use std::net::SocketAddr;

use super::logging::LogError;
use super::port_holder;
use super::providers::FleetError;
use crate::clients::ClientsError;
use crate::config::{ConfigError, ListenAddress, OverrideError, OwnListenerError};
use crate::control::endpoint::BindError;
use crate::proxy::CannotBind;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The file has mistakes.
    #[error("the configuration is invalid:\n{0}")]
    Config(#[from] ConfigError),
    /// The command line does not fit the configuration.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// A provider leads back to us.
    #[error(transparent)]
    Loop(#[from] OwnListenerError),
    /// A provider can't be set up.
    #[error(transparent)]
    Provider(#[from] FleetError),
    /// The client keys can't be used, which is never the same as none.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// Another daemon lives, or the control socket can't be made.
    #[error(transparent)]
    Control(#[from] BindError),
    /// There is no home folder to find the credential store in.
    #[error("there is no home folder; set HERMES_HOME, or `hermes_home` in the configuration")]
    NoHome,
    /// There is no folder for the control socket.
    #[error("there is no folder for the control socket; set XDG_RUNTIME_DIR or HOME")]
    NoRuntimeFolder,
    /// An address can't be bound.
    #[error(
        "can't listen on {address}: {reason}; choose another port with --port, or another \
         `address` or `unix` under [[listen]]"
    )]
    Listen {
        address: ListenAddress,
        /// Why, with the process that has it, if the system tells.
        reason: String,
    },
    /// A listener requires client keys, and none exist.
    #[error(
        "{address} requires a client key, but none exists yet; make one with `hermesctl clients \
         add NAME`, or remove this address from the configuration"
    )]
    NoKeys {
        /// The listener's address.
        address: ListenAddress,
    },
    /// The bridge can't listen.
    #[error("can't listen on {address}: {reason}; choose another address with --listen")]
    Bridge {
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Signals can't be heard.
    #[error("signals can't be received: {0}")]
    Signals(std::io::Error),
    /// It stopped to start again, and can't.
    #[error("hermes-proxyd can't be restarted: {0}")]
    Restart(std::io::Error),
    /// The runtime can't be built.
    #[error("the runtime can't be started: {0}")]
    Runtime(std::io::Error),
    /// The log can't be started.
    #[error(transparent)]
    Logging(LogError),
}

impl From<CannotBind> for StartError {
    fn from(CannotBind { address, error }: CannotBind) -> Self {
        cannot_listen(&address, &error)
    }
}

fn cannot_listen(address: &ListenAddress, error: &std::io::Error) -> StartError {
    let holder = match address {
        ListenAddress::Ip(address) if error.kind() == std::io::ErrorKind::AddrInUse => {
            port_holder::name(*address)
        }
        ListenAddress::Ip(_) | ListenAddress::Interface { .. } | ListenAddress::Unix { .. } => None,
    };
    let reason = match holder {
        Some(holder) => format!("{holder} already uses it"),
        None => error.to_string(),
    };
    StartError::Listen {
        address: address.clone(),
        reason,
    }
}
