//! `hermesctl connect`: an app's settings, for the place where it runs.
//!
//! The facts about apps and snippets are in pure files, and `containers` finds the access path to the daemon. This file
//! asks the daemon or the configuration, and makes a key if one is needed.

pub(in crate::cli) mod apps;
mod chosen_api;
mod facts;
mod fill;
mod models;
mod place;
pub(super) mod render;
pub(in crate::cli) mod view;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use url::Url;

use super::args::{AppLocationArg, Connect};

use super::connection::DaemonConnection;
use super::models::ListedModel;
use super::output::{CommandFailure, CommandOutput, Exit};
use super::{programs, screen, text};
use crate::config;
use crate::containers::{
    self, AccessPath, AppTarget, ConnectStep, Engine, ListenEndpoint, Network, Reachability,
    WayKind,
};
use crate::control::client::ClientError;
use crate::control::protocol::calls;
use crate::control::protocol::{ClientAdd, ClientChoice, ErrorCode, IssuedKey};
use crate::suggest::did_you_mean;
use apps::{APPS, App, AppApi};
use facts::ConnectFacts;
pub(in crate::cli) use fill::File;
use fill::Values;
use models::AppModels;
use place::AppLocation;
use view::KnownApp;
use view::{ConnectListing, ConnectOutput};

/// How the app reaches the daemon.
struct ConnectPlan {
    way: AccessPath,
    /// Whether the configuration is complete, but the running daemon has not loaded it yet.
    waits_for_restart: bool,
}

/// A key that the app needs.
struct AppKey {
    name: String,
    /// The key, if it was made in this run.
    made: Option<String>,
    note: String,
}

/// Lists the apps, or shows how to connect one.
pub(super) async fn connect(
    mut flags: Connect,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let Some(app) = flags.app.as_deref().and_then(apps::by_name) else {
        return list(output);
    };
    let facts = ConnectFacts::gather(flags.config.as_deref()).await?;
    let choice = choose(app, &flags, &facts.surroundings.engines);
    check(&flags, &choice, &facts)?;
    let mut plan = ConnectPlan::new(app, &choice, &facts);
    let served = serve(app, &mut flags, &facts, &plan.way.target.provider)?;
    let base_url = base_url(&flags, choice.place, &mut plan, &facts.endpoints)?;
    plan.way.target.needs_key |= facts.is_keyed(&flags, &plan.way.target.provider);
    let key = if plan.way.target.needs_key {
        Some(key(app, &flags).await?)
    } else {
        None
    };
    let decided = DecidedConnection {
        choice,
        plan,
        base_url,
        key,
        served,
    };
    let connected = put_together(app, &flags, &facts, decided).await;
    show(connected, output)
}

/// What was decided for the app.
struct DecidedConnection {
    choice: AppLocation,
    plan: ConnectPlan,
    base_url: String,
    key: Option<AppKey>,
    served: Option<AppServing>,
}

/// Which provider and API serve the app.
struct AppServing {
    speaks: AppApi,
    is_translated: bool,
    note: Option<String>,
}

/// Chooses the provider unless the user named one or gave an address; `None` if no provider is known.
fn serve(
    app: &App,
    flags: &mut Connect,
    facts: &ConnectFacts,
    own: &str,
) -> Result<Option<AppServing>, CommandFailure> {
    let address = flags.address.as_deref().unwrap_or_default();
    let is_whole = address.trim_end_matches('/').ends_with("/v1");
    let Some(known) = facts.served.as_ref().filter(|_| !is_whole) else {
        return Ok(None);
    };
    let question = chosen_api::ApiQuestion {
        app,
        own,
        named: flags.provider.as_deref(),
        routing: facts.routing.as_ref(),
    };
    let chosen = chosen_api::choose(question, known)?;
    let served = AppServing {
        speaks: chosen.speaks,
        is_translated: chosen.is_translated,
        note: chosen.note(app),
    };
    flags.provider = Some(chosen.provider.to_owned());
    Ok(Some(served))
}

