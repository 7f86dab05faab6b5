//! From a path to the provider or endpoint that serves it. Pure.
//!
//! The path is compared with a table and nothing in it is decoded. Common mistakes of apps are tolerated:
//! repeated slashes, one slash at the end, a missing or doubled `/v1`. The table's constant goes upstream,
//! never the client's text, except for an id in a place that the table has for one: a segment without
//! meaning in a URL.
//!
//! SDKs read a 404 as "no such model" and often show only the start of its text, so that begins with
//! the setting to choose in the app.

mod not_found;
mod served;
mod unserved;

use std::borrow::Cow;

use hyper::Method;

use self::not_found::{
    method_not_allowed, no_default, not_allowed, not_served, other_service, pasted,
    unknown_provider, with_hint,
};
pub use self::served::Serves;
use self::served::{is_path, served_by, without_version};
use super::error::{ErrorFormat, ProxyError};
use crate::config::{AllowedPath, ByPath, Destination, Routing};

/// More than any path has.
const MOST_SEGMENTS: usize = 32;
/// What answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The provider at this place of the list, with its path at that place.
    Forward {
        /// Index into the providers.
        provider: usize,
        /// Index into its paths.
        path: usize,
    },
    /// The provider's list of models, which has one with the id that follows.
    Model {
        /// Index into the providers.
        provider: usize,
        /// Index of the list into its paths.
        path: usize,
        /// How many segments are before the id.
        before: usize,
    },
    /// We do.
    Local(Local),
}

/// The paths that we answer ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// `GET /`
    Root,
    /// `GET /health`
    Health,
    /// `GET /livez`
    Live,
    /// `GET /readyz`
    Ready,
    /// `GET /status.json`
    StatusJson,
    /// `GET /metrics`
    Metrics,
    /// What browsers and crawlers ask for by themselves, and we don't have.
    Nothing,
}

impl Local {
    /// Every local path with content.
    pub const ALL: [(&'static str, Self); 6] = [
        ("/", Self::Root),
        ("/health", Self::Health),
        ("/livez", Self::Live),
        ("/readyz", Self::Ready),
        ("/status.json", Self::StatusJson),
        ("/metrics", Self::Metrics),
    ];

    /// The local path that these segments mean.
    fn find(segments: &[&str]) -> Option<Self> {
        let found = match segments {
            [] => Self::ALL.first(),
            [name] => Self::ALL
                .iter()
                .find(|(known, _)| known.strip_prefix('/') == Some(*name)),
            _ => None,
        };
        let is_apples = |name: &str| {
            let rest = name.strip_prefix("apple-touch-icon");
            rest.is_some_and(|rest| rest.strip_suffix(".png").is_some())
        };
        let is_icon = |name: &str| {
            matches!(
                name,
                "favicon.ico" | "favicon.png" | "favicon.svg" | "robots.txt"
            ) || is_apples(name)
        };
        match (found, segments) {
            (Some((_, local)), _) => Some(*local),
            (None, [name]) if is_icon(name) => Some(Self::Nothing),
            _ => None,
        }
    }
}

/// Finds what serves `method` on `path`; `default` is the place of the provider that `/v1` means,
/// if there is one.
///
/// # Errors
/// 404 `path_not_allowed` or `unknown_provider`, 405 `method_not_allowed`.
pub fn find(
    method: &Method,
    path: &str,
    providers: &[impl Serves],
    default: Option<usize>,
) -> Result<Route, ProxyError> {
    let mut room = [""; MOST_SEGMENTS];
    let all = split(path, &mut room);
    let Some(all) = all.filter(|_| path.starts_with('/')) else {
        return Err(not_allowed(path, &[], served_by(providers, default)));
    };
    if let Some(local) = Local::find(all) {
        return match *method {
            Method::GET | Method::HEAD => Ok(Route::Local(local)),
            _ => Err(method_not_allowed(path, "GET, HEAD".to_owned())),
        };
    }
    let mut segments = all;
    let mut provider = default;
    if let [first, rest @ ..] = all
        && *first != "v1"
    {
        if let Some(named) = providers
            .iter()
            .position(|p| p.name().eq_ignore_ascii_case(first))
        {
            provider = Some(named);
            segments = rest;
        } else if let Some(hint) = other_service(all) {
            return Err(with_hint(hint, path, served_by(providers, default)));
        } else if rest.first() == Some(&"v1") {
            return Err(unknown_provider(first, providers));
        }
    }
    segments = without_version(segments);
    let Some((provider, served)) = provider.and_then(|at| Some((at, providers.get(at)?))) else {
        return Err(no_default(providers));
    };
    let Some(index) = listed(served.paths(), segments) else {
        let Some(list) = list_of_model(served.paths(), segments) else {
            return Err(not_served(path, segments, providers, provider));
        };
        return match *method {
            Method::GET | Method::HEAD => Ok(Route::Model {
                provider,
                path: list,
                before: all.len() - segments.len() + 1,
            }),
            _ => Err(method_not_allowed(path, "GET, HEAD".to_owned())),
        };
    };
    let methods = served
        .paths()
        .get(index)
        .map(|allowed| &*allowed.methods)
        .unwrap_or_default();
    let is_head = *method == Method::HEAD && methods.contains(&Method::GET);
    if !methods.contains(method) && !is_head {
        let mut methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
        if let Some(get) = methods.iter().position(|method| *method == "GET")
            && !methods.contains(&"HEAD")
        {
            methods.insert(get + 1, "HEAD");
        }
        return Err(method_not_allowed(path, methods.join(", ")));
    }
    Ok(Route::Forward {
        provider,
        path: index,
    })
}

/// The place of the path that these segments mean. One without a place for an id goes before those that
/// have one, and of those the one that fits best.
fn listed(paths: &[AllowedPath], segments: &[&str]) -> Option<usize> {
    let literal =
        |allowed: &AllowedPath| is_path(&allowed.path, segments) && !allowed.is_template();
    paths.iter().position(literal).or_else(|| {
        let fits = paths.iter().enumerate();
        let fits = fits.filter_map(|(at, allowed)| Some((allowed.fits(segments)?, at)));
        fits.min().map(|(_, at)| at)
    })
}

/// The place of the list that has the model that these segments mean, as in `/models/a/b`.
fn list_of_model(paths: &[AllowedPath], segments: &[&str]) -> Option<usize> {
    let ["models", id @ ..] = segments else {
        return None;
    };
    let is_model = id_of(id.iter().copied()).is_some() && pasted(segments, paths).is_none();
    let is_list =
        |allowed: &AllowedPath| allowed.path == "/models" && allowed.methods.contains(&Method::GET);
    paths.iter().position(is_list).filter(|_| is_model)
}

/// The id of a model in a client's path, after this many segments. Nothing of it goes upstream.
pub fn model(path: &str, before: usize) -> Option<String> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    id_of(segments.skip(before))
}

