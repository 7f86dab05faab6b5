//! `hermesctl config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigVerb {
    /// Show which file is used, why, and whether the running hermes-proxyd has loaded it
    Path,
    /// Show every setting in effect, as a valid configuration file
    Show(ShowFlags),
    /// Check a file and report every mistake with its line, without applying it
    Check {
        /// The file; the one in use if omitted
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print a JSON schema of the file, for editors
    Schema,
    /// Write a starter file: the usual address, and everything else as comments
    Init(InitFlags),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowFlags {
    /// The file; the one in use if omitted
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,

    /// Show where each setting comes from
    #[arg(long)]
    pub(in crate::cli) origin: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InitFlags {
    /// The file; the one in use if omitted
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,

    /// Write every key with its default and its meaning
    #[arg(long)]
    pub(in crate::cli) full: bool,

    /// Replace an existing file, which is kept as a backup
    #[arg(long)]
    pub(in crate::cli) force: bool,
}
