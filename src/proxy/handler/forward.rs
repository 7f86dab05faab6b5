//! A request on its way to the provider that was found for it, and its answer on the way back.

use std::pin::Pin;
use std::sync::Arc;

use hyper::Response;
use hyper::http::request::Parts;

use super::super::download::{AnswerBody, shutting_down, too_slow_to_stay};
use super::super::error::ProxyError;
use super::super::gateway::Upstream;
use super::super::presence::Presence;
use super::super::record::Underway;
use super::super::route;
use super::super::translation::{self, Reading, Turn};
use super::super::upload::Upload;
use super::answer::{pass, pass_head, pass_whole, refuse};
use super::exchange::{Exchange, upload_error};
use super::{Request, defect};
use crate::provider::Dialect;

pub(super) async fn forward(
    request: &Request<'_>,
    (upstream, path): (&Arc<Upstream>, usize),
    (mut head, upload): (Parts, Option<Upload>),
    underway: Underway,
) -> Response<AnswerBody> {
    let Request {
        rules, presence, ..
    } = *request;
    let Some(allowed) = upstream.paths.get(path) else {
        return refuse(&defect(), underway, upload.is_none());
    };
    let mut turn = Turn::AsItCame;
    if let Some(dialect) = upstream.dialect(path) {
        let translating = translate(request, dialect, &mut head, upload.as_ref());
        match unless_cut(presence, Box::pin(translating)).await {
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
    };
    if turn.is_another() {
        let turning = answer_turned(&exchange, turn, request, underway);
        return Box::pin(turning).await;
    }
    let answer = tokio::select! {
        biased;
        answer = exchange.run() => answer,
        () = presence.cut() => Err(shutting_down()),
        () = presence.makes_way() => Err(too_slow_to_stay()),
    };
    match answer {
        Ok(answer) if head.method != exchange.method => pass_head(answer, underway),
        Ok(answer) => pass(answer, underway, (rules, upstream), presence),
        Err(error) => {
            let is_over = exchange.upload.as_ref().is_none_or(Upload::is_finished);
            refuse(&error, underway, is_over)
        }
    }
}

/// Turns a request into what its provider takes.
async fn translate(
    request: &Request<'_>,
    dialect: Dialect,
    head: &mut Parts,
    upload: Option<&Upload>,
) -> Result<Turn, ProxyError> {
    let turned = translation::request(dialect, head, upload, &request.memory()).await;
    turned.map_err(|failure| match (failure, upload) {
        (translation::Failure::Ours(error), _) => error,
        (translation::Failure::Upload(error), Some(upload)) => upload_error(error, upload),
        (translation::Failure::Upload(_), None) => defect(),
    })
}

/// Sends a request whose answer becomes another one.
async fn answer_turned(
    exchange: &Exchange<'_>,
    turn: Turn,
    request: &Request<'_>,
    underway: Underway,
) -> Response<AnswerBody> {
    let Request {
        rules, presence, ..
    } = *request;
    let upstream = exchange.upstream;
    let is_over = || exchange.upload.as_ref().is_none_or(Upload::is_finished);
    let mut answer = match unless_cut(presence, Box::pin(exchange.run())).await {
        Ok(answer) => answer,
        Err(error) => return refuse(&error, underway, is_over()),
    };
    if exchange.head.method != exchange.method {
        turn.clean(answer.headers_mut());
        return pass_head(answer, underway);
    }
    if !turn.reads_whole(&answer) {
        return pass(answer, underway, (rules, upstream), presence);
    }
    let reading = Reading {
        idle: rules.timeouts.idle,
        memory: &request.memory(),
        reads: upstream.adapter.reads_errors(),
        quota: upstream.adapter.quota_event(),
    };
    let whole = translation::whole(turn, answer, reading);
    match unless_cut(presence, Box::pin(whole)).await {
        Ok(made) => {
            if let Some(event) = &made.told {
                upstream.adapter.hear_event(event, upstream.client.now());
            }
            pass_whole(made, underway)
        }
        Err(error) => refuse(&error, underway, is_over()),
    }
}

/// What `work` comes to, unless a shutdown cuts it, or its connection is needed for another. On the heap: it is not a
/// part of every request's future.
async fn unless_cut<T>(
    presence: &Presence,
    work: Pin<Box<impl Future<Output = Result<T, ProxyError>>>>,
) -> Result<T, ProxyError> {
    tokio::select! {
        biased;
        done = work => done,
        () = presence.cut() => Err(shutting_down()),
        () = presence.makes_way() => Err(too_slow_to_stay()),
    }
}
