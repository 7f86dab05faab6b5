//! Every answer of a token endpoint, its effect, and how often the endpoint is asked.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mock_cloud::{Canned, Endpoint, Options, PortalFault, Tls};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, World, chat, client};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, block_in_place};

/// How long each row is watched.
const WATCHED: Duration = Duration::from_millis(2500);
/// The limit of a call where the row waits for it.
const SHORT: Duration = Duration::from_secs(2);
/// The same where the answer that comes then has to come in time on a busy machine too.
const FAIR: Duration = Duration::from_secs(5);
/// So many rows are played at once.
const AT_ONCE: usize = 16;
/// So often at most an outage is asked about in that time: the backoff waits half a second at least.
const MOST: u64 = 6;
/// Twice as often where it can't be told whether the token was spent: an attempt may be two calls.
const MOST_IN_DOUBT: u64 = 12;
/// Answers without a body that are outages.
const STATUSES: [u16; 16] = [
    404, 408, 425, 499, 500, 501, 502, 503, 504, 505, 520, 521, 522, 523, 524, 530,
];
const DEAD: [&str; 3] = ["invalid_grant", "invalid_token", "refresh_token_reused"];

/// An answer, and what it must come to.
struct Row {
    name: String,
    portal: Portal,
    end: End,
}

enum Portal {
    Fault(PortalFault),
    Well,
    Closed,
    Tls(Tls),
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// The new tokens are in the store.
    Rotated,
    /// A new access token, and the refresh token as it was.
    Kept,
    /// The tokens are taken out, and nothing is asked any more.
    Dead(&'static str),
    /// The refusal was about tokens that someone else had replaced meanwhile.
    Adopted(u16, &'static str),
    /// The old token serves for at most this many calls, and the first success ends it.
    Outage(u64),
    /// The same, and no call before the endpoint's own time.
    Paced(Duration),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_of_the_token_endpoint_comes_to_what_it_should() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let mut running = JoinSet::new();
    let rows = rows(&format!(
        "http://{}/api/oauth/token",
        elsewhere.local_addr().unwrap()
    ));
    let stage = Arc::new(Semaphore::new(AT_ONCE));
    for (number, row) in rows.into_iter().enumerate() {
        let stage = stage.clone();
        running.spawn(async move {
            let _place = stage.acquire().await.unwrap();
            (number, row.name.clone(), row.play().await)
        });
    }
    let mut table = running.join_all().await;
    table.sort_by_key(|(number, ..)| *number);
    println!("| answer | calls | what became of it |\n|---|---|---|");
    for (_, name, told) in &table {
        println!("| {name} | {told} |");
    }
    assert!(elsewhere.accept().is_err(), "a redirect was followed");
}

fn rows(elsewhere: &str) -> Vec<Row> {
    let row = |name: &str, portal, end| Row {
        name: name.to_owned(),
        portal,
        end,
    };
    let answer = |canned| Portal::Fault(PortalFault::Answer(canned));
    let outage = |name: &str, canned| row(name, answer(canned), End::Outage(MOST));
    let mut rows = vec![
        row("200", Portal::Well, End::Rotated),
        row(
            "200 without refresh_token",
            Portal::Fault(PortalFault::KeepRefreshToken),
            End::Kept,
        ),
    ];
    for status in [400, 401, 403] {
        for code in DEAD {
            let refusal = Canned::oauth_error(status, code, "the grant is over");
            rows.push(row(
                &format!("{status} {code}"),
                answer(refusal),
                End::Dead(code),
            ));
            let name = format!("{status} {code}, another program renewed meanwhile");
            rows.push(row(&name, Portal::Well, End::Adopted(status, code)));
        }
    }
    let limited = Canned::oauth_error(429, "slow_down", "later").header("retry-after", "4");
    rows.push(row(
        "429, Retry-After: 4",
        answer(limited),
        End::Paced(Duration::from_secs(4)),
    ));
    for (status, code) in [
        (400, "invalid_client"),
        (403, "access_denied"),
        (429, "invalid_grant"),
    ] {
        let refusal = Canned::oauth_error(status, code, "not about the grant");
        rows.push(outage(&format!("{status} {code}"), refusal));
    }
    rows.push(outage("403 of the edge", Canned::edge_block()));
    for status in STATUSES {
        rows.push(outage(&status.to_string(), Canned::status(status)));
    }
    rows.push(outage("200 with a hotel's page", Canned::captive_portal()));
    rows.push(outage(
        "200 with an empty object",
        Canned::json(200, &json!({})),
    ));
    rows.push(outage(
        "200 with half a body",
        Canned::status(200).body("{\"access_token\": \"x"),
    ));
    for status in [301, 302, 307, 308] {
        let name = format!("{status} to another host");
        rows.push(outage(&name, Canned::redirect(status, elsewhere)));
    }
    let late = PortalFault::LateAnswer(PATIENCE, Canned::status(503));
    for (name, fault) in [
        ("an endless body", PortalFault::EndlessBody),
        ("the connection closes", PortalFault::DropBeforeCommit),
        ("no answer in time", late),
    ] {
        rows.push(row(name, Portal::Fault(fault), End::Outage(MOST_IN_DOUBT)));
    }
    rows.push(row(
        "the connection is refused",
        Portal::Closed,
        End::Outage(0),
    ));
    for (name, tls) in [
        ("expired", Tls::Expired),
        ("another name's", Tls::WrongName),
    ] {
        let name = format!("a certificate that is {name}");
        rows.push(row(&name, Portal::Tls(tls), End::Outage(0)));
    }
    rows
}

impl Row {
    async fn play(self) -> String {
        let mut options = Options::default();
        if let Portal::Tls(tls) = &self.portal {
            options = options.portal_tls(*tls);
        }
        let world = World::with_a_refresh_due(options).await;
        world.write_mirror();
        match &self.portal {
            Portal::Fault(fault) => world.cloud.break_portal(Endpoint::Refresh, fault.clone()),
            Portal::Closed => world.cloud.set_portal_open(false).await,
            Portal::Well | Portal::Tls(_) => {}
        }
        let gate = Arc::new(Semaphore::new(0));
        if let End::Adopted(status, code) = self.end {
            let refusal = Canned::oauth_error(status, code, "the grant is over");
            let held = PortalFault::HeldAnswer(gate.clone(), refusal);
            world.cloud.break_portal(Endpoint::Refresh, held);
        }
        // A busy machine's mock may take seconds for an answer, which would then be a lost one.
        let hurried = matches!(self.portal, Portal::Fault(PortalFault::LateAnswer(..)));
        let timeout = if hurried { SHORT } else { PATIENCE };
        let ca = world.home.path().join("ca.pem");
        world.cloud.write_ca(&ca).unwrap();
        let config = format!(
            "[providers.nous]\ntoken_timeout = \"{}s\"\nca_file = {:?}\n",
            timeout.as_secs(),
            ca.to_str().unwrap()
        );
        let config = config.as_str();
        let began = Instant::now();
        let daemon = block_in_place(|| world.daemon_with(config, &[]));
        let scene = Scene {
            name: &self.name,
            config,
            began,
            world: &world,
            daemon: &daemon,
            http: client(),
        };
        match self.end {
            End::Rotated | End::Kept => scene.is_granted(matches!(self.end, End::Kept)).await,
            End::Dead(code) => scene.is_dead(code).await,
            End::Adopted(..) => scene.is_adopted(&gate).await,
            End::Outage(most) => {
                let heals = !matches!(self.portal, Portal::Tls(_));
                scene.is_an_outage(most, heals).await
            }
            End::Paced(pause) => scene.is_paced(pause).await,
        }
    }
}

struct Scene<'a> {
    name: &'a str,
    config: &'a str,
    /// Before its daemon was started.
    began: Instant,
    world: &'a World,
    daemon: &'a Daemon,
    http: reqwest::Client,
}

impl Scene<'_> {
    async fn is_granted(&self, kept: bool) -> String {
        self.until("the grant", || self.world.cloud.counts().refreshes == 1)
            .await;
        let login = &self.world.login;
        self.until("a new token", || {
            self.stored("access_token") != login.access_token
        })
        .await;
        assert_eq!(
            self.stored("refresh_token") == login.refresh_token,
            kept,
            "{}",
            self.name
        );
        self.serves_all(WATCHED).await;
        assert_eq!(self.calls(), 1, "{}: {}", self.name, self.daemon.logged());
        assert_eq!(self.stored("refresh_token"), self.current());
        format!(
            "1 | {}",
            if kept {
                "used, the old refresh token kept"
            } else {
                "used and stored"
            }
        )
    }

