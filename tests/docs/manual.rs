//! The man pages and completions are complete, and their readers accept them.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::path::Path;

use mock_cloud::Options;
use serde_json::Value;
use support::environment::{has, tool};
use support::{World, ctl, fake_program, program, scratch};

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
        let output = tool("mandoc")
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

/// A path that is broken by a hyphen is another one when it is copied.
#[test]
fn paths_and_commands_are_whole_at_any_width() {
    let home = scratch();
    for file in written("man", home.path()) {
        let source = std::fs::read_to_string(&file).unwrap();
        // Text without a space in the page's source, which could be copied.
        let wanted: BTreeSet<_> = source
            .lines()
            .filter(|line| !line.starts_with('.'))
            .map(|line| {
                let line = line
                    .replace("\\fB", " ")
                    .replace("\\fR", " ")
                    .replace("\\-", "-");
                line.replace("\\&", "")
                    .replace("\\*(Aq", "'")
                    .replace("\\[aq]", "'")
            })
            .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .map(|word| {
                word.trim_matches(['.', ',', ';', ':', '(', ')', '"', '\''])
                    .to_owned()
            })
            .filter(|word| word.contains('/') && word.len() > 12 && !word.contains('\\'))
            .collect();
        assert!(wanted.len() >= 3, "{file}: {wanted:?}");
        for columns in ["60", "80"] {
            let width = format!("width={columns}");
            for (program_name, args) in [
                ("mandoc", ["-Tutf8", "-O", &width, &file].to_vec()),
                ("man", ["-l", &file].to_vec()),
            ] {
                if !has(program_name) {
                    continue;
                }
                let output = program(program_name, home.path())
                    .env("COLUMNS", columns)
                    .env("MANWIDTH", columns)
                    .env("MANPAGER", "cat")
                    .env("LC_ALL", "C.UTF-8")
                    .args(args)
                    .output()
                    .unwrap();
                let text = plain(&text_of(output));
                assert!(
                    !text.contains('\u{2010}'),
                    "{program_name}: {file}: hyphenated"
                );
                for word in &wanted {
                    assert!(
                        text.contains(word),
                        "{program_name} {columns}: no {word} in\n{text}"
                    );
                }
            }
        }
    }
}

/// Without what a printer of old made bold with, and without colours.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{8}' => {
                plain.pop();
            }
            '\u{1b}' => {
                letters.by_ref().find(|letter| *letter == 'm');
            }
            _ => plain.push(letter),
        }
    }
    plain
}

