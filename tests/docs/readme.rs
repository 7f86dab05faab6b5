//! The documentation tells the truth: its commands run, its tables are complete.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::path::Path;

use hermes_proxy::hooks::{HookEvent, HookNotice};
use hermes_proxy::paths::Environment;
use hermes_proxy::proxy::error::ErrorKind;
use hermes_proxy::proxy::route::Local;
use mock_cloud::Options;
use serde_json::Value;
use support::{World, ctl, program, scratch};

const CONNECT: &str = "docs/connect-an-app.md";
const CONTAINERS: &str = "docs/containers.md";
const HTTP: &str = "docs/http.md";
const LOGS: &str = "docs/logs-and-hooks.md";
const PROVIDERS: &str = "docs/providers.md";
const TROUBLES: &str = "docs/troubleshooting.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// The pages that lead to all others.
const ENTRIES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

/// The entries and all of docs/, by their paths.
fn pages() -> Vec<String> {
    let docs = walk(&root().join("docs")).into_iter();
    let docs = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let docs = docs.map(|path| path.strip_prefix(root()).unwrap().display().to_string());
    let mut pages: Vec<_> = docs.collect();
    pages.extend(ENTRIES.map(str::to_owned));
    pages.sort_unstable();
    assert!(pages.len() >= 10, "{pages:?}");
    pages
}

/// The code blocks of a page behind a fence with these words.
fn blocks(page: &str, fence: &str) -> Vec<String> {
    let start = format!("```{fence}\n");
    file(page)
        .split(&start)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The text under a heading of a page.
fn section(page: &str, heading: &str) -> String {
    let text = file(page);
    let section = text.split(&format!("## {heading}\n")).nth(1);
    let section = section.expect("the heading").split("\n## ").next();
    section.unwrap().to_owned()
}

/// The rows of the table under a heading, cell by cell.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let section = section(page, heading);
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        row.trim_matches('|')
            .split(" | ")
            .map(|c| c.trim().to_owned())
            .collect()
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_curl_commands_work_as_they_stand() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let commands = blocks(CONNECT, "sh curl").concat();
    let commands: Vec<_> = commands.lines().collect();
    assert!(commands.len() >= 5);
    for command in commands {
        let command = command.replace("127.0.0.1:8645", daemon.address());
        let output = program("sh", world.home.path())
            .args(["-c", &format!("{command} --silent --show-error --fail")])
            .output()
            .unwrap();
        let body = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if command.contains("\"stream\": true") {
            assert!(
                body.starts_with("data: {") && body.ends_with("data: [DONE]\n\n"),
                "{body}"
            );
        } else {
            serde_json::from_str::<Value>(&body).expect("a JSON answer");
        }
    }
}

