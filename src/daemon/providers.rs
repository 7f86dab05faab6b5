//! The configured providers, each with the keepers of its logins.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::header::{HeaderName, HeaderValue};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::clients::Registry;
use crate::clock::Clock;
use crate::config::{
    Config, PoolStrategy, Provider, ProviderName, Routing, Timeouts, Variables, is_at_or_below,
};
use crate::credentials::{
    self, Audience, Initiative, KeeperContext, KeeperSettings, KeeperStatus, LoginPool, StoreFiles,
    Strategy,
};
use crate::provider::{self, Adapter, Layout};
use crate::proxy::{self, Counters, GatewayRules, PathCounters, Upstream, UpstreamClient};

/// The keepers read their stores within this time, side by side, or the daemon continues without
/// waiting.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// A reload waits this long for all keepers to read their stores: one may be asking its token endpoint.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// A provider that can't be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum FleetError {
    /// Its trust store can't be built.
    #[error("provider {provider}: {source}")]
    Tls {
        provider: ProviderName,
        /// Why.
        source: provider::TlsError,
    },
    /// Its API key can't be used.
    #[error("provider {provider}: {reason}")]
    Key {
        provider: ProviderName,
        /// Why, and what to do.
        reason: String,
    },
    /// Its requests need client keys, and none exist.
    #[error(
        "the provider {provider} serves only apps with a client key, but none exists yet; make one \
         with `hermesctl clients add NAME`, or remove [providers.{provider}] from the configuration"
    )]
    NoClientKeys { provider: ProviderName },
    /// Its adapter can't be built.
    #[error(transparent)]
    Adapter(#[from] provider::BuildError),
    /// A route leads to a provider that does not have its path.
    #[error("{key}: {message}")]
    Route {
        /// The key in the configuration.
        key: String,
        /// What is wrong, and what would be right.
        message: String,
    },
}

fn env(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok();
    value.filter(|value| !value.is_empty())
}

/// The additional certificates for a provider.
fn ca_file(files: &StoreFiles, settings: &Provider) -> Option<PathBuf> {
    let layout = provider::layout(&settings.kind);
    let stored = layout.and_then(|layout| credentials::stored_ca_bundle(files, layout));
    let from_env = || env("HERMES_CA_BUNDLE").map(PathBuf::from);
    settings.ca_file.clone().or(stored).or_else(from_env)
}

/// Refuses a route by a path that its provider does not have. Of two adapters of a provider the first counts.
fn check_routes<'a>(
    routing: &Routing,
    adapters: &(impl Iterator<Item = &'a Arc<dyn Adapter>> + Clone),
) -> Result<(), FleetError> {
    for (at, route) in routing.routes.iter().enumerate() {
        let mut adapters = adapters.clone();
        let Some(adapter) = adapters.find(|adapter| *adapter.name() == route.provider) else {
            continue;
        };
        let served: Vec<_> = adapter
            .allowed_paths()
            .iter()
            .map(|one| &*one.path)
            .collect();
        let missing = route.paths.iter().enumerate();
        let is_served = |path: &str| served.iter().any(|one| is_at_or_below(path, one));
        let mut missing = missing.filter(|(_, path)| !is_served(path));
        if let Some((index, path)) = missing.next() {
            return Err(FleetError::Route {
                key: format!("route[{at}].paths[{index}]"),
                message: format!(
                    "the provider {provider} has no path {path}; it has {}; if it serves this one, add \
                     \"{path}\" to its `extra_paths` under [providers.{provider}]",
                    served.join(", "),
                    provider = route.provider,
                ),
            });
        }
    }
    Ok(())
}

/// The providers that are served.
#[derive(Debug)]
pub(super) struct ServedProviders {
    files: StoreFiles,
    clock: Arc<dyn Clock>,
    initiative: Initiative,
    audience: Option<Arc<dyn Audience>>,
    clients: Option<Registry>,
    /// Tells our requests when they come back to us.
    mark: HeaderValue,
    /// Woken when an answer shows that a quota is nearly used up, used up, or has room again.
    quota_changes: Arc<Notify>,
    /// The keepers' tasks; a refresh under way is waited for.
    tasks: TaskTracker,
    members: BTreeMap<ProviderName, FleetMember>,
}

#[derive(Debug)]
struct FleetMember {
    recipe: Recipe,
    adapter: Arc<dyn Adapter>,
    /// Its logins' keepers end on request, and not when it is dropped.
    upstream: Arc<Upstream>,
}

