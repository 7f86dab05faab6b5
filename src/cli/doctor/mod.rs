//! `hermesctl doctor`: what is wrong, and how to fix it.

pub(in crate::cli) mod render;

use super::args::DoctorFlags;
use super::output::{CommandFailure, CommandOutput, Exit};
use super::programs;
use crate::doctor::{self, DoctorExit, Questions};

/// Looks at everything, and ends as the worst of it says.
pub(super) async fn doctor(
    flags: DoctorFlags,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let report = doctor::examine(Questions {
        config: flags.config,
        containers_only: flags.containers,
        program: Some(programs::program()),
    })
    .await;
    output.answer(&report, render::report)?;
    Ok(match report.cause {
        DoctorExit::Nothing => Exit::Ok,
        DoctorExit::Configuration => Exit::InvalidConfig,
        DoctorExit::NotRunning => Exit::NotRunning,
        DoctorExit::Login => Exit::LoginNeeded,
        DoctorExit::Other => Exit::Failed,
    })
}
