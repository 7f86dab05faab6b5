//! The one list over all providers: made of theirs, and kept until one of them changes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::list::{FetchedList, Index, ProviderModel, models_in};
use super::query::CHAT;
use crate::config::Routing;

/// The list that was made last, and of what: it is asked for again and again.
#[derive(Debug, Default)]
pub(in crate::proxy) struct MergedList(Mutex<Option<Made>>);

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
pub(super) enum ListPart {
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

/// What a list is made by.
#[derive(Debug)]
pub(super) struct ListRules<'a> {
    /// Where the rules in force are.
    pub(super) at: usize,
    pub(super) routing: &'a Routing,
    /// The providers' names, in the order of their lists.
    pub(super) providers: Vec<&'a str>,
}

impl MergedList {
    /// Other rules are in force.
    pub(in crate::proxy) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The whole list, rebuilt when a part of it has changed.
    pub(super) fn body(
        &self,
        rules: &ListRules<'_>,
        home: usize,
        lists: Vec<ListPart>,
    ) -> (Bytes, Arc<Index>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*last {
            let same = |(one, other): (&ListPart, &ListPart)| one.is_same(other);
            let is_same =
                made.lists.len() == lists.len() && made.lists.iter().zip(&lists).all(same);
            if is_same && made.home == home && made.rules == rules.at {
                return (made.body.clone(), made.index.clone());
            }
        }
        let body = Bytes::from(merge(rules, home, &lists));
        let index = Arc::<Index>::default();
        *last = Some(Made {
            rules: rules.at,
            home,
            lists,
            body: body.clone(),
            index: index.clone(),
        });
        (body, index)
    }
}

/// Each model by the name that leads to it, that of the address' own provider first, then the aliases.
fn merge(rules: &ListRules<'_>, home: usize, lists: &[ListPart]) -> Vec<u8> {
    let routing = rules.routing;
    let name_of = |at: usize| rules.providers.get(at).copied().unwrap_or_default();
    let is_provider = |name: &str| rules.providers.contains(&name);
    let home_name = name_of(home);
    let mut order: Vec<usize> = (0..lists.len()).collect();
    order.sort_by_key(|at| *at != home);
    let (mut all, mut ids) = (Vec::new(), HashSet::new());
    for at in order {
        let Some(ListPart::There(list)) = lists.get(at) else {
            continue;
        };
        for model in models_in(&list.body) {
            let name = routing.name_of(name_of(at), &model.id, home_name, is_provider);
            let Some(name) = name else {
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
