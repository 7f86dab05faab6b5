//! The one place that turns errors of ours into HTTP.
//!
//! Every answer that we make ourselves has the shape of OpenAI's errors, or of Anthropic's on the paths of its
//! Messages API, and names its code in `x-hermes-error`, so that a user can tell our errors from the provider's, which
//! pass unchanged.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::json;

/// On every answer: the request's id, as in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-hermes-request-id");
/// On answers that we made: the error's code.
pub const ERROR_CODE: HeaderName = HeaderName::from_static("x-hermes-error");
/// OpenAI's SDKs obey it.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// A wish that we invent is never longer: clients hang on long ones.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

/// An error that we tell a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyError {
    /// What kind it is; decides status and code.
    pub kind: ErrorKind,
    /// For people: what happened, and how to fix it.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The methods that a path takes.
    pub allow: Option<String>,
    /// What was refused where that is not the app: the host or the web page that it names.
    pub about: Option<String>,
    /// The member of the request that it is about.
    pub param: Option<String>,
}

/// Which API's errors a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

/// The kinds of error, each with its own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not a request that we can make sense of.
    BadRequest,
    /// The request says what the provider's API can't.
    NotTranslatable,
    /// The user must log in at the provider.
    UpstreamAuthFailed,
    /// The `Host` is not one of ours.
    HostNotAllowed,
    /// A web page asks that is not on the list.
    OriginNotAllowed,
    /// Another user of this machine asks.
    PeerNotAllowed,
    /// A client key is needed, and this one is not valid.
    InvalidClientKey,
    /// The client key has as many requests under way as it may.
    TooManyRequests,
    /// The provider has said that the account's rate limit is used up, and until when.
    UpstreamRateLimited,
    /// The quotas of all the provider's logins are used up for a while.
    CredentialsCoolingDown,
    /// The path is on no list.
    PathNotAllowed,
    /// The provider's list has no model of this id.
    ModelNotFound,
    /// The client key is for other models.
    ModelNotAllowed,
    /// The path names a provider that is not configured.
    UnknownProvider,
    /// The path is known, its method is not.
    MethodNotAllowed,
    /// The client sent too slowly.
    RequestTimeout,
    /// The body is too large.
    RequestTooLarge,
    /// The head is too large.
    HeadersTooLarge,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// The provider can't be reached, or does not speak HTTP.
    UpstreamUnreachable,
    /// There is no valid token right now.
    CredentialsUnavailable,
    /// The provider is too slow.
    UpstreamTimeout,
    /// The provider's answer is larger than what is made whole.
    AnswerTooLarge,
    /// A request of our own came back to us.
    LoopDetected,
    /// HTTP/1.0 on a connection where a cut answer would look complete.
    HttpVersionNotSupported,
    /// We are short of something of our own, such as descriptors, for a moment.
    Overloaded,
    /// The service is being stopped.
    ShuttingDown,
    /// A panic.
    Internal,
}

impl ErrorKind {
    /// Every kind, for the tests that keep the documentation complete.
    pub const ALL: [Self; 28] = [
        Self::BadRequest,
        Self::NotTranslatable,
        Self::UpstreamAuthFailed,
        Self::HostNotAllowed,
        Self::OriginNotAllowed,
        Self::PeerNotAllowed,
        Self::InvalidClientKey,
        Self::TooManyRequests,
        Self::UpstreamRateLimited,
        Self::CredentialsCoolingDown,
        Self::PathNotAllowed,
        Self::ModelNotFound,
        Self::ModelNotAllowed,
        Self::UnknownProvider,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::RequestTooLarge,
        Self::HeadersTooLarge,
        Self::UnsupportedMediaType,
        Self::UpstreamUnreachable,
        Self::CredentialsUnavailable,
        Self::UpstreamTimeout,
        Self::AnswerTooLarge,
        Self::LoopDetected,
        Self::HttpVersionNotSupported,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::Internal,
    ];

