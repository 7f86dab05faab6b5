//! Behind Traefik, configured as the documentation says.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mock_cloud::{Options, RawEnd, Script};
use reqwest::header::HOST;
use serde_json::json;
use support::hermes::traefik;
use support::{Daemon, PATIENCE, World, chat, client, program};
use tokio::time::{Instant, sleep, timeout};

use super::reverse_proxies::{Front, documented};
use super::{bearer, key};

const TLS: &str = "      tls:\n        certResolver: letsencrypt\n";

/// In front of this daemon, with another time for an upload.
fn front(folder: &Path, daemon: &Daemon, read_timeout: &str) -> Front {
    let program_of = traefik();
    let routes = documented("yaml traefik", daemon);
    assert!(routes.contains(TLS), "{routes}");
    let file = folder.join("routes.yml");
    std::fs::write(&file, routes.replace(TLS, "")).unwrap();
    let entry = documented("yaml traefik entry point", daemon);
    Front::start(|address| {
        let entry = entry.replace(":443", address).replace("15m", read_timeout);
        assert!(entry.contains(address) && entry.contains(read_timeout));
        let rest = format!(
            "providers:\n  file:\n    filename: '{}'\nglobal:\n  checkNewVersion: false\n  \
             sendAnonymousUsage: false\nlog:\n  level: ERROR\n",
            file.display()
        );
        std::fs::write(folder.join("traefik.yml"), entry + &rest).unwrap();
        let mut command = program(&program_of, folder);
        command.arg(format!(
            "--configFile={}",
            folder.join("traefik.yml").display()
        ));
        command.stdout(Stdio::null());
        command
    })
}

/// It serves before it has read its routes.
async fn once_routed(front: &Front) {
    let started = Instant::now();
    while front.ask("").starts_with("HTTP/1.1 404 ") {
        assert!(started.elapsed() < PATIENCE, "it has no route");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_real_traefik_a_key_is_needed_and_streams_and_large_bodies_pass() {
    let world = World::new(Options::default()).await;
    let secret = key(&world, "phone", &[]);
    let daemon = world.daemon();
    let folder = support::scratch();
    let front = front(folder.path(), &daemon, "15m");
    once_routed(&front).await;
    // Whatever a client writes, and even where it wants the fields removed on the way.
    for more in [
        "",
        "x-forwarded-for: 127.0.0.1\r\nx-forwarded-host: localhost\r\n",
        "connection: x-forwarded-for, x-real-ip, x-forwarded-host, x-forwarded-proto, x-forwarded-server\r\n",
    ] {
        let answer = front.ask(more);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{more}: {answer}");
        assert!(answer.contains("hermesctl clients add NAME"), "{answer}");
    }
    let answer = front.ask(&bearer(&secret));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let stream = front.first_of_stream(&secret);
    assert!(stream.starts_with("HTTP/1.1 200 "), "{stream}");
    let mut body = chat("x");
    let size = 12 * 1024 * 1024;
    *body.pointer_mut("/messages/0/content").unwrap() = json!("x".repeat(size));
    let url = format!("http://{}/v1/chat/completions", front.address());
    let large = client().post(url).bearer_auth(&secret).json(&body);
    let answer = large.header(HOST, "llm.example").send().await.unwrap();
    assert_eq!(answer.status(), 200, "{answer:?}");
}

/// As an upload that takes longer than `readTimeout` is ended, and a stream is not, whatever its silence.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_real_traefik_comments_come_at_once_and_no_stream_is_ended() {
    const PIECES: [&str; 3] = ["data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"];
    let world = World::new(Options::default()).await;
    let [first, rest @ ..] = PIECES;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let mut script = Script::new(format!("{head}{first}"), RawEnd::Close);
    script
        .answer
        .extend(rest.map(|piece| piece.as_bytes().to_vec()));
    script.pause = Duration::from_millis(2600);
    let raw = world.cloud.raw(script, false).await;
    let file = world.home.path().join("key");
    std::fs::write(&file, "a-key").unwrap();
    let secret = key(&world, "phone", &[]);
    let config = |table: &str| {
        format!(
            "default_provider = \"raw\"\n[providers.raw]\ntype = \"static\"\nbase_url = {:?}\napi_key_file = {file:?}\n\
             {table}\n",
            raw.base_url()
        )
    };
    for (table, comments) in [("", 0), ("keep_alive_comment = \"1s\"", 4)] {
        let daemon = world.daemon_with(&config(table), &[]);
        let folder = support::scratch();
        let front = front(folder.path(), &daemon, "1s");
        once_routed(&front).await;
        let url = format!("http://{}/v1/chat/completions", front.address());
        let mut body = chat("x");
        body["stream"] = true.into();
        let begun = Instant::now();
        let asked = client().post(&url).bearer_auth(&secret).json(&body);
        let mut answer = asked.header(HOST, "llm.example").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let (mut text, mut first_comment) = (String::new(), None);
        while let Some(piece) = timeout(PATIENCE, answer.chunk()).await.unwrap().unwrap() {
            text += &String::from_utf8_lossy(&piece);
            if text.contains(": keep-alive") {
                first_comment.get_or_insert_with(|| begun.elapsed());
            }
        }
        assert!(begun.elapsed() > Duration::from_secs(5));
        let known = text.matches(": keep-alive\n\n").count();
        assert_eq!(known, comments, "{text}");
        assert_eq!(text.replace(": keep-alive\n\n", ""), PIECES.concat());
        // Held, it would come with the next event.
        assert!(first_comment.is_none_or(|at| at < Duration::from_millis(2400)));
        // An upload that pauses for longer is ended.
        let mut upload = front.connect().unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: llm.example\r\n{}content-type: application/json\r\n\
             content-length: 100\r\n\r\n{{",
            bearer(&secret)
        );
        upload.write_all(head.as_bytes()).unwrap();
        let mut ended = String::new();
        upload.set_read_timeout(Some(PATIENCE)).unwrap();
        std::io::Read::read_to_string(&mut upload, &mut ended).ok();
        assert!(!ended.contains("200 OK"), "{ended}");
    }
}
