//! What is wrong with a file.

/// Why a file is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFlaw {
    /// It belongs to another user.
    Foreign {
        /// Whose it is.
        owner: u32,
        /// Who we are.
        ours: u32,
    },
    /// All users may write it.
    Writable {
        /// Its permissions.
        mode: u32,
    },
}
