//! The daemon's answers to hermesctl.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::clients;
use super::config_source::{self, ConfigSource};
use super::in_flight;
use super::logging::Tail;
use super::logins::{self, LoginSessions};
use super::logout;
use super::pools;
use super::provider_status::{mishaps, provider_status};
use super::providers::ProviderReport;
use super::service_manager;
use super::usage::Counting;
use super::view::View;
use crate::clients::Registry;
use crate::clock::{self, Clock};
use crate::config::{self, ListenAddress, ProviderName};
use crate::containers::{self, ListenEndpoint};
use crate::control::chat_apis::ChatApis;
use crate::control::in_flight::{InFlightQuery, InFlightReport};
use crate::control::judge;
use crate::control::pools::{LoginChoice, LoginEntry, LoginList, LoginResetReport};
use crate::control::protocol::{
    AvailableProvider, ClientAdd, ClientChange, ClientChanged, ClientChoice, ClientImport,
    ClientImportReport, ClientList, ClientRevoked, CommandLine, ControlError, DaemonStatus,
    ErrorCode, Finding, IssuedKey, ListenerStatus, LogFrom, LogTail, LoginBegin, LoginBegun,
    LoginCancelled, LoginPaste, LoginPasteTaken, LoginProgress, LoginSession, LogoutReport, NewKey,
    OwnMarkValue, PathEntry, ProviderChoice, ProviderEntry, ProviderStatus, Providers,
    RefreshOutcome, ReloadReport, Severity, Status, StopNotice, Timestamp,
};
use crate::control::server::Handler;
use crate::control::usage::{UsageQuery, UsageReport};
use crate::credentials::StoreFiles;
use crate::provider::{self};
use crate::proxy::{self, Port};
use crate::suggest::did_you_mean;

/// A reload that hermesctl asked for, with the way back.
pub(super) type ReloadRequest = oneshot::Sender<Result<ReloadReport, ControlError>>;

/// How the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopKind {
    Stop,
    /// It starts again as it was started.
    Restart,
}

/// Answers hermesctl.
#[derive(Debug)]
pub(super) struct ControlHandler {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) started_at: DateTime<Utc>,
    /// The same by a monotonic clock.
    pub(super) started: Instant,
    pub(super) ports: Vec<Port>,
    pub(super) command_line: CommandLine,
    /// What a restart would start with.
    pub(super) origin: ConfigSource,
    pub(super) view: Arc<ArcSwap<View>>,
    /// Where every request is entered.
    pub(super) ledger: Arc<proxy::Ledger>,
    /// `None` without a log.
    pub(super) log: Option<Tail>,
    /// What hermesctl's own requests on the port show.
    pub(super) own_mark: Option<IssuedKey>,
    pub(super) logins: Arc<LoginSessions>,
    pub(super) files: StoreFiles,
    pub(super) clients: Registry,
    /// The counts of usage.
    pub(super) usage: Counting,
    /// To the daemon's main loop too: how it is to end.
    pub(super) endings: mpsc::Sender<StopKind>,
    /// To the daemon's main loop, which alone reloads.
    pub(super) reloads: mpsc::Sender<ReloadRequest>,
}

#[async_trait]
impl Handler for ControlHandler {
    async fn status(&self) -> Status {
        self.picture()
    }

    async fn providers(&self) -> Providers {
        let judged = self.picture();
        let view = self.view.load();
        let reports = view.reports.iter().filter(|one| one.upstream.is_there());
        let mut providers: Vec<_> = reports
            .map(|report| self.provider_entry(report, &view, &judged))
            .collect();
        providers.sort_by_key(|provider| !provider.default);
        let is_there = |name: &str| providers.iter().any(|one| one.name == name);
        let missing = provider::built_in().filter(|one| !is_there(one.name));
        let available = missing.map(|one| available(one, &view)).collect();
        Providers {
            providers,
            available,
        }
    }

    async fn models(&self) -> Providers {
        let view = self.view.load_full();
        let upstreams = view.reports.iter().map(|report| report.upstream.clone());
        let upstreams: Vec<_> = upstreams.collect();
        proxy::know_models(&upstreams, view.models_cache).await;
        self.providers().await
    }

