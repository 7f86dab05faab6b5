//! Only listed fields reach the provider, and none that concerns a connection reaches the client.

use hermes_proxy::config::{BodyKind, UserAgent};
use hermes_proxy::proxy::fields::Fields;
use hermes_proxy::proxy::headers::{self, Passing};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

const PASSING: [&str; 10] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-type",
    "content-length",
    "content-encoding",
    "openai-beta",
    "idempotency-key",
    "user-agent",
    "x-mine",
];

/// One input.
pub fn run(bytes: &[u8]) {
    let mut client = HeaderMap::new();
    // A line each, as on the wire.
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.trim_ascii()),
        ) {
            client.append(name, value);
        }
    }
    let extra = [HeaderName::from_static("x-mine")];
    for agent in [UserAgent::Own, UserAgent::Client] {
        let passing = Passing {
            extra: &extra,
            prefix: None,
            agent,
            body: BodyKind::Json,
        };
        let sent: Fields = client.iter().collect();
        let passed = headers::to_upstream(&sent, &passing);
        for (name, value) in &passed {
            let listed =
                PASSING.contains(&name.as_str()) || name.as_str().starts_with("x-stainless-");
            assert!(listed, "{name}");
            let same = client.get_all(name).iter().any(|known| known == value);
            let is_json = name == "content-type" && value == "application/json";
            assert!(same || is_json || name == "user-agent", "{name}");
        }
        assert!(passed.get_all("content-type").iter().count() <= 1);
        let changed = |name: &HeaderName| *name == "user-agent" || *name == "content-type";
        for name in passed.keys().filter(|name| !changed(name)) {
            let before: Vec<_> = client.get_all(name).iter().collect();
            let after: Vec<_> = passed.get_all(name).iter().collect();
            assert_eq!(before, after, "{name}");
        }
    }
    let mut answer = client.clone();
    headers::to_client(&mut answer);
    for name in [
        "connection",
        "transfer-encoding",
        "set-cookie",
        "upgrade",
        "keep-alive",
    ] {
        assert!(!answer.contains_key(name), "{name}");
    }
    assert!(
        !answer
            .keys()
            .any(|name| name.as_str().starts_with("access-control-"))
    );
    for name in ["content-type", "content-length", "content-encoding"] {
        assert_eq!(
            answer.contains_key(name),
            client.contains_key(name),
            "{name}"
        );
    }
    let once = answer.clone();
    headers::to_client(&mut answer);
    assert_eq!(once, answer);
}
