//! Where components come from: the built-in set, what is installed, and files. Their bytes are checked against
//! the digest that is locked before anything is made of them.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock::{self, Installed, LOCK_FILE, LiveLock, LockFile};
use super::{Approvals, PluginSource, quoted};
use crate::domain::id::Digest;
use crate::plugin::builtin;
use crate::plugin::manifest::{self, MAX_MANIFEST_BYTES};
use crate::plugin::{Engine, Expectation, MAX_COMPONENT_BYTES, Plugin, PluginKind};
use crate::service::blocking;
use crate::service::error::ServiceError;
use crate::store::digest_of;

/// Digests of the components that hosts here have brought along, one a line.
const BUILT_IN: &str = "built-in";
/// Folder of installed components below a state directory.
const FOLDER: &str = "plugins";

/// What is installed for a repository, and where its bytes are.
#[derive(Debug, Clone)]
pub struct Shelf {
    lock: Option<Arc<LiveLock>>,
    root: PathBuf,
    folder: PathBuf,
}

impl Shelf {
    /// The lock file below `root`, with bytes below the state directory `state`.
    ///
    /// # Errors
    /// When the lock file cannot be read.
    pub fn open(root: &Path, state: &Path) -> Result<Self, ServiceError> {
        Ok(Self { lock: Some(Arc::new(LiveLock::open(root)?)), root: root.to_owned(), folder: folder(state) })
    }

    /// Nothing but the built-in set.
    pub(crate) fn empty() -> Self {
        Self { lock: None, root: PathBuf::new(), folder: PathBuf::new() }
    }

    /// The lock file as it stands now.
    pub(crate) fn lock(&self) -> Arc<LockFile> {
        self.lock.as_ref().map_or_else(Arc::default, |lock| lock.now())
    }

    /// What a command has to say that shall change this lock file and no other.
    pub(crate) fn flags(&self) -> String {
        let here = std::env::current_dir().is_ok_and(|here| here.starts_with(&self.root));
        if here { String::new() } else { format!(" --repo {}", quoted(&self.root.display().to_string())) }
    }

    /// Who decides about grants: the lock file, and for components of earlier hosts what was noted of them.
    pub(crate) fn approvals(&self) -> Approvals {
        let mut approvals = Approvals::new(self.clone());
        let noted = std::fs::read_to_string(self.folder.join(BUILT_IN)).unwrap_or_default();
        approvals.trust(noted.lines().filter_map(|line| Digest::new(line).ok()));
        approvals
    }

    /// Notes the components that this host brings along: a later one knows then what a run that it goes on with
    /// was begun with. Blocking.
    pub(crate) fn note_built_in(&self) -> Result<(), ServiceError> {
        let path = self.folder.join(BUILT_IN);
        let failed = |source: std::io::Error| ServiceError::Io { path: path.clone(), source };
        let noted = std::fs::read_to_string(&path).unwrap_or_default();
        let missing: Vec<&str> =
            builtin::ALL.iter().map(|entry| entry.digest).filter(|digest| !noted.contains(digest)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        store(&path, format!("{noted}{}\n", missing.join("\n")).as_bytes()).map_err(failed)
    }

    /// Loads one component.
    ///
    /// # Errors
    /// When there is none of that name, its bytes are others than locked, or it is no plugin of `kind`.
    pub(crate) async fn load(
        &self,
        engine: &Engine,
        kind: PluginKind,
        source: &PluginSource,
    ) -> Result<Arc<Plugin>, ServiceError> {
        let expectation = Expectation::Kind(kind);
        match source {
            PluginSource::File(path) => from_file(engine, path, expectation).await,
            PluginSource::Named(name) => match (builtin::find(kind, name), self.lock().plugin(kind, name).cloned()) {
                (Some(entry), _) => Ok(engine.load(name, entry.bytes, expectation).await?),
                (None, Some(installed)) => {
                    let bytes = self.bytes(&installed).await?;
                    Ok(engine.load(name, bytes, expectation).await?)
                }
                (None, None) => Err(self.unknown(kind, name)),
            },
        }
    }

    /// The bytes of an installed component.
    async fn bytes(&self, installed: &Installed) -> Result<Vec<u8>, ServiceError> {
        let path = lock::stored(&self.folder, &installed.digest);
        let Installed { name, digest, .. } = installed.clone();
        let read = blocking(move || Ok(stored_bytes(&path, &digest))).await?;
        read.map_err(|reason| {
            ServiceError::Usage(format!(
                "the plugin `{name}` stands in {LOCK_FILE}, but {reason}: type `necro-host plugin install`"
            ))
        })
    }

    fn unknown(&self, kind: PluginKind, name: &str) -> ServiceError {
        let built_in = builtin::ALL.iter().filter(|entry| entry.kind == kind).map(|entry| entry.name);
        let lock = self.lock();
        let installed = lock.plugins.iter().filter(|plugin| plugin.kind == kind).map(|plugin| plugin.name.as_str());
        let known: Vec<&str> = built_in.chain(installed).collect();
        ServiceError::Usage(format!(
            "there is no built-in or installed {kind} plugin `{name}`; there are: {}; a file needs the ending .wasm or \
             a path",
            known.join(", ")
        ))
    }
}

/// Where installed components lie below a state directory.
pub(crate) fn folder(state: &Path) -> PathBuf {
    state.join(FOLDER)
}

/// Writes a file whole or not at all, with the rights of any new file. Several may write the same one.
pub(crate) fn store(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let rights = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(rights).tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    Ok(())
}

/// Bytes of a stored component; what is wrong with them in words.
pub(crate) fn stored_bytes(path: &Path, digest: &Digest) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "it is not installed here yet".to_owned(),
        _ => format!("its file cannot be read ({error})"),
    })?;
    if digest_of(&bytes) != *digest {
        return Err("its stored file is damaged".to_owned());
    }
    Ok(bytes)
}