/// An id of a model; SDKs escape its slashes and colons, some of them don't.
fn id_of<'a>(segments: impl Iterator<Item = &'a str>) -> Option<String> {
    const LONGEST: usize = 512;
    let escaped = segments.collect::<Vec<_>>().join("/");
    let mut id = String::with_capacity(escaped.len());
    let mut bytes = escaped.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let mut digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
                let (high, low) = (digits.next()??, digits.next()??);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        };
        let is_good = byte.is_ascii_alphanumeric() || b"-_.:/@+,=~".contains(&byte);
        id.push(is_good.then_some(char::from(byte))?);
    }
    let is_dots = |part: &str| part.bytes().all(|byte| byte == b'.');
    let is_good = !id.is_empty() && id.len() <= LONGEST && !id.split('/').any(is_dots);
    is_good.then_some(id)
}

/// The path that the provider is asked for: the table's constant, with the ids of the client's path where it
/// has places for them.
pub fn path_upstream<'a>(allowed: &'a AllowedPath, asked: &str) -> Cow<'a, str> {
    if allowed.is_template() {
        Cow::Owned(allowed.filled(asked))
    } else {
        Cow::Borrowed(&allowed.path)
    }
}

/// Where a request goes by the routes of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteChoice {
    /// There.
    Settled(Route),
    /// The model that its body names decides; one of the providers that serve it, with its path there.
    ByModel {
        /// Index into the providers.
        provider: usize,
        /// Index into its paths.
        path: usize,
    },
}

