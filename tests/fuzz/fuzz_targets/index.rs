//! An index file's JSON: what it claims can be, or it is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for pack in repository::index::parse(data).unwrap_or_default() {
        for blob in pack.blobs {
            assert!(blob.offset.checked_add(blob.length).is_some());
            let _ = blob.plain_length();
        }
    }
});
