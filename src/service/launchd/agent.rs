//! The formats that launchd reads and prints; pure.

use std::path::{Path, PathBuf};

use crate::service::{InstallPlan, Manager, Running, ServiceState};

/// The agent as it can be installed by hand.
const AGENT: &str = include_str!("../../../launchd/hermes-proxyd.plist");

/// The values of the template's placeholders.
const DAEMON: &str = "/Users/USER/.local/bin/hermes-proxyd";
const LOG: &str = "/Users/USER/Library/Logs/hermes-proxyd.log";

/// Where launchd looks for what the service may run, such as hooks; it has no profile of a shell.
const PATH: &str = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// The agent's property list.
pub(super) fn plist(plan: &InstallPlan, log: &Path) -> String {
    let (head, rest) = AGENT.split_once("<!--").unwrap_or((AGENT, ""));
    let rest = rest.split_once("-->\n").map_or(rest, |(_, rest)| rest);
    let text = format!(
        "{head}<!-- Written by `hermesctl service install`, which overwrites it -->\n{rest}"
    )
    .replace(DAEMON, &escaped(&plan.daemon.display().to_string()))
    .replace(LOG, &escaped(&log.display().to_string()));
    let mut variables = format!(
        "    <key>EnvironmentVariables</key>\n    <dict>\n{}",
        entry("PATH", PATH)
    );
    for (name, value) in &plan.variables {
        variables += &entry(name, value);
    }
    variables += "    </dict>\n";
    text.replace(
        "    <key>RunAtLoad</key>",
        &format!("{variables}    <key>RunAtLoad</key>"),
    )
}

fn entry(name: &str, value: &str) -> String {
    let (name, value) = (escaped(name), escaped(value));
    format!("        <key>{name}</key>\n        <string>{value}</string>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The output of `launchctl print` for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaunchctlPrint {
    pub(super) pid: Option<u32>,
    /// `None` before the first end.
    pub(super) last_exit: Option<i32>,
}

impl LaunchctlPrint {
    /// Reads the answer; lines of inner blocks are indented further.
    pub(super) fn read(text: &str) -> Self {
        let of = |name: &str| {
            text.lines().find_map(|line| {
                let line = line.strip_prefix('\t')?;
                let (key, value) = line.split_once(" = ")?;
                (key == name).then_some(value)
            })
        };
        let number = |value: &str| {
            let end = value.find(|c: char| c != '-' && !c.is_ascii_digit());
            value.get(..end.unwrap_or(value.len())).map(str::to_owned)
        };
        Self {
            pid: of("pid").and_then(|pid| pid.parse().ok()),
            last_exit: of("last exit code")
                .and_then(number)
                .and_then(|code| code.parse().ok()),
        }
    }
}

/// Whether `launchctl print-disabled` lists this service as disabled. The words differ between
/// versions of macOS.
pub(super) fn is_disabled(text: &str, label: &str) -> bool {
    let name = format!("\"{label}\" => ");
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(&name))
        .any(|value| value == "disabled" || value == "true")
}

/// The service's state: the agent's file if there is one, and what launchd reports while it is
/// loaded.
pub(super) fn state(
    file: Option<PathBuf>,
    packaged: bool,
    disabled: bool,
    printed: Option<LaunchctlPrint>,
) -> ServiceState {
    let pid = printed.and_then(|printed| printed.pid);
    let failed = printed
        .and_then(|printed| printed.last_exit)
        .filter(|code| *code != 0);
    ServiceState {
        manager: Manager::Launchd,
        packaged,
        enabled: file.is_some() && !disabled,
        file,
        running: pid.map(|pid| Running { pid, since: None }),
        status: None,
        socket: None,
        linger: None,
        last_failure: failed.filter(|_| pid.is_none()).map(failure),
    }
}

fn failure(code: i32) -> String {
    if code == 78 {
        return "the configuration is invalid; `hermesctl config check` shows where".to_owned();
    }
    format!("it ended with exit code {code}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_agent_is_a_property_list_with_the_paths_as_they_are() {
        let plan = InstallPlan {
            daemon: "/Users/A & B <c>/bin/hermes-proxyd".into(),
            ctl: "/Users/A & B <c>/bin/hermesctl".into(),
            variables: BTreeMap::from([(
                "HERMES_HOME".to_owned(),
                "/data/\"é\" & more".to_owned(),
            )]),
            socket: None,
        };
        let text = plist(
            &plan,
            Path::new("/Users/A & B <c>/Library/Logs/hermes-proxyd.log"),
        );
        assert!(!text.contains("USER"), "{text}");
        let python =
            "import json, plistlib, sys; print(json.dumps(plistlib.load(sys.stdin.buffer)))";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let output = std::process::Command::new("python3")
            .args(["-c", python])
            .stdin(std::fs::File::open(file.path()).unwrap())
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: there is no python3");
            return;
        };
        assert!(output.status.success(), "{output:?}");
        let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let expected = serde_json::json!({
            "Label": "hermes-proxyd",
            "ProgramArguments": [
                "/Users/A & B <c>/bin/hermes-proxyd",
                "--log-file",
                "/Users/A & B <c>/Library/Logs/hermes-proxyd.log",
            ],
            "EnvironmentVariables": {"PATH": PATH, "HERMES_HOME": "/data/\"é\" & more"},
            "RunAtLoad": true,
            "KeepAlive": {"SuccessfulExit": false},
            "ThrottleInterval": 10,
            "ExitTimeOut": 150,
            "ProcessType": "Background",
            "StandardErrorPath": "/Users/A & B <c>/Library/Logs/hermes-proxyd.log",
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn what_launchctl_prints_is_read_without_the_inner_blocks() {
        let text = "gui/501/hermes-proxyd = {\n\tactive count = 1\n\tstate = running\n\n\
            \tprogram = /opt/bin/hermes-proxyd\n\tresource coalition = {\n\t\tpid = 1\n\t}\n\
            \tpid = 4242\n\tlast exit code = 78: EX_CONFIG\n}\n";
        let printed = LaunchctlPrint::read(text);
        assert_eq!((printed.pid, printed.last_exit), (Some(4242), Some(78)));
        let never = LaunchctlPrint::read(
            "x = {\n\tstate = not running\n\tlast exit code = (never exited)\n}\n",
        );
        assert_eq!((never.pid, never.last_exit), (None, None));
    }

    #[test]
    fn an_agent_that_somebody_disabled_is_known() {
        for word in ["disabled", "true"] {
            let text = format!(
                "disabled services = {{\n\t\"hermes-proxyd\" => {word}\n\t\"x\" => enabled\n}}\n"
            );
            assert!(is_disabled(&text, "hermes-proxyd"));
            assert!(!is_disabled(&text, "x"));
        }
    }

    #[test]
    fn a_failure_counts_only_while_it_does_not_run() {
        let printed = |pid, last_exit| Some(LaunchctlPrint { pid, last_exit });
        let file = || Some(PathBuf::from("/x.plist"));
        assert_eq!(
            state(file(), false, false, printed(Some(1), Some(1))).last_failure,
            None
        );
        let failed = state(file(), false, false, printed(None, Some(78)));
        assert!(failed.last_failure.unwrap().contains("config check"));
        assert!(failed.enabled);
        assert!(!state(file(), false, true, None).enabled);
        assert!(!state(None, false, false, None).enabled);
    }
}
