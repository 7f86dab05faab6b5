//! Where requests at `/v1` go if not to the provider of their address: routes, aliases and the
//! default model; pure.
//!
//! First aliases in the model's name are resolved. Then the first matching route wins, then a configured provider's
//! name in front of the model (`xai/grok-4`), then the provider of the address. `/<provider>/v1` names its provider
//! in the path and ignores all of this.

mod glob;
mod model_name;
pub(super) mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::form::{NamedTexts, Optional, Text, Texts, UnlessEmpty};
use super::reader::dotted;
use super::table::table;
use super::{ProviderName, login_providers, values};
use crate::suggest::did_you_mean;

pub use self::glob::ModelGlob;
use self::model_name::{alias, model_glob, model_name};

/// The endpoints that a default model is for: all of them answer with text.
const CHATS: [&str; 4] = [
    "/chat/completions",
    "/completions",
    "/responses",
    "/messages",
];

table! {
    /// The file's rules for requests at `/v1`. Without any, no body is read.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Routing {
        beside {
            /// In the file's order: the first that matches wins.
            pub routes: Vec<RouteRule>;
        }

        /// The model of a chat at /v1 that names none. It may be an alias, or have its provider in front:
        /// "xai/grok-4".
        pub default_model: Option<String> = Optional(Text("grok-4", model_name)), or None, on reload;
        /// Other names for models, for apps with a fixed list: each line under `[aliases]` is such as
        /// "gpt-5-mini" = "xai/grok-4".
        pub aliases: BTreeMap<String, String> = NamedTexts("\"gpt-5-mini\" = \"grok-4\"", alias),
            or BTreeMap::new(), on reload;
    }
}

table! {
    /// One route.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RouteRule {
        beside {}

        /// Paths below /v1, each with everything below it; without this key: every path.
        pub paths: Vec<String> = UnlessEmpty(Texts("embeddings", values::route_path)), or Vec::new(), on reload;
        /// Names of models, in which `*` stands for any text; without this key: every model. With a route by
        /// model, a model can also be named with its provider: "xai/grok-4".
        pub models: Vec<ModelGlob> = UnlessEmpty(Texts("grok-*", model_glob)), or Vec::new(), on reload;
        /// Where these requests go.
        pub provider: ProviderName = Text("xai", values::provider_name), or ProviderName::nous(), on reload;
        /// The model that is asked for instead of the app's.
        pub model: Option<String> = Optional(Text("grok-4", model_name)), or None, on reload;
    }
}

impl Default for Routing {
    fn default() -> Self {
        Self::with_defaults(Vec::new())
    }
}

/// What a request's path says of where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByPath<'r> {
    /// All: to the provider of this route, or without one to that of the address.
    Settled(Option<&'r RouteRule>),
    /// It depends on the model, or the model is replaced.
    NeedsModel,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination<'r> {
    /// What chose it.
    pub by: ChosenBy<'r>,
    /// The model as the provider gets it; `None` without one.
    pub model: Option<Cow<'r, str>>,
    /// The model that routes have matched: the app's own, its alias's target, or the default.
    pub looked_at: Option<&'r str>,
}