/// What can be built of a provider before anything of it runs.
struct ProviderPlan {
    recipe: Recipe,
    terms: KeeperContext,
    tls: provider::Tls,
}

/// What a member is built from; another one is built when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recipe {
    settings: Provider,
    connect: Duration,
    reuse: Duration,
    response_head: Duration,
    credential: Duration,
    variables: Variables,
}

impl Recipe {
    fn new(settings: &Provider, timeouts: &Timeouts, variables: &Variables) -> Self {
        Self {
            variables: variables.clone(),
            settings: settings.clone(),
            connect: timeouts.connect,
            reuse: timeouts.reuse,
            response_head: timeouts.response_head,
            credential: timeouts.credential,
        }
    }
}

impl ProviderPlan {
    /// Whether a login that is kept by these terms may be one that `member` keeps.
    fn continues(&self, member: &FleetMember) -> bool {
        let key = |adapter: &dyn Adapter| adapter.layout().map(Layout::key);
        key(&*self.terms.adapter) == key(&*member.adapter)
    }
}

/// A provider as `proxy status` needs it.
#[derive(Debug, Clone)]
pub(super) struct ProviderReport {
    pub(super) adapter: Arc<dyn Adapter>,
    pub(super) upstream: Arc<Upstream>,
}

impl ServedProviders {
    /// No provider yet; `files` has their logins.
    pub(super) fn new(
        files: StoreFiles,
        clock: Arc<dyn Clock>,
        initiative: Initiative,
        audience: Option<Arc<dyn Audience>>,
    ) -> Self {
        Self {
            files,
            clock,
            initiative,
            audience,
            clients: None,
            mark: proxy::draw_mark(),
            quota_changes: Arc::default(),
            tasks: TaskTracker::new(),
            members: BTreeMap::new(),
        }
    }

    /// What is woken when the use of a quota has changed so that the user may want to know.
    pub(super) fn quota_changes(&self) -> Arc<Notify> {
        self.quota_changes.clone()
    }

    /// Where the logins are.
    pub(super) fn files(&self) -> &StoreFiles {
        &self.files
    }

    /// Reads what building the providers reads. Blocks for as long as its file systems do.
    pub(super) fn read_ahead(files: &StoreFiles, config: &Config) {
        drop(Variables::read(files.home()));
        for settings in config.providers.values() {
            drop(ca_file(files, settings).map(std::fs::read));
        }
    }

    /// Uses these client keys for providers that demand one: without any key, such a provider does not
    /// start.
    #[must_use]
    pub(super) fn for_clients(self, clients: Registry) -> Self {
        Self {
            clients: Some(clients),
            ..self
        }
    }

    /// Builds what the configuration says, and throws it away.
    pub(super) fn check(&self, config: &Config) -> Result<(), FleetError> {
        let variables = Variables::read(self.files.home());
        let mut adapters = Vec::new();
        for (name, settings) in &config.providers {
            let plan = self.plan(name, settings, &config.timeouts, &variables)?;
            self.check_keys(&*plan.terms.adapter)?;
            if let Some(reason) = plan.terms.adapter.fault() {
                return Err(FleetError::Key {
                    provider: name.clone(),
                    reason,
                });
            }
            adapters.push(plan.terms.adapter);
        }
        check_routes(&config.routing, &adapters.iter())
    }

    /// Serves what the configuration says, and waits until every keeper has read its store once; not for one
    /// whose files hang.
    ///
    /// # Errors
    /// [`FleetError`] names the provider that can't be set up.
    pub(super) async fn start(
        &mut self,
        config: &Config,
        clients: Option<&Registry>,
    ) -> Result<(), FleetError> {
        self.clients = clients.cloned();
        let started = self.reconcile(config)?;
        Self::started(&started, FIRST_LOOK).await;
        Ok(())
    }

