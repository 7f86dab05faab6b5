//! The files that hold the logins: whether they are intact and private, whether their lock works,
//! and what an interrupted renewal has left.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::blocking_check::on_a_thread;
use super::facts::DoctorFacts;
use super::finding::sentence;
use super::system::{self, quoted};
use super::{DoctorFinding, FindingGroup, FindingVerdict, Fix};
use crate::control::protocol::FindingCode;
use crate::credentials::inspection::{self, FileLook, InspectedContent, Inspection, LoginLook};
use crate::credentials::{self, StoreError, StoreFiles};
use crate::provider::Merge;

const GROUP: FindingGroup = FindingGroup::Store;
/// A temporary file this young is being written.
const YOUNG: Duration = Duration::from_mins(1);

pub(super) async fn examine(facts: Arc<DoctorFacts>) -> Vec<DoctorFinding> {
    on_a_thread(facts, look).await
}

fn look(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let Some(files) = &facts.files else {
        let text = "The home folder is unknown, so the logins can't be found.";
        let finding = GROUP.finds("place", FindingVerdict::Fail, text);
        return vec![
            finding.advice("Set HOME or HERMES_HOME, or `hermes_home` in the configuration."),
        ];
    };
    let mut findings = Vec::new();
    let (mut seen, mut mirrors) = (BTreeSet::new(), BTreeSet::new());
    for served in &facts.providers {
        let Ok((adapter, _)) = &served.built else {
            continue;
        };
        let Some(inspection) = inspection::inspect(files, &**adapter, facts.now) else {
            continue;
        };
        let name = served.name.as_str();
        findings.extend(place(name, &inspection, facts));
        // A folder that is missing is made, and the lock in it.
        let copy = inspection.mirror.as_ref().map(|mirror| mirror.path.clone());
        mirrors.extend(copy.filter(|file| file.parent().is_some_and(Path::is_dir)));
        let all = inspection.files.iter().chain(&inspection.mirror);
        for file in all {
            if seen.insert(file.path.clone()) {
                let label = role(&file.path, files);
                findings.extend(file_findings(file, label, name));
            }
        }
        findings.extend(
            inspection
                .login
                .as_ref()
                .and_then(|login| mirror(name, login)),
        );
        findings.extend(
            inspection
                .login
                .iter()
                .flat_map(|login| leftovers(name, login)),
        );
    }
    findings.extend(lock("lock", &files.active));
    if files.global != files.active && files.global.exists() {
        findings.extend(lock("global lock", &files.global));
    }
    for mirror in mirrors {
        findings.extend(lock("shared lock", &mirror));
    }
    if files.own.exists() {
        findings.extend(lock("own lock", &files.own));
    }
    if findings.is_empty() {
        let text = "No provider uses a stored login.";
        findings.push(GROUP.finds("place", FindingVerdict::Skip, text));
    }
    findings
}

fn place(name: &str, inspection: &Inspection, facts: &DoctorFacts) -> Option<DoctorFinding> {
    let login = inspection.login.as_ref()?;
    let whose = if login.own {
        "hermes-proxyd's own"
    } else {
        "shared with Hermes Agent"
    };
    let store = login.store.display();
    let label = format!("place of {name}");
    let theirs = facts.running().and_then(|answers| {
        let mut providers = answers.status.providers.iter();
        providers
            .find(|provider| provider.name == name)?
            .login
            .as_ref()
    });
    match theirs {
        Some(theirs) if theirs.store != login.store => {
            let text = format!(
                "The running hermes-proxyd uses {}, but this shell finds {store}.",
                theirs.store.display()
            );
            let finding = GROUP.finds(label, FindingVerdict::Warn, text);
            Some(finding.advice(
                "Set the same HERMES_HOME here and in the service, or `hermes_home` in the \
                 configuration.",
            ))
        }
        Some(_) | None => {
            let text = format!("It is stored in {store}, {whose}.");
            Some(GROUP.finds(label, FindingVerdict::Ok, text))
        }
    }
}

