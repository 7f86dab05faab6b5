//! systemd's user manager.

mod unit;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use self::unit::UnitProperties;
use super::tool::{Processes, ProgramCall, ProgramOutput, Tools, refused};
use super::{
    InstallPlan, Installed, ServiceError, ServiceState, ServiceStep, Steering, StepOutcome, file,
};
use crate::paths::Environment;

const SERVICE: &str = "hermes-proxyd.service";
const SOCKET: &str = "hermes-proxyd.socket";

/// Longer than the manager's own limits, `TimeoutStartSec=` and `TimeoutStopSec=`.
const START: Duration = Duration::from_secs(100);
const STOP: Duration = Duration::from_secs(170);

/// How much of the log shows why a start failed.
const LAST_LINES: &str = "12";

/// The service as a unit of the user's.
#[derive(Debug)]
pub(super) struct Systemd {
    tools: Box<dyn Tools>,
    user: u32,
    /// The folder of the user's own units.
    units: PathBuf,
    /// Says that it was us who switched lingering on.
    linger_note: PathBuf,
}

/// A unit, or a file that adds to one.
struct UnitFile<'f> {
    name: &'f str,
    text: &'f str,
    /// What it is in the list of steps.
    step: &'static str,
    kind: &'static str,
}

impl Systemd {
    pub(super) fn new(environment: &Environment, user: u32) -> Result<Self, ServiceError> {
        let mut variables = Vec::new();
        if let Some(folder) = environment.runtime_base() {
            // So the manager is found also where the session's variables are missing or another
            // user's.
            let bus = format!("unix:path={}/bus", folder.display());
            variables.push(("XDG_RUNTIME_DIR", folder.display().to_string()));
            variables.push(("DBUS_SESSION_BUS_ADDRESS", bus));
        }
        Self::with(Box::new(Processes { variables }), environment, user)
    }

    fn with(
        tools: Box<dyn Tools>,
        environment: &Environment,
        user: u32,
    ) -> Result<Self, ServiceError> {
        let units = environment.unit_dir().ok_or(ServiceError::NoHome)?;
        let state = environment.state_dir().ok_or(ServiceError::NoHome)?;
        Ok(Self {
            tools,
            user,
            units,
            linger_note: state.join("linger-enabled-by-us"),
        })
    }

    /// Runs a call that must work.
    async fn must(&self, call: ProgramCall) -> Result<ProgramOutput, ServiceError> {
        let answer = self.tools.run(&call).await?;
        if answer.ok {
            return Ok(answer);
        }
        let said = answer.complained.trim();
        if !said.contains("Failed to connect to") && !said.contains("not been booted") {
            return Err(refused(&call, &answer));
        }
        Err(ServiceError::Unreachable {
            said: said.to_owned(),
            hint: format!(
                "Without a login session systemd runs no user manager, unless an administrator \
                 enables it: `sudo loginctl enable-linger {}`. hermes-proxyd can always run in the \
                 foreground: `hermesctl proxy start`.",
                self.user
            ),
        })
    }

    async fn show(&self, unit: &str) -> Result<String, ServiceError> {
        let properties = UnitProperties::PROPERTIES;
        let arguments = ["show", "--timestamp=utc", "--property", properties, unit];
        Ok(self.must(systemctl(&arguments)).await?.said)
    }

    async fn linger(&self) -> Option<bool> {
        let user = self.user.to_string();
        let call = ProgramCall::new(
            "loginctl",
            ["show-user", "--property=Linger", "--value", &user],
        );
        let answer = self.tools.run(&call).await.ok()?;
        unit::linger(&answer.said, &answer.complained)
    }

    /// Whether this unit is a package's or the user's, and not ours.
    fn is_foreign(&self, unit: &UnitProperties<'_>) -> Result<bool, ServiceError> {
        let Some(path) = unit.file() else {
            return Ok(false);
        };
        if path.parent() != Some(&self.units) {
            return Ok(true);
        }
        let text = file::read_text(&path)?;
        Ok(text.is_some_and(|text| !unit::is_ours(&text)))
    }

    /// Writes a unit, unless it is another's.
    async fn place_unit(
        &self,
        name: &str,
        text: &str,
        installed: &mut Installed,
    ) -> Result<(), ServiceError> {
        let shown = self.show(name).await?;
        let shown = UnitProperties::read(&shown);
        match shown.file() {
            Some(path) if self.is_foreign(&shown)? => {
                let what = format!(
                    "unit {}, which was not written by hermesctl",
                    path.display()
                );
                installed
                    .steps
                    .push(ServiceStep::new(step(name), what, StepOutcome::Already));
                Ok(())
            }
            _ => {
                let file = UnitFile {
                    name,
                    text,
                    step: step(name),
                    kind: "unit",
                };
                self.place(&file, installed)
            }
        }
    }

