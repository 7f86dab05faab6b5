//! The facts that all checks use, gathered once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::timeout;

use super::Fix;
use super::pending::with_flags;
use crate::clock::{Clock, SystemClock};
use crate::config::{
    self, Config, ConfigError, Listener, Loaded, Provider, ProviderName, Variables,
};
use crate::control::client::{ClientError, ControlClient};
use crate::control::daemon_lock;
use crate::control::endpoint::Endpoint;
use crate::control::protocol::calls;
use crate::control::protocol::{DaemonHello, IssuedKey, Status};
use crate::credentials::{NO_LOGIN, StoreFiles, inspection, stored_ca_bundle};
use crate::paths::Environment;
use crate::provider::{self, Adapter, Assessment, Tls};
use crate::service::{self, ServiceError, ServiceState};

/// How long the daemon may take to answer: it answers from memory.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for the service manager, which starts a program first.
const MANAGER_PATIENCE: Duration = Duration::from_secs(3);
/// Who we are, for the daemon's log.
const NAME: &str = concat!("hermesctl doctor ", env!("CARGO_PKG_VERSION"));

/// What all checks look at.
#[derive(Debug)]
pub(super) struct DoctorFacts {
    pub(super) environment: Environment,
    /// Now, by this machine's clock.
    pub(super) now: DateTime<Utc>,
    pub(super) daemon: ObservedDaemon,
    /// Where its control socket is, or would be.
    pub(super) folder: Option<PathBuf>,
    /// The file that should be there.
    pub(super) file: Option<PathBuf>,
    pub(super) loaded: Result<Loaded, ConfigError>,
    /// What the file says, or the defaults where it can't be used.
    pub(super) config: Config,
    /// `None` without a home folder.
    pub(super) files: Option<StoreFiles>,
    /// The variables for providers in this shell's environment and in the file beside the logins.
    pub(super) variables: Variables,
    pub(super) providers: Vec<ServedProvider>,
    /// The service's state, as the manager reports it; `None` when it did not answer in time.
    pub(super) service: Option<Result<ServiceState, ServiceError>>,
    /// A panic has kept us from reading the configuration and the files.
    pub(super) is_incomplete: bool,
}

/// The daemon of this user.
#[derive(Debug)]
pub(super) enum ObservedDaemon {
    /// It answers.
    Running(Box<DaemonAnswers>),
    /// Nothing listens.
    NotRunning,
    /// A process uses these logins, and its control socket is somewhere else.
    Elsewhere(u32),
    /// There is no folder for its socket.
    Nowhere,
    /// Something listens and gives a wrong answer.
    Mute(ClientError),
}

/// What the daemon answered.
#[derive(Debug)]
pub(super) struct DaemonAnswers {
    pub(super) hello: DaemonHello,
    pub(super) status: Status,
    /// How many client keys there are.
    pub(super) clients: Option<usize>,
    /// What shows that doctor asks on the port, and no app.
    pub(super) own_mark: Option<IssuedKey>,
}

/// A provider's adapter and addresses.
#[derive(Debug)]
pub(super) struct ServedProvider {
    pub(super) name: ProviderName,
    /// Why it can't be built, else the adapter and the TLS that its requests use.
    pub(super) built: Result<(Arc<dyn Adapter>, Tls), String>,
    pub(super) trust: Trust,
}

/// The additional CA file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trust {
    pub(super) file: Option<PathBuf>,
    /// Who names the file.
    pub(super) named_by: &'static str,
}

