//! The text for a path that leads nowhere: first the setting to choose in the app. Pure.

use super::super::error::{ErrorKind, ProxyError};
use super::served::{ENDPOINTS, Serves, is_path, served_by, without_version};
use super::unserved;
use crate::config::AllowedPath;

/// What to choose in an app that speaks another service's language, known by the path's start.
pub(super) fn other_service(segments: &[&str]) -> Option<&'static str> {
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

/// The same for the part after `/v1`.
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
pub(super) fn pasted(segments: &[&str], allowed: &[AllowedPath]) -> Option<String> {
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
pub(super) fn not_served(
    path: &str,
    segments: &[&str],
    providers: &[impl Serves],
    at: usize,
) -> ProxyError {
    let allowed = served_by(providers, Some(at));
    let unserved = || unserved::way_out(segments, providers, Some(at));
    match pasted(segments, allowed).is_none().then(unserved).flatten() {
        Some(hint) => with_hint(&hint, path, allowed),
        None => not_allowed(path, segments, allowed),
    }
}

pub(super) fn not_allowed(path: &str, segments: &[&str], allowed: &[AllowedPath]) -> ProxyError {
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

pub(super) fn with_hint(hint: &str, path: &str, allowed: &[AllowedPath]) -> ProxyError {
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

pub(super) fn unknown_provider(name: &str, providers: &[impl Serves]) -> ProxyError {
    let name: String = name.chars().take(100).collect();
    let message = format!(
        "Set the app's base URL to one that ends in /v1, without /{name}: there is no provider \
         {name}. {}",
        configured(providers)
    );
    ProxyError::new(ErrorKind::UnknownProvider, message)
}

/// A reload took away the provider that `/v1` means at this address.
pub(super) fn no_default(providers: &[impl Serves]) -> ProxyError {
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

pub(super) fn method_not_allowed(path: &str, allow: String) -> ProxyError {
    let path: String = path.chars().take(200).collect();
    let message = format!("Path {path} takes only: {allow}");
    ProxyError {
        allow: Some(allow),
        ..ProxyError::new(ErrorKind::MethodNotAllowed, message)
    }
}
