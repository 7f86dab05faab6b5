//! The providers that are served, each with the task that keeps its login.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::header::HeaderValue;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Config, Provider, ProviderName, Timeouts, Variables};
use crate::credentials::{
    self, Audience, Estate, Handle, Initiative, Keeper, Pool, Settings, Status, StoreFiles,
};
use crate::provider::{self, Adapter};
use crate::proxy::{self, Client, Counters, Rules, Upstream};

/// The keepers read their stores within this time, side by side, or the daemon goes on without waiting.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// A reload waits this long for all keepers to read their stores: one may be asking its token endpoint.
const LOOK: Duration = Duration::from_secs(1);

/// A provider that can't be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum FleetError {
    /// Its trust store can't be built.
    #[error("provider {provider}: {source}")]
    Tls {
        /// The provider.
        provider: ProviderName,
        /// Why.
        source: provider::TlsError,
    },
    /// What it has for an API key is none.
    #[error("provider {provider}: {reason}")]
    Key {
        /// The provider.
        provider: ProviderName,
        /// Why, and what to do.
        reason: String,
    },
    /// Its adapter can't be built.
    #[error(transparent)]
    Adapter(#[from] provider::BuildError),
}

fn env(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok();
    value.filter(|value| !value.is_empty())
}

/// The certificates that a provider is trusted by beside the system's.
fn ca_file(files: &StoreFiles, settings: &Provider) -> Option<PathBuf> {
    let layout = provider::layout(&settings.kind);
    let stored = layout.and_then(|layout| credentials::stored_ca_bundle(files, layout));
    let from_env = || env("HERMES_CA_BUNDLE").map(PathBuf::from);
    settings.ca_file.clone().or(stored).or_else(from_env)
}

/// The providers that are served.
#[derive(Debug)]
pub(super) struct Fleet {
    files: StoreFiles,
    clock: Arc<dyn Clock>,
    initiative: Initiative,
    audience: Option<Arc<dyn Audience>>,
    /// Tells our requests when they come back to us.
    mark: HeaderValue,
    /// The keepers' tasks; a refresh under way is waited for.
    tasks: TaskTracker,
    members: BTreeMap<ProviderName, Member>,
}

#[derive(Debug)]
struct Member {
    recipe: Recipe,
    adapter: Arc<dyn Adapter>,
    upstream: Arc<Upstream>,
    stop: CancellationToken,
    /// The keeper's task, once it runs.
    keeper: Option<JoinHandle<Estate>>,
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

impl Member {
    /// Has the keeper run, once the former one has ended: it may hold a rotated login that the store does not have.
    async fn start(&mut self, mut keeper: Keeper, former: Option<Self>, tasks: &TaskTracker) {
        if let Some(former) = former {
            former.stop.cancel();
            self.upstream.credentials.login().take_over();
            if let Some(former) = former.keeper {
                keeper.inherit(former.await.unwrap_or_default());
            }
        }
        self.keeper = Some(tasks.spawn(keeper.run(self.stop.clone())));
        let started = self.upstream.credentials.login().started();
        timeout(FIRST_LOOK, started).await.ok();
    }
}

/// A provider as `proxy status` needs it.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) adapter: Arc<dyn Adapter>,
    pub(super) upstream: Arc<Upstream>,
}

