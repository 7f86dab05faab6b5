//! The mock cloud is as strict as the real one wherever the daemon's promises depend on it.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use mock_cloud::{Endpoint, Fault, Marked, MockCloud, Options, PortalFault, pattern};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

async fn refresh(cloud: &MockCloud, token: &str) -> (u16, Value) {
    let answer = reqwest::Client::new()
        .post(format!("{}/api/oauth/token", cloud.portal_url()))
        .header("x-nous-refresh-token", token)
        .form(&[("grant_type", "refresh_token"), ("client_id", "hermes-cli")])
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn models(cloud: &MockCloud, bearer: &str) -> u16 {
    let url = format!("{}/models", cloud.inference_base_url());
    let answer = reqwest::Client::new()
        .get(url)
        .bearer_auth(bearer)
        .send()
        .await
        .unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_the_second_time_ends_the_login() {
    let cloud = MockCloud::start(Options::default()).await;
    let login = cloud.login();
    let (status, first) = refresh(&cloud, &login.refresh_token).await;
    assert_eq!(status, 200);
    let bearer = first["access_token"].as_str().unwrap();
    assert_eq!(models(&cloud, bearer).await, 200);
    let (status, error) = refresh(&cloud, &login.refresh_token).await;
    assert_eq!(
        (status, error["error"].as_str()),
        (400, Some("invalid_grant"))
    );
    assert_eq!(models(&cloud, bearer).await, 401);
    let (status, _) = refresh(&cloud, first["refresh_token"].as_str().unwrap()).await;
    assert_eq!(status, 400);
    assert!(!cloud.is_alive(login.family));
    assert_eq!(cloud.counts().reuse_events, 1);
}

#[tokio::test]
async fn an_expired_or_unknown_bearer_is_refused() {
    let cloud = MockCloud::start(Options::default()).await;
    let login = cloud.login();
    assert_eq!(models(&cloud, "anything").await, 401);
    assert_eq!(models(&cloud, &login.access_token).await, 200);
    cloud.advance(Duration::from_hours(1));
    assert_eq!(models(&cloud, &login.access_token).await, 401);
}

#[tokio::test]
async fn a_rotation_whose_answer_is_lost_has_happened() {
    let cloud = MockCloud::start(Options::default()).await;
    let login = cloud.login();
    cloud.fail_portal(Endpoint::Refresh, 1, &PortalFault::DropAfterCommit);
    let lost = reqwest::Client::new()
        .post(format!("{}/api/oauth/token", cloud.portal_url()))
        .header("x-nous-refresh-token", &login.refresh_token)
        .form(&[("grant_type", "refresh_token"), ("client_id", "hermes-cli")])
        .send()
        .await;
    assert!(lost.is_err());
    assert_eq!(cloud.counts().refreshes, 1);
    assert_ne!(
        cloud.current_refresh_token(login.family),
        Some(login.refresh_token)
    );
}

#[tokio::test]
async fn a_device_code_is_pending_until_the_user_decides_and_polls_have_a_pace() {
    let cloud = MockCloud::start(Options::default()).await;
    let http = reqwest::Client::new();
    let code: Value = http
        .post(format!("{}/api/oauth/device/code", cloud.portal_url()))
        .form(&[("client_id", "hermes-cli"), ("scope", "inference:invoke")])
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let poll = async || {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", "hermes-cli"),
            ("device_code", code["device_code"].as_str().unwrap()),
        ];
        let url = format!("{}/api/oauth/token", cloud.portal_url());
        http.post(url)
            .form(&form)
            .send()
            .await
            .unwrap()
            .json::<Value>()
            .await
            .unwrap()
    };
    assert_eq!(poll().await["error"], "authorization_pending");
    assert_eq!(poll().await["error"], "slow_down");
    cloud.approve(code["user_code"].as_str().unwrap());
    cloud.advance(Duration::from_secs(10));
    let bearer = poll().await["access_token"].clone();
    assert_eq!(models(&cloud, bearer.as_str().unwrap()).await, 200);
    assert_eq!(cloud.counts().early_polls, 1);
}

#[tokio::test]
async fn a_stream_in_pieces_is_the_announced_bytes() {
    let cloud = MockCloud::start(Options::default()).await;
    let login = cloud.login();
    let url = format!("{}/sse?events=20&chunk=3", cloud.inference_base_url());
    let answer = reqwest::Client::new()
        .get(url)
        .bearer_auth(&login.access_token)
        .send();
    assert_eq!(
        answer.await.unwrap().bytes().await.unwrap(),
        pattern::sse(20)
    );
    let whole = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let url = format!("{}/chat/completions", cloud.inference_base_url());
    let chat = reqwest::Client::new()
        .post(url)
        .bearer_auth(&login.access_token)
        .json(&whole);
    let chat: Value = chat.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        chat["choices"][0]["message"]["content"],
        pattern::reply_to("hi")
    );
}

