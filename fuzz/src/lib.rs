//! What must hold for any bytes, one module for each place that reads foreign bytes. libFuzzer runs them
//! (`fuzz_targets`), and so does `tests/alone/fuzz.rs`, on a stable compiler and for a bounded time.

pub mod answers_hyper;
pub mod clients;
pub mod control;
pub mod framing;
pub mod framing_hyper;
pub mod guard;
pub mod headers;
pub mod model_field;
pub mod route;
pub mod store;
pub mod translate_request;
pub mod translate_stream;
