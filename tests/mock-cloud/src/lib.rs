//! A portal and an inference API for the tests, benches and demo of hermes-proxyd.
//!
//! Honest where it counts: refresh tokens are single-use and rotate, a spent one revokes the whole
//! login, and the inference API accepts only a currently valid bearer. Everything else can be
//! broken on demand.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test's cloud may fail loudly"
)]

mod admin;
mod authorize;
mod body;
mod clock;
mod codex;
mod faults;
mod home;
mod inference;
mod marks;
mod messages;
mod options;
pub mod pattern;
mod portal;
mod raw;
mod record;
mod server;
mod shapes;
mod steering;
mod tls;
mod tokens;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::codex::CODEX_CLIENT_ID;
pub use self::faults::{Canned, Endpoint, Fault, PortalFault};
pub use self::marks::Marked;
pub use self::options::{CLIENT_ID, Options, ReuseError, SCOPE};
pub use self::portal::Call;
pub use self::raw::{Raw, RawEnd, Script};
pub use self::record::{Counts, Seen};
pub use self::steering::{Cut, OneOrMany, Steering};
pub use self::tls::{Authority, Tls};
pub use self::tokens::{Family, Login};

use self::clock::Clock;
use self::faults::Faults;
use self::inference::Inference;
use self::marks::Marks;
use self::portal::Portal;
use self::record::Log;
use self::server::Server;
use self::tokens::Tokens;

/// So often a condition is looked at again, changes or not.
const AGAIN: Duration = Duration::from_millis(50);

