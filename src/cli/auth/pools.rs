//! `hermesctl auth list` and `auth reset`, and the logout of one of several logins.

use std::path::Path;

use chrono::Local;

use super::render;
use crate::cli::connection::ask;
use crate::cli::output::{CommandFailure, CommandOutput, Exit};
use crate::control::pools::LoginChoice;
use crate::control::protocol::calls;

/// Shows every login of every provider.
pub(super) async fn list(
    config: Option<&Path>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let list = ask(config, async |client| client.call(calls::Logins).await).await?;
    output.answer(&list, |list, style| {
        render::pools::list(list, &Local, style)
    })?;
    Ok(Exit::Ok)
}

/// Uses logins again that are cooling down.
pub(super) async fn reset(
    choice: LoginChoice,
    config: Option<&Path>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let report = ask(config, async |client| {
        client.call(calls::LoginReset(choice)).await
    })
    .await?;
    output.answer(&report, render::pools::reset)?;
    Ok(Exit::Ok)
}

/// Forgets one of several logins.
pub(super) async fn remove(
    choice: LoginChoice,
    config: Option<&Path>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let label = choice.label.clone().unwrap_or_default();
    let report = ask(config, async |client| {
        client.call(calls::LoginRemove(choice)).await
    })
    .await?;
    output.answer(&report, |report, style| {
        render::pools::removed(report, &label, style)
    })?;
    Ok(Exit::Ok)
}
