//! `hermesctl config path`: the file that is read, and why.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::connection::connect;
use super::super::output::CommandFailure;
use super::super::{programs, screen, text};
use crate::config;
use crate::control::judge::ConfigDrift;
use crate::control::protocol::Status;
use crate::control::protocol::calls;
use crate::doctor;
use crate::paths::Environment;

/// The file that counts.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ConfigLocation {
    pub(in crate::cli) file: PathBuf,
    pub(super) exists: bool,
    why: Why,
    /// The daemon that runs.
    pub(super) daemon: Option<ConfigReader>,
}

/// Why this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Why {
    /// Named on the command line.
    Named,
    /// The running daemon reads it.
    Daemon,
    /// `$XDG_CONFIG_HOME` says so.
    ConfigHome,
    /// The default location.
    Default,
}

/// A running daemon, and its state of the file.
#[derive(Debug, Serialize)]
pub(super) struct ConfigReader {
    pub(super) pid: u32,
    pub(super) file: Option<PathBuf>,
    pub(super) state: RunningConfig,
    /// The commands that restart it, where a change needs that.
    #[serde(skip)]
    restart: Option<String>,
    /// The keys that only a restart applies.
    #[serde(skip)]
    waiting: Vec<String>,
    #[serde(skip)]
    pub(super) status: Status,
}

/// What a running daemon knows of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunningConfig {
    /// It runs with the file as it is now.
    InForce,
    /// The file was changed, made or removed since.
    Changed,
    /// It runs with another file.
    Other,
    /// It does not say.
    Unknown,
}

impl ConfigLocation {
    /// The file that was named, else the one that the running daemon has, else the usual one.
    pub(in crate::cli) async fn find(named: Option<PathBuf>) -> Result<Self, CommandFailure> {
        let env = Environment::from_process();
        let daemon = match connect().await {
            Ok(mut client) => client.call(calls::Status).await.ok(),
            // A daemon that can't be asked does not contradict.
            Err(_) => None,
        };
        let theirs = daemon
            .as_ref()
            .and_then(|status| status.daemon.config_file.clone());
        let usual = env.config_file();
        let (file, why) = match (named, theirs, usual) {
            (Some(file), _, _) => (file, Why::Named),
            (None, Some(file), usual) if usual.as_ref() != Some(&file) => (file, Why::Daemon),
            (None, _, Some(file)) => {
                let moved = env.has_config_home();
                (file, if moved { Why::ConfigHome } else { Why::Default })
            }
            (None, _, None) => {
                return Err(CommandFailure::new(
                    "The home folder is unknown, so the file can't be found.",
                )
                .with_hint("Set HOME, or name the file."));
            }
        };
        let mut daemon = daemon.map(|status| ConfigReader::of(status, &file));
        if let Some(daemon) = &mut daemon
            && let Some(ConfigDrift::Restart(keys)) = daemon.pending(&env)
        {
            daemon.waiting = keys;
            daemon.restart = Some(programs::commands(&env, Some(daemon.pid)).await);
        }
        Ok(Self {
            exists: file.exists(),
            daemon,
            file,
            why,
        })
    }

    /// What is to be loaded; `None` for the usual place, where nothing has to be.
    pub(super) fn to_load(&self) -> Option<&Path> {
        let usual = matches!(self.why, Why::ConfigHome | Why::Default);
        (self.exists || !usual).then_some(&self.file)
    }

    /// Whether the file was named, whatever a daemon has.
    pub(super) fn was_named(&self) -> bool {
        self.why == Why::Named
    }

