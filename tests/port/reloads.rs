//! A reload that adds, changes and removes a provider leaves the others alone.

use std::sync::Arc;

use mock_cloud::{Options, pattern};
use serde_json::{Value, json};
use support::wire::{Wire, daemon_at, read_request};
use support::{Daemon, World, client};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

const EVENTS: usize = 40;

/// A provider that sends the first half of a stream, and the second one for a permit, which `?kept` has its own of;
/// a small answer to all else.
async fn halting(kept: &Arc<Semaphore>, permits: &Arc<Semaphore>) -> Wire {
    let all = (kept.clone(), permits.clone());
    Wire::start(move |mut stream, _| {
        let (kept, permits) = all.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                if !request.starts_with("GET /v1/sse") {
                    stream.write_all(support::wire::OK.as_bytes()).await.ok();
                    continue;
                }
                let bytes = pattern::sse(EVENTS);
                let (first, second) = bytes.split_at(bytes.len() / 2 + 3);
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
                    bytes.len()
                );
                stream.write_all(&[head.as_bytes(), first].concat()).await.ok();
                let is_kept = request.starts_with("GET /v1/sse?kept ");
                let permits = if is_kept { &kept } else { &permits };
                if let Ok(permit) = permits.acquire().await {
                    permit.forget();
                }
                stream.write_all(second).await.ok();
            }
        }
    })
    .await
}

/// The head of a stream, which has begun.
#[expect(clippy::unwrap_used, reason = "a test's helper may fail loudly")]
async fn stream(daemon: &Daemon, path: &str) -> reqwest::Response {
    let url = format!("{}/{path}", daemon.origin());
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

fn provider(status: &Value, name: &str) -> Option<Value> {
    let mut providers = status["providers"].as_array()?.iter();
    providers.find(|one| one["name"] == name).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_changing_and_removing_a_provider_touches_no_other_ones_stream_or_token() {
    let world = World::new(Options::default()).await;
    let (held, permits) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let wire = halting(&held, &permits).await;
    let key = world.home.path().join("key");
    std::fs::write(&key, "a-key").unwrap();
    let cache = "models_cache = \"0s\"\n";
    let nous = "[providers.nous]\nextra_paths = [\"GET /sse\"]\n";
    let work = format!(
        "[providers.work]\ntype = \"static\"\nbase_url = {:?}\napi_key_file = {key:?}\n\
         extra_paths = [\"GET /sse\"]\n",
        wire.base_url()
    );
    let changed = format!("{work}append_done = true\nforward_headers = [\"x-tag\"]\n");
    let daemon = daemon_at(&world, &wire.base_url(), nous);
    let before = provider(&daemon.status(), "nous").unwrap();
    let kept = stream(&daemon, "nous/v1/sse?kept").await;

    let reload = |config: &str| {
        world.write_config(&format!("{cache}{nous}{config}"));
        let output = world.ctl(&["proxy", "reload", "--json"]);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["applied"].clone()
    };
    let models = async || {
        let url = format!("{}/work/v1/models", daemon.origin());
        client().get(url).send().await.unwrap().status()
    };
    assert_eq!(models().await, 404);
    for _ in 0..3 {
        assert_eq!(reload(&work), json!(["providers.work"]));
        assert_eq!(models().await, 200);
        let own = stream(&daemon, "work/v1/sse").await;
        let keys = [
            "providers.work.forward_headers",
            "providers.work.append_done",
        ];
        assert_eq!(reload(&changed), json!(keys));
        assert_eq!(models().await, 200);
        let later = stream(&daemon, "work/v1/sse").await;
        assert_eq!(reload(""), json!(["providers.work"]));
        assert_eq!(models().await, 404);
        assert!(provider(&daemon.status(), "work").is_none());
        // What runs when its provider is changed or taken away ends whole.
        permits.add_permits(3);
        for answer in [own, later] {
            assert_eq!(answer.bytes().await.unwrap(), pattern::sse(EVENTS));
        }
        let other = stream(&daemon, "nous/v1/sse").await;
        assert_eq!(other.bytes().await.unwrap(), pattern::sse(EVENTS));
    }
    held.add_permits(1);
    assert_eq!(kept.bytes().await.unwrap(), pattern::sse(EVENTS));
    let after = provider(&daemon.status(), "nous").unwrap();
    for field in ["expires_at", "last_refresh", "state"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let counts = world.cloud.counts();
    assert_eq!((counts.refresh_calls, counts.mint_calls), (0, 0));
}
