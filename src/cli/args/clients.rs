//! `hermesctl clients`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::suggest;

/// `hermesctl clients`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ClientsArgs {
    /// Use this configuration if hermes-proxyd is not running; a running one uses its own
    #[arg(long, value_name = "FILE", global = true)]
    pub(in crate::cli) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(in crate::cli) verb: ClientVerb,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ClientVerb {
    /// Make a key for an app and show it once
    Add(ClientAddFlags),
    /// List the apps, their limits, and when and from where each was last used
    List,
    /// Revoke an app's key; it is rejected from the next request on
    Revoke {
        /// The app
        #[arg(value_name = "NAME", add = suggest::clients())]
        name: String,
    },
    /// Replace an app's key and show the new one once; the old one stops working
    Rotate {
        /// The app
        #[arg(value_name = "NAME", add = suggest::clients())]
        name: String,
    },
    /// Change an app's limits; its key and the rest stay
    Change(ClientChangeFlags),
    /// Import the tokens of Hermes Agent's proxy, so that its apps keep working
    Import {
        /// The file given to `hermes proxy start --client-keys-file`, or a folder with a file for each token, such as a
        /// Secret that Kubernetes mounts
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ClientAddFlags {
    /// The app's name: lower-case letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NAME")]
    pub(in crate::cli) name: String,

    #[command(flatten)]
    pub(in crate::cli) limits: LimitFlags,
}

/// What is not given stays as it is.
#[derive(Debug, Args)]
#[command(override_usage = "hermesctl clients change [OPTIONS] <NAME>")]
#[command(group(
    ArgGroup::new("limits").required(true).multiple(true).args([
        "providers", "paths", "in_flight", "models", "requests_per_minute", "requests_per_day",
        "tokens_per_day", "clear",
    ])
))]
pub(in crate::cli) struct ClientChangeFlags {
    /// The app
    #[arg(value_name = "NAME", add = suggest::clients())]
    pub(in crate::cli) name: String,

    #[command(flatten)]
    pub(in crate::cli) limits: LimitFlags,

    /// Remove this limit; may be repeated
    #[arg(long, value_name = "LIMIT")]
    pub(in crate::cli) clear: Vec<LimitName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LimitName {
    Provider,
    Path,
    Model,
    InFlight,
    RequestsPerMinute,
    RequestsPerDay,
    TokensPerDay,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LimitFlags {
    /// Allow only this provider; may be repeated
    #[arg(long = "provider", value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) providers: Vec<String>,

    /// Allow only this path below /v1, such as /chat/completions; may be repeated
    #[arg(long = "path", value_name = "PATH")]
    pub(in crate::cli) paths: Vec<String>,

    /// Allow at most this many requests at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) in_flight: Option<u32>,

    /// Allow only this model, or those that begin so, as in 'Hermes-4-*'; may be repeated
    #[arg(long = "model", value_name = "MODEL")]
    pub(in crate::cli) models: Vec<String>,

    /// Allow at most this many requests in a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) requests_per_minute: Option<u32>,

    /// Allow at most this many requests in a day, from midnight to midnight
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) requests_per_day: Option<u32>,

    /// Refuse requests once this many tokens were used in a day
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) tokens_per_day: Option<u64>,
}
