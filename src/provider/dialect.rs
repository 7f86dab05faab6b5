//! How the bodies of a provider's path differ from those of OpenAI's API, for the proxy's translation stage. Data alone:
//! the adapter says what its provider takes, and the stage does it.

/// What is done with the bodies of one path.
#[derive(Debug, Clone, Copy)]
pub enum Dialect {
    /// The Responses API of a backend that answers with event streams alone. An answer that the client wants whole is
    /// folded from the stream.
    Streamed(&'static Rules),
    /// A path that answers whole.
    Whole(&'static Rules),
    /// The list of models.
    Models(&'static ModelList),
}

/// The rules for a request's JSON object. Whatever they don't name stays as it came, byte for byte.
#[derive(Debug)]
pub struct Rules {
    /// Members that have this value, as JSON, whatever the client says.
    pub set: &'static [(&'static str, &'static str)],
    /// Members that get this value, as JSON, where they are missing or null.
    pub default: &'static [(&'static str, &'static str)],
    /// Members without which the answer would be another one, and what is to be said of them: a request that has one is
    /// refused.
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
    /// The parameter that the provider wants in the query, with a value. A client that sends it itself speaks the
    /// provider's own protocol, and gets the list as it is.
    pub query: (&'static str, &'static str),
    /// OpenAI's list of the models in the provider's own; `None` where that is none.
    pub read: fn(&[u8]) -> Option<Vec<u8>>,
}
