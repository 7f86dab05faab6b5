//! `hermesctl connect`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::suggest;

use crate::cli::connect::apps;

/// `hermesctl connect`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Connect {
    /// The app; without it all are listed
    #[arg(value_name = "APP", value_parser = PossibleValuesParser::new(apps::names()), hide_possible_values = true)]
    pub(in crate::cli) app: Option<String>,

    /// Where the app runs; without this, in a container where it usually does and an engine is here
    #[arg(long, value_name = "PLACE", value_enum)]
    pub(in crate::cli) from: Option<Place>,

    /// Use this provider instead of the default one
    #[arg(long, value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) provider: Option<String>,

    /// Use this model instead of the provider's first one
    #[arg(long, value_name = "MODEL")]
    pub(in crate::cli) model: Option<String>,

    /// Use this model for embeddings
    #[arg(long, value_name = "MODEL")]
    pub(in crate::cli) embedding_model: Option<String>,

    /// Call the app's key so, where one is made; without this, as the app
    #[arg(long, value_name = "KEYNAME", conflicts_with = "no_key")]
    pub(in crate::cli) name: Option<String>,

    /// Make no key; fill in one that you have
    #[arg(long)]
    pub(in crate::cli) no_key: bool,

    /// Make a new key where the app has one already, which no longer works then
    #[arg(long, conflicts_with = "no_key")]
    pub(in crate::cli) new_key: bool,

    /// Reach hermes-proxyd at this URL, such as that of a reverse proxy
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    pub(in crate::cli) address: Option<String>,

    /// Go through a Unix socket that a container mounts, so that no port is open
    #[arg(long)]
    pub(in crate::cli) socket: bool,

    /// Read this configuration if hermes-proxyd is not running; a running one has its own
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
}

/// Where an app runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Place {
    /// On this machine, without a container
    Bare,
    /// In a container of Docker on Linux
    Docker,
    /// In a container of Podman
    Podman,
    /// In a container of Docker Desktop (macOS, Windows, Linux)
    DockerDesktop,
}

impl Place {
    /// Its name on the command line.
    pub(in crate::cli) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::DockerDesktop => "docker-desktop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_places_name_is_what_the_command_line_takes() {
        for place in Place::value_variants() {
            let value = place.to_possible_value().unwrap();
            assert_eq!(value.get_name(), place.name());
        }
    }
}
