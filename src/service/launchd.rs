//! launchd, with a user agent.

mod agent;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use self::agent::LaunchctlPrint;
use super::tool::{Processes, ProgramCall, Tools, refused};
use super::{
    InstallPlan, Installed, ServiceError, ServiceState, ServiceStep, Steering, StepOutcome, file,
};
use crate::paths::Environment;
use crate::tools::ToolError;

const LABEL: &str = "hermes-proxyd";
/// What `brew services` calls it.
const BREW_LABEL: &str = "homebrew.mxcl.hermes-proxyd";

/// launchd lets it have this time to end, its `ExitTimeOut`, and we some more.
const STOP: Duration = Duration::from_secs(170);
/// It runs within this time.
const START: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

/// The service as an agent.
#[derive(Debug)]
pub(super) struct Launchd {
    tools: Box<dyn Tools>,
    user: u32,
    agents: PathBuf,
    log: PathBuf,
}

impl Launchd {
    pub(super) fn new(environment: &Environment, user: u32) -> Result<Self, ServiceError> {
        Self::with(Box::new(Processes::default()), environment, user)
    }

    fn with(
        tools: Box<dyn Tools>,
        environment: &Environment,
        user: u32,
    ) -> Result<Self, ServiceError> {
        let home = environment.home().ok_or(ServiceError::NoHome)?;
        Ok(Self {
            tools,
            user,
            agents: home.join("Library/LaunchAgents"),
            log: environment.agent_log().ok_or(ServiceError::NoHome)?,
        })
    }

    /// The session of the desktop, and the one that there is over SSH.
    fn domains(&self) -> [String; 2] {
        ["gui", "user"].map(|kind| format!("{kind}/{}", self.user))
    }

    fn file(&self, label: &str) -> PathBuf {
        self.agents.join(format!("{label}.plist"))
    }

