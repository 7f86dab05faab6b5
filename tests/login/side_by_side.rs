//! Several providers in one daemon: one whose portal hangs delays no other.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and measures real time"
)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mock_cloud::{Endpoint, MockCloud, Options, PortalFault};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::environment::program;
use support::{Daemon, PATIENCE, World, chat, client, ctl, exact, scratch};
use tokio::sync::Semaphore;

/// A step that waits for nothing takes no longer, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(8);
/// Where a process of [`a_cloud_as_a_process`] writes what it is.
const FILE: &str = "HERMES_TEST_CLOUD";
const REQUESTS: usize = 300;
const RUNS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nous,
    Xai,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Nous => "nous",
            Self::Xai => "xai",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Nous => "/nous/v1/chat/completions",
            Self::Xai => "/xai/v1/responses",
        }
    }

    fn options(self) -> Options {
        // Long enough for the test, and due at once where the store says that they were obtained long ago.
        let options = Options::default().access_ttl(Duration::from_mins(4));
        match self {
            Self::Nous => options,
            Self::Xai => options
                .client_id("b1a00492-073a-47ea-816f-4c329264a828")
                .scope("api:access inference:invoke"),
        }
    }
}

/// A portal and an inference API that can be stopped.
struct Cloud {
    kind: Kind,
    process: Child,
    facts: Value,
}

impl Cloud {
    fn start(kind: Kind, home: &Path) -> Self {
        let file = home.join(format!("{}.json", kind.name()));
        let mut command = program(std::env::current_exe().unwrap(), home);
        command
            .args(["--ignored", "--exact"])
            .arg(exact(module_path!(), "a_cloud_as_a_process"))
            .env(FILE, &file)
            .env("HERMES_TEST_CLOUD_KIND", kind.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let process = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let facts = loop {
            let text = std::fs::read(&file).unwrap_or_default();
            if let Ok(facts) = serde_json::from_slice(&text) {
                break facts;
            }
            assert!(Instant::now() < deadline, "no cloud");
            std::thread::sleep(Duration::from_millis(10));
        };
        Self {
            kind,
            process,
            facts,
        }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// As Hermes Agent leaves a login, obtained so long ago that a renewal is due.
    fn write_into(&self, store: &mut Value) {
        let long_ago = "2020-01-01T00:00:00+00:00";
        let (access, refresh) = (self.fact("access_token"), self.fact("refresh_token"));
        match self.kind {
            Kind::Nous => {
                store["providers"]["nous"] = json!({
                    "portal_base_url": self.fact("portal"), "client_id": "hermes-cli",
                    "scope": "inference:invoke", "token_type": "Bearer",
                    "access_token": access, "refresh_token": refresh,
                    "obtained_at": long_ago, "expires_in": 240, "expires_at": self.fact("expires_at"),
                });
            }
            Kind::Xai => {
                store["providers"]["xai-oauth"] = json!({
                    "tokens": {
                        "access_token": access, "refresh_token": refresh, "id_token": "",
                        "expires_in": 240, "token_type": "Bearer",
                    },
                    "redirect_uri": "", "last_refresh": long_ago, "auth_mode": "oauth_pkce",
                });
            }
        }
    }

    fn settings(&self, agent: &str) -> String {
        let (portal, base) = (self.fact("portal"), self.fact("inference"));
        let key = match self.kind {
            Kind::Nous => "portal_url",
            Kind::Xai => "issuer_url",
        };
        format!(
            "[providers.{}]\n{key} = {portal:?}\nbase_url = {base:?}\ntoken_timeout = \"2m\"\n\
             user_agent = \"{agent}\"\n",
            self.kind.name()
        )
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// No test: the cloud of the one below, in a process that can be stopped.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of another test"]
async fn a_cloud_as_a_process() {
    let Some(file) = std::env::var_os(FILE).map(PathBuf::from) else {
        return;
    };
    let kind = match std::env::var("HERMES_TEST_CLOUD_KIND").as_deref() {
        Ok("xai") => Kind::Xai,
        _ => Kind::Nous,
    };
    let cloud = MockCloud::start(kind.options()).await;
    let login = cloud.login();
    cloud.set_access_ttl(Duration::from_hours(1));
    let facts = json!({
        "portal": cloud.portal_url(), "inference": cloud.inference_base_url(),
        "access_token": login.access_token, "refresh_token": login.refresh_token,
        "expires_at": login.expires_at.to_rfc3339(),
    });
    let draft = file.with_extension("draft");
    std::fs::write(&draft, facts.to_string()).unwrap();
    std::fs::rename(draft, file).unwrap();
    // Until the test has ended.
    let end = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(end).await.unwrap().ok();
}

/// How long things take that concern one provider.
#[derive(Debug, Clone, Copy)]
struct Figures {
    start: Duration,
    reload: Duration,
    status: Duration,
    request: Duration,
    slow_request: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "start {:.0} ms, reload {:.0} ms, status {:.0} ms, request p50 {:.2} ms, p99 {:.2} ms",
            ms(self.start),
            ms(self.reload),
            ms(self.status),
            ms(self.request),
            ms(self.slow_request)
        )
    }
}

struct Home {
    home: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { home: scratch() }
    }

    fn write_store(&self, clouds: &[&Cloud]) {
        let mut store = json!({"version": 1, "providers": {}});
        for cloud in clouds {
            cloud.write_into(&mut store);
        }
        let folder = self.home.path().join(".hermes");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("auth.json"), store.to_string()).unwrap();
    }