#[tokio::test]
async fn a_closed_port_refuses_and_opens_again() {
    let cloud = MockCloud::start(Options::default()).await;
    let login = cloud.login();
    cloud.set_inference_open(false).await;
    let url = format!("{}/models", cloud.inference_base_url());
    assert!(reqwest::Client::new().get(&url).send().await.is_err());
    cloud.set_inference_open(true).await;
    assert_eq!(models(&cloud, &login.access_token).await, 200);
}

#[tokio::test]
async fn within_the_grace_a_token_spent_just_now_gets_the_same_answer_again() {
    let cloud = MockCloud::start(Options::default().grace(Duration::from_secs(10))).await;
    let login = cloud.login();
    let (_, first) = refresh(&cloud, &login.refresh_token).await;
    let (status, again) = refresh(&cloud, &login.refresh_token).await;
    assert_eq!((status, &again), (200, &first));
    let counts = cloud.counts();
    assert_eq!((counts.refreshes, counts.reissues), (1, 1));
    // Once the successor is spent too, the first one is a reuse.
    let (status, _) = refresh(&cloud, first["refresh_token"].as_str().unwrap()).await;
    assert_eq!(status, 200);
    let (status, _) = refresh(&cloud, &login.refresh_token).await;
    assert_eq!((status, cloud.counts().reuse_events), (400, 1));

    let login = cloud.login();
    refresh(&cloud, &login.refresh_token).await;
    cloud.advance(Duration::from_secs(11));
    let (status, _) = refresh(&cloud, &login.refresh_token).await;
    assert_eq!(status, 400, "the grace is over");
}

#[tokio::test]
async fn a_call_tells_when_its_token_was_spent_and_when_it_was_answered() {
    let cloud = MockCloud::start(Options::default()).await;
    let login = cloud.login();
    let pause = Duration::from_millis(30);
    let slow = PortalFault::DelayAfterCommit(pause);
    cloud.fail_portal(Endpoint::Refresh, 1, &slow);
    let (_, answer) = refresh(&cloud, &login.refresh_token).await;
    let next = answer["refresh_token"].as_str().unwrap();
    cloud.fail_portal(Endpoint::Refresh, 1, &PortalFault::CutAfterCommit);
    let cut = reqwest::Client::new()
        .post(format!("{}/api/oauth/token", cloud.portal_url()))
        .header("x-nous-refresh-token", next)
        .form(&[("grant_type", "refresh_token"), ("client_id", "hermes-cli")])
        .send()
        .await
        .unwrap();
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err(), "the answer is cut");
    refresh(&cloud, "unknown").await;
    cloud.portal_is_quiet().await;
    let calls = cloud.calls();
    let committed = calls[0].committed.unwrap();
    assert!(calls[0].received <= committed);
    assert!(calls[0].answered.unwrap() - committed >= pause);
    assert!(calls[1].committed.is_some() && calls[1].answered.is_some());
    assert!(calls[2].committed.is_none() && calls[2].answered.is_some());
}

