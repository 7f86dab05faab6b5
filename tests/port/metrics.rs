//! `/metrics`: its numbers match the requests, Prometheus' own parser accepts it, its labels are bounded, and it
//! contains no secret.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use mock_cloud::{Canned, Fault, Options};
use reqwest::header::ACCEPT;
use serde_json::json;
use support::environment::{has, tool};
use support::several::Several;
use support::{Daemon, PATIENCE, World, chat, client, ctl, post, scratch, status_of};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

async fn ask(daemon: &Daemon, accept: &str) -> (String, String) {
    let url = format!("{}/metrics", daemon.origin());
    let answer = client().get(url).header(ACCEPT, accept).send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap();
    let kind = kind.to_owned();
    (kind, answer.text().await.unwrap())
}

async fn page(daemon: &Daemon) -> String {
    ask(daemon, "*/*").await.1
}

/// The value of the sample that is written so.
fn value(page: &str, sample: &str) -> Option<f64> {
    let mut lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    let (_, value) = lines.find(|(known, _)| *known == sample)?;
    Some(value.parse().unwrap())
}

/// The page on which these samples have these values; a request may be entered a moment after its last byte.
async fn page_with(daemon: &Daemon, samples: &[(&str, f64)]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = page(daemon).await;
        let wrong = samples
            .iter()
            .find(|(sample, number)| value(&page, sample) != Some(*number));
        let Some((sample, number)) = wrong else {
            return page;
        };
        assert!(
            Instant::now() < deadline,
            "{sample} is never {number}:\n{page}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The values of a label.
fn labels(page: &str, name: &str) -> BTreeSet<String> {
    let start = format!("{name}=\"");
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let found = lines.filter_map(|line| line.split_once(&start)?.1.split_once('"'));
    found.map(|(value, _)| value.to_owned()).collect()
}

fn promtool(args: &[&str], input: &str) -> Output {
    let mut command = tool("promtool");
    let mut child = command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// All samples of a page as Prometheus has read them: it takes pages with times alone, and keeps what it has read in a
/// block, which can be shown.
fn read_by_prometheus(page: &str) -> Vec<String> {
    let folder = scratch();
    let file = folder.path().join("page");
    let timed = |line: &str| {
        let time = if line.starts_with('#') {
            ""
        } else {
            " 1796055363"
        };
        format!("{line}{time}\n")
    };
    std::fs::write(&file, page.lines().map(timed).collect::<String>()).unwrap();
    let blocks = folder.path().join("blocks");
    std::fs::create_dir_all(blocks.join("wal")).unwrap();
    let (file, blocks) = (file.to_str().unwrap(), blocks.to_str().unwrap());
    let create = ["tsdb", "create-blocks-from", "openmetrics", file, blocks];
    let created = promtool(&create, "");
    assert!(created.status.success(), "{created:?}\n{page}");
    let dumped = promtool(&["tsdb", "dump", blocks], "");
    assert!(dumped.status.success(), "{dumped:?}");
    let text = String::from_utf8(dumped.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What there is after four answers, a stream, a 503 and an unknown path.
const SENT: &str = r#"hermes_proxy_requests_total{provider="nous",path="/chat/completions",outcome="complete",code="2xx"} 5
hermes_proxy_requests_total{provider="nous",path="/chat/completions",outcome="complete",code="5xx"} 1
hermes_proxy_refused_requests_total 1
hermes_proxy_requests_in_flight{provider="nous"} 0
hermes_proxy_streams_in_flight{provider="nous"} 0
hermes_proxy_request_duration_seconds_count{provider="nous"} 6
hermes_proxy_request_duration_seconds_bucket{provider="nous",le="+Inf"} 6
hermes_proxy_time_to_first_byte_seconds_count{provider="nous"} 6
hermes_proxy_client_requests_total{client="karakeep"} 1
hermes_proxy_client_requests_in_flight{client="karakeep"} 0
hermes_proxy_provider_ready{provider="nous"} 1
hermes_proxy_provider_consecutive_failures{provider="nous"} 0
hermes_proxy_upstream_connections{provider="nous"} 1
hermes_proxy_login_state{provider="nous",login="login",state="ready"} 1
hermes_proxy_login_state{provider="nous",login="login",state="expired"} 0
hermes_proxy_refreshes_total{provider="nous",login="login",result="refreshed"} 0
hermes_proxy_usage_unsaved 0
hermes_proxy_log_dropped_lines_total 0
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_counts_are_those_of_what_was_sent() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let added = ctl(world.home.path(), &["clients", "add", "karakeep"]);
    let key = String::from_utf8(added.stdout).unwrap();
    let body = chat("hello");
    let length = body.to_string().len();
    for _ in 0..3 {
        assert_eq!(status_of(&daemon, &body).await, 200);
    }
    let keyed = client()
        .post(daemon.url("/chat/completions"))
        .bearer_auth(key.trim())
        .json(&body);
    keyed.send().await.unwrap().bytes().await.unwrap();
    let mut fails = body.clone();
    fails["mock"] = json!({"status": 503});
    assert_eq!(status_of(&daemon, &fails).await, 503);
    let stream = json!({"model": "Hermes-4-405B", "stream": true, "messages": [],
        "stream_options": {"include_usage": true}});
    assert_eq!(status_of(&daemon, &stream).await, 200);
    let unknown = client().get(daemon.url("/nonsense")).send().await;
    assert_eq!(unknown.unwrap().status(), 404);
    let sent = 4 * length + fails.to_string().len() + stream.to_string().len();
    let expected =
        format!("{SENT}hermes_proxy_request_body_bytes_total{{provider=\"nous\"}} {sent}");
    let samples = expected.lines().map(|line| line.rsplit_once(' ').unwrap());
    let samples = samples.map(|(sample, number)| (sample, number.parse().unwrap()));
    let page = page_with(&daemon, &samples.collect::<Vec<_>>()).await;
    // Each answer of the mock's tells 12 tokens.
    let tokens = |kind: &str| {
        let labels = format!("provider=\"nous\",model=\"Hermes-4-405B\",kind={kind:?}");
        value(&page, &format!("hermes_proxy_tokens_total{{{labels}}}")).unwrap()
    };
    let told = ctl(world.home.path(), &["usage", "--by", "model", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let total = &told["total"];
    for (kind, name) in [
        ("prompt", "prompt_tokens"),
        ("completion", "completion_tokens"),
    ] {
        assert_eq!(total[name].as_f64(), Some(tokens(kind)), "{total}");
        assert!(tokens(kind) > 0.0);
    }
    let end =
        "hermes_proxy_access_token_expiry_timestamp_seconds{provider=\"nous\",login=\"login\"}";
    let expires = value(&page, end).unwrap();
    let left = expires - f64::from(u32::try_from(world.login.expires_at.timestamp()).unwrap());
    assert!(left.abs() < 2.0, "{left}");
    #[cfg(target_os = "linux")]
    for sample in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    ] {
        assert!(value(&page, sample).unwrap() > 3.0, "{sample}\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_and_failures_in_a_row_are_counted() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    daemon.renew().await;
    let renewed =
        "hermes_proxy_refreshes_total{provider=\"nous\",login=\"login\",result=\"refreshed\"}";
    page_with(&daemon, &[(renewed, 1.0)]).await;
    world
        .cloud
        .break_inference(Fault::Answer(Canned::status(500)));
    for _ in 0..2 {
        assert_eq!(status_of(&daemon, &chat("x")).await, 500);
    }
    let failing = "hermes_proxy_provider_consecutive_failures{provider=\"nous\"}";
    page_with(&daemon, &[(failing, 2.0)]).await;
}

#[tokio::test]
async fn requests_and_streams_in_flight_are_seen_and_a_reload_forgets_no_count() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let held =
        json!({"model": "m", "stream": true, "messages": [], "mock": {"hang_after_bytes": 100}});
    let mut answer = post(&daemon, &held).await;
    assert!(answer.chunk().await.unwrap().is_some());
    let in_flight = "hermes_proxy_requests_in_flight{provider=\"nous\"}";
    let streams = "hermes_proxy_streams_in_flight{provider=\"nous\"}";
    let open = [(in_flight, 1.0), (streams, 1.0)];
    page_with(&daemon, &open).await;
    world.write_config("[providers.nous]\nextra_paths = [\"/responses\"]\n");
    let reloaded = world.ctl(&["proxy", "reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    page_with(&daemon, &open).await;
    drop(answer);
    let left = "hermes_proxy_requests_total{provider=\"nous\",path=\"/chat/completions\",\
        outcome=\"client_left\",code=\"2xx\"}";
    page_with(&daemon, &[(in_flight, 0.0), (streams, 0.0), (left, 1.0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_both_formats_and_finds_nothing_to_improve() {
    let world = Several::new().await;
    world.configure("");
    let daemon = world.daemon(&[]);
    assert_eq!(status_of(&daemon, &chat("x")).await, 200);
    let sample = "hermes_proxy_requests_in_flight{provider=\"nous\"}";
    page_with(&daemon, &[(sample, 0.0)]).await;
    let (kind, text) = ask(&daemon, "text/plain;version=0.0.4").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let (kind, open) = ask(&daemon, OPEN_METRICS).await;
    assert_eq!(kind, format!("{OPEN_METRICS}; charset=utf-8"));
    assert!(open.ends_with("\n# EOF\n"));
    let samples = |page: &str| -> BTreeSet<String> {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    assert_eq!(samples(&text), samples(&open));
    for login in &world.logins {
        for secret in [&login.access_token, &login.refresh_token] {
            assert!(!text.contains(secret.as_str()));
        }
    }
    if !has("promtool") {
        return;
    }
    let checked = promtool(&["check", "metrics"], &text);
    assert!(checked.status.success(), "{checked:?}\n{text}");
    assert!(
        checked.stderr.is_empty() && checked.stdout.is_empty(),
        "{checked:?}"
    );
    let read = read_by_prometheus(&open);
    assert_eq!(read.len(), samples(&open).len());
    let ready = |line: &&String| line.contains("\"hermes_proxy_provider_ready\"");
    let ready: Vec<_> = read.iter().filter(ready).collect();
    assert_eq!(ready.len(), 4, "{ready:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_hostile_models_and_no_secret_are_on_the_page() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let client = client();
    let key = ctl(world.home.path(), &["clients", "add", "app"]);
    let key = String::from_utf8(key.stdout).unwrap();
    let mut sending = tokio::task::JoinSet::new();
    for worker in 0..20 {
        let (client, url) = (client.clone(), daemon.url("/chat/completions"));
        let key = key.trim().to_owned();
        sending.spawn(async move {
            for number in 0..50 {
                let model = format!(
                    "evil-{worker}-{number}\"}} 1\n# EOF\n\u{202e}{}",
                    "x".repeat(300)
                );
                let body = json!({"model": model, "messages": []});
                let request = client.post(&url).bearer_auth(&key).json(&body);
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.bytes().await.unwrap();
            }
        });
    }
    sending.join_all().await;
    let all = "hermes_proxy_requests_total{provider=\"nous\",path=\"/chat/completions\",\
        outcome=\"complete\",code=\"2xx\"}";
    page_with(&daemon, &[(all, 1000.0)]).await;
    let (_, page) = ask(&daemon, OPEN_METRICS).await;
    let models = labels(&page, "model");
    assert_eq!(models.len(), 51, "{models:?}");
    assert!(models.contains("(other)"));
    assert!(models.iter().all(|name| name.chars().count() < 200));
    assert!(page.lines().count() < 600, "{}", page.lines().count());
    assert_eq!(page.lines().filter(|line| *line == "# EOF").count(), 1);
    world.assert_no_secret_in("the page", &page);
    assert!(!page.contains(key.trim()));
    if has("promtool") {
        let lines = page.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(read_by_prometheus(&page).len(), lines);
    }
}

#[tokio::test]
async fn who_may_not_ask_gets_nothing_and_a_key_for_one_provider_sees_that_one() {
    let world = Several::new().await;
    world.configure("");
    let daemon = world.daemon(&[]);
    let url = format!("{}/metrics", daemon.origin());
    for (name, value) in [("origin", "https://evil.example"), ("host", "evil.example")] {
        let answer = client().get(&url).header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{name}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("hermes_proxy_requests"), "{text}");
    }
    let answer = client().post(&url).send().await.unwrap();
    assert_eq!(answer.status(), 405);
    let mut keys = Vec::new();
    for args in [
        &["clients", "add", "one", "--provider", "xai"][..],
        &["clients", "add", "two"],
    ] {
        let added = ctl(world.path(), args);
        assert!(added.status.success(), "{added:?}");
        keys.push(String::from_utf8(added.stdout).unwrap().trim().to_owned());
    }
    for (key, providers, clients) in [
        (&keys[0], &["xai"][..], &["one"][..]),
        (&keys[1], &["acme", "fixed", "nous", "xai"], &["one", "two"]),
    ] {
        let answer = client().get(&url).bearer_auth(key).send().await.unwrap();
        let page = answer.text().await.unwrap();
        let seen: Vec<_> = labels(&page, "provider")
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect();
        assert_eq!(seen, providers, "{page}");
        assert_eq!(
            labels(&page, "client").into_iter().collect::<Vec<_>>(),
            clients
        );
    }
}

/// A reload makes new connections; those that still carry something are not forgotten.
#[tokio::test]
async fn connections_from_before_a_reload_are_counted_until_they_end() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let mut hangs = chat("x");
    hangs["stream"] = true.into();
    hangs["mock"] = json!({"hang_after_bytes": 10});
    let sample = "hermes_proxy_upstream_connections{provider=\"nous\"}";
    let held = post(&daemon, &hangs).await;
    page_with(&daemon, &[(sample, 1.0)]).await;
    for count in [2.0, 3.0] {
        world.write_config(&format!("[timeouts]\nreuse = \"{count}m\"\n"));
        assert!(world.ctl(&["proxy", "reload"]).status.success());
        page_with(&daemon, &[(sample, 1.0)]).await;
        assert_eq!(status_of(&daemon, &chat("x")).await, 200);
        page_with(&daemon, &[(sample, 2.0)]).await;
    }
    drop(held);
    page_with(&daemon, &[(sample, 1.0)]).await;
}
