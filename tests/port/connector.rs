//! The way to the provider: names that move, addresses that swallow everything, proxies of the
//! environment, the operator's CA, and the receivers of our mark.
//!
//! Names are real ones of `/etc/hosts`, so most tests run themselves again in a mount and a network
//! namespace. If that is not allowed they say so and pass.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and tells its figures"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mock_cloud::{Options, Tls};
use support::environment::tool;
use support::wire::{OK, Wire, daemon_at, read_request};
use support::{Daemon, PATIENCE, World, chat, client, is_inside, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

fn set_hosts(lines: &str) {
    let own = if lines.contains(" localhost") {
        ""
    } else {
        "127.0.0.1 localhost\n"
    };
    std::fs::write("/etc/hosts", format!("{own}{lines}\n")).unwrap();
}

/// Configures the daemon to trust the cloud's authority.
fn trust(world: &World) {
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    let ca = ca.to_str().unwrap();
    world.write_config(&format!("[providers.nous]\nca_file = {ca:?}\n"));
}

async fn get(daemon: &Daemon) -> reqwest::Response {
    let asking = client().get(daemon.url("/models")).send();
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap()
        .unwrap()
}

/// A server that answers with its own name, and to a POST with the first half of an answer until
/// it is told to go on.
async fn named(address: &str, name: &'static str, go_on: Arc<Notify>) -> (Wire, Arc<Mutex<usize>>) {
    let open = Arc::new(Mutex::new(0));
    let count = open.clone();
    let wire = Wire::at(address, move |mut stream, _| {
        let (go_on, open) = (go_on.clone(), count.clone());
        async move {
            *open.lock().unwrap() += 1;
            while let Some(request) = read_request(&mut stream).await {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
                let body = name.repeat(2);
                let length = body.len();
                if request.starts_with("POST") {
                    let half = format!("{head} {length}\r\n\r\n{name}");
                    stream.write_all(half.as_bytes()).await.unwrap();
                    go_on.notified().await;
                    stream.write_all(name.as_bytes()).await.unwrap();
                } else {
                    let whole = format!("{head} {length}\r\n\r\n{body}");
                    stream.write_all(whole.as_bytes()).await.unwrap();
                }
            }
            *open.lock().unwrap() -= 1;
        }
    });
    (wire.await, open)
}

#[tokio::test]
async fn a_name_that_moves_is_noticed_although_its_connections_are_busy() {
    if !is_inside(
        module_path!(),
        "a_name_that_moves_is_noticed_although_its_connections_are_busy",
    ) {
        return;
    }
    let world = World::new(Options::default()).await;
    let go_on = Arc::new(Notify::new());
    set_hosts("127.0.0.2 localhost");
    let (old, open) = named("127.0.0.2:8080", "old", go_on.clone()).await;
    let (new, _) = named("127.0.0.3:8080", "new", go_on.clone()).await;
    let config = "[timeouts]\nreuse = \"1s\"\n";
    let daemon = daemon_at(&world, "http://localhost:8080/v1", config);
    let mut running = post(&daemon, &chat("x")).await;
    assert_eq!(running.chunk().await.unwrap().unwrap(), "old");
    assert_eq!(get(&daemon).await.text().await.unwrap(), "oldold");

    set_hosts("127.0.0.3 localhost");
    let moved = Instant::now();
    let mut asked = 0;
    while get(&daemon).await.text().await.unwrap() == "oldold" {
        asked += 1;
        assert!(moved.elapsed() < PATIENCE, "it never moves");
    }
    let took = moved.elapsed();
    println!("the move was noticed after {took:?} and {asked} requests; `timeouts.reuse` is 1 s");
    assert!(new.connections() > 0);

    // The idle connections are closed; what runs on an old one ends whole.
    let closed = Instant::now();
    while *open.lock().unwrap() > 1 {
        assert!(closed.elapsed() < Duration::from_secs(10), "they stay open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "the idle connections to the old address were closed {:?} later",
        closed.elapsed()
    );
    assert_eq!(*open.lock().unwrap(), 1);
    go_on.notify_one();
    assert_eq!(running.text().await.unwrap(), "old");
    drop((old, new));
}

#[tokio::test]
async fn within_its_time_a_connection_is_kept() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    for _ in 0..20 {
        let answer = post(&daemon, &chat("x")).await;
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
    }
    assert_eq!(world.cloud.counts().connections, 1);
}

/// A port whose queue is full: the kernel drops what knocks, as a firewall would.
struct Swallows {
    _full: Vec<TcpStream>,
    _listener: tokio::net::TcpListener,
}

impl Swallows {
    async fn at(address: &str) -> Self {
        let address = address.parse().unwrap();
        let socket = match address {
            std::net::SocketAddr::V4(_) => TcpSocket::new_v4().unwrap(),
            std::net::SocketAddr::V6(_) => TcpSocket::new_v6().unwrap(),
        };
        socket.bind(address).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut full = Vec::new();
        let knock = || {
            let wait = Duration::from_millis(300);
            tokio::time::timeout(wait, TcpStream::connect(address))
        };
        while let Ok(stream) = knock().await {
            full.push(stream.unwrap());
            assert!(full.len() < 10, "it takes everybody");
        }
        Self {
            _full: full,
            _listener: listener,
        }
    }
}

/// Time from a request to its answer, on new connections.
async fn first_answer(world: &World) -> Duration {
    let daemon = daemon_at(world, "http://localhost:8080/v1", "");
    let client = client();
    let asked = Instant::now();
    let answer = client.get(daemon.url("/models")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
    asked.elapsed()
}

#[tokio::test]
async fn an_ipv6_address_that_swallows_packets_is_raced_by_ipv4() {
    if !is_inside(
        module_path!(),
        "an_ipv6_address_that_swallows_packets_is_raced_by_ipv4",
    ) {
        return;
    }
    let world = World::new(Options::default()).await;
    let _hole = Swallows::at("[::1]:8080").await;
    let good = Wire::at("127.0.0.3:8080", answers).await;
    set_hosts("::1 localhost\n127.0.0.3 localhost");
    let order = tool("getent")
        .args(["ahosts", "localhost"])
        .output()
        .unwrap();
    let order = String::from_utf8(order.stdout).unwrap();
    assert!(
        order.starts_with("::1"),
        "IPv6 is not asked first:\n{order}"
    );
    let took = first_answer(&world).await;
    println!("first byte past an IPv6 hole after {took:?}");
    // Far from `timeouts.connect`, ten seconds.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(good.connections(), 1);
}

#[tokio::test]
async fn an_address_that_stops_answering_is_left_for_another_one() {
    if !is_inside(
        module_path!(),
        "an_address_that_stops_answering_is_left_for_another_one",
    ) {
        return;
    }
    let world = World::new(Options::default()).await;
    let _hole = Swallows::at("127.0.0.4:8080").await;
    let good = Wire::at("127.0.0.5:8080", answers).await;
    // One refuses, one swallows, one works, in whatever order the resolver gives them.
    set_hosts("127.0.0.2 localhost\n127.0.0.4 localhost\n127.0.0.5 localhost");
    let took = first_answer(&world).await;
    println!("first byte past a closed port and a hole after {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(good.connections(), 1);

    // None works: the limit holds, and the message names it.
    set_hosts("127.0.0.4 localhost");
    let daemon = daemon_at(
        &world,
        "http://localhost:8080/v1",
        "[timeouts]\nconnect = \"1s\"\n",
    );
    let answer = get(&daemon).await;
    assert_eq!(answer.status(), 504);
    let text = answer.text().await.unwrap();
    assert!(text.contains("`timeouts.connect`"), "{text}");
}

async fn answers(mut stream: TcpStream, _: usize) {
    while read_request(&mut stream).await.is_some() {
        stream.write_all(OK.as_bytes()).await.unwrap();
    }
}

// ---- Proxies ----

const USER: &str = "proxy-user";
const PASSWORD: &str = "pr0xy-pa55word";
/// The two in base64, as `Proxy-Authorization: Basic` has them (RFC 7617).
const BASIC: &str = "cHJveHktdXNlcjpwcjB4eS1wYTU1d29yZA==";

/// What a proxy was asked for.
type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy for CONNECT (RFC 9110 §9.3.6) that leads every name to this machine.
async fn connect_proxy() -> (Wire, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let wire = Wire::start(move |mut near, _| {
        let log = log.clone();
        async move {
            let Some(request) = read_request(&mut near).await else {
                return;
            };
            log.lock().unwrap().push(request.clone());
            if !request.contains(&format!("Basic {BASIC}")) {
                let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                near.write_all(refusal.as_bytes()).await.unwrap();
                return;
            }
            let target = request.split(' ').nth(1).unwrap();
            let port = target.rsplit(':').next().unwrap();
            let mut far = TcpStream::connect(format!("127.0.0.1:{port}"))
                .await
                .unwrap();
            near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            tokio::io::copy_bidirectional(&mut near, &mut far)
                .await
                .ok();
        }
    });
    (wire.await, asked)
}

/// A SOCKS5 proxy with user and password (RFC 1928, RFC 1929) that does the same.
async fn socks_proxy() -> (Wire, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let wire = Wire::start(move |mut near, _| {
        let log = log.clone();
        async move {
            let mut head = [0; 2];
            near.read_exact(&mut head).await.unwrap();
            let mut methods = vec![0; head[1].into()];
            near.read_exact(&mut methods).await.unwrap();
            assert!(head[0] == 5 && methods.contains(&2), "{methods:?}");
            near.write_all(&[5, 2]).await.unwrap();
            let mut said = Vec::new();
            let mut length = [0; 2];
            near.read_exact(&mut length).await.unwrap();
            for last in [false, true] {
                let mut text = vec![0; length[1].into()];
                near.read_exact(&mut text).await.unwrap();
                said.push(String::from_utf8(text).unwrap());
                if !last {
                    near.read_exact(&mut length[1..]).await.unwrap();
                }
            }
            assert_eq!(said, [USER, PASSWORD]);
            near.write_all(&[1, 0]).await.unwrap();
            let mut request = [0; 5];
            near.read_exact(&mut request).await.unwrap();
            assert_eq!(request[..4], [5, 1, 0, 3], "a name was to be asked for");
            let mut name = vec![0; request[4].into()];
            near.read_exact(&mut name).await.unwrap();
            let port = near.read_u16().await.unwrap();
            let name = String::from_utf8(name).unwrap();
            log.lock().unwrap().push(format!("CONNECT {name}:{port} "));
            let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            near.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            tokio::io::copy_bidirectional(&mut near, &mut far)
                .await
                .ok();
        }
    });
    (wire.await, asked)
}

/// A world whose refresh is due, and the daemon that reaches its cloud by names that only a proxy
/// knows.
async fn behind(variables: &[(&str, String)]) -> (World, Daemon) {
    let world = World::with_a_refresh_due(Options::default().tls(Tls::On)).await;
    trust(&world);
    let named = |url: String, name: &str| url.replace("localhost", name);
    let mut command = world.command(&["--log-level", "debug"]);
    command
        .env(
            "NOUS_INFERENCE_BASE_URL",
            named(world.cloud.inference_base_url(), "provider.test"),
        )
        .env(
            "HERMES_PORTAL_BASE_URL",
            named(world.cloud.portal_url(), "portal.test"),
        )
        .envs(variables.iter().map(|(name, value)| (name, value)));
    let daemon = Daemon::start(command, world.home.path());
    (world, daemon)
}

/// Waits until the refresh that was due came to the portal, once.
async fn refreshed(world: &World) {
    let once = |cloud: &mock_cloud::MockCloud| cloud.counts().refreshes == 1;
    world.cloud.wait_for(PATIENCE, once).await;
}

fn assert_no_password(daemon: &Daemon, answer: &str) {
    for text in [
        daemon.logged(),
        daemon.home_screen().to_string(),
        answer.to_owned(),
    ] {
        assert!(!text.contains(PASSWORD) && !text.contains(BASIC), "{text}");
    }
}

#[tokio::test]
async fn both_ways_to_the_provider_take_the_environments_proxy() {
    // The last two as shells, unit files and `.env` files leave them.
    for (variable, socks, (before, behind_it)) in [
        ("HTTPS_PROXY", false, ("", "")),
        ("https_proxy", false, ("", "")),
        ("ALL_PROXY", false, ("", "")),
        ("ALL_PROXY", true, ("", "")),
        ("HTTPS_PROXY", false, ("\"", "\"")),
        ("HTTPS_PROXY", false, (" ", " \r")),
    ] {
        let (wire, asked) = if socks {
            socks_proxy().await
        } else {
            connect_proxy().await
        };
        let kind = if socks { "socks5h" } else { "http" };
        let url = format!("{kind}://{USER}:{PASSWORD}@{}", wire.address);
        let url = format!("{before}{url}{behind_it}");
        let (world, daemon) = behind(&[(variable, url)]).await;
        let answer = post(&daemon, &chat("x")).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(
            status,
            200,
            "{variable}, {kind}: {text}\n{}",
            daemon.logged()
        );
        refreshed(&world).await;
        let asked = asked.lock().unwrap().clone();
        for name in ["provider.test", "portal.test"] {
            let found = asked
                .iter()
                .any(|line| line.starts_with(&format!("CONNECT {name}:")));
            assert!(found, "{name} was not asked for: {asked:?}");
        }
        // The bearer is inside the TLS, and the client's own words are nowhere.
        assert!(!asked.iter().any(|line| line.contains("Bearer")));
        assert_no_password(&daemon, &text);
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_gone_is_named_without_its_password() {
    let (wire, _) = connect_proxy().await;
    let gone = Wire::canned(OK).await.address;
    for (url, word) in [
        (
            format!("http://{USER}:wrong-{PASSWORD}@{}", wire.address),
            "proxy authorization required",
        ),
        (format!("http://{USER}:{PASSWORD}@{gone}"), "refused"),
        (
            format!("socks5://{USER}:{PASSWORD}@{gone}"),
            "underlying connection",
        ),
        (
            format!("http://{USER}:{PASSWORD}@no-such-proxy.invalid:1"),
            "resolved",
        ),
        (format!("https://{USER}:{PASSWORD}@{gone}"), "not supported"),
    ] {
        // The portal is reached straight, so that the request has a token.
        let variables = [
            ("HTTPS_PROXY", url.clone()),
            ("NO_PROXY", "portal.test,localhost".to_owned()),
        ];
        let world = World::new(Options::default().tls(Tls::On)).await;
        let base = world
            .cloud
            .inference_base_url()
            .replace("localhost", "provider.test");
        let mut command = world.command(&["--log-level", "debug"]);
        command.env("NOUS_INFERENCE_BASE_URL", base).envs(variables);
        let daemon = Daemon::start(command, world.home.path());
        let answer = post(&daemon, &chat("x")).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        println!("{status}: {text}");
        assert_eq!(status, 502, "{text}");
        let proxy = url.rsplit('@').next().unwrap();
        assert!(text.contains(&format!("the proxy {proxy}")), "{text}");
        assert!(text.contains(word), "{word} is not in {text}");
        assert_no_password(&daemon, &text);
    }
}

#[tokio::test]
async fn this_machine_and_what_no_proxy_names_are_reached_straight() {
    let (wire, asked) = connect_proxy().await;
    let proxy = format!("http://{USER}:{PASSWORD}@{}", wire.address);
    // Plain and over TLS, by address and by name; the mock's URLs are 127.0.0.1 and localhost.
    for tls in [Tls::Off, Tls::On] {
        let world = World::with_a_refresh_due(Options::default().tls(tls)).await;
        trust(&world);
        let mut command = world.command(&[]);
        command
            .env("ALL_PROXY", &proxy)
            .env("HTTP_PROXY", &proxy)
            .env("HTTPS_PROXY", &proxy);
        let daemon = Daemon::start(command, world.home.path());
        assert_eq!(
            post(&daemon, &chat("x")).await.status(),
            200,
            "{}",
            daemon.logged()
        );
        refreshed(&world).await;
    }
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn no_proxy_is_obeyed() {
    if !is_inside(module_path!(), "no_proxy_is_obeyed") {
        return;
    }
    set_hosts("127.0.0.1 provider.test portal.test");
    for (exempt, straight) in [
        ("provider.test,portal.test", true),
        (".test", true),
        ("*.test", true),
        ("test", true),
        ("*", true),
        ("elsewhere.test", false),
    ] {
        let (wire, asked) = connect_proxy().await;
        let proxy = format!("http://{USER}:{PASSWORD}@{}", wire.address);
        let variables = [("HTTPS_PROXY", proxy), ("NO_PROXY", exempt.to_owned())];
        let (world, daemon) = behind(&variables).await;
        assert_eq!(
            post(&daemon, &chat("x")).await.status(),
            200,
            "{}",
            daemon.logged()
        );
        refreshed(&world).await;
        assert_eq!(
            asked.lock().unwrap().is_empty(),
            straight,
            "NO_PROXY={exempt}"
        );
    }
}

#[tokio::test]
async fn a_variable_that_cannot_be_used_is_told_wherever_one_looks() {
    let world = World::new(Options::default()).await;
    let variables = [
        (
            "HTTPS_PROXY",
            format!("ftp://{USER}:{PASSWORD}@proxy.example"),
        ),
        ("NO_PROXY", "*corp.example".to_owned()),
        ("NOUS_PORTAL_BASE_URL", "portal".to_owned()),
    ];
    let told = [
        "HTTPS_PROXY is ignored: it is not the URL of a proxy",
        "NO_PROXY holds \"*corp.example\", which is ignored",
        "NOUS_PORTAL_BASE_URL is ignored: it is not a URL",
    ];
    let assert_told = |where_: &str, text: &str| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for told in told {
            let told_as_json = told.replace('"', "\\\"");
            assert!(
                text.contains(told) || text.contains(&told_as_json),
                "{where_}: {text}"
            );
        }
        assert!(!text.contains(PASSWORD), "{where_}: {text}");
    };
    let mut command = world.command(&[]);
    // With quotes and a blank around it, this one is good.
    let base = format!("\"{}\" ", world.cloud.inference_base_url());
    command
        .env("NOUS_INFERENCE_BASE_URL", base)
        .envs(variables.clone());
    let daemon = Daemon::start(command, world.home.path());
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    assert_told("log", &daemon.logged());
    let status = daemon.status();
    assert!(status["daemon"]["proxies"].is_null(), "{status}");
    for verb in [&["config", "check"][..], &["doctor"]] {
        let mut command = world.hermesctl(verb);
        let output = command.envs(variables.clone()).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_told(&verb.concat(), &text);
    }
}

// ---- Which server learns of us ----

#[tokio::test]
async fn the_providers_own_hosts_see_no_mark_of_ours() {
    if !is_inside(
        module_path!(),
        "the_providers_own_hosts_see_no_mark_of_ours",
    ) {
        return;
    }
    let world = World::new(Options::default()).await;
    let host = "inference-api.nousresearch.com";
    set_hosts(&format!("127.0.0.6 {host}"));
    let tls = world.cloud.authority().acceptor_for(&[host], false);
    let asked = Asked::default();
    let log = asked.clone();
    let _wire = Wire::at("127.0.0.6:443", move |stream, _| {
        let (tls, log) = (tls.clone(), log.clone());
        async move {
            let mut stream = tls.accept(stream).await.unwrap();
            while let Some(request) = read_request(&mut stream).await {
                log.lock().unwrap().push(request);
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    trust(&world);
    let mut command = world.command(&[]);
    command.env_remove("NOUS_INFERENCE_BASE_URL");
    let daemon = Daemon::start(command, world.home.path());
    let asking = client()
        .post(daemon.url("/chat/completions"))
        .header("x-hermes-via", "someone");
    let answer = asking.json(&chat("x")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
    let asked = asked.lock().unwrap();
    assert!(
        asked[0].contains("POST /v1/chat/completions"),
        "{}",
        asked.len()
    );
    assert!(!asked[0].contains("x-hermes"), "the provider was told");
}
