//! Addresses, origins, headers and paths.

use super::*;

#[test]
fn headers_that_carry_a_login_or_frame_the_request_are_never_forwarded() {
    for name in [
        "Authorization",
        "X-Goog-Api-Key",
        "x-auth-token",
        "x-api-key",
        "api-key",
        "cookie",
        "host",
        "connection",
        "proxy-authorization",
        "Proxy-Connection",
        "content-length",
        "transfer-encoding",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
    ] {
        let found = problem(&with_static(&format!("forward_headers = [\"{name}\"]")));
        assert!(found.message.contains("is never forwarded"), "{name}");
    }
}

#[test]
fn a_url_goes_to_one_place_over_a_safe_line() {
    for (url, message) in [
        ("api.example.com/v1", "must start with https://"),
        ("localhost:8000/v1", "must start with https://"),
        ("not a url", "not a URL"),
        ("https:///v1", "has no host"),
        ("https:/v1", "has no host"),
        ("https://\\\\x.example/v1", "has no host"),
        ("http://api.example.com/v1", "use https://"),
        ("http://localhost.example.com", "use https://"),
        ("ftp://x.example", "must start with https://"),
        ("unix:/run/x", "has no host"),
        ("https://me:hunter2@x.example", "user name or password"),
        ("https://x.example/v1?key=hunter2", "no `?`"),
        ("https://x.example/v1#a", "no `#`"),
    ] {
        for key in ["base_url", "portal_url"] {
            let found = problem(&format!("providers.nous.{key} = \"{url}\""));
            assert!(found.message.contains(message), "{url}\n{}", found.message);
            assert!(!found.to_string().contains("hunter2"));
        }
    }
    for url in [
        "http://127.0.0.1:1/v1",
        "http://[::1]:1",
        "http://localhost",
        "https://x.example",
    ] {
        good(&format!("providers.nous.base_url = \"{url}\""));
    }
}

