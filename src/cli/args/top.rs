//! `hermesctl top`.

use clap::Args;

/// `hermesctl top`.
#[derive(Debug, Args)]
pub(in crate::cli) struct TopFlags {
    /// Look again after so many seconds
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        default_value = "1",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub(in crate::cli) interval: u64,

    /// Begin with the requests that began last, in place of those that take longest
    #[arg(long)]
    pub(in crate::cli) newest: bool,

    /// Print it once, also into a pipe; so does --json
    #[arg(long)]
    pub(in crate::cli) once: bool,
}
