//! What the home screen shows.

use serde::Serialize;

use super::verdict::HomeVerdict;
use crate::cli::output::{CommandFailure, Exit};
use crate::cli::service::ServiceJson;
use crate::control::judge::{self, ConfigDrift, IdleService};
use crate::control::protocol::{ClientEntry, Status};

/// What the home screen shows; its JSON form is what `hermesctl proxy status --json` prints.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Home {
    /// Whether a daemon answered; without one there is only the verdict.
    pub(in crate::cli) running: bool,
    pub(in crate::cli) verdict: HomeVerdict,
    #[serde(flatten)]
    pub(in crate::cli) status: Option<Status>,
    /// The apps that have a key, where the daemon tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) clients: Option<Vec<ClientEntry>>,
    /// The service, where its manager tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) service: Option<ServiceJson>,
    /// What of its file the daemon has not applied.
    #[serde(skip)]
    pub(in crate::cli) pending: Option<ConfigDrift>,
}

impl Home {
    /// This daemon's answers, if there is one.
    pub(in crate::cli) fn of(status: Option<Status>, clients: Option<Vec<ClientEntry>>) -> Self {
        let home = Self {
            running: status.is_some(),
            verdict: HomeVerdict::of(&[]),
            status,
            clients,
            service: None,
            pending: None,
        };
        home.judged()
    }

    /// With what of its file the daemon has not applied.
    pub(in crate::cli) fn with_pending(self, pending: Option<ConfigDrift>) -> Self {
        Self { pending, ..self }.judged()
    }

    /// With what the service's manager tells.
    pub(in crate::cli) fn beside(self, service: Option<ServiceJson>) -> Self {
        Self { service, ..self }.judged()
    }

    /// A daemon that did not answer as it should.
    pub(super) fn unknown(failure: &CommandFailure) -> Self {
        Self {
            verdict: HomeVerdict::of(&[judge::no_answer(failure.message())]),
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
            self.verdict = HomeVerdict::of(&[judge::not_running(idle)]);
            return self;
        };
        let runs_as = service.and_then(|service| service.pid);
        let is_service = runs_as == Some(status.daemon.pid);
        let of_file = self.pending.as_ref();
        let of_file = of_file.map(|pending| judge::of_file(pending, is_service));
        let findings = judge::with(status, of_file);
        self.verdict = HomeVerdict::of(&findings);
        status.findings = Some(findings);
        self
    }

    /// What hermesctl ends with.
    pub(super) fn exit(&self) -> Exit {
        match &self.status {
            Some(status) => Exit::after(&judge::findings(status), &status.providers),
            None => Exit::NotRunning,
        }
    }
}
