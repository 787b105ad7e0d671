//! Trees that a gate was green over, so that the very same tree is not gated twice, also after a restart. A file
//! beside the mirror that nothing depends on: without it, gates run again.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::clean::write;
use super::mirror::Mirror;
use super::objects::TreeId;
use super::{WorkspaceError, blocking};

/// Name of the file.
const NAME: &str = "gated";
/// Lines that it has at most; the oldest go first.
const MAX_LINES: usize = 1_000;
/// A file that is larger was not written here.
const MAX_BYTES: usize = 1024 * 1024;

impl Mirror {
    /// Trees over which `gate` was green; it is named by one word that says what it runs.
    ///
    /// # Errors
    /// [`WorkspaceError`]: not in this version; what cannot be read is not known.
    pub async fn gated(&self, gate: &str) -> Result<HashSet<TreeId>, WorkspaceError> {
        let (path, gate) = (self.dir().join(NAME), gate.to_owned());
        blocking(move || {
            let lines = lines(&path);
            let of_gate = lines.iter().filter_map(|line| line.split_once(' ')).filter(|(named, _)| *named == gate);
            Ok(of_gate.filter_map(|(_, tree)| TreeId::new(tree).ok()).collect())
        })
        .await
    }

    /// Writes down that `gate` was green over `tree`.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the file cannot be written.
    pub async fn note_gated(&self, gate: &str, tree: &TreeId) -> Result<(), WorkspaceError> {
        let (path, line) = (self.dir().join(NAME), format!("{gate} {tree}"));
        let notes = Arc::clone(&self.notes);
        blocking(move || {
            let _alone = notes.lock().unwrap_or_else(PoisonError::into_inner);
            let mut lines = lines(&path);
            lines.retain(|other| *other != line);
            lines.push(line);
            let from = lines.len().saturating_sub(MAX_LINES);
            write(&path, &(lines[from..].join("\n") + "\n"))
        })
        .await
    }
}

fn lines(path: &PathBuf) -> Vec<String> {
    let text = fs::read(path).ok().filter(|bytes| bytes.len() <= MAX_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}
