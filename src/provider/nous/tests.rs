//! The adapter's rules: which bearer, which hosts, which token is fresher.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::provider::Merge;

const NOW: &str = "2026-11-23T12:00:00Z";

fn now() -> DateTime<Utc> {
    NOW.parse().unwrap()
}

fn adapter() -> Nous {
    let tls = crate::provider::client_config(None).unwrap();
    let client = TokenClient::new(tls, std::time::Duration::from_secs(1)).unwrap();
    Nous::new(ProviderName::nous(), client, &[])
}

fn jwt(claims: &Value) -> String {
    format!(
        "eyJhbGciOiJub25lIn0.{}.sig",
        URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}

fn login(value: Value) -> Login {
    let Value::Object(fields) = value else {
        panic!("not an object")
    };
    Login::new(fields, LAYOUT)
}

fn grant(answer: Value, renewal: Renewal) -> Grant {
    let Value::Object(answer) = answer else {
        panic!("not an object")
    };
    Grant::new(answer, renewal)
}

fn kind_and_renewal(login: &Login) -> (Option<BearerKind>, Renewal) {
    match adapter().assess(login, now()) {
        Assessment::Login {
            credential,
            renewal,
        } => (credential.map(|c| c.kind), renewal),
        Assessment::NoLogin { reason } => panic!("{reason}"),
    }
}

#[test]
fn the_bearer_is_the_invoke_jwt_else_an_agent_key() {
    let exp = now().timestamp() + 600;
    let scoped = jwt(&json!({"exp": exp, "scope": "openid inference:invoke"}));
    let bare = jwt(&json!({"exp": exp}));
    let later = "2026-11-23T13:00:00Z";
    for (fields, expected) in [
        (
            json!({"access_token": scoped, "refresh_token": "r"}),
            (Some(INVOKE_JWT), Renewal::Refresh),
        ),
        (
            json!({"access_token": bare, "scope": "inference:invoke", "refresh_token": "r"}),
            (Some(INVOKE_JWT), Renewal::Refresh),
        ),
        (
            json!({"access_token": bare, "expires_at": later, "refresh_token": "r"}),
            (None, Renewal::Mint),
        ),
        (
            json!({"access_token": "opaque", "expires_at": later, "agent_key": "k", "agent_key_expires_at": later}),
            (Some(AGENT_KEY), Renewal::Mint),
        ),
        (
            json!({"access_token": "opaque", "expires_at": "2026-11-23T11:00:00Z", "refresh_token": "r"}),
            (None, Renewal::Refresh),
        ),
        // A guest's token can't be refreshed; it is used while it lives.
        (
            json!({"access_token": scoped, "auth_method": "anonymous"}),
            (Some(GUEST_TOKEN), Renewal::Never),
        ),
        // A guest's leftover fields make no guest of an account.
        (
            json!({"access_token": scoped, "auth_method": "anonymous", "refresh_token": "r"}),
            (Some(INVOKE_JWT), Renewal::Refresh),
        ),
    ] {
        assert_eq!(
            kind_and_renewal(&login(fields.clone())),
            expected,
            "{fields}"
        );
    }
}

#[test]
fn without_tokens_there_is_no_login_and_a_dead_one_says_why() {
    for (fields, reason) in [
        (json!({}), "there is no login"),
        (
            json!({"access_token": " ", "refresh_token": null}),
            "there is no login",
        ),
        (
            json!({"last_auth_error": {"code": "invalid_grant"}}),
            "the login has ended (invalid_grant)",
        ),
    ] {
        let Assessment::NoLogin { reason: told } = adapter().assess(&login(fields), now()) else {
            panic!("a login")
        };
        assert_eq!(told, reason);
    }
}

#[test]
fn a_guest_is_served_at_its_own_host_and_never_minted_for() {
    let exp = now().timestamp() + 600;
    let token = jwt(&json!({"exp": exp, "scope": "inference:invoke tool:invoke"}));
    let own = "https://welcome-api.nousresearch.com/v1";
    for (stored, expected) in [
        (None, own),
        (Some("https://inference-api.nousresearch.com/v1"), own),
        (Some("https://evil.example/v1"), own),
        (Some(own), own),
    ] {
        let fields = json!({"access_token": token, "auth_method": "anonymous",
                            "anon_token": "anon_x", "inference_base_url": stored});
        let Assessment::Login { credential, .. } = adapter().assess(&login(fields), now()) else {
            panic!("no login")
        };
        assert_eq!(
            credential.unwrap().base_url.to_string(),
            expected,
            "{stored:?}"
        );
    }
    let past = jwt(&json!({"exp": now().timestamp() - 1, "scope": SCOPE}));
    let later = "2026-11-23T13:00:00Z";
    for fields in [
        json!({"auth_method": "anonymous", "anon_token": "anon_x"}),
        json!({"auth_method": "anonymous", "access_token": past, "expires_at": later}),
    ] {
        let Assessment::NoLogin { reason } = adapter().assess(&login(fields), now()) else {
            panic!("a login")
        };
        assert!(reason.contains("guest"), "{reason}");
    }
    // An opaque token has its end in a field beside it.
    let opaque = json!({"auth_method": "anonymous", "access_token": "opaque", "expires_at": later});
    let assessed = kind_and_renewal(&login(opaque));
    assert_eq!(assessed, (Some(GUEST_TOKEN), Renewal::Never));
}

const GUESTS_OWN: [&str; 5] = [
    "auth_method",
    "account_tier",
    "anon_token",
    "user_id",
    "org_id",
];

#[test]
fn taking_a_mirror_takes_or_removes_what_makes_a_guest() {
    let late = "2026-11-23T11:00:00Z";
    let mut guest = json!({"access_token": "guest"});
    for key in GUESTS_OWN {
        guest[key] = key.into();
    }
    let mut account = login(guest.clone());
    let mirror = json!({"access_token": "a", "refresh_token": "r", "obtained_at": late});
    assert_eq!(account.merge(&login(mirror.clone()), now()), Merge::Taken);
    for key in GUESTS_OWN {
        assert_eq!(account.text(key), None, "{key}");
    }
    // An account with a tier and an organisation, as the portal reports it.
    let mut named = mirror;
    named["account_tier"] = "free".into();
    named["org_id"] = "org".into();
    let mut profile = login(json!({"auth_method": "anonymous"}));
    assert_eq!(profile.merge(&login(named), now()), Merge::Taken);
    let told = GUESTS_OWN.map(|key| profile.text(key));
    assert_eq!(told, [None, Some("free"), None, None, Some("org")]);
    // A guest's mirror has no refresh token to take.
    let mut ours = login(json!({"access_token": "a", "refresh_token": "r"}));
    assert_eq!(ours.merge(&login(guest), now()), Merge::Same);
    assert_eq!(ours.text("anon_token"), None);
}

#[test]
fn writing_the_mirror_shares_them_and_one_that_has_more_of_them_is_old() {
    let fields = json!({"access_token": "a", "refresh_token": "r", "account_tier": "free",
                        "org_id": "org", "user_id": null, "label": "mine"});
    let mirror = login(fields).mirror(now()).unwrap();
    let told = GUESTS_OWN.map(|key| mirror.text(key));
    assert_eq!(told, [None, Some("free"), None, None, Some("org")]);
    assert_eq!(mirror.text("label"), None);
    let mut other = mirror.clone();
    other.set("updated_at", "2020-01-01T00:00:00Z");
    assert!(!LAYOUT.mirrors_differ(&mirror, &other));
    other.set("anon_token", "left of a guest");
    assert!(LAYOUT.mirrors_differ(&mirror, &other));
    assert!(
        login(json!({"access_token": "a", "anon_token": "g"}))
            .mirror(now())
            .is_none()
    );
}

#[test]
fn a_rows_tokens_are_taken_only_when_they_are_known_to_be_fresher() {
    let at = |obtained: &str, token: &str| {
        json!({"access_token": token, "refresh_token": token, "obtained_at": obtained,
               "source": "device_code", "id": "x", "label": "me", "priority": 0})
    };
    let merged = |block: Value, row: Value| {
        let mut block = login(block);
        let row = LAYOUT.of_row(row.as_object().unwrap()).unwrap();
        let merge = block.merge_row(&row, now());
        (merge, block)
    };
    let (early, late) = ("2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z");
    let (merge, taken) = merged(
        json!({"access_token": "a", "refresh_token": "a",
        "obtained_at": early, "agent_key": "a", "hermes_proxyd": {"x": 1}}),
        at(late, "b"),
    );
    assert_eq!(
        (merge, taken.text("refresh_token")),
        (Merge::Taken, Some("b"))
    );
    assert_eq!(taken.text("obtained_at"), Some(late));
    assert!(taken.fields().contains_key("hermes_proxyd"));
    for key in ["id", "label", "priority", "source"] {
        assert!(!taken.fields().contains_key(key), "{key} is the row's own");
    }
    let ended = |at: &str| json!({"last_auth_error": {"code": "invalid_grant", "at": at}});
    for (block, row, expected) in [
        (at(late, "a"), at(early, "b"), Merge::Same),
        (at(late, "a"), at(late, "a"), Merge::Same),
        (at(late, "a"), at(late, "b"), Merge::Undecided),
        (at("", "a"), at(late, "b"), Merge::Undecided),
        (at(late, "a"), at("", "b"), Merge::Undecided),
        // Of a clock that was ahead.
        (
            at(late, "a"),
            at("2026-11-23T20:00:00Z", "b"),
            Merge::Undecided,
        ),
        (ended(late), at(early, "b"), Merge::Same),
        (ended(early), at(late, "b"), Merge::Taken),
        (ended(early), at("2026-11-23T20:00:00Z", "b"), Merge::Same),
        (ended("soon"), at(late, "b"), Merge::Same),
        // A guest has no token to be rotated into a row.
        (
            json!({"auth_method": "anonymous", "access_token": "g"}),
            at(late, "b"),
            Merge::Same,
        ),
        (json!({}), at(late, "b"), Merge::Same),
    ] {
        assert_eq!(
            merged(block.clone(), row.clone()).0,
            expected,
            "{block} and {row}"
        );
    }
    for other in [
        json!({"source": "manual:device_code", "access_token": "b", "refresh_token": "b"}),
        json!({"source": "device_code", "access_token": "b"}),
        json!({"source": "device_code", "refresh_token": "b"}),
        json!({"access_token": "b", "refresh_token": "b"}),
    ] {
        assert!(
            LAYOUT.of_row(other.as_object().unwrap()).is_none(),
            "{other}"
        );
    }
}

#[test]
fn a_missing_or_unreadable_expiry_counts_as_expired() {
    let token = jwt(&json!({"scope": SCOPE}));
    for expiry in [json!(null), json!("soon")] {
        let fields = login(json!({"access_token": token, "expires_at": expiry}));
        let Assessment::Login { credential, .. } = adapter().assess(&fields, now()) else {
            panic!("no login")
        };
        assert!(credential.unwrap().expires_at.unwrap() < now());
    }
}

#[test]
fn stored_and_announced_urls_are_believed_only_on_the_providers_hosts() {
    for url in [
        "https://inference-api.nousresearch.com/v1/",
        "https://welcome-api.nousresearch.com/v1",
    ] {
        assert_eq!(
            trusted_inference(url).as_deref(),
            Some(url.trim_end_matches('/'))
        );
    }
    for url in [
        "http://inference-api.nousresearch.com/v1",
        "https://inference-api.nousresearch.com.evil.example/v1",
        "https://evil.example/inference-api.nousresearch.com",
        "https://inference-api.nousresearch.com@evil.example/v1",
        "https://inference-api.nousresearch.com:8443/v1",
        "http://127.0.0.1:1/v1",
        "nonsense",
    ] {
        assert_eq!(trusted_inference(url), None, "{url}");
    }
    for url in [
        "https://portal.nousresearch.com",
        "http://127.0.0.1:9",
        "http://localhost:9",
    ] {
        assert_eq!(trusted_portal(url).as_deref(), Some(url));
    }
    for url in [
        "http://portal.nousresearch.com",
        "https://api.nousresearch.com",
        "https://evil.example",
        "https://portal.nousresearch.com.evil.example",
        "https://u@portal.nousresearch.com",
        "http://127.0.0.2",
    ] {
        assert_eq!(trusted_portal(url), None, "{url}");
    }
}

#[test]
fn a_poisoned_url_of_a_token_answer_is_replaced_by_the_default() {
    let mut fields =
        login(json!({"refresh_token": "old", "inference_base_url": "https://evil.example"}));
    let answer = json!({"access_token": "a", "refresh_token": "new", "expires_in": 60,
                        "inference_base_url": "https://evil.example/v1"});
    adapter().apply(&mut fields, grant(answer, Renewal::Refresh), now());
    assert_eq!(fields.text("inference_base_url"), Some(INFERENCE));
    assert_eq!(fields.text("refresh_token"), Some("new"));
}

#[test]
fn a_refresh_keeps_an_old_refresh_token_and_puts_the_jwt_where_hermes_reads_it() {
    let exp = now().timestamp() + 3600;
    let token = jwt(&json!({"exp": exp, "scope": SCOPE}));
    let mut fields = login(json!({"refresh_token": "kept", "unknown": [1], "last_auth_error": {}}));
    let answer = json!({"access_token": token, "expires_in": "3600"});
    let granted = grant(answer, Renewal::Refresh);
    assert_eq!(granted.lifetime(), Some(std::time::Duration::from_hours(1)));
    adapter().apply(&mut fields, granted, now());
    assert_eq!(fields.text("refresh_token"), Some("kept"));
    assert_eq!(fields.text("agent_key"), Some(token.as_str()));
    assert_eq!(
        fields.time("agent_key_expires_at").unwrap().timestamp(),
        exp
    );
    assert_eq!(
        fields.text("obtained_at"),
        Some("2026-11-23T12:00:00.000000+00:00")
    );
    assert!(fields.fields().contains_key("unknown"));
    assert!(!fields.fields().contains_key("last_auth_error"));
}

#[test]
fn odd_lifetimes_are_no_lifetimes() {
    for odd in [
        json!(0),
        json!(-5),
        json!("soon"),
        json!(null),
        json!({}),
        json!(0.4),
    ] {
        assert_eq!(
            grant(json!({"expires_in": odd}), Renewal::Refresh).lifetime(),
            None,
            "{odd}"
        );
    }
    let huge = grant(json!({"expires_in": 1e300}), Renewal::Refresh)
        .lifetime()
        .unwrap();
    assert!(huge <= std::time::Duration::from_hours(24 * 366 * 10));
}

#[test]
fn the_mirrors_tokens_are_taken_only_when_they_are_known_to_be_fresher() {
    let at = |obtained: &str, token: &str| {
        login(json!({"access_token": token, "refresh_token": token, "obtained_at": obtained}))
    };
    let merged = |mut ours: Login, mirror: Login| {
        let merge = ours.merge(&mirror, now());
        (merge, ours.text("refresh_token").map(str::to_owned))
    };
    let (early, late) = ("2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z");
    let (ours, theirs) = (Some("ours".to_owned()), Some("theirs".to_owned()));
    assert_eq!(
        merged(at(early, "ours"), at(late, "theirs")),
        (Merge::Taken, theirs.clone())
    );
    assert_eq!(
        merged(at(late, "ours"), at(early, "theirs")),
        (Merge::MirrorBehind, ours.clone())
    );
    assert_eq!(
        merged(at(late, "ours"), at(late, "ours")),
        (Merge::Same, ours.clone())
    );
    // A quarantined login takes what another profile has.
    let quarantined = login(json!({"client_id": CLIENT_ID}));
    assert_eq!(
        merged(quarantined, at(early, "theirs")),
        (Merge::Taken, theirs.clone())
    );
    // It was written while the clock was ahead, or without a time.
    for odd in ["2026-11-23T20:00:00Z", ""] {
        assert_eq!(
            merged(at(odd, "ours"), at(late, "theirs")),
            (Merge::Undecided, ours.clone())
        );
        assert_eq!(
            merged(at(late, "ours"), at(odd, "theirs")),
            (Merge::Undecided, ours.clone())
        );
    }
    // The portal's own clock wins over both.
    let issued = |iat: i64, obtained: &str, token: &str| {
        let jwt = jwt(&json!({"iat": iat, "scope": SCOPE}));
        login(json!({"access_token": jwt, "refresh_token": token, "obtained_at": obtained}))
    };
    let wrong_clock = "2026-11-23T20:00:00Z";
    let stood = merged(
        issued(100, wrong_clock, "ours"),
        issued(200, late, "theirs"),
    );
    assert_eq!(stood, (Merge::Taken, theirs));
    let stood = merged(
        issued(200, early, "ours"),
        issued(100, wrong_clock, "theirs"),
    );
    assert_eq!(stood, (Merge::MirrorBehind, ours));
}

/// Refresh tokens and prompts go there: plain http would expose them to the whole path.
#[test]
fn a_url_in_the_environment_obeys_the_files_rule() {
    let taken_of = |in_file: bool, variable: &str, url: &str| {
        let env = |name: &str| (name == variable).then(|| url.to_owned());
        let told = file_faults(&env);
        assert!(told.iter().all(|told| !told.contains("secret")), "{told:?}");
        let mut nous = adapter();
        let result = nous.override_urls(None, None, &env, &|_| in_file);
        result.map(|()| (nous.portal, nous.inference.map(|base| base.to_string())))
    };
    let taken = |variable: &str, url: &str| taken_of(false, variable, url);
    let variables = [
        "HERMES_PORTAL_BASE_URL",
        "NOUS_PORTAL_BASE_URL",
        "NOUS_INFERENCE_BASE_URL",
    ];
    for variable in variables {
        for url in [
            "http://portal.example",
            "http://192.168.1.7:8080",
            "http://localhost.example",
            "https://user:secret@portal.example",
            "ftp://portal.example",
        ] {
            // In Hermes Agent's file it is recorded, and blocks nothing.
            let env = |name: &str| (name == variable).then(|| url.to_owned());
            assert_eq!(taken_of(true, variable, url).unwrap(), (None, None));
            let told = file_faults(&env);
            let ignored = format!("{variable} is ignored: ");
            assert!(
                matches!(&*told, [told] if told.starts_with(&ignored)),
                "{told:?}"
            );
            let error = taken(variable, url).unwrap_err().to_string();
            assert!(error.contains(variable), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for url in [
            "https://portal.example",
            "http://127.0.0.1:1",
            " http://[::1]:1/v1 ",
        ] {
            assert_eq!(
                taken_of(true, variable, url).unwrap(),
                taken(variable, url).unwrap()
            );
            let (portal, inference) = taken(variable, url).unwrap();
            assert_eq!(portal.or(inference).as_deref(), Some(url.trim()));
        }
    }
}
