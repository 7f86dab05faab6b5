//! A list of models as the provider sent it.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED};
use hyper::{HeaderMap, Response};
use tokio::time::Instant;

use crate::provider::BaseUrl;
use crate::proxy::aside::aside;
use crate::proxy::json;

/// A provider's list.
#[derive(Debug)]
pub(super) struct List {
    /// What of its head goes with it.
    pub(super) fields: HeaderMap,
    pub(super) body: Bytes,
    /// Where it came from.
    pub(super) base_url: BaseUrl,
    /// Which of a login's credentials it was asked for with.
    pub(super) stamp: (usize, u64),
    /// When it came, by a clock that stands still while the machine is suspended, and by one that does not.
    came: (Instant, DateTime<Utc>),
    /// Whether it is from before the start.
    pub(super) is_recalled: bool,
    /// Whether it may be kept for the next start: it has no secret in it.
    pub(super) is_plain: bool,
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
            is_recalled: false,
            is_plain: false,
        })
    }

    /// One from before the start.
    pub(super) fn recalled(
        fields: &HeaderMap,
        body: Bytes,
        base_url: BaseUrl,
        came: DateTime<Utc>,
    ) -> Option<Self> {
        // No credential of now has this stamp.
        let list = Self::new(fields, body, base_url, (usize::MAX, 0), came)?;
        Some(Self {
            is_recalled: true,
            ..list
        })
    }

    /// Whether it may be kept for the next start.
    pub(super) fn kept(self, is_plain: bool) -> Self {
        Self { is_plain, ..self }
    }

    /// When it came.
    pub(super) fn came_at(&self) -> DateTime<Utc> {
        self.came.1
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
        models_in(&self.body).map(|model| model.id).collect()
    }
}

/// A model of a list.
#[derive(Debug)]
pub(super) struct Model<'t> {
    pub(super) id: String,
    /// As it came.
    pub(super) text: &'t [u8],
    /// Where in that its id is.
    pub(super) place: Range<usize>,
}

/// The models of a list in OpenAI's form that have an id; none of another one.
pub(super) fn models_in(body: &[u8]) -> impl Iterator<Item = Model<'_>> {
    let found = found_in(body).into_iter().flatten();
    found.filter_map(|(text, place)| {
        let id = serde_json::from_slice(text.get(place.clone())?).ok()?;
        Some(Model { id, text, place })
    })
}

/// Whether a list has more models than so many.
pub(super) fn has_more_than(body: &[u8], most: usize) -> bool {
    found_in(body).is_some_and(|mut found| found.nth(most).is_some())
}

/// The one of this id, as it came.
pub(super) async fn model_in(body: Bytes, id: String) -> Option<Bytes> {
    aside(body.len(), move || {
        let mut found = found_in(&body)?;
        let is_it = |(text, place): &(&[u8], Range<usize>)| {
            let found = text.get(place.clone());
            found.is_some_and(|found| json::says(found, &id))
        };
        let (text, _) = found.find(is_it)?;
        Some(body.slice_ref(text))
    })
    .await
}

/// The models of a list, with where their ids are. No number and no text of them is read, so an odd one does no harm.
fn found_in(body: &[u8]) -> Option<impl Iterator<Item = (&[u8], Range<usize>)>> {
    let [data] = json::last(json::members(body, json::start(body))?, ["data"]);
    let models = json::items(body, data?.start)?;
    Some(models.filter_map(|model| {
        let model = body.get(model)?;
        let [id] = json::last(json::members(model, 0)?, ["id"]);
        Some((model, id?))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "{\"object\":\"list\", \"data\":[ {\"id\":\"a\",\"price\":1.50,\"max\":1e400,\"name\":\"\\u00e9\"},\
                        7, {\"x\":{\"id\":\"b\"}}, { \"price\": 2e0 , \"id\" : \"\\u0062\" } ]}";

    #[tokio::test]
    async fn a_model_is_a_part_of_the_list_byte_for_byte() {
        let body = Bytes::from_static(LIST.as_bytes());
        let one = async |id: &str| model_in(body.clone(), id.to_owned()).await;
        let first = "{\"id\":\"a\",\"price\":1.50,\"max\":1e400,\"name\":\"\\u00e9\"}";
        assert_eq!(one("a").await.unwrap(), first);
        assert_eq!(
            one("b").await.unwrap(),
            "{ \"price\": 2e0 , \"id\" : \"\\u0062\" }"
        );
        assert_eq!(one("c").await, None);
        assert!(has_more_than(&body, 1) && !has_more_than(&body, 2) && !has_more_than(b"[]", 0));
        let ids: Vec<_> = models_in(&body).map(|model| model.id).collect();
        assert_eq!(ids, ["a", "b"]);
        for other in ["", "[]", "{\"data\":{}}", "{\"models\":[{\"id\":\"a\"}]}"] {
            assert_eq!(models_in(other.as_bytes()).count(), 0, "{other}");
        }
    }
}
