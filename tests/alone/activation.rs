//! Sockets that a service manager hands over.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mock_cloud::Options;
use serde_json::Value;
use support::{World, chat, client, program, until};

/// A service manager that holds the socket.
struct Manager {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Manager {
    fn new(world: &World, turns: usize, config: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alone/activate.py");
        world.write_config(config);
        let mut command = program("python3", world.home.path());
        command
            .arg(script)
            .args([env!("CARGO_BIN_EXE_hermes-proxyd"), &turns.to_string()])
            .args(["--port", "0", "--log-format", "json"])
            .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
            .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut manager = Self {
            lines: BufReader::new(child.stdout.take().unwrap()),
            child,
            address: String::new(),
        };
        manager.address = manager.line();
        manager
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn restart(&mut self) -> String {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.line()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_restarts_on_the_service_managers_socket_refuse_no_connection() {
    const RESTARTS: usize = 20;
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let mut manager = Manager::new(&world, RESTARTS + 1, "");
    assert_eq!(manager.line(), "started 0");
    let url = format!("http://{}/v1/chat/completions", manager.address);
    let (served, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let apps: Vec<_> = (0..8)
        .map(|_| {
            let (url, served, failed) = (url.clone(), served.clone(), failed.clone());
            let over = over.clone();
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    // A connection for each request: none may be refused or cut.
                    let request = client().post(&url).header("connection", "close");
                    let whole = async {
                        let answer = request.json(&chat("x")).send().await?;
                        answer.error_for_status()?.bytes().await
                    };
                    match whole.await {
                        Ok(_) => served.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            eprintln!("failed: {error:?}");
                            failed.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            })
        })
        .collect();
    for turn in 1..=RESTARTS {
        let before = served.load(Ordering::Relaxed);
        until("some requests are served", || {
            served.load(Ordering::Relaxed) >= before + 20
        });
        let ended = tokio::task::block_in_place(|| manager.restart());
        assert_eq!(ended, "ended 0");
        assert_eq!(manager.line(), format!("started {turn}"));
    }
    over.store(true, Ordering::Relaxed);
    for app in apps {
        app.await.unwrap();
    }
    let (served, failed) = (
        served.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed),
    );
    println!("{RESTARTS} restarts: {served} requests served, {failed} failed");
    assert_eq!(failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_handed_over_takes_the_place_of_its_listener_or_comes_on_top() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    let mut manager = Manager::new(&world, 1, "");
    assert_eq!(manager.line(), "started 0");
    until("it answers", || {
        world.ctl(&["proxy", "status"]).status.success()
    });
    let output = world.ctl(&["proxy", "status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The configured one, at a port of its own because of --port 0, and the one handed over.
    let listeners = status["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 2, "{status}");
    assert_eq!(listeners[1]["address"], manager.address);
}
