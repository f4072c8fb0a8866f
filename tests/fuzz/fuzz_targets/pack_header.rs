//! What a pack's header holds once it is opened, and the length that stands behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = repository::testing::read_pack_header(data);
    if let Some((rest, last)) = data.split_last_chunk::<4>() {
        let size = rest.len() as u64;
        if let Some(total) = repository::format::pack::header_size(*last, size) {
            assert!(total as u64 <= size);
        }
    }
});
