//! `necro.lock`: which plugins are installed, by digest, and what an operator granted to which digest. It is the
//! operator's file: read from where the command runs, never from what an attempt wrote.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::shelf;

use crate::domain::grant::Scopes;
use crate::domain::id::Digest;
use crate::domain::limits::LimitSettings;
use crate::plugin::{PluginKind, manifest};
use crate::service::error::{ServiceError, chain};
use crate::spec::replace::{self, EditError};

/// The file's name at the root of a repository.
pub const LOCK_FILE: &str = "necro.lock";
/// A longer file is refused.
const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Bytes of a name in a grant: that of a file, at most.
const MAX_NAME_BYTES: usize = 255;
/// The form that this host writes.
const VERSION: u32 = 1;
/// What stands at its top, for people.
const HEAD: &str = "\
# Written by `necro-host plugin`: installed plugins and what each may do, by digest. Keep it in git.
# An entry that is taken away is a plugin, or a grant, that is taken away.
";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    /// Installed plugins, by kind and name.
    #[serde(default, rename = "plugin", skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<Installed>,
    /// Grants, by name and digest.
    #[serde(default, rename = "grant", skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Granted>,
}

/// An installed plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// The operator's name for it.
    pub name: String,
    /// What it is for.
    pub kind: PluginKind,
    /// What its manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// Where it came from: a URL, or a path relative to this file.
    pub source: String,
}

/// What one digest may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// The plugin's name, for people: the digest alone counts.
    pub plugin: String,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Limits beyond the kind's own.
    #[serde(default, skip_serializing_if = "LimitSettings::is_empty")]
    pub limits: LimitSettings,
    /// Interfaces and their bounds. None: it was looked at and gets nothing.
    #[serde(default)]
    pub interfaces: Scopes,
}

/// The lock file below a root as it stands at each moment. One that cannot be read leaves what was read last: nobody
/// gets more by a slip of an editor, and nobody loses what they work with.
#[derive(Debug)]
pub(crate) struct LiveLock {
    root: PathBuf,
    seen: Mutex<(Option<Stamp>, Arc<LockFile>)>,
}

/// What tells whether a file is still the one that was read.
type Stamp = (u64, i64, i64, u64);

impl LiveLock {
    /// Reads it.
    ///
    /// # Errors
    /// As [`LockFile::read`].
    pub(crate) fn open(root: &Path) -> Result<Self, ServiceError> {
        let stamp = stamp(root);
        Ok(Self { root: root.to_owned(), seen: Mutex::new((stamp, Arc::new(LockFile::read(root)?))) })
    }

    /// The file as it is now.
    pub(crate) fn now(&self) -> Arc<LockFile> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.root);
        if seen.0 != stamp {
            match LockFile::read(&self.root) {
                Ok(lock) => *seen = (stamp, Arc::new(lock)),
                Err(error) => {
                    tracing::warn!("{}; what it said before counts", chain(&error));
                    seen.0 = stamp;
                }
            }
        }
        Arc::clone(&seen.1)
    }
}

