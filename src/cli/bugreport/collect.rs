//! The sections of the report.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::super::connection::{ask, connect};
use super::super::output::CommandFailure;
use super::super::{config as settings, platform, programs};
use super::logs;
use super::store::Stores;
use super::view::ReportSection;
use crate::config::{self, Setting, Variables};
use crate::control::protocol::ClientList;
use crate::control::protocol::calls;
use crate::doctor::{self, QUESTION, Questions};
use crate::files::FileAccess;
use crate::paths::Environment;
use crate::redact::Redactor;
use crate::tools::ProgramCall;

/// What systemd knows of the service that helps.
const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,Result,ExecMainStatus,NRestarts,\
                          UnitFileState,StatusText,FragmentPath,DropInPaths,MemoryCurrent";

/// More than a file of an API key holds.
const LARGEST: u64 = 1 << 20;

/// All parts, with nothing in them that others must not see.
pub(super) async fn sections() -> Vec<ReportSection> {
    let env = Environment::from_process();
    let mut redactor = Redactor::default();
    let clients = ask(None, async |daemon| daemon.call(calls::Clients).await).await;
    people(&env, clients.as_ref().ok(), &mut redactor);
    let in_force = settings::in_force().await;
    let settings = in_force.as_deref().unwrap_or_default();
    let stores = secrets(&env, settings, &mut redactor);
    let section = |title, about, text: String| ReportSection {
        title,
        about,
        text: redactor.redact(&text),
    };
    vec![
        section(
            "versions",
            "of both programs and the system",
            versions().await,
        ),
        section(
            "service",
            "the service manager's view, and the unit",
            service().await,
        ),
        section(
            "configuration",
            "settings in effect; hosts are kept",
            configuration(in_force),
        ),
        section("status", "`hermesctl proxy status --json`", status().await),
        section(
            "providers",
            "`hermesctl proxy providers --json`",
            providers().await,
        ),
        section(
            "client keys",
            "limits and use, without names and addresses",
            keys(clients),
        ),
        section(
            "doctor",
            "`hermesctl doctor --json`",
            pretty(&Ok(doctor::examine(Questions::default()).await)),
        ),
        section("stores", "files, modes and keys, no values", stores.text),
        section("log", "the last 200 lines", logs::last_lines(&env).await),
    ]
}

/// The text without keys and tokens, as far as this machine holds them, and without what looks like one.
pub(in crate::cli) async fn without_secrets(text: &str) -> String {
    let mut redactor = Redactor::default();
    let in_force = settings::in_force().await;
    let settings = in_force.as_deref().unwrap_or_default();
    secrets(&Environment::from_process(), settings, &mut redactor);
    redactor.without_secrets(text)
}

/// The keys and tokens of this machine; gives the stores.
fn secrets(env: &Environment, settings: &[Setting], redactor: &mut Redactor) -> Stores {
    keys_of_providers(settings, redactor);
    let stores = stores(env, settings);
    for secret in &stores.secrets {
        redactor.secret(secret);
    }
    stores
}

/// The names of the user, the machine and the apps, and what is secret in the environment.
fn people(env: &Environment, clients: Option<&ClientList>, redactor: &mut Redactor) {
    if let Some(home) = env.home() {
        redactor.name(&home.display().to_string(), "~");
    }
    for name in ["USER", "LOGNAME", "USERNAME"] {
        if let Ok(user) = std::env::var(name) {
            redactor.name(&user, "[user]");
        }
    }
    if let Some(user) = env.home().and_then(|home| home.file_name()) {
        redactor.name(&user.to_string_lossy(), "[user]");
    }
    if let Some(host) = platform::host() {
        redactor.name(&host, "[host]");
    }
    let clients = clients.iter().flat_map(|answer| &answer.clients);
    for (index, client) in clients.enumerate() {
        redactor.name(&client.name, &format!("client-{}", index + 1));
    }
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy().to_ascii_uppercase();
        let secret = ["TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "COOKIE"];
        if secret.iter().any(|word| name.contains(word)) {
            redactor.secret(&value.to_string_lossy());
        }
    }
}

