//! `hermesctl service`: hermes-proxyd as a service of the user.

pub(in crate::cli) mod render;
pub(in crate::cli) mod view;

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::args::{InstallFlags, ServiceVerb};
use super::connection::connect;
use super::output::{CommandFailure, CommandOutput, Exit};
use super::programs;
use crate::config::{self, ListenAddress};
use crate::control::judge;
use crate::control::protocol::calls;
use crate::control::protocol::{Status, Timestamp};
use crate::paths::Environment;
use crate::service::{
    InstallPlan, Installed, Manager, ServiceError, ServiceState, UserService, carried,
};
use crate::tools::ToolError;

pub(super) use view::{ServiceJson, StepLine};
use view::{ServiceReport, Uninstalled};

/// A service that runs answers within this time.
const ANSWERS: Duration = Duration::from_secs(20);
/// How long to wait until the daemon has read its logins, before it is reported as it is.
const LOOKS: Duration = Duration::from_secs(10);
/// The home screen does not wait longer for it.
const GLANCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Does what is asked.
pub(super) async fn service(
    verb: ServiceVerb,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let environment = Environment::from_process();
    let service = UserService::here(&environment)?;
    match verb {
        ServiceVerb::Install(flags) => install(&service, &flags, &environment, output).await,
        ServiceVerb::Uninstall => uninstall(&service, &environment, output).await,
        ServiceVerb::Start => {
            let already = service.state().await?.running.is_some();
            bring_up(&service, StartMethod::Start).await?;
            told(&service, "start", "start the service", already, output).await
        }
        ServiceVerb::Stop => {
            let already = service.state().await?.running.is_none();
            service.stop().await?;
            told(&service, "stop", "stop the service", already, output).await
        }
        ServiceVerb::Restart => {
            bring_up(&service, StartMethod::Restart).await?;
            told(&service, "restart", "restart the service", false, output).await
        }
        ServiceVerb::Status => status(&service, output).await,
    }
}

async fn install(
    service: &UserService,
    flags: &InstallFlags,
    environment: &Environment,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let socket = if flags.socket {
        Some(socket_address(environment)?)
    } else {
        None
    };
    let (lines, _) = set_up(service, socket).await?;
    report(service, lines, output).await
}

/// Installs the service and starts it: what was done, and how the daemon is now.
pub(super) async fn set_up(
    service: &UserService,
    socket: Option<String>,
) -> Result<(Vec<StepLine>, Status), CommandFailure> {
    refuse_another(service).await?;
    let programs = programs::find()?;
    let plan = InstallPlan {
        daemon: programs.daemon,
        ctl: programs.ctl,
        variables: carried(config::env_setting_names(), |name| std::env::var_os(name)),
        socket,
    };
    let Installed { steps, changed } = service.install(&plan).await?;
    let mut lines: Vec<StepLine> = steps.into_iter().map(StepLine::from).collect();
    let running = service.state().await?.running.is_some();
    let way = if running && changed {
        StartMethod::Restart
    } else {
        StartMethod::Start
    };
    let status = bring_up(service, way).await?;
    lines.push(StepLine::done_unless(
        running && !changed,
        "start",
        format!("start the service: process {}, ready", status.daemon.pid),
    ));
    Ok((lines, status))
}

async fn uninstall(
    service: &UserService,
    environment: &Environment,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let steps = service.uninstall().await?;
    let steps = steps.into_iter().map(StepLine::from).collect();
    let kept = [
        environment.config_file().filter(|file| file.exists()),
        environment.state_dir().filter(|folder| folder.exists()),
    ];
    let kept: Vec<_> = kept.into_iter().flatten().collect();
    let kept = kept.iter().map(|path| path.display().to_string()).collect();
    let report = Uninstalled { steps, kept };
    output.answer(&report, render::uninstalled)?;
    Ok(Exit::Ok)
}

async fn status(service: &UserService, output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let state = state_json(service).await?;
    output.answer(&state, render::status)?;
    Ok(if state.running {
        Exit::Ok
    } else {
        Exit::NotRunning
    })
}

async fn told(
    service: &UserService,
    step: &'static str,
    what: &str,
    already: bool,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let steps = vec![StepLine::done_unless(already, step, what)];
    report(service, steps, output).await
}

async fn report(
    service: &UserService,
    steps: Vec<StepLine>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let service = state_json(service).await?;
    let report = ServiceReport { steps, service };
    output.answer(&report, render::report)?;
    Ok(Exit::Ok)
}

/// How to get it running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StartMethod {
    Start,
    Restart,
}

/// Starts the service and waits for its answer; a failure says why there is none.
async fn bring_up(service: &UserService, way: StartMethod) -> Result<Status, CommandFailure> {
    refuse_another(service).await?;
    let started = match way {
        StartMethod::Start => service.start().await,
        StartMethod::Restart => service.restart().await,
    };
    match started {
        Ok(()) => {}
        Err(
            error @ (ServiceError::Refused { .. } | ServiceError::Tool(ToolError::TooLong { .. })),
        ) => {
            return Err(did_not_start(service, Some(error)).await);
        }
        Err(error) => return Err(error.into()),
    }
    answering(service).await
}

