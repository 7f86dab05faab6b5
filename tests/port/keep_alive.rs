//! `keep_alive_comment`: SSE comments in a silent event stream.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::Duration;

use mock_cloud::{Fault, Options, RawEnd, Script, Steering};
use serde_json::{Value, json};
use support::environment::works;
use support::{Daemon, World, chat, client};

use crate::listeners::reverse_proxies::Front;

const COMMENT: &str = ": keep-alive\n\n";
/// Longer than the shortest silence that a comment can be asked for.
const PAUSE: Duration = Duration::from_millis(1300);

/// The body of a streamed answer, as far as it came, and whether it ended as it should.
async fn stream(url: &str) -> (String, bool) {
    let mut request = chat("x");
    request["stream"] = json!(true);
    let sent = client().post(url).json(&request).send().await;
    let mut answer = sent.unwrap();
    let mut text = String::new();
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) => text += &String::from_utf8_lossy(&piece),
            Ok(None) => return (text, true),
            Err(_) => return (text, false),
        }
    }
}

/// A provider that sends this head and these pieces, with a pause before each piece but the first.
fn script(head: &str, pieces: [&str; 3], end: RawEnd) -> Script {
    let [first, rest @ ..] = pieces;
    let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{first}");
    let mut script = Script::new(head, end);
    script
        .answer
        .extend(rest.map(|piece| piece.as_bytes().to_vec()));
    script.pause = PAUSE;
    script
}

/// A daemon before that provider.
fn before(world: &World, base_url: &str, table: &str) -> Daemon {
    let key = world.home.path().join("key");
    std::fs::write(&key, "a-key").unwrap();
    let config = format!(
        "default_provider = \"raw\"\n[timeouts]\nidle = \"4500ms\"\n[providers.raw]\ntype = \"static\"\n\
         base_url = {base_url:?}\napi_key_file = {:?}\n{table}\n",
        key.to_str().unwrap(),
    );
    world.daemon_with(&config, &[])
}

const EVENTS: &str = "content-type: text/event-stream\r\nconnection: close";
const PIECES: [&str; 3] = ["data: 1\n\n", "data: 2", "\n\ndata: [DONE]\n\n"];

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_between_two_events_is_filled_and_one_within_an_event_is_not() {
    let world = World::new(Options::default()).await;
    let raw = world.cloud.raw(Script::new("", RawEnd::Close), false).await;
    let sized = format!("{EVENTS}\r\ncontent-length: {}", PIECES.concat().len());
    let gzip = format!("{EVENTS}\r\ncontent-encoding: gzip");
    let json = EVENTS.replace("event-stream", "plain");
    let on = "keep_alive_comment = \"1s\"";
    for (table, head, is_filled) in [
        (on, EVENTS, true),
        ("", EVENTS, false),
        (on, &sized, false),
        (on, &gzip, false),
        (on, &json, false),
    ] {
        raw.set(script(head, PIECES, RawEnd::Close));
        let daemon = before(&world, &raw.base_url(), table);
        let url = daemon.url("/chat/completions");
        let request = client().post(url).header("accept-encoding", "gzip");
        let answer = request.json(&chat("x")).send().await.unwrap();
        let text = String::from_utf8(answer.bytes().await.unwrap().to_vec()).unwrap();
        assert_eq!(text.replace(COMMENT, ""), PIECES.concat(), "{table} {head}");
        let filled = text.starts_with(&["data: 1\n\n", COMMENT].concat());
        assert_eq!(filled, is_filled, "{table} {head}: {text}");
        if !is_filled {
            assert_eq!(text, PIECES.concat());
        }
        assert!(text.ends_with("data: 2\n\ndata: [DONE]\n\n"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_is_given_up_although_there_are_comments() {
    let world = World::new(Options::default()).await;
    let raw = world.cloud.raw(Script::new("", RawEnd::Close), false).await;
    let mut hangs = script(EVENTS, PIECES, RawEnd::Wait);
    hangs.answer.truncate(1);
    raw.set(hangs);
    let daemon = before(&world, &raw.base_url(), "keep_alive_comment = \"1s\"");
    let (text, is_whole) = stream(&daemon.url("/chat/completions")).await;
    assert!(!is_whole, "{text}");
    assert_eq!(text.matches(COMMENT).count(), 4, "{text}");
    assert!(text.contains("`timeouts.idle`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_translated_stream_gets_them_too() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with(
        "[providers.nous]\ntranslate = true\nkeep_alive_comment = \"1s\"\n",
        &[],
    );
    let steering = Steering {
        events: Some(2),
        delay_chunk_ms: 1300,
        ..Steering::default()
    };
    world.cloud.fail_next(1, &Fault::Steer(Box::new(steering)));
    let request = json!({"model": "Hermes-4-405B", "input": "hello", "stream": true});
    let post = client().post(daemon.url("/responses")).json(&request);
    let text = post.send().await.unwrap().text().await.unwrap();
    assert!(text.contains(COMMENT), "{text}");
    let last = text.replace(COMMENT, "");
    let last = last.trim_end().lines().last().unwrap();
    let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(last["type"], "response.completed", "{text}");
    assert!(
        text.trim_end().ends_with('}'),
        "nothing behind the end: {text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_real_nginx_a_silent_stream_lives() {
    if !works("nginx", &["-v"]) {
        return;
    }
    let world = World::new(Options::default()).await;
    let raw = world.cloud.raw(Script::new("", RawEnd::Close), false).await;
    let pieces = ["data: 1\n\n", "data: 2\n\n", "data: [DONE]\n\n"];
    let mut silent = script(EVENTS, pieces, RawEnd::Close);
    silent.pause = Duration::from_millis(2300);
    raw.set(silent);
    for (table, lives) in [("", false), ("keep_alive_comment = \"1s\"", true)] {
        let daemon = before(&world, &raw.base_url(), table);
        let folder = support::scratch();
        let location = format!(
            "location / {{ proxy_pass {}; proxy_http_version 1.1; proxy_read_timeout 1600ms; }}",
            daemon.origin()
        );
        let front = Front::nginx(folder.path(), &location);
        let url = format!("http://{}/v1/chat/completions", front.address());
        let (text, is_whole) = stream(&url).await;
        let text = text.replace(COMMENT, "");
        assert_eq!(
            (text == pieces.concat(), is_whole),
            (lives, lives),
            "{text}"
        );
    }
}
