//! The status page in Chromium, checked by axe-core; and the snippets of docs/status-page.md.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper's failure is the test's"
)]

use std::path::Path;
use std::process::Stdio;

use chrono::{Days, Local};
use mock_cloud::Options;
use rusqlite::Connection;
use serde_json::{Value, json};
use support::environment::{has, installer, tool};
use support::hermes::{clients, test_env};
use support::several::Several;
use support::{Daemon, World, chat, client, ctl, program, root};

/// What is in the pictures: an app, a model, and the tokens of its requests.
const USES: [(&str, &str, u64); 5] = [
    ("open-webui", "Hermes-4-405B", 1830),
    ("karakeep", "Hermes-4-70B", 2410),
    ("paperless-gpt", "grok-4", 3150),
    ("open-webui", "grok-4", 990),
    ("OpenAI/Python (no key)", "Hermes-4-70B", 640),
];

/// A month's counts beside those of today, the same each time.
fn a_month(home: &Path) {
    let file = home.join(".local/state/hermes-proxyd/usage.db");
    let file = Connection::open(file).unwrap();
    let today = Local::now().date_naive();
    let row = "INSERT INTO usage (day, client, provider, login, model, path, requests, failed, untold, bytes_in, bytes_out, \
               prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, total_tokens) \
               VALUES (?1, ?2, 'nous', '', ?3, '/chat/completions', ?4, ?5, 0, 1, 1, ?6, ?7, 0, 0, ?6 + ?7)";
    for ago in 1..30_u64 {
        let day = today.checked_sub_days(Days::new(ago)).unwrap().to_string();
        for (at, (app, model, tokens)) in (0_u64..).zip(USES) {
            let requests = (ago * ago * 7 + ago * (at * 11 + 3)) % 29 + 4 - at.min(3);
            let failed = u64::from((ago + at) % 11 == 0) * 2;
            let (prompt, made) = (requests * tokens, requests * tokens / 4);
            let values = [requests, failed, prompt, made].map(|one| one.to_string());
            let [requests, failed, prompt, made] = values.each_ref().map(String::as_str);
            file.execute(row, [&day, app, model, requests, failed, prompt, made])
                .unwrap();
        }
    }
}

