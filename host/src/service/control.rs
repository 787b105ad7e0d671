//! Commands from other terminals: what the owner of a state directory can be asked, and how that is
//! written. It listens on a socket there that only its user can open; one line of JSON asks, one line of
//! JSON answers, and then the connection is over. Nothing secret passes over it.
//!
//! A further command is one variant of [`Command`] with its name, and one of [`Answer`].

mod client;
mod listener;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::office::{Change, Changed};
use super::prune::PruneOptions;
use super::specsync::{SpecPlace, Synced};
use super::swap::{SeatChange, SeatChanged};
use crate::domain::id::{RunId, SpecName};
use crate::registry::PruneReport;

pub use client::{Stopped, ask, stop};
pub(crate) use listener::Owned;

/// Version of the lines.
pub const VERSION: u32 = 1;
/// Name of the socket in a state directory.
const SOCKET: &str = "owner.sock";
/// Longest line that asks, in bytes, with its end.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Longest line that answers, in bytes, with its end.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Connections at the same time; others wait to be taken.
const MAX_CONNECTIONS: usize = 16;
/// How long one side waits until the other has sent its line, or has taken it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a change may take, a decision of a policy and a wait for the disk included.
const CHANGE_PATIENCE: Duration = Duration::from_secs(60);
/// How long journals may take to be dropped.
const PRUNE_PATIENCE: Duration = Duration::from_secs(3600);

/// How long a component may take to be compiled and to decide again what was decided.
const SEAT_PATIENCE: Duration = Duration::from_secs(1800);
/// How long a sync of one file may take.
const SYNC_PATIENCE: Duration = Duration::from_secs(600);

/// What an owner can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Who it is, and what it works on.
    Status,
    /// To end its work in order, as an interrupt does. Answered when it has begun to.
    Stop,
    /// To drop journals. Answered when that is done.
    Prune(PruneOptions),
    /// To change the registry. Answered when that is durable.
    Change(Change),
    /// To bring a tasks.md in step with the registry. Answered when that is done.
    SpecSync(SpecPlace),
    /// To seat another component. Answered when it sits, or is refused.
    Seat(SeatChange),
}

impl Command {
    /// The names of all commands.
    const NAMES: &[&str] = &["status", "stop", "prune", "change", "spec-sync", "seat"];

    /// How long its answer may take.
    const fn patience(&self) -> Duration {
        match self {
            Self::Status | Self::Stop => PATIENCE,
            Self::Prune(_) => PRUNE_PATIENCE,
            Self::Change(_) => CHANGE_PATIENCE,
            Self::SpecSync(_) => SYNC_PATIENCE,
            Self::Seat(_) => SEAT_PATIENCE,
        }
    }
}

/// What an owner answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Command::Status`].
    Status(OwnerStatus),
    /// To [`Command::Stop`]: who is about to end.
    Stop(OwnerStatus),
    /// To [`Command::Prune`]: what was dropped.
    Prune(PruneReport),
    /// To [`Command::Change`]: what it came to.
    Changed(Changed),
    /// To [`Command::SpecSync`]: what was done.
    SpecSync(Box<Synced>),
    /// To [`Command::Seat`]: what it came to.
    Seat(Box<SeatChanged>),
    /// To anything: it was not done.
    Refused(Refusal),
}

/// The owner of a state directory, by its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerStatus {
    /// Its process.
    pub pid: u32,
    /// Since when it holds the lock.
    pub since: jiff::Timestamp,
    /// The run that it works on; absent while it gets ready, and when it does something else.
    pub run: Option<RunId>,
    /// The run's spec.
    pub spec: Option<SpecName>,
    /// It was asked to stop already.
    pub stopping: bool,
}

/// Why an owner did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub kind: RefusalKind,
    /// For people.
    pub message: String,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The line is not what it should be.
    Invalid,
    /// The line is of another version.
    Version,
    /// There is no such command; the message names those that there are.
    UnknownCommand,
    /// It cannot be done now.
    Busy,
    /// It makes no sense as things are: somebody was faster, or the state does not allow it.
    Conflict,
    /// There is no such thing.
    Unknown,
    /// It was tried and did not work.
    Failed,
}

/// Why an owner could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no owner.
    #[error("no process works in the state directory `{}`", path.display())]
    Nobody {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody holds the state directory, but gave no answer.
    #[error("{holder} owns the state directory `{}` and does not answer: {reason}", path.display())]
    NoAnswer {
        /// The directory.
        path: PathBuf,
        /// What the owner wrote about itself.
        holder: String,
        /// What came instead of an answer.
        reason: String,
        /// It was asked, and may have heard it.
        asked: bool,
    },
    /// It was told to stop and is still there.
    #[error("{holder} was told to stop and is still there after {waited_s} s")]
    StillThere {
        /// What the owner wrote about itself.
        holder: String,
        /// For so many seconds.
        waited_s: u64,
    },
    /// It did not do it.
    #[error("the owner of the state directory refused: {0}")]
    Refused(Refusal),
}

impl ControlError {
    /// Whether the owner can have done nothing of what it was asked, and may do it when it is asked again.
    #[must_use]
    pub const fn was_not_heard(&self) -> bool {
        match self {
            Self::Nobody { .. } => true,
            Self::NoAnswer { asked, .. } => !*asked,
            Self::Refused(refusal) => matches!(refusal.kind, RefusalKind::Busy),
            Self::StillThere { .. } => false,
        }
    }
}

impl Refusal {
    fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// A line with its version in front.
#[derive(Debug, Serialize, Deserialize)]
struct Line<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

/// A command or an answer as a line.
fn line<T: Serialize>(content: T) -> Result<Vec<u8>, Refusal> {
    let failed = |error: serde_json::Error| Refusal::new(RefusalKind::Failed, error.to_string());
    let mut line = serde_json::to_vec(&Line { version: VERSION, content }).map_err(failed)?;
    line.push(b'\n');
    Ok(line)
}

/// The command in a line that asks.
fn parse(line: &[u8]) -> Result<Command, Refusal> {
    let invalid =
        |reason: String| Refusal::new(RefusalKind::Invalid, format!("the request is no line of JSON: {reason}"));
    let request: Value = serde_json::from_slice(line).map_err(|error| invalid(error.to_string()))?;
    match request.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(other) => {
            let message = format!("the request has version {other}, and this owner speaks version {VERSION}");
            return Err(Refusal::new(RefusalKind::Version, message));
        }
        None => return Err(Refusal::new(RefusalKind::Invalid, "the request has no `version`")),
    }
    let name = request.get("command").and_then(Value::as_str);
    let known = || Command::NAMES.join(", ");
    let Some(name) = name else {
        return Err(Refusal::new(
            RefusalKind::Invalid,
            format!("the request has no `command`; there are: {}", known()),
        ));
    };
    if !Command::NAMES.contains(&name) {
        let name: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
        let message = format!("there is no command `{name}`; there are: {}", known());
        return Err(Refusal::new(RefusalKind::UnknownCommand, message));
    }
    let Line { version: _, content } =
        serde_json::from_value(request).map_err(|error| Refusal::new(RefusalKind::Invalid, error.to_string()))?;
    Ok(content)
}
