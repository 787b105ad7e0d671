//! Flags of the commands that look after a state directory and its owner.

use clap::Args;

use super::Place;

/// Flags of `stop`.
#[derive(Debug, Args)]
#[command(
    after_help = "The same as Ctrl-C in the other terminal: nothing new is started, running attempts close their \
journals, and the run can be gone on with. When no process works in the state directory there is nothing \
to stop, which is no error: exit code 0. Exit code 1 when the process does not answer, or is still there \
after the time.

Examples:
  necro-host stop
  necro-host stop --repo ../shop --timeout 30 && echo it is over

JSON: an object with `stopped` (false: nobody was there) and `owner` (null, or `pid`, `since`, `run`, `spec`, \
`stopping`)."
)]
pub(crate) struct StopArgs {
    /// Wait at most this many seconds for its end.
    #[arg(long, value_name = "SECONDS", default_value_t = 330, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub timeout: u32,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `prune`.
#[derive(Debug, Args)]
#[command(
    after_help = "What goes: host calls, conversations, inputs and outcomes of components, and the blobs that only \
these name. Those runs can no longer be replayed. What stays: events, tasks, findings, costs, artifacts, \
branches, and the journal of every run that is not over or can be gone on with. With both options a run \
goes when either says so. While a run goes on, its process does it.

The database gives its free space back to the disk when no run goes on; otherwise the file keeps its size \
and fills what is free in it first.

Examples:
  necro-host prune --older-than 30d --dry-run           what would go, and how many bytes
  necro-host prune --older-than 30d
  necro-host prune --keep-size 2GiB                     the oldest ones, until 2 GiB of journals are left

JSON: an object with `dry_run`, `runs` (oldest first, at most 1000: `run`, `spec`, `started_at`, `finished_at`, \
`executions`, `calls`, `bytes`), `more_runs`, `database_bytes`, `blobs`, `blob_bytes`, `kept_bytes` and `file` \
(null, or the database's size `before` and `after`)."
)]
pub(crate) struct PruneArgs {
    /// Drop journals of runs that ended longer ago: a number and s, m, h, d or w.
    #[arg(long, value_name = "AGE", value_parser = crate::cli::prune::age)]
    pub older_than: Option<u64>,
    /// Drop the oldest journals until those that are left have no more bytes: a number and B, KiB, MiB, GiB, TiB,
    /// kB, MB, GB or TB.
    #[arg(long, value_name = "SIZE", value_parser = crate::cli::prune::bytes)]
    pub keep_size: Option<u64>,
    /// Say what would go, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