    /// The code in `error.code`, `error.type` and `x-hermes-error`.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NotTranslatable => "not_translatable",
            Self::UpstreamAuthFailed => "upstream_auth_failed",
            Self::HostNotAllowed => "host_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::PeerNotAllowed => "peer_not_allowed",
            Self::InvalidClientKey => "invalid_client_key",
            Self::TooManyRequests => "too_many_requests",
            Self::UpstreamRateLimited => "upstream_rate_limited",
            Self::CredentialsCoolingDown => "credentials_cooling_down",
            Self::PathNotAllowed => "path_not_allowed",
            Self::ModelNotFound => "model_not_found",
            Self::ModelNotAllowed => "model_not_allowed",
            Self::UnknownProvider => "unknown_provider",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::RequestTooLarge => "request_too_large",
            Self::HeadersTooLarge => "request_headers_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::CredentialsUnavailable => "credentials_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::AnswerTooLarge => "answer_too_large",
            Self::LoopDetected => "loop_detected",
            Self::HttpVersionNotSupported => "http_version_not_supported",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal_error",
        }
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::NotTranslatable => StatusCode::BAD_REQUEST,
            Self::UpstreamAuthFailed | Self::InvalidClientKey => StatusCode::UNAUTHORIZED,
            Self::HostNotAllowed
            | Self::OriginNotAllowed
            | Self::PeerNotAllowed
            | Self::ModelNotAllowed => StatusCode::FORBIDDEN,
            Self::TooManyRequests | Self::UpstreamRateLimited | Self::CredentialsCoolingDown => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::PathNotAllowed | Self::ModelNotFound | Self::UnknownProvider => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UpstreamUnreachable | Self::AnswerTooLarge => StatusCode::BAD_GATEWAY,
            Self::CredentialsUnavailable | Self::Overloaded | Self::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
            Self::HttpVersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The type that Anthropic's API gives to errors with this status.
fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

