//! hermes-proxyd as a service of its user: a systemd user unit, a launchd agent, or a logon task of
//! Windows, behind one façade.
//!
//! Each manager is controlled by its own program (`systemctl`, `launchctl`, `schtasks`), with a time
//! limit and the environment that it needs, even in a shell of `su`, cron or SSH. Command lines and
//! the parsing of answers are pure and tested on every platform; only the choice of the manager
//! depends on the platform.

mod carried;
mod file;
mod launchd;
mod systemd;
mod task;
mod tool;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::paths::{self, Environment};
use crate::tools::ToolError;

pub use carried::carried;

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

/// The settings of an installation.
#[derive(Debug, Clone)]
pub struct InstallPlan {
    /// hermes-proxyd, with its whole path.
    pub daemon: PathBuf,
    /// hermesctl, with its whole path.
    pub ctl: PathBuf,
    /// Variables that the service needs as this shell has them, see [`carried()`].
    pub variables: BTreeMap<String, String>,
    /// The address whose port the manager should hold (systemd); `None` leaves that unchanged.
    pub socket: Option<String>,
}

/// One step of an installation or of its undoing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStep {
    /// The step's name for programs, the same on every platform: `definition` (unit, agent or task),
    /// `socket`, `variables`, `enable`, `linger`, `stop` or `remove`.
    pub name: &'static str,
    /// What, such as `unit /home/u/.config/systemd/user/hermes-proxyd.service`.
    pub what: String,
    /// The result.
    pub outcome: StepOutcome,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// It was done.
    Done,
    /// It was so before.
    Already,
    /// It was not done, and this is why, or what the user can do.
    Left(String),
}

/// What an installation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// In their order.
    pub steps: Vec<ServiceStep>,
    /// Whether a running service has to be restarted to apply it.
    pub changed: bool,
}

/// Why the manager did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no service.
    #[error("no service manager for users is available: {reason}")]
    NoManager {
        /// The programs that were tried.
        reason: String,
    },
    /// There is a manager, but this user can't reach it now.
    #[error("this user's service manager can't be reached: {said}")]
    Unreachable {
        /// What its program said.
        said: String,
        /// The command that starts it.
        hint: String,
    },
    /// There is no home folder to install into.
    #[error("there is no home folder")]
    NoHome,
    /// The manager can't do it.
    #[error("{what}")]
    Unsupported {
        /// What, as a sentence.
        what: &'static str,
    },
    /// Nothing is installed.
    #[error("the service is not installed")]
    NotInstalled,
    /// Its program can't be run, or took too long.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Its program refused.
    #[error("`{line}` failed: {said}")]
    Refused {
        /// What was run.
        line: String,
        /// What it said.
        said: String,
    },
    /// A file can't be read, written or removed.
    #[error("{} can't be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ServiceError {
    /// How to fix it, where something does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoManager { .. } => {
                Some("Run it in the foreground instead: `hermesctl proxy start`.".to_owned())
            }
            Self::Unreachable { hint, .. } => Some(hint.clone()),
            Self::NoHome => Some("Set HOME.".to_owned()),
            Self::NotInstalled => Some("Install it with `hermesctl service install`.".to_owned()),
            Self::Tool(error @ ToolError::TooLong { .. }) => Some(format!(
                "{} `hermesctl service status` shows how it ended.",
                error.hint()
            )),
            Self::Tool(error) => Some(error.hint()),
            Self::Unsupported { .. } | Self::Refused { .. } | Self::File { .. } => None,
        }
    }
}

/// One manager.
#[async_trait]
trait Steering: fmt::Debug + Send + Sync {
    async fn state(&self) -> Result<ServiceState, ServiceError>;
    async fn install(&self, plan: &InstallPlan) -> Result<Installed, ServiceError>;
    async fn uninstall(&self) -> Result<Vec<ServiceStep>, ServiceError>;
    async fn start(&self) -> Result<(), ServiceError>;
    async fn stop(&self) -> Result<(), ServiceError>;
    async fn restart(&self) -> Result<(), ServiceError>;
    /// The end of the log.
    async fn last_words(&self) -> Vec<String>;
    /// The command that shows the log.
    fn log_command(&self) -> String;
}

