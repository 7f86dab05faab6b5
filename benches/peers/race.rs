//! Rounds and turns: every contestant of a row in each round, in another order each time.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::common::cloud;
use super::common::daemon::program;
use super::common::process::raise_file_limit;
use super::contestants::{Contestant, World, installed};
use super::rows::{MEASUREMENTS, Measurement, When};
use super::table::{Line, head};
use super::turns::{Effort, Field};
use super::{instructions, upstream};

/// What the command line asks for.
#[expect(clippy::struct_excessive_bools, reason = "flags, as they are typed")]
#[derive(Debug, Default)]
pub(crate) struct Words {
    rows: Vec<String>,
    contestants: Vec<String>,
    rounds: Option<usize>,
    also: Vec<PathBuf>,
    quick: bool,
    list: bool,
    is_bench: bool,
    pub(crate) instructions: bool,
    flat: bool,
    pub(crate) accept: bool,
    /// Where callgrind's files stay.
    pub(crate) keep: Option<PathBuf>,
}

impl Words {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let list = |text: String| text.split(',').map(str::to_owned).collect();
            match word.as_str() {
                // Cargo's own.
                "--bench" => read.is_bench = true,
                "--rows" => read.rows = list(value()?),
                "--contestants" => read.contestants = list(value()?),
                "--rounds" => {
                    let rounds = value()?.parse().map_err(|_| "--rounds needs a number")?;
                    read.rounds = Some(rounds);
                }
                "--also" => read.also.push(value()?.into()),
                "--quick" => read.quick = true,
                "--list" => read.list = true,
                "--instructions" => read.instructions = true,
                "--flat" => read.flat = true,
                "--accept" => read.accept = true,
                "--keep" => read.keep = Some(value()?.into()),
                other => {
                    return Err(format!(
                        "there is no {other}: benches/peers/main.rs names what there is"
                    ));
                }
            }
        }
        Ok(read)
    }

    fn effort(&self) -> Effort {
        let (rounds, turn) = if self.quick { (2, 200) } else { (5, 1500) };
        Effort {
            rounds: self.rounds.unwrap_or(rounds),
            turn: Duration::from_millis(turn),
            quick: self.quick,
        }
    }

    fn rows(&self) -> Vec<&'static Measurement> {
        let chosen = |what: &&Measurement| {
            if self.rows.is_empty() {
                what.when == When::Always || what.when == When::Full && !self.quick
            } else {
                self.rows.iter().any(|name| what.id.starts_with(name))
            }
        };
        MEASUREMENTS.iter().filter(chosen).collect()
    }

    pub(crate) fn rounds(&self) -> Option<usize> {
        self.rounds
    }
}

pub(crate) fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    if let Some(kind) = first.strip_prefix(cloud::ROLE) {
        return cloud::be_the_cloud(kind);
    }
    if first == upstream::ROLE {
        return upstream::be_the_upstream();
    }
    let words = match Words::read(std::env::args().skip(1)) {
        Ok(words) => words,
        Err(wrong) => {
            println!("{wrong}");
            return ExitCode::FAILURE;
        }
    };
    if words.list {
        for what in MEASUREMENTS {
            println!("{}", what.id);
        }
        return ExitCode::SUCCESS;
    }
    if words.flat {
        return cloud::runtime().block_on(instructions::check_flat());
    }
    if words.instructions {
        return cloud::runtime().block_on(instructions::check(&words));
    }
    // `cargo test --all-targets` runs benches too, without `--bench`.
    if words.is_bench {
        raise_file_limit();
        cloud::runtime().block_on(race(&words));
    }
    ExitCode::SUCCESS
}

async fn race(words: &Words) {
    let (mut contestants, skipped) = installed(&program(), &words.also);
    if !words.contestants.is_empty() {
        contestants.retain(|one| {
            words
                .contestants
                .iter()
                .any(|name| one.name.starts_with(name))
        });
    }
    let effort = words.effort();
    println!("{}\n", conditions(effort));
    for one in skipped {
        println!("Skipped: {one}\n");
    }
    println!("{}", head(&contestants));
    let nginx = contestants.iter().position(Contestant::is_nginx);
    let world = World::start();
    let mut field = Field::new(&world, effort);
    let mut way = None;
    for what in words.rows() {
        if way.replace(what.way) != Some(what.way) {
            field.clear();
        }
        for line in measure(&mut field, what, &contestants, effort).await {
            println!("{}", line.markdown(&contestants, nginx));
        }
    }
}

async fn measure(
    field: &mut Field<'_>,
    what: &Measurement,
    contestants: &[Contestant],
    effort: Effort,
) -> Vec<Line> {
    let lines = what.rows.iter();
    let mut lines: Vec<_> = lines
        .map(|row| Line::new(*row, contestants.len()))
        .collect();
    for round in 0..what.rounds(effort.rounds) {
        for turn in 0..contestants.len() {
            let place = (turn + round) % contestants.len();
            if lines[0].wrong[place].is_some() {
                continue;
            }
            match field.turn(&contestants[place], what).await {
                Ok(figures) => {
                    for (line, figure) in lines.iter_mut().zip(figures) {
                        line.figures[place].push(figure);
                    }
                }
                Err(wrong) => {
                    for line in &mut lines {
                        line.wrong[place] = Some(wrong.clone());
                    }
                }
            }
        }
    }
    lines
}

/// When, where and how it was measured.
fn conditions(effort: Effort) -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let memory: f64 = memory.and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "the date of a measurement")]
    let now = chrono::Utc::now();
    format!(
        "{}; {} processors ({}), {:.0} GB, Linux {}; {} rounds of {} ms{}",
        now.format("%Y-%m-%d %H:%M UTC"),
        std::thread::available_parallelism().map_or(0, usize::from),
        processor.map_or("unknown", |(_, name)| name),
        memory * 1024.0 / 1e9,
        kernel.trim(),
        effort.rounds,
        effort.turn.as_millis(),
        if cfg!(debug_assertions) {
            "; NOT OPTIMISED"
        } else {
            ""
        },
    )
}
