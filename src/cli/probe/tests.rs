use super::view::{AnswerError, CountedTokens};
use super::*;

fn listeners(list: &[(&str, bool, bool)]) -> Vec<ListenerStatus> {
    let listener = |(url, needs_key, waiting): &(&str, bool, bool)| ListenerStatus {
        address: String::new(),
        url: (*url).into(),
        provider: "nous".into(),
        connections: 0,
        needs_key: *needs_key,
        waiting: *waiting,
        also: Vec::new(),
    };
    list.iter().map(listener).collect()
}

fn chosen(list: &[(&str, bool, bool)], key: bool) -> Result<String, String> {
    let question = ProbeQuestion {
        key: key.then(|| IssuedKey::new("hpx-x".into())),
        ..ProbeQuestion::default()
    };
    let listeners = listeners(list);
    let chosen = listener(&listeners, &question);
    chosen
        .map(|one| one.url.clone())
        .map_err(|failure| format!("{failure:?}"))
}

#[test]
fn an_address_without_a_key_is_preferred_and_a_port_to_a_socket() {
    let all = [
        ("http://10.0.0.1:1/v1", true, false),
        ("unix:/run/x", false, false),
        ("http://127.0.0.1:1/v1", false, false),
    ];
    assert_eq!(chosen(&all, false).unwrap(), "http://127.0.0.1:1/v1");
    assert_eq!(chosen(&all, true).unwrap(), "http://10.0.0.1:1/v1");
    assert_eq!(chosen(&all[..2], false).unwrap(), "unix:/run/x");
    assert_eq!(chosen(&all[1..], true).unwrap(), "http://127.0.0.1:1/v1");
    assert!(chosen(&all[..1], false).unwrap_err().contains("key_needed"));
    let waiting = [("http://10.0.0.1:1/v1", false, true)];
    assert!(chosen(&waiting, false).unwrap_err().contains("no_listener"));
}

#[test]
fn a_listener_on_every_address_is_asked_on_this_machines() {
    for (url, origin) in [
        ("http://0.0.0.0:80/v1", "http://127.0.0.1:80"),
        ("http://[::]:80/v1", "http://[::1]:80"),
        ("http://10.1.2.3:80/v1", "http://10.1.2.3:80"),
        ("unix:/run/x", "unix:/run/x"),
    ] {
        assert_eq!(PortAddress::of(url).unwrap().origin(), origin);
    }
    assert!(PortAddress::of("http://docker0:8645/v1").is_none());
}

#[test]
fn the_first_model_that_chats_is_taken() {
    let list = |ids: &[&str]| {
        let models: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        json!({"object": "list", "data": models}).to_string()
    };
    let first = |ids: &[&str]| reading::first_chat_model(list(ids).as_bytes());
    assert_eq!(
        first(&["text-embedding-3-small", "Whisper-1", "Hermes-4-405B", "x"]).unwrap(),
        "Hermes-4-405B"
    );
    assert_eq!(first(&["tts-1"]), None);
    assert_eq!(reading::first_chat_model(b"<html>"), None);
}

fn stream(pieces: &[&str]) -> (Vec<String>, Result<reading::Answered, AnswerError>) {
    let mut headers = HeaderMap::new();
    let kind = "text/event-stream; charset=utf-8".parse().unwrap();
    headers.insert("content-type", kind);
    let mut reading = ProbeReading::of(ProbeApi::Chat, &headers);
    let said = pieces.iter().map(|piece| reading.take(piece.as_bytes()));
    (said.collect(), reading.end())
}

#[test]
fn a_stream_is_read_however_it_is_cut() {
    let (said, end) = stream(&[
        ": hello\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"Go",
        "od\"}}]}\n\nda",
        "ta: {\"choices\":[{\"delta\":{\"content\":\" day\"},\"finish_reason\":\"stop\"}]}\r\n\r\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n",
        "data: [DONE]\n\n",
    ]);
    assert_eq!(said, ["", "Good", " day", "", ""]);
    let end = end.unwrap();
    assert_eq!(
        (end.text.as_str(), end.finish_reason.as_deref()),
        ("Good day", Some("stop"))
    );
    let tokens = CountedTokens {
        prompt: 3,
        completion: 2,
    };
    assert_eq!(end.tokens, Some(tokens));
}

#[test]
fn a_stream_that_is_not_whole_or_ends_in_an_error_is_a_failure() {
    let (_, end) = stream(&["data: {\"choices\":[{\"delta\":{\"content\":\"Go\"}}]}\n\n"]);
    assert!(end.unwrap_err().message.contains("without its last event"));
    let (_, end) =
        stream(&["data: {\"error\":{\"code\":\"upstream_timeout\",\"message\":\"m\"}}\n\n"]);
    let error = end.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("upstream_timeout"));
    let (_, end) = stream(&["data: <html>\n\n"]);
    assert!(end.unwrap_err().message.contains("not JSON"));
}

