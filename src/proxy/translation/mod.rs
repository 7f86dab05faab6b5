//! The translation stage: for a provider that deviates from OpenAI's API, a request's body is changed to what the
//! provider accepts, and its answer to what the client expects. Only this stage rewrites bodies, and nothing runs
//! through it if the adapter names no [`Dialect`](crate::provider::Dialect) for the path.
//!
//! `upload` changes a request's body and `answer` a provider's answer; their rules, `request` and `fold`, are pure.
//! `memory` counts what is held whole. `bridge` serves a path by another one, with [`crate::translate`]: its request goes
//! through that stage first. `crossed` is a stream on its way back.

mod answer;
mod bridge;
mod crossed;
mod fields;
mod fold;
mod memory;
mod request;
mod upload;

pub(super) use self::answer::{AnswerTreatment, WholeAnswer, WholeReading, name_events, whole};
pub(super) use self::bridge::Translated;
pub use self::bridge::{PathBridge, bridges};
pub(super) use self::crossed::Crossed;
pub(super) use self::fields::is_encoded;
pub(super) use self::memory::{BodyMemory, RESERVE, of_requests};
pub(super) use self::upload::{TranslationFailure, request};