/// A running cloud. Dropping it ends its servers and connections.
pub struct MockCloud {
    portal: Arc<Portal>,
    inference: Arc<Inference>,
    portal_server: Server,
    inference_server: Server,
    authority: Authority,
    options: Options,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl MockCloud {
    /// Starts both servers on free ports of 127.0.0.1.
    pub async fn start(options: Options) -> Self {
        let (clock, tokens) = (
            Arc::new(Clock::new(options.clock_ahead)),
            Arc::new(Mutex::new(Tokens::default())),
        );
        let log = Arc::new(Log::new(options.record, options.body_limit));
        let portal = Arc::new(Portal {
            clock: clock.clone(),
            tokens: tokens.clone(),
            policy: Arc::new(Mutex::new(options.policy.clone())),
            log: log.clone(),
            faults: std::array::from_fn(|_| Faults::default()),
            calls: Mutex::default(),
            document: Mutex::default(),
            pages: Mutex::default(),
            declines: Mutex::default(),
            in_flight: Arc::default(),
            options: options.clone(),
        });
        let inference = Arc::new(Inference {
            clock,
            tokens,
            log,
            faults: Faults::default(),
            marks: Marks::default(),
        });
        let authority = Authority::new();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let tasks = (&tracker, &stop);
        let portal_tls = authority.acceptor(options.portal_tls, options.http2);
        let inference_tls = authority.acceptor(options.inference_tls, options.http2);
        let portal_server = Server::start(portal.clone(), portal_tls, tasks)
            .await
            .expect("a free port");
        let inference_server = Server::start(inference.clone(), inference_tls, tasks)
            .await
            .expect("a free port");
        Self {
            portal,
            inference,
            portal_server,
            inference_server,
            authority,
            options,
            stop,
            tracker,
        }
    }

    /// The portal, without a trailing slash.
    pub fn portal_url(&self) -> String {
        url(self.options.portal_tls, &self.portal_server, "")
    }

    /// The inference API's base, ending with `/v1`.
    pub fn inference_base_url(&self) -> String {
        url(self.options.inference_tls, &self.inference_server, "/v1")
    }

    /// The base of OpenAI Codex's backend.
    pub fn codex_base_url(&self) -> String {
        url(
            self.options.inference_tls,
            &self.inference_server,
            "/backend-api/codex",
        )
    }

    /// The certificate of the authority that signs both servers' ones.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// The authority itself, for servers of a test's own.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Writes that certificate to a file.
    pub fn write_ca(&self, path: &Path) -> io::Result<()> {
        self.authority.write(path)
    }

    /// A fresh grant, as if the user had logged in.
    pub fn login(&self) -> Login {
        let policy = lock(&self.portal.policy).clone();
        lock(&self.portal.tokens).login(&policy, self.portal.clock.now())
    }

    /// The same of another account, in Codex's dialect.
    pub fn login_of(&self, account: &str, residency: Option<&str>) -> Login {
        let mut policy = lock(&self.portal.policy).clone();
        policy.account = Some(codex::Account {
            id: account.to_owned(),
            residency: residency.map(str::to_owned),
        });
        lock(&self.portal.tokens).login(&policy, self.portal.clock.now())
    }

    /// Hermes Agent's store after this login.
    pub fn hermes_store(&self, login: &Login) -> Value {
        if self.options.policy.account.is_some() {
            return home::codex_store(login, clock::real());
        }
        home::store(login, &self.portal_url(), clock::real())
    }

    /// Writes that store to `<home>/auth.json`, private as Hermes Agent does.
    pub fn write_hermes_home(&self, home: &Path, login: &Login) -> io::Result<()> {
        home::write(home, &self.hermes_store(login))
    }

    /// All logins from now on are of this user.
    pub fn set_subject(&self, subject: &str) {
        lock(&self.portal.policy).subject = Some(subject.to_owned());
    }

    /// How long the access tokens of later grants live.
    pub fn set_access_ttl(&self, ttl: Duration) {
        lock(&self.portal.policy).access_ttl = ttl;
    }

    /// Moves the cloud's own clock ahead.
    pub fn advance(&self, by: Duration) {
        self.portal.clock.advance(by);
    }

    /// Puts the cloud's own clock back.
    pub fn put_back(&self, by: Duration) {
        self.portal.clock.put_back(by);
    }

    /// Ends a login with all its tokens, as when the user logs out everywhere.
    pub fn revoke(&self, family: Family) {
        lock(&self.portal.tokens).revoke(family);
    }

    /// Ends one access token or agent key.
    pub fn revoke_access_token(&self, bearer: &str) {
        lock(&self.portal.tokens).revoke_bearer(bearer);
    }

    /// Ends all access tokens and agent keys; refresh tokens stay good.
    pub fn revoke_access_tokens(&self) {
        lock(&self.portal.tokens).revoke_bearers();
    }

    /// Whether a login has not been revoked.
    pub fn is_alive(&self, family: Family) -> bool {
        lock(&self.portal.tokens).is_alive(family)
    }

    /// The one refresh token of a login that is not spent.
    pub fn current_refresh_token(&self, family: Family) -> Option<String> {
        lock(&self.portal.tokens).current_refresh_token(family)
    }

    /// The bearer that the inference API took last.
    pub fn last_bearer(&self) -> Option<String> {
        lock(&self.portal.tokens).last_used()
    }

    /// The login that a refresh token belongs to.
    pub fn family_of(&self, refresh_token: &str) -> Option<Family> {
        lock(&self.portal.tokens).family_of(refresh_token)
    }

    /// Every token, key and code that was ever issued.
    pub fn issued_secrets(&self) -> Vec<String> {
        lock(&self.portal.tokens).issued()
    }

    /// The user says yes to a device code.
    pub fn approve(&self, user_code: &str) {
        admin::decide(&self.portal, user_code, true);
    }

    /// The user says no to a device code.
    pub fn deny(&self, user_code: &str) {
        admin::decide(&self.portal, user_code, false);
    }

    /// The discovery document that is served in place of the true one.
    pub fn set_document(&self, document: Canned) {
        *lock(&self.portal.document) = Some(document);
    }

    /// What the users of the login page say from now on.
    pub fn set_declines(&self, declines: bool) {
        *lock(&self.portal.declines) = declines;
    }

    /// What the login pages were asked for, in their order.
    pub fn pages(&self) -> Vec<std::collections::HashMap<String, String>> {
        lock(&self.portal.pages).clone()
    }

    /// The next `count` requests to this endpoint go wrong.
    pub fn fail_portal(&self, endpoint: Endpoint, count: usize, fault: &PortalFault) {
        self.portal.faults(endpoint).push(count, fault);
    }

    /// Every request to this endpoint goes wrong until [`MockCloud::heal`].
    pub fn break_portal(&self, endpoint: Endpoint, fault: PortalFault) {
        self.portal.faults(endpoint).stick(fault);
    }

    /// The next `count` inference requests go wrong.
    pub fn fail_next(&self, count: usize, fault: &Fault) {
        self.inference.faults.push(count, fault);
    }

    /// Counts inference requests with `mark=N` in their query from now on. The first of them get
    /// these faults, in their order, in place of the other ones.
    pub fn mark(&self, mark: u64, faults: Vec<Fault>) {
        self.inference.marks.add(mark, faults);
    }

    /// What came with this mark; it is forgotten then.
    pub fn unmark(&self, mark: u64) -> Marked {
        self.inference.marks.remove(mark)
    }

    /// Every inference request goes wrong until [`MockCloud::heal`].
    pub fn break_inference(&self, fault: Fault) {
        self.inference.faults.stick(fault);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        for faults in &self.portal.faults {
            faults.heal();
        }
        self.inference.faults.heal();
    }

    /// Closes the portal's port and its connections, or opens it again.
    pub async fn set_portal_open(&self, open: bool) {
        self.portal_server.set_open(open).await;
    }

    /// Closes the inference API's port and its connections, or opens it again.
    pub async fn set_inference_open(&self, open: bool) {
        self.inference_server.set_open(open).await;
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        self.inference.log.counts()
    }

    /// The requests to the portal, in their order.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.portal.calls).clone()
    }

