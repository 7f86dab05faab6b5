//! Our daemon beside others that forward requests: `cargo bench --bench peers`, one table in Markdown, some 20 minutes;
//! `cargo bench --bench peers -- --quick` takes a minute. Linux only. docs/performance.md says what is compared, and how.
//!
//! ```text
//! --quick             few rounds, short turns, and not every row
//! --rows A,B          only rows whose names begin so; --list names them
//! --contestants A,B   only these columns: straight, nginx, haproxy, hermes, hermes-proxyd
//! --rounds N          N rounds (5)
//! --also PROGRAM      one more hermes-proxyd, such as an older one
//! --list              the rows' names
//! --instructions      the instructions of a request, against benches/peers/instructions.txt (valgrind)
//! --flat              the same with 1 and 200 client keys and 1 and 10 providers, which may differ by 10 %
//! --keep FOLDER       callgrind's files stay in it, for `callgrind_annotate`
//! ```
//!
//! `HERMES_BENCH_DAEMON` names another hermes-proxyd than the one that cargo has built for it, so that a release build
//! does: `HERMES_BENCH_DAEMON=target/release/hermes-proxyd cargo bench --profile release --bench peers`.

#![cfg_attr(
    target_os = "linux",
    expect(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::print_stdout,
        reason = "a measurement may fail loudly, and prints"
    )
)]

#[cfg(target_os = "linux")]
#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod contestants;
#[cfg(target_os = "linux")]
mod far;
#[cfg(target_os = "linux")]
mod instructions;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod race;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod turns;
#[cfg(target_os = "linux")]
mod upstream;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    race::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
