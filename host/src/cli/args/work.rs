//! Flags of the commands with which people and workers change tasks and the backlog, and of the owner that
//! makes the changes for many.

use clap::{Args, Subcommand};

use super::Place;
use crate::domain::id::{CommitId, IssueId, Role, SpecName};
use crate::domain::issue::Urgency;

/// Which task.
#[derive(Debug, Args)]
pub(crate) struct TaskAt {
    /// The task's number, such as `2.1`, or with its spec: `login-ui/2.1`.
    pub task: String,
    /// The spec [default: the newest run's, or the only one].
    #[arg(long, value_name = "NAME")]
    pub spec: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print the task as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A claim that is reported.
#[derive(Debug, Args)]
pub(crate) struct Held {
    /// Which.
    #[command(flatten)]
    pub at: TaskAt,
    /// The name under which it was claimed.
    #[arg(long, env = "NECRO_WORKER", value_name = "NAME")]
    pub worker: String,
    /// The attempt that was claimed [default: the task's present one].
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
}

/// `task …`
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Set a task's priority, role or metadata, over what its file says now and later.
    #[command(after_help = "With --expect-version nothing is set when somebody was faster: both versions are named.

Examples:
  necro-host task set 2.1 --priority 5
  necro-host task set login-ui/2.1 --skill backend --meta ticket=SHOP-7 --expect-version 3

JSON: the task, as in `tasks`.")]
    Set {
        /// Which.
        #[command(flatten)]
        at: TaskAt,
        /// Larger is more urgent.
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        priority: Option<i32>,
        /// The role that works on it.
        #[arg(long, value_name = "ROLE")]
        skill: Option<Role>,
        /// Something else to know about it; an empty value is a value.
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        meta: Vec<(String, String)>,
        /// Only when the task has this version.
        #[arg(long, value_name = "N")]
        expect_version: Option<u64>,
    },
    /// Claim a ready task for a worker outside the host.
    #[command(
        after_help = "The most urgent ready task is given to exactly one worker, however many ask at once. Exit \
code 1, and nothing on standard output (JSON: null), when none is ready. A run that works on a spec gives \
its tasks out itself; a new run takes back what workers hold. Beside many workers, `necro-host serve` \
answers faster than each of them opening the registry.

Examples:
  necro-host task claim --worker ci-7
  necro-host task claim login-ui/2.1 --worker ci-7
  necro-host task claim --worker ci-7 --skill backend --json | jq -r .branch

JSON: the task, as in `tasks`, with `attempt` and `branch`; or null."
    )]
    Claim {
        /// This task, such as `login-ui/2.1` [default: the most urgent one].
        task: Option<String>,
        /// Only of this spec.
        #[arg(long, value_name = "NAME")]
        spec: Option<SpecName>,
        /// Who claims: one name for one process.
        #[arg(long, env = "NECRO_WORKER", value_name = "NAME")]
        worker: String,
        /// Only tasks for this role.
        #[arg(long, value_name = "ROLE")]
        skill: Option<String>,
        /// Only when the named task has this version.
        #[arg(long, value_name = "N", requires = "task")]
        expect_version: Option<u64>,
        /// Where.
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Report a claimed task as done.
    #[command(after_help = "Example:
  necro-host task done login-ui/2.1 --worker ci-7 --commit \"$(git rev-parse HEAD)\" --summary 'form and its tests'

JSON: the task, as in `tasks`.")]
    Done {
        /// Which.
        #[command(flatten)]
        held: Held,
        /// The commit that has the work.
        #[arg(long, value_name = "ID")]
        commit: Option<CommitId>,
        /// In a sentence.
        #[arg(long, value_name = "TEXT")]
        summary: Option<String>,
    },
    /// Report that a claimed task did not work; it is tried again until its attempts are used up.
    #[command(after_help = "Example:
  necro-host task fail login-ui/2.1 --worker ci-7 --reason 'the tests need a database'

JSON: the task, as in `tasks`.")]
    Fail {
        /// Which.
        #[command(flatten)]
        held: Held,
        /// What it failed on; the next attempt is told.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Give a claimed task back; that counts as no failure.
    #[command(after_help = "Example:
  necro-host task release login-ui/2.1 --worker ci-7 --reason 'shift is over'

JSON: the task, as in `tasks`.")]
    Release {
        /// Which.
        #[command(flatten)]
        held: Held,
        /// Why.
        #[arg(long, value_name = "TEXT", default_value = "given back")]
        reason: String,
    },
}

/// `issue …`
#[derive(Debug, Subcommand)]
pub(crate) enum IssueCommand {
    /// Put an issue into the backlog.
    #[command(after_help = "Also while a run goes on.

Examples:
  necro-host issue add 'Login is slow on the first try'
  necro-host issue add 'Dark mode' --label ui --priority low --text \"$(cat wish.md)\"

JSON: the issue, as in `issue ls`.")]
    Add {
        /// What is to be done, in one line.
        title: String,
        /// More about it.
        #[arg(long, value_name = "TEXT", default_value = "")]
        text: String,
        /// What it is filed under; the name of a role or skill decides who gets it.
        #[arg(long, value_name = "LABEL")]
        label: Vec<String>,
        /// How much it matters: low, medium or high.
        #[arg(long, value_name = "PRIORITY", default_value_t)]
        priority: Urgency,
        /// Where.
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the backlog.
    #[command(
        after_help = "JSON: a list of objects with `id`, `title`, `text`, `labels`, `priority`, `status` (open, \
assigned, in_progress, completed), `role`, `instance`, `reason`, `routing` (the decision's execution), `task` \
(null, or `spec` and `task`), `version`, `created_at`, `updated_at`."
    )]
    Ls {
        /// With those that are completed.
        #[arg(long)]
        all: bool,
        /// Where.
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask the routing policy whose work an issue is; with --into, make it a task of a spec as well.
    #[command(
        after_help = "With --into the task is appended to the tasks.md of the checkout, which is then synced; said \
again after an interruption it goes on where it was.

Examples:
  necro-host issue route ISSUE-001
  necro-host issue route ISSUE-001 --into login-ui

JSON: the issue, as in `issue ls`."
    )]
    Route {
        /// Its number, such as `ISSUE-001`.
        issue: IssueId,
        /// Append it to this spec as a task.
        #[arg(long, value_name = "SPEC")]
        into: Option<SpecName>,
        /// Where.
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take an issue out of the backlog without making a task of it.
    #[command(after_help = "Example:
  necro-host issue close ISSUE-001 --reason 'cannot be reproduced'

JSON: the issue, as in `issue ls`.")]
    Close {
        /// Its number.
        issue: IssueId,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Where.
        #[command(flatten)]
        place: Place,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Flags of `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "It listens on the socket `owner.sock` in the state directory, which only its user can open, and \
makes the changes that `task`, `issue`, `spec sync` and `prune` ask for. Those work without it as well; with it \
many workers wait for one process instead of for each other's lock. Ctrl-C, or `necro-host stop`, ends it.

Example:
  necro-host serve & for n in 1 2 3; do ./worker.sh ci-$n & done"
)]
pub(crate) struct ServeArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    if key.trim().is_empty() { Err("the key is empty".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}