/// What chose a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBy<'r> {
    /// The route at this place of the file's.
    Route(usize, &'r RouteRule),
    /// The provider's name in front of the model.
    Name(&'r str),
    /// Nothing: the provider of the address.
    Address,
}

impl Routing {
    /// Whether there is nothing to do.
    pub fn is_off(&self) -> bool {
        self.routes.is_empty() && !self.looks_at_models()
    }

    /// Whether a model's name can decide anything. Then a provider's name in front of it can, too.
    pub fn looks_at_models(&self) -> bool {
        let by_model = self.routes.iter().any(|route| !route.models.is_empty());
        by_model || !self.aliases.is_empty() || self.default_model.is_some()
    }

    /// What the path below `/v1` says of where a request goes.
    pub fn by_path(&self, path: &str) -> ByPath<'_> {
        if !self.aliases.is_empty() || self.default_for(path).is_some() {
            return ByPath::NeedsModel;
        }
        let first = self.routes.iter().find(|route| route.takes_path(path));
        match first {
            Some(route) if route.models.is_empty() && route.model.is_none() => {
                ByPath::Settled(Some(route))
            }
            Some(_) => ByPath::NeedsModel,
            None if self.looks_at_models() => ByPath::NeedsModel,
            None => ByPath::Settled(None),
        }
    }

    /// Where a request with this model goes; `None` or an empty text for one without. `is_provider` knows the names
    /// of the configured providers.
    pub fn find<'r>(
        &'r self,
        path: &str,
        model: Option<&'r str>,
        is_provider: impl Fn(&str) -> bool,
    ) -> Destination<'r> {
        let named = model.filter(|model| !model.is_empty());
        let named = named.or_else(|| self.default_for(path));
        let looked_at = named.map(|model| self.without_alias(model));
        let matches = |route: &RouteRule| {
            let takes_model = || looked_at.is_some_and(|model| route.takes_model(model));
            route.takes_path(path) && (route.models.is_empty() || takes_model())
        };
        let mut routes = self.routes.iter().enumerate();
        if let Some((at, route)) = routes.find(|(_, route)| matches(route)) {
            let model = match (&route.model, looked_at) {
                (Some(model), _) => Some(model.as_str()),
                (None, Some(model)) => Some(behind(model, route.provider.as_str())),
                (None, None) => None,
            };
            return Destination {
                by: ChosenBy::Route(at, route),
                model: model.map(Cow::Borrowed),
                looked_at,
            };
        }
        let prefixed = looked_at.and_then(|model| model.split_once('/'));
        let prefixed = prefixed.filter(|(name, rest)| !rest.is_empty() && is_provider(name));
        let (by, model) = match prefixed {
            Some((name, rest)) if self.looks_at_models() => (ChosenBy::Name(name), Some(rest)),
            Some(_) | None => (ChosenBy::Address, looked_at),
        };
        Destination {
            by,
            model: model.map(Cow::Borrowed),
            looked_at,
        }
    }

    /// The name by which apps reach this provider's model at `/v1` of an address whose own provider is `home`: its
    /// own, or that with the provider's name in front of it. `None` where routes or aliases take both elsewhere.
    pub fn name_of<'m>(
        &self,
        provider: &str,
        model: &'m str,
        home: &str,
        is_provider: impl Fn(&str) -> bool,
    ) -> Option<Cow<'m, str>> {
        let leads_there = |name: &str| {
            let found = self.find("/chat/completions", Some(name), &is_provider);
            found.provider().unwrap_or(home) == provider && found.model.as_deref() == Some(model)
        };
        if leads_there(model) {
            return Some(Cow::Borrowed(model));
        }
        let full = format!("{provider}/{model}");
        leads_there(&full).then_some(Cow::Owned(full))
    }

    /// The model of a request to this path that names none.
    fn default_for(&self, path: &str) -> Option<&str> {
        let default = self.default_model.as_deref();
        default.filter(|_| CHATS.contains(&path))
    }

    /// What a name stands for in the end.
    pub fn without_alias<'r>(&'r self, mut model: &'r str) -> &'r str {
        // The file is read without cycles, so this is more turns than there can be.
        for _ in &self.aliases {
            match self.aliases.get(model) {
                Some(meant) => model = meant,
                None => break,
            }
        }
        model
    }

    /// The routes that no request reaches, each with the one that takes all of its requests.
    pub fn hidden(&self) -> Vec<(usize, usize)> {
        let of = |(at, route): (usize, &RouteRule)| {
            let before = self.routes.iter().take(at);
            let hiding = before.enumerate().find(|(_, before)| before.covers(route));
            hiding.map(|(hiding, _)| (at, hiding))
        };
        self.routes.iter().enumerate().filter_map(of).collect()
    }

    /// What is allowed and can't be meant, each with its key. `providers` are those that are configured.
    pub fn warnings(&self, providers: &[&str]) -> Vec<(String, String)> {
        let hidden = self.hidden().into_iter().map(|(at, hiding)| {
            let what = format!(
                "no request gets here, because route[{hiding}] above takes all of them; move this \
                 [[route]] before it"
            );
            (format!("route[{at}]"), what)
        });
        let aliases = self.aliases.iter().filter_map(|(name, model)| {
            let fault = self.lost(model, providers)?;
            Some((dotted("aliases", name), fault))
        });
        let default = self.default_model.as_deref();
        let default = default.and_then(|model| self.lost(model, providers));
        let default = default.map(|fault| ("default_model".to_owned(), fault));
        hidden.chain(aliases).chain(default).collect()
    }

    /// Why a model that begins with a provider's name does not go there: the provider is not configured.
    fn lost(&self, model: &str, providers: &[&str]) -> Option<String> {
        let is_provider = |name: &str| providers.contains(&name);
        let (name, _) = model.split_once('/')?;
        // Another alias reports this for itself, and a route may be for the plain name.
        let is_alias = self.aliases.contains_key(model);
        if is_alias || is_provider(name) {
            return None;
        }
        let found = self.find(CHATS[0], Some(model), is_provider);
        if found.by != ChosenBy::Address {
            return None;
        }
        let what =
            format!("{model:?} is sent to the provider of the address under this whole name");
        if login_providers().any(|known| known == name) {
            return Some(format!(
                "{what}, because the provider {name} is not configured; add [providers.{name}]"
            ));
        }
        let meant = did_you_mean(name, providers.iter().copied())?;
        Some(format!(
            "{what}, because there is no provider {name:?}; the provider {meant} is written `{meant}/…`"
        ))
    }
}

