//! SHA-256, the id of every blob.

use aws_lc_rs::digest;
use model::ports::mover::BlobHash;

/// Returns the SHA-256 of the bytes.
pub fn hash(data: &[u8]) -> BlobHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    hash
}