    fn place(&self, unit: &UnitFile<'_>, installed: &mut Installed) -> Result<(), ServiceError> {
        let path = self.units.join(unit.name);
        let written = file::write(&path, unit.text.as_bytes())?;
        installed.changed |= written;
        let what = format!("{} {}", unit.kind, path.display());
        installed
            .steps
            .push(ServiceStep::new(unit.step, what, written.into()));
        Ok(())
    }

    async fn place_socket(
        &self,
        address: &str,
        installed: &mut Installed,
    ) -> Result<(), ServiceError> {
        self.place_unit(SOCKET, &unit::socket(), installed).await?;
        if let Some(text) = unit::address(address) {
            let file = UnitFile {
                name: &address_file(),
                text: &text,
                step: "socket",
                kind: "address in",
            };
            return self.place(&file, installed);
        }
        installed.changed |= file::remove(&self.units.join(address_file()))?;
        Ok(())
    }

    fn place_variables(
        &self,
        plan: &InstallPlan,
        installed: &mut Installed,
    ) -> Result<(), ServiceError> {
        let earlier = file::read_text(&self.units.join(environment_file()))?;
        let text = unit::environment(&plan.variables, earlier.as_deref());
        let Some(text) = text else {
            return Ok(());
        };
        let file = UnitFile {
            name: &environment_file(),
            text: &text,
            step: "variables",
            kind: "variables in",
        };
        self.place(&file, installed)
    }

    /// Has the service outlive the logout, as far as this user may decide that.
    async fn keep(&self) -> Result<ServiceStep, ServiceError> {
        let what = "start at boot, keep running after logout (linger)";
        if self.linger().await == Some(true) {
            return Ok(ServiceStep::new("linger", what, StepOutcome::Already));
        }
        let user = self.user.to_string();
        let call = ProgramCall::new("loginctl", ["--no-ask-password", "enable-linger", &user]);
        if self.tools.run(&call).await.is_ok_and(|answer| answer.ok) {
            file::write(&self.linger_note, b"")?;
            return Ok(ServiceStep::new("linger", what, StepOutcome::Done));
        }
        let advice = format!("it needs an administrator: `sudo loginctl enable-linger {user}`");
        Ok(ServiceStep::new("linger", what, StepOutcome::Left(advice)))
    }

    async fn undo_keep(&self) -> Result<Option<ServiceStep>, ServiceError> {
        if file::read(&self.linger_note)?.is_none() {
            return Ok(None);
        }
        let user = self.user.to_string();
        let call = ProgramCall::new("loginctl", ["--no-ask-password", "disable-linger", &user]);
        let ended = self.tools.run(&call).await.is_ok_and(|answer| answer.ok);
        file::remove(&self.linger_note)?;
        let outcome = if ended {
            StepOutcome::Done
        } else {
            StepOutcome::Left(format!("run `sudo loginctl disable-linger {user}`"))
        };
        let what = "stop running programs at logout again (lingering was enabled by hermesctl)";
        Ok(Some(ServiceStep::new("linger", what, outcome)))
    }

    fn remove(&self, name: &str) -> Result<Option<ServiceStep>, ServiceError> {
        let path = self.units.join(name);
        let Some(text) = file::read_text(&path)? else {
            return Ok(None);
        };
        let what = format!("remove {}", path.display());
        if !unit::is_ours(&text) {
            let outcome = StepOutcome::Left("hermesctl did not write it".to_owned());
            return Ok(Some(ServiceStep::new("remove", what, outcome)));
        }
        file::remove(&path)?;
        Ok(Some(ServiceStep::new("remove", what, StepOutcome::Done)))
    }

    /// The units that start it, the socket first.
    async fn enabled_units(&self) -> Result<Vec<&'static str>, ServiceError> {
        let socket = self.show(SOCKET).await?;
        Ok(if UnitProperties::read(&socket).is_enabled() {
            vec![SOCKET, SERVICE]
        } else {
            vec![SERVICE]
        })
    }
}

/// The step that writes this unit.
fn step(unit: &str) -> &'static str {
    if unit == SOCKET {
        "socket"
    } else {
        "definition"
    }
}

#[async_trait]
impl Steering for Systemd {
    async fn state(&self) -> Result<ServiceState, ServiceError> {
        let (service, socket) = (self.show(SERVICE).await?, self.show(SOCKET).await?);
        let service = UnitProperties::read(&service);
        Ok(ServiceState {
            packaged: self.is_foreign(&service)?,
            linger: self.linger().await,
            ..unit::state(&service, &UnitProperties::read(&socket))
        })
    }

