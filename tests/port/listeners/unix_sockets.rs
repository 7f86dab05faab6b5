//! Unix sockets: mode, provider and keys of their own; replaced, restored, or left to another process.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::listeners::bridge::bridge;
use crate::listeners::{ask, bearer, exchange, key};
use mock_cloud::Options;
use support::{World, chat, post, program, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_with_its_own_mode_provider_and_keys() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let config = format!(
        "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n\
         [[listen]]\nunix = \"%t/locked.sock\"\nmode = \"0660\"\nauth = \"keys\"\nprovider = \"other\"\n\
         [providers.other]\ntype = \"static\"\nbase_url = \"{}\"\napi_key_env = \"NONE\"\n",
        world.cloud.inference_base_url()
    );
    let secret = key(&world, "sidecar", &[]);
    let mut daemon = world.daemon_with(&config, &[]);
    let (open, locked) = (home.join("apps/proxy.sock"), home.join("run/locked.sock"));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&open), mode(&locked)), (0o600, 0o660));
    assert_eq!(mode(open.parent().unwrap()), 0o700);

    let connect = |path: &Path| UnixStream::connect(path).unwrap();
    let answer = ask(connect(&open), "localhost", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Through a bridge a web page could come, under its own name.
    let answer = ask(connect(&open), "evil.example", "");
    assert!(answer.contains("host_not_allowed"), "{answer}");
    let answer = ask(connect(&open), "hermes", &bearer(&secret));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let answer = ask(connect(&locked), "localhost", "");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.contains("invalid_client_key"), "{answer}");
    assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
    // Its own provider has no key in its environment.
    let answer = ask(connect(&locked), "localhost", &bearer(&secret));
    assert!(answer.contains("upstream_auth_failed"), "{answer}");

    let listeners = daemon.status()["listeners"].clone();
    assert_eq!(listeners[1]["url"], format!("unix:{}", open.display()));
    assert_eq!(listeners[2]["needs_key"], true);
    assert_eq!(listeners[2]["provider"], "other");
    assert!(daemon.stop().success());
    assert!(
        !open.exists() && !locked.exists(),
        "the sockets are removed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_socket_is_replaced_and_a_living_one_or_a_file_is_not() {
    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n";
    let path = world.home.path().join("apps/proxy.sock");
    let mut daemon = world.daemon_with(config, &[]);
    daemon.kill();
    assert!(path.metadata().unwrap().file_type().is_socket());
    let daemon = world.daemon_with(config, &[]);
    assert!(ask(UnixStream::connect(&path).unwrap(), "localhost", "").contains("200"));

    // Another home's daemon, which is configured with the same socket.
    let other = World::new(Options::default()).await;
    let fails = |line: &str| {
        other.write_config(&format!("[[listen]]\nunix = \"{line}\"\n"));
        let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), other.home.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = fails(path.to_str().unwrap());
    assert!(
        said.contains("another process already listens there"),
        "{said}"
    );
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    let file = other.home.path().join("precious");
    std::fs::write(&file, "x").unwrap();
    let said = fails(file.to_str().unwrap());
    assert!(said.contains("a file that is not a socket"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
}

/// The runtime folder goes with the user's last session, and comes back with the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_that_was_removed_is_restored_and_one_of_another_process_is_left() {
    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\nmode = \"0660\"\n";
    let mut daemon = world.daemon_with(config, &[]);
    let path = world.home.path().join("apps/proxy.sock");
    let folder = path.parent().unwrap();
    // What was in the queue of a socket that is being replaced is reset.
    let answers = || {
        let mut answer = String::new();
        let asked = UnixStream::connect(&path).and_then(|mut at| {
            at.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            at.read_to_string(&mut answer)
        });
        asked.is_ok() && answer.contains(" 200 ")
    };
    let is_waiting = || daemon.status()["listeners"][1]["waiting"] == true;
    assert!(answers());
    for hangup in [true, false] {
        std::fs::remove_dir_all(folder).unwrap();
        assert!(!answers());
        if hangup {
            daemon.signal(rustix::process::Signal::HUP);
        }
        until("it is restored", answers);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        assert!(!is_waiting());
    }
    daemon.wait_for_log_count("the socket was removed and has been restored", 2);

    // Another process is faster, and keeps the name for as long as it lives.
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir(folder).unwrap();
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    until("it is told", is_waiting);
    let told = String::from_utf8(world.ctl(&["proxy", "status"]).stdout).unwrap();
    assert!(
        told.contains("was removed and can't be restored yet"),
        "{told}"
    );
    for _ in 0..5 {
        daemon.signal(rustix::process::Signal::HUP);
    }
    UnixStream::connect(&path).unwrap();
    other.accept().unwrap();
    drop(other);
    until("it is restored", answers);
    assert!(!is_waiting());
    assert!(daemon.stop().success());
    let log = daemon.logged();
    assert_eq!(log.matches("can't be restored yet").count(), 1, "{log}");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_over_a_unix_socket_gets_no_answer_whose_cut_would_not_show() {
    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n\
                  [providers.nous]\nextra_paths = [\"HEAD /models\"]\n";
    let daemon = world.daemon_with(config, &[]);
    let socket = world.home.path().join("apps/proxy.sock");
    let elsewhere = support::scratch();
    let bridge = bridge(elsewhere.path(), &socket);
    let body = chat("x").to_string();
    let post = format!(
        "POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let get = |path: &str| format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
    let unix = |text: &str| exchange(UnixStream::connect(&socket).unwrap(), text);
    let bridged = |text: &str| exchange(TcpStream::connect(bridge.address()).unwrap(), text);
    for old in [&unix as &dyn Fn(&str) -> String, &bridged] {
        for request in [&post, &get("/v1/models")] {
            let answer = old(request);
            assert!(answer.contains(" 505 "), "{answer}");
            assert!(answer.contains("`proxy_http_version 1.1;`"), "{answer}");
            for field in [
                "x-hermes-error: http_version_not_supported",
                "x-should-retry: false",
                "content-length: ",
            ] {
                assert!(answer.contains(field), "{field}: {answer}");
            }
            assert!(
                answer.contains("\"http_version_not_supported\""),
                "{answer}"
            );
        }
        // What is answered here has a length of its own.
        for path in ["/health", "/livez", "/"] {
            let answer = old(&get(path));
            assert!(answer.contains(" 200 "), "{answer}");
            assert!(answer.contains("content-length: "), "{answer}");
        }
    }
    assert_eq!(world.cloud.counts().requests, 0, "nothing went upstream");
    // What has no body can't be cut.
    let head = unix(&get("/v1/models").replace("GET", "HEAD"));
    assert!(
        head.starts_with("HTTP/1.") && !head.contains(" 505 "),
        "{head}"
    );
    assert_eq!(world.cloud.counts().requests, 1);
    // Over TCP a cut is a reset.
    let straight = exchange(TcpStream::connect(daemon.address()).unwrap(), &post);
    assert!(straight.contains(" 200 "), "{straight}");
}
