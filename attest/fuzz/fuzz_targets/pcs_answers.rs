#![no_main]

#[path = "../fetch_targets.rs"]
#[allow(dead_code)]
mod fetch_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fetch_targets::pcs_answers(data));
