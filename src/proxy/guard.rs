//! Who may ask: the `Host` that a request names, the web page that it comes from, whose process
//! sends it, and the client key that it shows; in this order. Pure.
//!
//! A page that rebinds its own name to 127.0.0.1 shows that name as `Host`; a page that merely
//! sends a request shows itself as `Origin` or by `Sec-Fetch-Site` (Fetch standard).

use std::net::IpAddr;

use hyper::header::{ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Method};

use super::api_key::Presented;
use super::error::{ErrorKind, ProxyError};
use crate::clients::KEY_LENGTH;
use crate::config::{self, Guard};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
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
    /// Our user's or root's; or nobody tells, as on another machine, where a key decides.
    Ours,
    /// Another user's of this machine, with its id where the system tells.
    Stranger(Option<u32>),
    /// The system never tells: a sandbox or an emulator does not pass the question on.
    Untold,
}

/// What is known of a request beside its head.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The address that the client connected to; `None` for a Unix socket.
    pub local: Option<IpAddr>,
    /// Whose process sends it.
    pub peer: Peer,
    /// Whether a client key is needed there.
    pub needs_key: bool,
    /// What it presents as its API key.
    pub presented: Presented,
}

impl Arrival {
    /// Whether it has a valid client key.
    fn has_key(&self) -> bool {
        self.presented == Presented::Valid
    }
}

/// A request that is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted<'h> {
    /// The listed web page that asks.
    pub origin: Option<&'h HeaderValue>,
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
    headers: &'h HeaderMap,
    arrival: &Arrival,
    rules: &Guard,
) -> Result<Admitted<'h>, ProxyError> {
    let forwarded = forwarded_by(headers);
    let is_question =
        *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    // A browser sends no key with this question, and learns nothing but what it may send. Through a
    // reverse proxy it comes under the proxy's name and user, which only a key lets in.
    let preflight = |origin| Admitted {
        origin,
        is_preflight: true,
        is_link: false,
    };
    if forwarded.is_some() && is_question {
        one_host(headers)?;
        if let Page::Listed(origin) = origin(headers, rules)? {
            return Ok(preflight(Some(origin)));
        }
    }
    host(headers, arrival, (rules, forwarded))?;
    let (origin, is_link) = match origin(headers, rules)? {
        Page::Listed(origin) => (Some(origin), false),
        Page::Link if *method == Method::GET => (None, true),
        Page::Link => return Err(foreign_page()),
        Page::None => (None, false),
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
enum Page<'h> {
    /// None, or one of ours.
    None,
    Listed(&'h HeaderValue),
    /// A link on a page of another site was followed.
    Link,
}

/// The field that says that a request came through a reverse proxy or tunnel. One on this machine
/// may run as our own user, or as root, while whoever asks it is anywhere.
fn forwarded_by(headers: &HeaderMap) -> Option<&str> {
    let mut names = headers.keys().map(HeaderName::as_str);
    names.find(|name| {
        FORWARDING.contains(name)
            || FORWARDING_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
    })
}

/// The one `Origin` of a request, if it is on the list: such a page may read every answer, also why
/// it was refused.
pub fn listed_origin<'h>(headers: &'h HeaderMap, rules: &Guard) -> Option<&'h HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return None;
    };
    is_listed(origin.as_bytes(), rules).then_some(origin)
}

/// Whether a web page of this origin is on the list.
pub fn is_listed(origin: &[u8], rules: &Guard) -> bool {
    let mut listed = rules.allowed_origins.iter();
    listed.any(|listed| listed.as_bytes() == origin)
}

