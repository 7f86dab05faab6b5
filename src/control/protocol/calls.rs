//! The calls of the control protocol, one row each: name on the wire, arguments, time limit and reply type. Client and
//! daemon are both checked against this table.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::error::ControlError;
use super::{client, daemon, login, provider, status};
use crate::control::{in_flight, pools, usage};

/// A request whose type determines the reply's type.
pub trait Call {
    /// The reply.
    type Reply: Serialize + DeserializeOwned + Send + Sync;

    /// How long the daemon may take to reply.
    const PATIENCE: CallTimeout;

    /// The form on the wire.
    fn operation(self) -> Operation;
}

/// How long the daemon may take for one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallTimeout {
    /// Answered from memory.
    Short,
    /// The daemon answers within two seconds or reads a disk.
    Wait,
    /// The daemon waits for a provider or for another program's lock.
    Long,
}

impl CallTimeout {
    /// The limit as a duration.
    pub fn limit(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(10),
            Self::Wait => Duration::from_secs(15),
            Self::Long => Duration::from_secs(90),
        }
    }
}

/// `NAME(ARGUMENTS) = "name on the wire", PATIENCE => REPLY;`
macro_rules! calls {
    ($($(#[doc = $doc:literal])* $name:ident $(($arguments:ty))? = $wire:literal, $patience:ident => $reply:ty;)*) => {
        /// Everything that a client can request. On the wire: `"name"`, or `{"name":ARGUMENTS}`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Operation {
            $($(#[doc = $doc])* #[serde(rename = $wire)] $name $(($arguments))?,)*
            /// An operation of a newer client, with or without arguments. The daemon answers
            /// [`ErrorCode::UnknownOperation`](super::ErrorCode::UnknownOperation).
            #[serde(untagged)]
            Unknown(#[serde(deserialize_with = "unknown_name")] String),
        }

        $(
            $(#[doc = $doc])*
            #[derive(Debug, Clone)]
            pub struct $name $((pub $arguments))?;

            impl Call for $name {
                type Reply = $reply;
                const PATIENCE: CallTimeout = CallTimeout::$patience;

                fn operation(self) -> Operation {
                    Operation::$name $((<$arguments>::from(self.0)))?
                }
            }
        )*

        /// The operations with arguments. A known one with wrong arguments is a bad request, not an unknown operation.
        const WITH_ARGUMENTS: &[&str] = &[$($({
            type _Arguments = $arguments;
            $wire
        },)?)*];
    };
}

calls! {
    /// The state of the daemon and its providers.
    Status = "status", Short => status::Status;
    /// The configured providers.
    Providers = "providers", Short => provider::Providers;
    /// The configured providers, after their lists of models were fetched where they were missing.
    Models = "models", Short => provider::Providers;
    /// The mark that tells the caller's own requests on the port from an app's.
    OwnMark = "own_mark", Short => daemon::OwnMarkValue;
    /// The last lines of the log.
    Log(daemon::LogFrom) = "log", Short => daemon::LogTail;
    /// Stop once the requests in flight have finished.
    Stop = "stop", Short => daemon::StopNotice;
    /// Stop, then start again with the same command line.
    Restart = "restart", Short => daemon::StopNotice;
    /// Read the configuration and the logins again.
    Reload = "reload", Long => daemon::ReloadReport;
    /// Begin a login: with a code to enter, or on a page in the browser.
    LoginBegin(login::LoginBegin) = "login_begin", Long => login::LoginBegun;
    /// Wait a moment for the user to finish the login.
    LoginWait(login::LoginSession) = "login_wait", Wait => login::LoginProgress;
    /// Cancel a login.
    LoginCancel(login::LoginSession) = "login_cancel", Short => login::LoginCancelled;
    /// Submit the address that the user has pasted from the browser.
    LoginPaste(login::LoginPaste) = "login_paste", Short => login::LoginPasteTaken;
    /// Remove a login.
    Logout(login::ProviderChoice) = "logout", Long => login::LogoutReport;
    /// Renew a credential now.
    Refresh(login::ProviderChoice) = "refresh", Long => login::RefreshOutcome;
    /// Every login of every provider.
    Logins = "logins", Short => pools::LoginList;
    /// End the cooldown of logins.
    LoginReset(pools::LoginChoice) = "login_reset", Long => pools::LoginResetReport;
    /// Remove one of several logins.
    LoginRemove(pools::LoginChoice) = "login_remove", Long => login::LogoutReport;
    /// The apps that have a key.
    Clients = "clients", Short => client::ClientList;
    /// Make a key for an app.
    ClientAdd(client::ClientAdd) = "client_add", Long => client::NewKey;
    /// Revoke an app's key.
    ClientRevoke(client::ClientChoice) = "client_revoke", Long => client::ClientRevoked;
    /// Replace an app's key.
    ClientRotate(client::ClientChoice) = "client_rotate", Long => client::NewKey;
    /// Change an app's limits.
    ClientChange(client::ClientChange) = "client_change", Long => client::ClientChanged;
    /// Import the tokens that apps present to another proxy.
    ClientImport(client::ClientImport) = "client_import", Long => client::ClientImportReport;
    /// Usage by app, model, provider and time.
    Usage(usage::UsageQuery) = "usage", Wait => usage::UsageReport;
    /// The requests in flight.
    InFlight(in_flight::InFlightQuery) = "in_flight", Short => in_flight::InFlightReport;
}

/// The name in `"name"` or `{"name":…}`.
fn unknown_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let op = Value::deserialize(deserializer)?;
    let mut keys = op.as_object().into_iter().flat_map(serde_json::Map::keys);
    let name = op.as_str().or_else(|| {
        keys.next()
            .filter(|_| keys.next().is_none())
            .map(String::as_str)
    });
    name.filter(|name| !WITH_ARGUMENTS.contains(name))
        .map(str::to_owned)
        .ok_or_else(|| de::Error::custom("no operation"))
}

/// One request: `{"id":1,"op":"status"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRequest {
    /// Chosen by the client and repeated in the reply.
    pub id: u64,
    /// The operation.
    pub op: Operation,
}

/// One reply: `{"id":1,"ok":{…}}` or `{"id":1,"error":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<T> {
    /// The request's number; `null` if the request was too malformed to have one.
    pub id: Option<u64>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: CallOutcome<T>,
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome<T> {
    /// The reply's content.
    Ok(T),
    /// Why the request failed.
    Error(ControlError),
}
