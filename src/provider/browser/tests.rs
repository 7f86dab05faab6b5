//! Which answers belong to an attempt, and which don't.

use super::*;

const REDIRECT: &str = "http://127.0.0.1:4711/callback";

fn attempt() -> BrowserAttempt {
    BrowserAttempt::new(REDIRECT.parse().unwrap()).unwrap()
}

fn state(attempt: &BrowserAttempt) -> &str {
    attempt.state.expose()
}

fn code_of(callback: Result<Callback, Stray>) -> String {
    match callback {
        Ok(Callback::Code(code)) => code.secret.expose().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_page_asks_for_a_code_with_the_verifiers_hash_and_keeps_what_the_endpoint_has() {
    let attempt = attempt();
    let endpoint = "https://auth.example/authorize?tenant=a".parse().unwrap();
    let page = attempt.page(endpoint, [("client_id", "us"), ("scope", "a b")]);
    let pairs: std::collections::HashMap<_, _> = page.query_pairs().into_owned().collect();
    assert_eq!(pairs["tenant"], "a");
    assert_eq!(pairs["response_type"], "code");
    assert_eq!(pairs["scope"], "a b");
    assert_eq!(pairs["redirect_uri"], REDIRECT);
    assert_eq!(pairs["code_challenge_method"], "S256");
    let digest = Sha256::digest(attempt.verifier.expose().as_bytes());
    assert_eq!(pairs["code_challenge"], URL_SAFE_NO_PAD.encode(digest));
    // RFC 7636 §4.1: 43 characters at least.
    assert_eq!(
        (attempt.verifier.expose().len(), state(&attempt).len()),
        (43, 43)
    );
    let shown = format!("{attempt:?}");
    assert!(!shown.contains(state(&attempt)) && !shown.contains(attempt.verifier.expose()));
}

#[test]
fn only_an_answer_with_the_attempts_own_state_counts() {
    let attempt = attempt();
    let state = state(&attempt);
    let other = self::attempt();
    let theirs = self::state(&other);
    assert_eq!(
        code_of(attempt.read(&format!("code=abcdef&state={state}"))),
        "abcdef"
    );
    for (query, stray) in [
        ("code=abcdef".to_owned(), Stray::Foreign),
        ("code=abcdef&state=".to_owned(), Stray::Foreign),
        (format!("code=abcdef&state={theirs}"), Stray::Foreign),
        (format!("code=abcdef&state={state}x"), Stray::Foreign),
        (
            format!("error=access_denied&state={theirs}"),
            Stray::Foreign,
        ),
        (
            format!("code=abcdef&state={theirs}&state={state}"),
            Stray::Twice,
        ),
        (
            format!("code=abcdef&code=ghijkl&state={state}"),
            Stray::Twice,
        ),
        (format!("state={state}"), Stray::Empty),
        (format!("code=&state={state}"), Stray::Empty),
        (format!("code=a%0d%0ab&state={state}"), Stray::Unreadable),
        (String::new(), Stray::Foreign),
    ] {
        assert_eq!(attempt.read(&query).unwrap_err(), stray, "{query}");
    }
}

#[test]
fn a_no_of_the_provider_is_told_short_and_without_what_looks_like_a_token() {
    let attempt = attempt();
    let state = state(&attempt);
    let denied = attempt.read(&format!("error=access_denied&state={state}"));
    let Ok(Callback::Refused(denied)) = denied else {
        panic!("{denied:?}")
    };
    assert!(matches!(denied.error, DeviceError::Denied) && denied.issuer.is_none());
    let long = "t".repeat(60);
    let query = format!("error=server_error&error_description=no+luck+{long}&state={state}");
    let Ok(Callback::Refused(no)) = attempt.read(&query) else {
        panic!("{query}")
    };
    let text = no.error.to_string();
    assert!(
        text.contains("server_error") && text.contains("no luck"),
        "{text}"
    );
    assert!(!text.contains(&long), "{text}");
}

#[test]
fn the_whole_address_its_query_and_the_code_can_be_pasted() {
    let attempt = attempt();
    let state = state(&attempt);
    let query = format!("code=abc-def&state={state}");
    for text in [
        format!("{REDIRECT}?{query}"),
        format!("  {REDIRECT}?{query}\n"),
        format!("<{REDIRECT}?{query}>"),
        format!("http://localhost:4711/callback?{query}"),
        format!("?{query}"),
        query.clone(),
        format!("state={state}&code=abc-def"),
        format!("abc-def#{state}"),
        "abc-def".to_owned(),
        " 'abc-def' ".to_owned(),
    ] {
        assert_eq!(code_of(attempt.pasted(&text)), "abc-def", "{text}");
    }
    let page = attempt.page("https://auth.example/authorize".parse().unwrap(), []);
    let other = self::attempt();
    let theirs = self::state(&other);
    for (text, stray) in [
        (page.to_string(), Stray::LoginPage),
        (page.query().unwrap().to_owned(), Stray::LoginPage),
        (format!("https://auth.example/?{query}"), Stray::Elsewhere),
        (
            format!("http://127.0.0.1:4712/callback?{query}"),
            Stray::Elsewhere,
        ),
        (
            format!("http://127.0.0.1:4711/other?{query}"),
            Stray::Elsewhere,
        ),
        (
            format!("http://evil.example:4711/callback?{query}"),
            Stray::Elsewhere,
        ),
        (
            format!("{REDIRECT}?code=abc-def&state={theirs}"),
            Stray::Foreign,
        ),
        (format!("{REDIRECT}?code=abc-def"), Stray::Foreign),
        ("code=abc-def".to_owned(), Stray::Foreign),
        (format!("abc-def#{theirs}"), Stray::Foreign),
        (state.to_owned(), Stray::Unreadable),
        (String::new(), Stray::Unreadable),
        ("yes".to_owned(), Stray::Unreadable),
        ("abc def".to_owned(), Stray::Unreadable),
        ("http://".to_owned(), Stray::Unreadable),
    ] {
        assert_eq!(attempt.pasted(&text).unwrap_err(), stray, "{text}");
    }
}
