//! The formats that systemd reads and prints; pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, Utc};

use crate::service::{InstallPlan, Manager, Running, ServiceState};

/// The unit as packages install it.
pub(super) const SERVICE: &str = include_str!("../../../systemd/hermes-proxyd.service");
pub(super) const SOCKET: &str = include_str!("../../../systemd/hermes-proxyd.socket");

/// The first line of every file that we may overwrite.
const MARK: &str = "# Written by `hermesctl service install`, which overwrites it; put your own \
                    changes in a drop-in: systemctl --user edit hermes-proxyd";

/// The programs' paths in the unit's own text.
const USUAL_FOLDER: &str = "%h/.local/bin/";

/// The address in the socket unit.
const USUAL_ADDRESS: &str = "127.0.0.1:8645";

/// Whether a unit file is ours, or still the one that was copied by hand.
pub(super) fn is_ours(text: &str) -> bool {
    text.starts_with(MARK) || text == SERVICE || text == SOCKET
}

/// The unit for programs in another folder.
pub(super) fn service(plan: &InstallPlan) -> String {
    let place = |unit: String, path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        unit.replace(&format!("{USUAL_FOLDER}{name}"), &word(path))
    };
    let unit = place(SERVICE.to_owned(), &plan.daemon);
    format!("{MARK}\n{}", place(unit, &plan.ctl))
}

pub(super) fn socket() -> String {
    format!("{MARK}\n{SOCKET}")
}

/// A drop-in for the socket, where its address is not the usual one.
pub(super) fn address(address: &str) -> Option<String> {
    (address != USUAL_ADDRESS)
        .then(|| format!("{MARK}\n[Socket]\nListenStream=\nListenStream={address}\n"))
}

/// A path as one word of a command line; see `systemd.service(5)`, "Command lines".
fn word(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("\"{text}\"")
}

/// Whether systemd runs a program of such a path at all.
pub(super) fn can_run(path: &Path) -> bool {
    let text = path.to_str().unwrap_or("\\");
    !text.contains(|c: char| c.is_control() || "\"'\\".contains(c))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A drop-in with these variables and those that an earlier one had; `None` without any.
pub(super) fn environment(
    variables: &BTreeMap<String, String>,
    earlier: Option<&str>,
) -> Option<String> {
    let mut all: BTreeMap<String, String> = earlier
        .unwrap_or_default()
        .lines()
        .filter_map(variable)
        .collect();
    all.extend(variables.clone());
    if all.is_empty() {
        return None;
    }
    let mut text = format!("{MARK}\n[Service]\n");
    for (name, value) in all {
        let value = escaped(&value.replace('%', "%%"));
        // Writing to a String can't fail.
        let _written = writeln!(text, "Environment=\"{name}={value}\"");
    }
    Some(text)
}

/// A variable as [`environment`] writes it.
fn variable(line: &str) -> Option<(String, String)> {
    let quoted = line.strip_prefix("Environment=\"")?.strip_suffix('"')?;
    let (name, value) = quoted.split_once('=')?;
    let mut plain = String::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        plain.push(if c == '\\' { rest.next()? } else { c });
    }
    Some((name.to_owned(), plain.replace("%%", "%")))
}

/// The manager's properties of a unit.
#[derive(Debug, Default)]
pub(super) struct UnitProperties<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> UnitProperties<'a> {
    /// What is asked for.
    pub(super) const PROPERTIES: &'static str = "LoadState,UnitFileState,FragmentPath,ActiveState,\
        MainPID,ActiveEnterTimestamp,StatusText,Result,ExecMainStatus,NeedDaemonReload";

    /// Reads the answer of `systemctl show`.
    pub(super) fn read(text: &'a str) -> Self {
        Self(
            text.lines()
                .filter_map(|line| line.split_once('='))
                .collect(),
        )
    }

    fn of(&self, name: &str) -> &'a str {
        self.0.get(name).copied().unwrap_or_default()
    }

    pub(super) fn file(&self) -> Option<PathBuf> {
        Some(PathBuf::from(self.of("FragmentPath"))).filter(|file| file.has_root())
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.of("UnitFileState").starts_with("enabled")
    }

    /// Whether it runs, or listens.
    pub(super) fn is_active(&self) -> bool {
        ["active", "reloading", "activating"].contains(&self.of("ActiveState"))
    }

    pub(super) fn is_stale(&self) -> bool {
        self.of("NeedDaemonReload") == "yes"
    }
}

