//! `hermesctl config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigVerb {
    /// Show which file is read, why, and whether the running hermes-proxyd has it as it is now
    Path,
    /// Show every setting that is in force, as a file that hermes-proxyd could read
    Show(ShowFlags),
    /// Check a file and tell every mistake with its line, without using it
    Check {
        /// The file; without it the one that is read
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print a JSON schema of the file, for editors
    Schema,
    /// Write a file to begin with: the usual address, and the rest as comments
    Init(InitFlags),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowFlags {
    /// The file; without it the one that is read
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,

    /// Say of each setting where it comes from
    #[arg(long)]
    pub(in crate::cli) origin: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InitFlags {
    /// The file; without it the one that is read
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,

    /// Write every key with its default and what it means
    #[arg(long)]
    pub(in crate::cli) full: bool,

    /// Put it in the place of a file that is there, which is kept under another name
    #[arg(long)]
    pub(in crate::cli) force: bool,
}
