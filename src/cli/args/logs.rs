//! `hermesctl logs`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::suggest;

/// `hermesctl logs`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Logs {
    /// Follow new lines until Ctrl-C
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,

    /// Show this many of the last lines; with --since, all lines if omitted
    #[arg(short = 'n', long, value_name = "N")]
    pub(in crate::cli) lines: Option<usize>,

    /// Show lines since this time: 15m, 2h, 3d, today, 2026-11-23 or "2026-11-23 19:30"
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) since: Option<String>,

    /// Show lines of this level and above
    #[arg(long, value_name = "LEVEL")]
    pub(in crate::cli) level: Option<LogLevel>,

    /// Show lines about this provider
    #[arg(long, value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) provider: Option<String>,

    /// Show lines about the app with this client key name
    #[arg(long, value_name = "NAME", add = suggest::clients())]
    pub(in crate::cli) client: Option<String>,

    /// Show the request with this id, as given in x-hermes-request-id
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) request: Option<String>,

    /// Show only failures: failed requests, warnings and errors
    #[arg(long)]
    pub(in crate::cli) errors: bool,

    /// Read this file, to which standard error was redirected, instead of the journal
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
}

/// How much a line matters, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(in crate::cli) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
