//! Where work is done and how it lands: `[workspace]` and `[integration]`.

use globset::Glob;
use serde::{Deserialize, Deserializer};

use crate::domain::pool::{CacheMode, MAX_SLOTS, PoolSettings, SlotChoice};

/// Branches that are gated together, at most.
pub const MAX_BATCH: u32 = 256;
/// Entries of a list of patterns, at most.
const MAX_PATTERNS: usize = 100;

/// Whether commands are kept in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// They are, or they do not run.
    #[default]
    On,
    /// They are not, and every report says so.
    Off,
}

/// `[workspace]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkspaceSettings {
    /// Slots that are held at the same time, 1 to [`MAX_SLOTS`]; 0: one is made whenever none is free.
    #[serde(deserialize_with = "slots")]
    pub slots: u32,
    /// Which free slot is lent.
    pub choice: SlotChoice,
    /// Whether gated task branches are pushed to the source's address.
    pub push: bool,
    /// Names of branches that are never pushed to, as globs.
    #[serde(deserialize_with = "patterns")]
    pub protected: Vec<String>,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// Whether large files of git LFS are fetched.
    pub lfs: bool,
    /// How slots get `target`, `node_modules` and `.venv` of what was merged before with the same lock file.
    pub caches: CacheMode,
    /// Bound on the state directory, in bytes; 0: none.
    pub quota_bytes: u64,
}

impl Default for WorkspaceSettings {
    fn default() -> Self {
        Self {
            slots: 0,
            choice: SlotChoice::default(),
            push: false,
            protected: vec!["main".to_owned(), "master".to_owned()],
            submodules: false,
            lfs: false,
            caches: CacheMode::default(),
            quota_bytes: 0,
        }
    }
}

impl WorkspaceSettings {
    /// How the pool lends. Without a number a slot is made whenever one is wanted and none is free.
    #[must_use]
    pub fn pool(&self) -> PoolSettings {
        let bound = if self.slots == 0 { MAX_SLOTS } else { self.slots };
        PoolSettings { bound, choice: self.choice, caches: self.caches }
    }
}

/// How a branch becomes part of the spec branch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MergeStrategy {
    /// A commit with both as parents.
    #[default]
    Merge,
    /// One commit with the whole change.
    Squash,
    /// The branch's commits, made again on the tip.
    Rebase,
}

/// `[integration]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntegrationSettings {
    /// How branches are brought in.
    pub strategy: MergeStrategy,
    /// Branches that are gated together, 1 to [`MAX_BATCH`].
    #[serde(deserialize_with = "batch")]
    pub max_batch: u32,
}

impl Default for IntegrationSettings {
    fn default() -> Self {
        Self { strategy: MergeStrategy::default(), max_batch: 32 }
    }
}

fn slots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    super::between(deserializer, 0, MAX_SLOTS.into()).map(|n| u32::try_from(n).unwrap_or(MAX_SLOTS))
}

fn batch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    super::between(deserializer, 1, MAX_BATCH.into()).map(|n| u32::try_from(n).unwrap_or(MAX_BATCH))
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let entries = Vec::<String>::deserialize(deserializer)?;
    if entries.len() > MAX_PATTERNS {
        return Err(serde::de::Error::custom(format!("at most {MAX_PATTERNS} entries are allowed")));
    }
    Ok(entries)
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let entries = list(deserializer)?;
    for entry in &entries {
        Glob::new(entry).map_err(serde::de::Error::custom)?;
    }
    Ok(entries)
}

/// Whether this names something of a repository, from its root.
pub(super) fn is_path(entry: &str) -> bool {
    entry.split('/').all(|part| !matches!(part, "" | "." | ".." | ".git")) && !entry.contains('\0')
}
