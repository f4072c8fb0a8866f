//! What a large index costs: to open, and to look up each of its blobs in random order.

use mainstay_repository::format::pack::BlobKind;
use mainstay_repository::{Id, Repository};
use model::cancel::Cancel;

/// Opens the index and looks up all data blobs.
pub fn look_up(repo: &Repository) {
    let index = repo.index(&Cancel::default()).unwrap();
    let (blobs, _) = index.counts();
    // The ids come in order; strides that share no factor with the count visit each once, far
    // apart from the last.
    let mut ids: Vec<Id> = Vec::with_capacity(blobs);
    index.for_each(|_, blob| {
        if blob.kind == BlobKind::Data {
            ids.push(blob.id);
        }
    });
    let stride = (ids.len() / 3 * 2 + 1..).find(|s| gcd(*s, ids.len()) == 1).unwrap();
    let mut at = 0;
    for _ in 0..ids.len() {
        assert!(index.get(BlobKind::Data, &ids[at]).is_some());
        at = (at + stride) % ids.len();
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
