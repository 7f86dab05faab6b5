//! `hermesctl bugreport`.

use std::path::PathBuf;

use clap::Args;

/// `hermesctl bugreport`.
#[derive(Debug, Args)]
pub(in crate::cli) struct BugReport {
    /// Write the report to this file; hermes-proxyd-report.txt in this folder if omitted
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,

    /// Don't ask
    #[arg(long)]
    pub(in crate::cli) yes: bool,
}
