//! Slots: work trees that attempts hold one at a time. A slot that is given out is provably clean,
//! and what nobody saved is saved before it is cleaned away.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::WorkspaceError;
use super::objects::TreeId;
use super::place::{Place, Prepared};
use super::pool::{Inner, SlotPool};
use super::snapshot::Snapshot;
use crate::domain::id::{CommitId, SlotId};
use crate::domain::pool::CacheMode;
use crate::domain::pool::Release;

/// A slot that is held. Dropping it gives it back as it is; [`Slot::release`] cleans it first.
#[derive(Debug)]
pub struct Slot {
    pub(crate) place: Arc<Place>,
    pool: Arc<Inner>,
    number: u32,
    /// Until it is given back.
    lease: Option<String>,
    /// When it was asked for, until it was made ready for the first time.
    asked: Mutex<Option<Duration>>,
    /// The lock that says to other processes that this one has the slot.
    held: Option<File>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.place.close();
        // Before the record says that it is free: whoever is lent it takes this lock.
        drop(self.held.take());
        if let Some(lease) = self.lease.take() {
            self.pool.put_down(self.number, &lease);
        }
    }
}

impl Slot {
    /// A handle on a slot that was lent by `lease`; `asked` is when it was wished for.
    pub(super) fn new(
        pool: &SlotPool,
        number: u32,
        id: SlotId,
        lease: Option<String>,
        asked: Duration,
        held: Option<File>,
    ) -> Self {
        let place = Arc::new(Place::new(pool.mirror(), number, id));
        let (pool, asked) = (Arc::clone(&pool.inner), Mutex::new(Some(asked)));
        Self { place, pool, number, lease, asked, held }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SlotId {
        self.place.id()
    }

    /// The work tree, an absolute path.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        &self.place.work
    }

    /// A folder for the home and temporary files of commands; emptied when the slot is prepared.
    #[must_use]
    pub fn scratch_dir(&self) -> PathBuf {
        self.place.scratch()
    }

    /// What tools in the work tree read history from: the slot's own `git/`, and the objects that it names.
    #[must_use]
    pub fn history_dirs(&self) -> Vec<PathBuf> {
        vec![self.place.tool_repository(), self.place.mirror.path().join("objects")]
    }

    /// Makes the work tree exactly what `commit` holds: nothing changed, nothing extra, ignored files
    /// gone too. Unsaved work is saved first; `now` dates that commit.
    ///
    /// # Errors
    /// [`WorkspaceError`]: the commit is not there, the disk is full, or something keeps writing.
    pub async fn prepare(&self, commit: &CommitId, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        let prepared = self.place.prepare(commit, now).await;
        self.note(commit, &prepared).await?;
        if prepared.is_ok() {
            self.place.seed_caches(commit, self.pool.caches(), now).await;
        }
        prepared
    }

    /// Keeps the dependencies that were built in the slot, for slots with the same lock file. Only for a slot whose
    /// gate was green on what is now merged.
    pub(crate) async fn keep_caches(&self, now: jiff::Timestamp) {
        let _busy = self.place.busy.lock().await;
        if self.pool.caches() != CacheMode::Off
            && let Err(error) = self.place.keep_caches(now).await
        {
            tracing::warn!(slot = %self.place.id(), "no cache was made: {}", error.in_words());
        }
    }

    /// Writes down that the slot is ready, or that it cannot be trusted.
    async fn note(&self, commit: &CommitId, prepared: &Result<Prepared, WorkspaceError>) -> Result<(), WorkspaceError> {
        match prepared {
            Ok(_) => {
                let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (took, at) = (asked.map(|asked| self.pool.since(asked)), commit.clone());
                self.pool.settle(self.number, move |record, _| record.prepared(at, took)).await
            }
            Err(error) if error.is_of_slot() => {
                let reason = error.in_words();
                self.pool.settle(self.number, move |record, now| record.prepare_failed(&reason, now)).await
            }
            Err(_) => Ok(()),
        }
    }

