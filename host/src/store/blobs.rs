//! Bytes by their SHA-256 in a directory: written once, never changed, verified when read.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::id::Digest;
use crate::failpoint;

use super::digest_of;

/// Largest blob, in bytes.
pub const MAX_BLOB_BYTES: u64 = 256 * 1024 * 1024;

/// Why bytes could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Nothing was stored under this digest.
    #[error("blob {digest} is missing")]
    Missing {
        /// The digest asked for.
        digest: Digest,
    },
    /// The file is there, but its bytes have another digest.
    #[error("blob {digest} is damaged: its bytes have digest {found}")]
    Damaged {
        /// The digest asked for.
        digest: Digest,
        /// What the bytes really are.
        found: Digest,
    },
    /// More than [`MAX_BLOB_BYTES`].
    #[error("a blob of {size_bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge {
        /// Size of the bytes.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The file system refused.
    #[error("cannot access {}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A directory of blobs. Blocking: call it from a blocking thread.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: Arc<PathBuf>,
}

impl BlobStore {
    /// Uses `root`, and creates it when it is missing. A directory that cannot be written is fine as
    /// long as nothing is put.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the directory is missing and cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let root = root.into();
        if !root.is_dir() {
            fs::create_dir_all(&root).map_err(|source| BlobError::Io { path: root.clone(), source })?;
        }
        Ok(Self { root: Arc::new(root) })
    }

    /// Stores `bytes`; durable on return. Bytes that are present already are not written again.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`], or [`BlobError::Io`]; then nothing is stored.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let size_bytes = bytes.len() as u64;
        if size_bytes > MAX_BLOB_BYTES {
            return Err(BlobError::TooLarge { size_bytes, limit_bytes: MAX_BLOB_BYTES });
        }
        let digest = digest_of(bytes);
        let path = self.path(&digest);
        // A damaged file is replaced; only a look at its bytes tells.
        if fs::metadata(&path).is_ok_and(|m| m.len() == size_bytes) && fs::read(&path).is_ok_and(|kept| kept == bytes) {
            return Ok(digest);
        }
        failpoint::writing("blob", "put", || self.write(&path, bytes))
            .map_err(|source| BlobError::Io { path, source })?;
        Ok(digest)
    }

    /// The bytes under `digest`, verified.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Damaged`] or [`BlobError::Io`].
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BLOB_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(BlobError::Missing { digest: digest.clone() }),
            Err(source) => return Err(BlobError::Io { path, source }),
        }
        let found = digest_of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(BlobError::Damaged { digest: digest.clone(), found }) }
    }

    /// Whether a file stands under `digest`. Its bytes are not looked at.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let (shard, rest) = digest.as_str().split_at(2);
        self.root.join(shard).join(rest)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let shard = path.parent().unwrap_or(&self.root);
        let new_shard = !shard.is_dir();
        if new_shard {
            fs::create_dir_all(shard)?;
        }
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(shard)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        failpoint::writing("blob", "persist", || file.persist(path).map_err(|e| e.error))?;
        File::open(shard)?.sync_all()?;
        if new_shard {
            File::open(&*self.root)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, BlobStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path().join("blobs")).unwrap();
        (dir, store)
    }

    #[test]
    fn bytes_come_back_by_their_digest() {
        let (_dir, store) = store();
        for bytes in [&b""[..], b"x", &[0, 255, 10]] {
            let digest = store.put(bytes).unwrap();
            assert!(store.contains(&digest));
            assert_eq!(store.get(&digest).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_present_is_not_written_again_and_nothing_temporary_stays() {
        let (_dir, store) = store();
        let digest = store.put(b"once").unwrap();
        let path = store.path(&digest);
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(store.put(b"once").unwrap(), digest);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn missing_and_damaged_blobs_are_named() {
        let (_dir, store) = store();
        let absent = digest_of(b"absent");
        assert!(matches!(store.get(&absent), Err(BlobError::Missing { digest }) if digest == absent));
        let digest = store.put(b"whole").unwrap();
        fs::write(store.path(&digest), b"whola").unwrap();
        assert!(matches!(store.get(&digest), Err(BlobError::Damaged { .. })));
        fs::write(store.path(&digest), b"who").unwrap();
        store.put(b"whole").unwrap();
        assert_eq!(store.get(&digest).unwrap(), b"whole", "a truncated file is replaced");
    }

    #[test]
    fn many_writers_of_the_same_bytes_agree() {
        let (_dir, store) = store();
        let digests: Vec<Digest> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..8).map(|_| scope.spawn(|| store.put(b"same").unwrap())).collect();
            handles.into_iter().map(|h| h.join().unwrap()).collect()
        });
        assert!(digests.iter().all(|d| *d == digests[0]));
        assert_eq!(store.get(&digests[0]).unwrap(), b"same");
    }
}
