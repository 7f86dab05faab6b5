//! A request on its way to its provider, and the answer on its way back.

use std::pin::Pin;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::Response;

use super::super::answer_body::AnswerBody;
use super::super::download::{shutting_down, too_slow_to_stay};
use super::super::error::{ErrorKind, ProxyError};
use super::super::framing::Head;
use super::super::gateway::{Upstream, UpstreamPath};
use super::super::headers;
use super::super::record::Underway;
use super::super::route;
use super::super::server::ConnectionHandle;
use super::super::translation::{
    self, AnswerTreatment, PathTranslation, WholeAnswer, WholeReading,
};
use super::super::upload::Upload;
use super::admitted::AdmittedRequest;
use super::answer::{pass, pass_head, pass_translated, pass_whole, refuse};
use super::errors::defect;
use super::exchange::{Exchange, With, no_login, upload_error};
use super::request::ForwardableRequest;
use crate::provider::Dialect;

pub(super) async fn forward(
    request: &AdmittedRequest<'_>,
    to: UpstreamPath<'_>,
    forwarded: ForwardableRequest,
    mut underway: Box<Underway>,
) -> Response<AnswerBody> {
    let (upstream, connection) = (to.upstream, request.connection);
    if let Some(path) = to.translation() {
        let answer = forward_translated(request, upstream, path, forwarded, underway);
        return Box::pin(answer).await;
    }
    let ForwardableRequest { mut head, upload } = forwarded;
    let Some(allowed) = to.allowed() else {
        return refuse(&defect(), underway, upload.is_none());
    };
    if request.client.is_some_and(|client| client.counts_tokens()) {
        // Tokens can't be read in each of the encodings that an app may take.
        headers::ask_for_plain(&mut head.headers);
    }
    let mut turn = AnswerTreatment::AsItCame;
    if let Some(dialect) = to.dialect() {
        let translating = translate(request, dialect, &mut head, upload.as_ref());
        match unless_cut(connection, Box::pin(translating)).await {
            Ok(turned) => turn = turned,
            Err(error) => {
                let is_over = upload.as_ref().is_none_or(Upload::is_finished);
                return refuse(&error, underway, is_over);
            }
        }
    }
    let exchange = Exchange {
        upstream,
        allowed,
        path: &route::path_upstream(allowed, head.uri.path()),
        method: route::method_upstream(&head.method, allowed),
        head: &head,
        upload,
        login: no_login(),
    };
    if turn.is_another() {
        let turning = answer_turned(&exchange, turn, request, underway);
        return Box::pin(turning).await;
    }
    underway.is_sent();
    let answer = tokio::select! {
        biased;
        answer = exchange.run() => answer,
        () = connection.cut() => Err(shutting_down()),
        () = connection.makes_way() => Err(too_slow_to_stay()),
    };
    exchange.tell_login(&mut underway);
    if answer.is_ok() {
        underway.is_answered();
    }
    match answer {
        Ok(answer) if head.method != exchange.method => pass_head(answer, underway),
        Ok(answer) => pass(request, upstream, answer, underway),
        Err(error) => {
            let is_over = exchange.upload.as_ref().is_none_or(Upload::is_finished);
            refuse(&error, underway, is_over)
        }
    }
}

/// Turns a request into what its provider takes.
async fn translate(
    request: &AdmittedRequest<'_>,
    dialect: Dialect,
    head: &mut Head,
    upload: Option<&Upload>,
) -> Result<AnswerTreatment, ProxyError> {
    let turned = translation::request(dialect, head, upload, &request.memory()).await;
    turned.map_err(|failure| failed(failure, upload))
}

fn failed(failure: translation::TranslationFailure, upload: Option<&Upload>) -> ProxyError {
    match (failure, upload) {
        (translation::TranslationFailure::Ours(error), _) => error,
        (translation::TranslationFailure::Upload(error), Some(upload)) => {
            upload_error(error, upload)
        }
        (translation::TranslationFailure::Upload(_), None) => defect(),
    }
}