/// Two providers, apps with keys, and a month of use.
async fn busy() -> (Several, Daemon) {
    let world = Several::new().await;
    world.write_config(&format!(
        "[providers.nous]\nportal_url = {:?}\nbase_url = {:?}\n[providers.xai]\nissuer_url = {:?}\nbase_url = {:?}\n",
        world.nous.portal_url(),
        world.nous.inference_base_url(),
        world.xai.portal_url(),
        world.xai.inference_base_url(),
    ));
    let daemon = world.daemon(&[]);
    for app in ["karakeep", "open-webui", "paperless-gpt"] {
        let key = ctl(world.path(), &["clients", "add", app]);
        let key = String::from_utf8(key.stdout).unwrap().trim().to_owned();
        for number in 0..3 {
            let mut body = chat("hello");
            if number == 2 && app == "karakeep" {
                body["mock"] = json!({"status": 429});
            }
            let asked = client()
                .post(daemon.url("/chat/completions"))
                .bearer_auth(&key)
                .json(&body);
            asked.send().await.unwrap().bytes().await.unwrap();
        }
    }
    assert!(ctl(world.path(), &["usage"]).status.success());
    a_month(world.path());
    (world, daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_on_the_page_and_it_updates_itself() {
    if !has("chromium") {
        return;
    }
    let node = test_env("node");
    let setup = installer(&clients().join("axe/setup"))
        .env("HERMES_TEST_ENV", &node)
        .status();
    assert!(setup.unwrap().success(), "tests/clients/axe/setup failed");
    let (world, daemon) = busy().await;
    // For docs/: `HERMES_TEST_PICTURES=FOLDER`; they are made smaller by hand, with fewer colours.
    let pictures = std::env::var_os("HERMES_TEST_PICTURES")
        .map_or_else(|| world.path().to_owned(), Into::into);
    let port = daemon.address().rsplit_once(':').unwrap().1;
    let output = program(node.join("node/bin/node"), world.path())
        .env("TMPDIR", world.path())
        .arg(clients().join("axe/page.mjs"))
        .arg("chromium")
        .arg(world.path().join("chromium"))
        .arg(node.join("axe/node_modules/axe-core/axe.min.js"))
        .args([port, pictures.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let looks = told["looks"].as_array().unwrap();
    assert_eq!(looks.len(), 4);
    for look in looks {
        assert_eq!(look["violations"], json!([]), "{look:#}");
        // Nothing that axe leaves to a person.
        assert_eq!(look["incomplete"], json!([]), "{look:#}");
        assert!(look["passes"].as_u64().unwrap() > 20, "{look:#}");
        assert_eq!(look["isWide"], false, "it is wider than {}", look["name"]);
    }
    assert_eq!(told["complaints"], json!([]), "{told:#}");
    assert_ne!(told["after"], told["before"], "it does not update itself");
    assert_eq!(told["isOpen"], true, "an update closes what was open");
    assert_eq!(told["crossed"], "refused", "another site's page reads it");
    let rebound = told["rebound"].as_str().unwrap();
    assert!(rebound.contains("host_not_allowed"), "{rebound}");
}

/// The code blocks of the page behind a fence with this word.
fn blocks(word: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/status-page.md")).unwrap();
    let fence = format!("```{word}\n");
    let blocks = page.split(&fence).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// A YAML text as Python reads it.
fn yaml(text: &str) -> Value {
    let python = test_env("schemathesis").join("schemathesis/bin/python");
    let mut child = tool(python)
        .args([
            "-c",
            "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every field of the JSON that a snippet names.
fn fields_in(snippet: &Value, fields: &mut Vec<String>) {
    match snippet {
        Value::Array(items) => items.iter().for_each(|item| fields_in(item, fields)),
        Value::Object(object) => {
            for (name, value) in object {
                match (name.as_str(), value) {
                    ("field", Value::String(field)) => fields.push(field.clone()),
                    ("json_attributes", Value::Array(names)) => {
                        fields.extend(names.iter().map(|name| name.as_str().unwrap().to_owned()));
                    }
                    ("value_template" | "availability", Value::String(template)) => {
                        let names = template.split("value_json.").skip(1);
                        let name = |rest: &str| {
                            rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                                .next()
                                .map(str::to_owned)
                        };
                        fields.extend(names.filter_map(name));
                    }
                    (_, value) => fields_in(value, fields),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every URL that a snippet names, and the key that goes with it.
fn urls_in(snippet: &Value, urls: &mut Vec<String>) {
    match snippet {
        Value::Array(items) => items.iter().for_each(|item| urls_in(item, urls)),
        Value::Object(object) => object.values().for_each(|value| urls_in(value, urls)),
        Value::String(text) if text.starts_with("http://") => urls.push(text.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippets_for_dashboards_name_what_is_there() {
    let world = World::new(Options::default()).await;
    let key = world.ctl(&["clients", "add", "dashboard"]);
    let key = String::from_utf8(key.stdout).unwrap().trim().to_owned();
    let daemon = world.daemon_with("[[listen]]\naddress = \"0.0.0.0:0\"\n", &[]);
    let port = daemon.address().rsplit_once(':').unwrap().1;
    let get = async |path: &str, header: &str| {
        let request = client().get(format!("http://127.0.0.1:{port}{path}"));
        request
            .header("authorization", header)
            .send()
            .await
            .unwrap()
    };
    let bearer = format!("Bearer {key}");
    let flat: Value = get("/status.json", &bearer).await.json().await.unwrap();
    let snippets: Vec<_> = blocks("yaml").iter().map(|text| yaml(text)).collect();
    assert!(snippets.len() >= 3, "{snippets:#?}");
    let mut fields = Vec::new();
    for snippet in &snippets {
        fields_in(snippet, &mut fields);
        let mut urls = Vec::new();
        urls_in(snippet, &mut urls);
        assert!(!urls.is_empty(), "{snippet:#}");
        for url in urls {
            let path = url.strip_prefix("http://192.168.1.20:8645").unwrap_or(&url);
            assert_eq!(get(path, &bearer).await.status(), 200, "{url}");
        }
        assert!(
            snippet.to_string().contains("Bearer YOUR_CLIENT_KEY"),
            "{snippet:#}"
        );
    }
    // Uptime Kuma has a form.
    let form = blocks("text kuma");
    let query = form
        .first()
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("Json Query:"))
        .unwrap();
    fields.push(query.trim().split(' ').next().unwrap().to_owned());
    assert!(fields.len() > 15, "{fields:?}");
    for field in &fields {
        assert!(flat.get(field).is_some(), "there is no {field} in {flat:#}");
    }
    // And the page's tables name each field, and none that is not there.
    let page = std::fs::read_to_string(root().join("docs/status-page.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap().replace('`', ""));
    let mut told: Vec<_> = cells
        .flat_map(|cell| {
            cell.split(", ")
                .map(|name| name.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    let mut there: Vec<_> = flat.as_object().unwrap().keys().cloned().collect();
    told.sort_unstable();
    there.sort_unstable();
    assert_eq!(told, there);
}