/// As [`find`], by routes: a path that names no provider may be another one's than that of the address.
///
/// # Errors
/// Those of [`find`].
pub fn find_by_routes(
    method: &Method,
    path: &str,
    providers: &[impl Serves],
    default: Option<usize>,
    routing: &Routing,
) -> Result<RouteChoice, ProxyError> {
    let own = find(method, path, providers, default);
    if names_provider(path, providers) || matches!(own, Ok(Route::Local(_))) {
        return own.map(RouteChoice::Settled);
    }
    let others = || {
        let mut others = (0..providers.len()).filter(|at| Some(*at) != default);
        others.find_map(|at| find(method, path, providers, Some(at)).ok())
    };
    let (provider, at) = match own.as_ref().ok().copied().or_else(others) {
        Some(Route::Forward { provider, path } | Route::Model { provider, path, .. }) => {
            (provider, path)
        }
        Some(Route::Local(_)) | None => return own.map(RouteChoice::Settled),
    };
    let paths = providers.get(provider).map(Serves::paths);
    let listed = paths.and_then(|paths| paths.get(at));
    let listed = listed.map_or("", |allowed| allowed.path.as_str());
    let destination = match routing.by_path(listed) {
        ByPath::Settled(None) => return own.map(RouteChoice::Settled),
        ByPath::NeedsModel if *method != Method::GET && *method != Method::HEAD => {
            return Ok(RouteChoice::ByModel { provider, path: at });
        }
        ByPath::Settled(Some(_)) | ByPath::NeedsModel => {
            let is_provider = |name: &str| position(name, providers).is_some();
            routing.find(listed, None, is_provider)
        }
    };
    let found = find_at(method, path, providers, default, &destination);
    found.map(RouteChoice::Settled)
}

/// The destination of a request, once it is known.
///
/// # Errors
/// Those of [`find`], with the provider that was chosen.
pub fn find_at(
    method: &Method,
    path: &str,
    providers: &[impl Serves],
    default: Option<usize>,
    destination: &Destination<'_>,
) -> Result<Route, ProxyError> {
    let Some(name) = destination.provider() else {
        return find(method, path, providers, default);
    };
    let at = position(name, providers);
    find(method, path, providers, at).map_err(|error| {
        let why = match destination.looked_at {
            Some(model) => {
                let model: String = model.chars().take(100).collect();
                format!("The model {model} goes to the provider {name}")
            }
            None => format!("This path goes to the provider {name}"),
        };
        let message = format!(
            "{why} (`hermesctl proxy routes` explains it). {}",
            error.message
        );
        ProxyError { message, ..error }
    })
}

fn position(name: &str, providers: &[impl Serves]) -> Option<usize> {
    providers.iter().position(|one| one.name() == name)
}

/// Whether the path begins with a provider's name.
pub(super) fn names_provider(path: &str, providers: &[impl Serves]) -> bool {
    provider_named(path, providers).is_some()
}

/// The place of the provider whose name the path begins with.
pub(super) fn provider_named(path: &str, providers: &[impl Serves]) -> Option<usize> {
    let first = path.split('/').find(|segment| !segment.is_empty())?;
    let mut providers = providers.iter();
    providers.position(|one| one.name().eq_ignore_ascii_case(first))
}

/// The method that the provider is asked with: not every server that has a GET knows its HEAD, and
/// the heads of both are the same (RFC 9110 §9.3.2).
pub fn method_upstream(method: &Method, allowed: &AllowedPath) -> Method {
    if *method == Method::HEAD && !allowed.methods.contains(method) {
        return Method::GET;
    }
    method.clone()
}

/// The parts of a path between its slashes; `None` where they are more than any path has.
fn split<'p, 'r>(path: &'p str, room: &'r mut [&'p str; MOST_SEGMENTS]) -> Option<&'r [&'p str]> {
    let mut count = 0;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        *room.get_mut(count)? = segment;
        count += 1;
    }
    room.get(..count)
}

/// Which API's errors the client of a path reads, whether or not anything serves it. Asked for every request.
pub fn error_format(path: &str) -> ErrorFormat {
    let path = path.trim_end_matches('/');
    // Hardly any path continues from here.
    if !path.ends_with("messages") && !path.ends_with("count_tokens") {
        return ErrorFormat::OpenAi;
    }
    let mut room = [""; MOST_SEGMENTS];
    let Some(mut segments) = split(path, &mut room) else {
        return ErrorFormat::OpenAi;
    };
    if let [first, rest @ ..] = segments
        && !matches!(*first, "v1" | "messages")
    {
        segments = rest;
    }
    match without_version(segments) {
        ["messages"] | ["messages", "count_tokens"] => ErrorFormat::Anthropic,
        _ => ErrorFormat::OpenAi,
    }
}

#[cfg(test)]
mod tests;
