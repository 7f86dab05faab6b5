//! A list of models as the provider sent it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED};
use hyper::{HeaderMap, Response};
use tokio::time::Instant;

use crate::credentials::CredentialStamp;
use crate::provider::BaseUrl;
use crate::proxy::blocking::run_blocking;
use crate::proxy::json;

/// On a list that is older than it should be: its age in seconds.
const STALE: HeaderName = HeaderName::from_static("x-hermes-stale");
/// A larger one is not kept.
pub(super) const LARGEST: usize = 8 * 1024 * 1024;

/// A provider's list.
#[derive(Debug)]
pub(super) struct FetchedList {
    /// What of its head goes with it.
    pub(super) fields: HeaderMap,
    pub(super) body: Bytes,
    pub(super) index: Arc<Index>,
    /// Where it came from.
    pub(super) base_url: BaseUrl,
    /// Which of a login's credentials it was asked for with.
    pub(super) stamp: CredentialStamp,
    /// When it came, by a clock that stops while the machine is suspended, and by one that does
    /// not.
    came: (Instant, DateTime<Utc>),
    /// Whether it is from before the start.
    pub(super) is_recalled: bool,
    /// Whether it may be kept for the next start: it has no secret in it.
    pub(super) is_plain: bool,
}

impl FetchedList {
    /// The list in an answer; `None` if it is not a JSON object.
    pub(super) fn new(
        head: &HeaderMap,
        body: Bytes,
        base_url: BaseUrl,
        stamp: CredentialStamp,
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
            index: Arc::default(),
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
        let stamp = CredentialStamp {
            login: usize::MAX,
            generation: 0,
        };
        let list = Self::new(fields, body, base_url, stamp, came)?;
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
        mark(&mut response, stale);
        response
    }

    /// The ids of all, in the provider's order.
    pub(super) fn ids(&self) -> Vec<String> {
        models_in(&self.body).map(|model| model.id).collect()
    }
}

/// A model of a list.
#[derive(Debug)]
pub(super) struct ProviderModel<'t> {
    pub(super) id: String,
    /// As it came.
    pub(super) text: &'t [u8],
    /// Where in that its id is.
    pub(super) place: Range<usize>,
}

/// The models of a list in OpenAI's form that have an id; none of another one.
pub(super) fn models_in(body: &[u8]) -> impl Iterator<Item = ProviderModel<'_>> {
    let found = found_in(body).into_iter().flatten();
    found.filter_map(|(text, place)| {
        let id = serde_json::from_slice(text.get(place.clone())?).ok()?;
        Some(ProviderModel { id, text, place })
    })
}

/// Whether a list has more models than this.
pub(super) fn has_more_than(body: &[u8], most: usize) -> bool {
    found_in(body).is_some_and(|mut found| found.nth(most).is_some())
}

/// The positions of a list's models by id. Made when the first one is requested, since apps ask for one model after the
/// other, even for missing ones.
#[derive(Debug, Default)]
pub(super) struct Index {
    hasher: RandomState,
    /// The ids' hashes in their order, of equal ones the first model's first.
    models: OnceLock<Vec<(u64, Range<usize>)>>,
}

impl Index {
    fn make(&self, body: &Bytes) -> Vec<(u64, Range<usize>)> {
        let place = |model: ProviderModel<'_>| {
            let start = model.text.as_ptr().addr() - body.as_ptr().addr();
            let hash = self.hasher.hash_one(&model.id);
            (hash, start..start + model.text.len())
        };
        let mut models: Vec<_> = models_in(body).map(place).collect();
        models.sort_by_key(|(hash, _)| *hash);
        models
    }

    fn find(&self, body: &Bytes, id: &str) -> Option<Bytes> {
        let models = self.models.get_or_init(|| self.make(body));
        let wanted = self.hasher.hash_one(id);
        let first = models.partition_point(|(hash, _)| *hash < wanted);
        let same = models.iter().skip(first);
        let mut same = same.take_while(|(hash, _)| *hash == wanted);
        let is_it = |text: &[u8]| {
            let [found] = json::last(json::members(text, 0)?, ["id"]);
            json::says(text.get(found?)?, id).then_some(())
        };
        let (_, place) =
            same.find(|(_, place)| body.get(place.clone()).and_then(is_it).is_some())?;
        Some(body.slice(place.clone()))
    }
}

/// The one of this id, as it came.
pub(super) async fn model_in(body: &Bytes, index: &Arc<Index>, id: &str) -> Option<Bytes> {
    if index.models.get().is_none() {
        let (length, body, index) = (body.len(), body.clone(), index.clone());
        run_blocking(length, move || {
            index.models.get_or_init(|| index.make(&body)).len()
        })
        .await;
    }
    index.find(body, id)
}

/// The models of a list, with the positions of their ids. Numbers and texts are not parsed, so an odd one does no harm.
fn found_in(body: &[u8]) -> Option<impl Iterator<Item = (&[u8], Range<usize>)>> {
    let [data] = json::last(json::members(body, json::start(body))?, ["data"]);
    let models = json::items(body, data?.start)?;
    Some(models.filter_map(|model| {
        let model = body.get(model)?;
        let [id] = json::last(json::members(model, 0)?, ["id"]);
        Some((model, id?))
    }))
}

/// Says on the answer how old the list is, if it is older than it should be.
pub(super) fn mark(response: &mut Response<Bytes>, stale: Option<Duration>) {
    if let Some(age) = stale {
        let age = HeaderValue::from(age.as_secs());
        response.headers_mut().insert(STALE, age);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "{\"object\":\"list\", \"data\":[ {\"id\":\"a\",\"price\":1.50,\"max\":1e400,\"name\":\"\\u00e9\"},\
                        7, {\"x\":{\"id\":\"b\"}}, { \"price\": 2e0 , \"id\" : \"\\u0062\" } ]}";

    #[tokio::test]
    async fn a_model_is_a_part_of_the_list_byte_for_byte() {
        let body = Bytes::from_static(LIST.as_bytes());
        let index = Arc::default();
        let one = async |id: &str| model_in(&body, &index, id).await;
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
        let twice =
            Bytes::from_static(b"{\"data\":[{\"id\":\"a\",\"x\":1},{\"id\":\"a\",\"x\":2}]}");
        let first = model_in(&twice, &Arc::default(), "a").await.unwrap();
        assert_eq!(first, "{\"id\":\"a\",\"x\":1}");
        for other in ["", "[]", "{\"data\":{}}", "{\"models\":[{\"id\":\"a\"}]}"] {
            assert_eq!(models_in(other.as_bytes()).count(), 0, "{other}");
        }
    }

    /// A search from the list's start took a tenth of a second each.
    #[tokio::test]
    async fn a_long_list_is_read_once_for_all_who_ask_for_a_model_of_it() {
        let model = |number| {
            format!(
                "{{\"id\":\"model-{number}\",\"about\":\"{}\"}}",
                "x".repeat(300)
            )
        };
        let models: Vec<_> = (0..18_000).map(model).collect();
        let body = Bytes::from(format!("{{\"data\":[{}]}}", models.join(",")));
        let (index, began) = (Arc::default(), Instant::now());
        for number in 0..2_000 {
            let id = format!("model-{}", number * 10);
            let found = model_in(&body, &index, &id).await;
            let expected = models.get(number * 10).map(String::as_bytes);
            assert_eq!(found.as_deref(), expected);
            let gone = model_in(&body, &index, &format!("no-{number}")).await;
            assert_eq!(gone, None);
            assert!(began.elapsed() < Duration::from_secs(20), "{number}");
        }
    }
}