#[test]
fn a_url_without_its_scheme_is_told_with_the_one_that_is_meant() {
    for (url, meant) in [
        ("api.example.com/v1", "https://api.example.com/v1"),
        ("api.example.com:8443/v1", "https://api.example.com:8443/v1"),
        ("localhost:8000/v1", "http://localhost:8000/v1"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
    ] {
        let found = problem(&format!("providers.nous.base_url = \"{url}\""));
        assert_eq!(found.suggestion.as_deref(), Some(meant), "{url}");
    }
    for url in ["me:hunter2@x.example/v1", "x.example/v1?key=hunter2"] {
        let found = problem(&format!("providers.nous.base_url = \"{url}\""));
        assert!(!found.to_string().contains("hunter2"), "{found}");
    }
}

#[test]
fn a_base_url_that_ends_with_a_requests_path_is_told_without_it() {
    for end in [
        "/chat/completions",
        "/completions",
        "/responses",
        "/messages",
    ] {
        for slash in ["", "/"] {
            let text = format!("providers.nous.base_url = \"https://x.example/v1{end}{slash}\"");
            let found = problem(&text);
            let told = format!("must end before {end},");
            assert!(found.message.contains(&told), "{found}");
            assert_eq!(found.suggestion.as_deref(), Some("https://x.example/v1"));
        }
    }
    for path in ["/v1", "/my-responses", "/responses/v1", "/models"] {
        let text = format!("providers.nous.base_url = \"https://x.example{path}\"");
        assert!(read(&text).is_ok(), "{path}");
    }
}

#[test]
fn an_origin_is_what_a_browser_sends() {
    for (origin, meant) in [
        ("https://App.example", Some("https://app.example")),
        ("https://app.example/", Some("https://app.example")),
        ("https://app.example:443", Some("https://app.example")),
        ("http://app.example/page?x", Some("http://app.example")),
        ("https://app.example:99999", None),
        ("https://a b", None),
        ("://x", None),
    ] {
        let found = problem(&format!("guard.allowed_origins = [\"{origin}\"]"));
        assert_eq!(found.suggestion.as_deref(), meant, "{origin}");
    }
    for origin in [
        "http://localhost:3000",
        "http://[::1]:3000",
        "chrome-extension://abcdef",
        "file://",
    ] {
        good(&format!("guard.allowed_origins = [\"{origin}\"]"));
    }
}

#[test]
fn without_a_home_a_tilde_is_refused() {
    let file = Path::new("config.toml");
    let error = parse("hermes_home = \"~/x\"", file, &Environment::default()).unwrap_err();
    assert!(error.to_string().contains("home folder is unknown"));
}

#[test]
fn plain_http_goes_to_this_network_alone_and_only_without_a_key() {
    let with = |auth: &str, url: &str| {
        read(&format!(
            "[providers.nas]\ntype = \"static\"\nbase_url = {url:?}\n{auth}\n"
        ))
    };
    let (none, key) = ("auth = \"none\"", "api_key_env = \"K\"");
    for (url, near) in [
        ("http://nas:11434/v1", true),
        ("http://10.1.2.3/v1", true),
        ("http://172.16.0.1/v1", true),
        ("http://192.168.1.5:8080/v1", true),
        ("http://169.254.1.1/v1", true),
        ("http://[fd12::1]/v1", true),
        ("http://[fe80::1]/v1", true),
        ("http://[::ffff:10.0.0.1]/v1", true),
        ("http://nas.lan/v1", false),
        ("http://nas./v1", false),
        ("http://172.32.0.1/v1", false),
        ("http://8.8.8.8/v1", false),
        ("http://0x08080808/v1", false),
        ("http://[2001:db8::1]/v1", false),
        ("http://[::ffff:8.8.8.8]/v1", false),
        ("http://user@nas/v1", false),
    ] {
        assert_eq!(with(none, url).is_ok(), near, "{url}");
        assert!(with(key, url).is_err(), "{url} with a key");
    }
    for auth in [none, key] {
        for url in [
            "https://api.example/v1",
            "http://127.0.0.1:1/v1",
            "http://localhost/v1",
        ] {
            assert!(with(auth, url).is_ok(), "{auth} {url}");
        }
    }
    let both = format!("{none}\n{key}");
    let error = with(&both, "http://nas/v1").unwrap_err();
    assert_eq!(error.problems[0].key, "providers.nas.api_key_env");
    let two = format!("{key}\napi_key_credential = \"k\"");
    let error = with(&two, "https://a.example").unwrap_err();
    assert_eq!(error.problems[0].key, "providers.nas.api_key_credential");
    for name in ["../key", ".key", "", "a/b", "a b"] {
        let error = with(
            &format!("api_key_credential = {name:?}"),
            "https://a.example",
        );
        assert_eq!(error.unwrap_err().problems.len(), 1, "{name}");
    }
    // Only a server that needs no login can go without a key.
    let error = with(key, "http://nas/v1").unwrap_err();
    assert!(error.to_string().contains("auth = \"none\""), "{error}");
    for url in ["issuer_url", "token_url", "base_url"] {
        let login = format!(
            "[providers.acme]\ntype = \"oauth2\"\nclient_id = \"me\"\n{url} = \"http://auth.acme.example\"\n"
        );
        let error = read(&login).unwrap_err().to_string();
        assert!(
            error.contains("127.0.0.1, [::1] and localhost only)"),
            "{error}"
        );
        assert!(!error.contains("auth = \"none\""), "{error}");
    }
    let elsewhere = "[providers.acme]\ntype = \"oauth2\"\nbase_url = \"http://nas/v1\"\nauth = \"none\"\n\
                     client_id = \"me\"\nissuer_url = \"https://a.example\"\n";
    let problems = read(elsewhere).unwrap_err().problems;
    let keys: Vec<_> = problems.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["providers.acme.base_url", "providers.acme.auth"]);
}

/// Comments every millisecond would be load without use; 0 turns them off.
#[test]
fn a_comment_comes_after_a_second_at_least_or_never() {
    let of = |value: &str| format!("[providers.nous]\nkeep_alive_comment = \"{value}\"\n");
    for value in ["1ms", "999ms"] {
        let told = format!("{:?}", problem(&of(value)));
        assert!(
            told.contains("must be at least 1s, or 0s for never"),
            "{told}"
        );
    }
    for value in ["0s", "1s", "10m"] {
        good(&of(value));
    }
}
