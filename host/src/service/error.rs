//! Everything that can end a command of the service, and which kind of trouble it is. The words for
//! people and the exit codes are made of this by `cli/report.rs` alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::author::AuthorError;
use super::control::ControlError;
use super::exchange::ExchangeError;
use super::state_dir::StateDirError;
use crate::artifact::ArtifactError;
use crate::config::ConfigError;
use crate::domain::call::HostError;
use crate::domain::id::InvalidId;
use crate::llm::config::LlmConfigError;
use crate::plugin::capability::JournalError;
use crate::plugin::{EngineError, ExecutionError, LoadError};
use crate::registry::{BackupError, RegistryError};
use crate::sandbox::{SandboxError, Unconfinable};
use crate::store::BlobError;
use crate::workspace::{GitError, LandError, SourceError, WorkspaceError};

/// Whose turn it is after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The work itself failed.
    Work,
    /// Wrong usage or configuration.
    Usage,
    /// Something is missing in the environment.
    Environment,
    /// A person stopped it.
    Interrupted,
}

/// Why a command of the service ended.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant hands on the error that it names")]
pub enum ServiceError {
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error(transparent)]
    Author(#[from] AuthorError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    #[error(transparent)]
    Land(#[from] LandError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Unconfinable(#[from] Unconfinable),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Plugin(#[from] LoadError),
    #[error(transparent)]
    Llm(#[from] LlmConfigError),
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error(transparent)]
    Host(#[from] HostError),
    /// The component of a recorded execution is not in the store any more as it was.
    #[error("the component `{plugin}` cannot be loaded again")]
    Component { plugin: String, source: BlobError },
    /// What a component does cannot be recorded.
    #[error(transparent)]
    Record(ExecutionError),
    /// No model call can be answered until a person has changed something.
    #[error("no model call can be answered: {0}")]
    Model(HostError),
    /// A person stopped it before there was a run.
    #[error("interrupted before the run began; the same command begins again")]
    Interrupted,
    /// The command line or a job does not make sense.
    #[error("{0}")]
    Usage(String),
    /// A spec cannot be executed.
    #[error("the spec `{spec}` cannot be executed:\n{diagnostics}")]
    Spec { spec: String, diagnostics: String },
    /// The record of an execution could not be kept, or something else inside went wrong.
    #[error("{0}")]
    Internal(String),
    /// A file cannot be read or written.
    #[error("`{}` cannot be used", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl ServiceError {
    /// Whether a spirit or its commands can have caused it, by what they did to their slot, whose
    /// work tree is `work_dir`.
    #[must_use]
    pub(crate) fn is_of_slot(&self, work_dir: &Path) -> bool {
        match self {
            Self::Workspace(WorkspaceError::Io { path, source }) => {
                path.starts_with(work_dir) && is_of_file(source.kind())
            }
            Self::Workspace(
                WorkspaceError::TooManyChanges { .. }
                | WorkspaceError::NotClean { .. }
                | WorkspaceError::Replaced { .. }
                | WorkspaceError::Git(
                    GitError::Other { .. } | GitError::TimedOut { .. } | GitError::TooMuchOutput { .. },
                ),
            )
            | Self::Sandbox(
                SandboxError::MissingProgram { .. }
                | SandboxError::NotExecutable { .. }
                | SandboxError::BadFolder { .. },
            ) => true,
            _ => false,
        }
    }

    /// Which kind of trouble it is.
    #[must_use]
    pub const fn trouble(&self) -> Trouble {
        match self {
            Self::Llm(error) => {
                if error.is_missing() {
                    Trouble::Environment
                } else {
                    Trouble::Usage
                }
            }
            Self::StateDir(
                StateDirError::Missing { .. } | StateDirError::Held { .. } | StateDirError::Refused { .. },
            )
            | Self::Control(ControlError::Nobody { .. })
            | Self::Backup(
                BackupError::Exists { .. }
                | BackupError::NotABackup { .. }
                | BackupError::Newer { .. }
                | BackupError::Occupied { .. },
            )
            | Self::Exchange(ExchangeError::Nothing { .. } | ExchangeError::Exists { .. })
            | Self::Workspace(WorkspaceError::NoSlot { .. } | WorkspaceError::SlotRefused { .. })
            | Self::Config(_)
            | Self::Source(_)
            | Self::Plugin(_)
            | Self::Id(_)
            | Self::Usage(_)
            | Self::Author(
                AuthorError::Name(_)
                | AuthorError::Occupied { .. }
                | AuthorError::NoSdk { .. }
                | AuthorError::SdkOfPython
                | AuthorError::NoProject { .. }
                | AuthorError::Manifest { .. },
            )
            | Self::Spec { .. } => Trouble::Usage,
            Self::StateDir(StateDirError::Io { .. })
            | Self::Git(_)
            | Self::Blob(_)
            | Self::Component { .. }
            | Self::Artifact(_)
            | Self::Sandbox(_)
            | Self::Unconfinable(_)
            | Self::Engine(_)
            | Self::Author(AuthorError::Missing { .. })
            | Self::Io { .. } => Trouble::Environment,
            Self::Workspace(WorkspaceError::DiskFull { .. } | WorkspaceError::Git(GitError::DiskFull { .. }))
            | Self::Registry(RegistryError::Full | RegistryError::ReadOnly)
            | Self::Backup(
                BackupError::Registry(RegistryError::Full | RegistryError::ReadOnly)
                | BackupError::Blob(_)
                | BackupError::Io { .. },
            ) => Trouble::Environment,
            Self::Interrupted => Trouble::Interrupted,
            Self::Record(ExecutionError::Journal { source: JournalError::Unwritable { full: true, .. }, .. }) => {
                Trouble::Environment
            }
            Self::Record(_) | Self::Model(HostError::BudgetExceeded(_)) => Trouble::Work,
            Self::Model(_) => Trouble::Environment,
            Self::Author(
                AuthorError::Failed { .. } | AuthorError::TooLong { .. } | AuthorError::NoComponent { .. },
            )
            | Self::Control(_)
            | Self::Workspace(_)
            | Self::Land(_)
            | Self::Registry(_)
            | Self::Backup(_)
            | Self::Exchange(_)
            | Self::Host(_)
            | Self::Internal(_) => Trouble::Work,
        }
    }
}

/// Whether it is about one file's name, kind or rights, not about the disk.
const fn is_of_file(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::DirectoryNotEmpty
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
    )
}

/// An error and its sources in one line, without repeating what a source says already.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_spirit_can_do_is_put_down_to_it() {
        let slot = Path::new("/state/slots/1/work");
        let io = |path: &str, kind: ErrorKind| -> ServiceError {
            WorkspaceError::Io { path: PathBuf::from(path), source: kind.into() }.into()
        };
        let git = |error| ServiceError::from(WorkspaceError::Git(error));
        let command = || "add".to_owned();
        for (error, expected) in [
            (io("/state/slots/1/work/a", ErrorKind::PermissionDenied), true),
            (io("/state/slots/1/work/a", ErrorKind::NotADirectory), true),
            (io("/state/slots/1/work/a", ErrorKind::StorageFull), false),
            (io("/state/registry.db", ErrorKind::PermissionDenied), false),
            (git(GitError::TimedOut { command: command(), limit_s: 1 }), true),
            (git(GitError::TooMuchOutput { command: command(), limit_bytes: 1 }), true),
            (git(GitError::NotInstalled), false),
            (git(GitError::DiskFull { command: command(), detail: String::new() }), false),
            (ServiceError::Internal(String::new()), false),
        ] {
            assert_eq!(error.is_of_slot(slot), expected, "{error:?}");
        }
    }
}
