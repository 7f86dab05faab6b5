//! `hermesctl completions`.

use std::path::PathBuf;

use clap::Args;

use crate::manual::Shell;

/// `hermesctl completions`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Completions {
    /// The shell to print the script for
    #[arg(value_name = "SHELL", required_unless_present = "dir")]
    pub(in crate::cli) shell: Option<Shell>,

    /// Write the scripts for all shells and both programs to subfolders of this folder
    #[arg(long, value_name = "DIR", conflicts_with = "shell")]
    pub(in crate::cli) dir: Option<PathBuf>,
}
