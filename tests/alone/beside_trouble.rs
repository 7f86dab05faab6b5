//! Four providers in one daemon under load: a portal hangs or is gone, a pool's logins are all exhausted, one has no
//! login. The fourth is served as if it were alone.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and measures real time"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mock_cloud::{Canned, Endpoint, Fault, Login, MockCloud, Options, PortalFault, pattern};
use serde_json::{Value, json};
use support::several::Several;
use support::{Daemon, chat, client};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const APPS: usize = 4;
/// How many apps use each failing provider.
const OTHERS: usize = 3;
/// What each app asks.
const ASKED: usize = 100;

/// How one provider was served.
#[derive(Debug, Default)]
struct Figures {
    times: Vec<Duration>,
    failed: Vec<String>,
}

impl Figures {
    fn quantile(&self, percent: usize) -> Duration {
        self.times[(self.times.len() * percent / 100).min(self.times.len() - 1)]
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |percent| self.quantile(percent).as_secs_f64() * 1000.0;
        let (asked, failed) = (self.times.len(), self.failed.len());
        let (half, most) = (ms(50), ms(99));
        write!(
            f,
            "{asked} requests, {failed} failed, p50 {half:.2} ms, p99 {most:.2} ms"
        )
    }
}

/// Whole answers and streams in turn, by several apps; each must be what the provider sent.
async fn measured(daemon: &Daemon) -> Figures {
    let url = format!("{}/fourth/v1/chat/completions", daemon.origin());
    let mut apps = JoinSet::new();
    for _ in 0..APPS {
        let url = url.clone();
        apps.spawn(async move {
            let (client, mut figures) = (client(), Figures::default());
            for number in 0..ASKED {
                let mut request = chat("hello");
                request["stream"] = json!(number % 4 == 0);
                let began = Instant::now();
                let answer = client.post(&url).json(&request).send().await.unwrap();
                let status = answer.status();
                let text = answer
                    .text()
                    .await
                    .unwrap_or_else(|error| error.to_string());
                figures.times.push(began.elapsed());
                let whole = if number % 4 == 0 {
                    text.ends_with("data: [DONE]\n\n")
                } else {
                    text.contains(&pattern::reply_to("hello"))
                };
                if status != 200 || !whole {
                    figures.failed.push(format!("{status} {text}"));
                }
            }
            figures
        });
    }
    let mut all = Figures::default();
    for figures in apps.join_all().await {
        all.times.extend(figures.times);
        all.failed.extend(figures.failed);
    }
    all.times.sort_unstable();
    all
}

/// Apps of the others, which go on asking; what they were answered.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<Mutex<BTreeMap<(&'static str, u16), usize>>>,
    apps: JoinSet<()>,
}

impl Load {
    fn begin(daemon: &Daemon, key: &str) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut load = Self {
            over,
            answered,
            apps: JoinSet::new(),
        };
        for path in [
            "/nous/v1/chat/completions",
            "/xai/v1/responses",
            "/acme/v1/chat/completions",
            "/openai-codex/v1/responses",
        ] {
            for _ in 0..OTHERS {
                let key = key.to_owned();
                let url = format!("{}{path}", daemon.origin());
                let asked = if path.ends_with("responses") {
                    json!({"model": "gpt-5.3-codex", "input": "x", "stream": true, "store": false})
                } else {
                    chat("x")
                };
                let (over, answered) = (load.over.clone(), load.answered.clone());
                load.apps.spawn(async move {
                    let client = client();
                    while !over.load(Ordering::Relaxed) {
                        let post = client.post(&url).bearer_auth(&key).json(&asked);
                        let answer = post.send().await.unwrap();
                        let status = answer.status().as_u16();
                        answer.bytes().await.ok();
                        *answered.lock().unwrap().entry((path, status)).or_default() += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                });
            }
        }
        load
    }

    async fn end(self) -> BTreeMap<(&'static str, u16), usize> {
        self.over.store(true, Ordering::Relaxed);
        self.apps.join_all().await;
        self.answered.lock().unwrap().clone()
    }
}

/// A fourth provider, whose cloud takes its key.
async fn fourth(world: &Several) -> (MockCloud, String) {
    let cloud = MockCloud::start(Options::default().record(false)).await;
    let key = world.path().join("fourth.key");
    std::fs::write(&key, cloud.login().access_token).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    let config = format!(
        "[providers.fourth]\ntype = \"static\"\nbase_url = {:?}\napi_key_file = {:?}\n",
        cloud.inference_base_url(),
        key.to_str().unwrap()
    );
    (cloud, config)
}

/// What the others have.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// Nothing, except the one without a login: the work of the fourth, and no more.
    None,
    Hangs,
    IsGone,
}

