//! `GET /v1/models`: from memory, in time, and correct.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helper may fail loudly"
)]

use std::time::Duration;

use futures_util::future::join_all;
use mock_cloud::{Canned, Fault, Options, Steering};
use reqwest::Method;
use serde_json::{Value, json};
use support::{Daemon, World, client, error};

/// How often the cloud was asked for the list.
fn asked(world: &World) -> usize {
    let requests = world.cloud.requests();
    let lists = requests
        .iter()
        .filter(|one| one.target.starts_with("/v1/models"));
    lists.count()
}

async fn get(daemon: &Daemon, path: &str) -> reqwest::Response {
    let asking = client().get(daemon.url(path)).send();
    asking.await.unwrap()
}

/// Until the list at the daemon is as wanted.
async fn until(daemon: &Daemon, wanted: impl Fn(&reqwest::Response) -> bool) -> reqwest::Response {
    for _ in 0..400 {
        let answer = get(daemon, "/models").await;
        if wanted(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the list never became so");
}

fn is_stale(answer: &reqwest::Response) -> bool {
    answer.headers().contains_key("x-hermes-stale")
}

#[tokio::test]
async fn a_list_is_fetched_once_for_all_who_ask_and_its_bytes_are_the_providers() {
    let world = World::new(Options::default()).await;
    let body = "{\n  \"object\":\"list\", \"data\": [ {\"id\":\"a/b:c\",\"x\":1.50} ]}\n";
    let list = Canned::json(200, &Value::Null)
        .header("etag", "\"1\"")
        .header("x-request-id", "of one request");
    let list = list.body(body);
    world.cloud.break_inference(Fault::Answer(list));
    let daemon = world.daemon();
    let answers = join_all((0..20).map(|_| get(&daemon, "/models"))).await;
    for answer in answers {
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.headers()["etag"], "\"1\"");
        assert!(answer.headers().contains_key("x-hermes-request-id"));
        assert!(!answer.headers().contains_key("x-request-id"));
        assert!(!is_stale(&answer));
        assert_eq!(answer.text().await.unwrap(), body);
    }
    assert_eq!(asked(&world), 1);
    let seen = world.cloud.requests().remove(0);
    assert_eq!(seen.target, "/v1/models");
    assert_eq!(
        seen.header("authorization"),
        [format!("Bearer {}", world.login.access_token)]
    );
    let head = client().head(daemon.url("/models")).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], body.len().to_string());
    assert_eq!(head.text().await.unwrap(), "");
    assert_eq!(asked(&world), 1);
    let log = daemon.wait_for_log("from memory");
    assert!(log.contains("\"provider\":\"nous\""), "{log}");

    // What may get another answer goes to the provider.
    get(&daemon, "/models?client_version=1").await;
    let anthropic = client().get(daemon.url("/models"));
    anthropic
        .header("anthropic-version", "2023-06-01")
        .send()
        .await
        .unwrap();
    let stream = client().get(daemon.url("/models"));
    stream
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(asked(&world), 4);
    // Another provider's list is its own, and a reload fetches it again.
    world.ctl(&["proxy", "reload"]);
    assert_eq!(get(&daemon, "/models").await.text().await.unwrap(), body);
    assert_eq!(asked(&world), 5);
}

#[tokio::test]
async fn a_model_is_answered_from_the_list_by_its_id() {
    let world = World::new(Options::default()).await;
    let model = json!({"id": "anthropic/claude-sonnet-4:beta", "object": "model", "owned_by": "x"});
    let list = json!({"object": "list", "data": [{"id": "other"}, model]});
    let list = Canned::json(200, &list);
    world.cloud.break_inference(Fault::Answer(list));
    for cache in ["10m", "0s"] {
        let daemon = world.daemon_with(&format!("models_cache = \"{cache}\"\n"), &[]);
        for path in [
            "/models/anthropic/claude-sonnet-4:beta",
            "/models/anthropic%2Fclaude-sonnet-4%3Abeta",
            "/models/anthropic%2fclaude-sonnet-4:beta/",
        ] {
            let answer = get(&daemon, path).await;
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!(answer.json::<Value>().await.unwrap(), model);
            let head = client().head(daemon.url(path)).send().await.unwrap();
            assert_eq!(head.status(), 200);
        }
        let answer = get(&daemon, "/models/gpt-0").await;
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers()["x-hermes-error"], "model_not_found");
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["error"]["code"], "model_not_found");
        assert_eq!(told["error"]["type"], "invalid_request_error");
        assert_eq!(told["error"]["param"], "model");
        let told = told["error"]["message"].as_str().unwrap();
        assert!(
            told.contains("gpt-0") && told.contains("Nous Portal"),
            "{told}"
        );
        let deleted = client().request(Method::DELETE, daemon.url("/models/gpt-0"));
        let answer = deleted.send().await.unwrap();
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
        // A wrong id is not the provider's fault.
        let status = daemon.status();
        assert!(status["providers"][0]["failing"].is_null(), "{status}");
    }
    assert!(
        world
            .cloud
            .requests()
            .iter()
            .all(|one| one.target == "/v1/models")
    );
    // Kept, one request; else one for each.
    assert_eq!(asked(&world), 1 + 7);
}

