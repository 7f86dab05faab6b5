//! The provider for an app: one that serves the app's API, otherwise one for which the app's requests are
//! translated. Pure.

use super::apps::{App, AppApi};
use crate::cli::output::{CommandFailure, Exit};
use crate::config::{ByPath, Routing};
use crate::control::chat_apis::{ApiSupport, ChatApi, ChatApis};
use crate::control::protocol::{AvailableProvider, ProviderEntry, Providers};

/// The app and what limits its choice of a provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct ApiQuestion<'a> {
    /// The app.
    pub(super) app: &'a App,
    /// The provider that `/v1` refers to at the app's address.
    pub(super) own: &'a str,
    /// The provider that the user named.
    pub(super) named: Option<&'a str>,
    /// Which requests at `/v1` are routed elsewhere.
    pub(super) routing: Option<&'a Routing>,
}

/// The provider and API that an app will use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChosenApi<'a> {
    /// The provider. That of `/v1` also stands for those that routes choose there.
    pub(super) provider: &'a str,
    /// The API that the app has to use.
    pub(super) speaks: AppApi,
    /// Whether its requests are translated.
    pub(super) is_translated: bool,
    /// Whether there was a choice.
    had_others: bool,
}

/// Chooses a provider by the APIs that each one serves.
///
/// # Errors
/// When none serves an API that the app speaks; the error says what to configure.
pub(super) fn choose<'a>(
    question: ApiQuestion<'a>,
    providers: &'a Providers,
) -> Result<ChosenApi<'a>, CommandFailure> {
    let all = &providers.providers;
    let may = |one: &&ProviderEntry| question.named.is_none_or(|name| one.name == name);
    let mut offers: Vec<_> = all
        .iter()
        .filter(may)
        .enumerate()
        .filter_map(|(place, provider)| offer(question, place, provider, all))
        .collect();
    offers.sort_by_key(|(rank, _)| *rank);
    let best = offers.into_iter().next();
    best.map(|(_, chosen)| ChosenApi {
        had_others: all.len() > 1,
        ..chosen
    })
    .ok_or_else(|| unserved(question, providers))
}

impl ChosenApi<'_> {
    /// A one-line note about the choice, if it needs one.
    pub(super) fn note(&self, app: &App) -> Option<String> {
        if !self.is_translated && !self.had_others {
            return None;
        }
        let (name, api) = (app.called(), self.speaks.wire);
        let provider = self.provider;
        let others = if self.had_others {
            "; --provider chooses another"
        } else {
            ""
        };
        let other = api.other().filter(|_| self.is_translated);
        let how = match other {
            Some(other) => format!(
                "which {provider} does not have: the proxy translates to and from {}",
                other.name()
            ),
            None => format!("which the provider {provider} has"),
        };
        let name = name
            .strip_prefix("the ")
            .map_or_else(|| name.to_owned(), |rest| format!("The {rest}"));
        Some(format!("{name} uses {}, {how}{others}.", api.name()))
    }
}

/// Smaller is better: has a login; has routes written for it; serves the API itself; is the address's provider; comes
/// earlier in the list.
type Rank = (bool, bool, bool, bool, usize);

/// The best way to serve the app with this provider.
fn offer<'a>(
    question: ApiQuestion<'a>,
    place: usize,
    provider: &'a ProviderEntry,
    all: &[ProviderEntry],
) -> Option<(Rank, ChosenApi<'a>)> {
    let is_own = provider.name == question.own;
    let speaks = question.app.speaks.iter().copied();
    let served = speaks.filter_map(|speaks| {
        let by = if is_own && question.named.is_none() {
            routed(question, speaks.wire, all).unwrap_or(provider)
        } else {
            provider
        };
        let service = apis_of(by).get(speaks.wire).cloned()?;
        Some((service != ApiSupport::Native, speaks))
    });
    // If several are equal, the app's first one.
    let (is_translated, speaks) = served.min_by_key(|(is_translated, _)| *is_translated)?;
    let keeps_routes = is_own && question.routing.is_some_and(|it| *it != Routing::default());
    let rank = (
        !provider.logged_in,
        !keeps_routes,
        is_translated,
        !is_own,
        place,
    );
    let chosen = ChosenApi {
        provider: &provider.name,
        speaks,
        is_translated,
        had_others: false,
    };
    Some((rank, chosen))
}

/// The provider that a route sends this API to.
fn routed<'p>(
    question: ApiQuestion<'_>,
    api: ChatApi,
    all: &'p [ProviderEntry],
) -> Option<&'p ProviderEntry> {
    match question.routing?.by_path(api.path()) {
        ByPath::Settled(route) => {
            let name = route?.provider.as_str();
            all.iter().find(|one| one.name == name)
        }
        ByPath::NeedsModel => None,
    }
}