    async fn is_dead(&self, code: &str) -> String {
        let state = || self.daemon.status()["providers"][0]["state"].clone();
        self.until("the end", || state() == "login_needed").await;
        let mut refused = 0;
        let deadline = Instant::now() + WATCHED;
        while Instant::now() < deadline {
            let answer = self.ask().await;
            assert_eq!(
                answer,
                (401, Some("upstream_auth_failed".to_owned())),
                "{}",
                self.name
            );
            refused += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(self.calls(), 1, "{}: it is asked again", self.name);
        let login = &self.world.store()["providers"]["nous"];
        assert_eq!(login["last_auth_error"]["code"], code, "{}", self.name);
        for token in ["refresh_token", "access_token", "agent_key"] {
            assert_eq!(login[token], Value::Null, "{}: {token}", self.name);
        }
        assert!(
            !self.world.mirror_file().exists(),
            "{}: the mirror is left",
            self.name
        );
        format!("1 | dead: taken out of store and mirror, {refused} requests refused")
    }

    async fn is_adopted(&self, gate: &Semaphore) -> String {
        // The call is under way, and someone else writes a login.
        self.until("the call", || self.world.cloud.counts().refresh_calls == 1)
            .await;
        let theirs = self.world.cloud.login();
        let home = self.world.home.path().join(".hermes");
        self.world.cloud.write_hermes_home(&home, &theirs).unwrap();
        gate.add_permits(1);
        let adopted = || self.world.cloud.last_bearer() == Some(theirs.access_token.clone());
        let deadline = Instant::now() + PATIENCE;
        while !adopted() {
            assert_eq!(
                self.ask().await,
                (200, None),
                "{}: {}",
                self.name,
                self.daemon.logged()
            );
            assert!(
                Instant::now() < deadline,
                "{}: {}",
                self.name,
                self.daemon.logged()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.serves_all(WATCHED).await;
        assert_eq!(self.calls(), 1, "{}", self.name);
        assert_eq!(
            self.stored("refresh_token"),
            theirs.refresh_token,
            "{}",
            self.name
        );
        "1 | theirs is adopted".to_owned()
    }

    async fn is_an_outage(&self, most: u64, heals: bool) -> String {
        let asked = || most == 0 || self.calls() > 0;
        self.until("a call", asked).await;
        let served = self.serves_all(WATCHED).await;
        let calls = self.calls();
        // A busy machine takes longer than it is watched for.
        let longer = self.began.elapsed().saturating_sub(WATCHED).as_secs();
        let most = if most == 0 { 0 } else { most + 2 * longer };
        assert!(
            calls <= most,
            "{}: {calls} calls, {longer} s late",
            self.name
        );
        self.until("the error", || {
            self.daemon.status()["providers"][0]["last_error"]["code"] == "token_endpoint"
        })
        .await;
        let journal = self
            .world
            .home
            .path()
            .join(".local/state/hermes-proxyd/journal");
        if let Some(open) = self.leaves_it_open() {
            let entries = || std::fs::read_dir(&journal).map_or(0, Iterator::count);
            // While it is asked, there is one.
            self.until("the journal's entry", || (entries() > 0) == open)
                .await;
        }
        if !heals {
            return format!("{calls} | an outage: {served} requests with the old token");
        }
        // The answer that ends it has time to come.
        let [short, long] = [SHORT, PATIENCE].map(|limit| format!("\"{}s\"", limit.as_secs()));
        if self.config.contains(&short) {
            self.world.write_config(&self.config.replace(&short, &long));
            let reloaded = block_in_place(|| self.world.ctl(&["proxy", "reload", "--json"]));
            let report: Value = serde_json::from_slice(&reloaded.stdout).unwrap();
            let applied = &report["applied"];
            assert_eq!(
                *applied,
                json!(["providers.nous.token_timeout"]),
                "{report}"
            );
        }
        let took = self.heal().await;
        format!(
            "{calls} | an outage: {served} requests with the old token; over after {:.1} s",
            took.as_secs_f64()
        )
    }

    async fn is_paced(&self, pause: Duration) -> String {
        let served = self.serves_all(WATCHED).await;
        assert_eq!(self.calls(), 1, "{}", self.name);
        self.heal().await;
        let calls = self.world.cloud.calls();
        let waited = calls[1].received - calls[0].answered.unwrap();
        assert!(
            waited >= pause,
            "{}: asked again after {waited:?}",
            self.name
        );
        format!(
            "1 | an outage: {served} requests with the old token; asked again after {:.1} s",
            waited.as_secs_f64()
        )
    }

    /// Whether this answer may have spent the token; `None` where the row is about no status.
    fn leaves_it_open(&self) -> Option<bool> {
        let status: u16 = self.name.parse().ok()?;
        Some(status == 499 || (status >= 500 && status != 503))
    }

    /// The first success ends an outage; how long it took to come.
    async fn heal(&self) -> Duration {
        let started = Instant::now();
        self.world.cloud.heal();
        self.world.cloud.set_portal_open(true).await;
        self.until("a success", || {
            self.world.cloud.counts().refreshes == 1
                && self.stored("refresh_token") == self.current()
        })
        .await;
        let took = started.elapsed();
        let calls = self.calls();
        self.serves_all(Duration::from_secs(1)).await;
        assert_eq!(
            self.calls(),
            calls,
            "{}: asked after the success",
            self.name
        );
        self.until("the end of the error", || {
            self.daemon.status()["providers"][0]["last_error"].is_null()
        })
        .await;
        assert_eq!(self.world.cloud.counts().reuse_events, 0, "{}", self.name);
        took
    }

    /// Asks for a while; how many requests were served: all.
    async fn serves_all(&self, span: Duration) -> usize {
        let (deadline, mut served) = (Instant::now() + span, 0);
        while Instant::now() < deadline {
            assert_eq!(
                self.ask().await,
                (200, None),
                "{}: {}",
                self.name,
                self.daemon.logged()
            );
            served += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        served
    }

    async fn ask(&self) -> (u16, Option<String>) {
        let request = self
            .http
            .post(self.daemon.url("/chat/completions"))
            .json(&chat("x"));
        let answer = request.send().await.unwrap();
        let code = answer.headers().get("x-hermes-error");
        let code = code.map(|code| code.to_str().unwrap().to_owned());
        (answer.status().as_u16(), code)
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let waiting = async {
            while !block_in_place(&condition) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(
            done.is_ok(),
            "{}: {what} never came:\n{}",
            self.name,
            self.daemon.logged()
        );
    }

    fn calls(&self) -> u64 {
        self.world.cloud.counts().refresh_calls
    }

    fn current(&self) -> String {
        self.world
            .cloud
            .current_refresh_token(self.world.family())
            .unwrap()
    }

    fn stored(&self, key: &str) -> String {
        let store = self.world.store();
        store["providers"]["nous"][key]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// The token was spent, and its answer was lost. A portal with a grace gives it again; one without
/// calls it reuse, and the login is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]

async fn an_answer_that_was_lost_after_the_token_was_spent_is_asked_for_once_more_at_once() {
    let lost = [
        ("the connection closes", PortalFault::DropAfterCommit),
        ("the answer is cut", PortalFault::CutAfterCommit),
        ("no answer in time", PortalFault::DelayAfterCommit(PATIENCE)),
    ];
    let mut running = JoinSet::new();
    for (name, fault) in lost {
        for grace in [Duration::ZERO, Duration::from_secs(30)] {
            let fault = fault.clone();
            running.spawn(async move {
                // At once means without a backoff, which is a second at least; a busy machine adds to it as to
                // everything, and one of three is enough.
                let mut pauses = Vec::new();
                for _ in 0..3 {
                    let lost = lose_an_answer(name, fault.clone(), grace).await;
                    if lost.pause < Duration::from_millis(800) + 10 * lost.usual {
                        return lost.line;
                    }
                    pauses.push((lost.pause, lost.usual));
                }
                panic!("{name}: asked again after {pauses:?}");
            });
        }
    }
    println!(
        "| lost after the commit | grace | calls | pause | what became of it |\n|---|---|---|---|---|"
    );
    for line in running.join_all().await {
        println!("{line}");
    }
}

/// An answer that was lost.
struct Lost {
    /// How long after the loss it was asked for again.
    pause: Duration,
    /// How long a request takes there.
    usual: Duration,
    /// What it came to.
    line: String,
}

async fn lose_an_answer(name: &str, fault: PortalFault, grace: Duration) -> Lost {
    let world = World::with_a_refresh_due(Options::default().grace(grace)).await;
    world.write_mirror();
    world.cloud.fail_portal(Endpoint::Refresh, 1, &fault);
    let (timeout, given_up) = if name == "no answer in time" {
        (FAIR, FAIR)
    } else {
        (PATIENCE, Duration::ZERO)
    };
    let timeout = timeout.as_secs();
    let config = format!("[providers.nous]\ntoken_timeout = \"{timeout}s\"\n");
    let began = Instant::now();
    let daemon = block_in_place(|| world.daemon_with(&config, &[]));
    let scene = Scene {
        name,
        config: &config,
        began,
        world: &world,
        daemon: &daemon,
        http: client(),
    };
    let wanted = if grace.is_zero() {
        "login_needed"
    } else {
        "ready"
    };
    let state = || daemon.status()["providers"][0]["state"].clone();
    scene
        .until("the second call", || {
            scene.calls() == 2 && state() == wanted
        })
        .await;
    let asked = Instant::now();
    scene.ask().await;
    let usual = asked.elapsed();
    block_in_place(|| daemon.wait_for_log("asking once more"));
    let again = daemon.logged().matches("asking once more").count();
    assert_eq!(again, 1, "{name}: {}", daemon.logged());
    tokio::time::sleep(WATCHED).await;
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.refreshes),
        (2, 1),
        "{name}: {counts:?}"
    );
    let told = if grace.is_zero() {
        assert_eq!(counts.reuse_events, 1, "{name}");
        assert_eq!(
            world.store()["providers"]["nous"]["last_auth_error"]["code"],
            "invalid_grant"
        );
        "dead"
    } else {
        assert_eq!(
            (counts.reissues, counts.reuse_events),
            (1, 0),
            "{name}: {counts:?}"
        );
        scene
            .until("the store", || {
                scene.stored("refresh_token") == scene.current()
            })
            .await;
        assert_eq!(scene.ask().await, (200, None));
        "the same tokens again, used and stored"
    };
    let received: Vec<_> = world
        .cloud
        .calls()
        .iter()
        .map(|call| call.received)
        .collect();
    let pause = received[1] - received[0];
    Lost {
        pause: pause.saturating_sub(given_up),
        usual,
        line: format!("| {name} | {grace:?} | 2 | {pause:?} | {told} |"),
    }
}