/// OpenAI Codex with its cloud and login. If it is to fail, its plan is used up for an hour.
async fn codex(world: &Several, trouble: Trouble) -> (MockCloud, Login, String) {
    let cloud = MockCloud::start(Options::default().record(false).codex("acc-0001", None)).await;
    let login = cloud.login();
    world.edit_store(|store| {
        store["providers"]["openai-codex"] = json!({
            "tokens": {"access_token": login.access_token, "refresh_token": login.refresh_token},
            "last_refresh": login.expires_at.to_rfc3339(), "auth_mode": "chatgpt",
        });
    });
    let error = json!({"error": {
        "type": "usage_limit_reached", "message": "The usage limit has been reached",
        "plan_type": "plus", "resets_in_seconds": 3600, "resets_at": 4_000_000_000_u64,
    }});
    if trouble != Trouble::None {
        cloud.break_inference(Fault::Answer(Canned::json(429, &error)));
    }
    let config = format!(
        "[providers.openai-codex]\nissuer_url = {:?}\nbase_url = {:?}\n",
        cloud.portal_url(),
        cloud.codex_base_url()
    );
    (cloud, login, config)
}

fn state(daemon: &Daemon, provider: &str) -> Value {
    let status = tokio::task::block_in_place(|| daemon.status());
    let providers = status["providers"].as_array().unwrap();
    let found = providers.iter().find(|one| one["name"] == provider);
    found.unwrap_or(&Value::Null)["state"].clone()
}

/// How the fourth is served beside the others, and what those answered meanwhile.
async fn beside(trouble: Trouble) -> (Figures, BTreeMap<(&'static str, u16), usize>) {
    let world = Several::new().await;
    let (_cloud, config) = fourth(&world).await;
    world.configure("default_provider = \"fourth\"\n[timeouts]\ncredential = \"1s\"\n");
    world.append_config(&config);
    let (codex, login, config) = codex(&world, trouble).await;
    world.append_config(&config);
    let added = support::ctl(world.path(), &["clients", "add", "app"]);
    let key = String::from_utf8(added.stdout).unwrap().trim().to_owned();
    // There is no login at acme. The logins of another are exhausted, whichever is used.
    world.pool_of_xai(3);
    let gate = Arc::new(Semaphore::new(0));
    if trouble != Trouble::None {
        world.xai.break_inference(Fault::rate_limited(60));
        if trouble == Trouble::Hangs {
            let held = PortalFault::HeldBefore(gate.clone());
            world.nous.break_portal(Endpoint::Refresh, held);
        } else {
            world.nous.set_portal_open(false).await;
        }
        world.nous.revoke_access_tokens();
    }
    let daemon = world.daemon(&[]);
    let load = Load::begin(&daemon, &key);
    // They are at it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let with = measured(&daemon).await;
    assert_eq!(state(&daemon, "fourth"), "ready");
    let reloaded = support::ctl(world.path(), &["proxy", "reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    let answered = load.end().await;
    assert!(codex.is_alive(login.family));
    assert_eq!(
        [&world.nous, &world.xai, &codex].map(|cloud| cloud.counts().reuse_events),
        [0; 3]
    );
    gate.add_permits(100);
    (with, answered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fourth_provider_is_served_as_if_the_others_were_well_or_not_there() {
    let _turn = support::turn();
    let alone = Several::new().await;
    let (_cloud, config) = fourth(&alone).await;
    alone.write_config(&format!("default_provider = \"fourth\"\n{config}"));
    let without = {
        let daemon = alone.daemon(&[]);
        measured(&daemon).await;
        measured(&daemon).await
    };
    println!("alone: {without}");
    assert_eq!(without.failed, [""; 0]);

    let mut beside_well = None;
    for trouble in [Trouble::None, Trouble::Hangs, Trouble::IsGone] {
        let (with, answered) = beside(trouble).await;
        println!("beside others, trouble: {trouble:?}: {with}");
        println!("the others meanwhile: {answered:?}");
        assert_eq!(with.failed, [""; 0]);
        let refused = answered.keys().all(|(_, status)| *status >= 400);
        assert_eq!(refused, trouble != Trouble::None, "{answered:?}");
        for path in ["/nous/", "/xai/", "/acme/", "/openai-codex/"] {
            let some = answered.keys().any(|(asked, _)| asked.starts_with(path));
            assert!(some, "{path} was not asked: {answered:?}");
        }
        // The machine has as much to do where they are well.
        let Some(well) = &beside_well else {
            beside_well = Some(with);
            continue;
        };
        for (what, percent, noise_ms) in [("p50", 50, 50), ("p99", 99, 400)] {
            let (well, with) = (well.quantile(percent), with.quantile(percent));
            let most = well * 2 + Duration::from_millis(noise_ms);
            assert!(with < most, "{what}: {well:?} beside well ones, {with:?}");
        }
    }
}
