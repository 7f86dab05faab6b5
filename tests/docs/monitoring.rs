//! The list of metrics, the dashboard and the alert rules only name metrics of a real page.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hermes_proxy::metrics;
use mock_cloud::{MockCloud, Options};
use serde_json::{Value, json};
use support::environment::{has, tool};
use support::several::Several;
use support::{PATIENCE, chat, client, ctl, status_of};

fn place(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn text(file: &str) -> String {
    std::fs::read_to_string(place(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A page of a daemon that has everything that a page can have.
async fn whole_page() -> String {
    let world = Several::new().await;
    let codex = MockCloud::start(Options::default().codex("acc-0001", Some("eu"))).await;
    let login = codex.login();
    world.edit_store(|store| {
        store["providers"]["openai-codex"] = json!({
            "tokens": {"access_token": login.access_token, "refresh_token": login.refresh_token},
            "last_refresh": login.expires_at.to_rfc3339(), "auth_mode": "chatgpt",
        });
    });
    world.configure("");
    world.append_config(&format!(
        "[providers.openai-codex]\nissuer_url = {:?}\nbase_url = {:?}\n",
        codex.portal_url(),
        codex.codex_base_url()
    ));
    let key = ctl(world.path(), &["clients", "add", "app"]);
    let key = String::from_utf8(key.stdout).unwrap();
    let daemon = world.daemon(&[]);
    let mut asked = chat("x");
    asked["mock"] = json!({"headers": {"x-ratelimit-limit-requests-1h": "1000",
        "x-ratelimit-remaining-requests-1h": "900", "x-ratelimit-reset-requests-1h": "60"}});
    assert_eq!(status_of(&daemon, &asked).await, 200);
    let body = json!({"model": "gpt-5", "stream": true, "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "x"}]}]});
    let asked = client()
        .post(format!("{}/openai-codex/v1/responses", daemon.origin()))
        .bearer_auth(key.trim())
        .json(&body);
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    answer.bytes().await.unwrap();
    // A request is entered a moment after its last byte.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let page = client().get(format!("{}/metrics", daemon.origin()));
        let page = page.send().await.unwrap().text().await.unwrap();
        let has_all = page.contains("_requests_total{provider=\"openai-codex\"")
            && page.contains("_tokens_total{")
            && page.contains("_quota_used_ratio{provider=\"openai-codex\"")
            && page.contains("_quota_limit{");
        if has_all {
            return page;
        }
        assert!(tokio::time::Instant::now() < deadline, "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The names of a page's metrics, as they are asked for, with their types.
fn metrics_of(page: &str) -> Vec<(&str, &str)> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split_once(' ')).collect()
}

/// The names of a sample's labels.
fn labels(sample: &str) -> BTreeSet<&str> {
    let within = sample.split_once('{').map_or("", |(_, rest)| rest);
    let names = within.split("=\"").filter_map(|part| {
        let start = part.rfind(['{', ',']).map_or(0, |at| at + 1);
        part.get(start..)
    });
    names
        .filter(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
        .filter(|name| within.contains(&format!("{name}=\"")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_metrics_is_that_of_the_page() {
    let page = whole_page().await;
    let docs = text("docs/metrics.md");
    let rows: Vec<_> = docs
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let name = |row: &&str| row.split('`').nth(1).unwrap().to_owned();
    let listed: Vec<_> = rows.iter().map(name).collect();
    let known: Vec<_> = metrics::ALL.iter().map(|one| one.sample_name()).collect();
    assert_eq!(listed, known);
    let told = metrics_of(&page);
    let missing: Vec<_> = known
        .iter()
        .filter(|name| !told.iter().any(|(told, _)| told == name))
        .collect();
    if cfg!(target_os = "linux") {
        assert!(missing.is_empty(), "{missing:?} of no page:\n{page}");
    }
    for (name, kind) in told {
        let row = rows
            .iter()
            .find(|row| row.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} is not listed"));
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2], kind, "{row}");
        let help = format!("# HELP {name} {}.", cells[4]);
        assert!(page.lines().any(|line| line == help), "{row}");
        let mut samples = page.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ', '_']))
        });
        let sample = samples.next().unwrap();
        let told: BTreeSet<_> = cells[3].split('`').skip(1).step_by(2).collect();
        let mut real = labels(sample);
        real.remove("le");
        assert_eq!(told, real, "{row}\n{sample}");
    }
}

/// What an expression names: everything that begins as our metrics and those of a process do.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours =
        words.filter(|word| word.starts_with("hermes_proxy_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

fn expressions(json: &Value, found: &mut Vec<String>) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_one = name == "expr" || name == "query";
                match value.as_str().filter(|_| is_one) {
                    Some(text) => found.push(text.to_owned()),
                    None => expressions(value, found),
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                expressions(value, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let page = whole_page().await;
    let mut real = BTreeSet::new();
    for (name, kind) in metrics_of(&page) {
        if kind == "histogram" {
            real.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        } else {
            real.insert(name.to_owned());
        }
    }
    let dashboard: Value =
        serde_json::from_str(&text("packaging/grafana/hermes-proxyd.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 40, "{}", asked.len());
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    let alerts = text("packaging/prometheus/alerts.yml");
    let shown = named(&asked.join("\n"));
    let watched = named(&alerts);
    assert!(watched.len() > 7, "{watched:?}");
    let unknown: Vec<_> = shown
        .union(&watched)
        .filter(|name| !real.contains(*name))
        .collect();
    assert!(
        unknown.is_empty() || !cfg!(target_os = "linux"),
        "{unknown:?}"
    );
    // Everything that is measured is on the dashboard.
    let unseen: Vec<_> = metrics::ALL
        .iter()
        .map(|one| one.sample_name())
        .filter(|name| !shown.iter().any(|shown| shown.starts_with(name.as_str())))
        .collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

#[test]
fn prometheus_takes_the_rules_and_each_alert_fires_when_it_should() {
    if !has("promtool") {
        return;
    }
    for (args, file) in [
        (&["check", "rules"][..], "alerts.yml"),
        (&["check", "config"], "prometheus.yml"),
        (&["test", "rules"], "alerts.test.yml"),
    ] {
        let folder = place("packaging/prometheus");
        let mut command = tool("promtool");
        let output = command.current_dir(folder).args(args).arg(file).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{file}: {output:?}");
    }
    let rules = text("packaging/prometheus/alerts.yml");
    let tests = text("packaging/prometheus/alerts.test.yml");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let fires = format!("alertname=\"{alert}\"");
        let rests = format!("alertname: {alert}, exp_alerts: []");
        assert!(
            tests.contains(&fires) && tests.contains(&rests),
            "{alert} is not tested"
        );
    }
}
