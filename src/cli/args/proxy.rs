//! `hermesctl proxy`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::suggest;

/// See and steer the proxy.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ProxyVerb {
    /// Show whether the proxy runs, where it listens and how its logins are
    Status(StatusFlags),
    /// List the providers with the paths that are forwarded
    Providers,
    /// Send a small request through the port, as an app does, and show what came of it
    Test(TestFlags),
    /// Read the configuration and the logins again, without dropping requests
    Reload,
    /// Run hermes-proxyd in the foreground
    Start(StartFlags),
    /// Stop hermes-proxyd once the requests under way are done, and wait for its end
    Stop,
    /// Stop hermes-proxyd and start it again as it was started, and wait until it answers
    Restart,
}

/// How the home screen is shown.
#[derive(Debug, Args)]
pub(in crate::cli) struct StatusFlags {
    /// Show it anew every so many seconds until Ctrl-C, also while hermes-proxyd restarts
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
    /// The provider; without it the one that /v1 means
    #[arg(value_name = "PROVIDER", add = suggest::providers())]
    pub(in crate::cli) provider: Option<String>,

    /// Have the answer streamed, and show it as it comes
    #[arg(long)]
    pub(in crate::cli) stream: bool,

    /// Ask this model; without it the provider's first one that chats
    #[arg(short, long, value_name = "MODEL")]
    pub(in crate::cli) model: Option<String>,

    /// Show the client key in this file, - for standard input; without it the one in
    /// `HERMES_CLIENT_KEY`, if any
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) key: Option<PathBuf>,
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
