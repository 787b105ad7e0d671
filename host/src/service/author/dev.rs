//! `plugin dev`: looks for saved files, builds, checks, and puts the component into the host that runs here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Project;
use super::build::{Built, build_project};
use super::check::check;
use crate::plugin::PluginKind;
use crate::service::control::ControlError;
use crate::service::error::{ServiceError, chain};
use crate::service::state_dir::StateDir;
use crate::service::swap::{self, SeatChange, SeatChanged, Swap, SwapSource};

/// How often it is looked for saved files.
const POLL: Duration = Duration::from_millis(300);
/// Files of a project that are looked at.
const MAX_FILES: usize = 5_000;
/// Folders that a build writes into, or that nobody edits.
const NOT_WATCHED: &[&str] = &["target", "__pycache__", "node_modules"];

/// What to work on.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// The project's folder.
    pub folder: PathBuf,
    /// The state directory of the host that the component is put into.
    pub state: PathBuf,
    /// Where compiled components are kept.
    pub cache: Option<PathBuf>,
    /// Build once, and end.
    pub once: bool,
}

/// One build, and what came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DevStep {
    /// What was built; absent when the build failed.
    pub built: Option<Built>,
    /// What is wrong, one text each.
    pub problems: Vec<String>,
    /// Whether the running host decides by it now.
    pub swapped: bool,
    /// What was done about the running host.
    pub text: String,
}

impl DevStep {
    /// Whether there is a component without problems.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.built.is_some() && self.problems.is_empty()
    }
}

/// Builds now and after each save; `tell` is told of each build. Comes back after the first one with `once`, and
/// never otherwise.
///
/// # Errors
/// When the folder is no project, or a tool is missing. A failed build is told, and waits for the next save.
pub async fn dev(
    options: &DevOptions,
    mut tell: impl FnMut(&DevStep) -> Result<(), ServiceError>,
) -> Result<DevStep, ServiceError> {
    let mut first = true;
    loop {
        let seen = saved(&options.folder);
        let step = match step(options).await {
            Ok(step) => step,
            // What a later save mends is told; what is missing in the environment is not mended by one.
            Err(error) if !first && !options.once => DevStep { problems: vec![chain(&error)], ..DevStep::default() },
            Err(error) => match &error {
                ServiceError::Author(super::AuthorError::Failed { .. } | super::AuthorError::Manifest { .. }) => {
                    DevStep { problems: vec![chain(&error)], ..DevStep::default() }
                }
                _ => return Err(error),
            },
        };
        tell(&step)?;
        if options.once {
            return Ok(step);
        }
        first = false;
        while saved(&options.folder) == seen {
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn step(options: &DevOptions) -> Result<DevStep, ServiceError> {
    let project = Project::open(&options.folder)?;
    let built = build_project(&project).await?;
    let checked = check(&built.component, options.cache.clone()).await?;
    let mut step = DevStep { built: Some(built.clone()), problems: checked.problems, ..DevStep::default() };
    if step.problems.is_empty() {
        (step.swapped, step.text) = seat(&options.state, project.manifest.kind, &built).await;
    }
    Ok(step)
}

/// Puts the component into the host that owns `state`, if there is one. What it refuses is said, and changes nothing.
async fn seat(state: &Path, kind: PluginKind, built: &Built) -> (bool, String) {
    let component = built.component.display();
    let instead =
        format!("no host works in {}; `necro-host run … --plugin {kind}={component}` begins with it", state.display());
    let Ok(state) = StateDir::begun(state, None) else { return (false, instead) };
    let source = SwapSource::File { path: built.component.clone(), digest: built.digest.clone() };
    let swap = Swap { kind, source, max_changed: None, last: None };
    match swap::ask(&state, SeatChange::Swap(swap)).await {
        Ok(SeatChanged { refused: Some(reason), .. }) => (false, format!("not seated: {reason}")),
        Ok(SeatChanged { seat, shadow, .. }) => {
            let shown = shadow
                .map(|shadow| format!("; {} of {} recorded decisions would change", shadow.changed, shadow.decisions));
            (true, format!("seated: {seat} {}{}", built.name, shown.unwrap_or_default()))
        }
        Err(ServiceError::Control(ControlError::Nobody { .. })) => (false, instead),
        Err(error) => (false, format!("not seated: {}", chain(&error))),
    }
}

/// The project's files with time and size.
fn saved(folder: &Path) -> BTreeMap<PathBuf, (Option<SystemTime>, u64)> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(found) = entry.metadata() else { continue };
            if name.to_string_lossy().starts_with('.') || NOT_WATCHED.iter().any(|other| name == *other) {
                continue;
            }
            if found.is_dir() {
                folders.push(path);
            } else if files.len() < MAX_FILES {
                files.insert(path, (found.modified().ok(), found.len()));
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_is_seen_and_what_a_build_writes_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["src", "target/plugin"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("src/lib.rs"), "a").unwrap();
        let before = saved(dir.path());
        std::fs::write(dir.path().join("target/plugin/x.wasm"), "a").unwrap();
        assert_eq!(saved(dir.path()), before);
        std::fs::write(dir.path().join("src/lib.rs"), "ab").unwrap();
        assert_ne!(saved(dir.path()), before);
    }
}
