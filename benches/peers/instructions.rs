//! The gate: what a request costs in instructions, as callgrind counts them in user space. That hardly depends on what
//! else the machine does, so a change that makes the path longer is seen where its time would be lost in noise.
//!
//! The daemon runs under callgrind twice, for some requests and for twice as many: the difference is theirs, and the
//! start's is gone. The budget is `instructions.txt` beside this file.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::common::daemon::Daemon;
use super::common::process::PATIENCE;
use super::contestants::World;
use super::load::{Crowd, Keep, Target, Until};
use super::race::Words;
use super::upstream::{Ask, Way};

/// A rise by more than this part of the budget fails.
const MOST: f64 = 0.05;

/// Requests of the shorter run.
const REQUESTS: usize = 500;

/// What is counted.
struct Case {
    name: &'static str,
    way: Way,
    ask: Ask,
    config: Option<&'static str>,
    client_keys: usize,
    /// Providers beside the one that is asked.
    others: usize,
}

/// With this the model of every chat is looked for.
const ROUTED: &str = "[aliases]\n\"another\" = \"bench/chat\"\n[[route]]\nmodels = [\"bench/*\"]\nprovider = \"nous\"\n";

const CASES: [Case; 4] = [
    Case {
        name: "plain",
        ..PLAIN
    },
    Case {
        name: "plain, 20 events",
        ask: Ask::Burst(20),
        ..PLAIN
    },
    Case {
        name: "plain, a route by model",
        config: Some(ROUTED),
        ..PLAIN
    },
    Case {
        name: "TLS",
        way: Way::Tls,
        ..PLAIN
    },
];

const PLAIN: Case = Case {
    name: "",
    way: Way::Plain,
    ask: Ask::Chat,
    config: None,
    client_keys: 0,
    others: 0,
};

/// What a request may not depend on: how many client keys and how many providers there are.
const FLAT: [(usize, usize); 4] = [(1, 1), (200, 1), (1, 10), (200, 10)];

/// By so much of the first case the others may differ from it.
const LEVEL: f64 = 0.10;

impl Case {
    /// The configuration, if it has one of its own.
    fn config(&self) -> Option<String> {
        if self.others == 0 {
            return self.config.map(str::to_owned);
        }
        // Their addresses are asked for nothing.
        let other = |number| {
            format!(
                "[providers.other{number}]\ntype = \"static\"\nauth = \"none\"\n\
                 base_url = \"http://127.0.0.1:{number}/v1\"\n"
            )
        };
        let others: String = (1..=self.others).map(other).collect();
        Some(format!(
            "default_provider = \"nous\"\n[providers.nous]\n{others}"
        ))
    }
}

/// What stands in the way of counting.
fn hindered() -> Option<ExitCode> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!(
            "SKIPPED: the instructions of a request are not counted, since valgrind is missing: install it \
             (Debian, Ubuntu: apt install valgrind)"
        );
        let strict = std::env::var_os("HERMES_TEST_STRICT").is_some_and(|value| !value.is_empty());
        return Some(if strict {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        });
    }
    None
}

/// Counts what a request takes with few and many client keys and providers.
pub(crate) async fn check_flat() -> ExitCode {
    if let Some(code) = hindered() {
        return code;
    }
    let world = World::start();
    let (mut first, mut is_level) = (None, true);
    println!("| client keys | providers | instructions | |\n|---|---|---|---|");
    for (client_keys, providers) in FLAT {
        let case = Case {
            client_keys,
            others: providers - 1,
            ..PLAIN
        };
        let each = match count(&world, &case, None).await {
            Ok(each) => each,
            Err(wrong) => {
                println!("{wrong}");
                return ExitCode::FAILURE;
            }
        };
        let change = each / *first.get_or_insert(each) - 1.0;
        is_level &= change.abs() <= LEVEL;
        println!(
            "| {client_keys} | {providers} | {each:.0} | {:+.1} % |",
            change * 100.0
        );
    }
    if is_level {
        ExitCode::SUCCESS
    } else {
        println!(
            "\nA request costs more or less than {:.0} % of the first.",
            LEVEL * 100.0
        );
        ExitCode::FAILURE
    }
}

