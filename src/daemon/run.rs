//! The daemon from start to end, in that order: build, run, drain.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clients;
use super::config_source::{ConfigSource, check_keys, placed, store_files};
use super::control::{ControlHandler, ReloadRequest, StopKind};
use super::logging::Logging;
use super::logins::LoginSessions;
use super::notices::Notices;
use super::providers::{self, ServedProviders};
use super::signals::{Signal, Signals};
use super::start_error::StartError;
use super::usage::Counting;
use super::view::View;
use super::watchdog::Watchdog;
use super::{descriptors, page, quotas, service_manager, signals, status_line};
use crate::clients::{ClientsError, Registry};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Loaded, LogFormat, Overrides, Variables};
use crate::control::daemon_lock::{self, DaemonLock, DaemonLockState};
use crate::control::endpoint::{ControlListener, Endpoint};
use crate::control::protocol::{CommandLine, ControlError, ErrorCode, ReloadReport};
use crate::control::server;
use crate::credentials::{Initiative, StoreFiles};
use crate::files::FileWorker;
use crate::hooks;
use crate::paths::Environment;
use crate::proxy::{self, Bound, ConnectionService, ConnectionSlots, Gateway, Port, Refusals};
use crate::usage::UsageWriter;

/// After the drain, connections have this long to notice that they are cut.
const CUT: Duration = Duration::from_secs(1);
/// hermesctl gets its answers before the daemon is gone.
const FAREWELL: Duration = Duration::from_secs(2);

/// The daemon while it runs.
struct RunningDaemon {
    origin: ConfigSource,
    config: Config,
    log: Logging,
    fleet: ServedProviders,
    notices: Notices,
    gateway: Arc<Gateway>,
    clients: Registry,
    view: Arc<ArcSwap<View>>,
    answers: Arc<ControlHandler>,
    /// What a reload reads.
    desk: FileWorker,
    /// Has the control socket looked after.
    control: Arc<Notify>,
    /// Has the port's Unix sockets looked after.
    sockets: Arc<Notify>,
}

/// What ends, in this order.
struct Stops {
    /// Connections and what runs on them.
    connections: TaskTracker,
    drain: CancellationToken,
    abort: CancellationToken,
    /// The control server.
    control: TaskTracker,
    control_stop: CancellationToken,
    /// The hooks; last, because a keeper's last notice may be for them.
    hooks: TaskTracker,
    hooks_stop: CancellationToken,
}

/// Builds the daemon, runs it until a signal, and drains it.
pub(super) async fn run(
    origin: ConfigSource,
    loaded: Loaded,
    log: Logging,
) -> Result<StopKind, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let started_at = clock.now();
    let mut signals = signals::register().map_err(StartError::Signals)?;
    let config = loaded.config;

    // The lock on the control socket says which daemon lives, so it comes first.
    let (control, _life) = take_control(&origin.environment).await?;
    let bound = proxy::bind_all(&config.listeners, service_manager::sockets())?;

    let stops = Stops::new();
    let notices = stops.notices(&config);
    let files = store_files(&origin.environment, &config)?;
    warn_of_faults(&files, &config).await;
    let clients = stops.clients(&files, clock.clone())?;
    let mut fleet = ServedProviders::new(
        files,
        clock.clone(),
        Initiative::Keeps,
        Some(Arc::new(notices.clone())),
    );
    let started = fleet.start(&config, Some(&clients)).await;
    started.map_err(|error| placed(error, loaded.file.as_deref(), &loaded.lines))?;
    let gateway = Arc::new(Gateway::new(fleet.rules(&config), clients.clone()));
    check_keys(bound.iter().map(Bound::setting), &clients)?;
    let (counting, counts) =
        Counting::start(fleet.files(), config.usage, clock.clone(), gateway.ledger());
    clients::begin_the_day(&clients).await;

    let service = stops.service(gateway.clone(), config.limits.connections);
    let (places, sockets) = (service.places.clone(), service.look.clone());
    let ports = proxy::open(bound, &service);

    let (reloads, mut reload_requests) = mpsc::channel(4);
    let (endings, mut end_requests) = mpsc::channel(1);
    let view = View::new(&fleet, &config, loaded.file, loaded.digest);
    let view = Arc::new(ArcSwap::from_pointee(view));
    let answers = Arc::new(ControlHandler {
        logins: Arc::new(stops.logins(clock.clone(), view.clone())),
        files: fleet.files().clone(),
        clients: clients.clone(),
        usage: counting,
        command_line: command_line(&origin.overrides),
        origin: origin.clone(),
        clock,
        started_at,
        started: tokio::time::Instant::now(),
        ports: ports.clone(),
        view: view.clone(),
        ledger: gateway.ledger().clone(),
        log: Some(log.tail()),
        own_mark: gateway.own_mark().map(clients::own_mark),
        endings,
        reloads,
    });
    let prod = stops.answer(control, answers.clone(), &gateway);
    stops.tell_quotas(&answers, notices.clone(), fleet.quota_changes());

    let mut daemon = RunningDaemon {
        origin,
        config,
        log,
        fleet,
        notices,
        gateway,
        clients,
        view,
        answers,
        desk: FileWorker::default(),
        control: prod,
        sockets,
    };
    service_manager::ready(&daemon.summary());
    daemon.gateway.open_ahead();
    stops.live(daemon.view.clone(), ports);
    let end = daemon
        .work(&mut signals, &mut reload_requests, &mut end_requests)
        .await;

    service_manager::stopping().await;
    drop(reload_requests);
    let grace = daemon.config.timeouts.drain;
    stops.drain(&mut signals, grace, &places).await;
    stops.end(&daemon, counts).await;
    Ok(end)
}

