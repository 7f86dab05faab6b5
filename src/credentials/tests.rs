//! The keeper under a clock that jumps, with a provider that grants every request.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    CredentialHandle, Initiative, Keeper, KeeperSettings, NoCredential, NotReplaced, StoreFiles,
};
use crate::clock::fake::JumpingClock;
use crate::clock::{self, Clock};
use crate::config::{AllowedPath, ProviderName};
use crate::provider::{
    Adapter, Assessment, BaseUrl, BearerKind, Credential, Grant, Layout, Login, Remedy, Renewal,
    TokenError,
};

const LIFE: Duration = Duration::from_hours(1);
const PATH: &str = "/chat/completions";
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Fields of the usual names, without a mirror.
#[derive(Debug)]
struct Flat;

impl Layout for Flat {
    fn key(&self) -> &'static str {
        "test"
    }
}

pub(super) fn layout() -> &'static dyn Layout {
    &Flat
}

/// Grants tokens of one hour, numbered.
#[derive(Debug)]
struct Provider {
    name: ProviderName,
    calls: AtomicU64,
    outage: std::sync::atomic::AtomicBool,
    hangs: std::sync::atomic::AtomicBool,
    defect: std::sync::atomic::AtomicBool,
    /// Assessing a login with this access token fails.
    fails_over: &'static str,
    /// How long tokens live, in seconds.
    life: AtomicU64,
}

#[async_trait]
impl Adapter for Provider {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn display_name(&self) -> &'static str {
        "Test"
    }

    fn allowed_paths(&self) -> &[AllowedPath] {
        &[]
    }

    fn remedy(&self) -> Remedy {
        Remedy::Run("log in".to_owned())
    }

    fn layout(&self) -> Option<&'static dyn Layout> {
        Some(layout())
    }

    fn assess(&self, login: &Login, _now: DateTime<Utc>) -> Assessment {
        let Some(bearer) = login.secret("access_token") else {
            return Assessment::NoLogin {
                reason: "there is no login".to_owned(),
            };
        };
        assert!(bearer.expose() != self.fails_over, "a defect, on purpose");
        let credential = Credential {
            authorization: bearer.authorization("Bearer").unwrap(),
            bearer,
            base_url: BaseUrl::new(&"http://127.0.0.1:1".parse().unwrap()).unwrap(),
            kind: BearerKind::new("test", Renewal::Refresh),
            issued_at: login.time("obtained_at"),
            expires_at: login.time("expires_at"),
            headers: Vec::new(),
        };
        Assessment::Login {
            credential: Some(credential),
            renewal: Renewal::Refresh,
        }
    }

    async fn renew(&self, _login: &Login, renewal: Renewal) -> Result<Grant, TokenError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        assert!(!self.defect.load(Ordering::Relaxed), "a defect, on purpose");
        if self.outage.load(Ordering::Relaxed) {
            return Err(TokenError::Transient {
                may_be_spent: false,
                what: "an outage".to_owned(),
                retry_after: None,
            });
        }
        let answer =
            json!({"access_token": format!("a{call}"), "refresh_token": format!("r{call}")});
        Ok(Grant::new(answer.as_object().cloned().unwrap(), renewal))
    }

    fn apply(&self, login: &mut Login, grant: Grant, now: DateTime<Utc>) {
        for (key, value) in grant.into_answer() {
            login.set(&key, value);
        }
        login.set("obtained_at", now.to_rfc3339());
        assert!(
            login.text("access_token") != Some("a4"),
            "a defect over an answer, on purpose"
        );
        let life = Duration::from_secs(self.life.load(Ordering::Relaxed));
        login.set("expires_at", clock::after(now, life).to_rfc3339());
    }
}

/// A folder that is removed with its test, even if a thread of the store still writes into it.
#[derive(Debug)]
struct Home(std::path::PathBuf);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap().keep())
    }

    fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Home {
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread that writes tells no one that it is done"
    )]
    fn drop(&mut self) {
        for _ in 0..500 {
            // A write that is under way fails the removal, or makes a folder again.
            drop(std::fs::remove_dir_all(&self.0));
            std::thread::sleep(Duration::from_millis(5));
            if !self.0.exists() {
                return;
            }
        }
    }
}

