//! The engine's side of a connection against whatever a mover says.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    mover::wire::hear(data);
});
