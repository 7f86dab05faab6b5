//! The course of a soak, from its start to its verdict.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mock_cloud::{Fault, pattern};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::task::TaskTracker;

use super::chaos::{Course, until};
use super::figures::{Outcome, Wrong, median};
use super::load::{Body, Keys, Load, MAIN, May, whole};
use super::world::{Daemon, Variant, World};
use super::{Result, apps, chaos, world};

/// Requests begun in a second.
const RATE: u32 = 150;
/// No more than so many are under way: a machine that is too slow gets fewer.
const AT_ONCE: u64 = 250;
/// Before the end, for the requests that wait the whole time.
const TAIL: Duration = Duration::from_secs(8);

/// What was asked for on the command line.
pub(crate) fn run(words: &[String]) -> ExitCode {
    let number = |flag: &str| {
        let at = words.iter().position(|word| word == flag)?;
        words.get(at + 1)?.parse().ok()
    };
    let time = Duration::from_mins(1) * number("--minutes").unwrap_or(30).max(1);
    let rate = number("--rate").unwrap_or(RATE).max(1);
    let result = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(soak(time, rate)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("\nThe soak came to nothing: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn soak(time: Duration, rate: u32) -> Result<bool> {
    let tasks = TaskTracker::new();
    let world = Arc::new(World::new(&tasks).await?);
    let keys = make_keys(&world).await?;
    world.configure(Variant {
        patient: true,
        ..Variant::default()
    })?;
    let daemon = world.start().await?;
    let models = Load::models_at(&world.nous.inference_base_url(), &world.login.access_token).await;
    let models = models.map_err(|wrong| format!("{wrong:?}"))?;
    let load = Arc::new(Load::new(world, keys, models));
    let descriptors = daemon.descriptors().map_or(0, |open| open.len());
    println!(
        "hermes-proxyd {}{}: {} min, {rate} requests/s; process {}, {} KiB, {descriptors} \
         descriptors",
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) {
            ", NOT OPTIMISED"
        } else {
            ""
        },
        time.as_secs() / 60,
        daemon.pid,
        daemon.resident().unwrap_or(0),
    );
    let memory = run_load(&load, &daemon, &tasks, (time, rate)).await;
    let verdict = judge(&load, &daemon, descriptors, &memory).await;
    let end = daemon.stop().await?;
    println!("the daemon ended with {end}");
    println!("{}", if verdict { "ALL IS WELL" } else { "NOT WELL" });
    Ok(verdict && end.success())
}

/// The client keys, made by a daemon that needs none yet.
async fn make_keys(world: &World) -> Result<Keys> {
    world.configure(Variant {
        keyless: true,
        ..Variant::default()
    })?;
    let daemon = world.start().await?;
    let add = async |line: &str| {
        let key = world.ctl(&format!("clients add {line}")).await?;
        Result::Ok(key.trim().to_owned())
    };
    let keys = Keys {
        free: add("free").await?,
        two_at_once: add("two-at-once --in-flight 2").await?,
        models_only: add("models-only --path /models").await?,
    };
    add("turning").await?;
    daemon.stop().await?;
    Ok(keys)
}

/// The load and the troubles, to the end of the time. The memory, second by second.
async fn run_load(
    load: &Arc<Load>,
    daemon: &Daemon,
    tasks: &TaskTracker,
    (time, rate): (Duration, u32),
) -> Vec<u64> {
    let end = Instant::now() + time - TAIL;
    // Both begin while silence may last, and outlast all reloads.
    let silence = time.saturating_sub(TAIL + Duration::from_secs(4));
    for head in [true, false] {
        let load = load.clone();
        load.figures.in_flight.fetch_add(1, Ordering::Relaxed);
        tasks.spawn(async move {
            let (name, outcome) = if head {
                let name = "a head after the whole time";
                (name, load.long_head(name, silence).await)
            } else {
                let name = "a stream silent the whole time";
                (name, load.long_silence(name, silence).await)
            };
            load.figures.note(name, outcome);
            load.figures.in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }
    until(|| load.world.nous.counts().in_flight > 0).await;
    sleep(Duration::from_secs(1)).await;

    let course = Course::default();
    let impatient = load.world.configure(course.vary());
    let impatient = impatient.and(load.world.ctl("proxy reload").await.map(drop));
    let impatient = impatient.map_err(|error| Wrong::Failed(error.to_string()));
    load.figures.note("reload", impatient.map(|()| 0));
    let (.., memory) = tokio::join!(
        chaos::troubles(load, daemon, &course),
        chaos::reload(load, daemon, &course),
        chaos::poll(load, &course),
        start_requests(load, tasks, &course, (end, rate)),
        observe(load, daemon, &course),
    );
    memory
}

/// Begins requests at an even pace until it is over.
async fn start_requests(
    load: &Arc<Load>,
    tasks: &TaskTracker,
    course: &Course,
    (end, rate): (Instant, u32),
) {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while Instant::now() < end {
        ticks.tick().await;
        if load.figures.in_flight.load(Ordering::Relaxed) > AT_ONCE {
            load.figures.skipped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let (load, (act, name)) = (load.clone(), apps::any());
        tasks.spawn(async move { apps::perform(&load, act, name).await });
    }
    course.ending.store(true, Ordering::Relaxed);
}

/// Looks at the daemon every second and speaks every minute; its memory, second by second.
async fn observe(load: &Load, daemon: &Daemon, course: &Course) -> Vec<u64> {
    let mut memory = Vec::new();
    let mut before = (0, 0.0);
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !course.is_over() {
        ticks.tick().await;
        memory.extend(daemon.resident());
        load.audit(false);
        let second = memory.len();
        if second.is_multiple_of(5) {
            load.world.search_log(daemon);
        }
        if second.is_multiple_of(60) || course.is_over() {
            let total = load.figures.total();
            let cpu = daemon.cpu_seconds().unwrap_or(0.0);
            println!(
                "{:>4} s  {} done (+{}), {} MB checked · in flight {} · skipped {} · excused {} · \
                 UNEXPECTED {} · RSS {} KiB · {} descriptors · CPU {cpu:.1} s (+{:.1})\n        {}",
                second,
                total.done,
                total.done - before.0,
                total.bytes / 1_000_000,
                load.figures.in_flight.load(Ordering::Relaxed),
                load.figures.skipped.load(Ordering::Relaxed),
                total.excused,
                total.wrong(),
                memory.last().unwrap_or(&0),
                daemon.descriptors().map_or(0, |open| open.len()),
                cpu - before.1,
                load.figures.line(),
            );
            before = (total.done, cpu);
        }
    }
    memory
}

/// Whether no more is open than at the start, and what to say of it.
fn closed(before: usize, open: Option<Vec<String>>) -> (bool, String) {
    let Some(open) = open else {
        return (false, "descriptors: can't be read at the end".to_owned());
    };
    let mut text = format!(
        "descriptors: {before} at the start, {} at the end",
        open.len()
    );
    let closed = open.len() <= before;
    if !closed {
        text = format!("{text}: {}", open.join(", "));
    }
    (closed, text)
}

/// Lets everything come to its end, and says what was wrong.
async fn judge(load: &Load, daemon: &Daemon, descriptors: usize, memory: &[u64]) -> bool {
    let ended = until(|| load.figures.in_flight.load(Ordering::Relaxed) == 0).await;
    load.hang_up();
    let world = &load.world;
    let forgotten = until(|| world.nous.counts().in_flight + world.second.counts().in_flight == 0);
    let forgotten = forgotten.await;
    let idle = until_idle(load).await;
    let replayed = replays_have_room(load).await;
    load.figures.note("replay with no room to spare", replayed);
    // Another provider's client, with no connection yet.
    let fresh = world.configure(Variant {
        number: 1001,
        ..Variant::default()
    });
    let fresh = fresh.and(world.ctl("proxy reload").await.map(drop)).is_ok();
    load.hang_up();
    let open = || daemon.descriptors();
    until(|| open().is_some_and(|now| now.len() <= descriptors)).await;
    let (closed, left) = closed(descriptors, open());
    load.audit(true);
    world.search_log(daemon);

    let (nous, second) = (world.nous.counts(), world.second.counts());
    let total = load.figures.total();
    println!("\n{}\n", load.figures.table());
    println!(
        "providers: {} and {} requests, {} of them refused, {} cancelled, {} and {} connections\n\
         portal: {} refreshes asked for, {} done, {} reused tokens",
        nous.requests,
        second.requests,
        nous.unauthorized,
        nous.cancelled + second.cancelled,
        nous.connections,
        second.connections,
        nous.refresh_calls,
        nous.refreshes,
        nous.reuse_events,
    );
    let log = daemon.log();
    println!("log: {} lines, {} MB", log.lines, log.bytes / 1_000_000);
    let rows = [
        (
            total.wrong_bytes == 0,
            format!("lost, doubled or exchanged bytes: {}", total.wrong_bytes),
        ),
        (
            total.failed == 0,
            format!("unexpected failures: {}", total.failed),
        ),
        (
            total.repeated == 0,
            format!("requests that came too often: {}", total.repeated),
        ),
        (
            ended && idle && forgotten,
            "every request has ended, here, in the daemon and at the providers".to_owned(),
        ),
        (fresh && closed, left),
        (
            world.nous.is_alive(world.login.family),
            "the login lives".to_owned(),
        ),
        (
            nous.reuse_events == 0,
            format!("refresh tokens used twice: {}", nous.reuse_events),
        ),
        (
            log.secrets == 0,
            format!("secrets in the log: {}", log.secrets),
        ),
        (log.panics == 0, format!("panics: {}", log.panics)),
        remembered(memory),
    ];
    for (good, text) in &rows {
        println!("{}  {text}", if *good { "ok    " } else { "MISSED" });
    }
    rows.iter().all(|(good, _)| *good)
}

/// Memory at the end against that of minute 3, or of the half of a short run: the medians of as
/// many seconds, since large requests come and go.
fn remembered(memory: &[u64]) -> (bool, String) {
    let length = memory.len();
    // A short run has hardly come to rest at its half.
    let (middle, name, limit) = if length > 360 {
        (180, "minute 3", 10.0)
    } else {
        (length / 2, "the half", 30.0)
    };
    let width = (length / 8).min(30);
    let around = memory[middle - width..middle + width].to_vec();
    let last = memory[length - 2 * width..].to_vec();
    let (Some(then), Some(now)) = (median(around), median(last)) else {
        return (false, "memory: unknown".to_owned());
    };
    let most = memory.iter().max().unwrap_or(&0);
    let percent = 100.0 * (thousands(now) / thousands(then) - 1.0);
    let text = format!(
        "RSS: {then} KiB at {name}, {now} KiB at the end ({percent:+.1} %), at most {most} KiB"
    );
    (percent <= limit, text)
}

#[expect(clippy::cast_precision_loss, reason = "a process's memory")]
fn thousands(kib: u64) -> f64 {
    kib as f64 / 1000.0
}

/// Whether the daemon has no request under way any more.
async fn until_idle(load: &Load) -> bool {
    let end = Instant::now() + world::PATIENCE;
    while Instant::now() < end {
        let status = load.world.status().await.unwrap_or_default();
        let providers = status["providers"].as_array();
        let idle = |provider: &serde_json::Value| provider["requests"]["in_flight"] == 0;
        if providers.is_some_and(|providers| providers.iter().all(idle)) {
            return true;
        }
        sleep(Duration::from_millis(200)).await;
    }
    false
}

/// With no more memory for replays than one request takes, it can be replayed: nothing of all the
/// others is kept any more.
async fn replays_have_room(load: &Load) -> Outcome {
    let few = load.world.configure(Variant {
        number: 1000,
        replay_kib: Some(1024),
        ..Variant::default()
    });
    let few = few.and(load.world.ctl("proxy reload").await.map(drop));
    few.map_err(|error| Wrong::Failed(error.to_string()))?;
    // A token renewed since the last request would not be replaced before it was taken once.
    whole(
        &load.ask(MAIN, "GET /models", &Body::None).await?,
        200,
        &load.models,
    )?;
    let fault = vec![Fault::unauthorized()];
    let mark = load.mark("replay with no room to spare", "", May::Once, fault);
    let data = pattern::noise(mark, 1_020_000);
    let start = format!("POST /echo?mark={mark}");
    let answer = load.ask(MAIN, &start, &Body::Sized(data.clone())).await?;
    whole(&answer, 200, &data)
}
