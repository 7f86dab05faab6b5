//! The status page: it agrees with the API, shows every name as text, and only to clients that the
//! port accepts.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod readers;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mock_cloud::Options;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Daemon, World, chat, client, ctl, post};

/// What Chromium sends.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";

/// The page as a browser of this machine gets it.
async fn page(daemon: &Daemon) -> (HeaderMap, String) {
    let request = client().get(daemon.origin()).header("accept", BROWSER);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let fields = answer.headers().clone();
    (fields, answer.text().await.unwrap())
}

async fn flat(daemon: &Daemon) -> Value {
    let request = client().get(format!("{}/status.json", daemon.origin()));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.json().await.unwrap()
}

fn usage(home: &Path, by: &str, since: &str) -> Value {
    let output = ctl(home, &["usage", "--by", by, "--since", since, "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The text between `start` and the next `end`.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("no {start} in\n{text}"));
    rest.split_once(end)
        .unwrap_or_else(|| panic!("no {end} after {start}"))
        .0
}

fn number(text: &str) -> u64 {
    text.replace(',', "")
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

/// The number of the element with this start, such as `id="tokens-today">`.
fn at(text: &str, start: &str) -> u64 {
    number(between(text, start, "<"))
}

/// A row of a table of clients or models: tokens and requests of 7 and of 30 days.
fn used(page: &str, table: &str, name: &str) -> [u64; 4] {
    let table = between(page, &format!("id=\"{table}\""), "</table>");
    let row = between(
        table,
        &format!("<span class=\"name\">{name}</span>"),
        "</tr>",
    );
    let cells: Vec<_> = row.split("<td>").skip(1).collect();
    let cell = |at: usize| {
        let of = |class: &str| super::page::at(cells[at], &format!("class=\"{class}\">"));
        [of("tokens"), of("requests")]
    };
    let [week, month] = [cell(0), cell(1)];
    [week[0], week[1], month[0], month[1]]
}

fn row<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut rows = report["rows"].as_array().unwrap().iter();
    rows.find(|row| row["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// A failure, then requests of an app with a key, which is given, and of one without.
async fn used_by_two(daemon: &Daemon, home: &Path) -> String {
    let key = ctl(home, &["clients", "add", "karakeep"]);
    let key = String::from_utf8(key.stdout).unwrap().trim().to_owned();
    let fails = json!({"model": "other", "mock": {"status": 503}, "messages": []});
    assert_eq!(support::status_of(daemon, &fails).await, 503);
    let ask = |body: Value, agent: &'static str| {
        client()
            .post(daemon.url("/chat/completions"))
            .header("user-agent", agent)
            .json(&body)
    };
    for _ in 0..3 {
        let asked = ask(chat("hello"), "x/1")
            .bearer_auth(&key)
            .send()
            .await
            .unwrap();
        asked.bytes().await.unwrap();
    }
    let mut other = chat("hello");
    other["model"] = "other".into();
    ask(other, "OpenAI/Python 2.8.1")
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn its_numbers_are_those_of_status_and_usage() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let daemon = world.daemon();
    let key = used_by_two(&daemon, home).await;
    let by_day = usage(home, "day", "30d");
    let total = &by_day["total"];
    assert_eq!([&total["requests"], &total["failed"]], [5, 1], "{total}");
    let (_, page) = page(&daemon).await;
    well_formed(&page);
    let figure = |id: &str| at(&page, &format!("id=\"{id}\">"));
    for (id, field) in [
        ("requests-today", "requests"),
        ("tokens-today", "total_tokens"),
        ("failed-today", "failed"),
    ] {
        assert_eq!(json!(figure(id)), total[field], "{id}");
    }
    for (chart, field) in [("Requests", "requests"), ("Tokens", "total_tokens")] {
        let chart = between(&page, &format!("data-chart=\"{chart}\""), "</figure>");
        assert_eq!(
            json!(at(chart, "class=\"week\">")),
            usage(home, "day", "7d")["total"][field]
        );
        assert_eq!(json!(at(chart, "class=\"month\">")), total[field]);
        assert_eq!(chart.matches("<title>").count(), 30, "a bar for each day");
    }
    for (table, by, name) in [
        ("clients-table", "client", "karakeep"),
        ("clients-table", "client", "OpenAI/Python (no key)"),
        ("models-table", "model", "other"),
        ("models-table", "model", "Hermes-4-405B"),
    ] {
        let [week, month] = ["7d", "30d"].map(|since| usage(home, by, since));
        let [week, month] = [row(&week, name), row(&month, name)];
        let told = [
            &week["total_tokens"],
            &week["requests"],
            &month["total_tokens"],
            &month["requests"],
        ];
        assert_eq!(
            told.map(Clone::clone),
            used(&page, table, name).map(|one| json!(one)),
            "{name}"
        );
    }
    assert!(!page.contains(&key), "a client key is on the page");
    world.assert_no_secret_in("the page", &page);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_providers_and_the_json_are_those_of_status() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let daemon = world.daemon();
    used_by_two(&daemon, home).await;
    let by_day = usage(home, "day", "30d");
    let total = &by_day["total"];
    let (_, page) = page(&daemon).await;
    let status = daemon.home_screen();
    let nous = &status["providers"][0];
    let card = between(&page, "data-provider=\"nous\"", "</article>");
    for (class, field) in [
        ("served", "served"),
        ("failed", "failed"),
        ("in-flight", "in_flight"),
    ] {
        assert_eq!(
            json!(at(card, &format!("class=\"{class}\">"))),
            nous["requests"][field]
        );
    }
    assert_eq!(between(card, "class=\"state\">", "<"), "ready, default");
    let expires = nous["expires_at"].as_str().unwrap();
    assert!(card.contains("Token expires</dt><dd>in "), "{card}");
    assert!(
        card.contains(&format!("<time datetime=\"{expires}\">")),
        "{expires} in {card}"
    );
    let used = &status["clients"][0]["last_used_at"];
    let used = format!("<time datetime=\"{}\">", used.as_str().unwrap());
    assert!(
        between(&page, ">karakeep<", "</tr>").contains(&used),
        "{used}"
    );
    let error = between(&page, "id=\"errors-table\"", "</table>");
    assert!(
        error.contains("<code>http_503</code></th><td>nous</td>"),
        "{error}"
    );

    let flat = flat(&daemon).await;
    for (name, expected) in [
        ("status", json!("good")),
        ("code", json!("all_well")),
        ("providers", json!(1)),
        ("providers_ready", json!(1)),
        ("streams_open", json!(0)),
        ("clients_with_key", json!(1)),
        ("requests_today", total["requests"].clone()),
        ("tokens_today", total["total_tokens"].clone()),
        ("errors_today", json!(1)),
        ("requests_7d", total["requests"].clone()),
        ("tokens_30d", total["total_tokens"].clone()),
        ("last_error_code", json!("http_503")),
        ("nous_state", json!("ready")),
        ("nous_status", json!("good")),
        ("nous_token_expires_at", nous["expires_at"].clone()),
        ("nous_requests_served", nous["requests"]["served"].clone()),
    ] {
        assert_eq!(flat[name], expected, "{name} in {flat:#}");
    }
    let is_flat = |value: &Value| !value.is_object() && !value.is_array();
    assert!(flat.as_object().unwrap().values().all(is_flat), "{flat:#}");
    world.assert_no_secret_in("the JSON", &flat.to_string());
}

/// Every element that is opened is closed, in order.
fn well_formed(page: &str) {
    let page = page.split("<style>").next().unwrap().to_owned()
        + between(page, "</style>", "<script>")
        + page.rsplit("</script>").next().unwrap();
    let mut open = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag
            .split([' ', '\n', '/'])
            .find(|part| !part.is_empty())
            .unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{open:?}");
        } else if !tag.ends_with('/') && !["meta", "link", "br", "!DOCTYPE"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_policy_allows_its_own_style_and_script_and_nothing_else() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let (fields, page) = page(&daemon).await;
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("vary", "accept"),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
    let hash = |tag: &str| {
        assert_eq!(page.matches(&format!("<{tag}")).count(), 1);
        let text = between(&page, &format!("<{tag}>"), &format!("</{tag}>"));
        STANDARD.encode(Sha256::digest(text))
    };
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        hash("style"),
        hash("script")
    );
    assert_eq!(fields["content-security-policy"], policy);
    // What the policy would refuse, and what would lead elsewhere.
    for word in [
        " style=", " onload", " onclick", " src=", "<iframe", "<form", "<a ", "url(", "@import",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    let mut links = page.split(" href=\"").skip(1);
    assert!(links.all(|link| link.starts_with("data:image/svg+xml,")));
    assert!(page.len() < 40_000, "{} bytes", page.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_shows_as_text() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let mut body = chat("x");
    body["model"] = "<script>alert(1)</script>\u{202e}\"'&".into();
    let named = client().post(daemon.url("/chat/completions")).json(&body);
    let named = named.header("user-agent", "<img/src=x/onerror=alert(2)>");
    named.send().await.unwrap().bytes().await.unwrap();
    // An app that is refused, with the names it chose.
    let stray = client()
        .get(daemon.url("/models"))
        .header("host", "evil-name.example");
    assert_eq!(stray.send().await.unwrap().status(), 403);
    let (_, page) = page(&daemon).await;
    well_formed(&page);
    assert!(
        !page.contains("<script>alert") && !page.contains("<img"),
        "{page}"
    );
    let model = "&lt;script&gt;alert(1)&lt;/script&gt;\\u{202e}&quot;&#39;&amp;";
    assert!(
        page.contains(&format!("<span class=\"name\">{model}</span>")),
        "{page}"
    );
    assert!(page.contains("<span class=\"name\">&lt;img"), "{page}");
    let errors = between(&page, "id=\"errors-table\"", "</table>");
    assert!(
        errors.contains("host_not_allowed") && errors.contains("evil-name.example"),
        "{errors}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_what_they_always_got() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let expected = format!(
        "hermes-proxyd {} is running.\nnous: Nous Portal (ready)\n",
        env!("CARGO_PKG_VERSION")
    );
    for accept in [
        None,
        Some("*/*"),
        Some("application/json"),
        Some("application/json, text/html, */*"),
        Some("text/plain"),
    ] {
        let request = client().get(daemon.origin());
        let request = accept
            .into_iter()
            .fold(request, |request, accept| request.header("accept", accept));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.headers()["content-type"],
            "text/plain; charset=utf-8"
        );
        assert!(!answer.headers().contains_key("content-security-policy"));
        assert_eq!(answer.text().await.unwrap(), expected, "{accept:?}");
    }
    let head = client().head(daemon.origin()).header("accept", BROWSER);
    let head = head.send().await.unwrap();
    assert_eq!(head.headers()["content-type"], "text/html; charset=utf-8");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_counts_it_says_how_to_have_them() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[usage]\nenabled = false\n", &[]);
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    let (_, page) = page(&daemon).await;
    well_formed(&page);
    assert!(
        page.contains("<code>enabled = true</code> under <code>[usage]</code>"),
        "{page}"
    );
    assert!(
        !page.contains("requests-today") && !page.contains("<figure"),
        "{page}"
    );
    let flat = flat(&daemon).await;
    for name in [
        "requests_today",
        "tokens_today",
        "tokens_7d",
        "requests_30d",
    ] {
        assert_eq!(flat.get(name), Some(&Value::Null), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_login_is_told_with_the_command_that_logs_in() {
    let world = World::with_a_refresh_due(Options::default()).await;
    world.cloud.revoke(world.family());
    let daemon = world.daemon();
    support::until("it is lost", || {
        daemon.status()["providers"][0]["state"] == "login_needed"
    });
    let (_, page) = page(&daemon).await;
    well_formed(&page);
    let verdict = between(&page, "<section class=\"verdict bad\"", "</section>");
    let finding = &daemon.home_screen()["findings"][0];
    assert_eq!(finding["code"], "login_needed");
    assert!(
        verdict.contains(finding["text"].as_str().unwrap()),
        "{finding} in {verdict}"
    );
    assert!(
        verdict.contains("<code>hermesctl auth login nous</code>"),
        "{verdict}"
    );
    let card = between(&page, "data-provider=\"nous\"", "</article>");
    assert!(
        card.contains("class=\"pill bad\"") && card.contains("login needed"),
        "{card}"
    );
    world.assert_no_secret_in("the page", &page);
    let flat = flat(&daemon).await;
    let told = ["status", "code", "nous_state", "nous_status"].map(|name| &flat[name]);
    assert_eq!(
        told,
        ["bad", "login_needed", "login_needed", "bad"],
        "{flat:#}"
    );
    assert_eq!(flat["command"], "hermesctl auth login nous");
    assert_eq!(flat["providers_ready"], 0);
}
