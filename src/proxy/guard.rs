//! Decides who may ask: by the `Host` of a request, the web page that it comes from, the user of
//! its process, and its client key; in this order. Pure.
//!
//! A page that rebinds its own name to 127.0.0.1 shows that name as `Host`; a page that merely
//! sends a request shows itself as `Origin` or by `Sec-Fetch-Site` (Fetch standard).

use std::net::IpAddr;

use hyper::Method;
use hyper::header::{ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN};

use super::api_key::Presented;
use super::error::{ErrorKind, ProxyError};
use super::fields::{Fields, text};
use crate::clients::KEY_LENGTH;
use crate::config::{self, Guard};

/// What reverse proxies, tunnels and content networks add to the requests that they pass on.
const FORWARDING: [&str; 19] = [
    "forwarded",
    "via",
    "x-forwarded",
    "x-real-ip",
    "x-original-forwarded-for",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "true-client-ip",
    "fly-client-ip",
    "cdn-loop",
    "forwarded-for",
    "x-client-ip",
    "x-remote-ip",
    "x-originating-ip",
    "x-original-host",
    "x-azure-clientip",
    "fastly-client-ip",
    "x-nginx-proxy",
    "remote-user",
];
/// The same for all names that begin so.
const FORWARDING_PREFIXES: [&str; 7] = [
    "x-forwarded-",
    "cf-",
    "tailscale-",
    "ngrok-",
    "x-auth-request-",
    "x-vercel-",
    "x-appengine-",
];

/// Whose process is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Our user's or root's; or unknown, as on another machine, where a key decides.
    Ours,
    /// Another user's of this machine, with its id where the system tells.
    Stranger(Option<u32>),
    /// The system never tells: a sandbox or an emulator does not pass the question on.
    Untold,
}

/// A request's facts besides its head.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext {
    /// The address that the client connected to; `None` for a Unix socket.
    pub local: Option<IpAddr>,
    /// Whose process sends it.
    pub peer: Peer,
    /// Whether a client key is needed there.
    pub needs_key: bool,
    /// What it presents as its API key.
    pub presented: Presented,
}

impl RequestContext {
    /// Whether it has a valid client key.
    fn has_key(&self) -> bool {
        self.presented == Presented::Valid
    }
}

/// A request that is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted<'h> {
    /// The listed web page that asks.
    pub origin: Option<&'h [u8]>,
    /// Its browser only asks what it may send (Fetch standard, CORS preflight).
    pub is_preflight: bool,
    /// A link on another site's page was followed, which is good for a page of ours and nothing else:
    /// that site sees nothing of the answer.
    pub is_link: bool,
}

/// Lets a request in, or says why not and what to configure.
///
/// # Errors
/// 403 `host_not_allowed`, `origin_not_allowed` or `peer_not_allowed`, 401 `invalid_client_key`.
pub fn admit<'h>(
    method: &Method,
    headers: &'h Fields,
    arrival: &RequestContext,
    rules: &Guard,
) -> Result<Admitted<'h>, ProxyError> {
    let forwarded = forwarded_by(headers);
    let is_question = *method == Method::OPTIONS && headers.has(ACCESS_CONTROL_REQUEST_METHOD);
    // A browser sends no key with this question, and learns nothing but what it may send. Through a
    // reverse proxy it comes under the proxy's name and user, which only a key lets in.
    let preflight = |origin| Admitted {
        origin,
        is_preflight: true,
        is_link: false,
    };
    if forwarded.is_some() && is_question {
        one_host(headers)?;
        if let RequestingPage::Listed(origin) = origin(headers, rules)? {
            return Ok(preflight(Some(origin)));
        }
    }
    host(headers, arrival, rules, forwarded)?;
    let (origin, is_link) = match origin(headers, rules)? {
        RequestingPage::Listed(origin) => (Some(origin), false),
        RequestingPage::Link if *method == Method::GET => (None, true),
        RequestingPage::Link => return Err(foreign_page()),
        RequestingPage::None => (None, false),
    };
    peer(arrival)?;
    if origin.is_some() && is_question {
        return Ok(preflight(origin));
    }
    key(arrival, forwarded)?;
    Ok(Admitted {
        origin,
        is_preflight: false,
        is_link,
    })
}

/// The refusal of a web page whose browser does not name it.
pub fn foreign_page() -> ProxyError {
    let message = "a web page from another site may not use this service; if it is yours, call \
                   `fetch(URL, {mode: \"cors\"})` in it, so that the browser sends its origin, \
                   and add that origin to `allowed_origins` under [guard] in the configuration of \
                   hermes-proxyd";
    ProxyError::new(ErrorKind::OriginNotAllowed, message)
        .about("a page whose origin the browser does not send")
}

/// The web page that a request comes from.
enum RequestingPage<'h> {
    /// None, or one of ours.
    None,
    Listed(&'h [u8]),
    /// A link on a page of another site was followed.
    Link,
}

