//! Runs [`fuzz::line_protocol`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::line_protocol::check(bytes));
