//! The load: bare HTTP/1.1 connections that are kept, one request after the other on each.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower_service::Service;

use super::common::cloud::Cloud;
use super::common::daemon::Daemon;
use super::common::process::Process;
use super::table;

/// Requests within this time don't count.
const WARM_UP: Duration = Duration::from_millis(50);

type Sender = SendRequest<Full<Bytes>>;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// A whole answer.
    Chat,
    /// A stream of so many events with content.
    Stream(usize),
    /// A stream of an event for each of so many words, as a chat or as a response.
    Words(Wire, usize),
    /// A stream that says one word and then nothing for ten minutes.
    Hang,
    /// A whole answer to a body of 1 MiB, with its model before the messages or behind them.
    Large(Model),
}

/// What an app speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Chat,
    Responses,
}

/// Where a body has its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    First,
    Last,
}

/// A body of this size, in bytes.
const LARGE: usize = 1 << 20;

/// 1 MiB of messages as apps send them: text and code, with an escape in each line.
fn large(place: Model) -> Bytes {
    let model = "\"model\":\"gpt-5-mini\"";
    let line = r#"    let answer = ask("a request of usual length", 7)?;\n"#.replace('"', "\\\"");
    let message = format!("{{\"role\":\"user\",\"content\":\"{}\"}}", line.repeat(200));
    let count = (LARGE - 2 * message.len()) / (message.len() + 1);
    let messages = vec![message; count].join(",");
    let start = match place {
        Model::First => {
            format!("{{{model},\"messages\":[{messages},{{\"role\":\"user\",\"content\":\"")
        }
        Model::Last => format!("{{\"messages\":[{messages},{{\"role\":\"user\",\"content\":\""),
    };
    let end = match place {
        Model::First => "\"}]}".to_owned(),
        Model::Last => format!("\"}}],{model}}}"),
    };
    let rest = "x".repeat(LARGE - start.len() - end.len());
    (start + &rest + &end).into()
}

/// Where the requests go.
#[derive(Clone)]
pub(crate) struct Target {
    uri: Uri,
    token: String,
    connector: HttpsConnector<HttpConnector>,
}

/// One turn's figures.
pub(crate) struct Sample {
    /// Of the process that was asked, for each request.
    pub(crate) cpu: Option<Duration>,
    /// The median, from before the request is sent.
    pub(crate) first_byte: Duration,
}

impl Load {
    /// A request's body, of about 300 bytes.
    fn body(self) -> Bytes {
        match self {
            Self::Large(place) => return large(place),
            Self::Words(wire, count) => return words(wire, count),
            Self::Chat | Self::Stream(_) | Self::Hang => {}
        }
        let mut body = json!({
            "model": "Hermes-4-405B",
            "messages": [
                {"role": "system", "content": "You answer in one short sentence, and kindly."},
                {"role": "user", "content": "A request of usual length: what would a program have \
                    to do to let every app on a machine share one subscription?"},
            ],
            "temperature": 0.7,
            "stream": self != Self::Chat,
        });
        match self {
            Self::Chat | Self::Large(_) | Self::Words(..) => {}
            Self::Stream(events) => body["mock"] = json!({"events": events}),
            Self::Hang => body["mock"] = json!({"delay_chunk_ms": 600_000}),
        }
        body.to_string().into()
    }
}

/// The cloud says what it is asked, word by word.
fn words(wire: Wire, count: usize) -> Bytes {
    let words = vec!["word"; count].join(" ");
    let mut body = json!({"model": "Hermes-4-405B", "stream": true});
    match wire {
        Wire::Chat => body["messages"] = json!([{"role": "user", "content": words}]),
        Wire::Responses => body["input"] = json!(words),
    }
    body.to_string().into()
}

impl Target {
    pub(crate) fn daemon(daemon: &Daemon) -> Self {
        Self::wire(daemon, Wire::Chat)
    }

    /// Where an app that speaks so asks.
    pub(crate) fn wire(daemon: &Daemon, wire: Wire) -> Self {
        let base = format!("http://127.0.0.1:{}/v1", daemon.port);
        let path = match wire {
            Wire::Chat => "/chat/completions",
            Wire::Responses => "/responses",
        };
        Self::new(&format!("{base}{path}"), &daemon.key, rustls_config(None))
    }

