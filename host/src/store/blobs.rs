//! Bytes by their SHA-256 in a directory: written once, never changed, verified when read.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::domain::id::Digest;
use crate::failpoint::{self, Side};

use super::digest_of;

/// Largest blob, in bytes.
pub const MAX_BLOB_BYTES: u64 = 256 * 1024 * 1024;

/// The folder of blobs that are being written; each is moved to its place when it is whole.
const BEGUN: &str = "begun";

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
    /// Held while it is decided whether a file is there, or may go.
    deciding: Arc<Mutex<()>>,
}

/// A blob as it lies in the directory; its bytes were not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBlob {
    /// Its name.
    pub digest: Digest,
    /// Size of the file.
    pub size_bytes: u64,
    /// When it was put last.
    pub modified: SystemTime,
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
        Ok(Self { root: Arc::new(root), deciding: Arc::default() })
    }

    /// The same for the one process that puts blobs here: what an earlier one had begun to write is gone.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the directory cannot be made or changed.
    pub fn own(root: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let store = Self::open(root)?;
        let begun = store.root.join(BEGUN);
        match fs::remove_dir_all(&begun) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(BlobError::Io { path: begun, source }),
            _ => Ok(store),
        }
    }

    /// The blobs in `root`, for reading only: a folder that is missing has none.
    #[must_use]
    pub fn open_existing(root: impl Into<PathBuf>) -> Self {
        Self { root: Arc::new(root.into()), deciding: Arc::default() }
    }

    /// Puts a blob, verified, into `other` as well: with `link` as a second name of the same file, where the file
    /// system has that, and as a copy otherwise. The name of a link becomes durable with its folder. Gives
    /// the blob's size, and whether it is a link.
    ///
    /// # Errors
    /// Those of [`BlobStore::get`] and [`BlobStore::put`].
    pub fn share(&self, digest: &Digest, other: &Self, link: bool) -> Result<(u64, bool), BlobError> {
        let bytes = self.get(digest)?;
        let size = bytes.len() as u64;
        let path = other.path(digest);
        let linked = || {
            fs::create_dir_all(path.parent()?).ok()?;
            fs::hard_link(self.path(digest), &path).ok()
        };
        if link && linked().is_some() {
            return Ok((size, true));
        }
        other.put(&bytes)?;
        Ok((size, false))
    }

    /// Stores `bytes`; durable on return. Bytes that are present already are not written again, but their
    /// file counts as new for [`BlobStore::remove`].
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
        if self.renew_file(&path)
            && fs::metadata(&path).is_ok_and(|m| m.len() == size_bytes)
            && fs::read(&path).is_ok_and(|kept| kept == bytes)
        {
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

    /// Whether a file stands under `digest`, which counts as new then, as if its bytes had been put.
    #[must_use]
    pub fn renew(&self, digest: &Digest) -> bool {
        self.renew_file(&self.path(digest))
    }

    /// Size of the file under `digest`, when there is one.
    #[must_use]
    pub fn size_of(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|found| found.len())
    }

    /// What the file system takes for now: what is put afterwards is not older.
    ///
    /// # Errors
    /// [`BlobError::Io`] when nothing can be written.
    pub fn now(&self) -> Result<SystemTime, BlobError> {
        let probe = self.begin().map_err(self.fail())?;
        probe.as_file().metadata().and_then(|found| found.modified()).map_err(self.fail())
    }

    /// All blobs, in no order. What does not look like one is left out.
    ///
    /// # Errors
    /// [`BlobError::Io`] when a directory cannot be read.
    pub fn all(&self) -> Result<impl Iterator<Item = Result<FoundBlob, BlobError>>, BlobError> {
        let shards = fs::read_dir(&*self.root).map_err(self.fail())?;
        let shards = shards.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        Ok(shards.flat_map(|shard| match fs::read_dir(shard.path()) {
            Ok(files) => files.filter_map(Result::ok).filter_map(|file| found(&shard, &file)).map(Ok).collect(),
            Err(source) => vec![Err(BlobError::Io { path: shard.path(), source })],
        }))
    }

    /// Removes the blob, unless it was put at `until` or later. False when it is there still.
    ///
    /// # Errors
    /// [`BlobError::Io`] when it cannot be removed.
    pub fn remove(&self, digest: &Digest, until: SystemTime) -> Result<bool, BlobError> {
        let path = self.path(digest);
        let _deciding = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        remove_older(&path, until).map_err(|source| BlobError::Io { path, source })
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

    fn fail(&self) -> impl Fn(io::Error) -> BlobError {
        |source| BlobError::Io { path: self.root.to_path_buf(), source }
    }

    /// Whether a file is there; its time becomes now, so that nobody removes it who decides later.
    fn renew_file(&self, path: &Path) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let as_it_is = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: as_it_is, last_modification: now };
        let _deciding = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        // Where times cannot be written, nothing can be removed either.
        rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()) != Err(rustix::io::Errno::NOENT)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let (shard, rest) = digest.as_str().split_at(2);
        self.root.join(shard).join(rest)
    }

    fn begin(&self) -> io::Result<tempfile::NamedTempFile> {
        let begun = self.root.join(BEGUN);
        fs::create_dir_all(&begun)?;
        tempfile::NamedTempFile::new_in(&begun)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let shard = path.parent().unwrap_or(&self.root);
        let new_shard = !shard.is_dir();
        if new_shard {
            fs::create_dir_all(shard)?;
        }
        let mut file = self.begin()?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        failpoint::reach("blob", "rename", Side::Before);
        file.persist(path).map_err(|e| e.error)?;
        File::open(shard)?.sync_all()?;
        if new_shard {
            File::open(&*self.root)?.sync_all()?;
        }
        Ok(())
    }
}