/// Becomes the one daemon of the runtime folder.
async fn take_control(
    environment: &Environment,
) -> Result<(ControlListener, Option<DaemonLock>), StartError> {
    let folder = environment.runtime_dir();
    let endpoint = Endpoint::new(folder.ok_or(StartError::NoRuntimeFolder)?);
    let control = server::bind(&endpoint).await?;
    Ok((control, say_that_we_live(environment).await))
}

/// Tells hermesctl, which may not find the socket, that we are running.
async fn say_that_we_live(environment: &Environment) -> Option<DaemonLock> {
    match daemon_lock::hold(&environment.state_dir()?).await {
        Ok(DaemonLockState::Ours(life)) => Some(life),
        Ok(DaemonLockState::ByAnother(pid)) => {
            tracing::warn!(
                pid,
                "another hermes-proxyd of this user is running with the same logins"
            );
            None
        }
        Err(error) => {
            tracing::debug!(%error, "the state folder can't record that this daemon is running");
            None
        }
    }
}

/// The flags that override the file, for hermesctl.
fn command_line(overrides: &Overrides) -> CommandLine {
    let format = |format| {
        let mut names = LogFormat::NAMES.iter();
        names.find(|(_, known)| *known == format)
    };
    CommandLine {
        provider: overrides.provider.clone(),
        host: overrides.host.clone(),
        port: overrides.port,
        log_level: overrides.log_level.clone(),
        log_format: overrides
            .log_format
            .and_then(format)
            .map(|(name, _)| (*name).to_owned()),
    }
}

/// Warns of routes and aliases that are allowed and can't be meant.
fn warn_of_routes(config: &Config) {
    for (key, fault) in config.routing_warnings() {
        tracing::warn!(key, fault, "a route or alias has no effect");
    }
}

/// Warns about unusable variables of the environment, and of the file that adds to it; a hang of the file
/// is reported with the login.
async fn warn_of_faults(files: &StoreFiles, config: &Config) {
    warn_of_routes(config);
    for fault in crate::provider::environment_faults(config.kinds()) {
        tracing::warn!(fault, "an environment variable can't be used");
    }
    let home = files.home().to_owned();
    let read = move || crate::provider::file_faults(&Variables::read(&home));
    let faults = FileWorker::default().run(read).await.unwrap_or_default();
    for fault in faults {
        tracing::warn!(fault, "an address of a provider can't be used");
    }
}

fn invalid(error: &StartError) -> ControlError {
    ControlError::new(ErrorCode::ConfigInvalid, error.to_string())
        .with_hint("correct the file, then run: hermesctl proxy reload")
}

