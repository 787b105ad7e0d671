//! Dropping journals by age and size: by the owner of the state directory when there is one, and by this
//! process, as its owner, otherwise.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::blocking::blocking;
use super::control::{self, Answer, Command, Owned};
use super::error::{ServiceError, chain};
use super::records::existing_state;
use super::setup::owned_registry;
use super::state_dir::{StateDir, StateDirError};
use crate::clock::Clock;
use crate::registry::{self, PruneChoice, PruneReport, Reader, Registry};
use crate::store::BlobStore;

/// While a run goes on, blobs that are younger than this stay: the rows that name them may be on their way.
const GRACE: Duration = Duration::from_secs(3600);

/// Which journals may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneOptions {
    /// Those of runs that ended longer ago than so many seconds.
    #[serde(default)]
    pub older_than_s: Option<u64>,
    /// The oldest ones, until no more than so many bytes of journals are left.
    #[serde(default)]
    pub keep_bytes: Option<u64>,
}

/// Where, and whether really.
#[derive(Debug, Clone)]
pub struct PruneRequest {
    /// The repository.
    pub repository: String,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
    /// The state directory; absent: its usual place.
    pub state: Option<PathBuf>,
    /// Which journals.
    pub options: PruneOptions,
    /// Only look.
    pub dry_run: bool,
}

/// What went, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Nothing was changed.
    pub dry_run: bool,
    /// What.
    #[serde(flatten)]
    pub report: PruneReport,
    /// The database's file; absent when it was not made smaller.
    pub file: Option<FileSize>,
    /// Why it was not, when that was tried.
    #[serde(skip)]
    pub not_shrunk: Option<String>,
}

/// Size of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FileSize {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// Drops journals, or says what would go.
///
/// # Errors
/// [`ServiceError::Usage`] when nothing was chosen; when there is an owner that does not answer; when the
/// registry cannot be written.
pub async fn prune(request: PruneRequest, clock: Arc<dyn Clock>) -> Result<Pruned, ServiceError> {
    let PruneRequest { repository, cwd, state, options, dry_run } = request;
    let choice = choice(&options, clock.now())?;
    let state = blocking(move || existing_state(&repository, &cwd, state.as_deref())).await?;
    if dry_run {
        let report = blocking(move || {
            let blobs = BlobStore::open(state.blobs())?;
            Ok(Reader::open(&state.registry(), blobs)?.prune_plan(&choice)?)
        });
        return Ok(Pruned { dry_run, report: report.await?, file: None, not_shrunk: None });
    }
    // Whoever asks this process to stop waits for its end, which is soon.
    let (stop, _) = watch::channel(false);
    match Owned::take(&state, clock.now(), &stop) {
        Ok(owned) => {
            let pruned = alone(&state, choice, clock).await;
            drop(owned);
            pruned
        }
        Err(StateDirError::Held { .. }) => match control::ask(&state, &Command::Prune(options)).await? {
            Answer::Prune(report) => Ok(Pruned { dry_run, report, file: None, not_shrunk: None }),
            other => Err(ServiceError::Internal(format!("the owner answered {other:?}"))),
        },
        Err(error) => Err(error.into()),
    }
}

/// As the owner, with nothing else going on.
async fn alone(state: &StateDir, choice: PruneChoice, clock: Arc<dyn Clock>) -> Result<Pruned, ServiceError> {
    let registry = owned_registry(state, clock).await?;
    let report = registry.prune(choice, Duration::ZERO).await?;
    let path = state.registry();
    let shrunk = blocking(move || {
        // Closes the database first.
        drop(registry);
        Ok(registry::shrink(&path))
    });
    let (file, not_shrunk) = match shrunk.await? {
        Ok((before, after)) => (Some(FileSize { before, after }), None),
        // What was to go is gone; the file is made smaller the next time.
        Err(error) => (None, Some(chain(&error))),
    };
    Ok(Pruned { dry_run: false, report, file, not_shrunk })
}

/// As the owner, beside a run.
pub(crate) async fn while_working(registry: &Registry, options: &PruneOptions) -> Result<PruneReport, ServiceError> {
    let choice = choice(options, registry.now())?;
    Ok(registry.prune(choice, GRACE).await?)
}

fn choice(options: &PruneOptions, now: jiff::Timestamp) -> Result<PruneChoice, ServiceError> {
    let PruneOptions { older_than_s, keep_bytes } = options;
    if older_than_s.is_none() && keep_bytes.is_none() {
        let text = "say which journals may go: `--older-than 30d` by age, `--keep-size 2GiB` by size, or both; \
                    --dry-run shows what they would drop";
        return Err(ServiceError::Usage(text.to_owned()));
    }
    // Before all time when it is longer ago than times go.
    let before = older_than_s.map(|age| now.checked_sub(Duration::from_secs(age)).unwrap_or(jiff::Timestamp::MIN));
    Ok(PruneChoice { before, keep_bytes: *keep_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_without_a_choice_and_no_age_is_too_long() {
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        assert!(matches!(choice(&PruneOptions::default(), now), Err(ServiceError::Usage(_))));
        for (age, before) in [(3600, "2026-11-22T09:00:00Z".parse().unwrap()), (u64::MAX, jiff::Timestamp::MIN)] {
            let options = PruneOptions { older_than_s: Some(age), keep_bytes: Some(7) };
            let expected = PruneChoice { before: Some(before), keep_bytes: Some(7) };
            assert_eq!(choice(&options, now).unwrap(), expected);
        }
    }
}
