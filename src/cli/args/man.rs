//! `hermesctl man`.

use std::path::PathBuf;

use clap::Args;

use crate::manual::PAGES;

/// `hermesctl man`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Man {
    /// The page: opened with `man` in a terminal, printed as source into a pipe
    #[arg(value_name = "PAGE", default_value = PAGES[0], value_parser = PAGES)]
    pub(in crate::cli) page: String,

    /// Write all pages to this folder
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    pub(in crate::cli) dir: Option<PathBuf>,
}
