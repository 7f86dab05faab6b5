//! Logins in rows of the pool, beside others that must not be lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::{
    Change, LoginDestination, LoginStore, LoginUpdate, Marking, NewRow, Remark, RowPlace,
    StoreError, pool,
};
use crate::clock::fake::JumpingClock;
use crate::config::{AllowedPath, ProviderKind, ProviderName};
use crate::credentials::attempt::RenewalCause;
use crate::credentials::journal::{RefreshJournal, UnsavedLogin};
use crate::credentials::knowledge::LoginEvent as Known;
use crate::credentials::tests::{PATIENCE, files_in};
use crate::credentials::{Initiative, Keeper, KeeperContext, KeeperSettings, Strategy};
use crate::provider::{
    Adapter, Assessment, BaseUrl, BearerKind, Credential, Grant, Layout, Login, LoginEndReason,
    Remedy, Renewal, TokenError,
};
use crate::secret::Secret;

/// A layout like xAI's. Nothing is granted.
#[derive(Debug)]
struct Accounts {
    name: ProviderName,
    asked: AtomicU64,
}

fn pooled() -> &'static dyn Layout {
    crate::provider::layout(&ProviderKind::Xai { issuer_url: None }).unwrap()
}

#[async_trait]
impl Adapter for Accounts {
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
        Some(pooled())
    }

    fn assess(&self, login: &Login, _now: DateTime<Utc>) -> Assessment {
        let Some(bearer) = login.tokens().access else {
            return Assessment::NoLogin {
                reason: "the login has ended".to_owned(),
            };
        };
        Assessment::Login {
            credential: Some(Credential {
                authorization: bearer.authorization("Bearer").unwrap(),
                bearer,
                base_url: BaseUrl::new(&"http://127.0.0.1:1".parse().unwrap()).unwrap(),
                kind: BearerKind::new("test", Renewal::Refresh),
                issued_at: None,
                expires_at: None,
                headers: Vec::new(),
            }),
            renewal: Renewal::Refresh,
        }
    }

    async fn renew(&self, _login: &Login, _renewal: Renewal) -> Result<Grant, TokenError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Err(TokenError::Transient {
            may_be_spent: false,
            what: "an outage".to_owned(),
            retry_after: None,
        })
    }

    fn apply(&self, login: &mut Login, grant: Grant, now: DateTime<Utc>) {
        login.put(&grant.tokens(now));
    }
}

struct Home {
    folder: tempfile::TempDir,
    provider: Arc<Accounts>,
    /// That of the block.
    keeper: Keeper,
}

fn terms(adapter: Arc<Accounts>) -> KeeperContext {
    KeeperContext {
        adapter,
        settings: KeeperSettings {
            refresh_lead: Duration::from_mins(5),
            token_timeout: Duration::from_secs(1),
            wait: Duration::from_secs(10),
            initiative: Initiative::Keeps,
            audience: None,
        },
        optional: false,
        strategy: Strategy::FillFirst,
    }
}

fn row(id: &str, token: &str) -> serde_json::Value {
    json!({
        "id": id, "source": "manual:device_code", "access_token": format!("a-{token}"),
        "refresh_token": token, "last_status": null,
    })
}

fn block(token: &str) -> serde_json::Value {
    json!({"tokens": {"access_token": format!("a-{token}"), "refresh_token": token}})
}

fn clock() -> Arc<JumpingClock> {
    Arc::new(JumpingClock::at("2026-11-23T12:00:00Z"))
}

fn token(name: &str) -> Secret {
    Secret::new(name.to_owned())
}

/// The login with this token in a row.
fn in_row(id: &str, token: &str) -> Login {
    let fields = block(token).as_object().cloned().unwrap();
    Login::new(fields, pooled()).in_row(id)
}

