//! Usage: the counts are the provider's reports, whatever the form of the answer, and requests don't suffer when the
//! counts can't be saved.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

#[cfg(target_os = "linux")]
mod disk;
mod many;

use std::path::{Path, PathBuf};

use mock_cloud::Options;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use support::wire::{Wire, daemon_at, read_request};
use support::{Daemon, World, chat, client, ctl, post};
use tokio::io::AsyncWriteExt;

fn file(home: &Path) -> PathBuf {
    home.join(".local/state/hermes-proxyd/usage.db")
}

/// What hermesctl tells, by `by`.
fn told(home: &Path, by: &str) -> Value {
    let output = ctl(home, &["usage", "--by", by, "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The row of this name.
fn row(report: &Value, name: &str) -> Value {
    let mut rows = report["rows"].as_array().unwrap().iter();
    let row = rows.find(|row| row["name"] == name);
    row.unwrap_or_else(|| panic!("no {name} in {report:#}"))
        .clone()
}

fn names(report: &Value) -> Vec<&str> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|row| row["name"].as_str().unwrap()).collect()
}

/// A look into the file, as another program has it.
fn looks(home: &Path) -> Connection {
    Connection::open_with_flags(file(home), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
}

fn integrity(file: &Connection) -> String {
    let found = file.query_row("PRAGMA integrity_check", [], |row| row.get(0));
    found.unwrap()
}

fn requests(file: &Connection) -> u64 {
    let sql = "SELECT COALESCE(SUM(requests), 0) FROM usage";
    let sum: i64 = file.query_row(sql, [], |row| row.get(0)).unwrap();
    u64::try_from(sum).unwrap()
}

async fn send(daemon: &Daemon, path: &str, body: &Value) -> u16 {
    let request = client().post(daemon.url(path)).json(body);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_told_apart_by_app_model_path_and_day_and_kept_over_a_restart() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let mut daemon = world.daemon();
    let key = ctl(home, &["clients", "add", "karakeep"]);
    let key = String::from_utf8(key.stdout).unwrap();
    let keyed = client()
        .post(daemon.url("/chat/completions"))
        .bearer_auth(key.trim())
        .json(&chat("hello"));
    keyed.send().await.unwrap().bytes().await.unwrap();
    let stream = json!({"model": "other", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "x"}]});
    let named = client()
        .post(daemon.url("/chat/completions"))
        .header("user-agent", "OpenAI/Python 2.8.1")
        .json(&stream);
    named.send().await.unwrap().bytes().await.unwrap();
    let silent = json!({"model": "other", "stream": true, "messages": []});
    assert_eq!(send(&daemon, "/chat/completions", &silent).await, 200);
    let embeddings = json!({"input": "x", "model": "embedder"});
    assert_eq!(send(&daemon, "/embeddings", &embeddings).await, 200);
    let fails = json!({"model": "other", "mock": {"status": 503}, "messages": []});
    assert_eq!(send(&daemon, "/chat/completions", &fails).await, 503);

    let by_client = told(home, "client");
    assert_eq!(by_client["enabled"], true);
    let total = &by_client["total"];
    let counts = ["requests", "failed", "without_tokens", "total_tokens"];
    assert_eq!(counts.map(|name| &total[name]), [5, 1, 1, 27], "{total:#}");
    let tokens = ["prompt_tokens", "completion_tokens"].map(|name| &total[name]);
    assert_eq!(tokens, [17, 10]);
    assert_eq!(total["errors"], json!({"http_503": 1}));
    assert_eq!(row(&by_client, "karakeep")["total_tokens"], 12);
    assert_eq!(
        row(&by_client, "OpenAI/Python (no key)")["total_tokens"],
        12
    );
    assert_eq!(row(&by_client, "(no key)")["requests"], 3);
    let by_model = told(home, "model");
    assert_eq!(names(&by_model), ["other", "Hermes-4-405B", "embedder"]);
    assert_eq!(row(&by_model, "other")["requests"], 3);
    let by_path = told(home, "path");
    assert_eq!(names(&by_path), ["/chat/completions", "/embeddings"]);
    assert_eq!(names(&told(home, "provider")), ["nous"]);
    assert_eq!(names(&told(home, "login")), [""]);

    // What ended last is written before the daemon ends, and read without one.
    assert_eq!(support::status_of(&daemon, &chat("once more")).await, 200);
    assert!(daemon.stop().success());
    let by_day = told(home, "day");
    assert_eq!(names(&by_day).len(), 1);
    assert_eq!(by_day["enabled"], true, "as it is configured");
    assert_eq!(by_day["total"]["requests"], 6);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(file(home)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let daemon = world.daemon();
    assert_eq!(support::status_of(&daemon, &chat("again")).await, 200);
    assert_eq!(told(home, "day")["total"]["requests"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_show_as_text() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let home = world.home.path();
    let mut body = chat("x");
    body["model"] = "\u{1b}[31mevil\u{202e}\n<b>".into();
    let named = client().post(daemon.url("/chat/completions")).json(&body);
    let named = named.header("user-agent", "<script>/1");
    named.send().await.unwrap().bytes().await.unwrap();
    let mut body = chat("x");
    body["model"] = "=cmd,\"".into();
    assert_eq!(support::status_of(&daemon, &body).await, 200);
    body["model"] = "m".repeat(3000).into();
    assert_eq!(support::status_of(&daemon, &body).await, 200);
    let models = told(home, "model");
    let evil = r"\u{1b}[31mevil\u{202e}\u{a}<b>";
    assert_eq!(row(&models, evil)["requests"], 1);
    assert!(
        names(&models)
            .iter()
            .all(|name| name.chars().count() <= 101)
    );
    assert!(names(&told(home, "client")).contains(&"<script> (no key)"));
    for form in [
        &["usage", "--by", "model"][..],
        &["usage", "--by", "model", "--csv"],
    ] {
        let output = ctl(home, form);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert!(text.contains(evil) || !form.contains(&"--csv"), "{text}");
        assert_eq!(
            text.contains("\"'=cmd,\"\"\""),
            form.contains(&"--csv"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_off_is_not_counted_and_leaves_no_file() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let mut daemon = world.daemon_with("[usage]\nenabled = false\n", &[]);
    assert_eq!(support::status_of(&daemon, &chat("x")).await, 200);
    let report = told(home, "client");
    assert_eq!(
        (&report["enabled"], &report["rows"]),
        (&json!(false), &json!([]))
    );
    let text = ctl(home, &["usage"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("enabled = true"), "{text}");
    assert!(daemon.stop().success());
    assert!(!file(home).exists());
    // On, it is made with the first request.
    let mut daemon = world.daemon_with("", &[]);
    told(home, "client");
    assert!(!file(home).exists());
    assert_eq!(support::status_of(&daemon, &chat("x")).await, 200);
    assert!(daemon.stop().success());
    assert!(file(home).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_under_load_loses_the_last_batch_at_most_and_leaves_the_file_whole() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let mut daemon = world.daemon();
    for round in 0..4_u64 {
        let load = async |daemon: &Daemon, count: u64| {
            let posts = (0..count).map(|number| async move {
                let mut body = chat("x");
                body["model"] = format!("model-{number}").into();
                let answer = client().post(daemon.url("/chat/completions")).json(&body);
                // Those of the end may find the daemon dead.
                if let Ok(answer) = answer.send().await {
                    answer.bytes().await.ok();
                }
            });
            futures_util::future::join_all(posts).await;
        };
        load(&daemon, 20).await;
        let written = told(home, "client")["total"]["requests"].as_u64().unwrap();
        assert!(written >= 20 * (round + 1), "{written}");
        // While more are counted, and written with each query.
        let pid = daemon.pid();
        tokio::join!(load(&daemon, 40), async {
            let asks = tokio::task::spawn_blocking({
                let home = home.to_owned();
                move || ctl(&home, &["usage", "--json"])
            });
            tokio::time::sleep(std::time::Duration::from_millis(10 * round)).await;
            let pid = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL).unwrap();
            asks.await.unwrap();
        });
        daemon.wait();
        let found = looks(home);
        assert_eq!(integrity(&found), "ok");
        assert!(
            requests(&found) >= written,
            "{} < {written}",
            requests(&found)
        );
        drop(found);
        daemon = world.daemon();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_costs_its_counts_and_no_request() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    std::fs::create_dir_all(file(home).parent().unwrap()).unwrap();
    std::fs::write(file(home), "no database").unwrap();
    let mut daemon = world.daemon();
    assert_eq!(support::status_of(&daemon, &chat("x")).await, 200);
    assert_eq!(told(home, "client")["total"]["requests"], 1);
    assert!(daemon.stop().success());
    assert!(
        daemon.logged().contains("was damaged"),
        "{}",
        daemon.logged()
    );
    let aside = file(home).with_extension("db.damaged");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "no database");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_request_failed_is_counted_by_kind() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    // The first answer breaks off, the second one never ends.
    let wire = Wire::start(|mut stream, _| async move {
        while let Some(request) = read_request(&mut stream).await {
            if request.contains("cuts") {
                let cut = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100\r\n\r\n\
                           data: {\"usage\":{\"total_tokens\":5}}\n\ndata: {";
                stream.write_all(cut.as_bytes()).await.ok();
                return;
            }
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n";
            stream.write_all(head.as_bytes()).await.ok();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    let cut = post(&daemon, &chat("it cuts")).await;
    assert!(cut.bytes().await.is_err());
    let hangs = post(&daemon, &chat("it hangs")).await;
    drop(hangs);
    support::until("both have ended", || {
        told(home, "client")["total"]["requests"] == 2
    });
    let total = told(home, "client")["total"].clone();
    assert_eq!(total["errors"], json!({"answer_cut": 1, "client_left": 1}));
    assert_eq!(
        (&total["failed"], &total["total_tokens"]),
        (&json!(2), &json!(5))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_answers_own_usage_is_counted() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    // A tool's input, as Messages has it, a file, and the same as answers of their own.
    let wire = Wire::start(|mut stream, _| async move {
        while let Some(request) = read_request(&mut stream).await {
            let usage = "\"usage\":{\"input_tokens\":3,\"output_tokens\":4}";
            let tool = "{\"type\":\"tool_use\",\"input\":{\"usage\":{\"input_tokens\":900}}}";
            let (kind, body) = if request.contains("a tool") {
                let body = format!("{{{usage},\"content\":[{tool}],\"stop_reason\":null}}");
                ("application/json", body)
            } else if request.contains("no usage") {
                ("application/json", format!("{{\"content\":[{tool}]}}"))
            } else {
                ("application/jsonl", format!("{{{usage}}}\n"))
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.ok();
        }
    })
    .await;
    let daemon = daemon_at(&world, &wire.base_url(), "");
    for words in ["a tool", "no usage", "a file"] {
        assert_eq!(support::status_of(&daemon, &chat(words)).await, 200);
    }
    let total = told(home, "client")["total"].clone();
    let counts = ["requests", "total_tokens", "without_tokens"];
    assert_eq!(counts.map(|name| &total[name]), [3, 7, 2], "{total:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_by_model_counts_the_model_that_the_provider_was_asked_for() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let config = "[aliases]\nsmart = \"nous/Hermes-4-70B\"\n";
    let daemon = world.daemon_with(config, &[]);
    let mut body = chat("x");
    body["model"] = "smart".into();
    assert_eq!(support::status_of(&daemon, &body).await, 200);
    body["model"] = "Hermes-4-405B".into();
    assert_eq!(support::status_of(&daemon, &body).await, 200);
    let models = told(home, "model");
    assert_eq!(names(&models), ["Hermes-4-405B", "Hermes-4-70B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_zone_that_hangs_holds_up_no_request() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let zone = home.join("zone");
    let made = support::environment::tool("mkfifo").arg(&zone).status();
    assert!(made.unwrap().success());
    world.write_config("");
    let mut command = world.command(&[]);
    command.env("TZ", format!(":{}", zone.display()));
    let daemon = Daemon::start(command, home);
    for _ in 0..3 {
        assert_eq!(support::status_of(&daemon, &chat("x")).await, 200);
    }
    // Counting waits for the time zone, and so does who asks, but not for long.
    let output = ctl(home, &["usage"]);
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("has not answered"), "{text}");
    assert_eq!(support::status_of(&daemon, &chat("x")).await, 200);
}