impl RunningDaemon {
    /// Runs until a signal or hermesctl says stop.
    async fn work(
        &mut self,
        signals: &mut Signals,
        requests: &mut mpsc::Receiver<ReloadRequest>,
        ends: &mut mpsc::Receiver<StopKind>,
    ) -> StopKind {
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => return StopKind::Stop,
                    Signal::Reload => {
                        self.control.notify_one();
                        self.sockets.notify_waiters();
                        drop(self.reload().await);
                    }
                },
                Some(end) = ends.recv() => return end,
                Some(answer) = requests.recv() => {
                    let report = self.reload().await;
                    // The client may be gone.
                    answer.send(report).ok();
                }
            }
        }
    }

    /// Reads the configuration and the logins again. An invalid file changes nothing.
    async fn reload(&mut self) -> Result<ReloadReport, ControlError> {
        service_manager::reloading();
        // newsyslog and logrotate send SIGHUP after they have moved the file away.
        self.log.reopen();
        let result = self.apply().await;
        match &result {
            Ok(report) => tracing::info!(
                applied = report.applied.join(" "),
                needs_restart = report.needs_restart.join(" "),
                finishing = report.providers_finishing.join(" "),
                "reloaded"
            ),
            Err(error) => tracing::error!(%error, "not reloaded; the earlier configuration stays \
                                                   in use"),
        }
        service_manager::ready(&self.summary());
        result
    }

    /// Reads the configuration, and all files that building its providers reads once more: what hangs,
    /// hangs there and not on the thread that serves requests.
    async fn load(&self) -> Result<Loaded, ControlError> {
        let (origin, files) = (self.origin.clone(), self.fleet.files().clone());
        let work = move || {
            let loaded = origin.load()?;
            ServedProviders::read_ahead(&files, &loaded.config);
            Ok(loaded)
        };
        let loaded: Result<_, StartError> = self.desk.run(work).await.map_err(|error| {
            let message = format!("The configuration can't be read: {error}.");
            ControlError::new(ErrorCode::Internal, message)
                .with_hint("Check its file system, then run: hermesctl proxy reload")
        })?;
        loaded.map_err(|error| invalid(&error))
    }

    async fn apply(&mut self) -> Result<ReloadReport, ControlError> {
        let loaded = self.load().await?;
        let changes = config::diff(&self.config, &loaded.config);
        let keys = self.clients.reload().await;
        keys.map_err(|error| clients::refused(&error))?;
        let reconciled = self.fleet.reconcile(&loaded.config);
        let changed = reconciled
            .map_err(|error| invalid(&placed(error, loaded.file.as_deref(), &loaded.lines)))?;
        warn_of_routes(&loaded.config);
        if loaded.config.log.level != self.config.log.level {
            let set = self.log.set_level(&loaded.config.log.level);
            set.map_err(|error| invalid(&StartError::Logging(error)))?;
        }
        // No request meets a provider that was added and has not read its store yet.
        ServedProviders::started(&changed, providers::LOOK).await;
        self.notices
            .replace(hooks::HookSettings::new(&loaded.config));
        self.gateway.replace(self.fleet.rules(&loaded.config));
        self.view.store(Arc::new(View {
            reports: self.fleet.reports(),
            default_provider: loaded.config.default_provider.clone(),
            config_file: loaded.file,
            config_digest: loaded.digest,
            needs_restart: changes.needs_restart.clone(),
            models_cache: loaded.config.models_cache,
        }));
        // Settings that need a restart stay unchanged, so that the next reload still reports them.
        self.config = Config {
            hermes_home: self.config.hermes_home.clone(),
            listeners: self.config.listeners.clone(),
            log: config::Log {
                format: self.config.log.format,
                ..loaded.config.log.clone()
            },
            usage: self.config.usage,
            limits: config::Limits {
                connections: self.config.limits.connections,
                ..loaded.config.limits
            },
            ..loaded.config
        };
        self.fleet.look().await;
        self.gateway.open_ahead();
        Ok(ReloadReport {
            applied: changes.applied,
            needs_restart: changes.needs_restart,
            providers_reloaded: self.fleet.names_with_store(|_| true),
            providers_unreadable: self.fleet.unreadable(),
            providers_finishing: self.fleet.names_unsettled(),
        })
    }

    /// For `systemctl status`.
    fn summary(&self) -> String {
        status_line::line(&self.answers.picture())
    }
}

impl Stops {
    fn new() -> Self {
        Self {
            connections: TaskTracker::new(),
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
            control: TaskTracker::new(),
            control_stop: CancellationToken::new(),
            hooks: TaskTracker::new(),
            hooks_stop: CancellationToken::new(),
        }
    }

    /// The hooks and the log's notices; they end last.
    fn notices(&self, config: &Config) -> Notices {
        let settings = hooks::HookSettings::new(config);
        Notices::new(hooks::start(settings, &self.hooks, self.hooks_stop.clone()))
    }

