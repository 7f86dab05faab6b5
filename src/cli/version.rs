//! `hermesctl version`: both sides' versions, whether or not a daemon runs.

use serde::Serialize;

use crate::control::protocol::DaemonHello;

use super::output::{Exit, Failure, Output};
use super::{connect, render};

/// Both sides' versions; `None` where no daemon runs.
#[derive(Serialize)]
pub(super) struct Versions {
    pub(super) hermesctl: &'static str,
    pub(super) daemon: Option<DaemonHello>,
}

/// Shows the versions of hermesctl and of the running daemon.
pub(super) async fn version(output: &mut Output) -> Result<Exit, Failure> {
    let daemon = match connect().await {
        Ok(client) => Some(client.daemon().clone()),
        Err(failure) if failure.exit == Exit::NotRunning => None,
        Err(failure) => return Err(failure),
    };
    let versions = Versions {
        hermesctl: env!("CARGO_PKG_VERSION"),
        daemon,
    };
    output.answer(&versions, render::version)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
impl Versions {
    /// Of a daemon that runs.
    pub(super) fn sample() -> Self {
        let daemon = DaemonHello {
            protocol: 1,
            version: "0.1.0".to_owned(),
            pid: 4242,
        };
        Self {
            hermesctl: "0.1.0",
            daemon: Some(daemon),
        }
    }
}
