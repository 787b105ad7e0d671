//! Flags of `slot`, `rescue`, `workspace` and `gc`: where work lives.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::AtArgs;

/// `slot …`
#[derive(Debug, Subcommand)]
pub(crate) enum SlotCommand {
    /// List the slots: who has which, since when, and whether they can be trusted.
    #[command(
        after_help = "Reads only, and works while a run goes on. STATE says what a slot is doing (available, allocated, \
cleaning, error), HEALTH what is known of its files (new, clean, dirty, broken).

JSON: an object with `bound` (slots that may be held at the same time), `slots` (of each `slot`, `number`, `path`, \
`state`, `health`, `lease`, `held`, `overdue`, `isolated`, `created_at`, `last_used_at`, `clean_at`, `failures`, \
`metrics`, `mean_lend_ms`), and over all of them `metrics` and `mean_lend_ms`."
    )]
    Ls {
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Show one slot.
    #[command(after_help = "Example:
  necro-host slot show 2

JSON: an object as in the list of `slot ls`.")]
    Show {
        /// Its number or name.
        slot: String,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Take a slot for yourself, clean and with a branch checked out; also while a run goes on.
    #[command(
        after_help = "The work tree's path is printed, and the lease that gives the slot back. What you leave in it that is \
in no commit is kept when it is cleaned (`rescue ls`). Exit code 1 when as many are held as may be.

Examples:
  necro-host slot acquire
  cd \"$(necro-host slot acquire --rev necro/login-ui --for 2h --json | jq -r .path)\"

JSON: an object with `slot`, `path`, `lease`, `until`, `commit`, `rescued` (null, or where work went that was found \
in it)."
    )]
    Acquire {
        /// This one, by its number or name [default: as `workspace.choice` says].
        #[arg(long, value_name = "SLOT")]
        slot: Option<String>,
        /// The branch or commit to check out [default: the repository's current branch].
        #[arg(long, value_name = "REV")]
        rev: Option<String>,
        /// Who has it, for those who look [default: your user name].
        #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "somebody")]
        holder: String,
        /// Keep it this long, such as 30m or 2d; afterwards a run may take it.
        #[arg(long = "for", value_name = "TIME", default_value = "8h", value_parser = super::super::prune::age)]
        ttl: u64,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Give a slot back: it is cleaned, and what is in no commit is kept.
    #[command(after_help = "Giving back twice does nothing the second time.

Example:
  necro-host slot release 2

JSON: an object with `slot`, `changed` (false: it was given back before), `rescued`.")]
    Release {
        /// The lease, or the number or name of a slot that a person has.
        lease: String,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Copy the repository and make slots ready ahead of a run.
    #[command(after_help = "Examples:
  necro-host slot warm 4
  necro-host slot warm 2 --rev release

JSON: a list of the slots that are ready, as of `slot ls`.")]
    Warm {
        /// How many.
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
        count: u32,
        /// The branch or commit to check out [default: the repository's current branch].
        #[arg(long, value_name = "REV")]
        rev: Option<String>,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Make a slot anew, whatever is in it; what is in no commit is kept.
    #[command(after_help = "The way out of the state `error`.

Example:
  necro-host slot repair 2

JSON: as of `slot release`.")]
    Repair {
        /// Its number or name.
        slot: String,
        /// The branch or commit to check out [default: the repository's current branch].
        #[arg(long, value_name = "REV")]
        rev: Option<String>,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Take a slot out of use until it is repaired. Who has it keeps it.
    #[command(after_help = "Example:
  necro-host slot isolate 2 --reason 'its disk makes noises'

JSON: as of `slot release`.")]
    Isolate {
        /// Its number or name.
        slot: String,
        /// Why, for those who look.
        #[arg(long, value_name = "TEXT", default_value = "asked for")]
        reason: String,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Remove a slot that nobody has; what is in no commit is kept.
    #[command(after_help = "Example:
  necro-host slot rm 7

JSON: as of `slot release`.")]
    Rm {
        /// Its number or name.
        slot: String,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
}

/// `rescue …`
#[derive(Debug, Subcommand)]
pub(crate) enum RescueCommand {
    /// List work that was found in slots and in no commit.
    #[command(
        after_help = "JSON: a list of objects with `name`, `slot`, `kind` (`commit` or `folder`), `at`, `commit` (null \
for a folder), `base` (the commit that it was made on), `files` (how many differ from there), `path` (of a folder)."
    )]
    Ls {
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Bring such work back: as a branch of your repository, or as files in a new folder.
    #[command(
        after_help = "It stays in the list; nothing is taken away. A folder that could not be a commit is copied with \
--into.

Examples:
  necro-host rescue restore workspace-app-slot1/3                    as branch rescue/workspace-app-slot1/3
  necro-host rescue restore workspace-app-slot1/3 --branch mine
  necro-host rescue restore workspace-app-slot1/3 --into ../saved

JSON: an object with `name`, `branch` (null with --into), `commit`, `into`, `files`."
    )]
    Restore {
        /// Its name, as `rescue ls` says.
        name: String,
        /// The branch to make.
        #[arg(long, value_name = "NAME", conflicts_with = "into")]
        branch: Option<String>,
        /// Write the files into this new or empty folder instead.
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
}

/// `workspace …`
#[derive(Debug, Subcommand)]
pub(crate) enum WorkspaceCommand {
    /// List which spec's work is where, and how far it is.
    #[command(
        after_help = "JSON: a list of objects with `spec_name`, `workspace_path`, `repo_url`, `current_branch`, `commit` \
(null when the branch is gone), `created_at`, `tasks_completed` (ids), `tasks` (how many there are), `status` \
(`active`, `completed`, `error`), `slots` (open attempts: `task`, `attempt`, `branch`, `slot`)."
    )]
    Ls {
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Show the workspace of one spec.
    #[command(after_help = "Example:
  necro-host workspace show login-ui

JSON: an object as in the list of `workspace ls`.")]
    Show {
        /// The spec.
        spec: String,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
    /// Take a spec's branches out of the state directory; its records stay.
    #[command(
        after_help = "Refused while a run on the spec is open, and when commits are nowhere else: land the branch first. \
With --force those are kept (`rescue ls`), and the tasks whose work was in them are open again.

Examples:
  necro-host land login-ui && necro-host workspace rm login-ui
  necro-host workspace rm login-ui --force

JSON: an object with `spec_name`, `removed` (refs), `rescued` (refs that keep commits), `reopened` (tasks)."
    )]
    Rm {
        /// The spec.
        spec: String,
        /// Keep as rescues what is nowhere else, and remove the rest.
        #[arg(long)]
        force: bool,
        /// What and where.
        #[command(flatten)]
        at: AtArgs,
    },
}

/// Flags of `gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "Only what can be made again and what nobody uses goes: caches of dependencies, and slots that were proven \
clean and that nobody had since; the oldest first. Work, records and what is kept of slots stay; `prune` drops \
journals. Without --older-than and --keep-size the configured quota (`workspace.quota_bytes`) is kept to. Works while \
a run goes on.

Examples:
  necro-host gc --dry-run
  necro-host gc --older-than 7d
  necro-host gc --keep-size 5GiB

JSON: an object with `dry_run`, `evicted` (a list: `kind`, `name`, `path`, `bytes`, `used_at`), `kept` (what could not \
go, with the reason), `before_bytes`, `after_bytes`, `keep_bytes` (null: no bound)."
)]
pub(crate) struct GcArgs {
    /// What was not used for this long, such as 12h or 30d.
    #[arg(long, value_name = "AGE", value_parser = super::super::prune::age)]
    pub older_than: Option<u64>,
    /// The oldest, until the state directory takes no more than this, such as 5GiB.
    #[arg(long, value_name = "SIZE", value_parser = super::super::prune::bytes)]
    pub keep_size: Option<u64>,
    /// Only say what would go.
    #[arg(long)]
    pub dry_run: bool,
    /// What and where.
    #[command(flatten)]
    pub at: AtArgs,
}
