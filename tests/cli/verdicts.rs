//! One world gives the same code everywhere that a user or a monitor looks: the home screen, `auth
//! status`, doctor, `/readyz`, `/health` and the service manager's line.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and waits for real time"
)]

use std::os::unix::net::UnixDatagram;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mock_cloud::{Canned, Endpoint, Fault, Options, PortalFault};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, World, chat, client, post};
use tokio::sync::Semaphore;

const DAY: i64 = 86_400;

/// A daemon in its world, and the service manager's end of its socket.
struct Scene {
    world: World,
    daemon: Daemon,
    manager: UnixDatagram,
}

/// What every surface says at about one moment.
#[derive(Debug, Default)]
struct Told {
    home: Value,
    home_exit: Option<i32>,
    logins: Value,
    logins_exit: Option<i32>,
    providers: Value,
    doctor: Value,
    ready: (u16, String),
    health: Value,
    manager: String,
}

/// What they are to say.
#[derive(Debug, Clone, Copy)]
struct Expected {
    code: &'static str,
    level: &'static str,
    /// Whether `auth status` shows it too.
    is_of_login: bool,
    ready: bool,
    exit: i32,
}

fn expected(code: &'static str, level: &'static str) -> Expected {
    Expected {
        code,
        level,
        is_of_login: false,
        ready: true,
        exit: i32::from(level == "bad"),
    }
}

impl Expected {
    fn of_login(self) -> Self {
        Self {
            is_of_login: true,
            ..self
        }
    }

    fn not_ready(self) -> Self {
        Self {
            ready: false,
            ..self
        }
    }

