//! `hermesctl proxy routes` and the port agree about each request: one table asks both.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use support::{Daemon, client, error};

use super::routes::Two;

const ROUTING: &str = r#"
default_model = "mini"
[aliases]
mini = "other/small"
"gpt-4.1" = "mini"
plain = "hermes"
embed = "e-1"
[[route]]
models = ["other-*", "x/*"]
provider = "other"
[[route]]
models = ["old"]
provider = "other"
model = "new"
[[route]]
paths = ["embeddings"]
models = ["e-*"]
provider = "other"
[[route]]
paths = ["files", "echo"]
provider = "other"
[[route]]
paths = ["completions"]
provider = "other"
model = "davinci"
"#;

/// Both have files; only `other` has the path of the echo.
const PATHS: &str = "extra_paths = [\"GET,DELETE /files/{id}\", \"/files multipart\", \"/echo\"]\n";

fn daemon(two: &Two, more: &str) -> Daemon {
    let nous =
        "[providers.nous]\nextra_paths = [\"GET,DELETE /files/{id}\", \"/files multipart\"]\n";
    let config = two.config(&format!("{ROUTING}{more}{nous}"));
    two.world.daemon_with(&format!("{config}{PATHS}"), &[])
}

fn told(two: &Two, path: &str, model: Option<&str>, more: &[&str]) -> Value {
    let mut line = vec!["proxy", "routes", "--json", "--path", path];
    line.extend(model.iter().flat_map(|model| ["--model", model]));
    line.extend(more);
    let output = two.world.ctl(&line);
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    told.get("request").cloned().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_does_what_is_told() {
    let two = Two::new().await;
    let daemon = daemon(&two, "");
    let rows = [
        ("chat/completions", None),
        ("chat/completions", Some("")),
        ("chat/completions", Some("hermes")),
        ("chat/completions", Some("mini")),
        ("chat/completions", Some("gpt-4.1")),
        ("chat/completions", Some("plain")),
        ("chat/completions", Some("other-m")),
        ("chat/completions", Some("Other-m")),
        ("chat/completions", Some("other/m")),
        ("chat/completions", Some("OTHER/m")),
        ("chat/completions", Some("other/")),
        ("chat/completions", Some("nous/other-m")),
        ("chat/completions", Some("nous/hermes")),
        ("chat/completions", Some("anthropic/claude")),
        ("chat/completions", Some("x/y")),
        ("chat/completions", Some("old")),
        ("chat/completions", Some("e-1")),
        ("embeddings", None),
        ("embeddings", Some("e-2")),
        ("embeddings", Some("embed")),
        ("embeddings", Some("hermes")),
        ("embeddings", Some("other/e")),
        ("completions", None),
        ("completions", Some("hermes")),
        ("completions", Some("other/c")),
        ("completions", Some("nous/c")),
        ("completions", Some("other-m")),
        ("echo", None),
        ("echo", Some("mini")),
        ("echo", Some("plain")),
        ("echo", Some("nous/m")),
        ("echo/", Some("hermes")),
        ("/v1/embeddings", Some("e-3")),
        ("nous/v1/embeddings", Some("e-3")),
        ("other/v1/echo", None),
        ("other/embeddings", Some("mini")),
    ];
    for (path, model) in rows {
        let told = told(&two, path, model, &[]);
        let mut body = json!({"messages": [], "input": "x"});
        if let Some(model) = model {
            body["model"] = model.into();
        }
        let before = two.seen();
        let is_named = path.starts_with("nous/") || path.starts_with("other/");
        let path_here = path.trim_start_matches("/v1/");
        let base = if is_named { "" } else { "/v1" };
        let url = format!("{}{base}/{path_here}", daemon.origin());
        let answer = client().post(url).json(&body).send().await.unwrap();
        let what = format!("{path} {model:?}: {told}");
        if told["served"] == false {
            error(answer, 404, "path_not_allowed").await;
            assert_eq!(two.seen(), before, "{what}");
            continue;
        }
        let (at, seen) = two.last(before);
        assert_eq!(told["provider"], at, "{what}");
        // The echo's body is in its answer alone.
        let echo = answer.bytes().await.unwrap();
        let is_echo = path_here.contains("echo");
        let sent: &[u8] = if is_echo { &echo } else { &seen.body };
        let sent: Value = serde_json::from_slice(sent).unwrap();
        let sent = sent["model"].as_str().filter(|model| !model.is_empty());
        let sent_model = told["sent_model"]
            .as_str()
            .filter(|model| !model.is_empty());
        assert_eq!(sent_model, sent, "{what}");
        assert_eq!(told["reads_body"], !is_named, "{what}");
    }
}

/// A path decides without a body too, all below it included.
#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_body_go_where_it_is_told() {
    let two = Two::new().await;
    let daemon = daemon(&two, "");
    for (method, path) in [
        ("GET", "files/f-1"),
        ("DELETE", "files/f-1"),
        ("HEAD", "files/f-1"),
    ] {
        let told = told(&two, path, None, &[]);
        assert_eq!(
            (&told["provider"], &told["served"], &told["route"]),
            (&"other".into(), &true.into(), &3.into()),
            "{told}"
        );
        let before = two.seen();
        let method = method.parse().unwrap();
        let url = format!("{}/v1/{path}", daemon.origin());
        client().request(method, url).send().await.unwrap();
        assert_eq!(two.last(before).0, "other", "{path}");
    }
}

