//! Keeping the tasks.md of a checkout in step with the registry, both ways: by the owner of the state
//! directory when there is one, and by this process, as its owner, otherwise.

mod step;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::blocking::blocking;
use super::control::{self, Answer, Command, Owned};
use super::error::ServiceError;
use super::office::until_heard;
use super::records::{existing_state, root_of};
use super::setup::{owned_registry, serves, source, state_path, work_tree};
use super::state_dir::{StateDir, StateDirError};
use crate::clock::Clock;
use crate::domain::id::{SpecName, TaskId};
use crate::registry::{Reader, Registry};
use crate::spec::{Diagnostic, folder};
use crate::store::BlobStore;

/// A list of tasks names no more of them; the others are counted.
pub const MAX_LISTED: usize = 1_000;

/// The file that is kept in step.
const TASKS: &str = "tasks.md";

/// What to bring in step.
#[derive(Debug, Clone)]
pub struct SyncRequest {
    /// The checkout.
    pub repository: String,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
    /// The state directory; absent: its usual place.
    pub state: Option<PathBuf>,
    /// Names of specs; none: those of the checkout that the registry knows, or, when it knows none of them,
    /// all that have a tasks.md.
    pub specs: Vec<String>,
    /// Only look.
    pub dry_run: bool,
}

/// One file that an owner is asked to bring in step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecPlace {
    /// The spec.
    pub spec: SpecName,
    /// Its tasks.md: an absolute path without links.
    pub path: PathBuf,
}

/// Some tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// How many.
    pub count: usize,
    /// The first [`MAX_LISTED`] of them.
    pub tasks: Vec<TaskId>,
}

impl Listed {
    fn add<'t>(&mut self, tasks: impl IntoIterator<Item = &'t TaskId>) {
        for task in tasks {
            self.count += 1;
            if self.tasks.len() < MAX_LISTED {
                self.tasks.push(task.clone());
            }
        }
    }
}

/// What a sync did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// The spec.
    pub spec: SpecName,
    /// Its tasks.md.
    pub path: String,
    /// Nothing was changed.
    pub dry_run: bool,
    /// The file has errors and nothing was changed; they are in `diagnostics`.
    pub refused: bool,
    /// Tasks that the registry did not know.
    pub added: Listed,
    /// Tasks whose content is another one.
    pub changed: Listed,
    /// Tasks that were taken out of the file.
    pub removed: Listed,
    /// Tasks that are done for being ticked.
    pub ticked: Listed,
    /// Tasks that are to be done again.
    pub opened: Listed,
    /// Tasks that are ticked while an attempt works on them: that counts when it has ended.
    pub waiting: Listed,
    /// Parents that were un-ticked beside parts that are all done: they are ticked again.
    pub followed: Listed,
    /// Tasks whose box was set to what the registry has.
    pub boxes: Listed,
    /// Findings about a file that was refused.
    pub diagnostics: Vec<Diagnostic>,
}

impl Synced {
    fn nothing(place: &SpecPlace, dry_run: bool) -> Self {
        let SpecPlace { spec, path } = place;
        Self {
            spec: spec.clone(),
            path: path.display().to_string(),
            dry_run,
            refused: false,
            added: Listed::default(),
            changed: Listed::default(),
            removed: Listed::default(),
            ticked: Listed::default(),
            opened: Listed::default(),
            waiting: Listed::default(),
            followed: Listed::default(),
            boxes: Listed::default(),
            diagnostics: Vec::new(),
        }
    }
}

