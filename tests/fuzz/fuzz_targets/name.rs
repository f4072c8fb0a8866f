//! Quoted names and times, as trees hold them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::{quote, time};

fuzz_target!(|data: &[u8]| {
    let mut quoted = String::new();
    quote::quote(data, &mut quoted);
    assert_eq!(quote::unquote(&quoted).as_deref(), Some(data));
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = quote::unquote(text);
        if let Some(at) = time::parse(text) {
            let _ = time::text(at);
        }
    }
});