/// The same with a key for another provider: none of them goes there.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_one_provider_reaches_no_other_without_a_body() {
    let two = Two::new().await;
    two.world.write_config(&two.config(""));
    let key = two.key("a --provider nous");
    let daemon = daemon(&two, "");
    for (method, path) in [
        ("GET", "v1/files/f-1"),
        ("DELETE", "v1/files/f-1"),
        ("POST", "v1/files"),
        ("POST", "v1/echo"),
        ("GET", "other/v1/files/f-1"),
        ("GET", "other/v1/models"),
        ("GET", "other/v1/models/x"),
    ] {
        let url = format!("{}/{path}", daemon.origin());
        let request = client().request(method.parse().unwrap(), url);
        // As Anthropic's apps show a key.
        let answer = request.header("x-api-key", &key).send().await.unwrap();
        error(answer, 404, "unknown_provider").await;
    }
    assert_eq!(two.seen(), (0, 0));
}

async fn list(daemon: &Daemon, path: &str, key: &str) -> reqwest::Response {
    let get = client().get(format!("{}{path}", daemon.origin()));
    get.bearer_auth(key).send().await.unwrap()
}

/// A key gets its own models, at any address; otherwise the answer says why, as that to a chat
/// does.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_one_provider_lists_its_models_and_hears_why_not_those_of_another() {
    let two = Two::new().await;
    two.world.write_config(&two.config(""));
    let key = two.key("b --provider other");
    let chats = two.key("c --path /chat/completions");
    let plain = two.daemon("");
    let message = error(
        list(&plain, "/v1/models", &key).await,
        404,
        "unknown_provider",
    )
    .await;
    assert!(
        message.contains("the client key b is not for the provider that this request goes to"),
        "{message}"
    );
    let message = error(
        list(&plain, "/v1/models/x", &key).await,
        404,
        "unknown_provider",
    )
    .await;
    assert!(
        message.contains("the client key b is not for the provider that this request goes to"),
        "{message}"
    );
    drop(plain);

    let routed = daemon(&two, "");
    let answer = list(&routed, "/v1/models", &key).await;
    assert_eq!(answer.status(), 200);
    let models: Value = answer.json().await.unwrap();
    let ids: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["id"].as_str())
        .collect();
    assert!(ids.contains(&"mini") && !ids.contains(&"plain"), "{ids:?}");
    let one = ids.iter().find(|id| id.starts_with("other/")).unwrap();
    assert_eq!(
        list(&routed, &format!("/v1/models/{one}"), &key)
            .await
            .status(),
        200
    );
    // A list from outside the memory goes to the provider of the address, and that is not the
    // key's.
    for path in ["/v1/models?limit=1", "/nous/v1/models", "/nous/v1/models/x"] {
        let message = error(list(&routed, path, &key).await, 404, "unknown_provider").await;
        assert!(
            message.contains("the client key b is not for the provider"),
            "{path}: {message}"
        );
    }
    let message = error(
        list(&routed, "/v1/models", &chats).await,
        404,
        "path_not_allowed",
    )
    .await;
    assert!(
        message.contains("the client key c is not for the path /models"),
        "{message}"
    );
    let before = two.world.cloud.requests();
    assert!(
        before.iter().all(|seen| seen.target == "/v1/models"),
        "{before:?}"
    );
    drop(routed);

    // A key for a provider that was removed is told.
    let _without = two.world.daemon();
    let listed = two.world.ctl(&["clients", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("other is not configured"), "{listed}");
}

/// An app with a key for some providers hears of no other: neither where it is refused, nor in what is told to everyone.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_one_provider_hears_no_name_of_another() {
    const ROUTING: &str = r#"
        [aliases]
        fruit = "orchard/apple"
        [[route]]
        models = ["apple*"]
        provider = "orchard"
        [[route]]
        paths = ["embeddings", "echo"]
        provider = "orchard"
    "#;
    let two = Two::new().await;
    let paths = "extra_paths = [\"/responses\", \"/echo\"]\n";
    let config = |more: &str| {
        let config = two
            .config(more)
            .replace("providers.other", "providers.orchard");
        format!("{config}{paths}")
    };
    let listener = "[[listen]]\nprovider = \"orchard\"\n";
    two.world.write_config(&config(""));
    let key = two.key("nous-alone --provider nous");
    let whole = two.key("all");
    for more in ["", ROUTING, listener, &format!("{ROUTING}{listener}")] {
        let daemon = two.world.daemon_with(&config(more), &[]);
        let (base, mut told) = (daemon.origin(), 0);
        for (path, model) in [
            ("/", None),
            ("/v1/models", None),
            ("/v1/models/x", None),
            ("/v1/models?limit=1", None),
            ("/v1/nothing", None),
            ("/groq/v1/models", None),
            ("/api/tags", None),
            ("/v1/v1/v1/models", None),
            ("/v1/responses", Some("m")),
            ("/v1/messages/batches", Some("m")),
            ("/v1/echo", Some("m")),
            ("/v1/embeddings", Some("m")),
            ("/v1/chat/completions", Some("apple")),
            ("/v1/chat/completions", Some("fruit")),
            ("/v1/responses", Some("apple")),
            ("/v1/completions", Some("fruit")),
        ] {
            let asks = |key: &str| {
                let url = format!("{base}{path}");
                let request = match model {
                    None => client().get(url),
                    Some(model) => client().post(url).json(&json!({"model": model})),
                };
                request.bearer_auth(key).send()
            };
            let answer = asks(&key).await.unwrap();
            let head = format!("{:?}", answer.headers());
            let text = answer.text().await.unwrap();
            assert!(
                !text.contains("rchard") && !head.contains("rchard"),
                "{base}{path} {model:?}: {head} {text}"
            );
            let text = asks(&whole).await.unwrap().text().await.unwrap();
            told += usize::from(text.contains("rchard"));
        }
        // Of all others it is told, where it helps them.
        assert!(told > 2, "{more}: {told}");
    }
}