    /// The installed agent: Homebrew's before ours.
    fn label(&self) -> &'static str {
        if self.file(BREW_LABEL).is_file() {
            return BREW_LABEL;
        }
        LABEL
    }

    /// Where the agent is loaded, and how it is.
    async fn loaded(&self) -> Result<Option<(String, LaunchctlPrint)>, ServiceError> {
        for domain in self.domains() {
            let target = format!("{domain}/{}", self.label());
            let answer = self.tools.run(&launchctl(&["print", &target])).await?;
            if answer.ok {
                return Ok(Some((target, LaunchctlPrint::read(&answer.said))));
            }
        }
        Ok(None)
    }

    async fn is_disabled(&self) -> Result<bool, ServiceError> {
        for domain in self.domains() {
            let call = launchctl(&["print-disabled", &domain]);
            let answer = self.tools.run(&call).await?;
            if answer.ok && agent::is_disabled(&answer.said, self.label()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Loads the agent, which starts it: into the desktop's session, otherwise into that of SSH.
    async fn load(&self) -> Result<(), ServiceError> {
        let file = self.file(self.label());
        if !file.is_file() {
            return Err(ServiceError::NotInstalled);
        }
        let mut failure = None;
        for domain in self.domains() {
            let target = format!("{domain}/{}", self.label());
            // It may have been disabled; the next call shows whether this works.
            self.tools.run(&launchctl(&["enable", &target])).await?;
            let call = launchctl(&["bootstrap", &domain, &file.display().to_string()]);
            let answer = self.tools.run(&call).await?;
            if answer.ok {
                return Ok(());
            }
            failure = Some(refused(&call, &answer));
        }
        failure.map_or(Ok(()), Err)
    }

    /// Unloads the agent and waits until it is gone. Whether it was loaded.
    async fn unload(&self) -> Result<bool, ServiceError> {
        let Some((target, _)) = self.loaded().await? else {
            return Ok(false);
        };
        let call = launchctl(&["bootout", &target]).within(STOP);
        let answer = self.tools.run(&call).await?;
        let deadline = Instant::now() + STOP;
        // launchctl may return, also with an error, while the service still ends.
        while self.loaded().await?.is_some() {
            if Instant::now() > deadline {
                return Err(refused(&call, &answer));
            }
            sleep(PAUSE).await;
        }
        Ok(true)
    }

    async fn runs(&self) -> Result<(), ServiceError> {
        let deadline = Instant::now() + START;
        while self.state().await?.running.is_none() {
            if Instant::now() > deadline {
                return Err(ServiceError::Tool(ToolError::TooLong {
                    line: format!("launchctl bootstrap {}", self.label()),
                    seconds: START.as_secs(),
                }));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Steering for Launchd {
    async fn state(&self) -> Result<ServiceState, ServiceError> {
        let label = self.label();
        let file = Some(self.file(label)).filter(|file| file.is_file());
        let loaded = self.loaded().await?;
        let disabled = self.is_disabled().await?;
        let printed = loaded.map(|(_, printed)| printed);
        Ok(agent::state(file, label == BREW_LABEL, disabled, printed))
    }

    async fn install(&self, plan: &InstallPlan) -> Result<Installed, ServiceError> {
        if plan.socket.is_some() {
            return Err(ServiceError::Unsupported {
                what: "Only systemd can hold the port for the service: omit --socket",
            });
        }
        let mut installed = Installed::default();
        let path = self.file(self.label());
        let what = format!("agent {}", path.display());
        if self.label() == BREW_LABEL {
            let what = format!("{what}, which Homebrew installed");
            let step = ServiceStep::new("definition", what, StepOutcome::Already);
            installed.steps.push(step);
            return Ok(installed);
        }
        // launchd makes the log, but not its folder.
        let text = agent::plist(plan, &self.log);
        if let Some(folder) = self.log.parent() {
            std::fs::create_dir_all(folder).map_err(|source| ServiceError::File {
                path: folder.to_owned(),
                source,
            })?;
        }
        installed.changed = file::write(&path, text.as_bytes())?;
        if installed.changed {
            // launchd reads the file only when it loads it.
            self.unload().await?;
        }
        let step = ServiceStep::new("definition", what, installed.changed.into());
        installed.steps.push(step);
        Ok(installed)
    }

    async fn uninstall(&self) -> Result<Vec<ServiceStep>, ServiceError> {
        let mut steps = Vec::new();
        let label = self.label();
        if self.unload().await? {
            steps.push(ServiceStep::new(
                "stop",
                format!("stop {label}"),
                StepOutcome::Done,
            ));
        }
        let path = self.file(label);
        let what = format!("remove {}", path.display());
        if label == BREW_LABEL {
            let advice = "Homebrew installed it: `brew services stop hermes-proxyd`".to_owned();
            steps.push(ServiceStep::new("remove", what, StepOutcome::Left(advice)));
        } else if file::remove(&path)? {
            steps.push(ServiceStep::new("remove", what, StepOutcome::Done));
        }
        Ok(steps)
    }

    async fn start(&self) -> Result<(), ServiceError> {
        match self.loaded().await? {
            None => self.load().await?,
            Some((_, printed)) if printed.pid.is_some() => {}
            Some((target, _)) => {
                let call = launchctl(&["kickstart", &target]);
                let answer = self.tools.run(&call).await?;
                if !answer.ok {
                    return Err(refused(&call, &answer));
                }
            }
        }
        self.runs().await
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        if !self.unload().await? && !self.file(self.label()).is_file() {
            return Err(ServiceError::NotInstalled);
        }
        Ok(())
    }

    async fn restart(&self) -> Result<(), ServiceError> {
        let Some((target, _)) = self.loaded().await? else {
            return self.start().await;
        };
        let call = launchctl(&["kickstart", "-k", &target]).within(STOP);
        let answer = self.tools.run(&call).await?;
        if !answer.ok {
            return Err(refused(&call, &answer));
        }
        self.runs().await
    }

    async fn last_words(&self) -> Vec<String> {
        file::last_lines(&self.log)
    }

    fn log_command(&self) -> String {
        format!("tail {}", self.log.display())
    }
}

fn launchctl(arguments: &[&str]) -> ProgramCall {
    ProgramCall::new("launchctl", arguments)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tool::fake::Script;
    use super::*;

    const RUNS: &str = "gui/501/hermes-proxyd = {\n\tpid = 7\n}\n";

    fn launchd(script: &Script, home: &std::path::Path) -> Launchd {
        let home = home.to_owned();
        let environment = Environment::from_lookup(|name| {
            (name == "HOME" || name == "USERPROFILE").then(|| home.clone().into_os_string())
        });
        Launchd::with(Box::new(script.clone()), &environment, 501).unwrap()
    }

    fn plan() -> InstallPlan {
        InstallPlan {
            daemon: "/opt/bin/hermes-proxyd".into(),
            ctl: "/opt/bin/hermesctl".into(),
            variables: BTreeMap::new(),
            socket: None,
        }
    }

    #[tokio::test]
    async fn over_ssh_it_is_loaded_into_the_session_that_there_is() {
        let home = tempfile::tempdir().unwrap();
        let script = Script::default();
        let launchd = launchd(&script, home.path());
        script.fails(" print gui", "Could not find service");
        script.fails(" print user", "Could not find service");
        assert!(matches!(
            launchd.start().await,
            Err(ServiceError::NotInstalled)
        ));
        let installed = launchd.install(&plan()).await.unwrap();
        assert!(installed.changed);
        script.fails(
            "bootstrap gui/501",
            "Bootstrap failed: 5: Input/output error",
        );
        let file = home.path().join("Library/LaunchAgents/hermes-proxyd.plist");
        launchd.load().await.unwrap();
        assert_eq!(
            script.done(),
            [
                "launchctl enable gui/501/hermes-proxyd".to_owned(),
                format!("launchctl bootstrap gui/501 {}", file.display()),
                "launchctl enable user/501/hermes-proxyd".to_owned(),
                format!("launchctl bootstrap user/501 {}", file.display()),
            ]
        );
        script.says(" print user", RUNS);
        assert!(!launchd.install(&plan()).await.unwrap().changed);
        launchd.start().await.unwrap();
        launchd.restart().await.unwrap();
        assert_eq!(
            script.done(),
            ["launchctl kickstart -k user/501/hermes-proxyd"]
        );
        let state = launchd.state().await.unwrap();
        assert_eq!(state.running.unwrap().pid, 7);
        assert_eq!(state.file, Some(file));
    }

    #[tokio::test]
    async fn what_homebrew_installed_is_left_to_it() {
        let home = tempfile::tempdir().unwrap();
        let script = Script::default();
        let launchd = launchd(&script, home.path());
        script.fails(" print ", "Could not find service");
        let agent = home
            .path()
            .join("Library/LaunchAgents/homebrew.mxcl.hermes-proxyd.plist");
        std::fs::create_dir_all(agent.parent().unwrap()).unwrap();
        std::fs::write(&agent, "").unwrap();
        assert!(!launchd.install(&plan()).await.unwrap().changed);
        assert!(launchd.state().await.unwrap().packaged);
        let steps = launchd.uninstall().await.unwrap();
        assert!(
            matches!(&steps[0].outcome, StepOutcome::Left(why) if why.contains("brew services"))
        );
        assert!(agent.exists());
    }
}
