#![no_main]

#[path = "../program_targets.rs"]
#[allow(dead_code)]
mod program_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| program_targets::kds_chain(data));
