//! The daemon and hermesctl: whether the daemon runs, and whether their versions match.

use super::facts::{DaemonAnswers, DoctorFacts, ObservedDaemon};
use super::finding::RUNNING;
use super::system;
use super::{DoctorFinding, FindingGroup, FindingVerdict, Fix};
use crate::control::client::ClientError;
use crate::control::protocol::FindingCode;

const GROUP: FindingGroup = FindingGroup::Program;
const OURS: &str = env!("CARGO_PKG_VERSION");

pub(super) fn examine(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    match &facts.daemon {
        ObservedDaemon::Running(answers) => {
            vec![running(answers), version(&answers.hello.version, facts)]
        }
        ObservedDaemon::NotRunning => vec![
            GROUP
                .finds(RUNNING, FindingVerdict::Fail, "It is not running.")
                .code(FindingCode::NotRunning)
                .fixes(facts.restart()),
        ],
        ObservedDaemon::Elsewhere(pid) => vec![elsewhere(*pid, facts)],
        ObservedDaemon::Nowhere => vec![
            GROUP
                .finds(
                    RUNNING,
                    FindingVerdict::Fail,
                    "The folder of its control socket is unknown.",
                )
                .advice("Set HOME, or XDG_RUNTIME_DIR."),
        ],
        ObservedDaemon::Mute(error) => vec![mute(error, facts).code(FindingCode::NoAnswer)],
    }
}

/// A daemon that does not run can't be started before its obstacles are out of the way: then they
/// are named in place of the start.
pub(super) fn wait_for_mending(facts: &DoctorFacts, findings: &mut [DoctorFinding]) {
    if !matches!(facts.daemon, ObservedDaemon::NotRunning) {
        return;
    }
    let obstacles = findings.iter().filter(|finding| finding.stops_start);
    let mut obstacles: Vec<_> = obstacles
        .map(|finding| format!("{}/{}", finding.group.as_str(), finding.name))
        .collect();
    obstacles.dedup();
    let down = findings
        .iter_mut()
        .find(|finding| finding.group == GROUP && finding.name == RUNNING);
    let (Some(down), false) = (down, obstacles.is_empty()) else {
        return;
    };
    down.text = format!(
        "It is not running; it can't start until the errors below are fixed: {}.",
        obstacles.join(", ")
    );
    let starts = facts.restart().into_iter().filter_map(|fix| match fix {
        Fix::Run(command) => Some(format!("`{command}`")),
        Fix::Configure(_) | Fix::Advice(_) => None,
    });
    let starts: Vec<_> = starts.collect();
    down.fix = vec![Fix::Advice(format!(
        "Then start it with {}.",
        starts.join(" and ")
    ))];
}

fn elsewhere(pid: u32, facts: &DoctorFacts) -> DoctorFinding {
    let place = facts.folder.as_ref();
    let place = place.map_or_else(String::new, |folder| format!(" in {}", folder.display()));
    let text = format!(
        "It runs as process {pid}, but its control socket is not{place}, so doctor can't ask it."
    );
    let finding = GROUP.finds(RUNNING, FindingVerdict::Fail, text);
    match system::user_of(pid) {
        Some(user) if user != system::our_user() => finding
            .advice("Run doctor as the user that runs it:")
            .run(format!("sudo -u '#{user}' hermesctl doctor")),
        _ => finding.advice(format!(
            "Set the same XDG_RUNTIME_DIR here as for that process. If its folder was removed, \
             `kill -HUP {pid}` makes the socket again. Don't start a second hermes-proxyd: both \
             would use the same logins."
        )),
    }
}

fn running(answers: &DaemonAnswers) -> DoctorFinding {
    let text = format!("It runs as process {}.", answers.hello.pid);
    GROUP.finds(RUNNING, FindingVerdict::Ok, text)
}

fn version(daemon: &str, facts: &DoctorFacts) -> DoctorFinding {
    if daemon == OURS {
        let text = format!("hermesctl and hermes-proxyd are both {OURS}.");
        return GROUP.finds("version", FindingVerdict::Ok, text);
    }
    let text = format!("hermesctl is {OURS}, and the running hermes-proxyd is {daemon}.");
    let finding = GROUP.finds("version", FindingVerdict::Warn, text);
    if numbers(daemon) <= numbers(OURS) {
        return finding.fixes(facts.restart());
    }
    // A restart would bring the same one back.
    let ours = std::env::current_exe().ok();
    let ours = ours.map_or_else(
        || "This hermesctl".to_owned(),
        |ours| ours.display().to_string(),
    );
    finding.advice(format!(
        "{ours} is older: update it, or use the hermesctl that came with the running \
         hermes-proxyd."
    ))
}

/// Of `1.2.3-rc.4`, the three.
fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let numbers = release.split('.');
    numbers.map(|part| part.parse().unwrap_or(0)).collect()
}

fn mute(error: &ClientError, facts: &DoctorFacts) -> DoctorFinding {
    let failed = |text: String| GROUP.finds(RUNNING, FindingVerdict::Fail, text);
    match error {
        ClientError::NoPermission { address, source } => failed(format!(
            "Its control socket {} can't be used: {source}.",
            address.display()
        ))
        .run(format!("ls -l {}", address.display()))
        .advice("Run hermesctl as the user that runs hermes-proxyd."),
        ClientError::ProtocolMismatch { message } => GROUP
            .finds(
                "version",
                FindingVerdict::Fail,
                format!("hermesctl and the running hermes-proxyd are not compatible: {message}."),
            )
            .fixes(facts.restart()),
        ClientError::Timeout { patience, pid } => {
            let who = pid.map_or_else(|| "It".to_owned(), |pid| format!("Process {pid}"));
            failed(format!(
                "{who} has the control socket, but did not answer within {} s.",
                patience.as_secs()
            ))
            .fixes(facts.restart())
        }
        ClientError::NotRunning { .. }
        | ClientError::Elsewhere { .. }
        | ClientError::Daemon(_)
        | ClientError::Broken(_)
        | ClientError::Confused(_) => {
            failed(format!("Its control socket does not work: {error}.")).fixes(facts.restart())
        }
    }
}