#[tokio::test]
async fn a_model_has_the_bytes_of_the_list_whatever_else_is_in_that() {
    let world = World::new(Options::default()).await;
    let model = "{ \"id\":\"a\\u002f1\", \"price\":1.50,\"name\":\"\\u00e9\",\"x\":1e400 }";
    let list = format!("{{\"object\":\"list\",\"data\":[{{\"id\":\"b\",\"y\":1e999}},{model}]}}");
    let list = Canned::json(200, &Value::Null).body(list);
    world.cloud.break_inference(Fault::Answer(list));
    let daemon = world.daemon();
    let answer = get(&daemon, "/models/a/1").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), model);
    assert_eq!(get(&daemon, "/models/b").await.status(), 200);
    error(get(&daemon, "/models/c").await, 404, "model_not_found").await;
}

/// What was asked for before is another account's, perhaps.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_asked_for_before_is_nothing_for_who_asks_later() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let list = |id: &str| json!({"object": "list", "data": [{"id": id}]});
    let slow = Steering {
        delay_head_ms: 2_000,
        ..Steering::default()
    };
    world.cloud.fail_next(1, &Fault::Steer(Box::new(slow)));
    let first = async {
        let answer = get(&daemon, "/models").await;
        answer.json::<Value>().await.unwrap()
    };
    let second = async {
        while asked(&world) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let present = Canned::json(200, &list("present"));
        world.cloud.break_inference(Fault::Answer(present));
        world.ctl(&["proxy", "reload"]);
        let answer = get(&daemon, "/models").await;
        answer.json::<Value>().await.unwrap()
    };
    let (first, second) = futures_util::future::join(first, second).await;
    assert_eq!(first["data"][0]["id"], "Hermes-4-405B");
    assert_eq!(second, list("present"));
    // It is not kept either.
    let kept = get(&daemon, "/models").await.json::<Value>().await;
    assert_eq!((kept.unwrap(), asked(&world)), (list("present"), 2));
}

