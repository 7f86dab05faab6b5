//! `hermesctl auth`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::suggest;

/// `hermesctl auth`.
#[derive(Debug, Args)]
pub(in crate::cli) struct AuthArgs {
    /// Use this configuration if hermes-proxyd is not running; a running one uses its own
    #[arg(long, value_name = "FILE", global = true)]
    pub(in crate::cli) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(in crate::cli) verb: AuthVerb,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AuthVerb {
    /// Log in with a code that you enter in a browser, or on a page that the browser comes back from
    Login(LoginFlags),
    /// Forget a login
    Logout(LogoutFlags),
    /// Show where each login is stored, when it began and when it ends
    Status,
    /// List every login of every provider, and which are cooling down
    List,
    /// Use logins again that are cooling down
    Reset {
        /// The provider; the default one if omitted
        #[arg(value_name = "PROVIDER", add = suggest::providers())]
        provider: Option<String>,

        /// The login's label; all logins of the provider if omitted
        #[arg(value_name = "LABEL")]
        label: Option<String>,
    },
    /// Renew a token now
    Refresh {
        /// The provider; the default one if omitted
        #[arg(value_name = "PROVIDER", add = suggest::providers())]
        provider: Option<String>,

        /// The login's label; the one in use if omitted
        #[arg(long, value_name = "NAME")]
        label: Option<String>,
    },
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(in crate::cli) struct LoginFlags {
    /// The provider; the default one if omitted
    #[arg(value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) provider: Option<String>,

    /// Make a separate login that Hermes Agent does not share
    #[arg(long)]
    pub(in crate::cli) separate: bool,

    /// Log in even if a working login exists
    #[arg(long)]
    pub(in crate::cli) force: bool,

    /// Log in on a page in a browser, even if the provider offers a code
    #[arg(long)]
    pub(in crate::cli) browser: bool,

    /// Add another account of yours under this name, beside the logins that exist
    #[arg(long, value_name = "NAME", conflicts_with = "separate")]
    pub(in crate::cli) label: Option<String>,

    /// Don't open a browser
    #[arg(long)]
    pub(in crate::cli) no_browser: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LogoutFlags {
    /// The provider; the default one if omitted
    #[arg(value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) provider: Option<String>,

    /// Forget only the login with this label; all logins of the provider if omitted
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) label: Option<String>,

    /// Don't ask for confirmation, even if Hermes Agent is logged out too
    #[arg(long)]
    pub(in crate::cli) yes: bool,
}
