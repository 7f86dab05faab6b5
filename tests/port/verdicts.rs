//! The adapter decides what a provider's answer means, even by the beginning of its body.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use hermes_proxy::clients::Registry;
use hermes_proxy::clock::SystemClock;
use hermes_proxy::config::{
    AllowedPath, Guard, HttpVersion, Limits, ListenAddress, Listener, ProviderName, Timeouts,
    UserAgent,
};
use hermes_proxy::credentials::{
    Initiative, KeeperContext, KeeperSettings, LoginPool, StoreFiles, Strategy,
};
use hermes_proxy::provider::{
    Adapter, Assessment, BaseUrl, BearerKind, Credential, Grant, Layout, Login, ProviderReply,
    Remedy, Renewal, TokenError, Verdict, client_config,
};
use hermes_proxy::proxy::{
    ConnectionService, ConnectionSlots, Counters, Gateway, GatewayRules, ModelListCache, Port,
    Upstream, UpstreamClient, bind_all, draw_mark, open,
};
use hermes_proxy::secret::Secret;
use support::client;
use support::wire::{OK, Wire, read_request};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A provider whose 403 has two meanings. Its key is another one each time that it is asked for.
#[derive(Debug)]
struct Fussy {
    name: ProviderName,
    paths: Vec<AllowedPath>,
    base: BaseUrl,
    renewals: AtomicU64,
}

#[async_trait]
impl Adapter for Fussy {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn display_name(&self) -> &'static str {
        "Fussy"
    }

    fn allowed_paths(&self) -> &[AllowedPath] {
        &self.paths
    }

    fn remedy(&self) -> Remedy {
        Remedy::Advice("ask again".to_owned())
    }

    fn layout(&self) -> Option<&'static dyn Layout> {
        None
    }

    fn assess(&self, _login: &Login, _now: DateTime<Utc>) -> Assessment {
        let number = self.renewals.fetch_add(1, Ordering::SeqCst);
        let bearer = Secret::new(format!("key{number}"));
        Assessment::Login {
            credential: Some(Credential {
                authorization: bearer.authorization("Bearer").unwrap(),
                bearer,
                base_url: self.base.clone(),
                kind: BearerKind::API_KEY,
                issued_at: None,
                expires_at: None,
                headers: Vec::new(),
            }),
            renewal: Renewal::Never,
        }
    }

    async fn renew(&self, _login: &Login, _renewal: Renewal) -> Result<Grant, TokenError> {
        Err(TokenError::AccessTokenRefused)
    }

    fn apply(&self, _login: &mut Login, _grant: Grant, _now: DateTime<Utc>) {}

    fn verdict(&self, reply: &ProviderReply<'_>) -> Verdict {
        match (reply.status.as_u16(), reply.start) {
            (403, None) => Verdict::ReadOn,
            (403, Some(start)) if start.starts_with(b"{\"stale\"") => Verdict::RenewAndRetry,
            _ => Verdict::Pass,
        }
    }
}

struct World {
    url: String,
    adapter: Arc<Fussy>,
    stop: CancellationToken,
    _ports: Vec<Port>,
    _home: tempfile::TempDir,
}

fn files_in(home: &std::path::Path) -> StoreFiles {
    StoreFiles {
        own: home.join("own.json"),
        journal: home.join("journal"),
        active: home.join("auth.json"),
        global: home.join("auth.json"),
        shared: home.join("shared"),
    }
}

fn tls() -> rustls::ClientConfig {
    client_config(None).unwrap()
}

fn settings() -> KeeperSettings {
    KeeperSettings {
        refresh_lead: Duration::from_mins(5),
        token_timeout: Duration::from_secs(1),
        wait: Duration::from_secs(5),
        initiative: Initiative::Keeps,
        audience: None,
    }
}

