//! How many of the places one app may have, and the answer when all are taken.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use mock_cloud::Options;
use serde_json::json;
use support::{Daemon, World, chat, client, error};

/// What hangs until it is dropped.
type Held = Vec<reqwest::Response>;

/// Asks for a stream that does not end.
async fn ask(daemon: &Daemon, key: Option<&str>) -> reqwest::Response {
    let mut request = chat("x");
    request["stream"] = true.into();
    request["mock"] = json!({"events": 2, "delay_chunk_ms": 600_000});
    let mut post = client().post(daemon.url("/chat/completions"));
    if let Some(key) = key {
        post = post.bearer_auth(key);
    }
    post.json(&request).send().await.unwrap()
}

async fn hold(daemon: &Daemon, key: Option<&str>, count: usize) -> Held {
    let mut held = Vec::new();
    for number in 0..count {
        let answer = ask(daemon, key).await;
        assert_eq!(answer.status(), 200, "{number}");
        held.push(answer);
    }
    held
}

async fn lives(daemon: &Daemon) {
    for path in ["/livez", "/readyz"] {
        let url = format!("{}{path}", daemon.origin());
        let asked = client().get(url).send();
        let answer = tokio::time::timeout(support::PATIENCE, asked).await;
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
}

fn add(world: &World, line: &[&str]) -> String {
    let added = world.ctl(&[&["clients", "add"], line].concat());
    assert!(added.status.success(), "{added:?}");
    String::from_utf8(added.stdout).unwrap().trim().to_owned()
}

/// 64 places: 16 for a key, 63 for all that is sent on.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_a_share_of_the_places_and_not_all_are_for_what_providers_answer() {
    let world = World::new(Options::default()).await;
    let key = add(&world, &["neighbour"]);
    let more = add(&world, &["more", "--in-flight", "20"]);
    let daemon = world.daemon_with("[limits]\nconnections = 64\n", &[]);
    let mut held = hold(&daemon, Some(&key), 16).await;
    let answer = ask(&daemon, Some(&key)).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    let message = error(answer, 503, "overloaded").await;
    for part in ["neighbour", "16", "`limits.connections`", "--in-flight"] {
        assert!(message.contains(part), "{message}");
    }
    // No other key is affected, nor is the key itself once one of its answers is over.
    lives(&daemon).await;
    let others = hold(&daemon, None, 1).await;
    held.pop();
    let end = tokio::time::Instant::now() + support::PATIENCE;
    while ask(&daemon, Some(&key)).await.status() != 200 {
        assert!(tokio::time::Instant::now() < end, "its place came back");
    }
    // A key has what it was given, not more.
    let given = hold(&daemon, Some(&more), 20).await;
    error(ask(&daemon, Some(&more)).await, 429, "too_many_requests").await;
    drop((held, others));
    let under_way =
        |most: u64| move |cloud: &mock_cloud::MockCloud| cloud.counts().in_flight <= most;
    world.cloud.wait_for(support::PATIENCE, under_way(20)).await;
    // All that is sent on leaves a place for what is answered here, and for hermesctl.
    let mut rest = Vec::new();
    let refused = loop {
        let answer = ask(&daemon, None).await;
        if answer.status() != 200 {
            break answer;
        }
        rest.push(answer);
        assert!(rest.len() < 64, "all places are taken");
    };
    let message = error(refused, 503, "overloaded").await;
    assert!(message.contains("`limits.connections`"), "{message}");
    assert!(rest.len() >= 40, "{}", rest.len());
    lives(&daemon).await;
    let test = world.ctl(&["proxy", "test"]);
    assert!(test.status.success(), "{test:?}");
    drop((given, rest));
}
