//! The rules for the tests themselves: few programs, matching filters, and an isolated environment.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::structure::collect;

/// Each program of tests, and the modules that it has.
fn suites() -> BTreeMap<String, Vec<String>> {
    let mut suites = BTreeMap::new();
    for entry in std::fs::read_dir(support::root().join("tests")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(main) = std::fs::read_to_string(folder.join("main.rs")) else {
            continue;
        };
        let modules = main
            .lines()
            .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        suites.insert(name, modules.map(str::to_owned).collect());
    }
    suites
}

/// The names in a folder that end like this, without the end.
fn files_that_end(folder: &Path, end: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| Some(name.strip_suffix(end)?.to_owned()))
        .collect()
}

/// Each program is linked again after every change, so there are few. A module that no `main.rs` names is not run.
#[test]
fn the_tests_are_few_programs_and_each_file_is_in_one() {
    let tests = support::root().join("tests");
    let apart = files_that_end(&tests, ".rs");
    assert!(
        apart.is_empty(),
        "put {apart:?} into one of the folders with a main.rs"
    );
    let suites = suites();
    assert!((5..=10).contains(&suites.len()), "{:?}", suites.keys());
    for (suite, mut modules) in suites {
        let mut files = files_that_end(&tests.join(&suite), ".rs");
        files.retain(|file| file != "main");
        files.sort();
        modules.sort();
        assert_eq!(modules, files, "tests/{suite}/main.rs");
    }
}

/// The texts and scripts that may tell how a test is run, by their names.
pub(crate) fn texts() -> Vec<(String, String)> {
    let root = support::root();
    let mut texts = Vec::new();
    let mut open = [
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "README.md",
        "Cargo.toml",
        "justfile",
    ]
    .map(|name| root.join(name))
    .to_vec();
    let folders = [
        ".ci",
        "benches",
        "docs",
        "examples",
        "packaging",
        "src",
        "tests",
    ];
    open.extend(folders.map(|name| root.join(name)));
    open.extend(["README.md", "Cargo.toml", "src"].map(|name| root.join("fuzz").join(name)));
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else {
            let text = std::fs::read(&path).unwrap();
            texts.push((
                path.display().to_string(),
                String::from_utf8_lossy(&text).into_owned(),
            ));
        }
    }
    texts
}

/// The names after each of these words.
pub(crate) fn named<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    let rests = text.split(before).skip(1);
    rests.map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && !"_/.-:".contains(c))
            .next()
            .unwrap()
    })
}

