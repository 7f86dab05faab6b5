//! Where apps connect, and who is let in there: other users, other machines, Unix sockets, sockets of
//! the service manager, and the bridge.
//!
//! What takes root, network namespaces or a program that is missing is skipped with a word.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test's helper may fail loudly, takes real time, and says why it skips"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mock_cloud::{Fault, Options, Steering};
use serde_json::Value;
use support::environment::{skipped, strict, tool, works};
use support::{Daemon, PATIENCE, World, chat, client, exact, post, program};

/// Sends a text on a stream of its own; all that comes back.
fn exchange(mut stream: impl Read + Write, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// One request on a stream of its own; the whole answer.
fn ask(stream: impl Read + Write, host: &str, more: &str) -> String {
    let body = chat("x").to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
        body.len()
    );
    exchange(stream, &request)
}

fn key(world: &World, name: &str, more: &[&str]) -> String {
    let output = world.ctl(&[&["clients", "add", name], more].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// curl as the user nobody; status, and what the error says.
fn as_nobody(daemon: &Daemon, more: &[&str]) -> (String, String) {
    let output = program("setpriv", Path::new("/"))
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "curl",
            "-sS",
        ])
        .args(["--noproxy", "*", "-w", "\n%{http_code}"])
        .args(more)
        .arg(daemon.url("/models"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

/// IPv4 addresses of this machine but 127.0.0.1.
fn this_machines_addresses() -> Vec<String> {
    let output = program("hostname", Path::new("/")).arg("-I").output();
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let mut addresses = vec!["127.0.0.9".to_owned()];
    addresses.extend(
        text.split_whitespace()
            .filter(|a| a.contains('.'))
            .map(str::to_owned),
    );
    addresses
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_of_the_machine_needs_a_key_or_the_operators_word() {
    let rights = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "curl",
        "-V",
    ];
    if !works("setpriv", &rights) {
        return;
    }
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let (status, body) = as_nobody(&daemon, &[]);
    assert_eq!(status, "403", "{body}");
    for part in [
        "peer_not_allowed",
        "uid 65534",
        "hermesctl clients add NAME",
    ] {
        assert!(body.contains(part), "{part}: {body}");
    }
    assert!(!body.contains("peer_check"), "{body}");
    assert_eq!(world.cloud.counts().requests, 0, "nothing went upstream");
    // Health is no exception, and neither is a key that is none.
    let wrong = ["-H", "authorization: Bearer hpx-wrong"];
    assert_eq!(as_nobody(&daemon, &wrong).0, "403");
    // Nor is any address that this machine has: everyone may choose one.
    for chosen in this_machines_addresses() {
        let (status, body) = as_nobody(&daemon, &["--interface", &chosen]);
        assert_eq!(status, "403", "{chosen}: {body}");
    }
    let right = key(&world, "karakeep", &[]);
    let right = format!("authorization: Bearer {right}");
    assert_eq!(as_nobody(&daemon, &["-H", &right]).0, "200");
    assert_eq!(post(&daemon, &chat("ours")).await.status(), 200);

    world.write_config("[guard]\npeer_check = false\n");
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    assert_eq!(as_nobody(&daemon, &[]).0, "200");
}

/// No text that a user is shown advises to switch a guard off.
#[test]
fn no_error_advises_to_switch_a_guard_off() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name() != Some("tests.rs".as_ref()) {
                let text = std::fs::read_to_string(&path).unwrap();
                for advice in ["peer_check = false", "allow_unauthenticated = true"] {
                    let shown = text.lines().filter(|line| line.contains(advice));
                    let shown: Vec<_> = shown
                        .filter(|line| !line.trim().starts_with("//"))
                        .collect();
                    // A test's own configuration.
                    let mut shown = shown
                        .iter()
                        .filter(|line| !line.contains("[[listen]]") && !line.contains("config."));
                    assert_eq!(shown.next(), None, "{}", path.display());
                }
                read += 1;
            }
        }
    }
    assert!(read > 100);
}

/// Asks once, by the socket that it is told to use.
const ASKS: &str = "\
import socket, sys
family = {'4': socket.AF_INET, '6': socket.AF_INET6}[sys.argv[1]]
client = socket.socket(family, socket.SOCK_STREAM, int(sys.argv[2]))
client.connect((sys.argv[3], int(sys.argv[4])))
client.sendall(b'GET /v1/models HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n')
answer = b''
while piece := client.recv(4096): answer += piece
sys.stdout.write(answer.decode())";

