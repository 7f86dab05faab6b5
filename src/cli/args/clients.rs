//! `hermesctl clients`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::suggest;

/// `hermesctl clients`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Clients {
    /// Read this configuration if hermes-proxyd is not running; a running one has its own
    #[arg(long, value_name = "FILE", global = true)]
    pub(in crate::cli) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(in crate::cli) verb: ClientVerb,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ClientVerb {
    /// Make a key for an app and show it, this once
    Add(ClientAddFlags),
    /// List the apps with their limits and when and from where they were last used
    List,
    /// Take an app's key away; it is refused from the next request on
    Revoke {
        /// The app
        #[arg(value_name = "NAME", add = suggest::clients())]
        name: String,
    },
    /// Give an app another key and show it, this once; the old one is refused from then on
    Rotate {
        /// The app
        #[arg(value_name = "NAME", add = suggest::clients())]
        name: String,
    },
    /// Take over the tokens of Hermes Agent's proxy, so that its apps go on working
    Import {
        /// The file of `hermes proxy start --client-keys-file`
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ClientAddFlags {
    /// The app's name: lower-case letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NAME")]
    pub(in crate::cli) name: String,

    /// Let it use this provider only; several may be given
    #[arg(long = "provider", value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) providers: Vec<String>,

    /// Let it use this path below /v1 only, such as /chat/completions; several may be given
    #[arg(long = "path", value_name = "PATH")]
    pub(in crate::cli) paths: Vec<String>,

    /// Let it have so many requests under way at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) in_flight: Option<u32>,
}
