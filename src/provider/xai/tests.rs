use serde_json::json;

use super::*;

fn adapter(issuer: Option<&str>) -> Xai {
    let tls = crate::provider::client_config(None).unwrap();
    let client = TokenClient::new(tls, Duration::from_secs(1)).unwrap();
    let name = ProviderName::new("xai").unwrap();
    let issuer = issuer.map(|issuer| issuer.parse().unwrap());
    let settings = XaiSettings {
        extra_paths: &[],
        issuer: issuer.as_ref(),
        inference: None,
    };
    Xai::new(name, client, settings, &|_| None)
}

/// A refresh token would go there.
#[test]
fn an_endpoint_is_believed_only_on_xais_hosts_or_the_operators_issuer() {
    let own = adapter(None);
    for (address, trusted) in [
        ("https://auth.x.ai/oauth2/token", true),
        ("https://x.ai/token", true),
        ("http://auth.x.ai/oauth2/token", false),
        ("https://auth.x.ai.evil.example/token", false),
        ("https://evilx.ai/token", false),
        ("https://u@auth.x.ai/token", false),
        ("http://127.0.0.1:9/token", false),
        ("", false),
    ] {
        assert_eq!(own.is_trusted(address), trusted, "{address}");
    }
    let operators = adapter(Some("http://127.0.0.1:9"));
    assert!(operators.is_trusted("http://127.0.0.1:9/oauth2/token"));
    assert!(!operators.is_trusted("http://127.0.0.1:10/oauth2/token"));
}

#[test]
fn a_long_token_is_renewed_an_hour_before_its_end_and_a_short_one_two_minutes() {
    let adapter = adapter(None);
    let lead = |minutes: u64| {
        let issued: DateTime<Utc> = "2026-11-29T12:00:00Z".parse().unwrap();
        let end = clock::after(issued, Duration::from_mins(minutes));
        let mut login = Login::new(Map::new(), LAYOUT);
        login.set(
            "tokens",
            json!({"access_token": "a", "expires_in": minutes * 60}),
        );
        login.set("last_refresh", issued.to_rfc3339());
        let Assessment::Login { credential, .. } = adapter.assess(&login, issued) else {
            panic!("no login")
        };
        let credential = credential.unwrap();
        assert_eq!(credential.expires_at, Some(end));
        adapter.lead(&credential, Duration::from_mins(5))
    };
    assert_eq!(lead(360), Duration::from_hours(1));
    assert_eq!(lead(15), Duration::from_mins(2));
}

#[test]
fn a_token_request_takes_as_long_as_the_file_says_else_the_variable_else_twenty_seconds() {
    use crate::config::{Provider, ProviderKind};
    use crate::provider::token_timeout;

    let limit = |set: Option<u64>, variable: Option<&'static str>| {
        let kind = ProviderKind::Xai { issuer_url: None };
        let mut settings = Provider::of_kind(kind);
        if let Some(seconds) = set {
            settings.token_timeout = Duration::from_secs(seconds);
        }
        let env = |name: &str| {
            let is_it = name == "HERMES_XAI_REFRESH_TIMEOUT_SECONDS";
            variable.filter(|_| is_it).map(str::to_owned)
        };
        token_timeout(&settings, &env).as_secs()
    };
    assert_eq!(limit(None, None), 20);
    assert_eq!(limit(None, Some("45")), 45);
    assert_eq!(limit(Some(30), Some("45")), 30);
    assert_eq!(limit(None, Some("soon")), 20);
}
