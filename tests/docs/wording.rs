//! Texts and comments are plain English, without idioms translated from another language.

use std::path::Path;

use crate::structure::sources;

/// Words that translate another language's idiom; `docs` and messages say it in plain English.
const TRANSLATED: &[&str] = &[
    "lies",
    "stands",
    "mend",
    "mends",
    "mended",
    "steer",
    "steers",
    "anew",
    "whoever",
    "nobody",
    "trying on",
    "stand in it",
    "everyone on the way",
    "decide about",
    "take away",
    "takes away",
    "gives a job up",
    "would pass for",
    "by itself as long as",
    "have it read",
    "is none",
    "are none",
    "was none",
    "leave away",
    "left away",
    "is no",
    "are no",
    "was no",
    "sees to it",
    "what is wanted",
];

/// Words that comments avoid, too: an idiom of another language, or a person where a program is meant.
const IN_COMMENTS: &[&str] = &[
    "somebody",
    "anybody",
    "everybody",
    "but for",
    "all the same",
    "who is",
    "who are",
];

/// Where such words are plain English.
const PLAIN: &[&str] = &[
    "stands for",
    "there is no",
    "there are no",
    "there was no",
    "there is none",
    "there are none",
    "there was none",
    "is no longer",
    "are no longer",
    "was no longer",
];

/// The translated idioms of a text, each with the words around it.
fn translated(text: &str) -> Vec<String> {
    idioms(text, TRANSLATED)
}

/// The comments of a source, each run of lines in one, without their code.
fn comments(code: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in code.lines() {
        let line = line.trim_start();
        let text = line.trim_start_matches('/').trim_start_matches('!');
        match found.last_mut() {
            Some(last) if line.starts_with("//") => {
                last.push(' ');
                last.push_str(text);
            }
            _ => found.push(String::new()),
        }
    }
    let plain = found.iter().filter(|text| !text.is_empty());
    let plain = plain.map(|text| text.split('`').step_by(2).collect::<Vec<_>>().join(" x "));
    plain.collect()
}

fn idioms(text: &str, list: &[&str]) -> Vec<String> {
    let text = text.to_lowercase();
    let words: Vec<_> = text
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .collect();
    let around = |from: usize, to: usize| {
        let words = words.get(from..to.min(words.len()));
        words
            .map(|words| format!(" {} ", words.join(" ")))
            .unwrap_or_default()
    };
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let near = around(at.saturating_sub(1), at + 3);
        let away = word.starts_with("leave") && around(at + 1, at + 4).contains(" away ");
        let idiom = list.iter().any(|idiom| {
            let length = idiom.split(' ').count();
            around(at, at + length) == format!(" {idiom} ")
        });
        let plain = PLAIN
            .iter()
            .any(|plain| near.contains(&format!(" {plain} ")));
        if away || (idiom && !plain) {
            found.push(around(at.saturating_sub(4), at + 5));
        }
    }
    found
}

/// Without the colours of a golden file.
fn uncoloured(text: &str) -> String {
    let parts = text.split('␛').enumerate().map(|(number, part)| {
        let rest = part.split_once('m').filter(|_| number > 0);
        rest.map_or(part, |(_, rest)| rest)
    });
    parts.collect()
}

/// The string literals of more than one word.
fn literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let (before, from) = rest.split_at(at);
        rest = if let Some(comment) = from.strip_prefix("//") {
            comment.split_once('\n').map_or("", |(_, next)| next)
        } else if let Some(next) = from.strip_prefix("'\"'") {
            next
        } else if let Some(character) = from.strip_prefix("'\\") {
            behind_one(character)
        } else if let Some(inner) = from.strip_prefix('"') {
            let bare = before.trim_end_matches('#');
            let raw = bare.ends_with('r');
            let hashes = if raw { before.len() - bare.len() } else { 0 };
            let (text, next) = literal(inner, &format!("\"{}", "#".repeat(hashes)), raw);
            let text = text.replace("\\n", " ").replace("\\\"", " ");
            if text.trim().contains(' ') {
                found.push(text);
            }
            next
        } else {
            behind_one(from)
        };
    }
    found
}

/// A literal's text up to its end, and what comes after it.
fn literal<'a>(inner: &'a str, end: &str, raw: bool) -> (String, &'a str) {
    let (mut text, mut rest) = (String::new(), inner);
    loop {
        if let Some(next) = rest.strip_prefix(end) {
            return (text, next);
        }
        let mut chars = rest.chars();
        let Some(next) = chars.next() else {
            return (text, "");
        };
        text.push(next);
        if next == '\\' && !raw {
            text.extend(chars.next());
        }
        rest = chars.as_str();
    }
}

/// The text without its first character.
fn behind_one(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

#[test]
fn no_text_that_a_user_reads_is_a_translated_idiom() {
    assert_eq!(translated("Where it lies: x stands for y.").len(), 1);
    assert_eq!(translated("leave --socket away, or it is no port").len(), 2);
    assert!(translated("There is no key. It is no longer used; leave it.").is_empty());
    let code = "f('\"', \"a \\\"b\\\" c\"); // it \"is x\"\nr#\"d \"e\"\"#";
    assert_eq!(literals(code), ["a  b  c", "d \"e\""]);

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = [
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "README.md",
        "CHANGELOG.md",
        "config.example.toml",
    ];
    let mut texts: Vec<_> = pages.map(|name| root.join(name)).into();
    // What is installed, printed or written into a user's files.
    let folders = [
        "docs",
        "tests/golden",
        "src/cli/config",
        "src/cli/connect/snippets",
        "packaging/compose",
        "packaging/debian",
        "packaging/kubernetes",
        "packaging/templates",
        "systemd",
        "launchd",
    ];
    let mut folders = folders.map(|name| root.join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|end| end != "rs") {
                texts.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for path in texts {
        let text = std::fs::read(&path).unwrap();
        let text = uncoloured(&String::from_utf8_lossy(&text));
        let idioms = translated(&text);
        found.extend(
            idioms
                .iter()
                .map(|idiom| format!("{}:{idiom}", path.display())),
        );
    }
    for (name, code) in sources() {
        for text in literals(&code) {
            let idioms = translated(&text);
            found.extend(idioms.iter().map(|idiom| format!("src/{name}:{idiom}")));
        }
    }
    assert!(
        found.is_empty(),
        "say it in plain English:\n{}",
        found.join("\n")
    );
}

#[test]
fn no_comment_is_a_translated_idiom() {
    let code = "f(); // not this\n// Whoever\n/// reads `nobody`\nx();\n//! It is x.";
    assert_eq!(comments(code), ["  Whoever  reads  x ", "  It is x."]);

    let list = [TRANSLATED, IN_COMMENTS].concat();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut wrong, mut found) = (Vec::new(), 0);
    let mut open = vec![root.join("src"), root.join("tests")];
    while let Some(path) = open.pop() {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if path.is_dir() {
            let entries = std::fs::read_dir(path).unwrap();
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            for text in comments(&std::fs::read_to_string(path).unwrap()) {
                found += 1;
                let idioms = idioms(&text, &list);
                wrong.extend(idioms.iter().map(|idiom| format!("{name}:{idiom}")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "say it in plain English:\n{}",
        wrong.join("\n")
    );
    assert!(found > 5_000, "{found}");
}
