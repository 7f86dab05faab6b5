//! `hermesctl proxy`: the verbs that ask a running daemon.

mod end;
pub(super) mod render;
pub(super) mod routes;
mod start;
mod test;
pub(in crate::cli) mod view;

use super::connection::connect;
use super::output::{CommandFailure, CommandOutput, Exit};
use crate::control::protocol::calls;

pub(super) use end::{restart, stop};
pub(super) use routes::routes;
#[cfg(test)]
pub(super) use routes::sample as routes_sample;
pub(super) use start::start;
pub(super) use test::test;

/// Lists the providers.
pub(super) async fn providers(output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let providers = connect().await?.models().await?;
    output.answer(&providers, render::providers)?;
    Ok(Exit::Ok)
}

/// Reloads the daemon's configuration.
pub(super) async fn reload(output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let report = connect().await?.call(calls::Reload).await?;
    output.answer(&report, render::reload)?;
    Ok(if report.providers_unreadable.is_empty() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}