/// The notices to the user.
#[derive(Debug, Default)]
struct Heard(std::sync::Mutex<Vec<String>>);

impl super::Audience for Heard {
    fn hear(&self, notice: super::LoginNotice) {
        self.0.lock().unwrap().push(format!("{:?}", notice.what));
    }
}

struct World {
    heard: Arc<Heard>,
    task: tokio::task::JoinHandle<()>,
    provider: Arc<Provider>,
    clock: Arc<JumpingClock>,
    handle: CredentialHandle,
    stop: CancellationToken,
    home: Home,
}

impl World {
    /// A keeper with a token that was obtained just now.
    async fn new() -> Self {
        let home = Home::new();
        let clock = Arc::new(JumpingClock::at("2026-11-23T12:00:00Z"));
        write(home.path(), "a0", clock.now());
        let provider = Arc::new(Provider {
            name: ProviderName::new("test").unwrap(),
            calls: AtomicU64::new(0),
            outage: false.into(),
            hangs: false.into(),
            defect: false.into(),
            fails_over: "odd",
            life: LIFE.as_secs().into(),
        });
        let files = files_in(home.path());
        let heard = Arc::new(Heard::default());
        let settings = KeeperSettings {
            refresh_lead: Duration::from_mins(5),
            token_timeout: Duration::from_secs(1),
            wait: Duration::from_secs(10),
            initiative: Initiative::Keeps,
            audience: Some(heard.clone()),
        };
        let (keeper, handle) = Keeper::new(provider.clone(), files, settings, clock.clone());
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        let task = tokio::spawn(keeper.run(stop.clone()));
        handle.started().await;
        Self {
            heard,
            task,
            provider,
            clock,
            handle,
            stop,
            home,
        }
    }

    fn calls(&self) -> u64 {
        self.provider.calls.load(Ordering::Relaxed)
    }

