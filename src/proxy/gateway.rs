//! What all connections share: the rules in effect, which a reload swaps as one.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::judge::{Exporter, Judge, Judgement};
use super::ledger::Ledger;
use super::models::{MergedList, ModelListCache};
use super::page::Pages;
use super::route::Serves;
use super::tally::{Counters, PathCounters};
use super::translation::PathTranslation;
use super::upstream::UpstreamClient;
use crate::clients::{OwnMark, Registry};
use crate::config::{AllowedPath, Guard, Limits, ProviderName, Routing, Timeouts, UserAgent};
use crate::credentials::LoginPool;
use crate::provider::{Adapter, Dialect};

/// A provider as requests need it.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: ProviderName,
    /// Its name in the log.
    pub label: Arc<str>,
    /// Its name for people.
    pub display_name: String,
    /// Whether nothing in the configuration asks for it.
    pub implied: bool,
    /// What is forwarded.
    pub paths: Vec<AllowedPath>,
    /// The same paths as the log shows them.
    pub labels: Vec<Arc<str>>,
    /// The requests for each of them.
    pub tallies: Vec<Arc<PathCounters>>,
    /// What knows the provider.
    pub adapter: Arc<dyn Adapter>,
    /// Where the bearer comes from.
    pub credentials: LoginPool,
    /// The connections.
    pub client: UpstreamClient,
    /// Request fields that pass besides the usual ones.
    pub forward_headers: Vec<HeaderName>,
    /// What the names of further ones begin with.
    pub forward_prefix: Option<&'static str>,
    /// Whether each of its requests needs a client key, whatever the listener asks for.
    pub needs_key: bool,
    /// How the bodies of each path differ from OpenAI's.
    pub dialects: Vec<Option<Dialect>>,
    /// Which paths are served in terms of another one.
    pub path_translations: Vec<Option<PathTranslation>>,
    /// Whose `User-Agent` the provider sees.
    pub user_agent: UserAgent,
    /// What our requests to it carry, so that they are known if they come back; `None` where the
    /// base URL is the provider's own.
    pub own_mark: Option<HeaderValue>,
    /// Whether event streams that lack their `[DONE]` get one.
    pub append_done: bool,
    /// The silence of an event stream after which it gets a comment; zero for never.
    pub keep_alive_comment: Duration,
    /// Its requests.
    pub counters: Arc<Counters>,
    /// Its list of models.
    pub models: ModelListCache,
    /// Whether the log has said that its base URL looks wrong.
    pub doubted: AtomicBool,
}

/// One path of a provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct UpstreamPath<'u> {
    pub(super) upstream: &'u Arc<Upstream>,
    /// Its place among the provider's paths.
    pub(super) index: usize,
}

impl<'u> UpstreamPath<'u> {
    /// As the configuration allows it; `None` where the provider has no such path.
    pub(super) fn allowed(self) -> Option<&'u AllowedPath> {
        self.upstream.paths.get(self.index)
    }

    /// How its bodies differ from OpenAI's, if they do.
    pub(super) fn dialect(self) -> Option<Dialect> {
        self.upstream.dialect(self.index)
    }

    /// What it is served in terms of, if it is not the provider's own.
    pub(super) fn translation(self) -> Option<PathTranslation> {
        self.upstream.translation(self.index)
    }
}

impl Upstream {
    /// How the bodies of this path differ from OpenAI's, if they do.
    pub(super) fn dialect(&self, path: usize) -> Option<Dialect> {
        self.dialects.get(path).copied().flatten()
    }

    /// What this path is served in terms of, if it is not the provider's own.
    pub(super) fn translation(&self, path: usize) -> Option<PathTranslation> {
        self.path_translations.get(path).copied().flatten()
    }

    /// The path that this one is served in terms of, if it is not the provider's own.
    pub fn translated_to(&self, path: usize) -> Option<&str> {
        let target = self.paths.get(self.translation(path)?.target)?;
        Some(&target.path)
    }

    /// Where a connection may be opened, so that the next request need not wait for one: where its login leads, if
    /// it has one. No request and no credential is sent.
    fn target_ahead(&self) -> Option<Uri> {
        let is_ready = self.credentials.is_authenticated();
        let target = is_ready.then(|| self.credentials.status().base_url)?;
        target?.parse().ok()
    }

    /// Whether the user has it: it is configured, it is the default provider, or it has a login.
    pub fn is_there(&self) -> bool {
        !self.implied || !self.credentials.is_unused()
    }
}

impl Serves for Arc<Upstream> {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn paths(&self) -> &[AllowedPath] {
        &self.paths
    }

    fn is_translated(&self, path: usize) -> bool {
        self.translation(path).is_some()
    }
}