#[tokio::test]
async fn during_an_outage_the_last_good_list_is_answered_with_its_age() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("models_cache = \"50ms\"\n", &[]);
    let good = get(&daemon, "/models").await.text().await.unwrap();
    let failures = [
        Fault::Answer(Canned::json(503, &json!({"error": "x"}))),
        Fault::Answer(Canned::json(429, &json!({"error": "x"}))),
        Fault::CloseBeforeHead,
        Fault::Answer(Canned::json(200, &json!(["no", "list"]))),
    ];
    for fault in failures {
        world.cloud.break_inference(fault.clone());
        let before = asked(&world);
        let answer = until(&daemon, |answer| is_stale(answer) && asked(&world) > before).await;
        assert_eq!(answer.status(), 200, "{fault:?}");
        assert_eq!(answer.text().await.unwrap(), good, "{fault:?}");
        world.cloud.heal();
        until(&daemon, |answer| !is_stale(answer)).await;
    }
    world.cloud.set_inference_open(false).await;
    let answer = until(&daemon, is_stale).await;
    let age = answer.headers()["x-hermes-stale"]
        .to_str()
        .unwrap()
        .parse::<u64>();
    assert!(age.unwrap() < 10);
    assert_eq!(answer.text().await.unwrap(), good);
    let one = get(&daemon, "/models/Hermes-4-405B").await;
    assert!(is_stale(&one) && one.status() == 200);
    // Where there is no list, the error tells what is wrong.
    world.ctl(&["proxy", "reload"]);
    error(get(&daemon, "/models").await, 502, "upstream_unreachable").await;
    error(get(&daemon, "/models/x").await, 502, "upstream_unreachable").await;
    world.cloud.set_inference_open(true).await;
    assert_eq!(get(&daemon, "/models").await.text().await.unwrap(), good);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_list_outlives_the_daemon_and_is_old_until_the_provider_has_sent_another() {
    let world = World::new(Options::default()).await;
    let kept = ".local/state/hermes-proxyd/models/nous";
    let file = world.home.path().join(kept);
    let exists = async |wanted: bool| {
        for _ in 0..1000 {
            if file.exists() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} is not as it should be", file.display());
    };
    let daemon = world.daemon();
    let answer = get(&daemon, "/models").await;
    assert!(!is_stale(&answer));
    let good = answer.text().await.unwrap();
    exists(true).await;
    let written = std::fs::read_to_string(&file).unwrap();
    world.assert_no_secret_in("the kept list", &written);
    assert!(written.ends_with(&good), "{written}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode =
            |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }
    drop(daemon);
    world.cloud.set_inference_open(false).await;
    let daemon = world.daemon();
    let answer = get(&daemon, "/models").await;
    assert!(answer.status() == 200 && is_stale(&answer), "{answer:?}");
    assert_eq!(answer.text().await.unwrap(), good);
    world.cloud.set_inference_open(true).await;
    drop(daemon);
    let daemon = world.daemon();
    until(&daemon, |answer| !is_stale(answer)).await;
    // The next login may be another account's.
    let logout = world.ctl(&["auth", "logout", "nous", "--yes"]);
    assert!(logout.status.success(), "{logout:?}");
    error(get(&daemon, "/models").await, 401, "upstream_auth_failed").await;
    exists(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_login_is_told_whatever_is_kept() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    assert_eq!(get(&daemon, "/models").await.status(), 200);
    let logout = world.ctl(&["auth", "logout", "nous", "--yes"]);
    assert!(logout.status.success(), "{logout:?}");
    error(get(&daemon, "/models").await, 401, "upstream_auth_failed").await;
    error(
        get(&daemon, "/models/Hermes-4-405B").await,
        401,
        "upstream_auth_failed",
    )
    .await;
    assert_eq!(asked(&world), 1);
    // The next login may be another account's.
    world.log_in();
    assert_eq!(get(&daemon, "/models").await.status(), 200);
    assert_eq!(asked(&world), 2);
}

#[tokio::test]
async fn a_provider_that_refuses_the_login_is_heard() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("models_cache = \"50ms\"\n", &[]);
    assert_eq!(get(&daemon, "/models").await.status(), 200);
    let refusal = Canned::json(403, &json!({"error": {"message": "no plan"}}));
    world.cloud.break_inference(Fault::Answer(refusal));
    let answer = until(&daemon, |answer| answer.status() == 403).await;
    assert!(!answer.headers().contains_key("x-hermes-error"));
    assert_eq!(
        answer.json::<Value>().await.unwrap()["error"]["message"],
        "no plan"
    );
    // A request that is refused makes a fresh list doubtful.
    world.cloud.heal();
    until(&daemon, |answer| answer.status() == 200).await;
}

#[tokio::test]
async fn a_key_for_another_provider_sees_no_list() {
    let world = World::new(Options::default()).await;
    let key = world.home.path().join("key");
    std::fs::write(&key, &world.login.access_token).unwrap();
    let config = format!(
        "[providers.work]\ntype = \"static\"\nbase_url = \"{{base}}\"\napi_key_file = {:?}\n",
        key.to_str().unwrap()
    );
    let daemon = world.daemon_with(&config, &[]);
    assert_eq!(get(&daemon, "/models").await.status(), 200);
    for (flags, path) in [
        (&["--provider", "work"][..], "/models"),
        (&["--provider", "work"], "/models/Hermes-4-405B"),
        (&["--path", "/embeddings"], "/models"),
        (&["--path", "/embeddings"], "/models/Hermes-4-405B"),
    ] {
        let name = format!("app{}", flags.len() + path.len() + flags[1].len());
        let added = world.ctl(&[&["clients", "add", &name][..], flags].concat());
        let key = String::from_utf8(added.stdout).unwrap();
        let request = client().get(daemon.url(path)).bearer_auth(key.trim());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 404, "{flags:?} {path}");
        assert!(answer.headers().contains_key("x-hermes-error"));
    }
    assert_eq!(asked(&world), 1);
    // Each provider has its own list.
    let url = format!("{}/work/v1/models", daemon.origin());
    assert_eq!(client().get(url).send().await.unwrap().status(), 200);
    assert_eq!(asked(&world), 2);
}

