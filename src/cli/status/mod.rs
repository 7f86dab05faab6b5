//! The home screen, `hermesctl proxy status`: the state of everything, at a glance.

pub(super) mod render;
mod verdict;
mod watch;

use chrono::Local;
use serde::Serialize;

use super::args::StatusFlags;
use super::connect;
use super::output::{Exit, Failure, Output};
use super::service::{self, ServiceJson};
use crate::control::judge::{self, IdleService, Pending};
use crate::control::protocol::{ClientEntry, Status};
use crate::doctor;
use crate::paths::Environment;

pub(super) use verdict::{Level, Verdict};

/// What the home screen shows; its JSON form is what `hermesctl proxy status --json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Home {
    /// Whether a daemon answered; without one there is only the verdict.
    pub(super) running: bool,
    pub(super) verdict: Verdict,
    #[serde(flatten)]
    pub(super) status: Option<Status>,
    /// The apps that have a key, where the daemon tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clients: Option<Vec<ClientEntry>>,
    /// The service, where its manager tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<ServiceJson>,
    /// What of its file the daemon has not applied.
    #[serde(skip)]
    pub(super) pending: Option<Pending>,
}

/// Shows it, once or again and again.
pub(super) async fn status(flags: StatusFlags, output: &mut Output) -> Result<Exit, Failure> {
    if let Some(seconds) = flags.watch {
        return Box::pin(watch::watch(seconds, output)).await;
    }
    let home = look().await?;
    output.answer(&home, |home, style| render::home(home, &Local, style))?;
    Ok(home.exit())
}

/// Asks the daemon, if one runs, and the service's manager.
async fn look() -> Result<Home, Failure> {
    let (home, service) = tokio::join!(Box::pin(ask()), Box::pin(service::glance()));
    let home = home?.beside(service);
    let status = home.status.as_ref();
    let pending = status.and_then(|status| doctor::pending(status, &Environment::from_process()));
    Ok(home.with_pending(pending))
}

async fn ask() -> Result<Home, Failure> {
    let mut client = match connect().await {
        Ok(client) => client,
        Err(failure) if failure.exit == Exit::NotRunning => return Ok(Home::of(None, None)),
        Err(failure) => return Err(failure),
    };
    let status = client.status().await?;
    // They are a detail: a daemon that can't tell them is shown without.
    let clients = client.clients().await.ok();
    Ok(Home::of(Some(status), clients.map(|told| told.clients)))
}

impl Home {
    /// This daemon's answers, if there is one.
    pub(super) fn of(status: Option<Status>, clients: Option<Vec<ClientEntry>>) -> Self {
        let home = Self {
            running: status.is_some(),
            verdict: Verdict::of(&[]),
            status,
            clients,
            service: None,
            pending: None,
        };
        home.judged()
    }

    /// With what of its file the daemon has not applied.
    pub(super) fn with_pending(self, pending: Option<Pending>) -> Self {
        Self { pending, ..self }.judged()
    }

    /// With what the service's manager tells.
    pub(super) fn beside(self, service: Option<ServiceJson>) -> Self {
        Self { service, ..self }.judged()
    }

    /// A daemon that did not answer as it should.
    fn unknown(failure: &Failure) -> Self {
        Self {
            verdict: Verdict::of(&[judge::no_answer(failure.message())]),
            ..Self::of(None, None)
        }
    }

    /// With all findings known so far.
    fn judged(mut self) -> Self {
        let service = self.service.as_ref();
        let Some(status) = &mut self.status else {
            let idle = service.map(|service| IdleService {
                installed: service.installed,
                last_failure: service.last_failure.as_deref(),
            });
            self.verdict = Verdict::of(&[judge::not_running(idle)]);
            return self;
        };
        let runs_as = service.and_then(|service| service.pid);
        let is_service = runs_as == Some(status.daemon.pid);
        let of_file = self.pending.as_ref();
        let of_file = of_file.map(|pending| judge::of_file(pending, is_service));
        let findings = judge::with(status, of_file);
        self.verdict = Verdict::of(&findings);
        status.findings = Some(findings);
        self
    }

    /// What hermesctl ends with.
    fn exit(&self) -> Exit {
        match &self.status {
            Some(status) => Exit::after(&judge::findings(status), &status.providers),
            None => Exit::NotRunning,
        }
    }
}
