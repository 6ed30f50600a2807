//! Runs [`fuzz::idempotency_key`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::idempotency_key::check(bytes));