/// Where the app runs: as given by the user, otherwise by a guess from this machine's engines.
fn choose(app: &App, flags: &Connect, engines: &[Engine]) -> AppLocation {
    match flags.from {
        Some(place) => AppLocation::named(place, flags.socket),
        // A user who gives an address knows where the app runs.
        None if flags.address.is_some() => AppLocation::named(AppLocationArg::Bare, flags.socket),
        None => place::guess(app, flags.socket, engines),
    }
}

impl ConnectPlan {
    fn new(app: &App, choice: &AppLocation, facts: &ConnectFacts) -> Self {
        let network = match app.container {
            _ if choice.socket => Network::Socket,
            Some(_) => Network::Compose,
            None => Network::Chosen,
        };
        let find = |endpoints: &[ListenEndpoint]| {
            containers::way(facts.world(endpoints), choice.place.into(), network)
        };
        let now = find(&facts.endpoints);
        // Lines that the file already has would be duplicated.
        let later = (now.lines().is_some() && !facts.planned.is_empty())
            .then(|| find(&facts.planned))
            .filter(|later| later.lines().is_none());
        Self {
            waits_for_restart: later.is_some(),
            way: later.unwrap_or(now),
        }
    }
}

fn list(output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    output.answer(&known(), render::list)?;
    Ok(Exit::Ok)
}

/// All that can be connected.
pub(in crate::cli) fn known() -> ConnectListing {
    let apps = APPS.iter().map(|app| KnownApp {
        app: app.name,
        title: app.title,
        what: app.what,
    });
    ConnectListing {
        apps: apps.collect(),
    }
}

/// Checks the values that are copied into files unchanged.
fn check(
    flags: &Connect,
    choice: &AppLocation,
    facts: &ConnectFacts,
) -> Result<(), CommandFailure> {
    if flags.socket
        && matches!(
            choice.place,
            AppLocationArg::Bare | AppLocationArg::DockerDesktop
        )
    {
        let what = "`--socket` is for a container that mounts a folder of this machine.";
        return Err(CommandFailure::new(what)
            .with_hint("Add `--from docker` or `--from podman`; Docker Desktop needs no socket."));
    }
    for model in [&flags.model, &flags.embedding_model].into_iter().flatten() {
        if !fill::is_plain(model) {
            let what = format!("{model:?} can't be the name of a model.");
            return Err(
                CommandFailure::new(what).with_hint("`--model` takes letters, digits and -._:/@+")
            );
        }
    }
    let known = &facts.providers;
    let unknown = flags.provider.as_ref().filter(|name| !known.contains(name));
    unknown.map_or(Ok(()), |name| {
        let message = format!("No provider {name:?} is configured.");
        let known_ones = format!("The providers are: {}", known.join(", "));
        let names = known.iter().map(String::as_str);
        let hint = match did_you_mean(name, names) {
            // A built-in provider only has to be set up.
            _ if config::login_table(name).is_some() => {
                format!("Set it up first: hermesctl setup --provider {name}")
            }
            Some(near) => format!("Did you mean {near:?}? {known_ones}"),
            None => known_ones,
        };
        Err(CommandFailure::new(message)
            .with_code(Exit::Failed, "unknown_provider")
            .with_hint(hint))
    })
}

/// The path of the provider on an endpoint whose own provider is `default`.
fn provider_path(flags: &Connect, default: &str) -> String {
    match flags.provider.as_deref() {
        Some(name) if name != default => format!("/{name}/v1"),
        _ => "/v1".to_owned(),
    }
}