#[tokio::test(flavor = "multi_thread")]
async fn our_own_apps_are_let_in_by_whichever_socket_they_come_and_another_users_are_not() {
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let python = "/usr/bin/python3";
    if !works("setpriv", &[&nobody[..], &[python, "-V"]].concat()) {
        return;
    }
    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\naddress = \"[::1]:0\"\n";
    let daemon = world.daemon_with(config, &[]);
    let status = daemon.status();
    let port = |at: usize| {
        let url = status["listeners"][at]["url"].as_str().unwrap();
        let port = url.trim_end_matches("/v1").rsplit(':').next();
        port.unwrap().to_owned()
    };
    let (four, six) = (port(0), port(1));
    let mptcp = std::fs::read_to_string("/proc/sys/net/mptcp/enabled");
    let mptcp = mptcp.is_ok_and(|enabled| enabled.trim() == "1");
    for (family, protocol, address, port) in [
        ("4", "0", "127.0.0.1", &four),
        ("6", "0", "::ffff:127.0.0.1", &four),
        ("6", "0", "::1", &six),
        ("4", "262", "127.0.0.1", &four),
        ("6", "262", "::ffff:127.0.0.1", &four),
        ("6", "262", "::1", &six),
    ] {
        if protocol != "0" && !mptcp {
            skipped("this system has no MPTCP");
            continue;
        }
        let how = [python, "-c", ASKS, family, protocol, address, port];
        let run = |mut command: Command, args: &[&str]| {
            let output = command.args(args).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let ours = run(program(how[0], Path::new("/")), &how[1..]);
        assert!(ours.starts_with("HTTP/1.1 200"), "{how:?}: {ours}");
        let setpriv = program("setpriv", Path::new("/"));
        let theirs = run(setpriv, &[&nobody[..], &how[..]].concat());
        assert!(theirs.starts_with("HTTP/1.1 403"), "{how:?}: {theirs}");
        assert!(theirs.contains("uid 65534"), "{how:?}: {theirs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn short_of_descriptors_for_a_moment_it_says_so_and_asks_again() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    until("it is accepted", || {
        daemon.status()["listeners"][0]["connections"] == 1
    });
    let mut ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while !answer.ends_with(b"}") {
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..read]);
        }
        String::from_utf8(answer).unwrap()
    };
    let limit = |files: u64| {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw);
        let limit = Rlimit {
            current: Some(files),
            ..getrlimit(Resource::Nofile)
        };
        prlimit(pid, Resource::Nofile, limit).unwrap();
    };
    // Nothing more can be opened.
    limit(1);
    for _ in 0..2 {
        let answer = ask("/v1/models");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\"overloaded\""), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(!answer.contains("peer_check"), "{answer}");
    }
    limit(1024);
    // The same connection is asked for again.
    let answer = ask("/health");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // Now it is known whose it is, and the way to the provider lacks a descriptor.
    limit(1);
    let answer = ask("/v1/models");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"overloaded\""), "{answer}");
    limit(1024);
    let answer = ask("/v1/models");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// A JVM has sockets for both protocols, and reaches 127.0.0.1 as `::ffff:127.0.0.1`.
