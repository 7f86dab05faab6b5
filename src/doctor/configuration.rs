//! The configuration: its mistakes, whether the daemon has applied it and could start with it, and
//! who can read the private files that it names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blocking_check::on_a_thread;
use super::facts::DoctorFacts;
use super::finding::sentence;
use super::pending::{is_same_file, pending};
use super::{DoctorFinding, FindingGroup, FindingVerdict, Fix, QUESTION, judged, system};
use crate::config::{Config, ConfigError, KeySource, Loaded};
use crate::control::judge::ConfigDrift;
use crate::control::protocol::FindingCode;
use crate::tools::ProgramCall;

const GROUP: FindingGroup = FindingGroup::Configuration;

/// The name of what the daemon's own program says.
const START: &str = "start";

pub(super) async fn examine(
    facts: Arc<DoctorFacts>,
    program: Option<PathBuf>,
) -> Vec<DoctorFinding> {
    let start = start(facts.clone(), program);
    let files = on_a_thread(facts, |facts| match &facts.loaded {
        Ok(loaded) => {
            let mut findings = vec![valid(loaded, facts)];
            findings.extend(
                loaded
                    .file
                    .as_deref()
                    .and_then(|file| mode(file, &loaded.config)),
            );
            findings.extend(in_force(facts));
            findings.extend(key_files(&loaded.config));
            findings
        }
        Err(error) => mistakes(error, facts),
    });
    let (mut findings, start) = tokio::join!(files, start);
    findings.extend(start);
    findings
}

/// Asks hermes-proxyd whether it would start with this file: it builds all that the file names, and
/// serves nothing.
async fn start(facts: Arc<DoctorFacts>, program: Option<PathBuf>) -> Option<DoctorFinding> {
    let loaded = facts.loaded.as_ref().ok()?;
    let mut arguments = vec![OsStr::new("--check")];
    if let Some(file) = &loaded.file {
        arguments.extend([OsStr::new("--config"), file.as_os_str()]);
    }
    let answer = ProgramCall::new(program?, arguments)
        .within(QUESTION)
        .run()
        .await;
    let answer = answer.ok().filter(|answer| !answer.ok)?;
    let said = answer.complained.trim();
    let said = said.strip_prefix("hermes-proxyd: ").unwrap_or(said);
    let text = format!("hermes-proxyd can't start with this: {}", sentence(said));
    let finding = GROUP.finds(START, FindingVerdict::Fail, text).stops_start();
    Some(finding.run(check(loaded.file.as_deref())))
}

/// A check that knows more of what stops the start makes the program's own words superfluous.
pub(super) fn leave_out_what_is_told(findings: &mut Vec<DoctorFinding>) {
    let is_start = |one: &DoctorFinding| one.group == GROUP && one.name == START;
    if findings.iter().any(|one| one.stops_start && !is_start(one)) {
        findings.retain(|one| !is_start(one));
    }
}

fn valid(loaded: &Loaded, facts: &DoctorFacts) -> DoctorFinding {
    if let Err(error) = loaded.config.clone().without_own_listeners() {
        return GROUP
            .finds("file", FindingVerdict::Fail, sentence(&error.to_string()))
            .fixes(correct(loaded.file.as_deref(), 0))
            .stops_start();
    }
    let text = match (&loaded.file, &facts.file) {
        (Some(file), _) => format!("{} is valid.", file.display()),
        (None, Some(file)) => format!(
            "There is no {}; every setting has its default.",
            file.display()
        ),
        (None, None) => "There is no file; every setting has its default.".to_owned(),
    };
    GROUP.finds("file", FindingVerdict::Ok, text)
}

/// One finding for each mistake; the name of a second one has its line.
fn mistakes(error: &ConfigError, facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let file = error.file.as_path();
    let problems = error.problems.iter().enumerate();
    problems
        .map(|(number, problem)| {
            let place = match problem.line {
                0 => error.file.display().to_string(),
                line => format!("{}, line {line}", error.file.display()),
            };
            let name = match number {
                0 => "file".to_owned(),
                more => format!("file ({})", more + 1),
            };
            let mut text = format!("{place}: {problem}");
            if !text.ends_with(['.', ')']) {
                text.push('.');
            }
            let runs = facts.running().is_some();
            if runs {
                text.push_str(" The running hermes-proxyd keeps the settings it has loaded.");
            }
            let access = Some(give_access(file)).filter(|_| problem.line == 0);
            let mut finding = GROUP.finds(name, FindingVerdict::Fail, text).stops_start();
            finding.code = runs.then_some(FindingCode::ConfigBroken);
            match access.flatten() {
                Some(command) => finding.run(command).run(check(Some(file))),
                None if !file.exists() => {
                    let begin = format!("hermesctl config init {}", system::quoted(file));
                    finding
                        .advice("Name another file with --config, or create this one:")
                        .run(begin)
                }
                None => finding.fixes(correct(Some(file), problem.line)),
            }
        })
        .collect()
}

