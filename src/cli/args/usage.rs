//! `hermesctl usage`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `hermesctl usage`.
#[derive(Debug, Args)]
pub(in crate::cli) struct UsageArgs {
    /// What to tell requests apart by
    #[arg(long, value_name = "WHAT", default_value = "client")]
    pub(in crate::cli) by: GroupByArg,

    /// Count the last days, such as 7d with today, or the days since today, yesterday or 2026-11-23
    #[arg(long, value_name = "DAY", default_value = "7d")]
    pub(in crate::cli) since: String,

    /// Print comma-separated values, for a spreadsheet
    #[arg(long, conflicts_with = "json")]
    pub(in crate::cli) csv: bool,

    /// Use this configuration if hermes-proxyd is not running; a running one uses its own
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
}

/// What requests are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum GroupByArg {
    /// The app: its client key, else what it calls itself
    Client,
    /// The model that was asked for
    Model,
    /// The provider
    Provider,
    /// The login, where a provider has several
    Login,
    /// The path, such as /chat/completions
    Path,
    /// The day
    Day,
}
