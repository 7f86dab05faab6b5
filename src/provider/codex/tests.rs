use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::USER_AGENT;
use serde_json::json;

use super::*;
use crate::clock;

fn adapter() -> Codex {
    let tls = crate::provider::client_config(None).unwrap();
    let client = TokenClient::new(tls, Duration::from_secs(1)).unwrap();
    let settings = CodexSettings {
        extra_paths: &[],
        issuer: None,
        inference: None,
        translate: true,
    };
    let name = ProviderName::new("openai-codex").unwrap();
    Codex::new(name, client, settings, &|_| None)
}

fn token(claims: &Value) -> String {
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("eyJhbGciOiJub25lIn0.{claims}.sig")
}

fn login(access: &Value, id: Option<&Value>) -> Login {
    let mut login = Login::empty(LAYOUT);
    let mut tokens = json!({"access_token": token(access), "refresh_token": "rt"});
    if let Some(id) = id {
        tokens["id_token"] = token(id).into();
    }
    login.set("tokens", tokens);
    login
}

fn credential(login: &Login, now: DateTime<Utc>) -> Credential {
    match adapter().assess(login, now) {
        Assessment::Login {
            credential: Some(credential),
            ..
        } => credential,
        other @ (Assessment::Login { .. } | Assessment::NoLogin { .. }) => panic!("{other:?}"),
    }
}

fn fields(access: &Value, id: Option<&Value>) -> Vec<(String, String)> {
    let now = "2026-11-29T12:00:00Z".parse().unwrap();
    let headers = credential(&login(access, id), now).headers;
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
    let all = headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)));
    all.filter(|(name, _)| name != "originator" && name != "user-agent")
        .collect()
}

#[test]
fn account_and_region_come_from_the_token_and_the_programs_name_is_true() {
    let auth =
        |claims: Value| json!({"exp": 4_000_000_000_u64, "https://api.openai.com/auth": claims});
    let account = ("chatgpt-account-id".to_owned(), "acc-1".to_owned());
    let region = |name: &str| {
        let name = name.to_owned();
        ("x-openai-internal-codex-residency".to_owned(), name)
    };
    for (claims, told) in [
        (
            json!({"chatgpt_account_id": "acc-1"}),
            vec![account.clone()],
        ),
        (
            json!({"chatgpt_account_id": "acc-1", "chatgpt_data_residency": "eu",
                   "chatgpt_compute_residency": "us"}),
            vec![account.clone(), region("eu")],
        ),
        (
            json!({"chatgpt_account_id": "acc-1", "chatgpt_compute_residency": "us"}),
            vec![account.clone(), region("us")],
        ),
        (
            json!({"chatgpt_account_id": "acc-1", "chatgpt_data_residency": "no_constraint",
                   "chatgpt_compute_residency": "no_constraint"}),
            vec![account.clone()],
        ),
        (json!({"chatgpt_account_id": "a\nb"}), vec![]),
    ] {
        assert_eq!(fields(&auth(claims.clone()), None), told, "{claims}");
    }
    let id = auth(json!({"chatgpt_account_id": "acc-1"}));
    let access = json!({"exp": 4_000_000_000_u64});
    assert_eq!(fields(&access, Some(&id)), [account]);

    let now = "2026-11-29T12:00:00Z".parse().unwrap();
    let made = credential(&login(&id, None), now);
    let of = |wanted: &str| {
        let mut found = made.headers.iter();
        let found = found.find(|(name, _)| name == wanted).unwrap();
        found.1.to_str().unwrap().to_owned()
    };
    assert_eq!(of("originator"), "hermes-proxyd");
    assert_eq!(of(USER_AGENT.as_str()), crate::USER_AGENT);
    assert_eq!(
        made.base_url.to_string(),
        "https://chatgpt.com/backend-api/codex"
    );
    assert!(!format!("{made:?}").contains("acc-1"), "{made:?}");
}

#[test]
fn a_token_is_renewed_two_minutes_before_its_end_and_one_without_an_end_serves() {
    let now: DateTime<Utc> = "2026-11-29T12:00:00Z".parse().unwrap();
    let end = clock::after(now, Duration::from_hours(240));
    let long = login(&json!({"exp": end.timestamp()}), None);
    let made = credential(&long, now);
    assert_eq!(made.expires_at, Some(end));
    let lead = |operators| adapter().lead(&made, Duration::from_secs(operators));
    assert_eq!(lead(300), Duration::from_mins(2));
    assert_eq!(lead(60), Duration::from_mins(1));
    let endless = login(&json!({"sub": "x"}), None);
    assert_eq!(credential(&endless, now).expires_at, None);
}

#[test]
fn what_was_granted_is_laid_out_as_hermes_agent_does() {
    let now: DateTime<Utc> = "2026-11-29T12:00:00Z".parse().unwrap();
    let answer = json!({"access_token": "at", "refresh_token": "rt", "id_token": "it",
                        "expires_in": 864_000, "token_type": "Bearer"});
    let Value::Object(answer) = answer else {
        panic!("no object")
    };
    let mut login = Login::empty(LAYOUT);
    adapter().apply(&mut login, Grant::of_login(answer), now);
    assert_eq!(
        Value::Object(login.into_fields()),
        json!({
            "tokens": {"access_token": "at", "refresh_token": "rt", "id_token": "it"},
            "last_refresh": "2026-11-29T12:00:00.000000Z", "auth_mode": "chatgpt",
        })
    );
}