/// Brings specs of a checkout in step with the registry. A file with errors is refused by itself, and the
/// others go on.
///
/// # Errors
/// When the registry is missing, damaged or cannot be written, when a name is no spec of the checkout, and
/// when a file cannot be read or replaced.
pub async fn sync(request: SyncRequest, clock: Arc<dyn Clock>) -> Result<Vec<Synced>, ServiceError> {
    let SyncRequest { repository, cwd, state, specs, dry_run } = request;
    let (root, state, specs) = blocking(move || {
        let source = source(&repository, &cwd)?;
        let root = root_of(Path::new(&repository), &cwd)?;
        // A slip in a name makes nothing.
        choose(&root, &specs, &[])?;
        let path = state_path(&source, &cwd, state.as_deref());
        // The first sync of a repository may be the first thing that happens there. A directory that has lost
        // its registry is something else.
        let state = if dry_run || path.exists() {
            existing_state(&repository, &cwd, state.as_deref())?
        } else {
            StateDir::create(&path, work_tree(&source))?
        };
        serves(&state, &source)?;
        Ok((root, state, specs))
    })
    .await?;
    if dry_run {
        return blocking(move || {
            let reader = Reader::open(&state.registry(), BlobStore::open(state.blobs())?)?;
            let places = choose(&root, &specs, &reader.specs()?)?;
            let busy = state.is_held()?;
            places.iter().map(|place| step::look(&reader, state.blobs(), place, busy)).collect()
        })
        .await;
    }
    // Whoever asks this process to stop waits for its end, which is soon.
    let (stop, _) = watch::channel(false);
    let begun = tokio::time::Instant::now();
    loop {
        match Owned::take_briefly(&state, clock.now(), &stop) {
            Ok(owned) => {
                let synced = alone(&state, root, specs, clock).await;
                drop(owned);
                return synced;
            }
            Err(StateDirError::Held { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match by_owner(&state, root.clone(), specs.clone()).await {
            Err(ServiceError::Control(refused)) => until_heard(begun, refused).await?,
            synced => return synced,
        }
    }
}

/// As the owner, with nothing else going on.
async fn alone(
    state: &StateDir,
    root: PathBuf,
    specs: Vec<String>,
    clock: Arc<dyn Clock>,
) -> Result<Vec<Synced>, ServiceError> {
    let registry = owned_registry(state, clock).await?;
    let known = registry.read(|reader| reader.specs()).await?;
    let mut all = Vec::new();
    for place in blocking(move || choose(&root, &specs, &known)).await? {
        all.push(while_owning(&registry, place, false).await?);
    }
    Ok(all)
}

/// Asks the owner, file by file.
async fn by_owner(state: &StateDir, root: PathBuf, specs: Vec<String>) -> Result<Vec<Synced>, ServiceError> {
    let opened = state.clone();
    let places = blocking(move || {
        let reader = Reader::open(&opened.registry(), BlobStore::open(opened.blobs())?)?;
        choose(&root, &specs, &reader.specs()?)
    });
    let mut all = Vec::new();
    for place in places.await? {
        match control::ask(state, &Command::SpecSync(place)).await? {
            Answer::SpecSync(synced) => all.push(*synced),
            other => return Err(ServiceError::Internal(format!("the owner answered {other:?}"))),
        }
    }
    Ok(all)
}

/// As the owner of `registry`. With `busy` attempts of a run may be at work, and their tasks are not done
/// for being ticked meanwhile.
pub(crate) async fn while_owning(registry: &Registry, place: SpecPlace, busy: bool) -> Result<Synced, ServiceError> {
    let (registry, runtime) = (registry.clone(), tokio::runtime::Handle::current());
    blocking(move || step::sync(&registry, &runtime, &place, busy, || {})).await
}

/// The files that are meant. `known` are the specs of the registry.
fn choose(root: &Path, named: &[String], known: &[SpecName]) -> Result<Vec<SpecPlace>, ServiceError> {
    let base = root.join(folder::SPECS);
    let fail = |source| ServiceError::Io { path: base.clone(), source };
    let there: Vec<SpecName> = folder::discover_in(&base)
        .map_err(fail)?
        .into_iter()
        .filter_map(|name| SpecName::new(name).ok())
        .filter(|name| base.join(name.as_str()).join(TASKS).exists())
        .collect();
    let chosen = if named.is_empty() {
        let both: Vec<SpecName> = there.iter().filter(|name| known.contains(name)).cloned().collect();
        if both.is_empty() { there } else { both }
    } else {
        let mut chosen = Vec::new();
        for name in named {
            let name = SpecName::new(name.clone())?;
            if !there.contains(&name) {
                let names: Vec<&str> = there.iter().map(SpecName::as_str).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let text = format!("there is no {}/{name}/{TASKS} here; there are specs: {names}", folder::SPECS);
                return Err(ServiceError::Usage(text));
            }
            if !chosen.contains(&name) {
                chosen.push(name);
            }
        }
        chosen
    };
    let root = root.canonicalize().map_err(|source| ServiceError::Io { path: root.to_owned(), source })?;
    chosen.into_iter().map(|spec| place(&root, &base, spec)).collect()
}

/// The tasks.md of one spec of a checkout.
///
/// # Errors
/// When there is none, or it is outside of the checkout. Blocking.
pub(crate) fn file(repository: &str, cwd: &Path, spec: SpecName) -> Result<SpecPlace, ServiceError> {
    let root = root_of(Path::new(repository), cwd)?;
    let mut places = choose(&root, &[spec.to_string()], &[])?;
    places.pop().ok_or_else(|| ServiceError::Internal(format!("no file of the spec `{spec}`")))
}

/// Where a spec's file really is. A link may lead to another place of the checkout, and no further.
fn place(root: &Path, base: &Path, spec: SpecName) -> Result<SpecPlace, ServiceError> {
    let shown = base.join(spec.as_str()).join(TASKS);
    let path = shown.canonicalize().map_err(|source| ServiceError::Io { path: shown.clone(), source })?;
    if !path.starts_with(root) {
        let text = format!("`{}` is a link out of the checkout, which is not followed", shown.display());
        return Err(ServiceError::Usage(text));
    }
    if path.to_str().is_none() {
        return Err(ServiceError::Usage(format!("the path of `{}` is no UTF-8", shown.display())));
    }
    Ok(SpecPlace { spec, path })
}
