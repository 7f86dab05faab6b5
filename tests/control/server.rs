//! The control server against hostile and slow clients.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper's failure is the test's"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hermes_proxy::control::client::{ClientError, ControlClient};
use hermes_proxy::control::endpoint::{BindError, Endpoint};
use hermes_proxy::control::protocol::calls;
use hermes_proxy::control::protocol::{
    CallOutcome, ClientAdd, ClientChange, ClientChanged, ClientChoice, ClientImport,
    ClientImportReport, ClientList, ClientRevoked, CommandLine, ControlError, DaemonStatus,
    ErrorCode, LoginBegin, LoginBegun, LoginCancelled, LoginPending, LoginProgress, LoginSession,
    LogoutReport, NewKey, ProviderChoice, Providers, RefreshOutcome, ReloadReport, Reply, Status,
    Timestamp,
};
use hermes_proxy::control::server::{self, Handler, MAX_CLIENTS};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const HELLO: &str = r#"{"hello":{"protocol":1,"client":"test 1"}}"#;

/// Answers a reload once it is let.
struct Fake {
    reload: Semaphore,
}

#[async_trait]
impl Handler for Fake {
    async fn status(&self) -> Status {
        let now = Timestamp("2026-11-23T19:44:00Z".parse().unwrap());
        Status {
            now,
            daemon: DaemonStatus {
                version: "0.1.0".into(),
                pid: 1,
                started_at: now,
                uptime_seconds: 0,
                config_file: None,
                config_digest: None,
                needs_restart: Vec::new(),
                command_line: CommandLine::default(),
                proxies: std::collections::BTreeMap::new(),
                managed: false,
            },
            listeners: Vec::new(),
            providers: Vec::new(),
            refused: None,
            refused_apps: None,
            client_keys: None,
            client_keys_fault: None,
            usage_fault: None,
            client_keys_command: None,
            findings: None,
        }
    }

    async fn providers(&self) -> Providers {
        panic!("a broken handler");
    }

    async fn reload(&self) -> Result<ReloadReport, ControlError> {
        self.reload.acquire().await.unwrap().forget();
        Err(ControlError::new(ErrorCode::ConfigInvalid, "one\ntwo"))
    }

    async fn login_begin(&self, login: LoginBegin) -> Result<LoginBegun, ControlError> {
        let code = golden("reply_login_code.json");
        match login.provider.as_deref() {
            None => Ok(code),
            Some(name) => Err(ControlError::new(ErrorCode::UnknownProvider, name)),
        }
    }

    async fn login_wait(&self, login: LoginSession) -> Result<LoginProgress, ControlError> {
        Ok(LoginProgress::Pending(LoginPending {
            expires_in_seconds: login.session,
            note: None,
        }))
    }

    async fn login_cancel(&self, _: LoginSession) -> Result<LoginCancelled, ControlError> {
        Ok(LoginCancelled {})
    }

    async fn logout(&self, _: ProviderChoice) -> Result<LogoutReport, ControlError> {
        Ok(golden("reply_logout.json"))
    }

    async fn refresh(&self, _: ProviderChoice) -> Result<RefreshOutcome, ControlError> {
        Ok(golden("reply_refresh.json"))
    }

    async fn clients(&self) -> Result<ClientList, ControlError> {
        Ok(golden("reply_clients.json"))
    }

    async fn client_add(&self, client: ClientAdd) -> Result<NewKey, ControlError> {
        let mut new: NewKey = golden("reply_client_new_key.json");
        new.client.name = client.name;
        Ok(new)
    }

    async fn client_revoke(&self, client: ClientChoice) -> Result<ClientRevoked, ControlError> {
        Err(ControlError::new(ErrorCode::UnknownClient, client.name))
    }

    async fn client_rotate(&self, _: ClientChoice) -> Result<NewKey, ControlError> {
        Ok(golden("reply_client_new_key.json"))
    }

    async fn client_change(&self, _: ClientChange) -> Result<ClientChanged, ControlError> {
        Ok(golden("reply_client_changed.json"))
    }

    async fn client_import(&self, _: ClientImport) -> Result<ClientImportReport, ControlError> {
        Ok(golden("reply_client_import.json"))
    }
}

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(root.join("tests/golden/control").join(name)).unwrap();
    let reply: Reply<T> = serde_json::from_slice(&file).unwrap();
    let CallOutcome::Ok(answer) = reply.outcome else {
        panic!("{name} holds an error");
    };
    answer
}

