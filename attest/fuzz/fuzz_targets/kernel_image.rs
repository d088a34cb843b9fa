#![no_main]

#[path = "../measure_targets.rs"]
#[allow(dead_code)]
mod measure_targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| measure_targets::kernel_image(data));
