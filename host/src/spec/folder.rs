//! Finds the files of a spec: from any source of bytes by path, or from a directory on disk.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::config::{self, CcSdd, KiroConfig};
use super::diagnostic::Diagnostic;
use super::line::MAX_FILE_BYTES;

/// Where specs stand in a repository.
pub const SPECS: &str = ".kiro/specs";

/// Where steering documents stand in a repository.
pub const STEERING: &str = ".kiro/steering";

/// Files that make a folder a spec.
pub const DOCUMENTS: [&str; 4] = ["requirements.md", "bugfix.md", "design.md", "tasks.md"];

/// Spec folders nest no deeper than this.
const MAX_DEPTH: usize = 6;

/// No more directory entries than this are looked at.
const MAX_ENTRIES: usize = 20_000;

/// A file of a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFile {
    /// Name in the spec's folder.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The files of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpecFiles {
    /// Folder below `.kiro/specs`; nested ones with `/`.
    pub name: String,
    /// requirements.md, else bugfix.md.
    pub requirements: Option<SpecFile>,
    /// design.md
    pub design: Option<SpecFile>,
    /// tasks.md
    pub tasks: Option<SpecFile>,
    /// `.config.kiro`, when it can be read.
    pub config: Option<KiroConfig>,
    /// cc-sdd's `spec.json`, when it can be read.
    pub cc_sdd: Option<CcSdd>,
    /// Findings about these two, by the name of the file.
    pub settings: Vec<(String, Diagnostic)>,
}

impl SpecFiles {
    /// Takes the files of spec `name` from `read`, which gives the bytes of a path of the repository.
    #[must_use]
    pub fn read(name: &str, mut read: impl FnMut(&str) -> Option<Vec<u8>>) -> Self {
        let mut file = |file: &str| {
            let bytes = read(&path(name, file))?;
            Some(SpecFile { name: file.to_owned(), bytes })
        };
        let requirements = match file("requirements.md") {
            Some(found) => Some(found),
            None => file("bugfix.md"),
        };
        let mut settings = Vec::new();
        let mut checked = |file: Option<SpecFile>, check: fn(&[u8]) -> Vec<Diagnostic>| {
            let SpecFile { name, bytes } = file?;
            settings.extend(check(&bytes).into_iter().map(|found| (name.clone(), found)));
            Some(bytes)
        };
        let config = checked(file(".config.kiro"), config::check_kiro).and_then(|bytes| config::read_kiro(&bytes));
        let cc_sdd = checked(file("spec.json"), config::check_cc_sdd).and_then(|bytes| config::read_cc_sdd(&bytes));
        let (design, tasks) = (file("design.md"), file("tasks.md"));
        Self { name: name.to_owned(), requirements, design, tasks, config, cc_sdd, settings }
    }

    /// Whether any of the three documents is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.requirements.is_some() || self.design.is_some() || self.tasks.is_some()
    }
}

/// Path of a spec's file in its repository.
#[must_use]
pub fn path(spec: &str, file: &str) -> String {
    format!("{SPECS}/{spec}/{file}")
}

/// Reads spec `name` of the repository at `root`. Files that are missing are absent in the result.
///
/// # Errors
/// When a file is there but cannot be read, or is no regular file inside the folder of specs.
pub fn load(root: &Path, name: &str) -> io::Result<SpecFiles> {
    let inside = name.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\\'));
    if !inside {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no folder of {SPECS}")));
    }
    load_from(&root.join(SPECS).join(name), name)
}

/// Reads the spec in `folder`, wherever that is, and calls it `name`.
///
/// # Errors
/// Like [`load`].
pub fn load_from(folder: &Path, name: &str) -> io::Result<SpecFiles> {
    let mut failed = None;
    let files = SpecFiles::read(name, |path| {
        let file = path.rsplit('/').next().unwrap_or(path);
        read_file(&folder.join(file)).unwrap_or_else(|error| {
            failed.get_or_insert(error);
            None
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(files),
    }
}

/// At most one byte more than is ever read, so that a larger file is still seen to be too large.
fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if !kind.is_file() {
        let what = if kind.is_symlink() { "a symbolic link, which is not followed" } else { "no regular file" };
        let message = format!("{} is {what}", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Names of all specs of the repository at `root`: folders below `.kiro/specs` that hold one of the
/// three documents, sorted. Symbolic links are not followed.
///
/// # Errors
/// When a folder cannot be listed, or there are more than 20,000 entries.
pub fn discover(root: &Path) -> io::Result<Vec<String>> {
    discover_in(&root.join(SPECS))
}

/// Names of all specs below the folder `base`, as [`discover`] gives them.
///
/// # Errors
/// Like [`discover`].
pub fn discover_in(base: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut seen = 0;
    let mut open: Vec<(PathBuf, String, usize)> = vec![(base.to_owned(), String::new(), 0)];
    while let Some((folder, name, depth)) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 && error.kind() == io::ErrorKind::NotFound => return Ok(names),
            Err(error) => return Err(error),
        };
        let mut is_spec = false;
        for entry in entries {
            let entry = entry?;
            seen += 1;
            if seen > MAX_ENTRIES {
                let message = format!("{SPECS} has more than {MAX_ENTRIES} entries");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            let Ok(file) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < MAX_DEPTH {
                let below = if name.is_empty() { file } else { format!("{name}/{file}") };
                open.push((entry.path(), below, depth + 1));
            } else if kind.is_file() {
                is_spec |= DOCUMENTS.contains(&file.as_str());
            }
        }
        if is_spec && !name.is_empty() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_found_in_nested_folders_and_read() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("a/tasks.md", "- [ ] 1. t"),
            ("a/bugfix.md", "# B"),
            ("a/.config.kiro", r#"{"specType":"bugfix"}"#),
            ("_completed/b/requirements.md", "# R"),
            ("empty/notes.md", ""),
        ] {
            let path = root.path().join(SPECS).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(discover(root.path()).unwrap(), ["_completed/b", "a"]);
        let files = load(root.path(), "a").unwrap();
        assert_eq!(files.requirements.unwrap().name, "bugfix.md");
        assert_eq!(files.config.unwrap().spec_type.as_deref(), Some("bugfix"));
        assert_eq!(files.design, None);
        assert!(!load(root.path(), "nowhere").unwrap().exists());
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for name in ["../x", "", "a/../../x", "a//b", "..\\x"] {
            assert!(load(root.path(), name).is_err(), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let spec = root.path().join(SPECS).join("a");
        fs::create_dir_all(&spec).unwrap();
        fs::write(root.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret"), spec.join("tasks.md")).unwrap();
        assert!(load(root.path(), "a").is_err());
        assert_eq!(discover(root.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_repository_without_specs_has_none() {
        assert_eq!(discover(tempfile::tempdir().unwrap().path()).unwrap(), Vec::<String>::new());
    }
}