/// The service of this user, with the service manager of this system.
#[derive(Debug)]
pub struct UserService(Box<dyn Steering>);

impl UserService {
    /// With the manager of this platform.
    ///
    /// # Errors
    /// [`ServiceError::NoManager`] if this system has none for users.
    pub fn here(environment: &Environment) -> Result<Self, ServiceError> {
        Self::with(platform::manager()?, environment)
    }

    fn with(manager: Manager, environment: &Environment) -> Result<Self, ServiceError> {
        let user = paths::user();
        Ok(Self(match manager {
            Manager::Systemd => Box::new(systemd::Systemd::new(environment, user)?),
            Manager::Launchd => Box::new(launchd::Launchd::new(environment, user)?),
            Manager::TaskScheduler => Box::new(task::ScheduledTask::new(environment)?),
        }))
    }

    /// Asks for its state. A missing installation is not an error.
    pub async fn state(&self) -> Result<ServiceState, ServiceError> {
        self.0.state().await
    }

    /// Installs it, so that it starts automatically from now on; it is not started yet.
    pub async fn install(&self, plan: &InstallPlan) -> Result<Installed, ServiceError> {
        self.0.install(plan).await
    }

    /// Stops it and takes back what [`UserService::install`] did.
    pub async fn uninstall(&self) -> Result<Vec<ServiceStep>, ServiceError> {
        self.0.uninstall().await
    }

    /// Starts it, and waits until the manager says that it runs.
    pub async fn start(&self) -> Result<(), ServiceError> {
        self.0.start().await
    }

    /// Stops it until the next login or start, and waits for its end.
    pub async fn stop(&self) -> Result<(), ServiceError> {
        self.0.stop().await
    }

    /// Stops and starts it.
    pub async fn restart(&self) -> Result<(), ServiceError> {
        self.0.restart().await
    }

    /// The last lines of its log, if they can be read.
    pub async fn last_words(&self) -> Vec<String> {
        self.0.last_words().await
    }

    /// The command that shows its log.
    pub fn log_command(&self) -> String {
        self.0.log_command()
    }
}

/// Asks the manager of this platform how the service is.
pub async fn state(environment: &Environment) -> Result<ServiceState, ServiceError> {
    UserService::here(environment)?.state().await
}

impl ServiceStep {
    fn new(name: &'static str, what: impl Into<String>, outcome: StepOutcome) -> Self {
        Self {
            name,
            what: what.into(),
            outcome,
        }
    }
}

impl From<bool> for StepOutcome {
    /// Whether anything had to be done.
    fn from(done: bool) -> Self {
        if done { Self::Done } else { Self::Already }
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use super::{Manager, ServiceError};

    pub(super) fn manager() -> Result<Manager, ServiceError> {
        // As sd_booted(3) looks.
        if std::path::Path::new("/run/systemd/system").is_dir() {
            return Ok(Manager::Systemd);
        }
        Err(ServiceError::NoManager {
            reason: "systemd is not running on this machine".to_owned(),
        })
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use super::{Manager, ServiceError};

    #[expect(clippy::unnecessary_wraps, reason = "as on other platforms")]
    pub(super) fn manager() -> Result<Manager, ServiceError> {
        Ok(Manager::Launchd)
    }
}

#[cfg(windows)]
mod platform {
    use super::{Manager, ServiceError};

    #[expect(clippy::unnecessary_wraps, reason = "as on other platforms")]
    pub(super) fn manager() -> Result<Manager, ServiceError> {
        Ok(Manager::TaskScheduler)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod platform {
    use super::{Manager, ServiceError};

    pub(super) fn manager() -> Result<Manager, ServiceError> {
        Err(ServiceError::NoManager {
            reason: "this system has neither systemd nor launchd".to_owned(),
        })
    }
}