/// What a file is to the logins.
fn role(path: &Path, files: &StoreFiles) -> &'static str {
    if path == files.own {
        "own store"
    } else if path == files.active {
        "store"
    } else if path == files.global {
        "global store"
    } else {
        "mirror"
    }
}

fn file_findings(file: &FileLook, name: &str, provider: &str) -> Vec<DoctorFinding> {
    let path = &file.path;
    let shown = path.display();
    let mut findings = copies(path);
    if let InspectedContent::Unusable(reason, command) = &file.content {
        let text = format!("{shown} {reason}.");
        let finding = GROUP.finds(name, FindingVerdict::Fail, text);
        findings.push(mend_unusable(finding, path, command.as_deref(), provider));
        return findings;
    }
    if let InspectedContent::Untrusted(reason, command) = &file.content {
        let finding = GROUP.finds(name, FindingVerdict::Fail, format!("{shown} {reason}."));
        // The login in it may be as good as ever, so nothing is moved away.
        let command = command.clone();
        findings.push(finding.run(command.unwrap_or_else(|| format!("ls -lL {}", quoted(path)))));
        return findings;
    }
    if file.content == InspectedContent::Missing {
        return findings;
    }
    let Some(attributes) = system::attributes(path) else {
        return findings;
    };
    let ours = system::our_user();
    if attributes.user != ours && ours != 0 {
        let text = format!("{shown} belongs to another user (id {}).", attributes.user);
        let finding = GROUP.finds(name, FindingVerdict::Fail, text);
        findings.push(finding.run(system::give(path)));
    } else if system::is_open(attributes.mode) {
        let text = format!(
            "Other users can read {shown} (mode {:04o}).",
            attributes.mode
        );
        let finding = GROUP.finds(name, FindingVerdict::Warn, text);
        findings.push(finding.run(format!("chmod 600 {}", quoted(path))));
    }
    findings.extend(folder(path, name));
    if findings
        .iter()
        .all(|finding| finding.verdict == FindingVerdict::Info)
    {
        let mode = attributes.mode;
        let text = format!("{shown} is intact, and only you can read it (mode {mode:04o}).");
        findings.push(GROUP.finds(name, FindingVerdict::Ok, text));
    }
    findings
}

/// What Hermes Agent, or the user, has moved aside because it was broken.
fn copies(path: &Path) -> Vec<DoctorFinding> {
    let copies = inspection::copies(path).into_iter();
    let finding = |copy: std::path::PathBuf| {
        let text = "It is a copy of a broken file and may still hold tokens. If you don't need it, \
                    remove it:";
        let finding = GROUP.finds(copy.display().to_string(), FindingVerdict::Info, text);
        finding.run(format!("rm {}", quoted(&copy)))
    };
    copies.map(finding).collect()
}

fn mend_unusable(
    finding: DoctorFinding,
    path: &Path,
    command: Option<&str>,
    provider: &str,
) -> DoctorFinding {
    let shown = quoted(path);
    if path.is_symlink() && matches!(path.try_exists(), Ok(false)) {
        let finding = finding
            .advice("Restore what the link leads to; or remove the link and log in again:")
            .run(format!("rm {shown}"));
        return finding.run(format!("hermesctl auth login {provider}"));
    }
    if system::open(path).is_err() {
        let finding = finding.run(format!("ls -l {shown}"));
        return finding.fixes(command.map(|command| Fix::Run(command.to_owned())));
    }
    finding
        .fix(Fix::Advice(
            "Restore an intact copy; or move it away and log in again:".to_owned(),
        ))
        .run(format!("mv {shown} {shown}.corrupt"))
        .run(format!("hermesctl auth login {provider}"))
}

