//! The listeners: addresses, networks and names, each with its own rules, and the reports on those
//! that can't be bound.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test may fail loudly, and tells its figures"
)]

mod bridge;
pub(crate) mod reverse_proxies;
mod traefik;
mod unix_sockets;
mod users;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use mock_cloud::{Fault, Options};
use serde_json::Value;
use support::environment::{strict, tool, works};
use support::{Daemon, PATIENCE, World, chat, client, exact, post, program, until};

/// Sends a text on a stream of its own; all that comes back.
pub(crate) fn exchange(mut stream: impl Read + Write, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// One request on a stream of its own; the whole answer.
pub(crate) fn ask(stream: impl Read + Write, host: &str, more: &str) -> String {
    let body = chat("x").to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
        body.len()
    );
    exchange(stream, &request)
}

pub(crate) fn key(world: &World, name: &str, more: &[&str]) -> String {
    let output = world.ctl(&[&["clients", "add", name], more].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

/// IPv4 addresses of this machine but 127.0.0.1.
pub(crate) fn this_machines_addresses() -> Vec<String> {
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

    // Another program is faster.
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