/// The APIs of a provider. An older daemon reports only its paths.
fn apis_of(provider: &ProviderEntry) -> ChatApis {
    if provider.wires.is_empty() {
        ChatApis::of(&provider.paths)
    } else {
        provider.wires.clone()
    }
}

/// The error if no provider serves the app.
fn unserved(question: ApiQuestion<'_>, providers: &Providers) -> CommandFailure {
    let needed: Vec<_> = question.app.speaks.iter().map(|one| one.wire).collect();
    let names: Vec<_> = needed.iter().map(|api| api.name()).collect();
    let (app, names) = (question.app.called(), names.join(" or "));
    let message = match question.named {
        Some(name) => format!("The provider {name} does not serve {names}, which {app} uses."),
        None => format!("No configured provider serves {names}, which {app} uses."),
    };
    let all = &providers.providers;
    let mut options = Vec::new();
    if question.named.is_some() {
        let has = |one: &&ProviderEntry| needed.iter().any(|api| apis_of(one).get(*api).is_some());
        let able: Vec<_> = all.iter().filter(has).map(|one| &*one.name).collect();
        if !able.is_empty() {
            options.push(format!(
                "use `--provider {}`",
                able.join("` or `--provider ")
            ));
        }
    }
    let asked = all
        .iter()
        .filter(|one| question.named.is_none_or(|name| one.name == name));
    let translating = asked.filter(|one| {
        let has = |api: ChatApi| apis_of(one).get(api) == Some(&ApiSupport::Native);
        needed.iter().filter_map(|api| api.other()).any(has)
    });
    // One suggestion is enough.
    options.extend(translating.take(1).map(|one| {
        format!(
            "add `translate = true` to [providers.{}] in the configuration, then `hermesctl proxy reload`",
            one.name
        )
    }));
    let built_in =
        |one: &&AvailableProvider| needed.iter().any(|api| has_built_in(&one.name, *api));
    let built_in = providers.available.iter().filter(built_in);
    options.extend(built_in.map(|one| format!("run `{}`", one.command)));
    if options.is_empty() {
        let paths: Vec<_> = needed
            .iter()
            .map(|api| format!("{:?}", api.path()))
            .collect();
        options.push(format!(
            "if your provider has it, add {} to its `extra_paths` in the configuration",
            paths.join(", ")
        ));
    }
    CommandFailure::new(message)
        .with_code(Exit::Failed, "no_provider")
        .with_hint(sentence(&options))
}

