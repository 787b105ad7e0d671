//! The command line's grammar: commands, flags, their help and examples.

mod author;
pub(crate) mod plugin;
mod query;
mod registry;
mod slot;
pub(crate) mod swap;
mod sync;
mod upkeep;
mod work;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use author::{AuthorCommand, BuildArgs, CheckArgs, DevArgs, ExecArgs, Kind, NewArgs, TestArgs};
pub(crate) use query::{EventsArgs, GraphArgs, GraphFormat, Sort, TasksArgs};
pub(crate) use registry::{AtArgs, LockCommand, RegistryCommand};
pub(crate) use slot::{GcArgs, RescueCommand, SlotCommand, WorkspaceCommand};
pub(crate) use sync::SyncArgs;
pub(crate) use upkeep::{PruneArgs, StopArgs};
pub(crate) use work::{Held, IssueCommand, ServeArgs, TaskAt, TaskCommand};

/// Turns a job description into reviewed, merged commits.
#[derive(Debug, Parser)]
#[command(name = "necro-host", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Begin with: necro-host run --demo

Exit codes: 0 done, 1 work failed, 2 wrong usage or configuration, 3 something missing in the \
environment, 130 interrupted. Results go to standard output, progress, logs and errors to standard \
error. Times are UTC.")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much to log to standard error, such as `info` or `necro_host=debug` [default: warn].
    #[arg(
        long,
        global = true,
        env = "NECRO_LOG",
        value_name = "FILTER",
        hide_env_values = true,
        help_heading = "Output"
    )]
    pub log: Option<String>,
    /// How log records look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, help_heading = "Output")]
    pub log_format: LogFormat,
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, help_heading = "Output")]
    pub color: Colour,
}

/// How log records look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Work on a job, or on a spec that exists, until its tasks are merged.
    Run(RunArgs),
    /// Go on with a run that was cut off or stopped, where it was.
    Resume(ResumeArgs),
    /// Write the spec of a job (requirements, design, tasks) and stop before any task is done.
    Plan(RunArgs),
    /// Bring the spec branch into your repository as `necro/<spec>`; your checkout is not touched.
    Land(LandArgs),
    /// Ask the process that works in the state directory to stop in order, and wait until it has.
    Stop(StopArgs),
    /// Say how far a run is.
    Status(StatusArgs),
    /// List tasks.
    Tasks(TasksArgs),
    /// Set a task's attributes; claim a task for a worker outside the host, and report it.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Keep a backlog: add issues, list them, route them, make tasks of them.
    #[command(subcommand)]
    Issue(IssueCommand),
    /// Own the state directory without a run, and make the changes that workers and people ask for.
    Serve(ServeArgs),
    /// Show one task: why it was routed there, attempts, findings, diff, gate output, conversation.
    Show(ShowArgs),
    /// Show what spirits do, from the journal.
    Logs(LogsArgs),
    /// List the event log.
    Events(EventsArgs),
    /// Repeat a run from its records and compare; try another policy over it; write out one of its moments.
    Replay(super::replay::ReplayArgs),
    /// Draw the dependency graph.
    Graph(GraphArgs),
    /// Check Kiro specs, or tick a task.
    #[command(subcommand)]
    Spec(SpecCommand),
    /// List artifacts, or get one.
    #[command(subcommand)]
    Artifact(ArtifactCommand),
    /// Install plugins, decide what they may do, look at them.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Take away caches and idle slots that are old, or more than the quota allows.
    Gc(GcArgs),
    /// Drop the journals of runs that are over, by age or size, and what nothing names any more.
    Prune(PruneArgs),
    /// Prove the registry, mend it, save it and restore it.
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// List locks of spirits, or give one back.
    #[command(subcommand)]
    Lock(LockCommand),
    /// List, take, give back, warm up, repair and remove the slots that work is done in.
    #[command(subcommand)]
    Slot(SlotCommand),
    /// Say which spec's work is where, or take a spec's branches out of the state directory.
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// List work that was found in slots and in no commit, or bring it back.
    #[command(subcommand)]
    Rescue(RescueCommand),
    /// Check git, key, model, gate and disk.
    Doctor(DoctorArgs),
    /// Write a commented `necro.toml`.
    Init(InitArgs),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  necro-host completions bash > ~/.local/share/bash-completion/completions/necro-host"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Which repository and where its state is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The repository: a path, or a URL to clone.
    #[arg(long, default_value = ".", value_name = "PATH|URL")]
    pub repo: String,
    /// The state directory: new, empty, or an earlier run's [default: `.necro` at the root of the repository; for a
    /// URL, in the current directory].
    #[arg(long, env = "NECRO_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// Flags of `run` and `plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  necro-host run --demo                                 play a scripted job on a temporary repository
  necro-host run job.md                                 work on the repository around you
  necro-host run job.md --llm chat:qwen3 --base-url http://127.0.0.1:8000/v1
  echo 'Add a health endpoint' | necro-host run - --max-parallel 2
  necro-host run --spec login-ui                        execute .kiro/specs/login-ui
  necro-host run job.md --plugin routing=mine.wasm      with another routing policy
  necro-host run --demo --record-fixtures fixtures      every decision as a file, for tests of plugins")]
