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
    let question = Question {
        key: key.then(|| Key::new("hpx-x".into())),
        ..Question::default()
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
        assert_eq!(Door::of(url).unwrap().origin(), origin);
    }
    assert!(Door::of("http://docker0:8645/v1").is_none());
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

fn stream(pieces: &[&str]) -> (Vec<String>, Result<reading::Answered, Trouble>) {
    let mut headers = HeaderMap::new();
    let kind = "text/event-stream; charset=utf-8".parse().unwrap();
    headers.insert("content-type", kind);
    let mut reading = Reading::of(&headers);
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
    let tokens = Tokens {
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
    let trouble = end.unwrap_err();
    assert_eq!(trouble.code.as_deref(), Some("upstream_timeout"));
    let (_, end) = stream(&["data: <html>\n\n"]);
    assert!(end.unwrap_err().message.contains("not JSON"));
}

#[test]
fn a_whole_answer_is_read_and_a_strange_one_is_a_failure() {
    let whole = |body: &str| {
        let mut reading = Reading::of(&HeaderMap::new());
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
        assert_eq!(reading::trouble(body.as_bytes()).message, message);
    }
}

#[test]
fn a_hint_is_not_said_twice() {
    let said = "log in: hermesctl auth login nous";
    assert_eq!(reading::hint("upstream_auth_failed", 401, said), None);
    assert!(reading::hint("upstream_unreachable", 502, "DNS").is_some());
    assert!(reading::needs_login("upstream_auth_failed", 401));
    assert!(!reading::needs_login("invalid_client_key", 401));
}
