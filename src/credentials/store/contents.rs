//! What a login's files hold.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::StoreError;
use crate::provider::Login;

/// What the files held when they were read.
#[derive(Debug, Clone)]
pub(in crate::credentials) struct StoreContents {
    /// The provider's block, or the login of a row of the pool.
    pub(in crate::credentials) login: Login,
    /// The mirror's tokens.
    pub(in crate::credentials) mirror: Option<Login>,
    /// What Hermes Agent's pool holds of the same login.
    pub(in crate::credentials) rows: Vec<Login>,
    /// The file that holds the block.
    pub(in crate::credentials) source: PathBuf,
    /// Why that file can't be read: then the login is the mirror's, and the file stays unchanged.
    pub(in crate::credentials) broken: Option<Arc<StoreError>>,
}