    pub(crate) fn cloud(cloud: &Cloud, ca_file: Option<&Path>) -> Self {
        let url = format!("{}/chat/completions", cloud.base_url);
        Self::new(&url, &cloud.token, rustls_config(ca_file))
    }

    fn new(url: &str, token: &str, tls: rustls::ClientConfig) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Self {
            uri: url.parse().expect("a URL"),
            token: format!("Bearer {token}"),
            connector,
        }
    }

    async fn connect(&self, tasks: &mut JoinSet<()>) -> Sender {
        let connecting = self.connector.clone().call(self.uri.clone());
        let stream = connecting.await.expect("a connection");
        let (sender, connection) = http1::handshake(stream).await.expect("a connection");
        tasks.spawn(async move { connection.await.unwrap_or_default() });
        sender
    }

    fn request(&self, body: &Bytes) -> Request<Full<Bytes>> {
        Request::post(self.uri.path())
            .header("host", self.uri.authority().expect("a host").as_str())
            .header("authorization", &self.token)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .header("user-agent", "OpenAI/Python 2.8.0")
            .body(Full::new(body.clone()))
            .expect("a request")
    }
}

fn rustls_config(ca_file: Option<&Path>) -> rustls::ClientConfig {
    hermes_proxy::provider::client_config(ca_file).expect("a trust store")
}

/// Asks on so many connections at once for so long; `process` is the one that is asked.
pub(crate) async fn run(
    target: &Target,
    process: &Process,
    (load, connections): (Load, usize),
    time: Duration,
) -> Sample {
    let mut tasks = JoinSet::new();
    let (body, target) = (load.body(), Arc::new(target.clone()));
    let mut senders = Vec::new();
    for _ in 0..connections {
        senders.push(target.connect(&mut tasks).await);
    }
    // First as many at once as later, so that the daemon has its connections.
    let (senders, _) = ask_all(senders, &target, &body, WARM_UP).await;
    let before = process.cpu();
    let (_, first_bytes) = ask_all(senders, &target, &body, time).await;
    let cpu = before.zip(process.cpu());
    let requests = u32::try_from(first_bytes.len()).unwrap_or(u32::MAX);
    Sample {
        cpu: cpu.map(|(before, after)| after.saturating_sub(before) / requests.max(1)),
        first_byte: table::median(first_bytes),
    }
}

async fn ask_all(
    senders: Vec<Sender>,
    target: &Arc<Target>,
    body: &Bytes,
    time: Duration,
) -> (Vec<Sender>, Vec<Duration>) {
    let end = Instant::now() + time;
    let mut clients = JoinSet::new();
    for sender in senders {
        clients.spawn(ask_until(end, sender, target.clone(), body.clone()));
    }
    let (senders, times): (Vec<_>, Vec<_>) = clients.join_all().await.into_iter().unzip();
    (senders, times.concat())
}

async fn ask_until(
    end: Instant,
    mut sender: Sender,
    target: Arc<Target>,
    body: Bytes,
) -> (Sender, Vec<Duration>) {
    let mut first_bytes = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let mut answer = ask(&mut sender, &target, &body).await;
        first_frame(&mut answer).await;
        first_bytes.push(start.elapsed());
        while let Some(frame) = answer.frame().await {
            frame.expect("a whole answer");
        }
    }
    (sender, first_bytes)
}

/// Opens streams, each on a connection of its own, which stay open until this is dropped.
pub(crate) async fn open_streams(target: &Target, count: usize) -> impl Sized {
    let mut tasks = JoinSet::new();
    let body = Load::Hang.body();
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut sender = target.connect(&mut tasks).await;
        let mut answer = ask(&mut sender, target, &body).await;
        first_frame(&mut answer).await;
        streams.push((sender, answer));
    }
    (streams, tasks)
}

async fn ask(sender: &mut Sender, target: &Target, body: &Bytes) -> Response<Incoming> {
    sender.ready().await.expect("the connection is kept");
    let answer = sender.send_request(target.request(body)).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer
}

async fn first_frame(answer: &mut Response<Incoming>) {
    let frame = answer.frame().await.expect("a body").expect("a byte");
    assert!(frame.is_data());
}
