//! Logins in rows of the pool, beside others that must not be lost for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::{Change, Place, Store, StoreError};
use crate::clock::fake::JumpingClock;
use crate::config::{AllowedPath, ProviderKind, ProviderName};
use crate::credentials::attempt::Cause;
use crate::credentials::journal::{Journal, Kept};
use crate::credentials::knowledge::Event as Known;
use crate::credentials::tests::{PATIENCE, files_in};
use crate::credentials::{Initiative, Keeper, Settings};
use crate::provider::{
    Adapter, Assessment, BaseUrl, Credential, CredentialKind, Ending, Grant, Layout, Login, Remedy,
    Renewal, TokenError,
};
use crate::secret::Secret;

/// Logins lie as those of xAI. Nothing is granted.
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
                kind: CredentialKind::new("test", Renewal::Refresh),
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
    keeper: Keeper,
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
        let settings = Settings {
            refresh_lead: Duration::from_mins(5),
            token_timeout: Duration::from_secs(1),
            wait: Duration::from_secs(10),
            initiative: Initiative::Keeps,
            audience: None,
        };
        let clock = Arc::new(JumpingClock::at("2026-11-23T12:00:00Z"));
        let files = files_in(folder.path());
        let (keeper, _) = Keeper::new(provider.clone(), files, settings, clock);
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

    fn journal(&self) -> Journal {
        Journal::new(
            &self.folder.path().join("state/journal"),
            pooled(),
            &self.file(),
        )
    }

    async fn look(&mut self) {
        self.keeper.look().await;
    }

    fn bearer(&self) -> Option<String> {
        Some(self.keeper.core.bearer()?.expose().to_owned())
    }
}

fn grant() -> Grant {
    let answer = json!({"access_token": "a-new", "refresh_token": "new"});
    Grant::new(answer.as_object().cloned().unwrap(), Renewal::Refresh)
}

#[tokio::test]
async fn a_new_login_is_written_after_the_row_that_waits_to_be_saved() {
    let mut home = Home::new();
    home.holds(&json!(null), &[row("one", "other"), row("two", "b1")]);
    home.look().await;
    home.keeper.core.knowledge.on(renewed("two", "b2", "b1"));
    home.keeper.install(grant(), Place::Shared).await.unwrap();
    let rows = vec!["other".to_owned(), "b2".to_owned()];
    assert_eq!(home.tokens(), (json!("new"), rows));
    assert_eq!(home.bearer().as_deref(), Some("a-new"));
}

#[tokio::test]
async fn a_new_login_waits_for_a_row_that_can_not_be_saved() {
    let mut home = Home::new();
    home.holds(&json!(null), &[row("two", "b1")]);
    home.look().await;
    home.keeper.core.knowledge.on(renewed("two", "b2", "b1"));
    std::fs::write(home.file(), "{").unwrap();
    let installed = home.keeper.install(grant(), Place::Shared).await;
    assert!(
        matches!(installed, Err(StoreError::Waiting)),
        "{installed:?}"
    );
    let unsaved = home.keeper.core.knowledge.unsaved().unwrap();
    assert_eq!(unsaved.login.row(), Some("two"));
}

