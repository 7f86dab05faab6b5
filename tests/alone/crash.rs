//! kill -9 at any moment of a refresh: what is lost, and how wide the window is.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and kills at a microsecond"
)]

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mock_cloud::{Call, Endpoint, Options, PortalFault};
use rustix::fs::inotify;
use serde_json::Value;
use support::{Daemon, PATIENCE, World, chat, client};
use tokio::task::{JoinSet, block_in_place};

const MEASURED: usize = 100;
const KILLS: usize = 500;
/// The portal holds its answer back for less than this.
const LONGEST_DELAY: Duration = Duration::from_millis(5);

/// How the rounds ended.
#[derive(Debug, Default)]
struct Tally {
    /// The portal saw nothing of it.
    not_asked: usize,
    /// The portal had spent the token and not answered yet: this loss can't be prevented.
    answer_under_way: usize,
    /// The answer had been sent, and it was on no disk.
    window: usize,
    /// A temporary file has it whole: the next start takes it from there.
    temporary: usize,
    /// The mirror has it, the store not yet: the next start takes it from there.
    mirror_only: usize,
    /// Store and mirror have it.
    durable: usize,
}

/// How long an undisturbed refresh takes.
struct Spans {
    /// From the asking for it to the renamed store.
    whole: Vec<Duration>,
    /// From the portal's handing over its answer to the renamed mirror: from here on nothing is lost.
    to_mirror: Vec<Duration>,
    /// The same to the renamed store.
    to_store: Vec<Duration>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_kills_lose_a_login_only_between_the_answer_and_the_disk() {
    let _turn = support::turn();
    let started = Instant::now();
    let mut world = World::new(Options::default().record(false)).await;
    let http = client();
    let spans = measure(&http, &world).await;
    let window = [&spans.to_mirror, &spans.to_store].map(|spans| figures(spans));
    println!(
        "from the portal's answer to the disk, {MEASURED} refreshes: \
         mirror {}, store {}; a whole refresh {}",
        window[0],
        window[1],
        figures(&spans.whole)
    );
    let median = quantile(&spans.to_store, 0.5);
    assert!(
        median < Duration::from_millis(50),
        "a wide window: {median:?}"
    );
    // A daemon that has just started takes longer, and an app's request is refused first.
    let span = quantile(&spans.whole, 0.9).mul_f64(1.5);
    let limits = Limits::new(&spans, span);
    let mut tally = Tally::default();
    for round in 0..KILLS {
        let mut daemon = world.daemon();
        // Whatever the last round left works, and spends nothing twice.
        assert_eq!(
            ask(&http, &daemon).await,
            200,
            "{round}, {tally:?}: {}",
            daemon.logged()
        );
        assert_eq!(world.cloud.counts().reuse_events, 0, "{round}, {tally:?}");
        let before = world.cloud.calls().len();
        let killed = refresh_and_kill(&http, &world, &mut daemon, span).await;
        world.cloud.portal_is_quiet().await;
        let calls = &world.cloud.calls()[before..];
        if !tally.count(&world, (calls, killed), &limits) {
            log_in_anew(&mut world);
        }
    }
    assert_eq!(ask(&http, &world.daemon()).await, 200);
    println!(
        "{KILLS} x kill -9 within {span:?} and a delay: {} before the portal saw it, {} before its \
         answer, {} after the answer and before it was in any file (logins lost: {}), {} with only a \
         temporary file written, {} with only the mirror, {} after all was; {} temporary files left; \
         {:.1} s",
        tally.not_asked,
        tally.answer_under_way,
        tally.window,
        tally.answer_under_way + tally.window,
        tally.temporary,
        tally.mirror_only,
        tally.durable,
        temporary_files(&world).len(),
        started.elapsed().as_secs_f64()
    );
    assert!(
        tally.not_asked > 0 && tally.answer_under_way > 0 && tally.durable > 0,
        "{tally:?}"
    );
    // Two windows can't be closed, and all losses are in them.
    assert!(
        tally.window <= limits.in_window && tally.answer_under_way <= limits.under_way,
        "{tally:?}, {limits:?}"
    );
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

/// How many logins may be lost, from the windows as they were measured on this machine.
#[derive(Debug)]
struct Limits {
    /// Between the portal's spending and its answer's leaving it.
    under_way: usize,
    /// Between that and the mirror on disk.
    in_window: usize,
    /// No kill later after the answer finds it on no disk.
    longest: Duration,
}

impl Limits {
    /// Kills fall evenly on `span` and the portal's delay, so that a window's share of them is its
    /// share of that; three times as many and some for chance.
    fn new(spans: &Spans, span: Duration) -> Self {
        let window = quantile(&spans.to_mirror, 0.9);
        let of = |width: Duration| {
            let share = width.as_secs_f64() / (span + width).as_secs_f64();
            let kills = f64::from(u32::try_from(KILLS).unwrap()) * share * 3.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small number"
            )]
            let kills = kills as usize;
            kills + 15
        };
        Self {
            // A third of the rounds has the longest delay in which the answer is held back.
            under_way: of(LONGEST_DELAY) / 3 + of(window),
            in_window: of(window),
            longest: window.max(quantile(&spans.to_mirror, 1.0)) * 20,
        }
    }
}

