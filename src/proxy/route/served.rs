//! What a provider serves.

use crate::config::AllowedPath;

/// What apps add to their base URL.
pub(super) const ENDPOINTS: [&str; 6] = [
    "chat/completions",
    "completions",
    "embeddings",
    "models",
    "responses",
    "messages",
];

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

pub(super) fn is_path(path: &str, segments: &[&str]) -> bool {
    let known = path.split('/').filter(|segment| !segment.is_empty());
    known.eq(segments.iter().copied())
}

/// Without one `/v1`, or two.
pub(super) fn without_version<'a>(mut segments: &'a [&'a str]) -> &'a [&'a str] {
    for _ in 0..2 {
        segments = segments.strip_prefix(&["v1"]).unwrap_or(segments);
    }
    segments
}

pub(super) fn served_by(providers: &[impl Serves], at: Option<usize>) -> &[AllowedPath] {
    let provider = at.and_then(|at| providers.get(at));
    provider.map(Serves::paths).unwrap_or_default()
}
