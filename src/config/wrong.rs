//! What is wrong with one value; pure.

/// What is wrong with one value.
#[derive(Debug)]
pub(super) struct Wrong {
    /// What is wrong, and what would be right.
    pub(super) message: String,
    /// The text that was probably meant.
    pub(super) suggestion: Option<String>,
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self {
            message,
            suggestion: None,
        }
    }
}

impl From<&str> for Wrong {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}
