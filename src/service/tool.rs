//! The programs of service managers, run with a time limit.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::ServiceError;

/// Every question is answered within this time; starting and stopping is asked for without waiting.
const LIMIT: Duration = Duration::from_secs(20);

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) program: &'static str,
    pub(super) arguments: Vec<String>,
}

/// What the program said, whatever its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) ok: bool,
    pub(super) said: String,
    pub(super) complained: String,
}

impl Call {
    pub(super) fn new(program: &'static str, arguments: &[&str]) -> Self {
        Self {
            program,
            arguments: arguments.iter().map(ToString::to_string).collect(),
        }
    }

    /// As a person would type it.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.program, self.arguments.join(" "))
    }

    /// Runs it to its end, with these variables on top of our own.
    pub(super) async fn run(
        &self,
        variables: &[(&'static str, String)],
    ) -> Result<Answer, ServiceError> {
        let mut command = Command::new(self.program);
        command
            .args(&self.arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = timeout(LIMIT, command.output()).await;
        let ended = ended.map_err(|_| ServiceError::TooLong {
            line: self.line(),
            seconds: LIMIT.as_secs(),
        })?;
        let output = ended.map_err(|source| ServiceError::Tool {
            program: self.program,
            source,
        })?;
        Ok(Answer {
            ok: output.status.success(),
            said: String::from_utf8_lossy(&output.stdout).into_owned(),
            complained: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