impl World {
    async fn new(wire: &Wire) -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock);
        let name = ProviderName::new("fussy").unwrap();
        let paths = vec![AllowedPath::new("/models", &[hyper::Method::GET])];
        let adapter = Arc::new(Fussy {
            name: name.clone(),
            paths: paths.clone(),
            base: BaseUrl::new(&wire.base_url().parse().unwrap()).unwrap(),
            renewals: AtomicU64::new(0),
        });
        let files = files_in(home.path());
        let terms = KeeperContext {
            adapter: adapter.clone(),
            settings: settings(),
            optional: false,
            strategy: Strategy::default(),
        };
        let credentials = LoginPool::start(terms, files, clock.clone(), &TaskTracker::new());
        let stop = CancellationToken::new();
        credentials.started().await;
        let timeouts = Timeouts::default();
        let upstream = Upstream {
            doubted: std::sync::atomic::AtomicBool::new(false),
            name: name.clone(),
            label: "fussy".into(),
            display_name: "Fussy".to_owned(),
            implied: false,
            labels: vec!["/models".into()],
            tallies: vec![Arc::default()],
            paths,
            adapter: adapter.clone(),
            credentials,
            client: UpstreamClient::new(tls(), HttpVersion::Auto, &timeouts, clock.clone(), None),
            forward_headers: Vec::new(),
            forward_prefix: None,
            needs_key: false,
            path_translations: vec![],
            dialects: Vec::new(),
            user_agent: UserAgent::Own,
            own_mark: None,
            append_done: false,
            keep_alive_comment: Duration::ZERO,
            counters: Arc::new(Counters::default()),
            models: ModelListCache::default(),
        };
        let rules = GatewayRules {
            guard: Guard::default(),
            limits: Limits::default(),
            timeouts,
            // Each request is to reach the provider.
            models_cache: Duration::ZERO,
            upstreams: vec![Arc::new(upstream)],
            mark: draw_mark(),
            default_provider: name,
            routing: None,
        };
        let clients = Registry::open(home.path().join("clients.json"), clock).unwrap();
        let service = ConnectionService {
            gateway: Arc::new(Gateway::new(rules, clients)),
            places: ConnectionSlots::new(16),
            drain: stop.child_token(),
            abort: stop.child_token(),
            tracker: TaskTracker::new(),
            look: Arc::default(),
        };
        let listener = Listener {
            address: ListenAddress::Ip("127.0.0.1:0".parse().unwrap()),
            ..Listener::default()
        };
        let ports = open(bind_all(&[listener], Vec::new()).unwrap(), &service);
        Self {
            url: format!("{}/models", ports.first().unwrap().url()),
            adapter,
            stop,
            _ports: ports,
            _home: home,
        }
    }

    fn renewals(&self) -> u64 {
        self.adapter.renewals.load(Ordering::SeqCst)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A provider that refuses the first key with this answer, piece by piece.
async fn refusing(pieces: Vec<String>, closes: bool) -> Wire {
    Wire::start(move |mut stream, _| {
        let pieces = pieces.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                if !request.contains("key0") {
                    stream.write_all(OK.as_bytes()).await.unwrap();
                    continue;
                }
                for piece in &pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if closes {
                    return;
                }
            }
        }
    })
    .await
}

fn head(length: usize) -> String {
    format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_only_its_body_tells_is_replayed_with_another_credential() {
    let pieces = [head(15), "{\"sta".to_owned(), "le\":true }".to_owned()];
    let wire = refusing(pieces.to_vec(), false).await;
    let world = World::new(&wire).await;
    let answer = client().get(&world.url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "{}");
    assert_eq!(world.renewals(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_another_reason_passes_byte_for_byte_whatever_was_read_ahead() {
    for pieces in [
        vec![head(0)],
        vec![head(2), "no".to_owned()],
        vec![head(4), "n".to_owned(), "o, ".to_owned()],
        vec![head(50_000), "x".repeat(9000), "x".repeat(41_000)],
    ] {
        let sent: String = pieces[1..].concat();
        let wire = refusing(pieces, false).await;
        let world = World::new(&wire).await;
        let answer = client().get(&world.url).send().await.unwrap();
        assert_eq!(answer.status(), 403);
        assert_eq!(answer.content_length(), Some(sent.len() as u64));
        assert_eq!(answer.text().await.unwrap(), sent);
        assert_eq!(world.renewals(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_while_it_was_read_ahead_never_looks_complete() {
    let wire = refusing(vec![head(10), "cut".to_owned()], true).await;
    let world = World::new(&wire).await;
    let answer = client().get(&world.url).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!(answer.bytes().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_waited_for_only_for_a_moment() {
    let wire = refusing(vec![head(10), "slow".to_owned()], false).await;
    let world = World::new(&wire).await;
    let began = Instant::now();
    let answer = client().get(&world.url).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
}
