//! What authors of plugins do with a project: write one, build it to a component, check that, test it, and
//! put it into a running host on each save.
//!
//! A project is a folder with a `plugin.toml` and either a `Cargo.toml` or an `app.py`. `tools` alone starts
//! processes: the author's own compilers, with the author's own environment.

mod build;
mod check;
mod dev;
mod new;
mod tools;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::ServiceError;
use crate::plugin::manifest::{self, Manifest, ManifestError};

pub use build::{Built, Tested, build, test};
pub use check::{Ask, Checked, check};
pub use dev::{DevOptions, DevStep, dev};
pub use new::{Made, NewProject, new};

/// What a project is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Built by cargo.
    Rust,
    /// Built by componentize-py.
    Python,
}

/// Why an author's command ends.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the messages name")]
pub enum AuthorError {
    /// The name of a new plugin.
    #[error("{0}")]
    Name(String),
    /// The folder of a new project.
    #[error("`{}` is there and not empty: name another folder with --path, or empty it", path.display())]
    Occupied { path: PathBuf },
    /// No SDK where one is named.
    #[error("`{}` is no SDK: name the folder with the Cargo.toml of necro-sdk", path.display())]
    NoSdk { path: PathBuf },
    /// Something that only the other language has.
    #[error("--sdk is for Rust; a project in Python needs none")]
    SdkOfPython,
    /// A folder that is no project.
    #[error("`{}` is no project of a plugin: {reason}", path.display())]
    NoProject { path: PathBuf, reason: &'static str },
    /// What the project says of itself.
    #[error("the project in `{}` cannot be used", path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    /// A tool that is not there.
    #[error("{tool} is missing: {advice}")]
    Missing { tool: &'static str, advice: String },
    /// A tool that ended badly, in its own words.
    #[error("{what} failed:\n{words}")]
    Failed { what: String, words: String },
    /// A tool that did not end.
    #[error("{what} was ended after {limit_s} seconds")]
    TooLong { what: String, limit_s: u64 },
    /// A build without a component.
    #[error("the build of `{name}` made no component: {advice}")]
    NoComponent { name: String, advice: &'static str },
}

/// The folder of a project, looked at.
#[derive(Debug)]
struct Project {
    /// Absolute.
    folder: PathBuf,
    language: Language,
    /// The text of `plugin.toml`.
    text: String,
    manifest: Manifest,
}

impl Project {
    /// Reads a project.
    fn open(folder: &Path) -> Result<Self, ServiceError> {
        let no = |reason| AuthorError::NoProject { path: folder.to_owned(), reason };
        let real = folder.canonicalize().ok().filter(|folder| folder.is_dir());
        let real = real.ok_or_else(|| no("there is no such folder"))?;
        let has = |name: &str| real.join(name).is_file();
        let language = match (has("Cargo.toml"), has("app.py")) {
            (true, _) => Language::Rust,
            (false, true) => Language::Python,
            (false, false) => return Err(no("it has neither a Cargo.toml nor an app.py").into()),
        };
        let path = real.join(manifest::FILE_NAME);
        if !path.is_file() {
            return Err(no("it has no plugin.toml").into());
        }
        let text = std::fs::read_to_string(&path).map_err(|source| ServiceError::Io { path, source })?;
        let manifest =
            Manifest::parse(&text).map_err(|source| AuthorError::Manifest { path: folder.to_owned(), source })?;
        Ok(Self { folder: real, language, text, manifest })
    }

    /// Where its component is.
    fn component(&self) -> PathBuf {
        self.folder.join("target").join("plugin").join(format!("{}.wasm", self.manifest.name))
    }
}