    /// Applies the configuration: new providers are started, changed ones get their new settings, and
    /// removed ones are stopped. Waits for none of them: a busy keeper applies its settings afterwards, and
    /// requests use them already. If one can't be set up, nothing has changed. Returns the pools of new and
    /// changed ones.
    ///
    /// # Errors
    /// [`FleetError`] names the provider that can't be set up.
    pub(super) fn reconcile(&mut self, config: &Config) -> Result<Vec<LoginPool>, FleetError> {
        let variables = Variables::read(self.files.home());
        let mut plans = Vec::new();
        for (name, settings) in &config.providers {
            let recipe = Recipe::new(settings, &config.timeouts, &variables);
            let known = self.members.get(name);
            if known.is_none_or(|member| member.recipe != recipe) {
                let plan = self.plan(name, settings, &config.timeouts, &variables)?;
                self.check_keys(&*plan.terms.adapter)?;
                plans.push(plan);
            }
        }
        let planned = plans.iter().map(|plan: &ProviderPlan| &plan.terms.adapter);
        let known = self.members.values().map(|member| &member.adapter);
        check_routes(&config.routing, &planned.chain(known))?;
        // A user who reloads wants to see the current state.
        for member in self.members.values() {
            member.upstream.models.empty();
        }
        self.members.retain(|name, member| {
            let stays = config.providers.contains_key(name);
            if !stays {
                member.upstream.credentials.stop();
            }
            stays
        });
        let mut pools = Vec::new();
        for plan in plans {
            let name = plan.terms.adapter.name().clone();
            let former = self.members.remove(&name);
            let member = self.member(plan, &config.timeouts, former);
            pools.push(member.upstream.credentials.clone());
            self.members.insert(name, member);
        }
        Ok(pools)
    }

    /// Waits until requests can be answered with these logins, or for as long as `limit`.
    pub(super) async fn started(pools: &[LoginPool], limit: Duration) {
        drop(timeout(limit, join_all(pools.iter().map(LoginPool::started))).await);
    }

    /// Whether there are the client keys that this provider demands.
    fn check_keys(&self, adapter: &dyn Adapter) -> Result<(), FleetError> {
        let has_none = || self.clients.as_ref().is_some_and(Registry::is_empty);
        if adapter.needs_client_key() && has_none() {
            let provider = adapter.name().clone();
            return Err(FleetError::NoClientKeys { provider });
        }
        Ok(())
    }

    fn plan(
        &self,
        name: &ProviderName,
        settings: &Provider,
        timeouts: &Timeouts,
        variables: &Variables,
    ) -> Result<ProviderPlan, FleetError> {
        let ca_file = ca_file(&self.files, settings);
        let tls =
            provider::client_config(ca_file.as_deref()).map_err(|source| FleetError::Tls {
                provider: name.clone(),
                source,
            })?;
        let adapter = provider::build(name, settings, tls.clone(), variables)?;
        Ok(ProviderPlan {
            recipe: Recipe::new(settings, timeouts, variables),
            terms: KeeperContext {
                adapter,
                settings: KeeperSettings {
                    refresh_lead: settings.refresh_lead,
                    token_timeout: provider::token_timeout(settings, &env),
                    wait: timeouts.credential,
                    initiative: self.initiative,
                    audience: self.audience.clone(),
                },
                optional: settings.implied,
                strategy: match settings.pool {
                    PoolStrategy::FillFirst => Strategy::FillFirst,
                    PoolStrategy::RoundRobin => Strategy::RoundRobin,
                },
            },
            tls,
        })
    }

    /// The provider of a plan. A login that `former` keeps continues by the plan's terms.
    fn member(
        &self,
        plan: ProviderPlan,
        timeouts: &Timeouts,
        former: Option<FleetMember>,
    ) -> FleetMember {
        if let Some(quotas) = plan.terms.adapter.quotas() {
            let goes_on = former.as_ref().filter(|member| plan.continues(member));
            if let Some(known) = goes_on.and_then(|member| member.adapter.quotas()) {
                quotas.go_on_from(known);
            }
            quotas.wake(self.quota_changes.clone());
        }
        let pool = match &former {
            Some(member) if plan.continues(member) => {
                member.upstream.credentials.renewed(&plan.terms)
            }
            known => {
                if let Some(member) = known {
                    member.upstream.credentials.stop();
                }
                let (terms, files) = (plan.terms.clone(), self.files.clone());
                LoginPool::start(terms, files, self.clock.clone(), &self.tasks)
            }
        };
        let former = former.map(|member| member.upstream);
        let counters = former.as_ref().map(|former| former.counters.clone());
        let counters = counters.unwrap_or_default();
        let ProviderPlan { recipe, terms, tls } = plan;
        let (adapter, settings) = (terms.adapter, &recipe.settings);
        let name = adapter.name().clone();
        let mut paths = adapter.allowed_paths().to_vec();
        let path_translations = proxy::path_translations(&mut paths, settings.translate);
        let forwards = adapter.forwards();
        let its_own = forwards.names.iter().copied().map(HeaderName::from_static);
        let labels: Vec<Arc<str>> = paths
            .iter()
            .map(|allowed| allowed.path.as_str().into())
            .collect();
        let tallies = tallies(&labels, former.as_deref(), &counters);
        let upstream = Upstream {
            label: name.as_str().into(),
            display_name: adapter.display_name().to_owned(),
            labels,
            implied: settings.implied,
            path_translations,
            dialects: paths
                .iter()
                .map(|allowed| adapter.dialect(&allowed.path))
                .collect(),
            paths,
            adapter: adapter.clone(),
            credentials: pool,
            client: UpstreamClient::new(
                tls,
                settings.http,
                timeouts,
                self.clock.clone(),
                former.as_deref().map(|former| &former.client),
            ),
            forward_headers: settings
                .forward_headers
                .iter()
                .cloned()
                .chain(its_own)
                .collect(),
            forward_prefix: forwards.prefix,
            needs_key: adapter.needs_client_key(),
            user_agent: settings.user_agent,
            // The provider's own hosts need no mark of ours: they don't lead back here.
            own_mark: adapter.is_elsewhere().then(|| self.mark.clone()),
            append_done: settings.append_done,
            tallies,
            counters,
            keep_alive_comment: settings.keep_alive_comment,
            doubted: AtomicBool::new(false),
            models: proxy::ModelListCache::of(
                self.files.own.with_file_name("models").join(name.as_str()),
            ),
            name,
        };
        FleetMember {
            recipe,
            adapter,
            upstream: Arc::new(upstream),
        }
    }