#[tokio::test]
async fn its_clock_may_stand_elsewhere() {
    let cloud = MockCloud::start(Options::default().clock_ahead(-3600)).await;
    let login = cloud.login();
    assert_eq!(models(&cloud, &login.access_token).await, 200);
    cloud.advance(Duration::from_hours(1));
    assert_eq!(models(&cloud, &login.access_token).await, 401);
    cloud.put_back(Duration::from_hours(1));
    assert_eq!(models(&cloud, &login.access_token).await, 200);
    cloud.revoke_access_token(&login.access_token);
    assert_eq!(models(&cloud, &login.access_token).await, 401);
}

async fn ask(cloud: &MockCloud, bearer: &str, path: &str, body: &Value) -> String {
    let answer = reqwest::Client::new()
        .post(format!("{}{path}", cloud.inference_base_url()))
        .bearer_auth(bearer)
        .json(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

#[tokio::test]
async fn structured_output_fits_the_schema_that_was_asked_for() {
    let cloud = MockCloud::start(Options::default()).await;
    let bearer = cloud.login().access_token;
    let schema = json!({
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "kind": {"enum": ["page", "image"]},
            "pages": {"type": ["integer", "null"]},
        },
        "$defs": {"tag": {"type": "string"}},
    });
    let wanted = json!({"tags": [pattern::reply_to("x")], "kind": "page", "pages": 7});
    let parts = json!([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {}}]);
    let chat = json!({
        "messages": [{"role": "user", "content": parts}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
    });
    let answer: Value =
        serde_json::from_str(&ask(&cloud, &bearer, "/chat/completions", &chat).await).unwrap();
    let text = answer.pointer("/choices/0/message/content").unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap(),
        wanted
    );

    let response = json!({
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "text": {"format": {"type": "json_schema", "schema": schema}},
    });
    let answer: Value =
        serde_json::from_str(&ask(&cloud, &bearer, "/responses", &response).await).unwrap();
    let text = answer.pointer("/output/0/content/0/text").unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap(),
        wanted
    );
}

#[tokio::test]
async fn a_streamed_response_says_the_same_as_a_whole_one() {
    let cloud = MockCloud::start(Options::default()).await;
    let bearer = cloud.login().access_token;
    let mut request = json!({"model": "m", "input": "is anybody there?"});
    let whole: Value =
        serde_json::from_str(&ask(&cloud, &bearer, "/responses", &request).await).unwrap();
    request["stream"] = json!(true);
    let stream = ask(&cloud, &bearer, "/responses", &request).await;
    let events: Vec<Value> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let text: String = events
        .iter()
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(text, pattern::reply_to("is anybody there?"));
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"], whole);
    assert_eq!(last["sequence_number"], events.len() - 1);
}

#[tokio::test]
async fn a_marked_request_is_counted_by_itself_and_gets_its_own_faults() {
    let cloud = MockCloud::start(Options::default()).await;
    let token = cloud.login().access_token;
    cloud.mark(7, vec![Fault::unauthorized()]);
    let base = cloud.inference_base_url();
    let mut statuses = Vec::new();
    for mark in ["8", "7", "7", "77"] {
        let url = format!("{base}/models?limit=1&mark={mark}");
        let asking = reqwest::Client::new().get(url).bearer_auth(&token).send();
        statuses.push(asking.await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 401, 200, 200]);
    let (seen, refused) = (2, 1);
    assert_eq!(cloud.unmark(7), Marked { seen, refused });
    assert_eq!(cloud.unmark(7), Marked::default());
}

#[tokio::test]
async fn who_waits_for_a_part_of_a_body_is_told_of_it_before_its_end() {
    let cloud = MockCloud::start(Options::default()).await;
    let base = cloud.inference_base_url();
    let address = base
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let token = cloud.login().access_token;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-length: 100\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let limit = Duration::from_secs(10);
    cloud
        .wait_for(limit, |cloud| cloud.counts().requests == 1)
        .await;
    let came = |cloud: &MockCloud| cloud.requests()[0].body_bytes == 3;
    let waiting = cloud.wait_for(limit, came);
    let (sent, ()) = tokio::join!(stream.write_all(b"abc"), waiting);
    sent.unwrap();
}
