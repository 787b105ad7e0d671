//! `plugin build` and `plugin test`: the project's own tools, then the manifest into the component.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::tools::{Ran, Tool};
use super::{AuthorError, Language, Project};
use crate::domain::grant::Interface;
use crate::domain::id::Digest;
use crate::plugin::section;
use crate::service::blocking::blocking;
use crate::service::error::ServiceError;
use crate::service::plugins::shelf;
use crate::store::digest_of;

/// What Rust is built for.
const TARGET: &str = "wasm32-wasip2";
/// The version of componentize-py that the templates name.
const REQUIREMENTS: &str = include_str!("templates/python/requirements.txt");
/// Folders of a Python project that are no part of the plugin.
const NOT_BUILT: &[&str] = &["target", "tests", "wit", "__pycache__"];
/// Lines of a tool's words that are shown.
const MAX_WORDS_LINES: usize = 200;

/// A component that was built.
#[derive(Debug, Clone, Serialize)]
pub struct Built {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: &'static str,
    /// The file.
    pub component: PathBuf,
    /// Its size, manifest included.
    pub size_bytes: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Interfaces that its manifest wants, and why.
    pub wants: BTreeMap<Interface, String>,
}

/// Tests that were run.
#[derive(Debug, Clone, Serialize)]
pub struct Tested {
    /// Its name.
    pub name: String,
    /// The component that was tested.
    pub component: PathBuf,
    /// Whether all passed.
    pub passed: bool,
    /// What the tests printed.
    pub output: String,
}

/// Builds the project in `folder`.
///
/// # Errors
/// [`AuthorError`]: no project, a missing tool, a failed build with the compiler's words.
pub async fn build(folder: &Path) -> Result<Built, ServiceError> {
    build_project(&Project::open(folder)?).await
}

/// Builds the project in `folder` and runs its tests.
///
/// # Errors
/// Those of [`build`]. Tests that fail are in the answer.
pub async fn test(folder: &Path) -> Result<Tested, ServiceError> {
    let project = Project::open(folder)?;
    let built = build_project(&project).await?;
    let host = std::env::current_exe().map_err(|source| ServiceError::Io { path: "this program".into(), source })?;
    let what = format!("testing `{}`", built.name);
    let env =
        vec![("NECRO_HOST", host.into_os_string()), ("NECRO_COMPONENT", built.component.clone().into_os_string())];
    let tool = match project.language {
        Language::Rust => Tool { what, env, args: words(&["test", "--color", "never"]), ..cargo(&project) },
        Language::Python => Tool {
            name: "python3",
            program: "python3".into(),
            what,
            args: words(&["-m", "unittest", "discover", "-s", "tests"]),
            dir: &project.folder,
            env,
            advice: "install Python 3.10 or newer".to_owned(),
        },
    };
    let Ran { success, stdout, stderr } = tool.run().await?;
    let output = format!("{}{}", stdout, stderr);
    Ok(Tested { name: built.name, component: built.component, passed: success, output })
}

pub(super) async fn build_project(project: &Project) -> Result<Built, ServiceError> {
    let component = match project.language {
        Language::Rust => built_by_cargo(project).await?,
        Language::Python => built_by_componentize(project).await?,
    };
    let (text, out, name) = (project.text.clone(), project.component(), project.manifest.name.clone());
    let (digest, size_bytes) = blocking(move || {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| ServiceError::Io { path, source }
        };
        let bytes = std::fs::read(&component).map_err(fail(&component))?;
        let bytes = section::embed(&bytes, &text).map_err(|error| AuthorError::Failed {
            what: format!("putting plugin.toml into `{name}`"),
            words: error.to_string(),
        })?;
        let folder = out.parent().unwrap_or(&out);
        std::fs::create_dir_all(folder).map_err(fail(folder))?;
        // Whoever loads the file meanwhile has the old one or the new one.
        shelf::store(&out, &bytes).map_err(fail(&out))?;
        Ok((digest_of(&bytes), bytes.len() as u64))
    })
    .await?;
    let manifest = &project.manifest;
    Ok(Built {
        name: manifest.name.clone(),
        kind: manifest.kind.as_str(),
        component: project.component(),
        size_bytes,
        digest,
        wants: manifest.wants.iter().map(|(interface, want)| (*interface, want.why.clone())).collect(),
    })
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn cargo(project: &Project) -> Tool<'_> {
    Tool {
        name: "cargo",
        program: "cargo".into(),
        what: format!("building `{}`", project.manifest.name),
        args: words(&[
            "build",
            "--release",
            "--lib",
            "--target",
            TARGET,
            "--message-format",
            "json-render-diagnostics",
        ]),
        dir: &project.folder,
        env: Vec::new(),
        advice: "install Rust from https://rustup.rs".to_owned(),
    }
}