    async fn install(&self, plan: &InstallPlan) -> Result<Installed, ServiceError> {
        if !unit::can_run(&plan.daemon) || !unit::can_run(&plan.ctl) {
            return Err(ServiceError::Unsupported {
                what: "systemd can't run a program in a folder with quotes or backslashes in its \
                       name: move hermes-proxyd and hermesctl",
            });
        }
        let mut installed = Installed::default();
        self.place_unit(SERVICE, &unit::service(plan), &mut installed)
            .await?;
        self.place_variables(plan, &mut installed)?;
        if let Some(address) = &plan.socket {
            self.place_socket(address, &mut installed).await?;
        }
        let stale = self.show(SERVICE).await?;
        if installed.changed || UnitProperties::read(&stale).is_stale() {
            self.must(systemctl(&["daemon-reload"])).await?;
        }
        let units = [Some(SERVICE), plan.socket.as_ref().map(|_| SOCKET)];
        for name in units.into_iter().flatten() {
            let shown = self.show(name).await?;
            let enabled = UnitProperties::read(&shown).is_enabled();
            if !enabled {
                self.must(systemctl(&["enable", name])).await?;
                // A socket that is new takes the port over.
                installed.changed |= name == SOCKET;
            }
            let what = format!("start {name} at login");
            let outcome = (!enabled).into();
            installed
                .steps
                .push(ServiceStep::new("enable", what, outcome));
        }
        installed.steps.push(self.keep().await?);
        Ok(installed)
    }

    async fn uninstall(&self) -> Result<Vec<ServiceStep>, ServiceError> {
        let mut steps = Vec::new();
        for name in [SOCKET, SERVICE] {
            let shown = self.show(name).await?;
            let shown = UnitProperties::read(&shown);
            if shown.file().is_some() && (shown.is_enabled() || shown.is_active()) {
                let call = systemctl(&["disable", "--now", name]).within(STOP);
                self.must(call).await?;
                let what = format!("stop {name} and disable it");
                steps.push(ServiceStep::new("stop", what, StepOutcome::Done));
            }
        }
        let mut removed = false;
        for name in [
            SOCKET.to_owned(),
            SERVICE.to_owned(),
            address_file(),
            environment_file(),
        ] {
            let step = self.remove(&name)?;
            removed |= step.is_some();
            steps.extend(step);
        }
        for name in [address_file(), environment_file()] {
            if let Some(folder) = Path::new(&name).parent() {
                file::remove_empty(&self.units.join(folder));
            }
        }
        if removed {
            self.must(systemctl(&["daemon-reload"])).await?;
            // A unit without a failure is not an error.
            self.tools.run(&reset()).await?;
        }
        steps.extend(self.undo_keep().await?);
        Ok(steps)
    }

    async fn start(&self) -> Result<(), ServiceError> {
        let shown = self.show(SERVICE).await?;
        if UnitProperties::read(&shown).file().is_none() {
            return Err(ServiceError::NotInstalled);
        }
        // Else a service that failed too often is not started for a while.
        self.tools.run(&reset()).await?;
        let units = self.enabled_units().await?;
        if units.contains(&SOCKET) {
            let socket = self.show(SOCKET).await?;
            if !UnitProperties::read(&socket).is_active() {
                // A socket can't be bound while the service itself has its port.
                self.must(systemctl(&["stop", SERVICE]).within(STOP))
                    .await?;
            }
        }
        for name in units {
            self.must(systemctl(&["start", name]).within(START)).await?;
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        let shown = self.show(SERVICE).await?;
        if UnitProperties::read(&shown).file().is_none() {
            return Err(ServiceError::NotInstalled);
        }
        let units = self.enabled_units().await?;
        let arguments: Vec<_> = ["stop"].into_iter().chain(units).collect();
        self.must(systemctl(&arguments).within(STOP)).await?;
        Ok(())
    }

    async fn restart(&self) -> Result<(), ServiceError> {
        let socket = self.show(SOCKET).await?;
        let socket = UnitProperties::read(&socket);
        let service = self.show(SERVICE).await?;
        if !UnitProperties::read(&service).is_active() || socket.is_enabled() && !socket.is_active()
        {
            return self.start().await;
        }
        let call = systemctl(&["restart", SERVICE]).within(START + STOP);
        self.must(call).await?;
        Ok(())
    }

    async fn last_words(&self) -> Vec<String> {
        let arguments = ["--user", "--unit", SERVICE, "--lines", LAST_LINES];
        let form = ["--output", "cat", "--no-pager", "--quiet"];
        let arguments: Vec<_> = arguments.into_iter().chain(form).collect();
        let answer = self
            .tools
            .run(&ProgramCall::new("journalctl", &arguments))
            .await;
        let said = answer.map(|answer| answer.said).unwrap_or_default();
        said.lines().map(str::to_owned).collect()
    }

    fn log_command(&self) -> String {
        "journalctl --user --unit hermes-proxyd".to_owned()
    }
}

fn systemctl(arguments: &[&str]) -> ProgramCall {
    let arguments: Vec<_> = ["--user"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    ProgramCall::new("systemctl", &arguments)
}

fn reset() -> ProgramCall {
    systemctl(&["reset-failed", SERVICE])
}

fn address_file() -> String {
    format!("{SOCKET}.d/address.conf")
}

fn environment_file() -> String {
    format!("{SERVICE}.d/environment.conf")
}

#[cfg(test)]
mod tests;
