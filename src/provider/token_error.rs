//! Why a token endpoint granted nothing.

use std::time::Duration;

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
