//! One golden file per message of the control protocol. A released file stays unchanged and
//! readable: a change that breaks one of these tests needs a new protocol version.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper's failure is the test's"
)]

use std::fmt::Debug;
use std::path::Path;

use hermes_proxy::control::codec;
use hermes_proxy::control::flights::{
    InFlightQuery, InFlightReport, LastHour, RequestInFlight, RequestPhase,
};
use hermes_proxy::control::pools::*;
use hermes_proxy::control::protocol::*;
use hermes_proxy::control::usage::{UsageBy, UsageQuery, UsageReport, UsageRow, UsageSums};
use hermes_proxy::control::wires::Wires;
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
            config_digest: None,
            needs_restart: Vec::new(),
            command_line: CommandLine::default(),
            proxies: std::collections::BTreeMap::new(),
            managed: false,
        },
        listeners: vec![ListenerStatus {
            address: "127.0.0.1:8645".into(),
            url: "http://127.0.0.1:8645/v1".into(),
            provider: "nous".into(),
            connections: 3,
            needs_key: false,
            waiting: false,
            also: Vec::new(),
        }],
        providers: vec![ready(), bare()],
        refused: None,
        refused_apps: None,
        client_keys: None,
        client_keys_fault: None,
        usage_fault: None,
        client_keys_command: None,
        findings: None,
    }
}

fn ready() -> ProviderStatus {
    ProviderStatus {
        name: "nous".into(),
        display_name: "Nous Portal".into(),
        default: true,
        state: ProviderState::Ready,
        base_url: Some("https://inference-api.nousresearch.com/v1".into()),
        credential: Some(CredentialKind::OfLogin("invoke_jwt".into())),
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
        failing: None,
        login: None,
        unreadable: None,
        unsavable: None,
        clock_ahead_seconds: None,
        quota: None,
        pool: None,
        client_keys: None,
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
        login_command: Some("hermesctl auth login nous".into()),
        failing: None,
        login: None,
        unreadable: None,
        unsavable: None,
        clock_ahead_seconds: None,
        quota: None,
        pool: None,
        client_keys: None,
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
        ("models", Operation::Models),
        ("own_mark", Operation::OwnMark),
        ("log", Operation::Log(LogFrom { from: 7 })),
        ("stop", Operation::Stop),
        ("restart", Operation::Restart),
        ("reload", Operation::Reload),
        ("clients", Operation::Clients),
        ("unknown", Operation::Unknown("dance".into())),
    ] {
        golden(&format!("request_{name}.json"), &Request { id: 1, op });
    }
}

#[test]
fn the_requests_about_logins() {
    let begin = LoginBegin {
        provider: Some("nous".into()),
        separate: true,
        force: false,
        way: LoginWay::Code,
        label: None,
    };
    let added = LoginBegin {
        label: Some("work".into()),
        ..begin.clone()
    };
    let browser = LoginBegin {
        provider: Some("example".into()),
        way: LoginWay::Browser,
        ..LoginBegin::default()
    };
    let paste = LoginPaste {
        session: 7,
        text: Key::new("http://127.0.0.1:4711/callback?code=secret&state=secret".into()),
    };
    let session = LoginSession { session: 7 };
    let nous = ProviderChoice {
        provider: Some("nous".into()),
        store: None,
        label: None,
    };
    let work = LoginChoice {
        provider: Some("xai".into()),
        label: Some("work".into()),
    };
    for (name, op) in [
        ("login_begin", Operation::LoginBegin(begin)),
        ("login_begin_browser", Operation::LoginBegin(browser)),
        ("login_wait", Operation::LoginWait(session)),
        ("login_cancel", Operation::LoginCancel(session)),
        ("login_paste", Operation::LoginPaste(paste)),
        ("logout", Operation::Logout(nous.clone())),
        ("refresh", Operation::Refresh(nous)),
        ("login_begin_label", Operation::LoginBegin(added)),
        ("logins", Operation::Logins),
        ("login_reset", Operation::LoginReset(work.clone())),
        ("login_remove", Operation::LoginRemove(work)),
    ] {
        let request = Request { id: 1, op };
        golden(&format!("request_{name}.json"), &request);
        assert!(!format!("{request:?}").contains("secret"), "{request:?}");
    }
}

