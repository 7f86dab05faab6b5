//! The answer from one provider's list.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::header::{ETAG, LAST_MODIFIED};

use super::list;
use super::lookup::{self, ListLookup};
use super::query::ModelsQuery;
use super::reply::{ModelsReply, json, too_slow, unknown};
use crate::proxy::gateway::Upstream;

/// Answers a request for the provider's models. A list is good for as long as `fresh`; where that is
/// nothing, none is kept.
pub(in crate::proxy) async fn reply(
    upstream: &Arc<Upstream>,
    wanted: &ModelsQuery,
    fresh: Duration,
) -> ModelsReply {
    let (list, stale, is_new) = match lookup::find(upstream, fresh).await {
        ListLookup::List {
            list,
            stale,
            is_new,
        } => (list, stale, is_new),
        // What the provider says itself is more than what is known here.
        ListLookup::Nothing(_) if *wanted == ModelsQuery::All => return ModelsReply::Forward,
        ListLookup::Nothing(error) | ListLookup::NoLogin(error) => {
            return ModelsReply::Error(error);
        }
        ListLookup::TooSlow => return ModelsReply::Error(too_slow(upstream)),
    };
    let response = match wanted {
        ModelsQuery::All => list.response(stale),
        ModelsQuery::One(id) => match list::model_in(&list.body, &list.index, id).await {
            Some(model) => json(model, stale),
            None => return ModelsReply::Error(unknown(id, &upstream.display_name)),
        },
    };
    ModelsReply::Answer { response, is_new }
}

/// What an app gets of this that may use some models alone.
pub(in crate::proxy) fn only(
    reply: ModelsReply,
    wanted: &ModelsQuery,
    allows: impl Fn(&str) -> bool,
) -> ModelsReply {
    match (reply, wanted) {
        (ModelsReply::Answer { .. }, ModelsQuery::One(id)) if !allows(id) => {
            ModelsReply::Error(unknown(id, "the models of this client key"))
        }
        (ModelsReply::Answer { response, is_new }, ModelsQuery::All) => {
            let (mut head, body) = response.into_parts();
            let models = list::models_in(&body).filter(|model| allows(&model.id));
            let models: Vec<_> = models.map(|model| model.text).collect();
            let parts = [
                &b"{\"object\":\"list\",\"data\":["[..],
                &models.join(&b","[..]),
                b"]}",
            ];
            // They are about all of it.
            head.headers.remove(ETAG);
            head.headers.remove(LAST_MODIFIED);
            let response = Response::from_parts(head, parts.concat().into());
            ModelsReply::Answer { response, is_new }
        }
        (reply, _) => reply,
    }
}
