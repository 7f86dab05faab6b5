//! `hermesctl connect`: what an app is configured with, where it runs.
//!
//! What is known of the apps, of the ways to the daemon and of the snippets lies in pure files; here
//! the daemon or the configuration is asked, and a key is made where one is needed.

pub(in crate::cli) mod apps;
mod fill;
mod models;
mod way;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use serde::Serialize;
use url::Url;

use super::args::{Connect, Place};
use super::connect as reach_daemon;
use super::connection::Connection;
use super::output::{Exit, Failure, Output};
use super::{render, screen};
use crate::config::load;
use crate::control::client::ClientError;
use crate::control::protocol::{ClientAdd, ErrorCode, Key};
use crate::paths::Environment;
use apps::{APPS, App};
pub(in crate::cli) use fill::File;
use fill::Values;
use way::{Door, Way};

/// The JSON form of `connect APP`.
#[derive(Serialize)]
pub(in crate::cli) struct Connected {
    /// The app's name on the command line.
    pub(in crate::cli) app: &'static str,
    /// The app's name for people.
    pub(in crate::cli) title: &'static str,
    /// Where it runs.
    pub(in crate::cli) from: &'static str,
    /// What it is configured with.
    pub(in crate::cli) base_url: String,
    /// Whether hermes-proxyd listens where the app looks for it.
    pub(in crate::cli) ready: bool,
    /// The key that was made, which nobody can show again.
    pub(in crate::cli) key: Option<String>,
    /// The name of the key that the app needs.
    pub(in crate::cli) key_name: Option<String>,
    /// The model, where it is known.
    pub(in crate::cli) model: Option<String>,
    /// The model for embeddings, where it is known.
    pub(in crate::cli) embedding_model: Option<String>,
    /// The files, in the order in which they are needed.
    pub(in crate::cli) files: Vec<File>,
    /// What goes wrong easily.
    pub(in crate::cli) notes: Vec<String>,
}

/// The JSON form of `connect`.
#[derive(Serialize)]
pub(in crate::cli) struct Known {
    /// What can be connected.
    pub(in crate::cli) apps: Vec<KnownApp>,
}

/// An app that can be connected.
#[derive(Serialize)]
pub(in crate::cli) struct KnownApp {
    /// Its name on the command line.
    pub(in crate::cli) app: &'static str,
    /// Its name for people.
    pub(in crate::cli) title: &'static str,
    /// What it is, in a line.
    pub(in crate::cli) what: &'static str,
}

/// What is known of the daemon, running or not.
struct Surroundings {
    doors: Vec<Door>,
    providers: Vec<String>,
    is_running: bool,
}

/// A key that the app needs.
struct AppKey {
    name: String,
    /// The key, if it was made just now.
    made: Option<String>,
    note: String,
}

/// Lists the apps, or shows how to connect one.
pub(super) async fn connect(flags: Connect, output: &mut Output) -> Result<Exit, Failure> {
    let Some(app) = flags.app.as_deref().and_then(apps::by_name) else {
        return list(output);
    };
    let surroundings = Surroundings::look(flags.config.as_deref()).await?;
    check(&flags, &surroundings)?;
    let mut way = way::find(flags.from, flags.socket, &surroundings.doors);
    let base_url = base_url(&flags, &mut way, &surroundings.doors)?;
    let key = if way.needs_key {
        Some(key(app, &flags).await?)
    } else {
        None
    };
    let connected = put_together(app, &flags, &surroundings, (way, base_url, key)).await;
    show(&connected, output)
}

fn list(output: &mut Output) -> Result<Exit, Failure> {
    output.answer(&known(), render::connect::list)?;
    Ok(Exit::Ok)
}

/// All that can be connected.
pub(in crate::cli) fn known() -> Known {
    let apps = APPS.iter().map(|app| KnownApp {
        app: app.name,
        title: app.title,
        what: app.what,
    });
    Known {
        apps: apps.collect(),
    }
}

impl Surroundings {
    /// Asks the daemon, and where none runs the configuration.
    async fn look(config: Option<&Path>) -> Result<Self, Failure> {
        match reach_daemon().await {
            Ok(mut client) => {
                let status = client.status().await?;
                let names = status.providers.iter().map(|one| one.name.clone());
                Ok(Self {
                    doors: status
                        .listeners
                        .iter()
                        .filter_map(Door::of_status)
                        .collect(),
                    providers: names.collect(),
                    is_running: true,
                })
            }
            Err(failure) if failure.exit == Exit::NotRunning => Self::of_config(config),
            Err(failure) => Err(failure),
        }
    }

    fn of_config(file: Option<&Path>) -> Result<Self, Failure> {
        let loaded = load(file, &Environment::from_process());
        let config = loaded.map_err(|error| {
            Failure::new(error.to_string()).with_code(Exit::InvalidConfig, "config_invalid")
        })?;
        let config = config.config;
        let default = config.default_provider.to_string();
        let listeners = config.listeners.iter();
        Ok(Self {
            doors: listeners.map(|it| Door::of_config(it, &default)).collect(),
            providers: config.providers.keys().map(ToString::to_string).collect(),
            is_running: false,
        })
    }
}

