//! A thousand rotations of one login by Hermes Agent and the daemon together.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and has threads of its own"
)]

use std::time::{Duration, Instant};

use mock_cloud::Options;
use serde_json::Value;
use support::hermes::{Hermes, hermes_home};
use support::{Daemon, World, chat, client};

const HERMES: usize = 3;
/// What each Hermes Agent refreshes.
const THEIRS: usize = 120;
const ALL: u64 = 1000;
/// So many of the daemon's rotations are the provider's doing.
const REVOKED: u64 = 5;

/// Three of Hermes Agent refresh at a pace of their own. The daemon is brought to it by a person, and
/// a few times by the provider, which ends the one token that the daemon uses, and no other: a token
/// that Hermes Agent was granted in that moment stays good, so that each request of the apps must be
/// served. (More than a few in a row are too many for the daemon, which would hold them up.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_rotations_beside_three_of_hermes_reuse_no_token_and_fail_no_request() {
    let world = World::new(Options::default().record(false)).await;
    let daemon = world.daemon_with("", &["--log-level", "debug"]);
    let crowd = [(); HERMES].map(|()| Hermes::start(&world, &hermes_home(&world)));
    let crowd = crowd.map(|mut one| {
        one.step("resolve");
        one
    });
    let started = Instant::now();
    let crowd: Vec<_> = crowd
        .into_iter()
        .enumerate()
        .map(|(number, one)| std::thread::spawn(move || refresh_at_leisure(number, one)))
        .collect();

    let apps = [(); 4].map(|()| client());
    let (mut served, mut failed) = (0, Vec::<u16>::new());
    let (mut beside, mut round) = (None, 0);
    loop {
        let at_work = crowd.iter().any(|one| !one.is_finished());
        if !at_work && beside.is_none() {
            beside = Some(ours(&daemon));
        }
        if !at_work && world.cloud.counts().refreshes >= ALL {
            break;
        }
        round += 1;
        let by_a_person = async {
            if round > REVOKED {
                daemon.renew().await;
            } else if let Some(used) = world.cloud.last_bearer() {
                // It ends between two rounds of requests, never in the middle of one.
                world.cloud.revoke_access_token(&used);
            }
        };
        let asked = apps.iter().map(|app| ask(app, &daemon));
        let asked = futures_util::future::join_all(asked);
        let statuses = if round > REVOKED {
            futures_util::future::join(by_a_person, asked).await.1
        } else {
            by_a_person.await;
            asked.await
        };
        for status in statuses {
            match status {
                200 => served += 1,
                status => failed.push(status),
            }
        }
    }
    for one in crowd {
        one.join().unwrap();
    }
    let counts = world.cloud.counts();
    let ours = ours(&daemon);
    let theirs = counts.refreshes - ours;
    println!(
        "{} rotations in {:.1} s: {} by {HERMES} of Hermes Agent, {ours} by the daemon ({beside:?} of them \
         while Hermes Agent was at work); {} requests, {} failed; {} reuse events",
        counts.refreshes,
        started.elapsed().as_secs_f64(),
        theirs,
        served + failed.len(),
        failed.len(),
        counts.reuse_events
    );
    assert!(failed.is_empty(), "{failed:?}: {}", daemon.logged());
    assert_eq!((counts.reuse_events, counts.reissues), (0, 0), "{counts:?}");
    assert_eq!(
        counts.refresh_calls, counts.refreshes,
        "a call came to nothing"
    );
    assert!(theirs >= 300 && ours >= 300, "{theirs} and {ours}");
    assert!(beside >= Some(100), "hardly a turn of ours: {beside:?}");
    assert!(world.cloud.is_alive(world.family()));
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    let mirror = std::fs::read(hermes_home(&world).join("shared/nous_auth.json")).unwrap();
    let mirror: Value = serde_json::from_slice(&mirror).unwrap();
    assert_eq!(
        world.store()["providers"]["nous"]["refresh_token"],
        *current
    );
    assert_eq!(mirror["refresh_token"], *current);
}

/// What Hermes Agent does in its own process; each step must be good.
fn refresh_at_leisure(number: usize, mut hermes: Hermes) {
    let step = if number == 0 { "pool-force" } else { "force" };
    for _ in 0..THEIRS {
        hermes.step(step);
        // Else the lock would never be free for anyone else.
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..120)));
    }
}

async fn ask(app: &reqwest::Client, daemon: &Daemon) -> u16 {
    let request = app.post(daemon.url("/chat/completions")).json(&chat("x"));
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    status
}

fn ours(daemon: &Daemon) -> u64 {
    daemon.logged().matches(r#""result":"Refreshed""#).count() as u64
}