fn base_url(
    flags: &Connect,
    place: AppLocationArg,
    plan: &mut ConnectPlan,
    endpoints: &[ListenEndpoint],
) -> Result<String, CommandFailure> {
    let way = &mut plan.way;
    let target = &way.target;
    let Some(address) = &flags.address else {
        return Ok(target.origin() + &provider_path(flags, &target.provider));
    };
    let wrong = || {
        CommandFailure::new(format!("{address:?} is not an address that apps can use.")).with_hint(
            "Give `--address` a URL such as http://nas.example:8645 or https://ai.example/v1.",
        )
    };
    let url = Url::parse(address).map_err(|_| wrong())?;
    let scheme = matches!(url.scheme(), "http" | "https");
    let mut text = url.as_str().trim_end_matches('/').to_owned();
    if !scheme || url.query().is_some() || url.fragment().is_some() || !fill::is_plain(&text) {
        return Err(wrong());
    }
    if place != AppLocationArg::Bare && is_loopback(&url) {
        let what = format!(
            "A container can't reach this machine at {address}: inside it, that address is the \
             container itself."
        );
        return Err(CommandFailure::new(what).with_hint(
            "Omit `--address`, or use `--from bare` for a container with `--network host`.",
        ));
    }
    if !text.ends_with("/v1") {
        text += &provider_path(flags, &target.provider);
    }
    let needs_key = !is_open(&url, endpoints);
    let is_unlocked = needs_key && endpoints.iter().any(|endpoint| !endpoint.needs_key);
    let note = "If that URL belongs to a reverse proxy or tunnel on this machine, put `auth = \
                \"keys\"` under the [[listen]] that it forwards to: a proxy that adds no headers \
                looks like a program of yours, and everyone who can reach it could use your \
                subscription.";
    *way = AccessPath {
        kind: WayKind::HostNetwork,
        reach: Reachability::Works("at the URL that was named".to_owned()),
        target: AppTarget {
            needs_key,
            extra_hosts: false,
            socket: None,
            ..target.clone()
        },
        steps: is_unlocked
            .then(|| ConnectStep::Advice(note.to_owned()))
            .into_iter()
            .collect(),
    };
    plan.waits_for_restart = false;
    Ok(text)
}

/// The IP address in a URL, if it needs no look-up.
fn ip_of(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        url::Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        url::Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        url::Host::Domain("localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        url::Host::Domain(_) => None,
    }
}