    async fn stop(&self) -> Result<StopNotice, ControlError> {
        Ok(self.end(StopKind::Stop))
    }

    async fn restart(&self) -> Result<StopNotice, ControlError> {
        if service_manager::listens() {
            let message = "A service manager runs this hermes-proxyd; only the service manager can \
                           restart it.";
            let error = ControlError::new(ErrorCode::Internal, message);
            return Err(error.with_hint("Run: systemctl --user restart hermes-proxyd"));
        }
        let origin = self.origin.clone();
        let checked =
            tokio::task::spawn_blocking(move || config_source::check(&origin, &origin.load()?))
                .await;
        match checked {
            Ok(Ok(())) => Ok(self.end(StopKind::Restart)),
            Ok(Err(error)) => {
                let message = format!(
                    "hermes-proxyd was not restarted, because it could not start again: {error}"
                );
                let error = ControlError::new(ErrorCode::ConfigInvalid, message);
                Err(error.with_hint("Correct that, then run: hermesctl proxy restart"))
            }
            Err(_) => Err(ControlError::new(
                ErrorCode::Internal,
                "The check of the configuration failed.",
            )),
        }
    }

    async fn log(&self, from: LogFrom) -> Result<LogTail, ControlError> {
        let log = self.log.as_ref().map(|log| log.since(from.from));
        log.ok_or_else(|| ControlError::new(ErrorCode::Internal, "There is no log here."))
    }

    async fn own_mark(&self) -> Result<OwnMarkValue, ControlError> {
        let mark = self.own_mark.clone().map(|mark| OwnMarkValue { mark });
        mark.ok_or_else(|| ControlError::new(ErrorCode::Internal, "There is no mark."))
    }

    async fn reload(&self) -> Result<ReloadReport, ControlError> {
        let stopping = || ControlError::new(ErrorCode::ShuttingDown, "The daemon is stopping.");
        let (answer, answered) = oneshot::channel();
        self.reloads.send(answer).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }

    async fn login_begin(&self, login: LoginBegin) -> Result<LoginBegun, ControlError> {
        let wanted = &login;
        let begin =
            |report: ProviderReport| async move { self.logins.begin(&report, wanted).await };
        self.ask(login.provider.as_deref(), begin).await
    }

    async fn login_wait(&self, login: LoginSession) -> Result<LoginProgress, ControlError> {
        self.logins.wait(login).await
    }

    async fn login_cancel(&self, login: LoginSession) -> Result<LoginCancelled, ControlError> {
        self.logins.cancel(login).await
    }

    async fn login_paste(&self, paste: LoginPaste) -> Result<LoginPasteTaken, ControlError> {
        self.logins.paste(&paste)
    }

    async fn logout(&self, choice: ProviderChoice) -> Result<LogoutReport, ControlError> {
        let meant = &choice.store;
        let logout =
            |report: ProviderReport| async move { logout::logout(&report, meant.clone()).await };
        let answer = self.ask(choice.provider.as_deref(), logout).await;
        let Err(error) = answer else {
            return answer;
        };
        let leftover = matches!(
            error.code,
            ErrorCode::UnknownProvider | ErrorCode::NotSupported
        );
        match choice.provider.filter(|_| leftover) {
            Some(name) => {
                let removed = logout::remove_leftover(&self.files, &name, self.clock.now());
                removed.await?.ok_or(error)
            }
            None => Err(error),
        }
    }

    async fn refresh(&self, choice: ProviderChoice) -> Result<RefreshOutcome, ControlError> {
        let label = choice.label.as_deref();
        let refresh = |report: ProviderReport| async move { logins::refresh(&report, label).await };
        self.ask(choice.provider.as_deref(), refresh).await
    }

    async fn logins(&self) -> Result<LoginList, ControlError> {
        Ok(LoginList {
            now: Timestamp(self.clock.now()),
            logins: self.logins_now(),
        })
    }