impl Tally {
    /// Counts a round. Whether the login is still there.
    fn count(
        &mut self,
        world: &World,
        (calls, killed): (&[Call], Instant),
        limits: &Limits,
    ) -> bool {
        assert!(calls.len() <= 1, "a refresh is one call: {calls:?}");
        let current = world.cloud.current_refresh_token(world.family()).unwrap();
        let holds = |login: &Value| login["refresh_token"] == *current;
        let in_store = holds(&world.store()["providers"]["nous"]);
        let in_mirror = holds(&whole_json(&world.mirror_file()));
        let in_temporary = temporary_files(world).iter().any(|file| {
            let text = std::fs::read(file).unwrap();
            let text = String::from_utf8_lossy(&text);
            let whole = serde_json::from_str::<Value>(text.trim_end_matches('\0')).is_ok();
            whole && text.contains(&current)
        });
        let committed = calls.first().and_then(|call| call.committed).is_some();
        let answered = calls.first().and_then(|call| call.answered);
        let place = match (committed, in_store) {
            (false, _) => {
                // The round before may have left it to the mirror alone.
                assert!(in_store || in_mirror, "it is lost, and nothing was spent");
                &mut self.not_asked
            }
            (true, true) => {
                assert!(in_mirror, "the store is written after the mirror");
                &mut self.durable
            }
            (true, false) if in_mirror => &mut self.mirror_only,
            (true, false) if in_temporary => &mut self.temporary,
            (true, false) if answered.is_some_and(|at| at.into_std() < killed) => {
                let late = answered.map(|at| killed - at.into_std());
                assert!(
                    late < Some(limits.longest),
                    "killed {late:?} after the answer, and it is on no disk: {limits:?}"
                );
                &mut self.window
            }
            (true, false) => &mut self.answer_under_way,
        };
        *place += 1;
        in_store || in_mirror || in_temporary
    }
}

/// The temporary files that are left beside store and mirror.
fn temporary_files(world: &World) -> Vec<PathBuf> {
    let home = world.home.path().join(".hermes");
    let folders = [home.clone(), home.join("shared")];
    let entries = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.to_string_lossy().contains(".hermes-proxyd."))
        .collect()
}