/// Whether a URL leads back to the machine that uses it.
fn is_loopback(url: &Url) -> bool {
    ip_of(url).is_some_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether a URL leads to an endpoint on this machine that needs no key.
fn is_open(url: &Url, endpoints: &[ListenEndpoint]) -> bool {
    let (Some(ip), Some(port)) = (ip_of(url), url.port_or_known_default()) else {
        return false;
    };
    let address = SocketAddr::new(ip, port);
    let mut open = endpoints.iter().filter(|endpoint| !endpoint.needs_key);
    open.any(|endpoint| endpoint.seen_from_here() == Some(address))
}

/// Makes the app's key, unless it has one or the user wants none.
async fn key(app: &App, flags: &Connect) -> Result<AppKey, CommandFailure> {
    let name = flags.name.clone().unwrap_or_else(|| app.name.to_owned());
    if flags.no_key {
        let note = format!(
            "Replace YOUR-CLIENT-KEY with the app's client key; `hermesctl clients add {name}` \
             makes one."
        );
        return Ok(AppKey {
            name,
            made: None,
            note,
        });
    }
    let mut connection = DaemonConnection::open(flags.config.as_deref()).await?;
    let add = ClientAdd {
        name: name.clone(),
        ..ClientAdd::default()
    };
    let choice = ClientChoice { name: name.clone() };
    let client = &mut connection.client;
    let (new, note) = match client.call(calls::ClientAdd(add)).await {
        Err(ClientError::Daemon(error)) if error.code == ErrorCode::ClientExists => {
            if flags.new_key {
                let note = format!(
                    "{name} has a new key, which is in the files below; the old one no longer \
                     works. The key is shown only once: save it now."
                );
                (
                    client.call(calls::ClientRotate(choice)).await.map(Some),
                    note,
                )
            } else {
                let note = format!(
                    "{name} already has a key, and keys are shown only once. Replace \
                     YOUR-CLIENT-KEY with it, or run the same command with `--new-key`: it makes a \
                     new key and revokes the old one."
                );
                (Ok(None), note)
            }
        }
        added => {
            let note = format!(
                "A client key was made for {name} and is in the files below. It is shown only \
                 once: save it now. `--new-key` replaces it later; `hermesctl clients revoke \
                 {name}` revokes it."
            );
            (added.map(Some), note)
        }
    };
    let made = match new {
        Ok(new) => new.map(|new| new.key.expose().to_owned()),
        Err(error) => return Err(connection.explain(error).await),
    };
    connection.close().await;
    Ok(AppKey { name, made, note })
}

async fn put_together(
    app: &'static App,
    flags: &Connect,
    facts: &ConnectFacts,
    decided: DecidedConnection,
) -> ConnectOutput {
    let DecidedConnection {
        choice,
        plan,
        base_url,
        key,
        served,
    } = decided;
    let way = plan.way;
    let made = key.as_ref().and_then(|key| key.made.clone());
    // To be read before the files.
    let mut lead: Vec<String> = choice.lead.into_iter().collect();
    lead.extend(served.iter().filter_map(|served| served.note.clone()));
    lead.extend(key.iter().map(|key| key.note.clone()));
    let mut notes = notes_on(&way);
    let models = choose_models(app, flags, facts, made.as_deref()).await;
    notes.extend(models.notes);
    let shown = match (&key, &made) {
        (None, _) => fill::ANY_KEY,
        (Some(_), Some(key)) => key,
        (Some(_), None) => "YOUR-CLIENT-KEY",
    };
    let values = Values {
        base_url: &base_url,
        key: shown,
        model: models.model.as_deref(),
        embedding_model: models.embedding.as_deref(),
    };
    let mut files = fill::files(
        app,
        &way.target,
        choice.place != AppLocationArg::Bare,
        values,
    );
    notes.extend(taking_effect(choice.place, &files));
    let lines = way.lines();
    if let Some(lines) = lines {
        files.insert(0, missing_file(lines, facts));
    }
    let waits = plan.waits_for_restart || lines.is_some();
    if !facts.is_running() || waits {
        let first = first_step(facts, lines.is_some()).await;
        notes.insert(0, first);
    }
    let ready = facts.is_running() && !waits && way.works();
    notes.extend(app.notes.iter().map(|note| fill::fill(note, values)));
    let setting = served.as_ref().and_then(|served| served.speaks.setting);
    notes.extend(setting.map(str::to_owned));
    notes.extend(way.by_hand().filter(|_| is_by_hand(app, &way)));
    ConnectOutput {
        app: app.name,
        title: app.title,
        from: choice.place.name(),
        provider: flags.provider.clone().unwrap_or(way.target.provider),
        path: served.as_ref().map(|served| served.speaks.wire.path()),
        translated: served.is_some_and(|served| served.is_translated),
        ready,
        key: made,
        key_name: key.map(|key| key.name),
        files,
        lead,
        notes,
        base_url,
        model: models.model,
        embedding_model: models.embedding,
    }
}

/// The step that must come first, before the app can reach the daemon.
async fn first_step(facts: &ConnectFacts, lacks_lines: bool) -> String {
    let commands = programs::commands(&facts.environment, facts.pid).await;
    match (lacks_lines, facts.is_running()) {
        (true, true) => format!(
            "First add the lines to the configuration, then restart hermes-proxyd: {commands}"
        ),
        (true, false) => format!(
            "hermes-proxyd is not running. First add the lines to the configuration, then start \
             it: {commands}"
        ),
        (false, true) => {
            format!("The lines were added after hermes-proxyd started. Restart it: {commands}")
        }
        (false, false) => format!("hermes-proxyd is not running. Start it: {commands}"),
    }
}

/// The command that applies a changed compose file.
fn taking_effect(place: AppLocationArg, files: &[File]) -> Option<String> {
    let engine = match place {
        AppLocationArg::Bare => return None,
        AppLocationArg::Docker | AppLocationArg::DockerDesktop => "docker",
        AppLocationArg::Podman => "podman",
    };
    let compose = files.iter().find(|file| file.name == fill::COMPOSE)?;
    let name = &compose.name;
    Some(format!(
        "To apply {name}, run this in its folder: {engine} compose up -d"
    ))
}

/// The steps that the access path needs, apart from configuration lines.
fn notes_on(way: &AccessPath) -> Vec<String> {
    let mut notes = Vec::new();
    if let Reachability::Blocked(why) = &way.reach {
        notes.push(format!("This way does not work yet: {why}."));
    }
    let steps = way.steps.iter();
    notes.extend(steps.filter_map(|step| match step {
        ConnectStep::Run(command) => Some(format!("Run: {command}")),
        ConnectStep::Advice(text) => Some(text.clone()),
        ConnectStep::Configure(_) => None,
    }));
    let lacks_lines = way.lines().is_some();
    match way.kind {
        WayKind::Bridge if lacks_lines => notes.push(
            "To avoid an open port, run the same command with --socket.".to_owned(),
        ),
        WayKind::MappedLoopback => notes.push(format!(
            "Podman as root: add a [[listen]] with address = \"podman0:{}\", restart hermes-proxyd, \
             and run this again.",
            way.target.port
        )),
        WayKind::HostNetwork | WayKind::Desktop | WayKind::Bridge | WayKind::Socket => {}
    }
    notes
}

/// Whether the user has to start the app's container by hand.
fn is_by_hand(app: &App, way: &AccessPath) -> bool {
    let in_container = match way.kind {
        WayKind::Bridge | WayKind::MappedLoopback => true,
        WayKind::HostNetwork | WayKind::Desktop | WayKind::Socket => false,
    };
    in_container && app.container.is_none()
}

fn missing_file(lines: &[String], facts: &ConnectFacts) -> File {
    let file = facts.file.as_ref();
    let file = file.map(|file| format!(", {}", file.display()));
    File {
        name: "config.toml".to_owned(),
        about: format!(
            "to add to the configuration of hermes-proxyd{}",
            file.unwrap_or_default()
        ),
        text: lines.join("\n") + "\n",
    }
}

/// The chat and embedding models: as given by the user, otherwise from the provider's list.
async fn choose_models(
    app: &App,
    flags: &Connect,
    facts: &ConnectFacts,
    key: Option<&str>,
) -> AppModels {
    let mut models = AppModels {
        model: flags.model.clone(),
        embedding: flags.embedding_model.clone(),
        notes: Vec::new(),
    };
    match listed(flags, facts, key).await {
        Ok(listed) => models.choose(&listed, app.preferred_models()),
        Err(_) if flags.model.is_some() => {}
        Err(why) => models.notes.push(format!(
            "The list of models is not available ({}): replace YOUR-MODEL with a name, or use \
             --model.",
            text::inline(
                why.trim_start_matches("hermes-proxyd: ")
                    .trim_end_matches('.')
            )
        )),
    }
    models
}

/// The models that the provider lists, or why they are unknown.
async fn listed(
    flags: &Connect,
    facts: &ConnectFacts,
    key: Option<&str>,
) -> Result<Vec<ListedModel>, String> {
    if !facts.is_running() {
        return Err("hermes-proxyd is not running".to_owned());
    }
    let endpoints = facts.endpoints.iter();
    let endpoints = endpoints.filter(|endpoint| !endpoint.needs_key || key.is_some());
    let endpoint = endpoints.filter_map(|endpoint| Some((endpoint, endpoint.seen_from_here()?)));
    let Some((endpoint, address)) = endpoint.min_by_key(|(endpoint, _)| endpoint.needs_key) else {
        return Err("a key is needed to ask".to_owned());
    };
    let path = provider_path(flags, &endpoint.provider) + "/models";
    let is_keyed = facts.is_keyed(flags, &endpoint.provider);
    if is_keyed && key.is_none() {
        return Err("a key is needed to ask".to_owned());
    }
    let key = key.filter(|_| endpoint.needs_key || is_keyed);
    let key = key.map(|key| IssuedKey::new(key.to_owned()));
    models::list(address, &path, key.as_ref()).await
}

/// Prints the files to standard output and the notes to standard error.
fn show(mut connected: ConnectOutput, output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let lead = std::mem::take(&mut connected.lead);
    if output.is_json() {
        connected.notes.splice(0..0, lead);
    } else {
        let lead = render::lead(&lead, screen::error_style());
        io::stderr().lock().write_all(lead.as_bytes())?;
    }
    let shown = output.answer(&connected, render::files);
    shown.map_err(|error| {
        let failure = CommandFailure::from(error);
        match (&connected.key, &connected.key_name) {
            (Some(_), Some(name)) => failure.with_hint(format!(
                "A key was made, but could not be shown. Make another: hermesctl clients rotate \
                 {name}"
            )),
            _ => failure,
        }
    })?;
    if !output.is_json() {
        let notes = render::notes(&connected, screen::error_style());
        io::stderr().lock().write_all(notes.as_bytes())?;
    }
    Ok(Exit::Ok)
}
