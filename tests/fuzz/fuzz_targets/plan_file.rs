//! A saved plan, as `apply` reads it, in every view.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::plan::Plan;
use plan::render::{MARKDOWN_CHARS_MAX, json, markdown, text};

fuzz_target!(|data: &[u8]| {
    let Ok(plan) = serde_json::from_slice::<Plan>(data) else { return };
    let again = serde_json::to_vec(&plan).expect("a plan can be written");
    assert_eq!(serde_json::from_slice::<Plan>(&again).expect("and read"), plan);
    let _ = text(&plan).to_plain();
    assert!(markdown(&plan).chars().count() <= MARKDOWN_CHARS_MAX);
    assert!(json(&plan)["plan"].is_object());
});
