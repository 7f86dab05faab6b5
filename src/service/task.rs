//! The Task Scheduler of Windows, with a task at logon. A Windows service would run as another user,
//! without the user's files and login.

mod definition;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use self::definition::TaskUser;
use super::tool::{Processes, ProgramCall, ProgramOutput, Tools, refused};
use super::{
    InstallPlan, Installed, Manager, Running, ServiceError, ServiceState, ServiceStep, Steering,
    StepOutcome, file,
};
use crate::paths::Environment;
use crate::tools::ToolError;

/// It runs, or has ended, within this time.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);

/// Runs the daemon without a window, and ends as it does.
const HIDDEN: &str = "hermes-proxyd-hidden.exe";

/// The service as a task.
#[derive(Debug)]
pub(super) struct ScheduledTask {
    tools: Box<dyn Tools>,
    user: TaskUser,
    /// The settings that the task was made from, to detect changes.
    file: PathBuf,
    /// Where it logs to: the Task Scheduler keeps no log.
    log: PathBuf,
}

impl ScheduledTask {
    pub(super) fn new(environment: &Environment) -> Result<Self, ServiceError> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let user = TaskUser {
            domain: variable("USERDOMAIN"),
            name: variable("USERNAME"),
        };
        Self::with(Box::new(Processes::default()), environment, user)
    }

    fn with(
        tools: Box<dyn Tools>,
        environment: &Environment,
        user: TaskUser,
    ) -> Result<Self, ServiceError> {
        let state = environment.state_dir().ok_or(ServiceError::NoHome)?;
        Ok(Self {
            tools,
            user,
            file: state.join("task.xml"),
            log: environment.task_log().ok_or(ServiceError::NoHome)?,
        })
    }

    /// All users of a machine share one list of tasks.
    fn name(&self) -> String {
        let plain = |c: char| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        };
        let user: String = self.user.name.chars().map(plain).collect();
        format!("hermes-proxyd-{user}")
    }

    fn call(&self, verb: &str, more: &[&str]) -> ProgramCall {
        let name = self.name();
        let arguments: Vec<_> = [verb, "/TN", &name]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        ProgramCall::new("schtasks", &arguments)
    }

    async fn must(&self, call: ProgramCall) -> Result<ProgramOutput, ServiceError> {
        let answer = self.tools.run(&call).await?;
        if answer.ok {
            return Ok(answer);
        }
        Err(refused(&call, &answer))
    }

    /// The task's definition, if there is one.
    async fn defined(&self) -> Result<Option<String>, ServiceError> {
        let answer = self.tools.run(&self.call("/Query", &["/XML"])).await?;
        Ok(Some(answer.said).filter(|_| answer.ok))
    }

    async fn process(&self) -> Result<Option<u32>, ServiceError> {
        let user = format!("USERNAME eq {}", self.user.account());
        let image = "IMAGENAME eq hermes-proxyd.exe";
        let arguments = ["/FI", image, "/FI", &user, "/FO", "CSV", "/NH"];
        let answer = self
            .tools
            .run(&ProgramCall::new("tasklist", arguments))
            .await?;
        Ok(definition::process(&answer.said))
    }

    /// Ends the task, and the daemon with it: of a task with two processes only the first one ends.
    async fn end(&self) -> Result<(), ServiceError> {
        let running = self.state().await?.running;
        // A task that does not run is not an error.
        self.tools.run(&self.call("/End", &[])).await?;
        if let Some(Running { pid, .. }) = running {
            let pid = pid.to_string();
            let call = ProgramCall::new("taskkill", ["/PID", &pid, "/F"]);
            self.tools.run(&call).await?;
        }
        Ok(())
    }

    async fn wait(&self, for_running: bool) -> Result<(), ServiceError> {
        let deadline = Instant::now() + PATIENCE;
        while self.process().await?.is_some() != for_running {
            if Instant::now() > deadline {
                return Err(ServiceError::Tool(ToolError::TooLong {
                    line: format!("schtasks {}", if for_running { "/Run" } else { "/End" }),
                    seconds: PATIENCE.as_secs(),
                }));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// What the task starts. Built from source, there may be no program without a window: then it has one.
fn started(daemon: &Path) -> PathBuf {
    let hidden = daemon.with_file_name(HIDDEN);
    if hidden.exists() {
        return hidden;
    }
    daemon.to_owned()
}

#[async_trait]
impl Steering for ScheduledTask {
    async fn state(&self) -> Result<ServiceState, ServiceError> {
        let defined = self.defined().await?;
        let mut result = None;
        if defined.is_some() {
            let call = self.call("/Query", &["/FO", "CSV", "/V", "/NH"]);
            result = definition::last_result(&self.must(call).await?.said);
        }
        // Only what the task started is the service; another process runs in a console.
        let process = match result {
            Some(definition::RUNNING) => self.process().await?,
            Some(_) | None => None,
        };
        Ok(ServiceState {
            manager: Manager::TaskScheduler,
            file: defined.as_ref().map(|_| self.file.clone()),
            packaged: false,
            enabled: defined.as_deref().is_some_and(definition::is_enabled),
            running: process.map(|pid| Running { pid, since: None }),
            status: None,
            socket: None,
            linger: None,
            last_failure: result.and_then(definition::failure),
        })
    }

    async fn install(&self, plan: &InstallPlan) -> Result<Installed, ServiceError> {
        if plan.socket.is_some() {
            return Err(ServiceError::Unsupported {
                what: "Only systemd can hold the port for the service: omit --socket",
            });
        }
        let program = started(&plan.daemon);
        let written = file::write(
            &self.file,
            &definition::file(&self.user, &program, &self.log),
        )?;
        let changed = written || self.defined().await?.is_none();
        if changed {
            let file = self.file.display().to_string();
            self.must(self.call("/Create", &["/XML", &file, "/F"]))
                .await?;
        }
        let what = format!("task {}, at logon", self.name());
        Ok(Installed {
            steps: vec![ServiceStep::new("definition", what, changed.into())],
            changed,
        })
    }

    async fn uninstall(&self) -> Result<Vec<ServiceStep>, ServiceError> {
        let mut steps = Vec::new();
        if self.defined().await?.is_some() {
            self.end().await?;
            self.must(self.call("/Delete", &["/F"])).await?;
            let what = format!("stop and remove task {}", self.name());
            steps.push(ServiceStep::new("remove", what, StepOutcome::Done));
        }
        file::remove(&self.file)?;
        Ok(steps)
    }

    async fn start(&self) -> Result<(), ServiceError> {
        if self.defined().await?.is_none() {
            return Err(ServiceError::NotInstalled);
        }
        if self.state().await?.running.is_some() {
            return Ok(());
        }
        self.must(self.call("/Run", &[])).await?;
        self.wait(true).await
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        if self.defined().await?.is_none() {
            return Err(ServiceError::NotInstalled);
        }
        if self.state().await?.running.is_none() {
            return Ok(());
        }
        self.end().await?;
        self.wait(false).await
    }

    async fn restart(&self) -> Result<(), ServiceError> {
        self.stop().await?;
        self.start().await
    }

    async fn last_words(&self) -> Vec<String> {
        file::last_lines(&self.log)
    }

    fn log_command(&self) -> String {
        "hermesctl logs".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tool::fake::Script;
    use super::*;

    fn task(script: &Script, home: &std::path::Path) -> ScheduledTask {
        let home = home.to_owned();
        let environment = Environment::from_lookup(|name| {
            let wanted = ["HOME", "USERPROFILE", "LOCALAPPDATA"].contains(&name);
            wanted.then(|| home.clone().into_os_string())
        });
        let user = TaskUser {
            domain: "OFFICE".to_owned(),
            name: "Ann B".to_owned(),
        };
        ScheduledTask::with(Box::new(script.clone()), &environment, user).unwrap()
    }

    #[tokio::test]
    async fn the_task_is_made_run_ended_and_removed_by_its_name() {
        let home = tempfile::tempdir().unwrap();
        let script = Script::default();
        let task = task(&script, home.path());
        let plan = InstallPlan {
            daemon: "hermes-proxyd.exe".into(),
            ctl: "hermesctl.exe".into(),
            variables: BTreeMap::new(),
            socket: None,
        };
        script.fails(
            "/Query",
            "ERROR: The system cannot find the file specified.",
        );
        assert_eq!(task.state().await.unwrap().file, None);
        assert!(matches!(
            task.start().await,
            Err(ServiceError::NotInstalled)
        ));
        assert!(task.install(&plan).await.unwrap().changed);
        script.says("/XML", "<Task><Settings></Settings></Task>");
        script.says(
            "/V",
            "\"PC\",\"t\",\"n\",\"s\",\"l\",\"d\",\"267009\",\"a\"\r\n",
        );
        assert!(!task.install(&plan).await.unwrap().changed);
        let log = home
            .path()
            .join(".local/state/hermes-proxyd/hermes-proxyd.log");
        let written =
            std::fs::read(home.path().join(".local/state/hermes-proxyd/task.xml")).unwrap();
        let units = written
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let written = String::from_utf16(&units.collect::<Vec<_>>()).unwrap();
        let arguments = format!("<Arguments>--log-file \"{}\"</Arguments>", log.display());
        assert!(written.contains(&arguments), "{written}");
        assert_eq!(task.last_words().await, [""; 0]);
        std::fs::write(&log, "one\ntwo\n").unwrap();
        assert_eq!(task.last_words().await, ["one", "two"]);
        script.says("tasklist", "INFO: none\r\n");
        assert_eq!(task.state().await.unwrap().running, None);
        script.says("tasklist", "\"hermes-proxyd.exe\",\"42\",\"Console\"\r\n");
        let state = task.state().await.unwrap();
        assert_eq!(state.running.unwrap().pid, 42);
        assert!(state.enabled);
        task.start().await.unwrap();
        task.uninstall().await.unwrap();
        let file = home.path().join(".local/state/hermes-proxyd/task.xml");
        let create = format!(
            "schtasks /Create /TN hermes-proxyd-Ann_B /XML {} /F",
            file.display()
        );
        let lines = script.done();
        if cfg!(unix) {
            assert_eq!(lines[0], create);
        }
        assert_eq!(
            lines[1..],
            [
                "schtasks /End /TN hermes-proxyd-Ann_B",
                "taskkill /PID 42 /F",
                "schtasks /Delete /TN hermes-proxyd-Ann_B /F",
            ]
        );
    }
}