struct Daemon {
    _folder: TempDir,
    endpoint: Endpoint,
    fake: Arc<Fake>,
    shutdown: CancellationToken,
    tracker: TaskTracker,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let endpoint = Endpoint::new(folder.path());
        let daemon = Self {
            _folder: folder,
            endpoint: endpoint.clone(),
            fake: Arc::new(Fake {
                reload: Semaphore::new(0),
            }),
            shutdown: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        let listener = endpoint.bind().unwrap();
        let (handler, shutdown) = (Arc::clone(&daemon.fake), daemon.shutdown.clone());
        let tracker = daemon.tracker.clone();
        daemon.tracker.spawn(async move {
            server::serve(listener, handler, shutdown, &tracker).await;
        });
        daemon
    }

    async fn raw(&self) -> Raw {
        let stream = UnixStream::connect(self.endpoint.address()).await.unwrap();
        Raw(BufReader::new(stream))
    }

    async fn greeted(&self) -> Raw {
        let mut raw = self.raw().await;
        raw.send(HELLO).await;
        assert_eq!(raw.receive().await["hello"]["protocol"], 1);
        raw
    }

    async fn client(&self) -> Result<ControlClient, ClientError> {
        ControlClient::connect(&self.endpoint, "test 1").await
    }

    async fn ended(&self) {
        self.tracker.close();
        let ended = timeout(Duration::from_secs(5), self.tracker.wait()).await;
        ended.unwrap();
    }
}

/// A connection spoken by hand.
struct Raw(BufReader<UnixStream>);

impl Raw {
    async fn send(&mut self, line: &str) {
        self.bytes(format!("{line}\n").as_bytes()).await;
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    async fn closed(mut self) -> bool {
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(20), self.0.read_to_end(&mut rest)).await;
        end.is_ok()
    }
}

#[tokio::test]
async fn a_gigabyte_in_one_line_is_refused_after_64_kib() {
    let daemon = Daemon::start();
    let mut raw = daemon.greeted().await;
    let chunk = vec![b'a'; 1024 * 1024];
    let mut sent = 0;
    for _ in 0..1024 {
        match raw.0.write_all(&chunk).await {
            Ok(()) => sent += chunk.len(),
            Err(_) => break,
        }
    }
    assert!(sent < 4 * chunk.len(), "{sent} bytes were taken");
    assert_eq!(raw.receive().await["error"]["code"], "too_long");
    assert!(raw.closed().await);
    daemon.client().await.unwrap();
}

#[tokio::test]
async fn one_byte_at_a_time_is_slow_but_works() {
    let daemon = Daemon::start();
    let mut raw = daemon.raw().await;
    for byte in format!("{HELLO}\n{{\"id\":3,\"op\":\"status\"}}\n").bytes() {
        raw.bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.receive().await["hello"]["pid"], std::process::id());
    let reply = raw.receive().await;
    assert_eq!(
        (&reply["id"], &reply["ok"]["daemon"]["pid"]),
        (&json!(3), &json!(1))
    );
}

#[tokio::test]
async fn a_silent_client_is_let_go() {
    let daemon = Daemon::start();
    let start = Instant::now();
    let mut silent = daemon.raw().await;
    let mut half = daemon.greeted().await;
    half.bytes(b"{\"id\":1,").await;
    let (silent_told, half_told) = tokio::join!(silent.receive(), half.receive());
    assert_eq!(silent_told["error"]["code"], "timeout");
    assert_eq!(half_told["error"]["code"], "timeout");
    assert!(start.elapsed() < Duration::from_secs(8));
    assert!(silent.closed().await && half.closed().await);
}

#[tokio::test]
async fn a_thousand_half_open_connections_leave_the_daemon_alive() {
    let daemon = Daemon::start();
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(
            UnixStream::connect(daemon.endpoint.address())
                .await
                .unwrap(),
        );
    }
    assert!(matches!(
        daemon.client().await,
        Err(ClientError::Daemon(error)) if error.code == ErrorCode::TooManyClients
    ));
    drop(idle);
    eventually_connects(&daemon).await;
}

async fn eventually_connects(daemon: &Daemon) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while daemon.client().await.is_err() {
        assert!(Instant::now() < deadline, "no client gets in any more");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_seventeenth_client_is_told_so() {
    let daemon = Daemon::start();
    let mut clients = Vec::new();
    for _ in 0..MAX_CLIENTS {
        clients.push(daemon.client().await.unwrap());
    }
    let error = daemon.client().await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Daemon(error) if error.code == ErrorCode::TooManyClients),
        "{error:?}"
    );
    clients.pop();
    eventually_connects(&daemon).await;
}

#[tokio::test]
async fn garbage_instead_of_a_greeting_is_answered_and_closed() {
    let daemon = Daemon::start();
    for garbage in [
        "GET / HTTP/1.1\r",
        "",
        "{}",
        "[1]",
        r#"{"hello":{"protocol":"1"}}"#,
    ] {
        let mut raw = daemon.raw().await;
        raw.send(garbage).await;
        assert_eq!(
            raw.receive().await["error"]["code"],
            "bad_request",
            "{garbage}"
        );
        assert!(raw.closed().await);
    }
}