/// Removes a file that is older than `until`. False when it is there still.
fn remove_older(path: &Path, until: SystemTime) -> io::Result<bool> {
    match fs::metadata(path).and_then(|found| found.modified()) {
        Ok(modified) if modified < until => fs::remove_file(path).map(|()| true),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// A file of a shard as a blob, if it is one.
fn found(shard: &fs::DirEntry, file: &fs::DirEntry) -> Option<FoundBlob> {
    let (start, rest) = (shard.file_name(), file.file_name());
    let digest = Digest::new(format!("{}{}", start.to_str()?, rest.to_str()?)).ok()?;
    let meta = file.metadata().ok().filter(fs::Metadata::is_file)?;
    Some(FoundBlob { digest, size_bytes: meta.len(), modified: meta.modified().ok()? })
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
        use std::os::unix::fs::MetadataExt as _;
        let (_dir, store) = store();
        let digest = store.put(b"once").unwrap();
        let path = store.path(&digest);
        let before = fs::metadata(&path).unwrap().ino();
        assert_eq!(store.put(b"once").unwrap(), digest);
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_dead_owner_had_begun_is_gone_and_what_it_had_put_stays() {
        let (_dir, store) = store();
        let digest = store.put(b"whole").unwrap();
        fs::write(store.root.join(BEGUN).join("half"), b"ha").unwrap();
        let store = BlobStore::own(store.root()).unwrap();
        assert!(!store.root.join(BEGUN).exists());
        assert_eq!(store.get(&digest).unwrap(), b"whole");
        store.put(b"more").unwrap();
    }

    #[test]
    fn only_what_was_not_put_again_is_removed() {
        let (_dir, store) = store();
        let (old, again) = (store.put(b"old").unwrap(), store.put(b"again").unwrap());
        let long_ago = SystemTime::UNIX_EPOCH;
        for digest in [&old, &again] {
            File::options().write(true).open(store.path(digest)).unwrap().set_modified(long_ago).unwrap();
        }
        let until = store.now().unwrap();
        store.put(b"again").unwrap();
        let mut found: Vec<(Digest, u64)> =
            store.all().unwrap().map(|blob| blob.unwrap()).map(|blob| (blob.digest, blob.size_bytes)).collect();
        found.sort();
        let mut expected = vec![(old.clone(), 3), (again.clone(), 5)];
        expected.sort();
        assert_eq!(found, expected);
        assert!(!store.remove(&again, until).unwrap(), "it was put after the time");
        assert!(store.remove(&old, until).unwrap() && store.remove(&old, until).unwrap());
        assert_eq!((store.contains(&old), store.get(&again).unwrap()), (false, b"again".to_vec()));
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
