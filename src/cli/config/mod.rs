//! `hermesctl config`: the file, with a running daemon or without one.

mod check;
mod init;
mod place;
pub(in crate::cli) mod render;
mod show;
pub(in crate::cli) mod view;

use std::path::PathBuf;

use crate::config::{self, Config, Setting};
use crate::doctor;
use crate::paths::Environment;

#[cfg(test)]
pub(super) use check::invalid;
#[cfg(test)]
pub(super) use place::sample;
pub(super) use place::talk;
#[cfg(test)]
pub(super) use show::{Effective, sample as settings_sample};
pub(super) use {check::next_start, init::append, init::begin, place::ConfigLocation};

use super::args::ConfigVerb;
use super::output::{CommandFailure, CommandOutput, Exit};

/// Does what is asked.
pub(super) async fn config(
    verb: ConfigVerb,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    match verb {
        ConfigVerb::Path => path(output).await,
        ConfigVerb::Show(flags) => show::show(flags, output).await,
        ConfigVerb::Check { file } => check::check(file, output).await,
        ConfigVerb::Schema => schema(output),
        ConfigVerb::Init(flags) => init::init(flags, output).await,
    }
}

/// Shows the file's place.
async fn path(output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let place = place::ConfigLocation::find(None).await?;
    output.answer(&place, render::place)?;
    if !output.is_json() {
        talk(&place.said())?;
    }
    Ok(Exit::Ok)
}

/// Every setting that is in force.
pub(super) async fn in_force() -> Result<Vec<Setting>, CommandFailure> {
    let place = place::ConfigLocation::find(None).await?;
    Ok(show::effective(&place)?.into_written())
}

/// The file in effect, its settings with the running daemon's flags, and the notes about it.
pub(super) async fn in_force_config()
-> Result<(Option<PathBuf>, Config, Vec<String>), CommandFailure> {
    let place = place::ConfigLocation::find(None).await?;
    let loaded = config::load(place.to_load(), &Environment::from_process());
    let loaded = loaded.map_err(|error| check::invalid(&error))?;
    let config = match &place.daemon {
        Some(daemon) => doctor::with_flags(loaded.config, &daemon.status.daemon.command_line),
        None => loaded.config,
    };
    Ok((loaded.file, config, place.warning().into_iter().collect()))
}

/// Prints the schema, which is JSON either way.
fn schema(output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    output.answer(&config::schema(), |schema, _| format!("{schema:#}\n"))?;
    Ok(Exit::Ok)
}
