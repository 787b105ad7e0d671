//! Flags of the commands about a registry as a whole and about its locks.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Place;

/// `registry …`
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Prove that every table is what the event log says; exit code 1 when one is not.
    #[command(
        after_help = "Replays the whole log beside the live tables and compares row by row. Reads only, and works while a \
run goes on. `registry rebuild` mends tables that differ; a log with gaps, or a damaged file, needs a backup.

Examples:
  necro-host registry verify
  necro-host registry verify --backup /backup/necro     every byte of a backup, without restoring it

JSON: an object with `passed`, `events` and `rows` (numbers), `file` (problems of the database's file), \
`differences` (at most 200) and `more`; with --backup `path`, `created_at`, `newest_event`, `database_bytes`, \
`blobs`, `blob_bytes` and `missing` (blobs that were lost before it was made)."
    )]
    Verify {
        /// Look at this backup instead.
        #[arg(long, value_name = "DIR")]
        backup: Option<PathBuf>,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Make the tables anew from the event log.
    #[command(after_help = "One transaction: all of it or nothing. No run may go on meanwhile.

JSON: an object with `events`, `rows`, `differences` (what had been different) and `more`.")]
    Rebuild {
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Save the registry as of one moment, with every blob that it names, and checksums of all.
    #[command(
        after_help = "Works while a run goes on and does not hold it up. The backup is proven before it stands at its place: \
its tables are what its log says. Blobs never change, so on the same file system they are second names of \
the same files and take no room; --copy makes copies of them. The mirror and the slots below `repos/` are \
not in it.

Examples:
  necro-host registry backup                            to .necro/backups/<time>
  necro-host registry backup /backup/necro-monday --copy

JSON: an object with `path`, `created_at`, `newest_event`, `database_bytes`, `blobs`, `blob_bytes`, `linked` and \
`missing` (blobs that the store had lost already)."
    )]
    Backup {
        /// A new folder [default: a folder named by the time, in `backups` of the state directory].
        to: Option<PathBuf>,
        /// Copy every blob.
        #[arg(long)]
        copy: bool,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Put a backup in the place of the registry, after every byte of it was verified.
    #[command(
        after_help = "A damaged backup is refused, file by file, and nothing is changed. The old database is never deleted: it \
stays as `registry.db.before-restore-<time>`. What a crash leaves is the old registry or the new one. \
Slots are free afterwards, and so are locks of everybody who was not at work; an attempt that can be gone \
on with keeps its locks. No run may go on meanwhile.

Examples:
  necro-host registry restore .necro/backups/2026-11-22T10-00-00Z --force
  necro-host registry restore /backup/necro-monday --state /srv/necro

JSON: an object with `created_at`, `newest_event`, `blobs`, `missing`, `leases_dropped` and `kept` (where the old \
database is; null when there was none)."
    )]
    Restore {
        /// The backup.
        backup: PathBuf,
        /// Also in the place of a registry with something in it, or of a damaged one.
        #[arg(long)]
        force: bool,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Write task sets and events as files in the form of the Python original.
    #[command(
        after_help = "Writes `tasksets/<spec>/taskset.json` and `events/<spec>/events.jsonl`, one event a line, the oldest \
first. What was imported comes out as it came in, but for states that the import has adjusted; attempts are not in this \
layout. Existing files are never replaced. Works while a run goes \
on.

Examples:
  necro-host registry export /tmp/registry
  necro-host registry export /tmp/registry --spec login-ui

JSON: an object with `path` and `specs` (a list of `spec`, `tasks`, `events`)."
    )]
    Export {
        /// The folder.
        dir: PathBuf,
        /// Only this spec [default: all].
        #[arg(long, value_name = "NAME")]
        spec: Option<String>,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Bring in task sets and events from files in the form of the Python original.
    #[command(
        after_help = "Reads `tasksets/<spec>/taskset.json`, and of `events/<spec>/` first events.jsonl.1, events.jsonl.2 … and then \
events.jsonl. All of it is recorded, with the times that it has, or nothing. A spec that is in the registry \
already, unknown dependencies, circles, and states that nobody knows are refused. A task that was running \
is ready here, because nobody here works on it, and a blocked one whose needs are done is ready, too. No \
run may go on meanwhile.

Examples:
  necro-host registry import ~/.necrocode/registry
  necro-host registry import .kiro/registry --spec login-ui --utc-offset +09:00

JSON: an object with `specs` (a list of `spec`, `tasks`, `events`, `adjusted`: `task`, `was`, `is`, `why`), \
`damaged` (lines that were left out, at most 100) and `damaged_lines`."
    )]
    Import {
        /// The folder.
        dir: PathBuf,
        /// Only this spec [default: all].
        #[arg(long, value_name = "NAME")]
        spec: Option<String>,
        /// Leave out lines of events that are damaged, and say which.
        #[arg(long)]
        skip_damaged: bool,
        /// The offset of times that name none, such as +09:00.
        #[arg(long, value_name = "OFFSET", default_value = "+00:00", allow_hyphen_values = true,
              value_parser = crate::cli::exchange::offset)]
        utc_offset: jiff::tz::Offset,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
}

/// `lock …`
#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// List the locks that spirits hold.
    #[command(
        after_help = "A lock is taken from its holder only when its time is over and its attempt is not at work any more.

JSON: a list of objects with `id`, `kind`, `name`, `holder`, `acquired_at`, `expires_at`, `expired` and `at_work`."
    )]
    Ls {
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Give back a lock that nobody will give back any more.
    #[command(after_help = "No run may go on meanwhile: `necro-host stop` ends it in order.

Example:
  necro-host lock release login/schema

JSON: the lock that was given back: `id`, `kind`, `name`, `holder`, `acquired_at`, `expires_at`.")]
    Release {
        /// The lock, as `lock ls` names it.
        name: String,
        /// Although its attempt can be gone on with.
        #[arg(long)]
        force: bool,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
}

/// Where, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct AtArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