#[test]
fn what_tells_how_a_test_is_run_names_one_that_is_there() {
    let suites = suites();
    let mut wrong = Vec::new();
    let mut found = 0;
    for (file, text) in texts() {
        for suite in named(&text, "--test ").filter(|name| !name.is_empty()) {
            found += 1;
            if !suites.contains_key(suite) {
                wrong.push(format!("{file}: --test {suite}"));
            }
        }
        let inside = |name: &&str| Path::new(name).extension().is_some_and(|end| end == "rs");
        for name in named(&text, "tests/").filter(inside) {
            found += 1;
            let root = support::root();
            if ![
                "tests",
                "tests/mock-cloud/tests",
                "fuzz/tests",
                "src/translate/tests",
            ]
            .iter()
            .any(|folder| root.join(folder).join(name).is_file())
            {
                wrong.push(format!("{file}: tests/{name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 20, "{found}");
}

/// Under `HERMES_TEST_STRICT` a missing program fails its test, so what installs the programs has to know it.
#[test]
fn each_program_that_a_test_looks_for_is_installed_before_the_tests() {
    let script = std::fs::read_to_string(support::root().join(".ci/run")).unwrap();
    let known = script.split_once("tools=(").unwrap().1;
    let known = known.split_once(')').unwrap().0;
    let known: Vec<_> = known.split_whitespace().collect();
    let (mut found, mut missing) = (0, BTreeSet::new());
    for text in tests().values() {
        for call in ["has(\"", "works(\""] {
            for rest in text.split(call).skip(1) {
                let name = rest.split('"').next().unwrap();
                // These calls are named here, too.
                let is_name = name.chars().all(char::is_alphanumeric);
                // What `tests/clients/setup` installs is looked for by the same word.
                let is_client = ["node", "python"].contains(&name);
                if is_name && !name.is_empty() && !is_client {
                    found += 1;
                    if !known.contains(&name) {
                        missing.insert(name.to_owned());
                    }
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in .ci/run: {missing:?}");
    assert!(found > 8, "{found}");
}

/// What `.ci/run` runs once more as root: parts of tests' names, and modules.
fn run_as_root() -> Vec<String> {
    let script = std::fs::read_to_string(support::root().join(".ci/run")).unwrap();
    let filters = script.split_once("as_root=(").unwrap().1;
    let filters = filters.split_once(')').unwrap().0.split_whitespace();
    filters.map(str::to_owned).collect()
}

/// A filter that fits no test runs none, and libtest calls that a success.
#[test]
fn what_root_runs_again_is_there() {
    let filters = run_as_root();
    let (suites, tests) = (suites(), tests());
    let fits = |filter: &&String| match filter.strip_suffix("::") {
        Some(module) => suites.values().flatten().any(|name| name == module),
        None => tests
            .values()
            .any(|text| text.contains(&format!("fn {filter}"))),
    };
    let wrong: Vec<_> = filters.iter().filter(|filter| !fits(filter)).collect();
    assert!(wrong.is_empty() && filters.len() > 10, "{wrong:?}");
}

/// The other way round: an ordinary user skips these, so that without root nothing would ever run them.
#[test]
fn what_needs_root_is_run_as_root() {
    let filters = run_as_root();
    let needs_root = ["geteuid().is_root() {\n        skip", "ped("].concat();
    let (mut found, mut missing) = (0, Vec::new());
    for (file, text) in tests() {
        let module = file.replace('/', "::").replace(".rs", "::");
        let text = text.replace("support::environment::", "");
        for test in text.split("\n#[tokio::test").skip(1) {
            let name = test.split_once("fn ").unwrap().1;
            let name = module.clone() + name.split('(').next().unwrap();
            if test.contains(&needs_root) {
                found += 1;
                if !filters.iter().any(|filter| name.contains(filter)) {
                    missing.push(name);
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in .ci/run: {missing:#?}");
    assert!(found > 10, "{found}");
}

/// All of the tests, and each one's name below `tests`.
pub(crate) fn tests() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = BTreeMap::new();
    collect(&root, &root, &mut files);
    files.retain(|name, _| {
        let is_rust = Path::new(name).extension().is_some_and(|end| end == "rs");
        is_rust && !name.starts_with("mock-cloud/")
    });
    files
}

#[test]
fn one_place_makes_the_environment_of_all_programs_and_tells_what_is_skipped() {
    // Not as one word, or this file would hold it.
    let words = [["Command", "::new("].concat(), ["\"skipped", ":"].concat()];
    let mut wrong = Vec::new();
    for (file, text) in tests() {
        for word in &words {
            if text.contains(word) && file != "support/src/environment.rs" {
                wrong.push(format!(
                    "tests/{file} holds {word}: use tests/support/src/environment.rs"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[cfg(unix)]
#[test]
#[ignore = "run by the next one"]
fn what_a_program_sees() {
    let home = tempfile::tempdir().unwrap();
    let line = "env; command -v hermes-proxyd; command -v another";
    let status = support::environment::program("sh", home.path())
        .args(["-c", line])
        .status();
    assert!(status.is_ok());
}

#[cfg(unix)]
#[test]
fn a_program_sees_neither_the_developers_home_nor_what_is_installed_there() {
    use std::os::unix::fs::PermissionsExt;

    let theirs = tempfile::tempdir().unwrap();
    let bin = theirs.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in ["hermes-proxyd", "another"] {
        std::fs::write(bin.join(name), "").unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bin.join(name), mode).unwrap();
    }
    let mut itself = support::environment::program(std::env::current_exe().unwrap(), theirs.path());
    for name in ["CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR"] {
        itself.env(format!("XDG_{name}"), theirs.path());
    }
    let mut path = vec![bin.clone()];
    path.extend(std::env::split_paths(support::environment::search_path()));
    let output = itself
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("HERMES_HOME", theirs.path())
        .env("HTTPS_PROXY", "http://proxy.test:3128")
        .arg("--exact")
        .arg(support::exact(module_path!(), "what_a_program_sees"))
        .args(["--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let made = said.lines().find_map(|line| line.strip_prefix("PATH="));
    let made = std::env::split_paths(made.unwrap()).next().unwrap();
    assert!(made.starts_with(env!("CARGO_TARGET_TMPDIR")), "{said}");
    std::fs::remove_dir_all(made).unwrap();
    assert!(said.contains("1 passed"), "{said}");
    assert!(
        said.contains("/another\n"),
        "the rest of PATH is lost: {said}"
    );
    assert!(!said.contains("/hermes-proxyd\n"), "{said}");
    assert!(!said.contains("proxy.test"), "{said}");
    assert!(!said.contains(theirs.path().to_str().unwrap()), "{said}");
}
