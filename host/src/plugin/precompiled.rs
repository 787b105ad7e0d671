//! Compiled components on disk, found by content. The one place of this program with `unsafe` code:
//! loading machine code means trusting it, so it lies in a directory of the user's own, is written
//! atomically, and is checked by its digest before it is loaded.

use std::hash::{Hash as _, Hasher};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::domain::id::Digest;
use crate::store::hex;

/// At most this many compiled components are kept; the oldest go first.
const MAX_ENTRIES: usize = 128;
/// Length of the SHA-256 in front of the compiled code.
const HEADER_BYTES: usize = 32;
const EXTENSION: &str = "cwasm";

/// A directory of compiled components.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    directory: PathBuf,
    /// What of the engine's settings decides about compiled code.
    compatibility: [u8; 32],
}

impl Cache {
    /// Opens or makes the directory. `None` when others could write into it: then nothing is cached.
    pub(crate) fn open(directory: &Path, engine: &wasmtime::Engine) -> Option<Self> {
        match Self::prepare(directory) {
            Ok(()) => {}
            Err(reason) => {
                tracing::warn!(directory = %directory.display(), %reason, "compiled plugins are not cached");
                return None;
            }
        }
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Some(Self { directory: directory.to_owned(), compatibility: hasher.0.finalize().into() })
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
        let bytes = std::fs::read(&path).ok()?;
        let (stored, code) = bytes.split_at_checked(HEADER_BYTES)?;
        if stored != Sha256::digest(code).as_slice() {
            tracing::warn!(path = %path.display(), "a cached plugin is damaged and is compiled again");
            return None;
        }
        match deserialize(engine, code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), reason = %error, "a cached plugin is unusable and is compiled again");
                None
            }
        }
    }

    /// Keeps a compiled component. Failing only costs time later, so it is logged and no error.
    pub(crate) fn store(&self, wasm: &Digest, component: &Component) {
        let stored = component.serialize().map_err(|e| e.to_string()).and_then(|code| {
            self.prune();
            write(&self.path(wasm), &code).map_err(|e| e.to_string())
        });
        if let Err(reason) = stored {
            tracing::warn!(directory = %self.directory.display(), %reason, "a compiled plugin is not cached");
        }
    }

    /// Makes room for one entry.
    fn prune(&self) {
        let Ok(files) = std::fs::read_dir(&self.directory) else { return };
        let mut entries: Vec<_> = files
            .filter_map(Result::ok)
            .filter(|file| file.path().extension().is_some_and(|e| e == EXTENSION))
            .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())))
            .collect();
        entries.sort();
        let surplus = (entries.len() + 1).saturating_sub(MAX_ENTRIES);
        for (_, path) in entries.into_iter().take(surplus) {
            // Another process may have removed it already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A unique temporary file, then one rename: a reader sees all or nothing.
fn write(path: &Path, code: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&Sha256::digest(code))?;
    file.write_all(code)?;
    file.persist(path)?;
    Ok(())
}

#[expect(unsafe_code, reason = "wasmtime cannot check machine code; these bytes are our own, see the module's head")]
fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` was made by `Component::serialize` of this program: it comes from a directory that
    // only this user can write (checked when the cache was opened), under a name derived from the
    // component, the compiler's settings and this version, and its SHA-256 was checked just now.
    unsafe { Component::deserialize(engine, code) }
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
