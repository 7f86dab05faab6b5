//! From a path to what serves it. Pure.
//!
//! The path is compared with a table and nothing in it is decoded. What real apps get wrong is
//! forgiven: repeated slashes, one slash at the end, a missing or doubled `/v1`. What goes
//! upstream is the table's constant, never the client's text.

use hyper::Method;

use super::error::{ErrorKind, ProxyError};
use crate::config::AllowedPath;

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
}

impl Local {
    /// Every local path.
    pub const ALL: [(&'static str, Self); 4] = [
        ("/", Self::Root),
        ("/health", Self::Health),
        ("/livez", Self::Live),
        ("/readyz", Self::Ready),
    ];
}

/// A provider as routes see it.
pub trait Serves {
    /// Its name, in lower case.
    fn name(&self) -> &str;
    /// What it serves.
    fn paths(&self) -> &[AllowedPath];
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
    if let Some((_, local)) = Local::ALL.iter().find(|(known, _)| *known == path) {
        return match *method {
            Method::GET | Method::HEAD => Ok(Route::Local(*local)),
            _ => Err(method_not_allowed(path, "GET, HEAD".to_owned())),
        };
    }
    let mut segments = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .peekable();
    let mut provider = default;
    if let Some(first) = segments.peek().filter(|first| **first != "v1") {
        if let Some(named) = providers
            .iter()
            .position(|p| p.name().eq_ignore_ascii_case(first))
        {
            provider = Some(named);
            segments.next();
        } else if path.split('/').filter(|segment| !segment.is_empty()).nth(1) == Some("v1") {
            return Err(unknown_provider(first, providers));
        }
    }
    for _ in 0..2 {
        segments.next_if_eq(&"v1");
    }
    let Some((provider, served)) = provider.and_then(|at| Some((at, providers.get(at)?))) else {
        return Err(unknown_provider("at this address", providers));
    };
    let matches = |allowed: &AllowedPath| {
        allowed
            .path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .eq(segments.clone())
    };
    let Some(index) = served.paths().iter().position(matches) else {
        return Err(not_allowed(path, served.paths()));
    };
    let methods = served
        .paths()
        .get(index)
        .map(|allowed| &*allowed.methods)
        .unwrap_or_default();
    if !methods.contains(method) {
        let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
        return Err(method_not_allowed(path, methods.join(", ")));
    }
    Ok(Route::Forward {
        provider,
        path: index,
    })
}

fn not_allowed(path: &str, allowed: &[AllowedPath]) -> ProxyError {
    let mut allowed: Vec<&str> = allowed
        .iter()
        .map(|allowed| allowed.path.as_str())
        .collect();
    allowed.sort_unstable();
    let path: String = path.chars().take(200).collect();
    let message = format!(
        "Path {path} is not forwarded by this proxy. Allowed below /v1: {}",
        allowed.join(", ")
    );
    ProxyError::new(ErrorKind::PathNotAllowed, message)
}

fn unknown_provider(name: &str, providers: &[impl Serves]) -> ProxyError {
    let name: String = name.chars().take(100).collect();
    let known: Vec<&str> = providers.iter().map(Serves::name).collect();
    let message = format!(
        "There is no provider {name}. Configured: {}. `hermesctl proxy providers` lists them.",
        known.join(", ")
    );
    ProxyError::new(ErrorKind::UnknownProvider, message)
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
        AllowedPath {
            path: path.to_owned(),
            methods: vec![method],
        }
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
    fn everything_else_is_not_found() {
        for target in [
            "/v1",
            "/v1/",
            "/v1/embeddings",
            "/v1/models/x",
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
            "",
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
        let error = find_in(&Method::DELETE, "/health").unwrap_err();
        assert_eq!(error.allow.as_deref(), Some("GET, HEAD"));
    }

    #[test]
    fn our_own_paths_are_found() {
        for (target, local) in Local::ALL {
            assert_eq!(find_in(&Method::GET, target), Ok(Route::Local(local)));
            assert_eq!(find_in(&Method::HEAD, target), Ok(Route::Local(local)));
        }
    }
}
