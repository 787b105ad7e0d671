//! What a state directory takes on disk, and what of it may go: things that can be made again and that nobody uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::blocking::blocking;
use super::error::ServiceError;
use super::pools::{Pool, SlotView};
use super::progress::Progress;
use super::state_dir::StateDir;
use super::vault::At;
use super::workshop::Workshop;
use crate::clock::Clock;
use crate::domain::evict::{self, Bounds, Candidate, Evictable};
use crate::domain::pool::Health;
use crate::workspace::{Mirror, Usage};

/// A part of a state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What it is.
    pub what: &'static str,
    /// What it takes on disk, in bytes; blocks that are shared with a part above are counted there.
    pub bytes: u64,
}

/// How large a state directory is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The whole, in bytes on disk.
    pub total_bytes: u64,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// What may go, and since when.
#[derive(Debug, Clone, Copy, Default)]
pub struct GcOptions {
    /// Not used for this long, in seconds.
    pub older_than_s: Option<u64>,
    /// The oldest go until the whole takes no more than this; absent: the configured quota.
    pub keep_bytes: Option<u64>,
    /// Only say what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Nothing was changed.
    pub dry_run: bool,
    /// What went.
    pub evicted: Vec<Candidate>,
    /// What was chosen and stays, with the reason: somebody began to use it, or it could not be removed.
    pub kept: Vec<String>,
    /// Bytes on disk before.
    pub before_bytes: u64,
    /// Bytes on disk afterwards; in a dry run what is expected.
    pub after_bytes: u64,
    /// The bound that was kept to, in bytes; absent: none.
    pub keep_bytes: Option<u64>,
}

/// The size of the state directory at `root` and of its parts. Blocking, and as long as it takes to look at each file.
#[must_use]
pub fn sizes(root: &Path) -> Sizes {
    let mut usage = Usage::default();
    let mut parts = Vec::new();
    let mut add = |what, paths: Vec<PathBuf>| {
        let bytes: u64 = paths.iter().map(|path| usage.of(path)).sum();
        if bytes > 0 {
            parts.push(Part { what, bytes });
        }
    };
    let repos: Vec<PathBuf> = entries(&root.join("repos"));
    let below = |name: &str| repos.iter().map(|repo| repo.join(name)).collect::<Vec<PathBuf>>();
    add("registry", ["registry.db", "registry.db-wal", "registry.db-shm"].map(|name| root.join(name)).to_vec());
    add("blobs", vec![root.join("blobs")]);
    add("mirror", below("mirror.git"));
    add("caches", below("caches"));
    add("slots", [below("slots"), below("host")].concat());
    add("rescued folders", below("rescued"));
    add("backups", vec![root.join("backups")]);
    let counted: u64 = parts.iter().map(|part| part.bytes).sum();
    let rest = usage_of_rest(root, &mut usage);
    if rest > 0 {
        parts.push(Part { what: "other", bytes: rest });
    }
    Sizes { total_bytes: counted + rest, parts }
}

