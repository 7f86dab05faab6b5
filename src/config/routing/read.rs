//! Reads routes, aliases and the default model; pure.

use std::collections::{BTreeMap, BTreeSet};

use super::super::ProviderName;
use super::super::provider::unknown_provider;
use super::super::reader::{KeyLocation, TOP_ADVICE, TableReader, Wrong, dotted, is_top};
use super::super::table::Table;
use super::{ModelGlob, RouteRule, Routing};

/// No model's name is longer, in bytes.
const LONGEST: usize = 512;

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

/// Another name for a model.
pub(super) fn alias(name: &str, model: &str) -> Result<String, Wrong> {
    if is_top(name) {
        return Err(TOP_ADVICE.into());
    }
    model_name(name)?;
    model_name(model)
}

/// A name that an app can send.
pub(super) fn model_name(text: &str) -> Result<String, Wrong> {
    let flaw = if text.is_empty() {
        Some("it is empty")
    } else if text.len() > LONGEST {
        Some("it is longer than 512 bytes")
    } else if text.contains('*') {
        Some("only the `models` of a [[route]] may contain `*`")
    } else if text.chars().any(char::is_control) || text.trim() != text {
        Some("remove the blanks around it and the control characters in it")
    } else {
        None
    };
    flaw.map_or_else(
        || Ok(text.to_owned()),
        |flaw| Err(format!("{text:?} is not the name of a model: {flaw}").into()),
    )
}

/// A pattern that can match such a name.
pub(super) fn model_glob(text: &str) -> Result<ModelGlob, Wrong> {
    if let Some(sign) = ['?', '[', ']', '{', '}']
        .into_iter()
        .find(|sign| text.contains(*sign))
    {
        return Err(format!(
            "{text:?} can't match a model: `{sign}` has no meaning here; `*` stands for any text"
        )
        .into());
    }
    // A star may stand for nothing, but not for all of a name.
    let name = text.replace('*', "x");
    model_name(&name).map_err(|_| {
        let flaw =
            "it is empty, longer than 512 bytes, or has blanks around it or control characters";
        Wrong::from(format!("{text:?} can't match a model: {flaw}"))
    })?;
    Ok(ModelGlob::new(text))
}
