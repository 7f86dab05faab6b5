//! The command line is consistent, and every command that is named anywhere exists.
//! `UPDATE_GOLDEN=1` rewrites their list, which `tests/docs/commands.rs` runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use super::*;

/// What stands for a value is filled in with one of these after the other.
const VALUES: &[&str] = &[
    "nous",
    "karakeep",
    "3",
    "15m",
    "bash",
    "docker",
    "warn",
    "hermesctl",
    "https://ai.example/v1",
];

/// Where an unquoted command ends.
const ENDS: &[&str] = &[
    "\n", "\\n", "\"", "`", ")", ";", ",", "·", "<", ". ", ": ", " (", " -->",
];
/// Where a shell's command ends.
const SHELL: &[&str] = &[" | ", " > ", " 2> ", " && ", " # ", "; "];

#[test]
fn the_shape_is_consistent() {
    command().debug_assert();
}

#[test]
fn json_is_understood_anywhere() {
    for line in ["hermesctl --json version", "hermesctl proxy status --json"] {
        assert!(Arguments::try_parse_from(line.split(' ')).unwrap().json);
    }
}

/// A command in a text.
#[derive(Debug, PartialEq)]
struct Named<'t> {
    line: &'t str,
    /// Whether it ends where the line does: it is in backticks or in a block of code.
    whole: bool,
    /// Whether only a command can be here.
    sure: bool,
}

/// Every text that users read, by its path.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![
        root.join("README.md"),
        root.join("config.example.toml"),
        root.join("justfile"),
    ];
    for folder in ["src", "docs", "packaging", "systemd", "launchd"] {
        walk(&root.join(folder), &mut files);
    }
    let texts = files.into_iter().filter_map(|path| {
        let text = std::fs::read_to_string(&path).ok()?;
        let name = path.strip_prefix(root).unwrap().to_owned();
        let end = path.extension().unwrap_or_default().to_owned();
        let text = match end.to_str() {
            Some("rs") => of_source(&text),
            Some("md") => of_page(&text),
            // A picture has its letters in pieces.
            Some("svg") => return None,
            _ => text,
        };
        Some((name, text))
    });
    texts.collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let tests = ["tests.rs", "shown.rs", "samples.rs"];
        if path.is_dir() {
            walk(&path, files);
        } else if !tests.iter().any(|name| path.ends_with(name)) {
            files.push(path);
        }
    }
}

/// Without tests; strings and comments that go on in the next line in one piece.
fn of_source(text: &str) -> String {
    let text = text.split("mod tests {").next().unwrap_or_default();
    let mut whole = String::new();
    for line in text.lines() {
        let bare = line.trim_start();
        let comment = bare.trim_start_matches('/').trim_start_matches('!');
        if bare.starts_with("//") && whole.ends_with('\u{1}') {
            whole.pop();
            whole.push_str(comment);
        } else if whole.ends_with('\\') {
            whole.pop();
            whole.push_str(bare);
        } else {
            whole.push('\n');
            whole.push_str(bare);
        }
        if bare.starts_with("//") {
            whole.push('\u{1}');
        } else if !bare.ends_with('\\') {
            whole.push('\n');
        }
    }
    whole.replace('\u{1}', "")
}

/// Words in one paragraph; the lines of blocks of code in backticks.
fn of_page(text: &str) -> String {
    let mut whole = String::new();
    for (place, part) in text.split("```").enumerate() {
        if place % 2 == 0 {
            whole.push_str(&part.replace("\n\n", "\u{1}").replace('\n', " "));
            continue;
        }
        let lines = part.lines().skip(1);
        let lines = lines.map(|line| format!("\n`{}`\n", line.trim_start_matches("$ ")));
        whole.extend(lines);
    }
    whole.replace('\u{1}', "\n\n")
}

fn named<'t>(program: &str, text: &'t str) -> Vec<Named<'t>> {
    let mut found = Vec::new();
    for (at, name) in text.match_indices(&format!("{program} ")) {
        let (before, after) = text.split_at(at);
        let after = after.strip_prefix(name).unwrap();
        let part_of_a_word = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if before.ends_with(part_of_a_word) || before.ends_with("keys set ") {
            continue;
        }
        let whole = before.ends_with('`');
        let ends = if whole { &["`"] } else { ENDS };
        let ends = ends.iter().chain(SHELL).filter_map(|end| after.find(end));
        let (line, rest) = after.split_at(ends.min().unwrap_or(after.len()));
        let ends_a_message = ["\"", "\\n"].iter().any(|end| rest.starts_with(end));
        let says_how = before.ends_with(": ") && ends_a_message && !line.ends_with('.');
        let runs = ["run(\"", "run(format!(\"", "Run(\""];
        found.push(Named {
            line: line.trim().trim_end_matches(['.', '\\']),
            whole,
            sure: says_how || runs.iter().any(|it| before.ends_with(it)),
        });
    }
    found
}

/// A word with a value in the place of what stands for one: `NAME`, `{name}`, `https://…`.
fn filled(word: &str, value: &str) -> String {
    let word = word.trim_matches(['[', ']', '"', '\'']);
    let stands_for_one = |c: char| c.is_ascii_uppercase() || c == '-';
    if word.contains('…')
        || word.starts_with(char::is_uppercase) && word.chars().all(stands_for_one)
    {
        return value.to_owned();
    }
    let mut text = String::new();
    for (place, part) in word.split('{').enumerate() {
        let (_, rest) = part.split_once('}').unwrap_or(("", part));
        // A placeholder after a word, or after another one, may be empty.
        if place > 0 && (text.is_empty() || text.ends_with(['=', '/'])) {
            text.push_str(value);
        }
        text.push_str(rest);
    }
    text
}

