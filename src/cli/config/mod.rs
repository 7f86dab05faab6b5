//! `hermesctl config`: the file, with the daemon that runs or without one.

mod check;
mod init;
mod place;
mod show;

use crate::config::{self, Setting};

#[cfg(test)]
pub(super) use check::invalid;
#[cfg(test)]
pub(super) use place::sample;
#[cfg(test)]
pub(super) use show::{Effective, sample as settings_sample};
pub(super) use {check::Valid, check::next_start, init::Written, init::begin, place::Place};

use super::args::ConfigVerb;
use super::output::{Exit, Failure, Output};

/// Does what is asked.
pub(super) async fn config(verb: ConfigVerb, output: &mut Output) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Path => place::path(output).await,
        ConfigVerb::Show(flags) => show::show(flags, output).await,
        ConfigVerb::Check { file } => check::check(file, output).await,
        ConfigVerb::Schema => schema(output),
        ConfigVerb::Init(flags) => init::init(flags, output).await,
    }
}

/// Every setting that is in force.
pub(super) async fn in_force() -> Result<Vec<Setting>, Failure> {
    let place = place::Place::find(None).await?;
    Ok(show::effective(&place)?.into_written())
}

/// Prints the schema, which is JSON either way.
fn schema(output: &mut Output) -> Result<Exit, Failure> {
    output.answer(&config::schema(), |schema, _| format!("{schema:#}\n"))?;
    Ok(Exit::Ok)
}
