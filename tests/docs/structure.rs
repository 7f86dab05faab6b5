//! The house rules that a machine can keep: which module may use which, where a crate stays, and
//! which files are pure. `ARCHITECTURE.md` and `docs/decisions` say why.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Module and what it may use of ours.
const MAY_USE: &[(&str, &[&str])] = &[
    ("backoff", &[]),
    ("causes", &[]),
    ("redact", &[]),
    ("suggest", &[]),
    ("clock", &[]),
    ("secret", &[]),
    ("paths", &[]),
    ("tools", &[]),
    ("sse", &[]),
    ("translate", &["sse"]),
    ("files", &[]),
    ("config", &["files", "paths", "suggest"]),
    ("control", &["files", "paths"]),
    (
        "provider",
        &["causes", "clock", "config", "files", "redact", "secret"],
    ),
    (
        "credentials",
        &["backoff", "clock", "files", "paths", "provider", "secret"],
    ),
    ("clients", &["clock", "files", "secret", "suggest"]),
    ("metrics", &[]),
    ("usage", &["clock", "files", "sse"]),
    ("containers", &["config", "control"]),
    ("hooks", &["causes", "config", "files", "provider"]),
    ("page", &["control"]),
    ("service", &["files", "paths", "tools"]),
    (
        "proxy",
        &[
            "causes",
            "clients",
            "clock",
            "config",
            "credentials",
            "files",
            "metrics",
            "provider",
            "sse",
            "translate",
            "usage",
        ],
    ),
    (
        "daemon",
        &[
            "causes",
            "clients",
            "clock",
            "config",
            "containers",
            "control",
            "credentials",
            "files",
            "hooks",
            "metrics",
            "page",
            "paths",
            "provider",
            "proxy",
            "secret",
            "suggest",
            "usage",
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
            "causes",
            "config",
            "containers",
            "control",
            "doctor",
            "files",
            "manual",
            "paths",
            "redact",
            "service",
            "suggest",
            "tools",
        ],
    ),
];

/// A crate, and the only files and folders that may name it.
const STAYS: &[(&str, &[&str])] = &[
    (
        "tokio::process",
        &[
            "cli/connection.rs",
            "cli/platform/",
            "hooks/command.rs",
            "tools.rs",
        ],
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
        &[
            "daemon/journal.rs",
            "proxy/bind.rs",
            "proxy/bind/",
            "proxy/peer.rs",
            "proxy/socket.rs",
        ],
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
            "daemon/log_form.rs",
            "daemon/log_queue.rs",
            "daemon/logging.rs",
        ],
    ),
    ("roff", &["manual/page.rs"]),
    (
        "clap",
        &["cli/args/", "cli/shown.rs", "daemon/args.rs", "manual/"],
    ),
    (
        "console::",
        &["cli/terminal.rs", "cli/auth/waiting.rs", "cli/screen.rs"],
    ),
    ("crossterm", &["cli/top/terminal.rs"]),
    ("ratatui", &["cli/text/width.rs", "cli/top/"]),
    ("open::that", &["cli/auth/browser.rs"]),
    ("qrcode", &["cli/auth/qr.rs"]),
    (
        "listeners::",
        &["daemon/port_holder.rs", "doctor/system.rs"],
    ),
    (
        "memchr",
        &[
            "proxy/finish_reasons.rs",
            "proxy/error_events.rs",
            "proxy/framing/",
            "proxy/json.rs",
            "proxy/model_field.rs",
            "proxy/model_field/",
            "proxy/translation/",
            "sse.rs",
            "translate/",
            "usage/",
        ],
    ),
    ("rusqlite", &["usage/store.rs", "usage/store/"]),
    ("flate2", &["usage/decode.rs"]),
    ("tempfile", &["files/mod.rs"]),
    ("getrandom", &["clients/key.rs", "provider/browser.rs"]),
    ("subtle::", &["clients/key.rs", "provider/browser.rs"]),
    ("tokio_rustls", &["proxy/connector.rs"]),
    ("h2::", &["proxy/connection_pool/", "proxy/upstream.rs"]),
    (
        "rustls::",
        &[
            "provider/probe.rs",
            "provider/registry.rs",
            "provider/tls.rs",
            "provider/token_client.rs",
            "proxy/connector.rs",
            "proxy/upstream.rs",
        ],
    ),
];

