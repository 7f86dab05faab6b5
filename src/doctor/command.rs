//! Tools of the system that are asked a question: bounded in time, their silence is no answer.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// No tool may take longer.
const LIMIT: Duration = Duration::from_secs(4);

/// A tool and its arguments.
#[derive(Debug)]
pub(super) struct Tool {
    command: Command,
}

impl Tool {
    pub(super) fn new(name: &str) -> Self {
        let mut command = Command::new(name);
        command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .env("LC_ALL", "C")
            .kill_on_drop(true);
        Self { command }
    }

    pub(super) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(args);
        self
    }

    /// What it says when it succeeds; `None` when it is not there, fails or takes too long.
    pub(super) async fn output(mut self) -> Option<String> {
        let output = timeout(LIMIT, self.command.output()).await.ok()?.ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }
}
