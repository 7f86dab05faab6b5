//! A run of `hermesctl doctor`, and its findings.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use mock_cloud::Options;
use serde_json::{Value, json};
use support::{World, program, wrapped};

/// What the doctor says, and how it ends.
pub(crate) struct Diagnosis {
    pub(crate) report: Value,
    pub(crate) code: i32,
}

impl Diagnosis {
    /// Of a world, with the cloud's URLs in the environment as the daemon has them.
    pub(crate) fn of(world: &World, more: &[(&str, &str)]) -> Self {
        let (inference, portal) = (world.cloud.inference_base_url(), world.cloud.portal_url());
        let urls = [
            ("NOUS_INFERENCE_BASE_URL", inference.as_str()),
            ("HERMES_PORTAL_BASE_URL", portal.as_str()),
        ];
        let environment: Vec<_> = urls.iter().chain(more).copied().collect();
        let text = doctor(world.home.path(), &environment, &[]);
        world.assert_no_secret_in("the doctor", &text.0);
        let json = doctor(world.home.path(), &environment, &["--json"]);
        world.assert_no_secret_in("the doctor's JSON", &json.0);
        let report = serde_json::from_str(&json.0).unwrap();
        let diagnosis = Self {
            report,
            code: json.1,
        };
        diagnosis.assert_commands_exist(world.home.path());
        diagnosis
    }

    /// The same, seen by a hermesctl that `outer` starts: in a namespace, or as another user.
    pub(crate) fn of_wrapped(world: &World, outer: Command) -> Self {
        let mut inner = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
        inner
            .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
            .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
            .args(["doctor", "--json"]);
        let output = wrapped(outer, &inner).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        world.assert_no_secret_in("the doctor's JSON", &text);
        let report = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        let diagnosis = Self {
            report,
            code: output.status.code().unwrap(),
        };
        diagnosis.assert_commands_exist(world.home.path());
        diagnosis
    }

    /// Fixes can be run: our own verbs exist, and the other programs are known ones.
    pub(crate) fn assert_commands_exist(&self, home: &Path) {
        const KNOWN: [&str; 16] = [
            "chmod",
            "chown",
            "curl",
            "date",
            "df",
            "findmnt",
            "getent",
            "journalctl",
            "kill",
            "loginctl",
            "ls",
            "mv",
            "rm",
            "ss",
            "systemctl",
            "timedatectl",
        ];
        let findings = self.report["findings"].as_array().unwrap().iter();
        let fixes = findings.flat_map(|finding| finding["fix"].as_array().unwrap());
        let commands: std::collections::BTreeSet<_> =
            fixes.filter_map(|fix| fix["run"].as_str()).collect();
        for command in commands {
            // Whose command it is.
            let command = match command.strip_prefix("sudo -u '#") {
                Some(rest) => rest.split_once("' ").unwrap().1,
                None => command,
            };
            let mut words = command.split(' ').filter(|word| *word != "sudo");
            let name = words.next().unwrap();
            let ours = match name {
                "hermesctl" => env!("CARGO_BIN_EXE_hermesctl"),
                "hermes-proxyd" => env!("CARGO_BIN_EXE_hermes-proxyd"),
                _ => {
                    assert!(KNOWN.contains(&name), "nobody has {command:?}");
                    continue;
                }
            };
            // Its help replaces the run: an unknown word still fails.
            let asked = program(ours, home).args(words).arg("--help").output();
            assert!(asked.unwrap().status.success(), "{command:?} is no command");
        }
    }

    pub(crate) fn find(&self, group: &str, name: &str) -> Option<&Value> {
        let mut findings = self.report["findings"].as_array().unwrap().iter();
        findings.find(|one| one["group"] == group && one["name"] == name)
    }

    /// The finding exists with this verdict; its text contains `says`, and its fix `fix`.
    #[track_caller]
    pub(crate) fn assert(&self, (group, name): (&str, &str), verdict: &str, says: &str, fix: &str) {
        let Some(finding) = self.find(group, name) else {
            panic!("no {group}/{name} in {:#}", self.report);
        };
        assert_eq!(finding["verdict"], verdict, "{finding:#}");
        let text = finding["text"].as_str().unwrap();
        assert!(text.contains(says), "{finding:#}");
        assert!(finding["fix"].to_string().contains(fix), "{finding:#}");
        if ["fail", "warn"].contains(&verdict) {
            assert_ne!(finding["fix"], json!([]), "nothing mends {finding:#}");
        }
    }
}

impl Diagnosis {
    /// It contains nothing to run.
    #[track_caller]
    pub(crate) fn assert_no_command(&self, (group, name): (&str, &str)) {
        let finding = self.find(group, name).unwrap();
        let mut fixes = finding["fix"].as_array().unwrap().iter();
        assert!(fixes.all(|fix| fix["run"].is_null()), "{finding:#}");
    }
}

/// Standard output and exit code.
pub(crate) fn doctor(home: &Path, environment: &[(&str, &str)], args: &[&str]) -> (String, i32) {
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), home);
    let output = command
        .envs(environment.iter().copied())
        .arg("doctor")
        .args(args)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors, "", "nothing is said on standard error");
    let text = String::from_utf8(output.stdout).unwrap();
    (text, output.status.code().unwrap())
}

pub(crate) async fn world() -> World {
    World::new(Options::default()).await
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Gives a user all that a world's home holds.
pub(crate) fn give(home: &Path, user: u32) {
    let mut folders = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        chown(&folder, Some(user), Some(user)).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                chown(entry.path(), Some(user), Some(user)).unwrap();
            }
        }
    }
}

/// An ordinary user, as whom root runs the programs.
pub(crate) fn as_somebody() -> Option<u32> {
    const SOMEBODY: u32 = 65534;
    rustix::process::geteuid().is_root().then_some(SOMEBODY)
}