    async fn login_reset(&self, choice: LoginChoice) -> Result<LoginResetReport, ControlError> {
        let report = self.report(choice.provider.as_deref())?;
        pools::reset(&report, choice.label.as_deref()).await
    }

    async fn login_remove(&self, choice: LoginChoice) -> Result<LogoutReport, ControlError> {
        let report = self.report(choice.provider.as_deref())?;
        pools::remove(&report, choice.label.as_deref()).await
    }

    async fn usage(&self, query: UsageQuery) -> Result<UsageReport, ControlError> {
        self.usage.report(query, self.clock.now()).await
    }

    async fn in_flight(&self, query: InFlightQuery) -> Result<InFlightReport, ControlError> {
        let is_counted = self.usage.book().is_some();
        let now = self.clock.now();
        Ok(in_flight::report(
            self.ledger.flights(),
            query,
            now,
            is_counted,
        ))
    }

    async fn clients(&self) -> Result<ClientList, ControlError> {
        let view = self.view.load_full();
        clients::list(&self.clients, self.clock.now(), &view.reports).await
    }

    async fn client_add(&self, mut client: ClientAdd) -> Result<NewKey, ControlError> {
        for provider in &mut client.providers {
            *provider = self.report(Some(provider))?.upstream.name.to_string();
        }
        let view = self.view.load_full();
        clients::add(&self.clients, client, &view.reports).await
    }

    async fn client_revoke(&self, client: ClientChoice) -> Result<ClientRevoked, ControlError> {
        let mut open = self.ports.iter().filter(|port| !port.setting().needs_key());
        let keyless = open.next().is_some();
        let revoked = clients::revoke(&self.clients, client.name).await?;
        Ok(ClientRevoked { keyless, ..revoked })
    }

    async fn client_rotate(&self, client: ClientChoice) -> Result<NewKey, ControlError> {
        clients::rotate(&self.clients, &client.name).await
    }

    async fn client_change(&self, mut client: ClientChange) -> Result<ClientChanged, ControlError> {
        for provider in &mut client.set.providers {
            *provider = self.report(Some(provider))?.upstream.name.to_string();
        }
        let view = self.view.load_full();
        clients::change(&self.clients, client, &view.reports, self.clock.now()).await
    }

    async fn client_import(
        &self,
        tokens: ClientImport,
    ) -> Result<ClientImportReport, ControlError> {
        clients::import(&self.clients, tokens).await
    }
}

impl proxy::Judge for ControlHandler {
    fn judge(&self, provider: &str, alone: bool) -> proxy::Judgement {
        self.judgement(provider, alone)
    }
}