impl DoctorFacts {
    /// Asks the daemon, reads the configuration, and finds the files.
    pub(super) async fn gather(config: Option<&Path>) -> Self {
        let environment = Environment::from_process();
        let asking = find(&environment);
        let service = timeout(MANAGER_PATIENCE, service::state(&environment));
        let (found, service) = tokio::join!(asking, service);
        let service = service.ok();
        // A daemon may have been started with another file than the default one.
        let in_force = match &found.daemon {
            ObservedDaemon::Running(answers) => answers.status.daemon.config_file.clone(),
            ObservedDaemon::NotRunning
            | ObservedDaemon::Elsewhere(_)
            | ObservedDaemon::Nowhere
            | ObservedDaemon::Mute(_) => None,
        };
        // Only the file at the usual place may be missing.
        let in_force = in_force.filter(|file| Some(file) != environment.config_file().as_ref());
        let named = config.map(Path::to_path_buf).or(in_force);
        let now = SystemClock.now();
        let read = tokio::task::spawn_blocking(move || {
            Self::read(environment, found, service, named, now)
        });
        if let Ok(facts) = read.await {
            return facts;
        }
        // Only a panic.
        let nowhere = LocatedDaemon {
            daemon: ObservedDaemon::Nowhere,
            folder: None,
        };
        Self {
            is_incomplete: true,
            ..Self::read(Environment::default(), nowhere, None, None, now)
        }
    }

    fn read(
        environment: Environment,
        found: LocatedDaemon,
        service: Option<Result<ServiceState, ServiceError>>,
        named: Option<PathBuf>,
        now: DateTime<Utc>,
    ) -> Self {
        let LocatedDaemon { daemon, folder } = found;
        let loaded = config::load(named.as_deref(), &environment);
        let config = loaded
            .as_ref()
            .map(|loaded| loaded.config.clone())
            .unwrap_or_default();
        let files = store_files(&environment, &config);
        let variables = files
            .as_ref()
            .map_or_else(Variables::of_process, |files| Variables::read(files.home()));
        let serve = |name, settings| serve(name, settings, files.as_ref(), &variables);
        let providers = config
            .providers
            .iter()
            .map(|(name, settings)| (serve(name, settings), settings.implied))
            .filter(|(served, implied)| !implied || is_used(served, &daemon, files.as_ref(), now))
            .map(|(served, _)| served)
            .collect();
        Self {
            file: named.or_else(|| environment.config_file()),
            environment,
            now,
            daemon,
            folder,
            loaded,
            config,
            files,
            variables,
            providers,
            service,
            is_incomplete: false,
        }
    }

    /// What shows the daemon that doctor asks on the port.
    pub(super) fn own_mark(&self) -> Option<&IssuedKey> {
        self.running()?.own_mark.as_ref()
    }

    /// The daemon's answers, if it runs.
    pub(super) fn running(&self) -> Option<&DaemonAnswers> {
        match &self.daemon {
            ObservedDaemon::Running(answers) => Some(answers),
            ObservedDaemon::NotRunning
            | ObservedDaemon::Elsewhere(_)
            | ObservedDaemon::Nowhere
            | ObservedDaemon::Mute(_) => None,
        }
    }

    /// The process that has the control socket and does not answer there, where that is known.
    pub(super) fn silent(&self) -> Option<u32> {
        match &self.daemon {
            ObservedDaemon::Mute(ClientError::Timeout { pid, .. }) => *pid,
            ObservedDaemon::Mute(_)
            | ObservedDaemon::Running(_)
            | ObservedDaemon::NotRunning
            | ObservedDaemon::Elsewhere(_)
            | ObservedDaemon::Nowhere => None,
        }
    }

    /// Where hermes-proxyd listens after its next start: as the file says, with the flags of the one
    /// that runs.
    pub(super) fn next_listeners(&self) -> Vec<Listener> {
        match self.running() {
            Some(answers) => {
                let flags = &answers.status.daemon.command_line;
                with_flags(self.config.clone(), flags).listeners
            }
            None => self.config.listeners.clone(),
        }
    }

    /// Whether the provider is the one that `/v1` means.
    pub(super) fn is_default(&self, name: &ProviderName) -> bool {
        *name == self.config.default_provider
    }