/// The field that shows that a request came through a reverse proxy or tunnel. One on this machine
/// may run as our own user, or as root, while its client can be anywhere.
fn forwarded_by(headers: &Fields) -> Option<&str> {
    let name = headers.names().find(|name| is_forwarding(name))?;
    std::str::from_utf8(name).ok()
}

fn is_forwarding(name: &[u8]) -> bool {
    // Most names of a request begin like none of them, or like those of OpenAI's SDKs.
    let may_be = matches!(
        name.first(),
        Some(b'c' | b'f' | b'n' | b'r' | b't' | b'v' | b'x')
    );
    may_be
        && !name.starts_with(b"x-stainless-")
        && (FORWARDING.iter().any(|known| known.as_bytes() == name)
            || FORWARDING_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix.as_bytes())))
}

/// The one `Origin` of a request, if it is on the list: such a page may read every answer, also why
/// it was refused.
pub fn listed_origin<'h>(headers: &'h Fields, rules: &Guard) -> Option<&'h [u8]> {
    let mut origins = headers.all(&ORIGIN);
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return None;
    };
    is_listed(origin, rules).then_some(origin)
}

/// Whether a web page of this origin is on the list.
pub fn is_listed(origin: &[u8], rules: &Guard) -> bool {
    let mut listed = rules.allowed_origins.iter();
    listed.any(|listed| listed.as_bytes() == origin)
}

fn peer(arrival: &RequestContext) -> Result<(), ProxyError> {
    if arrival.has_key() {
        return Ok(());
    }
    let why = match arrival.peer {
        Peer::Ours => return Ok(()),
        Peer::Stranger(Some(uid)) => {
            format!("the client program belongs to another user of this machine (uid {uid})")
        }
        Peer::Stranger(None) => {
            "the client program has ended, or belongs to another user of this machine".to_owned()
        }
        Peer::Untold => "this system can't tell whose program the client is".to_owned(),
    };
    let message = format!(
        "hermes-proxyd: {why}; give it a client key: run `hermesctl clients add NAME`, and enter \
         the key in the app as its API key"
    );
    Err(ProxyError::new(ErrorKind::PeerNotAllowed, message))
}

fn key(arrival: &RequestContext, forwarded: Option<&str>) -> Result<(), ProxyError> {
    let is_dead = matches!(
        arrival.presented,
        Presented::Invalid(_) | Presented::Revoked
    );
    if arrival.has_key() || !(is_dead || arrival.needs_key || forwarded.is_some()) {
        return Ok(());
    }
    let why = match forwarded {
        Some(field) if !is_dead => format!(
            "this request came through a reverse proxy or tunnel (it has the header `{field}`), \
             and such requests need a client key"
        ),
        _ => "this address needs a client key".to_owned(),
    };
    Err(refused_key(arrival.presented, &why))
}

/// The error without a client key, at a provider that requires one.
pub(super) fn key_of_provider(presented: Presented, provider: &str) -> ProxyError {
    let why = format!("the provider {provider} serves only apps with a client key");
    refused_key(presented, &why)
}

fn refused_key(presented: Presented, why: &str) -> ProxyError {
    let sent = match presented {
        Presented::Revoked => {
            "the API key that the app sent was revoked or replaced, and is refused everywhere"
                .to_owned()
        }
        Presented::Invalid(length) => {
            let copied = if length == KEY_LENGTH {
                String::new()
            } else {
                format!(", or copied badly ({length} of {KEY_LENGTH} characters)")
            };
            format!(
                "the API key that the app sent is not a client key of this service: it was \
                 revoked or replaced{copied}"
            )
        }
        Presented::Nothing | Presented::Valid => format!("{why}, and the app sent no API key"),
        Presented::Empty => format!("{why}, and the app sent an empty API key"),
        Presented::Password(field) => format!(
            "{why}, and the app sent a user name and a password in `{field}`, neither of which is \
             one"
        ),
        Presented::Other(field, length) => {
            format!("{why}, and what the app sent in `{field}` ({length} characters) is not one")
        }
    };
    let message = format!(
        "hermes-proxyd: {sent}; make one with `hermesctl clients add NAME` and enter it in the app \
         as its API key (`hermesctl clients list` lists the keys)"
    );
    ProxyError::new(ErrorKind::InvalidClientKey, message)
}

/// The name that a request calls us by, without the port.
fn one_host(headers: &Fields) -> Result<&str, ProxyError> {
    let refused = |message: &str| Err(ProxyError::new(ErrorKind::HostNotAllowed, message));
    let mut hosts = headers.all(&HOST);
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return refused("a request needs exactly one Host header");
    };
    let Some(name) = text(host).and_then(name_of) else {
        return refused("the Host header is not a host name with an optional port");
    };
    Ok(name)
}