pub(crate) struct RunArgs {
    /// The job: a text file, or `-` for standard input.
    #[arg(value_name = "JOB", conflicts_with_all = ["spec", "demo"])]
    pub job: Option<PathBuf>,
    /// Execute this spec of the repository instead of a job.
    #[arg(long, value_name = "NAME", conflicts_with = "demo")]
    pub spec: Option<String>,
    /// Play the built-in demo job on a temporary repository, with scripted replies.
    #[arg(long, conflicts_with_all = ["repo", "base"])]
    pub demo: bool,
    /// Language of the demo job.
    #[arg(long, value_enum, default_value_t = Language::En, requires = "demo")]
    pub lang: Language,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// The branch to start from [default: the repository's current branch].
    #[arg(long, value_name = "BRANCH")]
    pub base: Option<String>,
    /// The model: `openai`, `responses:MODEL`, `chat:MODEL` or `scripted:FILE` [default: openai].
    #[arg(long, env = "NECRO_LLM", value_name = "BACK-END")]
    pub llm: Option<String>,
    /// Base URL of an OpenAI-compatible server.
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    pub base_url: Option<String>,
    /// At most this many attempts at the same time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub max_parallel: Option<u32>,
    /// Use this plugin for the run: a name of the built-in set or a component file.
    #[arg(long, value_name = "KIND=NAME|PATH")]
    pub plugin: Vec<String>,
    /// Refuse a policy or heuristic of --plugin that would change more of the newest 100 recorded decisions.
    #[arg(long, value_name = "N", requires = "plugin")]
    pub max_changed: Option<u64>,
    /// Work from the last commit although the checkout has changes that are not committed.
    #[arg(long)]
    pub allow_dirty: bool,
    /// Begin a new run, although an earlier one on the same job was cut off or stopped: what that left open
    /// gets an end, and its work is kept
    #[arg(long, conflicts_with = "demo")]
    pub fresh: bool,
    /// Write one JSON file for each call of a plugin into this new folder: input, host calls with answers, end.
    #[arg(long, value_name = "DIR")]
    pub record_fixtures: Option<PathBuf>,
    /// Print one JSON object at the end instead of words: the run's `outcome`, `branch`, `commit`, `tree`, `tasks`,
    /// `cost`, `problems` (what is left to do), `landed`, `mirror` (where the branch can be fetched) and more.
    #[arg(long)]
    pub json: bool,
}

/// A language of the demo.
#[derive(Debug, Args)]
#[command(
    after_help = "What was answered is not asked again, what was merged stays merged, and finished attempts are not \
repeated: spirits are run again from their records, at no cost. Model, server and parallelism are those \
that the run was begun with, unless they are named here; keys come from the environment.

Examples:
  necro-host resume                                     the newest run that was cut off or stopped
  necro-host resume 019a2b7c-…  --llm chat:qwen3        this one, with another model