/// Files that do no I/O and wait for nothing.
const PURE: &[&str] = &[
    "causes.rs",
    "redact.rs",
    "suggest.rs",
    "cli/args/meant.rs",
    "cli/auth/code_screen.rs",
    "cli/auth/letters.rs",
    "cli/auth/page_screen.rs",
    "cli/auth/qr.rs",
    "cli/logs/entry.rs",
    "cli/logs/since.rs",
    "cli/probe/reading.rs",
    "cli/bugreport/shape.rs",
    "cli/text/page.rs",
    "cli/text/width.rs",
    "cli/connect/apps.rs",
    "cli/connect/fill.rs",
    "cli/connect/place.rs",
    "cli/connect/chosen_api.rs",
    "cli/doctor/render.rs",
    "cli/top/rates.rs",
    "cli/top/table.rs",
    "cli/top/words.rs",
    "clients/document.rs",
    "clients/import.rs",
    "config/changes.rs",
    "config/diff.rs",
    "config/environment.rs",
    "config/file.rs",
    "config/form.rs",
    "config/hook.rs",
    "config/listen.rs",
    "config/oauth2.rs",
    "config/own.rs",
    "config/provider.rs",
    "config/provider/kind.rs",
    "config/provider_name.rs",
    "config/reader.rs",
    "config/reference.rs",
    "config/report.rs",
    "config/root.rs",
    "config/routing/model_name.rs",
    "config/schema.rs",
    "config/shape.rs",
    "config/table.rs",
    "config/tables.rs",
    "config/takes.rs",
    "config/values.rs",
    "config/writer.rs",
    "config/written.rs",
    "config/wrong.rs",
    "cli/status/verdict.rs",
    "containers/listen_endpoints.rs",
    "containers/access_paths.rs",
    "containers/access_paths/bridges.rs",
    "containers/access_paths/path.rs",
    "containers/access_paths/world.rs",
    "control/in_flight.rs",
    "control/human.rs",
    "control/judge.rs",
    "control/pools.rs",
    "control/protocol/calls.rs",
    "control/protocol/client.rs",
    "control/protocol/daemon.rs",
    "control/protocol/error.rs",
    "control/protocol/finding.rs",
    "control/protocol/greeting.rs",
    "control/protocol/key.rs",
    "control/protocol/login.rs",
    "control/protocol/provider.rs",
    "control/protocol/status.rs",
    "control/protocol/time.rs",
    "control/chat_apis.rs",
    "credentials/attempt.rs",
    "credentials/attempt/cause.rs",
    "credentials/attempt/deed.rs",
    "credentials/attempt/exchange.rs",
    "credentials/attempt/failure.rs",
    "credentials/attempt/phase.rs",
    "credentials/core.rs",
    "credentials/grant.rs",
    "credentials/knowledge.rs",
    "credentials/knowledge/answers.rs",
    "credentials/knowledge/event.rs",
    "credentials/knowledge/renewed.rs",
    "credentials/knowledge/state.rs",
    "credentials/merge.rs",
    "credentials/notice.rs",
    "credentials/pool/kin.rs",
    "credentials/pool/strategy.rs",
    "credentials/schedule.rs",
    "credentials/store/pool.rs",
    "credentials/store/roster.rs",
    "credentials/store/rotation.rs",
    "credentials/store/row.rs",
    "credentials/timing.rs",
    "daemon/answer_end.rs",
    "doctor/finding.rs",
    "hooks/notice.rs",
    "manual/completions.rs",
    "manual/generated.rs",
    "manual/line.rs",
    "manual/markdown.rs",
    "manual/page.rs",
    "manual/pages.rs",
    "metrics/catalog.rs",
    "metrics/page.rs",
    "page/charts.rs",
    "page/connect.rs",
    "page/errors.rs",
    "page/flat.rs",
    "page/health.rs",
    "page/markup.rs",
    "page/mod.rs",
    "page/overview.rs",
    "page/providers.rs",
    "page/time.rs",
    "page/usage.rs",
    "page/view.rs",
    "provider/jwt.rs",
    "provider/login.rs",
    "provider/login_tokens.rs",
    "provider/nous/layout.rs",
    "provider/oauth2/layout.rs",
    "provider/pool_row/login.rs",
    "provider/pool_row/row.rs",
    "provider/codex/identity.rs",
    "provider/codex/models.rs",
    "provider/codex/refusal.rs",
    "provider/codex/rules.rs",
    "provider/codex/usage.rs",
    "provider/dialect.rs",
    "provider/quota.rs",
    "provider/rate_limits.rs",
    "daemon/quotas/crossing.rs",
    "provider/tabled.rs",
    "provider/xai/refusal.rs",
    "service/carried.rs",
    "service/launchd/agent.rs",
    "service/systemd/unit.rs",
    "service/task/definition.rs",
    "proxy/framing.rs",
    "proxy/framing/answer.rs",
    "proxy/framing/body.rs",
    "proxy/framing/head.rs",
    "proxy/framing/lines.rs",
    "proxy/framing/violation.rs",
    "proxy/finish_reasons.rs",
    "proxy/ending.rs",
    "proxy/error_events.rs",
    "proxy/events.rs",
    "proxy/guard.rs",
    "proxy/handler/quota_blame.rs",
    "proxy/headers.rs",
    "proxy/json.rs",
    "proxy/route.rs",
    "proxy/route/not_found.rs",
    "proxy/route/unserved.rs",
    "proxy/translation/fold.rs",
    "proxy/translation/request.rs",
    "sse.rs",
    "usage/label.rs",
    "usage/meter.rs",
    "usage/rows.rs",
    "usage/scan.rs",
    "usage/scan/document.rs",
    "usage/tokens.rs",
    "usage/totals.rs",
];