#[tokio::test]
async fn without_a_cache_each_request_reaches_the_provider() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("models_cache = \"0s\"\n", &[]);
    for _ in 0..3 {
        let answer = get(&daemon, "/models").await;
        assert_eq!(answer.headers()["x-request-id"], "req_mock");
    }
    assert_eq!(asked(&world), 3);
}

/// Answers are not searched: what the provider sends passes as it came. It is not written down, though.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_repeats_the_token_is_passed_on_and_not_written_down() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let token = world.login.access_token.clone();
    let list = json!({"object": "list", "data": [{"id": "m", "asked_with": token}]});
    world
        .cloud
        .break_inference(Fault::Answer(Canned::json(200, &list)));
    let answer = get(&daemon, "/models").await;
    assert_eq!(answer.json::<Value>().await.unwrap(), list);
    let body = json!({"model": "m", "messages": []});
    for status in [200, 400] {
        let told = json!({"error": {"message": format!("Bearer {token}"), "code": token}});
        world
            .cloud
            .break_inference(Fault::Answer(Canned::json(status, &told)));
        let answer = support::post(&daemon, &body).await;
        assert_eq!(answer.json::<Value>().await.unwrap(), told);
    }
    let models = world.home.path().join(".local/state/hermes-proxyd/models");
    assert!(!models.join("nous").exists());
    daemon.wait_for_log_count("\"status\":400", 1);
    world.assert_no_secret_in("the log", &daemon.logged());
    let status = daemon.status().to_string();
    world.assert_no_secret_in("the status", &status);
}

/// What is too long to be kept passes whole, and is not fetched once more for each who asks, nor told each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_long_to_be_kept_passes_and_is_told_once() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let model = |number: usize| format!("{{\"id\":\"m{number}\"}}");
    let of = |count: usize| {
        let all: Vec<_> = (0..count).map(model).collect();
        format!("{{\"object\":\"list\",\"data\":[{}]}}", all.join(","))
    };
    let breaks = |world: &World, list: &str| {
        let list = Canned::json(200, &Value::Null).body(list.to_owned());
        world.cloud.break_inference(Fault::Answer(list));
    };
    let long = of(20_001);
    breaks(&world, &long);
    for _ in 0..3 {
        let answer = get(&daemon, "/models").await;
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap() == long, "it has changed");
    }
    // Once to be kept, and once for each.
    assert_eq!(asked(&world), 1 + 3);
    let one = error(get(&daemon, "/models/m1").await, 502, "answer_too_large").await;
    assert!(one.contains("more than 20000 models or 8 MiB"), "{one}");
    let told = "a list of models is too long to be kept; it passes as it comes";
    daemon.wait_for_log(told);
    assert_eq!(get(&daemon, "/models").await.status(), 200);
    assert_eq!(daemon.logged().matches(told).count(), 1);
    assert_eq!(asked(&world), 1 + 4);
    drop(daemon);

    // One at the limit is kept.
    breaks(&world, &of(20_000));
    let daemon = world.daemon();
    let before = asked(&world);
    for path in ["/models", "/models", "/models/m19999"] {
        assert_eq!(get(&daemon, path).await.status(), 200, "{path}");
    }
    assert_eq!(asked(&world), before + 1);

    // One of many bytes is not.
    let world = World::new(Options::default()).await;
    let filling = "y".repeat(8 << 20);
    let large = format!("{{\"object\":\"list\",\"data\":[],\"x\":\"{filling}\"}}");
    breaks(&world, &large);
    let daemon = world.daemon();
    error(get(&daemon, "/models/m1").await, 502, "answer_too_large").await;
    assert!(
        get(&daemon, "/models").await.text().await.unwrap() == large,
        "it has changed"
    );
    assert_eq!(asked(&world), 2);
}

