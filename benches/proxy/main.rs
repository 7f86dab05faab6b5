//! What the daemon costs: `cargo bench`, one table, about two minutes; `cargo bench -- --quick`
//! for a look that it still runs, `cargo bench --bench proxy -- memory` for the memory alone, `… -- routes` for bodies of
//! 1 MiB with and without a route by model, `… -- translation` for streams that are translated.
//!
//! The daemon, the mock cloud and the load are three processes, so that the system's accounts
//! tell their CPU time apart. The same load goes through the daemon and straight to the cloud,
//! in turns, and each figure is the median of its turns: what else the machine does meets both.
//! Figures are compared with expectations, but never fail: they belong to a machine.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement may fail loudly, and prints"
)]

#[path = "../common/mod.rs"]
mod common;
mod load;
mod table;
mod translation;

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use self::common::cloud::{self, Cloud, Kind};
use self::common::daemon::{Daemon, Setting};
use self::common::process::raise_file_limit;
use self::load::{Load, Model, Sample, Target};
use self::table::{Figure, Table};

/// Events with content in each measured stream.
const EVENTS: usize = 20;

/// How long and how often.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    turn: Duration,
    streams: usize,
    starts: usize,
    only: Only,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    All,
    Memory,
    Routes,
    Translation,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(options) = words
        .first()
        .and_then(|word| word.strip_prefix(cloud::ROLE))
    {
        return cloud::be_the_cloud(options);
    }
    // `cargo test --all-targets` runs benches too, without `--bench`.
    let quick = words.iter().any(|word| word == "--quick") || !words.contains(&"--bench".into());
    let has = |name: &str| words.iter().any(|word| word == name);
    let only = match () {
        () if has("memory") => Only::Memory,
        () if has("routes") => Only::Routes,
        () if has("translation") => Only::Translation,
        () => Only::All,
    };
    let effort = if quick {
        Effort {
            rounds: 2,
            turn: Duration::from_millis(200),
            streams: 200,
            starts: 3,
            only,
        }
    } else {
        Effort {
            rounds: 5,
            turn: Duration::from_millis(1500),
            streams: 1000,
            starts: 15,
            only,
        }
    };
    raise_file_limit();
    cloud::runtime().block_on(measure(effort));
    ExitCode::SUCCESS
}

async fn measure(effort: Effort) {
    println!(
        "hermes-proxyd {}{}, {} CPUs; medians of {} turns of {} ms\n",
        env!("CARGO_PKG_VERSION"),
        if cfg!(debug_assertions) {
            ", NOT OPTIMISED"
        } else {
            ""
        },
        std::thread::available_parallelism().map_or(0, usize::from),
        effort.rounds,
        effort.turn.as_millis(),
    );
    if effort.only == Only::Translation {
        return translation::streams(effort).await;
    }
    let worlds = [World::start(false).await, World::start(true).await];
    if effort.only == Only::Routes {
        return routed_bodies(&worlds[0], effort).await;
    }
    start_and_memory(&worlds, effort).await;
    if effort.only == Only::All {
        requests(&worlds, effort).await;
        routed_bodies(&worlds[0], effort).await;
        translation::streams(effort).await;
    }
}

/// A cloud, plain or with TLS, and a daemon before it.
struct World {
    name: &'static str,
    cloud: Cloud,
    setting: Setting,
    daemon: Daemon,
}

impl World {
    async fn start(tls: bool) -> Self {
        let cloud = Cloud::start(if tls { Kind::Tls } else { Kind::Plain });
        let mut setting = Setting::before(&cloud);
        setting.ca_file = tls.then(|| cloud.home.path().join("ca.pem"));
        let daemon = Daemon::start(&setting).await;
        let name = if tls { "TLS" } else { "plain" };
        Self {
            name,
            cloud,
            setting,
            daemon,
        }
    }
}

async fn start_and_memory(worlds: &[World; 2], effort: Effort) {
    let mut table = Table::new("start and memory", &[]);
    let mut ready = Vec::new();
    for _ in 0..effort.starts {
        let started = Instant::now();
        let daemon = Daemon::start(&worlds[0].setting).await;
        ready.push(started.elapsed());
        drop(daemon);
    }
    let ready = Figure::milliseconds(table::median(ready));
    let limit = Figure::Milliseconds(100.0);
    table.row("from its start to its first answer", &[ready], Some(limit));
    for (world, limit) in worlds.iter().zip([36.0, 42.0]) {
        let daemon = Daemon::start(&world.setting).await;
        if world.setting.ca_file.is_none() {
            let idle = Figure::megabytes(daemon.process.resident());
            table.row("memory, idle", &[idle], Some(Figure::Megabytes(12.0)));
        }
        // What the first request sets up is no stream's.
        let target = Target::daemon(&daemon);
        drop(load::open_streams(&target, 1).await);
        let before = daemon.process.resident();
        let streams = load::open_streams(&target, effort.streams).await;
        let open = daemon.process.resident();
        drop(streams);
        let grown = before.zip(open).map(|(before, open)| open - before);
        let each = Figure::kibibytes_each(grown, effort.streams);
        let label = format!("each of {} open streams, {}", effort.streams, world.name);
        table.row(&label, &[each], Some(Figure::Kibibytes(limit)));
    }
    table.print();
}