/// The keys that the configuration only names.
fn keys_of_providers(settings: &[Setting], redactor: &mut Redactor) {
    for setting in settings {
        let value = text_of(&setting.value);
        match setting.key {
            "api_key_env" => {
                if let Ok(key) = std::env::var(value) {
                    redactor.secret(&key);
                }
            }
            "api_key_file" => {
                let mut text = String::new();
                let opened = FileAccess::of(Path::new(&value)).and_then(|place| place.open());
                let read = opened.and_then(|file| file.take(LARGEST).read_to_string(&mut text));
                // What can't be read is not in the report either.
                read.ok();
                text.lines().for_each(|line| redactor.secret(line));
            }
            _ => {}
        }
    }
}

fn stores(env: &Environment, settings: &[Setting]) -> Stores {
    let home = settings.iter().find(|one| one.key == "hermes_home");
    let home = home.map(|one| PathBuf::from(text_of(&one.value)));
    let files = home.or_else(|| env.hermes_home()).map(|home| {
        let mut files = vec![home.join("auth.json")];
        files.extend(mirrors(&env.hermes_shared_dir(&home)));
        files
    });
    let files = files.unwrap_or_default();
    Stores::look(&files, env.state_dir().as_deref())
}

/// The mirrors of logins that all profiles share.
fn mirrors(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let is_mirror = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with("_auth.json"))
    };
    let mut mirrors: Vec<_> = files.filter(is_mirror).collect();
    mirrors.sort();
    mirrors
}

async fn versions() -> String {
    let daemon = match connect().await {
        Ok(client) => {
            let hello = client.daemon();
            let (version, protocol) = (&hello.version, hello.protocol);
            format!("{version}, pid {}, protocol {protocol}", hello.pid)
        }
        Err(failure) => format!("not answering: {}", failure.message()),
    };
    let program = programs::program();
    let beside = first_line(&ProgramCall::new(&program, ["--version"])).await;
    let lines = [
        ("hermesctl", env!("CARGO_PKG_VERSION").to_owned()),
        ("running daemon", daemon),
        ("program", format!("{}: {beside}", program.display())),
        (
            "built for",
            format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        ),
        ("system", platform::system()),
        (
            "systemd",
            first_line(&ProgramCall::new("systemctl", ["--version"])).await,
        ),
    ];
    let lines = lines.map(|(name, value)| format!("{name}: {value}\n"));
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let names = [
        "HERMES_HOME",
        "HERMES_SHARED_AUTH_DIR",
        "HERMES_CA_BUNDLE",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
        "XDG_RUNTIME_DIR",
        "SSH_CONNECTION",
    ];
    let names = names.into_iter().chain(config::env_setting_names());
    let names: Vec<_> = names.filter(set).collect();
    let (lines, names) = (lines.concat(), names.join(" "));
    format!("{lines}set here: {names}\n{}", set_beside().await)
}

/// What the file in Hermes Agent's home adds to the environment: the names alone.
async fn set_beside() -> String {
    let read = || {
        let env = Environment::from_process();
        let loaded = config::load(None, &env).ok();
        let home = loaded.and_then(|loaded| loaded.config.hermes_home);
        let variables = Variables::read(&home.or_else(|| env.hermes_home())?);
        let names: Vec<_> = variables.names_in_file().collect();
        Some(names.join(" "))
    };
    let names = tokio::task::spawn_blocking(read).await.ok().flatten();
    let names = names.filter(|names| !names.is_empty());
    names.map_or_else(String::new, |names| {
        format!("set in Hermes Agent's .env: {names}\n")
    })
}