/// Where what is wrong is shown, and not judged: `control/judge` does that.
const SURFACES: &[&str] = &[
    "cli/",
    "daemon/page.rs",
    "daemon/status_line.rs",
    "doctor/",
    "page/",
    "proxy/local.rs",
];

/// What a judgement is made of.
const JUDGED: &[&str] = &[
    "ProviderState::",
    "AvailabilityKind::",
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
    ".usage_fault",
    "needs_restart",
];

/// What a surface shows of it as it is.
const SHOWN: &[(&str, &[&str])] = &[
    ("cli/bugreport/collect.rs", &[".refused_apps"]),
    ("cli/shown/samples.rs", &["ProviderState::"]),
    // The row below the verdict.
    ("cli/status/render.rs", &[".failing"]),
    // What a reload did.
    ("cli/proxy/render.rs", &["needs_restart"]),
    // The fields of `/health`.
    (
        "proxy/local.rs",
        &[".ends_soon", ".may_be_spent", ".standing", ".unsaved"],
    ),
    // The file's login, where no daemon runs.
    ("doctor/login.rs", &[".ends_soon"]),
    // What a key for some providers may not see.
    ("page/view.rs", &[".refused_apps"]),
    // What the daemon has read of its file, against the file.
    ("doctor/pending.rs", &["needs_restart"]),
];

/// The files that may look at a secret's text.
const MAY_EXPOSE: &[&str] = &[
    "cli/auth/pastes.rs",
    "cli/clients/mod.rs",
    "cli/setup/render.rs",
    "cli/setup/mod.rs",
    "cli/wire.rs",
    "cli/proxy/test.rs",
    "cli/connect/mod.rs",
    "clients/import.rs",
    "clients/key.rs",
    "control/protocol/key.rs",
    "daemon/clients.rs",
    "daemon/logins/paste.rs",
    "doctor/ports.rs",
    "provider/browser.rs",
    "provider/jwt.rs",
    "provider/login.rs",
    "provider/hosts.rs",
    "provider/nous.rs",
    "provider/nous/device.rs",
    "provider/nous/layout.rs",
    "provider/oauth2.rs",
    "provider/codex/device.rs",
    "provider/codex/mod.rs",
    "provider/codex/page.rs",
    "provider/tabled.rs",
    "provider/xai.rs",
    "secret.rs",
];

pub(crate) fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    collect(&root, &root, &mut files);
    assert!(files.len() > 40);
    files
}

pub(crate) fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
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