impl Fleet {
    /// No provider yet; their logins lie in `files`.
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
            mark: proxy::draw_mark(),
            tasks: TaskTracker::new(),
            members: BTreeMap::new(),
        }
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

    /// Builds what the configuration says, and throws it away.
    pub(super) fn check(&self, config: &Config) -> Result<(), FleetError> {
        let variables = Variables::read(self.files.home());
        for (name, settings) in &config.providers {
            let (member, _) = self.build(name, settings, &config.timeouts, &variables)?;
            if let Some(reason) = member.adapter.fault() {
                return Err(FleetError::Key {
                    provider: name.clone(),
                    reason,
                });
            }
        }
        Ok(())
    }

    /// Serves what the configuration says: new and changed providers are started side by side, those that
    /// are gone are stopped. Waits until every changed one has read its store once; not for one whose files
    /// hang. When one can't be set up, nothing has changed.
    pub(super) async fn reconcile(&mut self, config: &Config) -> Result<(), FleetError> {
        let variables = Variables::read(self.files.home());
        let mut built = Vec::new();
        for (name, settings) in &config.providers {
            let recipe = Recipe::new(settings, &config.timeouts, &variables);
            if self
                .members
                .get(name)
                .is_none_or(|member| member.recipe != recipe)
            {
                let member = self.build(name, settings, &config.timeouts, &variables)?;
                built.push((name.clone(), member));
            }
        }
        let gone: Vec<_> = self
            .members
            .keys()
            .filter(|name| !config.providers.contains_key(name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(member) = self.members.remove(&name) {
                member.stop.cancel();
            }
        }
        let starts = built.into_iter().map(|(name, (mut member, keeper))| {
            let (former, tasks) = (self.members.remove(&name), self.tasks.clone());
            async move {
                member.start(keeper, former, &tasks).await;
                (name, member)
            }
        });
        let starts: Vec<_> = starts.collect();
        self.members.extend(join_all(starts).await);
        Ok(())
    }

    fn build(
        &self,
        name: &ProviderName,
        settings: &Provider,
        timeouts: &Timeouts,
        variables: &Variables,
    ) -> Result<(Member, Keeper), FleetError> {
        let ca_file = ca_file(&self.files, settings);
        let tls =
            provider::client_config(ca_file.as_deref()).map_err(|source| FleetError::Tls {
                provider: name.clone(),
                source,
            })?;
        let adapter = provider::build(name, settings, tls.clone(), variables)?;
        let (keeper, handle) = Keeper::new(
            adapter.clone(),
            self.files.clone(),
            Settings {
                refresh_lead: settings.refresh_lead,
                token_timeout: provider::token_timeout(settings, &env),
                wait: timeouts.credential,
                initiative: self.initiative,
                audience: self.audience.clone(),
            },
            self.clock.clone(),
        );
        let keeper = keeper.optional(settings.implied);
        // Requests that are under way ask for a credential where they began to.
        let handle = match self.members.get(name) {
            Some(former) => handle.following(former.upstream.credentials.login()),
            None => handle,
        };
        let client = Client::new(tls, timeouts, self.clock.clone());
        // The provider's own hosts need no word of us: they don't lead back here.
        let own_mark = adapter.is_elsewhere().then(|| self.mark.clone());
        let upstream = Upstream {
            own_mark,
            ..self.upstream(&adapter, Pool::from(handle), client, settings)
        };
        let member = Member {
            recipe: Recipe::new(settings, timeouts, variables),
            adapter,
            upstream: Arc::new(upstream),
            stop: CancellationToken::new(),
            keeper: None,
        };
        Ok((member, keeper))
    }

    fn upstream(
        &self,
        adapter: &Arc<dyn Adapter>,
        credentials: Pool,
        client: Client,
        settings: &Provider,
    ) -> Upstream {
        let name = adapter.name().clone();
        let counters = self
            .members
            .get(&name)
            .map(|member| member.upstream.counters.clone());
        let paths = adapter.allowed_paths().to_vec();
        Upstream {
            label: name.as_str().into(),
            display_name: adapter.display_name().to_owned(),
            labels: paths
                .iter()
                .map(|allowed| allowed.path.as_str().into())
                .collect(),
            implied: settings.implied,
            paths,
            adapter: adapter.clone(),
            credentials,
            client,
            forward_headers: settings.forward_headers.clone(),
            user_agent: settings.user_agent,
            own_mark: None,
            append_done: settings.append_done,
            counters: counters.unwrap_or_else(|| Arc::new(Counters::default())),
            name,
        }
    }

    /// The rules for the port, the default provider first.
    pub(super) fn rules(&self, config: &Config) -> Rules {
        let mut upstreams: Vec<_> = self
            .members
            .values()
            .map(|member| member.upstream.clone())
            .collect();
        upstreams.sort_by_key(|upstream| upstream.name != config.default_provider);
        let mut guard = config.guard.clone();
        guard.allowed_hosts.extend(proxy::own_names());
        Rules {
            guard,
            limits: config.limits,
            timeouts: config.timeouts,
            mark: self.mark.clone(),
            upstreams,
            default_provider: config.default_provider.clone(),
        }
    }

    /// For `proxy status`.
    pub(super) fn reports(&self) -> Vec<Report> {
        let report = |member: &Member| Report {
            adapter: member.adapter.clone(),
            upstream: member.upstream.clone(),
        };
        self.members.values().map(report).collect()
    }

    /// Waits until every keeper has looked at its store; not for one that has other things to do
    /// for longer than [`LOOK`].
    pub(super) async fn look(&self) {
        let members = self.members.values();
        let logins = members.flat_map(|member| member.upstream.credentials.logins());
        let looks = logins.map(Handle::look);
        drop(timeout(LOOK, join_all(looks)).await);
    }

    /// The providers whose login lies in a store, if their credential is as wanted.
    pub(super) fn names_with_store(&self, wanted: impl Fn(&Status) -> bool) -> Vec<String> {
        self.members
            .values()
            .filter(|member| member.adapter.layout().is_some())
            .filter(|member| member.upstream.is_there())
            .filter(|member| member.upstream.credentials.statuses().iter().any(&wanted))
            .map(|member| member.upstream.name.to_string())
            .collect()
    }

    /// Ends the keepers. A refresh under way is finished and persisted.
    pub(super) async fn stop(&self) {
        for member in self.members.values() {
            member.stop.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}
