//! `hermesctl proxy routes`: where a request goes by the configuration, and why.

pub(in crate::cli) mod render;
pub(in crate::cli) mod view;

use crate::cli::args::RoutesFlags;
use crate::cli::config::in_force_config;
use crate::cli::connection::connect;
use crate::cli::output::{CommandFailure, CommandOutput, Exit};
use crate::config::{AllowedPath, ByPath, ChosenBy, Config, Listener, ProviderName};
use crate::control::protocol::calls;

use view::{DecidedBy, RouteBase, RoutedRequest, Routes};

/// The path of a request of which only the model is known.
const USUAL: &str = "/chat/completions";
const MODELS: &str = "/models";
/// Paths that are served without a word in the configuration.
const USUAL_PATHS: [&str; 6] = [
    USUAL,
    "/completions",
    "/embeddings",
    MODELS,
    "/responses",
    "/messages",
];

/// Says where a request goes, or lists the routes.
pub(in crate::cli) async fn routes(
    flags: RoutesFlags,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let (file, config, warnings) = in_force_config().await?;
    let mut routes = Routes::of(&config, file);
    if flags.model.is_some() || flags.path.is_some() {
        let path = flags.path.as_deref().unwrap_or(USUAL);
        let path = below_v1(path)?;
        let mut request = request(&config, &path, flags.model.as_deref());
        request.served = is_served(&request.provider, &request.path).await;
        routes.request = Some(request);
    }
    output.answer(&routes, render::routes)?;
    if !output.is_json() {
        crate::cli::config::talk(&warnings)?;
    }
    Ok(Exit::Ok)
}

/// Where a request goes.
pub(in crate::cli) fn request(config: &Config, path: &str, model: Option<&str>) -> RoutedRequest {
    if let Some((provider, rest)) = of_provider(config, path) {
        return RoutedRequest {
            path: rest,
            model: model.map(str::to_owned),
            looked_at: None,
            provider: provider.to_string(),
            sent_model: model.map(str::to_owned),
            decided_by: DecidedBy::Path,
            route: None,
            reads_body: false,
            served: None,
            addresses: Vec::new(),
            all_models: false,
        };
    }
    by_routes(config, path, model)
}

/// The provider that a path names before the part below its `/v1`.
fn of_provider<'c>(config: &'c Config, path: &str) -> Option<(&'c ProviderName, String)> {
    let (first, rest) = path.trim_start_matches('/').split_once('/')?;
    let named = ProviderName::new(first)?;
    let (name, _) = config.providers.get_key_value(&named)?;
    let rest = rest.strip_prefix("v1/").unwrap_or(rest);
    Some((name, format!("/{rest}")))
}

/// A path as the configuration lists it: with a place where an id is.
fn listed<'p>(config: &'p Config, path: &'p str) -> &'p str {
    if USUAL_PATHS.contains(&path) {
        return path;
    }
    let segments: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let all = config.providers.values();
    let all = all.flat_map(|provider| &provider.extra_paths);
    let fits = all.filter_map(|allowed| Some((allowed.fits(&segments)?, allowed.path.as_str())));
    fits.min().map_or(path, |(_, listed)| listed)
}

/// Where a request to an address goes that names no provider of its own.
fn by_routes(config: &Config, path: &str, model: Option<&str>) -> RoutedRequest {
    let is_provider = |name: &str| {
        let name = ProviderName::new(name).filter(|known| known.as_str() == name);
        name.is_some_and(|name| config.providers.contains_key(&name))
    };
    let listed = listed(config, path);
    let by_path = config.routing.by_path(listed);
    let all_models =
        path == MODELS && !config.routing.is_off() && !matches!(by_path, ByPath::Settled(Some(_)));
    let reads_body = by_path == ByPath::NeedsModel && path != MODELS;
    let asked = model.filter(|_| reads_body);
    let found = config.routing.find(listed, asked, is_provider);
    let (decided_by, route) = match found.by {
        ChosenBy::Route(at, _) => (DecidedBy::Route, Some(at)),
        ChosenBy::Name(_) => (DecidedBy::Name, None),
        ChosenBy::Address => (DecidedBy::Address, None),
    };
    let provider = found.provider().unwrap_or(config.default_provider.as_str());
    let of_listener = |listener: &Listener| {
        let own = listener.provider.as_ref()?;
        Some(RouteBase {
            address: listener.address.to_string(),
            provider: own.to_string(),
        })
    };
    let mut addresses: Vec<_> = config.listeners.iter().filter_map(of_listener).collect();
    addresses.retain(|one| decided_by == DecidedBy::Address && one.provider != provider);
    let sent = found.model.as_deref().or(model);
    RoutedRequest {
        path: path.to_owned(),
        model: model.map(str::to_owned),
        looked_at: found.looked_at.map(str::to_owned),
        provider: provider.to_owned(),
        sent_model: sent.map(str::to_owned),
        decided_by,
        route,
        reads_body,
        served: None,
        addresses,
        all_models,
    }
}

