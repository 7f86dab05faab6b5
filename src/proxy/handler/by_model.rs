//! A request that goes where its model says: its body is read until that is known, and the rest passes as it comes.

use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::http::request::Parts;

use super::super::download::{AnswerBody, shutting_down, too_slow_to_stay};
use super::super::error::{ErrorKind, ProxyError};
use super::super::headers;
use super::super::model_field::{Flaw, Model};
use super::super::record::Underway;
use super::super::route::{self, Route, Serves};
use super::super::translation::is_encoded;
use super::super::upload::{NotFound, Upload};
use super::admission::{has_key, limited, permitted};
use super::answer::refuse;
use super::exchange::upload_error;
use super::forward::forward;
use super::{PAUSE, Request, defect};
use crate::config::AllowedPath;

/// How to have a body forwarded without a look into it.
const UNREAD: &str = "with the base URL /NAME/v1 it goes to the provider NAME unread";

/// Finds out where the request goes, and sends it there. `allowed` is its path as one of the providers lists it,
/// `default` the provider of the address.
pub(super) async fn find_and_forward(
    request: Request<'_>,
    (allowed, default): (&AllowedPath, Option<usize>),
    (mut head, body): (Parts, Incoming),
    mut underway: Underway,
) -> Response<AnswerBody> {
    let Request { rules, client, .. } = request;
    let upload = request.upload(body);
    if let Some(upload) = &upload {
        underway.uploads(upload);
    }
    let is_over = || upload.as_ref().is_none_or(Upload::is_finished);
    // A form names its model in a part of its own, and other bodies name none.
    let is_other =
        headers::keeps_type(&head.headers, allowed.body) && !headers::says_json(&head.headers);
    let model = match &upload {
        Some(_) if is_other => None,
        Some(upload) => match model(&request, &head, upload).await {
            Ok(model) => Some(model),
            Err(error) => return refuse(&error, underway, is_over()),
        },
        None => None,
    };
    let routing = rules.routing.as_ref();
    let is_provider = |name: &str| rules.upstreams.iter().any(|one| one.name() == name);
    let name = model.as_ref().and_then(Model::name);
    let destination = routing.map(|routing| routing.find(&allowed.path, name, is_provider));
    let found = destination.as_ref().map_or_else(
        || Err(defect()),
        |destination| {
            let path = head.uri.path();
            route::find_at(&head.method, path, &rules.upstreams, default, destination)
        },
    );
    let found = found.and_then(|route| match route {
        Route::Forward { provider, path } => {
            let upstream = rules.upstreams.get(provider).ok_or_else(defect)?;
            has_key(upstream, request.presented)?;
            if let Some(client) = client {
                permitted(client, upstream, path)?;
            }
            let final_path = upstream.paths.get(path).ok_or_else(defect)?;
            if upload.is_some() && is_other && !headers::keeps_type(&head.headers, final_path.body)
            {
                return Err(not_json_there(upstream.name.as_str(), &final_path.path));
            }
            Ok((upstream, path))
        }
        Route::Local(_) | Route::Model { .. } => Err(defect()),
    });
    let (upstream, path) = match found {
        Ok(found) => found,
        Err(error) => {
            request.turns_away(&error, &head, &mut underway);
            return refuse(&error, underway, is_over());
        }
    };
    if let Some(label) = upstream.labels.get(path) {
        underway.routed(&upstream.label, label, &upstream.counters);
    }
    if !request.is_own
        && let Some(error) = limited(upstream, &head.method)
    {
        return refuse(&error, underway, is_over());
    }
    let wanted = destination.and_then(|destination| destination.model.map(String::from));
    if let (Some(upload), Some(model), Some(wanted)) = (&upload, model, wanted) {
        rename(&mut head, upload, &model, &wanted);
    }
    forward(&request, (upstream, path), (head, upload), underway).await
}

/// A body that was not looked into would be called JSON, and its model read, by a provider that was not chosen by it.
fn not_json_there(provider: &str, path: &str) -> ProxyError {
    let message = format!(
        "hermes-proxyd: a route sends this request to the provider {provider}, which takes JSON alone at {path}; \
         add the path with its kind of body to `providers.{provider}.extra_paths`"
    );
    ProxyError::new(ErrorKind::UnsupportedMediaType, message)
}

/// Puts the model that is wanted in the place of the one that the body names.
fn rename(head: &mut Parts, upload: &Upload, model: &Model, wanted: &str) {
    if model.name() == Some(wanted) {
        return;
    }
    let (place, text) = model.replacement(wanted);
    upload.replace(&place, text);
    let length = upload.length().map(HeaderValue::from);
    if let (Some(length), true) = (length, head.headers.contains_key(CONTENT_LENGTH)) {
        head.headers.insert(CONTENT_LENGTH, length);
    }
}

/// The model that the body names.
async fn model(request: &Request<'_>, head: &Parts, upload: &Upload) -> Result<Model, ProxyError> {
    if is_encoded(&head.headers) {
        let message = format!(
            "hermes-proxyd: where this request goes depends on its model, and its body is compressed \
             (Content-Encoding): send it uncompressed; {UNREAD}"
        );
        return Err(ProxyError::new(ErrorKind::UnsupportedMediaType, message));
    }
    let limits = &request.rules.limits;
    let most = limits.route_body.min(limits.replay_total);
    let found = tokio::select! {
        biased;
        found = upload.find_model(most) => found,
        () = request.presence.cut() => return Err(shutting_down()),
        () = request.presence.makes_way() => return Err(too_slow_to_stay()),
    };
    found.map_err(|error| match error {
        NotFound::Upload(error) => upload_error(error, upload),
        NotFound::TooFar => {
            let message = format!(
                "hermes-proxyd: where this request goes depends on its model, which does not come within \
                 the first {most} bytes of its body (`limits.route_body`); {UNREAD}"
            );
            ProxyError::new(ErrorKind::RequestTooLarge, message)
        }
        NotFound::NoRoom => {
            let message = "hermes-proxyd: requests that are kept to find their model, or to be repeated, \
                           take all the memory that they may have (`limits.replay_total`); try again \
                           in a moment";
            ProxyError::new(ErrorKind::Overloaded, message).retry_after(PAUSE)
        }
    })
}

/// A body whose model can be read in two ways.
pub(super) fn unclear(flaw: Flaw) -> ProxyError {
    let message = format!(
        "hermes-proxyd: where this request goes depends on its model, which its body does not tell: \
         {flaw}; {UNREAD}"
    );
    ProxyError::new(ErrorKind::BadRequest, message)
}
