//! Records of the journal, one a line, and what is measured from them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::journal::Record;

fuzz_target!(|data: &[u8]| {
    let lines = data.split(|byte| *byte == b'\n');
    let records: Vec<Record> = lines.filter_map(|l| serde_json::from_slice(l).ok()).collect();
    for record in &records {
        let again = serde_json::to_vec(record).expect("a record can be written");
        assert_eq!(&serde_json::from_slice::<Record>(&again).expect("and read"), record);
    }
    let _ = operations::bundle::measured(&records);
});
