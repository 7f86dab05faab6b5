#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hermes_proxyd_fuzz::translate_stream::run(bytes));