fn folder(file: &Path, of: &str) -> Option<DoctorFinding> {
    let folder = file.parent()?;
    let attributes = system::attributes(folder)?;
    let name = format!("folder of the {of}");
    let shown = folder.display();
    if let Err(error) = system::can_write(folder) {
        let text = format!("A renewed login could not be saved in {shown}: {error}.");
        let finding = GROUP.finds(name, FindingVerdict::Fail, text);
        return Some(finding.fixes(mend_writing(folder)));
    }
    if attributes.mode & 0o022 != 0 {
        let text = format!(
            "Other users can put files into {shown} (mode {:04o}) and so replace your login.",
            attributes.mode
        );
        let finding = GROUP.finds(name, FindingVerdict::Fail, text);
        return Some(finding.run(format!("chmod 700 {}", quoted(folder))));
    }
    if attributes.mode & 0o055 != 0 {
        let text = format!(
            "Other users can list {shown} (mode {:04o}).",
            attributes.mode
        );
        let finding = GROUP.finds(name, FindingVerdict::Warn, text);
        return Some(finding.run(format!("chmod 700 {}", quoted(folder))));
    }
    None
}

/// A disk that is mounted read-only is another matter than rights, see the machine's findings.
fn mend_writing(folder: &Path) -> [Fix; 1] {
    let read_only = system::room(folder).is_some_and(|room| room.is_read_only);
    let command = if read_only {
        format!("findmnt -T {}", quoted(folder))
    } else {
        system::make_writable(folder)
    };
    [Fix::Run(command)]
}

fn mirror(name: &str, login: &LoginLook) -> Option<DoctorFinding> {
    let label = format!("mirror of {name}");
    let found = |verdict, text: &str| Some(GROUP.finds(label.clone(), verdict, text));
    match login.merge? {
        Merge::Same => found(
            FindingVerdict::Ok,
            "The copy for Hermes Agent's profiles is the same.",
        ),
        Merge::Taken => found(
            FindingVerdict::Info,
            "The copy for Hermes Agent's profiles is newer and is used.",
        ),
        Merge::MirrorBehind => found(
            FindingVerdict::Info,
            "The copy for Hermes Agent's profiles is older; the next renewal updates it.",
        ),
        Merge::Undecided => {
            let text = "The copy for Hermes Agent's profiles holds other tokens, and it is unknown \
                        which are spent.";
            let finding = GROUP.finds(label, FindingVerdict::Warn, text);
            Some(finding.run(format!("hermesctl auth login {name} --force")))
        }
    }
}

fn leftovers(name: &str, login: &LoginLook) -> Vec<DoctorFinding> {
    let mut findings = Vec::new();
    if let Some(at) = login.cut_off_at {
        let text = format!(
            "A renewal was interrupted at {}: its token may be spent. hermes-proxyd tries it when \
             it starts.",
            at.format("%Y-%m-%d %H:%M UTC")
        );
        let separate = if login.own { " --separate" } else { "" };
        let finding = GROUP.finds(format!("journal of {name}"), FindingVerdict::Warn, text);
        findings.push(
            finding
                .run("hermesctl auth refresh")
                .advice("If that is refused, log in again:")
                .run(format!("hermesctl auth login {name}{separate} --force")),
        );
    }
    if let Some((reason, command)) = &login.journal_fault {
        let text = format!(
            "{reason}. Until it can be read, the login is not renewed: a token may be spent, or a \
             renewed login may wait there."
        );
        let finding = GROUP.finds(
            format!("journal of {name}"),
            FindingVerdict::Fail,
            sentence(&text),
        );
        let finding = finding.code(FindingCode::StoreUnusable);
        findings.push(finding.fixes(command.clone().map(Fix::Run)));
    }
    if login.waits_to_be_saved {
        let text = "A renewed login is kept in the journal, because its store could not be \
                    written.";
        let finding = GROUP.finds(format!("unsaved {name}"), FindingVerdict::Warn, text);
        findings.push(finding.advice(
            "Free some space and make the store's folder writable; hermes-proxyd then writes it, \
             now or at its next start.",
        ));
    }
    let old = inspection::temporaries(&login.store).into_iter();
    let old: Vec<_> = old.filter(|file| system::age(file) > Some(YOUNG)).collect();
    if !old.is_empty() {
        let text = format!(
            "A killed program left {} temporary file(s) beside {}; the next renewal removes them.",
            old.len(),
            login.store.display()
        );
        findings.push(GROUP.finds(format!("leftovers of {name}"), FindingVerdict::Info, text));
    }
    findings
}

