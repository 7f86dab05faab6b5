//! The man pages and completions are whole, and the programs that read them take them.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{ctl, program, scratch};
use serde_json::Value;

fn written(noun: &str, home: &Path) -> Vec<String> {
    let folder = home.join("made/here");
    let output = ctl(home, &[noun, "--dir", folder.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let files = answer["files"].as_array().unwrap().iter();
    files
        .map(|file| file.as_str().unwrap().to_owned())
        .collect()
}

/// Whether the system has this program; else says that a test is skipped.
fn has(name: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .output()
        .unwrap();
    if !found.status.success() {
        eprintln!("skipped: {name} is not installed");
    }
    found.status.success()
}

fn text_of(output: std::process::Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All words that lead to a command, as the help lists them.
fn commands(home: &Path, before: &[&str], found: &mut Vec<String>) {
    let line: Vec<_> = before.iter().copied().chain(["--help"]).collect();
    let help = text_of(ctl(home, &line));
    let Some(list) = help.split("\nCommands:\n").nth(1) else {
        found.push(before.join(" "));
        return;
    };
    for line in list.lines().take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        if name != "help" && line.starts_with("  ") && !line.starts_with("   ") {
            let words: Vec<_> = before.iter().copied().chain([name]).collect();
            commands(home, &words, found);
        }
    }
}

#[test]
fn every_verb_stands_in_the_page_of_hermesctl() {
    let home = scratch();
    let page = text_of(ctl(home.path(), &["man"]));
    let mut verbs = Vec::new();
    commands(home.path(), &[], &mut verbs);
    assert!(verbs.len() >= 14, "{verbs:?}");
    for verb in verbs {
        let words = verb.split(' ').count();
        let heading = if words == 1 {
            format!(".SS {verb}\n")
        } else {
            format!(".SS \"{verb}\"\n")
        };
        assert!(page.contains(&heading), "{verb} has no place of its own");
    }
}

#[test]
fn every_page_has_what_people_look_for() {
    let home = scratch();
    let files = written("man", home.path());
    let names: Vec<_> = files
        .iter()
        .map(|file| file.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(
        names,
        ["hermesctl.1", "hermes-proxyd.1", "hermes-proxyd.toml.5"]
    );
    for (file, name) in files.iter().zip(names) {
        let page = std::fs::read_to_string(file).unwrap();
        for heading in ["NAME", "DESCRIPTION", "FILES", "ENVIRONMENT", "EXAMPLES"] {
            assert!(
                page.contains(&format!(".SH {heading}\n")),
                "{name}: {heading}"
            );
        }
        for heading in ["EXIT STATUS", "SEE ALSO"] {
            assert!(
                page.contains(&format!(".SH \"{heading}\"\n")),
                "{name}: {heading}"
            );
        }
        let (name, _) = name.rsplit_once('.').unwrap();
        assert_eq!(page, text_of(ctl(home.path(), &["man", name])));
    }
}

#[test]
fn mandoc_has_nothing_to_say() {
    if !has("mandoc") {
        return;
    }
    let home = scratch();
    for file in written("man", home.path()) {
        let output = Command::new("mandoc")
            .args(["-Tlint", "-Wwarning", &file])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // The same source makes the same page, whatever the day.
        let said: Vec<_> = said
            .lines()
            .filter(|line| !line.contains("missing date"))
            .collect();
        assert!(said.is_empty(), "{said:#?}");
    }
}

#[test]
fn a_shell_loads_the_completions_and_knows_the_verbs() {
    let home = scratch();
    written("completions", home.path());
    let folder = home.path().join("made/here");
    let bash = "source bash/hermesctl && source bash/hermes-proxyd && \
                COMP_WORDS=(hermesctl clients re) COMP_CWORD=2 && \
                _hermesctl hermesctl re clients && echo \"${COMPREPLY[@]}\"";
    let zsh = "autoload -U compinit && compinit -u -d ./dump && source ./_hermesctl && \
               source ./_hermes-proxyd && _describe() { shift 3; print -l ${(P)1} } && \
               _hermesctl__subcmd__clients_commands";
    let zsh = &format!("cd zsh && fpath=(. $fpath) && {zsh}");
    let fish = "source fish/hermesctl.fish; source fish/hermes-proxyd.fish; \
                complete -C 'hermesctl clients re'";
    for (shell, script) in [("bash", bash), ("zsh", zsh.as_str()), ("fish", fish)] {
        if !has(shell) {
            continue;
        }
        let output = program(shell, home.path())
            .current_dir(&folder)
            .args(["-c", script])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = text_of(output);
        assert!(said.contains("revoke"), "{shell}: {said}{errors}");
        assert!(errors.is_empty(), "{shell}: {errors}");
    }
}

#[test]
fn one_script_or_page_is_printed() {
    let home = scratch();
    for shell in ["bash", "zsh", "fish"] {
        let script = text_of(ctl(home.path(), &["completions", shell]));
        assert!(script.contains("hermesctl") && script.contains("rotate"));
    }
    let output = ctl(home.path(), &["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
    let output = ctl(home.path(), &["man", "--dir", "/dev/null/x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--dir"));
}

/// What the programs ask the environment for, but for what only terminals and tests set.
#[test]
fn the_environment_that_is_read_stands_in_a_page() {
    let home = scratch();
    let pages =
        ["hermesctl", "hermes-proxyd"].map(|page| text_of(ctl(home.path(), &["man", page])));
    let pages = pages.concat();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = [
        "paths.rs",
        "daemon/fleet.rs",
        "provider/nous.rs",
        "daemon/logging.rs",
    ];
    let mut checked = 0;
    for file in files {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or(&text);
        let code = code.split("#[cfg(all(test").next().unwrap();
        for literal in code.split('"').skip(1).step_by(2) {
            let variable = literal.contains('_')
                && literal.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
                && literal != "MESSAGE_ID";
            if variable {
                assert!(pages.contains(literal), "no page names {literal}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 9, "{checked}");
}