    /// The rules for the port, the default provider first.
    pub(super) fn rules(&self, config: &Config) -> GatewayRules {
        let mut upstreams: Vec<_> = self
            .members
            .values()
            .map(|member| member.upstream.clone())
            .collect();
        upstreams.sort_by_key(|upstream| upstream.name != config.default_provider);
        let mut guard = config.guard.clone();
        guard.allowed_hosts.extend(proxy::own_names());
        GatewayRules {
            guard,
            limits: config.limits,
            timeouts: config.timeouts,
            models_cache: config.models_cache,
            mark: self.mark.clone(),
            upstreams,
            default_provider: config.default_provider.clone(),
            routing: Some(config.routing.clone()).filter(|routing| !routing.is_off()),
        }
    }

    /// For `proxy status`.
    pub(super) fn reports(&self) -> Vec<ProviderReport> {
        let report = |member: &FleetMember| ProviderReport {
            adapter: member.adapter.clone(),
            upstream: member.upstream.clone(),
        };
        self.members.values().map(report).collect()
    }

    /// Waits until every keeper has looked at its store; not for one that is busy for longer than
    /// [`LOOK`].
    pub(super) async fn look(&self) {
        let members = self.members.values();
        let looks = members.map(|member| member.upstream.credentials.look_unless_renewing());
        drop(timeout(LOOK, join_all(looks)).await);
    }

    /// The providers with a login in a store, whose credential meets the condition.
    pub(super) fn names_with_store(&self, wanted: impl Fn(&KeeperStatus) -> bool) -> Vec<String> {
        self.members
            .values()
            .filter(|member| member.adapter.layout().is_some())
            .filter(|member| member.upstream.is_there())
            .filter(|member| member.upstream.credentials.statuses().iter().any(&wanted))
            .map(|member| member.upstream.name.to_string())
            .collect()
    }

    /// The providers with a keeper that is still at work by former settings.
    pub(super) fn names_unsettled(&self) -> Vec<String> {
        let members = self.members.values();
        let unsettled = members.filter(|member| !member.upstream.credentials.is_settled());
        unsettled
            .map(|member| member.upstream.name.to_string())
            .collect()
    }

    /// The providers whose login, or API key, can't be read.
    pub(super) fn unreadable(&self) -> Vec<String> {
        let keyed = self.members.values();
        let keyed = keyed.filter(|member| member.adapter.is_unread());
        let mut names = self.names_with_store(KeeperStatus::is_unreadable);
        names.extend(keyed.map(|member| member.upstream.name.to_string()));
        names
    }

    /// Ends the keepers. A refresh under way is finished and persisted.
    pub(super) async fn stop(&self) {
        for member in self.members.values() {
            member.upstream.credentials.stop();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The counters of each path. Those of existing paths continue.
fn tallies(
    labels: &[Arc<str>],
    former: Option<&Upstream>,
    counters: &Arc<Counters>,
) -> Vec<Arc<PathCounters>> {
    let known = |label: &Arc<str>| {
        let former = former?;
        let mut known = former.labels.iter().zip(&former.tallies);
        let (_, tally) = known.find(|(known, _)| *known == label)?;
        Some(tally.clone())
    };
    labels
        .iter()
        .map(|label| known(label).unwrap_or_else(|| Arc::new(PathCounters::new(counters.clone()))))
        .collect()
}