#[tokio::test(flavor = "multi_thread")]
async fn a_java_app_of_our_own_is_let_in() {
    const ASKS: &str = "\
public class Asks {
    public static void main(String[] url) throws Exception {
        var at = new java.net.URL(url[0]);
        var connection = (java.net.HttpURLConnection) at.openConnection(java.net.Proxy.NO_PROXY);
        System.out.println(connection.getResponseCode());
        var request = java.net.http.HttpRequest.newBuilder(at.toURI()).build();
        var answer = java.net.http.HttpClient.newHttpClient()
            .send(request, java.net.http.HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode());
    }
}";
    if !works("java", &["-version"]) {
        return;
    }
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let source = world.home.path().join("Asks.java");
    std::fs::write(&source, ASKS).unwrap();
    let mut java = program("java", world.home.path());
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    let output = java.arg(&source).arg(daemon.url("/models")).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "200\n200", "{output:?}");
}

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
    let answers =
        || UnixStream::connect(&path).is_ok_and(|at| ask(at, "localhost", "").contains(" 200 "));
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
    let log = daemon.logged();
    assert_eq!(log.matches("can't be restored yet").count(), 1, "{log}");
    assert!(daemon.stop().success());
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

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_other_machines_does_not_start_without_a_key() {
    let world = World::new(Options::default()).await;
    for (config, flags) in [
        ("[[listen]]\naddress = \"0.0.0.0:0\"\n", &[][..]),
        ("", &["--host", "0.0.0.0"]),
        ("[[listen]]\nauth = \"keys\"\n", &[]),
    ] {
        world.write_config(config);
        let output = world.command(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("`hermesctl clients add NAME`"), "{said}");
    }
    let secret = key(&world, "phone", &[]);
    let daemon = world.daemon_with("[[listen]]\naddress = \"0.0.0.0:0\"\n", &[]);
    let port = daemon.address().rsplit_once(':').unwrap().1;
    let url = format!("http://127.0.0.1:{port}/v1/models");
    let status =
        |request: reqwest::RequestBuilder| async { request.send().await.unwrap().status() };
    assert_eq!(status(client().get(&url)).await, 401);
    assert_eq!(
        status(client().get(&url).bearer_auth("hpx-wrong")).await,
        401
    );
    assert_eq!(status(client().get(&url).bearer_auth(&secret)).await, 200);
    assert_eq!(
        status(client().get(&url).header("x-api-key", &secret)).await,
        200
    );
    // On every route.
    let health = url.replace("/v1/models", "/health");
    assert_eq!(status(client().get(&health)).await, 401);
    assert_eq!(
        status(client().get(&health).bearer_auth(&secret)).await,
        200
    );
    assert!(!daemon.logged().contains("everyone who can reach"));
    // Revoked, it is worth nothing at once.
    let revoked = world.ctl(&["clients", "revoke", "phone"]);
    assert!(revoked.status.success());
    let said = String::from_utf8_lossy(&revoked.stdout).into_owned();
    assert!(said.contains("That was the last key"), "{said}");
    assert_eq!(status(client().get(&url).bearer_auth(&secret)).await, 401);
    assert!(!daemon.logged().contains(&secret), "a key is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_limits_hold_and_its_name_is_in_the_log() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let narrow = key(
        &world,
        "narrow",
        &["--path", "/chat/completions", "--in-flight", "1"],
    );
    let ask = |path: &str| {
        client()
            .post(daemon.url(path))
            .bearer_auth(&narrow)
            .json(&chat("x"))
    };
    assert_eq!(ask("/chat/completions").send().await.unwrap().status(), 200);
    let refused = ask("/embeddings").send().await.unwrap();
    assert_eq!(refused.status(), 404);
    assert_eq!(refused.headers()["x-hermes-error"], "path_not_allowed");

    world.cloud.fail_next(1, &Fault::Silent);
    let first = tokio::spawn(ask("/chat/completions").send());
    until("the first request is with the provider", || {
        world.cloud.counts().requests == 2
    });
    let second = ask("/chat/completions").send().await.unwrap();
    assert_eq!(second.status(), 429);
    assert_eq!(second.headers()["x-hermes-error"], "too_many_requests");
    assert_eq!(second.headers()["retry-after"], "1");
    // Another app is not concerned, and the place is given back.
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    first.abort();
    let deadline = Instant::now() + PATIENCE;
    while ask("/chat/completions").send().await.unwrap().status() != 200 {
        assert!(Instant::now() < deadline, "the place never comes back");
    }
    let line = daemon.wait_for_log("\"message\":\"request\"");
    assert!(line.contains("\"client\":\"narrow\""), "{line}");
    assert!(!daemon.logged().contains(&narrow), "a key is in the log");
}

/// Runs an ignored test of this file in a network of its own. Whether it ran.
fn in_a_network_of_its_own(test: &str) -> bool {
    if !works("unshare", &["-n", "ip", "link", "set", "lo", "up"]) {
        return false;
    }
    let output = tool("unshare")
        .envs(strict())
        .args(["-n", "sh", "-euc"])
        .arg("ip link set lo up; exec \"$0\" --ignored --exact --nocapture \"$1\"")
        .arg(std::env::current_exe().unwrap())
        .arg(exact(module_path!(), test))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    println!("{said}");
    true
}

#[test]
fn another_machine_reaches_an_interface_that_comes_later_with_a_key_only() {
    in_a_network_of_its_own("over_veth");
}

/// A process in another network, which keeps that network alive.
struct OtherMachine(Child);

