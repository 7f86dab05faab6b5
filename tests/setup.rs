//! `hermesctl setup` without a service manager's help; `tests/service.rs` has it with one.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helper may fail loudly"
)]

mod common;

use std::path::Path;
use std::process::Output;

use common::{World, ctl, scratch};
use mock_cloud::Options;
use serde_json::Value;

/// The last line; what comes before is a login's.
fn outcome(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn results(outcome: &Value) -> Vec<&str> {
    let steps = outcome["steps"].as_array().unwrap().iter();
    steps.map(|step| step["result"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_written_once_and_a_login_is_found() {
    let world = World::new(Options::default()).await;
    let file = world.home.path().join(".config/hermes-proxyd/config.toml");
    let output = world.ctl(&["setup", "--yes", "--no-service", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let first = outcome(&output);
    assert_eq!(results(&first), ["done", "already", "left"], "{first:#}");
    assert_eq!(first["ready"], false);
    let written = std::fs::read_to_string(&file).unwrap();

    let output = world.ctl(&["setup", "--no-service", "--json"]);
    assert_eq!(results(&outcome(&output)), ["already", "already", "left"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    let output = world.ctl(&["setup", "--no-service"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("already  configuration "), "{text}");
    assert!(text.contains("hermesctl proxy start"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_daemon_a_request_is_sent_and_the_address_is_told() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let output = world.ctl(&["setup", "--no-service", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = outcome(&output);
    assert_eq!(told["base_url"], daemon.base.as_str());
    assert_eq!(told["test"]["status"], 200);
    let output = world.ctl(&["setup", "--no-service"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("OPENAI_BASE_URL={}", daemon.base)),
        "{text}"
    );
}

#[test]
fn a_wrong_configuration_is_told_and_nothing_else_is_done() {
    let home = scratch();
    let file = home.path().join(".config/hermes-proxyd/config.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "nonsense = 1\n").unwrap();
    let output = ctl(home.path(), &["setup", "--yes"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(":1: nonsense") && said.contains("hermesctl setup"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "nonsense = 1\n");
}

/// Where systemd runs the machine, this user's own manager would be asked.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_service_manager_the_way_without_it_is_told() {
    if !cfg!(target_os = "linux") || Path::new("/run/systemd/system").exists() {
        eprintln!("skipped: there is a service manager here");
        return;
    }
    let world = World::new(Options::default()).await;
    let output = world.ctl(&["setup", "--yes"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("hermesctl proxy start"), "{text}");
    for verb in ["install", "uninstall", "start", "stop", "restart", "status"] {
        let output = world.ctl(&["service", verb, "--json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["error"]["code"], "no_service_manager");
        assert!(
            told["error"]["hint"]
                .as_str()
                .unwrap()
                .contains("hermesctl proxy start")
        );
    }
}