/// A path as providers list it.
fn below_v1(path: &str) -> Result<String, CommandFailure> {
    let path = path.trim_matches('/');
    let path = path.strip_prefix("v1/").unwrap_or(path);
    if path.is_empty() || path.contains(char::is_whitespace) {
        let failure = CommandFailure::new("That is not a path below /v1.");
        return Err(failure.with_hint("Name one such as: --path embeddings"));
    }
    Ok(format!("/{path}"))
}

/// Whether the running daemon forwards this path to that provider.
async fn is_served(provider: &str, path: &str) -> Option<bool> {
    let providers = connect()
        .await
        .ok()?
        .call(calls::Providers)
        .await
        .ok()?
        .providers;
    let provider = providers.iter().find(|one| one.name == provider)?;
    let segments: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let fits = |path: &str| AllowedPath::new(path, &[]).fits(&segments).is_some();
    Some(provider.paths.iter().any(|one| fits(&one.path)))
}

/// Routes of each kind, and where a chat with this model goes.
#[cfg(test)]
pub(in crate::cli) fn sample(model: Option<&str>) -> Routes {
    const CONFIG: &str = "default_model = \"gpt-5-mini\"\n[aliases]\n\"gpt-5-mini\" = \"work/large-4\"\n\
        [[route]]\npaths = [\"embeddings\"]\nprovider = \"ollama\"\n\
        [[route]]\nmodels = [\"large-*\", \"old\"]\nprovider = \"work\"\nmodel = \"large-4\"\n\
        [providers.ollama]\ntype = \"static\"\nbase_url = \"http://127.0.0.1:11434/v1\"\n\
        api_key_env = \"OLLAMA_API_KEY\"\n\
        [providers.work]\ntype = \"static\"\nbase_url = \"https://work.example/v1\"\n\
        api_key_env = \"WORK_API_KEY\"\n";
    let env = crate::paths::Environment::from_lookup(|_| None);
    let config = crate::config::parse(CONFIG, "config.toml".as_ref(), &env).unwrap();
    let file = "/home/u/.config/hermes-proxyd/config.toml".into();
    let mut routes = Routes::of(&config, Some(file));
    routes.request = model.map(|model| request(&config, USUAL, Some(model)));
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::paths::Environment;

    const CONFIG: &str = "[aliases]\nmini = \"x/small\"\n[[route]]\npaths = [\"embeddings\"]\nprovider = \"x\"\n\
                          [providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\napi_key_env = \"A\"\n";

    #[test]
    fn what_decides_is_told() {
        let env = Environment::from_lookup(|_| None);
        let config = parse(CONFIG, "config.toml".as_ref(), &env).unwrap();
        for (path, model, provider, sent, by, route) in [
            (USUAL, None, "nous", None, DecidedBy::Address, None),
            (
                USUAL,
                Some("m"),
                "nous",
                Some("m"),
                DecidedBy::Address,
                None,
            ),
            (
                USUAL,
                Some("mini"),
                "x",
                Some("small"),
                DecidedBy::Name,
                None,
            ),
            (
                "/embeddings",
                Some("e"),
                "x",
                Some("e"),
                DecidedBy::Route,
                Some(0),
            ),
        ] {
            let told = request(&config, path, model);
            assert_eq!(told.provider, provider, "{path} {model:?}");
            assert_eq!(told.sent_model.as_deref(), sent, "{path} {model:?}");
            assert_eq!(
                (told.decided_by, told.route),
                (by, route),
                "{path} {model:?}"
            );
            assert!(told.reads_body);
        }
        let off = parse("", "config.toml".as_ref(), &env).unwrap();
        let told = request(&off, USUAL, Some("x/m"));
        assert_eq!((told.provider.as_str(), told.reads_body), ("nous", false));
        assert_eq!(told.sent_model.as_deref(), Some("x/m"));
        assert_eq!(below_v1("/v1/embeddings/").unwrap(), "/embeddings");
        assert!(below_v1("/").is_err());
    }
}
