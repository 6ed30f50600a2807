//! Runs [`fuzz::frame_decode`] under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::frame_decode::check(bytes));