#[tokio::test]
async fn garbage_and_unknown_operations_keep_the_connection() {
    let daemon = Daemon::start();
    let mut raw = daemon.greeted().await;
    for garbage in ["{", r#"{"id":-1,"op":"status"}"#, r#"{"op":"status"}"#] {
        raw.send(garbage).await;
        let reply = raw.receive().await;
        assert_eq!(reply["error"]["code"], "bad_request", "{garbage}");
        assert_eq!(reply["id"], Value::Null);
    }
    raw.bytes(b"\xff\n").await;
    assert_eq!(raw.receive().await["error"]["code"], "bad_request");
    raw.send(r#"{"id":8,"op":"dance"}"#).await;
    let reply = raw.receive().await;
    assert_eq!(reply["error"]["code"], "unknown_operation");
    assert_eq!(reply["id"], 8);
    raw.send(r#"{"id":8,"op":{"dance":{"steps":3}}}"#).await;
    assert_eq!(raw.receive().await, reply);
    raw.send(r#"{"id":9,"op":"status"}"#).await;
    assert_eq!(raw.receive().await["id"], 9);
}

#[tokio::test]
async fn each_operation_about_logins_and_clients_is_answered() {
    let daemon = Daemon::start();
    let mut raw = daemon.greeted().await;
    for (op, path, value) in [
        (
            r#"{"login_begin":{"provider":null}}"#,
            "/ok/code/user_code",
            json!("WDJB-MJHT"),
        ),
        (
            r#"{"login_begin":{"provider":"nuos"}}"#,
            "/error/code",
            json!("unknown_provider"),
        ),
        (
            r#"{"login_wait":{"session":7}}"#,
            "/ok/pending/expires_in_seconds",
            json!(7),
        ),
        (r#"{"login_cancel":{"session":7}}"#, "/ok", json!({})),
        (r#"{"logout":{}}"#, "/ok/shared_with_hermes", json!(true)),
        (r#"{"refresh":{}}"#, "/ok/result", json!("refreshed")),
        (r#""clients""#, "/ok/clients/0/name", json!("karakeep")),
        (
            r#"{"client_add":{"name":"a"}}"#,
            "/ok/client/name",
            json!("a"),
        ),
        (
            r#"{"client_revoke":{"name":"a"}}"#,
            "/error/code",
            json!("unknown_client"),
        ),
        (
            r#"{"client_rotate":{"name":"a"}}"#,
            "/ok/client/name",
            json!("open-webui"),
        ),
        (
            r#"{"client_change":{"name":"a"}}"#,
            "/ok/client/name",
            json!("karakeep"),
        ),
        (
            r#"{"client_import":{"keys":[]}}"#,
            "/ok/results/0/outcome",
            json!("imported"),
        ),
    ] {
        raw.send(&format!(r#"{{"id":1,"op":{op}}}"#)).await;
        let reply = raw.receive().await;
        assert_eq!(reply.pointer(path), Some(&value), "{op}: {reply}");
    }
}

#[tokio::test]
async fn another_protocol_version_is_an_error_with_a_hint() {
    let daemon = Daemon::start();
    let mut raw = daemon.raw().await;
    raw.send(r#"{"hello":{"protocol":2,"client":"test 2"}}"#)
        .await;
    let error = raw.receive().await;
    assert_eq!(error["error"]["code"], "protocol_mismatch");
    assert!(error["error"]["hint"].is_string());
    assert!(raw.closed().await);
}

#[tokio::test]
async fn a_panic_in_one_request_ends_that_connection_only() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await.unwrap();
    assert!(client.call(calls::Providers).await.is_err());
    daemon
        .client()
        .await
        .unwrap()
        .call(calls::Status)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_daemons_error_reaches_the_caller_as_it_is() {
    let daemon = Daemon::start();
    daemon.fake.reload.add_permits(1);
    let error = daemon
        .client()
        .await
        .unwrap()
        .call(calls::Reload)
        .await
        .unwrap_err();
    let ClientError::Daemon(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(error.code, ErrorCode::ConfigInvalid);
    assert_eq!(error.message, "one\ntwo");
}

#[tokio::test]
async fn a_shutdown_lets_a_request_finish_and_removes_the_socket() {
    let daemon = Daemon::start();
    let mut busy = daemon.greeted().await;
    let idle = daemon.greeted().await;
    busy.send(r#"{"id":1,"op":"reload"}"#).await;
    // Answered after the reload was taken up, as both run in one thread.
    daemon
        .client()
        .await
        .unwrap()
        .call(calls::Status)
        .await
        .unwrap();
    daemon.shutdown.cancel();
    assert!(idle.closed().await);
    daemon.fake.reload.add_permits(1);
    assert_eq!(busy.receive().await["error"]["code"], "config_invalid");
    assert!(busy.closed().await);
    daemon.ended().await;
    assert!(!daemon.endpoint.address().exists());
}

#[tokio::test]
async fn a_second_daemon_learns_who_the_first_is() {
    let daemon = Daemon::start();
    let error = server::bind(&daemon.endpoint).await.unwrap_err();
    let BindError::AlreadyRunning { pid, version } = error else {
        panic!("{error:?}");
    };
    assert_eq!(pid, Some(std::process::id()));
    assert_eq!(version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn without_a_daemon_the_client_says_so() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let absent = |folder: &Path| Endpoint::new(folder);
    for endpoint in [absent(folder.path()), absent(&folder.path().join("none"))] {
        let error = ControlClient::connect(&endpoint, "test 1")
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    }
    let endpoint = Endpoint::new(folder.path());
    drop(std::os::unix::net::UnixListener::bind(endpoint.address()).unwrap());
    let error = ControlClient::connect(&endpoint, "test 1")
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
}

#[tokio::test]
async fn a_daemon_that_stays_silent_or_leaves_is_named() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let endpoint = Endpoint::new(folder.path());
    let listener = endpoint.bind().unwrap();
    let leave = async { drop(listener.accept().await.unwrap()) };
    let (client, ()) = tokio::join!(ControlClient::connect(&endpoint, "test 1"), leave);
    let error = client.unwrap_err();
    let named = matches!(error, ClientError::Confused(_) | ClientError::Broken(_));
    assert!(named, "{error:?}");
    assert!(folder.path().join("control.lock").exists());
}

/// The fake at one end of a pipe, as a process of its own has it on its standard input and output.
fn piped() -> (DuplexStream, CancellationToken, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(64);
    let handler = Arc::new(Fake {
        reload: Semaphore::new(0),
    });
    let shutdown = CancellationToken::new();
    let served = server::serve_one(far, handler, shutdown.clone());
    (near, shutdown, TaskTracker::new().spawn(served))
}

#[tokio::test(start_paused = true)]
async fn a_pipe_serves_one_client_until_it_closes() {
    let (near, _shutdown, served) = piped();
    let mut client = ControlClient::over(near, "test 1").await.unwrap();
    assert_eq!(client.daemon().pid, std::process::id());
    assert!(
        client
            .call(calls::Logout(ProviderChoice::default()))
            .await
            .is_ok()
    );
    // No one else waits for the place of a client that thinks.
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(
        client
            .call(calls::Refresh(ProviderChoice::default()))
            .await
            .is_ok()
    );
    assert!(!served.is_finished());
    drop(client);
    served.await.unwrap();
}

#[tokio::test]
async fn a_pipe_ends_with_the_daemon_and_its_garbage_is_answered() {
    let (near, shutdown, served) = piped();
    let mut near = BufReader::new(near);
    near.write_all(b"hello?\n").await.unwrap();
    let mut line = String::new();
    near.read_line(&mut line).await.unwrap();
    assert!(line.contains("bad_request"), "{line}");
    served.await.unwrap();

    let (near, shutdown_of_another, served) = piped();
    let client = ControlClient::over(near, "test 1").await.unwrap();
    shutdown.cancel();
    assert!(!served.is_finished());
    shutdown_of_another.cancel();
    served.await.unwrap();
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn each_request_has_its_own_patience() {
    for (seconds, refused) in [(60, false), (100, true)] {
        let daemon = Late { seconds };
        let (near, far) = tokio::io::duplex(4096);
        let answering = TaskTracker::new().spawn(daemon.answer_late(far));
        let mut client = ControlClient::over(near, "test 1").await.unwrap();
        let begun = client.call(calls::LoginBegin(LoginBegin::default())).await;
        let timed_out = matches!(begun, Err(ClientError::Timeout { .. }));
        assert_eq!(timed_out, refused, "{begun:?}");
        answering.abort();
    }
}

/// Greets, and answers one request late.
struct Late {
    seconds: u64,
}

impl Late {
    async fn answer_late(self, far: DuplexStream) {
        let mut far = BufReader::new(far);
        let mut line = String::new();
        far.read_line(&mut line).await.unwrap();
        far.write_all(b"{\"hello\":{\"protocol\":1,\"version\":\"1\",\"pid\":1}}\n")
            .await
            .unwrap();
        far.read_line(&mut line).await.unwrap();
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        let code = serde_json::to_string(
            &json!({"id": 1, "ok": golden::<Value>("reply_login_code.json")}),
        );
        far.write_all((code.unwrap() + "\n").as_bytes())
            .await
            .unwrap();
    }
}
