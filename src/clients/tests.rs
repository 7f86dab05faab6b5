//! The registry with a real file.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::clock::fake::JumpingClock;
use crate::secret::Secret;

const NOON: &str = "2026-11-23T12:00:00Z";

struct ClientsFolder {
    dir: TempDir,
    clock: Arc<JumpingClock>,
}

impl ClientsFolder {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(JumpingClock::at(NOON)),
        }
    }

    fn with_file(content: &str) -> Self {
        let folder = Self::new();
        folder.write(content);
        folder
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("clients.json")
    }

    fn write(&self, content: &str) {
        std::fs::write(self.file(), content).unwrap();
        #[cfg(unix)]
        self.set_mode(0o600);
    }

    #[cfg(unix)]
    fn set_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.file(), mode).unwrap();
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Opens the same file as another program would.
    fn try_open(&self) -> Result<Registry, ClientsError> {
        Registry::open(self.file(), self.clock.clone())
    }

    fn open(&self) -> Registry {
        self.try_open().unwrap()
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

fn limits(in_flight: u32) -> KeyLimits {
    KeyLimits {
        in_flight: NonZeroU32::new(in_flight),
        ..KeyLimits::default()
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

async fn add(registry: &Registry, name: &str) -> Secret {
    registry.add(name, KeyLimits::default()).await.unwrap().1
}

fn whose(registry: &Registry, key: &Secret) -> Option<String> {
    let client = registry.identify(key.expose().as_bytes())?;
    Some(client.name().to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "stands beside what `whose` gives")]
fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

fn names(registry: &Registry) -> Vec<String> {
    registry.list().into_iter().map(|one| one.name).collect()
}

#[tokio::test]
async fn a_key_is_its_clients_and_nobody_elses() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    assert!(registry.is_empty());
    let (one, two) = (add(&registry, "one").await, add(&registry, "two").await);
    assert!(!registry.is_empty());
    assert_eq!(whose(&registry, &one), named("one"));
    assert_eq!(whose(&registry, &two), named("two"));
    let text = one.expose();
    let (shorter, longer) = (text.get(1..).unwrap(), format!("{text} "));
    for stranger in [
        "",
        "anything",
        "hpx-",
        shorter,
        &longer,
        &text.to_uppercase(),
    ] {
        assert!(
            registry.identify(stranger.as_bytes()).is_none(),
            "{stranger}"
        );
    }
    assert_eq!(whose(&folder.open(), &two), named("two"), "after a restart");
}

#[tokio::test]
async fn the_file_holds_hashes_and_is_the_users_alone() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let key = add(&registry, "karakeep").await;
    let text = folder.text();
    assert!(
        !text.contains(key.expose()) && !text.contains("hpx-"),
        "{text}"
    );
    let sha256 = folder.json()["clients"][0]["sha256"].clone();
    assert_eq!(sha256.as_str().unwrap().len(), 64);
    assert!(sha256.as_str().unwrap().starts_with(&key.fingerprint()));
    assert!(!format!("{registry:?}{:?}", registry.identify(b"x")).contains(key.expose()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        for file in ["clients.json", "clients.lock"] {
            let metadata = std::fs::metadata(folder.dir.path().join(file)).unwrap();
            assert_eq!(metadata.mode() & 0o777, 0o600, "{file}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.dir.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_revoked_key_is_nobodys_and_a_rotated_one_gives_way_at_once() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let (old, other) = (add(&registry, "app").await, add(&registry, "other").await);
    let client = registry.identify(old.expose().as_bytes()).unwrap();
    drop(client.enter("127.0.0.1").unwrap());

    let (listed, new) = registry.rotate("app").await.unwrap();
    assert_eq!(whose(&registry, &old), None);
    assert_eq!(whose(&registry, &new), named("app"));
    assert_eq!(listed.usage.requests, 1, "its history stays");
    assert_eq!(listed.rotated, Some(folder.now()));

    registry.revoke("app").await.unwrap();
    assert_eq!(whose(&registry, &new), None);
    assert_eq!(whose(&registry, &other), named("other"));
    let error = registry.revoke("app").await.unwrap_err();
    assert!(matches!(error, ClientsError::Unknown { .. }), "{error}");
    add(&registry, "app").await;
    assert_eq!(registry.list()[0].usage.requests, 0, "another client");
}

#[tokio::test]
async fn limits_are_kept_and_obeyed() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let wanted = KeyLimits {
        providers: texts(&["nous", "local", "nous"]),
        paths: texts(&["/chat/completions"]),
        in_flight: NonZeroU32::new(2),
        ..KeyLimits::default()
    };
    let (_, key) = registry.add("app", wanted).await.unwrap();
    for registry in [&registry, &folder.open()] {
        let client = registry.identify(key.expose().as_bytes()).unwrap();
        assert!(client.allows_provider("nous") && client.allows_provider("local"));
        assert!(!client.allows_provider("nou") && !client.allows_provider("other"));
        assert!(client.allows_path("/chat/completions"));
        assert!(!client.allows_path("/chat/completions/x") && !client.allows_path("/models"));
        assert_eq!(client.limits.in_flight, NonZeroU32::new(2));
    }
    let free = registry.identify(add(&registry, "free").await.expose().as_bytes());
    let free = free.unwrap();
    assert!(free.allows_provider("any") && free.allows_path("/models"));
}

#[tokio::test]
async fn a_place_is_given_back_and_a_rotation_does_not_double_them() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let (_, key) = registry.add("app", limits(2)).await.unwrap();
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    let one = client.enter("127.0.0.1").unwrap();
    let two = client.enter("127.0.0.1").unwrap();
    let full = client.enter("127.0.0.1").unwrap_err();
    let expected = LimitReached::InFlight {
        name: "app".to_owned(),
        limit: 2,
    };
    assert_eq!((full.wait(), full), (None, expected));

    let (_, key) = registry.rotate("app").await.unwrap();
    let rotated = registry.identify(key.expose().as_bytes()).unwrap();
    assert!(rotated.enter("127.0.0.1").is_err());
    drop(one);
    let three = rotated.enter("127.0.0.1").unwrap();
    drop((two, three));
    let both = (rotated.enter("x").unwrap(), rotated.enter("x").unwrap());
    assert!(rotated.enter("x").is_err());
    drop(both);
    assert_eq!(registry.list()[0].usage.requests, 5, "refusals don't count");
}

#[tokio::test]
async fn use_is_noted_with_the_last_places_and_survives_a_restart() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let key = add(&registry, "app").await;
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    for address in 1..=12 {
        folder.clock.jump(Duration::from_secs(1));
        drop(client.enter(&format!("192.0.2.{address}")).unwrap());
    }
    for source in ["unix socket", "::ffff:192.0.2.12", "192.0.2.12"] {
        drop(client.enter(source).unwrap());
    }
    registry.flush().await.unwrap();
    drop(client.enter("::1").unwrap());
    registry.flush().await.unwrap();
    registry.flush().await.unwrap();
    for registry in [registry, folder.open()] {
        let usage = registry.list().remove(0).usage;
        assert_eq!(usage.requests, 16);
        assert_eq!(usage.last, Some(folder.now()));
        let expected = [
            "::1",
            "192.0.2.12",
            "unix socket",
            "192.0.2.11",
            "192.0.2.10",
            "192.0.2.9",
            "192.0.2.8",
            "192.0.2.7",
            "192.0.2.6",
        ];
        assert_eq!(usage.from, expected);
    }
}

#[tokio::test]
async fn two_programs_lose_nothing_of_each_other() {
    let folder = ClientsFolder::new();
    let (daemon, helper) = (folder.open(), folder.open());
    let key = add(&daemon, "app").await;
    let work = |registry: Registry, prefix: &'static str| async move {
        for number in 0..20 {
            add(&registry, &format!("{prefix}{number}")).await;
        }
    };
    let counting = async {
        let client = daemon.identify(key.expose().as_bytes()).unwrap();
        for _ in 0..20 {
            drop(client.enter("127.0.0.1").unwrap());
            daemon.flush().await.unwrap();
        }
    };
    tokio::join!(
        work(daemon.clone(), "a"),
        work(helper.clone(), "b"),
        counting
    );
    daemon.reload().await.unwrap();
    assert_eq!(daemon.list().len(), 41);
    assert_eq!(names(&folder.open()), names(&daemon));
    let app = daemon.list().into_iter().find(|one| one.name == "app");
    assert_eq!(app.unwrap().usage.requests, 20);

    helper.reload().await.unwrap();
    helper.revoke("app").await.unwrap();
    assert_eq!(whose(&daemon, &key), named("app"), "not told yet");
    add(&daemon, "last").await;
    assert_eq!(whose(&daemon, &key), None, "each change reads again first");
}

#[tokio::test]
async fn a_lock_that_another_program_holds_is_waited_for_and_then_given_up() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let path = folder.dir.path().join("clients.lock");
    let held = std::fs::File::create(&path).unwrap();
    held.lock().unwrap();
    tokio::time::pause();
    let error = registry.add("app", KeyLimits::default()).await.unwrap_err();
    assert!(matches!(error, ClientsError::LockHeld { .. }), "{error}");
    tokio::time::resume();
    assert!(registry.is_empty());
    held.unlock().unwrap();
    add(&registry, "app").await;
}

