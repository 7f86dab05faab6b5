//! Every command that a message or a page names runs unchanged, in a home with a login and beside a
//! daemon. All are valid command lines, none panics, none shows a secret.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use mock_cloud::Options;
use rustix::process::{Pid, Signal, kill_process};
use support::{PATIENCE, World, program};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::Instant;

/// They run until they are interrupted; with their exit code then.
const GO_ON: &[(&str, i32)] = &[
    ("hermes-proxyd --control-stdio", 0),
    ("hermes-proxyd bridge --to ", 0),
    ("hermesctl auth login --force", 130),
    ("hermesctl auth login nous --", 130),
    ("hermesctl proxy status --watch", 130),
];

/// What does not work here, with its exit code and what it says then.
const FAIL: &[(&str, i32, &str)] = &[
    ("hermes-proxyd --check --config ", 78, "cannot be read"),
    ("hermesctl auth login acme", 1, "No provider \"acme\""),
    (
        "hermesctl connect codex --provider openai-codex",
        1,
        "No provider \"openai-codex\"",
    ),
    (
        "hermesctl connect open-webui --provider openai-codex",
        1,
        "No provider \"openai-codex\"",
    ),
    ("hermesctl auth login umbra", 1, "No provider \"umbra\""),
    ("hermesctl proxy test acme", 1, "acme"),
    (
        "hermesctl auth login openai-codex --browser",
        1,
        "No provider \"openai-codex\" is configured",
    ),
    (
        "hermesctl auth login openai-codex",
        1,
        "No provider \"openai-codex\" is configured",
    ),
    (
        "hermesctl auth login xai",
        1,
        "No provider \"xai\" is configured",
    ),
    (
        "hermesctl auth logout xai",
        1,
        "No provider \"xai\" is configured",
    ),
    (
        "hermesctl auth reset xai",
        1,
        "No provider \"xai\" is configured",
    ),
    ("hermesctl auth logout nous --yes", 0, "logged out"),
    (
        "hermesctl auth logout",
        1,
        "hermesctl auth logout nous --yes",
    ),
    ("hermesctl bugreport --yes", 0, "hermes-proxyd-report.txt"),
    ("hermesctl bugreport", 1, "hermesctl bugreport --yes"),
    ("hermesctl clients add app --path", 1, "has the path"),
    ("hermesctl clients import nous", 1, "can't be read"),
    ("hermesctl config init --force", 0, "config.toml.bak"),
    ("hermesctl config init nous", 0, "was written"),
    ("hermesctl config init", 1, "hermesctl config init --force"),
    (
        "hermesctl connect karakeep --address karakeep",
        1,
        "https://",
    ),
    (
        "hermesctl connect karakeep --provider ollama",
        1,
        "providers are",
    ),
    ("hermesctl logs --file", 1, "can't be read"),
    ("hermesctl proxy start", 1, "is already running"),
    (
        "hermesctl proxy test --key",
        1,
        "hermesctl clients add NAME",
    ),
    // Standard output is a pipe here.
    ("hermesctl top --once", 0, "IN FLIGHT"),
    ("hermesctl top --json", 0, "in_flight"),
    ("hermesctl top", 2, "hermesctl top --once"),
    ("hermesctl service ", 1, "hermesctl proxy start"),
    (
        "hermesctl setup --provider xai",
        1,
        "this machine may be offline.",
    ),
];

/// So many lines are tried at once.
const AT_ONCE: usize = 8;

/// Ends in order, or is ended: interrupted after a second if it goes on.
fn run(mut command: Command, goes_on: bool) -> (String, Option<i32>) {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (done, ended) = channel();
    let waiting = std::thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        done.send(()).unwrap();
        output
    });
    let started = Instant::now();
    let mut patience = Duration::from_secs(if goes_on { 1 } else { PATIENCE.as_secs() });
    while ended.recv_timeout(patience).is_err() {
        if !goes_on || started.elapsed() > PATIENCE {
            kill_process(pid, Signal::KILL).ok();
            break;
        }
        // On a busy machine it may not have come so far, and would not end in order.
        if catches_interrupts(pid) {
            kill_process(pid, Signal::INT).ok();
            patience = PATIENCE;
        } else {
            patience = Duration::from_millis(50);
        }
    }
    let output = waiting.join().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8(said).unwrap(), output.status.code())
}

/// Where the system does not tell, a second was long enough.
fn catches_interrupts(pid: Pid) -> bool {
    let file = format!("/proc/{}/status", pid.as_raw_nonzero());
    let Ok(status) = std::fs::read_to_string(file) else {
        return !cfg!(target_os = "linux");
    };
    let mut caught = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.next().unwrap().trim(), 16).unwrap();
    caught & (1 << (Signal::INT.as_raw() - 1)) != 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_command_that_is_named_anywhere_runs() {
    let list = include_str!("../golden/cli/commands.txt");
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut lines = JoinSet::new();
    for line in list.lines() {
        let places = places.clone();
        lines.spawn(async move {
            let _place = places.acquire().await.unwrap();
            assert_runs(line).await;
        });
    }
    lines.join_all().await;
}

/// Each bridge listens at the same port.
static BRIDGE: Mutex<()> = Mutex::const_new(());

async fn assert_runs(line: &str) {
    let _port = if line.starts_with("hermes-proxyd bridge") {
        Some(BRIDGE.lock().await)
    } else {
        None
    };
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    // The mock cloud runs on the same threads.
    let daemon = block_in_place(|| world.daemon());
    for name in ["karakeep", "open-webui", "nous", "batch-jobs"] {
        if line.contains("clients r") || line.contains("clients change") {
            let added = block_in_place(|| world.ctl(&["clients", "add", name]));
            assert!(added.status.success());
        }
    }
    let tokens = home.join(".hermes/proxy-clients.json");
    std::fs::write(&tokens, r#"{"agent-a": "a-token-of-agent-a"}"#).unwrap();
    std::fs::set_permissions(&tokens, PermissionsExt::from_mode(0o600)).unwrap();
    let (name, rest) = line.split_once(' ').unwrap();
    let path = match name {
        "hermesctl" => env!("CARGO_BIN_EXE_hermesctl"),
        _ => env!("CARGO_BIN_EXE_hermes-proxyd"),
    };
    let mut command = program(path, home);
    command
        .args(rest.replace('~', home.to_str().unwrap()).split(' '))
        .current_dir(home)
        // Nothing of this machine is asked or opened, and nothing beyond it.
        .env("PATH", home.join("bin"))
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("NO_PROXY", "127.0.0.1,localhost");
    let begins = |start: &&str| line.starts_with(*start);
    let goes_on = GO_ON.iter().find(|(start, _)| begins(start));
    let fails = FAIL.iter().find(|(start, ..)| begins(start));
    let (said, code) = block_in_place(|| run(command, goes_on.is_some()));
    let expected = goes_on.map(|(_, code)| (*code, ""));
    let expected = expected.or(fails.map(|(_, code, says)| (*code, *says)));
    let (expected, says) = expected.unwrap_or((0, ""));
    assert_eq!(code, Some(expected), "{line}: {said}");
    assert!(said.contains(says), "{line}: {said}");
    assert!(!said.contains("panicked"), "{line}: {said}");
    world.assert_no_secret_in(line, &said);
    world.assert_no_secret_in("the log", &daemon.logged());
}
