//! Another component for a seat while the host works: it is verified, compiled, tested, and shown what was decided
//! before it decides anything; then its seating is recorded, and one pointer exchanged. Whatever fails on the way
//! changes nothing. A rollback seats one that sat there before.

mod self_test;
mod start;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blocking::blocking;
use super::control::{self, Answer, Command, ControlError};
use super::error::ServiceError;
use super::office::Office;
use super::plugins::shelf::{self, PluginFile};
use super::plugins::{PluginSet, PluginSource, Seated, Shelf, from_store, keep, seat};
use super::progress::Progress;
use super::replay::{SHADOWED, Shadow, shadow};
use super::seats::{Seats, component_of, seat_of};
use super::state_dir::StateDir;
use crate::config::Config;
use crate::domain::assignment::RoleInfo;
use crate::domain::event::{Body, Event, Subject};
use crate::domain::id::{Digest, Role, RunId};
use crate::domain::seat::{self as history, Component, Seat, SeatedBy, Seating, ShadowCounts};
use crate::plugin::{Expectation, Plugin, PluginKind, builtin};
use crate::store::{BlobStore, digest_of};

pub(crate) use start::{Tried, before_start, started};

/// A change of who sits where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum SeatChange {
    /// Seats another component.
    Swap(Swap),
    /// Seats one that sat there before.
    Rollback(Rollback),
}

/// What to seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// Whose place it takes: that of its kind, its role, or its name.
    pub kind: PluginKind,
    /// Where it comes from.
    pub source: SwapSource,
    /// It is refused when it would change more of the recorded decisions; absent: however many.
    pub max_changed: Option<u64>,
    /// It is shown so many of the newest decisions; absent: [`SHADOWED`].
    pub last: Option<u32>,
}

/// Where the component comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum SwapSource {
    /// A file, as whoever asks has seen it.
    File {
        /// Where, absolute.
        path: PathBuf,
        /// SHA-256 of what stands there.
        digest: Digest,
    },
    /// Of the built-in set, or installed.
    Named {
        /// Its name.
        name: String,
    },
}

/// Which seat is to go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// A kind, or a seat such as `spirit/backend`.
    pub seat: String,
    /// First digits of the component's digest; absent: the one before.
    pub to: Option<String>,
}

/// What a change of a seat came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatChanged {
    /// Why it was refused; nothing is changed then.
    pub refused: Option<String>,
    /// Which seat, such as `routing` or `spirit/backend`.
    pub seat: String,
    /// spirit, routing, scheduling or review.
    pub kind: PluginKind,
    /// Who sits there, or would.
    #[serde(flatten)]
    pub component: Component,
    /// Who sat there.
    pub replaces: Option<Component>,
    /// By what.
    pub by: SeatedBy,
    /// The run that it is for; absent: for what is decided outside of runs.
    pub run: Option<RunId>,
    /// What it would have decided otherwise; absent for spirits and rollbacks.
    pub shadow: Option<Shadow>,
}

/// Where components of an owner come from, and how they are set up.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// Settings and limits.
    pub(crate) config: Config,
    /// Where the lock file lies.
    pub(crate) root: PathBuf,
    /// The state directory.
    pub(crate) state: PathBuf,
}

impl Ground {
    /// What is installed and granted now.
    async fn shelf(&self) -> Result<Shelf, ServiceError> {
        let (root, state) = (self.root.clone(), self.state.clone());
        blocking(move || Shelf::open(&root, &state)).await
    }
}

/// Digest of a component's file, so that the owner takes what whoever asks has seen. Blocking.
///
/// # Errors
/// When it cannot be read, or is larger than a component may be.
pub fn file_digest(path: &Path) -> Result<Digest, ServiceError> {
    Ok(digest_of(&shelf::file_bytes(path)?))
}

