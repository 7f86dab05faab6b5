//! `hermesctl version`: both sides' versions, whether or not a daemon runs.

use serde::Serialize;

use crate::control::protocol::DaemonHello;

use super::connect;
use super::output::{Exit, Failure, Output};

#[derive(Serialize)]
struct Versions {
    hermesctl: &'static str,
    daemon: Option<DaemonHello>,
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
    output.answer(&versions, |versions, _| {
        let daemon = versions.daemon.as_ref().map_or_else(
            || "not running".to_owned(),
            |daemon| format!("{} (pid {})", daemon.version, daemon.pid),
        );
        format!(
            "hermesctl     {}\nhermes-proxyd {daemon}\n",
            versions.hermesctl
        )
    })?;
    Ok(Exit::Ok)
}
