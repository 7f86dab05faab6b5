//! docs/json.md is true: each field that hermesctl prints as JSON has a row, and each row that is
//! not marked as optional is printed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use support::environment::tool;

/// Objects whose fields the page has in the row itself, or another page has.
const ELSEWHERE: &[&str] = &["fields", "daemon.command_line", "daemon.proxies", "errors"];

/// A row's field, with the section that has its fields, if there is one.
#[derive(Debug)]
struct Field {
    may_be_missing: bool,
    shape: Option<String>,
}

/// The fields of a section, by their paths; the empty path leads to a section that has all.
type Section = BTreeMap<String, Field>;

fn sections() -> BTreeMap<String, Section> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let page = std::fs::read_to_string(page).unwrap();
    let sections = page.split("\n## ").skip(1).map(|section| {
        let (heading, text) = section.split_once('\n').unwrap();
        let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
        let fields = rows.flat_map(|row| {
            let (_, row) = row.split_once('|').unwrap();
            let (names, what) = row.split_once('|').unwrap();
            let shape = what.split_once("](#").map(|(_, link)| {
                let anchor = link.split(')').next().unwrap();
                anchor.replace('-', " ")
            });
            let may_be_missing = names.contains('?');
            let names = names.trim().trim_end_matches('?').split(", ");
            let names = names.map(|name| name.trim().trim_matches('`').to_owned());
            let fields = names.map(move |name| {
                let shape = shape.clone();
                (
                    name,
                    Field {
                        may_be_missing,
                        shape,
                    },
                )
            });
            fields.collect::<Vec<_>>()
        });
        (heading.to_owned(), fields.collect())
    });
    sections.collect()
}

struct Page {
    sections: BTreeMap<String, Section>,
    wrong: Vec<String>,
}

impl Page {
    fn section(&self, name: &str) -> &Section {
        let found = self.sections.get(name);
        found.unwrap_or_else(|| panic!("docs/json.md has no section on {name}"))
    }

    /// An object at a path of a section.
    fn check(&mut self, what: &str, value: &Value, section: &str, path: &str) {
        if let Value::Array(items) = value {
            for item in items {
                self.check(what, item, section, path);
            }
            return;
        }
        let Value::Object(object) = value else {
            return;
        };
        if let Some(whole) = self.section(section).get("") {
            let whole = whole.shape.clone().unwrap();
            return self.check(what, value, &whole, path);
        }
        for (key, value) in object {
            let path = [path, key].concat();
            let array = format!("{path}[]");
            let fields = self.section(section);
            let Some(field) = fields.get(&path).or(fields.get(&array)) else {
                let line = format!("{what}: {path} is not in docs/json.md");
                self.wrong.push(line);
                continue;
            };
            if ELSEWHERE.contains(&&*path) {
                continue;
            }
            let (next, path) = match (&field.shape, value) {
                (Some(shape), _) => (shape.clone(), String::new()),
                (None, Value::Array(_)) => (section.to_owned(), format!("{path}[].")),
                (None, _) => (section.to_owned(), format!("{path}.")),
            };
            self.check(what, value, &next, &path);
        }
        let here = self.section(section).iter().filter_map(|(name, field)| {
            let key = name.strip_prefix(path)?.trim_end_matches("[]");
            let is_one = !key.contains(['.', '[']) && !field.may_be_missing;
            (is_one && !object.contains_key(key)).then(|| format!("{what}: there is no {name}"))
        });
        let missing: Vec<_> = here.collect();
        self.wrong.extend(missing);
    }
}

#[test]
fn every_field_that_is_printed_is_documented_and_the_other_way_round() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli/shown");
    let sections = sections();
    let wrong = Vec::new();
    let mut page = Page { sections, wrong };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(name) = name.strip_suffix(".json") else {
            continue;
        };
        let whole = name.replace("__", " ").replace('_', " ");
        let command = name.split("__").next().unwrap().replace('_', " ");
        let text = std::fs::read_to_string(&path).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let section = match &*command {
            _ if value.get("error").is_some() => "an error",
            "man" => "completions",
            "clients rotate" => "clients add",
            "service install" | "service start" | "service stop" => "service restart",
            // A case of its own, or the command's.
            _ if page.sections.contains_key(&whole) => &whole,
            command => command,
        };
        page.check(name, &value, section, "");
        count += 1;
    }
    assert!(count >= 30, "{count}");
    assert!(page.wrong.is_empty(), "{}", page.wrong.join("\n"));
}

/// A command line that can't be parsed is reported to a program like any other error, wherever
/// `--json` is.
#[test]
fn a_wrong_command_line_is_an_error_in_json_too() {
    let table: [(&[&str], &str, &str); 9] = [
        (&["connect", "nope", "--json"], "'nope'", "'openai'"),
        (&["xyzzy", "--json"], "'xyzzy'", "Usage: hermesctl"),
        (&["--json", "lgoin"], "'lgoin'", "`hermesctl auth login`"),
        (&["completions", "nope", "--json"], "'nope'", "hermesctl"),
        (&["status", "--watch", "x", "--json"], "'x'", "--help"),
        (
            &["proxy", "start", "--port", "x", "--json"],
            "'x'",
            "--help",
        ),
        (
            &["clients", "add", "--json"],
            "<NAME>",
            "Usage: hermesctl clients add",
        ),
        (
            &["clients", "--json"],
            "requires a subcommand",
            "hermesctl clients",
        ),
        (&["--json"], "requires a subcommand", "hermesctl"),
    ];
    for (line, message, hint) in table {
        let output = tool(env!("CARGO_BIN_EXE_hermesctl"))
            .args(line)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{line:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let error = &told["error"];
        assert_eq!(error["code"], "usage", "{line:?}");
        for (part, wanted) in [("message", message), ("hint", hint)] {
            let text = error[part].as_str().unwrap();
            assert!(text.contains(wanted), "{line:?}: {part}: {text}");
        }
        assert_eq!(error.as_object().unwrap().len(), 3, "{line:?}");
    }
    for line in [
        &["nope"][..],
        &["auth", "login", "a", "b"],
        &["nope", "--", "--json"],
    ] {
        let output = tool(env!("CARGO_BIN_EXE_hermesctl"))
            .args(line)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{line:?}: {output:?}");
    }
}
