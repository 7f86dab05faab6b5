//! The home screen, `hermesctl proxy status`: the state of everything, at a glance.

mod look;
pub(super) mod render;
mod verdict;
pub(in crate::cli) mod view;
mod watch;

use chrono::Local;

use super::args::StatusFlags;
use super::output::{CommandFailure, CommandOutput, Exit};

use look::look;

/// Shows it, once or again and again.
pub(super) async fn status(
    flags: StatusFlags,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    if let Some(seconds) = flags.watch {
        return Box::pin(watch::watch(seconds, output)).await;
    }
    let home = look().await?;
    output.answer(&home, |home, style| render::home(home, &Local, style))?;
    Ok(home.exit())
}
