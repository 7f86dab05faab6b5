//! Whoever is let in without a key has named a host of ours and is no foreign page.

use std::net::IpAddr;

use hermes_proxy::clients::ClientIdentity;
use hermes_proxy::config::Guard;
use hermes_proxy::proxy::api_key::{self, Presented};
use hermes_proxy::proxy::fields::Fields;
use hermes_proxy::proxy::guard::{self, Peer, RequestContext};
use hyper::Method;

/// One input.
pub fn run(bytes: &[u8]) {
    let Some((bits, fields)) = bytes.split_first() else {
        return;
    };
    let names = [
        "host",
        "origin",
        "sec-fetch-site",
        "authorization",
        "x-api-key",
        "api-key",
        "access-control-request-method",
        "cookie",
        "x-forwarded-for",
        "tailscale-user-login",
    ];
    let mut headers = Fields::default();
    // A line each: which name, and the value.
    for line in fields.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else {
            continue;
        };
        headers.add(names[usize::from(*name) % names.len()], value);
    }
    let local: IpAddr = "192.168.7.1".parse().expect("an address");
    let (presented, client) = api_key::find(&headers, |key| match key {
        b"k" => ClientIdentity::Client(()),
        _ => ClientIdentity::Unknown,
    });
    let has_key = presented == Presented::Valid;
    assert_eq!(client.is_some(), has_key);
    let arrival = RequestContext {
        local: (bits & 1 == 0).then_some(local),
        peer: if bits & 2 == 0 {
            Peer::Ours
        } else {
            Peer::Stranger(Some(7))
        },
        needs_key: bits & 4 != 0,
        presented,
    };
    let rules = Guard {
        peer_check: true,
        allowed_hosts: vec!["host.docker.internal".to_owned()],
        allowed_origins: vec!["https://app.example".to_owned()],
    };
    let method = if bits & 16 == 0 {
        Method::POST
    } else {
        Method::OPTIONS
    };
    let admitted = match guard::admit(&method, &headers, &arrival, &rules) {
        Ok(admitted) => admitted,
        Err(error) => {
            assert!(matches!(error.kind.status().as_u16(), 401 | 403));
            assert!(error.message.len() < 2000);
            return;
        }
    };
    let all = |name: &'static str| headers.all(name).collect::<Vec<_>>();
    assert_eq!(all("host").len(), 1);
    let origins = all("origin");
    assert!(origins.is_empty() || origins == [b"https://app.example"]);
    assert_eq!(admitted.origin.is_some(), !origins.is_empty());
    if origins.is_empty() {
        let site = headers.get("sec-fetch-site");
        assert!(!matches!(site, Some(b"cross-site" | b"same-site")));
    }
    if has_key {
        return;
    }
    let forwarded = ["x-forwarded-for", "tailscale-user-login"];
    if forwarded.iter().any(|name| headers.has(name)) {
        assert!(admitted.is_preflight && admitted.origin.is_some());
        return;
    }
    assert!(admitted.is_preflight || !matches!(presented, Presented::Invalid(_)));
    assert_eq!(arrival.peer, Peer::Ours);
    assert!(!arrival.needs_key || admitted.is_preflight);
    let host = std::str::from_utf8(all("host")[0]).expect("text");
    let host = host.to_ascii_lowercase();
    let ours = [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "host.docker.internal",
        "192.168.7.1",
    ];
    let rest = ours
        .iter()
        .find_map(|name| host.strip_prefix(name))
        .expect("a host of ours");
    let port = rest.strip_prefix(':').unwrap_or("0");
    assert!(
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()),
        "{host}"
    );
}
