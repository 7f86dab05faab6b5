//! `hermesctl service` and `hermesctl setup`.

use super::suggest;
use clap::{Args, Subcommand};

/// Install and manage the service.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ServiceVerb {
    /// Install the service for your user and start it; safe to run again
    Install(InstallFlags),
    /// Stop the service and remove it; configuration and login are kept
    Uninstall,
    /// Start the service and wait until it is ready
    Start,
    /// Stop the service and wait until it has ended
    Stop,
    /// Restart the service and wait until it is ready
    Restart,
    /// Show whether the service is installed, starts automatically and is running
    Status,
}

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct InstallFlags {
    /// Let systemd hold the port, so that apps can connect while the service restarts
    #[arg(long)]
    pub(in crate::cli) socket: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SetupFlags {
    /// Set up this provider; the default one if omitted
    #[arg(long, value_name = "PROVIDER", add = suggest::logins())]
    pub(in crate::cli) provider: Option<String>,

    /// Don't ask before writing or installing anything
    #[arg(long, short)]
    pub(in crate::cli) yes: bool,

    /// Don't install a service; you run hermes-proxyd yourself
    #[arg(long)]
    pub(in crate::cli) no_service: bool,

    /// Don't open a browser for the login
    #[arg(long)]
    pub(in crate::cli) no_browser: bool,
}