/// The row `two` was renewed and not saved.
fn renewed(id: &str, token_now: &str, before: &str) -> Known<'static> {
    Known::Granted {
        login: in_row(id, token_now),
        spent: [Some(token(before)), None],
    }
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider = Arc::new(Accounts {
            name: ProviderName::new("test").unwrap(),
            asked: AtomicU64::new(0),
        });
        let store = LoginStore::new(files_in(folder.path()), pooled());
        let (keeper, _) = Keeper::of(Some(store), terms(provider.clone()), clock(), 0);
        Self {
            folder,
            provider,
            keeper,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("auth.json")
    }

    fn holds(&self, block: &serde_json::Value, rows: &[serde_json::Value]) {
        let mut store = json!({"providers": {}, "credential_pool": {"xai-oauth": rows}});
        if !block.is_null() {
            store["providers"]["xai-oauth"] = block.clone();
        }
        std::fs::write(self.file(), store.to_string()).unwrap();
    }

    fn store(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap()
    }

    /// The refresh tokens of the block and of the rows.
    fn tokens(&self) -> (serde_json::Value, Vec<String>) {
        let store = self.store();
        let rows = store["credential_pool"]["xai-oauth"].as_array().unwrap();
        let rows = rows.iter().map(|row| row["refresh_token"].as_str());
        (
            store["providers"]["xai-oauth"]["tokens"]["refresh_token"].clone(),
            rows.map(|token| token.unwrap().to_owned()).collect(),
        )
    }

    /// The place of a separate login.
    fn at_row(&self, id: &str, nth: usize) -> LoginStore {
        LoginStore::new(files_in(self.folder.path()), pooled()).of_row(RowPlace {
            file: self.file(),
            id: id.to_owned(),
            nth,
        })
    }

    /// A keeper for it, which has looked.
    async fn of_row(&self, id: &str, nth: usize) -> Keeper {
        let terms = terms(self.provider.clone());
        let (mut keeper, _) = Keeper::of(Some(self.at_row(id, nth)), terms, clock(), 1);
        keeper.look().await;
        keeper
    }

    fn journal(&self) -> RefreshJournal {
        RefreshJournal::new(
            &self.folder.path().join("state/journal"),
            pooled(),
            &self.file(),
        )
    }

    async fn look(&mut self) {
        self.keeper.look().await;
    }
}

fn bearer(keeper: &Keeper) -> Option<String> {
    Some(keeper.core.bearer()?.expose().to_owned())
}

fn grant() -> Grant {
    let answer = json!({"access_token": "a-new", "refresh_token": "new"});
    Grant::new(answer.as_object().cloned().unwrap(), Renewal::Refresh)
}

#[tokio::test]
async fn a_new_login_of_the_block_touches_no_row_also_none_that_waits_to_be_saved() {
    let mut home = Home::new();
    home.holds(&json!(null), &[row("one", "other"), row("two", "b1")]);
    home.look().await;
    let mut two = home.of_row("two", 0).await;
    assert_eq!(bearer(&two).as_deref(), Some("a-b1"));
    two.core.knowledge.on(renewed("two", "b2", "b1"));
    home.keeper
        .install(grant(), LoginDestination::Shared)
        .await
        .unwrap();
    let rows = |two: &str| vec!["other".to_owned(), two.to_owned()];
    assert_eq!(home.tokens(), (json!("new"), rows("b1")));
    assert_eq!(bearer(&home.keeper).as_deref(), Some("a-new"));
    two.renew(RenewalCause::default()).await.unwrap();
    assert_eq!(home.tokens(), (json!("new"), rows("b2")));
    assert!(two.core.knowledge.unsaved().is_none());
}

#[tokio::test]
async fn a_login_that_is_added_replaces_none_and_is_a_row_as_hermes_agent_makes_them() {
    let mut home = Home::new();
    home.holds(&block("mine"), &[row("one", "other")]);
    home.look().await;
    home.keeper.add_row(grant(), new_row(None)).await.unwrap();
    let rows = vec!["other".to_owned(), "new".to_owned()];
    assert_eq!(home.tokens(), (json!("mine"), rows));
    let added = home.store()["credential_pool"]["xai-oauth"][1].clone();
    assert_eq!(added["id"].as_str().unwrap().len(), 6);
    for (key, value) in [
        ("label", json!("work")),
        ("auth_type", json!("oauth")),
        ("source", json!("manual:device_code")),
        ("priority", json!(1)),
        ("access_token", json!("a-new")),
        ("last_status", json!(null)),
    ] {
        assert_eq!(added[key], value, "{key}");
    }
    assert_eq!(bearer(&home.keeper).as_deref(), Some("a-mine"));
}

fn new_row(replaces: Option<(RowPlace, Vec<String>)>) -> NewRow {
    NewRow {
        label: "work".to_owned(),
        replaces,
    }
}

