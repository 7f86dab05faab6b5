//! `hermesctl proxy`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::suggest;

/// Inspect and control the proxy.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ProxyVerb {
    /// Show whether the proxy is running, where it listens and the state of its logins
    Status(StatusFlags),
    /// List the providers and the paths that are forwarded
    Providers,
    /// List the routes, or show where a request goes and why
    Routes(RoutesFlags),
    /// Send a small request through the port, as an app would, and show the result
    Test(TestFlags),
    /// Reload the configuration and the logins, without dropping requests
    Reload,
    /// Run hermes-proxyd in the foreground
    Start(StartFlags),
    /// Stop hermes-proxyd once running requests have finished, and wait until it has ended
    Stop,
    /// Restart hermes-proxyd with the same arguments, and wait until it answers
    Restart,
}

/// How the home screen is shown.
#[derive(Debug, Args)]
pub(in crate::cli) struct StatusFlags {
    /// Redraw at this interval in seconds until Ctrl-C, even while hermes-proxyd restarts
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86400)
    )]
    pub(in crate::cli) watch: Option<u64>,
}

/// What is asked, and how.
#[derive(Debug, Args)]
pub(in crate::cli) struct TestFlags {
    /// The provider; the one served at /v1 if omitted
    #[arg(value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) provider: Option<String>,

    /// Stream the answer, and show it as it arrives
    #[arg(long)]
    pub(in crate::cli) stream: bool,

    /// Ask this model; the provider's first chat model if omitted
    #[arg(short, long, value_name = "MODEL")]
    pub(in crate::cli) model: Option<String>,

    /// Use the client key in this file, or - for standard input; if omitted, the one in
    /// `HERMES_CLIENT_KEY`, if set
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) key: Option<PathBuf>,
}

/// Which request is asked about.
#[derive(Debug, Args)]
pub(in crate::cli) struct RoutesFlags {
    /// Show where a request for this model goes
    #[arg(short, long, value_name = "MODEL")]
    pub(in crate::cli) model: Option<String>,

    /// Show where a request to this path below /v1 goes; chat/completions if only a model is given
    #[arg(short, long, value_name = "PATH")]
    pub(in crate::cli) path: Option<String>,
}

/// What hermes-proxyd is started with.
#[derive(Debug, Default, Args)]
pub(in crate::cli) struct StartFlags {
    /// Serve this provider at /v1
    #[arg(long, value_name = "NAME", add = suggest::providers())]
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

impl StartFlags {
    /// The same flags for hermes-proxyd.
    pub(in crate::cli) fn to_arguments(&self) -> Vec<OsString> {
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
    use clap::Parser;

    use super::super::{Arguments, Noun};
    use super::*;

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
}
