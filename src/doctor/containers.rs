//! How containers reach the service.

use std::sync::Arc;

use super::facts::Facts;
use super::system;
use super::{Finding, Fix, Group, Verdict, on_a_thread};
use crate::config::{self, Listener};
use crate::containers::{
    self, Door, EngineState, Machine, Reach, Step, Surroundings, Way, WayKind, World,
};
use crate::paths::Environment;

const GROUP: Group = Group::Containers;

/// In `detail` with all ways and steps; else one line.
pub(super) async fn examine(facts: Arc<Facts>, detail: bool) -> Vec<Finding> {
    on_a_thread(facts, move |facts| look(facts, detail)).await
}

fn look(facts: &Facts, detail: bool) -> Vec<Finding> {
    let surroundings = surroundings(&facts.environment);
    let ways = ways(facts, &doors(facts), &surroundings);
    if detail {
        let mut findings = engines(&surroundings);
        findings.extend(surroundings.firewalls.iter().map(|firewall| {
            let text = "It is on, and may block containers from the host's address.";
            GROUP.finds(firewall.as_str(), Verdict::Info, text)
        }));
        let planned = planned(facts, &surroundings);
        let after = |at: usize| planned.as_ref().and_then(|ways| ways.get(at));
        let ways = ways.iter().enumerate();
        findings.extend(ways.map(|(at, way)| {
            let is_written = matches!(way.reach, Reach::NotSetUp(_))
                && after(at).is_some_and(|after| !matches!(after.reach, Reach::NotSetUp(_)));
            if is_written {
                return waits_for_restart(way, facts);
            }
            in_detail(way, facts)
        }));
        return findings;
    }
    vec![summary(&surroundings, &ways)]
}

fn ways(facts: &Facts, doors: &[Door], surroundings: &Surroundings) -> Vec<Way> {
    let loaded = facts.loaded.as_ref();
    containers::ways(World {
        doors,
        surroundings,
        is_bare: !loaded.is_ok_and(config::Loaded::names_listeners),
    })
}

/// The ways after the next start of a running daemon: the file may already have the missing lines.
fn planned(facts: &Facts, surroundings: &Surroundings) -> Option<Vec<Way>> {
    facts.running()?;
    let doors = of_config(facts, &facts.next_listeners());
    Some(ways(facts, &doors, surroundings))
}

fn waits_for_restart(way: &Way, facts: &Facts) -> Finding {
    let text = "The configuration has a listener for this way, which opens at the next start.";
    let finding = GROUP.finds(label(way.kind), Verdict::Info, text);
    finding.fixes(facts.restart_as_it_is())
}

/// The engines of this machine, and their networks.
pub fn surroundings(environment: &Environment) -> Surroundings {
    containers::look(&Machine {
        root: "/".into(),
        home: std::env::home_dir(),
        runtime: environment.runtime_base(),
        programs: system::programs(),
        is_root: system::our_user() == 0,
    })
}

/// Where the running daemon listens, else where it would.
fn doors(facts: &Facts) -> Vec<Door> {
    match facts.running() {
        Some(answers) => {
            let listeners = answers.status.listeners.iter();
            listeners.filter_map(Door::of_status).collect()
        }
        None => of_config(facts, &facts.config.listeners),
    }
}

fn of_config(facts: &Facts, listeners: &[Listener]) -> Vec<Door> {
    let default = facts.config.default_provider.as_str();
    let listeners = listeners.iter();
    listeners.map(|it| Door::of_config(it, default)).collect()
}

