//! Several providers at one address: which request goes to which, with which model, and which key
//! may use which.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::os::unix::fs::PermissionsExt as _;

use mock_cloud::{Fault, MockCloud, Options, Seen};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::app_wire::{Wire, request};
use support::{Daemon, PATIENCE, World, client, error};

const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";

/// Two clouds, of which the second is the provider `other`, with a fixed key.
pub(super) struct Two {
    pub(super) world: World,
    pub(super) other: MockCloud,
}

impl Two {
    pub(super) async fn new() -> Self {
        let whole = || Options::default().body_limit(8 << 20);
        let world = World::new(whole()).await;
        let other = MockCloud::start(whole()).await;
        let key = world.home.path().join("other.key");
        std::fs::write(&key, other.login().access_token).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { world, other }
    }

    /// A configuration with `other` behind it.
    pub(super) fn config(&self, routing: &str) -> String {
        format!(
            "{routing}\n[providers.other]\ntype = \"static\"\nbase_url = \"{}\"\napi_key_file = \"{}\"\n",
            self.other.inference_base_url(),
            self.world.home.path().join("other.key").display()
        )
    }

    pub(super) fn daemon(&self, routing: &str) -> Daemon {
        self.world.daemon_with(&self.config(routing), &[])
    }

    /// The request that the last answer came from, and whether `other` had it.
    pub(super) fn last(&self, before: (usize, usize)) -> (&'static str, Seen) {
        let (nous, other) = (self.world.cloud.requests(), self.other.requests());
        match (nous.len() - before.0, other.len() - before.1) {
            (1, 0) => ("nous", nous.into_iter().next_back().unwrap()),
            (0, 1) => ("other", other.into_iter().next_back().unwrap()),
            counts => panic!("{counts:?} requests"),
        }
    }

    pub(super) fn seen(&self) -> (usize, usize) {
        (
            self.world.cloud.requests().len(),
            self.other.requests().len(),
        )
    }

    /// Sends a body; where it went, and what came there.
    async fn sends(&self, daemon: &Daemon, path: &str, body: &str) -> (&'static str, Seen) {
        let before = self.seen();
        let answer = post(daemon, path, body).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(
            status,
            200,
            "{path} {}: {text}",
            body.get(..100).unwrap_or(body)
        );
        self.last(before)
    }

    pub(super) fn key(&self, line: &str) -> String {
        let line = format!("clients add {line}");
        let line: Vec<_> = line.split(' ').collect();
        let added = self.world.ctl(&line);
        assert!(added.status.success(), "{added:?}");
        String::from_utf8(added.stdout).unwrap().trim().to_owned()
    }
}

async fn post(daemon: &Daemon, path: &str, body: &str) -> reqwest::Response {
    asks(daemon, path, body, &[]).await
}

async fn asks(
    daemon: &Daemon,
    path: &str,
    body: &str,
    fields: &[(&str, &str)],
) -> reqwest::Response {
    let mut post = client()
        .post(format!("{}{path}", daemon.origin()))
        .header("content-type", "application/json")
        .body(body.to_owned());
    for (name, value) in fields {
        post = post.header(*name, *value);
    }
    post.send().await.unwrap()
}

fn text(seen: &Seen) -> &str {
    std::str::from_utf8(&seen.body).unwrap()
}

fn chat(model: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": "hello"}]}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_go_to_another_provider_by_their_path_alone() {
    let two = Two::new().await;
    let daemon = two.daemon("[[route]]\npaths = [\"embeddings\"]\nprovider = \"other\"\n");
    let embedding = r#"{ "input":"x","model" : "nous/e" }"#;
    for (path, body, provider, target) in [
        (EMBEDDINGS, embedding, "other", EMBEDDINGS),
        ("/embeddings", embedding, "other", EMBEDDINGS),
        ("/nous/v1/embeddings", embedding, "nous", EMBEDDINGS),
        ("/other/v1/embeddings", embedding, "other", EMBEDDINGS),
        (CHAT, &chat("other/m"), "nous", CHAT),
        ("/other/v1/chat/completions", &chat("m"), "other", CHAT),
    ] {
        let (at, seen) = two.sends(&daemon, path, body).await;
        assert_eq!((at, seen.target.as_str()), (provider, target), "{path}");
        assert_eq!(text(&seen), body, "{path}");
    }
    let bearers = two.other.requests();
    let bearers: Vec<_> = bearers
        .iter()
        .flat_map(|seen| seen.header("authorization"))
        .collect();
    let nous = format!("Bearer {}", two.world.login.access_token);
    assert!(
        !bearers.contains(&nous.as_str()),
        "each gets its own credential"
    );
    // No body is looked at: what is not JSON, or says its model twice, is the provider's to judge.
    for body in ["no JSON", r#"{"model":"a","model":"b"}"#] {
        let before = two.seen();
        post(&daemon, EMBEDDINGS, body).await;
        let (at, seen) = two.last(before);
        assert_eq!((at, text(&seen)), ("other", body));
    }
    let line = daemon.wait_for_log("/embeddings");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["provider"], "other", "{line}");
    let models = client().get(daemon.url("/models")).send().await.unwrap();
    assert_eq!(models.status(), 200);
}

