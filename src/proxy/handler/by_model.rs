//! A request that is routed by its model: its body is read until that is known, and the rest passes
//! as it comes.

use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, Response};

use super::super::answer_body::AnswerBody;
use super::super::download::{shutting_down, too_slow_to_stay};
use super::super::error::{ErrorKind, ProxyError};
use super::super::fields::{Fields, text};
use super::super::framing::Head;
use super::super::gateway::UpstreamPath;
use super::super::headers;
use super::super::model_field::{
    AmbiguousModel, Boundary, FormSearch, ModelSearch, RequestedModel, Scanner,
};
use super::super::record::Underway;
use super::super::route::{self, Route, Serves};
use super::super::translation::{is_encoded, of_requests};
use super::super::upload::{NotFound, Upload};
use super::admitted::AdmittedRequest;
use super::answer::refuse;
use super::authorization::{limited, may_use};
use super::errors::{PAUSE, defect, unclear, why};
use super::exchange::upload_error;
use super::forward::forward;
use super::request::{ForwardableRequest, IncomingRequest};
use crate::config::AllowedPath;
use crate::usage::EstimatedBody;

/// Whether its app may ask for some models alone.
fn is_limited(request: &AdmittedRequest<'_>) -> bool {
    request.client.is_some_and(|client| client.is_for_models())
}

/// What the path ends with that only says how many tokens a request would take.
const COUNTS: &str = "/count_tokens";

/// Finds out where the request goes, and sends it there. `allowed` is its path as one of the providers lists it,
/// `default` the provider of the address.
pub(super) async fn find_and_forward(
    request: AdmittedRequest<'_>,
    allowed: &AllowedPath,
    default: Option<usize>,
    incoming: IncomingRequest,
    mut underway: Box<Underway>,
) -> Response<AnswerBody> {
    let IncomingRequest { mut head, body } = incoming;
    let rules = request.rules;
    let upload = request.upload(body);
    if let Some(upload) = &upload {
        underway.uploads(upload);
    }
    let is_over = || upload.as_ref().is_none_or(Upload::is_finished);
    let read = match read(&request, allowed, &head, upload.as_ref()).await {
        Ok(read) => read,
        Err(error) => return refuse(&error, underway, is_over()),
    };
    let routing = rules.routing.as_ref();
    let is_provider = |name: &str| rules.upstreams.iter().any(|one| one.name() == name);
    let name = read.model.as_ref().and_then(RequestedModel::name);
    let destination = routing.map(|routing| routing.find(&allowed.path, name, is_provider));
    let found = destination.as_ref().map_or_else(
        || Err(defect()),
        |destination| {
            let path = head.uri.path();
            let found = route::find_at(&head.method, path, &rules.upstreams, default, destination);
            found.map_err(|error| request.told_of_its_own(error, &head, default))
        },
    );
    let found = found.and_then(|route| match route {
        Route::Forward {
            provider,
            path: index,
        } => {
            let upstream = rules.upstreams.get(provider).ok_or_else(defect)?;
            let to = UpstreamPath { upstream, index };
            request.may_ask(to, &head)?;
            let final_path = to.allowed().ok_or_else(defect)?;
            if upload.is_some()
                && read.is_other
                && !headers::keeps_type(&head.headers, final_path.body)
            {
                return Err(not_json_there(upstream.name.as_str(), &final_path.path));
            }
            Ok(to)
        }
        Route::Local(_) | Route::Model { .. } => Err(defect()),
    });
    let renamed = destination.as_ref().and_then(|to| to.model.as_deref());
    let found = found.and_then(|found| {
        let names = name.into_iter().chain(renamed);
        limits(&request, &head, upload.as_ref(), names).map(|()| found)
    });
    let to = match found {
        Ok(found) => found,
        Err(error) => {
            request.turns_away(&error, &head, &mut underway);
            return refuse(&error, underway, is_over());
        }
    };
    goes_to(&mut underway, to, &head);
    if !request.is_own
        && let Some(error) = limited(to.upstream, &head.method)
    {
        return refuse(&error, underway, is_over());
    }
    let wanted = destination.and_then(|destination| destination.model.map(String::from));
    underway.asks_for(wanted.as_deref().or(name));
    if let (Some(upload), Some(model), Some(wanted)) = (&upload, &read.model, wanted) {
        rename(&mut head, upload, model, read.boundary.as_ref(), &wanted);
    }
    forward(&request, to, ForwardableRequest { head, upload }, underway).await
}