#[tokio::test]
async fn a_login_that_takes_the_place_of_another_has_its_place_and_an_id_of_its_own() {
    for is_meant in [true, false] {
        let mut home = Home::new();
        home.holds(&block("mine"), &[row("one", "o1"), row("two", "b1")]);
        home.look().await;
        let place = RowPlace {
            file: home.file(),
            id: "one".to_owned(),
            nth: 0,
        };
        // Another login may have come into its place.
        let held = if is_meant { "o1" } else { "o0" };
        let replaces = Some((place, vec![token(held).fingerprint()]));
        home.keeper
            .add_row(grant(), new_row(replaces))
            .await
            .unwrap();
        let rows = if is_meant {
            ["new", "b1"].map(str::to_owned).to_vec()
        } else {
            ["o1", "b1", "new"].map(str::to_owned).to_vec()
        };
        assert_eq!(home.tokens(), (json!("mine"), rows));
        let added = &home.store()["credential_pool"]["xai-oauth"][if is_meant { 0 } else { 2 }];
        assert!(
            added["id"] != "one" && added["label"] == "work",
            "{added:#}"
        );
    }
}

/// A write may be in place and still fail, if its folder can't be synced; then it is tried again.
#[tokio::test]
async fn a_login_that_is_added_once_more_is_one_row() {
    let mut home = Home::new();
    home.holds(&block("mine"), &[]);
    home.look().await;
    for _ in 0..2 {
        let file = home
            .keeper
            .add_row(grant(), new_row(None))
            .await
            .unwrap()
            .file;
        assert_eq!(file, home.file());
    }
    assert_eq!(home.tokens(), (json!("mine"), vec!["new".to_owned()]));
}