/// Joins the options into one sentence.
fn sentence(options: &[String]) -> String {
    let text = options.join("; or ");
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

/// Whether a built-in provider has this API itself.
fn has_built_in(name: &str, api: ChatApi) -> bool {
    match api {
        ChatApi::Chat => matches!(name, "nous" | "xai"),
        ChatApi::Responses => matches!(name, "openai-codex" | "xai"),
        ChatApi::Messages => name == "nous",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::connect::apps;
    use crate::config::{ProviderName, RouteRule};
    use crate::control::protocol::PathEntry;

    /// A provider by its APIs: `c`, `r` and `m` for its own ones, capitals for translated ones.
    fn provider(name: &str, apis: &str, logged_in: bool) -> ProviderEntry {
        let path = |letter: char| {
            let api = match letter.to_ascii_lowercase() {
                'c' => ChatApi::Chat,
                'r' => ChatApi::Responses,
                _ => ChatApi::Messages,
            };
            PathEntry {
                path: api.path().to_owned(),
                methods: vec!["POST".to_owned()],
                body: None,
                translated_to: letter.is_ascii_uppercase().then(|| "/x".to_owned()),
            }
        };
        ProviderEntry {
            name: name.to_owned(),
            display_name: name.to_owned(),
            default: false,
            base_url: None,
            logged_in,
            finding: None,
            api_key: false,
            no_key: false,
            app_url: None,
            wires: ChatApis::default(),
            paths: apis.chars().map(path).collect(),
            models: Vec::new(),
        }
    }

    fn list(providers: &[(&str, &str, bool)]) -> Providers {
        let all = providers.iter();
        Providers {
            providers: all
                .map(|(name, apis, there)| provider(name, apis, *there))
                .collect(),
            available: vec![AvailableProvider {
                name: "openai-codex".to_owned(),
                display_name: "OpenAI Codex".to_owned(),
                command: "hermesctl setup --provider openai-codex".to_owned(),
            }],
        }
    }

    fn ask<'a>(app: &str, named: Option<&'a str>, routing: Option<&'a Routing>) -> ApiQuestion<'a> {
        ApiQuestion {
            app: apps::by_name(app).unwrap(),
            own: "a",
            named,
            routing,
        }
    }

    #[test]
    fn a_native_api_goes_before_a_translated_one_and_both_before_no_login() {
        for (app, providers, chosen) in [
            (
                "karakeep",
                &[("a", "c", true)][..],
                ("a", ChatApi::Chat, false),
            ),
            ("karakeep", &[("a", "rC", true)], ("a", ChatApi::Chat, true)),
            (
                "karakeep",
                &[("a", "rC", true), ("b", "c", true)],
                ("b", ChatApi::Chat, false),
            ),
            (
                "karakeep",
                &[("a", "c", true), ("b", "c", true)],
                ("a", ChatApi::Chat, false),
            ),
            (
                "karakeep",
                &[("b", "c", true), ("a", "c", true)],
                ("a", ChatApi::Chat, false),
            ),
            (
                "karakeep",
                &[("a", "c", false), ("b", "rC", true)],
                ("b", ChatApi::Chat, true),
            ),
            (
                "karakeep",
                &[("a", "c", false), ("b", "rC", false)],
                ("a", ChatApi::Chat, false),
            ),
            (
                "codex",
                &[("a", "cR", true), ("b", "r", true)],
                ("b", ChatApi::Responses, false),
            ),
            (
                "codex",
                &[("a", "cR", true), ("b", "c", true)],
                ("a", ChatApi::Responses, true),
            ),
            (
                "claude-code",
                &[("a", "c", true), ("b", "cm", true)],
                ("b", ChatApi::Messages, false),
            ),
            // The app can use either.
            ("n8n", &[("a", "c", true)], ("a", ChatApi::Chat, false)),
            (
                "n8n",
                &[("a", "rC", true)],
                ("a", ChatApi::Responses, false),
            ),
        ] {
            let providers = list(providers);
            let found = choose(ask(app, None, None), &providers).unwrap();
            let found = (found.provider, found.speaks.wire, found.is_translated);
            assert_eq!(found, chosen, "{app}: {providers:?}");
        }
        let providers = list(&[("a", "c", true), ("b", "rC", true)]);
        let named = choose(ask("karakeep", Some("b"), None), &providers).unwrap();
        assert_eq!((named.provider, named.is_translated), ("b", true));
    }

    #[test]
    fn the_address_is_kept_where_routes_were_written_for_it() {
        let route = |path: &str| Routing {
            routes: vec![RouteRule {
                paths: vec![path.to_owned()],
                models: Vec::new(),
                provider: ProviderName::new("b").unwrap(),
                model: None,
            }],
            ..Routing::default()
        };
        let providers = list(&[("a", "rC", true), ("b", "c", true)]);
        for (path, is_translated) in [("/embeddings", true), ("/chat/completions", false)] {
            let routing = route(path);
            let found = choose(ask("karakeep", None, Some(&routing)), &providers).unwrap();
            assert_eq!((found.provider, found.is_translated), ("a", is_translated));
        }
    }

    #[test]
    fn an_app_that_is_not_served_is_told_what_to_configure() {
        for (app, named, providers, hint) in [
            (
                "codex",
                None,
                &[("a", "c", true)][..],
                "Add `translate = true` to [providers.a] in the configuration, then `hermesctl \
                 proxy reload`; or run `hermesctl setup --provider openai-codex`.",
            ),
            (
                "codex",
                Some("a"),
                &[("a", "m", true), ("b", "r", true)],
                "Use `--provider b`; or run `hermesctl setup --provider openai-codex`.",
            ),
            (
                "claude-code",
                None,
                &[("a", "c", true)],
                "If your provider has it, add \"/messages\" to its `extra_paths` in the configuration.",
            ),
        ] {
            let providers = list(providers);
            let failure = choose(ask(app, named, None), &providers).unwrap_err();
            assert_eq!(failure.to_json()["error"]["hint"], hint);
        }
    }

    #[test]
    fn what_is_chosen_is_told_in_a_line() {
        for (app, providers, note) in [
            ("karakeep", &[("a", "c", true)][..], None),
            (
                "karakeep",
                &[("a", "rC", true)],
                Some(
                    "Karakeep uses Chat Completions, which a does not have: the proxy translates \
                     to and from the Responses API.",
                ),
            ),
            (
                "openai",
                &[("a", "c", true), ("b", "c", true)],
                Some(
                    "The app uses Chat Completions, which the provider a has; --provider chooses another.",
                ),
            ),
        ] {
            let providers = list(providers);
            let question = ask(app, None, None);
            let found = choose(question, &providers).unwrap();
            assert_eq!(found.note(question.app).as_deref(), note);
        }
    }
}