JSON: as of `run`."
)]
pub(crate) struct ResumeArgs {
    /// The run [default: the newest that has no end]
    pub run: Option<String>,
    #[command(flatten)]
    pub place: Place,
    /// The model: `openai`, `responses:MODEL`, `chat:MODEL` or `scripted:FILE` [default: the run's]
    #[arg(long, env = "NECRO_LLM", value_name = "BACK-END")]
    pub llm: Option<String>,
    /// Base URL of an OpenAI-compatible server [default: the run's]
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    pub base_url: Option<String>,
    /// At most this many attempts at the same time [default: the run's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub max_parallel: Option<u32>,
    /// Use this plugin from here on: a name of the built-in set or a component file
    #[arg(long, value_name = "KIND=NAME|PATH")]
    pub plugin: Vec<String>,
    /// Refuse a policy or heuristic of --plugin that would change more of the newest 100 recorded decisions.
    #[arg(long, value_name = "N", requires = "plugin")]
    pub max_changed: Option<u64>,
    /// Write one JSON file for each call of a plugin in this run, from its beginning, into this new folder
    #[arg(long, value_name = "DIR")]
    pub record_fixtures: Option<PathBuf>,
    /// Print one JSON object at the end instead of words
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// English
    En,
    /// 日本語
    Ja,
}

/// Flags of `land`.
#[derive(Debug, Args)]
#[command(
    after_help = "Your work tree, index, configuration and other branches stay as they are. A branch of that name \
that is checked out, or has commits that the spec branch has not, is refused. While a run goes on, what it \
has merged so far is landed.

Example:
  necro-host land login-ui && git merge necro/login-ui

