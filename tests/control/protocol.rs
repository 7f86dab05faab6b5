//! One golden file per message of the control protocol. A released file stays unchanged and
//! readable: a change that breaks one of these tests needs a new protocol version.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

mod client;
mod daemon;
mod in_flight;
mod login;
mod requests;
mod status;
mod usage;

use std::fmt::Debug;
use std::path::Path;

use hermes_proxy::control::chat_apis::ChatApis;
use hermes_proxy::control::codec;
use hermes_proxy::control::in_flight::{
    InFlightQuery, InFlightReport, LastHour, RequestInFlight, RequestPhase,
};
use hermes_proxy::control::pools::*;
use hermes_proxy::control::protocol::*;
use hermes_proxy::control::usage::{UsageBy, UsageQuery, UsageReport, UsageRow, UsageSums};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::status::status;

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
        outcome: CallOutcome::Ok(answer),
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

fn paths() -> Vec<PathEntry> {
    let path = |path: &str, methods: &[&str]| PathEntry {
        path: path.into(),
        methods: methods.iter().map(|&method| method.into()).collect(),
        body: None,
        translated_to: None,
    };
    vec![
        path("/chat/completions", &["POST"]),
        PathEntry {
            body: Some("multipart".into()),
            ..path("/files", &["POST", "GET"])
        },
        PathEntry {
            translated_to: Some("/chat/completions".into()),
            ..path("/responses", &["POST"])
        },
    ]
}

#[test]
fn the_answers() {
    golden("reply_status.json", &ok(status()));
    let mut more = status();
    more.providers.clear();
    more.listeners = vec![ListenerStatus {
        address: "docker0:8645".into(),
        url: "http://docker0:8645/v1".into(),
        provider: "nous".into(),
        connections: 0,
        needs_key: true,
        waiting: true,
        also: Vec::new(),
    }];
    golden("reply_status_listener.json", &ok(more));
    let paths = paths();
    let chat = paths[0].clone();
    let entry = ProviderEntry {
        name: "nous".into(),
        display_name: "Nous Portal".into(),
        default: true,
        base_url: Some("https://inference-api.nousresearch.com/v1".into()),
        logged_in: true,
        finding: None,
        api_key: false,
        no_key: false,
        app_url: Some("http://127.0.0.1:8645/v1".into()),
        wires: ChatApis::of(&paths),
        paths,
        models: (1..8).map(|number| format!("model-{number}")).collect(),
    };
    let other = ProviderEntry {
        name: "example".into(),
        display_name: "example".into(),
        default: false,
        base_url: Some("https://api.example.com/v1".into()),
        logged_in: false,
        finding: Some(Finding {
            code: FindingCode::LoginNeeded,
            severity: Severity::Attention,
            text: "There is no usable API key for example".into(),
            command: Some("hermesctl doctor".into()),
            provider: Some("example".into()),
            listener: None,
            blocks: true,
        }),
        api_key: true,
        no_key: false,
        app_url: Some("http://127.0.0.1:8645/example/v1".into()),
        wires: ChatApis::default(),
        paths: vec![chat],
        models: Vec::new(),
    };
    golden(
        "reply_providers.json",
        &ok(Providers {
            providers: vec![entry, other],
            available: vec![AvailableProvider {
                name: "xai".into(),
                display_name: "xAI Grok".into(),
                command: "hermesctl setup --provider xai".into(),
            }],
        }),
    );
    golden(
        "reply_reload.json",
        &ok(ReloadReport {
            applied: vec!["log.level".into()],
            needs_restart: vec!["listen".into()],
            providers_reloaded: vec!["nous".into()],
            providers_unreadable: Vec::new(),
            providers_finishing: Vec::new(),
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
        ("login_denied", ErrorCode::LoginDenied),
        ("login_expired", ErrorCode::LoginExpired),
        ("login_failed", ErrorCode::LoginFailed),
        ("unknown_provider", ErrorCode::UnknownProvider),
        ("no_such_session", ErrorCode::NoSuchSession),
        ("not_supported", ErrorCode::NotSupported),
        ("store_unusable", ErrorCode::StoreUnusable),
        ("unknown_client", ErrorCode::UnknownClient),
        ("client_exists", ErrorCode::ClientExists),
        ("invalid_client", ErrorCode::InvalidClient),
        ("clients_unusable", ErrorCode::ClientsUnusable),
        ("shutting_down", ErrorCode::ShuttingDown),
        ("internal", ErrorCode::Internal),
        ("of_tomorrow", ErrorCode::Other("of_tomorrow".into())),
    ] {
        let error = ControlError::new(code, "One problem.\nAnother problem.");
        golden(
            &format!("error_{name}.json"),
            &Reply::<Status> {
                id: (name != "bad_request").then_some(1),
                outcome: CallOutcome::Error(error.with_hint("hermesctl proxy status")),
            },
        );
    }
}

#[test]
fn fields_of_tomorrow_are_skipped() {
    let request = br#"{"id":7,"op":"status","verbose":true}"#;
    let request: ControlRequest = codec::parse(request).unwrap();
    assert_eq!(request.op, Operation::Status);
    let reply = br#"{"took":3,"id":7,"ok":{"applied":[],"needs_restart":[],"providers_reloaded":[],"more":1}}"#;
    let reply: Reply<ReloadReport> = codec::parse(reply).unwrap();
    assert_eq!(reply.outcome, CallOutcome::Ok(ReloadReport::default()));
}