#[tokio::test]
async fn fields_that_are_unknown_stay() {
    let folder = ClientsFolder::with_file(
        &json!({
            "version": 1,
            "comment": "mine",
            "clients": [{
                "colour": "red",
                "name": "app",
                "sha256": "0".repeat(64),
                "requests": 7,
            }],
        })
        .to_string(),
    );
    let registry = folder.open();
    registry.rotate("app").await.unwrap();
    add(&registry, "b").await;
    let (_, key) = registry.rotate("app").await.unwrap();
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    drop(client.enter("127.0.0.1").unwrap());
    registry.flush().await.unwrap();
    let json = folder.json();
    assert_eq!(json["comment"], "mine");
    assert_eq!(json["clients"][0]["colour"], "red");
    assert_eq!(json["clients"][0]["requests"], 8);
}

#[test]
fn a_file_that_is_none_is_an_error_that_names_it_and_no_secret() {
    let hash = "ab".repeat(32);
    let client = |more: Value| {
        let mut client = json!({"name": "app", "sha256": hash});
        let fields = more.as_object().unwrap().clone();
        client.as_object_mut().unwrap().extend(fields);
        json!({"version": 1, "clients": [client]}).to_string()
    };
    let twice = |name: &str, sha256: &str| {
        let clients = json!([{"name": "app", "sha256": hash}, {"name": name, "sha256": sha256}]);
        json!({"version": 1, "clients": clients}).to_string()
    };
    for (content, what) in [
        (String::new(), "not a JSON object"),
        ("[]".to_owned(), "not a JSON object"),
        (format!("{{\"{hash}"), "not a JSON object"),
        ("{}".to_owned(), "`version` is missing"),
        (r#"{"version":2}"#.to_owned(), "has version 2"),
        (r#"{"version":1}"#.to_owned(), "`clients` is not a list"),
        (
            r#"{"version":1,"clients":[1]}"#.to_owned(),
            "number 1: it is not an object",
        ),
        (client(json!({"name": "App"})), "`name`"),
        (client(json!({"name": ".."})), "`name`"),
        (client(json!({"sha256": format!("{hash}0")})), "`sha256`"),
        (client(json!({"in_flight": 0})), "`in_flight`"),
        (client(json!({"in_flight": "2"})), "`in_flight`"),
        (client(json!({"providers": []})), "`providers` is empty"),
        (
            client(json!({"providers": "nous"})),
            "`providers` is not a list",
        ),
        (client(json!({"paths": ["/a", 1]})), "`paths` is not a list"),
        (client(json!({"requests": -1})), "`requests`"),
        (
            client(json!({"last_used_at": "yesterday"})),
            "`last_used_at`",
        ),
        (
            r#"{"version":1,"clients":[],"revoked":{}}"#.to_owned(),
            "`revoked` is not a list",
        ),
        (
            r#"{"version":1,"clients":[],"revoked":[{"sha256":"x"}]}"#.to_owned(),
            "`sha256` in `revoked`",
        ),
        (twice("app", &"0".repeat(64)), "app appears twice"),
        (twice("other", &hash), "app and other have the same key"),
    ] {
        let folder = ClientsFolder::with_file(&content);
        let error = folder.try_open().unwrap_err().to_string();
        assert!(error.contains(what), "{content}: {error}");
        assert!(
            error.starts_with(&folder.file().display().to_string()),
            "{error}"
        );
        assert!(!error.contains(&hash), "{error}");
        assert_eq!(folder.text(), content, "not changed");
    }
    assert!(
        ClientsFolder::with_file(&client(json!({"in_flight": null})))
            .try_open()
            .is_ok()
    );
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_use_is_refused_with_the_command_that_mends_it() {
    let folder = ClientsFolder::with_file(r#"{"version":1,"clients":[]}"#);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o666, 0o4601] {
        folder.set_mode(mode);
        let error = folder.try_open().unwrap_err().to_string();
        let command = format!("run `chmod 600 {}`", folder.file().display());
        assert!(error.ends_with(&command), "{mode:o}: {error}");
    }
    for mode in [0o600, 0o400, 0o700] {
        folder.set_mode(mode);
        assert!(folder.try_open().is_ok(), "{mode:o}");
    }
}

#[cfg(unix)]
#[test]
fn somebody_elses_file_and_what_is_no_file_are_refused() {
    let folder = ClientsFolder::new();
    std::fs::create_dir(folder.file()).unwrap();
    let error = folder.try_open().unwrap_err();
    assert!(matches!(error, ClientsError::Read { .. }), "{error}");
    std::fs::remove_dir(folder.file()).unwrap();
    // rustix lacks mkfifo on some systems.
    let made = std::process::Command::new("mkfifo")
        .arg(folder.file())
        .status();
    assert!(made.unwrap().success());
    let error = folder.try_open().unwrap_err();
    assert!(matches!(error, ClientsError::Read { .. }), "{error}");
    std::fs::remove_file(folder.file()).unwrap();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Only root can create a file that another user owns.
    folder.write(r#"{"version":1,"clients":[]}"#);
    std::os::unix::fs::chown(folder.file(), Some(65534), None).unwrap();
    let error = folder.try_open().unwrap_err();
    assert!(
        matches!(error, ClientsError::Foreign { owner: 65534, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("chown"), "{error}");
    std::os::unix::fs::chown(folder.dir.path(), Some(65534), None).unwrap();
    assert!(
        folder.try_open().is_ok(),
        "root works for the folder's owner"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn what_root_writes_for_a_user_stays_the_users() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = ClientsFolder::new();
    chown(folder.dir.path(), Some(65534), None).unwrap();
    let registry = folder.open();
    for name in ["one", "two"] {
        add(&registry, name).await;
        for file in ["clients.json", "clients.lock"] {
            let metadata = std::fs::metadata(folder.dir.path().join(file)).unwrap();
            assert_eq!(metadata.uid(), 65534, "{file}");
        }
    }
}

#[tokio::test]
async fn a_broken_file_is_neither_used_nor_overwritten_and_the_keys_stay() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let key = add(&registry, "app").await;
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    drop(client.enter("127.0.0.1").unwrap());
    let whole = folder.text();
    folder.write("{");
    assert!(registry.reload().await.is_err());
    assert!(registry.flush().await.is_err());
    assert!(registry.revoke("app").await.is_err());
    assert_eq!(folder.text(), "{");
    assert_eq!(whose(&registry, &key), named("app"));

    folder.write(&whole);
    registry.flush().await.unwrap();
    assert_eq!(
        folder.open().list()[0].usage.requests,
        1,
        "nothing was lost"
    );
}

#[tokio::test]
async fn what_a_killed_program_left_is_cleared_away_and_not_read() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let key = add(&registry, "app").await;
    let torn = folder.dir.path().join("clients.json.hermes-proxyd.torn");
    std::fs::write(&torn, r#"{"version":1,"cl"#).unwrap();
    assert_eq!(whose(&folder.open(), &key), named("app"));
    add(&registry, "more").await;
    assert!(!torn.exists());
}

#[tokio::test]
async fn a_file_that_goes_away_is_no_keys_and_does_not_come_back_by_itself() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let key = add(&registry, "app").await;
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    std::fs::remove_file(folder.file()).unwrap();
    drop(client.enter("127.0.0.1").unwrap());
    registry.flush().await.unwrap();
    assert!(!folder.file().exists());
    assert!(registry.is_empty());
}

#[tokio::test]
async fn names_and_limits_that_are_none_are_refused() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let long = "a".repeat(65);
    for name in ["", "A", "ä", "a b", "-a", ".a", "a/b", &long] {
        let error = registry.add(name, KeyLimits::default()).await.unwrap_err();
        assert!(
            matches!(error, ClientsError::InvalidName { .. }),
            "{name}: {error}"
        );
    }
    for path in ["", "/", "models", "/a b", "/a?b", "https://x/"] {
        let limits = KeyLimits {
            paths: texts(&[path]),
            ..KeyLimits::default()
        };
        let error = registry.add("app", limits).await.unwrap_err();
        assert!(
            matches!(error, ClientsError::InvalidLimit { .. }),
            "{path}: {error}"
        );
    }
    assert!(!folder.file().exists());
    for name in ["a", "0", "open-webui_2.1", &"a".repeat(64)] {
        add(&registry, name).await;
    }
    let error = registry.add("a", KeyLimits::default()).await.unwrap_err();
    assert!(matches!(error, ClientsError::Exists { .. }), "{error}");
    let error = registry.rotate("open-webu_2.1").await.unwrap_err();
    assert!(
        error.to_string().ends_with("did you mean open-webui_2.1?"),
        "{error}"
    );
}

#[tokio::test]
async fn imported_tokens_go_on_working() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    add(&registry, "agent-a").await;
    let token = |label: &str, key: &str| Token {
        label: label.to_owned(),
        key: Secret::new(key.to_owned()),
    };
    let tokens = vec![
        token("agent-a", "client-secret-a-long"),
        token("Agent B", "client-secret-b-long"),
        token("agent-c", "short"),
    ];
    let results = registry.import(tokens.clone()).await.unwrap();
    let outcomes: Vec<_> = results.iter().map(|one| one.outcome).collect();
    assert_eq!(
        outcomes,
        [
            TokenOutcome::Skipped,
            TokenOutcome::Imported,
            TokenOutcome::Refused
        ]
    );
    assert!(!format!("{results:?}{tokens:?}").contains("secret"));
    assert_eq!(whose(&registry, &tokens[0].key), None);
    assert_eq!(whose(&registry, &tokens[1].key), named("agent-b"));
    assert!(!folder.text().contains("secret"));
    assert_eq!(whose(&folder.open(), &tokens[1].key), named("agent-b"));
}

/// The cost of one token must not depend on their number: comparing five thousand with each other takes minutes in a
/// test build.
#[tokio::test]
async fn a_large_file_is_imported_and_kept_in_linear_time() {
    const MANY: usize = 5_000;
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let token = |number: usize| Token {
        label: format!("agent-{number}"),
        key: Secret::new(format!("client-secret-of-{number}")),
    };
    let tokens: Vec<_> = (0..MANY).map(token).collect();
    let began = tokio::time::Instant::now();
    let results = registry.import(tokens.clone()).await.unwrap();
    let imported = |one: &&Imported| one.outcome == TokenOutcome::Imported;
    assert_eq!(results.iter().filter(imported).count(), MANY);
    // Once more, with pending use of some of them.
    for token in tokens.iter().step_by(500) {
        let client = registry.identify(token.key.expose().as_bytes());
        drop(client.unwrap().enter("127.0.0.1").unwrap());
    }
    let again = registry.import(tokens.clone()).await.unwrap();
    assert!(again.iter().all(|one| one.outcome == TokenOutcome::Skipped));
    registry.revoke("agent-7").await.unwrap();
    let others = folder.open();
    assert_eq!(others.count(), MANY as u64 - 1);
    let used = others.list();
    assert_eq!(used.iter().map(|one| one.usage.requests).sum::<u64>(), 10);
    let limit = Duration::from_secs(30);
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_imported_token_that_is_taken_away_is_known_as_revoked() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let token = |label: &str| Token {
        label: label.to_owned(),
        key: Secret::new(format!("client-secret-of-{label}")),
    };
    let tokens: Vec<_> = ["a", "b", "c"].map(token).into();
    registry.import(tokens.clone()).await.unwrap();
    let own = add(&registry, "own").await;
    registry.revoke("a").await.unwrap();
    registry.rotate("b").await.unwrap();
    registry.rotate("b").await.unwrap();
    registry.revoke("own").await.unwrap();
    assert_eq!(folder.json()["revoked"].as_array().unwrap().len(), 2);
    assert!(!folder.text().contains("secret"));
    let is_revoked = |registry: &Registry, key: &Secret| {
        matches!(
            registry.look_up(key.expose().as_bytes()),
            ClientIdentity::Revoked
        )
    };
    for registry in [&registry, &folder.open()] {
        assert!(is_revoked(registry, &tokens[0].key) && is_revoked(registry, &tokens[1].key));
        assert_eq!(whose(registry, &tokens[2].key), named("c"));
        // The prefix identifies it as one of ours.
        assert!(!is_revoked(registry, &own));
    }
    let again = registry.import(tokens.clone()).await.unwrap();
    let outcomes: Vec<_> = again.iter().map(|one| one.outcome).collect();
    assert_eq!(outcomes, [TokenOutcome::Skipped; 3]);
    assert_eq!(whose(&registry, &tokens[0].key), None);
}

/// Lets `keep` finish what became due.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn use_is_written_once_a_minute_and_at_the_end() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let key = add(&registry, "app").await;
    let (tasks, stop) = (
        tokio_util::task::TaskTracker::new(),
        CancellationToken::new(),
    );
    let keeper = tasks.spawn(registry.clone().keep(stop.clone()));
    settle().await;
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    let requests = || folder.json()["clients"][0]["requests"].as_u64();
    for written in [None, Some(3)] {
        for _ in 0..3 {
            drop(client.enter("127.0.0.1").unwrap());
            tokio::time::sleep(Duration::from_secs(15)).await;
            settle().await;
            assert_eq!(requests(), written);
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
        settle().await;
        assert_eq!(requests(), Some(written.unwrap_or(0) + 3));
    }
    drop(client.enter("127.0.0.1").unwrap());
    stop.cancel();
    keeper.await.unwrap();
    assert_eq!(requests(), Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_somebody_else_writes_is_noticed() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let (tasks, stop) = (
        tokio_util::task::TaskTracker::new(),
        CancellationToken::new(),
    );
    let keeper = tasks.spawn(registry.clone().keep(stop.clone()));
    settle().await;
    let key = add(&folder.open(), "app").await;
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(whose(&registry, &key), named("app"));
    let whole = folder.text();
    folder.write("{");
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(whose(&registry, &key), named("app"), "it stays as it was");
    folder.write(&whole);
    folder.open().revoke("app").await.unwrap();
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(whose(&registry, &key), None);
    stop.cancel();
    keeper.await.unwrap();
}

#[tokio::test]
async fn a_key_is_used_no_more_than_it_may_be_in_a_minute_and_a_day() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let rates = ClientRates {
        requests_per_minute: NonZeroU32::new(2),
        requests_per_day: NonZeroU32::new(3),
        tokens_per_day: NonZeroU64::new(100),
    };
    let wanted = KeyLimits {
        models: texts(&["b", "a", "a"]),
        rates,
        ..KeyLimits::default()
    };
    let (listed, key) = registry.add("app", wanted).await.unwrap();
    assert_eq!(listed.limits.models, texts(&["a", "b"]));
    assert_eq!(listed.today, Some(AllowanceUse::default()));
    // Another process reads the same values.
    let again = folder.open();
    assert_eq!(again.list()[0].limits, listed.limits);
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    assert!(client.allows_model("a") && !client.allows_model("c"));
    for _ in 0..2 {
        drop(client.enter("127.0.0.1").unwrap());
    }
    let full = client.enter("127.0.0.1").unwrap_err();
    assert!(
        matches!(full, LimitReached::Requests { limit: 2, .. }),
        "{full}"
    );
    folder.clock.jump(Duration::from_mins(1));
    drop(client.enter("127.0.0.1").unwrap());
    let full = client.enter("127.0.0.1").unwrap_err();
    assert!(
        matches!(full, LimitReached::Requests { limit: 3, .. }),
        "{full}"
    );
    assert!(full.wait().unwrap() > Duration::from_mins(1), "{full:?}");
    // hermesctl's own requests don't count as the app's.
    drop(client.enter_uncounted().unwrap());
    // A day later the limits are fresh, until the tokens are used up.
    folder.clock.jump(Duration::from_hours(25));
    drop(client.enter("127.0.0.1").unwrap());
    client.spends(100, 30);
    let full = client.enter("127.0.0.1").unwrap_err();
    assert!(
        matches!(full, LimitReached::Tokens { limit: 100, .. }),
        "{full}"
    );
    assert!(full.to_string().contains("30 of them"), "{full}");
}

/// Correcting the clock, adding a limit and restarting the daemon all keep the same day.
#[tokio::test]
async fn what_was_used_today_is_kept_with_the_key() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let key = add(&registry, "app").await;
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    for is_sent in [true, true, false] {
        let permit = client.enter("127.0.0.1").unwrap();
        if !is_sent {
            permit.gives_back(Duration::ZERO);
        }
    }
    client.spends(40, 10);
    registry.flush().await.unwrap();
    let used = AllowanceUse {
        requests: 2,
        tokens: 40,
        estimated: 10,
    };
    // A key without limits reports no use of today.
    assert_eq!(registry.list()[0].today, None);
    let mut edited = folder.json();
    edited["clients"][0]["requests_per_day"] = json!(2);
    folder.write(&edited.to_string());
    registry.reload().await.unwrap();
    let again = folder.open();
    for registry in [&registry, &again] {
        assert_eq!(registry.list()[0].today, Some(used));
        let client = registry.identify(key.expose().as_bytes()).unwrap();
        let full = client.enter("127.0.0.1").unwrap_err();
        assert!(
            matches!(full, LimitReached::Requests { limit: 2, .. }),
            "{full}"
        );
    }
    // A new client under an old name starts fresh.
    again.revoke("app").await.unwrap();
    let limits = KeyLimits {
        rates: ClientRates {
            requests_per_day: NonZeroU32::new(2),
            ..ClientRates::default()
        },
        ..KeyLimits::default()
    };
    again.add("app", limits).await.unwrap();
    assert_eq!(folder.open().list()[0].today, Some(AllowanceUse::default()));
}

#[tokio::test]
async fn days_that_are_none_leave_the_keys_as_they_were() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    add(&registry, "app").await;
    for days in [
        json!({}),
        json!([1]),
        json!([{"requests": 1}]),
        json!([{"ends_at": "now"}]),
    ] {
        let mut edited = folder.json();
        edited["clients"][0]["days"] = days;
        folder.write(&edited.to_string());
        let error = registry.reload().await.unwrap_err().to_string();
        assert!(error.contains("`days` is not a list"), "{error}");
    }
}

#[tokio::test]
async fn limits_change_and_the_key_stays() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    let wanted = KeyLimits {
        models: texts(&["a"]),
        paths: texts(&["/embeddings"]),
        ..limits(4)
    };
    let (_, key) = registry.add("app", wanted).await.unwrap();
    let before = registry.identify(key.expose().as_bytes()).unwrap();
    let held = before.enter("127.0.0.1").unwrap();
    let changed = registry.change_limits("app", |limits| KeyLimits {
        models: Vec::new(),
        in_flight: NonZeroU32::new(1),
        ..limits
    });
    let changed = changed.await.unwrap();
    assert_eq!(changed.limits.paths, texts(&["/embeddings"]));
    assert!(folder.json()["clients"][0].get("models").is_none());
    for registry in [&registry, &folder.open()] {
        let client = registry.identify(key.expose().as_bytes()).unwrap();
        assert!(client.allows_model("b") && !client.allows_path("/chat/completions"));
    }
    // The slot already taken counts.
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    let full = client.enter("127.0.0.1").unwrap_err();
    assert!(
        matches!(full, LimitReached::InFlight { limit: 1, .. }),
        "{full}"
    );
    drop(held);
    drop(client.enter("127.0.0.1").unwrap());
    let unknown = registry.change_limits("ap", |limits| limits).await;
    let error = unknown.unwrap_err().to_string();
    assert!(error.contains("did you mean app"), "{error}");
    let wrong = registry.change_limits("app", |limits| KeyLimits {
        models: texts(&["*"]),
        ..limits
    });
    wrong.await.unwrap_err();
    assert!(folder.json()["clients"][0].get("models").is_none());
}

