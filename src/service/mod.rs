//! hermes-proxyd as a service of its user: a systemd user unit, a launchd agent, or a logon task of
//! Windows, behind one façade.
//!
//! Each manager is controlled by its own program (`systemctl`, `launchctl`, `schtasks`), with a time
//! limit and the environment that it needs, even in a shell of `su`, cron or SSH. Command lines and
//! the parsing of answers are pure and tested on every platform; only the choice of the manager
//! depends on the platform.

mod carried;
mod error;
mod file;
mod installation;
mod launchd;
mod state;
mod steering;
mod systemd;
mod task;
mod tool;

use crate::paths::{self, Environment};

pub use self::carried::carried;
pub use self::error::ServiceError;
pub use self::installation::{InstallPlan, Installed, ServiceStep, StepOutcome};
pub use self::state::{Manager, Running, ServiceState};
use self::steering::Steering;

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
