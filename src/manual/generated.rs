//! What is made: a file with its name.

/// A file's name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Where it belongs, as a name without folders.
    pub name: String,
    /// Its content.
    pub text: String,
}
