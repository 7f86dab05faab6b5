//! A portal and an inference API for tests, benches and the demo.
