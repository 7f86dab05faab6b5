//! From a path to what serves it. Pure.
//!
//! The path is compared with a table and nothing in it is decoded. What real apps get wrong is
//! forgiven: repeated slashes, one slash at the end, a missing or doubled `/v1`. What goes
//! upstream is the table's constant, never the client's text, but for an id where the table has a place for
//! one: a segment in which nothing means anything in a URL.
//!
//! SDKs read a 404 as "no such model" and often show only the start of its text, so that begins with
//! what to choose in the app.

mod unserved;

use std::borrow::Cow;

use hyper::Method;

use super::error::{ErrorFormat, ErrorKind, ProxyError};
use crate::config::{AllowedPath, ByPath, Destination, Routing};

/// More than any path has.
const MOST_SEGMENTS: usize = 32;
/// What apps add to their base URL.
const ENDPOINTS: [&str; 6] = [
    "chat/completions",
    "completions",
    "embeddings",
    "models",
    "responses",
    "messages",
];

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
    /// The provider's list of models, which has one of the id behind it.
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
        let all = Self::ALL.iter();
        let same = |known: &str| {
            known
                .split('/')
                .filter(|known| !known.is_empty())
                .eq(segments.iter().copied())
        };
        let found = all.clone().find(|(known, _)| same(known));
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

