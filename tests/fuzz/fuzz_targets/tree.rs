//! A tree blob: what is read and has names in order is written again and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::node::{TreeWriter, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(nodes) = parse(data) else { return };
    let mut writer = TreeWriter::default();
    if nodes.iter().try_for_each(|node| writer.push(node)).is_ok() {
        let again = parse(&writer.finish()).expect("what was written is read");
        assert_eq!(again.len(), nodes.len());
        for (a, b) in again.iter().zip(&nodes) {
            assert_eq!(a.entry.name, b.entry.name);
            assert_eq!((&a.subtree, a.entry.kind), (&b.subtree, b.entry.kind));
        }
    }
});