pub(crate) fn module(file: &str) -> &str {
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

/// The words in backticks that name a file or folder of a room, as `proxy/framing` does.
fn named_places(text: &str) -> BTreeSet<String> {
    let words = text.split('`').skip(1).step_by(2);
    let words = words.filter(|word| {
        let (room, rest) = word.split_once('/').unwrap_or_default();
        let a_path = |c: char| c.is_ascii_alphanumeric() || "_/.".contains(c);
        MAY_USE.iter().any(|(module, _)| *module == room)
            && !rest.is_empty()
            && rest.chars().all(a_path)
    });
    words.map(str::to_owned).collect()
}

#[test]
fn each_place_that_the_architecture_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("ARCHITECTURE.md")];
    let decisions = std::fs::read_dir(root.join("docs/decisions")).unwrap();
    pages.extend(decisions.map(|page| page.unwrap().path()));
    let (mut wrong, mut found) = (Vec::new(), 0);
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for place in named_places(&text) {
            found += 1;
            let path = root.join("src").join(&place);
            if !path.exists() && !path.with_extension("rs").exists() {
                wrong.push(format!("{}: {place}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(found > 100, "{found}");
}

/// Whether a text has this name, and not one that ends with it.
fn names(text: &str, name: &str) -> bool {
    let mut found = text.match_indices(name);
    found.any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[test]
fn a_crate_stays_in_its_place() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        for (name, places) in STAYS {
            let is_place =
                |place: &&str| file == *place || place.ends_with('/') && file.starts_with(*place);
            if names(&text, name) && !places.iter().any(is_place) {
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

/// Files with code for some systems only. hermesctl keeps it in `cli/platform`; a file leaves this list and none enters it.
const FOR_SOME_SYSTEMS: &[&str] = &[
    "cli/platform.rs",
    "clients/disk.rs",
    "clients/error.rs",
    "config/load.rs",
    "containers/engines.rs",
    "control/endpoint.rs",
    "credentials/file_lock.rs",
    "credentials/remedy.rs",
    "credentials/store/version.rs",
    "credentials/write.rs",
    "daemon/descriptors.rs",
    "daemon/log_file.rs",
    "daemon/logging.rs",
    "daemon/mod.rs",
    "daemon/process.rs",
    "daemon/service_manager.rs",
    "daemon/signals.rs",
    "files/access.rs",
    "files/disk_space.rs",
    "files/mod.rs",
    "hooks/command.rs",
    "hooks/notice.rs",
    "paths.rs",
    "proxy/bind.rs",
    "proxy/dial.rs",
    "proxy/mod.rs",
    "proxy/peer.rs",
    "proxy/resource_shortage.rs",
    "proxy/server/mod.rs",
    "proxy/socket.rs",
    "service/mod.rs",
    "usage/store/open.rs",
];

#[test]
fn code_for_one_system_stays_in_its_place() {
    let words = [
        "unix",
        "windows",
        "target_os",
        "not(unix",
        "not(windows",
        "not(target_os",
    ];
    let is_for_some = |text: &str| {
        words
            .iter()
            .any(|word| text.contains(&format!("#[cfg({word}")))
    };
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| is_for_some(text))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(found, FOR_SOME_SYSTEMS);
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
const OF_ONE_PROVIDER: [&str; 12] = [
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
    "codex",
    "Codex",
];
const MAY_NAME_IT: &[&str] = &[
    // Its own, and the arm that leads there.
    "provider/mod.rs",
    "provider/nous.rs",
    "provider/nous/",
    "provider/xai.rs",
    "provider/xai/",
    "provider/codex/",
    "provider/registry.rs",
    // The kinds of providers with their keys in the file, and the default name.
    "config/",
    "cli/config/show.rs",
    // The app of that name.
    "cli/connect/",
    // What variables of the environment mean.
    "manual/pages.rs",
    // What looks like a secret, and what does not.
    "redact.rs",
    // Samples, for tests alone.
    "cli/doctor/render.rs",
    "cli/shown/samples.rs",
    "cli/shown.rs",
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

/// The longest file of the port, in lines with its comments and inner tests: what fits into a reader's head at once.
const LONGEST: usize = 500;

#[test]
fn no_file_of_the_port_is_long() {
    let proxy = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proxy");
    let (mut open, mut long, mut seen) = (vec![proxy], Vec::new(), 0);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if !path.ends_with("tests.rs") {
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                seen += 1;
                long.extend((lines > LONGEST).then(|| format!("{}: {lines}", path.display())));
            }
        }
    }
    assert!(seen > 100, "{seen}");
    assert!(long.is_empty(), "divide these: {long:#?}");
}

/// The parameters of each function, as they are written.
fn parameters(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    for function in code.split("fn ").skip(1) {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let signature = function.trim_start_matches(is_name);
        if signature.len() == function.len() || !signature.starts_with(['<', '(']) {
            continue;
        }
        let (mut depth, mut is_inside, mut before) = (0_usize, false, ' ');
        let mut one = String::new();
        for c in signature.chars() {
            let closes = ")]}".contains(c) || c == '>' && before != '-';
            before = c;
            depth -= usize::from(closes);
            if is_inside && (depth == 0 || depth == 1 && c == ',') {
                all.push(std::mem::take(&mut one).trim().to_owned());
            } else if is_inside {
                one.push(c);
            }
            if closes && is_inside && depth == 0 {
                break;
            }
            is_inside |= c == '(' && depth == 0;
            depth += usize::from("([{<".contains(c));
        }
    }
    all.retain(|one| !one.is_empty());
    all
}

/// Whether a parameter is several values as one tuple.
fn is_tuple(parameter: &str) -> bool {
    let kind = parameter.split_once(": ").map_or("", |(_, kind)| kind);
    let kind = kind
        .trim_start_matches(['&', ' '])
        .trim_start_matches("mut ");
    let is_bound = ["(impl ", "(dyn "].iter().any(|b| kind.starts_with(b));
    parameter.starts_with('(') || kind.starts_with('(') && kind.contains(',') && !is_bound
}

#[test]
fn a_parameter_is_one_value_with_a_name() {
    let code = "const fn one<F: Fn(u8, u8) -> u8>(&self, (a, b): (A, B), with: F) -> u8 {}\nfn two(\n    c: &[C; 2],\n) {}";
    let read = ["&self", "(a, b): (A, B)", "with: F", "c: &[C; 2]"];
    assert_eq!(parameters(code), read);
    let tuples = ["(a, b): (A, B)", "a: (A, B)", "mut a: &mut (A, B)"];
    assert!(tuples.into_iter().all(is_tuple));
    let values = ["a: A", "a: &(dyn A + 'static)", "a: [(A, B); 2]", "&self"];
    assert!(!values.into_iter().any(is_tuple));
    let mut found = Vec::new();
    for (file, text) in sources() {
        let tuples = parameters(&text).into_iter().filter(|one| is_tuple(one));
        found.extend(tuples.map(|one| format!("{file}: {one}")));
    }
    assert!(
        found.is_empty(),
        "a struct, a method or plain parameters: {found:#?}"
    );
}

#[test]
fn every_dependency_has_its_line_on_why() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let page = "docs/decisions/dependencies.md";
    let text = std::fs::read_to_string(root.join(page)).unwrap();
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
                "no line on {name} in {page}"
            );
            checked += 1;
        }
    }
    assert!(checked > 25);
}

/// The types that a file defines, outside functions and `impl`s.
fn types(text: &str) -> BTreeSet<&str> {
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let lines = text.lines().filter(|line| !line.starts_with(' '));
    let defined = lines.filter_map(|line| {
        let line = line.split_once("pub(").map_or(line, |(_, rest)| {
            rest.split_once(") ").map_or(line, |(_, rest)| rest)
        });
        let line = line.trim_start_matches("pub ");
        let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        rest.split(|c: char| !c.is_ascii_alphanumeric()).next()
    });
    defined.collect()
}

#[test]
fn a_type_has_a_name_of_its_own() {
    // One thing, written for two systems.
    const PAIRS: [&str; 3] = ["FileReach", "HeardSignal", "SocketPath"];
    let sources = sources();
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, text) in &sources {
        if file.contains("/tests/") {
            continue;
        }
        for name in types(text) {
            places.entry(name).or_default().push(file);
        }
    }
    assert!(places.len() > 800, "{}", places.len());
    places.retain(|name, files| files.len() > 1 && !PAIRS.contains(name));
    assert!(places.is_empty(), "{places:#?}");
}