#[tokio::test]
async fn the_end_of_a_login_leaves_another_one_beside_the_journal() {
    let mut home = Home::new();
    home.holds(&block("mine"), &[]);
    home.look().await;
    let journal = home.journal();
    let theirs = Kept {
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
    home.keeper.install(grant(), Place::Shared).await.unwrap();
    assert_eq!(journal.kept().unwrap(), Some(theirs));
    // Its own goes.
    home.keeper.core.knowledge.on(renewed("two", "b2", "b1"));
    home.keeper.core.knowledge.on(Known::NoLogin(None));
    home.keeper.tidy().await.unwrap();
    assert_eq!(journal.kept().unwrap(), None);
}

/// Two rows with one id, of which the first one is another login that has nothing left for now.
fn twins(ours: &str) -> [serde_json::Value; 2] {
    let mut other = row("same", "other");
    other["last_status"] = "exhausted".into();
    [other, row("same", ours)]
}

#[tokio::test]
async fn of_two_rows_with_one_id_the_one_with_the_login_is_written() {
    let mut home = Home::new();
    home.holds(&json!(null), &twins("b1"));
    home.look().await;
    assert_eq!(home.bearer().as_deref(), Some("a-b1"));
    home.keeper.core.knowledge.on(renewed("same", "b2", "b1"));
    // Another login is found first; the row is known by the token that was spent.
    home.holds(&block("theirs"), &twins("b1"));
    home.keeper.renew(Cause::default()).await.unwrap();
    let rows = vec!["other".to_owned(), "b2".to_owned()];
    assert_eq!(home.tokens(), (json!("theirs"), rows));
    assert!(home.keeper.core.knowledge.unsaved().is_none());
}

#[tokio::test]
async fn of_two_rows_with_one_id_the_one_that_ended_is_marked() {
    let home = Home::new();
    home.holds(&json!(null), &twins("b1"));
    let store = Store::new(files_in(home.folder.path()), pooled());
    let mut files = store.open(PATIENCE).await.unwrap();
    let old = files.found().unwrap().login.clone();
    assert_eq!(old.refresh_token().unwrap().expose(), "b1");
    let now = "2026-11-23T12:00:00Z".parse().unwrap();
    let mut ended = old.clone();
    ended.end(&Ending {
        provider: "test",
        code: "invalid_grant",
        message: "revoked",
        at: now,
    });
    files.mark_dead(&[token("b1")]);
    files
        .commit((&old, &ended), None, Change::Quarantined, now)
        .unwrap();
    let rows = home.store()["credential_pool"]["xai-oauth"].clone();
    assert_eq!(rows[0], twins("b1")[0]);
    assert_eq!(rows[1]["last_status"], "dead");
}

#[tokio::test]
async fn a_row_that_someone_has_rotated_further_is_not_written() {
    let mut home = Home::new();
    home.holds(&json!(null), &[row("two", "b1")]);
    home.look().await;
    home.keeper.core.knowledge.on(renewed("two", "b2", "b1"));
    // A login that goes first, so that the row is not looked at.
    home.holds(&block("theirs"), &[row("two", "b3")]);
    home.keeper.renew(Cause::default()).await.ok();
    assert_eq!(home.tokens(), (json!("theirs"), vec!["b3".to_owned()]));
    // It does not wait any more.
    assert!(home.keeper.core.knowledge.unsaved().is_none());
    home.keeper.renew(Cause::default()).await.unwrap();
    assert_eq!(home.bearer().as_deref(), Some("a-theirs"));
    assert_eq!(home.provider.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_journal_that_is_first_read_in_a_renewal_says_which_login_is_renewed() {
    let mut home = Home::new();
    home.holds(&json!(null), &[row("one", "o1"), row("two", "b1")]);
    let folder = home.folder.path().join("state/journal");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    home.look().await;
    assert_eq!(home.bearer().as_deref(), Some("a-o1"));
    std::fs::remove_file(&folder).unwrap();
    let now = "2026-11-23T11:59:00Z".parse().unwrap();
    home.journal().begin(&token("b1"), now).unwrap();
    let cause = || Cause {
        refused: Some(token("a-o1")),
        ..Cause::default()
    };
    home.keeper.renew(cause()).await.unwrap_err();
    assert_eq!(
        home.provider.asked.load(Ordering::Relaxed),
        0,
        "no token is sent"
    );
    home.look().await;
    assert_eq!(home.bearer().as_deref(), Some("a-b1"));
    assert!(home.keeper.core.knowledge.begun().is_some());
}

/// A process was killed between writing an answer and renaming the file, for two providers of one store.
#[tokio::test]
async fn what_a_killed_process_left_of_one_login_outlives_the_rotation_of_another() {
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
    home.keeper.renew(Cause::default()).await.ok();
    assert_eq!(home.tokens().0, json!("o2"), "the answer was beside it");
    assert!(!ours.exists());
    assert!(theirs.exists(), "it was taken for a leftover of ours");
    assert_eq!(home.provider.asked.load(Ordering::Relaxed), 0);
}
