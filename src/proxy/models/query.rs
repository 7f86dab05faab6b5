//! What is asked of a list of models.

/// The path of the list.
pub(in crate::proxy) const PATH: &str = "/models";
/// What models are for.
pub(in crate::proxy) const CHAT: &str = "/chat/completions";

/// What is asked of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proxy) enum ModelsQuery {
    All,
    /// The model of this id.
    One(String),
}