    /// How the service is, where one is installed.
    pub(super) fn installed(&self) -> Option<&ServiceState> {
        let state = self.service.as_ref()?.as_ref().ok()?;
        state.file.is_some().then_some(state)
    }

    /// What has the daemon read a changed configuration. One that was started by hand keeps its flags and its environment.
    pub(super) fn restart_as_it_is(&self) -> Vec<Fix> {
        let is_service = self
            .installed()
            .is_some_and(|state| state.running.is_some());
        if self.running().is_some() && !is_service {
            return vec![Fix::Run("hermesctl proxy restart".to_owned())];
        }
        self.restart()
    }

    /// What makes the daemon run, with the environment of the shell that this is typed in.
    pub(super) fn restart(&self) -> Vec<Fix> {
        let pid = self.running().map(|answers| answers.hello.pid);
        let installed = self.installed();
        let run = |command: &str| Fix::Run(command.to_owned());
        if let ObservedDaemon::Elsewhere(pid) = self.daemon {
            let advice = format!("Restart process {pid} as the user that runs it.");
            return vec![Fix::Advice(advice)];
        }
        if let Some(pid) = self.silent() {
            let of_service = installed.and_then(|state| state.running.as_ref());
            return if of_service.is_some_and(|one| one.pid == pid) {
                vec![run("hermesctl service restart")]
            } else {
                vec![
                    run(&format!("kill {pid}")),
                    Fix::Advice("If it keeps running, kill it; then start another:".to_owned()),
                    run(&format!("kill -9 {pid}")),
                    run("hermesctl proxy start"),
                ]
            };
        }
        let commands = commands_to_restart(installed, pid);
        commands.into_iter().map(Fix::Run).collect()
    }
}

/// The command that restarts the daemon: the one that runs as `pid`, or the installed service.
fn commands_to_restart(installed: Option<&ServiceState>, pid: Option<u32>) -> Vec<String> {
    let run = str::to_owned;
    match (installed.map(|state| state.running), pid) {
        (Some(Some(_)), _) => vec![run("hermesctl service restart")],
        (Some(None), None) => vec![run("hermesctl service start")],
        // Not `proxy restart`: it would keep the environment that it was started with.
        (Some(None) | None, Some(_)) => {
            vec![run("hermesctl proxy stop"), run("hermesctl proxy start")]
        }
        (None, None) => vec![run("hermesctl proxy start")],
    }
}

/// The commands that restart the daemon here; `pid` is the running one's.
pub async fn restart(environment: &Environment, pid: Option<u32>) -> Vec<String> {
    let state = timeout(MANAGER_PATIENCE, service::state(environment)).await;
    let state = state.ok().and_then(Result::ok);
    let installed = state.filter(|state| state.file.is_some());
    commands_to_restart(installed.as_ref(), pid)
}

/// The daemon of these logins.
struct LocatedDaemon {
    daemon: ObservedDaemon,
    /// The folder of its control socket.
    folder: Option<PathBuf>,
}

async fn find(environment: &Environment) -> LocatedDaemon {
    let folders = environment.runtime_dirs();
    for folder in &folders {
        let daemon = ask(&Endpoint::new(folder)).await;
        if !matches!(daemon, ObservedDaemon::NotRunning) {
            let folder = Some(folder.clone());
            return LocatedDaemon { daemon, folder };
        }
    }
    let state = environment.state_dir();
    let alive = tokio::task::spawn_blocking(move || daemon_lock::daemon(&state?));
    let alive = timeout(PATIENCE, alive).await.ok().and_then(Result::ok);
    let daemon = match (alive.flatten(), folders.is_empty()) {
        (Some(pid), _) => ObservedDaemon::Elsewhere(pid),
        (None, true) => ObservedDaemon::Nowhere,
        (None, false) => ObservedDaemon::NotRunning,
    };
    let folder = folders.into_iter().next();
    LocatedDaemon { daemon, folder }
}

