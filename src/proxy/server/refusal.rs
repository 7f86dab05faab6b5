//! The answer to a head that is not a request, or that did not come in time.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Response;
use hyper::header::HeaderValue;

use super::super::error::{ErrorFormat, ProxyError, REQUEST_ID};
use super::super::framing::RequestReader;
use super::super::gateway::Gateway;
use super::super::ledger::Ledger;
use super::super::record::{CountedRefusal, RequestEnd, Underway};
use super::super::{guard, headers};
use super::inbound::ResponseForm;

/// Where what is refused on one connection is entered.
#[derive(Debug, Clone)]
pub(super) struct RefusalReporter {
    pub(super) ledger: Arc<Ledger>,
    /// The client's address.
    pub(super) from: Arc<str>,
    /// Which web pages may read answers; none without it.
    pub(super) gateway: Option<Arc<Gateway>>,
}

/// A refusal that is being sent.
pub(super) struct RefusalInFlight {
    underway: Box<Underway>,
    code: &'static str,
    size: usize,
}

impl RefusalReporter {
    /// Tells the client what is wrong with a request that was never whole.
    pub(super) fn refuse(
        &self,
        error: &ProxyError,
        reader: &RequestReader,
    ) -> (Response<Bytes>, ResponseForm, RefusalInFlight) {
        tracing::debug!(
            reason = error.message,
            "a request was refused before it was read"
        );
        let mut underway = Underway::unread(&self.ledger);
        underway.refused(CountedRefusal {
            kind: error.kind,
            from: (&*self.from).into(),
            about: error.about.as_deref().map(Into::into),
            matters: false,
        });
        let mut response = error.response(ErrorFormat::OpenAi);
        underway.answered(response.status());
        let size = response.body().len();
        if let Some(origin) = reader.origin()
            && let Some(gateway) = &self.gateway
            && guard::is_listed(origin, &gateway.rules().guard)
            && let Ok(origin) = HeaderValue::from_bytes(origin)
        {
            headers::allow_origin(response.headers_mut(), &origin);
        }
        if let Ok(id) = HeaderValue::from_bytes(&underway.id().digits()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let asked = ResponseForm {
            to_head: reader.is_head_request(),
            http10: false,
            persists: false,
        };
        let code = error.kind.code();
        let told = RefusalInFlight {
            underway,
            code,
            size,
        };
        (response, asked, told)
    }
}

impl RefusalInFlight {
    /// The client's system has it.
    pub(super) fn went_out(mut self) {
        self.underway.sent(self.size, tokio::time::Instant::now());
        self.underway.ended(RequestEnd::Refused(self.code));
    }
}