impl OtherMachine {
    fn new() -> Self {
        let child = tool("unshare")
            .args(["-n", "sleep", "600"])
            .spawn()
            .unwrap();
        let (ours, theirs) = ("/proc/self/ns/net", format!("/proc/{}/ns/net", child.id()));
        until("it has a network of its own", || {
            std::fs::read_link(&theirs).unwrap() != std::fs::read_link(ours).unwrap()
        });
        Self(child)
    }

    fn run(&self, line: &str) -> String {
        let pid = self.0.id().to_string();
        let output = tool("nsenter")
            .args(["-t", &pid, "-n", "sh", "-c", line])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
    }
}

impl Drop for OtherMachine {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn ip(line: &str) {
    let args: Vec<_> = line.split(' ').collect();
    assert!(
        tool("ip").args(&args).status().unwrap().success(),
        "ip {line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs in a network of its own"]
async fn over_veth() {
    let world = World::new(Options::default()).await;
    let secret = key(&world, "nas", &[]);
    let config = "[[listen]]\n[[listen]]\naddress = \"hp0:8645\"\n[[listen]]\naddress = \
                  \"10.83.0.1:8646\"\n";
    let daemon = world.daemon_with(config, &[]);
    let waiting = |index: usize| daemon.status()["listeners"][index]["waiting"] == true;
    assert!(waiting(1) && waiting(2) && !waiting(0));

    let nas = OtherMachine::new();
    let connect = |address: &str| {
        ip(&format!(
            "link add hp0 type veth peer name hp1 netns {}",
            nas.0.id()
        ));
        ip(&format!("addr add {address}/24 dev hp0"));
        ip("link set hp0 up");
        let there =
            nas.run("ip addr add 10.83.0.2/24 dev hp1 && ip link set hp1 up && ip link set lo up");
        assert_eq!(there, "");
    };
    let status = |address: &str, more: &str| {
        nas.run(&format!(
            "curl -s -o /dev/null -w '%{{http_code}}' --noproxy '*' -m 10 {more} \
             http://{address}/v1/models"
        ))
    };
    let with_key = format!("-H 'authorization: Bearer {secret}'");
    connect("10.83.0.1");
    until("the interface is listened on", || !waiting(1));
    for address in ["10.83.0.1:8645", "10.83.0.1:8646"] {
        assert_eq!(status(address, ""), "401", "{address}");
        assert_eq!(status(address, "-H 'authorization: Bearer x'"), "401");
        assert_eq!(status(address, &with_key), "200", "{address}");
        println!("{address} from another network: 401 without a key, 200 with one");
    }
    // The loopback port can't be reached from there at all.
    let port = daemon.address().rsplit_once(':').unwrap().1;
    assert_eq!(status(&format!("10.83.0.1:{port}"), &with_key), "000");
    let line = world.ctl(&["clients", "list"]);
    assert!(
        String::from_utf8_lossy(&line.stdout).contains("10.83.0.2"),
        "{line:?}"
    );

    // A bridge that goes and comes back with another address, as podman's does.
    ip("link del hp0");
    until("the interface is seen to be gone", || waiting(1));
    connect("10.83.0.7");
    until("it is listened on again", || !waiting(1));
    assert_eq!(status("10.83.0.7:8645", &with_key), "200");
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
}

/// A service manager that holds the socket.
struct Manager {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Manager {
    fn new(world: &World, turns: usize, config: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/port/listeners/activate.py");
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

/// A port that nobody has.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("[::]:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A daemon at the ports that its configuration has.
fn at_its_own_ports(world: &World, config: &str) -> Daemon {
    world.write_config(config);
    let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
    command
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args(["--log-format", "json"]);
    Daemon::start(command, world.home.path())
}

async fn status_at(at: &str, port: u16, key: Option<&str>) -> u16 {
    let mut request = client().get(format!("http://{at}:{port}/v1/models"));
    // The name is not what is asked about here.
    request = request.header("host", "localhost");
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_contains_another_serves_both_each_by_its_own_rules() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/containers.md"));
    let page = page.unwrap();
    let documented = page.split("```toml lan\n").nth(1).unwrap();
    let documented = documented.split("```").next().unwrap();
    let six = documented.replace("0.0.0.0", "[::]");
    let wide_first =
        "[[listen]]\naddress = \"0.0.0.0:8645\"\n[[listen]]\naddress = \"127.0.0.1:8645\"\n";
    let interface = "[[listen]]\naddress = \"0.0.0.0:8645\"\n\
                     [[listen]]\naddress = \"lo:8645\"\nallow_unauthenticated = true\n";
    for config in [
        documented.to_owned(),
        six.clone(),
        documented.to_owned() + "[[listen]]\naddress = \"[::]:8645\"\n",
        wide_first.to_owned(),
        interface.to_owned(),
    ] {
        let world = World::new(Options::default()).await;
        let secret = key(&world, "phone", &[]);
        let port = free_port();
        let config = config.replace("8645", &port.to_string());
        let daemon = at_its_own_ports(&world, &config);
        let checked = world.ctl(&["config", "check"]);
        assert!(checked.status.success(), "{checked:?}");
        let narrow = async || status_at("127.0.0.1", port, None).await;
        let deadline = Instant::now() + PATIENCE;
        while narrow().await != 200 {
            // An interface is looked for.
            assert!(
                config.contains("lo:") && Instant::now() < deadline,
                "{config}"
            );
        }
        assert_eq!(
            status_at("127.0.0.1", port, Some("wrong")).await,
            200,
            "{config}"
        );
        for address in this_machines_addresses() {
            assert_eq!(
                status_at(&address, port, None).await,
                401,
                "{config} {address}"
            );
            assert_eq!(
                status_at(&address, port, Some(&secret)).await,
                200,
                "{config} {address}"
            );
        }
        if !config.contains("lo:") {
            // Apps that are told `localhost` may come so.
            assert_eq!(status_at("[::1]", port, None).await, 200, "{config}");
        }
        // Each connection is counted where it belongs.
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let connections = |reached: bool| {
            let status = daemon.status();
            let listeners = status["listeners"].as_array().unwrap().clone();
            let own = listeners.into_iter().filter(|one| {
                let url = one["url"].as_str().unwrap();
                url.contains("127.0.0.1") == reached
            });
            own.map(|one| one["connections"].as_u64().unwrap())
                .sum::<u64>()
        };
        until("it is counted", || connections(true) == 1);
        assert_eq!(connections(false), 0);
        drop(stream);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_ours_over_ipv6_too_or_it_is_told_whose_it_is_not() {
    let world = World::new(Options::default()).await;
    let port = free_port();
    let config = format!("[[listen]]\naddress = \"127.0.0.1:{port}\"\n");
    let mut daemon = at_its_own_ports(&world, &config);
    let held = format!("[::1]:{port}");
    assert_eq!(daemon.status()["listeners"][0]["also"][0], *held);
    assert_eq!(status_at("[::1]", port, None).await, 200);
    let doctor = || {
        let output = world.hermesctl(&["doctor", "--json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|one| one["name"] == *held)
    };
    assert_eq!(doctor(), None);
    assert!(daemon.stop().success());

    // Somebody else is faster.
    let impostor = std::net::TcpListener::bind(&held).unwrap();
    let warned = |finding: Option<Value>| {
        let finding = finding.expect("it is told");
        assert_eq!(finding["verdict"], "warn", "{finding}");
        assert!(
            finding.to_string().contains("Another program has [::1]"),
            "{finding}"
        );
        assert!(finding.to_string().contains("127.0.0.1"), "{finding}");
    };
    warned(doctor());
    let daemon = at_its_own_ports(&world, &config);
    let line = daemon.wait_for_log("another program listens there");
    assert!(line.contains(&held) && line.contains("127.0.0.1"), "{line}");
    assert_eq!(status_at("127.0.0.1", port, None).await, 200);
    warned(doctor());
    // Until it goes.
    drop(impostor);
    until("it is held", || {
        daemon.status()["listeners"][0]["also"][0] == *held
    });
    assert_eq!(doctor(), None);
}

/// A bridge to a daemon's socket, in a home of its own.
fn bridge(home: &Path, socket: &Path) -> Daemon {
    let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), home);
    command
        .args(["bridge", "--listen", "127.0.0.1:0", "--to"])
        .arg(socket);
    launched(command, home)
}

/// A bridge that may open 64 files.
fn narrow_bridge(home: &Path, socket: &Path) -> Daemon {
    let mut shell = program("sh", home);
    let line = "ulimit -n 64 && exec \"$0\" bridge --listen 127.0.0.1:0 --to \"$1\"";
    shell.args(["-c", line, env!("CARGO_BIN_EXE_hermes-proxyd")]);
    shell.arg(socket);
    launched(shell, home)
}

/// A bridge by this command.
fn launched(command: Command, home: &Path) -> Daemon {
    let mut bridge = Daemon::launch(command, home);
    let line = bridge.wait_for_log("bridging");
    let url = line
        .split("url=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    url.trim_matches('"').clone_into(&mut bridge.base);
    bridge
}

#[tokio::test(flavor = "multi_thread")]
async fn no_neighbour_of_the_bridge_keeps_others_out() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const FLOOD: usize = 1100;
    let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if now.maximum.is_some_and(|most| most < 6 * FLOOD as u64) {
        skipped("this machine gives too few descriptors");
        return;
    }
    let more = rustix::process::Rlimit {
        current: now.maximum,
        ..now
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, more).unwrap();
    let world = World::new(Options::default()).await;
    // Only what is needed ends them.
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n\
                  [limits]\nconnections = 3000\n[timeouts]\nheaders = \"10m\"\n";
    let _daemon = world.daemon_with(config, &[]);
    let socket = world.home.path().join("apps/proxy.sock");
    let elsewhere = support::scratch();
    let bridge = bridge(elsewhere.path(), &socket);
    let mut flood = Vec::new();
    let connect = async || {
        let neighbour = tokio::net::TcpSocket::new_v4().unwrap();
        neighbour.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        let address = bridge.address().parse().unwrap();
        let connecting = tokio::time::timeout(PATIENCE, neighbour.connect(address)).await;
        connecting.expect("it accepts").unwrap()
    };
    for _ in 0..FLOOD {
        flood.push(connect().await);
    }
    for _ in 0..6 {
        let answer = tokio::time::timeout(PATIENCE, post(&bridge, &chat("x"))).await;
        assert_eq!(answer.expect("it is served").status(), 200);
    }
    // And itself it is served too, in place of what it left unused.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut stream = connect().await;
        let exchange = async {
            let request =
                b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = exchange.await.unwrap();
        if answer.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(answer.contains("bridge_full"), "{answer}");
        assert!(Instant::now() < deadline);
    }
}

/// With 64 descriptors it has sixteen places, four for each neighbour.
#[tokio::test(flavor = "multi_thread")]
async fn several_neighbours_of_the_bridge_together_keep_nobody_out_and_whoever_is_refused_is_told()
{
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n";
    let _daemon = world.daemon_with(config, &[]);
    let socket = world.home.path().join("apps/proxy.sock");
    let elsewhere = support::scratch();
    let bridge = narrow_bridge(elsewhere.path(), &socket);
    let connect = async |last: u8| {
        let neighbour = tokio::net::TcpSocket::new_v4().unwrap();
        neighbour.bind(([127, 0, 0, last], 0).into()).unwrap();
        let address = bridge.address().parse().unwrap();
        neighbour.connect(address).await.unwrap()
    };
    let livez = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut flood = Vec::new();
    for last in 10..14 {
        for _ in 0..4 {
            let mut stream = connect(last).await;
            stream.write_all(livez).await.unwrap();
            let mut piece = [0; 4096];
            assert!(stream.read(&mut piece).await.unwrap() > 0);
            flood.push(stream);
        }
    }
    // They were answered, and wait for nothing.
    let began = Instant::now();
    let answer = loop {
        let answer = post(&bridge, &chat("x")).await;
        if answer.status() != 503 {
            break answer;
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "they hold all places"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer.status(), 200);
    println!(
        "sixteen idle connections made way after {:?}",
        began.elapsed()
    );
    drop((answer, flood));

    // Whoever waits for an answer stays, so all others are told, however many come at once.
    let mut waiting = Vec::new();
    for last in 10..14 {
        for _ in 0..4 {
            let deadline = Instant::now() + PATIENCE;
            let stream = loop {
                let mut stream = connect(last).await;
                let head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
                             content-type: application/json\r\ncontent-length: 100\r\n\r\n";
                stream.write_all(head).await.unwrap();
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece);
                let refused = tokio::time::timeout(Duration::from_millis(100), read).await;
                if refused.is_err() {
                    break stream;
                }
                assert!(Instant::now() < deadline);
            };
            waiting.push(stream);
        }
    }
    let many = (0..100).map(|_| async {
        let mut stream = connect(20).await;
        // Whoever is slow to ask is told too.
        tokio::time::sleep(Duration::from_millis(10)).await;
        stream.write_all(livez).await.ok();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        (answer, read.map_err(|error| error.kind()))
    });
    for (answer, read) in futures_util::future::join_all(many).await {
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer} {read:?}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(
            answer.ends_with('}') && answer.contains("\"bridge_full\""),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_carries_everything_and_says_when_nobody_is_there() {
    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n";
    let mut daemon = world.daemon_with(config, &[]);
    let socket = world.home.path().join("apps/proxy.sock");
    let elsewhere = support::scratch();
    let mut bridge = bridge(elsewhere.path(), &socket);

    assert_eq!(post(&bridge, &chat("x")).await.status(), 200);
    let stream = client()
        .post(bridge.url("/chat/completions"))
        .json(&serde_json::json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "hello"}]}));
    let through = stream.send().await.unwrap().text().await.unwrap();
    assert!(through.ends_with("data: [DONE]\n\n"), "{through}");
    // The guard is the daemon's.
    let foreign = client()
        .get(bridge.url("/models"))
        .header("host", "evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);

    // An answer that comes before the body is over arrives.
    for _ in 0..5 {
        let large = client().post(bridge.url("/chat/completions"));
        let large = large.header("content-type", "application/json");
        let answer = large.body(vec![b' '; 80 << 20]).send().await;
        assert_eq!(answer.expect("an answer").status(), 413);
    }

    // A cut answer is one here too.
    let cut = Steering {
        cut_after_bytes: Some(20),
        ..Steering::default()
    };
    world.cloud.fail_next(1, &Fault::Steer(Box::new(cut)));
    let cut = post(&bridge, &chat("x")).await;
    assert!(cut.bytes().await.is_err(), "a cut answer looks complete");

    // The app's leaving reaches the provider.
    world.cloud.fail_next(1, &Fault::Silent);
    let before = world.cloud.counts().requests;
    let leaving = tokio::spawn({
        let request = client()
            .post(bridge.url("/chat/completions"))
            .json(&chat("x"));
        request.send()
    });
    until("it is with the provider", || {
        world.cloud.counts().requests > before
    });
    leaving.abort();
    until("the provider is left", || {
        daemon.status()["providers"][0]["requests"]["in_flight"] == 0
    });

    // A daemon that restarts is waited for; one that does not come is named.
    assert!(daemon.stop().success());
    let waiting = tokio::spawn({
        let request = client()
            .post(bridge.url("/chat/completions"))
            .json(&chat("x"));
        request.send()
    });
    let mut daemon = world.daemon_with(config, &[]);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert!(daemon.stop().success());
    let answer = post(&bridge, &chat("x")).await;
    assert_eq!(answer.status(), 502);
    let text = answer.text().await.unwrap();
    assert!(text.contains("start hermes-proxyd with `unix`"), "{text}");
    assert!(bridge.stop().success());
}

/// A reverse proxy in front of the daemon.
struct Front(Child, String);

impl Front {
    /// Starts a program that serves at the address that it is given, and waits until it does. Over TCP:
    /// for a client on a Unix socket Caddy has no address to tell.
    fn start(command: impl Fn(&str) -> Command) -> Self {
        loop {
            // Another program may take the port in between; then there is another one.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap().to_string();
            drop(free);
            let child = command(&address).stdin(Stdio::null()).spawn().unwrap();
            let mut front = Self(child, address);
            let mut has_ended = false;
            until("the reverse proxy serves", || {
                has_ended = front.0.try_wait().unwrap().is_some();
                has_ended || front.connect().is_ok()
            });
            if !has_ended {
                return front;
            }
        }
    }

    fn nginx(folder: &Path, location: &str) -> Self {
        let here = folder.display();
        Self::start(|address| {
            let config = format!(
                "daemon off; master_process off; pid {here}/pid; error_log stderr;\nevents {{}}\n\
                 http {{ access_log off; client_body_temp_path {here}/a; proxy_temp_path {here}/b; \
                 fastcgi_temp_path {here}/c; uwsgi_temp_path {here}/d; scgi_temp_path {here}/e;\n\
                 server {{ listen {address};\n{location}\n}} }}\n"
            );
            std::fs::write(folder.join("nginx.conf"), config).unwrap();
            let mut command = program("nginx", folder);
            command.arg("-c").arg(folder.join("nginx.conf"));
            command.args(["-e", "stderr"]).arg("-p").arg(folder);
            command
        })
    }

    fn caddy(folder: &Path, site: &str) -> Self {
        Self::start(|address| {
            let (host, port) = address.rsplit_once(':').unwrap();
            let bind = format!("http://llm.example:{port} {{\nbind {host}\n");
            let site = site.replace("llm.example {\n", &bind);
            assert!(site.contains("bind"), "{site}");
            let global = "{\nadmin off\nauto_https off\n}\n";
            std::fs::write(folder.join("Caddyfile"), format!("{global}{site}")).unwrap();
            let mut command = program("caddy", folder);
            command.args(["run", "--adapter", "caddyfile", "--config"]);
            command.arg(folder.join("Caddyfile")).stderr(Stdio::null());
            command
        })
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(&self.1)
    }

    /// The whole answer to a chat.
    fn ask(&self, more: &str) -> String {
        ask(self.connect().unwrap(), "llm.example", more)
    }

    /// What has come of a stream whose second piece comes a minute later, with the first event.
    fn first_of_stream(&self, key: &str) -> String {
        let more = ",\"stream\":true,\"mock\":{\"delay_chunk_ms\":60000}}";
        let body = chat("x").to_string();
        let body = body.trim_end_matches('}').to_owned() + more;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: llm.example\r\n{}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            bearer(key),
            body.len()
        );
        let mut stream = self.connect().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let (mut text, mut piece) = (String::new(), [0; 4096]);
        while !text.contains("data: {") {
            let read = stream.read(&mut piece).unwrap_or_default();
            assert!(read > 0, "it ends or stalls: {text}");
            text += &String::from_utf8_lossy(piece.get(..read).unwrap());
        }
        text
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The lines of the documentation, for a daemon at this address.
fn documented(fence: &str, daemon: &Daemon) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reverse-proxies.md");
    let page = std::fs::read_to_string(page).unwrap();
    let lines = page.split(&format!("```{fence}\n")).nth(1).unwrap();
    let lines = lines.split("```").next().unwrap();
    lines.replace("127.0.0.1:8645", daemon.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_real_nginx_a_key_is_needed_and_streams_arrive_at_once() {
    if !works("nginx", &["-v"]) {
        return;
    }
    let world = World::new(Options::default()).await;
    let secret = key(&world, "phone", &[]);
    let mut daemon = world.daemon();
    let folder = support::scratch();
    let front = Front::nginx(folder.path(), &documented("nginx", &daemon));
    let answer = front.ask("");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("`x-forwarded-for`"), "{answer}");
    let answer = front.ask(&bearer(&secret));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let stream = front.first_of_stream(&secret);
    assert!(stream.starts_with("HTTP/1.1 200 "), "{stream}");
    drop((front, folder));

    // As it comes it does not say that it forwards, so the address has to want keys.
    assert!(daemon.stop().success());
    let daemon = world.daemon_with("[[listen]]\nauth = \"keys\"\n", &[]);
    let folder = support::scratch();
    let plain = format!("location / {{ proxy_pass {}; }}", daemon.origin());
    let front = Front::nginx(folder.path(), &plain);
    let answer = front.ask("");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let stream = front.first_of_stream(&secret);
    assert!(stream.starts_with("HTTP/1.1 200 "), "{stream}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_real_caddy_a_key_is_needed_and_streams_arrive_at_once() {
    if !works("caddy", &["version"]) {
        return;
    }
    let world = World::new(Options::default()).await;
    let secret = key(&world, "phone", &[]);
    let daemon = world.daemon();
    let folder = support::scratch();
    let front = Front::caddy(folder.path(), &documented("caddy", &daemon));
    let answer = front.ask("");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("hermesctl clients add NAME"), "{answer}");
    assert!(!answer.contains("allowed_hosts"), "{answer}");
    let answer = front.ask(&bearer(&secret));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let stream = front.first_of_stream(&secret);
    assert!(stream.starts_with("HTTP/1.1 200 "), "{stream}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containers_name_for_this_machine_counts_where_the_hosts_file_has_it() {
    let Some(way) = support::mount_namespace() else {
        return;
    };
    let world = World::new(Options::default()).await;
    let hosts = world.home.path().join("hosts");
    world.write_config("");
    let name = "host.docker.internal";
    for (line, status) in [("127.0.0.1", "200"), ("10.9.8.7", "403")] {
        std::fs::write(&hosts, format!("{line} {name}\n")).unwrap();
        let mut outer = program("unshare", world.home.path());
        outer.args(way).args(["sh", "-c"]);
        outer.arg("mount --bind \"$HOME/hosts\" /etc/hosts && exec \"$0\" \"$@\"");
        let mut daemon = Daemon::start(
            support::wrapped(outer, &world.command(&[])),
            world.home.path(),
        );
        let answer = ask(TcpStream::connect(daemon.address()).unwrap(), name, "");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
        assert!(daemon.stop().success());
    }
}