    async fn until_calls(&self, wanted: u64) {
        let waiting = async {
            while self.calls() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("a call");
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let waiting = async {
            while !done() {
                self.handle.reread().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "never: {what}");
    }

    /// Two looks of the keeper at clock and store, with the actions that follow; not for a provider
    /// that hangs.
    async fn two_looks(&self) {
        for _ in 0..2 {
            self.handle.look().await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) fn files_in(home: &Path) -> StoreFiles {
    StoreFiles {
        own: home.join("state/auth.json"),
        journal: home.join("state/journal"),
        active: home.join("auth.json"),
        global: home.join("auth.json"),
        shared: home.join("shared"),
    }
}

fn write(home: &Path, token: &str, now: DateTime<Utc>) {
    let block = json!({
        "access_token": token,
        "refresh_token": format!("{token}-refresh"),
        "obtained_at": now.to_rfc3339(),
        "expires_at": clock::after(now, LIFE).to_rfc3339(),
    });
    let store = json!({"providers": {"test": block}});
    std::fs::write(home.join("auth.json"), store.to_string()).unwrap();
}

#[tokio::test]
async fn a_keeper_that_hangs_for_longer_than_any_step_takes_is_not_well() {
    let world = World::new().await;
    assert!(world.handle.keeper_is_well());
    world.provider.hangs.store(true, Ordering::Relaxed);
    world.clock.jump(Duration::from_mins(56));
    world.until_calls(1).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(100)).await;
    assert!(world.handle.keeper_is_well(), "a slow step is none");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(!world.handle.keeper_is_well());
}

#[tokio::test]
async fn a_keeper_that_is_gone_is_not_well_and_one_that_was_told_to_end_is() {
    let world = World::new().await;
    world.stop.cancel();
    while world.handle.refresh().await.is_some() {}
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(world.handle.keeper_is_well());

    let world = World::new().await;
    world.task.abort();
    world
        .until("it is seen", || !world.handle.keeper_is_well())
        .await;
}

#[tokio::test]
async fn a_keeper_that_fails_is_started_again_with_what_it_held() {
    let world = World::new().await;
    let lease = world.handle.credential().await.unwrap();
    world.provider.defect.store(true, Ordering::Relaxed);
    world.clock.jump(Duration::from_mins(56));
    world.until_calls(1).await;
    let code = || {
        world
            .handle
            .status()
            .last_error
            .map(|error| error.what.code)
    };
    world
        .until("it is told", || code() == Some(super::fault_code::DEFECT))
        .await;
    assert!(world.handle.keeper_is_well());
    let still = world.handle.credential().await.unwrap();
    assert!(still.credential().bearer.same(&lease.credential().bearer));
    // It does not try again at once.
    let calls = world.calls();
    world.two_looks().await;
    assert_eq!(world.calls(), calls);
    world.provider.defect.store(false, Ordering::Relaxed);
    world.clock.jump(Duration::from_mins(6));
    world.until("a new token", || code().is_none()).await;
    let next = world.handle.credential().await.unwrap();
    assert!(!next.credential().bearer.same(&lease.credential().bearer));
}

#[tokio::test]
async fn a_login_that_the_keeper_fails_over_is_none_until_the_store_changes() {
    let world = World::new().await;
    let heard = |kind: &str| {
        let heard = world.heard.0.lock().unwrap();
        heard.iter().filter(|told| told.starts_with(kind)).count()
    };
    write(world.home.path(), "odd", world.clock.now());
    let state = || world.handle.status().standing;
    let needed = super::AvailabilityKind::LoginNeeded;
    world.until("it is none", || state() == needed).await;
    assert!(world.handle.keeper_is_well());
    assert!(matches!(
        world.handle.credential().await.map(|_| ()),
        Err(NoCredential::LoginNeeded { .. })
    ));
    world.two_looks().await;
    let error = world.handle.status().last_error.unwrap().what;
    assert_eq!(error.code, super::fault_code::DEFECT);
    assert_eq!(heard("Ended"), 1);
    // What a person asks for is answered.
    assert!(world.handle.refresh().await.is_some());
    write(world.home.path(), "good", world.clock.now());
    world
        .until("another login", || {
            state() == super::AvailabilityKind::Ready
        })
        .await;
    assert!(world.handle.status().last_error.is_none());
    assert_eq!(heard("Restored"), 1);
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn a_defect_over_an_answer_does_not_lose_the_token_that_it_granted() {
    let world = World::new().await;
    // The fourth answer is the odd one.
    world.provider.calls.store(3, Ordering::Relaxed);
    world.clock.jump(Duration::from_mins(56));
    world.until_calls(4).await;
    let stored = || std::fs::read_to_string(world.home.path().join("auth.json")).unwrap();
    world
        .until("it is stored", || stored().contains("\"r4\""))
        .await;
    assert!(world.handle.keeper_is_well());
}

#[tokio::test]
async fn tokens_that_live_for_a_second_are_renewed_six_times_and_then_every_thirty_seconds() {
    let world = World::new().await;
    world.provider.life.store(1, Ordering::Relaxed);
    world.clock.jump(Duration::from_mins(56));
    // At sixty, the next one is due, and may come at any moment.
    for second in 0..59 {
        world.two_looks().await;
        let most = 6 + second / 30;
        let calls = world.calls();
        assert!(
            calls <= most,
            "{calls} after {second} s: {:?}",
            world.handle.status()
        );
        world.clock.jump(Duration::from_secs(1));
    }
    assert!(world.calls() >= 7, "{}", world.calls());
    let error = world.handle.status().last_error.unwrap().what;
    assert_eq!(error.code, "renewals_paced", "{}", error.message);
    // A person may still do it.
    let calls = world.calls();
    assert!(world.handle.refresh().await.is_some());
    assert_eq!(world.calls(), calls + 1);
}

/// A provider that refuses at random must not cost a rotation each time, and one that ends a token
/// still gets a new one.
#[tokio::test]
async fn after_six_rotations_a_refused_token_is_tried_again_before_it_is_replaced() {
    let world = World::new().await;
    let handle = &world.handle;
    let mut lease = handle.credential().await.unwrap();
    for rotation in 1..=6 {
        lease = handle.replacement(&lease, PATH).await.unwrap();
        lease.prove();
        assert_eq!(world.calls(), rotation);
    }
    let paced = handle.replacement(&lease, PATH).await.map(drop);
    assert_eq!(paced, Err(NotReplaced::Paced));
    // Refused again while it is seconds old, it is replaced a moment later, and all wait for that.
    let both = async {
        tokio::join!(
            handle.replacement_at_last(&lease, PATH),
            handle.replacement_at_last(&lease, "/models"),
            async {
                assert_eq!(world.calls(), 6);
                world.clock.jump(Duration::from_secs(5));
            }
        )
    };
    let (first, second, ()) = both.await;
    assert!(
        first
            .unwrap()
            .credential()
            .bearer
            .same(&second.unwrap().credential().bearer)
    );
    assert_eq!(world.calls(), 7);
    lease = handle.credential().await.unwrap();
    world.clock.jump(Duration::from_secs(5));
    lease.prove();
    let next = handle.replacement_at_last(&lease, PATH).await.unwrap();
    assert!(!next.credential().bearer.same(&lease.credential().bearer));
    assert_eq!(world.calls(), 8);
}

/// Requests that come while a dead token may not be replaced yet wait for the next one, and are not sent with
/// it: each would hold a connection to the provider and a body until then.
#[tokio::test]
async fn requests_wait_for_the_successor_of_a_token_that_was_refused_twice() {
    let world = World::new().await;
    let handle = &world.handle;
    let mut lease = handle.credential().await.unwrap();
    for _ in 0..6 {
        lease = handle.replacement(&lease, PATH).await.unwrap();
        lease.prove();
    }
    let refused = || async {
        let paced = handle.replacement(&lease, PATH).await.map(drop);
        assert_eq!(paced, Err(NotReplaced::Paced));
        handle.replacement_at_last(&lease, PATH).await.unwrap()
    };
    let is_other =
        |newer: &super::Lease| !newer.credential().bearer.same(&lease.credential().bearer);
    // Asks until it has to wait, and then for as long as it takes.
    let later = async {
        let moment = Duration::from_millis(20);
        let mut asked = 0;
        while let Ok(same) = tokio::time::timeout(moment, handle.credential()).await {
            asked += 1;
            assert!(asked < 500 && !is_other(&same.unwrap()), "it never waits");
            tokio::time::sleep(moment).await;
        }
        assert_eq!(world.calls(), 6);
        let (lease, ()) = tokio::join!(handle.credential(), async {
            world.clock.jump(Duration::from_secs(5));
        });
        lease.unwrap()
    };
    let (first, second, later) = tokio::join!(refused(), refused(), later);
    for newer in [&first, &second, &later] {
        assert!(is_other(newer));
    }
    assert_eq!(world.calls(), 7);
}

#[tokio::test]
async fn a_path_that_is_refused_with_a_fresh_token_causes_no_rotation_until_all_is_refused() {
    let world = World::new().await;
    let handle = &world.handle;
    // Asks once on a path that is refused with any token.
    let refused = async || {
        let lease = handle.credential().await.unwrap();
        let Ok(other) = handle.replacement(&lease, PATH).await else {
            return;
        };
        handle.replay(PATH, &other).refused();
    };
    for _ in 0..40 {
        refused().await;
        handle.credential().await.unwrap().prove();
    }
    assert_eq!(world.calls(), 1);
    // Other paths are not meant.
    let lease = handle.credential().await.unwrap();
    let other = handle.replacement(&lease, "/models").await.unwrap();
    drop(handle.replay("/models", &other));
    other.prove();
    assert_eq!(world.calls(), 2);
    // Now the token is dead. After a while without a single success that is believed.
    for second in 0..35 {
        refused().await;
        assert!(second > 29 || world.calls() == 2, "after {second} s");
        world.clock.jump(Duration::from_secs(1));
    }
    assert_eq!(world.calls(), 3);
}

#[tokio::test]
async fn it_is_refreshed_when_due_and_only_then() {
    let world = World::new().await;
    world.two_looks().await;
    world.clock.jump(Duration::from_mins(54));
    world.two_looks().await;
    assert_eq!(world.calls(), 0, "refreshed before it was due");
    world.clock.jump(Duration::from_mins(2));
    world.until_calls(1).await;
    world.two_looks().await;
    assert_eq!(world.calls(), 1, "refreshed twice");
    let stored = std::fs::read_to_string(world.home.path().join("auth.json")).unwrap();
    assert!(stored.contains("\"refresh_token\": \"r1\""), "{stored}");
}

#[tokio::test]
async fn after_hours_of_suspend_the_first_request_gets_a_fresh_token() {
    let world = World::new().await;
    let before = world.handle.credential().await.unwrap();
    world.clock.jump(Duration::from_hours(8));
    let after = world.handle.credential().await.unwrap();
    assert!(!after.credential().bearer.same(&before.credential().bearer));
    assert!(after.credential().expires_at.unwrap() > world.clock.now());
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn a_suspended_machine_is_noticed_without_any_request() {
    let world = World::new().await;
    world.clock.jump(Duration::from_hours(8));
    // Within a look at the store, a few seconds of real time.
    world.until_calls(1).await;
}

#[tokio::test]
async fn an_outage_is_waited_out_and_a_clock_put_back_does_not_prolong_it() {
    let world = World::new().await;
    world.provider.outage.store(true, Ordering::Relaxed);
    world.clock.jump(Duration::from_hours(2));
    let refusal = world.handle.credential().await.map(|_| ()).unwrap_err();
    assert!(
        matches!(refusal, NoCredential::Unavailable { .. }),
        "{refusal}"
    );
    let calls = world.calls();
    assert!(calls >= 1, "nothing was tried");
    // The backoff was set by a clock that is now put back; the token is valid again until it
    // moves on.
    world.provider.outage.store(false, Ordering::Relaxed);
    world
        .clock
        .jump_back(Duration::from_hours(1) + Duration::from_mins(2));
    world.until_calls(calls + 1).await;
    world.handle.credential().await.unwrap();
}

#[tokio::test]
async fn someone_elses_login_is_taken_without_a_call() {
    let world = World::new().await;
    write(world.home.path(), "theirs", world.clock.now());
    let waiting = async {
        let theirs = crate::secret::Secret::new("theirs".to_owned());
        while !world
            .handle
            .credential()
            .await
            .unwrap()
            .credential()
            .bearer
            .same(&theirs)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it is noticed");
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn a_late_refusal_of_a_token_that_is_gone_causes_no_call() {
    let world = World::new().await;
    let old = world.handle.credential().await.unwrap();
    let new = world.handle.replacement(&old, PATH).await.unwrap();
    assert_eq!(world.calls(), 1);
    let same = world.handle.replacement(&old, PATH).await.unwrap();
    assert!(same.credential().bearer.same(&new.credential().bearer));
    assert_eq!(world.calls(), 1);
    // The new one has not been taken yet: it is not replaced at once either.
    assert!(world.handle.replacement(&new, PATH).await.is_err());
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn while_the_endpoint_is_out_of_order_refusals_cause_one_call() {
    let world = World::new().await;
    world.provider.outage.store(true, Ordering::Relaxed);
    let lease = world.handle.credential().await.unwrap();
    for _ in 0..20 {
        assert!(world.handle.replacement(&lease, PATH).await.is_err());
    }
    assert_eq!(world.calls(), 1);
}

/// The caller gives up, or its keeper is told to end.
#[tokio::test]
async fn a_repair_that_is_given_up_holds_the_lock_until_its_work_has_ended() {
    let home = Home::new();
    let file = home.path().join("auth.json");
    let store = super::store::LoginStore::new(files_in(home.path()), &Flat);
    let large: Vec<u32> = (0..600_000).collect();
    let document = json!({"providers": {}, "large": large}).to_string();
    std::fs::write(&file, &document.as_bytes()[..100]).unwrap();
    let temporary = file.with_file_name("auth.json.hermes-proxyd.killed");
    std::fs::write(temporary, document).unwrap();
    let lock = std::fs::File::create(home.path().join("auth.lock")).unwrap();
    let repair = {
        let (store, file) = (store.clone(), file.clone());
        async move { store.repair(&file, PATIENCE).await }
    };
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    let repair = tokio::spawn(repair);
    let held = async {
        while lock.try_lock().is_ok() {
            lock.unlock().unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    repair.abort();
    let free = async {
        while lock.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.unwrap();
    let before = std::fs::read(&file).unwrap();
    // Its turn comes when all other work has ended.
    store.work(|_| Ok(())).await.unwrap();
    let after = std::fs::read(&file).unwrap();
    assert!(before == after, "the store was written without its lock");
}

/// Another program may be working on the files, so the user is notified at the second look, seconds
/// later.
#[tokio::test]
async fn commands_do_not_hurry_the_look_at_what_is_in_a_renewals_way() {
    let world = World::new().await;
    std::fs::create_dir(world.home.path().join("auth.lock")).unwrap();
    let told = || {
        let heard = world.heard.0.lock().unwrap();
        heard.iter().any(|notice| notice.starts_with("Hindered"))
    };
    for _ in 0..20 {
        world.handle.reread().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!told(), "it is told at once");
    }
    world.until("the notice", told).await;
}

/// It spends nothing, so it needs no knowledge of spent tokens.
#[tokio::test]
async fn a_login_that_is_in_memory_only_is_written_though_its_journal_can_not_be_read() {
    let world = World::new().await;
    world.handle.refresh().await.unwrap();
    assert_eq!(world.calls(), 1);
    let store = world.home.path().join("auth.json");
    std::fs::write(&store, "{}").unwrap();
    let standing = || world.handle.status().standing;
    let gone = || standing() == super::AvailabilityKind::LoginNeeded;
    world.until("the logout", gone).await;
    let path = crate::secret::Secret::new(store.to_string_lossy().into_owned());
    let entry = format!("state/journal/test-{}.json", path.fingerprint());
    std::fs::create_dir_all(world.home.path().join(&entry)).unwrap();
    // A backup, whose token is spent.
    write(world.home.path(), "a0", world.clock.now());
    let saved = || std::fs::read_to_string(&store).unwrap().contains("\"r1\"");
    world.until("the newer login in the store", saved).await;
    assert_eq!(world.calls(), 1);
    let known = || !world.handle.status().unsaved;
    world.until("that it is known", known).await;
    // Another one waits for the journal.
    world.handle.refresh().await.unwrap();
    assert_eq!(world.calls(), 1, "a token was spent");
    std::fs::remove_dir(world.home.path().join(&entry)).unwrap();
    world.handle.refresh().await.unwrap();
    assert_eq!(world.calls(), 2);
}

/// A reload makes another store while work of the former one may hang, and every provider has one.
#[tokio::test]
async fn all_stores_of_a_folder_share_the_thread_for_its_journal() {
    use super::store::LoginStore;
    let home = Home::new();
    let files = files_in(home.path());
    let former = LoginStore::new(files.clone(), layout());
    let follower = LoginStore::new(files, layout());
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let hangs = former.note(move || wait.recv().is_ok());
    let begun = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let begins = begun.clone();
    let waits = follower.note(move || begins.store(true, Ordering::Relaxed));
    let mut both = std::pin::pin!(async { tokio::join!(hangs, waits) });
    let early = tokio::time::timeout(Duration::from_millis(100), &mut both).await;
    assert!(early.is_err() && !begun.load(Ordering::Relaxed));
    release.send(()).unwrap();
    let (hung, waited) = both.await;
    assert!(hung.unwrap() && waited.is_ok());
}
