//! Errors in words and exit codes: the only place that adds hints, and the only one that knows codes.

use std::process::ExitCode;

use super::style::Style;
use super::{neutral, out};
use crate::registry::BackupError;
use crate::service::control::ControlError;
use crate::service::{ServiceError, StateDirError, Trouble, chain};
use crate::workspace::SourceError;

/// Work failed.
pub(crate) const WORK_FAILED: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const WRONG_USAGE: u8 = 2;
/// Something is missing in the environment.
pub(crate) const MISSING: u8 = 3;
/// Interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// Prints an error with its causes and what to do next; gives the exit code.
pub(crate) fn report(error: &ServiceError, style: Style) -> ExitCode {
    out::tell(&format!("{} {}", style.red("error:"), neutral::block(&chain(error))));
    if let Some(hint) = hint(error) {
        out::tell(&format!("{} {hint}", style.cyan("hint:")));
    }
    ExitCode::from(code(error))
}

/// The exit code of an error.
pub(crate) const fn code(error: &ServiceError) -> u8 {
    match error.trouble() {
        Trouble::Work => WORK_FAILED,
        Trouble::Usage => WRONG_USAGE,
        Trouble::Environment => MISSING,
        Trouble::Interrupted => INTERRUPTED,
    }
}

fn hint(error: &ServiceError) -> Option<&'static str> {
    match error {
        ServiceError::StateDir(StateDirError::Held { .. }) => Some(
            "`necro-host stop` (with the same --repo and --state) ends it in order; or wait, or work elsewhere with --state DIR",
        ),
        ServiceError::Control(ControlError::NoAnswer { .. }) => {
            Some("interrupt that process (`kill -INT` and its number), or wait for it to end")
        }
        ServiceError::Control(ControlError::StillThere { .. }) => {
            Some("wait on with a longer --timeout; a second interrupt (`kill -INT` and its number) ends it at once")
        }
        ServiceError::StateDir(StateDirError::Missing { .. }) => {
            Some("`necro-host run` makes one; --repo or --state say where to look")
        }
        ServiceError::Backup(BackupError::Occupied { .. }) => {
            Some("--force puts the backup in its place and keeps the old one beside it; --state DIR restores elsewhere")
        }
        ServiceError::Backup(BackupError::Unsound { .. }) => {
            Some("`necro-host registry verify` names all of it; `necro-host registry rebuild` mends tables")
        }
        ServiceError::Source(SourceError::DetachedHead { .. }) => Some("--base BRANCH names it"),
        ServiceError::Spec { .. } => Some("`necro-host spec check` lists all that it finds"),
        ServiceError::Model(_) => Some("what was done is kept, and no task has failed by this: mend it and run again"),
        _ => None,
    }
}