/// What to do about a mistake on this line, or anywhere in the file for 0.
pub(super) fn correct(file: Option<&Path>, line: usize) -> [Fix; 2] {
    let place = match (file, line) {
        (Some(file), 0) => file.display().to_string(),
        (Some(file), line) => format!("line {line} of {}", file.display()),
        (None, _) => "the configuration".to_owned(),
    };
    [
        Fix::Advice(format!("Correct {place}, then check it:")),
        Fix::Run(check(file)),
    ]
}

fn check(file: Option<&Path>) -> String {
    let file = file.map(|file| format!(" {}", system::quoted(file)));
    format!("hermesctl config check{}", file.unwrap_or_default())
}

/// The command that makes a file readable for us and writable for no other user, if that is the
/// problem.
fn give_access(file: &Path) -> Option<String> {
    let attributes = system::attributes(file)?;
    let (ours, shown) = (system::our_user(), system::quoted(file));
    if attributes.user != ours && attributes.user != 0 {
        Some(system::give(file))
    } else if attributes.mode & 0o002 != 0 {
        let sudo = if attributes.user == ours { "" } else { "sudo " };
        Some(format!("{sudo}chmod o-w {shown}"))
    } else if attributes.mode & 0o400 == 0 && attributes.user == ours {
        Some(format!("chmod u+r {shown}"))
    } else {
        None
    }
}

/// A hook's command line and web address may hold a token.
fn mode(file: &Path, config: &Config) -> Option<DoctorFinding> {
    let mode = system::attributes(file)?.mode;
    let shown = file.display();
    if mode & 0o020 != 0 {
        let text =
            format!("Its group can write {shown} (mode {mode:04o}) and could redirect your login.");
        let finding = GROUP.finds("file mode", FindingVerdict::Warn, text);
        return Some(finding.run(format!("chmod go-w {}", system::quoted(file))));
    }
    if config.hooks.is_empty() || !system::is_open(mode) {
        return None;
    }
    let text = format!(
        "Other users can read {shown} (mode {mode:04o}), and its hooks may hold private addresses \
         or arguments."
    );
    let finding = GROUP.finds("file mode", FindingVerdict::Warn, text);
    Some(finding.run(format!("chmod 600 {}", system::quoted(file))))
}

/// What the running daemon has not applied of this file.
fn in_force(facts: &DoctorFacts) -> Option<DoctorFinding> {
    let answers = facts.running()?;
    let theirs = answers.status.daemon.config_file.as_ref();
    let ours = facts.loaded.as_ref().ok()?.file.as_ref();
    let warn = |text: String| GROUP.finds(judged::IN_FORCE, FindingVerdict::Warn, text);
    if let (Some(theirs), Some(ours)) = (theirs, ours)
        && !is_same_file(theirs, ours)
    {
        let text = format!("The running hermes-proxyd reads {}.", theirs.display());
        return Some(warn(text).run("hermesctl proxy reload"));
    }
    match pending(&answers.status, &facts.environment)? {
        // The file's own finding reports it.
        ConfigDrift::Broken => None,
        ConfigDrift::Gone => {
            let text = "The file is gone: the running hermes-proxyd uses the settings it has \
                        loaded, and the next start will use the defaults.";
            let finding = warn(text.to_owned()).code(FindingCode::ConfigMissing);
            let file = theirs.map_or_else(String::new, |file| format!(" {}", file.display()));
            Some(finding.advice(format!("Restore{file} before the next start.")))
        }
        ConfigDrift::Restart(keys) => {
            let text = format!(
                "The running hermes-proxyd has not applied {}, which needs a restart.",
                keys.join(", ")
            );
            let finding = warn(text).code(FindingCode::RestartNeeded);
            Some(finding.fixes(facts.restart_as_it_is()))
        }
        ConfigDrift::Reload => {
            let text = match theirs {
                Some(_) => "The file was changed after the running hermes-proxyd loaded it.",
                None => "The running hermes-proxyd has not loaded this file yet.",
            };
            let finding = warn(text.to_owned()).code(FindingCode::ConfigChanged);
            Some(finding.run("hermesctl proxy reload"))
        }
    }
}

fn key_files(config: &Config) -> Vec<DoctorFinding> {
    let providers = config.providers.iter();
    providers
        .filter_map(|(name, provider)| match provider.kind.api_key()? {
            KeySource::File(file) => Some(private(&format!("key of {name}"), file)),
            KeySource::Env(_) | KeySource::Credential(_) | KeySource::Unneeded => None,
        })
        .collect()
}

/// A file that only its user may read.
fn private(name: &str, file: &Path) -> DoctorFinding {
    let shown = file.display();
    let found = |verdict, text: String| GROUP.finds(name, verdict, text);
    if let Err(error) = system::open(file) {
        return found(
            FindingVerdict::Fail,
            format!("{shown} can't be read: {error}."),
        )
        .fix(Fix::Advice(format!("Put the API key into {shown}.")));
    }
    match system::attributes(file) {
        Some(attributes) if system::is_open(attributes.mode) => {
            let text = format!(
                "Other users can read {shown} (mode {:04o}).",
                attributes.mode
            );
            found(FindingVerdict::Warn, text).run(format!("chmod 600 {}", system::quoted(file)))
        }
        Some(_) | None => found(
            FindingVerdict::Ok,
            format!("{shown} exists, and only you can read it."),
        ),
    }
}