#[test]
fn a_whole_answer_is_read_and_a_strange_one_is_a_failure() {
    let whole = |body: &str| {
        let mut reading = ProbeReading::of(ProbeApi::Chat, &HeaderMap::new());
        assert_eq!(reading.take(body.as_bytes()), "");
        reading.end()
    };
    let said =
        whole("{\"choices\":[{\"message\":{\"content\":null,\"reasoning\":\"hm\"}}]}\n").unwrap();
    assert_eq!((said.text.as_str(), said.reasoning.as_str()), ("", "hm"));
    for strange in ["", "[]", "{\"choices\":[]}", "<html>\n</html>"] {
        assert!(whole(strange).is_err(), "{strange}");
    }
}

#[test]
fn the_responses_api_is_read_as_a_stream_and_whole() {
    let read = |kind: &str, body: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", kind.parse().unwrap());
        let mut reading = ProbeReading::of(ProbeApi::Responses, &headers);
        let said = reading.take(body.as_bytes());
        reading.end().map(|answered| (said, answered))
    };
    let end = json!({"status": "completed", "usage": {"input_tokens": 3, "output_tokens": 2},
        "output": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                   {"type": "message", "content": [{"type": "output_text", "text": "Good day"},
                                                   {"type": "refusal", "refusal": "no"}]}]});
    let event = |event: &Value| format!("event: x\ndata: {event}\n\n");
    let delta = |kind: &str, text: &str| event(&json!({"type": kind, "delta": text}));
    let begun = delta("response.reasoning_summary_text.delta", "hm")
        + &delta("response.output_text.delta", "Good")
        + &delta("response.output_text.delta", " day");
    let ended = event(&json!({"type": "response.completed", "response": end}));
    let (said, streamed) = read("text/event-stream", &(begun.clone() + &ended)).unwrap();
    let (_, whole) = read("application/json", &end.to_string()).unwrap();
    assert_eq!(said, "Good day");
    assert_eq!(streamed, whole);
    assert_eq!(
        (whole.text.as_str(), whole.reasoning.as_str()),
        ("Good day", "hm")
    );
    assert_eq!(whole.finish_reason.as_deref(), Some("completed"));
    let tokens = CountedTokens {
        prompt: 3,
        completion: 2,
    };
    assert_eq!(whole.tokens, Some(tokens));

    let cut = read("text/event-stream", &begun).unwrap_err();
    assert!(cut.message.contains("without its last event"));
    let overloaded = json!({"code": "server_is_overloaded", "message": "m"});
    for failed in [
        json!({"type": "response.failed", "response": {"error": overloaded}}),
        json!({"type": "error", "code": "server_is_overloaded", "message": "m"}),
    ] {
        let error = read("text/event-stream", &event(&failed)).unwrap_err();
        assert_eq!(error, AnswerError::of(&overloaded));
    }
    assert!(read("application/json", "{\"choices\":[]}").is_err());
}

#[test]
fn a_provider_is_asked_by_an_api_that_it_has() {
    let provider = |paths: &[&str]| {
        let path = |path: &&str| json!({"path": path, "methods": ["POST"]});
        let paths: Vec<_> = paths.iter().map(path).collect();
        let one = json!({"name": "p", "display_name": "P", "default": true, "base_url": null,
                         "logged_in": true, "paths": paths});
        serde_json::from_value(json!({"providers": [one]})).unwrap()
    };
    for (paths, api) in [
        (&["/models", "/responses"][..], ProbeApi::Responses),
        (&["/responses", "/chat/completions"], ProbeApi::Chat),
        (&["/chat/completions"], ProbeApi::Chat),
        (&["/embeddings"], ProbeApi::Chat),
    ] {
        assert_eq!(ProbeApi::of(&provider(paths), "p"), api, "{paths:?}");
        assert_eq!(ProbeApi::of(&provider(paths), "other"), ProbeApi::Chat);
    }
}

#[test]
fn every_kind_of_error_says_something() {
    for (body, message) in [
        (
            "{\"error\":{\"message\":\"no such model\"}}",
            "no such model",
        ),
        ("{\"error\":\"busy\"}", "busy"),
        ("{\"error\":{\"x\":1}}", "{\"x\":1}"),
        ("<h1>Bad gateway</h1>", "<h1>Bad gateway</h1>"),
        (" ", "the answer is empty"),
    ] {
        assert_eq!(reading::error_of(body.as_bytes()).message, message);
    }
}

#[test]
fn a_hint_is_not_said_twice() {
    let said = "log in: hermesctl auth login nous";
    assert_eq!(
        reading::hint("upstream_auth_failed", 401, said, false),
        None
    );
    assert!(reading::hint("upstream_unreachable", 502, "DNS", false).is_some());
    let keyless = "make one with `hermesctl clients add NAME` and enter it in the app";
    let hint = reading::hint("invalid_client_key", 401, keyless, false).unwrap();
    assert!(hint.contains("--key FILE") && hint.contains("HERMES_CLIENT_KEY"));
    let of = |keyed| reading::hint("provider_error", 401, "no", keyed).unwrap();
    assert!(of(false).contains("hermesctl auth status"));
    assert!(of(true).contains("hermesctl proxy reload") && !of(true).contains("auth status"));
    assert!(reading::needs_login("upstream_auth_failed", 401));
    assert!(!reading::needs_login("invalid_client_key", 401));
}
