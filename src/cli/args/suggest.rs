//! What a shell suggests after the words on the line, with the names that a running machine knows. The
//! script of `hermesctl completions` asks for it.

use std::ffi::{OsStr, OsString};

use clap::Command;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{Bash, CompleteEnv, Fish, Shells, Zsh};

use crate::cli::known;
use crate::cli::output::Exit;
use crate::manual::COMPLETE;

/// Answers a shell, if it is one that asks.
pub(super) fn answer(command: fn() -> Command, line: &[OsString]) -> Option<Exit> {
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(command)
        .var(COMPLETE)
        .shells(Shells(&[&Bash, &Fish, &Zsh]))
        .try_complete(line.iter().cloned(), here.as_deref());
    match asked {
        Ok(false) => None,
        Ok(true) => Some(Exit::Ok),
        // A shell shows nothing then.
        Err(_) => Some(Exit::Failed),
    }
}

/// The names of the providers.
pub(super) fn providers() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| candidates(begun, known::providers()))
}

/// The names of the providers with a login.
pub(super) fn logins() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let names = crate::config::login_providers().map(str::to_owned);
        candidates(begun, names.collect())
    })
}

/// The names of the client keys.
pub(super) fn clients() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| candidates(begun, known::clients()))
}

/// Those names that begin as the word does.
fn candidates(begun: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy();
    let names = names.into_iter();
    let names = names.filter(|name| name.starts_with(&*begun));
    names.map(CompletionCandidate::new).collect()
}
