//! The house rules that a machine can keep: which module may use which, where a crate stays, and
//! which files are pure. `ARCHITECTURE.md` says why.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Module and what it may use of ours.
const MAY_USE: &[(&str, &[&str])] = &[
    ("backoff", &[]),
    ("clock", &[]),
    ("secret", &[]),
    ("paths", &[]),
    ("tools", &[]),
    ("files", &[]),
    ("config", &["files", "paths"]),
    ("control", &["files", "paths"]),
    ("provider", &["clock", "config", "files", "secret"]),
    (
        "credentials",
        &["backoff", "clock", "files", "paths", "provider", "secret"],
    ),
    ("clients", &["clock", "files", "secret"]),
    ("containers", &[]),
    ("hooks", &["config", "files", "provider"]),
    ("service", &["files", "paths", "tools"]),
    (
        "proxy",
        &[
            "clients",
            "clock",
            "config",
            "credentials",
            "files",
            "provider",
        ],
    ),
    (
        "daemon",
        &[
            "clients",
            "clock",
            "config",
            "control",
            "credentials",
            "files",
            "hooks",
            "paths",
            "provider",
            "proxy",
            "secret",
        ],
    ),
    ("manual", &["config", "daemon"]),
    (
        "doctor",
        &[
            "clock",
            "config",
            "containers",
            "control",
            "credentials",
            "files",
            "paths",
            "provider",
            "service",
            "tools",
        ],
    ),
    (
        "cli",
        &[
            "config",
            "containers",
            "control",
            "doctor",
            "files",
            "manual",
            "paths",
            "service",
            "tools",
        ],
    ),
];

/// A crate, and the only files and folders that may name it.
const STAYS: &[(&str, &[&str])] = &[
    (
        "tokio::process",
        &["cli/connection.rs", "hooks/command.rs", "tools.rs"],
    ),
    ("interprocess", &["control/endpoint.rs"]),
    ("winsafe", &["control/endpoint.rs"]),
    ("listenfd", &["daemon/service_manager.rs"]),
    ("service_binding", &["daemon/service_manager.rs"]),
    (
        "if_addrs",
        &["containers/networks.rs", "proxy/interface.rs"],
    ),
    ("netlink_packet", &["proxy/peer.rs"]),
    (
        "rustix::net",
        &["proxy/bind.rs", "proxy/peer.rs", "proxy/socket.rs"],
    ),
    (
        "reqwest",
        &[
            "hooks/webhook.rs",
            "provider/probe.rs",
            "provider/proxies.rs",
            "provider/registry.rs",
            "provider/token_client.rs",
        ],
    ),
    ("sd_notify", &["daemon/service_manager.rs"]),
    ("signal_hook", &["daemon/signals.rs"]),
    (
        "tracing_subscriber",
        &[
            "daemon/journal.rs",
            "daemon/log_queue.rs",
            "daemon/logging.rs",
        ],
    ),
    ("roff", &["manual/page.rs"]),
    (
        "clap",
        &[
            "cli/args/",
            "cli/render/shown.rs",
            "daemon/args.rs",
            "manual/",
        ],
    ),
    (
        "console::",
        &[
            "cli/auth/terminal.rs",
            "cli/auth/waiting.rs",
            "cli/screen.rs",
        ],
    ),
    ("open::that", &["cli/auth/browser.rs"]),
    ("qrcode", &["cli/auth/qr.rs"]),
    (
        "listeners::",
        &["daemon/port_holder.rs", "doctor/system.rs"],
    ),
    (
        "memchr",
        &[
            "proxy/choices.rs",
            "proxy/error_events.rs",
            "proxy/framing.rs",
            "proxy/sse.rs",
        ],
    ),
    ("tempfile", &["files/mod.rs"]),
    ("getrandom", &["clients/key.rs"]),
    ("subtle::", &["clients/key.rs"]),
    ("tokio_rustls", &["proxy/egress.rs"]),
    ("h2::", &["proxy/pool/", "proxy/upstream.rs"]),
    (
        "rustls::",
        &[
            "provider/probe.rs",
            "provider/registry.rs",
            "provider/tls.rs",
            "provider/token_client.rs",
            "proxy/egress.rs",
            "proxy/upstream.rs",
        ],
    ),
];

