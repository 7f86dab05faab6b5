//! `hermesctl proxy status --watch`, in a pipe and before a terminal, while the daemon comes and goes.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and reads in threads of its own"
)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mock_cloud::{Fault, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{PATIENCE, World, chat, client, post, program, status_of};

fn hermesctl(world: &World, line: &str) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    command.args(line.split(' ')).env("TERM", "xterm-256color");
    command.stdin(Stdio::null());
    command
}

fn interrupt(child: &mut Child) -> ExitStatus {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.unwrap(), Signal::INT).unwrap();
    child.wait().unwrap()
}

/// The lines that a user writes.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        loop {
            let mut line = Vec::new();
            // A terminal's last line has no end, and its end is an error.
            let read = from.read_until(b'\n', &mut line);
            let text = String::from_utf8(line).unwrap();
            let ended = !text.ends_with('\n');
            if sender.send(text.trim_end_matches('\n').to_owned()).is_err() {
                return;
            }
            if ended || read.is_err() {
                return;
            }
        }
    });
    receiver
}

fn until(lines: &Receiver<String>, what: &str, is: impl Fn(&str) -> bool) -> String {
    let deadline = std::time::Instant::now() + PATIENCE;
    while let Some(left) = deadline.checked_duration_since(std::time::Instant::now()) {
        match lines.recv_timeout(left) {
            Ok(line) if is(&line) => return line,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    unreachable(what)
}

#[expect(clippy::panic, reason = "the test fails")]
fn unreachable(what: &str) -> ! {
    panic!("{what} did not come")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_in_json_is_a_line_each_and_outlives_the_daemon() {
    let world = World::new(Options::default()).await;
    let mut command = hermesctl(&world, "proxy status --watch 1 --json");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let told = lines(child.stdout.take().unwrap());
    let running = |running: bool| {
        move |line: &str| {
            let home: Value = serde_json::from_str(line).unwrap();
            home["running"] == running && (!running || home["verdict"]["code"] == "all_well")
        }
    };
    until(&told, "no daemon", running(false));
    let silence = told.recv_timeout(Duration::from_millis(2500));
    assert!(silence.is_err(), "nothing changed, but it told {silence:?}");
    let mut daemon = world.daemon();
    until(&told, "a daemon", running(true));
    daemon.stop();
    until(&told, "no daemon again", running(false));
    assert_eq!(interrupt(&mut child).code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_in_a_pipe_is_a_block_each() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let mut command = hermesctl(&world, "status -w 1");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let told = lines(child.stdout.take().unwrap());
    for _ in 0..2 {
        until(&told, "the verdict", |line| line == "✓ All is well");
        until(&told, "the last row", |line| line.starts_with("  requests"));
    }
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "");
    drop(told);
    interrupt(&mut child);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_its_screen_back() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let size = rustix::termios::Winsize {
        ws_row: 12,
        ws_col: 60,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    let slave = || File::options().read(true).write(true).open(&name).unwrap();
    let mut command = hermesctl(&world, "proxy status --watch 1");
    command.stdin(slave()).stdout(slave()).stderr(slave());
    let mut child = command.spawn().unwrap();
    drop(command);
    let told = lines(File::from(master));
    let first = until(&told, "the screen", |line| line.contains("All is well"));
    assert!(first.starts_with("\u{1b}[?1049h"), "{first:?}");
    assert!(first.contains("\u{1b}[32m✓ All is well"), "{first:?}");
    drop(daemon);
    until(&told, "the end", |line| line.contains("not running"));
    assert_eq!(interrupt(&mut child).code(), Some(130));
    let rest: Vec<String> = told.iter().collect();
    let rest = rest.join("\n");
    assert!(rest.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{rest:?}");
}

fn verdict_of(world: &World) -> (Value, String) {
    let output = world.ctl(&["proxy", "status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = status["verdict"]["code"].as_str().unwrap().to_owned();
    (status, code)
}

/// What apps run into is told, and is told no more when it is over.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_fail_or_are_refused_are_no_secret() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    assert_eq!(verdict_of(&world).1, "all_well");

    let mut quota = chat("x");
    quota["mock"] = serde_json::json!({"status": 429});
    for _ in 0..3 {
        assert_eq!(status_of(&daemon, &quota).await, 429);
    }
    let (status, code) = verdict_of(&world);
    assert_eq!(code, "requests_fail", "{status}");
    let failing = &status["providers"][0]["failing"];
    assert_eq!(
        (&failing["count"], &failing["code"]),
        (&3.into(), &"http_429".into())
    );
    let id = failing["request_id"].as_str().unwrap();
    daemon.wait_for_log(id);
    // A request's own mistake only shows that the provider answers.
    let mut mistake = chat("x");
    mistake["mock"] = serde_json::json!({"status": 400});
    assert_eq!(status_of(&daemon, &mistake).await, 400);
    assert_eq!(verdict_of(&world).1, "all_well");

    let answer = client()
        .get(daemon.url("/v1/nonsense"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
    let (status, code) = verdict_of(&world);
    assert_eq!(code, "requests_refused", "{status}");
    assert_eq!(status["refused"]["code"], "path_not_allowed");
    assert_eq!(status["refused"]["from"], "127.0.0.1");
    let id = &answer.headers()["x-hermes-request-id"];
    assert_eq!(id, status["refused"]["request_id"].as_str().unwrap());
}

/// A token that is good for a while does not hide that its login can't be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_can_not_be_read_is_told_while_its_token_serves() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    let whole = std::fs::read(world.store_file()).unwrap();
    std::fs::write(world.store_file(), "{\"x").unwrap();
    let output = world.ctl(&["proxy", "reload"]);
    assert_eq!(output.status.code(), Some(1), "{}", daemon.logged());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("unreadable    nous") && said.contains("hermesctl doctor"),
        "{said}"
    );
    let (status, code) = verdict_of(&world);
    assert_eq!(code, "store_unreadable", "{status}");
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);

    std::fs::write(world.store_file(), whole).unwrap();
    let output = world.ctl(&["proxy", "reload"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(verdict_of(&world).1, "all_well");
}

/// Automatic requests of a browser or a monitor, and a page of another site, raise no alarm; a
/// refused app does, and the status says what was refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_misses_raises_no_alarm_and_what_an_app_misses_is_named() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let ask = async |method: &str, path: &str, fields: &[(&str, &str)]| {
        let url = format!("{}{path}", daemon.origin());
        let mut request = client().request(method.parse().unwrap(), url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    ask("GET", "/favicon.ico", &[("sec-fetch-site", "same-origin")]).await;
    ask("GET", "/robots.txt", &[]).await;
    ask("HEAD", "/v1/models", &[]).await;
    ask("HEAD", "/v1/chat/completions", &[]).await;
    let page = [("origin", "https://app.example")];
    assert_eq!(ask("GET", "/v1/models", &page).await, 403);
    let (status, code) = verdict_of(&world);
    assert_eq!(code, "all_well", "{status}");
    assert_eq!(status["refused"]["about"], "https://app.example");
    let shown = world.ctl(&["proxy", "status"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("All is well") && shown.contains("origin_not_allowed, https://app.example"),
        "{shown}"
    );
    daemon.wait_for_log("\"about\":\"https://app.example\"");

    assert_eq!(ask("GET", "/v1/models", &[("host", "nas.lan")]).await, 403);
    let (status, code) = verdict_of(&world);
    assert_eq!(code, "requests_refused", "{status}");
    assert_eq!(status["refused_apps"]["about"], "nas.lan");
    let message = status["verdict"]["message"].as_str().unwrap();
    assert!(message.contains("nas.lan"), "{message}");
    daemon.wait_for_log("\"about\":\"nas.lan\"");
    ask("GET", "/favicon.ico", &[]).await;
    assert_eq!(verdict_of(&world).1, "requests_refused");
}

/// hermesctl's own requests never count as an app's.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_requests_raise_no_alarm_and_are_not_counted() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.break_inference(Fault::rate_limited(1));
    for _ in 0..3 {
        let tested = world.ctl(&["proxy", "test", "--model", "x"]);
        assert!(!tested.status.success(), "{tested:?}");
        world.ctl(&["connect", "open-webui", "--from", "bare"]);
    }
    world.ctl(&["proxy", "test", "--model", "x", "nowhere"]);
    let diagnosis = world.ctl(&["doctor"]);
    let text = String::from_utf8(diagnosis.stdout).unwrap();
    assert!(text.contains("foreign host name"), "{text}");
    daemon.wait_for_log_count("\"by\":\"hermesctl\"", 5);
    let (status, code) = verdict_of(&world);
    assert_eq!(code, "all_well", "{status}");
    let provider = &status["providers"][0];
    assert_eq!(provider["requests"]["served"], 0, "{status}");
    assert_eq!(provider["requests"]["failed"], 0, "{status}");
    assert!(
        provider["failing"].is_null() && status["refused"].is_null(),
        "{status}"
    );

    // An app can't say the same of itself, and what says it does not reach the provider.
    world.cloud.heal();
    let request = client()
        .post(daemon.url("/chat/completions"))
        .header("x-hermes-own", "0123456789abcdef")
        .json(&chat("x"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    assert_eq!(
        daemon.home_screen()["providers"][0]["requests"]["served"],
        1
    );
    for seen in world.cloud.requests() {
        let names = seen.headers.iter().map(|(name, _)| name.clone());
        assert!(
            !names
                .collect::<Vec<_>>()
                .contains(&"x-hermes-own".to_owned())
        );
    }
}