/// What is in none of the parts.
fn usage_of_rest(root: &Path, usage: &mut Usage) -> u64 {
    const KNOWN: &[&str] = &["registry.db", "registry.db-wal", "registry.db-shm", "blobs", "repos", "backups"];
    let is_known = |path: &PathBuf| path.file_name().is_some_and(|name| KNOWN.iter().any(|known| *known == name));
    entries(root).into_iter().filter(|path| !is_known(path)).map(|path| usage.of(&path)).sum()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Takes away what may go by the options, the oldest first. Nothing that somebody has, that is not known to be clean, or
/// that is work is among it.
///
/// # Errors
/// When the state directory cannot be read.
pub async fn collect(at: &At, options: GcOptions, clock: Arc<dyn Clock>) -> Result<Collected, ServiceError> {
    let pool = Pool::open(at, Arc::clone(&clock)).await?;
    let quota = pool.workspace_settings().quota_bytes;
    let keep_bytes = options.keep_bytes.or((quota > 0).then_some(quota));
    collect_in(&pool, options, keep_bytes, clock.now()).await
}

/// The same, of a pool that is open.
pub(crate) async fn collect_in(
    pool: &Pool,
    options: GcOptions,
    keep_bytes: Option<u64>,
    now: Timestamp,
) -> Result<Collected, ServiceError> {
    let root = pool.state().root().to_owned();
    let before_bytes = blocking(move || Ok(sizes(&root).total_bytes)).await?;
    let age = options.older_than_s.map(|seconds| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)));
    let before = age.map(|age| now.checked_sub(age).unwrap_or(Timestamp::MIN));
    let chosen = evict::choose(candidates(pool).await?, before_bytes, Bounds { before, keep_bytes });
    let (mut evicted, mut kept) = (Vec::new(), Vec::new());
    for candidate in chosen {
        let gone = if options.dry_run { Ok(()) } else { remove(pool, &candidate).await };
        match gone {
            Ok(()) => evicted.push(candidate),
            Err(error) => kept.push(format!("{}: {}", candidate.name, super::chain(&error))),
        }
    }
    let freed: u64 = evicted.iter().map(|candidate| candidate.bytes).sum();
    let root = pool.state().root().to_owned();
    let after_bytes = match options.dry_run {
        true => before_bytes.saturating_sub(freed),
        false => blocking(move || Ok(sizes(&root).total_bytes)).await?,
    };
    Ok(Collected { dry_run: options.dry_run, evicted, kept, before_bytes, after_bytes, keep_bytes })
}

/// Keeps the state directory of a run to its quota as far as that goes, and says so when it does not go.
pub(crate) async fn keep_to_quota(shop: &Workshop, root: &Path) -> Result<(), ServiceError> {
    let settings = &shop.config.workspace;
    let quota = settings.quota_bytes;
    if quota == 0 {
        return Ok(());
    }
    let state = StateDir::begun(root, None)?;
    let (git, mirror) = (shop.mirror.outside().clone(), Arc::clone(&shop.mirror));
    let pool = Pool::over(state, git, mirror, settings.clone(), Arc::clone(&shop.clock));
    let collected = collect_in(&pool, GcOptions::default(), Some(quota), shop.clock.now()).await?;
    if collected.after_bytes > quota {
        let text = format!(
            "the state directory takes {} bytes, more than its quota of {quota} (`workspace.quota_bytes`), and nothing \
             more can be made again: `necro-host status` says what is large, `necro-host prune` drops journals",
            collected.after_bytes
        );
        shop.tell(&Progress::Warning { text });
    }
    Ok(())
}

async fn candidates(pool: &Pool) -> Result<Vec<Candidate>, ServiceError> {
    let caches = pool.mirror().caches().await?;
    let slots = pool.list().await?.slots;
    let host = pool.mirror().dir().join("host");
    blocking(move || {
        let mut usage = Usage::default();
        let mut found = Vec::new();
        for cached in caches {
            let bytes = usage.of(&cached.path);
            let (name, path, used_at) = (cached.name, cached.path, cached.used_at);
            found.push(Candidate { kind: Evictable::Cache, name, path, bytes, used_at });
        }
        let is_idle = |slot: &SlotView| !slot.held && slot.isolated.is_none() && slot.health == Health::Clean;
        for slot in slots.into_iter().filter(is_idle) {
            let path = slot.path.parent().map(Path::to_path_buf).unwrap_or_default();
            let bytes = usage.of(&path) + usage.of(&host.join(slot.number.to_string()));
            let used_at = slot.last_used_at.unwrap_or(slot.created_at);
            found.push(Candidate { kind: Evictable::Slot, name: slot.slot.to_string(), path, bytes, used_at });
        }
        Ok(found)
    })
    .await
}

async fn remove(pool: &Pool, candidate: &Candidate) -> Result<(), ServiceError> {
    match candidate.kind {
        // A slot is taken before it is removed: whoever got it meanwhile keeps it.
        Evictable::Slot => pool.remove(&candidate.name).await.map(drop),
        Evictable::Cache => drop_cache(pool.mirror(), candidate).await,
    }
}

async fn drop_cache(mirror: &Mirror, candidate: &Candidate) -> Result<(), ServiceError> {
    let caches = mirror.caches().await?;
    match caches.iter().find(|cached| cached.path == candidate.path) {
        Some(cached) => Ok(mirror.drop_cache(cached).await?),
        None => Ok(()),
    }
}