/// A component's file, with what belongs to it.
pub(crate) struct PluginFile {
    pub(crate) bytes: Vec<u8>,
    name: String,
    beside: Option<String>,
}

impl PluginFile {
    /// Reads it. A name that leads to no file is a slip, not a fault of the machine.
    pub(crate) async fn read(path: &Path) -> Result<Self, ServiceError> {
        let path = path.to_owned();
        blocking(move || Ok(Self { bytes: file_bytes(&path)?, name: name_of(&path), beside: manifest_beside(&path)? }))
            .await
    }

    pub(crate) async fn load(self, engine: &Engine, expectation: Expectation) -> Result<Arc<Plugin>, ServiceError> {
        Ok(engine.load_beside(&self.name, self.bytes, self.beside.as_deref(), expectation).await?)
    }
}

pub(crate) async fn from_file(
    engine: &Engine,
    path: &Path,
    expectation: Expectation,
) -> Result<Arc<Plugin>, ServiceError> {
    PluginFile::read(path).await?.load(engine, expectation).await
}

/// The name that a component's file gives it.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_stem().map_or_else(|| "plugin".into(), |stem| stem.to_string_lossy().into_owned())
}

/// The bytes of a component's file, if it is a file of bearable size.
pub(crate) fn file_bytes(path: &Path) -> Result<Vec<u8>, ServiceError> {
    let fail = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ServiceError::Usage(format!("there is no plugin file `{}`", path.display())),
        _ => ServiceError::Io { path: path.to_owned(), source },
    };
    let metadata = std::fs::metadata(path).map_err(fail)?;
    if !metadata.is_file() {
        return Err(ServiceError::Usage(format!("`{}` is no file of a plugin", path.display())));
    }
    let size = metadata.len();
    if size > MAX_COMPONENT_BYTES as u64 {
        return Err(ServiceError::Usage(format!(
            "`{}` has {size} bytes; a component may have {MAX_COMPONENT_BYTES}",
            path.display()
        )));
    }
    std::fs::read(path).map_err(fail)
}

/// The manifest that lies beside a component's file: `<name>.plugin.toml`, else `plugin.toml`. One that is there and
/// cannot be read is an error: without it the component would ask for all that it imports.
pub(crate) fn manifest_beside(path: &Path) -> Result<Option<String>, ServiceError> {
    let named = path.with_extension(manifest::FILE_NAME);
    let plain = path.with_file_name(manifest::FILE_NAME);
    for beside in [named, plain] {
        let wrong = |why: &str| ServiceError::Usage(format!("the manifest `{}` {why}", beside.display()));
        match std::fs::symlink_metadata(&beside) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(wrong(&format!("cannot be read: {error}"))),
            Ok(_) => {}
        }
        let found = std::fs::metadata(&beside).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        if !found.is_file() || found.len() > MAX_MANIFEST_BYTES as u64 {
            return Err(wrong(&format!("is no regular file of at most {MAX_MANIFEST_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(&beside);
        return text.map(Some).map_err(|error| wrong(&format!("cannot be read: {error}")));
    }
    Ok(None)
}
