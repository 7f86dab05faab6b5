//! The paths of our programs, by names that stay right after an update.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::output::CommandFailure;
use crate::doctor;
use crate::paths::Environment;

/// hermes-proxyd and hermesctl.
pub(super) struct Programs {
    pub(super) daemon: PathBuf,
    pub(super) ctl: PathBuf,
}

/// Finds both: hermesctl is this program, hermes-proxyd is beside it or in a folder of `PATH`.
pub(super) fn find() -> Result<Programs, CommandFailure> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let ctl = std::env::current_exe().map_err(|error| {
        CommandFailure::new(format!("hermesctl can't find its own file: {error}."))
            .with_hint("Run it with its full path.")
    })?;
    let name = format!("hermes-proxyd{}", std::env::consts::EXE_SUFFIX);
    let beside = Some(ctl.with_file_name(&name)).filter(|path| path.is_file());
    let daemon = beside.or_else(|| within(&search, OsStr::new(&name)).find(|path| path.is_file()));
    let daemon = daemon.ok_or_else(|| {
        CommandFailure::new("hermes-proxyd was not found beside hermesctl or in PATH.")
            .with_hint("Install it beside hermesctl, or in a folder of PATH.")
    })?;
    Ok(Programs {
        daemon: lasting(&daemon, &search),
        ctl: lasting(&ctl, &search),
    })
}

/// This program, by a name that stays right after an update; `None` if it can't be found.
pub(super) fn ctl() -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let ctl = std::env::current_exe().ok()?;
    Some(lasting(&ctl, &search))
}

/// The commands after which a hermes-proxyd runs with the configuration as it is now; `pid` is the
/// running one, which keeps the flags that it was started with.
pub(super) async fn commands(environment: &Environment, pid: Option<u32>) -> String {
    match pid {
        Some(_) => "hermesctl proxy restart".to_owned(),
        None => doctor::restart(environment, None).await.join(", then: "),
    }
}

/// hermes-proxyd can't be started.
pub(super) fn absent(program: &Path, error: &io::Error) -> CommandFailure {
    CommandFailure::new(format!("{} can't be started: {error}.", program.display()))
        .with_hint("Install hermes-proxyd beside hermesctl, or in a folder of PATH.")
}

/// The hermes-proxyd beside hermesctl, otherwise the one in `PATH`.
pub(super) fn program() -> PathBuf {
    let name = format!("hermes-proxyd{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok();
    let beside = beside.map(|ours| ours.with_file_name(&name));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// The program as `PATH` has it, if that leads to the same file: package managers keep each version
/// in a folder of its own, which an update removes.
fn lasting(path: &Path, search: &OsStr) -> PathBuf {
    let Some(name) = path.file_name() else {
        return path.to_owned();
    };
    let same = |found: &PathBuf| match (found.canonicalize(), path.canonicalize()) {
        (Ok(found), Ok(path)) => found == path,
        _ => false,
    };
    within(search, name)
        .find(same)
        .unwrap_or_else(|| path.to_owned())
}

fn within(search: &OsStr, name: &OsStr) -> impl Iterator<Item = PathBuf> {
    let folders = std::env::split_paths(search).filter(|folder| folder.is_absolute());
    folders.map(move |folder| folder.join(name))
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    #[test]
    fn a_versions_own_folder_is_not_named() {
        use super::*;

        let root = tempfile::tempdir().unwrap();
        let place = |folder: &str| {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        let (cellar, bin, other) = (place("Cellar/0.1.0/bin"), place("bin"), place("other"));
        let real = cellar.join("hermesctl");
        std::fs::write(&real, "").unwrap();
        std::fs::write(other.join("hermesctl"), "").unwrap();
        std::os::unix::fs::symlink(&real, bin.join("hermesctl")).unwrap();
        let search = std::env::join_paths([Path::new("relative"), &other, &bin]).unwrap();
        assert_eq!(lasting(&real, &search), bin.join("hermesctl"));
        let search = std::env::join_paths([&other]).unwrap();
        assert_eq!(lasting(&real, &search), real);
    }
}