const BY_MODEL: &str = r#"
default_model = "mini"
[aliases]
"gpt-4.1" = "mini"
mini = "other/small"
big = "other-large"
embed = "e-1"
[[route]]
models = ["other-*", "x/*"]
provider = "other"
[[route]]
models = ["old"]
provider = "other"
model = "new \"one\""
[[route]]
paths = ["embeddings"]
models = ["e-*"]
provider = "other"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_model_decides_and_no_other_byte_changes() {
    let two = Two::new().await;
    let daemon = two.daemon(BY_MODEL);
    let rest =
        r#" , "messages":[ {"role":"user","content":"{\"model\":\"other-x\"}"} ],"n":1.0e0}"#;
    for (path, model, provider, sent) in [
        (CHAT, r#""hermes""#, "nous", r#""hermes""#),
        (CHAT, r#""other-m""#, "other", r#""other-m""#),
        (CHAT, r#""\u006fther-m""#, "other", r#""\u006fther-m""#),
        (CHAT, r#""other/m""#, "other", r#""m""#),
        (CHAT, r#""other/x/y""#, "other", r#""x/y""#),
        (CHAT, r#""nous/other-m""#, "nous", r#""other-m""#),
        (
            CHAT,
            r#""anthropic/claude""#,
            "nous",
            r#""anthropic/claude""#,
        ),
        (CHAT, r#""x/y""#, "other", r#""x/y""#),
        (CHAT, r#""old""#, "other", r#""new \"one\"""#),
        (CHAT, r#""gpt-4.1""#, "other", r#""small""#),
        (CHAT, r#""big""#, "other", r#""other-large""#),
        (CHAT, r#""""#, "other", r#""small""#),
        (CHAT, "null", "other", r#""small""#),
        (CHAT, r#""e-1""#, "nous", r#""e-1""#),
        (EMBEDDINGS, r#""e-1""#, "other", r#""e-1""#),
        (EMBEDDINGS, r#""embed""#, "other", r#""e-1""#),
        (EMBEDDINGS, r#""""#, "nous", r#""""#),
        (
            "/nous/v1/chat/completions",
            r#""other-m""#,
            "nous",
            r#""other-m""#,
        ),
        (
            "/other/v1/chat/completions",
            r#""big""#,
            "other",
            r#""big""#,
        ),
    ] {
        for (before, behind) in [
            ("{\"model\":", rest),
            (" {\"a\":[\"model\"],\"mod\\u0065l\" :\t", rest),
        ] {
            let whole = |model: &str| format!("{before}{model}{behind}");
            let (at, seen) = two.sends(&daemon, path, &whole(model)).await;
            assert_eq!(at, provider, "{path} {model}");
            assert_eq!(text(&seen), whole(sent), "{path} {model}");
            let length = whole(sent).len().to_string();
            assert_eq!(seen.header("content-length"), [length], "{path} {model}");
        }
    }
    // A model that is missing is put in.
    let (at, seen) = two.sends(&daemon, CHAT, r#"{ "messages":[]}"#).await;
    assert_eq!(
        (at, text(&seen)),
        ("other", r#"{"model":"small", "messages":[]}"#)
    );
    let (at, seen) = two.sends(&daemon, EMBEDDINGS, r#"{"input":"x"}"#).await;
    assert_eq!((at, text(&seen)), ("nous", r#"{"input":"x"}"#));

    let status = daemon.status();
    let providers = status["providers"].as_array().unwrap();
    let served = |name: &str| {
        let provider = providers.iter().find(|one| one["name"] == name).unwrap();
        provider["requests"]["served"].as_u64().unwrap()
    };
    let counts = (
        two.world.cloud.counts().requests,
        two.other.counts().requests,
    );
    assert_eq!((served("nous"), served("other")), counts, "{status}");
}

fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text);
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

/// A body of this size, which goes to `other` as `small`, and what comes there.
fn large(size: usize) -> (String, String) {
    let start = format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}],\"model\":",
        "é\\n".repeat(size / 4)
    );
    let end = format!(",\"pad\":\"{}\"}}", "y".repeat(100_000));
    (
        format!("{start}\"gpt-4.1\"{end}"),
        format!("{start}\"small\"{end}"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_behind_a_megabyte_is_found_and_the_rest_streams() {
    let two = Two::new().await;
    let daemon = two.daemon(BY_MODEL);
    for size in [10_000, 1 << 20, 3 << 20] {
        let (body, sent) = large(size);
        let digest = sha256(&sent);
        let (at, seen) = two.sends(&daemon, CHAT, &body).await;
        assert_eq!((at, seen.body_sha256.as_deref()), ("other", Some(&*digest)));
        assert_eq!(seen.header("content-length"), [sent.len().to_string()]);

        // The same without a length, in small pieces.
        let before = two.seen();
        let mut wire = Wire::connect(&daemon).await;
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        wire.send(head.as_bytes()).await;
        for piece in body.as_bytes().chunks(3001) {
            wire.send(format!("{:x}\r\n", piece.len()).as_bytes()).await;
            wire.send(piece).await;
            wire.send(b"\r\n").await;
        }
        wire.send(b"0\r\n\r\n").await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (at, seen) = two.last(before);
        assert_eq!((at, seen.body_sha256.as_deref()), ("other", Some(&*digest)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_sent_on_before_the_body_is_over() {
    let two = Two::new().await;
    let daemon = two.daemon(BY_MODEL);
    let (body, sent) = large(10_000);
    let (first, rest) = body.split_at(body.len() - 50_000);
    let mut wire = Wire::connect(&daemon).await;
    let whole = request("/chat/completions", &body);
    let head = whole.strip_suffix(body.as_str()).unwrap();
    wire.send(head.as_bytes()).await;
    wire.send(first.as_bytes()).await;
    let came = |cloud: &MockCloud| {
        cloud
            .requests()
            .first()
            .is_some_and(|seen| seen.body_bytes > 0)
    };
    two.other.wait_for(PATIENCE, came).await;
    wire.send(rest.as_bytes()).await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(text(&two.other.requests()[0]), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_body_is_replayed_as_it_was_sent() {
    let two = Two::new().await;
    let daemon = two.daemon("[aliases]\nmini = \"hermes\"\n");
    two.world.cloud.fail_next(1, &Fault::unauthorized());
    let answer = post(&daemon, CHAT, &chat("mini")).await;
    assert_eq!(answer.status(), 200);
    let bodies = two.world.cloud.requests();
    let bodies: Vec<_> = bodies.iter().map(text).collect();
    assert_eq!(bodies, [chat("hermes"), chat("hermes")]);
    // Beyond what is kept for a replay it is sent once, whole.
    let large =
        json!({"messages": [{"role": "user", "content": "x".repeat(1 << 21)}], "model": "mini"});
    let large = large.to_string();
    two.world.cloud.fail_next(1, &Fault::unauthorized());
    assert_eq!(post(&daemon, CHAT, &large).await.status(), 401);
    assert_eq!(post(&daemon, CHAT, &large).await.status(), 200);
    let seen = two.world.cloud.requests().into_iter().next_back().unwrap();
    assert_eq!(text(&seen), large.replace("\"mini\"", "\"hermes\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_whose_model_is_unclear_is_refused_and_goes_nowhere() {
    let two = Two::new().await;
    let limits = "[limits]\nroute_body = \"64KiB\"\n";
    let daemon = two.daemon(&format!("{BY_MODEL}{limits}"));
    let far = format!(
        "{{\"messages\":\"{}\",\"model\":\"m\"}}",
        "x".repeat(70_000)
    );
    for (body, status, code, words) in [
        (
            r#"{"model":"a","model":"b"}"#,
            400,
            "bad_request",
            "`model` twice",
        ),
        (
            r#"{"model":"a","mod\u0065l":"b"}"#,
            400,
            "bad_request",
            "`model` twice",
        ),
        (r#"{"Model":"a"}"#, 400, "bad_request", "another spelling"),
        (r#"{"model":7}"#, 400, "bad_request", "not a string"),
        (
            "\u{feff}{\"model\":\"a\"}",
            400,
            "bad_request",
            "byte order mark",
        ),
        ("{\0\"\0m\0o\0", 400, "bad_request", "not valid JSON"),
        ("model=a", 400, "bad_request", "not a JSON object"),
        (r#"{"model":"a"#, 400, "bad_request", "ends too early"),
        (&far, 413, "request_too_large", "`limits.route_body`"),
    ] {
        let message = error(post(&daemon, CHAT, body).await, status, code).await;
        assert!(message.contains(words), "{message}");
        assert!(message.contains("/NAME/v1"), "{message}");
    }
    let gzip = [("content-encoding", "gzip")];
    let answer = asks(&daemon, CHAT, "\u{1f}", &gzip).await;
    let message = error(answer, 415, "unsupported_media_type").await;
    assert!(message.contains("uncompressed"), "{message}");
    assert_eq!(two.seen(), (0, 0));
    // A path that names its provider takes them all.
    for (body, fields) in [(far.as_str(), &[][..]), ("\u{1f}", &gzip[..])] {
        let before = two.seen();
        asks(&daemon, "/other/v1/chat/completions", body, fields).await;
        let (at, seen) = two.last(before);
        assert_eq!((at, text(&seen)), ("other", body));
    }
    // A second model that comes later ends the request, which the provider never has whole.
    let late = format!(
        "{{\"model\":\"other-m\",\"x\":\"{}\",\"model\":\"b\"}}",
        "x".repeat(2 << 20)
    );
    let message = error(post(&daemon, CHAT, &late).await, 400, "bad_request").await;
    assert!(message.contains("`model` twice"), "{message}");
    let last = two.other.requests().into_iter().next_back();
    let whole = last.is_some_and(|seen| seen.body_sha256.is_some() && seen.body_bytes > 1 << 20);
    assert!(!whole, "the provider has the whole body");
    // Nothing is left of what was kept.
    let gone = |cloud: &MockCloud| cloud.counts().in_flight == 0;
    two.other.wait_for(PATIENCE, gone).await;
    let (at, _) = two.sends(&daemon, CHAT, &chat("other-m")).await;
    assert_eq!(at, "other");
}

/// `limits.body` holds whether the length is told or not, and whether the model comes first, last or never.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_gets_a_413_wherever_its_model_stands() {
    let two = Two::new().await;
    let daemon = two.daemon(&format!("{BY_MODEL}[limits]\nbody = \"256KiB\"\n"));
    let pad = "x".repeat(300_000);
    for body in [
        format!("{{\"model\":\"other-m\",\"x\":\"{pad}\"}}"),
        format!("{{\"x\":\"{pad}\",\"model\":\"other-m\"}}"),
        format!("{{\"x\":\"{pad}\"}}"),
    ] {
        let message = error(post(&daemon, CHAT, &body).await, 413, "request_too_large").await;
        assert!(
            message.contains("262144") && message.contains("`limits.body`"),
            "{message}"
        );
        let mut wire = Wire::connect(&daemon).await;
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n{:x}\r\n",
            body.len()
        );
        wire.send(format!("{head}{body}\r\n0\r\n\r\n").as_bytes())
            .await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert!(answer.text().contains("`limits.body`"), "{}", answer.text());
    }
    // No provider has one of them whole, and the next request is served.
    let gone = |cloud: &MockCloud| cloud.counts().in_flight == 0;
    two.other.wait_for(PATIENCE, gone).await;
    let cut = |cloud: &MockCloud| {
        cloud
            .requests()
            .iter()
            .all(|seen| seen.body_sha256.is_none())
    };
    assert!(cut(&two.other) && cut(&two.world.cloud));
    assert_eq!(two.sends(&daemon, CHAT, &chat("other-m")).await.0, "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_while_a_model_is_looked_for_has_a_limit_and_is_given_back() {
    let two = Two::new().await;
    let limits = "[limits]\nreplay_body = \"64KiB\"\nreplay_total = \"192KiB\"\n";
    let daemon = two.daemon(&format!("{BY_MODEL}{limits}"));
    let start = format!("{{\"messages\":\"{}", "x".repeat(100_000));
    // Each leaves before its model has come.
    let (mut kept, mut sent) = (0, 0);
    while kept < 4 {
        let mut wire = Wire::connect(&daemon).await;
        let body = format!("{start}{}", "y".repeat(10_000));
        let whole = request("/chat/completions", &body);
        wire.send(whole.strip_suffix("yyy").unwrap().as_bytes())
            .await;
        wire.is_read().await;
        wire.close();
        // A client that is gone before the daemon has looked at it is refused for that.
        sent += 1;
        assert!(sent <= 40, "few of them are kept");
        let line = daemon.wait_for_log_count("\"message\":\"request\"", sent);
        kept += usize::from(line.contains("\"bytes_in\":110010,"));
    }
    // One waits, and another finds no room meanwhile.
    let waiting = format!("{start}\",\"model\":\"other-m\"}}");
    let mut wire = Wire::connect(&daemon).await;
    let whole = request("/chat/completions", &waiting);
    let (first, last) = whole.split_at(whole.len() - 20);
    wire.send(first.as_bytes()).await;
    wire.is_read().await;
    let answer = post(&daemon, CHAT, &waiting).await;
    let message = error(answer, 503, "overloaded").await;
    assert!(message.contains("`limits.replay_total`"), "{message}");
    wire.send(last.as_bytes()).await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(two.sends(&daemon, CHAT, &waiting).await.0, "other");
    assert_eq!(two.seen(), (0, 2));
}

/// A path that takes other bodies takes JSON too, and that goes where its model says.
#[tokio::test(flavor = "multi_thread")]
async fn json_is_looked_into_on_a_path_that_takes_other_bodies() {
    let two = Two::new().await;
    let routes = |kind: &str| {
        format!(
            "[[route]]\nmodels = [\"local-*\"]\nprovider = \"other\"\n\
             [[route]]\npaths = [\"chat/completions\"]\nmodels = [\"theirs-*\"]\nprovider = \"other\"\n\
             [providers.nous]\nextra_paths = [\"/chat/completions {kind}\"]\n"
        )
    };
    let daemon = two.daemon(&routes("any"));
    assert_eq!(two.sends(&daemon, CHAT, &chat("local-sd")).await.0, "other");
    assert_eq!(two.sends(&daemon, CHAT, &chat("Hermes-4")).await.0, "nous");
}

/// What was not looked into is not called JSON for a provider that takes nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_goes_to_no_provider_that_would_read_it_as_json() {
    let two = Two::new().await;
    let daemon = two.daemon(
        "[[route]]\nmodels = [\"local-*\"]\nprovider = \"nous\"\n\
         [[route]]\npaths = [\"chat/completions\"]\nprovider = \"other\"\n\
         [providers.nous]\nextra_paths = [\"/chat/completions multipart\"]\n",
    );
    let before = two.seen();
    let answer = client()
        .post(format!("{}{CHAT}", daemon.origin()))
        .header("content-type", "multipart/form-data; boundary=x")
        .body("--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n--x--\r\n")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 415);
    let text = answer.text().await.unwrap();
    assert!(text.contains("providers.other.extra_paths"), "{text}");
    assert_eq!(two.seen(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_one_provider_reaches_no_other_by_any_way() {
    let two = Two::new().await;
    two.world.write_config(&two.config(""));
    let only_nous = two.key("a --provider nous");
    let only_other = two.key("b --provider other");
    let only_chats = two.key("c --path /chat/completions");
    let by_path = "[[route]]\npaths = [\"completions\"]\nprovider = \"other\"\n";
    let mut daemon = two.daemon(&format!("{BY_MODEL}{by_path}"));
    let bearer = |key: &str| format!("Bearer {key}");
    let (nous, other) = (bearer(&only_nous), bearer(&only_other));
    for (path, body) in [
        (CHAT, chat("other-m")),
        (CHAT, chat("other/m")),
        (CHAT, chat("gpt-4.1")),
        (CHAT, chat("big")),
        (CHAT, chat("")),
        (CHAT, "{}".to_owned()),
        ("/v1/completions", chat("hermes")),
        (EMBEDDINGS, chat("e-1")),
        ("/other/v1/chat/completions", chat("hermes")),
        ("/OTHER/v1/chat/completions", chat("hermes")),
    ] {
        let answer = asks(&daemon, path, &body, &[("authorization", &nous)]).await;
        let message = error(answer, 404, "unknown_provider").await;
        // It is named where the app has named it.
        let named = if path.contains("/v1/chat") && path != CHAT {
            "other"
        } else {
            "that this request goes to"
        };
        let told = format!("not for the provider {named};");
        assert!(message.contains(&told), "{path} {body}: {message}");
        let answer = asks(&daemon, path, &body, &[("authorization", &other)]).await;
        assert_eq!(answer.status(), 200, "{path} {body}");
    }
    assert_eq!(two.world.cloud.counts().requests, 0);
    for (path, model) in [
        (CHAT, "hermes"),
        (CHAT, "nous/other-m"),
        ("/nous/v1/chat/completions", "m"),
    ] {
        let answer = asks(&daemon, path, &chat(model), &[("authorization", &other)]).await;
        let message = error(answer, 404, "unknown_provider").await;
        assert!(message.contains("b is not for the provider"), "{message}");
    }
    assert_eq!(two.world.cloud.counts().requests, 0);
    let chats = bearer(&only_chats);
    let answer = asks(
        &daemon,
        EMBEDDINGS,
        &chat("e-1"),
        &[("authorization", &chats)],
    )
    .await;
    error(answer, 404, "path_not_allowed").await;
    let answer = asks(&daemon, CHAT, &chat("big"), &[("authorization", &chats)]).await;
    assert_eq!(answer.status(), 200);
    assert!(daemon.stop().success());

    // An address has a provider of its own, and routes go before it.
    let listeners = "[[listen]]\nprovider = \"other\"\n";
    let daemon = two.daemon(&format!("{BY_MODEL}{listeners}"));
    assert_eq!(two.sends(&daemon, CHAT, &chat("hermes")).await.0, "other");
    assert_eq!(
        two.sends(&daemon, CHAT, &chat("nous/hermes")).await.0,
        "nous"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_the_models_provider_lacks_is_refused_with_its_name() {
    let two = Two::new().await;
    let nous = "[providers.nous]\nextra_paths = [\"/echo\"]\n";
    let daemon = two.daemon(&format!("{BY_MODEL}{nous}"));
    let message = error(
        post(&daemon, "/v1/echo", &chat("other-m")).await,
        404,
        "path_not_allowed",
    )
    .await;
    let start =
        "The model other-m goes to the provider other (`hermesctl proxy routes` explains it). ";
    assert!(message.starts_with(start), "{message}");
    assert_eq!(
        post(&daemon, "/v1/echo", &chat("hermes")).await.status(),
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_routes_and_no_request_under_way() {
    let two = Two::new().await;
    let daemon = two.daemon("");
    let stream = |model: &str| {
        json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "x"}],
            "mock": {"events": 30, "delay_chunk_ms": 20}})
        .to_string()
    };
    let mut running = post(&daemon, CHAT, &stream("m")).await;
    running.chunk().await.unwrap().unwrap();
    for (routing, provider, model) in [
        (
            "[[route]]\nmodels = [\"m\"]\nprovider = \"other\"\n",
            "other",
            "m",
        ),
        ("[aliases]\nm = \"n\"\n", "nous", "n"),
        ("", "nous", "m"),
    ] {
        two.world.write_config(&two.config(routing));
        let reload = two.world.ctl(&["proxy", "reload", "--json"]);
        assert!(reload.status.success(), "{reload:?}");
        let (at, seen) = two.sends(&daemon, CHAT, &chat("m")).await;
        assert_eq!((at, text(&seen)), (provider, chat(model).as_str()));
    }
    let mut rest = Vec::new();
    while let Some(piece) = running.chunk().await.unwrap() {
        rest.extend(piece);
    }
    assert!(String::from_utf8(rest).unwrap().contains("[DONE]"));
    // What is wrong is refused, and the routes in use stay.
    two.world
        .write_config(&two.config("[[route]]\nmodels = [\"m\"]\nprovider = \"nobody\"\n"));
    let reload = two.world.ctl(&["proxy", "reload"]);
    let told = String::from_utf8(reload.stderr).unwrap();
    assert!(
        told.contains("route[0].provider: there is no provider `nobody`"),
        "{told}"
    );
    assert_eq!(two.sends(&daemon, CHAT, &chat("m")).await.0, "nous");
}
