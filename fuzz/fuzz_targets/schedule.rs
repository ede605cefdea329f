#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ipcz_fuzz_targets::schedule(data));