    fn configure(&self, clouds: &[&Cloud], changed: Kind, agent: &str) {
        let first = clouds[0].kind.name();
        let mut text = format!("default_provider = \"{first}\"\n");
        for cloud in clouds {
            let agent = if cloud.kind == changed {
                agent
            } else {
                "client"
            };
            text += &cloud.settings(agent);
        }
        let folder = self.home.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), text).unwrap();
    }

    fn start(&self) -> Daemon {
        let mut command = program(support::built("hermes-proxyd"), self.home.path());
        command.args(["--port", "0", "--log-format", "json"]);
        Daemon::start(command, self.home.path())
    }

    /// Measures the first of the clouds.
    async fn measure(&self, clouds: &[&Cloud]) -> (Daemon, Figures) {
        let kind = clouds[0].kind;
        self.configure(clouds, kind, "client");
        let client = client();
        let began = Instant::now();
        let daemon = tokio::task::block_in_place(|| self.start());
        let url = format!("{}{}", daemon.origin(), kind.path());
        let ask = async |agent: &str| {
            let post = client.post(&url).header("user-agent", agent);
            let began = Instant::now();
            let answer = post.json(&chat("x")).send().await.unwrap();
            let status = answer.status();
            answer.bytes().await.unwrap();
            assert_eq!(status, 200, "{}", daemon.logged());
            began.elapsed()
        };
        ask("app").await;
        let start = began.elapsed();
        let (mut reloads, mut statuses, mut requests) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..RUNS {
            self.configure(clouds, kind, ["own", "client"][run % 2]);
            reloads.push(self.ctl(&["proxy", "reload"]));
            statuses.push(self.ctl(&["proxy", "status"]));
            for _ in 0..REQUESTS / RUNS {
                requests.push(ask("app").await);
            }
        }
        let figures = Figures {
            start,
            reload: quantile(&mut reloads, 50),
            status: quantile(&mut statuses, 50),
            request: quantile(&mut requests, 50),
            slow_request: quantile(&mut requests, 99),
        };
        (daemon, figures)
    }

    fn ctl(&self, args: &[&str]) -> Duration {
        let began = Instant::now();
        let output = tokio::task::block_in_place(|| ctl(self.home.path(), args));
        assert!(output.status.success(), "{output:?}");
        began.elapsed()
    }
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

