//! Forms on paths that accept them: they follow their model's route, and no other byte of them
//! changes.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use support::{Daemon, client, error};

use super::routes::Two;

const ECHO: &str = "/v1/echo";

/// Both providers take forms at a path.
fn daemon(two: &Two, routing: &str) -> Daemon {
    let config = two.config(&format!(
        "{routing}\n[providers.nous]\nextra_paths = [\"/echo any\"]\n"
    ));
    let config = format!("{config}extra_paths = [\"/echo multipart\"]\n");
    two.world.daemon_with(&config, &[])
}

fn form(fields: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--XyZ\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n")
    };
    fields.iter().map(part).collect::<String>() + "--XyZ--\r\n"
}

async fn asks(daemon: &Daemon, kind: &str, body: &str) -> reqwest::Response {
    let post = client().post(format!("{}{ECHO}", daemon.origin()));
    let post = post.header("content-type", kind).body(body.to_owned());
    post.send().await.unwrap()
}

const KIND: &str = "multipart/form-data; boundary=\"XyZ\"";
const FILE: (&str, &str) = (
    "\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav",
    "RIFF\r\n\u{0}\r\n--XyY",
);

#[tokio::test(flavor = "multi_thread")]
async fn a_form_goes_where_its_model_says_and_no_other_byte_changes() {
    let two = Two::new().await;
    let daemon = daemon(
        &two,
        "[aliases]\nmini = \"other/small\"\n[[route]]\nmodels = [\"whisper-*\"]\nprovider = \"other\"\n\
         [[route]]\nmodels = [\"old\"]\nprovider = \"other\"\nmodel = \"new\"\n",
    );
    for (model, provider, sent) in [
        ("whisper-1", "other", "whisper-1"),
        ("other/m", "other", "m"),
        ("mini", "other", "small"),
        ("old", "other", "new"),
        ("hermes", "nous", "hermes"),
        ("", "nous", ""),
    ] {
        for (name, file_first) in [("\"model\"", true), ("model", false)] {
            let body = |model: &str| {
                let mut fields = [(name, model), FILE, ("\"language\"", "de")];
                fields.rotate_left(usize::from(file_first));
                form(&fields)
            };
            let before = two.seen();
            let echo = asks(&daemon, KIND, &body(model)).await;
            let echo = echo.bytes().await.unwrap();
            let (at, seen) = two.last(before);
            assert_eq!(at, provider, "{model}");
            let expected = body(sent);
            assert_eq!(echo, expected.as_bytes(), "{model}");
            assert_eq!(seen.header("content-type"), [KIND]);
            assert_eq!(seen.header("content-length"), [expected.len().to_string()]);
        }
    }
    // A body of another type names no model: its path decides, and it passes unread.
    let before = two.seen();
    let echo = asks(&daemon, "application/octet-stream", "whisper-1").await;
    let echo = echo.text().await.unwrap();
    assert_eq!((two.last(before).0, echo.as_str()), ("nous", "whisper-1"));
}

/// A form's model is a way to a provider like any other, also for an app whose key is for another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_one_provider_reaches_no_other_by_a_form() {
    let two = Two::new().await;
    two.world.write_config(&two.config(""));
    let key = two.key("a --provider nous");
    let daemon = daemon(
        &two,
        "[aliases]\nmini = \"other/small\"\n[[route]]\nmodels = [\"whisper-*\"]\nprovider = \"other\"\n",
    );
    let asks = async |model: &str| {
        let post = client().post(format!("{}{ECHO}", daemon.origin()));
        let post = post.header("content-type", KIND).bearer_auth(&key);
        let body = form(&[FILE, ("model", model)]);
        post.body(body).send().await.unwrap()
    };
    for model in ["whisper-1", "other/m", "mini"] {
        error(asks(model).await, 404, "unknown_provider").await;
    }
    assert_eq!(two.seen(), (0, 0));
    assert_eq!(asks("hermes").await.status(), 200);
    assert_eq!(two.seen(), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_two_servers_read_in_two_ways_is_refused_and_goes_nowhere() {
    let two = Two::new().await;
    let daemon = daemon(&two, "[aliases]\nmini = \"other/small\"\n");
    let model = |name: &str| form(&[(name, "mini")]);
    let twice = form(&[("\"model\"", "mini"), ("\"model\"", "hermes")]);
    for (kind, body, words) in [
        (KIND, twice.clone(), "`model` twice"),
        (KIND, model("\"Model\""), "another spelling"),
        (
            KIND,
            model("\"model\"").replace("\r\n", "\n"),
            "not a form in the shape",
        ),
        (
            "multipart/form-data",
            model("\"model\""),
            "not a form in the shape",
        ),
        (KIND, model("\"model\"; filename=\"m\""), "not a string"),
    ] {
        let message = error(asks(&daemon, kind, &body).await, 400, "bad_request").await;
        assert!(
            message.contains(words) && message.contains("/NAME/v1"),
            "{message}"
        );
    }
    assert_eq!(two.seen(), (0, 0));
    // What names its provider passes unread.
    let post = client().post(format!("{}/other{ECHO}", daemon.origin()));
    let post = post.header("content-type", KIND).body(twice.clone());
    let echo = post.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(
        (two.last((0, 0)).0, echo.as_ref()),
        ("other", twice.as_bytes())
    );
}