/// A mark for a daemon's requests, drawn at its start. No secret.
pub fn draw_mark() -> HeaderValue {
    let mark = format!("{:016x}", fastrand::u64(..));
    HeaderValue::try_from(mark).unwrap_or_else(|_| HeaderValue::from_static("hermes-proxyd"))
}

/// The rules in force. A request keeps those that it began with.
#[derive(Debug)]
pub struct GatewayRules {
    /// Who may ask.
    pub guard: Guard,
    /// Sizes.
    pub limits: Limits,
    /// Durations.
    pub timeouts: Timeouts,
    /// How long a list of models is answered from memory; zero: never.
    pub models_cache: Duration,
    /// The providers.
    pub upstreams: Vec<Arc<Upstream>>,
    /// A request that carries it went through us before.
    pub mark: HeaderValue,
    /// What `/v1` means on a listener that names no provider.
    pub default_provider: ProviderName,
    /// Which requests go elsewhere; `None` where none do.
    pub routing: Option<Routing>,
}

impl GatewayRules {
    /// The place of the provider that `/v1` means on a listener with this setting. `None` when a
    /// reload took that provider away; the listener stays until a restart.
    pub(super) fn default_for(&self, listener: Option<&ProviderName>) -> Option<usize> {
        let name = listener.unwrap_or(&self.default_provider);
        self.upstreams
            .iter()
            .position(|upstream| upstream.name == *name)
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Gateway {
    rules: ArcSwap<GatewayRules>,
    pub(super) clients: Registry,
    pub(super) replay_used: Arc<AtomicUsize>,
    ledger: Arc<Ledger>,
    own_mark: Option<OwnMark>,
    judge: OnceLock<Arc<dyn Judge>>,
    pages: OnceLock<Arc<dyn Pages>>,
    exporter: OnceLock<Arc<dyn Exporter>>,
    /// The list of all providers' models.
    pub(super) merged: MergedList,
}

impl Gateway {
    /// A gateway with these rules, for the apps with these keys.
    pub fn new(rules: GatewayRules, clients: Registry) -> Self {
        Self {
            clients,
            rules: ArcSwap::from_pointee(rules),
            replay_used: Arc::default(),
            ledger: Arc::default(),
            own_mark: OwnMark::draw(),
            judge: OnceLock::new(),
            pages: OnceLock::new(),
            exporter: OnceLock::new(),
            merged: MergedList::default(),
        }
    }

    /// The mark of hermesctl's requests, so that they don't count as an app's; `None` without random
    /// numbers.
    pub fn own_mark(&self) -> Option<&OwnMark> {
        self.own_mark.as_ref()
    }

    /// Where requests are entered when they end.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// From now on, `judge` judges the state; a second one is ignored.
    pub fn judged_by(&self, judge: Arc<dyn Judge>) {
        self.judge.set(judge).ok();
    }

    /// The state of everything, or of this provider `alone`, for apps of this provider; `None`
    /// before there is a judge.
    pub(super) fn judge(&self, provider: &str, alone: bool) -> Option<Judgement> {
        Some(self.judge.get()?.judge(provider, alone))
    }

    /// From now on, `pages` makes the status page; a second one is not asked.
    pub fn shown_by(&self, pages: Arc<dyn Pages>) {
        self.pages.set(pages).ok();
    }

    /// The maker of the status page; `None` before there is one.
    pub(super) fn pages(&self) -> Option<&Arc<dyn Pages>> {
        self.pages.get()
    }

    /// From now on, `exporter` writes the metrics; a second one is not asked.
    pub fn exported_by(&self, exporter: Arc<dyn Exporter>) {
        self.exporter.set(exporter).ok();
    }

    /// Who writes the metrics; `None` while the daemon starts.
    pub(super) fn exporter(&self) -> Option<&dyn Exporter> {
        self.exporter.get().map(|exporter| &**exporter)
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<GatewayRules> {
        self.rules.load_full()
    }

    /// Opens a connection to each provider that has a login, where none is open.
    pub fn open_ahead(&self) {
        for upstream in &self.rules().upstreams {
            if let Some(target) = upstream.target_ahead() {
                upstream.client.open_ahead(&target);
            }
        }
    }

    /// An app has connected to a listener with this setting: the same for its provider, once until it is asked
    /// for something.
    pub(super) fn expects_request(&self, listener: Option<&ProviderName>) {
        let rules = self.rules();
        let upstream = rules.default_for(listener);
        let upstream = upstream.and_then(|place| rules.upstreams.get(place));
        if let Some(upstream) = upstream.filter(|upstream| upstream.client.may_open_ahead())
            && let Some(target) = upstream.target_ahead()
        {
            upstream.client.open_one_ahead(&target);
        }
    }

    /// Puts other rules in force, for requests that come from now on.
    pub fn replace(&self, rules: GatewayRules) {
        self.rules.store(Arc::new(rules));
        self.merged.forget();
    }
}
