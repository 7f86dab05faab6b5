//! hermes-proxyd as a service of its user: a systemd user unit, a launchd agent, or a logon task of
//! Windows, behind one façade.
//!
//! Each manager is steered by its own program (`systemctl`, `launchctl`, `schtasks`), which is given
//! a time limit and the environment that it needs also in a shell of `su`, cron or SSH. What the
//! programs are told and how their answers are read is pure and tested on every platform; only the
//! choice of the manager depends on the platform.

mod systemd;
mod tool;

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::paths::Environment;

/// Who starts the service and looks after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// systemd's user manager.
    Systemd,
    /// launchd, with an agent of the user.
    Launchd,
    /// The Task Scheduler of Windows, with a task at logon.
    TaskScheduler,
}

/// How the service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Who looks after it.
    pub manager: Manager,
    /// The unit, agent or task file; `None` when it is not installed.
    pub file: Option<PathBuf>,
    /// Whether somebody else installed the file, such as a package.
    pub packaged: bool,
    /// Whether it starts by itself: at login, or at boot with `linger`.
    pub enabled: bool,
    /// Its process, while it runs.
    pub running: Option<Running>,
    /// What it says about itself (systemd).
    pub status: Option<String>,
    /// Whether the manager holds the port and starts the service with the first request (systemd).
    pub socket: Option<bool>,
    /// Whether it starts at boot and outlives the last logout (systemd); `None` where that is
    /// unknown, or where there is no such thing.
    pub linger: Option<bool>,
    /// What failed last, for people, with what mends it where that is known.
    pub last_failure: Option<String>,
}

/// A running service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Since when, where the manager tells.
    pub since: Option<DateTime<Utc>>,
}

/// Why the manager did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is none.
    #[error("there is no service manager for users here: {reason}")]
    NoManager {
        /// What was looked for.
        reason: String,
    },
    /// There is no home folder to install anything in.
    #[error("there is no home folder")]
    NoHome,
    /// Its program can't be run.
    #[error("{program} can't be run")]
    Tool {
        /// The program.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Its program took too long.
    #[error("`{line}` did not end within {seconds} seconds")]
    TooLong {
        /// What was run.
        line: String,
        /// How long it had.
        seconds: u64,
    },
    /// Its program refused.
    #[error("`{line}` failed: {said}")]
    Refused {
        /// What was run.
        line: String,
        /// What it said.
        said: String,
    },
}

impl ServiceError {
    /// What mends it, where a command does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoManager { .. } => {
                Some("Run it in the foreground instead: `hermesctl proxy start`.".to_owned())
            }
            Self::NoHome => Some("Set HOME.".to_owned()),
            Self::Tool { .. } | Self::TooLong { .. } | Self::Refused { .. } => None,
        }
    }
}

/// Asks the manager how the service is; a service that is not installed is no error.
pub async fn state(environment: &Environment) -> Result<State, ServiceError> {
    systemd::state(environment).await
}