#[tokio::test]
async fn what_was_granted_for_a_row_that_is_gone_is_kept_until_the_row_comes_back() {
    let home = Home::new();
    home.holds(&json!(null), &[row("one", "o1"), row("two", "b1")]);
    let mut two = home.of_row("two", 0).await;
    let now = "2026-11-23T11:59:00Z".parse().unwrap();
    let journal = home.at_row("two", 0).journal(&home.file());
    journal.begin(&token("b1"), now).unwrap();
    // The row goes while the answer is under way.
    let store = home.at_row("two", 0);
    let mut files = store.open(PATIENCE).await.unwrap();
    let old = files.found().unwrap().login.clone();
    home.holds(&json!(null), &[row("one", "o1")]);
    let update = LoginUpdate {
        old: &old,
        login: &in_row("two", "b2"),
        change: Change::Rotated,
        now,
    };
    let written = files.commit(update, None);
    assert!(
        matches!(written, Err(StoreError::RowGone { .. })),
        "{written:?}"
    );
    drop(files);
    two.core.knowledge.on(renewed("two", "b2", "b1"));
    journal
        .keep(two.core.knowledge.unsaved().unwrap().to_keep())
        .unwrap();
    two.look().await;
    two.renew(RenewalCause::default()).await.ok();
    two.tidy().await.unwrap();
    assert_eq!(home.tokens().1, ["o1"]);
    // An editor brings it back.
    home.holds(&json!(null), &[row("one", "o1"), row("two", "b1")]);
    let mut again = home.of_row("two", 0).await;
    again.renew(RenewalCause::default()).await.ok();
    assert_eq!(home.tokens().1, ["o1", "b2"]);
    assert_eq!(home.provider.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_mark_leaves_a_login_that_has_ended_as_it_is() {
    let mut dead = row("one", "o1");
    dead["last_status"] = "dead".into();
    let store = json!({"credential_pool": {"xai-oauth": [dead, row("two", "b1")]}});
    for what in [
        Remark::Works,
        Remark::Exhausted {
            status: 429,
            code: None,
            reason: None,
            ends_at: "2026-11-23T13:00:00Z".parse().unwrap(),
        },
    ] {
        let mut document = store.as_object().cloned().unwrap();
        let marking = |bearer: &str| Marking {
            bearer: token(bearer),
            at: "2026-11-23T12:00:00Z".parse().unwrap(),
            what: what.clone(),
            written: Arc::default(),
        };
        assert!(!pool::remark(&mut document, pooled(), &marking("a-o1")));
        assert_eq!(serde_json::Value::Object(document.clone()), store);
        let is_mark = what != Remark::Works;
        assert_eq!(
            pool::remark(&mut document, pooled(), &marking("a-b1")),
            is_mark
        );
    }
}

#[tokio::test]
async fn the_end_of_a_login_leaves_another_one_beside_the_journal() {
    let mut home = Home::new();
    home.holds(&block("mine"), &[]);
    home.look().await;
    let journal = home.journal();
    let theirs = UnsavedLogin {
        login: in_row("two", "b2"),
        replaces: vec![token("b1").fingerprint()],
    };
    journal.keep(theirs.clone()).unwrap();
    for ends in [
        vec![Known::NoLogin(Some("ended"))],
        vec![Known::NoLogin(None)],
        vec![renewed("one", "o2", "o1"), Known::Superseded],
    ] {
        home.look().await;
        for event in ends {
            home.keeper.core.knowledge.on(event);
        }
        home.keeper.tidy().await.unwrap();
        assert_eq!(journal.kept().unwrap(), Some(theirs.clone()));
    }
    home.look().await;
    home.keeper
        .install(grant(), LoginDestination::Shared)
        .await
        .unwrap();
    assert_eq!(journal.kept().unwrap(), Some(theirs));
    // Its own goes.
    home.keeper.core.knowledge.on(renewed("two", "b2", "b1"));
    home.keeper.core.knowledge.on(Known::NoLogin(Some("ended")));
    home.keeper.tidy().await.unwrap();
    assert_eq!(journal.kept().unwrap(), None);
}

/// Two rows with one id, of which the first one is another login whose quota is used up for now.
fn twins(ours: &str) -> [serde_json::Value; 2] {
    let mut other = row("same", "other");
    other["last_status"] = "exhausted".into();
    [other, row("same", ours)]
}

#[tokio::test]
async fn of_two_rows_with_one_id_the_one_with_the_login_is_written() {
    let home = Home::new();
    home.holds(&json!(null), &twins("b1"));
    let mut second = home.of_row("same", 1).await;
    assert_eq!(bearer(&second).as_deref(), Some("a-b1"));
    second.core.knowledge.on(renewed("same", "b2", "b1"));
    second.renew(RenewalCause::default()).await.unwrap();
    let rows = vec!["other".to_owned(), "b2".to_owned()];
    assert_eq!(home.tokens(), (json!(null), rows));
    assert!(second.core.knowledge.unsaved().is_none());
}

#[tokio::test]
async fn of_two_rows_with_one_id_the_one_that_ended_is_marked() {
    let home = Home::new();
    home.holds(&json!(null), &twins("b1"));
    let store = home.at_row("same", 1);
    let mut files = store.open(PATIENCE).await.unwrap();
    let old = files.found().unwrap().login.clone();
    assert_eq!(old.refresh_token().unwrap().expose(), "b1");
    let now = "2026-11-23T12:00:00Z".parse().unwrap();
    let mut ended = old.clone();
    ended.end(&LoginEndReason {
        provider: "test",
        code: "invalid_grant",
        message: "revoked",
        at: now,
    });
    files.mark_dead(&[token("b1")]);
    let update = LoginUpdate {
        old: &old,
        login: &ended,
        change: Change::Quarantined,
        now,
    };
    files.commit(update, None).unwrap();
    let rows = home.store()["credential_pool"]["xai-oauth"].clone();
    assert_eq!(rows[0], twins("b1")[0]);
    assert_eq!(rows[1]["last_status"], "dead");
}

#[tokio::test]
async fn a_row_that_someone_has_rotated_further_is_not_written() {
    let home = Home::new();
    home.holds(&json!(null), &[row("two", "b1")]);
    let mut two = home.of_row("two", 0).await;
    two.core.knowledge.on(renewed("two", "b2", "b1"));
    home.holds(&block("theirs"), &[row("two", "b3")]);
    two.renew(RenewalCause::default()).await.unwrap();
    assert_eq!(home.tokens(), (json!("theirs"), vec!["b3".to_owned()]));
    assert!(two.core.knowledge.unsaved().is_none());
    assert_eq!(bearer(&two).as_deref(), Some("a-b3"));
    assert_eq!(home.provider.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn each_login_of_a_store_has_a_journal_of_its_own() {
    let home = Home::new();
    home.holds(&block("mine"), &[row("one", "o1"), row("two", "b1")]);
    let now = "2026-11-23T11:59:00Z".parse().unwrap();
    let of_two = home.at_row("two", 0).journal(&home.file());
    of_two.begin(&token("b1"), now).unwrap();
    let kept = UnsavedLogin {
        login: in_row("two", "b2"),
        replaces: vec![token("b1").fingerprint()],
    };
    of_two.keep(kept).unwrap();
    let one = home.of_row("one", 0).await;
    assert!(one.core.knowledge.begun().is_none());
    assert_eq!(bearer(&one).as_deref(), Some("a-o1"));
    let mut two = home.of_row("two", 0).await;
    assert!(two.core.knowledge.begun().is_some(), "it may be spent");
    two.renew(RenewalCause::default()).await.ok();
    assert_eq!(home.tokens().1, ["o1", "b2"], "its answer was beside it");
    assert!(home.journal().pending().unwrap().is_none());
}

/// A process was killed between writing the answer for the row `one` and renaming the file.
#[tokio::test]
async fn what_a_killed_process_left_of_one_login_outlives_the_rotation_of_another() {
    let home = Home::new();
    let killed_over = |tokens: [&str; 2]| {
        let rows = [row("one", tokens[0]), row("two", tokens[1])];
        json!({"providers": {}, "credential_pool": {"xai-oauth": rows}}).to_string()
    };
    home.holds(&json!(null), &[row("one", "o1"), row("two", "b1")]);
    let now = "2026-11-23T11:59:00Z".parse().unwrap();
    let of_one = home.at_row("one", 0).journal(&home.file());
    of_one.begin(&token("o1"), now).unwrap();
    let left = format!("auth.json.hermes-proxyd.{}.killed", of_one.tag());
    let left = home.folder.path().join(left);
    std::fs::write(&left, killed_over(["o2", "b1"])).unwrap();
    // The other one is renewed meanwhile.
    let mut two = home.of_row("two", 0).await;
    two.core.knowledge.on(renewed("two", "b2", "b1"));
    two.renew(RenewalCause::default()).await.unwrap();
    assert_eq!(home.tokens().1, ["o1", "b2"]);
    assert!(left.exists(), "it was taken for a leftover of the other");
    let mut one = home.of_row("one", 0).await;
    one.renew(RenewalCause::default()).await.ok();
    assert_eq!(home.tokens().1, ["o2", "b2"], "nobody's token goes back");
    assert!(!left.exists());
    assert_eq!(home.provider.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_token_is_one_login_wherever_it_stands() {
    let home = Home::new();
    let mut seeded = row("seed", "mine");
    seeded["source"] = "device_code".into();
    seeded["priority"] = 3.into();
    let rows = [
        seeded,
        row("copy", "mine"),
        row("one", "o1"),
        row("again", "o1"),
        row("two", "b1"),
    ];
    home.holds(&block("mine"), &rows);
    let store = LoginStore::new(files_in(home.folder.path()), pooled());
    let roster = store.roster().unwrap();
    let ids: Vec<_> = roster
        .rows
        .iter()
        .map(|row| row.place.id.as_str())
        .collect();
    assert_eq!(ids, ["one", "two"]);
    assert_eq!(roster.of_block.unwrap().priority, 3);
}

/// A process was killed between writing an answer and renaming the file, for two providers of one store.
#[tokio::test]
async fn what_a_killed_process_left_of_one_provider_outlives_the_rotation_of_another() {
    let mut home = Home::new();
    home.holds(&block("o1"), &[]);
    let now = "2026-11-23T11:59:00Z".parse().unwrap();
    home.journal().begin(&token("o1"), now).unwrap();
    let left = |tag: &str| {
        let name = format!("auth.json.hermes-proxyd.{tag}.killed");
        let file = home.folder.path().join(name);
        let blocks = json!({"providers": {"xai-oauth": block("o2")}});
        std::fs::write(&file, blocks.to_string()).unwrap();
        file
    };
    let (ours, theirs) = (left(&home.journal().tag()), left("0123456789ab"));
    home.look().await;
    home.keeper.renew(RenewalCause::default()).await.ok();
    assert_eq!(home.tokens().0, json!("o2"), "the answer was beside it");
    assert!(!ours.exists());
    assert!(theirs.exists(), "it was taken for a leftover of ours");
    assert_eq!(home.provider.asked.load(Ordering::Relaxed), 0);
}