/// Serves a path in terms of another one: the request and its answer are translated.
async fn forward_translated(
    request: &AdmittedRequest<'_>,
    upstream: &Arc<Upstream>,
    path: PathTranslation,
    forwarded: ForwardableRequest,
    mut underway: Box<Underway>,
) -> Response<AnswerBody> {
    let ForwardableRequest { mut head, upload } = forwarded;
    let AdmittedRequest {
        rules, connection, ..
    } = *request;
    let (Some(upload), Some(allowed)) = (upload, upstream.paths.get(path.target)) else {
        let message = "hermes-proxyd: the request has no body";
        let error = ProxyError::new(ErrorKind::BadRequest, message);
        return refuse(&error, underway, true);
    };
    let memory = request.memory();
    let dialect = upstream.dialect(path.target);
    let translating = path.request(dialect, &mut head, &upload, &memory);
    let translating = unless_cut(
        connection,
        Box::pin(async {
            let translated = translating.await;
            translated.map_err(|failure| failed(failure, Some(&upload)))
        }),
    );
    let mut translated = match translating.await {
        Ok(translated) => translated,
        Err(error) => return refuse(&error, underway, upload.is_finished()),
    };
    translated.asked.now = unix_seconds(upstream.client.now());
    let exchange = Exchange {
        upstream,
        allowed,
        path: &allowed.path,
        method: head.method.clone(),
        head: &head,
        upload: Some(upload),
        login: no_login(),
    };
    let is_over = || exchange.upload.as_ref().is_none_or(Upload::is_finished);
    underway.is_sent();
    let mut answer = match unless_cut(connection, Box::pin(exchange.run())).await {
        Ok(answer) => answer,
        Err(error) => return refuse(&error, underway, is_over()),
    };
    exchange.tell_login(&mut underway);
    underway.is_answered();
    translation::name_events(&mut answer).await;
    if translated.is_stream(&answer) {
        translated.mark(&mut answer);
        let stream = Box::new(translated.stream(&memory));
        return pass_translated(request, upstream, answer, underway, stream);
    }
    let reading = WholeReading {
        idle: rules.timeouts.idle,
        memory: &memory,
        reads: upstream.adapter.reads_errors(),
        quota: upstream.adapter.quota_event(),
    };
    let with = With::of(&answer);
    let whole = translated.whole(answer, reading);
    match unless_cut(connection, Box::pin(whole)).await {
        Ok(made) => pass_made(made, upstream, with, underway),
        Err(error) => refuse(&error, underway, is_over()),
    }
}

fn unix_seconds(now: DateTime<Utc>) -> u64 {
    u64::try_from(now.timestamp()).unwrap_or_default()
}

/// Sends a request whose answer becomes another one.
async fn answer_turned(
    exchange: &Exchange<'_>,
    turn: AnswerTreatment,
    request: &AdmittedRequest<'_>,
    mut underway: Box<Underway>,
) -> Response<AnswerBody> {
    let AdmittedRequest {
        rules, connection, ..
    } = *request;
    let upstream = exchange.upstream;
    let is_over = || exchange.upload.as_ref().is_none_or(Upload::is_finished);
    underway.is_sent();
    let mut answer = match unless_cut(connection, Box::pin(exchange.run())).await {
        Ok(answer) => answer,
        Err(error) => return refuse(&error, underway, is_over()),
    };
    exchange.tell_login(&mut underway);
    underway.is_answered();
    if exchange.head.method != exchange.method {
        turn.clean(answer.headers_mut());
        return pass_head(answer, underway);
    }
    if turn.reads_events() {
        translation::name_events(&mut answer).await;
    }
    if !turn.reads_whole(&answer) {
        return pass(request, upstream, answer, underway);
    }
    let reading = WholeReading {
        idle: rules.timeouts.idle,
        memory: &request.memory(),
        reads: upstream.adapter.reads_errors(),
        quota: upstream.adapter.quota_event(),
    };
    let with = With::of(&answer);
    let whole = translation::whole(turn, answer, reading);
    match unless_cut(connection, Box::pin(whole)).await {
        Ok(made) => pass_made(made, upstream, with, underway),
        Err(error) => refuse(&error, underway, is_over()),
    }
}

/// An answer that was made whole, after the adapter has read its quota usage.
fn pass_made(
    made: WholeAnswer,
    upstream: &Upstream,
    with: With,
    underway: Box<Underway>,
) -> Response<AnswerBody> {
    if let Some(event) = &made.told {
        let now = upstream.client.now();
        upstream.adapter.hear_event(event, with.0, now);
    }
    pass_whole(made, underway)
}

/// What `work` comes to, unless a shutdown cuts it, or its connection is needed for another. On the heap: it is not a
/// part of every request's future.
async fn unless_cut<T>(
    connection: &ConnectionHandle,
    work: Pin<Box<impl Future<Output = Result<T, ProxyError>>>>,
) -> Result<T, ProxyError> {
    tokio::select! {
        biased;
        done = work => done,
        () = connection.cut() => Err(shutting_down()),
        () = connection.makes_way() => Err(too_slow_to_stay()),
    }
}
