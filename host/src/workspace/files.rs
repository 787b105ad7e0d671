//! The file access of a spirit: a work tree, opened once as a directory that no path and no link
//! leads out of. Configured secrets are masked in whatever is read.

use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::WorkspaceError;
use super::objects::TreeId;
use super::place::Place;
use super::slot::Slot;
use crate::domain::call::HostError;
use crate::domain::grant::Paths;
use crate::domain::mask::Mask;
use crate::domain::work::{Edit, Entry, FileStatus, FileText, LineRange, PlannedWrite, SearchHit, SearchQuery};
pub use folder::FolderFiles;
use search::Finder;
use tree::Tree;

mod edit;
mod folder;
mod search;
mod tree;

/// Most text that one read gives.
pub const MAX_READ_BYTES: usize = 256 * 1024;
/// Larger files are not read or edited at all.
pub const MAX_READABLE_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Largest text that is written.
pub const MAX_WRITE_BYTES: usize = 2 * 1024 * 1024;
/// Most entries of a listing.
pub const MAX_LIST_ENTRIES: usize = 5_000;
/// Most hits of a search.
pub const MAX_SEARCH_HITS: usize = 200;

/// The files of one slot, as a spirit sees them.
#[derive(Debug, Clone)]
pub struct WorkFiles {
    place: Arc<Place>,
    tree: Arc<Tree>,
}

impl WorkFiles {
    /// Opens the work tree of a prepared slot. It stays with that very directory: after the slot is
    /// prepared again, open it again.
    ///
    /// # Errors
    /// [`WorkspaceError::Replaced`], [`WorkspaceError::Io`].
    pub async fn open(slot: &Slot, mask: Mask) -> Result<Self, WorkspaceError> {
        let place = Arc::clone(&slot.place);
        super::blocking(move || {
            let temporary = place.temporary();
            std::fs::create_dir_all(&temporary).map_err(WorkspaceError::io(&temporary))?;
            let open = |path: &Path| Dir::open_ambient_dir(path, ambient_authority()).map_err(WorkspaceError::io(path));
            let tree = Tree::new(place.ground.open_work()?, open(&temporary)?, mask);
            Ok(Self { place, tree: Arc::new(tree) })
        })
        .await
    }

    /// The same files, as far as `paths` lets them be read and written. What lies outside is left out of
    /// listings, searches and differences, and denied otherwise.
    #[must_use]
    pub fn within(&self, paths: Paths) -> Self {
        Self { place: Arc::clone(&self.place), tree: Arc::new(self.tree.within(paths)) }
    }

    /// Text of a file, or of some of its lines; at most [`MAX_READ_BYTES`].
    ///
    /// # Errors
    /// `not-found`; `denied` for paths out of the tree; `invalid` for folders and binary files.
    pub async fn read(&self, path: String, lines: Option<LineRange>) -> Result<FileText, HostError> {
        self.on_tree(move |tree| tree.read(&path, lines)).await
    }

    /// Entries of a folder, sorted by path; with `recursive`, the files and links below it that git
    /// does not ignore.
    ///
    /// # Errors
    /// `not-found`; `denied`; `invalid` for files and for more than [`MAX_LIST_ENTRIES`].
    pub async fn list(&self, path: String, recursive: bool) -> Result<Vec<Entry>, HostError> {
        let known = if recursive { Some(self.known_paths().await?) } else { None };
        self.on_tree(move |tree| match known {
            Some(known) => tree.list_below(&path, known),
            None => tree.list(&path),
        })
        .await
    }

    /// Lines that match, in path and line order; at most [`MAX_SEARCH_HITS`].
    ///
    /// # Errors
    /// `invalid` for patterns that can't be used.
    pub async fn search(&self, query: SearchQuery) -> Result<Vec<SearchHit>, HostError> {
        let finder = Finder::new(&query, MAX_SEARCH_HITS)?;
        let known = self.known_paths().await?;
        self.on_tree(move |tree| tree.search(finder, known)).await
    }

    /// What differs from the tree `base`, sorted by path.
    ///
    /// # Errors
    /// `other`: the work tree can't be read.
    pub async fn status(&self, base: &TreeId) -> Result<Vec<FileStatus>, HostError> {
        let now = self.snapshot().await?;
        let base = base.clone();
        let changes = self.place.mirror.objects(move |objects| objects.changes(&base, &now)).await;
        let mut changes = changes.map_err(|e| other(&e))?;
        changes.retain(|file| self.tree.paths.may_read(&file.path));
        Ok(changes)
    }