/// Whether an app's key is for the models that its request names. One that only looks is for none.
fn limits<'n>(
    request: &AdmittedRequest<'_>,
    head: &Head,
    upload: Option<&Upload>,
    names: impl Iterator<Item = &'n str> + Clone,
) -> Result<(), ProxyError> {
    if upload.is_none() && only_looks(&head.method) {
        return Ok(());
    }
    may_use(request.client, names)
}

/// Whether a request without a body has nothing made by a model.
pub(super) fn only_looks(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Forwards a request whose provider is known, if its model is one of the key's.
pub(super) async fn check_and_forward(
    request: AdmittedRequest<'_>,
    to: UpstreamPath<'_>,
    forwarded: ForwardableRequest,
    mut underway: Box<Underway>,
) -> Response<AnswerBody> {
    let (head, upload) = (&forwarded.head, forwarded.upload.as_ref());
    let is_over = || upload.is_none_or(Upload::is_finished);
    let Some(allowed) = to.allowed() else {
        return refuse(&defect(), underway, is_over());
    };
    let read = read(&request, allowed, head, upload).await;
    let checked = match read {
        Ok(read) => {
            let name = read.model.as_ref().and_then(RequestedModel::name);
            underway.asks_for(name);
            may_use(request.client, name.into_iter())
        }
        // It is unknown, and no route needs it.
        Err(error) if is_about_its_model(error.kind) => {
            Err(error.of_kind(ErrorKind::ModelNotAllowed))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = checked {
        request.turns_away(&error, head, &mut underway);
        return refuse(&error, underway, is_over());
    }
    forward(&request, to, forwarded, underway).await
}

fn is_about_its_model(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::BadRequest | ErrorKind::UnsupportedMediaType | ErrorKind::RequestTooLarge
    )
}

/// Has the model of a body heard as it passes, where its provider does not depend on that.
pub(super) fn hear(underway: &Underway, to: UpstreamPath<'_>, head: &Head, upload: &Upload) {
    let fields = &head.headers;
    let is_heard = underway.is_metered() && !is_encoded(fields.all(&CONTENT_ENCODING));
    let Some(allowed) = to.allowed().filter(|_| is_heard) else {
        return;
    };
    let is_other = headers::keeps_type(fields, allowed.body) && !headers::says_json(fields);
    if !is_other {
        upload.hear_model(ModelSearch::Json(Scanner::default()));
    } else if let Some(boundary) = boundary(fields).filter(|_| headers::is_form(fields)) {
        upload.hear_model(ModelSearch::Form(FormSearch::new(&boundary)));
    }
}

/// Records where a request goes.
pub(super) fn goes_to(underway: &mut Underway, to: UpstreamPath<'_>, head: &Head) {
    let (upstream, path) = (to.upstream, to.index);
    if let (Some(label), Some(counters)) = (upstream.labels.get(path), upstream.tallies.get(path)) {
        underway.routed(&upstream.label, label, counters);
        underway.metered(head, || kind(to, head));
    }
}

/// What the body is, as far as its length says how many tokens it takes.
pub(super) fn kind(to: UpstreamPath<'_>, head: &Head) -> EstimatedBody {
    let fields = &head.headers;
    let allowed = to.allowed();
    let keeps = allowed.is_some_and(|allowed| headers::keeps_type(fields, allowed.body));
    let only_counts = allowed.is_some_and(|allowed| allowed.path.ends_with(COUNTS));
    if only_counts || (keeps && !headers::says_json(fields)) {
        EstimatedBody::Other
    } else if is_encoded(fields.all(&CONTENT_ENCODING)) {
        EstimatedBody::Packed
    } else {
        EstimatedBody::Text
    }
}

/// What the body says of where it goes.
struct BodyRead {
    /// `None` where it can name none.
    model: Option<RequestedModel>,
    /// What separates its parts, where it is a form.
    boundary: Option<Boundary>,
    /// Whether it is a form, or of another type than JSON.
    is_other: bool,
}

/// Reads the body as far as that matters. A form names its model in a part of its own, and other bodies name none.
async fn read(
    request: &AdmittedRequest<'_>,
    allowed: &AllowedPath,
    head: &Head,
    upload: Option<&Upload>,
) -> Result<BodyRead, ProxyError> {
    let fields = &head.headers;
    let is_other = headers::keeps_type(fields, allowed.body) && !headers::says_json(fields);
    let is_form = is_other && headers::is_form(fields);
    let mut read = BodyRead {
        model: None,
        boundary: None,
        is_other,
    };
    let Some(upload) = upload.filter(|_| is_form || !is_other) else {
        return Ok(read);
    };
    let search = if is_form {
        let boundary = boundary(fields);
        let boundary =
            boundary.ok_or_else(|| unclear(AmbiguousModel::NotAForm, is_limited(request)))?;
        ModelSearch::Form(FormSearch::new(read.boundary.insert(boundary)))
    } else {
        ModelSearch::Json(if is_limited(request) {
            Scanner::alone()
        } else {
            Scanner::default()
        })
    };
    read.model = Some(model(request, head, upload, search).await?);
    Ok(read)
}

/// A body that was not looked into would be called JSON, and its model read, by a provider that was not chosen by it.
fn not_json_there(provider: &str, path: &str) -> ProxyError {
    let message = format!(
        "hermes-proxyd: a route sends this request to the provider {provider}, which takes JSON alone at {path}; \
         add the path with its kind of body to `providers.{provider}.extra_paths`"
    );
    ProxyError::new(ErrorKind::UnsupportedMediaType, message)
}

/// What separates the parts of a form; `None` where its type does not say it in one way.
fn boundary(fields: &Fields) -> Option<Boundary> {
    let mut kinds = fields.all(&CONTENT_TYPE);
    let (kind, None) = (kinds.next()?, kinds.next()) else {
        return None;
    };
    Boundary::of(text(kind)?)
}

/// Puts the model that is wanted in the place of the one that the body names.
fn rename(
    head: &mut Head,
    upload: &Upload,
    model: &RequestedModel,
    boundary: Option<&Boundary>,
    wanted: &str,
) {
    if model.name() == Some(wanted) {
        return;
    }
    let (place, text) = match boundary {
        Some(boundary) => boundary.replacement(model, wanted),
        None => model.replacement(wanted),
    };
    upload.replace(&place, text);
    if let (Some(length), true) = (upload.length(), head.headers.has(CONTENT_LENGTH)) {
        head.headers.put(CONTENT_LENGTH, length.to_string());
    }
}

/// The model that the body names.
async fn model(
    request: &AdmittedRequest<'_>,
    head: &Head,
    upload: &Upload,
    search: ModelSearch,
) -> Result<RequestedModel, ProxyError> {
    if is_encoded(head.headers.all(&CONTENT_ENCODING)) {
        let (why, unread) = why(is_limited(request));
        let message = format!(
            "hermes-proxyd: {why} its model, and its body is compressed (Content-Encoding): send it \
             uncompressed{unread}"
        );
        return Err(ProxyError::new(ErrorKind::UnsupportedMediaType, message));
    }
    let limits = &request.rules.limits;
    let most = limits.route_body.min(of_requests(limits.replay_total));
    let found = tokio::select! {
        biased;
        found = upload.find_model(search, most) => found,
        () = request.connection.cut() => return Err(shutting_down()),
        () = request.connection.makes_way() => return Err(too_slow_to_stay()),
    };
    let (why, unread) = why(is_limited(request));
    found.map_err(|error| match error {
        NotFound::Upload(error) => upload_error(error, upload),
        NotFound::TooFar => {
            let message = format!(
                "hermes-proxyd: {why} its model, which does not come within the first {most} bytes of its \
                 body (`limits.route_body`){unread}"
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
