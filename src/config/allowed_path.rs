//! A forwarded path below `/v1`: its methods, its places for ids, and the bodies that it takes;
//! pure.

use hyper::Method;

use super::form::AsText;
use super::reader::Wrong;

const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];
/// More than any path has; each segment is a bit of [`AllowedPath::fits`]' answer.
const MOST_SEGMENTS: usize = 16;
/// Longer than any provider's ids.
const LONGEST_ID: usize = 256;

/// A path below `/v1` and the methods it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedPath {
    /// Starts with a slash; ASCII letters, digits, `-`, `_`, `.` and `/` only. A segment in braces, such
    /// as `{id}`, is a place for an id.
    pub path: String,
    /// At least one.
    pub methods: Vec<Method>,
    /// Which bodies are forwarded with their own type.
    pub body: BodyKind,
}

/// Which bodies keep their `Content-Type`; every other one is forwarded as JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyKind {
    /// None: a body is JSON, whatever its content type.
    #[default]
    Json,
    /// Those of type `multipart/form-data`.
    Multipart,
    /// All.
    Any,
}

impl BodyKind {
    /// The kinds by the words that the file uses.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("json", Self::Json),
        ("multipart", Self::Multipart),
        ("any", Self::Any),
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Multipart => "multipart",
            Self::Any => "any",
        }
    }
}

impl AllowedPath {
    /// A path with these methods, whose bodies are JSON.
    pub fn new(path: &str, methods: &[Method]) -> Self {
        Self {
            path: path.to_owned(),
            methods: methods.to_vec(),
            body: BodyKind::Json,
        }
    }

    /// `/path` (POST), `GET /path` or `GET,POST /path`, each with the kind of its bodies behind it.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (methods, path, body) = match *words {
            [path] => ("POST", path, None),
            [path, body] if path.starts_with('/') => ("POST", path, Some(body)),
            [methods, path] => (methods, path, None),
            [methods, path, body] => (methods, path, Some(body)),
            _ => return Err(not_a_path(text.trim())),
        };
        let methods = methods.split(',').map(method);
        let methods = methods.collect::<Result<Vec<_>, _>>()?;
        check_path(path)?;
        let body = body.map_or(Ok(BodyKind::Json), |body| body_kind(body, &methods))?;
        Ok(Self {
            path: path.to_owned(),
            methods,
            body,
        })
    }

    /// Adds the configuration's paths to a provider's own.
    pub(crate) fn add_all(paths: &mut Vec<Self>, additions: &[Self]) {
        for addition in additions {
            Self::add(paths, addition);
        }
    }

    /// Adds a path to a list. A path that is listed already gets the methods and bodies that it
    /// lacks.
    fn add(paths: &mut Vec<Self>, addition: &Self) {
        let Some(known) = paths.iter_mut().find(|known| known.is_same(addition)) else {
            paths.push(addition.clone());
            return;
        };
        for method in &addition.methods {
            if !known.methods.contains(method) {
                known.methods.push(method.clone());
            }
        }
        known.body = known.body.max(addition.body);
    }

    /// Whether it has a place for an id.
    pub fn is_template(&self) -> bool {
        self.path.contains('{')
    }

    /// Whether both serve the same paths, whatever the names of their ids.
    fn is_same(&self, other: &Self) -> bool {
        let unnamed = |segment| if is_place(segment) { "{}" } else { segment };
        let own = self.segments().map(unnamed);
        own.eq(other.segments().map(unnamed))
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter(|segment| !segment.is_empty())
    }

    /// How well it fits the segments of a path: the fewer and the later its places, the smaller the
    /// number, 0 without any; `None` where it does not.
    pub fn fits(&self, segments: &[&str]) -> Option<u32> {
        let mut asked = segments.iter();
        let mut fit = 0;
        for known in self.segments() {
            let asked = asked.next()?;
            let place = is_place(known);
            let same = if place { is_id(asked) } else { known == *asked };
            if !same {
                return None;
            }
            fit = (fit << 1) | u32::from(place);
        }
        asked.next().is_none().then_some(fit)
    }

    /// The path with the ids of a client's path that it fits: every other byte is its own.
    pub fn filled(&self, asked: &str) -> String {
        let mut asked = asked.rsplit('/').filter(|segment| !segment.is_empty());
        let own: Vec<&str> = self.segments().collect();
        let mut filled = vec![""; own.len()];
        for (place, own) in filled.iter_mut().zip(own).rev() {
            let asked = asked.next().filter(|asked| is_place(own) && is_id(asked));
            *place = asked.unwrap_or(own);
        }
        let mut path = String::with_capacity(self.path.len() + LONGEST_ID / 4);
        for segment in filled {
            path.push('/');
            path.push_str(segment);
        }
        path
    }
}