impl ControlHandler {
    /// The state of the daemon and its providers now.
    pub(super) fn picture(&self) -> Status {
        let now = self.clock.now();
        let view = self.view.load();
        let reports = view.reports.iter().filter(|one| one.upstream.is_there());
        let mut providers: Vec<_> = reports
            .map(|report| {
                let client_keys = self.client_keys(&report.upstream);
                let status = provider_status(report, &view, now);
                ProviderStatus {
                    client_keys,
                    ..status
                }
            })
            .collect();
        providers.sort_by_key(|provider| !provider.default);
        let fault = self.clients.fault();
        let mut status = Status {
            now: Timestamp(now),
            daemon: DaemonStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started_at: Timestamp(self.started_at(now)),
                uptime_seconds: (now - self.started_at(now))
                    .num_seconds()
                    .try_into()
                    .unwrap_or(0),
                config_file: view.config_file.clone(),
                config_digest: view.config_digest.clone(),
                needs_restart: view.needs_restart.clone(),
                command_line: self.command_line.clone(),
                proxies: provider::Proxies::from_env().named().clone(),
                managed: service_manager::listens(),
            },
            listeners: self
                .ports
                .iter()
                .map(|port| listener_status(port, &view))
                .collect(),
            providers,
            refused: mishaps(&self.ledger.refusals().all, now),
            refused_apps: mishaps(&self.ledger.refusals().apps, now),
            client_keys: Some(self.clients.count()),
            client_keys_command: fault.as_ref().and_then(|one| one.command.clone()),
            client_keys_fault: fault.map(|one| one.reason),
            usage_fault: self.usage.fault(),
            findings: None,
        };
        status.findings = Some(judge::judge(&status));
        status
    }

    /// Every login of every provider.
    pub(super) fn logins_now(&self) -> Vec<LoginEntry> {
        let now = self.clock.now();
        let view = self.view.load();
        let there = view.reports.iter().filter(|one| one.upstream.is_there());
        let mut reports: Vec<_> = there.collect();
        reports.sort_by_key(|report| report.upstream.name != view.default_provider);
        let reports = reports.into_iter();
        reports.flat_map(|one| pools::entries(one, now)).collect()
    }

    /// How many client keys may ask a provider that serves nothing without one.
    fn client_keys(&self, upstream: &proxy::Upstream) -> Option<u64> {
        let count = || self.clients.count_for(upstream.name.as_str());
        upstream.needs_key.then(count)
    }

    /// The daemon's start by the current clock: a clock that was set back since then would give a time
    /// ahead.
    fn started_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        if self.started_at <= now {
            return self.started_at;
        }
        clock::before(now, self.started.elapsed())
    }

    /// How all is, for apps whose `/v1` means this provider.
    fn judgement(&self, provider: &str, alone: bool) -> proxy::Judgement {
        let status = self.picture();
        let own = judge::judge_for(&status, provider);
        let findings = if alone {
            own.as_slice().into()
        } else {
            judge::findings(&status)
        };
        let is_there = status.providers.iter().any(|one| one.name == provider);
        let blocking = own.iter().find(|one| one.blocks);
        let worst = findings.first();
        let is_about_it = |one: &&Finding| one.provider.as_deref() == Some(provider);
        let trouble = blocking.or(worst.filter(is_about_it));
        proxy::Judgement {
            level: match worst.map(|one| &one.severity) {
                None => "good",
                Some(Severity::Bad) => "bad",
                Some(Severity::Attention | Severity::Other(_)) => "attention",
            },
            code: worst.map_or("all_well", |one| one.code.as_str()).to_owned(),
            trouble: trouble.map(|one| proxy::ProviderTrouble {
                code: one.code.as_str().to_owned(),
                text: one.text.clone(),
                command: one.command.clone(),
            }),
            ready: blocking.is_none() && is_there,
        }
    }

    fn provider_entry(
        &self,
        report: &ProviderReport,
        view: &View,
        judged: &Status,
    ) -> ProviderEntry {
        let status = report.upstream.credentials.status();
        let name = report.upstream.name.as_str();
        let path = |(at, allowed): (usize, &crate::config::AllowedPath)| PathEntry {
            path: allowed.path.clone(),
            methods: allowed.methods.iter().map(ToString::to_string).collect(),
            body: Some(allowed.body)
                .filter(|body| *body != config::BodyKind::Json)
                .map(|body| body.as_str().to_owned()),
            translated_to: report.upstream.translated_to(at).map(str::to_owned),
        };
        let paths: Vec<_> = report.upstream.paths.iter().enumerate().map(path).collect();
        ProviderEntry {
            name: report.upstream.name.to_string(),
            display_name: report.upstream.display_name.clone(),
            default: report.upstream.name == view.default_provider,
            base_url: status.base_url,
            logged_in: judge::is_logged_in(judged, name),
            finding: judge::of_login(judged, name),
            api_key: report.adapter.layout().is_none(),
            no_key: status.kind == Some(provider::BearerKind::NO_KEY),
            app_url: self.app_url(&report.upstream.name, view),
            wires: ChatApis::of(&paths),
            paths,
            models: report.upstream.models.ids(),
        }
    }

    /// The base URL for most apps of this provider: a port whose `/v1` means it, otherwise any port,
    /// below its name.
    fn app_url(&self, provider: &ProviderName, view: &View) -> Option<String> {
        let listeners = self.ports.iter().map(|port| listener_status(port, view));
        let mut doors: Vec<_> = listeners
            .filter_map(|one| ListenEndpoint::of_status(&one))
            .collect();
        doors.sort_by_key(|door| door.provider != provider.as_str());
        let target = containers::local(&doors)?;
        if target.provider == provider.as_str() {
            return Some(target.base_url());
        }
        Some(format!("{}/{provider}/v1", target.origin()))
    }

    /// A second command does not change the first one.
    fn end(&self, end: StopKind) -> StopNotice {
        self.endings.try_send(end).ok();
        let view = self.view.load();
        let reports = view.reports.iter();
        let in_flight = reports.map(|report| report.upstream.counters.counts().in_flight);
        StopNotice {
            in_flight: in_flight.sum(),
        }
    }

    /// Asks something of a provider's login, and once more if a reload has replaced it meanwhile.
    async fn ask<T, F>(
        &self,
        name: Option<&str>,
        ask: impl Fn(ProviderReport) -> F,
    ) -> Result<T, ControlError>
    where
        F: Future<Output = Result<T, ControlError>>,
    {
        let report = self.report(name)?;
        let (name, asked) = (report.upstream.name.clone(), report.upstream.clone());
        let answer = ask(report).await;
        if answer.is_ok() || !asked.credentials.block().has_ended() {
            return answer;
        }
        // A reload may have removed it.
        let report = self.report(Some(name.as_str()))?;
        if report.upstream.credentials.block().has_ended() {
            return answer;
        }
        ask(report).await
    }

    /// The provider of this name, or the default one.
    fn report(&self, name: Option<&str>) -> Result<ProviderReport, ControlError> {
        let view = self.view.load();
        let name = name.unwrap_or_else(|| view.default_provider.as_str());
        let mut reports = view.reports.iter();
        let found = reports.find(|report| report.upstream.name.as_str() == name);
        found.cloned().ok_or_else(|| {
            let there = view.reports.iter().filter(|one| one.upstream.is_there());
            let known: Vec<_> = there.map(|report| report.upstream.name.as_str()).collect();
            let name: String = name.chars().take(40).collect();
            let message = format!("No provider {name:?} is configured.");
            let addable = config::login_meant(&name).filter(|meant| !known.contains(meant));
            if let Some(meant) = addable {
                let of_it = if meant == name { "it" } else { meant };
                let hint = format!(
                    "`hermesctl setup --provider {meant}` adds {of_it} to the configuration and logs in."
                );
                return ControlError::new(ErrorCode::UnknownProvider, message).with_hint(hint);
            }
            let hint = format!("The providers are: {}", known.join(", "));
            let meant = did_you_mean(&name, known.iter().copied());
            let meant = meant.map(|near| format!("Did you mean {near:?}? "));
            let hint = meant.unwrap_or_default() + &hint;
            ControlError::new(ErrorCode::UnknownProvider, message).with_hint(hint)
        })
    }
}

/// One that needs its login alone, or a table in the configuration as well.
fn available(built_in: provider::BuiltIn, view: &View) -> AvailableProvider {
    let mut reports = view.reports.iter();
    let report = reports.find(|report| report.upstream.name.as_str() == built_in.name);
    let command = report.and_then(|report| report.adapter.remedy().command(false));
    AvailableProvider {
        name: built_in.name.to_owned(),
        display_name: built_in.display_name.to_owned(),
        command: command.unwrap_or_else(|| format!("hermesctl setup --provider {}", built_in.name)),
    }
}

fn listener_status(port: &Port, view: &View) -> ListenerStatus {
    let setting = port.setting();
    let provider = setting.provider.as_ref();
    let provider = provider.unwrap_or(&view.default_provider);
    let bound = port.bound();
    let (address, also) = match (&setting.address, bound.split_first()) {
        (ListenAddress::Ip(_), Some((first, others))) => (first.to_string(), others),
        (address, _) => (address.to_string(), &[][..]),
    };
    ListenerStatus {
        address,
        url: port.url(),
        provider: provider.to_string(),
        connections: port.connections(),
        needs_key: setting.needs_key(),
        waiting: port.is_waiting(),
        also: also.iter().map(ToString::to_string).collect(),
    }
}
