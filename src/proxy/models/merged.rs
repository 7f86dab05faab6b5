//! Answers from one list over all providers, if routes lead from one address to several of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use hyper::Response;

use super::list::model_in;
use super::lookup::{self, ListLookup};
use super::merged_list::{ListPart, ListRules, MergedList};
use super::own_list;
use super::query::{ModelsQuery, PATH};
use super::reply::{ModelsReply, json, unknown};
use crate::clients::Client;
use crate::config::ByPath;
use crate::proxy::error::ProxyError;
use crate::proxy::gateway::{GatewayRules, Upstream};
use crate::proxy::route::Serves;

/// Whether the list at `/v1` is that of all providers: routes lead to them, and none is for the list itself.
pub(in crate::proxy) fn is_wanted(rules: &GatewayRules) -> bool {
    let routing = rules.routing.as_ref();
    routing.is_some_and(|routing| !matches!(routing.by_path(PATH), ByPath::Settled(Some(_))))
}

/// A request for the models of all providers that the app may use.
#[derive(Debug)]
pub(in crate::proxy) struct MergedListRequest<'r> {
    /// The provider of the address.
    pub(in crate::proxy) home: &'r Arc<Upstream>,
    /// Why the app may not ask that one, if it may not.
    pub(in crate::proxy) refused: Option<ProxyError>,
    pub(in crate::proxy) client: Option<&'r Arc<Client>>,
    pub(in crate::proxy) wanted: &'r ModelsQuery,
}

/// Answers it, from memory where that is fresh.
pub(in crate::proxy) async fn reply(
    rules: &GatewayRules,
    merged: &MergedList,
    request: MergedListRequest<'_>,
) -> ModelsReply {
    let MergedListRequest {
        home,
        refused,
        client,
        wanted,
    } = request;
    let Some(routing) = &rules.routing else {
        return ModelsReply::Forward;
    };
    let found = join_all(rules.upstreams.iter().map(async |upstream| {
        if !is_open(upstream, client) {
            return None;
        }
        Some(lookup::find_soon(upstream, rules.models_cache).await)
    }));
    let (mut lists, mut stale) = (Vec::new(), None::<Duration>);
    for found in found.await {
        lists.push(match found {
            None => ListPart::Hidden,
            Some(ListLookup::List {
                list, stale: age, ..
            }) => {
                stale = stale.max(age);
                ListPart::There(list)
            }
            Some(ListLookup::Nothing(_) | ListLookup::NoLogin(_) | ListLookup::TooSlow) => {
                ListPart::Missing
            }
        });
    }
    // Then the provider of the address reports the fault.
    if !lists.iter().any(|part| matches!(part, ListPart::There(_))) {
        if let Some(refused) = refused {
            return ModelsReply::Error(refused);
        }
        return own_list::reply(home, wanted, rules.models_cache).await;
    }
    let at = |one: &Arc<Upstream>| Arc::ptr_eq(one, home);
    let at = rules.upstreams.iter().position(at).unwrap_or_default();
    let made_by = ListRules {
        at: std::ptr::from_ref(rules).addr(),
        routing,
        providers: rules.upstreams.iter().map(Serves::name).collect(),
    };
    let (body, index) = merged.body(&made_by, at, lists);
    match wanted {
        ModelsQuery::All => kept(json(body, stale)),
        ModelsQuery::One(id) => match model_in(&body, &index, id).await {
            Some(model) => kept(json(model, stale)),
            None => ModelsReply::Error(unknown(id, "the configured providers")),
        },
    }
}

fn kept(response: Response<Bytes>) -> ModelsReply {
    ModelsReply::Answer {
        response,
        is_new: false,
    }
}

/// Whether an app may see what this provider has.
fn is_open(upstream: &Upstream, client: Option<&Arc<Client>>) -> bool {
    let is_listed = upstream.paths.iter().any(|allowed| allowed.path == PATH);
    let may = |client: &Arc<Client>| {
        client.allows_provider(upstream.name.as_str()) && client.allows_path(PATH)
    };
    let has_key = client.is_some() || !upstream.needs_key;
    upstream.is_there() && is_listed && has_key && client.is_none_or(may)
}