impl ProxyError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            allow: None,
            about: None,
            param: None,
        }
    }

    /// It is about this host or web page.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        self.about = Some(what.to_owned());
        self
    }

    /// It is about this member of the request.
    #[must_use]
    pub fn param(mut self, name: &str) -> Self {
        self.param = Some(name.to_owned()).filter(|name| !name.is_empty());
        self
    }

    /// The same text as an error of another kind.
    #[must_use]
    pub fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// With the time after which the client should try again, which is sent as a minute at most.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// The JSON of the error, as the SDKs of that API read it. OpenAI's has Anthropic's outer type too, for an app of
    /// Anthropic's on another path: its SDKs take nothing else for an error.
    pub fn body(&self, format: ErrorFormat) -> Bytes {
        let code = self.kind.code();
        if format == ErrorFormat::Anthropic {
            let kind = anthropic_type(self.kind.status());
            let error = json!({"type": kind, "message": self.message});
            return Bytes::from(json!({"type": "error", "error": error}).to_string());
        }
        // The one error of ours that OpenAI has, too.
        let (kind, param) = if self.kind == ErrorKind::ModelNotFound {
            ("invalid_request_error", Some("model"))
        } else {
            (code, self.param.as_deref())
        };
        let error = json!({"message": self.message, "type": kind, "code": code, "param": param});
        Bytes::from(json!({"type": "error", "error": error}).to_string())
    }

    /// One event of a stream, for an answer that has begun.
    pub fn event(&self, format: ErrorFormat) -> Bytes {
        let start: &[u8] = match format {
            ErrorFormat::OpenAi => b"data: ",
            ErrorFormat::Anthropic => b"event: error\ndata: ",
        };
        Bytes::from([start, &*self.body(format), b"\n\n"].concat())
    }

    /// The answer's head and JSON body.
    pub fn response(&self, format: ErrorFormat) -> Response<Bytes> {
        let mut response = Response::new(self.body(format));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_CODE, HeaderValue::from_static(self.kind.code()));
        if let Some(time) = self.retry_after {
            let told = time.min(LONGEST_RETRY_AFTER);
            headers.insert(RETRY_AFTER, HeaderValue::from(told.as_secs().max(1)));
        }
        // A problem that only the user can fix is not solved by a retry.
        let is_lasting = matches!(
            self.kind,
            ErrorKind::LoopDetected
                | ErrorKind::HttpVersionNotSupported
                | ErrorKind::AnswerTooLarge
                | ErrorKind::CredentialsCoolingDown
        );
        // A key that has used up its day: SDKs would wait for nothing.
        let is_used_up = self.kind == ErrorKind::TooManyRequests
            && self
                .retry_after
                .is_some_and(|time| time > LONGEST_RETRY_AFTER);
        if self.kind.status() == StatusCode::UNAUTHORIZED || is_lasting || is_used_up {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        // RFC 9110 §11.6.1 wants it on a 401.
        if self.kind == ErrorKind::InvalidClientKey {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(Ok(methods)) = self.allow.as_deref().map(HeaderValue::from_str) {
            headers.insert(ALLOW, methods);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_shape_that_sdks_read() {
        let error = ProxyError::new(ErrorKind::UpstreamAuthFailed, "say \"x\"\n");
        let response = error.response(ErrorFormat::OpenAi);
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[ERROR_CODE], "upstream_auth_failed");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            body,
            json!({"type": "error",
                   "error": {"message": "say \"x\"\n", "type": "upstream_auth_failed",
                             "code": "upstream_auth_failed", "param": null}})
        );
    }

    #[test]
    fn an_app_of_anthropics_gets_its_types_and_nothing_else() {
        for (kind, expected) in [
            (ErrorKind::UpstreamAuthFailed, "authentication_error"),
            (ErrorKind::InvalidClientKey, "authentication_error"),
            (ErrorKind::HostNotAllowed, "permission_error"),
            (ErrorKind::PathNotAllowed, "not_found_error"),
            (ErrorKind::BadRequest, "invalid_request_error"),
            (ErrorKind::MethodNotAllowed, "invalid_request_error"),
            (ErrorKind::RequestTooLarge, "request_too_large"),
            (ErrorKind::UpstreamRateLimited, "rate_limit_error"),
            (ErrorKind::CredentialsUnavailable, "overloaded_error"),
            (ErrorKind::UpstreamTimeout, "timeout_error"),
            (ErrorKind::UpstreamUnreachable, "api_error"),
            (ErrorKind::Internal, "api_error"),
        ] {
            let error = ProxyError::new(kind, "why");
            let response = error.response(ErrorFormat::Anthropic);
            assert_eq!(response.headers()[ERROR_CODE], kind.code());
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(
                body,
                json!({"type": "error", "error": {"type": expected, "message": "why"}})
            );
        }
    }

    #[test]
    fn a_wish_for_a_retry_is_between_one_second_and_one_minute() {
        let error = ProxyError::new(ErrorKind::CredentialsUnavailable, "");
        let seconds = |time| {
            error
                .clone()
                .retry_after(time)
                .response(ErrorFormat::OpenAi)
                .headers()[RETRY_AFTER]
                .clone()
        };
        assert_eq!(seconds(Duration::from_hours(2)), "60");
        assert_eq!(seconds(Duration::ZERO), "1");
    }

    #[test]
    fn an_event_is_one_line() {
        let error = ProxyError::new(ErrorKind::UpstreamTimeout, "a\nb");
        let event = error.event(ErrorFormat::OpenAi);
        let text = std::str::from_utf8(&event).unwrap();
        assert!(text.starts_with("data: {") && text.ends_with("}\n\n"));
        assert_eq!(text.matches('\n').count(), 2);
        let event = error.event(ErrorFormat::Anthropic);
        let text = std::str::from_utf8(&event).unwrap();
        assert!(text.starts_with("event: error\ndata: {") && text.ends_with("}\n\n"));
        assert_eq!(text.matches('\n').count(), 3);
    }
}
