//! A list of models as the provider sent it.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED};
use hyper::{HeaderMap, Response};
use serde_json::Value;
use tokio::time::Instant;

use crate::provider::BaseUrl;

/// A provider's list.
#[derive(Debug)]
pub(super) struct List {
    /// What of its head goes with it.
    fields: HeaderMap,
    pub(super) body: Bytes,
    /// Where it came from.
    pub(super) base_url: BaseUrl,
    /// Which of a login's credentials it was asked for with.
    pub(super) stamp: (usize, u64),
    /// When it came, by a clock that stands still while the machine is suspended, and by one that does not.
    came: (Instant, DateTime<Utc>),
}

impl List {
    /// The list that an answer holds; `None` where it is no JSON object.
    pub(super) fn new(
        head: &HeaderMap,
        body: Bytes,
        base_url: BaseUrl,
        stamp: (usize, u64),
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let is_object = body.trim_ascii_start().first() == Some(&b'{')
            && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        let mut fields = HeaderMap::new();
        for name in [CONTENT_TYPE, ETAG, LAST_MODIFIED] {
            if let Some(value) = head.get(&name) {
                fields.insert(name, value.clone());
            }
        }
        fields
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        is_object.then_some(Self {
            fields,
            body,
            base_url,
            stamp,
            came: (Instant::now(), now),
        })
    }

    /// How old it is; the longer time of both clocks, since one may have been set back.
    pub(super) fn age(&self, now: DateTime<Utc>) -> Duration {
        let by_wall = (now - self.came.1).to_std().unwrap_or_default();
        self.came.0.elapsed().max(by_wall)
    }

    /// The provider's bytes.
    pub(super) fn response(&self, stale: Option<Duration>) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        *response.headers_mut() = self.fields.clone();
        super::mark(&mut response, stale);
        response
    }

    /// The ids of all, in the provider's order.
    pub(super) fn ids(&self) -> Vec<String> {
        let models = models_in(&self.body).into_iter();
        let id = |model: Value| Some(model.get("id")?.as_str()?.to_owned());
        models.filter_map(id).collect()
    }

    /// The one of this id, as JSON.
    pub(super) fn model(&self, id: &str) -> Option<Bytes> {
        model_in(&self.body, id)
    }
}

/// The models of a list in OpenAI's form; none of another one.
pub(super) fn models_in(body: &[u8]) -> Vec<Value> {
    let list: Option<Value> = serde_json::from_slice(body).ok();
    let models = list.as_ref().and_then(|list| list.get("data")?.as_array());
    models.cloned().unwrap_or_default()
}

/// The one of this id, as JSON.
pub(super) fn model_in(body: &[u8], id: &str) -> Option<Bytes> {
    let models = models_in(body);
    let is_it = |model: &&Value| model.get("id").and_then(Value::as_str) == Some(id);
    let model = models.iter().find(is_it)?;
    Some(model.to_string().into())
}
