//! What a large index costs: to open, and to look up each of its blobs in random order.

use mainstay_repository::format::pack::BlobKind;
use mainstay_repository::{Id, Repository};
use model::cancel::Cancel;

/// Parts of the ids that are looked up one after the other, so that the list of them takes little
/// memory beside the index.
const PARTS: u8 = 16;

/// Opens the index and looks up all data blobs.
pub fn look_up(repo: &Repository) {
    let index = repo.index(&Cancel::default()).unwrap();
    let (blobs, _) = index.counts();
    let mut found = 0;
    for part in 0..PARTS {
        let mut ids: Vec<Id> = Vec::with_capacity(blobs / usize::from(PARTS));
        index.for_each(|_, blob| {
            if blob.kind == BlobKind::Data && blob.id.0[31] % PARTS == part {
                ids.push(blob.id);
            }
        });
        // They come in order; a stride that shares no factor with their count visits each once,
        // far from the last.
        let Some(stride) = (ids.len() / 3 * 2 + 1..).find(|s| gcd(*s, ids.len()) == 1) else {
            continue;
        };
        let mut at = 0;
        for _ in 0..ids.len() {
            found += usize::from(index.get(BlobKind::Data, &ids[at]).is_some());
            at = (at + stride) % ids.len();
        }
    }
    assert_eq!(found, blobs);
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