    /// Makes the work tree exactly what a recorded `tree` holds, in the same way.
    ///
    /// # Errors
    /// As [`Slot::prepare`].
    pub async fn restore(&self, tree: &TreeId, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        let wanted = tree.clone();
        self.place.mirror.objects(move |o| super::objects::find_tree(&o.open()?, &wanted).map(|_| ())).await?;
        let rescued = self.place.save_unsaved(now).await?;
        // It stays unsaved: no ref need hold this tree.
        self.place.check_out(tree).await?;
        Ok(Prepared { rescued })
    }

    /// The work tree as a git tree, without ignored files.
    ///
    /// # Errors
    /// [`WorkspaceError`]: a file can't be read, too much changed, or the disk is full.
    pub async fn snapshot(&self) -> Result<Snapshot, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        self.place.snapshot().await
    }

    /// Says that a tree is kept elsewhere (in a commit that was merged, say), so that cleaning need
    /// not save it.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub async fn mark_saved(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        self.place.remember(tree).await
    }

    /// Takes [`mark_saved`](Self::mark_saved) back: what had saved the tree is gone.
    ///
    /// # Errors
    /// [`WorkspaceError::Io`].
    pub async fn forget_saved(&self, tree: &TreeId) -> Result<(), WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        self.place.forget(tree).await
    }

    /// Cleans the slot back to the commit that it was prepared for, and gives it back.
    ///
    /// # Errors
    /// As [`Slot::prepare`]; the slot is given back all the same, and cleaned before its next use, or isolated when
    /// it could not be cleaned twice in a row.
    pub async fn release(self, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let cleaned = self.begin_release(now).await;
        self.finish_release(&cleaned).await?;
        cleaned
    }

    /// The first half of [`Slot::release`]: nobody else is lent the slot before the second.
    pub(crate) async fn begin_release(&self, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let nothing = Ok(Prepared { rescued: None });
        let Some(lease) = &self.lease else { return nothing };
        if self.pool.begin_release(self.number, lease).await? == Release::Before {
            return nothing;
        }
        let _busy = self.place.busy.lock().await;
        match self.place.base().await? {
            Some(commit) => self.place.prepare(&commit, now).await,
            None => nothing,
        }
    }

    /// The second half: `cleaned` is what the first gave.
    pub(crate) async fn finish_release(
        mut self,
        cleaned: &Result<Prepared, WorkspaceError>,
    ) -> Result<(), WorkspaceError> {
        let Some(lease) = self.lease.clone() else { return Ok(()) };
        let base = self.place.base().await?;
        let outcome = match cleaned {
            Ok(prepared) => Ok(prepared.rescued.is_some()),
            Err(error) => Err(error.in_words()),
        };
        // Before the record says that it is free: whoever is lent it takes this lock.
        drop(self.held.take());
        self.pool
            .settle(self.number, move |record, now| {
                // It may have been taken by force meanwhile: then it is not this holder's to give back.
                if record.lease.as_ref().is_some_and(|held| held.id == lease) {
                    match outcome {
                        Ok(rescued) => record.cleaned(base, rescued, now),
                        Err(reason) => record.clean_failed(&reason, now),
                    }
                }
            })
            .await?;
        self.lease = None;
        Ok(())
    }

    /// Saves what exists nowhere else, without cleaning.
    pub(super) async fn save(&self, now: jiff::Timestamp) -> Result<Prepared, WorkspaceError> {
        let _busy = self.place.busy.lock().await;
        Ok(Prepared { rescued: self.place.save_unsaved(now).await? })
    }

    /// Lets go of the slot without giving it back: its lease goes on. Gives its number.
    pub(super) fn give_up(mut self) -> u32 {
        self.lease = None;
        drop(self.held.take());
        self.number
    }

    /// Keeps the slot lent after this process has ended; gives the lease that gives it back.
    #[must_use]
    pub fn keep(mut self) -> Option<String> {
        self.lease.take()
    }
}
