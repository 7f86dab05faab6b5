//! The one place that makes the environment of the programs that tests start. They see nothing of the developer's:
//! neither the home and its XDG folders, nor an installed hermes-proxyd, nor the real provider. `tests/docs/suite.rs`
//! enforces this for every test.

use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Set by `.ci/run`: a test that lacks a program fails, where it would be skipped elsewhere.
const STRICT: &str = "HERMES_TEST_STRICT";

/// The discard port: a request to a provider without a mock fails at once.
const NOWHERE: &str = "http://127.0.0.1:9";

/// What must not be found in `PATH`, since it is installed for the developer.
const INSTALLED: [&str; 4] = [
    "hermes-proxyd",
    "hermes-proxyd-hidden",
    "hermesctl",
    "hermes",
];

/// A program with nothing of this machine's environment.
pub fn program(path: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("PATH", search_path())
        .env("HOME", home)
        // So that no line is broken that a test looks for.
        .env("COLUMNS", "500")
        .env("XDG_RUNTIME_DIR", home.join("run"))
        .env("HERMES_PORTAL_BASE_URL", NOWHERE)
        .env("NOUS_INFERENCE_BASE_URL", format!("{NOWHERE}/v1"));
    command
}

/// A program of the system that needs no home.
pub fn tool(path: impl AsRef<OsStr>) -> Command {
    program(path, "/nonexistent".as_ref())
}

/// The only one with the developer's environment: it installs from registries, which that may name.
pub fn installer(path: &Path) -> Command {
    Command::new(path)
}

/// `PATH` without what is installed of ours.
pub fn search_path() -> &'static OsStr {
    static FOUND: LazyLock<OsString> = LazyLock::new(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
        std::env::join_paths(folders.map(without_ours)).expect("a search path")
    });
    &FOUND
}

/// The folder, or one with links to everything in it but what is installed of ours.
fn without_ours(folder: PathBuf) -> PathBuf {
    if !INSTALLED.iter().any(|name| folder.join(name).exists()) {
        return folder;
    }
    let changed = folder.metadata().and_then(|folder| folder.modified()).ok();
    let mut hasher = DefaultHasher::new();
    (&folder, changed).hash(&mut hasher);
    let made = crate::target_tmpdir().join(format!("path-{:x}", hasher.finish()));
    if !made.exists() {
        fill(&folder, &made).unwrap_or_else(|error| panic!("{}: {error}", made.display()));
    }
    made
}

#[cfg(unix)]
fn fill(folder: &Path, made: &Path) -> std::io::Result<()> {
    let draft = made.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(&draft)?;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !INSTALLED.iter().any(|ours| name == *ours) {
            std::os::unix::fs::symlink(folder.join(&name), draft.join(&name))?;
        }
    }
    // Another test program may have been faster.
    if std::fs::rename(&draft, made).is_err() {
        std::fs::remove_dir_all(&draft)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn fill(_: &Path, made: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(made)
}

/// Says that a test, or a part of it, is skipped: this machine can't do it.
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// The same where what is missing could be installed. Under `HERMES_TEST_STRICT` that is a failure.
pub fn lacking(what: &str) {
    assert!(strict().is_none(), "{what} is missing: install it");
    skipped(&format!("{what} is missing"));
}

/// Whether the system has this program; else says that a test is skipped.
pub fn has(name: &str) -> bool {
    let mut folders = std::env::split_paths(search_path());
    let found = folders.any(|folder| folder.join(name).is_file());
    if !found {
        lacking(name);
    }
    found
}

/// Whether a program can be run here, as with the rights that it needs; else says that a test is skipped.
pub fn works(name: &str, args: &[&str]) -> bool {
    if !has(name) {
        return false;
    }
    let output = tool(name).args(args).output();
    let works = output.is_ok_and(|output| output.status.success());
    if !works {
        skipped(&format!("{name} {} does not work here", args.join(" ")));
    }
    works
}

/// What a test that runs itself hands on.
pub fn strict() -> Option<(&'static str, OsString)> {
    let value = std::env::var_os(STRICT).filter(|value| !value.is_empty());
    value.map(|value| (STRICT, value))
}
