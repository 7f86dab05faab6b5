//! `hermesctl service` and `hermesctl setup`.

use clap::{Args, Subcommand};

/// Have hermes-proxyd started by itself.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ServiceVerb {
    /// Install the service of your user and start it; safe to run again
    Install(InstallFlags),
    /// Stop the service and remove it; configuration and login stay
    Uninstall,
    /// Start the service and wait until it is ready
    Start,
    /// Stop the service and wait for its end
    Stop,
    /// Stop and start the service, and wait until it is ready
    Restart,
    /// Show whether the service is installed, starts by itself and runs
    Status,
}

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct InstallFlags {
    /// Let systemd hold the port, so that no app is refused while the service restarts
    #[arg(long)]
    pub(in crate::cli) socket: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SetupFlags {
    /// Don't ask before something is written or installed
    #[arg(long, short)]
    pub(in crate::cli) yes: bool,

    /// Install no service; you run hermes-proxyd yourself
    #[arg(long)]
    pub(in crate::cli) no_service: bool,

    /// Don't open a browser for the login
    #[arg(long)]
    pub(in crate::cli) no_browser: bool,
}
