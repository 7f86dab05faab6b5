//! How the service is.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

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
pub struct ServiceState {
    /// Who looks after it.
    pub manager: Manager,
    /// The unit, agent or task file; `None` when it is not installed.
    pub file: Option<PathBuf>,
    /// Whether a package or the user wrote the file.
    pub packaged: bool,
    /// Whether it starts automatically: at login, or at boot with `linger`.
    pub enabled: bool,
    /// Its process, while it runs.
    pub running: Option<Running>,
    /// What it says about itself (systemd).
    pub status: Option<String>,
    /// Whether the manager holds the port and starts the service with the first request (systemd).
    pub socket: Option<bool>,
    /// Whether it starts at boot and outlives the last logout (systemd); `None` if that is unknown
    /// or does not apply.
    pub linger: Option<bool>,
    /// What failed last, for people, with how to fix it where that is known.
    pub last_failure: Option<String>,
}

/// A running service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Since when, if the manager tells.
    pub since: Option<DateTime<Utc>>,
}