/// As the file has it.
impl std::fmt::Display for AllowedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let methods: Vec<_> = self.methods.iter().map(Method::as_str).collect();
        write!(f, "{} {}", methods.join(","), self.path)?;
        if self.body != BodyKind::Json {
            write!(f, " {}", self.body.as_str())?;
        }
        Ok(())
    }
}

fn method(name: &str) -> Result<Method, Wrong> {
    let known = METHODS.iter().find(|method| method.as_str() == name);
    known.cloned().ok_or_else(|| Wrong {
        message: format!(
            "{name:?} is not one of GET, HEAD, POST, PUT, PATCH, DELETE; write \"GET,POST /path\""
        ),
        suggestion: None,
    })
}

fn body_kind(word: &str, methods: &[Method]) -> Result<BodyKind, Wrong> {
    let known = BodyKind::NAMES.iter().find(|(name, _)| *name == word);
    let Some((_, kind)) = known else {
        let message =
            format!("{word:?} is not a kind of body: write \"json\", \"multipart\" or \"any\"");
        return Err(message.into());
    };
    let has_body = |method: &Method| !matches!(*method, Method::GET | Method::HEAD);
    if !methods.iter().any(has_body) {
        return Err(format!("a GET request has no body: omit {word:?}").into());
    }
    Ok(*kind)
}

fn check_path(path: &str) -> Result<(), Wrong> {
    let below = path.strip_prefix('/').ok_or_else(|| not_a_path(path))?;
    let segments: Vec<&str> = below.split('/').collect();
    let is_name = |segment: &str| !is_place(segment) && is_id(segment);
    if segments.len() > MOST_SEGMENTS || !segments.iter().all(|one| is_place(one) || is_name(one)) {
        return Err(not_a_path(path));
    }
    if segments.first().is_some_and(|first| is_place(first)) {
        let message = format!("{path:?} would forward every path: start it with a name");
        return Err(message.into());
    }
    if let Some(rest) = path.strip_prefix("/v1/") {
        return Err(Wrong {
            message: "paths are relative to /v1: omit the /v1".into(),
            suggestion: Some(format!("/{rest}")),
        });
    }
    Ok(())
}

fn not_a_path(path: &str) -> Wrong {
    format!(
        "{path:?} is not a path such as \"/responses\": it starts with a slash, and uses letters, \
         digits, `-`, `_` and `.` between slashes, or {{id}} as a place for an id"
    )
    .into()
}

/// Whether a segment of a path of ours is the place of an id: a word in braces.
fn is_place(segment: &str) -> bool {
    let word = segment
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    word.is_some_and(|word| {
        let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        !word.is_empty() && word.bytes().all(byte)
    })
}

/// Whether a segment can be an id: letters, digits, `-`, `_` and `.`, and no dot segment. None of these
/// has a meaning in a URL.
fn is_id(segment: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=LONGEST_ID).contains(&segment.len())
        && segment.bytes().all(byte)
        && segment.bytes().any(|b| b != b'.')
}

