//! What `hermesctl proxy routes` tells.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::{Config, RouteRule, Routing};

/// All routes, and where one request goes.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Routes {
    pub(in crate::cli) file: Option<PathBuf>,
    pub(in crate::cli) default_provider: String,
    pub(in crate::cli) default_model: Option<String>,
    pub(in crate::cli) aliases: Vec<Alias>,
    #[serde(rename = "routes")]
    pub(in crate::cli) rules: Vec<RouteView>,
    pub(in crate::cli) request: Option<RoutedRequest>,
}

/// Another name of a model.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Alias {
    pub(in crate::cli) name: String,
    pub(in crate::cli) model: String,
}

/// One `[[route]]`.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct RouteView {
    pub(in crate::cli) paths: Vec<String>,
    pub(in crate::cli) models: Vec<String>,
    pub(in crate::cli) provider: String,
    pub(in crate::cli) model: Option<String>,
}

/// Where a request goes.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct RoutedRequest {
    pub(in crate::cli) path: String,
    /// As the app names it.
    pub(in crate::cli) model: Option<String>,
    /// What routes look at.
    pub(in crate::cli) looked_at: Option<String>,
    pub(in crate::cli) provider: String,
    /// As the provider is asked for it.
    pub(in crate::cli) sent_model: Option<String>,
    pub(in crate::cli) decided_by: DecidedBy,
    /// The place of the route in the file.
    pub(in crate::cli) route: Option<usize>,
    /// Whether the body is read for it.
    pub(in crate::cli) reads_body: bool,
    /// Whether the provider has the path, as far as a running daemon knows.
    pub(in crate::cli) served: Option<bool>,
    /// Addresses with a provider of their own, where that decides: it is another one's there.
    pub(in crate::cli) addresses: Vec<RouteBase>,
    /// Whether it is the list of models, and has those of all providers.
    pub(in crate::cli) all_models: bool,
}

/// An address whose `/v1` is a different provider.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct RouteBase {
    pub(in crate::cli) address: String,
    pub(in crate::cli) provider: String,
}

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum DecidedBy {
    /// A `[[route]]`.
    Route,
    /// The provider's name in front of the model.
    Name,
    /// The provider's name in front of the path.
    Path,
    /// Nothing else: the provider of the address.
    Address,
}

impl Routes {
    pub(super) fn of(config: &Config, file: Option<PathBuf>) -> Self {
        let Routing {
            routes,
            aliases,
            default_model,
        } = &config.routing;
        let alias = |(name, model): (&String, &String)| Alias {
            name: name.clone(),
            model: model.clone(),
        };
        Self {
            file,
            default_provider: config.default_provider.to_string(),
            default_model: default_model.clone(),
            aliases: aliases.iter().map(alias).collect(),
            rules: routes.iter().map(RouteView::of).collect(),
            request: None,
        }
    }
}

impl RouteView {
    pub(super) fn of(rule: &RouteRule) -> Self {
        Self {
            paths: rule.paths.clone(),
            models: rule.models.iter().map(ToString::to_string).collect(),
            provider: rule.provider.to_string(),
            model: rule.model.clone(),
        }
    }
}