/// Ends the daemon's token, has an app learn it, and kills at a moment of the refresh that follows.
async fn refresh_and_kill(
    http: &reqwest::Client,
    world: &World,
    daemon: &mut Daemon,
    span: Duration,
) -> Instant {
    let delay = Duration::from_millis(fastrand::u64(1..5));
    let (delay, fault) = match fastrand::u8(..3) {
        0 => (Duration::ZERO, None),
        1 => (delay, Some(PortalFault::DelayBefore(delay))),
        _ => (delay, Some(PortalFault::DelayAfterCommit(delay))),
    };
    if let Some(fault) = fault {
        world.cloud.fail_portal(Endpoint::Refresh, 1, &fault);
    }
    world.cloud.revoke_access_tokens();
    let mut asking = JoinSet::new();
    let request = http.post(daemon.url("/chat/completions")).json(&chat("x"));
    asking.spawn(async move { request.send().await.is_ok() });
    let killed = block_in_place(|| {
        std::thread::sleep((span + delay).mul_f64(fastrand::f64()));
        let killed = Instant::now();
        daemon.kill();
        killed
    });
    asking.join_all().await;
    // One that was not reached must not hit the next round.
    world.cloud.portal_is_quiet().await;
    world.cloud.heal();
    killed
}

/// The user logs in again, as Hermes Agent writes it.
fn log_in_anew(world: &mut World) {
    world.login = world.cloud.login();
    std::fs::remove_file(world.mirror_file()).ok();
    let home = world.home.path().join(".hermes");
    world.cloud.write_hermes_home(&home, &world.login).unwrap();
}

async fn measure(http: &reqwest::Client, world: &World) -> Spans {
    let daemon = world.daemon();
    assert_eq!(ask(http, &daemon).await, 200);
    // The mirror's folder is made by the first refresh.
    world.cloud.revoke_access_tokens();
    assert_eq!(ask(http, &daemon).await, 200);
    let renames = watch_renames(&[&world.store_file(), &world.mirror_file()]);
    let mut spans = Spans {
        whole: Vec::new(),
        to_mirror: Vec::new(),
        to_store: Vec::new(),
    };
    for _ in 0..MEASURED {
        let started = Instant::now();
        daemon.renew().await;
        let renamed = || block_in_place(|| renames.recv_timeout(PATIENCE)).unwrap();
        let (first, mirrored) = renamed();
        let (second, stored) = renamed();
        assert_eq!((first, second), (world.mirror_file(), world.store_file()));
        let answered = world
            .cloud
            .calls()
            .last()
            .unwrap()
            .answered
            .unwrap()
            .into_std();
        spans.whole.push(stored - started);
        spans.to_mirror.push(mirrored - answered);
        spans.to_store.push(stored - answered);
    }
    spans
}

/// Tells of each file that takes one of these names, and when.
fn watch_renames(files: &[&Path]) -> mpsc::Receiver<(PathBuf, Instant)> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    let mut watched = Vec::new();
    for file in files {
        let folder = file.parent().unwrap();
        let number = inotify::add_watch(&watch, folder, inotify::WatchFlags::MOVED_TO).unwrap();
        watched.push((number, file.to_path_buf()));
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(watch, &mut room);
        while let Ok(event) = events.next() {
            let at = Instant::now();
            let name = event
                .file_name()
                .map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
            let file = watched.iter().find(|(number, file)| {
                *number == event.wd() && file.file_name() == name.as_deref()
            });
            if let Some((_, file)) = file
                && sender.send((file.clone(), at)).is_err()
            {
                return;
            }
        }
    });
    receiver
}

async fn ask(http: &reqwest::Client, daemon: &Daemon) -> u16 {
    let request = http.post(daemon.url("/chat/completions")).json(&chat("x"));
    request.send().await.unwrap().status().as_u16()
}

/// The file's content; null where there is no file.
fn whole_json(file: &Path) -> Value {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Err(_) => Value::Null,
    }
}

fn quantile(spans: &[Duration], part: f64) -> Duration {
    let mut sorted = spans.to_vec();
    sorted.sort();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a small index"
    )]
    let index = ((sorted.len() - 1) as f64 * part) as usize;
    sorted[index]
}

fn figures(spans: &[Duration]) -> String {
    let [median, longest] = [0.5, 1.0].map(|part| quantile(spans, part).as_micros());
    format!("median {median} us, max {longest} us")
}