/// What the user names goes into files as it is.
fn check(flags: &Connect, surroundings: &Surroundings) -> Result<(), Failure> {
    if flags.socket && matches!(flags.from, Place::Bare | Place::DockerDesktop) {
        let what = "`--socket` is for a container that mounts a folder of this machine.";
        return Err(Failure::new(what)
            .with_hint("Add `--from docker` or `--from podman`; Docker Desktop needs no socket."));
    }
    for model in [&flags.model, &flags.embedding_model].into_iter().flatten() {
        if !fill::is_plain(model) {
            let what = format!("{model:?} can't be the name of a model.");
            return Err(Failure::new(what).with_hint("`--model` takes letters, digits and -._:/@+"));
        }
    }
    let known = &surroundings.providers;
    let unknown = flags.provider.as_ref().filter(|name| !known.contains(name));
    unknown.map_or(Ok(()), |name| {
        let message = format!("No provider {name:?} is configured.");
        let hint = format!("The providers are: {}", known.join(", "));
        Err(Failure::new(message)
            .with_code(Exit::Failed, "unknown_provider")
            .with_hint(hint))
    })
}

/// The path of the provider below a door whose own provider is `default`.
fn provider_path(flags: &Connect, default: &str) -> String {
    match flags.provider.as_deref() {
        Some(name) if name != default => format!("/{name}/v1"),
        _ => "/v1".to_owned(),
    }
}

fn base_url(flags: &Connect, way: &mut Way, doors: &[Door]) -> Result<String, Failure> {
    let Some(address) = &flags.address else {
        let path = provider_path(flags, &way.provider);
        return Ok(format!("http://{}:{}{path}", way.host, way.port));
    };
    let wrong = || {
        Failure::new(format!("{address:?} is no address for apps.")).with_hint(
            "Give `--address` a URL such as http://nas.example:8645 or https://ai.example/v1.",
        )
    };
    let url = Url::parse(address).map_err(|_| wrong())?;
    let scheme = matches!(url.scheme(), "http" | "https");
    let mut text = url.as_str().trim_end_matches('/').to_owned();
    if !scheme || url.query().is_some() || url.fragment().is_some() || !fill::is_plain(&text) {
        return Err(wrong());
    }
    if !text.ends_with("/v1") {
        text += &provider_path(flags, &way.provider);
    }
    *way = Way {
        needs_key: !is_open(&url, doors),
        extra_hosts: false,
        socket: None,
        missing: None,
        notes: Vec::new(),
        ..way.clone()
    };
    Ok(text)
}