/// Files that do no I/O and wait for nothing.
const PURE: &[&str] = &[
    "cli/args/meant.rs",
    "cli/auth/code_screen.rs",
    "cli/auth/letters.rs",
    "cli/auth/qr.rs",
    "cli/logs/entry.rs",
    "cli/logs/since.rs",
    "cli/probe/reading.rs",
    "cli/bugreport/redact.rs",
    "cli/bugreport/shape.rs",
    "cli/render/page.rs",
    "cli/connect/apps.rs",
    "cli/connect/fill.rs",
    "cli/connect/place.rs",
    "cli/connect/way.rs",
    "cli/render/doctor.rs",
    "clients/document.rs",
    "clients/import.rs",
    "config/diff.rs",
    "config/environment.rs",
    "config/file.rs",
    "config/listen.rs",
    "config/own.rs",
    "config/reader.rs",
    "config/reference.rs",
    "config/report.rs",
    "config/schema.rs",
    "config/shape.rs",
    "config/values.rs",
    "config/written.rs",
    "cli/home/verdict.rs",
    "containers/ways.rs",
    "control/human.rs",
    "control/judge.rs",
    "control/protocol.rs",
    "credentials/grant.rs",
    "credentials/notice.rs",
    "credentials/schedule.rs",
    "daemon/answer_end.rs",
    "doctor/finding.rs",
    "hooks/notice.rs",
    "manual/completions.rs",
    "manual/line.rs",
    "manual/markdown.rs",
    "manual/page.rs",
    "manual/pages.rs",
    "provider/jwt.rs",
    "provider/layout.rs",
    "provider/nous/layout.rs",
    "provider/xai/layout.rs",
    "provider/xai/refusal.rs",
    "service/carried.rs",
    "service/launchd/agent.rs",
    "service/systemd/unit.rs",
    "service/task/definition.rs",
    "proxy/framing.rs",
    "proxy/framing/violation.rs",
    "proxy/choices.rs",
    "proxy/ending.rs",
    "proxy/error_events.rs",
    "proxy/events.rs",
    "proxy/guard.rs",
    "proxy/headers.rs",
    "proxy/route.rs",
    "proxy/sse.rs",
];

/// Where what is wrong is shown, and not judged: `control/judge` does that.
const SURFACES: &[&str] = &["cli/", "daemon/status_line.rs", "doctor/", "proxy/local.rs"];

/// What a judgement is made of.
const JUDGED: &[&str] = &[
    "ProviderState::",
    "StandingKind::",
    ".client_keys",
    ".client_keys_fault",
    ".clock_ahead",
    ".ends_soon",
    ".failing",
    ".may_be_spent",
    ".refused_apps",
    ".standing",
    ".unreadable",
    ".unsaved",
    "needs_restart",
];

/// What a surface shows of it as it is.
const SHOWN: &[(&str, &[&str])] = &[
    ("cli/bugreport/collect.rs", &[".refused_apps"]),
    ("cli/render/samples.rs", &["ProviderState::"]),
    // The row below the verdict.
    ("cli/render/home.rs", &[".failing"]),
    // The state's name; what a reload did.
    ("cli/render.rs", &["ProviderState::", "needs_restart"]),
    // The fields of `/health`.
    (
        "proxy/local.rs",
        &[".ends_soon", ".may_be_spent", ".standing", ".unsaved"],
    ),
    // The file's login, where no daemon runs.
    ("doctor/login.rs", &[".ends_soon"]),
    // What the daemon has read of its file, against the file.
    ("doctor/pending.rs", &["needs_restart"]),
];

