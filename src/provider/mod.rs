//! The adapter contract: everything that the rest of the daemon knows about a provider.
//!
//! An [`Adapter`] reads a login from its block of the credential store, spends its tokens at the
//! provider's token endpoint, and turns the result into a [`Credential`] that requests carry. It
//! never touches the store itself: [`crate::credentials`] locks, reads, calls the adapter,
//! persists and publishes, the same for every provider.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        reason = "tokens and files hold odd numbers, and an overflow would end what looks after a login"
    )
)]

mod base_url;
mod browser;
mod codex;
mod device;
pub mod dialect;
mod granted;
mod hosts;
mod jwt;
mod key_file;
mod layout;
mod login;
mod nous;
mod oauth2;
pub mod pool_row;
pub mod probe;
mod proxies;
mod quota;
mod quotas;
mod rate_limits;
mod registry;
mod skew;
mod static_key;
mod tabled;
mod tls;
mod token_client;
mod verdict;
mod xai;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

pub use self::base_url::BaseUrl;
pub use self::browser::{
    AuthorizationPage, BrowserAttempt, BrowserLogin, Callback, Code, No, PAGE_LIFE, Redirect, Stray,
};
pub use self::device::{DeviceCode, DeviceError, DeviceLogin, Poll, PollPace};
pub use self::dialect::Dialect;
pub use self::granted::flaw;
pub use self::layout::{Layout, LoginEndReason, LoginTokens, Merge};
pub use self::login::Login;
pub use self::proxies::{Proxies, environment_faults, file_faults};
pub use self::quota::{Quota, QuotaAmounts, QuotaLevel, ReportedWindow};
pub use self::quotas::Quotas;
pub use self::registry::{
    BuildError, BuiltIn, build, built_in, layout, named, own_layout, owner, token_timeout,
};
pub use self::skew::Skew;
pub use self::tls::{Tls, TlsError, client_config};
pub use self::verdict::{AnswerContext, ProviderReply, ReadError, Verdict};
use crate::config::{AllowedPath, ProviderName};
use crate::secret::Secret;

/// What goes upstream with a request.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The bearer itself, to compare credentials with.
    pub bearer: Secret,
    /// The ready `Authorization` value, marked sensitive; empty for a server that gets none.
    pub authorization: HeaderValue,
    /// The only address that it may go to.
    pub base_url: BaseUrl,
    /// Which kind of bearer it is, for `proxy status`.
    pub kind: BearerKind,
    /// When it was issued, as far as that is known.
    pub issued_at: Option<DateTime<Utc>>,
    /// When the provider stops taking it; `None` never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Header fields that the provider requires besides the bearer, such as the account's id. They
    /// replace what a client sent under these names. A value that identifies the account is marked
    /// sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A kind of bearer, in the adapter's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BearerKind {
    name: &'static str,
    from: Renewal,
}

impl BearerKind {
    /// A fixed API key.
    pub const API_KEY: Self = Self::new("api_key", Renewal::Never);

    /// Nothing: the server takes requests without a key.
    pub const NO_KEY: Self = Self::new("none", Renewal::Never);

    /// A kind of this name, as `proxy status --json` has it, which renewals of this way give.
    pub const fn new(name: &'static str, from: Renewal) -> Self {
        Self { name, from }
    }

    /// Whether a renewal of this way gives a bearer of this kind.
    pub fn is_from(self, renewal: Renewal) -> bool {
        self.from != Renewal::Never && self.from == renewal
    }

    /// The name as shown in `proxy status --json`.
    pub fn as_str(self) -> &'static str {
        self.name
    }
}

/// What a stored login allows at some moment.
#[derive(Debug, Clone)]
pub enum Assessment {
    /// There is a login.
    Login {
        /// What can go upstream right now.
        credential: Option<Credential>,
        /// How to get the next one.
        renewal: Renewal,
    },
    /// There is no login, or it is dead: the user must log in.
    NoLogin {
        /// Why, as a short clause.
        reason: String,
    },
}

/// How the next credential is got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Spend the refresh token.
    Refresh,
    /// Have a key minted for the access token, which is still good.
    Mint,
    /// Not at all.
    Never,
}

/// What the token endpoint granted. Its fields are merged into the login by
/// [`Adapter::apply`].
#[derive(Clone)]
pub struct Grant {
    answer: Map<String, Value>,
    renewal: Renewal,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("renewal", &self.renewal)
            .finish_non_exhaustive()
    }
}

impl Grant {
    /// What the endpoint answered to a renewal of this way; an adapter makes it.
    pub fn new(answer: Map<String, Value>, renewal: Renewal) -> Self {
        Self { answer, renewal }
    }

    /// What the endpoint answered, to be merged into a login. Holds secrets.
    pub fn into_answer(self) -> Map<String, Value> {
        self.answer
    }

    /// The tokens alone, received at `now`.
    pub fn tokens(&self, now: DateTime<Utc>) -> LoginTokens {
        LoginTokens::of_answer(&self.answer, now)
    }

