//! One golden file per message of the control protocol. A file that was once released stays as
//! it is and stays readable: a change that breaks one of these tests needs a new protocol version.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use std::fmt::Debug;
use std::path::Path;

use hermes_proxy::control::codec;
use hermes_proxy::control::protocol::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The message is written as the file holds it, and the file is read as the message.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, message: &T) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/control")
        .join(name);
    let written = serde_json::to_string_pretty(message).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let file = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(written, file, "{name} is written differently");
    let line = file.replace('\n', "");
    assert_eq!(&codec::parse::<T>(line.as_bytes()).unwrap(), message);
}

fn at(text: &str) -> Timestamp {
    serde_json::from_value(text.into()).unwrap()
}

fn ok<T>(answer: T) -> Reply<T> {
    Reply {
        id: Some(1),
        outcome: Outcome::Ok(answer),
    }
}

fn status() -> Status {
    Status {
        now: at("2026-11-23T19:44:00Z"),
        daemon: DaemonStatus {
            version: "0.1.0".into(),
            pid: 4242,
            started_at: at("2026-11-23T16:32:00Z"),
            uptime_seconds: 11520,
            config_file: Some("/home/u/.config/hermes-proxyd/config.toml".into()),
        },
        listeners: vec![ListenerStatus {
            address: "127.0.0.1:8645".into(),
            url: "http://127.0.0.1:8645/v1".into(),
            provider: "nous".into(),
            connections: 3,
        }],
        providers: vec![ready(), bare()],
    }
}

fn ready() -> ProviderStatus {
    ProviderStatus {
        name: "nous".into(),
        display_name: "Nous Portal".into(),
        default: true,
        state: ProviderState::Ready,
        base_url: Some("https://inference-api.nousresearch.com/v1".into()),
        credential: Some(CredentialKind::InvokeJwt),
        expires_at: Some(at("2026-11-23T20:31:00Z")),
        expires_in_seconds: Some(2820),
        last_refresh: Some(RefreshReport {
            at: at("2026-11-23T19:31:00Z"),
            result: RefreshResult::Refreshed,
            detail: None,
        }),
        next_refresh_at: Some(at("2026-11-23T20:26:00Z")),
        next_refresh_in_seconds: Some(2520),
        last_error: Some(ErrorReport {
            at: at("2026-11-23T18:00:00Z"),
            code: "token_endpoint_unreachable".into(),
            message: "The portal did not answer within 15 seconds.".into(),
        }),
        unsaved: false,
        requests: RequestCounts {
            in_flight: 2,
            served: 1204,
            failed: 3,
        },
        login_command: None,
    }
}

fn bare() -> ProviderStatus {
    ProviderStatus {
        name: "local".into(),
        display_name: "local".into(),
        default: false,
        state: ProviderState::LoginNeeded,
        base_url: None,
        credential: None,
        expires_at: None,
        expires_in_seconds: None,
        last_refresh: None,
        next_refresh_at: None,
        next_refresh_in_seconds: None,
        last_error: None,
        unsaved: false,
        requests: RequestCounts::default(),
        login_command: Some("hermes auth add nous".into()),
    }
}

#[test]
fn the_greetings() {
    golden(
        "hello_client.json",
        &Greeting {
            hello: ClientHello {
                protocol: 1,
                client: "hermesctl 0.1.0".into(),
            },
        },
    );
    golden(
        "hello_daemon.json",
        &Welcome::Hello(DaemonHello {
            protocol: 1,
            version: "0.1.0".into(),
            pid: 4242,
        }),
    );
    let error = ControlError::new(
        ErrorCode::ProtocolMismatch,
        "hermes-proxyd 0.1.0 speaks control protocol 1, the client 2.",
    );
    golden(
        "hello_refused.json",
        &Welcome::Error(error.with_hint("Use one release.")),
    );
}

#[test]
fn the_requests() {
    for (name, op) in [
        ("status", Operation::Status),
        ("providers", Operation::Providers),
        ("reload", Operation::Reload),
        ("unknown", Operation::Unknown("dance".into())),
    ] {
        golden(&format!("request_{name}.json"), &Request { id: 1, op });
    }
}

#[test]
fn the_answers() {
    golden("reply_status.json", &ok(status()));
    let chat = PathEntry {
        path: "/chat/completions".into(),
        methods: vec!["POST".into()],
    };
    let entry = ProviderEntry {
        name: "nous".into(),
        display_name: "Nous Portal".into(),
        default: true,
        base_url: Some("https://inference-api.nousresearch.com/v1".into()),
        logged_in: true,
        paths: vec![chat],
    };
    golden(
        "reply_providers.json",
        &ok(Providers {
            providers: vec![entry],
        }),
    );
    golden(
        "reply_reload.json",
        &ok(ReloadReport {
            applied: vec!["log.level".into()],
            needs_restart: vec!["listen".into()],
            providers_reloaded: vec!["nous".into()],
        }),
    );
}

#[test]
fn the_errors() {
    for (name, code) in [
        ("protocol_mismatch", ErrorCode::ProtocolMismatch),
        ("too_many_clients", ErrorCode::TooManyClients),
        ("bad_request", ErrorCode::BadRequest),
        ("too_long", ErrorCode::TooLong),
        ("timeout", ErrorCode::Timeout),
        ("unknown_operation", ErrorCode::UnknownOperation),
        ("config_invalid", ErrorCode::ConfigInvalid),
        ("shutting_down", ErrorCode::ShuttingDown),
        ("internal", ErrorCode::Internal),
        ("of_tomorrow", ErrorCode::Other("of_tomorrow".into())),
    ] {
        let error = ControlError::new(code, "One problem.\nAnother problem.");
        golden(
            &format!("error_{name}.json"),
            &Reply::<Status> {
                id: (name != "bad_request").then_some(1),
                outcome: Outcome::Error(error.with_hint("hermesctl proxy status")),
            },
        );
    }
}

#[test]
fn the_states_and_kinds() {
    golden(
        "provider_states.json",
        &[
            ProviderState::Starting,
            ProviderState::Ready,
            ProviderState::Refreshing,
            ProviderState::Unavailable,
            ProviderState::LoginNeeded,
            ProviderState::StoreUnreadable,
            ProviderState::Other("of_tomorrow".into()),
        ],
    );
    golden(
        "credential_kinds.json",
        &[
            CredentialKind::InvokeJwt,
            CredentialKind::AgentKey,
            CredentialKind::ApiKey,
            CredentialKind::Other("of_tomorrow".into()),
        ],
    );
    golden(
        "refresh_results.json",
        &[
            RefreshResult::Refreshed,
            RefreshResult::Adopted,
            RefreshResult::Failed,
            RefreshResult::Rejected,
            RefreshResult::Other("of_tomorrow".into()),
        ],
    );
}

#[test]
fn fields_of_tomorrow_are_skipped() {
    let request = br#"{"id":7,"op":"status","verbose":true}"#;
    let request: Request = codec::parse(request).unwrap();
    assert_eq!(request.op, Operation::Status);
    let reply = br#"{"took":3,"id":7,"ok":{"applied":[],"needs_restart":[],"providers_reloaded":[],"more":1}}"#;
    let reply: Reply<ReloadReport> = codec::parse(reply).unwrap();
    assert_eq!(reply.outcome, Outcome::Ok(ReloadReport::default()));
}