/// Asks the owner of the state directory for the change.
///
/// # Errors
/// [`ControlError::Nobody`] when there is none: then there is nothing to be swapped. Otherwise why the owner did
/// not do it.
pub async fn ask(state: &StateDir, change: SeatChange) -> Result<SeatChanged, ServiceError> {
    let begun = tokio::time::Instant::now();
    loop {
        let refused = match control::ask(state, &Command::Seat(change.clone())).await {
            Ok(Answer::Seat(changed)) => return Ok(*changed),
            Ok(other) => return Err(ServiceError::Internal(format!("the owner answered {other:?}"))),
            Err(error @ ControlError::Nobody { .. }) => return Err(error.into()),
            Err(error) => error,
        };
        super::office::until_heard(begun, refused).await?;
    }
}

/// A component that may take its seat.
struct Candidate {
    seated: Seated,
    role: Option<RoleInfo>,
    shelf: Shelf,
}

impl Candidate {
    /// Tests a component that was loaded.
    async fn of(ground: &Ground, shelf: Shelf, plugin: Arc<Plugin>, named: &str) -> Result<Self, ServiceError> {
        let approvals = shelf.approvals();
        approvals.check(&plugin, named)?;
        let seated = seat(&ground.config, &approvals, plugin)?;
        let role = self_test::pass(&seated).await?;
        Ok(Self { seated, role, shelf })
    }

    fn plugin(&self) -> &Plugin {
        &self.seated.plugin
    }

    fn role(&self) -> Option<&Role> {
        self.role.as_ref().map(|info| &info.role)
    }

    fn seat(&self) -> Seat {
        seat_of(self.plugin(), self.role())
    }
}

/// Makes the change, or says why not.
///
/// # Errors
/// Why not, but for too many decisions that would change, which the answer says.
pub(crate) async fn make(office: &Office, change: SeatChange) -> Result<SeatChanged, ServiceError> {
    let seats = office.seats().await?;
    let _alone = seats.alone().await;
    match change {
        SeatChange::Swap(wanted) => swap(office, &seats, wanted).await,
        SeatChange::Rollback(wanted) => roll_back(office, &seats, wanted).await,
    }
}

async fn swap(office: &Office, seats: &Seats, wanted: Swap) -> Result<SeatChanged, ServiceError> {
    let set = seats.now();
    let shelf = office.ground.shelf().await?;
    let (plugin, named) = load(&set, &shelf, &wanted).await?;
    let candidate = Candidate::of(&office.ground, shelf, plugin, &named).await?;
    let sitting = free_for(&set, &candidate)?;
    let shadow = match wanted.kind {
        PluginKind::Spirit => None,
        _ => Some(shadow(office.registry(), &candidate.seated, wanted.last.unwrap_or(SHADOWED)).await?),
    };
    let refused = shadow.as_ref().and_then(|shadow| too_many(shadow, wanted.max_changed));
    let changed = changed(office, &candidate, sitting, SeatedBy::Swap, shadow);
    if refused.is_some() {
        return Ok(SeatChanged { refused, ..changed });
    }
    take(office, seats, candidate, changed).await
}

/// Why so many changes are too many.
fn too_many(shadow: &Shadow, max_changed: Option<u64>) -> Option<String> {
    let max_changed = max_changed.filter(|max| shadow.changed > *max)?;
    let Shadow { decisions, changed, .. } = shadow;
    Some(format!("it would change {changed} of {decisions} recorded decisions, and {max_changed} may"))
}

/// Loads the component in the owner's engine. Gives it with what people call it.
async fn load(set: &PluginSet, shelf: &Shelf, wanted: &Swap) -> Result<(Arc<Plugin>, String), ServiceError> {
    match &wanted.source {
        SwapSource::Named { name } => {
            let source = PluginSource::Named(name.clone());
            Ok((shelf.load(&set.engine, wanted.kind, &source).await?, name.clone()))
        }
        SwapSource::File { path, digest } => {
            let named = path.display().to_string();
            let file = PluginFile::read(path).await?;
            if digest_of(&file.bytes) != *digest {
                let text = format!("`{named}` is another file by now: type the command again");
                return Err(ServiceError::Usage(text));
            }
            Ok((file.load(&set.engine, Expectation::Kind(wanted.kind)).await?, named))
        }
    }
}

