//! What starts the daemon, and its surroundings: the service, lingering, the journal, and the
//! folder of the control socket.

use std::sync::Arc;

use serde_json::Value;

use super::blocking_check::on_a_thread;
use super::facts::{DoctorFacts, ObservedDaemon};
use super::finding::sentence;
use super::system::{self, quoted};
use super::{DoctorFinding, FindingGroup, FindingVerdict, QUESTION};
use crate::service::{Manager, ServiceError, ServiceState};
use crate::tools::ProgramCall;

const GROUP: FindingGroup = FindingGroup::Service;
/// A service that was restarted more often has a cause worth finding.
const USUAL_RESTARTS: u32 = 3;

pub(super) async fn examine(facts: Arc<DoctorFacts>) -> Vec<DoctorFinding> {
    let mut findings = Vec::new();
    match &facts.service {
        None => {
            let text = "The service manager did not answer in time.";
            let finding = GROUP.finds("service", FindingVerdict::Warn, text);
            findings.push(finding.run("hermesctl service status"));
        }
        Some(Err(error)) => findings.push(no_manager(error)),
        Some(Ok(state)) => {
            findings.extend(of_state(state, &facts));
            if state.manager == Manager::Systemd {
                findings.extend(restarts(state).await);
                findings.extend(journal().await);
            }
        }
    }
    findings.extend(on_a_thread(facts, session).await);
    findings
}

fn no_manager(error: &ServiceError) -> DoctorFinding {
    let verdict = match error {
        ServiceError::NoManager { .. } | ServiceError::Unsupported { .. } => FindingVerdict::Skip,
        ServiceError::Unreachable { .. }
        | ServiceError::NoHome
        | ServiceError::NotInstalled
        | ServiceError::Tool(_)
        | ServiceError::Refused { .. }
        | ServiceError::File { .. } => FindingVerdict::Warn,
    };
    let text = sentence(&error.to_string());
    let finding = GROUP.finds("service", verdict, text);
    match error.hint() {
        Some(hint) => finding.advice(hint),
        None => finding,
    }
}

fn of_state(state: &ServiceState, facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let mut findings = vec![installed(state, facts)];
    if state.file.is_some() {
        findings.extend(linger(state));
    }
    findings
}

fn installed(state: &ServiceState, facts: &DoctorFacts) -> DoctorFinding {
    let name = "service";
    let found = |verdict, text: String| GROUP.finds(name, verdict, text);
    let answering = facts.running().map(|answers| answers.hello.pid);
    let Some(file) = &state.file else {
        let text = "It is not installed: hermes-proxyd does not start automatically.";
        return found(FindingVerdict::Info, text.to_owned()).run("hermesctl service install");
    };
    let file = file.display();
    let Some(running) = state.running else {
        let why = state.last_failure.as_ref();
        let why = why.map(|why| format!(": {}", why.trim_end_matches('.')));
        let why = why.unwrap_or_default();
        return match answering {
            Some(pid) => found(
                FindingVerdict::Warn,
                format!("It is installed ({file}), but process {pid} runs outside it."),
            )
            .fixes(facts.restart()),
            None if state.socket == Some(true) => found(
                FindingVerdict::Ok,
                format!("It is installed ({file}) and starts with the first request."),
            ),
            None => found(
                FindingVerdict::Warn,
                format!("It is installed ({file}), but not running{why}."),
            )
            .run("hermesctl service start"),
        };
    };
    if answering.is_some_and(|pid| pid != running.pid) {
        let text = format!(
            "It runs as process {}, but another hermes-proxyd answers hermesctl.",
            running.pid
        );
        return found(FindingVerdict::Warn, text).run("hermesctl service restart");
    }
    if !state.enabled {
        let text = format!("It is running ({file}), but does not start automatically.");
        return found(FindingVerdict::Warn, text).run("hermesctl service install");
    }
    found(
        FindingVerdict::Ok,
        format!("It is installed ({file}), enabled and running."),
    )
}

/// Whether the service outlives the last session, and starts with the machine.
fn linger(state: &ServiceState) -> Option<DoctorFinding> {
    if state.linger? {
        let text = "The service starts at boot and keeps running after logout.";
        return Some(GROUP.finds("linger", FindingVerdict::Ok, text));
    }
    let text = "The service ends with your last session and does not start at boot.";
    let finding = GROUP.finds("linger", FindingVerdict::Warn, text);
    Some(finding.run("loginctl enable-linger"))
}

