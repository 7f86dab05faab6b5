//! Several providers in one daemon: one that hangs delays no other.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use mock_cloud::{Endpoint, MockCloud, Options, PortalFault};
use support::{PATIENCE, World, chat, client};
use tokio::time::Instant;

/// What hangs does so for this long; a test of something that does not hang is over long before.
const HANGS: Duration = Duration::from_secs(30);
/// What waits for nobody takes no longer, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(8);

fn config(key: &std::path::Path, base: &str, agent: &str) -> String {
    format!(
        "[providers.nous]\nuser_agent = \"{agent}\"\ntoken_timeout = \"45s\"\n\
         [providers.other]\ntype = \"static\"\nbase_url = {base:?}\napi_key_file = {:?}\n\
         user_agent = \"{agent}\"\n",
        key.to_str().unwrap()
    )
}

/// Runs what must not be delayed.
async fn at_once<T>(what: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let value = work.await;
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{what} took {took:?}");
    value
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_hangs_delays_neither_the_start_nor_the_requests_of_another_provider() {
    let world = World::with_a_refresh_due(Options::default()).await;
    let other = MockCloud::start(Options::default()).await;
    let key = world.home.path().join("key");
    std::fs::write(&key, other.login().access_token).unwrap();
    let base = other.inference_base_url();
    // The token is spent at once, and its answer does not come.
    world
        .cloud
        .fail_portal(Endpoint::Refresh, 1, &PortalFault::DelayAfterCommit(HANGS));
    let began = Instant::now();
    let daemon = at_once("the start", async {
        world.daemon_with(&config(&key, &base, "client"), &[])
    })
    .await;
    let asked = |provider: &str, agent: &'static str| {
        let url = format!("{}/{provider}/v1/chat/completions", daemon.origin());
        async move {
            let post = client().post(url).header("user-agent", agent);
            post.json(&chat("hello")).send().await.unwrap().status()
        }
    };
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
        .await;
    // The token in the store is still good, whoever renews it.
    for provider in ["other", "nous"] {
        let status = at_once(provider, asked(provider, "app/1")).await;
        assert_eq!(status, 200, "{provider}");
    }

    // A reload that changes the one that hangs is applied once it has its answer. Nobody else waits for that.
    let home = world.home.path().to_owned();
    world.write_config(&config(&key, &base, "own"));
    let theirs = home.clone();
    let reload = tokio::task::spawn_blocking(move || support::ctl(&theirs, &["proxy", "reload"]));
    for _ in 0..5 {
        let home = home.clone();
        let status = on_a_thread(move || support::ctl(&home, &["proxy", "status", "--json"]));
        let status = at_once("the status", status).await;
        assert!(status.stdout.starts_with(b"{"), "{status:?}");
        for provider in ["other", "nous"] {
            let status = at_once(provider, asked(provider, "app/1")).await;
            assert_eq!(status, 200, "{provider} during a reload");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(began.elapsed() < HANGS, "the portal did not hang");
    let reloaded = reload.await.unwrap();
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert_eq!(asked("other", "app/1").await, 200);
    let seen = other.requests().pop().unwrap();
    assert_ne!(seen.header("user-agent"), ["app/1"], "the new settings");

    // What it granted in the end is saved, and nothing was shown twice.
    let family = world.family();
    let saved = || {
        let token = world.store()["providers"]["nous"]["refresh_token"].clone();
        token.as_str().map(str::to_owned) == world.cloud.current_refresh_token(family)
    };
    let deadline = Instant::now() + HANGS + PATIENCE;
    while !saved() {
        assert!(Instant::now() < deadline, "{}", daemon.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.cloud.is_alive(family));
    assert_eq!(world.cloud.counts().refreshes, 1);
}