/// The service's state, from the properties of the unit and of its socket.
pub(super) fn state(service: &UnitProperties<'_>, socket: &UnitProperties<'_>) -> ServiceState {
    let pid: u32 = service.of("MainPID").parse().unwrap_or(0);
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    ServiceState {
        manager: Manager::Systemd,
        file: service.file(),
        packaged: false,
        enabled: service.is_enabled() || socket.is_enabled(),
        running: (pid > 0).then(|| Running {
            pid,
            since: time(service.of("ActiveEnterTimestamp")),
        }),
        status: text(service.of("StatusText")).filter(|_| pid > 0),
        socket: service.file().map(|_| socket.is_enabled()),
        linger: None,
        last_failure: failure(service.of("Result"), service.of("ExecMainStatus")),
    }
}

/// `Thu 2026-11-26 09:34:46 UTC`; empty if unset.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let (_weekday, text) = text.split_once(' ')?;
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S UTC").ok()?;
    Some(time.and_utc())
}

/// `Result=` in words.
fn failure(result: &str, code: &str) -> Option<String> {
    Some(match (result, code) {
        ("" | "success", _) => return None,
        ("exit-code", "78") => {
            "the configuration is invalid; `hermesctl config check` shows where".to_owned()
        }
        ("exit-code", "203") => "its program is not where the unit says; `hermesctl service \
                                 install` rewrites the unit"
            .to_owned(),
        ("exit-code", code) => format!("it ended with exit code {code}"),
        ("watchdog", _) => "it stopped responding and was killed".to_owned(),
        ("timeout", _) => "it took too long to start or to stop".to_owned(),
        ("oom-kill", _) => "the system ran out of memory and killed it".to_owned(),
        ("signal" | "core-dump", code) => format!("it was killed by signal {code}"),
        ("start-limit-hit", _) => "it failed too often to be restarted automatically".to_owned(),
        (other, _) => other.to_owned(),
    })
}

