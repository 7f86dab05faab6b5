//! `hermesctl config check`: every mistake with its line, and nothing changed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::output::{CommandFailure, CommandOutput, Exit};
use super::super::programs;
use super::place::{ConfigLocation, talk};
use super::render;
use super::view::Valid;
use crate::config::{self, ConfigError};
use crate::paths::Environment;
use crate::tools::ProgramCall;

/// Checks a file.
pub(super) async fn check(
    named: Option<PathBuf>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let place = ConfigLocation::find(named).await?;
    let (file, warnings) = next_start(&place).await?;
    let valid = Valid { valid: true, file };
    output.answer(&valid, render::valid)?;
    if !output.is_json() {
        talk(&warnings)?;
    }
    if !output.is_json() && !place.was_named() {
        let warning: Vec<_> = place.warning().into_iter().collect();
        talk(&warning)?;
    }
    Ok(Exit::Ok)
}

/// Fails if the next start with this configuration would. Returns the file, and the warnings.
pub(in crate::cli) async fn next_start(
    place: &ConfigLocation,
) -> Result<(Option<PathBuf>, Vec<String>), CommandFailure> {
    let loaded = config::load(place.to_load(), &Environment::from_process());
    let loaded = loaded.map_err(|error| invalid(&error))?;
    let warnings = ask_the_daemons_program(place.to_load()).await?;
    Ok((loaded.file, warnings))
}

/// The checks that only the daemon can make: whether a certificate can be read, or a provider be
/// built. Without its program there are none. Returns its warnings.
async fn ask_the_daemons_program(file: Option<&Path>) -> Result<Vec<String>, CommandFailure> {
    let mut arguments = vec![OsStr::new("--check")];
    if let Some(file) = file {
        arguments.extend([OsStr::new("--config"), file.as_os_str()]);
    }
    let answer = match ProgramCall::new(programs::program(), arguments).run().await {
        Ok(answer) => answer,
        Err(error) if error.is_absence() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if answer.ok {
        let lines = answer.complained.lines();
        let warnings = lines.filter_map(|line| line.strip_prefix("warning: "));
        return Ok(warnings.map(str::to_owned).collect());
    }
    let said = answer.complained;
    let said = said.trim();
    let said = said.strip_prefix("hermes-proxyd: ").unwrap_or(said);
    let problem = json!({"line": 0, "key": "", "message": said, "suggestion": null});
    let answer_json = json!({"valid": false, "file": file, "problems": [problem]});
    Err(CommandFailure::of_daemon(answer.code, said).with_json(answer_json))
}

/// A file with mistakes.
pub(in crate::cli) fn invalid(error: &ConfigError) -> CommandFailure {
    let problems = error.problems.iter().map(|problem| {
        json!({
            "line": problem.line,
            "key": problem.key,
            "message": problem.message,
            "suggestion": problem.suggestion,
        })
    });
    let problems: Vec<_> = problems.collect();
    let json = json!({"valid": false, "file": error.file, "problems": problems});
    let message = format!("The configuration is invalid:\n{error}");
    CommandFailure::new(message)
        .with_code(Exit::InvalidConfig, "config_invalid")
        .with_hint("Correct it; nothing was changed. `hermesctl man hermes-proxyd.toml` explains every key.")
        .with_json(json)
}