async fn restarts(state: &ServiceState) -> Option<DoctorFinding> {
    state.running?;
    let arguments = [
        "--user",
        "show",
        "--property=NRestarts",
        "--value",
        "hermes-proxyd.service",
    ];
    let call = ProgramCall::new("systemctl", arguments).within(QUESTION);
    let said = call.success().await?;
    let count: u32 = said.trim().parse().ok()?;
    if count == 0 {
        return None;
    }
    let times = if count == 1 { "once" } else { "times" };
    let number = if count == 1 {
        String::new()
    } else {
        format!("{count} ")
    };
    let text = format!("The service manager has restarted it {number}{times}.");
    if count <= USUAL_RESTARTS {
        return Some(GROUP.finds("restarts", FindingVerdict::Info, text));
    }
    let finding = GROUP.finds("restarts", FindingVerdict::Warn, text);
    Some(finding.run("journalctl --user -u hermes-proxyd -p warning"))
}

async fn journal() -> Option<DoctorFinding> {
    let arguments = [
        "--user",
        "--unit=hermes-proxyd",
        "--priority=err",
        "--since=-1d",
        "--lines=3",
        "--output=json",
        "--no-pager",
        "--quiet",
    ];
    let call = ProgramCall::new("journalctl", arguments).within(QUESTION);
    let name = "journal";
    let Some(said) = call.success().await else {
        let text = "The journal of your services can't be read here.";
        let finding = GROUP.finds(name, FindingVerdict::Skip, text);
        return Some(finding.run("journalctl --user -u hermes-proxyd"));
    };
    let errors: Vec<_> = said.lines().filter_map(error).collect();
    if errors.is_empty() {
        let text = "No errors in the last day.";
        return Some(GROUP.finds(name, FindingVerdict::Ok, text));
    }
    let text = format!("The last errors: {}", errors.join("; "));
    let finding = GROUP.finds(name, FindingVerdict::Warn, text);
    Some(finding.run("journalctl --user -u hermes-proxyd -p err"))
}

/// One line of the journal, with the number of its kind where it has one.
fn error(line: &str) -> Option<String> {
    let entry: Value = serde_json::from_str(line).ok()?;
    let text = entry.get("MESSAGE")?.as_str()?;
    let id = entry.get("MESSAGE_ID").and_then(Value::as_str);
    Some(match id {
        Some(id) => format!("{text} (MESSAGE_ID={id})"),
        None => text.to_owned(),
    })
}

/// The folder of the control socket.
fn session(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let name = "runtime folder";
    let Some(folder) = facts.folder.clone() else {
        let text = "The folder of the control socket is unknown.";
        let finding = GROUP.finds(name, FindingVerdict::Fail, text);
        return vec![finding.advice("Set HOME, or XDG_RUNTIME_DIR.")];
    };
    let shown = folder.display();
    let Some(attributes) = system::attributes(&folder) else {
        let base = folder.parent().filter(|base| !base.is_dir());
        let Some(base) = base else {
            let text = format!("hermes-proxyd creates {shown} when it starts.");
            return vec![GROUP.finds(name, FindingVerdict::Ok, text)];
        };
        let text = format!("{} does not exist.", base.display());
        let finding = GROUP.finds(name, FindingVerdict::Warn, text);
        return vec![finding.advice(
            "Log out and in, or set XDG_RUNTIME_DIR to the folder /run/user/ID of your user.",
        )];
    };
    let ours = system::our_user();
    if attributes.user != ours && ours != 0 {
        let text = format!("{shown} belongs to another user (id {}).", attributes.user);
        let finding = GROUP.finds(name, FindingVerdict::Fail, text).stops_start();
        return vec![finding.run(format!("ls -ld {}", quoted(&folder)))];
    }
    if system::is_open(attributes.mode) {
        let text = format!(
            "Other users can enter {shown} (mode {:04o}).",
            attributes.mode
        );
        let finding = GROUP.finds(name, FindingVerdict::Warn, text);
        return vec![finding.run(format!("chmod 700 {}", quoted(&folder)))];
    }
    let socket = match &facts.daemon {
        ObservedDaemon::Running(_) => "the control socket in it answers",
        ObservedDaemon::NotRunning | ObservedDaemon::Elsewhere(_) | ObservedDaemon::Nowhere => {
            "its control socket has no listener"
        }
        ObservedDaemon::Mute(_) => "the control socket in it does not answer as it should",
    };
    let text = format!("Only you can use {shown}, and {socket}.");
    vec![GROUP.finds(name, FindingVerdict::Ok, text)]
}
