//! `hermesctl completions`: the scripts that shells load to complete the command line.

use super::args::Completions;
use super::documents;
use super::output::{CommandFailure, CommandOutput, Exit};
use crate::manual;

/// Prints one shell's script for hermesctl, or writes those of all shells for both programs.
pub(super) fn completions(
    flags: &Completions,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    if let Some(folder) = &flags.dir {
        let scripts = manual::scripts().into_iter();
        return documents::write(
            scripts.map(|(shell, script)| (folder.join(shell), script)),
            output,
        );
    }
    let Some(shell) = flags.shell else {
        return Err(CommandFailure::new("No shell was named."));
    };
    documents::print(manual::completions(shell), output)
}
