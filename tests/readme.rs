//! The documentation tells the truth: its commands run, its tables are complete.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{World, ctl, program, scratch};
use hermes_proxy::hooks::{Notice, NoticeKind};
use hermes_proxy::paths::Environment;
use hermes_proxy::proxy::error::ErrorKind;
use hermes_proxy::proxy::route::Local;
use mock_cloud::Options;
use serde_json::Value;

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The code blocks of the README behind a fence with these words.
fn blocks(fence: &str) -> Vec<String> {
    let readme = file("README.md");
    let start = format!("```{fence}\n");
    readme
        .split(&start)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The rows of the table under a heading, cell by cell.
fn table(heading: &str) -> Vec<Vec<String>> {
    let readme = file("README.md");
    let section = readme
        .split(&format!("## {heading}\n"))
        .nth(1)
        .expect("the heading");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        row.trim_matches('|')
            .split(" | ")
            .map(|c| c.trim().to_owned())
            .collect()
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_commands_of_the_readme_work_as_they_stand() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let commands = blocks("sh curl").concat();
    let commands: Vec<_> = commands.lines().collect();
    assert!(commands.len() >= 5);
    for command in commands {
        let command = command.replace("127.0.0.1:8645", daemon.address());
        let output = program("sh", world.home.path())
            .args(["-c", &format!("{command} --silent --show-error --fail")])
            .output()
            .unwrap();
        let body = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if command.contains("\"stream\": true") {
            assert!(
                body.starts_with("data: {") && body.ends_with("data: [DONE]\n\n"),
                "{body}"
            );
        } else {
            serde_json::from_str::<Value>(&body).expect("a JSON answer");
        }
    }
}

/// One after another in a home of their own, without a daemon.
#[test]
fn the_commands_on_keys_work_as_they_stand() {
    let home = scratch();
    let hermes = home.path().join(".hermes");
    std::fs::create_dir(&hermes).unwrap();
    let tokens = hermes.join("proxy-clients.json");
    std::fs::write(&tokens, r#"{"agent-a": "a-token-of-agent-a"}"#).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&tokens, private).unwrap();
    let commands = blocks("sh keys").concat();
    assert!(commands.lines().count() >= 6);
    for command in commands.lines() {
        let ours = command.replacen("hermesctl", env!("CARGO_BIN_EXE_hermesctl"), 1);
        let output = program("sh", home.path())
            .args(["-c", &ours])
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }
    let output = ctl(home.path(), &["clients", "list", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = list["clients"].as_array().unwrap().iter();
    let names: Vec<_> = names
        .map(|client| client["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["agent-a", "karakeep"]);
    let file = home.path().join(".local/state/hermes-proxyd/clients.json");
    assert!(file.exists());
}

#[test]
fn the_two_commands_stand_in_the_checks() {
    let commands = blocks("sh");
    let ci = file(".ci/run");
    assert_eq!(commands[0], "cargo run --release --example demo\n");
    assert!(ci.contains("cargo run --release --example demo -- --once"));
    assert!(ci.contains(&commands[1]), "{}", commands[1]);
}

#[test]
fn the_table_of_errors_holds_every_code_with_its_status_and_no_other() {
    let told: BTreeSet<_> = table("Errors")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let real = ErrorKind::ALL.iter().map(|kind| {
        (
            kind.status().as_u16().to_string(),
            format!("`{}`", kind.code()),
        )
    });
    assert_eq!(told, real.collect());
}

#[test]
fn the_table_of_apps_holds_what_is_run_at_the_pinned_versions() {
    let home = scratch();
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/run");
    let output = program(run, home.path()).arg("--list").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let real = String::from_utf8(output.stdout).unwrap();
    let readme = file("README.md");
    let section = readme.split("## Apps\n").nth(1).expect("the heading");
    let section = section.split("\n## ").next().unwrap();
    let told: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .collect();
    assert_eq!(told, real.lines().collect::<Vec<_>>());
}

#[test]
fn each_error_code_has_a_test() {
    let tests = ["answers", "lifecycle", "listeners", "login", "upstream"]
        .map(|name| file(&format!("tests/{name}.rs")))
        .concat();
    for kind in ErrorKind::ALL {
        // A defect of ours can't be asked for.
        let named = tests.contains(&format!("ErrorKind::{kind:?}"))
            || tests.contains(&format!("\"{}\"", kind.code()))
            || tests.contains(&format!("\\\"{}\\\"", kind.code()));
        assert!(
            named || kind == ErrorKind::Internal,
            "{} has no test",
            kind.code()
        );
    }
}

#[test]
fn the_table_of_routes_holds_every_route() {
    let routes: BTreeSet<_> = table("Routes")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    let mut real: BTreeSet<_> = Local::ALL
        .iter()
        .map(|(path, _)| format!("`GET {path}`"))
        .collect();
    real.extend([
        "`/v1/<path>`".to_owned(),
        "`/<provider>/v1/<path>`".to_owned(),
    ]);
    assert_eq!(routes, real);
}

#[test]
fn the_table_of_message_ids_holds_each_notice() {
    let told: BTreeSet<_> = table("Logs")
        .into_iter()
        .map(|row| (row[0].split(':').next().unwrap().to_owned(), row[2].clone()))
        .collect();
    let real = NoticeKind::NAMES.map(|(name, kind)| {
        let id = kind.message_id();
        (format!("`{name}`"), format!("`{id}`"))
    });
    assert_eq!(told, BTreeSet::from(real));
}

#[test]
fn the_hooks_of_the_readme_are_valid_and_the_notice_has_its_form() {
    let text = blocks("toml").concat();
    let config = hermes_proxy::config::parse(&text, "README.md".as_ref(), &Environment::default());
    assert_eq!(config.unwrap().hooks.len(), 2);
    let shown: Value = serde_json::from_str(&blocks("json").concat()).unwrap();
    let notice = Notice {
        event: NoticeKind::LoginEnded,
        provider: "nous".to_owned(),
        display_name: "Nous Portal".to_owned(),
        message: "…".to_owned(),
        command: Some("hermesctl auth login nous".to_owned()),
        ends_at: None,
        at: "2026-11-23T12:00:00Z".parse().unwrap(),
    };
    let mut real: Value = serde_json::from_str(&notice.to_json()).unwrap();
    real["host"] = "my-machine".into();
    real["version"] = "0.1.0".into();
    assert_eq!(shown, real);
}

#[test]
fn the_table_of_exit_codes_is_what_help_says() {
    let home = scratch();
    let told = |column: usize| -> BTreeSet<String> {
        let rows = table("Exit codes").into_iter();
        rows.filter(|row| row[column] != "–")
            .map(|row| row[0].clone())
            .collect()
    };
    let daemon = program(env!("CARGO_BIN_EXE_hermes-proxyd"), home.path())
        .arg("--help")
        .output();
    for (column, help) in [(1, daemon.unwrap()), (2, ctl(home.path(), &["--help"]))] {
        let help = String::from_utf8(help.stdout).unwrap();
        let codes = help.split("Exit codes:").nth(1).expect("exit codes");
        let codes = codes
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        assert_eq!(told(column), codes.map(str::to_owned).collect());
    }
}

#[test]
fn every_command_that_is_named_anywhere_exists() {
    let home = scratch();
    let mut texts = vec![file("README.md"), file("config.example.toml")];
    for folder in [
        "cli",
        "clients",
        "config",
        "control",
        "credentials",
        "daemon",
        "hooks",
        "provider",
        "proxy",
        "service",
    ] {
        for entry in walk(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("src")
                .join(folder),
        ) {
            texts.push(std::fs::read_to_string(entry).unwrap());
        }
    }
    let mut commands = BTreeSet::new();
    for (text, noun) in texts
        .iter()
        .flat_map(|text| ["proxy", "auth", "clients", "service"].map(|noun| (text, noun)))
    {
        for rest in text.split(&format!("hermesctl {noun} ")).skip(1) {
            let verb: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            commands.insert((noun, verb));
        }
    }
    commands.retain(|(_, verb)| !verb.is_empty());
    assert!(commands.len() >= 11, "{commands:?}");
    for (noun, verb) in commands {
        let output = ctl(home.path(), &[noun, &verb, "--help"]);
        assert!(
            output.status.success(),
            "hermesctl {noun} {verb} is named, but there is none"
        );
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
