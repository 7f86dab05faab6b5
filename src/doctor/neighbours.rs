//! Other programs with the same login: running ones, and files with a copy of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blocking_check::on_a_thread;
use super::facts::{DoctorFacts, ObservedDaemon};
use super::system::{self, RunningProgram};
use super::{DoctorFinding, FindingGroup, FindingVerdict};
use crate::credentials::StoreFiles;
use crate::credentials::inspection;
use crate::paths::Environment;
use crate::provider::Adapter;

const GROUP: FindingGroup = FindingGroup::Neighbours;

pub(super) async fn examine(facts: Arc<DoctorFacts>) -> Vec<DoctorFinding> {
    on_a_thread(facts, |facts| {
        let mut findings = processes(facts);
        findings.extend(copies(facts));
        findings
    })
    .await
}

/// A process's relation to the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ProcessRole {
    /// hermes-proxyd, as a daemon.
    Daemon,
    /// The proxy of Hermes Agent.
    HermesProxy,
    /// Hermes Agent in another part.
    Hermes,
    /// Whatever has the store or its lock open.
    Reader,
}

fn processes(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let answering = facts.running().map(|answers| answers.hello.pid);
    let ours = answering.or_else(|| facts.silent());
    let Some(processes) = system::processes() else {
        let text = "The running programs can't be listed on this system.";
        return vec![GROUP.finds("programs", FindingVerdict::Skip, text)];
    };
    let watched = watched(facts);
    let mut findings: Vec<DoctorFinding> = Vec::new();
    for process in processes {
        if Some(process.pid) == ours || process.pid == std::process::id() {
            continue;
        }
        let opens = system::open_files(process.pid);
        let reads = opens.iter().any(|file| watched.contains(file));
        let role = role(&process.arguments)
            .filter(|_| reads || !is_of_another_home(&process, facts))
            .or_else(|| reads.then_some(ProcessRole::Reader));
        findings.extend(role.and_then(|role| running(role, &process, facts)));
    }
    if findings.is_empty() {
        let text = "No other running program renews this login.";
        findings.push(GROUP.finds("programs", FindingVerdict::Ok, text));
    }
    findings
}

/// Whether the program is known to use other logins than ours.
fn is_of_another_home(process: &RunningProgram, facts: &DoctorFacts) -> bool {
    let Some(variables) = system::environment(process.pid) else {
        // A process that hides its files may use our home; one that has just ended uses none.
        return !system::is_alive(process.pid);
    };
    let theirs = Environment::from_lookup(|name| {
        let mut variables = variables.iter();
        let found = variables.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.map(Into::into)
    });
    let ours = &facts.environment;
    let same_hermes = facts.files.as_ref().is_some_and(|files| {
        let home = theirs.hermes_home();
        let stores = [&files.active, &files.global];
        stores.iter().any(|store| store.parent() == home.as_deref())
    });
    !same_hermes && theirs.state_dir() != ours.state_dir()
}

/// The files that only a program with our login has open.
fn watched(facts: &DoctorFacts) -> Vec<PathBuf> {
    let Some(files) = &facts.files else {
        return Vec::new();
    };
    let stores = [&files.own, &files.active, &files.global];
    let pairs = stores
        .into_iter()
        .flat_map(|store| [store.clone(), inspection::lock_of(store)]);
    pairs
        .map(|file| file.canonicalize().unwrap_or(file))
        .collect()
}

/// Whether a command line is that of a daemon of ours.
pub(super) fn is_daemon(arguments: &[String]) -> bool {
    role(arguments) == Some(ProcessRole::Daemon)
}

/// What a command line is of: the program itself, or an interpreter's script.
fn role(arguments: &[String]) -> Option<ProcessRole> {
    let name = |argument: &String| {
        let name = Path::new(argument).file_name()?.to_str()?;
        Some(name.trim_end_matches(".exe").to_owned())
    };
    let program = name(arguments.first()?)?;
    if program == "hermes-proxyd" {
        let helps = ["bridge", "--control-stdio", "--check"];
        let helps = arguments.iter().any(|one| helps.contains(&one.as_str()));
        return (!helps).then_some(ProcessRole::Daemon);
    }
    let interpreted = program.starts_with("python") || program == "uv";
    let at = if program == "hermes" {
        0
    } else if interpreted {
        let script = |one: &String| name(one).is_some_and(|name| name == "hermes");
        let module = |one: &String| one.starts_with("hermes_cli");
        arguments
            .iter()
            .position(|one| script(one) || module(one))?
    } else {
        return None;
    };
    let is_proxy = arguments.get(at + 1).is_some_and(|verb| verb == "proxy");
    Some(if is_proxy {
        ProcessRole::HermesProxy
    } else {
        ProcessRole::Hermes
    })
}

