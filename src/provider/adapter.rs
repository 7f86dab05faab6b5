//! The contract between a provider and the daemon.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{
    AnswerContext, Assessment, BrowserLogin, Credential, DeviceLogin, Dialect, Grant, Layout,
    Login, ProviderReply, Quota, Quotas, ReadError, Renewal, Skew, TokenError, Verdict, probe,
};
use crate::config::{AllowedPath, ProviderName};

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
