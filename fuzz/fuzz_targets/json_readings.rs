//! Runs [`fuzz::json_readings`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::json_readings::check(bytes));