fn peer(arrival: &Arrival) -> Result<(), ProxyError> {
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

fn key(arrival: &Arrival, forwarded: Option<&str>) -> Result<(), ProxyError> {
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

/// What an app is told without a client key, at a provider that serves none without.
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
fn one_host(headers: &HeaderMap) -> Result<&str, ProxyError> {
    let refused = |message: &str| Err(ProxyError::new(ErrorKind::HostNotAllowed, message));
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return refused("a request needs exactly one Host header");
    };
    let Some(name) = host.to_str().ok().and_then(name_of) else {
        return refused("the Host header is not a host name with an optional port");
    };
    Ok(name)
}

fn host(
    headers: &HeaderMap,
    arrival: &Arrival,
    (rules, forwarded): (&Guard, Option<&str>),
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

/// Whether a request could come from a web page: such has an `Origin` or fetch metadata. Only
/// `Sec-Fetch-Mode` says nothing, since Node's fetch sends it from servers.
pub fn may_be_a_page(headers: &HeaderMap) -> bool {
    let fields = [
        ORIGIN.as_str(),
        "sec-fetch-site",
        "sec-fetch-dest",
        "sec-fetch-user",
    ];
    fields.iter().any(|name| headers.contains_key(*name))
}

/// Whether a web page may send a body of this type without asking first (Fetch standard,
/// CORS-safelisted request headers).
pub fn needs_no_preflight(kind: &HeaderValue) -> bool {
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

fn origin<'h>(headers: &'h HeaderMap, rules: &Guard) -> Result<Page<'h>, ProxyError> {
    let refused = |message: String| ProxyError::new(ErrorKind::OriginNotAllowed, message);
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) => {
            if is_listed(origin.as_bytes(), rules) {
                return Ok(Page::Listed(origin));
            }
            if origin.is_empty() {
                return Err(refused(
                    "the Origin header is empty; browsers put the origin of the page there, and \
                     other programs omit the header"
                        .to_owned(),
                ));
            }
            let origin: String = String::from_utf8_lossy(origin.as_bytes())
                .chars()
                .take(100)
                .collect();
            Err(refused(unlisted(&origin)).about(&origin))
        }
        (Some(_), Some(_)) => Err(refused(
            "a request has at most one Origin header".to_owned(),
        )),
        (None, _) => {
            let field = |name| headers.get(name).map(HeaderValue::as_bytes);
            let is_foreign = matches!(field(SEC_FETCH_SITE), Some(b"cross-site" | b"same-site"));
            // A frame or an object on that page would be one more way to look at ours.
            let is_link = field(SEC_FETCH_MODE) == Some(b"navigate")
                && field(SEC_FETCH_DEST) == Some(b"document");
            match (is_foreign, is_link) {
                (false, _) => Ok(Page::None),
                (true, true) => Ok(Page::Link),
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
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn rules() -> Guard {
        Guard {
            peer_check: true,
            allowed_hosts: vec!["host.docker.internal".into()],
            allowed_origins: vec!["https://app.example".into()],
        }
    }

    const ARRIVAL: Arrival = Arrival {
        local: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 7, 1))),
        peer: Peer::Ours,
        needs_key: false,
        presented: Presented::Nothing,
    };

    fn admitted_at(arrival: Arrival, fields: &[(&'static str, &str)]) -> Result<bool, ErrorKind> {
        admit(&Method::GET, &headers(fields), &arrival, &rules())
            .map(|admitted| admitted.origin.is_some())
            .map_err(|error| error.kind)
    }

    fn admitted(fields: &[(&'static str, &str)]) -> Result<bool, ErrorKind> {
        admitted_at(ARRIVAL, fields)
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
    fn another_user_is_refused_unless_it_has_a_key() {
        let local = [("host", "localhost")];
        for peer in [
            Peer::Stranger(None),
            Peer::Stranger(Some(65534)),
            Peer::Untold,
        ] {
            let arrival = Arrival { peer, ..ARRIVAL };
            let refused = admitted_at(arrival, &local);
            assert_eq!(refused, Err(ErrorKind::PeerNotAllowed));
            let arrival = Arrival {
                presented: Presented::Valid,
                ..arrival
            };
            assert_eq!(admitted_at(arrival, &local), Ok(false));
        }
    }

    #[test]
    fn where_a_key_is_needed_only_a_key_lets_in_and_then_under_any_name() {
        let needs = Arrival {
            needs_key: true,
            ..ARRIVAL
        };
        let has = Arrival {
            presented: Presented::Valid,
            ..needs
        };
        let local = [("host", "localhost")];
        assert_eq!(admitted_at(needs, &local), Err(ErrorKind::InvalidClientKey));
        assert_eq!(admitted_at(has, &local), Ok(false));
        assert_eq!(admitted_at(has, &[("host", "hermes")]), Ok(false));
        // Not under two names, and not from any page.
        for (host, origin) in [
            ("a b", "https://app.example"),
            ("hermes", "https://evil.example"),
        ] {
            assert!(admitted_at(has, &[("host", host), ("origin", origin)]).is_err());
        }
    }

    #[test]
    fn the_order_is_host_page_peer_key() {
        let worst = Arrival {
            peer: Peer::Stranger(None),
            needs_key: true,
            ..ARRIVAL
        };
        let page = ("origin", "https://evil.example");
        assert_eq!(
            admitted_at(worst, &[("host", "evil.example"), page]),
            Err(ErrorKind::HostNotAllowed)
        );
        assert_eq!(
            admitted_at(worst, &[("host", "localhost"), page]),
            Err(ErrorKind::OriginNotAllowed)
        );
        assert_eq!(
            admitted_at(worst, &[("host", "localhost")]),
            Err(ErrorKind::PeerNotAllowed)
        );
    }

    #[test]
    fn a_listed_pages_browser_may_ask_without_a_key() {
        let needs = Arrival {
            needs_key: true,
            ..ARRIVAL
        };
        let mut fields = vec![("host", "localhost"), ("origin", "https://app.example")];
        let ask = |method, fields: &[(&'static str, &str)]| {
            admit(&method, &headers(fields), &needs, &rules())
                .map(|admitted| admitted.is_preflight)
                .map_err(|error| error.kind)
        };
        let key_needed = Err(ErrorKind::InvalidClientKey);
        assert_eq!(ask(Method::OPTIONS, &fields), key_needed);
        fields.push(("access-control-request-method", "POST"));
        assert_eq!(ask(Method::OPTIONS, &fields), Ok(true));
        assert_eq!(ask(Method::POST, &fields), key_needed);
        fields[1].1 = "https://evil.example";
        let refused = Err(ErrorKind::OriginNotAllowed);
        assert_eq!(ask(Method::OPTIONS, &fields), refused);
    }

    #[test]
    fn what_came_through_a_reverse_proxy_needs_a_key_whatever_the_address() {
        for field in [
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-anything",
            "x-real-ip",
            "cf-connecting-ip",
            "cf-ipcountry",
            "x-client-ip",
            "forwarded-for",
            "ngrok-auth-user-id",
            "tailscale-user-login",
        ] {
            let fields = [("host", "localhost"), (field, "")];
            assert_eq!(
                admitted(&fields),
                Err(ErrorKind::InvalidClientKey),
                "{field}"
            );
            let has = Arrival {
                presented: Presented::Valid,
                ..ARRIVAL
            };
            assert_eq!(admitted_at(has, &fields), Ok(false));
        }
        for field in [
            "x-forward",
            "viable",
            "cfo-",
            "x-real-ipv",
            "origin-agent-cluster",
        ] {
            let fields = [("host", "localhost"), (field, "")];
            assert_eq!(admitted(&fields), Ok(false), "{field}");
        }
    }

    #[test]
    fn what_begins_like_a_key_and_is_none_is_refused_where_none_is_needed() {
        let local = [("host", "localhost")];
        for (presented, admitted) in [
            (Presented::Nothing, true),
            (Presented::Empty, true),
            (Presented::Password("authorization"), true),
            (Presented::Other("x-api-key", 3), true),
            (Presented::Invalid(47), false),
            (Presented::Revoked, false),
            (Presented::Valid, true),
        ] {
            let arrival = Arrival {
                presented,
                ..ARRIVAL
            };
            assert_eq!(
                admitted_at(arrival, &local).is_ok(),
                admitted,
                "{presented:?}"
            );
        }
    }

    #[test]
    fn the_refusal_names_the_key_and_the_command() {
        let error = admit(
            &Method::GET,
            &headers(&[("host", "nas.lan:8645")]),
            &ARRIVAL,
            &Guard::default(),
        )
        .unwrap_err();
        assert!(error.message.contains("nas.lan") && error.message.contains("`allowed_hosts`"));
        assert!(error.message.contains("hermesctl proxy reload"));
        let key = error.message.find("hermesctl clients add NAME");
        assert!(key < error.message.find("allowed_hosts"), "the key first");
    }

    /// What a refusal says, and what it says that it is about.
    fn refusal(fields: &[(&'static str, &str)]) -> (String, Option<String>) {
        let headers = headers(fields);
        let error = admit(&Method::GET, &headers, &ARRIVAL, &Guard::default()).unwrap_err();
        (error.message, error.about)
    }

    #[test]
    fn every_advice_can_be_followed() {
        for (host, says) in [
            ("nas.lan:8645", "add it to `allowed_hosts`"),
            ("0.0.0.0:8645", "use 127.0.0.1 in the app"),
            ("[::]:8645", "use 127.0.0.1 in the app"),
        ] {
            let (message, about) = refusal(&[("host", host)]);
            assert!(message.contains(says), "{message}");
            assert_eq!(about.as_deref(), name_of(host), "{host}");
            let advised = message.contains("`allowed_hosts`");
            let followed = Guard {
                allowed_hosts: vec![name_of(host).unwrap().to_owned()],
                ..Guard::default()
            };
            let headers = headers(&[("host", host)]);
            let let_in = admit(&Method::GET, &headers, &ARRIVAL, &followed).is_ok();
            assert!(!advised || (let_in && config::can_allow_host(name_of(host).unwrap())));
        }
        for (origin, add) in [
            ("https://app.example", "https://app.example"),
            ("app://obsidian.md", "app://obsidian.md"),
            ("file://", "file://"),
            ("null", "http://127.0.0.1:8000"),
        ] {
            let named = [("host", "localhost"), ("origin", origin)];
            let (message, about) = refusal(&named);
            assert_eq!(about.as_deref(), Some(origin));
            assert!(message.contains("`allowed_origins`"), "{message}");
            assert!(
                message.contains(add) && config::can_allow_origin(add),
                "{message}"
            );
            let followed = Guard {
                allowed_origins: vec![add.to_owned()],
                ..Guard::default()
            };
            let headers = headers(&[("host", "localhost"), ("origin", add)]);
            assert!(admit(&Method::GET, &headers, &ARRIVAL, &followed).is_ok());
        }
        let (message, _) = refusal(&[("host", "localhost"), ("origin", "evil.example")]);
        assert!(!message.contains("`allowed_origins`"), "{message}");
    }

    #[test]
    fn a_link_on_another_sites_page_is_let_in_and_is_known() {
        let field = |name, value| (name, value);
        let link = [
            field("host", "localhost"),
            field("sec-fetch-site", "cross-site"),
            field("sec-fetch-mode", "navigate"),
            field("sec-fetch-dest", "document"),
        ];
        let ask = |method, fields: &[(&'static str, &str)]| {
            let headers = headers(fields);
            admit(&method, &headers, &ARRIVAL, &rules()).map(|admitted| admitted.is_link)
        };
        assert_eq!(ask(Method::GET, &link), Ok(true));
        assert!(ask(Method::POST, &link).is_err());
        for (at, value) in [(2, "no-cors"), (2, "cors"), (3, "iframe"), (3, "empty")] {
            let mut other = link;
            other[at].1 = value;
            assert!(ask(Method::GET, &other).is_err(), "{value}");
        }
    }
}