    fn exit(self, exit: i32) -> Self {
        Self { exit, ..self }
    }
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn now() -> chrono::DateTime<chrono::Utc> {
    use hermes_proxy::clock::{Clock, SystemClock};
    SystemClock.now()
}

impl Scene {
    fn new(world: World, config: &str) -> Self {
        world.write_config(config);
        let path = world.home.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let mut command = world.command(&[]);
        command.env("NOTIFY_SOCKET", &path);
        let daemon = Daemon::start(command, world.home.path());
        Self {
            world,
            daemon,
            manager,
        }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.daemon.origin());
        let answer = client().get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The last line that the service manager was told.
    fn line(&self, before: &str) -> String {
        let mut last = before.to_owned();
        let mut message = [0; 4096];
        while let Ok(size) = self.manager.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..size]).into_owned();
            let status = text.lines().find_map(|line| line.strip_prefix("STATUS="));
            if let Some(status) = status {
                status.clone_into(&mut last);
            }
        }
        last
    }

    async fn look(&self, before: &Told) -> Told {
        let home = self.world.ctl(&["proxy", "status", "--json"]);
        let logins = self.world.ctl(&["auth", "status", "--json"]);
        let doctor = self.world.hermesctl(&["doctor", "--json"]).output();
        Told {
            home: json_of(&home),
            home_exit: home.status.code(),
            logins: json_of(&logins),
            logins_exit: logins.status.code(),
            providers: json_of(&self.world.ctl(&["proxy", "providers", "--json"])),
            doctor: json_of(&doctor.unwrap()),
            ready: self.get("/readyz").await,
            health: serde_json::from_str(&self.get("/health").await.1).unwrap(),
            manager: self.line(&before.manager),
        }
    }

    /// Waits until all surfaces that tell more than the worst have it among what they tell.
    async fn assert_told(&self, what: &str, code: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut told = Told::default();
        let has = |findings: &Value| {
            let mut findings = findings.as_array().unwrap().iter();
            findings.any(|one| one["code"] == code)
        };
        loop {
            told = self.look(&told).await;
            let texts = told.home["findings"].as_array().unwrap().iter();
            let text = texts.clone().find(|one| one["code"] == code);
            let text = text.map_or("", |one| one["text"].as_str().unwrap());
            let in_line = told.manager.contains(text) || texts.count() > 3;
            let all = [
                has(&told.home["findings"]),
                has(&told.logins["findings"]),
                has(&told.doctor["findings"]),
                in_line,
            ];
            if all == [true; 4] {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: {all:?}\n{told:#?}\n{}",
                self.daemon.logged()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until all surfaces say it, and says which does not.
    async fn assert(&self, what: &str, expected: Expected) {
        let deadline = Instant::now() + PATIENCE;
        let mut told = Told::default();
        loop {
            told = self.look(&told).await;
            let wrong = told.differ(expected);
            if wrong.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: {wrong:?}\n{told:#?}\n{}",
                self.daemon.logged()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Told {
    /// The surfaces that say something else.
    fn differ(&self, expected: Expected) -> Vec<&'static str> {
        let Expected { code, level, .. } = expected;
        let verdict = &self.home["verdict"];
        let message = verdict["message"].as_str().unwrap();
        let is_well = code == "all_well";
        let first = |findings: &Value| {
            findings[0]["code"]
                .as_str()
                .unwrap_or("all_well")
                .to_owned()
        };
        let in_doctor = self.doctor["findings"].as_array().unwrap().iter();
        let in_doctor: Vec<_> = in_doctor.filter_map(|one| one["code"].as_str()).collect();
        let of_login = if expected.is_of_login {
            code
        } else {
            "all_well"
        };
        let login_exit = if expected.is_of_login {
            expected.exit
        } else {
            0
        };
        let no_login = !expected.ready && ["login_needed", "store_unreadable"].contains(&code);
        let mut page = self.ready.1.trim_start_matches("not ").to_owned();
        if is_well {
            page.push_str("(all_well)");
        }
        // Its text may have another distance of time in it.
        let start: String = message.chars().take(20).collect();
        let told_manager = if is_well {
            self.manager.starts_with("Serving ") && !self.manager.contains(';')
        } else {
            self.manager.contains(&start)
        };
        let checks = [
            ("home", verdict["code"] == code && verdict["level"] == level),
            ("home's findings", first(&self.home["findings"]) == code),
            ("home's exit", self.home_exit == Some(expected.exit)),
            ("auth status", first(&self.logins["findings"]) == of_login),
            ("auth status' exit", self.logins_exit == Some(login_exit)),
            (
                "proxy providers",
                first(&json!([self.providers["providers"][0]["finding"]])) == of_login,
            ),
            (
                "proxy providers' login",
                self.providers["providers"][0]["logged_in"] != no_login,
            ),
            (
                "doctor",
                (is_well && in_doctor.is_empty()) || in_doctor.contains(&code),
            ),
            ("/readyz' status", (self.ready.0 == 200) == expected.ready),
            ("/readyz", page.contains(&format!("({code})"))),
            (
                "/health",
                self.health["verdict"] == json!({"level": level, "code": code}),
            ),
            ("the service manager", told_manager),
        ];
        checks
            .into_iter()
            .filter(|(_, holds)| !holds)
            .map(|(name, _)| name)
            .collect()
    }
}

const WELL: Expected = Expected {
    code: "all_well",
    level: "good",
    is_of_login: false,
    ready: true,
    exit: 0,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_missing_or_can_not_be_read() {
    let scene = Scene::new(World::new(Options::default()).await, "");
    scene.assert("well", WELL).await;

    let store = scene.world.store_file();
    let whole = std::fs::read(&store).unwrap();
    std::fs::write(&store, "").unwrap();
    let unreadable = expected("store_unreadable", "bad").of_login().not_ready();
    scene.assert("the store is empty", unreadable).await;
    // The token that is left still serves.
    assert_eq!(post(&scene.daemon, &chat("x")).await.status(), 200);

    std::fs::remove_file(&store).unwrap();
    let needed = expected("login_needed", "bad").of_login().not_ready();
    scene.assert("no login", needed.exit(4)).await;

    std::fs::write(&store, whole).unwrap();
    scene.assert("well again", WELL).await;

    let out = scene.world.ctl(&["auth", "logout", "--yes"]);
    assert!(out.status.success(), "{out:?}");
    scene.assert("logged out", needed.exit(4)).await;
    let world = World::new(Options::default()).await;
    let scene = Scene::new(world, "");
    scene.world.cloud.revoke(scene.world.family());
    let renewed = scene.world.ctl(&["auth", "refresh"]);
    assert_eq!(renewed.status.code(), Some(4), "{renewed:?}");
    scene.assert("a dead login", needed.exit(4)).await;

    let scene = Scene::new(World::new(Options::default()).await, "");
    let store = scene.world.store_file();

    // A copy that Hermes Agent's profiles use serves in its place.
    scene.world.write_mirror();
    std::fs::write(&store, "").unwrap();
    let copied = expected("store_unreadable", "attention").of_login();
    scene.assert("a copy serves", copied.exit(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_ends_soon_or_is_not_saved() {
    let world = World::new(Options::default()).await;
    let mut store = world.store();
    let since = now() - chrono::Duration::days(26);
    store["providers"]["nous"]["hermes_proxyd"] = json!({"login_at": since.to_rfc3339()});
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let scene = Scene::new(world, "");
    let ends = expected("login_ends_soon", "attention").of_login();
    scene.assert("a login that ends", ends).await;
    drop(scene);

    let scene = unsaved(true).await;
    scene
        .assert_told("a login that is not saved", "unsaved")
        .await;
    // The mirror has all of it, and the store is still reported.
    let scene = unsaved(false).await;
    let copied = expected("store_unreadable", "attention").of_login();
    scene.assert("a copy serves", copied.exit(1)).await;
}

/// A daemon that can't save a renewed login in its store, or not in the mirror either.
async fn unsaved(nowhere: bool) -> Scene {
    let scene = Scene::new(World::new(Options::default()).await, "");
    let gate = Arc::new(Semaphore::new(0));
    let held = PortalFault::HeldAfterCommit(gate.clone());
    scene.world.cloud.fail_portal(Endpoint::Refresh, 1, &held);
    scene.world.cloud.revoke_access_tokens();
    let (store, mirror) = (scene.world.store_file(), scene.world.mirror_file());
    let request = chat("x");
    tokio::join!(post(&scene.daemon, &request), async {
        let patience = scene
            .world
            .cloud
            .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1);
        patience.await;
        // While the answer is on its way, they become what can't be replaced.
        for file in [Some(store), nowhere.then_some(mirror)]
            .into_iter()
            .flatten()
        {
            std::fs::remove_file(&file).ok();
            std::fs::create_dir_all(file.join("full")).unwrap();
        }
        gate.add_permits(1);
    });
    scene
}

/// What would keep a renewed login from being saved.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_can_not_be_saved_if_it_is_renewed() {
    let scene = Scene::new(World::new(Options::default()).await, "");
    scene.assert("well", WELL).await;
    let lock = scene.world.home.path().join(".hermes/auth.lock");
    std::fs::remove_file(&lock).ok();
    std::fs::create_dir(&lock).unwrap();
    let hindered = expected("store_unusable", "bad").of_login().not_ready();
    scene.assert("its lock is a folder", hindered).await;
    std::fs::remove_dir(&lock).unwrap();
    scene.assert("well again", WELL).await;
}

/// An account that the provider refuses for good: its 403 is about no token.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_blocked() {
    let options = Options::default().client_id("b1a00492-073a-47ea-816f-4c329264a828");
    let world = World::new(options.scope("api:access inference:invoke")).await;
    let login = &world.login;
    let block = json!({
        "tokens": {"access_token": login.access_token, "refresh_token": login.refresh_token,
                   "expires_in": 3600, "token_type": "Bearer"},
        "last_refresh": now().to_rfc3339(), "auth_mode": "oauth_device_code",
    });
    let store = json!({"version": 1, "providers": {"xai-oauth": block}});
    std::fs::write(world.store_file(), store.to_string()).unwrap();
    let config = "default_provider = \"xai\"\n[providers.xai]\nissuer_url = \"{portal}\"\n\
                  base_url = \"{base}\"\n";
    let scene = Scene::new(world, config);
    scene.assert("well", WELL).await;
    let code = "personal-team-blocked:spending-limit";
    let refusal = Canned::json(403, &json!({"code": code, "error": code}));
    let refusal = Fault::Answer(refusal);
    let refused = async || {
        // Armed for this request alone: doctor asks too.
        scene.world.cloud.fail_next(1, &refusal);
        assert_eq!(post(&scene.daemon, &chat("x")).await.status(), 403);
    };
    refused().await;
    let once = expected("requests_fail", "attention");
    scene.assert("refused once", once).await;
    for _ in 0..2 {
        refused().await;
    }
    let blocked = expected("requests_fail", "bad");
    scene.assert("refused three times", blocked).await;
    let home = scene.look(&Told::default()).await.home;
    let text = home["findings"][0]["text"].as_str().unwrap();
    assert!(text.contains("spending_limit"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_requests_and_an_app_that_is_refused() {
    let scene = Scene::new(World::new(Options::default()).await, "");
    let mut quota = chat("x");
    quota["mock"] = json!({"status": 429});
    for _ in 0..3 {
        assert_eq!(post(&scene.daemon, &quota).await.status(), 429);
    }
    scene
        .assert("requests fail", expected("requests_fail", "bad"))
        .await;
    assert_eq!(post(&scene.daemon, &chat("x")).await.status(), 200);
    scene.assert("well", WELL).await;
    assert_eq!(scene.get("/v1/nonsense").await.0, 404);
    let refused = expected("requests_refused", "attention");
    scene.assert("an app is refused", refused).await;
    // Who it was is told to the user alone.
    let page = scene.get("/readyz").await.1;
    assert!(!page.contains("127.0.0.1"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_can_not_be_renewed() {
    // Due at once, and good for a minute.
    let world = World::with_a_refresh_due(Options::default()).await;
    world
        .cloud
        .break_portal(Endpoint::Refresh, PortalFault::Answer(Canned::status(503)));
    let scene = Scene::new(world, "");
    let trouble = expected("login_trouble", "attention").of_login();
    scene.assert("the portal is down", trouble).await;
    // Another program's login, whose token ends in a moment: nothing waits for the end of the first.
    let World { cloud, home, .. } = &scene.world;
    cloud.set_access_ttl(Duration::from_secs(1));
    let ending = cloud.login();
    cloud
        .write_hermes_home(&home.path().join(".hermes"), &ending)
        .unwrap();
    let expired = expected("unavailable", "bad").of_login().not_ready();
    scene.assert("the token has expired", expired).await;
}

/// Another program has the store's lock, so that nothing is renewed.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_waits_for_a_lock_is_not_being_refreshed() {
    let world = World::new(Options::default().access_ttl(Duration::from_secs(3))).await;
    let lock = world.store_file().with_extension("lock");
    let lock = std::fs::File::create(lock).unwrap();
    lock.lock().unwrap();
    let daemon = world.daemon();
    let deadline = Instant::now() + Duration::from_secs(6);
    let mut states = Vec::new();
    while Instant::now() < deadline {
        let state = daemon.status()["providers"][0]["state"].clone();
        states.push(state.as_str().unwrap().to_owned());
    }
    states.dedup();
    assert_eq!(states.last().unwrap(), "unavailable", "{states:?}");
    assert!(!states.contains(&"refreshing".to_owned()), "{states:?}");
    assert_eq!(world.cloud.counts().refresh_calls, 0);
}

/// A provider's `Date` tells that this machine's clock is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ten_years_off() {
    let ahead = Options::default().clock_ahead(3650 * DAY);
    let scene = Scene::new(World::new(ahead).await, "");
    assert_eq!(post(&scene.daemon, &chat("x")).await.status(), 200);
    scene
        .assert("ten years behind", expected("clock_wrong", "attention"))
        .await;
}

/// So does that of its token endpoint, before any request.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_only_the_token_endpoint_has_seen() {
    let behind = Options::default().clock_ahead(-5 * 3600);
    let scene = Scene::new(World::new(behind).await, "");
    let renewed = scene.world.ctl(&["auth", "refresh"]);
    assert!(renewed.status.success(), "{renewed:?}");
    assert_eq!(scene.world.cloud.counts().requests, 0);
    scene
        .assert("five hours ahead", expected("clock_wrong", "attention"))
        .await;
    let home = json_of(&scene.world.ctl(&["status", "--json"]));
    let text = home["findings"][0]["text"].as_str().unwrap();
    assert_eq!(text, "This machine's clock is 5 h ahead of that of nous");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_needs_a_key_that_nobody_has() {
    let world = World::new(Options::default()).await;
    let added = world
        .hermesctl(&["clients", "add", "app"])
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let socket = world.home.path().join("run/api.sock");
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n\n[[listen]]\nunix = \"{}\"\nauth = \"keys\"\n",
        socket.display()
    );
    let scene = Scene::new(world, &config);
    scene.assert("one key", WELL).await;
    let revoked = scene.world.ctl(&["clients", "revoke", "app"]);
    assert!(revoked.status.success(), "{revoked:?}");
    let keyless = expected("no_client_keys", "attention");
    scene.assert("the last key is revoked", keyless).await;

    let added = scene.world.ctl(&["clients", "add", "app"]);
    assert!(added.status.success(), "{added:?}");
    scene.assert("another key", WELL).await;
    // The file is gone, or emptied, when it is read again.
    let file = scene
        .world
        .home
        .path()
        .join(".local/state/hermes-proxyd/clients.json");
    assert!(file.exists(), "{}", file.display());
    let whole = std::fs::read(&file).unwrap();
    for content in ["", "{"] {
        std::fs::write(&file, content).unwrap();
        scene.daemon.signal(Signal::HUP);
        let unreadable = expected("client_keys_unreadable", "attention");
        scene.assert("the key file is broken", unreadable).await;
    }
    std::fs::write(&file, whole).unwrap();
    scene.daemon.signal(Signal::HUP);
    scene.assert("the key file is whole", WELL).await;
    std::fs::remove_file(&file).unwrap();
    scene.daemon.signal(Signal::HUP);
    scene.assert("the key file is gone", keyless).await;
}

/// Another process has the name of a Unix socket that was removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_lost() {
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\n";
    let scene = Scene::new(World::new(Options::default()).await, config);
    scene.assert("both listen", WELL).await;
    let path = scene.world.home.path().join("apps/proxy.sock");
    std::fs::remove_file(&path).unwrap();
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let lost = expected("socket_missing", "attention");
    scene.assert("its socket is taken", lost).await;
    drop(other);
    scene.assert("it is restored", WELL).await;
}

/// A provider's API key that is gone at a reload.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_is_missing_or_empty() {
    for (what, content) in [
        ("missing", None),
        ("empty", Some("")),
        ("blank", Some("\n \n")),
        ("in quotes", Some("\"sk-abc\"")),
        ("a folder", Some("/")),
    ] {
        let world = World::new(Options::default()).await;
        let file = world.home.path().join("key");
        std::fs::write(&file, "sk-abc").unwrap();
        let config = format!(
            "default_provider = \"keyed\"\n\n[providers.keyed]\ntype = \"static\"\n\
             base_url = \"{{base}}\"\napi_key_file = \"{}\"\n",
            file.display()
        );
        let scene = Scene::new(world, &config);
        scene.assert("well", WELL).await;
        match content {
            None => std::fs::remove_file(&file).unwrap(),
            Some("/") => {
                std::fs::remove_file(&file).unwrap();
                std::fs::create_dir(&file).unwrap();
            }
            Some(content) => std::fs::write(&file, content).unwrap(),
        }
        let reloaded = scene.world.ctl(&["proxy", "reload", "--json"]);
        let unread = &json_of(&reloaded)["providers_unreadable"];
        assert_eq!(reloaded.status.code(), Some(1), "{what}");
        assert_eq!(*unread, json!(["keyed"]), "{what}");
        let needed = expected("login_needed", "bad").of_login().not_ready();
        scene.assert(what, needed.exit(4)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_wait_for_a_restart() {
    let scene = Scene::new(World::new(Options::default()).await, "");
    scene.world.write_config("[limits]\nconnections = 77\n");
    let reloaded = scene.world.ctl(&["proxy", "reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    let waits = expected("restart_needed", "attention");
    scene.assert("a restart is pending", waits).await;
    // What only hermesctl sees, since the daemon does not read its file by itself.
    scene.world.write_config("limits = 3\n");
    let home = json_of(&scene.world.ctl(&["proxy", "status", "--json"]));
    let codes = home["findings"].as_array().unwrap().iter();
    let codes: Vec<_> = codes.filter_map(|one| one["code"].as_str()).collect();
    assert!(codes.contains(&"config_broken"), "{home}");
    let doctor = scene.world.hermesctl(&["doctor", "--json"]).output();
    let doctor = json_of(&doctor.unwrap());
    let findings = doctor["findings"].as_array().unwrap();
    for code in ["config_broken", "restart_needed"] {
        assert!(findings.iter().any(|one| one["code"] == code), "{doctor}");
    }
}