    /// What the inference API saw, in order; empty when recording is off.
    pub fn requests(&self) -> Vec<Seen> {
        self.inference.log.seen()
    }

    /// Starts a second provider beside this cloud, which answers with the bytes of a script; with a
    /// certificate of this cloud's authority if `tls`.
    pub async fn raw(&self, script: Script, tls: bool) -> Raw {
        let tls = if tls { Tls::On } else { Tls::Off };
        Raw::start(script, self.authority.acceptor(tls, false)).await
    }

    /// Waits until the portal has read all that was ever sent to it, and no call is under way. For
    /// when its clients are gone.
    pub async fn portal_is_quiet(&self) {
        let quiet = async {
            self.portal_server.drained().await;
            while self.portal.in_flight() > 0 {
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(30), quiet).await;
        assert!(done.is_ok(), "the portal is still at work");
    }

    /// Waits until `condition` holds of the cloud. Panics after `limit`.
    pub async fn wait_for(&self, limit: Duration, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.inference.log.changes();
        let wait = async {
            while !condition(self) {
                // It may be about something that sends no notification.
                let change = tokio::time::timeout(AGAIN, changes.changed()).await;
                drop(change.map(|told| told.expect("the cloud is alive")));
            }
        };
        let done = tokio::time::timeout(limit, wait).await;
        assert!(done.is_ok(), "not within {limit:?}: {:?}", self.counts());
    }

    /// Ends the servers and waits for their connections to end.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(Duration::from_secs(5), self.tracker.wait())
            .await
            .ok();
    }
}

impl Drop for MockCloud {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for MockCloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MockCloud")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

fn url(tls: Tls, server: &Server, path: &str) -> String {
    match tls {
        Tls::Off => format!("http://{}{path}", server.address),
        Tls::On | Tls::Expired | Tls::WrongName => {
            format!("https://localhost:{}{path}", server.address.port())
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