    /// What a login gave.
    pub(super) fn of_login(answer: Map<String, Value>) -> Self {
        let renewal = Renewal::Refresh;
        Self { answer, renewal }
    }

    /// How it was got.
    pub fn renewal(&self) -> Renewal {
        self.renewal
    }

    /// How long the bearer lives from its receipt, when the endpoint says so (`expires_in`, RFC
    /// 6749 §5.1). By the receiver's clock, so a clock that is wrong does no harm.
    pub fn lifetime(&self) -> Option<Duration> {
        let seconds = token_client::seconds(self.answer.get("expires_in"));
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// The same for an access token that is a JWT with its own lifetime: `expires_in` does not
    /// prolong it.
    pub(super) fn jwt_lifetime(&self) -> Option<Duration> {
        let told = self.lifetime();
        let token = self.answer.get("access_token").and_then(Value::as_str);
        let life = token
            .and_then(jwt::Claims::decode)
            .and_then(|claims| claims.life());
        match (told, life) {
            // A lifetime that has nothing to do with the token's own is a mistake.
            (Some(told), Some(life)) if told.saturating_mul(10) < life => Some(life),
            (Some(told), Some(life)) => Some(told.min(life)),
            (told, life) => told.or(life),
        }
    }
}

/// Why the token endpoint granted nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The grant is dead (RFC 6749 §5.2 `invalid_grant` and the like): only a new login helps.
    #[error("the token endpoint refused the grant ({code}): {description}")]
    Rejected {
        /// The OAuth error code.
        code: String,
        /// The provider's words, shortened, without any token.
        description: String,
    },
    /// The access token was refused while a key was to be minted; a refresh may help.
    #[error("the provider refused the access token")]
    AccessTokenRefused,
    /// The request went out and no whole answer came: the token that it carried may be spent.
    #[error("{what}")]
    Lost {
        /// What happened, without any token.
        what: String,
        /// The server's wish, when the answer's head came.
        retry_after: Option<Duration>,
    },
    /// The answer says nothing about the grant: try again later.
    #[error("{what}")]
    Transient {
        /// Whether the token may be spent anyway: the answer of a gateway that had lost the
        /// provider's, or one that should have been a grant.
        may_be_spent: bool,
        /// What happened, without any token.
        what: String,
        /// The server's wish.
        retry_after: Option<Duration>,
    },
}

/// What the user can do about a missing credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Logs in with this command; it exists.
    Run(String),
    /// The same if Hermes Agent shares no login, so that none has to be separate.
    RunAsItIs(String),
    /// Puts a key into its file or variable; a clause, since no command alone does it.
    Advice(String),
}

impl Remedy {
    /// The command, if one helps: for a separate login, or for the shared one.
    pub fn command(&self, separate: bool) -> Option<String> {
        match self {
            Self::Run(command) if separate => Some(format!("{command} --separate")),
            Self::Run(command) | Self::RunAsItIs(command) => Some(command.clone()),
            Self::Advice(_) => None,
        }
    }
}

/// A client's header fields that pass to one provider besides the usual ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forwards {
    /// Their names, in lower case.
    pub names: &'static [&'static str],
    /// What further names begin with.
    pub prefix: Option<&'static str>,
}

/// Another program's file that may hold the same login, in the same layout at its top.
#[derive(Debug, Clone, Copy)]
pub struct SharedLoginFile {
    /// The program.
    pub program: &'static str,
    /// The environment variable that names its folder.
    pub variable: &'static str,
    /// That folder below the user's home, if the variable is not set.
    pub folder: &'static str,
    /// The file in it.
    pub file: &'static str,
}

/// The contract between a provider and the daemon.
///
/// No method but [`Adapter::renew`] and [`Adapter::ask_quota`] asks the network or the clock. All are quick.
#[async_trait]
pub trait Adapter: Debug + Send + Sync {
    /// The name in paths and on the command line.
    fn name(&self) -> &ProviderName;

    /// The name for people.
    fn display_name(&self) -> &str;

    /// What is forwarded, relative to `/v1`.
    fn allowed_paths(&self) -> &[AllowedPath];

    /// The remedy for a missing credential.
    fn remedy(&self) -> Remedy;

    /// Reads the source of a credential outside the stores again, for [`Adapter::assess`]. Blocks for
    /// as long as the file system does.
    fn reread(&self) {}

    /// Whether what was read last was there and can't be used.
    fn is_unread(&self) -> bool {
        false
    }

    /// What is wrong with the user's settings for a credential, as far as it shows without a request; a
    /// missing credential does not count.
    fn fault(&self) -> Option<String> {
        None
    }

    /// The login's form in the store; `None` if it is outside the stores, known to the adapter
    /// alone.
    fn layout(&self) -> Option<&'static dyn Layout>;

