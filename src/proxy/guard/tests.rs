use super::*;

fn headers(fields: &[(&'static str, &str)]) -> Fields {
    fields.iter().copied().collect()
}

fn rules() -> Guard {
    Guard {
        peer_check: true,
        allowed_hosts: vec!["host.docker.internal".into()],
        allowed_origins: vec!["https://app.example".into()],
    }
}

const ARRIVAL: RequestContext = RequestContext {
    local: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 7, 1))),
    peer: Peer::Ours,
    needs_key: false,
    presented: Presented::Nothing,
};

fn admitted_at(
    arrival: RequestContext,
    fields: &[(&'static str, &str)],
) -> Result<bool, ErrorKind> {
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
        let arrival = RequestContext { peer, ..ARRIVAL };
        let refused = admitted_at(arrival, &local);
        assert_eq!(refused, Err(ErrorKind::PeerNotAllowed));
        let arrival = RequestContext {
            presented: Presented::Valid,
            ..arrival
        };
        assert_eq!(admitted_at(arrival, &local), Ok(false));
    }
}

#[test]
fn where_a_key_is_needed_only_a_key_lets_in_and_then_under_any_name() {
    let needs = RequestContext {
        needs_key: true,
        ..ARRIVAL
    };
    let has = RequestContext {
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
    let worst = RequestContext {
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
    let needs = RequestContext {
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
        let has = RequestContext {
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
        let arrival = RequestContext {
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