#[test]
fn the_requests_about_clients() {
    let add = ClientAdd {
        name: "karakeep".into(),
        providers: vec!["nous".into()],
        paths: vec!["/chat/completions".into()],
        in_flight: Some(2),
        ..ClientAdd::default()
    };
    let karakeep = ClientChoice {
        name: "karakeep".into(),
    };
    let change = ClientChange {
        set: ClientAdd {
            name: "karakeep".into(),
            limits: ClientLimits {
                tokens_per_day: Some(2_000_000),
                ..ClientLimits::default()
            },
            ..ClientAdd::default()
        },
        clear: vec![ClientLimit::InFlight, ClientLimit::Models],
    };
    let import = ClientImport {
        keys: vec![ImportedKey {
            label: "Agent A".into(),
            key: Key::new("client-secret-of-agent-a".into()),
        }],
    };
    for (name, op) in [
        ("client_add", Operation::ClientAdd(add)),
        ("client_revoke", Operation::ClientRevoke(karakeep.clone())),
        ("client_rotate", Operation::ClientRotate(karakeep)),
        ("client_change", Operation::ClientChange(change)),
        ("client_import", Operation::ClientImport(import)),
    ] {
        let request = Request { id: 1, op };
        golden(&format!("request_{name}.json"), &request);
        assert!(!format!("{request:?}").contains("secret"), "{request:?}");
    }
}

#[test]
fn the_messages_about_usage() {
    let query = UsageQuery {
        by: UsageBy::Model,
        since: None,
        days: Some(7),
    };
    let op = Operation::Usage(query);
    golden("request_usage.json", &Request { id: 1, op });
    let sums = |requests: u64, failed: u64, tokens: u64| UsageSums {
        requests,
        failed,
        errors: [
            ("client_left", failed / 2),
            ("http_429", failed - failed / 2),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| (kind.to_owned(), count))
        .collect(),
        bytes_in: requests * 2_000,
        bytes_out: requests * 3_000,
        prompt_tokens: tokens * 9,
        completion_tokens: tokens,
        cached_tokens: tokens * 3,
        reasoning_tokens: tokens / 2,
        total_tokens: tokens * 10,
        without_tokens: requests / 100,
    };
    let row = |name: &str, requests, failed, tokens| UsageRow {
        name: name.to_owned(),
        sums: sums(requests, failed, tokens),
    };
    let report = UsageReport {
        enabled: true,
        by: UsageBy::Client,
        from: "2026-11-17".into(),
        to: "2026-11-23".into(),
        rows: vec![
            row("open-webui", 1_204, 7, 184_000),
            row("OpenAI/Python (no key)", 310, 0, 51_000),
            row("karakeep", 88, 1, 2_600),
            row("hermesctl", 3, 0, 12),
        ],
        total: sums(1_605, 8, 237_612),
        unlisted: 0,
        fault: None,
        dropped: 0,
    };
    golden("reply_usage.json", &ok(report.clone()));
    let trouble = UsageReport {
        enabled: false,
        by: UsageBy::Model,
        rows: vec![row(r"evil\u{1b}[31m", 1, 1, 0), row("", 2, 0, 7)],
        total: sums(3, 1, 7),
        unlisted: 12,
        fault: Some("/home/u/.local/state/hermes-proxyd/usage.db: disk is full".into()),
        dropped: 40,
        ..report
    };
    golden("reply_usage_trouble.json", &ok(trouble));
}

