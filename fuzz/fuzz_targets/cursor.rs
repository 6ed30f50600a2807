//! Runs [`fuzz::cursor`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::cursor::check(bytes));
