//! How containers reach the service.

use std::sync::Arc;

use super::blocking_check::on_a_thread;
use super::facts::DoctorFacts;
use super::system;
use super::{DoctorFinding, FindingGroup, FindingVerdict, Fix};
use crate::config::{self, Listener};
use crate::containers::{
    self, AccessPath, ConnectStep, EngineState, HostMachine, ListenEndpoint, Reachability,
    Surroundings, WayKind, World,
};
use crate::paths::Environment;

const GROUP: FindingGroup = FindingGroup::Containers;

/// In `detail` with all ways and steps; else one line.
pub(super) async fn examine(facts: Arc<DoctorFacts>, detail: bool) -> Vec<DoctorFinding> {
    on_a_thread(facts, move |facts| look(facts, detail)).await
}

fn look(facts: &DoctorFacts, detail: bool) -> Vec<DoctorFinding> {
    let surroundings = surroundings(&facts.environment);
    let ways = ways(facts, &doors(facts), &surroundings);
    if detail {
        let mut findings = engines(&surroundings);
        findings.extend(surroundings.firewalls.iter().map(|firewall| {
            let text = "It is on, and may block containers from the host's address.";
            GROUP.finds(firewall.as_str(), FindingVerdict::Info, text)
        }));
        let planned = planned(facts, &surroundings);
        let after = |at: usize| planned.as_ref().and_then(|ways| ways.get(at));
        let ways = ways.iter().enumerate();
        findings.extend(ways.map(|(at, way)| {
            let is_written = matches!(way.reach, Reachability::NotSetUp(_))
                && after(at).is_some_and(|after| !matches!(after.reach, Reachability::NotSetUp(_)));
            if is_written {
                return waits_for_restart(way, facts);
            }
            in_detail(way, facts)
        }));
        return findings;
    }
    vec![summary(&surroundings, &ways)]
}

fn ways(
    facts: &DoctorFacts,
    doors: &[ListenEndpoint],
    surroundings: &Surroundings,
) -> Vec<AccessPath> {
    let loaded = facts.loaded.as_ref();
    containers::ways(World {
        doors,
        surroundings,
        is_bare: !loaded.is_ok_and(config::Loaded::names_listeners),
    })
}

/// The ways after the next start of a running daemon: the file may already have the missing lines.
fn planned(facts: &DoctorFacts, surroundings: &Surroundings) -> Option<Vec<AccessPath>> {
    facts.running()?;
    let doors = of_config(facts, &facts.next_listeners());
    Some(ways(facts, &doors, surroundings))
}

fn waits_for_restart(way: &AccessPath, facts: &DoctorFacts) -> DoctorFinding {
    let text = "The configuration has a listener for this way, which opens at the next start.";
    let finding = GROUP.finds(label(way.kind), FindingVerdict::Info, text);
    finding.fixes(facts.restart_as_it_is())
}

/// The engines of this machine, and their networks.
pub fn surroundings(environment: &Environment) -> Surroundings {
    containers::look(&HostMachine {
        root: "/".into(),
        home: std::env::home_dir(),
        runtime: environment.runtime_base(),
        programs: system::programs(),
        is_root: system::our_user() == 0,
    })
}

/// Where the running daemon listens, else where it would.
fn doors(facts: &DoctorFacts) -> Vec<ListenEndpoint> {
    match facts.running() {
        Some(answers) => {
            let listeners = answers.status.listeners.iter();
            listeners.filter_map(ListenEndpoint::of_status).collect()
        }
        None => of_config(facts, &facts.config.listeners),
    }
}

fn of_config(facts: &DoctorFacts, listeners: &[Listener]) -> Vec<ListenEndpoint> {
    let default = facts.config.default_provider.as_str();
    let listeners = listeners.iter();
    listeners
        .map(|it| ListenEndpoint::of_config(it, default))
        .collect()
}

fn engines(surroundings: &Surroundings) -> Vec<DoctorFinding> {
    let mut findings: Vec<DoctorFinding> = surroundings
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
            GROUP.finds(name, FindingVerdict::Info, text)
        })
        .collect();
    if findings.is_empty() {
        let text = "Neither Docker nor Podman was found.";
        findings.push(GROUP.finds("engines", FindingVerdict::Skip, text));
    }
    findings.extend(surroundings.bridges.iter().map(|bridge| {
        let addresses: Vec<_> = bridge.addresses.iter().map(ToString::to_string).collect();
        let text = format!("In its containers the host is {}.", addresses.join(" and "));
        GROUP.finds(bridge.name.clone(), FindingVerdict::Info, text)
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

fn in_detail(way: &AccessPath, facts: &DoctorFacts) -> DoctorFinding {
    let name = label(way.kind);
    let runs = facts.running().is_some();
    let mut finding = match &way.reach {
        Reachability::Works(how) => {
            let key = if way.target.needs_key {
                ", with a client key as API key"
            } else {
                ", with any API key"
            };
            let (verdict, verb) = if runs {
                (FindingVerdict::Ok, "works")
            } else {
                (FindingVerdict::Info, "works once hermes-proxyd runs")
            };
            let text = format!("This way {verb} ({how}): {}{key}.", way.target.base_url());
            GROUP.finds(name, verdict, text)
        }
        Reachability::Blocked(why) => {
            let text = format!("This way does not work yet: {why}.");
            GROUP.finds(name, FindingVerdict::Warn, text)
        }
        Reachability::NotSetUp(why) => GROUP.finds(
            name,
            FindingVerdict::Info,
            format!("This way is not set up: {why}."),
        ),
        Reachability::Impossible(why) => GROUP.finds(
            name,
            FindingVerdict::Skip,
            format!("This way is not available here: {why}."),
        ),
    };
    let is_new = matches!(way.reach, Reachability::NotSetUp(_));
    for step in &way.steps {
        finding = match step {
            ConnectStep::Run(command) => finding.run(command.clone()),
            ConnectStep::Configure(lines) => finding
                .advice(add_to(facts))
                .fix(Fix::Configure(lines.clone())),
            ConnectStep::Advice(text) => finding.advice(text.clone()),
        };
    }
    if is_new && !way.steps.is_empty() {
        finding = finding.fixes(facts.restart_as_it_is());
    }
    finding
}

fn add_to(facts: &DoctorFacts) -> String {
    match &facts.file {
        Some(file) => format!("Add to {}:", file.display()),
        None => "Add to the configuration:".to_owned(),
    }
}

fn summary(surroundings: &Surroundings, ways: &[AccessPath]) -> DoctorFinding {
    let name = "ways";
    if surroundings.engines.is_empty() && surroundings.bridges.is_empty() {
        let text = "Neither Docker nor Podman was found.";
        return GROUP.finds(name, FindingVerdict::Skip, text);
    }
    let blocked = ways.iter().find_map(|way| match &way.reach {
        Reachability::Blocked(why) => Some(why),
        Reachability::Works(_) | Reachability::NotSetUp(_) | Reachability::Impossible(_) => None,
    });
    if let Some(why) = blocked {
        let finding = GROUP.finds(
            name,
            FindingVerdict::Warn,
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
        .finds(name, FindingVerdict::Info, text)
        .run("hermesctl doctor --containers")
}
