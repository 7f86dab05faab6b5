//! The programs of service managers, run with a time limit.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;
use tokio::time::timeout;

use super::ServiceError;

/// Every question is answered within this time.
const LIMIT: Duration = Duration::from_secs(20);

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) program: &'static str,
    pub(super) arguments: Vec<String>,
    limit: Duration,
}

/// What the program said, whatever its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) ok: bool,
    pub(super) said: String,
    pub(super) complained: String,
}

/// Who runs the programs; a test has its own.
#[async_trait]
pub(super) trait Tools: fmt::Debug + Send + Sync {
    /// Runs one to its end, whatever that is.
    async fn run(&self, call: &Call) -> Result<Answer, ServiceError>;
}

/// Runs them as processes, with these variables on top of our own.
#[derive(Debug, Default)]
pub(super) struct Processes {
    pub(super) variables: Vec<(&'static str, String)>,
}

impl Call {
    pub(super) fn new(program: &'static str, arguments: &[&str]) -> Self {
        Self {
            program,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            limit: LIMIT,
        }
    }

    /// The same with another time limit.
    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// As a person would type it.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.program, self.arguments.join(" "))
    }

    /// Its failure.
    pub(super) fn refused(&self, answer: &Answer) -> ServiceError {
        let said = [&answer.complained, &answer.said];
        let mut said = said.map(|text| text.trim()).into_iter();
        let said = said.find(|text| !text.is_empty());
        ServiceError::Refused {
            line: self.line(),
            said: said.unwrap_or("it did not say why").to_owned(),
        }
    }
}

#[async_trait]
impl Tools for Processes {
    async fn run(&self, call: &Call) -> Result<Answer, ServiceError> {
        let mut command = Command::new(call.program);
        command
            .args(&call.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = timeout(call.limit, command.output()).await;
        let ended = ended.map_err(|_| ServiceError::TooLong {
            line: call.line(),
            seconds: call.limit.as_secs(),
        })?;
        let output = ended.map_err(|source| ServiceError::Tool {
            program: call.program,
            source,
        })?;
        Ok(Answer {
            ok: output.status.success(),
            said: String::from_utf8_lossy(&output.stdout).into_owned(),
            complained: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Programs that a test plays.
#[cfg(test)]
pub(super) mod fake {
    use std::sync::{Arc, Mutex};

    use super::{Answer, Call, ServiceError, Tools, async_trait};

    /// Answers by what a line holds, the last rule that fits first; all else works in silence.
    #[derive(Debug, Clone, Default)]
    pub(in crate::service) struct Script {
        rules: Arc<Mutex<Vec<(&'static str, Answer)>>>,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Script {
        /// From now on a line that holds `part` says this.
        pub(in crate::service) fn says(&self, part: &'static str, said: &str) {
            self.answers(part, true, said);
        }

        /// From now on a line that holds `part` fails with this.
        pub(in crate::service) fn fails(&self, part: &'static str, said: &str) {
            self.answers(part, false, said);
        }

        fn answers(&self, part: &'static str, ok: bool, said: &str) {
            let (out, error) = if ok { (said, "") } else { ("", said) };
            let answer = Answer {
                ok,
                said: out.to_owned(),
                complained: error.to_owned(),
            };
            self.rules.lock().unwrap().push((part, answer));
        }

        /// What was run since the last look, but for questions.
        pub(in crate::service) fn done(&self) -> Vec<String> {
            let lines = std::mem::take(&mut *self.lines.lock().unwrap());
            let asks = [" show", " print", "/Query", "tasklist"];
            lines
                .into_iter()
                .filter(|line| !asks.iter().any(|word| line.contains(word)))
                .collect()
        }
    }

    #[async_trait]
    impl Tools for Script {
        async fn run(&self, call: &Call) -> Result<Answer, ServiceError> {
            let line = call.line();
            let rules = self.rules.lock().unwrap();
            let rule = rules.iter().rev().find(|(part, _)| line.contains(part));
            self.lines.lock().unwrap().push(line.clone());
            Ok(rule.map_or_else(
                || Answer {
                    ok: true,
                    ..Answer::default()
                },
                |(_, answer)| answer.clone(),
            ))
        }
    }
}
