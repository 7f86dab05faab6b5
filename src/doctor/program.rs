//! The daemon and hermesctl: whether it runs, and whether both are of one version.

use super::facts::{Answers, Daemon, Facts};
use super::finding::RUNNING;
use super::{Finding, Group, Verdict};
use crate::control::client::ClientError;

const GROUP: Group = Group::Program;
const OURS: &str = env!("CARGO_PKG_VERSION");

pub(super) fn examine(facts: &Facts) -> Vec<Finding> {
    match &facts.daemon {
        Daemon::Running(answers) => {
            vec![running(answers), version(&answers.hello.version, facts)]
        }
        Daemon::NotRunning => vec![
            GROUP
                .finds(RUNNING, Verdict::Fail, "It is not running.")
                .fixes(facts.restart()),
        ],
        Daemon::Nowhere => vec![
            GROUP
                .finds(
                    RUNNING,
                    Verdict::Fail,
                    "There is no folder to look for its control socket in.",
                )
                .advice("Set HOME, or XDG_RUNTIME_DIR."),
        ],
        Daemon::Mute(error) => vec![mute(error, facts)],
    }
}

fn running(answers: &Answers) -> Finding {
    let text = format!("It runs as process {}.", answers.hello.pid);
    GROUP.finds(RUNNING, Verdict::Ok, text)
}

fn version(daemon: &str, facts: &Facts) -> Finding {
    if daemon == OURS {
        let text = format!("hermesctl and hermes-proxyd are both {OURS}.");
        return GROUP.finds("version", Verdict::Ok, text);
    }
    let text = format!("hermesctl is {OURS}, and the running hermes-proxyd is {daemon}.");
    let finding = GROUP.finds("version", Verdict::Warn, text);
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
        "{ours} is the older one: update it, or use the hermesctl that came with the running \
         hermes-proxyd."
    ))
}

/// Of `1.2.3-rc.4`, the three.
fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let numbers = release.split('.');
    numbers.map(|part| part.parse().unwrap_or(0)).collect()
}

fn mute(error: &ClientError, facts: &Facts) -> Finding {
    let failed = |text: String| GROUP.finds(RUNNING, Verdict::Fail, text);
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
                Verdict::Fail,
                format!("hermesctl and the running hermes-proxyd don't understand each other: {message}."),
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
        | ClientError::Daemon(_)
        | ClientError::Broken(_)
        | ClientError::Confused(_) => failed(format!("Its control socket does not work: {error}."))
            .fixes(facts.restart()),
    }
}
