//! The advice if a provider does not serve the app's API: another provider, the API to choose in the app,
//! translation, or a route. Pure.

use std::borrow::Cow;

use hyper::Method;

use super::served::Serves;

/// An API for chats.
struct Api {
    /// Its path, below `/v1`.
    path: &'static str,
    /// What to choose in the app where only `other` is served; empty where apps that speak this one have no choice.
    setting: &'static str,
    /// What it can be translated to.
    other: Option<&'static str>,
    /// The end of an app's base URL after the provider's name.
    base_ends: &'static str,
}

const CHAT: Api = Api {
    path: "/chat/completions",
    setting: "choose the Responses API in the app instead of Chat Completions (Open WebUI: the \
              connection's API type)",
    other: Some("/responses"),
    base_ends: "/v1",
};
const RESPONSES: Api = Api {
    path: "/responses",
    setting: "choose Chat Completions in the app instead of the Responses API (n8n: \"Use Responses \
              API\" off; LangChain: use_responses_api=False; OpenAI's Agents SDK: \
              set_default_openai_api(\"chat_completions\"); Vercel's AI SDK: openai.chat(MODEL))",
    other: Some("/chat/completions"),
    base_ends: "/v1",
};
const MESSAGES: Api = Api {
    path: "/messages",
    setting: "choose OpenAI's Chat Completions in the app instead of Anthropic's Messages API",
    other: None,
    // Anthropic's SDKs add the /v1 themselves.
    base_ends: "",
};

/// What to do about a request for these segments to the provider at this place, which does not serve them; `None`
/// where they are of no API for chats or embeddings.
pub(super) fn way_out(
    segments: &[&str],
    providers: &[impl Serves],
    at: Option<usize>,
) -> Option<Cow<'static, str>> {
    let api = match segments {
        ["chat", "completions", ..] => CHAT,
        ["responses", ..] => RESPONSES,
        ["messages", "batches", ..] => {
            return Some("Choose single requests in the app instead of Anthropic's batches".into());
        }
        ["messages", ..] => MESSAGES,
        ["embeddings"] => return Some(embeddings(providers, at).into()),
        ["completions"] => return Some(completions(providers, at).into()),
        _ => return None,
    };
    let asked = at.and_then(|at| providers.get(at));
    let has = |path: &str| asked.is_some_and(|one| serves(one, path));
    if has(api.path) {
        return below(segments);
    }
    let mut ways = Vec::new();
    let others = providers.iter().enumerate();
    let others = others.filter(|(place, one)| Some(*place) != at && serves(*one, api.path));
    // One that has it itself goes first.
    let best = others.min_by_key(|(_, one)| translates(*one, api.path));
    if let Some((_, one)) = best {
        let (name, ends) = (one.name(), api.base_ends);
        ways.push(format!(
            "set the app's base URL to one that ends in /{name}{ends}: the provider {name} serves {}",
            api.path
        ));
    }
    if api.other.is_none_or(has) {
        ways.push(api.setting.to_owned());
    }
    if let Some(one) = asked.filter(|_| api.other.is_some_and(has)) {
        ways.push(format!(
            "let hermes-proxyd translate: `translate = true` under [providers.{}] in its configuration",
            one.name()
        ));
    }
    ways.push(format!(
        "if the provider has it, add {:?} to its `extra_paths` there",
        api.path
    ));
    Some(sentence(&ways.join("; or ")).into())
}

/// What to do about a path below one that the provider serves: what it stores, and what it counts.
fn below(segments: &[&str]) -> Option<Cow<'static, str>> {
    let (setting, path) = match segments {
        ["responses", "input_tokens"] => (
            "Switch the counting of tokens off in the app: it is not served here",
            "/responses/input_tokens",
        ),
        ["responses", "compact"] => (
            "Switch compaction by the provider off in the app, and let the app shorten conversations itself",
            "/responses/compact",
        ),
        ["responses", _, ..] => (
            "Switch stored and background responses off in the app (`store`, `background`, `previous_response_id`): \
             responses that a provider keeps are not served here",
            "/responses/{id}",
        ),
        ["chat", "completions", _, ..] => (
            "Switch stored chats off in the app (`store`): chats that a provider keeps are not served here",
            "/chat/completions/{id}",
        ),
        _ => return None,
    };
    let way = format!(
        "{setting}; or if the provider has them, add {path:?} to its `extra_paths` in the configuration of \
         hermes-proxyd"
    );
    Some(way.into())
}

/// The API that chats had before.
fn completions(providers: &[impl Serves], at: Option<usize>) -> String {
    let asked = at.and_then(|at| providers.get(at));
    let api = [CHAT, RESPONSES].into_iter();
    let served = api.filter(|api| asked.is_some_and(|one| serves(one, api.path)));
    let name = match served.map(|api| api.path).next() {
        Some("/responses") => "the Responses API",
        Some(_) | None => "Chat Completions",
    };
    format!(
        "Choose {name} in the app instead of the older Completions API; or if the provider has that, add \
         \"/completions\" to its `extra_paths` in the configuration of hermes-proxyd"
    )
}

/// Subscriptions have no embeddings, mostly, and another provider has.
fn embeddings(providers: &[impl Serves], at: Option<usize>) -> String {
    const PATH: &str = "/embeddings";
    let mut others = providers.iter().enumerate();
    let other = others.find(|(place, one)| Some(*place) != at && serves(*one, PATH));
    let route = "`[[route]]` with `paths = [\"embeddings\"]`";
    let way = match other {
        Some((_, one)) => format!("add a {route} and `provider = {:?}`", one.name()),
        None => format!("add a provider that has them, such as Ollama, and for it a {route}"),
    };
    format!(
        "Choose another service for embeddings in the app; or {way} to the configuration of hermes-proxyd; or if the \
         provider has them, add {PATH:?} to its `extra_paths` there"
    )
}

