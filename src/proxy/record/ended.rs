//! A request that has ended, and what it tells of its provider.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::{Method, StatusCode, Uri};
use tokio::time::Instant;

use super::super::error::ErrorKind;
use super::request_id::RequestId;
use crate::clients::Client;

/// A request that has ended.
#[derive(Debug)]
pub(in crate::proxy) struct RequestRecord {
    pub(in crate::proxy) id: RequestId,
    /// `None` if the head could not be read.
    pub(in crate::proxy) method: Option<Method>,
    pub(in crate::proxy) target: RequestTarget,
    /// The app whose key was presented.
    pub(in crate::proxy) client: Option<Arc<Client>>,
    /// Whether hermesctl sent it, so that it counts as no app's.
    pub(in crate::proxy) is_own: bool,
    /// Whether it is a supervisor's probe, which arrives every few seconds.
    pub(in crate::proxy) is_probe: bool,
    /// Set if it was refused before any provider was asked.
    pub(in crate::proxy) refusal: Option<Box<CountedRefusal>>,
    pub(in crate::proxy) started: Instant,
    pub(in crate::proxy) first_byte: Option<Instant>,
    pub(in crate::proxy) ended: Instant,
    /// The answer's status; `None` without an answer.
    pub(in crate::proxy) status: Option<StatusCode>,
    /// Why the provider refuses the account, if its answer or an event in it says so.
    pub(in crate::proxy) blocked: Option<&'static str>,
    /// The size of the request's body.
    pub(in crate::proxy) bytes_in: u64,
    /// The size of the answer's body.
    pub(in crate::proxy) bytes_out: u64,
    pub(in crate::proxy) end: RequestEnd,
}

/// A refusal that the apps' owner should know about.
#[derive(Debug)]
pub(in crate::proxy) struct CountedRefusal {
    pub(in crate::proxy) kind: ErrorKind,
    /// The app's name or address.
    pub(in crate::proxy) from: Box<str>,
    /// The host or web page that was refused.
    pub(in crate::proxy) about: Option<Box<str>>,
    /// Whether an app may notice: `false` for what browsers and monitors request on their own.
    pub(in crate::proxy) matters: bool,
}

/// What a request is addressed to.
#[derive(Debug)]
pub(in crate::proxy) enum RequestTarget {
    /// The URI as requested. It shares the buffer of the request's head, so it must not live as long as a stream.
    Asked(Uri),
    /// A provider's path.
    Routed { provider: Arc<str>, path: Arc<str> },
    /// The head was refused before it was read.
    Unread,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum RequestEnd {
    /// The complete answer was sent.
    Complete,
    /// The complete answer was sent from the cache.
    Kept,
    /// The answer was an error of ours, with this code.
    Refused(&'static str),
    /// The provider's answer was truncated.
    UpstreamBroke,
    /// The shutdown's grace period ended.
    Cut,
    /// Its body arrived too slowly while another request needed its slot.
    MadeWay,
    /// A bug of ours ended it.
    Defect,
    /// The client disconnected first.
    ClientLeft,
}

/// What a request's end says about its provider.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum ProviderSignal {
    /// The provider fails, with this code.
    Fails(Cow<'static, str>),
    Works,
    /// Nothing: the client or a shutdown ended the request, or it was refused here.
    Nothing,
}

impl RequestTarget {
    /// The provider's name, if there is one, and the path.
    pub(in crate::proxy) fn names(&self) -> (&str, &str) {
        match self {
            Self::Routed { provider, path } => (provider, path),
            Self::Asked(uri) => ("", uri.path()),
            Self::Unread => ("", ""),
        }
    }
}

impl RequestEnd {
    /// The end and our error's code, as they appear in the log.
    pub(in crate::proxy) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Complete => ("complete", ""),
            Self::Kept => ("from memory", ""),
            Self::Refused(code) => ("refused", code),
            Self::UpstreamBroke => ("upstream broke", ""),
            Self::Cut => ("cut at shutdown", ""),
            Self::MadeWay => ("made way", ""),
            Self::Defect => ("defect", ""),
            Self::ClientLeft => ("client left", ""),
        }
    }
}

/// Our errors that occur before a request reaches the provider.
const BEFORE_SENDING: [ErrorKind; 6] = [
    ErrorKind::UpstreamUnreachable,
    ErrorKind::UpstreamAuthFailed,
    ErrorKind::UpstreamRateLimited,
    ErrorKind::CredentialsUnavailable,
    ErrorKind::CredentialsCoolingDown,
    ErrorKind::Overloaded,
];

impl RequestEnd {
    /// Whether the request failed before it reached the provider.
    pub(super) fn is_before_sending(self) -> bool {
        let Self::Refused(code) = self else {
            return false;
        };
        BEFORE_SENDING.iter().any(|kind| kind.code() == code)
    }
}

impl RequestRecord {
    /// The kind of failure, for usage counts and the recent failures; `None` for a complete, successful answer.
    pub(in crate::proxy) fn failure(&self) -> Option<Cow<'static, str>> {
        let status = self.status.map_or(0, |status| status.as_u16());
        let kind = match self.end {
            RequestEnd::Complete | RequestEnd::Kept => match (self.blocked, status) {
                (Some(code), _) => code,
                (None, ..400) => return None,
                (None, 400..=599) => return Some(format!("http_{status}").into()),
                (None, _) => "http_other",
            },
            RequestEnd::Refused(code) => code,
            RequestEnd::UpstreamBroke => "answer_cut",
            RequestEnd::Cut => ErrorKind::ShuttingDown.code(),
            RequestEnd::MadeWay => ErrorKind::RequestTimeout.code(),
            RequestEnd::Defect => ErrorKind::Internal.code(),
            RequestEnd::ClientLeft => "client_left",
        };
        Some(kind.into())
    }

    /// What the end says about the provider. A 401 to 403 or 429 shows a login or quota that has ended, a 500 or above
    /// a failing provider. Any other status is due to the request itself.
    pub(in crate::proxy) fn news(&self) -> ProviderSignal {
        // The client may have left because of it.
        if let Some(code) = self.blocked {
            return ProviderSignal::Fails(code.into());
        }
        let status = self.status.map_or(0, |status| status.as_u16());
        match self.end {
            RequestEnd::Complete if matches!(status, 401..=403 | 429 | 500..) => {
                ProviderSignal::Fails(format!("http_{status}").into())
            }
            RequestEnd::Complete => ProviderSignal::Works,
            RequestEnd::Refused(code) if is_of_the_provider(code) => {
                ProviderSignal::Fails(code.into())
            }
            RequestEnd::UpstreamBroke => ProviderSignal::Fails("answer_cut".into()),
            RequestEnd::Kept
            | RequestEnd::Refused(_)
            | RequestEnd::Cut
            | RequestEnd::MadeWay
            | RequestEnd::Defect
            | RequestEnd::ClientLeft => ProviderSignal::Nothing,
        }
    }
}

/// Whether one of our errors means that the provider, or the route to it, fails.
fn is_of_the_provider(code: &str) -> bool {
    [
        ErrorKind::UpstreamUnreachable,
        ErrorKind::UpstreamTimeout,
        ErrorKind::UpstreamAuthFailed,
        ErrorKind::CredentialsUnavailable,
    ]
    .iter()
    .any(|kind| kind.code() == code)
}