/// What `loginctl show-user` answered about lingering.
pub(super) fn linger(said: &str, complained: &str) -> Option<bool> {
    match said.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ if complained.contains("not logged in or lingering") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(folder: &str) -> InstallPlan {
        InstallPlan {
            daemon: Path::new(folder).join("hermes-proxyd"),
            ctl: Path::new(folder).join("hermesctl"),
            variables: BTreeMap::new(),
            socket: None,
        }
    }

    #[test]
    fn the_programs_are_named_where_they_are() {
        let unit = service(&plan("/opt/bin"));
        assert!(unit.contains("\nExecStart=/opt/bin/hermes-proxyd\n"));
        assert!(unit.contains("\nExecReload=/opt/bin/hermesctl proxy reload\n"));
        let unit = service(&plan("/home/Ann B 100%/bin"));
        let exec = r#"ExecReload="/home/Ann B 100%%/bin/hermesctl" proxy reload"#;
        assert!(unit.contains(exec), "{unit}");
        for (path, can) in [("/a b/$c%", true), ("/a'b", false), ("/a\\b", false)] {
            assert_eq!(can_run(Path::new(path)), can, "{path}");
        }
        assert!(is_ours(&unit) && is_ours(SERVICE) && !is_ours("[Unit]\n"));
    }

    /// systemd's own judgement, where it is installed.
    #[test]
    fn systemd_finds_nothing_wrong_with_the_units() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("with space, 100% and $HOME");
        std::fs::create_dir(&bin).unwrap();
        for name in ["hermes-proxyd", "hermesctl"] {
            std::fs::copy("/bin/true", bin.join(name)).unwrap();
        }
        let mut plan = plan(bin.to_str().unwrap());
        plan.variables
            .insert("HERMES_HOME".into(), "/a \"b\" 5%".into());
        let files = [
            ("hermes-proxyd.service", service(&plan)),
            ("hermes-proxyd.socket", socket()),
            (
                "hermes-proxyd.service.d/environment.conf",
                environment(&plan.variables, None).unwrap(),
            ),
            (
                "hermes-proxyd.socket.d/address.conf",
                address("[::1]:18645").unwrap(),
            ),
        ];
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let output = std::process::Command::new("systemd-analyze")
            .args(["--user", "--man=no", "verify", "hermes-proxyd.socket"])
            .arg("hermes-proxyd.service")
            .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
            .env("XDG_RUNTIME_DIR", folder.path())
            .current_dir(folder.path())
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: there is no systemd-analyze");
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }

    #[test]
    fn variables_come_back_as_they_were_and_earlier_ones_stay() {
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let first = environment(&one("HERMES_HOME", r#"/a "b" \c 100%"#), None).unwrap();
        assert!(
            first.ends_with("\nEnvironment=\"HERMES_HOME=/a \\\"b\\\" \\\\c 100%%\"\n"),
            "{first}"
        );
        assert_eq!(environment(&BTreeMap::new(), Some(&first)).unwrap(), first);
        let both = environment(&one("NO_PROXY", "x"), Some(&first)).unwrap();
        assert_eq!(both, first.clone() + "Environment=\"NO_PROXY=x\"\n");
        let other = environment(&one("HERMES_HOME", "/other"), Some(&first)).unwrap();
        assert!(!other.contains("/a"), "{other}");
        assert_eq!(environment(&BTreeMap::new(), None), None);
    }

    #[test]
    fn the_socket_has_a_drop_in_only_for_another_address() {
        assert!(SOCKET.contains(&format!("ListenStream={USUAL_ADDRESS}\n")));
        assert_eq!(address(USUAL_ADDRESS), None);
        let text = address("[::1]:99").unwrap();
        assert!(text.ends_with("[Socket]\nListenStream=\nListenStream=[::1]:99\n"));
    }

    /// As systemd 252 answers.
    const RUNNING: &str = "MainPID=4242\nResult=success\nExecMainStatus=0\n\
        StatusText=Serving nous at http://127.0.0.1:8645/v1\nLoadState=loaded\nActiveState=active\n\
        FragmentPath=/home/u/.config/systemd/user/hermes-proxyd.service\nUnitFileState=enabled\n\
        NeedDaemonReload=no\nActiveEnterTimestamp=Thu 2026-11-26 09:34:46 UTC\n";
    const ABSENT: &str = "MainPID=0\nResult=success\nExecMainStatus=0\nStatusText=\n\
        LoadState=not-found\nActiveState=inactive\nFragmentPath=\nUnitFileState=\n\
        NeedDaemonReload=no\nActiveEnterTimestamp=\n";

    #[test]
    fn a_running_service_is_seen_with_its_process_and_its_time() {
        let state = state(
            &UnitProperties::read(RUNNING),
            &UnitProperties::read(ABSENT),
        );
        assert_eq!(
            state,
            ServiceState {
                manager: Manager::Systemd,
                file: Some("/home/u/.config/systemd/user/hermes-proxyd.service".into()),
                packaged: false,
                enabled: true,
                running: Some(Running {
                    pid: 4242,
                    since: Some("2026-11-26T09:34:46Z".parse().unwrap()),
                }),
                status: Some("Serving nous at http://127.0.0.1:8645/v1".to_owned()),
                socket: Some(false),
                linger: None,
                last_failure: None,
            }
        );
    }

    #[test]
    fn an_absent_service_and_a_failed_one_are_told_apart() {
        let absent = state(&UnitProperties::read(ABSENT), &UnitProperties::read(ABSENT));
        assert_eq!(
            (absent.file, absent.running, absent.socket),
            (None, None, None)
        );
        for (result, code, word) in [
            ("exit-code", "78", "hermesctl config check"),
            ("exit-code", "203", "hermesctl service install"),
            ("exit-code", "1", "exit code 1"),
            ("watchdog", "6", "stopped responding"),
            ("signal", "11", "signal 11"),
            ("start-limit-hit", "1", "too often"),
        ] {
            let text = RUNNING
                .replace("Result=success", &format!("Result={result}"))
                .replace("ExecMainStatus=0", &format!("ExecMainStatus={code}"));
            let failed =
                state(&UnitProperties::read(&text), &UnitProperties::read(ABSENT)).last_failure;
            assert!(failed.as_deref().unwrap().contains(word), "{failed:?}");
        }
    }

    #[test]
    fn lingering_is_known_or_not() {
        assert_eq!(linger("yes\n", ""), Some(true));
        assert_eq!(linger("no\n", ""), Some(false));
        let absent = "Failed to get user: User ID 1000 is not logged in or lingering\n";
        assert_eq!(linger("", absent), Some(false));
        assert_eq!(linger("", "Failed to connect to bus: No such file\n"), None);
    }
}
