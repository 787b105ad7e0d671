//! A spirit's changes of files in a folder that is nobody's slot, to make them again: the same rules, the
//! same bytes.

use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::tree::Tree;
use crate::domain::call::HostError;
use crate::domain::mask::Mask;
use crate::domain::work::{Edit, PlannedWrite};
use crate::workspace::WorkspaceError;

/// The files of one folder. No path and no link leads out of it.
#[derive(Debug, Clone)]
pub struct FolderFiles {
    tree: Arc<Tree>,
}

impl FolderFiles {
    /// Opens `root`; new contents are prepared in `temporary`, on the same file system. Blocking.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub fn open(root: &Path, temporary: &Path) -> Result<Self, WorkspaceError> {
        let open = |path: &Path| Dir::open_ambient_dir(path, ambient_authority()).map_err(WorkspaceError::io(path));
        Ok(Self { tree: Arc::new(Tree::new(open(root)?, open(temporary)?, Mask::default())) })
    }

    /// As [`WorkFiles::plan_write`](super::WorkFiles::plan_write).
    ///
    /// # Errors
    /// As there.
    pub async fn plan_write(&self, path: String, text: String) -> Result<PlannedWrite, HostError> {
        self.on_tree(move |tree| tree.plan_write(&path, text)).await
    }

    /// As [`WorkFiles::plan_apply`](super::WorkFiles::plan_apply).
    ///
    /// # Errors
    /// As there.
    pub async fn plan_apply(&self, edits: Vec<Edit>) -> Result<Vec<PlannedWrite>, HostError> {
        self.on_tree(move |tree| tree.plan_apply(&edits)).await
    }

    /// As [`WorkFiles::perform`](super::WorkFiles::perform).
    ///
    /// # Errors
    /// As there.
    pub async fn perform(&self, writes: Vec<PlannedWrite>) -> Result<(), HostError> {
        self.on_tree(move |tree| tree.perform(&writes)).await
    }

    /// As [`WorkFiles::remove`](super::WorkFiles::remove).
    ///
    /// # Errors
    /// As there.
    pub async fn remove(&self, path: String) -> Result<(), HostError> {
        self.on_tree(move |tree| tree.remove(&path)).await
    }

    async fn on_tree<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Tree) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let tree = Arc::clone(&self.tree);
        match tokio::task::spawn_blocking(move || f(&tree)).await {
            Ok(result) => result,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => Err(HostError::Cancelled("the host stops".to_owned())),
        }
    }
}