#[tokio::test]
async fn a_model_that_no_request_could_name_is_no_limit() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    for (name, what) in [
        ("", "empty"),
        ("  ", "empty"),
        ("*", "omit the limit"),
        ("Hermes-*-70B", "before its end"),
        ("**", "before its end"),
        (" Hermes", "spaces around it"),
        ("Hermes\n4", "control characters"),
    ] {
        let wanted = KeyLimits {
            models: texts(&["Hermes-4-70B", name]),
            ..KeyLimits::default()
        };
        let error = registry.add("app", wanted).await.unwrap_err().to_string();
        assert!(error.contains(what), "{name:?}: {error}");
    }
    let wanted = KeyLimits {
        models: texts(&["Hermes-4-*", "x-ai/grok 4"]),
        ..KeyLimits::default()
    };
    let (_, key) = registry.add("app", wanted).await.unwrap();
    let client = registry.identify(key.expose().as_bytes()).unwrap();
    for (name, allows) in [
        ("Hermes-4-70B", true),
        ("Hermes-4-", true),
        ("Hermes-4", false),
        ("hermes-4-70B", false),
        ("x-ai/grok 4", true),
        ("x-ai/grok 4 fast", false),
    ] {
        assert_eq!(client.allows_model(name), allows, "{name}");
    }
}

#[tokio::test]
async fn a_field_that_means_nothing_is_told_and_kept() {
    let folder = ClientsFolder::new();
    let registry = folder.open();
    add(&registry, "app").await;
    let client = registry.all().remove(0);
    drop(client.enter("127.0.0.1").unwrap());
    registry.flush().await.unwrap();
    assert_eq!(registry.list()[0].unknown_fields, texts(&[]));
    let mut edited = folder.json();
    edited["clients"][0]["tokens_per_dya"] = json!(9);
    folder.write(&edited.to_string());
    registry.reload().await.unwrap();
    assert_eq!(
        registry.list()[0].unknown_fields,
        texts(&["tokens_per_dya"])
    );
    registry.rotate("app").await.unwrap();
    assert_eq!(folder.json()["clients"][0]["tokens_per_dya"], 9);
}
