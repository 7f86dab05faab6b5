//! `hermesctl doctor`.

use std::path::PathBuf;

use clap::Args;

/// `hermesctl doctor`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorFlags {
    /// Look at this configuration; without it at the one that is in force
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,

    /// Show only the ways from containers, in detail
    #[arg(long)]
    pub(in crate::cli) containers: bool,
}
