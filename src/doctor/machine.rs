//! The machine's resources: disk space, and file descriptors for connections.

use std::path::Path;
use std::sync::Arc;

use super::blocking_check::on_a_thread;
use super::facts::DoctorFacts;
use super::system::{self, DiskSpace};
use super::{DoctorFinding, FindingGroup, FindingVerdict, Fix};
use crate::service::Manager;

const GROUP: FindingGroup = FindingGroup::Machine;
const MIB: u64 = 1024 * 1024;
/// A store with room for its next version, and our own files.
const NEEDED: u64 = MIB;
/// From here on it is time to make room.
const SCARCE: u64 = 64 * MIB;
/// Each connection may have one to the provider; files and sockets of the daemon's own come on top.
const OWN_DESCRIPTORS: u64 = 64;
/// What `df` does not say.
const ROOM: &str = "Free some space there. hermes-proxyd then retries without a restart.";

pub(super) async fn examine(facts: Arc<DoctorFacts>) -> Vec<DoctorFinding> {
    on_a_thread(facts, |facts| {
        let mut findings = Vec::new();
        if let Some(files) = &facts.files {
            let state = files.own.parent();
            let store = files.active.parent();
            findings.extend(state.map(|folder| disk("state folder", folder)));
            findings.extend(store.map(|folder| disk("store's folder", folder)));
        }
        findings.extend(descriptors(facts));
        findings
    })
    .await
}

/// The folder, or its nearest existing ancestor.
fn nearest(folder: &Path) -> &Path {
    let mut there = folder.ancestors();
    there.find(|folder| folder.is_dir()).unwrap_or(folder)
}

fn disk(what: &str, folder: &Path) -> DoctorFinding {
    let there = nearest(folder);
    let shown = folder.display();
    let found = |verdict, text: String| GROUP.finds(what, verdict, text);
    let look = format!("df -h {}", system::quoted(there));
    let Some(room) = system::room(there) else {
        let text = format!("The free space on the disk of {shown} is unknown.");
        return found(FindingVerdict::Skip, text);
    };
    if room.is_read_only {
        let text = format!("{shown} is on a read-only disk: no login can be saved.");
        return found(FindingVerdict::Fail, text)
            .run(format!("findmnt -T {}", system::quoted(there)))
            .advice(
                "If it shows a disk error, fix that; otherwise mount it writable. hermes-proxyd \
                 needs no restart.",
            );
    }
    if let Err(error) = system::can_write(there) {
        let text = format!("{shown} can't be written: {error}.");
        return found(FindingVerdict::Fail, text).run(system::make_writable(there));
    }
    let DiskSpace { bytes, files, .. } = room;
    if bytes < NEEDED || files == Some(0) {
        let what = if bytes == 0 {
            "is full".to_owned()
        } else if bytes < NEEDED {
            format!("has less than {} MiB free", NEEDED / MIB)
        } else {
            "takes no more files".to_owned()
        };
        let text = format!("The disk of {shown} {what}: a renewed login can't be saved.");
        return found(FindingVerdict::Fail, text).run(look).advice(ROOM);
    }
    let text = format!("{shown} has {} MiB left.", bytes / MIB);
    if bytes < SCARCE {
        return found(FindingVerdict::Warn, text).run(look).advice(ROOM);
    }
    found(FindingVerdict::Ok, text)
}

fn descriptors(facts: &DoctorFacts) -> Option<DoctorFinding> {
    let name = "descriptors";
    let connections = u64::try_from(facts.config.limits.connections).ok()?;
    let needed = connections * 2 + OWN_DESCRIPTORS;
    let pid = facts.running()?.hello.pid;
    let limit = system::descriptor_limit(pid)?;
    if limit >= needed {
        let text = format!("hermes-proxyd may have {limit}, enough for {connections} connections.");
        return Some(GROUP.finds(name, FindingVerdict::Ok, text));
    }
    let text = format!(
        "hermes-proxyd may have {limit}, and `limits.connections` = {connections} can take \
         {needed}."
    );
    let finding = GROUP.finds(name, FindingVerdict::Warn, text);
    let fewer = (limit.saturating_sub(OWN_DESCRIPTORS) / 2).max(1);
    let fewer = Fix::Configure(vec![
        "[limits]".to_owned(),
        format!("connections = {fewer}"),
    ]);
    let by_systemd = facts.installed().filter(|state| {
        let ours = state.running.is_some_and(|running| running.pid == pid);
        ours && state.manager == Manager::Systemd
    });
    let finding = match by_systemd {
        Some(_) => finding
            .advice(format!(
                "Add LimitNOFILE={needed} under [Service], or allow fewer connections:"
            ))
            .run("systemctl --user edit hermes-proxyd"),
        None => finding.advice(format!(
            "Start it where `ulimit -Hn` shows {needed} or more, or allow fewer connections:"
        )),
    };
    Some(finding.fix(fewer).fixes(facts.restart()))
}
