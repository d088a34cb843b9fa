#![no_main]

#[path = "../policy_targets.rs"]
#[allow(dead_code)]
mod policy_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| policy_targets::simulated_certificate(data));
