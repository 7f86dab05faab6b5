//! The running daemon's own findings among the doctor's: the checks that look closer say more about
//! them, and none is lost.

use super::facts::DoctorFacts;
use super::finding::sentence;
use super::{DoctorFinding, FindingGroup, FindingVerdict};
use crate::control::judge;
use crate::control::protocol::{Finding, FindingCode};

/// The name of the finding about the machine's clock.
pub(super) const CLOCK: &str = "clock";
/// Of the file that the daemon has not applied.
pub(super) const IN_FORCE: &str = "in force";
/// Of client keys where they are needed.
pub(super) const CLIENT_KEYS: &str = "client keys";

/// What the running daemon finds; nothing without one.
pub(super) fn found(facts: &DoctorFacts) -> Vec<Finding> {
    let answers = facts.running();
    answers.map_or_else(Vec::new, |answers| {
        judge::findings(&answers.status).into_owned()
    })
}

/// One of them, in the doctor's form, without the advice to run the doctor.
pub(super) fn finding(
    found: &Finding,
    group: FindingGroup,
    name: impl Into<String>,
) -> DoctorFinding {
    let verdict = FindingVerdict::of(&found.severity);
    let command = found.command.as_ref();
    let command = command.filter(|command| *command != judge::DIAGNOSIS);
    let finding = group.finds(name, verdict, sentence(&found.text));
    let finding = finding.code(found.code.clone());
    match command {
        Some(command) => finding.run(command.as_str()),
        None => finding,
    }
}

/// Adds the findings that no check has covered.
pub(super) fn complete(facts: &DoctorFacts, findings: &mut Vec<DoctorFinding>) {
    for found in found(facts) {
        let (group, name) = place(&found);
        let is_told = findings.iter().any(|one| {
            let same_code = one.code.as_ref() == Some(&found.code);
            // The doctor has just asked for the time itself.
            let same_look = one.verdict != FindingVerdict::Skip && name == CLOCK;
            (same_code || same_look) && (one.group, one.name.as_str()) == (group, name.as_str())
        });
        if !is_told {
            findings.push(finding(&found, group, name));
        }
    }
}

/// Where it belongs.
fn place(found: &Finding) -> (FindingGroup, String) {
    let provider = found.provider.as_deref().unwrap_or_default();
    let listener = found.listener.as_deref().unwrap_or("addresses");
    match &found.code {
        FindingCode::ListensNowhere | FindingCode::AddressMissing | FindingCode::SocketMissing => {
            (FindingGroup::Listeners, listener.to_owned())
        }
        FindingCode::NoClientKeys if !provider.is_empty() => (
            FindingGroup::Listeners,
            format!("{CLIENT_KEYS} of {provider}"),
        ),
        FindingCode::NoClientKeys => (FindingGroup::Listeners, CLIENT_KEYS.to_owned()),
        FindingCode::ClientKeysUnreadable => {
            (FindingGroup::Listeners, "client key file".to_owned())
        }
        FindingCode::RequestsRefused => (FindingGroup::Listeners, "refused requests".to_owned()),
        FindingCode::LoginNeeded
        | FindingCode::StoreUnreadable
        | FindingCode::StoreUnusable
        | FindingCode::Unavailable
        | FindingCode::Starting
        | FindingCode::LoginTrouble => (FindingGroup::Login, provider.to_owned()),
        FindingCode::LoginCoolingDown | FindingCode::LoginsCoolingDown => {
            (FindingGroup::Login, format!("cooldowns of {provider}"))
        }
        FindingCode::QuotaSpent => (FindingGroup::Login, format!("the quota of {provider}")),
        FindingCode::LoginEnded => (FindingGroup::Login, format!("ended logins of {provider}")),
        FindingCode::Unsaved => (FindingGroup::Login, format!("saving {provider}")),
        FindingCode::LoginEndsSoon => (FindingGroup::Login, format!("end of {provider}")),
        FindingCode::LoginMayBeSpent => {
            (FindingGroup::Login, format!("last renewal of {provider}"))
        }
        FindingCode::RequestsFail => (FindingGroup::Network, format!("requests of {provider}")),
        FindingCode::UsageUnsaved => (FindingGroup::Program, "saving usage".to_owned()),
        FindingCode::ClockWrong => (FindingGroup::Network, CLOCK.to_owned()),
        FindingCode::ConfigBroken
        | FindingCode::ConfigMissing
        | FindingCode::RestartNeeded
        | FindingCode::ConfigChanged => (FindingGroup::Configuration, IN_FORCE.to_owned()),
        FindingCode::NotRunning | FindingCode::NoAnswer => {
            (FindingGroup::Program, super::finding::RUNNING.to_owned())
        }
        FindingCode::Other(code) => (FindingGroup::Program, code.clone()),
    }
}

/// The name of a provider's or a listener's finding.
pub(super) fn name(found: &Finding) -> String {
    place(found).1
}
