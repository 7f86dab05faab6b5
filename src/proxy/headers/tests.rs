use hyper::header::USER_AGENT;

use super::*;
use crate::provider::BearerKind;
use crate::secret::Secret;

fn headers(fields: &[(&'static str, &'static str)]) -> Fields {
    fields.iter().copied().collect()
}

fn names(fields: &HeaderMap) -> Vec<&str> {
    fields.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn only_listed_fields_reach_the_provider_each_as_often_as_it_came() {
    let client = headers(&[
        ("accept", "text/event-stream"),
        ("authorization", "Bearer anything"),
        ("cookie", "session=1"),
        ("x-api-key", "k"),
        ("x-forwarded-for", "10.0.0.1"),
        ("openai-organization", "org"),
        ("x-openwebui-user-email", "me@example.org"),
        ("referer", "http://karakeep"),
        ("connection", "authorization"),
        ("x-stainless-lang", "js"),
        ("openai-beta", "a"),
        ("openai-beta", "b"),
        ("user-agent", "OpenAI/Python"),
        ("x-mine", "1"),
    ]);
    let extra = [HeaderName::from_static("x-mine")];
    let passing = |agent| Passing {
        extra: &extra,
        prefix: None,
        agent,
        body: BodyKind::Json,
    };
    let fields = to_upstream(&client, &passing(UserAgent::Own));
    let passed = [
        "accept",
        "x-stainless-lang",
        "openai-beta",
        "openai-beta",
        "x-mine",
        "user-agent",
    ];
    assert_eq!(names(&fields), passed);
    assert_eq!(fields[USER_AGENT], crate::USER_AGENT);
    assert_eq!(
        to_upstream(&client, &passing(UserAgent::Client))[USER_AGENT],
        "OpenAI/Python"
    );
}

#[test]
fn a_field_of_the_configuration_that_the_providers_prefix_covers_passes_once() {
    let client = headers(&[
        ("x-theirs-window", "w"),
        ("x-their", "1"),
        ("x-theirs-state", "a"),
        ("accept", "*/*"),
        ("x-theirs-state", "b"),
    ]);
    let passing = Passing {
        extra: &[HeaderName::from_static("x-theirs-state")],
        prefix: Some("x-theirs-"),
        agent: UserAgent::Client,
        body: BodyKind::Json,
    };
    let passed = [
        "x-theirs-window",
        "x-theirs-state",
        "x-theirs-state",
        "accept",
    ];
    assert_eq!(names(&to_upstream(&client, &passing)), passed);
}

#[test]
fn what_the_provider_requires_replaces_what_the_client_sent_and_the_bearer_comes_last() {
    let mut account = HeaderValue::from_static("account-1");
    account.set_sensitive(true);
    let bearer = Secret::new("secret-bearer".to_owned());
    let credential = Credential {
        authorization: bearer.authorization("Bearer").unwrap(),
        bearer,
        base_url: BaseUrl::new(&"https://api.example".parse().unwrap()).unwrap(),
        kind: BearerKind::API_KEY,
        issued_at: None,
        expires_at: None,
        headers: vec![
            (HeaderName::from_static("x-account"), account),
            (USER_AGENT, HeaderValue::from_static("ours")),
            (AUTHORIZATION, HeaderValue::from_static("Bearer other")),
        ],
    };
    let client = headers(&[
        ("x-account", "someone-else"),
        ("x-account", "twice"),
        ("user-agent", "theirs"),
        ("authorization", "Bearer theirs"),
    ]);
    let extra = [HeaderName::from_static("x-account")];
    let passing = Passing {
        extra: &extra,
        prefix: None,
        agent: UserAgent::Client,
        body: BodyKind::Json,
    };
    let onward = Onward {
        client: &client,
        passing,
        is_plain: false,
        mark: None,
        credential: Some(&credential),
    };
    let fields = onward.map();
    assert_eq!(names(&fields), ["x-account", "user-agent", "authorization"]);
    let all = |name: &str| fields.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(all("x-account"), ["account-1"]);
    assert_eq!(all("user-agent"), ["ours"]);
    assert_eq!(all("authorization"), ["Bearer secret-bearer"]);
    // What may be remembered by the other side of an HTTP/2 connection.
    let is_secret = |name: &str| fields[name].is_sensitive();
    assert!(is_secret("authorization") && is_secret("x-account") && !is_secret("user-agent"));
    let shown = format!("{credential:?}");
    for secret in ["account-1", "secret-bearer"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn a_body_goes_upstream_as_json_whatever_it_is_called() {
    let length = ("content-length", "2");
    let kind = |kind| ("content-type", kind);
    for (client, upstream) in [
        (
            &[length, kind("application/json; charset=utf-8")][..],
            &["application/json; charset=utf-8"][..],
        ),
        (&[length, kind("text/plain")], &["application/json"]),
        (&[length], &["application/json"]),
        (
            &[kind("x/y"), ("transfer-encoding", "chunked")],
            &["application/json"],
        ),
        (
            &[
                length,
                kind("application/json"),
                kind("application/json; a=b"),
            ],
            &["application/json"],
        ),
        (
            &[length, kind("text/plain"), kind("application/json")],
            &["application/json"],
        ),
        (
            &[("content-length", "0"), kind("text/plain")],
            &["text/plain"],
        ),
        (&[("content-length", "0")], &[]),
        (&[], &[]),
    ] {
        assert_eq!(kinds(client, BodyKind::Json), upstream, "{client:?}");
    }
}

fn kinds(client: &[(&'static str, &'static str)], body: BodyKind) -> Vec<String> {
    let passing = Passing {
        extra: &[],
        prefix: None,
        agent: UserAgent::Own,
        body,
    };
    let fields = to_upstream(&headers(client), &passing);
    let kinds = fields.get_all(CONTENT_TYPE).iter();
    kinds
        .map(|kind| kind.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_body_keeps_its_type_where_the_path_takes_it() {
    let length = ("content-length", "2");
    let kind = |kind| ("content-type", kind);
    let form = "multipart/form-data; boundary=x";
    for (taken, client, upstream) in [
        (
            BodyKind::Json,
            &[length, kind(form)][..],
            "application/json",
        ),
        (BodyKind::Multipart, &[length, kind(form)], form),
        (
            BodyKind::Multipart,
            &[length, kind("application/json; a=b")],
            "application/json; a=b",
        ),
        (
            BodyKind::Multipart,
            &[length, kind("text/plain")],
            "application/json",
        ),
        (BodyKind::Multipart, &[length], "application/json"),
        (
            BodyKind::Multipart,
            &[length, kind(form), kind("text/plain")],
            "application/json",
        ),
        (
            BodyKind::Multipart,
            &[length, kind("multipart/form-data, text/plain")],
            "application/json",
        ),
        (BodyKind::Any, &[length, kind("audio/ogg")], "audio/ogg"),
        (BodyKind::Any, &[length, kind(form)], form),
        (BodyKind::Any, &[length], "application/json"),
    ] {
        assert_eq!(kinds(client, taken), [upstream], "{taken:?} {client:?}");
    }
}

#[test]
fn the_marks_of_others_pass_and_ones_own_is_known_again() {
    let (one, two) = (
        HeaderValue::from_static("1a"),
        HeaderValue::from_static("2b"),
    );
    let client = headers(&[("x-hermes-via", "9c")]);
    let onward = Onward {
        client: &client,
        passing: Passing {
            extra: &[],
            prefix: None,
            agent: UserAgent::Client,
            body: BodyKind::Json,
        },
        is_plain: true,
        mark: Some(&one),
        credential: None,
    };
    let fields = onward.map();
    assert_eq!(fields[ACCEPT_ENCODING], "identity");
    let marks: Vec<_> = fields.get_all(MARKS).iter().collect();
    assert_eq!(marks, ["9c", "1a"]);
    let sent = headers(&[("x-hermes-via", "9c"), ("x-hermes-via", "1a")]);
    assert!(has_mark(&sent, &one) && !has_mark(&sent, &two));
    assert!(has_mark(&headers(&[("x-hermes-via", "1a, 2b")]), &two));
    assert!(!has_mark(&headers(&[("x-hermes-via", "2b2b")]), &two));
}

#[test]
fn what_concerns_a_connection_or_a_browser_does_not_reach_the_client() {
    let fields_of_answer = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("connection", "close, x-hop, content-type"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("set-cookie", "a=b"),
        ("alt-svc", "h3"),
        ("strict-transport-security", "max-age=1"),
        ("refresh", "0; url=http://evil.example/"),
        ("report-to", "{}"),
        ("reporting-endpoints", "a=\"https://evil.example/\""),
        ("nel", "{}"),
        ("clear-site-data", "\"*\""),
        ("access-control-allow-origin", "*"),
        ("x-hermes-error", "login_needed"),
        ("x-hermes-stale", "1"),
        ("x-hermes-any", "1"),
        ("x-repeat", "1"),
        ("x-repeat", "2"),
        ("x-request-id", "r"),
    ];
    let mut fields = HeaderMap::new();
    for (name, value) in fields_of_answer {
        fields.append(name, HeaderValue::from_static(value));
    }
    to_client(&mut fields);
    let mut left = names(&fields);
    left.sort_unstable();
    let passed = [
        "content-encoding",
        "content-type",
        "x-repeat",
        "x-repeat",
        "x-request-id",
    ];
    assert_eq!(left, passed);
}
