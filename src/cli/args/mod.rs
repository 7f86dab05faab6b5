//! The command line's shape: here the nouns, in a file of its own each noun's verbs.

mod auth;
mod clients;
mod completions;
mod man;
mod proxy;

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

use super::output::Exit;

pub(super) use auth::{Auth, AuthVerb, LoginFlags, LogoutFlags};
pub(super) use clients::{ClientAddFlags, ClientVerb, Clients};
pub(super) use completions::Completions;
pub(super) use man::Man;
pub(super) use proxy::{ProxyVerb, StartFlags};

/// See and steer hermes-proxyd, the local service for the AI subscription you pay for
#[derive(Debug, Parser)]
#[command(name = "hermesctl", version, arg_required_else_help = true)]
#[command(after_help = "\
Exit codes:
  0   it worked
  1   it failed
  2   the command line is wrong
  3   hermes-proxyd is not running
  4   a login is needed
  78  the configuration is invalid
  130 Ctrl-C ended it; nothing has changed")]
pub(super) struct Arguments {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) noun: Noun,
}

#[derive(Debug, Subcommand)]
pub(super) enum Noun {
    /// See and steer the proxy
    #[command(subcommand)]
    Proxy(ProxyVerb),
    /// Log in and out, with hermes-proxyd running or not
    Auth(Auth),
    /// Give apps keys for the port, with hermes-proxyd running or not
    Clients(Clients),
    /// Print what a shell needs to complete hermesctl, or write that of all shells
    Completions(Completions),
    /// Print a man page's source, or write all pages
    Man(Man),
    /// Show the versions of hermesctl and of the running hermes-proxyd
    Version,
}

/// The shape as clap has it, for man pages and completions.
pub(super) fn command() -> clap::Command {
    Arguments::command()
}

impl Arguments {
    /// Reads the command line. Help and complaints are shown here, and end hermesctl.
    pub(super) fn understand(line: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        Self::try_parse_from(line).map_err(|message| {
            // Nobody is left to tell when this can't be written.
            let _shown = message.print();
            u8::try_from(message.exit_code()).map_or(Exit::Failed, Exit::Passed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn json_is_understood_anywhere() {
        for line in ["hermesctl --json version", "hermesctl proxy status --json"] {
            assert!(Arguments::try_parse_from(line.split(' ')).unwrap().json);
        }
    }
}