/// One after another in a home of their own, without a daemon.
#[test]
fn the_commands_on_keys_work_as_they_stand() {
    let home = scratch();
    let hermes = home.path().join(".hermes");
    std::fs::create_dir(&hermes).unwrap();
    let tokens = hermes.join("proxy-clients.json");
    std::fs::write(&tokens, r#"{"agent-a": "a-token-of-agent-a"}"#).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&tokens, private).unwrap();
    let commands = blocks(CONNECT, "sh keys").concat();
    assert!(commands.lines().count() >= 6);
    for command in commands.lines() {
        let ours = command.replacen("hermesctl", env!("CARGO_BIN_EXE_hermesctl"), 1);
        let output = program("sh", home.path())
            .args(["-c", &ours])
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }
    let output = ctl(home.path(), &["clients", "list", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = list["clients"].as_array().unwrap().iter();
    let names: Vec<_> = names
        .map(|client| client["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["agent-a", "batch-jobs", "karakeep"]);
    let file = home.path().join(".local/state/hermes-proxyd/clients.json");
    assert!(file.exists());
}

/// The address in Cargo.toml is a placeholder: packages take it from there, and nothing that a user reads or
/// runs leads to it.
#[test]
fn nobody_is_sent_to_an_address_that_does_not_exist() {
    let host = env!("CARGO_PKG_HOMEPAGE").trim_start_matches("https://");
    assert!(host.ends_with(".example"), "then the pages may link it");
    let folders = ["docs", "src", "packaging", "systemd", "launchd", "windows"];
    let files = folders.iter().flat_map(|folder| walk(&root().join(folder)));
    let more = ["README.md", "config.example.toml", "CHANGELOG.md"];
    let more = more.iter().map(|name| root().join(name));
    for path in files.chain(more) {
        let text = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains(host), "{} names {host}", path.display());
    }
    let how = section("docs/install.md", "Publishing a release");
    assert!(how.contains("`homepage` in `Cargo.toml` is a placeholder"));
    // What takes the address from there says that it may be one.
    for recipe in ["hermes-proxyd.rb", "PKGBUILD"] {
        let text = file(&format!("packaging/templates/{recipe}"));
        let first = text.lines().next().unwrap();
        assert!(first.contains("is a placeholder"), "{recipe}: {first}");
    }
    for recipe in ["package:", "package-one"] {
        let name = recipe.trim_end_matches(':');
        assert!(file("justfile").contains(&format!("\n{name} ")), "{name}");
    }
}

/// install.sh as packaging/texts.sh fills it in: it installs what is beside it, and downloads from no placeholder.
#[cfg(target_os = "linux")]
#[test]
fn the_installer_takes_the_archive_beside_it_and_asks_no_placeholder() {
    let home = scratch();
    let folder = home.path().join("packages");
    std::fs::create_dir(&folder).unwrap();
    let script = file("packaging/templates/install.sh")
        .replace("@URL@", env!("CARGO_PKG_HOMEPAGE"))
        .replace("@VERSION@", "0.0.1");
    std::fs::write(folder.join("install.sh"), &script).unwrap();
    // These replace the real ones, so nothing is downloaded.
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in ["curl", "wget"] {
        support::fake_program(&bin.join(name), "echo \"asked for $*\" >&2; exit 9\n");
    }
    let path = std::env::join_paths(
        [bin]
            .into_iter()
            .chain(std::env::split_paths(support::environment::search_path())),
    );
    let path = path.unwrap();
    let run = || {
        let mut command = program("sh", home.path());
        command.arg(folder.join("install.sh")).env("PATH", &path);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (installed, said) = run();
    assert!(!installed && !said.contains("asked for"), "{said}");
    assert!(said.contains("has no release address"), "{said}");
    assert!(said.contains("HERMES_PROXYD_URL"), "{said}");

    let machine = std::env::consts::ARCH;
    let name = format!("hermes-proxyd-0.0.1-{machine}-linux");
    let programs = folder.join(&name).join("bin");
    std::fs::create_dir_all(&programs).unwrap();
    support::fake_program(&programs.join("hermesctl"), "echo hermesctl 0.0.1\n");
    let pack = format!("tar -czf {name}.tar.gz {name} && sha256sum *.tar.gz >SHA256SUMS");
    let packed = program("sh", home.path())
        .args(["-c", &pack])
        .current_dir(&folder)
        .status();
    assert!(packed.unwrap().success());
    let (installed, said) = run();
    assert!(installed && !said.contains("asked for"), "{said}");
    assert!(said.contains("hermesctl 0.0.1"), "{said}");
    assert!(home.path().join(".local/bin/hermesctl").exists());

    std::fs::write(folder.join("SHA256SUMS"), format!("0  {name}.tar.gz\n")).unwrap();
    let (installed, said) = run();
    assert!(
        !installed && said.contains("Nothing was installed"),
        "{said}"
    );
}

#[test]
fn the_two_commands_stand_in_the_checks() {
    let commands = blocks("README.md", "sh");
    let ci = file(".ci/run");
    // Each with its time, before a reader wonders.
    let readme = file("README.md");
    let mut before = readme.split("```sh\n").map(|text| {
        let paragraph = text.trim_end().rsplit("\n\n").next().unwrap();
        paragraph.replace('\n', " ")
    });
    let times = [
        "on two cores, the first build takes two to three minutes",
        "10 to 15 minutes on two cores",
    ];
    for time in times {
        assert!(before.next().unwrap().contains(time), "{time}");
    }
    assert_eq!(commands[0], "cargo run --example demo\n");
    assert!(ci.contains("cargo run --example demo -- --once"));
    // Through the function that runs it as an ordinary user.
    assert_eq!(commands[1], "cargo test --workspace\n");
    assert!(ci.contains("cargo test \"$@\"") && ci.contains("test_as_user --workspace\n"));
}

/// A package's profile would take minutes more, and other versions than were tested would be built without the lock file.
#[test]
fn what_is_built_from_source_is_locked_and_small_and_quick_to_build() {
    for page in ["README.md", "docs/install.md"] {
        let text = file(page);
        let lines = text.lines().filter(|line| line.contains("cargo install"));
        let lines: Vec<_> = lines.collect();
        assert!(!lines.is_empty(), "{page}");
        for line in lines {
            assert!(line.contains("cargo install --locked "), "{page}: {line}");
        }
    }
    let manifest: toml::Table = file("Cargo.toml").parse().unwrap();
    let release = manifest["profile"]["release"].as_table().unwrap();
    let expected = toml::Table::from_iter([("strip".to_owned(), true.into())]);
    assert_eq!(*release, expected);
    for recipe in [
        "packaging/common.sh",
        "packaging/templates/PKGBUILD",
        "packaging/templates/hermes-proxyd.rb",
        "flake.nix",
    ] {
        assert!(file(recipe).contains("dist"), "{recipe}");
    }
}

#[test]
fn each_error_code_has_an_entry_with_its_status_and_there_is_no_other() {
    let told: BTreeSet<_> = section(TROUBLES, "By error code")
        .split("\n### `")
        .skip(1)
        .map(|entry| {
            let (code, text) = entry.split_once("`\n\n").expect("a text");
            let (status, help) = text.split_once(". ").expect("a status");
            assert!(help.len() > 40, "{code}: no help");
            (status.to_owned(), code.to_owned())
        })
        .collect();
    let real = ErrorKind::ALL.iter();
    let real = real.map(|kind| (kind.status().as_u16().to_string(), kind.code().to_owned()));
    // `error("503 Service Unavailable", "bridge_full", …)`
    let bridge = file("src/daemon/bridge.rs");
    let of_bridge = bridge.split("error(\"").skip(1).map(|call| {
        let mut words = call.split('"');
        let status = words.next().unwrap().split(' ').next().unwrap();
        (status.to_owned(), words.nth(1).unwrap().to_owned())
    });
    let of_bridge: Vec<_> = of_bridge.collect();
    assert_eq!(of_bridge.len(), 2, "{of_bridge:?}");
    assert_eq!(told, real.chain(of_bridge).collect());
}

#[test]
fn the_table_of_apps_holds_what_is_run_at_the_pinned_versions() {
    let home = scratch();
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/run");
    let output = program(run, home.path()).arg("--list").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let real = String::from_utf8(output.stdout).unwrap();
    let section = section(CONNECT, "Apps");
    let told: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .collect();
    assert_eq!(told, real.lines().collect::<Vec<_>>());
}

#[test]
fn each_error_code_has_a_test() {
    let names = [
        "port/answers",
        "alone/lifecycle",
        "login/codex/bodies",
        "port/listeners",
        "port/listeners/bridge",
        "port/listeners/unix_sockets",
        "port/listeners/users",
        "port/models",
        "port/rates",
        "port/translated",
        "login/hermes_store",
        "login/refresh",
        "login/refresh/refusals",
        "login/refresh/saved",
        "login/xai/several",
        "port/upstream",
        "port/upstream/garbage",
        "port/upstream/http2",
    ];
    let tests = names.map(|name| file(&format!("tests/{name}.rs"))).concat();
    for kind in ErrorKind::ALL {
        // A panic can't be provoked.
        let named = tests.contains(&format!("ErrorKind::{kind:?}"))
            || tests.contains(&format!("\"{}\"", kind.code()))
            || tests.contains(&format!("\\\"{}\\\"", kind.code()));
        assert!(
            named || kind == ErrorKind::Internal,
            "{} has no test",
            kind.code()
        );
    }
}

#[test]
fn the_table_of_routes_holds_every_route() {
    let routes: BTreeSet<_> = table(HTTP, "Routes")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    let mut real: BTreeSet<_> = Local::ALL
        .iter()
        .map(|(path, _)| format!("`GET {path}`"))
        .collect();
    real.extend([
        "`/v1/<path>`".to_owned(),
        "`/<provider>/v1/<path>`".to_owned(),
    ]);
    assert_eq!(routes, real);
}

#[test]
fn the_table_of_message_ids_holds_each_notice() {
    let told: BTreeSet<_> = table(LOGS, "Logs")
        .into_iter()
        .map(|row| (row[0].split(':').next().unwrap().to_owned(), row[2].clone()))
        .collect();
    let real = HookEvent::NAMES.map(|(name, kind)| {
        let id = kind.message_id();
        (format!("`{name}`"), format!("`{id}`"))
    });
    assert_eq!(told, BTreeSet::from(real));
}

#[test]
fn the_hooks_that_are_shown_are_valid_and_the_notice_has_its_form() {
    let text = blocks(LOGS, "toml").concat();
    let config = hermes_proxy::config::parse(&text, LOGS.as_ref(), &Environment::default());
    assert_eq!(config.unwrap().hooks.len(), 2);
    let shown: Value = serde_json::from_str(&blocks(LOGS, "json").concat()).unwrap();
    let notice = HookNotice {
        event: HookEvent::LoginEnded,
        provider: "nous".to_owned(),
        display_name: "Nous Portal".to_owned(),
        message: "…".to_owned(),
        command: Some("hermesctl auth login nous".to_owned()),
        ends_at: None,
        at: "2026-11-23T12:00:00Z".parse().unwrap(),
        quota: None,
    };
    let mut real: Value = serde_json::from_str(&notice.to_json()).unwrap();
    real["host"] = "my-machine".into();
    real["version"] = "0.1.0".into();
    assert_eq!(shown, real);
}

#[test]
fn the_table_of_exit_codes_is_what_help_says() {
    let home = scratch();
    let told = |column: usize| -> BTreeSet<String> {
        let rows = table(TROUBLES, "Exit codes").into_iter();
        rows.filter(|row| row[column] != "–")
            .map(|row| row[0].clone())
            .collect()
    };
    let daemon = program(env!("CARGO_BIN_EXE_hermes-proxyd"), home.path())
        .arg("--help")
        .output();
    for (column, help) in [(1, daemon.unwrap()), (2, ctl(home.path(), &["--help"]))] {
        let help = String::from_utf8(help.stdout).unwrap();
        let codes = help.split("Exit codes:").nth(1).expect("exit codes");
        let codes = codes
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        assert_eq!(told(column), codes.map(str::to_owned).collect());
    }
}

/// One after another in a home of their own, without a daemon.
#[test]
fn the_commands_that_connect_work_as_they_stand() {
    let home = scratch();
    let commands = blocks(CONNECT, "sh connect").concat();
    assert!(commands.lines().count() >= 6);
    for command in commands.lines() {
        let ours = command.replacen("hermesctl", env!("CARGO_BIN_EXE_hermesctl"), 1);
        let output = program("sh", home.path())
            .args(["-c", &ours])
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }
}

#[test]
fn the_table_of_flags_holds_those_of_connect() {
    let home = scratch();
    let told: BTreeSet<_> = table(CONNECT, "Ask hermesctl")
        .into_iter()
        .flat_map(|row| {
            let flags = row[0].split(", ").map(|flag| flag.trim_matches('`'));
            flags.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let help = ctl(home.path(), &["connect", "--help"]).stdout;
    let help = String::from_utf8(help).unwrap();
    let real = help.lines().filter_map(|line| {
        let flag = line.trim_start().strip_prefix("--")?;
        Some(format!("--{}", flag.split(' ').next()?))
    });
    assert_eq!(told, real.collect());
}

#[test]
fn the_compose_files_are_those_that_hermesctl_prints() {
    let home = scratch();
    for (way, flags) in [("bridge", &[][..]), ("socket", &["--socket"])] {
        let line = "connect karakeep --from docker --no-key --model Hermes-4-405B --json";
        let line: Vec<_> = line.split(' ').chain(flags.iter().copied()).collect();
        let output = ctl(home.path(), &line);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |place: usize| told["files"][place]["text"].as_str().unwrap();
        assert_eq!(blocks(CONTAINERS, &format!("yaml {way}")), [text(1)]);
        let listeners = |text: &str| {
            let config =
                hermes_proxy::config::parse(text, CONTAINERS.as_ref(), &environment(home.path()));
            config.unwrap().listeners
        };
        let shown = blocks(CONTAINERS, &format!("toml {way}")).concat();
        assert_eq!(listeners(&shown), listeners(text(0)));
        assert_eq!(listeners(&shown).len(), 2);
    }
}

#[test]
fn the_whole_compose_files_hold_what_hermesctl_prints() {
    let home = scratch();
    for (way, flags) in [("bridge", &[][..]), ("host-socket", &["--socket"])] {
        let line = "connect open-webui --from docker --no-key --json";
        let line: Vec<_> = line.split(' ').chain(flags.iter().copied()).collect();
        let told: Value = serde_json::from_slice(&ctl(home.path(), &line).stdout).unwrap();
        let printed = told["files"][1]["text"].as_str().unwrap();
        let whole = file(&format!("packaging/compose/{way}.yaml"));
        let whole = whole.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        // What is the reader's to choose is another there.
        let chosen = ["OPENAI_API_KEY:", "DEFAULT_MODELS:", "#RAG_"];
        let chosen = |line: &str| chosen.iter().any(|name| line.contains(name));
        for line in printed.lines().filter(|line| !chosen(line)) {
            assert!(whole.lines().any(|one| one == line), "{way} lacks: {line}");
        }
    }
}

fn environment(home: &Path) -> Environment {
    let home = home.as_os_str().to_owned();
    Environment::from_lookup(move |name| (name == "HOME").then(|| home.clone()))
}

#[test]
fn the_provider_with_a_fixed_key_is_valid() {
    let text = blocks(PROVIDERS, "toml static").concat();
    let config = hermes_proxy::config::parse(&text, PROVIDERS.as_ref(), &Environment::default());
    assert_eq!(config.unwrap().providers.len(), 2);
}

/// What a page's headings are linked by.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    });
    anchors.collect()
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    for page in pages() {
        let folder = root().join(&page);
        let folder = folder.parent().unwrap();
        let text = file(&page);
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().unwrap();
            if target.starts_with("https://") || target.starts_with("http://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = match path {
                "" => root().join(&page),
                path => folder.join(path),
            };
            assert!(there.exists(), "{page} links {target}, which is not there");
            let known = || anchors(&std::fs::read_to_string(&there).unwrap());
            let leads = anchor.is_empty() || known().contains(anchor);
            assert!(leads, "{page} links {target}, a heading that is not there");
        }
        if ENTRIES.contains(&&*page) {
            continue;
        }
        let (entry, back) = match page.strip_prefix("docs/decisions/") {
            Some(_) => (
                "ARCHITECTURE.md",
                "\n[Back to the architecture](../../ARCHITECTURE.md)\n",
            ),
            None => ("README.md", "\n[Back to the README](../README.md)\n"),
        };
        assert!(text.contains(back), "{page} has no way back");
        let known = file(entry).contains(&format!("({page})"));
        assert!(known, "{entry} does not link {page}");
    }
    for entry in ["(ARCHITECTURE.md)", "(CONTRIBUTING.md)"] {
        assert!(file("README.md").contains(entry), "{entry}");
    }
}

/// A package has the pages in a folder of its own.
#[test]
fn every_link_between_the_pages_leads_somewhere_in_a_package() {
    let home = scratch();
    let copied = program("sh", home.path())
        .arg(root().join("packaging/documents.sh"))
        .arg(home.path().join("doc"))
        .status();
    assert!(copied.unwrap().success());
    for page in pages() {
        let page = home.path().join("doc").join(page);
        let text = std::fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1);
        let links = links.filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.contains("://")) {
            let there = page.parent().unwrap().join(link);
            assert!(there.exists(), "{} links {link}", page.display());
        }
    }
}

/// `docs/record-session` makes it.
#[test]
fn the_recorded_session_shows_commands_that_are_there_and_nothing_of_a_machine() {
    let picture = file("docs/session.svg");
    for word in ["/tmp", "/home", "/root", "/work", "localhost"] {
        assert!(!picture.contains(word), "it shows {word}");
    }
    let commands = picture.split("<metadata>").nth(1).unwrap();
    let commands = commands.split("</metadata>").next().unwrap();
    let commands = commands.replace("&quot;", "\"").replace("&#x27;", "'");
    let commands: Vec<Vec<String>> = serde_json::from_str(&commands).unwrap();
    let home = scratch();
    let mut count = 0;
    for line in &commands {
        let words = line.iter().map(String::as_str).chain(["--help"]);
        let words: Vec<_> = words.collect();
        if let ["hermesctl", words @ ..] = &*words {
            assert!(ctl(home.path(), words).status.success(), "{line:?}");
            count += 1;
        }
    }
    assert!(count >= 2, "{commands:?}");
}

/// What the picture shows below each command, as words.
fn shown(picture: &str) -> Vec<Vec<String>> {
    let mut outputs: Vec<Vec<String>> = Vec::new();
    let mut in_command = false;
    for line in picture.lines().filter(|line| line.starts_with("<text ")) {
        // The second line of a command that was too long for one has an empty prompt.
        let is_prompt = line.contains("class=\"prompt\"");
        if is_prompt && !in_command {
            outputs.push(Vec::new());
        }
        in_command = is_prompt;
        if is_prompt {
            continue;
        }
        let mut text = String::new();
        for part in line.split('<').skip(1) {
            text += part.split_once('>').unwrap().1;
        }
        for (entity, sign) in [
            ("&quot;", "\""),
            ("&#x27;", "'"),
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&amp;", "&"),
        ] {
            text = text.replace(entity, sign);
        }
        outputs.last_mut().unwrap().extend(words(&text));
    }
    outputs
}

/// Without the comment signs of each line, and without what differs each time.
fn words(text: &str) -> Vec<String> {
    let words = text.split_whitespace().filter(|word| *word != "#");
    let words = words.map(|word| {
        if word.contains("hpx-") {
            "hpx-…".to_owned()
        } else {
            word.to_owned()
        }
    });
    words.collect()
}

/// Width and height of a PNG (W3C, PNG §11.2.2).
fn size(png: &[u8]) -> (u32, u32) {
    assert_eq!(png.get(1..4), Some(&b"PNG"[..]));
    let four = |at: usize| <[u8; 4]>::try_from(png.get(at..at + 4).unwrap()).unwrap();
    let number = |at: usize| u32::from_be_bytes(four(at));
    (number(16), number(20))
}

/// `tests/real_clients/page.rs` takes them again.
#[test]
fn the_pictures_of_the_status_page_are_there_and_small() {
    let page = file("docs/status-page.md");
    for (device, dimensions) in [("phone", (390, 844)), ("desktop", (1280, 900))] {
        for scheme in ["light", "dark"] {
            let name = format!("status-page-{device}-{scheme}.png");
            let png = std::fs::read(root().join("docs").join(&name)).unwrap();
            assert_eq!(size(&png), dimensions, "{name}");
            assert!(png.len() < 150_000, "{name}: {} bytes", png.len());
            assert!(page.contains(&format!("({name})")), "{name} is on no page");
        }
    }
    assert!(file("README.md").contains("(docs/status-page-desktop-light.png)"));
}

/// `docs/record-top` takes them again.
#[test]
fn the_pictures_of_the_live_view_are_there_and_show_nothing_of_a_machine() {
    let page = file("docs/top.md");
    for columns in [60, 80, 120] {
        let name = format!("top-{columns}.svg");
        let picture = file(&format!("docs/{name}"));
        for word in ["/tmp", "/home", "/root", "/work", "localhost"] {
            assert!(!picture.contains(word), "{name} shows {word}");
        }
        for word in ["LAST HOUR", "PROVIDERS", "IN FLIGHT", "tok/s", "waiting"] {
            assert!(picture.contains(word), "{name} lacks {word}");
        }
        assert!(picture.len() < 60_000, "{name}: {} bytes", picture.len());
        assert!(page.contains(&format!("({name})")), "{name} is on no page");
    }
    assert!(file("README.md").contains("(docs/top-80.svg)"));
}

/// `docs/record-session` takes the picture again.
#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_session_shows_todays_words() {
    let picture = file("docs/session.svg");
    let outputs = shown(&picture);
    let world = World::new(Options::default()).await;
    // Without a configuration file, as in the recording.
    let daemon = support::Daemon::start(world.command(&[]), world.home.path());
    let port = daemon.address().rsplit(':').next().unwrap();
    let said = |args: &[&str]| {
        let output = world.ctl(args);
        assert!(output.status.success(), "{output:?}");
        // What has to be known first is on standard error, as are the notes: they are compared apart.
        [output.stdout, output.stderr].map(|text| {
            let text = String::from_utf8(text).unwrap();
            words(&text.replace(&format!(":{port}/"), ":8645/"))
        })
    };
    let [files, talk] = said(&["connect", "karakeep", "--from", "docker-desktop"]);
    let notes = talk.iter().position(|word| word == "Karakeep").unwrap();
    let (lead, notes) = talk.split_at(notes);
    let real = [lead, &files, notes].concat();
    assert_eq!(outputs[0], real, "run docs/record-session");

    let [real, _] = said(&["proxy", "status"]);
    let units = ["s", "min", "h", "d"];
    let told = outputs[2].iter().filter(|word| {
        let is_number = word.contains(|c: char| c.is_ascii_digit());
        !is_number && !units.contains(&word.trim_end_matches(','))
    });
    for word in told {
        assert!(
            real.contains(word),
            "{word}: run docs/record-session\n{real:?}"
        );
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
