//! The base URL of a provider's requests: a parsed constant that no client can change.

use std::fmt;

use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use url::Url;

use crate::redact;

/// A provider's base URL: scheme, host and port, and the path that every request starts with.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    authority: Authority,
    /// Starts with a slash unless empty; never ends with one.
    prefix: String,
}

/// A URL that can't be a base URL.
#[derive(Debug, thiserror::Error)]
#[error("{url} is not an http or https URL with a host, without a query or fragment")]
pub struct BaseUrlError {
    url: String,
}

impl BaseUrl {
    /// Takes scheme, host, port and path of a URL.
    ///
    /// # Errors
    /// When it is not http or https, has no host, or has user information, a query or a fragment.
    pub fn new(url: &Url) -> Result<Self, BaseUrlError> {
        Self::split(url).ok_or_else(|| BaseUrlError {
            url: redact::url(url),
        })
    }

    fn split(url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "https" => Scheme::HTTPS,
            "http" => Scheme::HTTP,
            _ => return None,
        };
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let host = url.host_str().filter(|_| plain)?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let authority = Authority::try_from(authority).ok()?;
        Some(Self {
            scheme,
            authority,
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The URI of `path`, a constant of ours that starts with a slash, with the client's query
    /// as it came. `None` when the query holds what a URI can't carry.
    pub fn join(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        let target = match query {
            Some(query) => [&self.prefix, path, "?", query].concat(),
            None => [&self.prefix, path].concat(),
        };
        let mut parts = hyper::http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(target).ok()?);
        Uri::from_parts(parts).ok()
    }

    /// Writes the target of a request for `path`, as [`Self::join`] puts it together.
    pub fn write_target(&self, text: &mut Vec<u8>, path: &str, query: Option<&str>) {
        text.extend_from_slice(self.prefix.as_bytes());
        text.extend_from_slice(path.as_bytes());
        if let Some(query) = query {
            text.push(b'?');
            text.extend_from_slice(query.as_bytes());
        }
    }

    /// Host and port, as the URL has them.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether every client resolves a reference, as in a `Location`, to this scheme, host and port, or,
    /// if it is relative, to us. Clients read unusual references differently: some treat a backslash as
    /// a slash, others as a part of the user name. So only unambiguous ones count: RFC 3986's characters
    /// without `@`, this very authority followed by a slash or by nothing, or a path that no client
    /// reads as an authority or a scheme.
    pub fn is_origin_of(&self, reference: &str) -> bool {
        let is_clear = match reference.split_once("://") {
            // Not a scheme, but something of a query.
            Some((before, _)) if before.contains(['/', '?', '#']) => is_clear_path(reference),
            Some((scheme, rest)) => {
                scheme.eq_ignore_ascii_case(self.scheme.as_str()) && self.is_followed_by_path(rest)
            }
            None => is_clear_path(reference),
        };
        is_plain(reference) && is_clear && self.is_origin_to_browsers(reference)
    }

    /// Whether the authority after `scheme://` is this one, for every client.
    fn is_followed_by_path(&self, rest: &str) -> bool {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // An empty segment is what another authority would begin behind.
        !path.starts_with('/') && authority.eq_ignore_ascii_case(self.authority.as_str())
    }

    /// The same by the reading of browsers (WHATWG).
    fn is_origin_to_browsers(&self, reference: &str) -> bool {
        let Ok(base) = Url::parse(&self.to_string()) else {
            return false;
        };
        // Parsed alone first: `https:evil.example` is relative only to an https base.
        let url = Url::parse(reference).or_else(|_| base.join(reference));
        url.is_ok_and(|url| url.origin() == base.origin())
    }

    /// Whether requests go over TLS.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }
}

/// Whether it is of RFC 3986's characters alone: no backslash, blank or control character, nothing beyond
/// ASCII, `%` only before two hexadecimal digits; and no `@`, which separates a user name.
fn is_plain(reference: &str) -> bool {
    let mut rest = reference.bytes();
    while let Some(byte) = rest.next() {
        let is_one = match byte {
            b'%' => (0..2).all(|_| rest.next().is_some_and(|digit| digit.is_ascii_hexdigit())),
            byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]!$&'()*+,;=".contains(&byte),
        };
        if !is_one {
            return false;
        }
    }
    !reference.is_empty()
}

