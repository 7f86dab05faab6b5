//! The daemon as a process: how it starts, what it says when it can't, reload and shutdown.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::net::TcpListener;
use std::process::Output;
use std::time::Duration;

use mock_cloud::Options;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, World, chat, client, ctl, post, program, scratch, status_of};
use tokio::time::Instant;

fn text(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

async fn ask(daemon: &Daemon) -> u16 {
    status_of(daemon, &chat("x")).await
}

/// A stream whose end comes after `pause`.
async fn slow_stream(daemon: &Daemon, pause: Duration) -> reqwest::Response {
    let mut request = chat("x");
    request["stream"] = json!(true);
    request["mock"] = json!({"events": 1, "delay_chunk_ms": pause.as_millis()});
    post(daemon, &request).await
}

#[test]
fn every_mistake_in_the_file_is_told_at_once_and_the_exit_code_is_78() {
    let home = scratch();
    let file = home.path().join("bad.toml");
    std::fs::write(
        &file,
        "default_provder = \"nous\"\n[limits]\nbody = \"lots\"\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let output = program(env!("CARGO_BIN_EXE_hermes-proxyd"), home.path())
        .args(["--config", file])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output);
    assert!(
        said.contains(&format!("{file}:1: default_provder")),
        "{said}"
    );
    assert!(said.contains("did you mean `default_provider`?"), "{said}");
    assert!(said.contains(&format!("{file}:3: limits.body")), "{said}");
    let again = format!("`hermesctl config check {file}`");
    assert!(said.contains(&again), "{said}");
}

#[test]
fn what_is_wrong_on_the_command_line_is_told_with_exit_code_2() {
    let home = scratch();
    let run = |args: &[&str]| {
        program(env!("CARGO_BIN_EXE_hermes-proxyd"), home.path())
            .args(args)
            .output()
            .unwrap()
    };
    assert_eq!(run(&["--prot", "1"]).status.code(), Some(2));
    let output = run(&["--provider", "nuos"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("did you mean `nous`?"),
        "{}",
        text(&output)
    );
    assert_eq!(run(&["--host", "nowhere"]).status.code(), Some(2));
    assert_eq!(run(&["--config", "/nowhere.toml"]).status.code(), Some(78));
    let bad_ca = home.path().join("bad-ca.toml");
    std::fs::write(&bad_ca, "[providers.nous]\nca_file = \"/nowhere.pem\"\n").unwrap();
    let output = run(&["--check", "--config", bad_ca.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output).contains("/nowhere.pem"), "{}", text(&output));
    assert_eq!(run(&["--check"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_with_the_process_that_has_it() {
    let world = World::new(Options::default()).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
    let output = command.args(["--port", &port]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    assert!(
        said.contains(&format!("pid {}", std::process::id())),
        "{said}"
    );
    assert!(said.contains("--port"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_says_that_the_first_lives_and_a_crashed_one_leaves_no_trace() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let output = world.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains(&format!("process {}", daemon.pid())),
        "{said}"
    );
    assert!(said.contains("hermesctl proxy status"), "{said}");
    assert_eq!(ask(&daemon).await, 200);
    daemon.kill();
    assert_eq!(ask(&world.daemon()).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_flags_work_through_hermesctl_too() {
    let world = World::new(Options::default()).await;
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    command
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .args([
            "proxy",
            "start",
            "--provider",
            "nous",
            "--host",
            "localhost",
            "--port",
            &free,
        ]);
    let mut daemon = Daemon::launch(command, world.home.path());
    daemon.wait_for_log("listening");
    daemon.base = format!("http://127.0.0.1:{free}/v1");
    assert_eq!(ask(&daemon).await, 200);
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_how_it_stands() {
    let world = World::new(Options::default()).await;
    assert_eq!(
        ctl(world.home.path(), &["proxy", "status"]).status.code(),
        Some(3)
    );
    let daemon = world.daemon();
    assert_eq!(ask(&daemon).await, 200);
    let open = slow_stream(&daemon, Duration::from_mins(1)).await;
    let status = daemon.home_screen();
    assert_eq!(status["daemon"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["daemon"]["pid"], daemon.pid());
    assert_eq!(status["listeners"][0]["url"], daemon.base);
    let nous = &status["providers"][0];
    assert_eq!(nous["name"], "nous");
    assert_eq!(nous["state"], "ready");
    assert_eq!(nous["credential"], "invoke_jwt");
    assert_eq!(nous["base_url"], world.cloud.inference_base_url());
    let left = nous["expires_in_seconds"].as_i64().unwrap();
    assert!((3500..=3600).contains(&left), "{left}");
    let next = nous["next_refresh_in_seconds"].as_i64().unwrap();
    assert!((3230..=3300).contains(&next), "{next}");
    assert_eq!(
        nous["requests"],
        json!({"in_flight": 1, "served": 1, "failed": 0})
    );
    drop(open);
    let output = world.ctl(&["proxy", "providers", "--json"]);
    let providers: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        providers["providers"][0]["paths"].as_array().unwrap().len(),
        6
    );
    assert_eq!(world.ctl(&["proxy", "stat"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_applies_what_it_can_and_drops_nothing() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let mut stream = slow_stream(&daemon, Duration::from_millis(800)).await;
    assert!(stream.chunk().await.unwrap().is_some());
    let post = client().post(daemon.url("/responses")).json(&chat("x"));
    assert_eq!(
        post.try_clone().unwrap().send().await.unwrap().status(),
        404
    );

    world.write_config(
        "[[listen]]\naddress = \"127.0.0.1:1\"\n[providers.nous]\nextra_paths = [\"/responses\"]\n",
    );
    let output = world.ctl(&["proxy", "reload", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        report["applied"]
            .to_string()
            .contains("providers.nous.extra_paths"),
        "{report}"
    );
    assert_eq!(
        post.try_clone().unwrap().send().await.unwrap().status(),
        200
    );

    // A mistake changes nothing and is told.
    world.write_config("[providers.nous]\nextra_paths = [7]\n");
    let output = world.ctl(&["proxy", "reload"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        text(&output).contains("config.toml:2: providers.nous.extra_paths"),
        "{}",
        text(&output)
    );
    daemon.signal(Signal::HUP);
    daemon.wait_for_log_count("not reloaded", 2);
    assert_eq!(
        post.try_clone().unwrap().send().await.unwrap().status(),
        200
    );

    // SIGHUP applies as well.
    world.write_config("");
    daemon.signal(Signal::HUP);
    daemon.wait_for_log_count("\"reloaded\"", 2);
    assert_eq!(post.send().await.unwrap().status(), 404);

    let rest = stream.text().await.unwrap();
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_streams_finish_and_takes_no_new_connection() {
    let world = World::new(Options::default()).await;
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = world.daemon();
        let mut stream = slow_stream(&daemon, Duration::from_millis(500)).await;
        assert!(stream.chunk().await.unwrap().is_some());
        daemon.signal(signal);
        daemon.wait_for_log("\"stopping\"");
        let refused = client()
            .get(format!("{}/livez", daemon.origin()))
            .send()
            .await;
        assert!(refused.is_err(), "a new connection was served");
        let rest = stream.text().await.unwrap();
        assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
        assert!(daemon.wait().success());
        assert_eq!(world.ctl(&["proxy", "status"]).status.code(), Some(3));
        let left: Vec<_> = std::fs::read_dir(world.home.path().join("run/hermes-proxyd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["control.lock"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_or_the_end_of_the_grace_cuts_what_still_runs() {
    let world = World::new(Options::default()).await;
    for (config, signals) in [("", 2), ("[timeouts]\ndrain = \"200ms\"\n", 1)] {
        let mut daemon = world.daemon_with(config, &[]);
        let mut stream = slow_stream(&daemon, Duration::from_mins(10)).await;
        assert!(stream.chunk().await.unwrap().is_some());
        daemon.signal(Signal::TERM);
        daemon.wait_for_log("\"stopping\"");
        for _ in 1..signals {
            daemon.signal(Signal::TERM);
        }
        assert!(tokio::task::block_in_place(|| daemon.wait()).success());
        let rest = tokio::time::timeout(PATIENCE, stream.text()).await.unwrap();
        assert!(rest.is_err(), "a cut stream looks complete: {rest:?}");
        world
            .cloud
            .wait_for(PATIENCE, |cloud| cloud.counts().in_flight == 0)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_is_logged_for_each_request_without_its_body() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let answer = client()
        .post(daemon.url("/chat/completions"))
        .bearer_auth("the-apps-own-key")
        .json(&chat("a very private question"))
        .send()
        .await
        .unwrap();
    let id = answer.headers()["x-hermes-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let size = answer.bytes().await.unwrap().len();
    let line = daemon.wait_for_log(&id);
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["path"], "/chat/completions");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes_out"], size);
    assert_eq!(line["end"], "complete");
    assert!(line["first_byte_us"].as_u64().unwrap() <= line["duration_us"].as_u64().unwrap());
    let log = daemon.logged();
    assert!(
        !log.contains("private question") && !log.contains("the-apps-own-key"),
        "{log}"
    );
    assert!(
        !log.contains(&answer_of("a very private question")),
        "{log}"
    );
}

fn answer_of(question: &str) -> String {
    mock_cloud::pattern::reply_to(question)
}

#[tokio::test(flavor = "multi_thread")]
async fn when_descriptors_run_out_it_stays_up_and_serves_again() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let mut shell = program("sh", home);
    shell
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args([
            "-c",
            "ulimit -n 40 && exec \"$0\" --port 0 --log-format json",
        ])
        .arg(env!("CARGO_BIN_EXE_hermes-proxyd"));
    let daemon = Daemon::start(shell, home);
    let address = daemon.address().to_owned();
    let connect = || std::net::TcpStream::connect(&address).unwrap();
    #[cfg(target_os = "linux")]
    let at_rest = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).map(Iterator::count);
    let _idle: Vec<_> = (0..60).map(|_| connect()).collect();
    // It never drops its flood.
    let served = async || {
        let asked = client().get(daemon.url("/models")).send();
        let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap();
        assert_eq!(answer.unwrap().status(), 200);
    };
    for _ in 0..6 {
        served().await;
    }
    // There are places, and no descriptors for them: an idle connection goes, so that another can
    // come.
    #[cfg(target_os = "linux")]
    if let Ok(at_rest) = at_rest {
        limit_files(&daemon, at_rest as u64 + 4, Some(40));
        let _more: Vec<_> = (0..30).map(|_| connect()).collect();
        let asking = async {
            loop {
                // The first one may have the last descriptor.
                let answer = client().get(daemon.url("/models")).send().await.unwrap();
                if answer.status() == 200 {
                    break;
                }
                assert_eq!(answer.headers()["x-hermes-error"], "overloaded");
                assert!(answer.headers().contains_key("retry-after"));
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap();
        daemon.wait_for_log("could not be accepted");
    }
}

#[cfg(target_os = "linux")]
fn limit_files(daemon: &Daemon, files: u64, maximum: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: Some(files),
        maximum,
    };
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

/// Waits for a status.
async fn until(daemon: &Daemon, is_there: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_there(&daemon.status()) {
        assert!(Instant::now() < deadline, "{:#}", daemon.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Nous is there by itself, and not there for those who use other providers only.
#[tokio::test(flavor = "multi_thread")]
async fn who_uses_another_provider_only_hears_nothing_of_nous() {
    let world = World::new(Options::default()).await;
    let store = std::fs::read(world.store_file()).unwrap();
    std::fs::remove_dir_all(world.home.path().join(".hermes")).unwrap();
    world.write_config(
        "default_provider = \"example\"\n[providers.example]\ntype = \"static\"\nbase_url = \
         \"{base}\"\napi_key_env = \"EXAMPLE_KEY\"\n",
    );
    let mut command = world.command(&[]);
    command.env("EXAMPLE_KEY", world.login.access_token.as_str());
    let daemon = Daemon::start(command, world.home.path());
    let names = |list: &Value| -> Vec<String> {
        let providers = list["providers"].as_array().unwrap().iter();
        providers
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let status = daemon.home_screen();
    assert_eq!(names(&status), ["example"]);
    assert_eq!(status["verdict"]["code"], "all_well", "{status:#}");
    let output = world.ctl(&["proxy", "providers", "--json"]);
    assert_eq!(
        names(&serde_json::from_slice(&output.stdout).unwrap()),
        ["example"]
    );
    let page = client().get(daemon.origin()).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("example") && !page.contains("nous"), "{page}");
    assert_eq!(ask(&daemon).await, 200);
    for line in daemon.logged().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(
            line["level"] != "ERROR" && line["level"] != "WARN",
            "{line}"
        );
    }

    // With any login, it is present; and that login's end is reported.
    std::fs::create_dir_all(world.store_file().parent().unwrap()).unwrap();
    std::fs::write(world.store_file(), store).unwrap();
    until(&daemon, |status| {
        status["providers"][1]["name"] == "nous" && status["providers"][1]["state"] == "ready"
    })
    .await;
    let output = world.ctl(&["auth", "logout", "nous", "--yes"]);
    assert!(output.status.success(), "{output:?}");
    until(&daemon, |status| names(status) == ["example"]).await;
}

/// A refusal's advice is put into the configuration unchanged, and then the request passes.
#[tokio::test(flavor = "multi_thread")]
async fn every_advice_of_the_guard_can_be_followed() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let ask = async |fields: &[(&str, &str)]| {
        let mut request = client().get(daemon.url("/models"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        (
            status,
            body["error"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    for (refused, advice, key, value, then) in [
        (
            ("host", "nas.lan"),
            "`allowed_hosts`",
            "allowed_hosts",
            "nas.lan",
            ("host", "nas.lan"),
        ),
        (
            ("host", "0.0.0.0:8645"),
            "use 127.0.0.1 in the app",
            "",
            "",
            ("host", "127.0.0.1:8645"),
        ),
        (
            ("origin", "https://app.example"),
            "`allowed_origins`",
            "allowed_origins",
            "https://app.example",
            ("origin", "https://app.example"),
        ),
        (
            ("origin", "file://"),
            "`allowed_origins`",
            "allowed_origins",
            "file://",
            ("origin", "file://"),
        ),
        (
            ("origin", "null"),
            "\"http://127.0.0.1:8000\"",
            "allowed_origins",
            "http://127.0.0.1:8000",
            ("origin", "http://127.0.0.1:8000"),
        ),
        (
            ("sec-fetch-site", "cross-site"),
            "mode: \"cors\"",
            "allowed_origins",
            "https://app.example",
            ("origin", "https://app.example"),
        ),
    ] {
        world.write_config("");
        assert!(ctl(&daemon.home, &["proxy", "reload"]).status.success());
        let (status, message) = ask(&[refused]).await;
        assert_eq!(status, 403, "{refused:?}");
        assert!(message.contains(advice), "{message}");
        if !key.is_empty() {
            assert!(message.contains("under [guard]"), "{message}");
            world.write_config(&format!("[guard]\n{key} = [\"{value}\"]\n"));
            let checked = ctl(&daemon.home, &["config", "check"]);
            assert!(checked.status.success(), "{checked:?}");
            assert!(ctl(&daemon.home, &["proxy", "reload"]).status.success());
        }
        assert_eq!(ask(&[then]).await.0, 200, "{refused:?}");
    }
}

/// A daemon in a terminal is stopped and started again from another one; its requests may finish.
#[tokio::test(flavor = "multi_thread")]
async fn hermesctl_stops_and_restarts_a_daemon_that_is_no_service() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let stream = slow_stream(&daemon, Duration::from_millis(300)).await;
    let home = daemon.home.clone();
    let restart = tokio::task::spawn_blocking(move || ctl(&home, &["proxy", "restart", "--json"]));
    let (body, output) = tokio::join!(stream.text(), restart);
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}\n{}", daemon.logged());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["running"], daemon.pid(), "{report}");
    assert!(body.unwrap().contains("[DONE]"));
    daemon.wait_for_log_count("\"listening\"", 2);

    let output = ctl(&daemon.home, &["proxy", "stop"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("has stopped"), "{said}");
    assert_eq!(daemon.wait().code(), Some(0));
    let output = ctl(&daemon.home, &["proxy", "stop"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

/// A daemon that works is not stopped for one that can't start.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_would_fail_changes_nothing() {
    let world = World::new(Options::default()).await;
    world.write_config("");
    let daemon = world.daemon();
    for (config, part) in [
        ("[[listen\n", "config.toml:1:"),
        (
            "[[listen]]\naddress = \"127.0.0.1:0\"\nauth = \"keys\"\n",
            "hermesctl clients add",
        ),
    ] {
        world.write_config(config);
        let output = ctl(&daemon.home, &["proxy", "restart"]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("was not restarted") && said.contains(part),
            "{said}"
        );
        let asked = client().get(daemon.url("/models")).send().await;
        assert_eq!(asked.unwrap().status(), 200);
    }
    assert_eq!(daemon.home_screen()["daemon"]["pid"], daemon.pid());
}