/// A provider as routes see it.
pub trait Serves {
    /// Its name, in lower case.
    fn name(&self) -> &str;
    /// What it serves.
    fn paths(&self) -> &[AllowedPath];
    /// Whether the path at this place is served in terms of another one.
    fn is_translated(&self, _path: usize) -> bool {
        false
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

/// The id of a model in a client's path, behind so many segments. Nothing of it goes upstream.
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
pub enum Choice {
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
) -> Result<Choice, ProxyError> {
    let own = find(method, path, providers, default);
    if names_provider(path, providers) || matches!(own, Ok(Route::Local(_))) {
        return own.map(Choice::Settled);
    }
    let others = || {
        let mut others = (0..providers.len()).filter(|at| Some(*at) != default);
        others.find_map(|at| find(method, path, providers, Some(at)).ok())
    };
    let (provider, at) = match own.as_ref().ok().copied().or_else(others) {
        Some(Route::Forward { provider, path } | Route::Model { provider, path, .. }) => {
            (provider, path)
        }
        Some(Route::Local(_)) | None => return own.map(Choice::Settled),
    };
    let paths = providers.get(provider).map(Serves::paths);
    let listed = paths.and_then(|paths| paths.get(at));
    let listed = listed.map_or("", |allowed| allowed.path.as_str());
    let destination = match routing.by_path(listed) {
        ByPath::Settled(None) => return own.map(Choice::Settled),
        ByPath::NeedsModel if *method != Method::GET && *method != Method::HEAD => {
            return Ok(Choice::ByModel { provider, path: at });
        }
        ByPath::Settled(Some(_)) | ByPath::NeedsModel => {
            let is_provider = |name: &str| position(name, providers).is_some();
            routing.find(listed, None, is_provider)
        }
    };
    let found = find_at(method, path, providers, default, &destination);
    found.map(Choice::Settled)
}

/// What serves a request whose destination is known.
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

fn is_path(path: &str, segments: &[&str]) -> bool {
    let known = path.split('/').filter(|segment| !segment.is_empty());
    known.eq(segments.iter().copied())
}

/// Without one `/v1`, or two.
fn without_version<'a>(mut segments: &'a [&'a str]) -> &'a [&'a str] {
    for _ in 0..2 {
        segments = segments.strip_prefix(&["v1"]).unwrap_or(segments);
    }
    segments
}

fn served_by(providers: &[impl Serves], at: Option<usize>) -> &[AllowedPath] {
    let provider = at.and_then(|at| providers.get(at));
    provider.map(Serves::paths).unwrap_or_default()
}

/// Which API's errors the client of a path reads, whether or not anything serves it. Asked for every request.
pub fn error_format(path: &str) -> ErrorFormat {
    let path = path.trim_end_matches('/');
    // Hardly any path goes on from here.
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

/// What to choose in an app that speaks another service's language, known by the path's start.
fn other_service(segments: &[&str]) -> Option<&'static str> {
    match segments {
        ["api", "v1", ..] => Some("Set the app's base URL to one that ends in /v1, without /api"),
        ["openai", "deployments", ..] => Some(
            "Choose \"OpenAI\" or \"OpenAI compatible\" in the app instead of Azure OpenAI, with a \
             base URL that ends in /v1",
        ),
        ["api", ..] => Some(
            "Choose \"OpenAI compatible\" in the app instead of Ollama, with a base URL that ends \
             in /v1",
        ),
        ["v1beta" | "v1alpha" | "v1beta1", ..] => Some(
            "Choose \"OpenAI compatible\" in the app instead of Gemini, with a base URL that ends \
             in /v1",
        ),
        _ => None,
    }
}

/// The same for what is behind `/v1`.
fn other_api(segments: &[&str]) -> Option<&'static str> {
    match segments {
        ["realtime" | "assistants" | "threads" | "conversations", ..] => {
            Some("Choose Chat Completions in the app; OpenAI's other model APIs are not served")
        }
        [
            "audio" | "images" | "files" | "uploads" | "videos" | "batches",
            ..,
        ] => Some(
            "Choose another service in the app for files, images and speech: chats and embeddings \
             are served here; or, if your provider has it, add the path to its `extra_paths` in the \
             configuration of hermes-proxyd",
        ),
        _ => None,
    }
}

/// The end of a base URL that was copied with too much: an endpoint before an endpoint.
fn pasted(segments: &[&str], allowed: &[AllowedPath]) -> Option<String> {
    (1..segments.len()).find_map(|at| {
        let (base, rest) = segments.split_at_checked(at)?;
        let twice = is_endpoint(base, allowed) && is_endpoint(without_version(rest), allowed);
        twice.then(|| base.join("/"))
    })
}

/// Whether apps add these segments to their base URL.
fn is_endpoint(segments: &[&str], allowed: &[AllowedPath]) -> bool {
    let allowed = allowed.iter().map(|allowed| allowed.path.as_str());
    let mut known = ENDPOINTS.iter().copied().chain(allowed);
    known.any(|path| is_path(path, segments))
}

/// The provider at this place does not serve a path.
fn not_served(path: &str, segments: &[&str], providers: &[impl Serves], at: usize) -> ProxyError {
    let allowed = served_by(providers, Some(at));
    let unserved = || unserved::way_out(segments, providers, Some(at));
    match pasted(segments, allowed).is_none().then(unserved).flatten() {
        Some(hint) => with_hint(&hint, path, allowed),
        None => not_allowed(path, segments, allowed),
    }
}

fn not_allowed(path: &str, segments: &[&str], allowed: &[AllowedPath]) -> ProxyError {
    // Two of them were forgiven.
    if let ["v1", ..] = segments {
        let hint =
            "Set the app's base URL to one that ends in a single /v1: the app may add one itself";
        return with_hint(hint, path, allowed);
    }
    if let Some(pasted) = pasted(segments, allowed) {
        let hint = format!(
            "Set the app's base URL to one that ends in /v1, without /{pasted}: the app adds that \
             itself"
        );
        return with_hint(&hint, path, allowed);
    }
    match other_api(segments) {
        Some(hint) => with_hint(hint, path, allowed),
        None => path_error(&path_text(path, allowed)),
    }
}

fn with_hint(hint: &str, path: &str, allowed: &[AllowedPath]) -> ProxyError {
    path_error(&format!("{hint}. {}", path_text(path, allowed)))
}

fn path_error(message: &str) -> ProxyError {
    ProxyError::new(ErrorKind::PathNotAllowed, message)
}

fn path_text(path: &str, allowed: &[AllowedPath]) -> String {
    let mut allowed: Vec<&str> = allowed
        .iter()
        .map(|allowed| allowed.path.as_str())
        .collect();
    allowed.sort_unstable();
    let path: String = path.chars().take(200).collect();
    format!(
        "Path {path} is not forwarded by this proxy. Allowed below /v1: {}",
        allowed.join(", ")
    )
}

fn unknown_provider(name: &str, providers: &[impl Serves]) -> ProxyError {
    let name: String = name.chars().take(100).collect();
    let message = format!(
        "Set the app's base URL to one that ends in /v1, without /{name}: there is no provider \
         {name}. {}",
        configured(providers)
    );
    ProxyError::new(ErrorKind::UnknownProvider, message)
}

/// A reload took away the provider that `/v1` means at this address.
fn no_default(providers: &[impl Serves]) -> ProxyError {
    let message = format!(
        "There is no provider at this address. {}",
        configured(providers)
    );
    ProxyError::new(ErrorKind::UnknownProvider, message)
}

fn configured(providers: &[impl Serves]) -> String {
    let known: Vec<&str> = providers.iter().map(Serves::name).collect();
    format!(
        "Configured: {}. `hermesctl proxy providers` lists them.",
        known.join(", ")
    )
}

fn method_not_allowed(path: &str, allow: String) -> ProxyError {
    let path: String = path.chars().take(200).collect();
    let message = format!("Path {path} takes only: {allow}");
    ProxyError {
        allow: Some(allow),
        ..ProxyError::new(ErrorKind::MethodNotAllowed, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake<'a>(&'static str, &'a [AllowedPath]);

    impl Serves for Fake<'_> {
        fn name(&self) -> &str {
            self.0
        }

        fn paths(&self) -> &[AllowedPath] {
            self.1
        }
    }

    fn path(path: &str, method: Method) -> AllowedPath {
        AllowedPath::new(path, &[method])
    }

    fn find_in(method: &Method, target: &str) -> Result<Route, ProxyError> {
        let nous = [
            path("/chat/completions", Method::POST),
            path("/models", Method::GET),
        ];
        let other = [path("/responses", Method::POST)];
        let providers = [Fake("nous", &nous), Fake("other", &other)];
        find(method, target, &providers, Some(0))
    }

    #[test]
    fn what_apps_get_wrong_is_forgiven() {
        for target in [
            "/v1/chat/completions",
            "//v1//chat/completions",
            "/v1/chat/completions/",
            "/chat/completions",
            "/v1/v1/chat/completions",
            "/nous/v1/chat/completions",
            "/NOUS/v1/chat/completions",
            "/nous/chat/completions",
        ] {
            let route = find_in(&Method::POST, target);
            assert_eq!(
                route,
                Ok(Route::Forward {
                    provider: 0,
                    path: 0
                }),
                "{target}"
            );
        }
        let route = find_in(&Method::POST, "/other/v1/responses");
        assert_eq!(
            route,
            Ok(Route::Forward {
                provider: 1,
                path: 0
            })
        );
    }

    #[test]
    fn a_path_with_a_place_takes_an_id_and_a_literal_one_goes_before_it() {
        let paths = [
            path("/files/{id}", Method::GET),
            path("/files/{id}/content", Method::GET),
            path("/files/search", Method::POST),
            path("/{a}/x", Method::GET),
            path("/files/{id}/{part}", Method::POST),
        ];
        let providers = [Fake("nous", &paths)];
        let at = |method: &Method, target: &str| {
            find(method, target, &providers, Some(0)).map(|route| match route {
                Route::Forward { path, .. } => path_upstream(&paths[path], target).into_owned(),
                other @ (Route::Local(_) | Route::Model { .. }) => panic!("{other:?}"),
            })
        };
        for (method, target, upstream) in [
            (Method::GET, "/v1/files/file-1", "/files/file-1"),
            (Method::HEAD, "/v1/files/file-1/", "/files/file-1"),
            (Method::GET, "/nous//v1//files/f.1", "/files/f.1"),
            (Method::GET, "/v1/files/f/content", "/files/f/content"),
            (Method::POST, "/v1/files/f/parts", "/files/f/parts"),
            (Method::POST, "/v1/files/search", "/files/search"),
        ] {
            assert_eq!(at(&method, target).as_deref(), Ok(upstream), "{target}");
        }
        // The path decides, then the method.
        for (method, target, allow) in [
            (Method::GET, "/v1/files/search", "POST"),
            (Method::POST, "/v1/files/file-1", "GET, HEAD"),
            (Method::POST, "/v1/files/f/content", "GET, HEAD"),
        ] {
            let error = at(&method, target).unwrap_err();
            assert_eq!(error.allow.as_deref(), Some(allow), "{target}");
        }
        for target in [
            "/v1/files/.",
            "/v1/files/..",
            "/v1/files/%2e%2e",
            "/v1/files/a%2fb",
            "/v1/files/a;b",
            "/v1/files/{id}",
            "/v1/files/{id}/content",
            "/v1/files",
            "/v1/files/a/content/b",
        ] {
            let error = at(&Method::GET, target).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{target}");
        }
    }

    #[test]
    fn a_model_is_one_of_the_list_however_its_id_is_written() {
        for (target, id) in [
            ("/v1/models/gpt-5", "gpt-5"),
            ("/nous/v1/models/gpt-5/", "gpt-5"),
            (
                "//models/anthropic/claude-4.5:beta",
                "anthropic/claude-4.5:beta",
            ),
            (
                "/v1/models/anthropic%2Fclaude%3aBeta",
                "anthropic/claude:Beta",
            ),
            ("/v1/models/@cf/x", "@cf/x"),
            ("/v1/models/models/x", "models/x"),
        ] {
            let route = find_in(&Method::GET, target);
            assert_eq!(route, find_in(&Method::HEAD, target));
            let Ok(Route::Model {
                provider: 0,
                path: 1,
                before,
            }) = route
            else {
                panic!("{target}: {route:?}");
            };
            assert_eq!(model(target, before).as_deref(), Some(id), "{target}");
            let error = find_in(&Method::DELETE, target).unwrap_err();
            assert_eq!(error.allow.as_deref(), Some("GET, HEAD"));
        }
    }

    #[test]
    fn everything_else_is_not_found() {
        for target in [
            "/v1",
            "/v1/",
            "/v1/embeddings",
            "/v1/models/..",
            "/v1/models/../x",
            "/v1/models/%2e%2e",
            "/v1/models/a%2F..%2Fb",
            "/v1/models/a%00",
            "/v1/models/a%",
            "/v1/models/a%2",
            "/v1/models/a%zz",
            "/v1/models/a;b",
            "/v1/models/a b",
            "/other/v1/models/x",
            "/v1/%6dodels",
            "/v1/./models",
            "/v1/../models",
            "/v1/models;a",
            "/v1\\models",
            "/v1/Models",
            "/V1/models",
            "/v1/v1/v1/models",
            "/v1/nous/models",
            "/other/v1/models",
            "*",
        ] {
            let error = find_in(&Method::GET, target).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{target}");
        }
        let error = find_in(&Method::GET, "/nope/v1/models").unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnknownProvider);
        assert!(error.message.contains("nous, other"));
    }

    #[test]
    fn the_allowed_paths_are_listed_in_order() {
        let error = find_in(&Method::GET, "/v1/nope").unwrap_err();
        assert!(
            error.message.ends_with("/chat/completions, /models"),
            "{}",
            error.message
        );
    }

    #[test]
    fn another_method_is_told_the_right_ones() {
        let error = find_in(&Method::GET, "/v1/chat/completions").unwrap_err();
        assert_eq!(error.kind, ErrorKind::MethodNotAllowed);
        assert_eq!(error.allow.as_deref(), Some("POST"));
        let error = find_in(&Method::POST, "/v1/models").unwrap_err();
        assert_eq!(error.allow.as_deref(), Some("GET, HEAD"));
        let error = find_in(&Method::HEAD, "/v1/chat/completions").unwrap_err();
        assert_eq!(error.kind, ErrorKind::MethodNotAllowed);
        let error = find_in(&Method::DELETE, "/health").unwrap_err();
        assert_eq!(error.allow.as_deref(), Some("GET, HEAD"));
    }

    #[test]
    fn a_head_is_served_wherever_a_get_is() {
        let route = find_in(&Method::HEAD, "/v1/models");
        assert!(matches!(route, Ok(Route::Forward { .. })), "{route:?}");
        let get = path("/models", Method::GET);
        assert_eq!(method_upstream(&Method::HEAD, &get), Method::GET);
        assert_eq!(method_upstream(&Method::GET, &get), Method::GET);
        let head = path("/models", Method::HEAD);
        assert_eq!(method_upstream(&Method::HEAD, &head), Method::HEAD);
    }

    #[test]
    fn anthropics_errors_are_for_its_paths_alone() {
        for path in [
            "/v1/messages",
            "//v1//messages/",
            "/messages",
            "/v1/v1/messages",
            "/nous/v1/messages",
            "/nous/messages",
            "/v1/messages/count_tokens",
            "/nous/v1/messages/count_tokens/",
            "/messages/count_tokens",
        ] {
            assert_eq!(error_format(path), ErrorFormat::Anthropic, "{path}");
        }
        for path in [
            "/",
            "/v1/chat/completions",
            "/v1/threads/x/messages",
            "/threads/x/messages",
            "/v1/x/messages",
            "/v1/chat/messages/count_tokens",
            "/v1/count_tokens",
            "/v1/xmessages",
            "/v1/messages/x/count_tokens",
        ] {
            assert_eq!(error_format(path), ErrorFormat::OpenAi, "{path}");
        }
    }

    const ONE_VERSION: &str = "Set the app's base URL to one that ends in a single /v1: ";

    #[test]
    fn a_404_begins_with_what_to_choose_in_the_app() {
        for (target, begins) in [
            (
                "/v1/responses",
                "Set the app's base URL to one that ends in /other/v1: the provider other serves \
                 /responses; or choose Chat Completions in the app",
            ),
            ("/responses/x/cancel", "Set the app's base URL to one"),
            (
                "/v1/messages",
                "Choose OpenAI's Chat Completions in the app",
            ),
            ("/v1/messages/count_tokens", "Choose OpenAI's Chat"),
            ("/v1/messages/batches", "Choose single requests"),
            ("/v1/realtime", "Choose Chat Completions"),
            ("/v1/audio/speech", "Choose another service"),
            (
                "/api/v1/chat/completions",
                "Set the app's base URL to one that ends in /v1, without /api.",
            ),
            (
                "/openai/deployments/a/chat/completions",
                "Choose \"OpenAI\"",
            ),
            ("/api/tags", "Choose \"OpenAI compatible\""),
            (
                "/v1beta/models/x:generateContent",
                "Choose \"OpenAI compatible\"",
            ),
            (
                "/v1/chat/completions/chat/completions",
                "Set the app's base URL to one that ends in /v1, without /chat/completions:",
            ),
            ("/v1/chat/completions/v1/models", "Set the app's base URL"),
            ("/v1/models/models", "Set the app's base URL"),
            ("/v1/responses/models", "Set the app's base URL"),
            ("/nous/v1/chat/completions/models", "Set the app's base URL"),
            ("/v1/v1/v1/chat/completions", ONE_VERSION),
            ("/nous/v1/v1/v1/models", ONE_VERSION),
            ("/v1/v1/v1/v1/v1", ONE_VERSION),
            ("/v1/models/..", "Path /v1/models/.. is not"),
            ("/a/b", "Path /a/b is not"),
        ] {
            let error = find_in(&Method::GET, target).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{target}");
            assert!(error.message.starts_with(begins), "{}", error.message);
            assert!(error.message.ends_with("/chat/completions, /models"));
        }
        let error = find_in(&Method::GET, "/groq/v1/models").unwrap_err();
        assert!(error.message.starts_with("Set the app's base URL"));
        let error = find_in(&Method::GET, &"/v1/a".repeat(1000)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PathNotAllowed);
    }

    #[test]
    fn our_own_paths_are_found() {
        for target in [
            "/favicon.ico",
            "//favicon.svg",
            "/apple-touch-icon-76x76.png",
            "/apple-touch-icon.png",
            "/robots.txt",
        ] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(find_in(&method, target), Ok(Route::Local(Local::Nothing)));
            }
            let error = find_in(&Method::POST, target).unwrap_err();
            assert_eq!(error.kind, ErrorKind::MethodNotAllowed);
        }
        for (target, local) in [
            ("//", Local::Root),
            ("/health/", Local::Health),
            ("//livez", Local::Live),
            ("///readyz//", Local::Ready),
        ] {
            assert_eq!(find_in(&Method::GET, target), Ok(Route::Local(local)));
        }
        assert!(find_in(&Method::GET, "/v1/favicon.ico").is_err());
        for (target, local) in Local::ALL {
            assert_eq!(find_in(&Method::GET, target), Ok(Route::Local(local)));
            assert_eq!(find_in(&Method::HEAD, target), Ok(Route::Local(local)));
        }
    }
}