/// Whether a URL is a door of this machine that asks for no key.
fn is_open(url: &Url, doors: &[Door]) -> bool {
    let ip = match url.host() {
        Some(url::Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
        Some(url::Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
        Some(url::Host::Domain("localhost")) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(url::Host::Domain(_)) | None => None,
    };
    let (Some(ip), Some(port)) = (ip, url.port_or_known_default()) else {
        return false;
    };
    let address = SocketAddr::new(ip, port);
    let mut open = doors.iter().filter(|door| !door.needs_key);
    open.any(|door| door.seen_from_here() == Some(address))
}

/// Makes the app's key, unless it has one or none is wanted.
async fn key(app: &App, flags: &Connect) -> Result<AppKey, Failure> {
    let name = flags.name.clone().unwrap_or_else(|| app.name.to_owned());
    if flags.no_key {
        let note = format!(
            "Put the app's client key in place of YOUR-CLIENT-KEY; `hermesctl clients add {name}` \
             makes one."
        );
        return Ok(AppKey {
            name,
            made: None,
            note,
        });
    }
    let mut connection = Connection::open(flags.config.as_deref()).await?;
    let add = ClientAdd {
        name: name.clone(),
        ..ClientAdd::default()
    };
    let made = match connection.client.client_add(add).await {
        Ok(new) => Some(new.key.expose().to_owned()),
        Err(ClientError::Daemon(error)) if error.code == ErrorCode::ClientExists => None,
        Err(error) => return Err(connection.explain(error).await),
    };
    connection.close().await;
    let note = if made.is_some() {
        format!(
            "The key is that of {name}, made just now and shown only this once; `hermesctl clients \
             revoke {name}` takes it away."
        )
    } else {
        format!(
            "{name} has a key already, which can't be shown again: put it in place of \
             YOUR-CLIENT-KEY, or make another one, which ends the old one: hermesctl clients rotate \
             {name}"
        )
    };
    Ok(AppKey { name, made, note })
}

async fn put_together(
    app: &'static App,
    flags: &Connect,
    surroundings: &Surroundings,
    (way, base_url, key): (Way, String, Option<AppKey>),
) -> Connected {
    let made = key.as_ref().and_then(|key| key.made.clone());
    let mut notes: Vec<String> = way.notes.clone();
    notes.splice(0..0, key.as_ref().map(|key| key.note.clone()));
    let (model, embedding) = match choose_models(flags, surroundings, made.as_deref()).await {
        Ok(models) => models,
        Err(note) => {
            notes.push(note);
            (flags.model.clone(), flags.embedding_model.clone())
        }
    };
    let shown = match (&key, &made) {
        (None, _) => fill::ANY_KEY,
        (Some(_), Some(key)) => key,
        (Some(_), None) => "YOUR-CLIENT-KEY",
    };
    let values = Values {
        base_url: &base_url,
        key: shown,
        model: model.as_deref(),
        embedding_model: embedding.as_deref(),
    };
    let mut files = fill::files(app, &way, flags.from != Place::Bare, values);
    if let Some(lines) = &way.missing {
        files.insert(0, missing_file(lines));
        notes.insert(
            0,
            "First add the lines to the configuration and restart hermes-proxyd: \
                         hermesctl service restart"
                .to_owned(),
        );
    }
    // A key in a note would be shown twice, and stay in the terminal's memory where talk goes.
    let told = Values {
        key: "KEY",
        ..values
    };
    notes.extend(app.notes.iter().map(|note| fill::fill(note, told)));
    notes.extend(container_note(app, flags, &way));
    Connected {
        app: app.name,
        title: app.title,
        from: flags.from.name(),
        ready: way.missing.is_none(),
        key: made,
        key_name: key.map(|key| key.name),
        files,
        notes,
        base_url,
        model,
        embedding_model: embedding,
    }
}

fn container_note(app: &App, flags: &Connect, way: &Way) -> Option<String> {
    let name = app.name;
    if flags.from == Place::Bare && flags.address.is_none() && app.container.is_some() {
        return Some(format!(
            "In a container, 127.0.0.1 is the container itself. If {} runs in one: `hermesctl \
             connect {name} --from docker` (or podman, or docker-desktop).",
            app.title
        ));
    }
    (way.extra_hosts && app.container.is_none()).then(|| {
        "Start the container with --add-host=host.docker.internal:host-gateway.".to_owned()
    })
}

fn missing_file(lines: &str) -> File {
    let file = Environment::from_process().config_file();
    let file = file.map(|file| file.display().to_string());
    File {
        name: "config.toml".to_owned(),
        about: format!(
            "in the configuration of hermes-proxyd{}",
            file.map(|file| format!(", {file}")).unwrap_or_default()
        ),
        text: lines.to_owned(),
    }
}

/// The model and the one for embeddings: as the user says, else as the provider lists them.
async fn choose_models(
    flags: &Connect,
    surroundings: &Surroundings,
    key: Option<&str>,
) -> Result<(Option<String>, Option<String>), String> {
    let nothing_to_ask = flags.model.is_some() && flags.embedding_model.is_some();
    if nothing_to_ask {
        return Ok((flags.model.clone(), flags.embedding_model.clone()));
    }
    let unknown = |why: &str| {
        format!(
            "The models are not known ({}): put a name in place of YOUR-MODEL, or give it with \
             --model.",
            render::inline(
                why.trim_start_matches("hermes-proxyd: ")
                    .trim_end_matches('.')
            )
        )
    };
    if !surroundings.is_running {
        return Err(unknown("hermes-proxyd is not running"));
    }
    let doors = surroundings.doors.iter();
    let doors = doors.filter(|door| !door.needs_key || key.is_some());
    let door = doors.filter_map(|door| Some((door, door.seen_from_here()?)));
    let Some((door, address)) = door.min_by_key(|(door, _)| door.needs_key) else {
        return Err(unknown("a key is needed to ask"));
    };
    let path = provider_path(flags, &door.provider) + "/models";
    let key = key.filter(|_| door.needs_key);
    let key = key.map(|key| Key::new(key.to_owned()));
    let listed = models::list(address, &path, key.as_ref())
        .await
        .map_err(|why| unknown(&why))?;
    let plain = listed.into_iter().filter(|name| fill::is_plain(name));
    let (embedding, other): (Vec<_>, Vec<_>) =
        plain.partition(|name| name.to_ascii_lowercase().contains("embed"));
    let first = |mut names: Vec<String>| (!names.is_empty()).then(|| names.swap_remove(0));
    Ok((
        flags.model.clone().or_else(|| first(other)),
        flags.embedding_model.clone().or_else(|| first(embedding)),
    ))
}

/// Shows the files on standard output and what is to be said of them on standard error.
fn show(connected: &Connected, output: &mut Output) -> Result<Exit, Failure> {
    let shown = output.answer(connected, render::connect::files);
    shown.map_err(|error| {
        let failure = Failure::from(error);
        match (&connected.key, &connected.key_name) {
            (Some(_), Some(name)) => failure.with_hint(format!(
                "A key was made and is lost; make another: hermesctl clients rotate {name}"
            )),
            _ => failure,
        }
    })?;
    if !output.is_json() {
        let notes = render::connect::notes(connected, screen::error_style());
        io::stderr().lock().write_all(notes.as_bytes())?;
    }
    Ok(Exit::Ok)
}
