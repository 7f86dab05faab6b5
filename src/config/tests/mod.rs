//! Whole files: what is accepted, what is reported, and whether the example holds.

#![expect(clippy::too_many_lines, reason = "tables of cases")]

mod hooks;
mod mistakes;
mod routes;
mod urls;
mod values;
mod whole;

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::*;
use crate::paths::Environment;

const HOME: &str = if cfg!(windows) { r"C:\u" } else { "/home/u" };

fn env() -> Environment {
    Environment::from_lookup(|name| matches!(name, "HOME" | "USERPROFILE").then(|| HOME.into()))
}

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("config.toml"), &env())
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn problems(text: &str) -> Vec<Problem> {
    read(text).map_or_else(|error| error.problems, |_| Vec::new())
}

/// The problem of a file that has exactly one.
fn problem(text: &str) -> Problem {
    let mut problems = problems(text);
    assert_eq!(problems.len(), 1, "{text}\n{problems:#?}");
    problems.remove(0)
}

/// A file with one provider of type "static" and these lines in its table.
fn with_static(lines: &str) -> String {
    format!(
        "[providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\napi_key_env = \
         \"X_KEY\"\n{lines}"
    )
}

/// The example, with every key that has no default filled in.
fn full_example() -> String {
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c != ' ') => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Collects the keys of a table and its subtables, without the names of providers.
fn keys(pattern: &str, table: &DeTable<'_>, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let key = match (pattern, name.get_ref().as_ref()) {
            ("", name) => name.to_owned(),
            ("providers", _) => "providers.<name>".to_owned(),
            (_, name) => format!("{pattern}.{name}"),
        };
        found.insert(key.clone());
        if let Some(table) = value.get_ref().as_table() {
            keys(&key, table, found);
        }
        for item in value
            .get_ref()
            .as_array()
            .into_iter()
            .flat_map(|a| a.iter())
        {
            if let DeValue::Table(table) = item.get_ref() {
                keys(&format!("{key}[]"), table, found);
            }
        }
    }
}

/// A file with every key that can be combined with the others.
const EVERY: &str = r#"
default_provider = "Work"
hermes_home = "~/agent"
default_model = "mini"
[[listen]]
address = "localhost:9000"
provider = "nous"
[[listen]]
address = "[::1]:0"
[[listen]]
address = "0.0.0.0:9001"
allow_unauthenticated = true
[[listen]]
address = "docker0:8645"
[[listen]]
unix = "~/run/proxy.sock"
mode = "0660"
auth = "keys"
[guard]
peer_check = false
allowed_hosts = ["My-Machine.lan", "[fd00::1]"]
allowed_origins = ["https://app.example:8443", "app://obsidian.md"]
[limits]
body = 1_000
headers = "8 KiB"
connections = 7
replay_body = 0
replay_total = "2MiB"
[timeouts]
headers = "1ms"
drain = "0s"
response_head = "1h"
[log]
level = "info,hermes_proxy::credentials=debug"
format = "json"
[[hooks]]
command = ["~/bin/tell", "~", ""]
events = ["login_ended", "login_not_saved"]
timeout = "1m"
[[hooks]]
url = "http://ha.lan:8123/api/webhook/x?y=1"
[aliases]
"gpt-4.1" = "mini"
mini = 'work/"small"'
[[route]]
paths = ["embeddings", "/v1/audio/speech/"]
provider = "Work"
[[route]]
models = ["grok-*", "x"]
paths = ["/chat/completions"]
provider = "nous"
model = "y"
[providers.work]
type = "static"
base_url = "http://localhost:11434/v1/"
api_key_file = "~/key"
extra_paths = ["/responses", "GET /files", "GET,POST /responses"]
forward_headers = ["X-Request-Tag"]
user_agent = "client"
http = "2"
append_done = true
keep_alive_comment = "15s"
translate = true
ca_file = "~/ca.pem"
token_timeout = "20s"
refresh_lead = "1m30s"
[providers.nous]
pool = "round_robin"
"#;
