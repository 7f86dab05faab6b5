//! The user of a connection: the user's own apps are accepted, those of another user of the machine
//! need a key.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::Path;
use std::process::Command;

use crate::listeners::{key, this_machines_addresses};
use mock_cloud::Options;
use support::environment::{skipped, works};
use support::{Daemon, World, chat, post, program};

/// curl as the user `nobody`; status, and the error's text.
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
    // Health is not an exception, and neither is an invalid key.
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
            if path.file_stem() == Some("tests".as_ref()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
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
