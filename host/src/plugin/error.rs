//! How starting the engine, loading a component and running it fail. Every message names the plugin,
//! and what to change where something can be changed.

use std::sync::Arc;

use super::PluginKind;
use super::capability::JournalError;
use super::limits::Limit;
use super::manifest::ManifestError;
use crate::domain::call::Failure;

/// The engine cannot start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refused its configuration, with the pool and without.
    #[error("the WebAssembly engine cannot start: {reason}")]
    Start {
        /// What wasmtime says.
        reason: String,
    },
    /// The thread that ticks epochs could not be started.
    #[error("the thread that interrupts plugins cannot be started")]
    Ticker(#[source] Arc<std::io::Error>),
}

/// Bytes that are no usable plugin.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// Not a component at all.
    #[error("plugin `{plugin}`: not a WebAssembly component: {reason}")]
    NotAComponent {
        /// The plugin's name.
        plugin: String,
        /// What it is instead, or where it breaks off.
        reason: String,
    },
    /// More bytes than a component may have.
    #[error("plugin `{plugin}`: {size_bytes} bytes are more than a component may have ({allowed_bytes})")]
    TooLarge {
        /// The plugin's name.
        plugin: String,
        /// Its size.
        size_bytes: u64,
        /// The bound.
        allowed_bytes: u64,
    },
    /// It exports none of the four worlds' interfaces.
    #[error(
        "plugin `{plugin}`: exports no plugin interface of {host} (role, scheduling, routing or review); it exports {exports}"
    )]
    NoWorld {
        /// The plugin's name.
        plugin: String,
        /// This host's contract.
        host: String,
        /// What it exports.
        exports: String,
    },
    /// It is a plugin, but of another kind.
    #[error("plugin `{plugin}`: is a {found} plugin, but a {asked} plugin is asked for")]
    WrongKind {
        /// The plugin's name.
        plugin: String,
        /// What it should be.
        asked: PluginKind,
        /// What it is, kinds joined by "and".
        found: String,
    },
    /// It exports the interfaces of several worlds, and none was asked for.
    #[error("plugin `{plugin}`: exports the interfaces of several worlds ({found}); say which is meant")]
    Ambiguous {
        /// The plugin's name.
        plugin: String,
        /// The kinds, joined by "and".
        found: String,
    },
    /// Its manifest cannot be read.
    #[error("plugin `{plugin}`: its manifest cannot be used")]
    Manifest {
        /// The plugin's name.
        plugin: String,
        /// Where and why.
        source: ManifestError,
    },
    /// Its manifest says that it is something else.
    #[error("plugin `{plugin}`: its manifest says that it is a {said} plugin, but it is a {found} plugin")]
    ManifestLies {
        /// The plugin's name.
        plugin: String,
        /// What the manifest says.
        said: PluginKind,
        /// What the component exports.
        found: PluginKind,
    },
    /// Built against a contract that this host does not speak.
    #[error("plugin `{plugin}`: needs necro:plugin@{needed}, this host has {host}")]
    WrongVersion {
        /// The plugin's name.
        plugin: String,
        /// The version track it needs, such as `0.2`.
        needed: String,
        /// The version track that this host has.
        host: String,
    },
    /// It imports what its world does not allow or this host does not have.
    #[error("plugin `{plugin}`: imports what a {kind} plugin cannot have: {missing}; it may import {allowed}")]
    Imports {
        /// The plugin's name.
        plugin: String,
        /// Its kind.
        kind: PluginKind,
        /// Everything that is too much, joined by ", ".
        missing: String,
        /// What its world allows.
        allowed: String,
    },
    /// Its names are right, but it cannot be instantiated: a changed record, a start that traps.
    #[error("plugin `{plugin}`: cannot be instantiated: {reason}")]
    Instantiate {
        /// The plugin's name.
        plugin: String,
        /// What wasmtime says.
        reason: String,
    },
    /// The compiler was stopped; the host is shutting down.
    #[error("plugin `{plugin}`: compiling it was interrupted")]
    Interrupted {
        /// The plugin's name.
        plugin: String,
    },
}