#[test]
fn the_messages_about_requests_in_flight() {
    let op = Operation::InFlight(InFlightQuery {
        most: Some(50),
        newest: true,
    });
    golden("request_in_flight.json", &Request { id: 1, op });
    let streaming = RequestInFlight {
        id: "00c0ffee00c0ffee".into(),
        age_ms: 93_417,
        client: "open-webui".into(),
        model: Some("Hermes-4-405B".into()),
        provider: "nous".into(),
        path: "/chat/completions".into(),
        login: Some("work".into()),
        phase: RequestPhase::Streaming,
        status: Some(200),
        first_byte_ms: Some(412),
        bytes_in: 20_144,
        bytes_out: 1_204_117,
        events: 3_311,
    };
    let waiting = RequestInFlight {
        id: "0123456789abcdef".into(),
        age_ms: 812,
        client: "OpenAI/Python (no key)".into(),
        model: None,
        login: None,
        phase: RequestPhase::Waiting,
        status: None,
        first_byte_ms: None,
        bytes_out: 0,
        events: 0,
        ..streaming.clone()
    };
    let phases = [
        RequestPhase::Sending,
        RequestPhase::Answering,
        RequestPhase::Other("of_tomorrow".into()),
    ];
    let others = phases.map(|phase| RequestInFlight {
        phase,
        ..waiting.clone()
    });
    let mut minutes = vec![0; 58];
    minutes.extend([12, 3]);
    let mut failed = vec![0; 59];
    failed.push(1);
    let report = InFlightReport {
        now: at("2026-11-23T20:31:00Z"),
        requests: [streaming, waiting].into_iter().chain(others).collect(),
        unlisted: 7,
        last_hour: LastHour {
            requests: minutes,
            failed,
        },
        usage_counted: true,
    };
    golden("reply_in_flight.json", &ok(report));
}

