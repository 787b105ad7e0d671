//! What no process is limited in for itself: how many there are, and how full the disk gets. The host
//! looks now and then while a confined command runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::policy::Limits;
use super::strays::{count_marked, mark_of};

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(100);
/// A command is stopped when it leaves less free space than this, in bytes, ...
const MIN_FREE_BYTES: u64 = 256 << 20;
/// ... unless there was less than this when it began: then the disk itself says so.
const MUCH_FREE_BYTES: u64 = 2 * MIN_FREE_BYTES;

/// What a command was stopped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// More processes at the same time than this.
    Processes(u64),
    /// The disk is nearly full.
    Disk,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Processes(limit) => write!(f, "more than {limit} processes at the same time"),
            Self::Disk => write!(f, "less than {} MiB are left free on the disk", MIN_FREE_BYTES >> 20),
        }
    }
}

/// Resolves when the command with this scratch folder has to be stopped.
pub(super) async fn watch(scratch: PathBuf, limits: Limits) -> Exceeded {
    let mark = mark_of(&scratch);
    let had_much = free_bytes(&scratch).is_some_and(|free| free >= MUCH_FREE_BYTES);
    loop {
        tokio::time::sleep(PERIOD).await;
        let place = scratch.clone();
        let seen = tokio::task::spawn_blocking(move || (count_marked(mark), free_bytes(&place)));
        let Ok((processes, free)) = seen.await else { continue };
        if processes as u64 > limits.processes {
            return Exceeded::Processes(limits.processes);
        }
        if had_much && free.is_some_and(|free| free < MIN_FREE_BYTES) {
            return Exceeded::Disk;
        }
    }
}

fn free_bytes(place: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(place).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