async fn ask(endpoint: &Endpoint) -> ObservedDaemon {
    let mut pid = None;
    let asking = async {
        let mut client = ControlClient::connect_within(PATIENCE, endpoint, NAME).await?;
        pid = Some(client.daemon().pid);
        let status = client.call(calls::Status).await?;
        let clients = client.call(calls::Clients).await;
        let clients = clients.ok().map(|clients| clients.clients.len());
        let own_mark = client.call(calls::OwnMark).await.ok().map(|own| own.mark);
        let hello = client.daemon().clone();
        Ok(ObservedDaemon::Running(Box::new(DaemonAnswers {
            hello,
            status,
            clients,
            own_mark,
        })))
    };
    match timeout(PATIENCE * 2, asking).await {
        Ok(Ok(daemon)) => daemon,
        Ok(Err(ClientError::NotRunning { .. })) => ObservedDaemon::NotRunning,
        Ok(Err(error)) => ObservedDaemon::Mute(error),
        Err(_) => ObservedDaemon::Mute(ClientError::Timeout {
            patience: PATIENCE * 2,
            pid,
        }),
    }
}

/// Where the logins are that this configuration means.
pub(super) fn files(config: Option<&Path>, environment: &Environment) -> Option<StoreFiles> {
    let loaded = config::load(config, environment);
    let config = loaded.map(|loaded| loaded.config).unwrap_or_default();
    store_files(environment, &config)
}

fn store_files(environment: &Environment, config: &Config) -> Option<StoreFiles> {
    let home = config
        .hermes_home
        .clone()
        .or_else(|| environment.hermes_home())?;
    let state = environment
        .state_dir()
        .unwrap_or_else(|| home.join("hermes-proxyd"));
    Some(StoreFiles::locate(environment, &home, &state))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Builds the provider as the daemon does.
fn serve(
    name: &ProviderName,
    settings: &Provider,
    files: Option<&StoreFiles>,
    variables: &Variables,
) -> ServedProvider {
    let trust = trust(settings, files);
    let built = provider::client_config(trust.file.as_deref())
        .map_err(|error| error.to_string())
        .and_then(|tls| {
            let adapter = provider::build(name, settings, tls.clone(), variables)
                .map_err(|error| error.to_string())?;
            Ok((adapter, tls))
        });
    let name = name.clone();
    ServedProvider { name, built, trust }
}

/// Whether a provider that nothing asks for has a login, by the daemon's word or the files'.
fn is_used(
    served: &ServedProvider,
    daemon: &ObservedDaemon,
    files: Option<&StoreFiles>,
    now: DateTime<Utc>,
) -> bool {
    if let ObservedDaemon::Running(answers) = daemon {
        let mut providers = answers.status.providers.iter();
        return providers.any(|one| one.name == served.name.as_str());
    }
    let (Ok((adapter, _)), Some(files)) = (&served.built, files) else {
        return false;
    };
    let found = inspection::inspect(files, &**adapter, now);
    let login = found.and_then(|found| found.login);
    login.is_some_and(|look| match look.assessment {
        Assessment::Login { .. } => true,
        Assessment::NoLogin { reason } => reason != NO_LOGIN,
    })
}

fn trust(settings: &Provider, files: Option<&StoreFiles>) -> Trust {
    let layout = provider::layout(&settings.kind);
    let stored = files
        .zip(layout)
        .and_then(|(files, layout)| stored_ca_bundle(files, layout));
    let from_env = variable("HERMES_CA_BUNDLE").map(PathBuf::from);
    let named = [
        (settings.ca_file.clone(), "`ca_file` in the configuration"),
        (stored, "Hermes Agent's login"),
        (from_env, "HERMES_CA_BUNDLE"),
    ];
    let named = named.into_iter().find_map(|(file, by)| Some((file?, by)));
    match named {
        Some((file, named_by)) => Trust {
            file: Some(file),
            named_by,
        },
        None => Trust {
            file: None,
            named_by: "",
        },
    }
}
