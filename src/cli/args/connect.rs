//! `hermesctl connect`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::suggest;

use crate::cli::connect::apps;
use crate::containers::AppOrigin;

/// `hermesctl connect`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Connect {
    /// The app; lists all apps if omitted
    #[arg(value_name = "APP", value_parser = PossibleValuesParser::new(apps::names()), hide_possible_values = true)]
    pub(in crate::cli) app: Option<String>,

    /// Where the app runs; if omitted, in a container if it usually does and an engine is installed
    #[arg(long, value_name = "PLACE", value_enum)]
    pub(in crate::cli) from: Option<AppLocationArg>,

    /// Use this provider instead of the one that fits the app best
    #[arg(long, value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) provider: Option<String>,

    /// Use this model instead of the provider's first one
    #[arg(long, value_name = "MODEL")]
    pub(in crate::cli) model: Option<String>,

    /// Use this model for embeddings
    #[arg(long, value_name = "MODEL")]
    pub(in crate::cli) embedding_model: Option<String>,

    /// The name of the app's key, if one is made; the app's own name if omitted
    #[arg(long, value_name = "KEYNAME", conflicts_with = "no_key")]
    pub(in crate::cli) name: Option<String>,

    /// Don't make a key; fill in one that you have
    #[arg(long)]
    pub(in crate::cli) no_key: bool,

    /// Make a new key even if the app has one; the old one stops working
    #[arg(long, conflicts_with = "no_key")]
    pub(in crate::cli) new_key: bool,

    /// Reach hermes-proxyd at this URL, such as a reverse proxy's
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    pub(in crate::cli) address: Option<String>,

    /// Connect through a Unix socket that the container mounts, without an open port
    #[arg(long)]
    pub(in crate::cli) socket: bool,

    /// Use this configuration if hermes-proxyd is not running; a running one uses its own
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
}

/// Where an app runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum AppLocationArg {
    /// On this machine, without a container
    Bare,
    /// In a Docker container on Linux
    Docker,
    /// In a Podman container
    Podman,
    /// In a Docker Desktop container (macOS, Windows, Linux)
    DockerDesktop,
}

impl AppLocationArg {
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

impl From<AppLocationArg> for AppOrigin {
    fn from(place: AppLocationArg) -> Self {
        match place {
            AppLocationArg::Bare => Self::Here,
            AppLocationArg::Docker => Self::Docker,
            AppLocationArg::Podman => Self::Podman,
            AppLocationArg::DockerDesktop => Self::DockerDesktop,
        }
    }
}

impl From<AppOrigin> for AppLocationArg {
    fn from(origin: AppOrigin) -> Self {
        match origin {
            AppOrigin::Here => Self::Bare,
            AppOrigin::Docker => Self::Docker,
            AppOrigin::Podman => Self::Podman,
            AppOrigin::DockerDesktop => Self::DockerDesktop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_places_name_is_what_the_command_line_takes() {
        for place in AppLocationArg::value_variants() {
            let value = place.to_possible_value().unwrap();
            assert_eq!(value.get_name(), place.name());
        }
    }
}
