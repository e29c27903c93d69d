//! libFuzzer on [`sensor_fuzz::btf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sensor_fuzz::btf(data);
});