/// An execution without a result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExecutionError {
    /// The plugin itself says that it failed.
    #[error("{kind} `{plugin}` failed")]
    Failure {
        /// The plugin's kind.
        kind: PluginKind,
        /// The plugin's name.
        plugin: String,
        /// What it says.
        #[source]
        failure: Failure,
    },
    /// It was stopped at a limit.
    #[error("{kind} `{plugin}` was stopped: it exceeded its {limit} limit of {allowed} (setting `limits.{kind}.{}`, or `limits.{plugin}.{}` for it alone)", limit.key(), limit.key())]
    LimitExceeded {
        /// The plugin's kind.
        kind: PluginKind,
        /// The plugin's name.
        plugin: String,
        /// Which.
        limit: Limit,
        /// Its value, with the unit.
        allowed: String,
    },
    /// It crashed; a panic is one.
    #[error("{kind} `{plugin}` trapped: {message}")]
    Trapped {
        /// The plugin's kind.
        kind: PluginKind,
        /// The plugin's name.
        plugin: String,
        /// The trap, and the last lines of its standard error.
        message: String,
        /// Function names from the inside out, one a line.
        backtrace: Option<String>,
        /// False when another machine may end otherwise (stack depth).
        replayable: bool,
    },
    /// It was cancelled from outside.
    #[error("{kind} `{plugin}` was cancelled")]
    Cancelled {
        /// The plugin's kind.
        kind: PluginKind,
        /// The plugin's name.
        plugin: String,
    },
    /// It returned what breaks the contract.
    #[error("{kind} `{plugin}` returned something invalid: {reason}")]
    InvalidOutput {
        /// The plugin's kind.
        kind: PluginKind,
        /// The plugin's name.
        plugin: String,
        /// What is wrong.
        reason: String,
    },
    /// Its calls could not be recorded, or do not fit what is recorded, so it was stopped.
    #[error("{kind} `{plugin}` was stopped")]
    Journal {
        /// The plugin's kind.
        kind: PluginKind,
        /// The plugin's name.
        plugin: String,
        /// Why.
        #[source]
        source: JournalError,
    },
    /// A function of another world was asked for: a mistake of the caller.
    #[error("plugin `{plugin}` is a {found} plugin and has no `{function}`")]
    WrongKind {
        /// The plugin's name.
        plugin: String,
        /// Its kind.
        found: PluginKind,
        /// What was called.
        function: &'static str,
    },
}

impl ExecutionError {
    /// A stable name for the record.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Failure { .. } => "failure",
            Self::LimitExceeded { .. } => "limit-exceeded",
            Self::Trapped { .. } => "trapped",
            Self::Cancelled { .. } => "cancelled",
            Self::InvalidOutput { .. } => "invalid-output",
            Self::Journal { source: JournalError::Diverged(_), .. } => "diverged",
            Self::Journal { source: JournalError::RecordEnds, .. } => "record-ends",
            Self::Journal { source: JournalError::NotRestored { .. }, .. } => "not-restored",
            Self::Journal { .. } => "journal",
            Self::WrongKind { .. } => "wrong-kind",
        }
    }

    /// Whether the same component with the same input and answers ends the same way on any machine.
    #[must_use]
    pub const fn is_replayable(&self) -> bool {
        match self {
            Self::Failure { .. } | Self::InvalidOutput { .. } | Self::WrongKind { .. } => true,
            Self::LimitExceeded { limit, .. } => limit.is_deterministic(),
            Self::Trapped { replayable, .. } => *replayable,
            Self::Cancelled { .. } | Self::Journal { .. } => false,
        }
    }
}

/// The same as [`ExecutionError::is_replayable`] of an end that is on record by its name and its words.
#[must_use]
pub fn is_replayable_on_record(name: &str, message: &str) -> bool {
    let stopped_at = |limit: Limit| message.contains(&format!("it exceeded its {limit} limit"));
    match name {
        "failure" | "invalid-output" | "wrong-kind" => true,
        "limit-exceeded" => !stopped_at(Limit::GuestTime) && !stopped_at(Limit::Wall),
        "trapped" => !message.contains(&format!("trapped: {}", wasmtime::Trap::StackOverflow)),
        _ => false,
    }
}

/// A result that breaks the contract, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidOutput(pub(crate) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_on_record_is_replayable_when_the_end_itself_was() {
        let (kind, plugin) = (PluginKind::Spirit, "qa".to_owned());
        let limits = super::super::Limits::for_kind(kind);
        let exceeded = |limit: Limit| ExecutionError::LimitExceeded {
            kind,
            plugin: "qa".to_owned(),
            limit,
            allowed: limit.value(&limits),
        };
        let trapped = |trap: wasmtime::Trap, replayable| ExecutionError::Trapped {
            kind,
            plugin: "qa".to_owned(),
            message: format!("{trap}; its last words: it exceeded its wall time limit"),
            backtrace: None,
            replayable,
        };
        let ends = [
            ExecutionError::Failure { kind, plugin: plugin.clone(), failure: Failure::GaveUp("no".to_owned()) },
            ExecutionError::InvalidOutput { kind, plugin: plugin.clone(), reason: "long".to_owned() },
            ExecutionError::Cancelled { kind, plugin: plugin.clone() },
            ExecutionError::Journal { kind, plugin, source: JournalError::RecordEnds },
            trapped(wasmtime::Trap::UnreachableCodeReached, true),
            trapped(wasmtime::Trap::StackOverflow, false),
        ];
        let limits = [
            Limit::Fuel,
            Limit::Memory,
            Limit::Tables,
            Limit::GuestTime,
            Limit::Wall,
            Limit::HostCallBytes,
            Limit::HostCalls,
            Limit::JournalBytes,
        ];
        for end in ends.into_iter().chain(limits.map(exceeded)) {
            let on_record = is_replayable_on_record(end.name(), &end.to_string());
            assert_eq!(on_record, end.is_replayable(), "{end}");
        }
    }
}
