//! The translation stage: for a provider that deviates from OpenAI's API, a request's body is changed to what the
//! provider accepts, and its answer to what the client expects. Only this stage rewrites bodies, and nothing runs
//! through it if the adapter names no [`Dialect`](crate::provider::Dialect) for the path.
//!
//! `upload` changes a request's body and `answer` a provider's answer; their rules, `request` and `fold`, are pure.
//! `memory` counts what is held whole. `path_translation` serves a path by another one, with [`crate::translate`]: its request goes
//! through that stage first. `translated_stream` is a stream on its way back.

mod answer;
mod fields;
mod fold;
mod memory;
mod path_translation;
mod request;
mod translated_stream;
mod upload;

pub(super) use self::answer::{AnswerTreatment, WholeAnswer, WholeReading, name_events, whole};
pub(super) use self::fields::is_encoded;
pub(super) use self::memory::{BodyMemory, RESERVE, of_requests};
pub(super) use self::path_translation::Translated;
pub use self::path_translation::{PathTranslation, path_translations};
pub(super) use self::translated_stream::TranslatedStream;
pub(super) use self::upload::{TranslationFailure, request};