impl AsText for AllowedPath {
    fn as_text(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AllowedPath, String> {
        AllowedPath::parse(text).map_err(|wrong| wrong.message)
    }

    fn segments(path: &str) -> Vec<&str> {
        path.split('/').filter(|one| !one.is_empty()).collect()
    }

    #[test]
    fn a_line_of_the_file_is_methods_a_path_and_the_kind_of_its_bodies() {
        for (text, methods, path, body) in [
            ("/responses", "POST", "/responses", BodyKind::Json),
            ("GET  /files/{id}", "GET", "/files/{id}", BodyKind::Json),
            (
                "GET,DELETE /a/{b_1}/c",
                "GET,DELETE",
                "/a/{b_1}/c",
                BodyKind::Json,
            ),
            ("/files multipart", "POST", "/files", BodyKind::Multipart),
            ("PUT /x any", "PUT", "/x", BodyKind::Any),
            ("POST /x json", "POST", "/x", BodyKind::Json),
        ] {
            let parsed = parse(text).unwrap();
            let names: Vec<_> = parsed.methods.iter().map(Method::as_str).collect();
            assert_eq!((names.join(","), &*parsed.path), (methods.to_owned(), path));
            assert_eq!(parsed.body, body, "{text}");
            assert_eq!(parse(&parsed.to_string()).unwrap(), parsed);
        }
        for (text, wrong) in [
            ("/x xml", "is not a kind of body"),
            ("GET /x any", "has no body"),
            ("GET,HEAD /x multipart", "has no body"),
            ("GET /{id}", "start it with a name"),
            ("GET /files/{}", "is not a path"),
            ("GET /files/{a-b}", "is not a path"),
            ("GET /files/{id", "is not a path"),
            ("GET /files/x{id}", "is not a path"),
            ("GET /files/%2e", "is not a path"),
            ("GET /files/..", "is not a path"),
            ("GET /files/*", "is not a path"),
            ("GET /files/{id} any x", "is not a path"),
            ("", "is not a path"),
            ("get /x", "is not one of GET"),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(wrong), "{text}: {told}");
        }
    }

    #[test]
    fn a_place_takes_one_segment_of_a_strict_alphabet() {
        let file = parse("GET /files/{id}/content").unwrap();
        for id in ["file-1", "a", "A_b.c-9", "v1", "{x", &"x".repeat(256)] {
            let path = format!("files/{id}/content");
            let fits = file.fits(&segments(&path)).is_some();
            assert_eq!(fits, !id.contains('{'), "{id}");
        }
        for id in [
            ".",
            "..",
            "...",
            "%2e",
            "a%2Fb",
            "a;b",
            "a b",
            "a\\b",
            "é",
            "a:b",
            "a@b",
            "{id}",
            "",
            "a/b",
            "~",
            "a?b",
            &"x".repeat(257),
        ] {
            let path = format!("files/{id}/content");
            assert_eq!(file.fits(&segments(&path)), None, "{id}");
        }
        for path in ["files", "files/a", "files/a/content/b", "a/files/b/content"] {
            assert_eq!(file.fits(&segments(path)), None, "{path}");
        }
    }

    #[test]
    fn the_fewer_and_the_later_its_places_the_better_it_fits() {
        let fit = |path: &str| parse(path).unwrap().fits(&["a", "b", "c"]).unwrap();
        let order = ["/a/b/c", "/a/b/{x}", "/a/{x}/c", "/a/{x}/{y}"];
        assert!(order.map(fit).is_sorted(), "{:?}", order.map(fit));
        assert_eq!(fit("/a/b/c"), 0);
    }

    #[test]
    fn what_is_sent_is_the_path_with_the_ids_alone() {
        let cancel = parse("POST /batches/{id}/cancel").unwrap();
        for asked in [
            "/v1/batches/b_1/cancel",
            "//nous///v1/v1/batches//b_1/cancel/",
            "batches/b_1/cancel",
        ] {
            assert_eq!(cancel.filled(asked), "/batches/b_1/cancel");
        }
        // Never asked for, and harmless.
        assert_eq!(
            cancel.filled("/v1/batches/../cancel"),
            "/batches/{id}/cancel"
        );
        assert_eq!(cancel.filled("/"), "/batches/{id}/cancel");
    }

    #[test]
    fn one_path_is_listed_once_whatever_its_places_are_called() {
        let mut paths = Vec::new();
        for text in [
            "GET /files/{id}",
            "DELETE,GET /files/{file_id}",
            "/files",
            "/files multipart",
            "GET /files",
        ] {
            AllowedPath::add(&mut paths, &parse(text).unwrap());
        }
        let told: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["GET,DELETE /files/{id}", "POST,GET /files multipart"]
        );
    }
}
