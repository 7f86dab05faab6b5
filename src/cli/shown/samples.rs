//! What a daemon could answer, for tests.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::cli::bugreport::view::{Contents, Planned};
use crate::cli::connect::File;
use crate::cli::connect::view::ConnectOutput;
use crate::cli::logs::LogEntry;
use crate::cli::probe::view::{CountedTokens, ProbeReport, ProbeRequest};
use crate::cli::proxy::view::StopOutput;
use crate::cli::service::view::{ServiceJson, StepLine};
use crate::cli::setup::view::SetUp;
use crate::cli::top::TopOutput;
use crate::control::protocol::{
    CallOutcome, CredentialKind, ErrorReport, ProviderState, ProviderStatus, RefreshReport,
    RefreshResult, Reply, RequestCounts, Status,
};

/// A golden file.
pub(in crate::cli) fn golden(folder: &str, name: &str) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/golden").join(folder).join(name)
}

/// The answer in a golden file of the protocol.
pub(in crate::cli) fn answer<T: DeserializeOwned>(name: &str) -> T {
    let file = std::fs::read(golden("control", name)).unwrap();
    let reply: Reply<T> = serde_json::from_slice(&file).unwrap();
    let CallOutcome::Ok(answer) = reply.outcome else {
        panic!("{name} holds an error");
    };
    answer
}

/// Requests are in flight.
pub(in crate::cli) fn now() -> TopOutput {
    TopOutput::of(status_with_login(), answer("reply_in_flight.json"))
}

/// One provider works, the other one has no login.
pub(in crate::cli) fn status() -> Status {
    answer("reply_status.json")
}

/// Requests fail, and an app is refused.
pub(in crate::cli) fn failing_status() -> Status {
    answer("reply_status_trouble.json")
}

/// The same with what is known of a login.
pub(in crate::cli) fn status_with_login() -> Status {
    answer("reply_status_login.json")
}

/// Three providers, each failing in a different way.
pub(in crate::cli) fn troubled_status() -> Status {
    let mut status = status();
    let at = status.daemon.started_at;
    status.daemon.config_file = None;
    status.listeners.clear();
    status.providers = [
        ("nous", ProviderState::Unavailable),
        ("other", ProviderState::LoginNeeded),
        ("third", ProviderState::StoreUnreadable),
    ]
    .map(|(name, state)| ProviderStatus {
        name: name.into(),
        display_name: "Nous Portal".into(),
        default: state == ProviderState::Unavailable,
        base_url: None,
        credential: Some(CredentialKind::OfLogin("invoke_jwt".into())),
        expires_at: Some(at),
        expires_in_seconds: Some(-11_520),
        last_refresh: Some(RefreshReport {
            at,
            result: RefreshResult::Rejected,
            detail: Some("invalid_grant".into()),
        }),
        next_refresh_at: None,
        next_refresh_in_seconds: None,
        last_error: Some(ErrorReport {
            at,
            code: "invalid_grant".into(),
            message: "The portal has revoked the login.\nIt says: \u{1b}[2Jgone.".into(),
        }),
        unsaved: state == ProviderState::Unavailable,
        requests: RequestCounts::default(),
        login_command: (state == ProviderState::LoginNeeded)
            .then(|| format!("hermesctl auth login {name}")),
        failing: None,
        login: None,
        unreadable: None,
        unsavable: None,
        clock_ahead_seconds: None,
        quota: None,
        pool: None,
        client_keys: None,
        state,
    })
    .to_vec();
    status
}

/// A daemon that was stopped, or started again as this process.
pub(in crate::cli) fn ended(running: Option<u32>) -> StopOutput {
    StopOutput {
        pid: 4711,
        in_flight: 0,
        running,
    }
}

/// A test request that went well.
pub(in crate::cli) fn report(stream: bool) -> ProbeReport {
    ProbeReport {
        asked: ProbeRequest {
            url: "http://127.0.0.1:8645/v1".into(),
            provider: "nous".into(),
            model: "Hermes-4-405B".into(),
            stream,
            question: "Say hello in one short sentence.",
        },
        status: 200,
        request_id: Some("49f2c0a51be7d386".into()),
        first_byte_ms: 412.3,
        total_ms: 1280.9,
        tokens: Some(CountedTokens {
            prompt: 14,
            completion: 9,
        }),
        finish_reason: Some("stop".into()),
        text: "Hello! It is good to meet you, and I hope that your day goes well.".into(),
        reasoning: String::new(),
    }
}

