//! A key file, opened with a password where its cost is small.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::keyfile::KeyFile;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = serde_json::from_slice::<KeyFile>(data) else { return };
    let value = serde_json::to_value(&file).expect("a key file serialises");
    let number = |name: &str| value[name].as_u64().unwrap_or(u64::MAX);
    // The bound of the cost is the reader's own; here it would only make fuzzing slow.
    if number("N") <= 64 && number("r") <= 8 && number("p") <= 2 {
        let _ = file.open(b"password");
    } else if number("N") > 1 << 30 {
        assert!(!matches!(file.open(b"password"), Ok(Some(_))));
    }
});