    /// The difference from the tree `base` as a unified diff.
    ///
    /// # Errors
    /// `other`: the work tree can't be read.
    pub async fn diff(&self, base: &TreeId) -> Result<String, HostError> {
        let now = self.snapshot().await?;
        let base = base.clone();
        let paths = self.tree.paths.clone();
        let diff = self.place.mirror.objects(move |objects| objects.diff_of(&base, &now, &|path| paths.may_read(path)));
        let diff = diff.await.map_err(|e| other(&e))?;
        let mut text = self.tree.mask.apply(&diff.text);
        if diff.truncated {
            text.push_str("(the diff is too large to be shown whole; read single files)\n");
        }
        Ok(text)
    }

    /// What writing `text` to `path` would do.
    ///
    /// # Errors
    /// `denied`: the path leads out of the tree, or the text brings a mask back; `invalid`.
    pub async fn plan_write(&self, path: String, text: String) -> Result<PlannedWrite, HostError> {
        self.on_tree(move |tree| tree.plan_write(&path, text)).await
    }

    /// What applying all edits would do, one write for each file.
    ///
    /// # Errors
    /// `conflict` names every edit that does not fit; `denied`; `invalid`.
    pub async fn plan_apply(&self, edits: Vec<Edit>) -> Result<Vec<PlannedWrite>, HostError> {
        self.on_tree(move |tree| tree.plan_apply(&edits)).await
    }

    /// Does planned writes: each file gets its new content whole or keeps the old one, and no file
    /// changes before the content of all is written beside it.
    ///
    /// # Errors
    /// `denied`; `other` when the disk is full; `uncertain` when it broke off between two files.
    pub async fn perform(&self, writes: Vec<PlannedWrite>) -> Result<(), HostError> {
        self.on_tree(move |tree| tree.perform(&writes)).await
    }

    /// Where those of `paths` that are there really are, links resolved, whatever git thinks of them.
    ///
    /// # Errors
    /// `other`: the work tree was replaced; `cancelled`: the slot was given back.
    pub async fn present(&self, paths: Vec<String>) -> Result<Vec<String>, HostError> {
        self.on_tree(move |tree| Ok(paths.iter().filter_map(|path| tree.resolved(path)).collect())).await
    }

    /// Removes a file or a link.
    ///
    /// # Errors
    /// `not-found`; `denied`; `invalid` for folders.
    pub async fn remove(&self, path: String) -> Result<(), HostError> {
        self.on_tree(move |tree| tree.remove(&path)).await
    }

    async fn known_paths(&self) -> Result<Vec<String>, HostError> {
        let _busy = self.place.busy.lock().await;
        self.check_held()?;
        self.place.known_paths().await.map_err(|e| other(&e))
    }

    async fn snapshot(&self) -> Result<TreeId, HostError> {
        let _busy = self.place.busy.lock().await;
        self.check_held()?;
        self.place.snapshot().await.map(|s| s.tree).map_err(|e| other(&e))
    }

    fn check_held(&self) -> Result<(), HostError> {
        if self.place.is_held() { Ok(()) } else { Err(HostError::Cancelled("the slot was given back".to_owned())) }
    }

    async fn on_tree<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Tree) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        self.check_held()?;
        let (tree, ground) = (Arc::clone(&self.tree), Arc::clone(&self.place.ground));
        let checked = move || ground.check().map_err(|e| other(&e)).and_then(|()| f(&tree));
        match tokio::task::spawn_blocking(checked).await {
            Ok(result) => result,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => Err(HostError::Cancelled("the host stops".to_owned())),
        }
    }
}

#[cfg(test)]
impl WorkFiles {
    pub(crate) async fn write(&self, path: String, text: String) -> Result<(), HostError> {
        let planned = self.plan_write(path, text).await?;
        self.perform(vec![planned]).await
    }

    pub(crate) async fn apply(&self, edits: Vec<Edit>) -> Result<(), HostError> {
        let planned = self.plan_apply(edits).await?;
        self.perform(planned).await
    }
}

fn other(error: &WorkspaceError) -> HostError {
    HostError::Other(error.to_string())
}