/// A bug report that could be written.
pub(in crate::cli) fn bug_report() -> Planned {
    let section = |title, about, lines| Contents {
        title,
        about,
        lines,
    };
    Planned {
        file: "hermes-proxyd-report.txt".into(),
        sections: vec![
            section("versions", "of both programs and the system", 8),
            section(
                "client keys",
                "limits and use, without names and addresses",
                24,
            ),
            section("log", "the last 200 lines", 200),
        ],
    }
}

/// An app in a container, with a key made on the spot.
pub(in crate::cli) fn connected() -> ConnectOutput {
    let file = |name: &str, about: &str, text: &str| File {
        name: name.to_owned(),
        about: about.to_owned(),
        text: text.to_owned(),
    };
    let lead = "A client key was made for karakeep and is in the files below. It is shown only \
                once: save it now.";
    let notes = ["If jobs still time out after 120 s, raise INFERENCE_JOB_TIMEOUT_SEC."];
    ConnectOutput {
        app: "karakeep",
        title: "Karakeep",
        from: "docker",
        provider: "nous".to_owned(),
        path: Some("/chat/completions"),
        translated: false,
        base_url: "http://host.docker.internal:8645/v1".to_owned(),
        ready: true,
        lead: vec![lead.to_owned()],
        key: Some("a-key-for-karakeep".to_owned()),
        key_name: Some("karakeep".to_owned()),
        model: Some("Hermes-4-405B".to_owned()),
        embedding_model: None,
        files: vec![
            file(
                ".env",
                "beside Karakeep's compose file",
                "OPENAI_BASE_URL=http://host.docker.internal:8645/v1\n\
                 OPENAI_API_KEY=a-key-for-karakeep\n",
            ),
            file(
                "docker-compose.override.yml",
                "beside Karakeep's compose file",
                "services:\n  web:\n    env_file: .env\n",
            ),
        ],
        notes: notes.map(str::to_owned).to_vec(),
    }
}

/// A first run, with a service or without one.
pub(in crate::cli) fn set_up(ready: bool) -> SetUp {
    let file = "configuration /home/u/.config/hermes-proxyd/config.toml";
    let login = "login of Nous Portal, shared with Hermes Agent, in /home/u/.hermes/auth.json";
    let mut steps = vec![
        StepLine::done_unless(false, "configuration", file),
        StepLine::done_unless(true, "login", login),
    ];
    steps.push(if ready {
        StepLine::done_unless(false, "start", "start the service")
    } else {
        StepLine::left(
            "service",
            "service",
            "as requested; `hermesctl proxy start` runs hermes-proxyd",
        )
    });
    SetUp {
        steps,
        ready,
        base_url: ready.then(|| "http://127.0.0.1:8645/v1".to_owned()),
        key: None,
        needs_key: false,
        findings: Vec::new(),
        test: ready.then(|| report(false)),
    }
}

/// A setup where no service manager is.
pub(in crate::cli) fn set_up_without_manager() -> SetUp {
    let error = crate::service::ServiceError::NoManager {
        reason: "systemd is not running on this machine".to_owned(),
    };
    let hint = error.hint().unwrap_or_default();
    let mut set_up = set_up(false);
    set_up.steps.pop();
    let line = StepLine::left("service", "service", format!("{error}. {hint}"));
    set_up.steps.push(line);
    set_up
}

/// A service that runs, or not.
pub(in crate::cli) fn service(pid: Option<u32>) -> ServiceJson {
    ServiceJson {
        manager: "systemd",
        installed: true,
        file: Some("/home/u/.config/systemd/user/hermes-proxyd.service".into()),
        packaged: false,
        enabled: true,
        running: pid.is_some(),
        pid,
        since: pid.map(|_| status().daemon.started_at),
        status: None,
        socket: Some(false),
        linger: Some(pid.is_some()),
        last_failure: pid.is_none().then(|| "exited with 78".into()),
        log_command: "journalctl --user --unit hermes-proxyd".into(),
        other_pid: None,
    }
}

/// Lines of the log: requests that went well and not, a notice, and systemd's word.
pub(in crate::cli) fn log() -> Vec<LogEntry> {
    let text = std::fs::read_to_string(golden("cli", "journal.jsonl")).unwrap();
    let entries = text.lines().map(|line| LogEntry::of_journal(line).unwrap());
    entries.collect()
}