/// Two daemons can't live side by side, and the other one is not ours to end.
async fn refuse_another(service: &UserService) -> Result<(), CommandFailure> {
    let state = service.state().await?;
    let Some(pid) = other_process(&state).await else {
        return Ok(());
    };
    let message = format!(
        "hermes-proxyd is already running as process {pid}, but not as the \
         service."
    );
    Err(CommandFailure::new(message)
        .with_code(Exit::Failed, "runs_elsewhere")
        .with_hint("Stop it with `hermesctl proxy stop`; then run this command again."))
}

/// The daemon that answers, if it is not the manager's.
async fn other_process(state: &ServiceState) -> Option<u32> {
    if state.running.is_some() {
        return None;
    }
    let client = connect().await.ok()?;
    Some(client.daemon().pid)
}

/// Waits until the daemon answers and has read its logins.
async fn answering(service: &UserService) -> Result<Status, CommandFailure> {
    let started = Instant::now();
    loop {
        let answer =
            async { Ok::<_, CommandFailure>(connect().await?.call(calls::Status).await?) }.await;
        match answer {
            Ok(status) if !is_looking(&status) || started.elapsed() > LOOKS => return Ok(status),
            Err(failure) if failure.exit != Exit::NotRunning => return Err(failure),
            Err(_) if started.elapsed() > ANSWERS => {
                return Err(did_not_start(service, None).await);
            }
            Ok(_) | Err(_) => sleep(PAUSE).await,
        }
    }
}

fn is_looking(status: &Status) -> bool {
    let mut defaults = status.providers.iter().filter(|one| one.default);
    defaults.any(|one| judge::is_starting(status, &one.name))
}

/// Why, by what the manager and the log say.
async fn did_not_start(service: &UserService, error: Option<ServiceError>) -> CommandFailure {
    let state = service.state().await.ok();
    let why = state.and_then(|state| state.last_failure);
    let invalid = why
        .as_deref()
        .is_some_and(|why| why.contains("config check"));
    let why = why.or_else(|| error.map(|error| error.to_string()));
    let why = why.unwrap_or_else(|| "it does not answer".to_owned());
    let why = why.trim_end_matches('.');
    let mut message = format!("The service did not start: {why}.");
    for line in service.last_words().await {
        message = message + "\n  " + &line;
    }
    let hint = format!(
        "Fix that, then run `hermesctl service start`. The log: `{}`.",
        service.log_command()
    );
    let (exit, code) = if invalid {
        (Exit::InvalidConfig, "config_invalid")
    } else {
        (Exit::Failed, "not_started")
    };
    CommandFailure::new(message)
        .with_code(exit, code)
        .with_hint(hint)
}

/// The first address that systemd can hold.
fn socket_address(environment: &Environment) -> Result<String, CommandFailure> {
    let loaded = config::load(None, environment).map_err(|error| {
        CommandFailure::new(format!("The configuration is invalid:\n{error}"))
            .with_code(Exit::InvalidConfig, "config_invalid")
            .with_hint("Correct it, then run `hermesctl config check`.")
    })?;
    let mut addresses = loaded.config.listeners.iter();
    let found = addresses.find_map(|listener| match listener.address {
        ListenAddress::Ip(address) if address.port() != 0 => Some(address),
        ListenAddress::Ip(_) | ListenAddress::Interface { .. } | ListenAddress::Unix { .. } => None,
    });
    let address = found.ok_or_else(|| {
        CommandFailure::new("No [[listen]] in the configuration has an IP address and a port.")
            .with_code(Exit::Failed, "no_address")
            .with_hint("systemd can only hold such an address: omit --socket, or add one.")
    })?;
    Ok(address.to_string())
}

/// The service for the home screen, where the manager tells within a moment.
pub(super) async fn glance() -> Option<ServiceJson> {
    let service = UserService::here(&Environment::from_process()).ok()?;
    timeout(GLANCE, state_json(&service)).await.ok()?.ok()
}

async fn state_json(service: &UserService) -> Result<ServiceJson, CommandFailure> {
    let state = service.state().await?;
    let other_pid = other_process(&state).await;
    Ok(ServiceJson {
        manager: match state.manager {
            Manager::Systemd => "systemd",
            Manager::Launchd => "launchd",
            Manager::TaskScheduler => "task_scheduler",
        },
        installed: state.file.is_some(),
        file: state.file.map(|file| file.display().to_string()),
        packaged: state.packaged,
        enabled: state.enabled,
        running: state.running.is_some(),
        pid: state.running.map(|running| running.pid),
        since: state
            .running
            .and_then(|running| running.since)
            .map(Timestamp),
        status: state.status,
        socket: state.socket,
        linger: state.linger,
        last_failure: state.last_failure,
        log_command: service.log_command(),
        other_pid,
    })
}

impl From<ServiceError> for CommandFailure {
    fn from(error: ServiceError) -> Self {
        let code = match error {
            ServiceError::NoManager { .. } => "no_service_manager",
            ServiceError::Unreachable { .. } => "service_manager_unreachable",
            ServiceError::NotInstalled => "not_installed",
            ServiceError::NoHome
            | ServiceError::Unsupported { .. }
            | ServiceError::Tool(_)
            | ServiceError::Refused { .. }
            | ServiceError::File { .. } => "service_failed",
        };
        let failure = Self::of_error(&error).with_code(Exit::Failed, code);
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}
