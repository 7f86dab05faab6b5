//! How the bodies of a provider's path differ from OpenAI's API, as data for the proxy's translation stage: the adapter
//! declares it, and the stage applies it.

/// What is done with the bodies of one path.
#[derive(Debug, Clone, Copy)]
pub enum Dialect {
    /// The Responses API of a backend that answers with event streams alone. An answer that the client wants whole is
    /// folded from the stream.
    Streamed(&'static BodyRules),
    /// A path that answers whole.
    Whole(&'static BodyRules),
    /// The list of models.
    Models(&'static ModelList),
}

/// The rules for a request's JSON object. Whatever they don't name stays as it came, byte for byte.
#[derive(Debug)]
pub struct BodyRules {
    /// Members that always have this value, as JSON.
    pub set: &'static [(&'static str, &'static str)],
    /// Members that get this value, as JSON, if they are missing or null.
    pub default: &'static [(&'static str, &'static str)],
    /// Members that the provider lacks and that can't be dropped, with the error's text: a request with one is refused.
    pub refused: &'static [(&'static str, &'static str)],
    /// Members that are taken out.
    pub removed: &'static [&'static [&'static str]],
    /// Members that are taken out unless they have this value, as JSON.
    pub only: &'static [(&'static str, &'static str)],
    /// The member that has to be a list of items; a text becomes a user's message.
    pub items: &'static str,
    /// A role that items don't have there, and the one that takes its place; as JSON.
    pub role: (&'static str, &'static str),
}

/// A provider's list of models.
#[derive(Debug)]
pub struct ModelList {
    /// The query parameter that the provider requires, with a value. A client that sends it itself speaks the
    /// provider's own protocol, and gets the list unchanged.
    pub query: (&'static str, &'static str),
    /// OpenAI's list of the models in the provider's list; `None` if it is not such a list.
    pub read: fn(&[u8]) -> Option<Vec<u8>>,
}