async fn service() -> String {
    let systemctl = |verb, option| {
        let arguments = ["--user", verb, option, "hermes-proxyd.service"];
        ProgramCall::new("systemctl", arguments).within(QUESTION)
    };
    let state = systemctl("show", PROPERTIES).words().await;
    let unit = state + "\n" + &systemctl("cat", "--no-pager").words().await;
    // The value of a variable may be anything.
    let unit = unit
        .lines()
        .map(|line| match line.split_once("Environment=") {
            Some((before, variable)) => {
                let name = variable
                    .trim_matches('"')
                    .split('=')
                    .next()
                    .unwrap_or_default();
                format!("{before}Environment={name}=…\n")
            }
            None => format!("{line}\n"),
        });
    unit.collect()
}

/// The settings without what may be a token: a hook's path and its program's arguments.
fn configuration(in_force: Result<Vec<Setting>, CommandFailure>) -> String {
    let settings = match in_force {
        Ok(settings) => settings,
        Err(failure) => return format!("{}\n", failure.message()),
    };
    let settings: Vec<_> = settings
        .into_iter()
        .map(|setting| match (setting.table.as_str(), setting.key) {
            ("[[hooks]]", "url") => {
                let url = url::Url::parse(&text_of(&setting.value)).ok();
                let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or("?");
                let scheme = url.as_ref().map_or("?", |url| url.scheme());
                let value = format!("\"{scheme}://{host}/…\"");
                Setting { value, ..setting }
            }
            ("[[hooks]]", "command") => {
                let program = setting.value.split("\", \"").next().unwrap_or_default();
                let value = format!("{}\", …]", program.trim_end_matches(['"', ']']));
                Setting { value, ..setting }
            }
            _ => setting,
        })
        .collect();
    config::to_toml(&settings, |_| None)
}

async fn status() -> String {
    match connect().await {
        Ok(mut client) => {
            let mut status = client
                .call(calls::Status)
                .await
                .map_err(CommandFailure::from);
            // Addresses of apps stay out, as in the report on the keys.
            if let Ok(status) = &mut status {
                let both = [&mut status.refused, &mut status.refused_apps];
                for refused in both.into_iter().flatten() {
                    refused.from = None;
                    refused.about = None;
                }
            }
            pretty(&status)
        }
        Err(failure) => pretty::<Value>(&Err(failure)),
    }
}

async fn providers() -> String {
    let providers = ask(None, async |daemon| daemon.call(calls::Providers).await).await;
    pretty(&providers)
}

fn keys(clients: Result<ClientList, CommandFailure>) -> String {
    let clients = match clients {
        Ok(clients) => clients.clients,
        Err(failure) => return pretty::<Value>(&Err(failure)),
    };
    let keys = clients.into_iter().enumerate().map(|(index, client)| {
        json!({
            "name": format!("client-{}", index + 1),
            "created_at": client.created_at,
            "rotated_at": client.rotated_at,
            "providers": client.providers,
            "paths": client.paths,
            "in_flight": client.in_flight,
            "requests": client.requests,
            "last_used_at": client.last_used_at,
            "places": client.last_used_from.len(),
        })
    });
    pretty(&Ok(keys.collect::<Vec<_>>()))
}

fn pretty<T: Serialize>(answer: &Result<T, CommandFailure>) -> String {
    match answer {
        Ok(answer) => serde_json::to_string_pretty(answer).unwrap_or_default() + "\n",
        Err(failure) => format!("{}\n", failure.message()),
    }
}

async fn first_line(call: &ProgramCall) -> String {
    let said = call.clone().within(QUESTION).words().await;
    said.lines().next().unwrap_or_default().to_owned()
}

/// The text of a TOML string.
fn text_of(toml: &str) -> String {
    let table: Option<toml::Table> = toml::from_str(&format!("value = {toml}")).ok();
    let value = table.and_then(|mut table| table.remove("value"));
    match value {
        Some(toml::Value::String(text)) => text,
        Some(_) | None => String::new(),
    }
}