JSON: an object with `branch`, `commit`, `from` (null for a new branch), `unchanged`."
)]
pub(crate) struct LandArgs {
    /// The spec [default: the newest run's].
    pub spec: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Works while the run goes on, too.

JSON: an object with `spec`, `state_dir`, `run` (its record), `going_on` (a process works on it), `owner` \
(null, or who works in the state directory: `pid`, `since`, `run`, `answers`), `tasks` (`total`, `done`, `failed`, `running`, `ready`, `blocked`, `cancelled`; containers \
are not counted), `active` and `failed` (lists), `cost`, `disk` (`total_bytes`, and `parts` with `what` and `bytes`).")]
pub(crate) struct StatusArgs {
    /// What and where.
    #[command(flatten)]
    pub query: QueryArgs,
}

/// Flags of commands that only read.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The spec [default: the newest run's].
    #[arg(long, value_name = "NAME")]
    pub spec: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Diff and gate output are those of the last attempt, or of the one that is named.

Examples:
  necro-host show 2.1
  necro-host show 2.1 --attempt 1 --conversation
  necro-host show 0.1                                   what the architect did

JSON: an object with `key`, `task` (null for planning steps), `notes` and `attempts`; each attempt has \
`attempt`, `instance`, `outcome`, `reason`, `routing` (`plugin`, `decision` with `scores`, `candidates`), \
`summary`, `failure`, `commit`, `files`, `cost`, `gates`, `findings`, `artifacts`, `diff`, `checks`, `steps` and \
`sandbox` (of its last gate), `conversation` (with --conversation), `pruned_at` (when its journal was dropped).")]
pub(crate) struct ShowArgs {
    /// The task's number; `0.1` and `0.2` are the planning steps.
    pub task: String,
    /// Only this attempt.
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// With the whole conversation.
    #[arg(long)]
    pub conversation: bool,
    /// What and where.
    #[command(flatten)]
    pub query: QueryArgs,
}

/// Flags of `logs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  necro-host logs                                       every call of every spirit, in order of time
  necro-host logs backend                               of one role
  necro-host logs qa_spirit_1 -f                        of one spirit, as it happens

JSON: a list of objects with `at`, `task`, `attempt`, `instance`, `execution`, `sequence`, `function`, \
`text`, `failed` (null: no answer was recorded), `cost`; with --follow one object a line.")]
pub(crate) struct LogsArgs {
    /// Only this spirit, such as `backend_spirit_1`, or all of a role.
    pub spirit: Option<String>,
    /// Go on until the newest run has ended and all of it was shown.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines of what there is already [default: all].
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,
    /// What and where.
    #[command(flatten)]
    pub query: QueryArgs,
}

/// `spec …`
#[derive(Debug, Subcommand)]
pub(crate) enum SpecCommand {
    /// Check a spec's folder, a folder of specs, or one tasks.md; exit code 1 when there are errors.
    #[command(after_help = "Examples:
  necro-host spec check
  necro-host spec check .kiro/specs/login-ui --strict

JSON: a list of objects with `spec`, `config` and `cc_sdd` (what `.config.kiro` and `spec.json` say, or null), \
`mode`, `tasks`, `boxes`, `diagnostics` (`file`, `line`, `code`, `severity`, `message`).")]
    Check {
        /// The path [default: .kiro/specs at the root of the repository].
        path: Option<PathBuf>,
        /// Treat every deviation from our own form as an error.
        #[arg(long)]
        strict: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tick a task in a tasks.md: changes its state byte, and its parent's when that is done with it.
    #[command(after_help = "Examples:
  necro-host spec tick .kiro/specs/login-ui 2.1
  necro-host spec tick tasks.md 2.1 --undo")]
    Tick {
        /// The tasks.md, or the spec's folder.
        path: PathBuf,
        /// The task's number.
        task: String,
        /// Clear the box instead.
        #[arg(long)]
        undo: bool,
    },
    /// Bring the tasks.md of the checkout and the registry in step, both ways.
    Sync(SyncArgs),
}

/// `artifact …`
#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactCommand {
    /// List artifacts.
    #[command(after_help = "JSON: a list of objects with `uri`, `spec`, `task`, `attempt`, `kind`, `name`, \
`media_type`, `size_bytes`, `digest`, `created_at`.")]
    Ls {
        /// Only this task's.
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        /// What and where.
        #[command(flatten)]
        query: QueryArgs,
    },
    /// Get an artifact's bytes.
    #[command(after_help = "Example:
  necro-host artifact get artifact:0199… | git apply --check")]
    Get {
        /// Its address, from `artifact ls`.
        uri: String,
        /// Write to this file [default: standard output].
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Where.
        #[command(flatten)]
        place: Place,
    },
}

/// `plugin …`
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// What authors do.
    #[command(flatten)]
    Author(AuthorCommand),
    /// List the plugins that can be used by name.
    #[command(visible_alias = "list")]
    Ls(plugin::LsArgs),
    /// Show what a plugin is, what it asks for and may do, and where it is stopped.
    Inspect(plugin::InspectArgs),
    /// Install a plugin, or everything that necro.lock names.
    Install(plugin::InstallArgs),
    /// Install the newest bytes of an installed plugin.
    Update(plugin::UpdateArgs),
    /// Remove an installed plugin with its grant.
    Remove(plugin::RemoveArgs),
    /// Decide what a plugin may do.
    Grant(plugin::GrantArgs),
    /// Take back what a plugin may do.
    Revoke(plugin::RevokeArgs),
    /// Show what a plugin asks for beyond what was granted.
    Diff(plugin::DiffArgs),
    /// Put a plugin in another's place while a run or `serve` works.
    Swap(swap::SwapArgs),
    /// Put back the plugin that sat there before.
    Rollback(swap::RollbackArgs),
    /// List who sat where, from when, and by what.
    History(swap::HistoryArgs),
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes nothing and asks the model nothing that costs. Exit code 3 when something that a run needs is \
missing.

JSON: a list of objects with `name`, `state` (ok, warn, fail), `text`, `advice` (null when there is \
nothing to do)."
)]
pub(crate) struct DoctorArgs {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// The model, as for `run`.
    #[arg(long, env = "NECRO_LLM", value_name = "BACK-END")]
    pub llm: Option<String>,
    /// Base URL of an OpenAI-compatible server.
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    pub base_url: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `init`.
#[derive(Debug, Args)]
#[command(after_help = "Every setting stands in the file with its default, commented out.")]
pub(crate) struct InitArgs {
    /// The repository.
    #[arg(long, default_value = ".", value_name = "PATH")]
    pub repo: PathBuf,
    /// Replace a file that exists.
    #[arg(long)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_has_no_contradictions() {
        Cli::command().debug_assert();
    }
}