fn stamp(root: &Path) -> Option<Stamp> {
    let found = std::fs::symlink_metadata(root.join(LOCK_FILE)).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

impl Default for LockFile {
    fn default() -> Self {
        Self { version: VERSION, plugins: Vec::new(), grants: Vec::new() }
    }
}

impl LockFile {
    /// The file below `root`; empty where there is none.
    ///
    /// # Errors
    /// When it cannot be read. It is never taken for an empty one then.
    pub fn read(root: &Path) -> Result<Self, ServiceError> {
        let path = root.join(LOCK_FILE);
        let failed = |source: io::Error| ServiceError::Io { path: path.clone(), source };
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
            // A pipe or a device has no end.
            Ok(found) if !found.is_file() => {
                return Err(ServiceError::Usage(format!("`{}` is not a regular file", path.display())));
            }
            Ok(_) => {}
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(failed)?;
        file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(&bytes)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// [`ServiceError::Usage`] with the line.
    pub fn parse(bytes: &[u8]) -> Result<Self, ServiceError> {
        let wrong = |line: usize, message: &str| {
            let message = message.trim().replace('\n', "; ");
            ServiceError::Usage(format!(
                "{LOCK_FILE}:{line}: {message}; nothing is run with grants that cannot be read"
            ))
        };
        if bytes.len() > MAX_FILE_BYTES {
            return Err(wrong(1, &format!("it has more than {MAX_FILE_BYTES} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "it is not UTF-8"))?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        if let Some(line) = text.lines().position(|line| line.starts_with("<<<<<<< ")) {
            return Err(wrong(
                line + 1,
                "two versions of it were merged and not settled: keep what shall hold of both",
            ));
        }
        let lock: Self = toml::from_str(text).map_err(|error| {
            let before = &text[..text.floor_char_boundary(error.span().map_or(0, |span| span.start))];
            wrong(before.matches('\n').count() + 1, error.message())
        })?;
        if lock.version != VERSION {
            let message = format!("its version is {}, this host reads {VERSION}: a newer host wrote it", lock.version);
            return Err(wrong(1, &message));
        }
        lock.check().map_err(|message| wrong(1, &message))?;
        Ok(lock)
    }

    fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for Installed { name, kind, .. } in &self.plugins {
            manifest::check_name(name)?;
            if !names.insert((kind, name)) {
                return Err(format!("the {kind} plugin `{name}` stands in it twice"));
            }
        }
        let mut digests = BTreeSet::new();
        for Granted { plugin, digest, interfaces, .. } in &self.grants {
            if plugin.is_empty() || plugin.len() > MAX_NAME_BYTES || plugin.chars().any(char::is_control) {
                return Err("a grant has no name, a long one, or one with control characters".to_owned());
            }
            if !digests.insert(digest) {
                return Err(format!("the digest {digest} is granted something twice"));
            }
            for (interface, scope) in interfaces {
                if let Some(key) = scope.misplaced(*interface) {
                    return Err(format!("the grant of `{plugin}`: `{key}` is no bound of {interface}"));
                }
            }
        }
        Ok(())
    }

    /// As text, in a stable order.
    #[must_use]
    pub fn text(&self) -> String {
        let mut sorted = self.clone();
        sorted.plugins.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        sorted.grants.sort_by(|a, b| (&a.plugin, &a.digest).cmp(&(&b.plugin, &b.digest)));
        let body = toml::to_string(&sorted).expect("names, numbers and texts are TOML");
        format!("{HEAD}{body}")
    }

    /// The installed plugin of this kind and name.
    #[must_use]
    pub fn plugin(&self, kind: PluginKind, name: &str) -> Option<&Installed> {
        self.plugins.iter().find(|plugin| plugin.kind == kind && plugin.name == name)
    }

    /// What the digest was granted; none: nobody has decided.
    #[must_use]
    pub fn granted(&self, digest: &Digest) -> Option<&Granted> {
        self.grants.iter().find(|grant| grant.digest == *digest)
    }

    /// Whether anything was decided about the digest.
    #[must_use]
    pub fn granted_to(&self, digest: &str) -> bool {
        self.grants.iter().any(|grant| grant.digest.as_str() == digest)
    }

    /// Puts an entry in place of the one of its kind and name.
    pub fn install(&mut self, plugin: Installed) {
        self.plugins.retain(|other| (other.kind, &other.name) != (plugin.kind, &plugin.name));
        self.plugins.push(plugin);
    }

    /// Puts a grant in place of the one of its digest.
    pub fn grant(&mut self, grant: Granted) {
        self.grants.retain(|other| other.digest != grant.digest);
        self.grants.push(grant);
    }

    /// Changes the file below `root` by `change`, which sees what others wrote meanwhile and may be called more
    /// than once. Gives what `change` gave last.
    ///
    /// # Errors
    /// When it cannot be read or written, and what `change` says; the file is as it was then.
    pub fn edit<T>(
        root: &Path,
        mut change: impl FnMut(&mut Self) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        let path = root.join(LOCK_FILE);
        let failed = |source: io::Error| ServiceError::Io { path: path.clone(), source };
        let _alone = alone(root).map_err(failed)?;
        if !path.try_exists().map_err(failed)? {
            let mut lock = Self::default();
            let given = change(&mut lock)?;
            if lock != Self::default() {
                shelf::store(&path, lock.text().as_bytes()).map_err(failed)?;
                share(&path).map_err(failed)?;
            }
            return Ok(given);
        }
        let mut given = None;
        let edited = replace::edit(&path, |bytes| {
            let mut lock = Self::parse(bytes)?;
            let before = lock.clone();
            given = Some(change(&mut lock)?);
            Ok::<_, ServiceError>((lock != before).then(|| lock.text().into_bytes()))
        });
        match edited {
            Ok(_) => given.ok_or_else(|| ServiceError::Internal("the lock file was not looked at".to_owned())),
            Err(EditError::Change(error)) => Err(error),
            Err(EditError::Io { path, source }) => Err(ServiceError::Io { path, source }),
            Err(error) => Err(ServiceError::Usage(error.to_string())),
        }
    }
}

/// Held while the file below `root` is changed: of several who change it, each sees what the one before wrote. It is
/// given up when it is dropped, or by the kernel; nobody holds it for longer than one small file takes.
fn alone(root: &Path) -> io::Result<File> {
    let folder = File::open(root)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    Ok(folder)
}

/// The file belongs into git and is no secret.
fn share(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(0o644))
}

/// Where an installed plugin's bytes lie below a state directory.
#[must_use]
pub(crate) fn stored(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("{digest}.wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::grant::{Interface, Scope};

    fn digest(letter: char) -> Digest {
        Digest::new(letter.to_string().repeat(64)).unwrap()
    }

    fn example() -> LockFile {
        let mut lock = LockFile::default();
        lock.install(Installed {
            name: "mine".into(),
            kind: PluginKind::Routing,
            version: Some("0.1.0".into()),
            digest: digest('a'),
            size_bytes: 7,
            source: "https://example.org/mine.wasm".into(),
        });
        let scope = Scope { read: Some(vec!["src/**".into()]), ..Scope::default() };
        lock.grant(Granted {
            plugin: "critic".into(),
            digest: digest('b'),
            limits: LimitSettings { fuel: Some(5), ..LimitSettings::default() },
            interfaces: [(Interface::Workspace, scope), (Interface::Llm, Scope::default())].into(),
        });
        lock
    }

    #[test]
    fn what_is_written_is_read_again() {
        let lock = example();
        assert_eq!(LockFile::parse(lock.text().as_bytes()).unwrap(), lock);
        assert_eq!(LockFile::parse(LockFile::default().text().as_bytes()).unwrap(), LockFile::default());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_never_an_empty_one() {
        let text = example().text();
        let twice = format!("{text}\n{}", &text[text.find("[[grant]]").unwrap()..]);
        for (wrong, expected) in [
            (text.replace("version = 1", "version = 2"), "a newer host wrote it"),
            (text.replace("[[grant]]", "[[grants]]").replace("[grant.", "[grants."), "unknown field `grants`"),
            (text.replace("read =", "names ="), "`names` is no bound of workspace"),
            (text.replace("name = \"mine\"", "name = \"../mine\""), "is no plugin name"),
            (twice, "is granted something twice"),
            ("{".to_owned(), "necro.lock:1:"),
        ] {
            let error = LockFile::parse(wrong.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(LockFile::parse(&[0xff]).is_err());
    }

    #[test]
    fn however_many_change_it_at_once_nothing_that_was_answered_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for letter in "abcdef".chars() {
                let root = folder.path();
                scope.spawn(move || {
                    for round in 0..5 {
                        let plugin = format!("{letter}-{round}");
                        let digest = Digest::new(format!("{round}{letter}").repeat(32)).unwrap();
                        let (limits, interfaces) = (LimitSettings::default(), Scopes::new());
                        let grant = Granted { plugin, digest, limits, interfaces };
                        LockFile::edit(root, |lock| {
                            lock.grant(grant.clone());
                            Ok(())
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(LockFile::read(folder.path()).unwrap().grants.len(), 30);
    }

    #[test]
    fn a_decision_counts_at_once_and_a_slip_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let live = LiveLock::open(folder.path()).unwrap();
        assert_eq!(*live.now(), LockFile::default());
        std::fs::write(folder.path().join(LOCK_FILE), example().text()).unwrap();
        assert_eq!(*live.now(), example());
        std::fs::write(folder.path().join(LOCK_FILE), "version = 1\n[[grant").unwrap();
        assert_eq!(*live.now(), example(), "what cannot be read took something away, or gave it");
        std::fs::remove_file(folder.path().join(LOCK_FILE)).unwrap();
        assert_eq!(*live.now(), LockFile::default());
    }

    #[test]
    fn changes_are_made_from_what_stands_there_and_a_refused_one_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let refused = LockFile::edit(folder.path(), |_| Err::<(), _>(ServiceError::Usage("no".into())));
        assert!(refused.is_err() && !folder.path().join(LOCK_FILE).exists());
        let entry = example().plugins.remove(0);
        let changed = |change: &dyn Fn(&mut LockFile)| {
            LockFile::edit(folder.path(), |lock| {
                change(lock);
                Ok(())
            })
        };
        changed(&|lock| lock.install(entry.clone())).unwrap();
        let grant = example().grants.remove(0);
        changed(&|lock| lock.grant(grant.clone())).unwrap();
        assert_eq!(LockFile::read(folder.path()).unwrap(), example());
        for empty in ["", " \n"] {
            assert_eq!(LockFile::parse(empty.as_bytes()).unwrap(), LockFile::default());
        }
        std::fs::write(folder.path().join(LOCK_FILE), "nonsense").unwrap();
        assert!(changed(&|lock| lock.grants.clear()).is_err());
        assert_eq!(std::fs::read_to_string(folder.path().join(LOCK_FILE)).unwrap(), "nonsense");
    }
}
