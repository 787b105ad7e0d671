//! What lies below every adapter: content-addressed bytes, and the one place that makes ids.

mod blobs;
mod ids;

pub use blobs::{BlobError, BlobStore, FoundBlob, MAX_BLOB_BYTES};
pub use ids::Ids;

use sha2::{Digest as _, Sha256};

use crate::domain::id::Digest;

/// SHA-256 of `bytes`.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::new(hex(&Sha256::digest(bytes))).expect("64 lower-case hexadecimal digits are a digest")
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char]).collect()
}

#[cfg(test)]
mod tests {
    use super::digest_of;

    #[test]
    fn the_digest_is_sha_256() {
        assert_eq!(digest_of(b"abc").as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
