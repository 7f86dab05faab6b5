//! Tools of the system that are asked a question: bounded in time, their silence is no answer.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// No tool may take longer.
const LIMIT: Duration = Duration::from_secs(4);

/// A tool and its arguments.
#[derive(Debug)]
pub struct Tool {
    command: Command,
}

impl Tool {
    /// A program, by its path or its name.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(name);
        command
            .stdin(Stdio::null())
            .env("LC_ALL", "C")
            .kill_on_drop(true);
        Self { command }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(args);
        self
    }

    /// What it says when it succeeds; `None` when it is not there, fails or takes too long.
    pub(super) async fn output(mut self) -> Option<String> {
        let output = timeout(LIMIT, self.command.output()).await.ok()?.ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    /// All that it says, complaints too, or why it says nothing.
    pub async fn said(mut self) -> String {
        let name = self.command.as_std().get_program().display().to_string();
        match timeout(LIMIT, self.command.output()).await {
            Ok(Ok(output)) => {
                let both = [output.stdout, output.stderr];
                both.map(|text| String::from_utf8_lossy(&text).into_owned())
                    .concat()
            }
            Ok(Err(error)) => format!("{name}: {error}\n"),
            Err(_) => format!("{name}: no answer within {} s\n", LIMIT.as_secs()),
        }
    }
}
