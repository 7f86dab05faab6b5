//! systemd's user manager.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, Utc};

use super::tool::{Answer, Call};
use super::{Manager, Running, ServiceError, State};
use crate::paths::Environment;

const SERVICE: &str = "hermes-proxyd.service";
const SOCKET: &str = "hermes-proxyd.socket";

/// What of the service is looked at.
const PROPERTIES: &str = "LoadState,UnitFileState,FragmentPath,ActiveState,MainPID,\
                          ActiveEnterTimestamp,StatusText,Result,ExecMainStatus";

pub(super) async fn state(environment: &Environment) -> Result<State, ServiceError> {
    let variables = variables(environment);
    let shown = show(SERVICE).run(&variables).await?;
    if !shown.ok {
        return Err(refused(&show(SERVICE), &shown));
    }
    let socket = show(SOCKET).run(&variables).await?;
    let own = environment.unit_dir();
    let linger = linger().run(&variables).await;
    let linger = linger.ok().and_then(|answer| read_linger(&answer));
    Ok(State {
        linger,
        ..read_state(&shown.said, &socket.said, own.as_deref())
    })
}

/// What leads to the user's manager also without a session.
fn variables(environment: &Environment) -> Vec<(&'static str, String)> {
    let Some(folder) = environment.runtime_base() else {
        return Vec::new();
    };
    let folder = folder.display();
    vec![
        ("XDG_RUNTIME_DIR", folder.to_string()),
        (
            "DBUS_SESSION_BUS_ADDRESS",
            format!("unix:path={folder}/bus"),
        ),
    ]
}

fn show(unit: &str) -> Call {
    Call::new(
        "systemctl",
        &[
            "--user",
            "show",
            "--timestamp=utc",
            "--property",
            PROPERTIES,
            unit,
        ],
    )
}

fn linger() -> Call {
    Call::new("loginctl", &["show-user", "--property=Linger", "--value"])
}

fn read_linger(answer: &Answer) -> Option<bool> {
    match answer.said.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn refused(call: &Call, answer: &Answer) -> ServiceError {
    ServiceError::Refused {
        line: call.line(),
        said: answer.complained.trim().to_owned(),
    }
}

/// The state that `systemctl show` tells of the service and of its socket.
fn read_state(service: &str, socket: &str, own: Option<&Path>) -> State {
    let (service, socket) = (properties(service), properties(socket));
    let of = |name: &str| service.get(name).copied().unwrap_or_default();
    let file = Some(PathBuf::from(of("FragmentPath"))).filter(|file| file.is_absolute());
    let pid: u32 = of("MainPID").parse().unwrap_or(0);
    let packaged = file.as_ref().is_some_and(|file| file.parent() != own);
    State {
        manager: Manager::Systemd,
        packaged,
        enabled: of("UnitFileState").starts_with("enabled") || is_enabled(&socket),
        running: (pid > 0).then(|| Running {
            pid,
            since: time(of("ActiveEnterTimestamp")),
        }),
        status: Some(of("StatusText").to_owned()).filter(|text| !text.is_empty()),
        socket: file.as_ref().map(|_| is_enabled(&socket)),
        linger: None,
        last_failure: failure(of("Result"), of("ExecMainStatus")),
        file,
    }
}

fn is_enabled(unit: &BTreeMap<&str, &str>) -> bool {
    unit.get("UnitFileState")
        .is_some_and(|state| state.starts_with("enabled"))
}

fn properties(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .collect()
}

/// `Thu 2026-11-26 09:34:46 UTC`; empty where there is none.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.split_once(' ')?.1;
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S UTC").ok()?;
    Some(time.and_utc())
}

/// `Result=` in words.
fn failure(result: &str, code: &str) -> Option<String> {
    Some(match (result, code) {
        ("" | "success", _) => return None,
        ("exit-code", "78") => {
            "the configuration is invalid: `hermes-proxyd --check` tells where".to_owned()
        }
        ("exit-code", code) => format!("it ended with exit code {code}"),
        ("watchdog", _) => "it gave no sign of life and was killed".to_owned(),
        ("start-limit-hit", _) => "it failed too often and is not started any more".to_owned(),
        (other, _) => other.to_owned(),
    })
}
