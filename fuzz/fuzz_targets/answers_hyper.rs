#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hermes_proxyd_fuzz::answers_hyper::run(bytes));