    /// The authority that grants this provider's logins, and the client, as one text: tokens of
    /// another authority are not sent to it.
    fn grantor(&self) -> String {
        self.layout().map_or("", Layout::key).to_owned()
    }

    /// The way to log in on another device, if the provider has one.
    fn device_login(&self) -> Option<&dyn DeviceLogin> {
        None
    }

    /// The way to log in on a page in a browser, if the provider has one.
    fn browser_login(&self) -> Option<&dyn BrowserLogin> {
        None
    }

    /// Where the provider is reached for this login: what requests and renewals go to.
    fn addresses(&self, _login: &Login) -> Vec<probe::ProbeTarget> {
        Vec::new()
    }

    /// This machine's clock by the token endpoint's answers, if there is such an endpoint.
    fn skew(&self) -> Option<&Skew> {
        None
    }

    /// Whether requests go to an address of the operator's own, which may lead back to us.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// Whether its requests need a client key, at every listener.
    fn needs_client_key(&self) -> bool {
        false
    }

    /// Which of a client's header fields pass to it besides the usual ones.
    fn forwards(&self) -> Forwards {
        Forwards::default()
    }

    /// How the bodies of one of its paths differ from OpenAI's; `None` if they pass unchanged.
    /// Asked once.
    fn dialect(&self, _path: &str) -> Option<Dialect> {
        None
    }

    /// Another program's file that may hold the same login.
    fn other_holder(&self) -> Option<SharedLoginFile> {
        None
    }

    /// The quotas that its answers have reported for its logins, if they do.
    fn quotas(&self) -> Option<&Quotas> {
        None
    }

    /// Whether it can be asked how much of an account's quota is used.
    fn answers_for_quota(&self) -> bool {
        false
    }

    /// How much of its account's quota is used, as the provider said last of the login at this place among its logins.
    fn quota(&self, login: usize) -> Option<Quota> {
        self.quotas()?.of(login)
    }

    /// Asks the provider for that, with the credential of that login; the result is in
    /// [`Adapter::quota`].
    async fn ask_quota(&self, _credential: &Credential, _login: usize, _now: DateTime<Utc>) {}

    /// The lifetime of a grant from the login, whatever the rotation; `None` if it does not end.
    fn grant_lifetime(&self) -> Option<Duration> {
        None
    }

    /// How long before its end a credential is renewed, if the operator asks for `lead`.
    fn lead(&self, _credential: &Credential, lead: Duration) -> Duration {
        lead
    }

    /// What `login` allows at `now`. Cheap, no network.
    fn assess(&self, login: &Login, now: DateTime<Utc>) -> Assessment;

    /// Asks the token endpoint once. Spends the login's refresh token when `renewal` is
    /// [`Renewal::Refresh`], so the caller must hold the store's locks and persist the answer.
    ///
    /// # Errors
    /// [`TokenError`] says whether the grant is dead or the endpoint out of order.
    async fn renew(&self, login: &Login, renewal: Renewal) -> Result<Grant, TokenError>;

    /// What an answer says about the credential of its request. Called for every answer, so it must
    /// be quick if the answer says nothing.
    fn verdict(&self, reply: &ProviderReply<'_>) -> Verdict {
        reply.by_status()
    }

    /// Until when the provider answers no request with the shared login, as it has said: then it is not
    /// asked. Called for every request.
    fn limited(&self, _now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        None
    }

    /// A request was answered. Called for every answer to a POST; `shared` says whether that was with the
    /// shared login, and takes a lock.
    fn hear(&self, _reply: &ProviderReply<'_>, _heard: AnswerContext, _shared: &dyn Fn() -> bool) {}

    /// The user has logged in, maybe with another account.
    fn forget_limit(&self) {}

    /// Reads an error event of a stream that began with a 200, if this provider also refuses an account
    /// in that way. It can't be read in an encoded answer, so the provider is asked for plain ones.
    fn reads_errors(&self) -> Option<ReadError> {
        None
    }

    /// The bytes that mark events of a stream with quota usage; these go to [`Adapter::hear_event`]. They
    /// can't be read in an encoded answer either.
    fn quota_event(&self) -> Option<&'static str> {
        None
    }

    /// An event that came at `at` to a request with this login and holds [`Adapter::quota_event`]; its data.
    fn hear_event(&self, _event: &[u8], _login: usize, _at: DateTime<Utc>) {}

    /// The list of models in OpenAI's form, made of the provider's answer to `GET /models`; `None` if it
    /// has that form already, or can't be read.
    fn models(&self, _answer: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// The query that the provider wants with `GET /models`, without its question mark.
    fn models_query(&self) -> Option<&str> {
        None
    }

    /// How long what was granted lives from its receipt, as far as the endpoint says.
    fn lifetime(&self, grant: &Grant) -> Option<Duration> {
        grant.lifetime()
    }

    /// Merges what was granted into the login, received at `now`.
    fn apply(&self, login: &mut Login, grant: Grant, now: DateTime<Utc>);
}
