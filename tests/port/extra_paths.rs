//! The configuration's own paths: their ids, and bodies other than JSON.

use hermes_proxy::config::{AllowedPath, BodyKind};
use hermes_proxy::paths::Environment;
use mock_cloud::Options;
use reqwest::Method;
use support::{Daemon, World, client, error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const FORM: &str = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\0\u{1}\r\n--b--\r\n";
const FORM_TYPE: &str = "multipart/form-data; boundary=b";

/// A daemon whose default provider has these paths beside its own.
#[expect(clippy::unwrap_used, reason = "a test's helper may fail loudly")]
fn daemon(world: &World, paths: &[&str]) -> Daemon {
    let key = world.home.path().join("key");
    std::fs::write(&key, &world.login.access_token).unwrap();
    let config = format!(
        "default_provider = \"work\"\n[guard]\nallowed_origins = [\"https://app.example\"]\n\
         [providers.work]\ntype = \"static\"\nbase_url = \"{{base}}\"\napi_key_file = {:?}\n\
         extra_paths = {paths:?}\n",
        key.to_str().unwrap()
    );
    world.daemon_with(&config, &[])
}

/// What the documentation shows of `extra_paths`, as the configuration's reader has it.
#[expect(clippy::unwrap_used, reason = "a test's helper may fail loudly")]
fn of_the_docs() -> Vec<AllowedPath> {
    let page = std::fs::read_to_string(support::root().join("docs/providers.md")).unwrap();
    let blocks = page.split("```toml paths\n").skip(1);
    let texts = blocks.map(|rest| rest.split("```").next().unwrap().to_owned());
    let home = Environment::from_lookup(|name| (name == "HOME").then(|| "/home/u".into()));
    let mut paths = Vec::new();
    for text in texts {
        let config = hermes_proxy::config::parse(&text, "docs/providers.md".as_ref(), &home);
        for provider in config.unwrap().providers.into_values() {
            paths.extend(provider.extra_paths);
        }
    }
    assert!(paths.len() >= 8, "{paths:?}");
    paths
}

#[tokio::test]
async fn the_paths_of_the_documentation_are_served_with_their_ids_and_bodies() {
    let world = World::new(Options::default()).await;
    let paths = of_the_docs();
    let texts: Vec<_> = paths.iter().map(ToString::to_string).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let daemon = daemon(&world, &texts);
    let mut kinds = Vec::new();
    for allowed in &paths {
        let path = allowed.path.replace("{id}", "Id_1.a-b");
        for method in &allowed.methods {
            let name = Method::from_bytes(method.as_str().as_bytes()).unwrap();
            let has_body = name == Method::POST;
            let mut request = client().request(name, daemon.url(&path));
            if has_body {
                request = request.header("content-type", FORM_TYPE).body(FORM);
            }
            let answer = request.send().await.unwrap();
            assert!(!answer.headers().contains_key("x-hermes-error"), "{path}");
            let seen = world.cloud.requests().pop().unwrap();
            assert_eq!(seen.target, format!("/v1{path}"));
            assert_eq!(seen.method, method.as_str());
            if has_body {
                assert_eq!(seen.body, FORM.as_bytes());
                let expected = match allowed.body {
                    BodyKind::Json => "application/json",
                    BodyKind::Multipart | BodyKind::Any => FORM_TYPE,
                };
                assert_eq!(seen.header("content-type"), [expected], "{path}");
                kinds.push(allowed.body);
            }
        }
        if allowed.methods.contains(&hyper::Method::GET) {
            let head = client().head(daemon.url(&path)).send().await.unwrap();
            assert!(!head.headers().contains_key("x-hermes-error"), "{path}");
            assert_eq!(world.cloud.requests().pop().unwrap().method, "GET");
        }
    }
    assert!(kinds.contains(&BodyKind::Json) && kinds.contains(&BodyKind::Multipart));
}

#[tokio::test]
async fn nothing_but_an_id_takes_an_ids_place() {
    let world = World::new(Options::default()).await;
    let daemon = daemon(
        &world,
        &[
            "GET /files/{id}",
            "GET /files/{id}/content",
            "POST /files/search",
        ],
    );
    for target in [
        "/v1/files/.",
        "/v1/files/..",
        "/v1/files/../models/content",
        "/v1/files/...",
        "/v1/files/%2e%2e/content",
        "/v1/files/a%2fb",
        "/v1/files/a;b",
        "/v1/files/a\\b",
        "/v1/files/a:b",
        "/v1/files/{id}",
        "/v1/files/a/b",
        "/v1/files/",
        "/v1/files//content/x",
    ] {
        let mut stream = tokio::net::TcpStream::connect(daemon.address())
            .await
            .unwrap();
        let request =
            format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("path_not_allowed"), "{target}: {answer}");
    }
    assert!(world.cloud.requests().is_empty());
    // The literal path goes first, and has its own methods.
    let answer = client()
        .get(daemon.url("/files/search"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["allow"], "POST");
    let message = error(
        client().get(daemon.url("/files")).send().await.unwrap(),
        404,
        "path_not_allowed",
    );
    assert!(message.await.contains("/files/{id}/content"));
}

#[tokio::test]
async fn a_web_page_sends_an_upload_only_where_it_is_listed() {
    let world = World::new(Options::default()).await;
    let daemon = daemon(&world, &["/files multipart", "/any any", "/json"]);
    let ask = async |path: &str, kind: &str, fields: &[(&str, &str)]| {
        let mut request = client().post(daemon.url(path)).header("content-type", kind);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = request.body(FORM).send().await.unwrap();
        let code = answer.headers().get("x-hermes-error");
        code.map(|code| code.to_str().unwrap().to_owned())
    };
    let (listed, other) = (
        ("origin", "https://app.example"),
        ("origin", "https://evil.example"),
    );
    let refused = Some("unsupported_media_type".to_owned());
    for (path, kind, fields, expected) in [
        ("/files", FORM_TYPE, &[][..], None),
        ("/files", FORM_TYPE, &[listed], None),
        (
            "/files",
            FORM_TYPE,
            &[other],
            Some("origin_not_allowed".to_owned()),
        ),
        (
            "/files",
            FORM_TYPE,
            &[("sec-fetch-site", "none")],
            refused.clone(),
        ),
        (
            "/files",
            FORM_TYPE,
            &[("sec-fetch-dest", "empty")],
            refused.clone(),
        ),
        ("/files", "text/plain", &[listed], refused.clone()),
        ("/json", FORM_TYPE, &[listed], refused.clone()),
        ("/any", "text/plain", &[listed], None),
        (
            "/any",
            "text/plain",
            &[("sec-fetch-site", "none")],
            refused.clone(),
        ),
    ] {
        assert_eq!(
            ask(path, kind, fields).await,
            expected,
            "{path} {kind} {fields:?}"
        );
    }
    let seen = world.cloud.requests();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen.last().unwrap().header("content-type"), ["text/plain"]);
}

#[tokio::test]
async fn a_client_key_is_limited_to_a_path_with_a_place() {
    let world = World::new(Options::default()).await;
    let daemon = daemon(&world, &["GET /files/{id}", "GET /batches/{id}"]);
    let added = world.ctl(&["clients", "add", "app", "--path", "/files/{id}"]);
    assert!(added.status.success(), "{added:?}");
    let key = String::from_utf8(added.stdout).unwrap();
    let ask = async |path: &str| {
        let request = client().get(daemon.url(path)).bearer_auth(key.trim());
        request.send().await.unwrap()
    };
    let answer = ask("/files/file-1").await;
    assert!(!answer.headers().contains_key("x-hermes-error"));
    let message = error(ask("/batches/batch_1").await, 404, "path_not_allowed").await;
    assert!(message.contains("/batches/{id}"), "{message}");
}