/// Whether the lock beside a store works, and whether it is free. We hold it for an instant, and
/// only if no other process wants it.
fn lock(name: &str, store: &Path) -> Vec<DoctorFinding> {
    let path = inspection::lock_of(store);
    let shown = path.display();
    let mut findings = Vec::new();
    if let Some(kind) = system::network_file_system(&path) {
        let text = format!(
            "{shown} is on {kind}, where locks may not exclude other machines. Don't use this \
             login on two machines."
        );
        findings.push(GROUP.finds(
            format!("file system of the {name}"),
            FindingVerdict::Warn,
            text,
        ));
    }
    let file = match inspection::open_lock(&path) {
        Ok(Some(file)) => file,
        Ok(None) => {
            let text = format!("{shown} does not exist yet; the first renewal creates it.");
            findings.push(GROUP.finds(name, FindingVerdict::Skip, text));
            return findings;
        }
        Err(source) => {
            let text = format!("{shown} can't be used: {source}.");
            let finding = GROUP.finds(name, FindingVerdict::Fail, text);
            let file = path.clone();
            let command = credentials::remedy(&StoreError::Lock { file, source }, None);
            let command = command.unwrap_or_else(|| format!("ls -l {}", quoted(&path)));
            findings.push(finding.run(command));
            return findings;
        }
    };
    findings.push(match file.try_lock() {
        Ok(()) if excludes(&path) => {
            let text = format!("{shown} is free and works.");
            GROUP.finds(name, FindingVerdict::Ok, text)
        }
        Ok(()) => no_locks(name, &path, "two programs can have it at the same time"),
        Err(TryLockError::WouldBlock) => held(name, &path),
        Err(TryLockError::Error(error)) => no_locks(name, &path, &error.to_string()),
    });
    findings
}

/// Whether our lock keeps a second one out.
fn excludes(path: &Path) -> bool {
    let second = File::open(path);
    second.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn no_locks(name: &str, path: &Path, why: &str) -> DoctorFinding {
    let text = format!(
        "Locks on {} don't work ({why}): two programs could spend the same token, which ends the \
         login.",
        path.display()
    );
    GROUP.finds(name, FindingVerdict::Fail, text).advice(
        "Put the home of Hermes Agent on a local file system, with `hermes_home` in the \
         configuration or HERMES_HOME.",
    )
}

/// The lock of the logins that another process holds now, and which process: for a command that
/// waits.
pub(super) fn in_use(files: &StoreFiles) -> Option<String> {
    let stores = [&files.own, &files.active, &files.global];
    let beside = stores.map(|store| inspection::lock_of(store)).into_iter();
    let shared = std::fs::read_dir(&files.shared)
        .into_iter()
        .flatten()
        .flatten();
    let shared = shared
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "lock"));
    let is_held = |path: &std::path::PathBuf| {
        let file = inspection::open_lock(path).ok().flatten();
        file.is_some_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    };
    // The last in the order in which they are taken is the one that is waited for.
    let path = beside.chain(shared).filter(is_held).last()?;
    let holders = holders(&system::lock_holders(&path));
    Some(format!("{}, which {holders} holds", path.display()))
}

fn held(name: &str, path: &Path) -> DoctorFinding {
    let holders = system::lock_holders(path);
    let whose = self::holders(&holders);
    let text = format!(
        "{} is held by {whose}. That should last only for the seconds of a renewal.",
        path.display()
    );
    let finding = GROUP.finds(name, FindingVerdict::Warn, text);
    match holders.first() {
        Some(pid) => finding
            .run("hermesctl doctor")
            .advice("If the same process still holds it, the process hangs:")
            .run(format!("kill {pid}")),
        None => finding.run("hermesctl doctor"),
    }
}

fn holders(holders: &[u32]) -> String {
    let whose: Vec<_> = holders
        .iter()
        .map(|pid| match system::process_name(*pid) {
            Some(name) => format!("{name} (process {pid})"),
            None => format!("process {pid}"),
        })
        .collect();
    if whose.is_empty() {
        "another program".to_owned()
    } else {
        whose.join(" and ")
    }
}
