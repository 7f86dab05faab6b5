//! One list over all providers, if routes lead from one address to several of them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use hyper::Response;

use super::cache::{self, ListLookup};
use super::list::{FetchedList, Index, ProviderModel, model_in, models_in};
use super::{CHAT, ModelsQuery, ModelsReply, PATH, json, unknown};
use crate::clients::Client;
use crate::config::{ByPath, Routing};
use crate::proxy::error::ProxyError;
use crate::proxy::gateway::{GatewayRules, Upstream};
use crate::proxy::route::Serves;

/// The list that was made last, and of what: it is asked for again and again.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Merged(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    /// Where the rules are that it was made by; it is forgotten before others can be there.
    rules: usize,
    home: usize,
    lists: Vec<ListPart>,
    body: Bytes,
    index: Arc<Index>,
}

/// A provider's list in the whole.
#[derive(Debug, Clone)]
enum ListPart {
    /// The app may not use the provider.
    Hidden,
    /// There is no list now.
    Missing,
    There(Arc<FetchedList>),
}

impl ListPart {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hidden, Self::Hidden) | (Self::Missing, Self::Missing) => true,
            (Self::There(one), Self::There(other)) => Arc::ptr_eq(one, other),
            (Self::Hidden | Self::Missing | Self::There(_), _) => false,
        }
    }
}

/// Whether the list at `/v1` is that of all providers: routes lead to them, and none is for the list itself.
pub(in crate::proxy) fn is_wanted(rules: &GatewayRules) -> bool {
    let routing = rules.routing.as_ref();
    routing.is_some_and(|routing| !matches!(routing.by_path(PATH), ByPath::Settled(Some(_))))
}

/// Answers a request for the models of all providers that the app may use. `home` is the one of the address, with why
/// the app may not ask that one, if it may not.
pub(in crate::proxy) async fn reply(
    (rules, merged): (&GatewayRules, &Merged),
    (home, refused): (&Arc<Upstream>, Option<ProxyError>),
    client: Option<&Arc<Client>>,
    wanted: &ModelsQuery,
) -> ModelsReply {
    let Some(routing) = &rules.routing else {
        return ModelsReply::Forward;
    };
    let found = join_all(rules.upstreams.iter().map(async |upstream| {
        if !is_open(upstream, client) {
            return None;
        }
        Some(cache::find_soon(upstream, rules.models_cache).await)
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
        return super::reply(home, wanted, rules.models_cache).await;
    }
    let at = |one: &Arc<Upstream>| Arc::ptr_eq(one, home);
    let at = rules.upstreams.iter().position(at).unwrap_or_default();
    let (body, index) = merged.body(rules, routing, at, lists);
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

impl Merged {
    /// Other rules are in force.
    pub(in crate::proxy) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The whole list, rebuilt when a part of it has changed.
    fn body(
        &self,
        rules: &GatewayRules,
        routing: &Routing,
        home: usize,
        lists: Vec<ListPart>,
    ) -> (Bytes, Arc<Index>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::ptr::from_ref(rules).addr();
        if let Some(made) = &*last {
            let same = |(one, other): (&ListPart, &ListPart)| one.is_same(other);
            let is_same =
                made.lists.len() == lists.len() && made.lists.iter().zip(&lists).all(same);
            if is_same && made.home == home && made.rules == now {
                return (made.body.clone(), made.index.clone());
            }
        }
        let body = Bytes::from(merge(rules, routing, home, &lists));
        let index = Arc::<Index>::default();
        *last = Some(Made {
            rules: now,
            home,
            lists,
            body: body.clone(),
            index: index.clone(),
        });
        (body, index)
    }
}

/// Each model by the name that leads to it, that of the address' own provider first, then the aliases.
fn merge(rules: &GatewayRules, routing: &Routing, home: usize, lists: &[ListPart]) -> Vec<u8> {
    let name_of = |at: usize| rules.upstreams.get(at).map_or("", |one| one.name());
    let is_provider = |name: &str| rules.upstreams.iter().any(|one| one.name() == name);
    let home_name = name_of(home);
    let mut order: Vec<usize> = (0..lists.len()).collect();
    order.sort_by_key(|at| *at != home);
    let (mut all, mut ids) = (Vec::new(), HashSet::new());
    for at in order {
        let Some(ListPart::There(list)) = lists.get(at) else {
            continue;
        };
        for model in models_in(&list.body) {
            let own = (name_of(at), &*model.id);
            let Some(name) = routing.name_of(own, home_name, is_provider) else {
                continue;
            };
            let name = name.into_owned();
            if ids.insert(name.clone()) {
                all.push(renamed(&model, &name));
            }
        }
    }
    for alias in routing.aliases.keys() {
        let destination = routing.find(CHAT, Some(alias), is_provider);
        let provider = destination.provider().unwrap_or(home_name);
        let at = (0..lists.len()).find(|at| name_of(*at) == provider);
        let part = at.and_then(|at| lists.get(at));
        if part.is_none_or(|part| matches!(part, ListPart::Hidden)) || !ids.insert(alias.clone()) {
            continue;
        }
        let model =
            serde_json::json!({"id": alias, "object": "model", "created": 0, "owned_by": provider});
        all.push(model.to_string().into_bytes());
    }
    [
        &b"{\"object\":\"list\",\"data\":["[..],
        &all.join(&b","[..]),
        b"]}",
    ]
    .concat()
}

/// The model under this name; everything else of it is as it came.
fn renamed(model: &ProviderModel<'_>, name: &str) -> Vec<u8> {
    let text = model.text;
    if model.id == name {
        return text.to_vec();
    }
    let before = text.get(..model.place.start).unwrap_or_default();
    let behind = text.get(model.place.end..).unwrap_or_default();
    let name = serde_json::Value::from(name).to_string();
    [before, name.as_bytes(), behind].concat()
}
