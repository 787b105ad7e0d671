//! Compiled components on disk, found by content. The one place of this program with `unsafe` code:
//! loading machine code means trusting it, so it lies in a directory of the user's own, is written
//! atomically, and is checked by its digest before it is loaded.

use std::fs::File;
use std::hash::{Hash as _, Hasher};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::domain::id::Digest;
use crate::store::hex;

/// At most this many bytes of compiled components are kept; those that were not used for longest go first. A
/// component of an interpreted language takes 35 MB, one in Rust half a megabyte.
pub(crate) const MAX_CACHE_BYTES: u64 = 1 << 30;
/// The time of the last use is noted again after this.
const USE_NOTED_FOR: Duration = Duration::from_secs(60 * 60);
/// What a process that died while it was writing has left is taken away after this.
const LEFT_BEHIND: Duration = Duration::from_secs(60 * 60);
/// Length of the SHA-256 behind the compiled code.
const DIGEST_BYTES: usize = 32;
/// What is read and digested at once.
const CHUNK_BYTES: usize = 256 * 1024;
const EXTENSION: &str = "cwasm";

/// A directory of compiled components.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    directory: PathBuf,
    /// What of the engine's settings decides about compiled code.
    compatibility: [u8; 32],
    max_bytes: u64,
}

impl Cache {
    /// Opens or makes the directory. `None` when others could write into it: then nothing is cached.
    pub(crate) fn open(directory: &Path, engine: &wasmtime::Engine, max_bytes: u64) -> Option<Self> {
        match Self::prepare(directory) {
            Ok(()) => {}
            Err(reason) => {
                tracing::warn!(directory = %directory.display(), %reason, "compiled plugins are not cached");
                return None;
            }
        }
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Some(Self { directory: directory.to_owned(), compatibility: hasher.0.finalize().into(), max_bytes })
    }

    fn prepare(directory: &Path) -> Result<(), String> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| e.to_string())?;
        let metadata = std::fs::symlink_metadata(directory).map_err(|e| e.to_string())?;
        if !metadata.is_dir() {
            return Err("it is not a directory".to_owned());
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err("it belongs to another user".to_owned());
        }
        if metadata.mode() & 0o077 != 0 {
            return Err("others may use it; `chmod 700` makes it private".to_owned());
        }
        Ok(())
    }

    fn path(&self, wasm: &Digest) -> PathBuf {
        let mut key = Sha256::new();
        key.update(wasm.as_str());
        key.update(self.compatibility);
        key.update(env!("CARGO_PKG_VERSION"));
        self.directory.join(format!("{}.{EXTENSION}", hex(&key.finalize())))
    }

    /// The compiled component of these bytes; `None` when there is none or it is damaged.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, wasm: &Digest) -> Option<Component> {
        let path = self.path(wasm);
        let file = File::open(&path).ok()?;
        if !is_whole(&file).unwrap_or(false) {
            tracing::warn!(path = %path.display(), "a cached plugin is damaged and is compiled again");
            return None;
        }
        match deserialize(engine, &file) {
            Ok(component) => {
                note_use(&file);
                Some(component)
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), reason = %error, "a cached plugin is unusable and is compiled again");
                None
            }
        }
    }

    /// Keeps a compiled component. Failing only costs time later, so it is logged and no error.
    pub(crate) fn store(&self, wasm: &Digest, component: &Component) {
        let stored = component.serialize().map_err(|e| e.to_string()).and_then(|code| {
            self.prune(code.len() as u64 + DIGEST_BYTES as u64);
            write(&self.path(wasm), &code).map_err(|e| e.to_string())
        });
        if let Err(reason) = stored {
            tracing::warn!(directory = %self.directory.display(), %reason, "a compiled plugin is not cached");
        }
    }

    /// Makes room for so many bytes. Who has an entry mapped keeps it; who looks for one that is gone compiles it
    /// again.
    fn prune(&self, wanted_bytes: u64) {
        let Ok(files) = std::fs::read_dir(&self.directory) else { return };
        let (mut entries, mut total) = (Vec::new(), wanted_bytes);
        for file in files.filter_map(Result::ok) {
            let (path, Ok(metadata)) = (file.path(), file.metadata()) else { continue };
            let Ok(used) = metadata.modified() else { continue };
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                total += metadata.len();
                entries.push((used, metadata.len(), path));
            } else if used.elapsed().is_ok_and(|age| age > LEFT_BEHIND) {
                let _ = std::fs::remove_file(path);
            }
        }
        entries.sort();
        for (_, bytes, path) in entries {
            if total <= self.max_bytes {
                return;
            }
            // Another process may have removed it already.
            let _ = std::fs::remove_file(path);
            total -= bytes;
        }
    }
}

/// Whether the file ends with the digest of what stands before it.
fn is_whole(file: &File) -> std::io::Result<bool> {
    let Some(mut left) = usize::try_from(file.metadata()?.len()).ok().and_then(|bytes| bytes.checked_sub(DIGEST_BYTES))
    else {
        return Ok(false);
    };
    let (mut reader, mut digest, mut chunk) = (file, Sha256::new(), vec![0; CHUNK_BYTES]);
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK_BYTES)];
        reader.read_exact(part)?;
        digest.update(&*part);
        left -= part.len();
    }
    let mut stored = [0; DIGEST_BYTES];
    reader.read_exact(&mut stored)?;
    Ok(digest.finalize().as_slice() == stored)
}

/// The time of a use decides what goes first. Failing costs nothing.
fn note_use(file: &File) {
    let old = file.metadata().and_then(|metadata| metadata.modified());
    if old.is_ok_and(|old| old.elapsed().is_ok_and(|age| age > USE_NOTED_FOR)) {
        let now = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        };
        let _ = rustix::fs::futimens(file, &now);
    }
}

/// A unique temporary file, then one rename: a reader sees all or nothing.
fn write(path: &Path, code: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(code)?;
    file.write_all(&Sha256::digest(code))?;
    file.persist(path)?;
    Ok(())
}

/// Maps the code of `file`, which was checked: what is read of it is shared with other processes.
#[expect(unsafe_code, reason = "wasmtime cannot check machine code; these bytes are our own, see the module's head")]
fn deserialize(engine: &wasmtime::Engine, file: &File) -> wasmtime::Result<Component> {
    // The open file itself, whatever its name means by now.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: the file was made by `Component::serialize` of this program: it comes from a directory that only
    // this user can write (checked when the cache was opened), under a name derived from the component, the
    // compiler's settings and this version; it is never written again after it has that name; and its SHA-256
    // was checked just now through the same open file.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Feeds a hash of the standard library's kind into SHA-256.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.clone().finalize()[..8]);
        u64::from_le_bytes(first)
    }
}
