#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| compose_scale_fuzz::log(data));
