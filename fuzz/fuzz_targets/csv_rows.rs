//! Runs [`fuzz::csv_rows`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::csv_rows::check(bytes));