/// Whether a relative reference has a path that no reader takes for an authority (`//host`, `/.//host`)
/// or a scheme (`https:host`).
fn is_clear_path(reference: &str) -> bool {
    let path = reference.split(['?', '#']).next().unwrap_or_default();
    let first = path.split('/').next().unwrap_or_default();
    !path.contains("//") && !first.contains(':')
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str) -> Result<BaseUrl, BaseUrlError> {
        BaseUrl::new(&url.parse().unwrap())
    }

    #[test]
    fn a_path_is_put_behind_the_base_and_the_query_is_kept_as_it_came() {
        let base = base("https://api.example:8443/v1/").unwrap();
        assert_eq!(base.to_string(), "https://api.example:8443/v1");
        let uri = base.join("/models", Some("a=%2e%2E&b=[]+c")).unwrap();
        assert_eq!(
            uri.to_string(),
            "https://api.example:8443/v1/models?a=%2e%2E&b=[]+c"
        );
        assert_eq!(base.join("/models", None).unwrap().path(), "/v1/models");
    }

    #[test]
    fn only_a_reference_to_the_same_scheme_host_and_port_is_its_own() {
        let base = base("https://api.example:8443/v1").unwrap();
        for own in [
            "https://api.example:8443/a",
            "https://api.example:8443/a?b=c:d/e&f[]=%5C#g",
            "HTTPS://API.example:8443",
            "/a",
            "/a:b/",
            "a?b=/x",
            "a?to=https://elsewhere.example//b",
            "../a",
            "?a",
        ] {
            assert!(base.is_origin_of(own), "{own}");
        }
        for other in [
            "",
            "http://api.example:8443/a",
            "https://api.example/a",
            "https://u@api.example:8443/",
            "https://@api.example:8443/",
            "https://api.example:8443.evil.example/",
            "https://api.example:08443/",
            "https://api%2Eexample:8443/",
            "https://api.example:8443:8443/",
            "https://evil.example/https://api.example:8443/",
            "//evil.example",
            "//api.example:8443/a",
            "///evil.example",
            "/.//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            " //evil.example",
            "/\t/evil.example",
            "https:evil.example",
            "https:/api.example:8443/",
            "https:///api.example:8443/",
            "https:",
            "https://",
            "data:,",
            "1.2.3.4:80/a",
            // Read in two ways.
            "https://api.example:8443\\@evil.example/",
            "https://api.example:8443\\\\@evil.example/",
            "https://api.example:8443%5C@evil.example/",
            "https://api.example:8443/\\evil.example",
            "https://api.example:8443//evil.example",
            "https://api.example:8443?@evil.example/",
            "https://api.example:8443#@evil.example/",
            "https://api.example:8443?a",
            "https://api.example:8443/@evil.example/",
            "https://api.example:8443 /",
            "https://api.example:8443\t/",
            "https://api.example:8443/\u{7f}",
            "https://api.example:8443/ä",
            "https://api.exam\u{ad}ple:8443/",
            "https://api.example\u{3002}evil.example:8443/",
            "https://api.example:8443/%",
            "https://api.example:8443/%zz",
            "https://api.example:8443/a|b",
            "https://[api.example:8443]/",
        ] {
            assert!(!base.is_origin_of(other), "{other}");
        }
        let plain = super::tests::base("https://api.example/v1").unwrap();
        assert!(plain.is_origin_of("https://api.example/a"));
        assert!(!plain.is_origin_of("https://api.example:/a"));
        let six = super::tests::base("http://[::1]:80/v1").unwrap();
        assert!(six.is_origin_of("http://[::1]/a") && !six.is_origin_of("http://[::2]/a"));
    }

    #[test]
    fn what_could_send_a_bearer_astray_is_no_base_url() {
        for url in [
            "ftp://h/v1",
            "https://user@h/v1",
            "https://u:p@h/",
            "https://h/?q",
            "https://h/#f",
        ] {
            let error = base(url).unwrap_err().to_string();
            assert!(!error.contains("u:p"), "{error}");
        }
    }
}