/// Counts each case and compares it with its budget.
pub(crate) async fn check(words: &Words) -> ExitCode {
    if let Some(code) = hindered() {
        return code;
    }
    let world = World::start();
    let budget = std::fs::read_to_string(budget_file()).unwrap_or_default();
    let (mut counted, mut risen) = (String::new(), Vec::new());
    for case in &CASES {
        let limit = budget_of(&budget, case.name);
        let mut counts = Vec::new();
        // A rise has to be seen three times.
        let most = limit.map_or(f64::INFINITY, |limit| limit * (1.0 + MOST));
        let (least, retries) = (words.rounds().unwrap_or(1), 2);
        while counts.len() < least || lowest(&counts) > most && counts.len() < least + retries {
            match count(&world, case, words.keep.as_deref()).await {
                Ok(each) => counts.push(each),
                Err(wrong) => {
                    println!("{}: {wrong}", case.name);
                    return ExitCode::FAILURE;
                }
            }
        }
        let each = lowest(&counts);
        println!("{}", told(case, &counts, limit));
        if each > most {
            risen.push(case.name);
        }
        writeln!(counted, "{}: {each:.0}", case.name).unwrap_or_default();
    }
    if words.accept {
        let text = format!("{ABOUT}{counted}");
        std::fs::write(budget_file(), text).expect("a file");
        println!("written: {}", budget_file().display());
        return ExitCode::SUCCESS;
    }
    if risen.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!(
        "\nA request takes more instructions than its budget and {:.0} %: {}.\n\
         Where that is worth it, accept the new numbers, and say why in the commit:\n    {ACCEPT}",
        MOST * 100.0,
        risen.join("; ")
    );
    ExitCode::FAILURE
}

const ACCEPT: &str = "cargo bench --profile release --bench peers -- --instructions --accept";

const ABOUT: &str = "# Instructions of one request in user space, by callgrind, of hermes-proxyd as `cargo build --release` builds it.\n\
    # A rise by more than 5 % fails. To accept new numbers:\n\
    # cargo bench --profile release --bench peers -- --instructions --accept\n";

fn told(case: &Case, counts: &[f64], limit: Option<f64>) -> String {
    let each = lowest(counts);
    let mut text = format!("{:<26} {each:>9.0} instructions", case.name);
    if counts.len() > 1 {
        let highest = counts.iter().copied().fold(each, f64::max);
        let spread = (highest / each - 1.0) * 100.0;
        write!(text, ", within {spread:.2} % in {} runs", counts.len()).unwrap_or_default();
    }
    match limit {
        None => text + "; it has no budget yet",
        Some(limit) => {
            let change = (each / limit - 1.0) * 100.0;
            write!(text, "; the budget is {limit:.0} ({change:+.1} %)").unwrap_or_default();
            text
        }
    }
}

fn lowest(counts: &[f64]) -> f64 {
    counts.iter().copied().fold(f64::INFINITY, f64::min)
}

fn budget_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/instructions.txt")
}

fn budget_of(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines();
    lines.find_map(|line| {
        let (of, count) = line.rsplit_once(": ")?;
        (of == name).then(|| count.parse().ok()).flatten()
    })
}

/// The instructions of one request.
async fn count(world: &World, case: &Case, keep: Option<&Path>) -> Result<f64, String> {
    let (fewer, more) = tokio::join!(
        total(world, case, REQUESTS, keep),
        total(world, case, 2 * REQUESTS, keep)
    );
    let more = more?.saturating_sub(fewer?);
    Ok(super::turns::float(more) / super::turns::float(REQUESTS as u64))
}

/// The instructions of a daemon that starts, answers so many requests and ends.
async fn total(
    world: &World,
    case: &Case,
    requests: usize,
    keep: Option<&Path>,
) -> Result<u64, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = match keep {
        None => folder.path().join("callgrind"),
        Some(keep) => keep.join(format!("{}, {requests}.callgrind", case.name)),
    };
    let mut setting = world.setting(case.way);
    setting.config = case.config();
    setting.client_keys = case.client_keys;
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(&file);
    setting.wrapper = ["valgrind", "-q", "--vgdb=no", "--tool=callgrind"]
        .map(OsString::from)
        .to_vec();
    setting.wrapper.push(out);
    let mut daemon = Daemon::start(&setting).await;
    let mut target = Target::new(daemon.port, None);
    if case.client_keys > 0 {
        target = target.with_key(&daemon.key);
    }
    let request = target.request(case.ask, 0);
    let mut crowd = Crowd::new(target, Keep::Kept(1));
    for least in [20, requests] {
        let until = Until {
            time: Duration::ZERO,
            least,
        };
        crowd
            .run(&request, until)
            .await
            .map_err(|error| error.to_string())?;
    }
    drop(crowd);
    let child = daemon.process.child();
    kill_process(Pid::from_child(child), Signal::TERM).map_err(|error| error.to_string())?;
    let mut waited = Duration::ZERO;
    while matches!(child.try_wait(), Ok(None)) && waited < PATIENCE {
        sleep(Duration::from_millis(10)).await;
        waited += Duration::from_millis(10);
    }
    let counted = std::fs::read_to_string(file).map_err(|error| format!("callgrind: {error}"))?;
    let counted = counted.lines().find_map(|line| {
        let total = line
            .strip_prefix("totals:")
            .or(line.strip_prefix("summary:"))?;
        total.trim().parse().ok()
    });
    counted.ok_or_else(|| "callgrind has counted nothing".to_owned())
}
