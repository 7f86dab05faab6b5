//! `hermesctl doctor`.

use std::path::PathBuf;

use clap::Args;

/// `hermesctl doctor`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DoctorFlags {
    /// Check this configuration; the one in use if omitted
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,

    /// Show only how containers can connect, in detail
    #[arg(long)]
    pub(in crate::cli) containers: bool,
}
