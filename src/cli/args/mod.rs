//! The command line's grammar. The nouns are here; each noun's verbs have a file of their own.

mod auth;
mod bugreport;
mod clients;
mod completions;
mod config;
mod connect;
mod doctor;
mod logs;
mod man;
mod meant;
mod proxy;
mod service;
mod suggest;
mod top;
mod usage;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use super::output::{CommandFailure, CommandOutput, Exit};

pub(super) use auth::{AuthArgs, AuthVerb, LoginFlags, LogoutFlags};
pub(super) use bugreport::BugReport;
pub(super) use clients::{
    ClientAddFlags, ClientChangeFlags, ClientVerb, ClientsArgs, LimitFlags, LimitName,
};
pub(super) use completions::Completions;
pub(super) use config::{ConfigVerb, InitFlags, ShowFlags};
pub(super) use connect::{AppLocationArg, Connect};
pub(super) use doctor::DoctorFlags;
pub(super) use logs::{LogLevel, Logs};
pub(super) use man::Man;
pub(super) use proxy::{ProxyVerb, RoutesFlags, StartFlags, StatusFlags, TestFlags};
pub(super) use service::{InstallFlags, ServiceVerb, SetupFlags};
pub(super) use top::TopFlags;
pub(super) use usage::{GroupByArg as UsageBy, UsageArgs};

/// Inspect and control hermes-proxyd, the local service for the AI subscription you pay for
#[derive(Debug, Parser)]
#[command(name = "hermesctl", version, arg_required_else_help = true)]
#[command(after_help = "\
Exit codes:
  0   success
  1   failure
  2   the command line is wrong
  3   hermes-proxyd is not running
  4   a login is needed
  78  the configuration is invalid
  130 interrupted with Ctrl-C")]
pub(super) struct Arguments {
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) noun: Noun,
}

#[derive(Debug, Subcommand)]
pub(super) enum Noun {
    /// Show whether all is well; the same as `hermesctl proxy status`
    Status(StatusFlags),
    /// Set everything up: configuration, login, service, test request
    Setup(SetupFlags),
    /// Show how to connect an app, with its own key if it needs one
    Connect(Connect),
    /// Find out what is wrong and how to fix it
    Doctor(DoctorFlags),
    /// Show what hermes-proxyd has logged
    Logs(Logs),
    /// Show the requests in flight as they go, the providers and the last hour, in the terminal
    Top(TopFlags),
    /// Show who used how much: requests, bytes and tokens
    Usage(UsageArgs),
    /// Inspect and control the proxy
    #[command(subcommand)]
    Proxy(ProxyVerb),
    /// Log in and out, whether hermes-proxyd is running or not
    Auth(AuthArgs),
    /// Manage the keys of apps, whether hermes-proxyd is running or not
    Clients(ClientsArgs),
    /// Install and manage the service, which starts at login or at boot
    #[command(subcommand)]
    Service(ServiceVerb),
    /// Show, check and create the configuration, whether hermes-proxyd is running or not
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Show the versions of hermesctl and of the running hermes-proxyd
    Version,
    /// Write a report for a bug, without secrets; lists its contents first
    Bugreport(BugReport),
    /// Print the completion script for a shell, or write those for all shells
    Completions(Completions),
    /// Show a man page, print its source into a pipe, or write all pages to a folder
    Man(Man),
}

/// The clap command, from which man pages and completions are made.
pub(super) fn command() -> clap::Command {
    Arguments::command()
}

/// Answers a shell's request for completions; `None` if this run is not one.
pub(super) fn answer_a_shell(line: &[OsString]) -> Option<Exit> {
    suggest::answer(command, line)
}

impl Arguments {
    /// Parses the command line. Help and usage errors are printed here and end hermesctl; with `--json`, a usage error
    /// is JSON like any other error.
    pub(super) fn understand(line: &[OsString]) -> Result<Self, Exit> {
        Self::try_parse_from(line).map_err(|mut message| {
            if message.kind() == ErrorKind::InvalidSubcommand {
                hint(&mut message, line);
            }
            // If even this can't be printed, there is nowhere left to report it.
            let _shown = message.print();
            if message.use_stderr() && wants_json(line) {
                CommandOutput::of_process(true).tell_program(&failure(&message));
            }
            u8::try_from(message.exit_code()).map_or(Exit::Failed, Exit::Passed)
        })
    }
}

/// Looks for `--json` in a line that clap could not parse.
fn wants_json(line: &[OsString]) -> bool {
    let words = line.iter().skip(1).take_while(|word| *word != "--");
    words.into_iter().any(|word| word == "--json")
}

/// Turns clap's message into an error with a fix: the closest match, else the command's usage.
fn failure(complaint: &clap::Error) -> CommandFailure {
    let text = complaint.to_string();
    let parts: Vec<&str> = text.trim().split("\n\n").map(str::trim).collect();
    let joined = |part: &str| {
        let words: Vec<_> = part.split_whitespace().collect();
        words.join(" ")
    };
    let starting = |start: &str| {
        let lines = parts.iter().flat_map(|part| part.lines());
        let mut lines = lines.map(str::trim).filter(|line| line.starts_with(start));
        lines.next().map(str::to_owned)
    };
    let message = joined(parts.first().copied().unwrap_or_default());
    let message = message.trim_start_matches("error:").trim();
    let failure = CommandFailure::new(message).with_code(Exit::Usage, "usage");
    match starting("tip:").or_else(|| starting("Usage:")) {
        Some(hint) => failure.with_hint(hint.trim_start_matches("tip:").trim()),
        None => failure.with_hint("`hermesctl --help` lists the commands."),
    }
}

/// Names the intended command where that is known better than by similar spelling.
fn hint(message: &mut clap::Error, line: &[OsString]) {
    let words = line.iter().skip(1).filter_map(|word| word.to_str());
    let words: Vec<_> = words.filter(|word| !word.starts_with('-')).collect();
    let meant = meant::meant(&command(), &words).into_iter();
    let meant: Vec<_> = meant.map(|line| format!("`hermesctl {line}`")).collect();
    if meant.is_empty() {
        return;
    }
    let text = format!("did you mean {}?", meant.join(" or "));
    message.remove(ContextKind::SuggestedSubcommand);
    let tip = ContextValue::StyledStrs(vec![text.into()]);
    message.insert(ContextKind::Suggested, tip);
}

#[cfg(test)]
mod tests;
