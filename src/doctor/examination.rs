//! All checks, side by side, each within a limit.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::facts::{self, DoctorFacts};
use super::{DoctorFinding, DoctorReport, FindingGroup, FindingVerdict, QUESTION};
use super::{
    configuration, containers, judged, login, machine, neighbours, network, ports, program,
    service, store,
};
use crate::paths::Environment;

/// The limit of a group: what hangs here would hang the daemon too, and is reported.
const LIMIT: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// The configuration file, if not the one of the running daemon or the default one.
    pub config: Option<PathBuf>,
    /// Only the ways from containers, in detail.
    pub containers_only: bool,
    /// The hermes-proxyd that is asked whether it would start; `None` skips that.
    pub program: Option<PathBuf>,
}

type Check = Pin<Box<dyn Future<Output = Vec<DoctorFinding>> + Send>>;

/// The lock of the logins that another process holds now, and which process; `None` if it is free
/// or the system does not tell.
pub async fn lock_in_use(config: Option<&Path>) -> Option<String> {
    let config = config.map(Path::to_path_buf);
    let looking = tokio::task::spawn_blocking(move || {
        let files = facts::files(config.as_deref(), &Environment::from_process())?;
        store::in_use(&files)
    });
    timeout(QUESTION, looking).await.ok()?.ok()?
}

/// Looks at everything; takes less than 15 s even when nothing answers.
pub async fn examine(questions: Questions) -> DoctorReport {
    let facts = Arc::new(DoctorFacts::gather(questions.config.as_deref()).await);
    let default = facts.config.default_provider.to_string();
    let (group, detail) = (
        FindingGroup::Containers,
        containers::examine(facts.clone(), true),
    );
    if questions.containers_only {
        return DoctorReport::new(within(group, Box::pin(detail)).await, &default);
    }
    drop(detail);
    let checks: [(FindingGroup, Check); 9] = [
        (
            FindingGroup::Configuration,
            Box::pin(configuration::examine(facts.clone(), questions.program)),
        ),
        (FindingGroup::Login, Box::pin(login::examine(facts.clone()))),
        (FindingGroup::Store, Box::pin(store::examine(facts.clone()))),
        (
            FindingGroup::Network,
            Box::pin(network::examine(facts.clone())),
        ),
        (
            FindingGroup::Listeners,
            Box::pin(ports::examine(facts.clone())),
        ),
        (
            FindingGroup::Service,
            Box::pin(service::examine(facts.clone())),
        ),
        (
            FindingGroup::Neighbours,
            Box::pin(neighbours::examine(facts.clone())),
        ),
        (
            FindingGroup::Machine,
            Box::pin(machine::examine(facts.clone())),
        ),
        (
            FindingGroup::Containers,
            Box::pin(containers::examine(facts.clone(), false)),
        ),
    ];
    let checks = checks.map(|(group, check)| within(group, check));
    let first = facts.clone();
    let first: Check = Box::pin(async move { program::examine(&first) });
    let mut findings = within(FindingGroup::Program, first).await;
    if facts.is_incomplete {
        findings.push(failed(FindingGroup::Configuration));
    }
    findings.extend(join_all(checks).await.concat());
    configuration::leave_out_what_is_told(&mut findings);
    judged::complete(&facts, &mut findings);
    program::wait_for_mending(&facts, &mut findings);
    DoctorReport::new(findings, &default)
}

/// The findings of a group of checks within the limit. A group that fails still gets a finding.
async fn within(group: FindingGroup, check: Check) -> Vec<DoctorFinding> {
    let check = AssertUnwindSafe(check).catch_unwind();
    let check = timeout(LIMIT, check).await;
    let check = check.map(|found| found.unwrap_or_else(|_| vec![failed(group)]));
    check.unwrap_or_else(|_| {
        let text = format!(
            "These checks did not end within {} s; a file system or a service hangs.",
            LIMIT.as_secs()
        );
        vec![group.finds("time", FindingVerdict::Fail, text).advice(
            "Check whether the home folder is on a network file system that is down: `df ~` must \
             answer.",
        )]
    })
}

/// Checks that panicked: their findings are unknown.
fn failed(group: FindingGroup) -> DoctorFinding {
    let text =
        "A defect in hermesctl made these checks fail, so the state of this group is unknown.";
    group.finds("defect", FindingVerdict::Fail, text).advice(
        "Please report it, with what hermesctl wrote to standard error: the file and the line.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::DoctorExit;
    use crate::doctor::blocking_check::on_a_thread;

    #[tokio::test]
    async fn checks_that_die_are_a_failure_on_a_thread_and_off_it() {
        let facts = Arc::new(DoctorFacts::gather(None).await);
        let on_thread = on_a_thread(facts, |_| panic!("a defect, on purpose"));
        let checks: [Check; 2] = [
            Box::pin(on_thread),
            Box::pin(async { panic!("a defect, on purpose") }),
        ];
        for check in checks {
            let findings = within(FindingGroup::Login, check).await;
            let told: Vec<_> = findings
                .iter()
                .map(|finding| (finding.group, finding.verdict))
                .collect();
            assert_eq!(told, [(FindingGroup::Login, FindingVerdict::Fail)]);
            let report = DoctorReport::new(findings, "nous");
            assert_eq!(
                (report.verdict, report.cause),
                (FindingVerdict::Fail, DoctorExit::Other)
            );
        }
    }
}
