//! The configuration's schema and reference are the program's, and the schema refuses nothing that
//! the reader accepts.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use hermes_proxy::config;
use hermes_proxy::paths::Environment;
use support::hermes::{clients, test_env};
use support::{ctl, scratch};

/// `UPDATE_GOLDEN=1` rewrites the file.
fn stands_in(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == stands,
        "{file} is not what the program says: run the test with UPDATE_GOLDEN=1"
    );
}

/// The example with every key that has no default.
fn full_example() -> String {
    let lines = config::EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if key.starts_with(|c: char| c != ' ') => key,
            _ => line,
        });
    lines.collect::<Vec<_>>().join("\n")
}

fn reader_takes(text: &str) -> bool {
    let env = Environment::from_lookup(|name| (name == "HOME").then(|| "/home/u".into()));
    config::parse(text, "config.toml".as_ref(), &env).is_ok()
}

fn schema_takes(texts: &[&str]) -> Vec<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut child =
        support::environment::tool(test_env("jsonschema").join("jsonschema/bin/python"))
            .arg(clients().join("jsonschema/check.py"))
            .arg(root.join("packaging/hermes-proxyd.schema.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let texts = serde_json::to_string(texts).unwrap();
    stdin.write_all(texts.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_schema_in_the_package_is_what_the_program_prints() {
    let home = scratch();
    let output = ctl(home.path(), &["config", "schema"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    stands_in("packaging/hermes-proxyd.schema.json", &printed);
    let output = ctl(home.path(), &["config", "schema", "--json"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), printed);
}

#[test]
fn the_reference_is_what_the_program_says() {
    stands_in(
        "docs/configuration.md",
        &hermes_proxy::manual::configuration(),
    );
}

#[test]
fn what_the_reader_takes_the_schema_takes_too() {
    let home = scratch();
    let shown = ctl(home.path(), &["config", "show"]).stdout;
    let shown = String::from_utf8(shown).unwrap();
    let full = full_example();
    let texts = [
        "",
        config::EXAMPLE,
        &full,
        &shown,
        "[limits]\nbody = 1_000\nheaders = \" 8 kib \"\n",
        "[timeouts]\nidle = \"1h 30 m\"\ndrain = \"0s\"\n",
        "[guard]\nallowed_hosts = []\n",
    ];
    for (text, taken) in texts.iter().zip(schema_takes(&texts)) {
        assert!(reader_takes(text), "the reader refuses\n{text}");
        assert!(taken, "the schema refuses\n{text}");
    }
}

#[test]
fn what_the_schema_refuses_the_reader_refuses_too() {
    let texts = [
        "unknown = 1\n",
        "default_provider = 1\n",
        "listen = \"127.0.0.1:8645\"\n",
        "[listen]\naddress = \"127.0.0.1:8645\"\n",
        "[[listen]]\nadress = \"127.0.0.1:8645\"\n",
        "[[listen]]\nauth = \"none\"\n",
        "[limits]\nbody = \"64MB\"\n",
        "[limits]\nbody = 0\n",
        "[limits]\nconnections = \"many\"\n",
        "[limits]\nconnections = 0\n",
        "[timeouts]\nidle = 10\n",
        "[timeouts]\nidle = \"\"\n",
        "[timeouts]\nidle = \"10\"\n",
        "[timeouts]\nidle = \"30s1m\"\n",
        "[timeouts]\nidle = \"1d\"\n",
        "[log]\nformat = \"xml\"\n",
        "[guard]\npeer_check = \"yes\"\n",
        "[guard]\nallowed_hosts = \"x\"\n",
        "[guard]\nallowed_hosts = [1]\n",
        "[[hooks]]\ncommand = [\"x\"]\nevents = [\"login_endet\"]\n",
        "[providers.nous]\ntype = \"oauth\"\n",
        "[providers.nous]\napi_key = \"x\"\n",
        "providers = 1\n",
    ];
    for (text, taken) in texts.iter().zip(schema_takes(&texts)) {
        assert!(!taken, "the schema takes\n{text}");
        assert!(!reader_takes(text), "the reader takes\n{text}");
    }
}

/// For every reader, and every width of the terminal.
#[test]
fn the_schema_is_printed_the_same_at_each_width() {
    let home = scratch();
    let printed = |columns: &str, flags: &[&str]| {
        let output = support::program(env!("CARGO_BIN_EXE_hermesctl"), home.path())
            .env("COLUMNS", columns)
            .args(["config", "schema"])
            .args(flags)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let usual = printed("80", &[]);
    for columns in ["60", "120"] {
        assert_eq!(printed(columns, &[]), usual, "{columns}");
        assert_eq!(printed(columns, &["--json"]), usual, "{columns}");
    }
}
