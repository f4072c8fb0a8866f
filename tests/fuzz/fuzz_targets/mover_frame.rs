//! Frames and messages, as either side of a connection reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    mover::wire::read_both_ways(data);
});