/// Two providers behind one address, and what leads to the second one.
fn routed(world: &World, other: &mock_cloud::MockCloud, more: &str) -> Daemon {
    let key = world.home.path().join("key");
    std::fs::write(&key, &other.login().access_token).unwrap();
    let config = format!(
        "{more}\n[aliases]\nmini = \"two/only-b\"\nshort = \"only-a\"\n\
         [[route]]\nmodels = [\"only-b\"]\nprovider = \"two\"\n\
         [providers.two]\ntype = \"static\"\nbase_url = \"{}\"\napi_key_file = {:?}\n",
        other.inference_base_url(),
        key.to_str().unwrap()
    );
    world.daemon_with(&config, &[])
}

fn listed(ids: &[&str]) -> Fault {
    let model = |id: &&str| json!({"id": id, "object": "model", "x": 1});
    let all: Vec<_> = ids.iter().map(model).collect();
    Fault::Answer(Canned::json(200, &json!({"object": "list", "data": all})))
}

async fn ids(daemon: &Daemon, path: &str, key: &str) -> Vec<String> {
    let url = format!("{}{path}", daemon.origin());
    let answer = client().get(url).bearer_auth(key).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let list: Value = answer.json().await.unwrap();
    let models = list["data"].as_array().unwrap().iter();
    models
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_routes_the_list_is_that_of_all_providers_by_the_names_that_lead_to_them() {
    let world = World::new(Options::default()).await;
    let other = mock_cloud::MockCloud::start(Options::default()).await;
    world.cloud.break_inference(listed(&["only-a", "both"]));
    other.break_inference(listed(&["both", "only-b"]));
    let daemon = routed(&world, &other, "");
    let all = ["only-a", "both", "two/both", "only-b", "mini", "short"];
    for _ in 0..3 {
        assert_eq!(ids(&daemon, "/v1/models", "any").await, all);
    }
    assert_eq!((asked(&world), other.requests().len()), (1, 1));
    assert_eq!(
        ids(&daemon, "/nous/v1/models", "any").await,
        ["only-a", "both"]
    );
    assert_eq!(
        ids(&daemon, "/two/v1/models", "any").await,
        ["both", "only-b"]
    );
    // Each is found by its name, and each name leads there.
    for id in all {
        let answer = get(&daemon, &format!("/models/{id}")).await;
        assert_eq!(answer.status(), 200, "{id}");
        assert_eq!(answer.json::<Value>().await.unwrap()["id"], *id);
    }
    world.cloud.heal();
    other.heal();
    for (id, at_other) in [
        ("both", false),
        ("two/both", true),
        ("only-b", true),
        ("mini", true),
    ] {
        let before = other.requests().len();
        let body = json!({"model": id, "messages": [{"role": "user", "content": "x"}]});
        assert_eq!(support::post(&daemon, &body).await.status(), 200, "{id}");
        assert_eq!(other.requests().len() > before, at_other, "{id}");
    }
    // A key sees what it may use.
    let added = world.ctl(&["clients", "add", "app", "--provider", "nous"]);
    let key = String::from_utf8(added.stdout).unwrap();
    assert_eq!(
        ids(&daemon, "/v1/models", key.trim()).await,
        ["only-a", "both", "short"]
    );
    assert_eq!(ids(&daemon, "/v1/models", "any").await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_holds_up_no_list_of_all() {
    let world = World::new(Options::default()).await;
    let other = mock_cloud::MockCloud::start(Options::default()).await;
    world.cloud.break_inference(listed(&["only-a"]));
    other.break_inference(listed(&["only-b"]));
    let daemon = routed(&world, &other, "models_cache = \"50ms\"");
    assert_eq!(
        ids(&daemon, "/v1/models", "any").await,
        ["only-a", "only-b", "mini", "short"]
    );
    // Its last good list stays.
    other.set_inference_open(false).await;
    let stale = until(&daemon, is_stale).await;
    let text = stale.text().await.unwrap();
    assert!(text.contains("only-b"), "{text}");
    // Without one, the others are listed, and no request waits for it twice.
    world.ctl(&["proxy", "reload"]);
    let (silent, before) = (Fault::Silent, tokio::time::Instant::now());
    other.set_inference_open(true).await;
    other.break_inference(silent);
    for _ in 0..20 {
        assert_eq!(
            ids(&daemon, "/v1/models", "any").await,
            ["only-a", "mini", "short"]
        );
    }
    assert!(
        before.elapsed() < support::PATIENCE,
        "{:?}",
        before.elapsed()
    );
}