fn engines(surroundings: &Surroundings) -> Vec<Finding> {
    let mut findings: Vec<Finding> = surroundings
        .engines
        .iter()
        .map(|engine| {
            let name = engine.kind.as_str();
            let found = engine.found.display();
            let text = match engine.state {
                EngineState::Ready => format!("It is available ({found})."),
                EngineState::Forbidden => {
                    format!("It is installed, but this user can't use {found}.")
                }
                EngineState::Stopped => format!("It is installed ({found}), but not running."),
            };
            GROUP.finds(name, Verdict::Info, text)
        })
        .collect();
    if findings.is_empty() {
        let text = "Neither Docker nor Podman was found.";
        findings.push(GROUP.finds("engines", Verdict::Skip, text));
    }
    findings.extend(surroundings.bridges.iter().map(|bridge| {
        let addresses: Vec<_> = bridge.addresses.iter().map(ToString::to_string).collect();
        let text = format!("In its containers the host is {}.", addresses.join(" and "));
        GROUP.finds(bridge.name.clone(), Verdict::Info, text)
    }));
    findings
}

fn label(kind: WayKind) -> &'static str {
    match kind {
        WayKind::HostNetwork | WayKind::Desktop => "host network",
        WayKind::Bridge => "bridge address",
        WayKind::MappedLoopback => "mapped loopback",
        WayKind::Socket => "Unix socket",
    }
}

fn in_detail(way: &Way, facts: &Facts) -> Finding {
    let name = label(way.kind);
    let runs = facts.running().is_some();
    let mut finding = match &way.reach {
        Reach::Works(how) => {
            let key = if way.target.needs_key {
                ", with a client key as API key"
            } else {
                ", with any API key"
            };
            let (verdict, verb) = if runs {
                (Verdict::Ok, "works")
            } else {
                (Verdict::Info, "works once hermes-proxyd runs")
            };
            let text = format!("This way {verb} ({how}): {}{key}.", way.target.base_url());
            GROUP.finds(name, verdict, text)
        }
        Reach::Blocked(why) => {
            let text = format!("This way does not work yet: {why}.");
            GROUP.finds(name, Verdict::Warn, text)
        }
        Reach::NotSetUp(why) => GROUP.finds(
            name,
            Verdict::Info,
            format!("This way is not set up: {why}."),
        ),
        Reach::Impossible(why) => GROUP.finds(
            name,
            Verdict::Skip,
            format!("This way is not available here: {why}."),
        ),
    };
    let is_new = matches!(way.reach, Reach::NotSetUp(_));
    for step in &way.steps {
        finding = match step {
            Step::Run(command) => finding.run(command.clone()),
            Step::Configure(lines) => finding
                .advice(add_to(facts))
                .fix(Fix::Configure(lines.clone())),
            Step::Advice(text) => finding.advice(text.clone()),
        };
    }
    if is_new && !way.steps.is_empty() {
        finding = finding.fixes(facts.restart_as_it_is());
    }
    finding
}

fn add_to(facts: &Facts) -> String {
    match &facts.file {
        Some(file) => format!("Add to {}:", file.display()),
        None => "Add to the configuration:".to_owned(),
    }
}

fn summary(surroundings: &Surroundings, ways: &[Way]) -> Finding {
    let name = "ways";
    if surroundings.engines.is_empty() && surroundings.bridges.is_empty() {
        let text = "Neither Docker nor Podman was found.";
        return GROUP.finds(name, Verdict::Skip, text);
    }
    let blocked = ways.iter().find_map(|way| match &way.reach {
        Reach::Blocked(why) => Some(why),
        Reach::Works(_) | Reach::NotSetUp(_) | Reach::Impossible(_) => None,
    });
    if let Some(why) = blocked {
        let finding = GROUP.finds(
            name,
            Verdict::Warn,
            format!("One does not work yet: {why}."),
        );
        return finding.run("hermesctl doctor --containers");
    }
    let works: Vec<_> = ways
        .iter()
        .filter(|way| way.works())
        .map(|way| label(way.kind))
        .collect();
    let text = if works.is_empty() {
        "Containers have no way to reach hermes-proxyd yet.".to_owned()
    } else {
        format!("Containers can reach it by: {}.", works.join(", "))
    };
    GROUP
        .finds(name, Verdict::Info, text)
        .run("hermesctl doctor --containers")
}
