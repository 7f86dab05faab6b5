//! `hermesctl auth`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::suggest;

/// `hermesctl auth`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Auth {
    /// Read this configuration if hermes-proxyd is not running; a running one has its own
    #[arg(long, value_name = "FILE", global = true)]
    pub(in crate::cli) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(in crate::cli) verb: AuthVerb,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AuthVerb {
    /// Log in with a code that you enter in a browser, on this device or another
    Login(LoginFlags),
    /// Forget a login
    Logout(LogoutFlags),
    /// Show where each login lies, since when, and when it ends
    Status,
    /// Renew a token now
    Refresh {
        /// The provider; without it the default one
        #[arg(value_name = "PROVIDER", add = suggest::providers())]
        provider: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LoginFlags {
    /// The provider; without it the default one
    #[arg(value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) provider: Option<String>,

    /// Make a login of hermes-proxyd's own, which Hermes Agent does not use
    #[arg(long)]
    pub(in crate::cli) separate: bool,

    /// Log in although a login that works is there
    #[arg(long)]
    pub(in crate::cli) force: bool,

    /// Don't open a browser
    #[arg(long)]
    pub(in crate::cli) no_browser: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LogoutFlags {
    /// The provider; without it the default one
    #[arg(value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) provider: Option<String>,

    /// Don't ask, even if Hermes Agent is logged out too
    #[arg(long)]
    pub(in crate::cli) yes: bool,
}