fn running(
    role: ProcessRole,
    process: &RunningProgram,
    facts: &DoctorFacts,
) -> Option<DoctorFinding> {
    let pid = process.pid;
    match role {
        ProcessRole::Daemon => {
            let text = match &facts.daemon {
                ObservedDaemon::Mute(_) if facts.silent().is_none() => {
                    "A hermes-proxyd is running; it may be the one whose control socket does not \
                     work."
                }
                ObservedDaemon::Elsewhere(known) if *known == pid => return None,
                ObservedDaemon::Running(_)
                | ObservedDaemon::Mute(_)
                | ObservedDaemon::Elsewhere(_) => {
                    "A second hermes-proxyd is running, besides the one that has the control \
                     socket."
                }
                ObservedDaemon::NotRunning | ObservedDaemon::Nowhere => {
                    "hermesctl can't reach a running hermes-proxyd, which has another \
                     XDG_RUNTIME_DIR or HOME."
                }
            };
            let finding = GROUP.finds(format!("hermes-proxyd {pid}"), FindingVerdict::Warn, text);
            Some(finding.run(format!("kill {pid}")))
        }
        ProcessRole::HermesProxy => {
            let text = "The proxy of Hermes Agent is running. It can share the login with \
                        hermes-proxyd, but it uses the same port and is no longer needed.";
            let finding = GROUP.finds(format!("hermes proxy {pid}"), FindingVerdict::Warn, text);
            Some(finding.run(format!("kill {pid}")))
        }
        ProcessRole::Hermes => {
            let text = "Hermes Agent is running; it and hermes-proxyd take turns renewing the \
                        login.";
            Some(GROUP.finds(format!("hermes {pid}"), FindingVerdict::Info, text))
        }
        ProcessRole::Reader => {
            let name = system::process_name(pid)?;
            let text = format!("{name} has the store or its lock open.");
            Some(GROUP.finds(format!("process {pid}"), FindingVerdict::Info, text))
        }
    }
}

/// Stores that hold the same refresh token: the second program that spends it ends the login.
fn copies(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let Some(files) = &facts.files else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for served in &facts.providers {
        if let Ok((adapter, _)) = &served.built {
            let name = served.name.as_str();
            findings.extend(
                shared_with(name, &**adapter, facts, files)
                    .or_else(|| copies_of(name, &**adapter, files)),
            );
        }
    }
    findings
}

/// Another program whose own file holds the same refresh token.
fn shared_with(
    name: &str,
    adapter: &dyn Adapter,
    facts: &DoctorFacts,
    files: &StoreFiles,
) -> Option<DoctorFinding> {
    let holder = adapter.other_holder()?;
    let folder = facts.variables.get(holder.variable).map(PathBuf::from);
    let folder = folder.or_else(|| Some(facts.environment.home()?.join(holder.folder)));
    let theirs = folder?.join(holder.file);
    let token = inspection::fingerprint_at_top(&theirs, adapter)?;
    let mut stores = known_stores(files).into_iter();
    let ours = stores.find(|store| {
        inspection::refresh_fingerprint(store, adapter).is_some_and(|ours| ours == token)
    })?;
    let text = format!(
        "{} and {} of {} hold the same single-use token: the second one to renew it ends the login \
         for both.",
        ours.display(),
        theirs.display(),
        holder.program
    );
    let finding = GROUP.finds(format!("copies of {name}"), FindingVerdict::Fail, text);
    Some(finding.run(format!("hermesctl auth login {name} --force")))
}

fn copies_of(name: &str, adapter: &dyn Adapter, files: &StoreFiles) -> Option<DoctorFinding> {
    let mut holders: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for store in known_stores(files) {
        if let Some(token) = inspection::refresh_fingerprint(&store, adapter) {
            holders.entry(token).or_default().push(store);
        }
    }
    if holders.is_empty() {
        return None;
    }
    let label = format!("copies of {name}");
    let Some(copied) = holders.values().find(|stores| stores.len() > 1) else {
        let text = "No other known store holds the same login.";
        return Some(GROUP.finds(label, FindingVerdict::Ok, text));
    };
    let list: Vec<_> = copied
        .iter()
        .map(|store| store.display().to_string())
        .collect();
    let text = format!(
        "{} hold the same single-use token: the second one to renew it ends the login for all.",
        list.join(" and ")
    );
    let finding = GROUP.finds(label, FindingVerdict::Fail, text);
    Some(if copied.contains(&files.own) {
        finding.run(format!("hermesctl auth login {name} --separate --force"))
    } else {
        finding.run(format!("hermesctl auth login {name} --force"))
    })
}

/// Our store, Hermes Agent's, and those of its profiles.
fn known_stores(files: &StoreFiles) -> Vec<PathBuf> {
    let root = files.global.parent().unwrap_or(Path::new("/"));
    let profiles = std::fs::read_dir(root.join("profiles"))
        .into_iter()
        .flatten();
    let profiles = profiles
        .flatten()
        .map(|entry| entry.path().join("auth.json"));
    let mut stores: Vec<PathBuf> = Vec::new();
    let all = [&files.own, &files.active, &files.global];
    for store in all.into_iter().cloned().chain(profiles) {
        // A link to the same file is not a copy.
        let real = store.canonicalize().unwrap_or_else(|_| store.clone());
        if !stores
            .iter()
            .any(|known| known.canonicalize().is_ok_and(|known| known == real))
        {
            stores.push(store);
        }
    }
    stores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_tell_who_renews() {
        for (line, expected) in [
            ("hermes-proxyd", Some(ProcessRole::Daemon)),
            ("/usr/bin/hermes-proxyd --port 1", Some(ProcessRole::Daemon)),
            ("hermes-proxyd bridge --to /a", None),
            ("hermes-proxyd --control-stdio", None),
            ("/home/u/.local/bin/hermes", Some(ProcessRole::Hermes)),
            ("hermes proxy start", Some(ProcessRole::HermesProxy)),
            (
                "/venv/bin/python3 /venv/bin/hermes proxy start",
                Some(ProcessRole::HermesProxy),
            ),
            (
                "python3 -m hermes_cli.main gateway",
                Some(ProcessRole::Hermes),
            ),
            ("vim hermes", None),
            ("bash", None),
        ] {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(role(&words), expected, "{line}");
        }
    }
}