/// Has a shell complete a line, whose last word has been begun, with the scripts in `made/here`.
fn complete(shell: &str, line: &str, home: &Path) -> Vec<String> {
    let words: Vec<_> = line.split(' ').collect();
    let last = words.len() - 1;
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let (quoted, begun) = (quoted.join(" "), words[last]);
    let program_name = words[0];
    let script = match (shell, program_name) {
        ("bash", "hermesctl") => format!(
            "source made/here/bash/hermesctl && COMP_WORDS=({quoted}) COMP_CWORD={last} \
             COMP_TYPE=9 && _clap_complete_hermesctl hermesctl '{begun}' x && printf '%s\n' \
             \"${{COMPREPLY[@]}}\""
        ),
        ("bash", _) => format!(
            "source made/here/bash/hermes-proxyd && COMP_WORDS=({quoted}) COMP_CWORD={last} && \
             _hermes__proxyd hermes-proxyd '{begun}' x && printf '%s\n' \"${{COMPREPLY[@]}}\""
        ),
        // As the first Tab has it, which runs the file.
        ("zsh", "hermesctl") => format!(
            "autoload -U compinit && compinit -u -d ./dump && fpath=(made/here/zsh $fpath) && \
             _describe() {{ print -rl -- ${{(P)3}} }} && autoload -U _hermesctl && \
             words=({quoted}) CURRENT={} && _hermesctl",
            last + 1
        ),
        ("zsh", _) => "autoload -U compinit && compinit -u -d ./dump && \
                       source made/here/zsh/_hermes-proxyd && echo bridge"
            .to_owned(),
        _ => format!("source made/here/fish/{program_name}.fish; complete -C '{line}'"),
    };
    let programs = Path::new(env!("CARGO_BIN_EXE_hermesctl")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = program(shell, home)
        .current_dir(home)
        .env("PATH", format!("{}:{path}", programs.display()))
        .args(["-c", &script])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.is_empty(), "{shell}: {line}: {errors}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // After the word comes its meaning, if the shell shows that.
    let words = said.lines().filter(|word| !word.is_empty());
    let words = words.map(|word| word.split(['\t', ':']).next().unwrap().to_owned());
    words.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_completes_verbs_apps_providers_and_clients_and_files_where_they_belong() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    written("completions", home);
    std::fs::write(home.join("nous-file"), "").unwrap();
    let config = home.join(".config/hermes-proxyd/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    let ollama = "[providers.ollama]\ntype = \"static\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
                  api_key_env = \"X\"\n";
    std::fs::write(&config, ollama).unwrap();
    let always: &[(&str, &[&str])] = &[
        ("hermesctl clients re", &["revoke"]),
        ("hermesctl connect kara", &["karakeep"]),
        ("hermesctl connect nous", &[]),
        ("hermesctl logs --level wa", &["warn"]),
        ("hermesctl logs --request nous", &[]),
        ("hermesctl config check nous", &["nous-file"]),
        (
            "hermesctl connect karakeep --from docker-",
            &["docker-desktop"],
        ),
        ("hermesctl connect karakeep --model nous", &[]),
        ("hermesctl connect karakeep --config nous", &["nous-file"]),
        // Of the running daemon, else of the file.
        ("hermesctl auth login ol", &["ollama"]),
        ("hermesctl auth logout ", &["nous", "ollama"]),
        ("hermesctl auth refresh n", &["nous"]),
        ("hermesctl proxy test n", &["nous"]),
        ("hermesctl connect karakeep --provider n", &["nous"]),
        ("hermesctl clients add x --provider n", &["nous"]),
        ("hermesctl logs --provider n", &["nous"]),
        ("hermes-proxyd br", &["bridge"]),
    ];
    let keys: &[(&str, &[&str])] = &[
        ("hermesctl clients revoke ", &["karakeep", "open-webui"]),
        ("hermesctl clients rotate k", &["karakeep"]),
        ("hermesctl clients change k", &["karakeep"]),
        ("hermesctl logs --client op", &["open-webui"]),
        ("hermesctl clients add ", &[]),
    ];
    let none: &[(&str, &[&str])] = &[("hermesctl clients revoke ", &[])];
    let tried = |table: &[(&str, &[&str])]| {
        for shell in ["bash", "zsh", "fish"]
            .into_iter()
            .filter(|shell| has(shell))
        {
            for (line, words) in table {
                let mut completed = complete(shell, line, home);
                completed.retain(|word| !word.starts_with('-'));
                assert_eq!(completed, *words, "{shell}: {line}");
            }
        }
    };
    tried(always);
    tried(none);
    let _daemon = world.daemon();
    for name in ["karakeep", "open-webui"] {
        text_of(world.ctl(&["clients", "add", name]));
    }
    // It has read another file, and it is what counts.
    std::fs::write(&config, ollama).unwrap();
    tried(keys);
    tried(&[
        ("hermesctl auth logout ", &["nous"]),
        ("hermesctl logs --provider ol", &[]),
    ]);
}

#[test]
fn a_terminal_is_shown_the_page_and_not_its_source() {
    if !has("script") || !has("man") {
        return;
    }
    let home = scratch();
    let shown = |path: &str| {
        let line = format!("{} man", env!("CARGO_BIN_EXE_hermesctl"));
        let output = program("script", home.path())
            .env("PATH", path)
            .env("MANPAGER", "cat")
            .env("MANWIDTH", "80")
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .output()
            .unwrap();
        plain(&text_of(output))
    };
    let page = shown(&std::env::var("PATH").unwrap());
    assert!(page.contains("inspect and control hermes-proxyd"), "{page}");
    assert!(!page.contains(".SH "), "{page}");
    // Where man is missing or takes no page from us, there is the source at least.
    let bin = home.path().join("bin");
    for man in ["exit 1", "cat > /dev/null; exit 64"] {
        fake_program(&bin.join("man"), man);
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        assert!(shown(&path).contains(".SH SYNOPSIS"));
    }
}

#[test]
fn one_script_or_page_is_printed() {
    let home = scratch();
    for shell in ["bash", "zsh", "fish"] {
        let script = text_of(ctl(home.path(), &["completions", shell]));
        assert!(script.contains("HERMESCTL_COMPLETE"));
    }
    let output = ctl(home.path(), &["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
    let output = ctl(home.path(), &["man", "--dir", "/dev/null/x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--dir"));
}

/// The environment variables that the programs read, except those that only terminals and tests
/// set.
#[test]
fn the_environment_that_is_read_stands_in_a_page() {
    let home = scratch();
    let pages =
        ["hermesctl", "hermes-proxyd"].map(|page| text_of(ctl(home.path(), &["man", page])));
    let pages = pages.concat();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = [
        "paths.rs",
        "daemon/providers.rs",
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
    assert!(checked >= 8, "{checked}");
}