#[test]
fn what_a_request_leaves_out_is_the_usual() {
    for (op, meant) in [
        (
            r#"{"in_flight":{}}"#,
            Operation::InFlight(InFlightQuery::default()),
        ),
        (
            r#"{"client_add":{"name":""}}"#,
            Operation::ClientAdd(ClientAdd::default()),
        ),
        (
            r#"{"login_begin":{}}"#,
            Operation::LoginBegin(LoginBegin::default()),
        ),
        (
            r#"{"logout":{}}"#,
            Operation::Logout(ProviderChoice::default()),
        ),
        (
            r#"{"refresh":{}}"#,
            Operation::Refresh(ProviderChoice::default()),
        ),
    ] {
        let line = format!(r#"{{"id":1,"op":{op}}}"#);
        let request: Request = codec::parse(line.as_bytes()).unwrap();
        assert_eq!(request.op, meant);
    }
}

#[test]
fn an_operation_of_tomorrow_is_named_with_arguments_too() {
    for op in [
        r#""dance""#,
        r#"{"dance":{"steps":[1,2]}}"#,
        r#"{"dance":null}"#,
    ] {
        let line = format!(r#"{{"id":1,"op":{op}}}"#);
        let request: Request = codec::parse(line.as_bytes()).unwrap();
        assert_eq!(request.op, Operation::Unknown("dance".into()), "{op}");
    }
}

#[test]
fn what_names_no_operation_is_no_request() {
    for op in [
        "1",
        "null",
        "[]",
        "{}",
        r#"{"a":1,"b":2}"#,
        r#""login_wait""#,
        r#"{"login_begin":1}"#,
        r#"{"login_wait":{"session":"7"}}"#,
        r#"{"login_cancel":{}}"#,
        r#"{"logout":{"provider":1}}"#,
        r#"{"refresh":"nous"}"#,
        r#""client_add""#,
        r#"{"client_add":{}}"#,
        r#"{"client_add":{"name":"a","in_flight":-1}}"#,
        r#"{"client_revoke":{"name":null}}"#,
        r#"{"client_rotate":"a"}"#,
        r#"{"client_change":{"name":"a","clear":["name"]}}"#,
        r#"{"client_import":{"keys":{"a":"b"}}}"#,
    ] {
        let line = format!(r#"{{"id":1,"op":{op}}}"#);
        assert!(codec::parse::<Request>(line.as_bytes()).is_err(), "{op}");
    }
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
        wires: Wires::of(&paths),
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
        wires: Wires::default(),
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

fn several_logins() -> LoginList {
    let own = LoginEntry {
        provider: "xai".into(),
        display_name: "xAI Grok".into(),
        label: Some("me@example.org".into()),
        row: None,
        source: Some("device_code".into()),
        store: Some("/home/u/.hermes/auth.json".into()),
        separate: false,
        state: ProviderState::Ready,
        next: true,
        cooldown: None,
        expires_at: Some(at("2026-11-23T23:31:00Z")),
        expires_in_seconds: Some(10800),
        quota: None,
        error: None,
    };
    let work = LoginEntry {
        label: Some("work".into()),
        row: Some("ab12cd".into()),
        source: Some("manual:device_code".into()),
        next: false,
        cooldown: Some(Cooldown {
            until: at("2026-11-23T21:31:00Z"),
            in_seconds: 3600,
            status: Some(429),
            code: Some("free_usage_exhausted".into()),
            failures: 2,
        }),
        ..own.clone()
    };
    let gone = LoginEntry {
        label: Some("old".into()),
        row: Some("ef34ab".into()),
        state: ProviderState::LoginNeeded,
        cooldown: None,
        expires_at: None,
        expires_in_seconds: None,
        error: Some("the login has ended (invalid_grant)".into()),
        ..work.clone()
    };
    let api_key = LoginEntry {
        provider: "example".into(),
        display_name: "Example".into(),
        label: None,
        source: None,
        store: None,
        expires_at: None,
        expires_in_seconds: None,
        ..own.clone()
    };
    LoginList {
        now: at("2026-11-23T20:31:00Z"),
        logins: vec![own, work, gone, api_key],
    }
}

#[test]
fn the_answers_about_logins_on_a_page() {
    golden(
        "reply_login_page.json",
        &ok(LoginBegun::Page(LoginPage {
            session: 7,
            provider: "example".into(),
            display_name: "example".into(),
            url: "https://auth.example.com/authorize?response_type=code&client_id=me\
                  &redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fcallback&state=s&code_challenge=c\
                  &code_challenge_method=S256"
                .into(),
            redirect_uri: "http://127.0.0.1:4711/callback".into(),
            deaf: None,
            expires_in_seconds: 900,
            trusted_uri: true,
        })),
    );
    golden("reply_login_paste_taken.json", &ok(LoginPasteTaken {}));
}

#[test]
fn the_answers_about_logins() {
    golden(
        "reply_login_existing.json",
        &ok(LoginBegun::Existing(ExistingLogin {
            provider: "nous".into(),
            display_name: "Nous Portal".into(),
            store: "/home/u/.hermes/auth.json".into(),
            separate: false,
            adopted: false,
            same_account_as: None,
        })),
    );
    golden(
        "reply_login_code.json",
        &ok(LoginBegun::Code(LoginCode {
            session: 7,
            provider: "nous".into(),
            display_name: "Nous Portal".into(),
            verification_uri: "https://portal.nousresearch.com/manage-subscription".into(),
            verification_uri_complete: Some(
                "https://portal.nousresearch.com/manage-subscription?code=WDJB-MJHT".into(),
            ),
            user_code: "WDJB-MJHT".into(),
            expires_in_seconds: 900,
            trusted_uri: true,
        })),
    );
    golden(
        "reply_login_pending.json",
        &ok(LoginProgress::Pending(LoginPending {
            expires_in_seconds: 898,
            note: Some("the portal is busy; still trying".into()),
        })),
    );
    golden(
        "reply_login_done.json",
        &ok(LoginProgress::Done(LoginDone {
            provider: "nous".into(),
            display_name: "Nous Portal".into(),
            store: "/home/u/.hermes/auth.json".into(),
            separate: false,
            ends_at: Some(at("2026-12-23T19:44:00Z")),
            label: None,
            same_account_as: None,
        })),
    );
    golden("reply_login_cancelled.json", &ok(LoginCancelled {}));
    golden("reply_logins.json", &ok(several_logins()));
    golden(
        "reply_login_reset.json",
        &ok(LoginResetReport {
            provider: "xai".into(),
            reset: vec!["work".into()],
        }),
    );
    golden(
        "reply_logout.json",
        &ok(LogoutReport {
            provider: "nous".into(),
            removed_from: vec![
                "/home/u/.hermes/auth.json".into(),
                "/home/u/.hermes/shared/nous_auth.json".into(),
            ],
            shared_with_hermes: true,
            still_logged_in: Some("/home/u/.local/state/hermes-proxyd/auth.json".into()),
            copies: vec!["/home/u/.hermes/auth.json.corrupt".into()],
            logins: None,
        }),
    );
    golden(
        "reply_refresh.json",
        &ok(RefreshOutcome {
            provider: "nous".into(),
            result: RefreshResult::Refreshed,
            detail: None,
            expires_at: Some(at("2026-11-23T20:44:00Z")),
        }),
    );
}

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
        &ok(Clients {
            now: at("2026-11-23T19:44:00Z"),
            clients: vec![karakeep, fresh.clone()],
            unknown_providers: Vec::new(),
        }),
    );
    let new = ok(NewKey {
        client: fresh,
        key: Key::new("hpx-q3vJ0bq8m1x0c9YtKk2d7n4hZ5sWuEoRfTgVaLiMyPA".into()),
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

/// The status without a login, as daemons answered before there was one, is `reply_status.json`.
#[test]
fn the_answer_on_logins() {
    let mut status = status();
    status.providers[0].login = Some(LoginStatus {
        store: "/home/u/.hermes/auth.json".into(),
        separate: false,
        since: Some(at("2026-11-20T08:00:00Z")),
        ends_at: Some(at("2026-12-20T08:00:00Z")),
        ends_in_seconds: Some(2_290_560),
        ends_soon: false,
        may_be_spent: false,
    });
    golden("reply_status_login.json", &ok(status));
}

#[test]
fn the_answer_on_an_end() {
    golden("reply_stop.json", &ok(Ending { in_flight: 2 }));
}

#[test]
fn the_answer_on_the_log() {
    let tail = |place| LogTail {
        place,
        next: 9,
        lines: vec!["2026-11-23T19:44:00Z  INFO listening\n".into()],
    };
    golden("reply_log.json", &ok(tail(LogPlace::StandardError)));
    let file = LogPlace::File("/var/log/hermes-proxyd.log".into());
    golden("reply_log_file.json", &ok(tail(file)));
}

/// Requests that went wrong, where there are some.
#[test]
fn the_answer_on_what_went_wrong() {
    let mut status = status();
    status.providers.truncate(1);
    status.providers[0].failing = Some(Mishaps {
        count: 5,
        at: at("2026-11-23T19:42:00Z"),
        code: "http_429".into(),
        request_id: "49f2c0a51be7d386".into(),
        from: None,
        about: None,
    });
    status.refused = Some(Mishaps {
        count: 12,
        at: at("2026-11-23T19:42:00Z"),
        code: "origin_not_allowed".into(),
        request_id: "8649f2c0a55be7d3".into(),
        from: Some("127.0.0.1".into()),
        about: Some("https://app.example".into()),
    });
    status.refused_apps = Some(Mishaps {
        count: 3,
        at: at("2026-11-23T19:40:00Z"),
        code: "invalid_client_key".into(),
        request_id: "5be7d38649f2c0a5".into(),
        from: Some("172.17.0.2".into()),
        about: None,
    });
    golden("reply_status_trouble.json", &ok(status));
}

/// A daemon that was started with flags.
#[test]
fn the_answer_on_the_configuration() {
    let mut status = status();
    status.providers.clear();
    status.daemon.config_digest = Some("9f86d081884c7d65".into());
    status.daemon.needs_restart = vec!["listen[0].address".into()];
    status.daemon.command_line = CommandLine {
        provider: Some("nous".into()),
        host: Some("::1".into()),
        port: Some(9000),
        log_level: Some("debug".into()),
        log_format: Some("json".into()),
    };
    golden("reply_status_config.json", &ok(status));
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
            CredentialKind::OfLogin("invoke_jwt".into()),
            CredentialKind::OfLogin("agent_key".into()),
            CredentialKind::ApiKey,
            CredentialKind::NoKey,
            CredentialKind::OfLogin("of_tomorrow".into()),
        ],
    );
    golden(
        "import_outcomes.json",
        &[
            ImportOutcome::Imported,
            ImportOutcome::Skipped,
            ImportOutcome::Refused,
            ImportOutcome::Other("of_tomorrow".into()),
        ],
    );
    golden(
        "refresh_results.json",
        &[
            RefreshResult::Refreshed,
            RefreshResult::Adopted,
            RefreshResult::Failed,
            RefreshResult::Rejected,
            RefreshResult::NoLogin,
            RefreshResult::NotRenewable,
            RefreshResult::Other("of_tomorrow".into()),
        ],
    );
}

#[test]
fn the_findings_of_a_status() {
    let mut judged = status();
    judged.daemon.managed = true;
    judged.client_keys = Some(2);
    judged.providers.truncate(1);
    judged.providers[0].clock_ahead_seconds = Some(-5400);
    judged.providers[0].unreadable = Some(UnreadableLogin {
        at: at("2026-11-23T19:40:00Z"),
        reason: "/home/u/.hermes/auth.json is empty".into(),
        command: Some("mv auth.json auth.json.corrupt".into()),
        copied: true,
    });
    let finding = |code, severity, text: &str| Finding {
        code,
        severity,
        text: text.into(),
        command: None,
        provider: None,
        listener: None,
        blocks: false,
    };
    judged.findings = Some(vec![
        Finding {
            command: Some("hermesctl auth login nous".into()),
            provider: Some("nous".into()),
            blocks: true,
            ..finding(FindingCode::LoginNeeded, Severity::Bad, "Login needed")
        },
        Finding {
            listener: Some("docker0:8645".into()),
            ..finding(
                FindingCode::AddressMissing,
                Severity::Attention,
                "Waiting for the address docker0:8645",
            )
        },
        finding(
            FindingCode::Other("of_tomorrow".into()),
            Severity::Other("of_tomorrow".into()),
            "It is another day",
        ),
    ]);
    golden("reply_status_findings.json", &ok(judged));
    golden(
        "finding_codes.json",
        &[
            FindingCode::NotRunning,
            FindingCode::NoAnswer,
            FindingCode::ListensNowhere,
            FindingCode::AddressMissing,
            FindingCode::SocketMissing,
            FindingCode::NoClientKeys,
            FindingCode::ClientKeysUnreadable,
            FindingCode::LoginNeeded,
            FindingCode::StoreUnreadable,
            FindingCode::StoreUnusable,
            FindingCode::Unavailable,
            FindingCode::Starting,
            FindingCode::RequestsFail,
            FindingCode::RequestsRefused,
            FindingCode::LoginTrouble,
            FindingCode::Unsaved,
            FindingCode::LoginEndsSoon,
            FindingCode::LoginMayBeSpent,
            FindingCode::LoginCoolingDown,
            FindingCode::LoginsCoolingDown,
            FindingCode::LoginEnded,
            FindingCode::QuotaSpent,
            FindingCode::ClockWrong,
            FindingCode::UsageUnsaved,
            FindingCode::ConfigBroken,
            FindingCode::ConfigMissing,
            FindingCode::RestartNeeded,
            FindingCode::ConfigChanged,
            FindingCode::Other("of_tomorrow".into()),
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
