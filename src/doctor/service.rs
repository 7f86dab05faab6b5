//! What starts the daemon and where it lives: the session's runtime folder, lingering, the journal.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::command::Tool;
use super::facts::{Daemon, Facts};
use super::system::{self, quoted};
use super::{Finding, Group, Verdict, on_a_thread};

const GROUP: Group = Group::Service;
/// Where systemd keeps who lingers.
const LINGER: &str = "/var/lib/systemd/linger";
/// There while systemd is the first process (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// How many of the last errors are shown.
const ERRORS: usize = 3;

pub(super) async fn examine(facts: Arc<Facts>) -> Vec<Finding> {
    let mut findings = on_a_thread(facts.clone(), session).await;
    if !Path::new(BOOTED).is_dir() {
        return findings;
    }
    findings.extend(linger());
    findings.extend(journal().await);
    findings
}

/// The folder of the control socket.
fn session(facts: &Facts) -> Vec<Finding> {
    let name = "runtime folder";
    let Some(folder) = facts.environment.runtime_dir() else {
        let text = "There is none for the control socket.";
        let finding = GROUP.finds(name, Verdict::Fail, text);
        return vec![finding.advice("Set HOME, or XDG_RUNTIME_DIR.")];
    };
    let shown = folder.display();
    let Some(attributes) = system::attributes(&folder) else {
        let base = folder.parent().filter(|base| !base.is_dir());
        return match base {
            Some(base) => {
                let text = format!("{} is not there.", base.display());
                let finding = GROUP.finds(name, Verdict::Warn, text);
                vec![finding.advice(
                    "Log in anew, or set XDG_RUNTIME_DIR to the folder /run/user/ID of your user.",
                )]
            }
            None => {
                let text = format!("hermes-proxyd makes {shown} at its start.");
                vec![GROUP.finds(name, Verdict::Ok, text)]
            }
        };
    };
    let ours = system::our_user();
    if attributes.user != ours && ours != 0 {
        let text = format!("{shown} belongs to another user (id {}).", attributes.user);
        let finding = GROUP.finds(name, Verdict::Fail, text);
        return vec![finding.run(format!("ls -ld {}", quoted(&folder)))];
    }
    if attributes.mode & 0o077 != 0 {
        let text = format!("Others can enter {shown} (mode {:04o}).", attributes.mode);
        let finding = GROUP.finds(name, Verdict::Warn, text);
        return vec![finding.run(format!("chmod 700 {}", quoted(&folder)))];
    }
    let socket = match &facts.daemon {
        Daemon::Running(_) => "the control socket in it answers",
        Daemon::NotRunning | Daemon::Nowhere => "nobody listens in it",
        Daemon::Mute(_) => "the control socket in it does not answer as it should",
    };
    let text = format!("{shown} is yours alone, and {socket}.");
    vec![GROUP.finds(name, Verdict::Ok, text)]
}

/// Whether the user's services outlive the last session, and start with the machine.
fn linger() -> Option<Finding> {
    let name = system::our_name()?;
    if Path::new(LINGER).join(&name).exists() {
        let text = "Your services run without a session, and start with the machine.";
        return Some(GROUP.finds("linger", Verdict::Ok, text));
    }
    let text = "A service of yours ends with your last session, and does not start with the \
                machine.";
    let finding = GROUP.finds("linger", Verdict::Warn, text);
    Some(finding.run("loginctl enable-linger"))
}

async fn journal() -> Option<Finding> {
    let said = Tool::new("journalctl")
        .args([
            "--user",
            "--unit=hermes-proxyd",
            "--priority=err",
            "--since=-1d",
            "--lines=3",
            "--output=json",
            "--no-pager",
            "--quiet",
        ])
        .output()
        .await;
    let name = "journal";
    let Some(said) = said else {
        let text = "The journal of your services can't be read here.";
        let finding = GROUP.finds(name, Verdict::Skip, text);
        return Some(finding.run("journalctl --user -u hermes-proxyd"));
    };
    let errors: Vec<_> = said.lines().filter_map(error).take(ERRORS).collect();
    if errors.is_empty() {
        let text = "No errors in the last day.";
        return Some(GROUP.finds(name, Verdict::Ok, text));
    }
    let text = format!("The last errors: {}", errors.join("; "));
    let finding = GROUP.finds(name, Verdict::Warn, text);
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
