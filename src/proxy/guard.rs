//! Who may ask: the `Host` that a request names, and the web page that it comes from. Pure.
//!
//! A page that rebinds its own name to 127.0.0.1 shows that name as `Host`; a page that merely
//! sends a request shows itself as `Origin` or by `Sec-Fetch-Site` (Fetch standard).

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};

use super::error::{ErrorKind, ProxyError};
use crate::config::Guard;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request in, or says why not and what to configure. Returns the origin of the page that
/// asks, if it is a listed one.
///
/// `local` is the address that the client connected to.
///
/// # Errors
/// 403 `host_not_allowed` or `origin_not_allowed`.
pub fn admit<'h>(
    headers: &'h HeaderMap,
    local: IpAddr,
    rules: &Guard,
) -> Result<Option<&'h HeaderValue>, ProxyError> {
    host(headers, local, rules)?;
    origin(headers, rules)
}

fn host(headers: &HeaderMap, local: IpAddr, rules: &Guard) -> Result<(), ProxyError> {
    let refused = |message: String| Err(ProxyError::new(ErrorKind::HostNotAllowed, message));
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return refused("a request needs exactly one Host header".to_owned());
    };
    let Some(name) = host.to_str().ok().and_then(name_of) else {
        return refused("the Host header is not a host name with an optional port".to_owned());
    };
    let known = is_local(name, local)
        || rules
            .allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name));
    if known {
        return Ok(());
    }
    let name: String = name.chars().take(100).collect();
    refused(format!(
        "the host {name} is not allowed; if it is yours, add it to `allowed_hosts` under [guard] \
         in the configuration of hermes-proxyd, then run: hermesctl proxy reload"
    ))
}

fn is_local(name: &str, local: IpAddr) -> bool {
    if name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]" {
        return true;
    }
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    literal
        .parse::<IpAddr>()
        .is_ok_and(|address| address == local.to_canonical())
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`, with its brackets.
fn name_of(value: &str) -> Option<&str> {
    let port = |text: &str| {
        !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
    };
    let end = if value.starts_with('[') {
        value.find(']')? + 1
    } else {
        value.find(':').unwrap_or(value.len())
    };
    let (name, rest) = value.split_at_checked(end)?;
    let valid = rest.is_empty() || rest.strip_prefix(':').is_some_and(port);
    (valid && !name.is_empty()).then_some(name)
}

fn origin<'h>(
    headers: &'h HeaderMap,
    rules: &Guard,
) -> Result<Option<&'h HeaderValue>, ProxyError> {
    let refused = |message: String| Err(ProxyError::new(ErrorKind::OriginNotAllowed, message));
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) => {
            if rules
                .allowed_origins
                .iter()
                .any(|allowed| allowed.as_bytes() == origin.as_bytes())
            {
                return Ok(Some(origin));
            }
            let origin: String = String::from_utf8_lossy(origin.as_bytes())
                .chars()
                .take(100)
                .collect();
            refused(format!(
                "the web page at {origin} may not use this service; if it is yours, add it to \
                 `allowed_origins` under [guard] in the configuration of hermes-proxyd, then run: \
                 hermesctl proxy reload"
            ))
        }
        (Some(_), Some(_)) => refused("a request has at most one Origin header".to_owned()),
        (None, _) => {
            let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
            if matches!(site, Some(b"cross-site" | b"same-site")) {
                return refused("a web page of another site may not use this service".to_owned());
            }
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn admitted(fields: &[(&'static str, &str)]) -> Result<bool, ErrorKind> {
        let rules = Guard {
            allowed_hosts: vec!["host.docker.internal".into()],
            allowed_origins: vec!["https://app.example".into()],
        };
        admit(&headers(fields), "192.168.7.1".parse().unwrap(), &rules)
            .map(|origin| origin.is_some())
            .map_err(|error| error.kind)
    }

    #[test]
    fn our_own_names_and_the_listed_ones_are_let_in() {
        for host in [
            "localhost",
            "LocalHost:8645",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]:8645",
            "192.168.7.1:8645",
            "Host.Docker.Internal:8645",
        ] {
            assert_eq!(admitted(&[("host", host)]), Ok(false), "{host}");
        }
    }

    #[test]
    fn every_other_host_is_refused() {
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.example:8645",
            "127.0.0.1.evil.example",
            "127.0.0.2",
            "user@localhost",
            "localhost:",
            "localhost:80x",
            "localhost:123456",
            "localhost:80:80",
            "[::1",
            "[::1]evil",
            "[::2]",
            "0.0.0.0",
            "host.docker.internal.",
        ] {
            assert_eq!(
                admitted(&[("host", host)]),
                Err(ErrorKind::HostNotAllowed),
                "{host}"
            );
        }
        assert_eq!(admitted(&[]), Err(ErrorKind::HostNotAllowed));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(admitted(&twice), Err(ErrorKind::HostNotAllowed));
    }

    #[test]
    fn web_pages_are_refused_unless_they_are_listed() {
        let with = |name, value| admitted(&[("host", "localhost"), (name, value)]);
        assert_eq!(with("origin", "https://app.example"), Ok(true));
        for origin in [
            "https://evil.example",
            "null",
            "http://app.example",
            "http://localhost:8645",
        ] {
            assert_eq!(
                with("origin", origin),
                Err(ErrorKind::OriginNotAllowed),
                "{origin}"
            );
        }
        assert_eq!(
            with("sec-fetch-site", "cross-site"),
            Err(ErrorKind::OriginNotAllowed)
        );
        assert_eq!(
            with("sec-fetch-site", "same-site"),
            Err(ErrorKind::OriginNotAllowed)
        );
        assert_eq!(with("sec-fetch-site", "none"), Ok(false));
        // Node's fetch sends this from servers.
        assert_eq!(with("sec-fetch-mode", "cors"), Ok(false));
    }

    #[test]
    fn the_refusal_names_the_key_and_the_command() {
        let error = admit(
            &headers(&[("host", "nas.lan:8645")]),
            "127.0.0.1".parse().unwrap(),
            &Guard::default(),
        )
        .unwrap_err();
        assert!(error.message.contains("nas.lan") && error.message.contains("`allowed_hosts`"));
        assert!(error.message.contains("hermesctl proxy reload"));
    }
}
