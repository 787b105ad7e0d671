//! Looking after a registry as a whole: proving it, making its projections anew, saving and restoring it, and
//! its locks. What only reads works beside a run; what changes something needs the state directory for itself.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

use super::blocking::blocking;
use super::control::Owned;
use super::error::ServiceError;
use super::records::existing_state;
use super::setup::{self, owned_registry};
use super::state_dir::StateDir;
use crate::clock::Clock;
use crate::registry::{
    self, BackedUp, BackupStep, Checked, HeldLock, Lease, Reader, Registry, RegistryError, Restored, VerifyReport,
};
use crate::store::BlobStore;

/// Folder of backups in a state directory.
const BACKUPS: &str = "backups";

/// Told what is being done; called from another thread.
pub type OnStep = Box<dyn FnMut(BackupStep) + Send>;

/// Which state directory.
#[derive(Debug, Clone)]
pub struct At {
    /// The repository.
    pub repository: String,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
    /// The state directory; absent: its usual place.
    pub state: Option<PathBuf>,
}

impl At {
    fn existing(&self) -> Result<StateDir, ServiceError> {
        existing_state(&self.repository, &self.cwd, self.state.as_deref())
    }
}

/// What is wrong with a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Nothing is.
    pub passed: bool,
    /// Problems of the database's file; only then the projections were not looked at.
    pub file: Vec<String>,
    /// Where the projections are not what the log says.
    #[serde(flatten)]
    pub report: VerifyReport,
}

/// Compares every row of the projections with what the log says. Changes nothing, and may be done while a run
/// goes on.
///
/// # Errors
/// When there is no registry, or it cannot be read at all.
pub async fn verify(at: At, mut seen: OnStep) -> Result<Verified, ServiceError> {
    blocking(move || {
        let reader = reader(&at.existing()?)?;
        let file = reader.check_file()?;
        let report = match file[..] {
            [] => reader.verify_telling(&mut |done, total| seen(BackupStep::Events(done, total)))?,
            _ => VerifyReport::default(),
        };
        Ok(Verified { passed: file.is_empty() && report.passed(), file, report })
    })
    .await
}

/// Makes the projections anew from the log, whole or not at all. Gives what had been different.
///
/// # Errors
/// When somebody else owns the state directory; when the log cannot be read: then nothing is changed.
pub async fn rebuild(at: At, clock: Arc<dyn Clock>) -> Result<VerifyReport, ServiceError> {
    let state = blocking(move || at.existing()).await?;
    let (owned, registry) = own(&state, clock).await?;
    let report = registry.rebuild().await;
    close(owned, registry).await?;
    Ok(report?)
}

/// Makes a backup, also while a run goes on: at `to`, or in a new folder of the state directory.
///
/// # Errors
/// [`registry::BackupError`]; then there is none.
pub async fn back_up(
    at: At,
    to: Option<PathBuf>,
    copy: bool,
    clock: Arc<dyn Clock>,
    mut seen: OnStep,
) -> Result<BackedUp, ServiceError> {
    let now = clock.now();
    blocking(move || {
        let state = at.existing()?;
        let blobs = BlobStore::open_existing(state.blobs());
        let to = match to {
            Some(to) => at.cwd.join(to),
            None => state.root().join(BACKUPS).join(now.strftime("%Y-%m-%dT%H-%M-%SZ").to_string()),
        };
        Ok(registry::back_up((&state.registry(), &blobs), &to, now, copy, &mut *seen)?)
    })
    .await
}

/// Looks at every byte of a backup, and changes nothing.
///
/// # Errors
/// [`registry::BackupError`] names every file that is not as it was.
pub async fn check(backup: PathBuf, mut seen: OnStep) -> Result<Checked, ServiceError> {
    blocking(move || Ok(registry::check_backup(&backup, &mut *seen)?)).await
}

/// Puts a backup in the place of a registry, or where none was yet.
///
/// # Errors
/// When somebody else owns the state directory; [`registry::BackupError`]. Then nothing is changed.
pub async fn restore(
    at: At,
    backup: PathBuf,
    force: bool,
    clock: Arc<dyn Clock>,
    mut seen: OnStep,
) -> Result<Restored, ServiceError> {
    let now = clock.now();
    let (checked, state, mut seen) = blocking(move || {
        // Nothing is made for a backup that is none.
        let checked = registry::check_backup(&backup, &mut *seen)?;
        Ok((checked, made(&at)?, seen))
    })
    .await?;
    let (stop, _) = watch::channel(false);
    let owned = Owned::take(&state, now, &stop)?;
    let restored = blocking(move || {
        let blobs = BlobStore::own(state.blobs())?;
        Ok(registry::restore(&checked, (&state.registry(), &blobs), now, force, &mut *seen)?)
    })
    .await;
    drop(owned);
    restored
}

/// The locks that somebody has.
///
/// # Errors
/// When there is no registry, or it cannot be read.
pub async fn locks(at: At, clock: Arc<dyn Clock>) -> Result<Vec<HeldLock>, ServiceError> {
    blocking(move || Ok(reader(&at.existing()?)?.locks(clock.now())?)).await
}

/// Gives a lock back that nobody will give back any more.
///
/// # Errors
/// When somebody else owns the state directory, when there is no such lock, and when its holder can be gone on
/// with, unless `force` is set.
pub async fn release_lock(at: At, name: String, force: bool, clock: Arc<dyn Clock>) -> Result<Lease, ServiceError> {
    let state = blocking(move || at.existing()).await?;
    let (owned, registry) = own(&state, clock).await?;
    let released = registry.release_lock(&name, force).await;
    let known = registry.read(|reader| reader.leases(Some(registry::LeaseKind::Lock))).await;
    close(owned, registry).await?;
    match released {
        Ok(Some(lease)) => Ok(lease),
        Ok(None) => {
            let known: Vec<String> = known?.into_iter().map(|lease| format!("`{}`", lease.name)).collect();
            let known =
                if known.is_empty() { "none is held".to_owned() } else { format!("held: {}", known.join(", ")) };
            Err(ServiceError::Usage(format!("nobody has a lock `{name}`; {known}")))
        }
        Err(RegistryError::Held { name, holder, .. }) => Err(ServiceError::Usage(format!(
            "`{name}` is held by the attempt {holder}, which is not over: gone on with (`necro-host resume`) it \
             believes that it has the lock; --force takes it all the same"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Takes the state directory and opens its registry.
pub(crate) async fn own(state: &StateDir, clock: Arc<dyn Clock>) -> Result<(Owned, Registry), ServiceError> {
    // Whoever asks this process to stop waits for its end, which is soon.
    let (stop, _) = watch::channel(false);
    let owned = Owned::take(state, clock.now(), &stop)?;
    let registry = owned_registry(state, clock).await?;
    Ok((owned, registry))
}

/// Closes the database before the state directory is given up.
pub(crate) async fn close(owned: Owned, registry: Registry) -> Result<(), ServiceError> {
    let closed = blocking(move || {
        drop(registry);
        Ok(())
    })
    .await;
    drop(owned);
    closed
}

/// The state directory of `at`, made when it is missing.
pub(crate) fn made(at: &At) -> Result<StateDir, ServiceError> {
    let source = setup::source(&at.repository, &at.cwd)?;
    let path = setup::state_path(&source, &at.cwd, at.state.as_deref());
    Ok(StateDir::create(&path, setup::work_tree(&source))?)
}

pub(crate) fn reader(state: &StateDir) -> Result<Reader, ServiceError> {
    let blobs = BlobStore::open_existing(state.blobs());
    Ok(Reader::open(&state.registry(), blobs)?)
}
