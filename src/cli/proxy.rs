//! `hermesctl proxy`: what a running daemon answers.

mod test;

use chrono::Local;
use serde::Serialize;
use serde_json::json;

use crate::control::protocol::{ProviderState, Status};

use super::connect;
use super::output::{Exit, Failure, Output};
use super::render;

pub(super) use test::test;

/// The JSON form of `proxy status`; without a daemon it is `{"running":false}`.
#[derive(Serialize)]
struct Running {
    running: bool,
    #[serde(flatten)]
    status: Status,
}

/// Shows how the daemon and its logins are.
pub(super) async fn status(output: &mut Output) -> Result<Exit, Failure> {
    let client = connect().await.map_err(|failure| {
        if failure.exit == Exit::NotRunning {
            failure.with_json(json!({"running": false}))
        } else {
            failure
        }
    });
    let running = Running {
        running: true,
        status: client?.status().await?,
    };
    output.answer(&running, |running, style| {
        render::status(&running.status, &Local, style)
    })?;
    let mut defaults = running.status.providers.iter().filter(|one| one.default);
    if defaults.any(|one| one.state == ProviderState::LoginNeeded) {
        return Ok(Exit::LoginNeeded);
    }
    Ok(Exit::Ok)
}

/// Lists the providers.
pub(super) async fn providers(output: &mut Output) -> Result<Exit, Failure> {
    let providers = connect().await?.providers().await?;
    output.answer(&providers, render::providers)?;
    Ok(Exit::Ok)
}

/// Has the daemon read its configuration again.
pub(super) async fn reload(output: &mut Output) -> Result<Exit, Failure> {
    let report = connect().await?.reload().await?;
    output.answer(&report, render::reload)?;
    Ok(Exit::Ok)
}