fn serves(provider: &impl Serves, path: &str) -> bool {
    place(provider, path).is_some()
}

fn translates(provider: &impl Serves, path: &str) -> bool {
    place(provider, path).is_some_and(|at| provider.is_translated(at))
}

fn place(provider: &impl Serves, path: &str) -> Option<usize> {
    let mut paths = provider.paths().iter();
    paths.position(|one| one.path == path && one.methods.contains(&Method::POST))
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;
    use crate::config::AllowedPath;

    /// A provider and its paths, with a `~` in front of those that are translated.
    struct Fake(&'static str, Vec<AllowedPath>, Vec<bool>);

    impl Serves for Fake {
        fn name(&self) -> &str {
            self.0
        }

        fn paths(&self) -> &[AllowedPath] {
            &self.1
        }

        fn is_translated(&self, path: usize) -> bool {
            self.2[path]
        }
    }

    fn fake(name: &'static str, paths: &[&str]) -> Fake {
        let allowed = |path: &&str| AllowedPath::new(path.trim_start_matches('~'), &[Method::POST]);
        Fake(
            name,
            paths.iter().map(allowed).collect(),
            paths.iter().map(|path| path.starts_with('~')).collect(),
        )
    }

    fn said(target: &str, providers: &[Fake]) -> String {
        find(&Method::POST, target, providers, Some(0))
            .unwrap_err()
            .message
    }

    #[test]
    fn an_api_that_is_not_served_has_a_way_out() {
        let (chat, responses) = ("/chat/completions", "/responses");
        let alone = [fake("one", &[chat])];
        let text = said("/v1/responses", &alone);
        assert!(
            text.starts_with("Choose Chat Completions in the app"),
            "{text}"
        );
        for part in [
            "\"Use Responses API\" off",
            "`translate = true` under [providers.one]",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("base URL"), "{text}");

        let two = [
            fake("one", &[chat]),
            fake("two", &[responses, "~/chat/completions"]),
        ];
        let text = said("/v1/responses", &two);
        let first = "Set the app's base URL to one that ends in /two/v1: the provider two serves \
                     /responses; or choose Chat Completions in the app";
        assert!(text.starts_with(first), "{text}");
        // A request for that one by name is told of the others.
        let text = said(
            "/two/v1/messages",
            &[fake("one", &["/messages"]), fake("two", &[chat])],
        );
        let first = "Set the app's base URL to one that ends in /one: the provider one serves \
                     /messages; or choose OpenAI's Chat Completions";
        assert!(text.starts_with(first), "{text}");
        assert!(!text.contains("translate"), "{text}");

        let native_first = [
            fake("one", &[responses]),
            fake("two", &["~/chat/completions", responses]),
            fake("three", &[chat]),
        ];
        let text = said("/v1/chat/completions", &native_first);
        assert!(text.contains("ends in /three/v1"), "{text}");
        assert!(
            text.contains("choose the Responses API in the app"),
            "{text}"
        );

        // Embeddings have no other API, and are mostly another provider's.
        let text = said("/v1/embeddings", &alone);
        for part in [
            "Choose another service for embeddings",
            "such as Ollama",
            "extra_paths",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let two = [fake("one", &[chat]), fake("ollama", &[chat, "/embeddings"])];
        let text = said("/v1/embeddings", &two);
        let part = "`[[route]]` with `paths = [\"embeddings\"]` and `provider = \"ollama\"`";
        assert!(text.contains(part) && !text.contains("such as"), "{text}");

        // There is nothing to choose and nothing to translate to.
        let text = said("/v1/chat/completions", &[fake("one", &["/embeddings"])]);
        assert!(
            text.starts_with("If the provider has it, add \"/chat/completions\""),
            "{text}"
        );
    }

    #[test]
    fn below_a_path_that_is_served_native_or_translated_there_is_nothing_to_choose() {
        let (chat, responses) = ("/chat/completions", "/responses");
        for (path, providers) in [
            (responses, [fake("one", &[responses, "~/chat/completions"])]),
            (chat, [fake("one", &["~/responses", chat])]),
        ] {
            for (below, begins, template) in [
                (
                    "/responses/resp_1",
                    "Switch stored and background responses off",
                    "/responses/{id}",
                ),
                (
                    "/responses/resp_1/cancel",
                    "Switch stored and background responses off",
                    "/responses/{id}",
                ),
                (
                    "/responses/input_tokens",
                    "Switch the counting of tokens off",
                    "/responses/input_tokens",
                ),
                (
                    "/responses/compact",
                    "Switch compaction by the provider off",
                    "/responses/compact",
                ),
                (
                    "/chat/completions/c1",
                    "Switch stored chats off",
                    "/chat/completions/{id}",
                ),
            ] {
                let text = said(&format!("/v1{below}"), &providers);
                assert!(text.starts_with(begins), "{text} with {path}");
                let way = format!("add {template:?} to its `extra_paths`");
                assert!(text.contains(&way), "{text}");
                assert!(!text.contains("instead of"), "{text}");
            }
            let text = said("/v1/completions", &providers);
            assert!(
                text.starts_with("Choose Chat Completions in the app"),
                "{text}"
            );
        }
        let text = said("/v1/completions", &[fake("one", &[responses])]);
        assert!(
            text.starts_with("Choose the Responses API in the app"),
            "{text}"
        );
    }
}