async fn counts(cloud: &Cloud) -> Value {
    let url = format!("{}/_mock/state", cloud.fact("portal"));
    let answer = client().get(url).send().await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// Both ways round: the portal of the one is stopped as a process, and the other's start, reload, status and
/// requests are measured alone and beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_portal_costs_another_provider_nothing() {
    for (kind, hanging) in [(Kind::Xai, Kind::Nous), (Kind::Nous, Kind::Xai)] {
        let (alone, beside) = (Home::new(), Home::new());
        let cloud = Cloud::start(kind, alone.home.path());
        alone.write_store(&[&cloud]);
        let (_daemon, without) = alone.measure(&[&cloud]).await;

        let cloud = Cloud::start(kind, beside.home.path());
        let stopped = Cloud::start(hanging, beside.home.path());
        beside.write_store(&[&cloud, &stopped]);
        stopped.signal(Signal::STOP);
        let (daemon, with) = beside.measure(&[&cloud, &stopped]).await;

        // It did hang all the time: what is asked of its login waits.
        let home = beside.home.path().to_owned();
        let refresh = move || ctl(&home, &["auth", "refresh", hanging.name()]);
        let refresh = tokio::task::spawn_blocking(refresh);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!refresh.is_finished(), "{}", daemon.logged());
        stopped.signal(Signal::CONT);
        let refreshed = refresh.await.unwrap();
        assert!(refreshed.status.success(), "{refreshed:?}");
        let counts = counts(&stopped).await;
        assert_eq!(counts["reuse_events"], 0, "{counts}");

        println!("{} alone: {without}", kind.name());
        println!(
            "{} while the portal of {} is stopped: {with}",
            kind.name(),
            hanging.name()
        );
        // What waits for a portal that hangs waits for a second or more; the machine may be busy.
        for (what, without, with, noise_ms) in [
            ("start", without.start, with.start, 2000),
            ("reload", without.reload, with.reload, 500),
            ("status", without.status, with.status, 500),
            ("p50", without.request, with.request, 100),
            ("p99", without.slow_request, with.slow_request, 500),
        ] {
            let most = without * 4 + Duration::from_millis(noise_ms);
            assert!(with < most, "{what}: {without:?} alone, {with:?} beside");
        }
    }
}

fn config(key: &Path, base: &str, agent: &str) -> String {
    format!(
        "[providers.nous]\nuser_agent = \"{agent}\"\ntoken_timeout = \"45s\"\n\
         [providers.other]\ntype = \"static\"\nbase_url = {base:?}\napi_key_file = {:?}\n\
         user_agent = \"{agent}\"\n",
        key.to_str().unwrap()
    )
}

/// Runs what must not be delayed.
async fn at_once<T>(what: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let value = work.await;
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{what} took {took:?}");
    value
}

/// Where the provider whose portal hangs has a token that is still good, it serves as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_hangs_delays_neither_start_nor_reload_nor_requests_of_any_provider() {
    let world = World::with_a_refresh_due(Options::default()).await;
    let other = MockCloud::start(Options::default()).await;
    let key = world.home.path().join("key");
    std::fs::write(&key, other.login().access_token).unwrap();
    let base = other.inference_base_url();
    // The token is spent at once, and its answer does not come.
    let gate = Arc::new(Semaphore::new(0));
    world.cloud.fail_portal(
        Endpoint::Refresh,
        1,
        &PortalFault::HeldAfterCommit(gate.clone()),
    );
    let daemon = at_once("the start", async {
        world.daemon_with(&config(&key, &base, "client"), &[])
    })
    .await;
    let asked = |provider: &str, agent: &'static str| {
        let url = format!("{}/{provider}/v1/chat/completions", daemon.origin());
        async move {
            let post = client().post(url).header("user-agent", agent);
            post.json(&chat("hello")).send().await.unwrap().status()
        }
    };
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
        .await;
    for agent in ["own", "client"] {
        world.write_config(&config(&key, &base, agent));
        let home = world.home.path().to_owned();
        let reload = tokio::task::spawn_blocking(move || ctl(&home, &["proxy", "reload"]));
        let reloaded = at_once("a reload", reload).await.unwrap();
        assert!(reloaded.status.success(), "{reloaded:?}");
        let said = String::from_utf8_lossy(&reloaded.stdout).into_owned();
        assert!(said.contains("finishing     nous"), "{said}");
        for provider in ["other", "nous"] {
            let status = at_once(provider, asked(provider, "app/1")).await;
            assert_eq!(status, 200, "{provider} after a reload");
        }
        for cloud in [&other, &world.cloud] {
            let seen = cloud.requests().pop().unwrap();
            let passed = seen.header("user-agent") == ["app/1"];
            assert_eq!(passed, agent == "client", "by the new settings");
        }
    }

    // What it granted in the end is saved, and nothing was shown twice.
    gate.add_permits(1);
    let family = world.family();
    let saved = || {
        let token = world.store()["providers"]["nous"]["refresh_token"].clone();
        token.as_str().map(str::to_owned) == world.cloud.current_refresh_token(family)
    };
    let deadline = Instant::now() + PATIENCE;
    while !saved() {
        assert!(Instant::now() < deadline, "{}", daemon.logged());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(world.cloud.is_alive(family));
    assert_eq!(world.cloud.counts().refreshes, 1);
}