async fn built_by_cargo(project: &Project) -> Result<PathBuf, ServiceError> {
    let tool = cargo(project);
    let what = tool.what.clone();
    let Ran { success, stdout, stderr } = tool.run().await?;
    if !success {
        if stderr.contains(&format!("the `{TARGET}` target may not be installed")) {
            let advice = format!("type `rustup target add {TARGET}`");
            return Err(AuthorError::Missing { tool: "the Rust target wasm32-wasip2", advice }.into());
        }
        return Err(AuthorError::Failed { what, words: last_lines(&stderr) }.into());
    }
    component_of(&stdout).ok_or_else(|| {
        let name = project.manifest.name.clone();
        let advice = "Cargo.toml needs `crate-type = [\"cdylib\", \"rlib\"]` below [lib]";
        AuthorError::NoComponent { name, advice }.into()
    })
}

/// The last file with the ending `.wasm` that cargo says it has made.
fn component_of(messages: &str) -> Option<PathBuf> {
    let made = messages.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let artifacts = made.filter(|message| message["reason"] == "compiler-artifact");
    let mut files = artifacts.filter_map(|message| {
        let files = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
        files.into_iter().find(|file| file.ends_with(".wasm")).map(PathBuf::from)
    });
    files.next()
}

async fn built_by_componentize(project: &Project) -> Result<PathBuf, ServiceError> {
    let folder = project.folder.join("target").join("componentize");
    let (from, to) = (project.folder.clone(), folder.clone());
    // The Python inside writes what it compiles beside the sources: beside a copy.
    blocking(move || {
        let fail = |source| ServiceError::Io { path: to.clone(), source };
        match std::fs::remove_dir_all(&to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        copy_sources(&from, &to.join("app")).map_err(fail)
    })
    .await?;
    let out = folder.join("plugin.wasm");
    let own = project.folder.join(".venv/bin/componentize-py");
    let mut args = words(&["--quiet", "--wit-path"]);
    args.push(project.folder.join("wit").into());
    args.extend(words(&["--world", project.manifest.kind.world(), "componentize", "app", "--python-path"]));
    args.extend([folder.join("app").into(), "--output".into(), out.clone().into()]);
    let tool = Tool {
        name: "componentize-py",
        program: if own.is_file() { own } else { "componentize-py".into() },
        what: format!("building `{}`", project.manifest.name),
        args,
        dir: &folder,
        env: Vec::new(),
        advice: format!(
            "type `python3 -m venv .venv && .venv/bin/pip install {}` in the project's folder",
            REQUIREMENTS.trim()
        ),
    };
    let what = tool.what.clone();
    let Ran { success, stdout, stderr } = tool.run().await?;
    if success {
        return Ok(out);
    }
    Err(AuthorError::Failed { what, words: last_lines(&format!("{stdout}{stderr}")) }.into())
}

/// Python files, with their folders.
fn copy_sources(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let hidden = name.to_string_lossy().starts_with('.') || NOT_BUILT.iter().any(|other| name == *other);
        if hidden {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy_sources(&path, &to.join(name))?;
        } else if path.extension().is_some_and(|ending| ending == "py") {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// What a compiler says at its end.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(MAX_WORDS_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_last_file_of_its_kind_that_cargo_names() {
        let line = |files: &str| format!(r#"{{"reason":"compiler-artifact","filenames":[{files}]}}"#);
        let text = [line(r#""/a/libx.rlib""#), line(r#""/a/x.wasm""#), "no JSON".to_owned()].join("\n");
        assert_eq!(component_of(&text), Some(PathBuf::from("/a/x.wasm")));
        assert_eq!(component_of(&line(r#""/a/libx.rlib""#)), None);
    }

    #[test]
    fn only_the_plugins_own_modules_are_copied() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        for file in ["app.py", "words/__init__.py", "tests/test_app.py", ".venv/x.py", "wit/types.wit", "README.md"] {
            std::fs::create_dir_all(from.join(file).parent().unwrap()).unwrap();
            std::fs::write(from.join(file), "").unwrap();
        }
        let to = dir.path().join("to");
        copy_sources(&from, &to).unwrap();
        assert!(to.join("app.py").is_file() && to.join("words/__init__.py").is_file());
        assert!(!to.join("tests").exists() && !to.join(".venv").exists() && !to.join("README.md").exists());
    }
}
