//! Runs [`fuzz::dates_and_decimals`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::dates_and_decimals::check(bytes));
