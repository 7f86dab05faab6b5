//! What a body says about its model.

use std::ops::Range;

/// The longest name of a model in a body, in bytes.
pub(super) const LONGEST_NAME: usize = 4096;

/// The model of a body, with the place of its value in bytes from the body's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedModel {
    /// It names this one.
    Named(String, Range<u64>),
    /// Its value is `null` or an empty text.
    Empty(Range<u64>),
    /// There is no such key. Its object begins before this place.
    Missing {
        /// Behind the object's bracket.
        at: u64,
        /// Whether the object has other keys.
        has_others: bool,
    },
}

/// Why a body's model is ambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmbiguousModel {
    /// It begins with something else.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// Parsers differ about these.
    #[error("it is not UTF-8 text, or begins with a byte order mark")]
    Encoding,
    /// It is not what its type says.
    #[error("it is not a form in the shape that all servers read")]
    NotAForm,
    /// The model may be another one than that.
    #[error("it names more models, in `models` or `fallbacks`")]
    More,
    /// It breaks JSON's grammar.
    #[error("it is not valid JSON")]
    NotJson,
    /// `Model` is the same key to some parsers.
    #[error("it has the key `model` in another spelling, such as `Model`")]
    Spelling,
    /// Parsers differ about which one counts.
    #[error("it has the key `model` twice")]
    Twice,
    /// A number, a list or an object.
    #[error("its `model` is not a string")]
    NotText,
    /// No model has such a name.
    #[error("its `model` is longer than 4096 bytes")]
    TooLong,
    /// Servers refuse it, and each level costs time.
    #[error("it is nested deeper than 512 levels")]
    TooDeep,
    /// It ends within the object.
    #[error("it ends too early")]
    Incomplete,
}
