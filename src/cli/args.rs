//! The command line's shape.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::output::Exit;

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
    /// Show the versions of hermesctl and of the running hermes-proxyd
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum ProxyVerb {
    /// Show whether the proxy runs, where it listens and how its logins are
    Status,
    /// List the providers with the paths that are forwarded
    Providers,
    /// Read the configuration and the logins again, without dropping requests
    Reload,
    /// Run hermes-proxyd in the foreground
    Start(StartFlags),
}

/// `hermesctl auth`.
#[derive(Debug, Args)]
pub(super) struct Auth {
    /// Read this configuration if hermes-proxyd is not running; a running one has its own
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) verb: AuthVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum AuthVerb {
    /// Log in with a code that you enter in a browser, on this device or another
    Login(LoginFlags),
    /// Forget a login
    Logout(LogoutFlags),
    /// Show where each login lies, since when, and when it ends
    Status,
    /// Renew a token now
    Refresh {
        /// The provider; without it the default one
        #[arg(value_name = "PROVIDER")]
        provider: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct LoginFlags {
    /// The provider; without it the default one
    #[arg(value_name = "PROVIDER")]
    pub(super) provider: Option<String>,

    /// Make a login of hermes-proxyd's own, which Hermes Agent does not use
    #[arg(long)]
    pub(super) separate: bool,

    /// Log in although a login that works is there
    #[arg(long)]
    pub(super) force: bool,

    /// Don't open a browser
    #[arg(long)]
    pub(super) no_browser: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogoutFlags {
    /// The provider; without it the default one
    #[arg(value_name = "PROVIDER")]
    pub(super) provider: Option<String>,

    /// Don't ask, even if Hermes Agent is logged out too
    #[arg(long)]
    pub(super) yes: bool,
}

/// `hermesctl clients`.
#[derive(Debug, Args)]
pub(super) struct Clients {
    /// Read this configuration if hermes-proxyd is not running; a running one has its own
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) verb: ClientVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum ClientVerb {
    /// Make a key for an app and show it, this once
    Add(ClientAddFlags),
    /// List the apps with their limits and when and from where they were last used
    List,
    /// Take an app's key away; it is refused from the next request on
    Revoke {
        /// The app
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Give an app another key and show it, this once; the old one is refused from then on
    Rotate {
        /// The app
        #[arg(value_name = "NAME")]
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
pub(super) struct ClientAddFlags {
    /// The app's name: lower-case letters, digits, `-`, `_` and `.`
    #[arg(value_name = "NAME")]
    pub(super) name: String,

    /// Let it use this provider only; several may be given
    #[arg(long = "provider", value_name = "PROVIDER")]
    pub(super) providers: Vec<String>,

    /// Let it use this path below /v1 only, such as /chat/completions; several may be given
    #[arg(long = "path", value_name = "PATH")]
    pub(super) paths: Vec<String>,

    /// Let it have so many requests under way at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) in_flight: Option<u32>,
}

/// What hermes-proxyd is started with.
#[derive(Debug, Default, Args)]
pub(super) struct StartFlags {
    /// Serve this provider at /v1
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,

    /// Listen on this address
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,

    /// Listen on this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Read this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
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

impl StartFlags {
    /// The same flags for hermes-proxyd.
    pub(super) fn to_arguments(&self) -> Vec<OsString> {
        let flags = [
            ("--provider", self.provider.as_ref().map(OsString::from)),
            ("--host", self.host.as_ref().map(Into::into)),
            ("--port", self.port.map(|port| port.to_string().into())),
            ("--config", self.config.as_ref().map(OsString::from)),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| {
            let mut argument = OsString::from(flag);
            argument.push("=");
            argument.push(value?);
            Some(argument)
        });
        given.collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_shape_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_daemon_gets_the_flags_that_were_given() {
        let line = "hermesctl proxy start --port 1 --config=-x.toml --host ::1";
        let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
        let Noun::Proxy(ProxyVerb::Start(flags)) = arguments.noun else {
            panic!("{arguments:?}");
        };
        assert_eq!(
            flags.to_arguments(),
            ["--host=::1", "--port=1", "--config=-x.toml"]
        );
    }

    #[test]
    fn json_is_understood_anywhere() {
        for line in ["hermesctl --json version", "hermesctl proxy status --json"] {
            assert!(Arguments::try_parse_from(line.split(' ')).unwrap().json);
        }
    }
}
