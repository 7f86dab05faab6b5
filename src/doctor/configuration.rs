//! The configuration: its mistakes, and who can read the private files that it names.

use std::path::Path;
use std::sync::Arc;

use super::facts::Facts;
use super::{Finding, Fix, Group, Verdict, on_a_thread, sentence, system};
use crate::config::{Config, ConfigError, KeySource, Loaded, ProviderKind};

const GROUP: Group = Group::Configuration;

pub(super) async fn examine(facts: Arc<Facts>) -> Vec<Finding> {
    on_a_thread(facts, |facts| match &facts.loaded {
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
    })
    .await
}

fn valid(loaded: &Loaded, facts: &Facts) -> Finding {
    if let Err(error) = loaded.config.clone().without_own_listeners() {
        return GROUP
            .finds("file", Verdict::Fail, sentence(&error.to_string()))
            .fixes(correct(loaded.file.as_deref(), 0))
            .stops_start();
    }
    let text = match (&loaded.file, &facts.file) {
        (Some(file), _) => format!("{} has no mistakes.", file.display()),
        (None, Some(file)) => format!(
            "There is no {}, and everything is at its default.",
            file.display()
        ),
        (None, None) => "There is no file, and everything is at its default.".to_owned(),
    };
    GROUP.finds("file", Verdict::Ok, text)
}

/// One finding for each mistake; the name of a second one has its line.
fn mistakes(error: &ConfigError, facts: &Facts) -> Vec<Finding> {
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
            if facts.running().is_some() {
                text.push_str(" The running hermes-proxyd goes on with what it read before.");
            }
            let access = Some(give_access(file)).filter(|_| problem.line == 0);
            let finding = GROUP.finds(name, Verdict::Fail, text).stops_start();
            match access.flatten() {
                Some(command) => finding.run(command).run(check(Some(file))),
                None if !file.exists() => {
                    let begin = format!("hermesctl config init {}", system::quoted(file));
                    finding
                        .advice("Name another file with --config, or begin this one:")
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
        Fix::Advice(format!("Correct {place}, then look whether it is right:")),
        Fix::Run(check(file)),
    ]
}

fn check(file: Option<&Path>) -> String {
    let file = file.map(|file| format!(" {}", system::quoted(file)));
    format!("hermesctl config check{}", file.unwrap_or_default())
}

/// What makes a file readable for us and writable for nobody else, where that is what is wrong.
fn give_access(file: &Path) -> Option<String> {
    let attributes = system::attributes(file)?;
    let (ours, shown) = (system::our_user(), system::quoted(file));
    if attributes.user != ours && attributes.user != 0 {
        Some(format!("sudo chown {ours} {shown}"))
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
fn mode(file: &Path, config: &Config) -> Option<Finding> {
    let mode = system::attributes(file)?.mode;
    let shown = file.display();
    if mode & 0o020 != 0 {
        let text = format!(
            "{shown} can be written by its group (mode {mode:04o}), who could send your login \
             elsewhere."
        );
        let finding = GROUP.finds("file mode", Verdict::Warn, text);
        return Some(finding.run(format!("chmod go-w {}", system::quoted(file))));
    }
    if config.hooks.is_empty() || !system::is_open(mode) {
        return None;
    }
    let text = format!(
        "{shown} has hooks, whose addresses and arguments may be private, and others can read it \
         (mode {mode:04o})."
    );
    let finding = GROUP.finds("file mode", Verdict::Warn, text);
    Some(finding.run(format!("chmod 600 {}", system::quoted(file))))
}

/// The running daemon has another file than the one that was asked about.
fn in_force(facts: &Facts) -> Option<Finding> {
    let answers = facts.running()?;
    let theirs = answers.status.daemon.config_file.as_ref();
    let ours = facts.loaded.as_ref().ok()?.file.as_ref();
    if theirs == ours {
        return None;
    }
    let text = match (theirs, ours) {
        (Some(file), _) => format!("The running hermes-proxyd reads {}.", file.display()),
        (None, Some(file)) => format!("The running hermes-proxyd has not read {}.", file.display()),
        (None, None) => return None,
    };
    let finding = GROUP.finds("in force", Verdict::Warn, text);
    Some(finding.run("hermesctl proxy reload"))
}

fn key_files(config: &Config) -> Vec<Finding> {
    let providers = config.providers.iter();
    providers
        .filter_map(|(name, provider)| match &provider.kind {
            ProviderKind::Static {
                api_key: KeySource::File(file),
            } => Some(private(&format!("key of {name}"), file)),
            ProviderKind::Static {
                api_key: KeySource::Env(_),
            }
            | ProviderKind::Nous { .. } => None,
        })
        .collect()
}

/// A file that only its user may read.
fn private(name: &str, file: &Path) -> Finding {
    let shown = file.display();
    let found = |verdict, text: String| GROUP.finds(name, verdict, text);
    if let Err(error) = std::fs::File::open(file) {
        return found(Verdict::Fail, format!("{shown} can't be read: {error}."))
            .fix(Fix::Advice(format!("Put the API key into {shown}.")));
    }
    match system::attributes(file) {
        Some(attributes) if system::is_open(attributes.mode) => {
            let text = format!("Others can read {shown} (mode {:04o}).", attributes.mode);
            found(Verdict::Warn, text).run(format!("chmod 600 {}", system::quoted(file)))
        }
        Some(_) | None => found(Verdict::Ok, format!("{shown} is there, and yours alone.")),
    }
}
