//! A config's JSON and the chunker polynomial in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::config::Config;

fuzz_target!(|data: &[u8]| {
    let _ = serde_json::from_slice::<Config>(data);
});
