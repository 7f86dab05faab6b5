//! A reload while a login is in use or being renewed: it is applied at once, the renewal ends as it began, and no
//! request, no login and no token is lost over it.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and its tasks end with it"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mock_cloud::{Canned, Endpoint, MockCloud, Options, PortalFault};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, World, chat, client, ctl};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

/// A step that waits for nothing takes no longer, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A portal that hangs until it is given a permit.
fn shut() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// A renewal hangs, its token spent or not.
async fn hanging(fault: PortalFault, options: Options) -> (World, Daemon) {
    let world = World::with_a_refresh_due(options).await;
    world.cloud.fail_portal(Endpoint::Refresh, 1, &fault);
    let daemon = world.daemon_with(&settings("client", ""), &[]);
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refresh_calls > 0)
        .await;
    (world, daemon)
}

fn settings(agent: &str, more: &str) -> String {
    format!("[providers.nous]\ntoken_timeout = \"45s\"\nuser_agent = \"{agent}\"\n{more}")
}

async fn reload(world: &World) -> Value {
    let home = world.home.path().to_owned();
    let began = Instant::now();
    let run = spawn_blocking(move || ctl(&home, &["proxy", "reload", "--json"]));
    let output = run.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let took = began.elapsed();
    assert!(took < AT_ONCE, "the reload took {took:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn ask(daemon: &Daemon) -> u16 {
    let post = client().post(daemon.url("/chat/completions"));
    let post = post.header("user-agent", "app/1").json(&chat("x"));
    timeout(AT_ONCE, post.send())
        .await
        .unwrap()
        .unwrap()
        .status()
        .as_u16()
}

fn last_agent(cloud: &MockCloud) -> String {
    cloud.requests().pop().unwrap().header("user-agent")[0].to_owned()
}

/// The stored login is the one that lives, and nothing was shown twice.
async fn is_whole(world: &World, daemon: &Daemon) {
    let stored = || world.store()["providers"]["nous"]["refresh_token"].clone();
    let deadline = Instant::now() + PATIENCE;
    while stored().as_str().map(str::to_owned) != world.cloud.current_refresh_token(world.family())
    {
        assert!(Instant::now() < deadline, "{}", daemon.logged());
        sleep(Duration::from_millis(50)).await;
    }
    assert!(world.cloud.is_alive(world.family()), "{}", daemon.logged());
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_applied_at_once_while_a_renewal_hangs_and_again() {
    let gate = shut();
    let held = PortalFault::HeldAfterCommit(gate.clone());
    let (world, daemon) = hanging(held, Options::default()).await;
    assert_eq!(ask(&daemon).await, 200);
    assert_eq!(last_agent(&world.cloud), "app/1");
    for (agent, seen) in [("own", false), ("client", true), ("own", false)] {
        world.write_config(&settings(agent, ""));
        let report = reload(&world).await;
        assert_eq!(report["providers_finishing"], json!(["nous"]), "{report}");
        assert_eq!(ask(&daemon).await, 200, "{}", daemon.logged());
        assert_eq!(last_agent(&world.cloud) == "app/1", seen, "{agent}");
        let status = daemon.status();
        assert_eq!(status["providers"][0]["state"], "ready", "{status}");
    }
    // It was one renewal, and it is saved.
    assert_eq!(world.cloud.counts().refreshes, 1);
    gate.add_permits(1);
    is_whole(&world, &daemon).await;
    let deadline = Instant::now() + PATIENCE;
    while reload(&world).await.get("providers_finishing").is_some() {
        assert!(Instant::now() < deadline, "{}", daemon.logged());
    }
    assert_eq!(world.cloud.counts().refreshes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_base_url_holds_for_requests_after_the_reload_and_not_when_the_renewal_has_ended() {
    let gate = shut();
    let held = PortalFault::HeldAfterCommit(gate.clone());
    let (world, daemon) = hanging(held, Options::default()).await;
    let other = MockCloud::start(Options::default()).await;
    assert_eq!(ask(&daemon).await, 200);
    let before = world.cloud.requests().len();
    let base = format!("base_url = {:?}\n", other.inference_base_url());
    world.write_config(&settings("client", &base));
    let report = reload(&world).await;
    assert_eq!(report["providers_finishing"], json!(["nous"]), "{report}");
    let status = daemon.status();
    let told = status["providers"][0]["base_url"].as_str().unwrap();
    assert_eq!(told.trim_end_matches('/'), other.inference_base_url());
    // The other one does not know the token, so the request waits for the renewal.
    let url = daemon.url("/models");
    let asked = tokio::spawn(async move { client().get(url).send().await.unwrap().status() });
    other
        .wait_for(AT_ONCE, |other| !other.requests().is_empty())
        .await;
    assert_eq!(
        world.cloud.requests().len(),
        before,
        "by the former settings"
    );
    assert!(!asked.is_finished());
    gate.add_permits(1);
    assert_eq!(asked.await.unwrap(), 401);
    // Neither does what the renewal gave go to the former host.
    is_whole(&world, &daemon).await;
    reload(&world).await;
    assert_eq!(ask(&daemon).await, 401);
    assert_eq!(
        world.cloud.requests().len(),
        before,
        "by the former settings"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_login_during_a_reload_is_answered_when_its_renewal_has_ended() {
    let gate = shut();
    let held = PortalFault::HeldBefore(gate.clone());
    let (world, daemon) = hanging(held, Options::default()).await;
    let home = world.home.path().to_owned();
    let refresh = || {
        let home = home.clone();
        spawn_blocking(move || ctl(&home, &["auth", "refresh", "--json"]))
    };
    let before = refresh();
    // A request is refused meanwhile, and gets what the renewal gives.
    world.cloud.revoke_access_tokens();
    let url = daemon.url("/chat/completions");
    let refused = move |url: String| async move {
        client()
            .post(url)
            .json(&chat("x"))
            .send()
            .await
            .unwrap()
            .status()
    };
    let first = tokio::spawn(refused(url.clone()));
    world.write_config(&settings("own", ""));
    reload(&world).await;
    let second = tokio::spawn(refused(url));
    let after = refresh();
    // They have come by then, and wait.
    sleep(Duration::from_millis(500)).await;
    assert!(!(first.is_finished() || second.is_finished()));
    assert!(!(before.is_finished() || after.is_finished()));
    gate.add_permits(1);
    for (what, run) in [("before", before), ("after", after)] {
        let output = run.await.unwrap();
        assert!(
            output.status.success(),
            "asked {what} the reload: {output:?}"
        );
    }
    for request in [first, second] {
        assert_eq!(request.await.unwrap(), 200, "{}", daemon.logged());
    }
    is_whole(&world, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_a_reload_waits_for_a_renewal_loses_no_login() {
    let held = shut();
    let grace = Options::default().grace(Duration::from_mins(5));
    for (fault, options) in [
        // The token was not spent.
        (
            PortalFault::HeldAnswer(held.clone(), Canned::status(503)),
            Options::default(),
        ),
        // It was, by a portal that forgives that for a while.
        (PortalFault::HeldAfterCommit(held.clone()), grace),
    ] {
        let (world, mut daemon) = hanging(fault, options).await;
        world.write_config(&settings("own", ""));
        reload(&world).await;
        assert_eq!(ask(&daemon).await, 200);
        daemon.kill();
        let daemon = world.daemon_with(&settings("own", ""), &[]);
        assert_eq!(ask(&daemon).await, 200, "{}", daemon.logged());
        world
            .cloud
            .wait_for(PATIENCE, |cloud| cloud.counts().refreshes > 0)
            .await;
        is_whole(&world, &daemon).await;
        assert_eq!(daemon.status()["providers"][0]["state"], "ready");
    }
}

fn counted(answered: &[Arc<AtomicUsize>]) -> Vec<usize> {
    let counts = answered.iter().map(|count| count.load(Ordering::Relaxed));
    counts.collect()
}

/// Until each app has an answer to what it asked after now: what is granted is used before it is revoked, however busy
/// the machine is.
async fn all_served(answered: &[Arc<AtomicUsize>]) {
    let before = counted(answered);
    let deadline = Instant::now() + PATIENCE;
    let behind = || {
        let mut pairs = before.iter().zip(counted(answered));
        pairs.any(|(before, now)| now < before + 2)
    };
    while behind() {
        assert!(Instant::now() < deadline, "{before:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_reloads_under_load_with_bursts_of_401_lose_no_replay_and_no_request_meets_a_start() {
    const RELOADS: usize = 50;
    // So many rotations may follow one another at once.
    const BURSTS: usize = 5;
    let world = Arc::new(World::new(Options::default().record(false)).await);
    let daemon = Arc::new(world.daemon_with(&settings("client", ""), &[]));
    let over = Arc::new(AtomicBool::new(false));
    let answered = [(); 8].map(|()| Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for answered in &answered {
        let (daemon, over, answered) = (daemon.clone(), over.clone(), answered.clone());
        load.spawn(async move {
            let client = client();
            while !over.load(Ordering::Relaxed) {
                let post = client.post(daemon.url("/chat/completions"));
                let answer = post.json(&chat("x")).send().await.unwrap();
                let (status, text) = (answer.status(), answer.text().await.unwrap());
                assert_eq!(status, 200, "{text}\n{}", daemon.logged());
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let reloads = {
        let (world, daemon) = (world.clone(), daemon.clone());
        spawn_blocking(move || {
            for number in 0..RELOADS {
                world.write_config(&settings(["own", "client"][number % 2], ""));
                if number % 3 == 0 {
                    daemon.signal(Signal::HUP);
                } else {
                    let output = world.ctl(&["proxy", "reload"]);
                    assert!(output.status.success(), "{output:?}");
                }
                let state = &daemon.status()["providers"][0]["state"];
                assert_eq!(*state, "ready", "after reload {number}");
            }
        })
    };
    let mut bursts = 0;
    while !reloads.is_finished() && bursts < BURSTS {
        // Each renewal takes as long as some reloads do.
        let slow = PortalFault::DelayAfterCommit(Duration::from_millis(400));
        world.cloud.fail_portal(Endpoint::Refresh, 1, &slow);
        let before = world.cloud.counts().refreshes;
        world.cloud.revoke_access_tokens();
        world
            .cloud
            .wait_for(PATIENCE, |cloud| cloud.counts().refreshes > before)
            .await;
        bursts += 1;
        all_served(&answered).await;
        let home = world.home.path().to_owned();
        let refresh = spawn_blocking(move || ctl(&home, &["auth", "refresh"]));
        let output = refresh.await.unwrap();
        assert!(output.status.success(), "{output:?}\n{}", daemon.logged());
        all_served(&answered).await;
        // And a moment, in which a reload that is under way ends.
        sleep(Duration::from_millis(300)).await;
    }
    reloads.await.unwrap();
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    let counts = world.cloud.counts();
    println!(
        "{RELOADS} reloads, {bursts} bursts of 401: {} requests answered with 200, {} of them after a 401, {} rotations",
        counted(&answered).iter().sum::<usize>(),
        counts.unauthorized,
        counts.refreshes
    );
    assert!(bursts > 1 && counts.unauthorized > 0);
    is_whole(&world, &daemon).await;
    assert!(!daemon.logged().contains("is stopping"));
}
