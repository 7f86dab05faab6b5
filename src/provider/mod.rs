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

mod adapter;
mod base_url;
mod browser;
mod codex;
mod credential;
mod device;
pub mod dialect;
mod environment;
mod grant;
mod granted;
mod hosts;
mod jwt;
mod key_file;
mod login;
mod login_tokens;
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
mod stored_time;
mod tabled;
mod tls;
mod token_client;
mod token_error;
mod verdict;
mod xai;

pub use self::adapter::{Adapter, Forwards, Remedy, SharedLoginFile};
pub use self::base_url::BaseUrl;
pub use self::browser::{
    AuthorizationPage, BrowserAttempt, BrowserLogin, Callback, Code, No, PAGE_LIFE, Redirect, Stray,
};
pub use self::credential::{Assessment, BearerKind, Credential, Renewal};
pub use self::device::{DeviceCode, DeviceError, DeviceLogin, Poll, PollPace};
pub use self::dialect::Dialect;
pub use self::environment::{environment_faults, file_faults};
pub use self::grant::Grant;
pub use self::granted::flaw;
pub use self::login::{Layout, Login};
pub use self::login_tokens::{LoginEndReason, LoginTokens, Merge};
pub use self::proxies::Proxies;
pub use self::quota::{Quota, QuotaAmounts, QuotaLevel, ReportedWindow};
pub use self::quotas::Quotas;
pub use self::registry::{
    BuildError, BuiltIn, build, built_in, layout, named, own_layout, owner, token_timeout,
};
pub use self::skew::Skew;
pub use self::tls::{Tls, TlsError, client_config};
pub use self::token_error::TokenError;
pub use self::verdict::{AnswerContext, ProviderReply, ReadError, Verdict};