/// Who sits where the candidate would; none where a heuristic joins.
fn free_for(set: &PluginSet, candidate: &Candidate) -> Result<Option<Component>, ServiceError> {
    let seat = candidate.seat();
    let sitting = set.sitting(&seat).map(|seated| component_of(&seated.plugin));
    if sitting.is_none() && candidate.plugin().kind == PluginKind::Spirit {
        let role = candidate.role().map_or("none", Role::as_str);
        let roles: Vec<&str> = set.spirits.keys().map(Role::as_str).collect();
        return Err(ServiceError::Usage(format!(
            "`{}` plays the role {role}, and nobody here does; roles are: {}",
            candidate.plugin().name,
            roles.join(", ")
        )));
    }
    if sitting.as_ref().is_some_and(|sitting| sitting.digest == candidate.plugin().digest) {
        let name = &candidate.plugin().name;
        return Err(ServiceError::Usage(format!("`{name}` is this very component already: nothing is to be changed")));
    }
    Ok(sitting)
}

fn changed(
    office: &Office,
    candidate: &Candidate,
    replaces: Option<Component>,
    by: SeatedBy,
    shadow: Option<Shadow>,
) -> SeatChanged {
    SeatChanged {
        refused: None,
        seat: candidate.seat().to_string(),
        kind: candidate.plugin().kind,
        component: component_of(candidate.plugin()),
        replaces,
        by,
        run: office.run.as_ref().map(|(run, _)| run.clone()),
        shadow,
    }
}

/// Counts of a shadow replay, for the record.
fn counts(shadow: &Shadow) -> ShadowCounts {
    let Shadow { decisions, changed, failed, not_tried: _, first: _ } = shadow;
    ShadowCounts { decisions: *decisions, changed: *changed, failed: *failed }
}

/// Keeps the component's bytes, records that it was seated, and seats it.
async fn take(
    office: &Office,
    seats: &Seats,
    candidate: Candidate,
    changed: SeatChanged,
) -> Result<SeatChanged, ServiceError> {
    let (blobs, plugin) = (office.registry().blobs().clone(), Arc::clone(&candidate.seated.plugin));
    blocking(move || Ok(keep(&plugin, &blobs)?)).await?;
    let body = Body::PluginSeated {
        kind: changed.kind.as_str().to_owned(),
        name: changed.component.name.clone(),
        digest: changed.component.digest.clone(),
        role: candidate.role().cloned(),
        replaces: changed.replaces.clone(),
        by: changed.by,
        shadow: changed.shadow.as_ref().map(counts),
    };
    let (run, spec) = office.run.clone().unzip();
    office.registry().append(Subject { run, spec, ..Subject::default() }, vec![body]).await?;
    let Candidate { seated, role, shelf } = candidate;
    seats.exchange(seats.now().with(seated, role, shelf.approvals()));
    office.scene.observer.observe(&Progress::Seated {
        seat: changed.seat.clone(),
        name: changed.component.name.clone(),
        digest: changed.component.digest.clone(),
        replaces: changed.replaces.as_ref().map(|replaced| replaced.name.clone()),
    });
    Ok(changed)
}

async fn roll_back(office: &Office, seats: &Seats, wanted: Rollback) -> Result<SeatChanged, ServiceError> {
    let set = seats.now();
    let run = office.run.as_ref().map(|(run, _)| run.clone());
    let events = office.registry().read(|reader| reader.seatings()).await?;
    let (seat, component) = target(&set, &events, run.as_ref(), &wanted)?;
    let kind = PluginKind::by_name(&seat.kind)
        .ok_or_else(|| ServiceError::Internal(format!("`{seat}` is the seat of no kind of plugin")))?;
    let bytes = bytes(office.registry().blobs(), &component).await?;
    let plugin = set.engine.load(&component.name, bytes, Expectation::Kind(kind)).await?;
    let shelf = office.ground.shelf().await?;
    let candidate = Candidate::of(&office.ground, shelf, plugin, &component.name).await?;
    let sitting = free_for(&set, &candidate)?;
    let changed = changed(office, &candidate, sitting, SeatedBy::Rollback, None);
    take(office, seats, candidate, changed).await
}

