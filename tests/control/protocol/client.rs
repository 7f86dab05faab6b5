//! Client keys.

use super::*;

#[test]
fn the_answers_about_clients() {
    let karakeep = ClientEntry {
        name: "karakeep".into(),
        created_at: Some(at("2026-11-20T08:00:00Z")),
        rotated_at: Some(at("2026-11-22T08:00:00Z")),
        providers: vec!["local".into(), "nous".into()],
        paths: vec!["/chat/completions".into(), "/embeddings".into()],
        in_flight: Some(2),
        limits: ClientLimits {
            models: vec!["Hermes-4-70B".into()],
            requests_per_minute: Some(10),
            requests_per_day: Some(500),
            tokens_per_day: Some(1_000_000),
        },
        today: Some(ClientToday {
            requests: 31,
            tokens: 204_800,
            estimated_tokens: 800,
        }),
        requests: 1204,
        last_used_at: Some(at("2026-11-23T19:31:00Z")),
        last_used_from: vec!["172.17.0.2".into(), "unix socket".into()],
        unknown_fields: vec!["tokens_per_dya".into()],
    };
    let fresh = ClientEntry {
        name: "open-webui".into(),
        created_at: Some(at("2026-11-23T19:44:00Z")),
        rotated_at: None,
        providers: Vec::new(),
        paths: Vec::new(),
        in_flight: None,
        limits: ClientLimits::default(),
        today: None,
        requests: 0,
        last_used_at: None,
        last_used_from: Vec::new(),
        unknown_fields: Vec::new(),
    };
    golden(
        "reply_client_changed.json",
        &ok(ClientChanged {
            now: at("2026-11-23T19:44:00Z"),
            client: karakeep.clone(),
            notes: vec!["No provider of this key lists the model Hermes-4-70B.".into()],
        }),
    );
    golden(
        "reply_clients.json",
        &ok(ClientList {
            now: at("2026-11-23T19:44:00Z"),
            clients: vec![karakeep, fresh.clone()],
            unknown_providers: Vec::new(),
        }),
    );
    let new = ok(NewKey {
        client: fresh,
        key: IssuedKey::new("hpx-q3vJ0bq8m1x0c9YtKk2d7n4hZ5sWuEoRfTgVaLiMyPA".into()),
        notes: Vec::new(),
    });
    golden("reply_client_new_key.json", &new);
    assert!(!format!("{new:?}").contains("hpx-"), "{new:?}");
    let revoked = ClientRevoked {
        name: "karakeep".into(),
        was_last: false,
        keyless: false,
    };
    golden("reply_client_revoked.json", &ok(revoked));
}

#[test]
fn the_answer_about_an_import() {
    let result =
        |label: &str, name: Option<&str>, outcome, detail: Option<&str>| ClientImportResult {
            label: label.into(),
            name: name.map(Into::into),
            outcome,
            detail: detail.map(Into::into),
        };
    let results = vec![
        result("agent-a", Some("agent-a"), ImportOutcome::Imported, None),
        result(
            "Agent B",
            Some("agent-b"),
            ImportOutcome::Imported,
            Some("the label can't be a name as it is"),
        ),
        result(
            "agent-c",
            Some("agent-c"),
            ImportOutcome::Skipped,
            Some("it is there already"),
        ),
        result(
            "agent-d",
            None,
            ImportOutcome::Refused,
            Some("the token has only 5 of at least 16 characters and could be guessed"),
        ),
    ];
    golden(
        "reply_client_import.json",
        &ok(ClientImportReport { results }),
    );
}
