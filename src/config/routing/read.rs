//! Reads routes, aliases and the default model; pure.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ProviderName;
use super::super::provider::unknown_provider;
use super::super::reader::{KeyLocation, TableReader, dotted};
use super::super::table::Table;
use super::{ModelGlob, RouteRule, Routing};

/// How many names of a ring of aliases are reported.
const MOST_TOLD: usize = 8;

/// What the file says, with the places at which it can be wrong as a whole.
#[derive(Debug, Default)]
pub(in super::super) struct RoutingRead {
    pub(in super::super) routing: Routing,
    /// The provider of every route.
    providers: Vec<KeyLocation>,
    globs: Vec<(ModelGlob, KeyLocation)>,
}

impl RoutingRead {
    /// Whether a route names this provider.
    pub(in super::super) fn names(&self, provider: &ProviderName) -> bool {
        let mut routes = self.routing.routes.iter();
        routes.any(|route| route.provider == *provider)
    }
}

/// Reads them at the file's top level.
pub(in super::super) fn read(root: &TableReader<'_>) -> RoutingRead {
    let mut read = RoutingRead {
        routing: Routing::read(root, Routing::default()),
        ..RoutingRead::default()
    };
    for one in root.sections("route", route).into_iter().flatten() {
        read.globs.extend(one.globs);
        if let Some(provider) = one.provider {
            read.routing.routes.push(one.route);
            read.providers.push(provider);
        }
    }
    read
}

/// What only shows with everything read: providers that there are not, and names that lead nowhere.
pub(in super::super) fn check(
    read: &RoutingRead,
    root: &TableReader<'_>,
    names: &BTreeSet<ProviderName>,
) {
    let report = root.report();
    let Routing {
        routes, aliases, ..
    } = &read.routing;
    for (RouteRule { provider, .. }, place) in routes.iter().zip(&read.providers) {
        if !names.contains(provider) {
            report.add(place, unknown_provider(provider, names));
        }
    }
    let mut looked_at = BTreeSet::new();
    for name in aliases.keys() {
        if let Some((first, round)) = cycle(aliases, name, &mut looked_at)
            && let Some(place) = report.place_of(&dotted("aliases", first))
        {
            report.add(&place, format!("is an alias of itself: {round}"));
        }
    }
    for (value, place) in &read.globs {
        if let Some(meant) = aliases.get(value.as_str()).filter(|_| value.is_name()) {
            let message = format!(
                "matches nothing: {value:?} is an alias under [aliases], and routes look at the model \
                 it stands for, {meant:?}",
                value = value.as_str()
            );
            report.add(place, message);
        }
    }
}

/// The ring that a name leads into: its first name, and the way back to it, or as much of that as is reported. Names
/// that were visited are skipped, so a ring is reported only at its first name, and all names together cost one visit
/// each.
fn cycle<'a>(
    aliases: &'a BTreeMap<String, String>,
    name: &'a str,
    looked_at: &mut BTreeSet<&'a str>,
) -> Option<(&'a str, String)> {
    let (mut at, mut way) = (name, Vec::new());
    while looked_at.insert(at) {
        way.push(at);
        at = aliases.get(at)?;
    }
    let start = way.iter().position(|before| *before == at)?;
    let ring = way.get(start..)?;
    let mut shown: Vec<_> = ring.iter().copied().take(MOST_TOLD).collect();
    if ring.len() > MOST_TOLD {
        shown.push("…");
    }
    shown.push(at);
    Some((at, shown.join(" -> ")))
}

/// A route whose provider is not checked yet.
struct UncheckedRoute {
    route: RouteRule,
    /// `None` if it is missing or wrong.
    provider: Option<KeyLocation>,
    globs: Vec<(ModelGlob, KeyLocation)>,
}

fn route(table: &TableReader<'_>) -> UncheckedRoute {
    let route = RouteRule::read(table, RouteRule::with_defaults());

    if !table.has("paths") && !table.has("models") {
        let message = "name `paths`, `models` or both; the provider of all other requests is \
                       `default_provider`";
        table.report().add(table.here(), message);
    }
    for key in ["paths", "models"] {
        if table.is_empty_list(key) {
            let message = "name at least one, or remove the key";
            table.report().add(&table.place(key), message);
        }
    }
    if !table.has("provider") {
        let message = "is missing: name the provider that these requests go to";
        table.report().add(&table.place("provider"), message);
    }
    let models = route.models.iter().cloned();
    UncheckedRoute {
        globs: models.zip(table.right_items("models")).collect(),
        provider: table.right("provider"),
        route,
    }
}
