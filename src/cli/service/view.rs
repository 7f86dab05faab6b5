//! What `hermesctl service` tells.

use serde::Serialize;

use crate::control::protocol::Timestamp;
use crate::service::{ServiceStep, StepOutcome};

/// The JSON form of what a verb did.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ServiceReport {
    pub(in crate::cli) steps: Vec<StepLine>,
    pub(in crate::cli) service: ServiceJson,
}

/// The JSON form of what uninstalling did.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Uninstalled {
    pub(in crate::cli) steps: Vec<StepLine>,
    /// Files and folders that stay.
    pub(in crate::cli) kept: Vec<String>,
}

/// The service in JSON.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the fields of a JSON object")]
pub(in crate::cli) struct ServiceJson {
    /// `systemd`, `launchd` or `task_scheduler`.
    pub(in crate::cli) manager: &'static str,
    pub(in crate::cli) installed: bool,
    /// The unit, agent or task file.
    pub(in crate::cli) file: Option<String>,
    /// Whether a package or the user wrote it, so that it is not ours to change.
    pub(in crate::cli) packaged: bool,
    pub(in crate::cli) enabled: bool,
    pub(in crate::cli) running: bool,
    pub(in crate::cli) pid: Option<u32>,
    pub(in crate::cli) since: Option<Timestamp>,
    pub(in crate::cli) status: Option<String>,
    pub(in crate::cli) socket: Option<bool>,
    pub(in crate::cli) linger: Option<bool>,
    pub(in crate::cli) last_failure: Option<String>,
    /// The command that shows the log.
    pub(in crate::cli) log_command: String,
    /// A hermes-proxyd that runs, but not as this service.
    pub(in crate::cli) other_pid: Option<u32>,
}

/// One step: what, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct StepLine {
    /// What a program branches on.
    pub(in crate::cli) step: &'static str,
    pub(in crate::cli) what: String,
    /// `done`, `already`, or `left`, which means that it was not done.
    pub(in crate::cli) result: &'static str,
    /// Why it was not done, or what does it.
    pub(in crate::cli) advice: Option<String>,
}

impl StepLine {
    pub(in crate::cli) fn done_unless(
        already: bool,
        step: &'static str,
        what: impl Into<String>,
    ) -> Self {
        Self {
            step,
            what: what.into(),
            result: if already { "already" } else { "done" },
            advice: None,
        }
    }

    pub(in crate::cli) fn left(
        step: &'static str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            step,
            what: what.into(),
            result: "left",
            advice: Some(advice.into()),
        }
    }
}

impl From<ServiceStep> for StepLine {
    fn from(step: ServiceStep) -> Self {
        match step.outcome {
            StepOutcome::Done => Self::done_unless(false, step.name, step.what),
            StepOutcome::Already => Self::done_unless(true, step.name, step.what),
            StepOutcome::Left(advice) => Self::left(step.name, step.what, advice),
        }
    }
}
