//! Artifacts as bytes: checks, stores and gives an address. The metadata lives on the task, in the
//! registry, as a `TaskUpdated` event that `service` appends.

use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::artifact::{InvalidArtifact, check, reference};
use crate::domain::task::ArtifactRef;
use crate::store::{BlobError, BlobStore, Ids};

/// Why an artifact could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Its name, kind, type or size breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidArtifact),
    /// The bytes could not be stored, or are gone or damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Stores artifacts by digest. Blocking: call it from a blocking thread.
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    blobs: BlobStore,
    ids: Ids,
    clock: Arc<dyn Clock>,
}

impl ArtifactStore {
    /// Over the blobs of a state directory.
    #[must_use]
    pub fn new(blobs: BlobStore, ids: Ids, clock: Arc<dyn Clock>) -> Self {
        Self { blobs, ids, clock }
    }

    /// Stores `bytes`; durable on return. Equal bytes are stored once, under as many addresses as
    /// there were calls. Empty bytes are allowed.
    ///
    /// # Errors
    /// [`ArtifactError`]; then nothing is stored.
    pub fn put(&self, kind: &str, name: &str, media_type: &str, bytes: &[u8]) -> Result<ArtifactRef, ArtifactError> {
        let size_bytes = bytes.len() as u64;
        check(kind, name, media_type, size_bytes)?;
        let digest = self.blobs.put(bytes)?;
        Ok(reference(&self.ids.artifact(), (kind, name, media_type), (digest, size_bytes), self.clock.now()))
    }

    /// The bytes of an artifact, verified by their digest.
    ///
    /// # Errors
    /// [`ArtifactError::Blob`] when they are gone or damaged.
    pub fn get(&self, artifact: &ArtifactRef) -> Result<Vec<u8>, ArtifactError> {
        Ok(self.blobs.get(&artifact.digest)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn equal_bytes_have_two_addresses_and_one_digest() {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let store = ArtifactStore::new(BlobStore::open(dir.path()).unwrap(), Ids::new(clock.clone()), clock);
        let first = store.put("log", "gate.log", "text/plain", b"").unwrap();
        let second = store.put("log", "gate.log", "text/plain", b"").unwrap();
        assert_ne!(first.uri, second.uri);
        assert_eq!(first.digest, second.digest);
        assert_eq!(store.get(&second).unwrap(), b"");
        assert!(store.put("log", "a/b", "text/plain", b"x").is_err());
    }
}