/// The bytes of a component that has been seated once, or comes with the host.
async fn bytes(blobs: &BlobStore, component: &Component) -> Result<Vec<u8>, ServiceError> {
    match builtin::of_digest(&component.digest) {
        Some(entry) => Ok(entry.bytes.to_vec()),
        None => from_store(blobs, &component.digest, &component.name).await,
    }
}

/// Which seat goes back to which component. Without a digest the run's own history says it.
fn target(
    set: &PluginSet,
    events: &[Event],
    run: Option<&RunId>,
    wanted: &Rollback,
) -> Result<(Seat, Component), ServiceError> {
    let all = || events.iter().filter_map(|event| Some((event, Seating::of(&event.body)?)));
    let of_run: Vec<Seating> =
        all().filter(|(event, _)| event.subject.run.as_ref() == run).map(|(_, seating)| seating).collect();
    let seat = {
        let here = of_run.iter().map(|seating| &seating.seat);
        // Any component that was ever seated can be named.
        let ever: Vec<Seat> = all().map(|(_, seating)| seating.seat).collect();
        let known: Vec<&Seat> = if wanted.to.is_some() { ever.iter().collect() } else { here.collect() };
        one_seat(&known, &wanted.seat)?
    };
    let component = match &wanted.to {
        None => {
            let history: Vec<Seating> = of_run.into_iter().filter(|seating| seating.seat == seat).collect();
            let nobody = || ServiceError::Usage(format!("nobody sat in `{seat}` before the one who sits there"));
            let sitting = set.sitting(&seat).map(|seated| &seated.plugin.digest);
            sitting.and_then(|sitting| history::before(&history, sitting)).cloned().ok_or_else(nobody)?
        }
        Some(prefix) => {
            let newest_first = all().map(|(_, seating)| seating).collect::<Vec<_>>().into_iter().rev();
            let mut reachable = history::reachable(newest_first);
            one_component(&reachable.remove(&seat).unwrap_or_default(), prefix, &seat)?
        }
    };
    Ok((seat, component))
}

fn one_seat(known: &[&Seat], text: &str) -> Result<Seat, ServiceError> {
    let mut meant: Vec<&Seat> = known.iter().filter(|seat| seat.is_meant_by(text)).copied().collect();
    meant.sort();
    meant.dedup();
    match meant[..] {
        [seat] => Ok(seat.clone()),
        [] => Err(ServiceError::Usage(format!(
            "nothing was seated in `{text}` yet, so that there is no way back: `necro-host plugin history` lists what was"
        ))),
        _ => {
            let names: Vec<String> = meant.iter().map(ToString::to_string).collect();
            Err(ServiceError::Usage(format!("`{text}` are several seats: write one of {}", names.join(", "))))
        }
    }
}

fn one_component(known: &[Component], prefix: &str, seat: &Seat) -> Result<Component, ServiceError> {
    let meant: Vec<&Component> = known.iter().filter(|known| known.digest.as_str().starts_with(prefix)).collect();
    let listed = || {
        let lines = known.iter().map(|Component { name, digest }| format!("{name} ({digest})"));
        lines.collect::<Vec<_>>().join(", ")
    };
    match meant[..] {
        [component] => Ok(component.clone()),
        [] => Err(ServiceError::Usage(format!(
            "of those that sat in `{seat}` and can be seated again none begins with {prefix}: they are {}",
            listed()
        ))),
        _ => Err(ServiceError::Usage(format!("{prefix} is the beginning of several: {}", listed()))),
    }
}

#[cfg(test)]
mod tests;
