//! What a client can ask, one row for each call: its name on the wire, its arguments, how long an answer may take, and
//! the type of the answer. The client's side and the daemon's are both checked against it.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::error::ControlError;
use super::{client, daemon, login, provider, status};
use crate::control::{in_flight, pools, usage};

/// A question to the daemon, whose type says what answers it.
pub trait Call {
    /// The answer.
    type Reply: Serialize + DeserializeOwned + Send + Sync;

    /// How long the daemon may take.
    const PATIENCE: CallTimeout;

    /// As it goes over the wire.
    fn operation(self) -> Operation;
}

/// How long the daemon may take for one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallTimeout {
    /// It answers from memory.
    Short,
    /// It answers after two seconds by itself, or reads a disk.
    Wait,
    /// It waits for the provider, or for another program's lock.
    Long,
}

impl CallTimeout {
    /// As a time limit.
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
        /// What a client can ask, as it goes over the wire: `"name"`, or `{"name":ARGUMENTS}`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Operation {
            $($(#[doc = $doc])* #[serde(rename = $wire)] $name $(($arguments))?,)*
            /// The name of an operation of a newer client, with arguments or without; answered with
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

        /// The operations with arguments. One of them with wrong arguments is not unknown, but no request.
        const WITH_ARGUMENTS: &[&str] = &[$($({
            type _Arguments = $arguments;
            $wire
        },)?)*];
    };
}

calls! {
    /// The state of the daemon and its providers.
    Status = "status", Short => status::Status;
    /// Which providers are served.
    Providers = "providers", Short => provider::Providers;
    /// The same, after the providers were asked for lists of models that are not known.
    Models = "models", Short => provider::Providers;
    /// What shows that a request on the port is the client's own and no app's.
    OwnMark = "own_mark", Short => daemon::OwnMarkValue;
    /// The last lines of the log.
    Log(daemon::LogFrom) = "log", Short => daemon::LogTail;
    /// Stop once running requests have finished.
    Stop = "stop", Short => daemon::StopNotice;
    /// The same, and start again as it was started.
    Restart = "restart", Short => daemon::StopNotice;
    /// Read the configuration and the logins again.
    Reload = "reload", Long => daemon::ReloadReport;
    /// Begin a login with a code that the user enters.
    LoginBegin(login::LoginBegin) = "login_begin", Long => login::LoginBegun;
    /// Wait a moment for the user to enter it.
    LoginWait(login::LoginSession) = "login_wait", Wait => login::LoginProgress;
    /// Cancel a login.
    LoginCancel(login::LoginSession) = "login_cancel", Short => login::LoginCancelled;
    /// Take what the user has pasted of a browser's way back.
    LoginPaste(login::LoginPaste) = "login_paste", Short => login::LoginPasteTaken;
    /// Forget a login.
    Logout(login::ProviderChoice) = "logout", Long => login::LogoutReport;
    /// Renew a credential now.
    Refresh(login::ProviderChoice) = "refresh", Long => login::RefreshOutcome;
    /// Every login of every provider.
    Logins = "logins", Short => pools::LoginList;
    /// Use logins again that are cooling down.
    LoginReset(pools::LoginChoice) = "login_reset", Long => pools::LoginResetReport;
    /// Forget one of several logins.
    LoginRemove(pools::LoginChoice) = "login_remove", Long => login::LogoutReport;
    /// Which apps have a key.
    Clients = "clients", Short => client::ClientList;
    /// Make a key for an app.
    ClientAdd(client::ClientAdd) = "client_add", Long => client::NewKey;
    /// Revoke an app's key.
    ClientRevoke(client::ClientChoice) = "client_revoke", Long => client::ClientRevoked;
    /// Replace an app's key.
    ClientRotate(client::ClientChoice) = "client_rotate", Long => client::NewKey;
    /// Change an app's limits.
    ClientChange(client::ClientChange) = "client_change", Long => client::ClientChanged;
    /// Take over the tokens that apps present to another proxy.
    ClientImport(client::ClientImport) = "client_import", Long => client::ClientImportReport;
    /// Who used how much.
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
    /// The client's number, given back with the reply.
    pub id: u64,
    /// What is asked.
    pub op: Operation,
}

/// One reply: `{"id":1,"ok":{…}}` or `{"id":1,"error":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<T> {
    /// The request's number; `null` when the request was too broken to have one.
    pub id: Option<u64>,
    /// The result.
    #[serde(flatten)]
    pub outcome: CallOutcome<T>,
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome<T> {
    /// The answer.
    Ok(T),
    /// Why there is none.
    Error(ControlError),
}
