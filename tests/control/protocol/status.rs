//! The state of the daemon, and what is wrong.

use super::*;

pub(super) fn status() -> Status {
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

/// Requests that went wrong, where there are some.
#[test]
fn the_answer_on_what_went_wrong() {
    let mut status = status();
    status.providers.truncate(1);
    status.providers[0].failing = Some(RequestFailures {
        count: 5,
        at: at("2026-11-23T19:42:00Z"),
        code: "http_429".into(),
        request_id: "49f2c0a51be7d386".into(),
        from: None,
        about: None,
    });
    status.refused = Some(RequestFailures {
        count: 12,
        at: at("2026-11-23T19:42:00Z"),
        code: "origin_not_allowed".into(),
        request_id: "8649f2c0a55be7d3".into(),
        from: Some("127.0.0.1".into()),
        about: Some("https://app.example".into()),
    });
    status.refused_apps = Some(RequestFailures {
        count: 3,
        at: at("2026-11-23T19:40:00Z"),
        code: "invalid_client_key".into(),
        request_id: "5be7d38649f2c0a5".into(),
        from: Some("172.17.0.2".into()),
        about: None,
    });
    golden("reply_status_trouble.json", &ok(status));
}
