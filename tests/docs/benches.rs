//! The texts about the benches are true: their commands, their options and the rows of the table.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;

use crate::suite::{named, texts};

fn file(name: &str) -> String {
    std::fs::read_to_string(support::root().join(name)).unwrap()
}

/// The text between quotation marks after each of these words.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    let rests = text.split(before).skip(1);
    rests.filter_map(|rest| rest.split_once('"').map(|(name, _)| name))
}

#[test]
fn what_tells_how_a_bench_is_run_names_one_that_is_there() {
    let manifest = file("Cargo.toml");
    let benches: BTreeSet<_> = quoted(&manifest, "[[bench]]\nname = \"").collect();
    assert!(benches.len() >= 3, "{benches:?}");
    let (mut wrong, mut found) = (Vec::new(), 0);
    for (file, text) in texts() {
        for bench in named(&text, "--bench ").filter(|name| !name.is_empty()) {
            found += 1;
            if !benches.contains(bench) {
                wrong.push(format!("{file}: --bench {bench}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 5, "{found}");
}

/// The options of `cargo bench --bench peers --`, wherever a text names them, and the rows that `--rows` chooses.
#[test]
fn the_options_and_rows_of_the_comparison_are_there() {
    let race = file("benches/peers/race.rs");
    let options: BTreeSet<_> = quoted(&race, "\n                \"--").collect();
    let rows = file("benches/peers/rows.rs");
    let (mut wrong, mut found) = (Vec::new(), 0);
    for (file, text) in texts() {
        for line in text.lines() {
            let Some((_, words)) = line.split_once("--bench peers -- ") else {
                continue;
            };
            let words: Vec<_> = words.split(['`', ' ', ';', '"', '\\']).collect();
            for (at, word) in words.iter().enumerate() {
                let Some(option) = word.strip_prefix("--") else {
                    continue;
                };
                found += 1;
                if !options.contains(option) {
                    wrong.push(format!("{file}: --{option}"));
                }
                if option == "rows" {
                    for row in words.get(at + 1).unwrap().split(',') {
                        if !rows.contains(&format!("\"{row}")) {
                            wrong.push(format!("{file}: no row {row}"));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found >= 4, "{found}");
}

/// The table in docs/performance.md has the rows that the bench measures without being asked for more, in its order.
#[test]
fn the_table_of_the_comparison_has_the_rows_of_the_bench() {
    let rows = file("benches/peers/rows.rs");
    let (_, list) = rows.split_once("\nmeasurements! {").unwrap();
    let mut measured = Vec::new();
    for measurement in list.split("\n    \"").skip(1) {
        if !measurement.contains("\" Named ") {
            measured.extend(quoted(measurement, "[\""));
        }
    }
    assert!(measured.len() > 25, "{measured:?}");
    let page = file("docs/performance.md");
    let shown = page.lines().filter_map(|line| line.strip_prefix("| "));
    let shown: Vec<_> = shown
        .filter_map(|line| line.split(" | ").next())
        .filter(|label| measured.contains(label))
        .collect();
    assert_eq!(shown, measured);
}

#[test]
fn the_budget_of_instructions_is_for_what_is_counted() {
    let source = file("benches/peers/instructions.rs");
    let cases: Vec<_> = quoted(&source, "\n        name: \"").collect();
    assert!(cases.len() >= 4, "{cases:?}");
    let budget = file("benches/peers/instructions.txt");
    let lines = budget.lines().filter(|line| !line.starts_with('#'));
    let budget: Vec<_> = lines
        .filter_map(|line| line.rsplit_once(": "))
        .inspect(|(name, count)| assert!(count.parse::<u32>().is_ok(), "{name}"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(budget, cases);
}
