//! Quotas from providers' answers: shown, kept through a reload, measured, and sent to hooks once for each
//! crossing.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::path::Path;

use mock_cloud::Options;
use serde_json::{Value, json};
use support::several::Several;
use support::{Daemon, World, client, ctl, status_of, until};

/// A hook that appends what it is told to a file in this home.
fn hook(home: &Path) -> String {
    let file = home.join("told");
    format!(
        "[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n",
        file.display()
    )
}

fn told(home: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(home.join("told")).unwrap_or_default();
    let lines = text
        .lines()
        .map_while(|line| serde_json::from_str(line).ok());
    lines.collect()
}

fn events(home: &Path) -> Vec<String> {
    let told = told(home).into_iter();
    told.map(|one| one["event"].as_str().unwrap().to_owned())
        .collect()
}

/// A request whose answer reports this many of 1,000 requests an hour as remaining.
async fn answered(daemon: &Daemon, left: u64, seconds: u64) {
    let body = json!({"model": "m", "messages": [], "mock": {"headers": {
        "x-ratelimit-limit-requests-1h": "1000",
        "x-ratelimit-remaining-requests-1h": left.to_string(),
        "x-ratelimit-reset-requests-1h": seconds.to_string(),
        "x-ratelimit-limit-tokens": "10",
        "x-ratelimit-remaining-tokens": "0",
    }}});
    assert_eq!(status_of(daemon, &body).await, 200);
}

fn used(daemon: &Daemon) -> Value {
    let status = daemon.status();
    let windows = status["providers"][0]["quota"]["windows"].as_array();
    let windows = windows.cloned().unwrap_or_default();
    let hour = windows.iter().find(|one| one["name"] == "requests_1h");
    hour.cloned().unwrap_or_default()
}

async fn flat(daemon: &Daemon) -> Value {
    let page = client().get(format!("{}/status.json", daemon.origin()));
    page.send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_crossing_is_told_once_and_a_reload_forgets_no_quota() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let daemon = world.daemon_with(&hook(home), &[]);
    for left in [900, 201, 200, 201, 199, 150] {
        answered(&daemon, left, 3000).await;
    }
    until("a notice of 80 %", || events(home) == ["quota_low"]);
    let notice = told(home).remove(0);
    let quota = &notice["quota"];
    assert_eq!(
        (&quota["window"], &quota["login"]),
        (&json!("requests_1h"), &Value::Null)
    );
    assert!(quota["used_percent"].as_f64().unwrap() >= 80.0, "{notice}");
    assert!(quota["resets_at"].is_string(), "{notice}");
    let message = notice["message"].as_str().unwrap();
    assert!(message.starts_with("Nous Portal: 8"), "{message}");
    let window = used(&daemon);
    assert_eq!(
        (&window["limit"], &window["remaining"]),
        (&json!(1000), &json!(150))
    );
    assert_eq!(
        (&window["used_percent"], &window["length_seconds"]),
        (&json!(85), &json!(3600))
    );
    let shown = ctl(home, &["proxy", "status"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("requests_1h: 85 % used, 150 of 1,000 left"),
        "{shown}"
    );

    world.write_config(&(hook(home) + "[providers.nous]\nappend_done = false\n"));
    let reloaded = world.ctl(&["proxy", "reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert_eq!(used(&daemon)["remaining"], 150);
    for left in [149, 0, 3, 0, 30, 0] {
        answered(&daemon, left, 3000).await;
    }
    until("a notice of the end", || {
        events(home) == ["quota_low", "quota_spent"]
    });
    let page = client().get(format!("{}/metrics", daemon.origin()));
    let page = page.send().await.unwrap().text().await.unwrap();
    let labels = "{provider=\"nous\",login=\"login\",window=\"requests_1h\"}";
    for (name, value) in [("used_ratio", 1), ("remaining", 0), ("limit", 1000)] {
        let line = format!("hermes_proxy_quota_{name}{labels} {value}");
        assert!(page.lines().any(|known| known == line), "{line}\n{page}");
    }
    assert_eq!(used(&daemon)["used_percent"], 100);
    assert_eq!(flat(&daemon).await["nous_quota_used_percent"], 100);
    let page = client().get(format!("{}/", daemon.origin()));
    let page = page.header("accept", "text/html").send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("<rect class=\"bad\" width=\"100\""), "{page}");
    // It begins again in a second, with no answer that says so.
    answered(&daemon, 0, 1).await;
    let all = ["quota_low", "quota_spent", "quota_free"];
    until("a notice of room", || events(home) == all);
    // All views say so, not the hook alone.
    let window = used(&daemon);
    assert_eq!(
        (&window["used_percent"], &window["remaining"]),
        (&json!(0), &json!(1000))
    );
    assert_eq!(window["resets_at"], Value::Null, "{window}");
    let page = flat(&daemon).await;
    assert_eq!(page["nous_quota_resets_at"], Value::Null, "{page}");
    answered(&daemon, 0, 3000).await;
    until("the next end", || events(home).len() == 4);
    assert_eq!(events(home)[3], "quota_spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_login_has_a_quota_and_notices_of_its_own() {
    let world = Several::new().await;
    world.pool_of_xai(2);
    world.configure(&hook(world.path()));
    let file = world.path().join(".config/hermes-proxyd/config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(
        "[providers.xai]\n",
        "[providers.xai]\npool = \"round_robin\"\n",
    );
    std::fs::write(&file, text).unwrap();
    let daemon = world.daemon(&[]);
    let body = json!({"model": "grok", "messages": [], "mock": {"headers": {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "10",
    }}});
    let url = format!("{}/xai/v1/chat/completions", daemon.origin());
    for _ in 0..6 {
        let answer = client().post(&url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
    let home = world.path();
    until("a notice for each login", || told(home).len() == 2);
    let mut logins: Vec<_> = told(home)
        .iter()
        .map(|one| one["quota"]["login"].as_str().unwrap().to_owned())
        .collect();
    logins.sort();
    assert_eq!(logins, ["me0@example.org", "me1@example.org"]);
    assert!(events(home).iter().all(|event| event == "quota_low"));
    let page = client().get(format!("{}/metrics", daemon.origin()));
    let page = page.send().await.unwrap().text().await.unwrap();
    for login in logins {
        let labels = format!("{{provider=\"xai\",login={login:?},window=\"requests\"}}");
        let line = format!("hermes_proxy_quota_used_ratio{labels} 0.9");
        assert!(page.lines().any(|known| known == line), "{line}\n{page}");
    }
}
