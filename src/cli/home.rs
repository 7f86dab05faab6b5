//! The home screen, `hermesctl proxy status`: how everything is, at a glance.

mod verdict;
mod watch;

use chrono::Local;
use serde::Serialize;

use super::args::StatusFlags;
use super::output::{Exit, Failure, Output};
use super::service::{self, ServiceJson};
use super::{connect, render};
use crate::control::protocol::{ClientEntry, ProviderState, Status};
use crate::doctor::{self, Pending};
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
    output.answer(&home, |home, style| render::home::home(home, &Local, style))?;
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
    /// What this daemon told, if there is one.
    pub(super) fn of(status: Option<Status>, clients: Option<Vec<ClientEntry>>) -> Self {
        Self {
            running: status.is_some(),
            verdict: verdict::verdict(status.as_ref(), None),
            status,
            clients,
            service: None,
            pending: None,
        }
    }

    /// With what of its file the daemon has not applied.
    pub(super) fn with_pending(self, pending: Option<Pending>) -> Self {
        let told = pending.as_ref().map(|pending| {
            let pid = self.status.as_ref().map(|status| status.daemon.pid);
            verdict::of_file(pending, pid, self.service.as_ref())
        });
        // A refusal is over; what waits stays.
        let told = told.filter(|told| {
            told.level > self.verdict.level || self.verdict.code == verdict::REFUSED_CODE
        });
        Self {
            verdict: told.unwrap_or(self.verdict),
            pending,
            ..self
        }
    }

    /// With what the service's manager tells.
    pub(super) fn beside(self, service: Option<ServiceJson>) -> Self {
        let verdict = if self.running || self.verdict.code != "not_running" {
            self.verdict
        } else {
            verdict::verdict(None, service.as_ref())
        };
        Self {
            verdict,
            service,
            ..self
        }
    }

    /// A daemon that did not answer as it should.
    fn unknown(failure: &Failure) -> Self {
        Self {
            verdict: verdict::unknown(failure.message()),
            ..Self::of(None, None)
        }
    }

    /// What hermesctl ends with.
    fn exit(&self) -> Exit {
        let Some(status) = &self.status else {
            return Exit::NotRunning;
        };
        let mut defaults = status.providers.iter().filter(|one| one.default);
        match defaults.next() {
            Some(one) if one.state == ProviderState::LoginNeeded => return Exit::LoginNeeded,
            // It may serve all the same, for a while or from a copy.
            Some(one) if one.is_unreadable() || one.is_hindered() => return Exit::Failed,
            Some(_) | None => {}
        }
        match self.verdict.level {
            Level::Bad => Exit::Failed,
            Level::Good | Level::Attention => Exit::Ok,
        }
    }
}
