//! A request that was let in.

use std::sync::Arc;

use hyper::body::Body;

use super::super::api_key::Presented;
use super::super::error::ProxyError;
use super::super::framing::Head;
use super::super::gateway::{Gateway, GatewayRules, Upstream};
use super::super::guard;
use super::super::record::{CountedRefusal, Underway};
use super::super::server::{ConnectionHandle, RequestBody};
use super::super::translation::{BodyMemory, of_requests};
use super::super::upload::{Upload, UploadLimits};
use super::incoming::{IncomingClient, about_peer, matters};
use crate::clients::Client;

/// A request that was let in, and the facts that decide on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdmittedRequest<'r> {
    pub(super) gateway: &'r Gateway,
    pub(super) rules: &'r GatewayRules,
    pub(super) entry: &'r IncomingClient,
    pub(super) connection: &'r ConnectionHandle,
    /// The API key that it presents.
    pub(super) presented: Presented,
    pub(super) client: Option<&'r Arc<Client>>,
    /// Whether hermesctl sent it.
    pub(super) is_own: bool,
}

impl AdmittedRequest<'_> {
    /// Whether its key, if it has one, allows this provider.
    pub(super) fn is_open(&self, upstream: &Upstream) -> bool {
        let client = self.client;
        client.is_none_or(|client| client.allows_provider(upstream.name.as_str()))
    }

    /// Records a refusal for the apps' owner.
    pub(super) fn turns_away(&self, error: &ProxyError, head: &Head, underway: &mut Underway) {
        if self.is_own {
            return;
        }
        let app = self
            .client
            .map_or(&*self.entry.from, |client| client.name());
        let error = about_peer(error, self.entry);
        let is_listed = guard::listed_origin(&head.headers, &self.rules.guard).is_some();
        underway.refused(CountedRefusal {
            kind: error.kind,
            from: app.into(),
            about: error.about.as_deref().map(Into::into),
            matters: matters(head, error.kind, is_listed),
        });
    }

    /// The memory account for bodies that are held whole.
    pub(super) fn memory(&self) -> BodyMemory {
        BodyMemory {
            total: self.rules.limits.replay_total,
            used: self.gateway.replay_used.clone(),
        }
    }

    /// Its body, if it has one.
    pub(super) fn upload(&self, body: RequestBody) -> Option<Upload> {
        let limits = &self.rules.limits;
        (!body.is_end_stream()).then(|| {
            Upload::new(
                body,
                UploadLimits {
                    size: limits.body,
                    silence: self.rules.timeouts.body,
                    replay: limits.replay_body,
                    replay_total: of_requests(limits.replay_total).max(limits.replay_body),
                    replay_used: self.gateway.replay_used.clone(),
                },
            )
        })
    }
}
