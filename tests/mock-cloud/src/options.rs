//! The settings of a cloud.

use std::time::Duration;

use serde_json::Value;

use crate::codex::Account;
use crate::tls::Tls;

/// The client that Hermes Agent is.
pub const CLIENT_ID: &str = "hermes-cli";
/// The scope that lets an access token be used for inference.
pub const SCOPE: &str = "inference:invoke";

/// How a cloud starts. The default: no TLS, tokens of one hour, everything recorded.
#[must_use]
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) portal_tls: Tls,
    pub(crate) inference_tls: Tls,
    pub(crate) http2: bool,
    pub(crate) record: bool,
    pub(crate) body_limit: usize,
    pub(crate) announced_inference_url: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<String>,
    pub(crate) secret_in_form: bool,
    pub(crate) reuse_error: ReuseError,
    pub(crate) device_lifetime: Duration,
    pub(crate) interval: u64,
    pub(crate) clock_ahead: i64,
    pub(crate) told_lifetime: Option<Value>,
    pub(crate) policy: Policy,
}

/// The `error` that answers a spent refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReuseError {
    /// `invalid_grant`, as RFC 6749 has it.
    #[default]
    InvalidGrant,
    /// `refresh_token_reused`.
    RefreshTokenReused,
}

/// What the tokens are like; part of it can change at run time.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) access_ttl: Duration,
    pub(crate) agent_key_ttl: Duration,
    pub(crate) grant_lifetime: Duration,
    pub(crate) grace: Duration,
    /// Whose all logins are; otherwise each is another user's.
    pub(crate) subject: Option<String>,
    pub(crate) opaque_access_tokens: bool,
    pub(crate) opaque_tokens_infer: bool,
    pub(crate) scope: String,
    pub(crate) account: Option<Account>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            portal_tls: Tls::Off,
            inference_tls: Tls::Off,
            http2: false,
            record: true,
            body_limit: 1 << 20,
            announced_inference_url: None,
            client_id: CLIENT_ID.to_owned(),
            client_secret: None,
            secret_in_form: false,
            reuse_error: ReuseError::InvalidGrant,
            device_lifetime: Duration::from_mins(15),
            interval: 1,
            clock_ahead: 0,
            told_lifetime: None,
            policy: Policy {
                access_ttl: Duration::from_hours(1),
                agent_key_ttl: Duration::from_hours(1),
                grant_lifetime: Duration::from_hours(30 * 24),
                grace: Duration::ZERO,
                subject: None,
                opaque_access_tokens: false,
                opaque_tokens_infer: false,
                scope: SCOPE.to_owned(),
                account: None,
            },
        }
    }
}

impl Options {
    /// TLS for both servers.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.portal_tls = tls;
        self.inference_tls = tls;
        self
    }

    /// TLS for the portal alone.
    pub fn portal_tls(mut self, tls: Tls) -> Self {
        self.portal_tls = tls;
        self
    }

    /// TLS for the inference API alone.
    pub fn inference_tls(mut self, tls: Tls) -> Self {
        self.inference_tls = tls;
        self
    }

    /// Whether `h2` is offered by ALPN; without TLS it means nothing.
    pub fn http2(mut self, http2: bool) -> Self {
        self.http2 = http2;
        self
    }

    /// Whether requests are kept for inspection; counters are kept in any case.
    pub fn record(mut self, record: bool) -> Self {
        self.record = record;
        self
    }

    /// How many bytes of each request body a record keeps (1 MiB by default).
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// How long access tokens live.
    pub fn access_ttl(mut self, ttl: Duration) -> Self {
        self.policy.access_ttl = ttl;
        self
    }

    /// How long agent keys live, unless the caller asks for more.
    pub fn agent_key_ttl(mut self, ttl: Duration) -> Self {
        self.policy.agent_key_ttl = ttl;
        self
    }

    /// How long after the login its refresh tokens end, whatever the rotation (30 days).
    pub fn grant_lifetime(mut self, lifetime: Duration) -> Self {
        self.policy.grant_lifetime = lifetime;
        self
    }

    /// How long the refresh token that was spent last may be presented again: it gets the same
    /// answer once more, until the new one is spent. None by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.policy.grace = grace;
        self
    }

    /// How many seconds the cloud's clock is ahead of the machine's; negative: behind.
    pub fn clock_ahead(mut self, seconds: i64) -> Self {
        self.clock_ahead = seconds;
        self
    }

    /// Whether access tokens are opaque; then only agent keys work for inference.
    pub fn opaque_access_tokens(mut self, opaque: bool) -> Self {
        self.policy.opaque_access_tokens = opaque;
        self
    }

    /// Access tokens are opaque and good for inference.
    pub fn opaque_tokens_infer(mut self) -> Self {
        self.policy.opaque_access_tokens = true;
        self.policy.opaque_tokens_infer = true;
        self
    }

    /// What the token endpoint says of a token's life instead of the truth: this `expires_in`, or none.
    pub fn told_lifetime(mut self, expires_in: Option<Value>) -> Self {
        self.told_lifetime = Some(expires_in.unwrap_or_default());
        self
    }

    /// The scope of every token; one without `inference:invoke` is refused for inference.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.policy.scope = scope.into();
        self
    }

    /// The only client id that the portal knows (`hermes-cli`).
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// The secret that the client has to show, in the form or as RFC 6749 §2.3.1 has it.
    pub fn client_secret(mut self, secret: impl Into<String>, in_form: bool) -> Self {
        self.client_secret = Some(secret.into());
        self.secret_in_form = in_form;
        self
    }

    /// Speaks the dialect of OpenAI Codex: every login is this account's, whose data may have to stay in a
    /// region.
    pub fn codex(mut self, account: &str, residency: Option<&str>) -> Self {
        crate::CODEX_CLIENT_ID.clone_into(&mut self.client_id);
        self.policy.account = Some(Account {
            id: account.to_owned(),
            residency: residency.map(str::to_owned),
        });
        self
    }

    /// The `error` that answers a spent refresh token.
    pub fn reuse_error(mut self, error: ReuseError) -> Self {
        self.reuse_error = error;
        self
    }

    /// The seconds between two polls of the device flow (1).
    pub fn interval(mut self, seconds: u64) -> Self {
        self.interval = seconds;
        self
    }

    /// How long a device code lives (15 minutes).
    pub fn device_lifetime(mut self, lifetime: Duration) -> Self {
        self.device_lifetime = lifetime;
        self
    }

    /// The `inference_base_url` of token and key answers; absent by default.
    pub fn announce_inference_url(mut self, url: impl Into<String>) -> Self {
        self.announced_inference_url = Some(url.into());
        self
    }
}
