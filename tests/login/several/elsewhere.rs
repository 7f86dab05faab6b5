//! Other hosts in a store, an answer or a request: no bearer and no refresh token goes there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use mock_cloud::{Canned, Endpoint, Fault, PortalFault};
use serde_json::json;
use support::several::Several;
use support::{chat, client, ctl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Every connection is recorded with its bytes, and refused.
pub(crate) struct Stranger {
    pub(crate) address: String,
    heard: Arc<Mutex<Vec<String>>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Stranger {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = heard.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let listening = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                hear(stream, &notes).await;
            }
        });
        Self {
            address,
            heard,
            listening,
        }
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn hear(mut stream: TcpStream, notes: &Mutex<Vec<String>>) {
    let mut head = vec![0; 4096];
    let read = stream.read(&mut head).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    notes.lock().unwrap().push(head);
    let refusal = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(refusal.as_bytes()).await.ok();
}

/// What a base URL or an endpoint in the store may look like that is not the provider's.
pub(crate) const POISONS: [&str; 14] = [
    "https://stranger.example/v1",
    "http://stranger.example/v1",
    "http://inference-api.nousresearch.com/v1",
    "http://api.x.ai/v1",
    "https://inference-api.nousresearch.com.stranger.example/v1",
    "https://inference-api.nousresearch.com@stranger.example/v1",
    "https://stranger.example\\@api.x.ai/v1",
    "https://stranger.example/?api.x.ai",
    "https://stranger.example#.x.ai",
    "https://api.x.ai.stranger.example/v1",
    "https://strangerx.ai/v1",
    "//stranger.example",
    "https://api.x.ai\u{ff0f}stranger.example",
    "",
];

fn plant(world: &Several, poison: &str) {
    world.edit_store(|store| {
        let nous = &mut store["providers"]["nous"];
        nous["inference_base_url"] = json!(poison);
        nous["portal_base_url"] = json!(poison);
        store["credential_pool"]["nous"][0]["inference_base_url"] = json!(poison);
        let xai = &mut store["providers"]["xai-oauth"];
        xai["base_url"] = json!(poison);
        xai["discovery"] =
            json!({"token_endpoint": poison, "device_authorization_endpoint": poison});
        let tokens = xai["tokens"].clone();
        let row = json!({
            "id": "ab12cd", "source": "device_code", "auth_type": "oauth", "priority": 0,
            "base_url": poison, "access_token": tokens["access_token"],
            "refresh_token": tokens["refresh_token"],
        });
        store["credential_pool"]["xai-oauth"] = json!([row]);
    });
}

/// Everything goes through a proxy of the environment, which hears of each host that is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_in_the_store_leads_to_no_other_host() {
    for poison in POISONS {
        let world = Several::new().await;
        let proxy = Stranger::listen().await;
        plant(&world, poison);
        world.write_config("[providers.nous]\n[providers.xai]\n");
        let mut command = world.command(&[]);
        command
            .env_remove("HERMES_PORTAL_BASE_URL")
            .env_remove("NOUS_INFERENCE_BASE_URL");
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env(name, format!("http://{}", proxy.address));
        }
        let daemon = support::Daemon::start(command, world.path());
        for path in ["/nous/v1/chat/completions", "/xai/v1/responses"] {
            let post = client().post(format!("{}{path}", daemon.origin()));
            let status = post.json(&chat("x")).send().await.unwrap().status();
            assert!(status.is_server_error(), "{poison}: {path}: {status}");
        }
        for provider in ["nous", "xai"] {
            let output = ctl(world.path(), &["auth", "refresh", provider]);
            assert!(!output.status.success(), "{poison}: {output:?}");
        }
        let heard = proxy.heard();
        let hosts: BTreeSet<_> = heard
            .iter()
            .map(|head| head.split("\r\n").next().unwrap_or_default())
            .collect();
        for host in [
            "inference-api.nousresearch.com",
            "api.x.ai",
            "portal.nousresearch.com",
        ] {
            let line = format!("CONNECT {host}:443 HTTP/1.1");
            assert!(hosts.contains(line.as_str()), "{poison}: {host}: {hosts:?}");
        }
        let allowed = [
            "inference-api.nousresearch.com",
            "portal.nousresearch.com",
            "api.x.ai",
            "auth.x.ai",
        ]
        .map(|host| format!("CONNECT {host}:443 HTTP/1.1"));
        for line in hosts {
            assert!(allowed.iter().any(|ours| ours == line), "{poison}: {line}");
        }
        let secrets = [world.nous.issued_secrets(), world.xai.issued_secrets()].concat();
        for (head, secret) in heard
            .iter()
            .flat_map(|head| secrets.iter().map(move |secret| (head, secret)))
        {
            assert!(!head.contains(secret.as_str()), "{poison}: {head}");
        }
    }
}