async fn requests(worlds: &[World; 2], effort: Effort) {
    let mut cases = Vec::new();
    for world in worlds {
        for connections in [1, 32] {
            for load in [Load::Chat, Load::Stream(EVENTS)] {
                let plural = if connections == 1 { "" } else { "s" };
                let label = format!("{}, {connections} connection{plural}", world.name);
                cases.push(Case {
                    world,
                    label,
                    load,
                    connections,
                    through: Vec::new(),
                    straight: Vec::new(),
                });
            }
        }
    }
    for _ in 0..effort.rounds {
        for case in &mut cases {
            case.turn(effort.turn).await;
        }
    }

    let head = ["through", "straight", "ratio", "more"];
    let mut first_byte = Table::new("time to the first byte of a stream", &head);
    for case in cases.iter().filter(|case| case.load != Load::Chat) {
        let times = case.medians(|sample| Some(sample.first_byte));
        let expected = (case.connections == 1).then_some(Figure::MoreMicroseconds(250.0));
        first_byte.compare(&case.label, times, expected);
    }
    first_byte.print();

    // The cloud's own time, when it is asked straight: what hyper takes to serve the request.
    let head = ["daemon", "cloud alone", "ratio", "more"];
    let mut chat = Table::new("CPU for a chat request", &head);
    let title = format!("CPU for a stream of {EVENTS} events");
    let mut stream = Table::new(&title, &head);
    for case in &cases {
        let times = case.medians(|sample| sample.cpu);
        let table = if case.load == Load::Chat {
            &mut chat
        } else {
            &mut stream
        };
        table.compare(&case.label, times, None);
    }
    chat.print();
    stream.print();
}

/// With this the model of every chat is looked for, and replaced.
const ROUTED: &str = "[aliases]\n\"gpt-5-mini\" = \"Hermes-4-405B\"\n[[route]]\nmodels = [\"Hermes-*\"]\n\
                      provider = \"nous\"\n";

/// What a route by model costs on a body of 1 MiB, beside a daemon without routes.
async fn routed_bodies(world: &World, effort: Effort) {
    let mut setting = world.setting.clone();
    setting.config = Some(ROUTED.to_owned());
    let routed = Daemon::start(&setting).await;
    let mut table = Table::new(
        "CPU for a chat with a body of 1 MiB",
        &["routed", "unread", "ratio"],
    );
    for (place, label) in [
        (Model::First, "the model first"),
        (Model::Last, "the model last"),
    ] {
        let (mut through, mut unread) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            for (daemon, samples) in [(&routed, &mut through), (&world.daemon, &mut unread)] {
                let shape = (Load::Large(place), 4);
                let target = Target::daemon(daemon);
                samples.push(load::run(&target, &daemon.process, shape, effort.turn).await);
            }
        }
        let medians = [through, unread].map(|samples| {
            let turns: Option<Vec<_>> = samples.iter().map(|sample| sample.cpu).collect();
            turns.map(|turns| table::median(turns).as_secs_f64() * 1e6)
        });
        let figures = match medians {
            [Some(routed), Some(unread)] => vec![
                Figure::Microseconds(routed),
                Figure::Microseconds(unread),
                Figure::Ratio(routed / unread),
            ],
            _ => vec![Figure::Unknown],
        };
        table.row(label, &figures, Some(Figure::Ratio(1.3)));
    }
    table.print();
}

/// One load on one number of connections, with what was measured of it so far.
struct Case<'w> {
    world: &'w World,
    label: String,
    load: Load,
    connections: usize,
    through: Vec<Sample>,
    straight: Vec<Sample>,
}

impl Case<'_> {
    async fn turn(&mut self, time: Duration) {
        let (cloud, daemon) = (&self.world.cloud, &self.world.daemon);
        let pairs = [
            (Target::daemon(daemon), &daemon.process, &mut self.through),
            (
                Target::cloud(cloud, self.world.setting.ca_file.as_deref()),
                &cloud.process,
                &mut self.straight,
            ),
        ];
        for (target, process, samples) in pairs {
            let shape = (self.load, self.connections);
            samples.push(load::run(&target, process, shape, time).await);
        }
    }

    /// Through the daemon and straight.
    fn medians(&self, of: impl Fn(&Sample) -> Option<Duration>) -> [Option<Duration>; 2] {
        [&self.through, &self.straight].map(|samples| {
            let turns: Option<Vec<_>> = samples.iter().map(&of).collect();
            turns.map(table::median)
        })
    }
}
