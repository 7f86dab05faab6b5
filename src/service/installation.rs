//! What an installation is told to do, and what it did.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The settings of an installation.
#[derive(Debug, Clone)]
pub struct InstallPlan {
    /// hermes-proxyd, with its whole path.
    pub daemon: PathBuf,
    /// hermesctl, with its whole path.
    pub ctl: PathBuf,
    /// Variables that the service needs as this shell has them, see [`super::carried()`].
    pub variables: BTreeMap<String, String>,
    /// The address whose port the manager should hold (systemd); `None` leaves that unchanged.
    pub socket: Option<String>,
}

/// What an installation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// In their order.
    pub steps: Vec<ServiceStep>,
    /// Whether a running service has to be restarted to apply it.
    pub changed: bool,
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

impl ServiceStep {
    pub(super) fn new(name: &'static str, what: impl Into<String>, outcome: StepOutcome) -> Self {
        Self {
            name,
            what: what.into(),
            outcome,
        }
    }
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

impl From<bool> for StepOutcome {
    /// Whether anything had to be done.
    fn from(done: bool) -> Self {
        if done { Self::Done } else { Self::Already }
    }
}