    /// What connections share.
    fn service(&self, gateway: Arc<Gateway>, connections: usize) -> ConnectionService {
        ConnectionService {
            gateway,
            places: ConnectionSlots::new(descriptors::places(connections)),
            drain: self.drain.clone(),
            abort: self.abort.clone(),
            look: Arc::default(),
            tracker: self.connections.clone(),
        }
    }

    /// The client keys; their use is written a last time when the control server ends.
    fn clients(&self, files: &StoreFiles, clock: Arc<dyn Clock>) -> Result<Registry, ClientsError> {
        let clients = Registry::open(clients::file(files), clock)?;
        let kept = clients.clone().keep(self.control_stop.clone());
        self.control.spawn(kept);
        Ok(clients)
    }

    /// The logins that hermesctl asks for; they end with the control server.
    fn logins(&self, clock: Arc<dyn Clock>, view: Arc<ArcSwap<View>>) -> LoginSessions {
        LoginSessions::new(clock, self.control.clone(), &self.control_stop, view)
    }

    /// Answers hermesctl, and tells the port and the service manager the daemon's state. Returns the
    /// trigger that checks the control socket.
    fn answer(
        &self,
        control: ControlListener,
        answers: Arc<ControlHandler>,
        gateway: &Gateway,
    ) -> Arc<Notify> {
        let prod = control.prod();
        gateway.judged_by(answers.clone());
        let failures = gateway.ledger().failures().clone();
        gateway.shown_by(Arc::new(page::StatusPageMaker::new(
            answers.clone(),
            failures,
        )));
        gateway.exported_by(answers.clone());
        self.tell_refusals(gateway.ledger().refusals().clone());
        let (tracker, stop) = (self.control.clone(), self.control_stop.clone());
        let told = status_line::keep_told(answers.clone(), stop.clone());
        self.control.spawn(told);
        // How much of the accounts' quotas is used.
        let (view, clock) = (answers.view.clone(), answers.clock.clone());
        self.control
            .spawn(quotas::keep_asked(view, clock, stop.clone()));
        self.control
            .spawn(async move { server::serve(control, answers, stop, &tracker).await });
        prod
    }

    /// Notices for hooks about quotas that run out.
    fn tell_quotas(&self, answers: &ControlHandler, notices: Notices, changed: Arc<Notify>) {
        let (view, clock) = (answers.view.clone(), answers.clock.clone());
        let stop = self.control_stop.clone();
        self.control
            .spawn(quotas::keep_told(view, notices, clock, changed, stop));
    }

    /// The log's lines on refused requests that were only counted; the last one comes at the end.
    fn tell_refusals(&self, refusals: Arc<Refusals>) {
        let stop = self.control_stop.clone();
        self.control
            .spawn(async move { refusals.keep_told(stop).await });
    }

    /// Signs of life for the service manager's watchdog.
    fn live(&self, view: Arc<ArcSwap<View>>, ports: Vec<Port>) {
        let drain = self.drain.clone();
        let watchdog = Watchdog { view, ports, drain };
        self.control.spawn(watchdog.run(self.control_stop.clone()));
    }

    /// Lets running requests finish for as long as `grace`; a second signal ends that.
    async fn drain(&self, signals: &mut Signals, grace: Duration, places: &ConnectionSlots) {
        tracing::info!(grace_seconds = grace.as_secs(), "stopping");
        self.drain.cancel();
        self.connections.close();
        let deadline = Instant::now() + grace;
        let mut dismissing = std::pin::pin!(places.dismiss_waiting());
        loop {
            tokio::select! {
                () = self.connections.wait() => return,
                () = &mut dismissing => {}
                () = sleep_until(deadline) => break,
                signal = signals.next() => if signal == Signal::Stop { break },
            }
        }
        tracing::warn!("requests that are still running are cut off");
        self.abort.cancel();
        timeout(CUT, self.connections.wait()).await.ok();
    }

    /// Ends the rest in order, after the requests.
    async fn end(&self, daemon: &RunningDaemon, counts: Option<UsageWriter>) {
        Counting::end(counts).await;
        daemon.answers.logins.end().await;
        daemon.fleet.stop().await;
        self.end_control().await;
        self.end_hooks().await;
        tracing::info!("stopped");
    }

    /// Pending notices are delivered or cut within the hooks' own limit.
    async fn end_hooks(&self) {
        self.hooks_stop.cancel();
        self.hooks.close();
        self.hooks.wait().await;
    }

    async fn end_control(&self) {
        self.control_stop.cancel();
        self.control.close();
        timeout(FAREWELL, self.control.wait()).await.ok();
    }
}