impl Destination<'_> {
    /// The provider's name; `None` where it is that of the address.
    pub fn provider(&self) -> Option<&str> {
        match self.by {
            ChosenBy::Route(_, route) => Some(route.provider.as_str()),
            ChosenBy::Name(name) => Some(name),
            ChosenBy::Address => None,
        }
    }
}

impl RouteRule {
    /// Whether it is for this path below `/v1`.
    pub fn takes_path(&self, path: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|known| is_at_or_below(known, path))
    }

    fn takes_model(&self, model: &str) -> bool {
        self.models.iter().any(|glob| glob.matches(model))
    }

    /// Whether it takes everything that the other one takes.
    fn covers(&self, other: &Self) -> bool {
        let paths = self.paths.is_empty()
            || (!other.paths.is_empty() && other.paths.iter().all(|path| self.takes_path(path)));
        let covers = |glob: &ModelGlob| self.models.iter().any(|own| own.covers(glob));
        let models =
            self.models.is_empty() || (!other.models.is_empty() && other.models.iter().all(covers));
        paths && models
    }
}

/// Whether a path is this one, or below it as `/files/{id}` is below `/files`.
pub fn is_at_or_below(known: &str, path: &str) -> bool {
    let rest = path.strip_prefix(known);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A model's name without that of the provider it is asked of.
fn behind<'m>(model: &'m str, provider: &str) -> &'m str {
    let rest = model.strip_prefix(provider);
    let rest = rest.and_then(|rest| rest.strip_prefix('/'));
    rest.filter(|rest| !rest.is_empty()).unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(paths: &[&str], models: &[&str], provider: &str, model: Option<&str>) -> RouteRule {
        RouteRule {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            models: models.iter().map(|text| ModelGlob::new(text)).collect(),
            provider: ProviderName::new(provider).unwrap(),
            model: model.map(str::to_owned),
        }
    }

    fn routing(routes: Vec<RouteRule>, aliases: &[(&str, &str)]) -> Routing {
        let aliases = aliases.iter();
        Routing {
            routes,
            aliases: aliases
                .map(|(name, model)| ((*name).to_owned(), (*model).to_owned()))
                .collect(),
            default_model: None,
        }
    }

    /// The provider, `-` for that of the address, and the model.
    fn found(routing: &Routing, path: &str, model: Option<&str>) -> (String, Option<String>) {
        let is_provider = |name: &str| ["nous", "xai", "openai"].contains(&name);
        let found = routing.find(path, model, is_provider);
        let provider = found.provider().unwrap_or("-").to_owned();
        (provider, found.model.map(Cow::into_owned))
    }

    const CHAT: &str = "/chat/completions";
    const EMBEDDINGS: &str = "/embeddings";

    #[test]
    fn the_first_route_that_matches_wins_then_the_name_then_the_address() {
        let routing = routing(
            vec![
                route(&[EMBEDDINGS], &[], "openai", None),
                route(&[], &["grok-4-fast"], "xai", Some("grok-4")),
                route(&[], &["grok-*", "openai/o*"], "xai", None),
            ],
            &[
                ("mini", "small"),
                ("small", "nous/hermes"),
                ("fast", "grok-4-fast"),
            ],
        );
        for (path, model, provider, sent) in [
            (EMBEDDINGS, Some("grok-4"), "openai", Some("grok-4")),
            (EMBEDDINGS, Some("openai/e"), "openai", Some("e")),
            (EMBEDDINGS, None, "openai", None),
            (CHAT, Some("grok-4-fast"), "xai", Some("grok-4")),
            (CHAT, Some("fast"), "xai", Some("grok-4")),
            (CHAT, Some("grok-5"), "xai", Some("grok-5")),
            (CHAT, Some("openai/o3"), "xai", Some("openai/o3")),
            (CHAT, Some("openai/gpt"), "openai", Some("gpt")),
            (CHAT, Some("nous/openai/gpt"), "nous", Some("openai/gpt")),
            (
                CHAT,
                Some("anthropic/claude"),
                "-",
                Some("anthropic/claude"),
            ),
            (CHAT, Some("NOUS/x"), "-", Some("NOUS/x")),
            (CHAT, Some("nous/"), "-", Some("nous/")),
            (CHAT, Some("/x"), "-", Some("/x")),
            (CHAT, Some("mini"), "nous", Some("hermes")),
            (CHAT, Some("Grok-4"), "-", Some("Grok-4")),
            (CHAT, Some(""), "-", None),
            (CHAT, None, "-", None),
        ] {
            let expected = (provider.to_owned(), sent.map(str::to_owned));
            assert_eq!(found(&routing, path, model), expected, "{path} {model:?}");
        }
    }

    #[test]
    fn a_default_model_is_for_chats_that_name_none() {
        let mut routing = routing(
            vec![route(&[], &["grok-*"], "xai", None)],
            &[("m", "grok-4")],
        );
        routing.default_model = Some("m".to_owned());
        let grok = ("xai".to_owned(), Some("grok-4".to_owned()));
        assert_eq!(found(&routing, CHAT, None), grok);
        assert_eq!(found(&routing, "/responses", Some("")), grok);
        assert_eq!(found(&routing, EMBEDDINGS, None), ("-".to_owned(), None));
    }

    #[test]
    fn a_body_is_needed_only_where_a_model_matters() {
        let path_only = vec![route(&[EMBEDDINGS], &[], "openai", None)];
        let by_path = routing(path_only.clone(), &[]);
        let settled = |routing: &Routing, path: &str| match routing.by_path(path) {
            ByPath::Settled(route) => Some(route.map(|route| route.provider.to_string())),
            ByPath::NeedsModel => None,
        };
        assert_eq!(settled(&by_path, EMBEDDINGS), Some(Some("openai".into())));
        assert_eq!(settled(&by_path, CHAT), Some(None));
        assert!(!by_path.looks_at_models() && !by_path.is_off());
        assert!(Routing::default().is_off());
        // Nothing that looks at models is on, so a name with a slash is only a name.
        let name = found(&by_path, CHAT, Some("xai/grok"));
        assert_eq!(name, ("-".to_owned(), Some("xai/grok".to_owned())));

        let mut both = path_only.clone();
        both.push(route(&[], &["grok-*"], "xai", None));
        let both = routing(both, &[]);
        assert_eq!(settled(&both, EMBEDDINGS), Some(Some("openai".into())));
        assert_eq!(settled(&both, CHAT), None);
        let renamed = routing(vec![route(&[EMBEDDINGS], &[], "xai", Some("e"))], &[]);
        assert_eq!(settled(&renamed, EMBEDDINGS), None);
        assert_eq!(settled(&renamed, CHAT), Some(None));
        let aliased = routing(path_only, &[("a", "b")]);
        assert_eq!(settled(&aliased, EMBEDDINGS), None);
    }

    #[test]
    fn a_route_behind_one_that_takes_all_of_its_requests_is_hidden() {
        let hidden = |routes: Vec<RouteRule>| routing(routes, &[]).hidden();
        let all_groks = || route(&[], &["grok-*"], "xai", None);
        for (first, second, is_hidden) in [
            (all_groks(), route(&[], &["grok-4"], "nous", None), true),
            (
                all_groks(),
                route(&[CHAT], &["grok-4*"], "nous", None),
                true,
            ),
            (
                all_groks(),
                route(&[], &["grok-4", "x"], "nous", None),
                false,
            ),
            (all_groks(), route(&[], &["*"], "nous", None), false),
            (all_groks(), route(&[CHAT], &[], "nous", None), false),
            (
                route(&[CHAT], &[], "xai", None),
                route(&[CHAT], &["x"], "nous", None),
                true,
            ),
            (
                route(&[CHAT], &[], "xai", None),
                route(&[], &["x"], "nous", None),
                false,
            ),
            (
                route(&[CHAT, EMBEDDINGS], &[], "xai", None),
                route(&[EMBEDDINGS], &[], "nous", None),
                true,
            ),
        ] {
            let expected = if is_hidden { vec![(1, 0)] } else { vec![] };
            let shown = format!("{first:?}\n{second:?}");
            assert_eq!(hidden(vec![first, second]), expected, "{shown}");
        }
    }

    #[test]
    fn a_model_is_listed_by_a_name_that_leads_to_it() {
        let routing = routing(
            vec![
                route(&[], &["grok-*"], "xai", None),
                route(&[], &["xai/secret"], "nous", None),
            ],
            &[("gpt", "hermes")],
        );
        let is_provider = |name: &str| ["nous", "xai"].contains(&name);
        let name = |provider: &str, model: &str| {
            let name = routing.name_of(provider, model, "nous", is_provider);
            name.map(Cow::into_owned)
        };
        for (provider, model, expected) in [
            ("xai", "grok-4", Some("grok-4")),
            ("nous", "grok-4", Some("nous/grok-4")),
            ("nous", "hermes", Some("hermes")),
            ("xai", "other", Some("xai/other")),
            ("xai", "secret", None),
            ("nous", "gpt", Some("nous/gpt")),
            ("nous", "xai/other", Some("nous/xai/other")),
        ] {
            assert_eq!(
                name(provider, model).as_deref(),
                expected,
                "{provider} {model}"
            );
        }
    }
}
