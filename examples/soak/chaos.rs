//! What is done to the clouds and to the daemon meanwhile, one after another, so that each trouble
//! excuses only what it touches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mock_cloud::{Canned, Endpoint, Fault, PortalFault, pattern};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::figures::{Outcome, Wrong};
use super::load::{Body, Load, MAIN, May, Place, error, failed, unlike, whole};
use super::world::{Daemon, PATIENCE, Variant};

/// What is going on, for everyone.
#[derive(Debug, Default)]
pub(crate) struct Course {
    pub(crate) ending: AtomicBool,
    variant: AtomicU64,
}

impl Course {
    pub(crate) fn is_over(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Sleeps, but not beyond the end.
    async fn rest(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.is_over() {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The next variant of the configuration.
    pub(crate) fn vary(&self) -> Variant {
        Variant {
            number: self.variant.fetch_add(1, Ordering::Relaxed),
            ..Variant::default()
        }
    }
}

fn worked<T>(result: super::Result<T>) -> Result<T, Wrong> {
    result.map_err(|error| Wrong::Failed(error.to_string()))
}

/// Other configurations, told by hermesctl and by a signal in turns.
pub(crate) async fn reload(load: &Load, daemon: &Daemon, course: &Course) {
    while !course.is_over() {
        course.rest(Duration::from_secs(3)).await;
        let variant = course.vary();
        let outcome = reload_once(load, daemon, variant).await;
        load.figures.note("reload", outcome);
    }
}

async fn reload_once(load: &Load, daemon: &Daemon, variant: Variant) -> Outcome {
    worked(load.world.configure(variant))?;
    if variant.number.is_multiple_of(2) {
        worked(daemon.signal(Signal::HUP))?;
        return Ok(0);
    }
    worked(load.world.ctl("proxy reload --json").await).map(|_| 0)
}

/// What a user looks at.
pub(crate) async fn poll(load: &Load, course: &Course) {
    while !course.is_over() {
        course.rest(Duration::from_secs(2)).await;
        let status = worked(load.world.status().await);
        let outcome = status.and_then(|status| {
            let state = &status["providers"][0]["state"];
            if state == "ready" {
                return Ok(0);
            }
            failed(format!("the state is {state}"))
        });
        load.figures.note("hermesctl proxy status", outcome);
    }
}

/// The troubles, round by round.
pub(crate) async fn troubles(load: &Load, daemon: &Daemon, course: &Course) {
    for round in 0_usize.. {
        for step in 0..8 {
            if course.is_over() {
                return;
            }
            let (name, outcome) = match step {
                0 => (
                    "trouble: 401 for one request",
                    refused(load, daemon, false).await,
                ),
                1 => ("trouble: all tokens revoked", revoked(load).await),
                2 => ("trouble: second provider away", away(load).await),
                3 => (
                    "trouble: 401 for one request",
                    refused(load, daemon, true).await,
                ),
                4 => ("trouble: portal fails", portal_fails(load, round).await),
                5 => ("trouble: portal away", portal_away(load).await),
                6 => ("trouble: client key rotated", rotated_key(load).await),
                _ if round % 3 == 1 => ("rotation on schedule", scheduled(load, course).await),
                _ => continue,
            };
            load.figures.note(name, outcome);
            course.rest(Duration::from_secs(1)).await;
        }
    }
}

/// A request is refused: the token is renewed, and the request sent again. These troubles follow so
/// closely that the daemon, which takes them for a provider that refuses at random, says that it renews no more
/// for now: then the request is sent again as it is.
async fn refused(load: &Load, daemon: &Daemon, chunked: bool) -> Outcome {
    let fault = vec![Fault::unauthorized()];
    let mark = load.mark("401 and a replay", "", May::Once, fault);
    let data = pattern::noise(mark, fastrand::usize(1..900_000));
    let body = if chunked {
        Body::Chunked(data.clone(), 30_000)
    } else {
        Body::Sized(data.clone())
    };
    let before = load.world.nous.counts().refreshes;
    let answer = load
        .ask(MAIN, &format!("POST /echo?mark={mark}"), &body)
        .await?;
    let bytes = whole(&answer, 200, &data)?;
    if load.world.nous.counts().refreshes == before && daemon.log().paced == 0 {
        return failed("nothing was renewed");
    }
    Ok(2 * bytes)
}

/// What was valid a moment ago is not any more; only requests that can't be replayed notice.
async fn revoked(load: &Load) -> Outcome {
    worked(load.world.refresh().await)?;
    // The new token has been used by then.
    sleep(Duration::from_secs(1)).await;
    let before = load.world.nous.counts().refreshes;
    load.revoked.begin();
    load.world.nous.revoke_access_tokens();
    let renewed = until(|| load.world.nous.counts().refreshes > before).await;
    sleep(Duration::from_secs(1)).await;
    load.revoked.end();
    if renewed {
        Ok(0)
    } else {
        failed("nobody renewed the token")
    }
}

/// The second provider closes all connections and its port, for a second.
async fn away(load: &Load) -> Outcome {
    load.second_away.begin();
    load.world.second.set_inference_open(false).await;
    sleep(Duration::from_secs(1)).await;
    load.world.second.set_inference_open(true).await;
    load.second_away.end();
    Ok(0)
}

/// The portal answers one refresh wrongly or late; the token in use serves on.
async fn portal_fails(load: &Load, round: usize) -> Outcome {
    let faults = [
        PortalFault::DelayBefore(Duration::from_secs(2)),
        PortalFault::Answer(Canned::status(503).header("retry-after", "1")),
        PortalFault::DelayAfterCommit(Duration::from_secs(2)),
        PortalFault::DropBeforeCommit,
        PortalFault::Answer(Canned::captive_portal()),
        PortalFault::Answer(Canned::edge_block()),
        PortalFault::EndlessBody,
    ];
    let fault = &faults[round % faults.len()];
    load.world.nous.fail_portal(Endpoint::Refresh, 1, fault);
    // A request that is refused now gets a new token, or the provider's own 401.
    let mark = load.mark(
        "401 and a bad portal",
        "",
        May::Once,
        vec![Fault::unauthorized()],
    );
    let data = pattern::noise(mark, 10_000);
    let body = Body::Sized(data.clone());
    let answer = load
        .ask(MAIN, &format!("POST /echo?mark={mark}"), &body)
        .await?;
    let bytes = match answer.status {
        401 if answer.code().is_empty() && answer.whole => 0,
        _ => whole(&answer, 200, &data)?,
    };
    recovered(load).await?;
    Ok(bytes)
}

/// The portal's port is closed for some seconds; the token in use serves on.
async fn portal_away(load: &Load) -> Outcome {
    load.world.nous.set_portal_open(false).await;
    let refreshed = load.world.refresh().await;
    sleep(Duration::from_secs(2)).await;
    load.world.nous.set_portal_open(true).await;
    if refreshed.is_ok() {
        return failed("a refresh without a portal");
    }
    recovered(load).await?;
    Ok(0)
}

async fn recovered(load: &Load) -> Result<(), Wrong> {
    let end = Instant::now() + PATIENCE;
    loop {
        match load.world.refresh().await {
            Ok(()) => break,
            Err(error) if Instant::now() > end => return failed(error.to_string()),
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
    // The new token has been used by then.
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// An app gets another key: the old one is refused at once.
async fn rotated_key(load: &Load) -> Outcome {
    let new = worked(load.world.ctl("clients rotate turning").await)?;
    let old = worked(load.world.ctl("clients rotate turning").await).map(|newest| (new, newest));
    let (old, new) = old?;
    let place = Place {
        door: 1,
        provider: "",
    };
    let request = load.request(place, "GET /models", "", &Body::None);
    let text = String::from_utf8_lossy(&request);
    let with = |key: &str| text.replacen(&load.keys.free, key.trim(), 1).into_bytes();
    let swift = super::wire::SWIFT;
    let answer = load.exchange(place, &with(&old), swift, swift).await?;
    error(&answer, "invalid_client_key")?;
    let answer = load.exchange(place, &with(&new), swift, swift).await?;
    if answer.status != 200 {
        return failed(unlike(&answer, 200));
    }
    whole(&answer, 200, &load.models)
}

/// Nobody asks for a new token until one is due.
async fn scheduled(load: &Load, course: &Course) -> Outcome {
    let before = load.world.nous.counts().refreshes;
    let end = Instant::now() + PATIENCE;
    while !course.is_over() && load.world.nous.counts().refreshes == before {
        if Instant::now() > end {
            return failed("nothing was renewed");
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(0)
}

pub(crate) async fn until(condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        sleep(Duration::from_millis(50)).await;
    }
    true
}
