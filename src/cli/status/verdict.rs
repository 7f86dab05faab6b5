//! Whether all is well, in one line: the worst finding.

use serde::Serialize;

use crate::control::protocol::{Finding, Severity};

/// Whether all is well, and what to do if not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct HomeVerdict {
    pub(in crate::cli) level: VerdictLevel,
    /// What a program branches on.
    pub(in crate::cli) code: String,
    /// What a person reads; no full stop.
    pub(in crate::cli) message: String,
    /// What fixes it, where a command does.
    pub(in crate::cli) command: Option<String>,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum VerdictLevel {
    /// Nothing is to be done.
    Good,
    /// It works, but needs attention.
    Attention,
    /// Apps get errors, or will soon.
    Bad,
}

impl HomeVerdict {
    /// Of these findings, the worst of which comes first.
    pub(super) fn of(findings: &[Finding]) -> Self {
        let Some(worst) = findings.first() else {
            return Self {
                level: VerdictLevel::Good,
                code: "all_well".to_owned(),
                message: "All is well".to_owned(),
                command: None,
            };
        };
        Self {
            level: match worst.severity {
                Severity::Bad => VerdictLevel::Bad,
                Severity::Attention | Severity::Other(_) => VerdictLevel::Attention,
            },
            code: worst.code.as_str().to_owned(),
            message: worst.text.clone(),
            command: worst.command.clone(),
        }
    }
}
