//! Ten thousand requests of all kinds at once: exact counts of tokens, and every answer as the
//! provider sent it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::*;

const CONNECTIONS: usize = 25;
const EACH: usize = 400;

/// An answer's body, and the tokens that it tells: in, out, cached, reasoning, all.
struct Answer {
    kind: &'static str,
    encoding: &'static str,
    body: Vec<u8>,
    tokens: [u64; 5],
}

/// The answer to the request with this number; both sides know it.
fn answer(number: usize) -> Answer {
    let n = number as u64;
    let (sent, made, cached, thought) = (n % 97 + 1, n % 31 + 1, n % 7, n % 5);
    let all = sent + made;
    let chat = json!({"prompt_tokens": sent, "completion_tokens": made, "total_tokens": all,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought}});
    let responses = json!({"input_tokens": sent, "output_tokens": made, "total_tokens": all,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens_details": {"reasoning_tokens": thought}});
    let said = format!("number {number}: {{\"usage\":{{\"prompt_tokens\":999}}}}");
    let tokens = [sent, made, cached, thought, all];
    let json_kind = "application/json";
    let events = "text/event-stream";
    let (kind, text, tokens) = match number % 8 {
        0 | 1 => {
            let body = json!({"choices": [{"message": {"content": said}}], "usage": chat});
            (json_kind, body.to_string(), tokens)
        }
        2 | 3 => {
            let chunk = json!({"choices": [{"delta": {"content": said}}], "usage": null});
            let last = json!({"choices": [], "usage": chat});
            let text =
                format!("data: {chunk}\n\ndata: {chunk}\n\ndata: {last}\n\ndata: [DONE]\n\n");
            (events, text, tokens)
        }
        4 => {
            let delta = json!({"type": "response.output_text.delta", "delta": said});
            let end = json!({"type": "response.completed", "response": {"usage": responses, "tools":
                [{"parameters": {"properties": {"usage": {"type": "object"}}}}]}});
            let text = format!(
                "event: response.output_text.delta\ndata: {delta}\n\nevent: response.completed\ndata: {end}\n\n"
            );
            (events, text, tokens)
        }
        5 => {
            let body = json!({"object": "response", "output": [said], "usage": responses});
            (
                json_kind,
                serde_json::to_string_pretty(&body).unwrap(),
                tokens,
            )
        }
        6 => {
            let start = json!({"type": "message_start", "message": {"usage":
                {"input_tokens": sent, "cache_read_input_tokens": cached, "output_tokens": 1}}});
            let end = json!({"type": "message_delta", "usage": {"output_tokens": made}});
            let text = format!(
                "event: message_start\ndata: {start}\n\nevent: message_delta\ndata: {end}\n\n"
            );
            (events, text, [sent + cached, made, cached, 0, all + cached])
        }
        _ => {
            let body = json!({"data": [{"embedding": [0.1, 0.2]}], "usage":
                {"prompt_tokens": sent, "total_tokens": sent}});
            (json_kind, body.to_string(), [sent, 0, 0, 0, sent])
        }
    };
    let packs = number.is_multiple_of(3);
    let body = if packs {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    } else {
        text.into_bytes()
    };
    let encoding = if packs {
        "content-encoding: gzip\r\n"
    } else {
        ""
    };
    Answer {
        kind,
        encoding,
        body,
        tokens,
    }
}

async fn provides(mut stream: TcpStream) {
    while let Some(request) = read_request(&mut stream).await {
        let number = request.split("number=").nth(1).unwrap_or_default();
        let number: usize = number
            .split('"')
            .next()
            .unwrap_or_default()
            .parse()
            .unwrap();
        let answer = answer(number);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {}\r\n{}content-length: {}\r\n\r\n",
            answer.kind,
            answer.encoding,
            answer.body.len()
        );
        let whole = [head.as_bytes(), &answer.body].concat();
        // In two pieces, at any place.
        let (one, two) = whole.split_at(number * 7 % whole.len());
        if stream.write_all(one).await.is_err() || stream.write_all(two).await.is_err() {
            return;
        }
    }
}

/// Sends requests one after the other on a connection, and compares their answers.
async fn asks(address: String, from: usize) {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    for number in from..from + EACH {
        let body = format!(
            "{{\"messages\":[\"number={number}\"],\"model\":\"model-{}\"}}",
            number % 10
        );
        let path = ["chat/completions", "responses", "messages", "embeddings"][number % 4];
        let request = format!(
            "POST /v1/{path} HTTP/1.1\r\nhost: {address}\r\naccept-encoding: gzip\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = answer(number);
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        };
        assert!(
            bytes.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
        while bytes.len() < head + answer.body.len() {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        assert!(bytes[head..] == answer.body, "request {number}");
        bytes.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_of_all_kinds_are_counted_to_the_token() {
    let world = World::new(Options::default()).await;
    let wire = Wire::start(|stream, _| provides(stream)).await;
    let config = "[log]\nlevel = \"warn,hermes_proxy::proxy::listener=info\"\n\
                  [providers.nous]\nextra_paths = [\"/responses\"]\n";
    let daemon = daemon_at(&world, &wire.base_url(), config);
    let clients = (0..CONNECTIONS).map(|at| {
        let address = daemon.address().to_owned();
        tokio::spawn(asks(address, at * EACH))
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let report = told(world.home.path(), "model");
    let total = &report["total"];
    let mut expected = [0; 5];
    for number in 0..CONNECTIONS * EACH {
        for (sum, more) in expected.iter_mut().zip(answer(number).tokens) {
            *sum += more;
        }
    }
    let names = [
        "prompt_tokens",
        "completion_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "total_tokens",
    ];
    let counted = names.map(|name| total[name].as_u64().unwrap());
    assert_eq!(counted, expected);
    let whole = ["requests", "failed", "without_tokens"].map(|name| &total[name]);
    assert_eq!(whole, [10_000, 0, 0]);
    assert_eq!(report["rows"].as_array().unwrap().len(), 10);
    assert_eq!(super::row(&report, "model-3")["requests"], 1_000);
}