fn host(
    headers: &Fields,
    arrival: &RequestContext,
    rules: &Guard,
    forwarded: Option<&str>,
) -> Result<(), ProxyError> {
    let name = one_host(headers)?;
    // A web page has no key, so with one any name will do.
    let known = arrival.has_key()
        || is_local(name, arrival.local)
        || rules
            .allowed_hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name));
    if known {
        return Ok(());
    }
    let name: String = name.chars().take(100).collect();
    let unspecified = name == "0.0.0.0" || name == "[::]";
    let message = if let Some(field) = forwarded {
        format!(
            "the request came through a reverse proxy or tunnel (it has the header `{field}`) \
             under the host name {name}; give the app a client key, made with `hermesctl clients \
             add NAME`, as its API key: with a key every host name is allowed"
        )
    } else if unspecified {
        format!(
            "{name} means all addresses of a machine, so apps can't connect to it; use 127.0.0.1 \
             in the app instead, or another address of this machine"
        )
    } else if config::can_allow_host(&name) {
        format!(
            "the host {name} is not allowed; give the app a client key, made with `hermesctl \
             clients add NAME`, as its API key: with a key every host name is allowed. Or, if it \
             is a name of this machine that only you control, add it to `allowed_hosts` under \
             [guard] in the configuration of hermes-proxyd, then run: hermesctl proxy reload"
        )
    } else {
        format!("the host {name} is not a name of this machine; use 127.0.0.1 in the app")
    };
    Err(ProxyError::new(ErrorKind::HostNotAllowed, message).about(&name))
}

/// Whether a request could come from a web page: such a request has an `Origin` or fetch metadata.
/// `Sec-Fetch-Mode` alone does not count, since Node's fetch sends it from servers.
pub fn may_be_a_page(headers: &Fields) -> bool {
    // One pass over what is there, which costs less than to look for each.
    headers.names().any(|name| {
        matches!(
            name,
            b"origin" | b"sec-fetch-site" | b"sec-fetch-dest" | b"sec-fetch-user"
        )
    })
}

/// Whether a web page may send a body of this type without asking first (Fetch standard,
/// CORS-safelisted request headers).
pub fn needs_no_preflight(kind: &[u8]) -> bool {
    let essence = super::headers::essence(kind);
    let safe = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ];
    safe.iter().any(|safe| essence.eq_ignore_ascii_case(safe))
}

fn is_local(name: &str, local: Option<IpAddr>) -> bool {
    if name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]" {
        return true;
    }
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    literal
        .parse::<IpAddr>()
        .is_ok_and(|address| Some(address) == local.map(|local| local.to_canonical()))
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
    let byte = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let literal = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    let known = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(byte),
    };
    (valid && known).then_some(name)
}

fn origin<'h>(headers: &'h Fields, rules: &Guard) -> Result<RequestingPage<'h>, ProxyError> {
    if !may_be_a_page(headers) {
        return Ok(RequestingPage::None);
    }
    let refused = |message: String| ProxyError::new(ErrorKind::OriginNotAllowed, message);
    let mut origins = headers.all(&ORIGIN);
    match (origins.next(), origins.next()) {
        (Some(origin), None) => {
            if is_listed(origin, rules) {
                return Ok(RequestingPage::Listed(origin));
            }
            if origin.is_empty() {
                return Err(refused(
                    "the Origin header is empty; browsers put the origin of the page there, and \
                     other programs omit the header"
                        .to_owned(),
                ));
            }
            let origin: String = String::from_utf8_lossy(origin).chars().take(100).collect();
            Err(refused(unlisted(&origin)).about(&origin))
        }
        (Some(_), Some(_)) => Err(refused(
            "a request has at most one Origin header".to_owned(),
        )),
        (None, _) => {
            let field = |name| headers.get(name);
            let is_foreign = matches!(field("sec-fetch-site"), Some(b"cross-site" | b"same-site"));
            // A frame or an object on that page would be one more way to look at ours.
            let is_link = field("sec-fetch-mode") == Some(b"navigate")
                && field("sec-fetch-dest") == Some(b"document");
            match (is_foreign, is_link) {
                (false, _) => Ok(RequestingPage::None),
                (true, true) => Ok(RequestingPage::Link),
                (true, false) => Err(foreign_page()),
            }
        }
    }
}

/// What helps a web page that is not on the list.
fn unlisted(origin: &str) -> String {
    if origin == "null" {
        return "a web page without an address of its own, such as a file that was opened in the \
                browser, may not use this service, because any web site can make one; if it is \
                yours, serve it (`python3 -m http.server 8000 --bind 127.0.0.1` in its folder), \
                open http://127.0.0.1:8000, and add \"http://127.0.0.1:8000\" to `allowed_origins` \
                under [guard] in the configuration of hermes-proxyd, then run: hermesctl proxy \
                reload"
            .to_owned();
    }
    if config::can_allow_origin(origin) {
        return format!(
            "the web page at {origin} may not use this service; if it is yours, add it to \
             `allowed_origins` under [guard] in the configuration of hermes-proxyd, then run: \
             hermesctl proxy reload"
        );
    }
    format!("the Origin header names {origin}, which is not an origin as browsers send it")
}

#[cfg(test)]
mod tests;