/// Answers of a provider, and of its token endpoint, that name another host in every way that HTTP has.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_names_another_host_leads_nobody_there() {
    let world = Several::new().await;
    let stranger = Stranger::listen().await;
    let origin = format!("http://{}", stranger.address);
    world.configure("");
    let daemon = world.daemon(&[]);
    let clouds = [
        (&world.nous, "/nous/v1/chat/completions"),
        (&world.xai, "/xai/v1/responses"),
        (&world.fixed, "/fixed/v1/chat/completions"),
    ];
    let ways = [201, 300, 301, 302, 303, 305, 307, 308, 401, 421, 503].map(|status| {
        Canned::status(status)
            .header("location", format!("{origin}/v1/chat/completions"))
            .header("content-location", format!("{origin}/v1/chat/completions"))
            .header("alt-svc", format!("h2=\"{}\"; ma=86400", stranger.address))
            .header("refresh", format!("0; url={origin}/"))
            .header("link", format!("<{origin}>; rel=preconnect"))
    });
    for way in &ways {
        for (cloud, path) in clouds {
            for _ in 0..2 {
                cloud.fail_next(2, &Fault::Answer(way.clone()));
                let post = client().post(format!("{}{path}", daemon.origin()));
                let answer = post.json(&chat("x")).send().await.unwrap();
                let told = format!("{:?}", answer.headers().get("location"));
                let leads = answer.status().is_redirection() && told.contains(&origin);
                assert!(!leads, "{path}: {} {told}", answer.status());
            }
            cloud.heal();
        }
    }
    for cloud in [&world.nous, &world.xai] {
        for status in [301, 302, 303, 307, 308] {
            let moved = Canned::redirect(status, &format!("{origin}/api/oauth/token"));
            cloud.fail_portal(Endpoint::Refresh, 1, &PortalFault::Answer(moved));
        }
    }
    for provider in ["nous", "xai"] {
        let output = ctl(world.path(), &["auth", "refresh", provider]);
        assert!(!output.status.success(), "{output:?}");
    }
    assert_eq!(stranger.heard(), [""; 0]);
}

/// A model's name, which routes may read, is not an address.
#[tokio::test(flavor = "multi_thread")]
async fn a_models_name_with_odd_bytes_reaches_no_other_host_and_no_other_provider() {
    const ROUTES: &str = "[[route]]\nmodels = [\"grok-*\", \"*:*\"]\nprovider = \"xai\"\n\
                          [[route]]\nmodels = [\"never\"]\nprovider = \"fixed\"\n";
    for routes in ["", ROUTES] {
        let world = Several::new().await;
        let stranger = Stranger::listen().await;
        world.configure(&format!("default_provider = \"xai\"\n{routes}"));
        let daemon = world.daemon(&[]);
        let models = odd_models(&stranger.address);
        for model in &models {
            let body = format!("{{\"model\": \"{model}\", \"input\": \"x\"}}");
            let post = client()
                .post(daemon.url("/responses"))
                .header("content-type", "application/json");
            let status = post.body(body).send().await.unwrap().status();
            assert!(status.as_u16() < 500, "{model:.80}: {status}");
            let get = client().get(daemon.url(&format!("/models/{}", url_encoded(model))));
            get.send().await.unwrap();
        }
        let asked = world.xai.counts().requests;
        let all = u64::try_from(models.len()).unwrap();
        assert!(asked >= if routes.is_empty() { all } else { 1 }, "{asked}");
        // With routes the list of models is made of all providers' lists.
        let is_list = |seen: &mock_cloud::Seen| seen.method == "GET" && seen.target == "/v1/models";
        for cloud in [&world.nous, &world.acme, &world.fixed] {
            let seen = cloud.requests();
            assert!(!routes.is_empty() || seen.is_empty(), "{seen:?}");
            assert!(seen.iter().all(is_list), "{seen:?}");
        }
        assert_eq!(stranger.heard(), [""; 0]);
    }
}

/// In JSON form.
fn odd_models(at: &str) -> [String; 12] {
    [
        format!("http://{at}/v1"),
        format!("//{at}/"),
        format!("@{at}/x"),
        format!("fixed@{at}/x"),
        format!("grok-/../../{at}"),
        format!("grok-\\\\..\\\\{at}"),
        format!("x\\r\\nHost: {at}\\r\\n\\r\\nGET / HTTP/1.1"),
        format!("x\\u0000http://{at}"),
        format!("%2f%2f{at}"),
        format!("\u{2028}\u{ff0f}\u{ff0f}{at}"),
        "\\ud800".to_owned(),
        "x".repeat(70_000),
    ]
}

fn url_encoded(text: &str) -> String {
    let byte = |byte: u8| format!("%{byte:02x}");
    text.bytes().take(2000).map(byte).collect()
}