    /// What a running daemon has that the file does not say, or the other way round.
    pub(super) fn warning(&self) -> Option<String> {
        let daemon = self.daemon.as_ref()?;
        let pid = daemon.pid;
        match (daemon.state, &daemon.file) {
            (RunningConfig::InForce | RunningConfig::Unknown, _) => {
                daemon.restart.as_ref().map(|commands| {
                    let keys = text::inline(&daemon.waiting.join(", "));
                    format!(
                        "The running hermes-proxyd (pid {pid}) has not applied {keys}; restart it: \
                     {commands}"
                    )
                })
            }
            (RunningConfig::Changed, None) => Some(format!(
                "The running hermes-proxyd (pid {pid}) has not loaded this file yet{}",
                daemon.applying("; load it: hermesctl proxy reload")
            )),
            (RunningConfig::Changed, Some(_)) if !self.exists => Some(format!(
                "The running hermes-proxyd (pid {pid}) still uses this file as it was before it \
                 was removed."
            )),
            (RunningConfig::Changed, Some(_)) => Some(format!(
                "It has changed since the running hermes-proxyd (pid {pid}) loaded it{}",
                daemon.applying("; to apply it: hermesctl proxy reload")
            )),
            (RunningConfig::Other, file) => {
                let file = file.as_deref().unwrap_or(Path::new("none"));
                let file = text::inline(&file.display().to_string());
                Some(format!(
                    "The running hermes-proxyd (pid {pid}) uses another file: {file}"
                ))
            }
        }
    }

    /// The notes about it.
    pub(in crate::cli) fn said(&self) -> Vec<String> {
        let why = self.why().into_iter();
        why.chain(self.warning()).collect()
    }

    fn why(&self) -> Vec<String> {
        let why = match self.why {
            Why::Named => "You named it.",
            Why::Daemon => "The running hermes-proxyd was started with it.",
            Why::ConfigHome => "XDG_CONFIG_HOME points there.",
            Why::Default => "This is the default location.",
        };
        let absent = "It does not exist, so every setting has its default; `hermesctl config init` \
                      writes one.";
        let absent = (!self.exists).then(|| absent.to_owned());
        [why.to_owned()].into_iter().chain(absent).collect()
    }
}

impl ConfigReader {
    /// What of its own file the daemon has not applied.
    fn pending(&self, env: &Environment) -> Option<ConfigDrift> {
        let is_own = matches!(self.state, RunningConfig::InForce | RunningConfig::Changed);
        is_own.then(|| doctor::pending(&self.status, env)).flatten()
    }

    /// What applies the file as it is now.
    fn applying(&self, reload: &str) -> String {
        self.restart.as_ref().map_or_else(
            || reload.to_owned(),
            |commands| format!("; to apply its listeners, restart: {commands}"),
        )
    }

    fn of(status: Status, file: &Path) -> Self {
        let daemon = &status.daemon;
        let now = config::digest_of(file);
        let same = |theirs: &Path| doctor::is_same_file(theirs, file);
        let state = match (&daemon.config_file, &daemon.config_digest) {
            (Some(theirs), _) if !same(theirs) => RunningConfig::Other,
            (Some(_), None) => RunningConfig::Unknown,
            (Some(_), then) if *then == now => RunningConfig::InForce,
            (Some(_), Some(_)) => RunningConfig::Changed,
            (None, _) if file.exists() => RunningConfig::Changed,
            (None, _) => RunningConfig::InForce,
        };
        Self {
            pid: daemon.pid,
            file: daemon.config_file.clone(),
            state,
            restart: None,
            waiting: Vec::new(),
            status,
        }
    }
}

/// Prints a note besides the answer.
pub(in crate::cli) fn talk(lines: &[String]) -> io::Result<()> {
    let said = screen::error_style().prose(&lines.join("\n"));
    io::stderr().lock().write_all(said.as_bytes())
}

/// A file that was changed since a daemon read it.
#[cfg(test)]
pub(in crate::cli) fn sample() -> ConfigLocation {
    let file = PathBuf::from("/home/u/.config/hermes-proxyd/config.toml");
    ConfigLocation {
        exists: true,
        why: Why::Default,
        daemon: Some(ConfigReader {
            state: RunningConfig::Changed,
            ..ConfigReader::of(crate::cli::shown::samples::status(), &file)
        }),
        file,
    }
}