/// The files that may look at a secret's text.
const MAY_EXPOSE: &[&str] = &[
    "cli/clients.rs",
    "cli/wire.rs",
    "cli/proxy/test.rs",
    "cli/connect/mod.rs",
    "clients/import.rs",
    "clients/key.rs",
    "control/protocol.rs",
    "daemon/clients.rs",
    "doctor/ports.rs",
    "provider/layout.rs",
    "provider/nous.rs",
    "provider/nous/device.rs",
    "provider/nous/layout.rs",
    "provider/xai.rs",
    "provider/xai/layout.rs",
    "secret.rs",
];

fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    collect(&root, &root, &mut files);
    assert!(files.len() > 40);
    files
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if !path.ends_with("tests.rs") {
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            files.insert(name, code(&std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Without comments and without the tests at a file's end.
fn code(text: &str) -> String {
    let mut code = text;
    for start in ["#[cfg(test)]\n", "#[cfg(all(test, unix))]\n"] {
        let tests = format!("{start}mod tests {{");
        code = code.split(&tests).next().unwrap_or_default();
    }
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn module(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn modules_use_each_other_only_in_the_agreed_direction() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if file == "lib.rs" || file.starts_with("bin/") {
            continue;
        }
        let own = module(&file);
        for used in text.split("crate::").skip(1) {
            let used: String = used
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            if !used.is_empty() && used != own && !allowed[own].contains(&used.as_str()) {
                wrong.push(format!("{file} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_stands_in_the_table_and_in_the_map() {
    let modules: BTreeSet<_> = sources()
        .into_keys()
        .map(|file| module(&file).to_owned())
        .collect();
    let table: BTreeSet<_> = MAY_USE
        .iter()
        .map(|(module, _)| (*module).to_owned())
        .collect();
    let others = BTreeSet::from(["bin".to_owned(), "lib".to_owned()]);
    assert_eq!(modules, table.union(&others).cloned().collect());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    for (module, _) in MAY_USE {
        assert!(
            map.contains(&format!("`{module}`")),
            "ARCHITECTURE.md does not name `{module}`"
        );
    }
}

#[test]
fn a_crate_stays_in_its_place() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        for (name, places) in STAYS {
            let is_place =
                |place: &&str| file == *place || place.ends_with('/') && file.starts_with(*place);
            if text.contains(name) && !places.iter().any(is_place) {
                wrong.push(format!("{file} names {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_files_wait_for_nothing_and_touch_no_file() {
    let sources = sources();
    for file in PURE {
        let text = &sources[*file];
        for word in [
            "async fn",
            ".await",
            "std::fs",
            "tokio::",
            "std::net::Tcp",
            "Utc::now",
        ] {
            assert!(!text.contains(word), "{file} is pure, but holds {word}");
        }
    }
}

#[test]
fn what_is_wrong_is_judged_in_one_place() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if !SURFACES.iter().any(|surface| file.starts_with(surface)) {
            continue;
        }
        let shown = SHOWN.iter().find(|(shows, _)| *shows == file);
        let shown = shown.map_or(&[][..], |(_, words)| words);
        for word in JUDGED.iter().filter(|word| !shown.contains(word)) {
            if text.contains(word) {
                wrong.push(format!("{file} judges by {word}: ask control/judge"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_secrets_text_is_looked_at_in_few_files() {
    for (file, text) in sources() {
        let exposes = text.contains("expose(") || text.contains("::expose");
        assert!(
            !exposes || MAY_EXPOSE.contains(&file.as_str()),
            "{file} exposes a secret"
        );
    }
}

/// Field names of logins and of token endpoints' answers.
const FIELDS: &[&str] = &[
    "access_token",
    "refresh_token",
    "obtained_at",
    "expires_at",
    "expires_in",
    "scope",
    "client_id",
    "token_type",
    "last_auth_error",
    "_schema",
    "ca_bundle",
    "agent_key",
];

#[test]
fn only_a_providers_layout_knows_the_fields_of_its_login() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if !["credentials", "daemon", "doctor"].contains(&module(&file)) {
            continue;
        }
        for field in FIELDS {
            if text.contains(&format!("\"{field}\"")) {
                wrong.push(format!("{file} names {field}: ask the login's layout"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Words of one provider, and the files that may say them beside its own.
const OF_ONE_PROVIDER: [&str; 10] = [
    "nous",
    "Nous",
    "portal",
    "Portal",
    "agent_key",
    "AgentKey",
    "xai",
    "Xai",
    "grok",
    "Grok",
];
const MAY_NAME_IT: &[&str] = &[
    // Its own, and the arm that leads there.
    "provider/mod.rs",
    "provider/nous.rs",
    "provider/nous/",
    "provider/xai.rs",
    "provider/xai/",
    "provider/registry.rs",
    // The kinds of providers with their keys in the file, and the default name.
    "config/",
    "cli/config/show.rs",
    // What variables of the environment mean.
    "manual/pages.rs",
    // What looks like a secret, and what does not.
    "cli/bugreport/redact.rs",
    // Samples, for tests alone.
    "cli/render/doctor.rs",
    "cli/render/samples.rs",
    "cli/render/shown.rs",
];

#[test]
fn one_providers_words_stay_with_its_adapter() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let may = |place: &&str| file == *place || place.ends_with('/') && file.starts_with(*place);
        if MAY_NAME_IT.iter().any(may) {
            continue;
        }
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words {
            let parts = word.split('_');
            let says = |of_one: &&str| word == *of_one || parts.clone().any(|part| part == *of_one);
            if OF_ONE_PROVIDER.iter().any(says) {
                wrong.push(format!("{file} says {word}"));
            }
        }
        let text = text.to_lowercase();
        if text.contains("agent key") || text.contains("invoke jwt") {
            wrong.push(format!("{file} says what its bearers are called"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_dependency_has_its_line_on_why() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut inside = false;
    let mut checked = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]") && !line.contains("workspace");
            continue;
        }
        if let Some((name, _)) = line.split_once(" = ").filter(|_| inside) {
            assert!(
                text.contains(&format!("| `{name}`")),
                "no line on {name} in ARCHITECTURE.md"
            );
            checked += 1;
        }
    }
    assert!(checked > 25);
}

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
fn texts() -> Vec<(String, String)> {
    let root = support::root();
    let mut texts = Vec::new();
    let mut open = ["ARCHITECTURE.md", "README.md", "Cargo.toml", "justfile"]
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

/// What stands behind each of these words, up to what can't be in a name.
fn named<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
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
            if !["tests", "tests/mock-cloud/tests", "fuzz/tests"]
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

/// A filter that fits no test runs none, and libtest calls that a success.
#[test]
fn what_root_runs_again_is_there() {
    let script = std::fs::read_to_string(support::root().join(".ci/run")).unwrap();
    let filters = script.split_once("as_root=(").unwrap().1;
    let filters: Vec<_> = filters
        .split_once(')')
        .unwrap()
        .0
        .split_whitespace()
        .collect();
    let (suites, tests) = (suites(), tests());
    let fits = |filter: &&str| match filter.strip_suffix("::") {
        Some(module) => suites.values().flatten().any(|name| name == module),
        None => tests
            .values()
            .any(|text| text.contains(&format!("fn {filter}"))),
    };
    let wrong: Vec<_> = filters.iter().filter(|filter| !fits(filter)).collect();
    assert!(wrong.is_empty() && filters.len() > 10, "{wrong:?}");
}

/// All of the tests, and each one's name below `tests`.
fn tests() -> BTreeMap<String, String> {
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
];

/// Where such words are plain English.
const PLAIN: &[&str] = &[
    "stands for",
    "there is no",
    "there are no",
    "there was no",
    "is no longer",
    "are no longer",
    "was no longer",
];

/// The translated idioms of a text, each with the words around it.
fn translated(text: &str) -> Vec<String> {
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
        let idiom = TRANSLATED.iter().any(|idiom| {
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
    let mut texts: Vec<_> = ["README.md", "CHANGELOG.md", "config.example.toml"]
        .map(|name| root.join(name))
        .into();
    // What is installed, printed or written into a user's files.
    let folders = [
        "docs",
        "tests/golden",
        "src/cli/config",
        "src/cli/connect/snippets",
        "packaging/compose",
        "packaging/debian",
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
