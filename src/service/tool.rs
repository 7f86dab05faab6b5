//! The programs of service managers, behind a trait so that tests can fake them.

use std::fmt;

use async_trait::async_trait;

use super::ServiceError;
pub(super) use crate::tools::{ProgramCall, ProgramOutput};

/// Who runs the programs; a test has its own.
#[async_trait]
pub(super) trait Tools: fmt::Debug + Send + Sync {
    /// Runs one to its end, with any result.
    async fn run(&self, call: &ProgramCall) -> Result<ProgramOutput, ServiceError>;
}

/// Runs them as processes, with these variables added to our own.
#[derive(Debug, Default)]
pub(super) struct Processes {
    pub(super) variables: Vec<(&'static str, String)>,
}

#[async_trait]
impl Tools for Processes {
    async fn run(&self, call: &ProgramCall) -> Result<ProgramOutput, ServiceError> {
        let call = call.clone().with_variables(&self.variables);
        Ok(call.run().await?)
    }
}

/// The failure of a program that ended, in its own words.
pub(super) fn refused(call: &ProgramCall, answer: &ProgramOutput) -> ServiceError {
    let said = [&answer.complained, &answer.said];
    let mut said = said.map(|text| text.trim()).into_iter();
    let said = said.find(|text| !text.is_empty());
    ServiceError::Refused {
        line: call.line(),
        said: said.unwrap_or("it did not say why").to_owned(),
    }
}

/// Programs that a test plays.
#[cfg(test)]
pub(super) mod fake {
    use std::sync::{Arc, Mutex};

    use super::{ProgramCall, ProgramOutput, ServiceError, Tools, async_trait};

    /// Answers by a line's content, the last matching rule first; all other lines succeed silently.
    #[derive(Debug, Clone, Default)]
    pub(in crate::service) struct Script {
        rules: Arc<Mutex<Vec<(&'static str, ProgramOutput)>>>,
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
            let answer = ProgramOutput {
                ok,
                code: Some(i32::from(!ok)),
                said: out.to_owned(),
                complained: error.to_owned(),
            };
            self.rules.lock().unwrap().push((part, answer));
        }

        /// The commands since the last call, except queries.
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
        async fn run(&self, call: &ProgramCall) -> Result<ProgramOutput, ServiceError> {
            let line = call.line();
            let rules = self.rules.lock().unwrap();
            let rule = rules.iter().rev().find(|(part, _)| line.contains(part));
            self.lines.lock().unwrap().push(line.clone());
            Ok(rule.map_or_else(
                || ProgramOutput {
                    ok: true,
                    ..ProgramOutput::default()
                },
                |(_, answer)| answer.clone(),
            ))
        }
    }
}