/// The command that the program understands these words as; empty where they only name a noun or a
/// verb that lacks something.
fn understood(shape: &clap::Command, words: &[&str]) -> Result<String, String> {
    let mut complaint = String::new();
    for value in VALUES {
        let line = words.iter().map(|word| filled(word, value));
        let line = line.filter(|word| !word.is_empty());
        let line: Vec<_> = std::iter::once(shape.get_name().to_owned())
            .chain(line)
            .collect();
        let Err(error) = shape.clone().try_get_matches_from(&line) else {
            return Ok(line.join(" "));
        };
        // A noun or a verb is named as such.
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::MissingSubcommand
                | ErrorKind::MissingRequiredArgument
        ) {
            return Ok(String::new());
        }
        complaint = error.to_string();
    }
    Err(complaint)
}

/// What is wrong with a command that is named; what it is, if it is one at all.
fn look(shape: &clap::Command, named: &Named<'_>) -> Result<Option<String>, String> {
    let words: Vec<_> = named.line.split_whitespace().collect();
    let Some(first) = words.first() else {
        return Ok(None);
    };
    // A version, or any command.
    if first.starts_with(|c: char| c.is_ascii_digit() || c == '{') {
        return Ok(None);
    }
    if named.whole {
        return understood(shape, &words).map(Some);
    }
    let known = shape.find_subcommand(first).is_some() || first.starts_with("--");
    if !known && !named.sure {
        return Ok(None);
    }
    // The sentence may continue after it, but not with a flag.
    let mut complaint = understood(shape, &words);
    let noun = shape.find_subcommand(first);
    let least = if noun.is_some_and(clap::Command::has_subcommands) {
        2
    } else {
        1
    };
    for end in (least..words.len()).rev() {
        let goes_on = !words[end].starts_with('-');
        if complaint.is_err() && goes_on {
            complaint = understood(shape, &words[..end]).or(complaint);
        }
    }
    complaint.map(Some)
}

#[test]
fn every_command_that_is_named_anywhere_is_understood_with_its_flags() {
    let mut count = 0;
    let mut wrong = Vec::new();
    let mut commands = BTreeSet::new();
    for (path, text) in texts() {
        // An alert's text has the provider's name in this place.
        let text = text.replace("{{ $labels.provider }}", "nous");
        for (program, shape) in [
            ("hermesctl", command()),
            ("hermes-proxyd", crate::daemon::args::command()),
        ] {
            for one in named(program, &text) {
                match look(&shape, &one) {
                    Ok(None) => {}
                    Ok(Some(command)) => {
                        count += 1;
                        commands.insert(command);
                    }
                    Err(complaint) => {
                        let complaint = complaint.lines().next().unwrap_or_default().to_owned();
                        let line = one.line;
                        wrong.push(format!("{}: {program} {line}: {complaint}", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 200, "{count}");

    commands.remove("");
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli/commands.txt");
    let text = commands.into_iter().map(|command| command + "\n");
    let text: String = text.collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&list, &text).unwrap();
    }
    let known = std::fs::read_to_string(&list).unwrap_or_default();
    assert_eq!(known, text, "UPDATE_GOLDEN=1 takes it over");
}

#[test]
fn every_unit_that_is_named_anywhere_is_ours() {
    let mut count = 0;
    for (path, text) in texts() {
        for one in named("systemctl --user", &text) {
            let words = one.line.split_whitespace();
            let mut words = words.filter(|word| !word.starts_with('-'));
            let _verb = words.next();
            count += usize::from(words.next().is_some_and(|unit| is_ours(unit, &path)));
        }
        for one in named("journalctl", &text) {
            let line = one.line.replace("--unit=", "--unit ");
            let mut words = line.split_whitespace();
            let _flag = words.find(|word| matches!(*word, "-u" | "--unit"));
            count += usize::from(words.next().is_some_and(|unit| is_ours(unit, &path)));
        }
    }
    assert!(count >= 10, "{count}");
}

fn is_ours(unit: &str, path: &Path) -> bool {
    let ours = ["", ".service", ".socket"].map(|end| format!("hermes-proxyd{end}"));
    assert!(
        ours.contains(&unit.to_owned()),
        "{}: {unit}",
        path.display()
    );
    true
}

#[test]
fn a_command_that_is_none_is_found_wherever_it_stands() {
    let shape = command();
    for text in [
        "Run `hermesctl proxy stauts`.",
        "Run `hermesctl statsu`.",
        "`hermesctl logs --fil x`",
        "\"mend it: hermesctl statsu\"",
        ".run(\"hermesctl statsu\")",
        "Use hermesctl proxy stauts, please",
        "Use hermesctl logs --fil x",
        "`hermesctl clients add {name} --limit 3`",
    ] {
        let found = named("hermesctl", text);
        assert_eq!(found.len(), 1, "{text}");
        assert!(look(&shape, &found[0]).is_err(), "{text}");
    }
    for (text, is_command) in [
        ("`hermesctl auth login {}{} --force`", true),
        ("`hermesctl auth login{} --force`", true),
        ("`hermesctl clients`", true),
        ("Use hermesctl config path to see it", true),
        ("`hermesctl completions bash > FILE`", true),
        ("`hermesctl proxy test [PROVIDER] [--key FILE]`", true),
        ("hermesctl and hermes-proxyd", false),
        ("`hermesctl 0.1.0`", false),
    ] {
        let found = named("hermesctl", text);
        let command = look(&shape, &found[0]).unwrap();
        assert_eq!(command.is_some(), is_command, "{text}");
    }
}
