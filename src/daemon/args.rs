//! The command line of hermes-proxyd.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{LogFormat, Overrides};

/// Let every app on this machine use the AI subscription you already pay for
#[derive(Debug, Parser)]
#[command(
    name = "hermes-proxyd",
    version,
    args_conflicts_with_subcommands = true
)]
#[command(after_help = "\
Exit codes:
  0   stopped as requested
  1   could not start
  2   the command line is wrong
  78  the configuration is invalid")]
struct DaemonCommandLine {
    /// Read this configuration instead of $XDG_CONFIG_HOME/hermes-proxyd/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Serve this provider at /v1
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,

    /// Listen on this address
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,

    /// Listen on this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Log messages of this level and above, such as `debug`
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// Log in this format
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormatArg>,

    /// Log to FILE instead of standard error or the journal; FILE is renamed to FILE.1 at 10 MiB
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Check the configuration and exit
    #[arg(long)]
    check: bool,

    /// Serve the control protocol on standard input and output, and nothing else
    #[arg(long, hide = true)]
    control_stdio: bool,

    #[command(subcommand)]
    instead: Option<Instead>,
}

/// hermes-proxyd's other modes, besides the daemon.
#[derive(Debug, Subcommand)]
enum Instead {
    /// Forward TCP connections to a daemon's Unix socket, as a sidecar for containers
    Bridge(BridgeArgs),
}

/// `hermes-proxyd bridge`.
#[derive(Debug, Clone, clap::Args)]
pub struct BridgeArgs {
    /// The daemon's Unix socket: `unix` of a `[[listen]]` in its configuration
    #[arg(long, value_name = "SOCKET")]
    pub to: PathBuf,

    /// Listen on this address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8645")]
    pub listen: SocketAddr,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormatArg {
    Auto,
    Journald,
    Pretty,
    Json,
}

/// The shape as clap has it, for man pages and completions.
pub fn command() -> clap::Command {
    DaemonCommandLine::command()
}

/// What the command line says.
#[derive(Debug)]
pub struct Args {
    /// The configuration file, if not the default one.
    pub config: Option<PathBuf>,
    /// What wins over the file.
    pub overrides: Overrides,
    /// Where the log goes to, if not to standard error or the journal.
    pub log_file: Option<PathBuf>,
    /// Only check the configuration.
    pub check: bool,
    /// Only serve hermesctl, on standard input and output, until that closes.
    pub control_stdio: bool,
    /// Only carry connections to a daemon's socket.
    pub bridge: Option<BridgeArgs>,
}

impl Args {
    /// Reads the command line.
    ///
    /// # Errors
    /// Help and version count as such; the error knows its exit code.
    pub fn try_parse_from(
        line: impl IntoIterator<Item = std::ffi::OsString>,
    ) -> Result<Self, clap::Error> {
        let line = DaemonCommandLine::try_parse_from(line)?;
        let log_format = line.log_format.map(|format| match format {
            LogFormatArg::Auto => LogFormat::Auto,
            LogFormatArg::Journald => LogFormat::Journald,
            LogFormatArg::Pretty => LogFormat::Pretty,
            LogFormatArg::Json => LogFormat::Json,
        });
        Ok(Self {
            config: line.config,
            overrides: Overrides {
                provider: line.provider,
                host: line.host,
                port: line.port,
                log_level: line.log_level,
                log_format,
            },
            log_file: line.log_file,
            check: line.check,
            control_stdio: line.control_stdio,
            bridge: line.instead.map(|Instead::Bridge(bridge)| bridge),
        })
    }
}
