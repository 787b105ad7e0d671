//! The command line's grammar: commands, flags, their help and examples.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Turns a job description into reviewed, merged commits.
#[derive(Debug, Parser)]
#[command(name = "necro-host", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 work failed, 2 wrong usage or configuration, \
3 something missing in the environment, 130 interrupted.")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How much to log to standard error, such as `info` or `necro_host=debug`.
    #[arg(long, global = true, env = "NECRO_LOG", value_name = "FILTER", hide_env_values = true)]
    pub(crate) log: Option<String>,
    /// How log records look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
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
    /// Write the spec of a job (requirements, design, tasks) and stop before any task is done.
    Plan(RunArgs),
    /// Bring the spec branch into your repository as `necro/<spec>`; your checkout is not touched.
    Land(LandArgs),
    /// Say how far a run is.
    Status(QueryArgs),
    /// List tasks.
    Tasks(TasksArgs),
    /// Show one task: why it was routed there, attempts, findings, diff, gate output, conversation.
    Show(ShowArgs),
    /// Show what spirits do, from the journal.
    Logs(LogsArgs),
    /// List the event log.
    Events(EventsArgs),
    /// Draw the dependency graph.
    Graph(GraphArgs),
    /// Check Kiro specs, or tick a task.
    #[command(subcommand)]
    Spec(SpecCommand),
    /// List artifacts, or get one.
    #[command(subcommand)]
    Artifact(ArtifactCommand),
    /// List plugins, or inspect one.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Check git, key, model, gate and disk.
    Doctor(DoctorArgs),
    /// Write a commented `necro.toml`.
    Init(InitArgs),
    /// Print a completion script for a shell.
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
    pub(crate) repo: String,
    /// The state directory [default: `.necro` at the root of the repository; for a URL, in the current directory].
    #[arg(long, env = "NECRO_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// Flags of `run` and `plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  necro-host run --demo                                 play a scripted job on a temporary repository
  necro-host run job.md                                 work on the repository around you
  necro-host run job.md --llm chat:qwen3 --base-url http://127.0.0.1:8000/v1
  echo 'Add a health endpoint' | necro-host run - --max-parallel 2
  necro-host run --spec login-ui                        execute .kiro/specs/login-ui
  necro-host run job.md --plugin routing=mine.wasm      with another routing policy")]
pub(crate) struct RunArgs {
    /// The job: a text file, or `-` for standard input.
    #[arg(value_name = "JOB", conflicts_with_all = ["spec", "demo"])]
    pub(crate) job: Option<PathBuf>,
    /// Execute this spec of the repository instead of a job.
    #[arg(long, value_name = "NAME", conflicts_with = "demo")]
    pub(crate) spec: Option<String>,
    /// Play the built-in demo job on a temporary repository, with scripted replies.
    #[arg(long)]
    pub(crate) demo: bool,
    /// Language of the demo job.
    #[arg(long, value_enum, default_value_t = Language::En, requires = "demo")]
    pub(crate) lang: Language,
    /// Where.
    #[command(flatten)]
    pub(crate) place: Place,
    /// The branch to start from [default: the repository's current branch].
    #[arg(long, value_name = "BRANCH")]
    pub(crate) base: Option<String>,
    /// The model: `openai`, `responses:MODEL`, `chat:MODEL` or `scripted:FILE` [default: openai].
    #[arg(long, env = "NECRO_LLM", value_name = "BACK-END")]
    pub(crate) llm: Option<String>,
    /// Base URL of an OpenAI-compatible server.
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// At most this many attempts at the same time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) max_parallel: Option<u32>,
    /// Use this plugin for the run: a name of the built-in set or a component file.
    #[arg(long, value_name = "KIND=NAME|PATH")]
    pub(crate) plugin: Vec<String>,
    /// Work from the last commit although the checkout has changes that are not committed.
    #[arg(long)]
    pub(crate) allow_dirty: bool,
    /// Print one JSON object at the end instead of words.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A language of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// English
    En,
    /// 日本語
    Ja,
}

/// Flags of `land`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  necro-host land login-ui && git merge necro/login-ui")]
pub(crate) struct LandArgs {
    /// The spec [default: the newest run's].
    pub(crate) spec: Option<String>,
    /// Where.
    #[command(flatten)]
    pub(crate) place: Place,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of commands that only read.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The spec [default: the newest run's].
    #[arg(long, value_name = "NAME")]
    pub(crate) spec: Option<String>,
    /// Where.
    #[command(flatten)]
    pub(crate) place: Place,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `tasks`.
#[derive(Debug, Args)]
pub(crate) struct TasksArgs {
    /// Only tasks in this state.
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// What and where.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// Flags of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  necro-host show 2.1\n  necro-host show 2.1 --attempt 1 --conversation")]
pub(crate) struct ShowArgs {
    /// The task's number; `0.1` and `0.2` are the planning steps.
    pub(crate) task: String,
    /// Only this attempt.
    #[arg(long, value_name = "N")]
    pub(crate) attempt: Option<u32>,
    /// With the whole conversation.
    #[arg(long)]
    pub(crate) conversation: bool,
    /// What and where.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// Flags of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Only this spirit, such as `backend_spirit_1`, or all of a role.
    pub(crate) spirit: Option<String>,
    /// Go on until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// What and where.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// Flags of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only events of this task.
    #[arg(long, value_name = "ID")]
    pub(crate) task: Option<String>,
    /// Only events of this kind, such as `TaskCompleted`.
    #[arg(long, value_name = "NAME")]
    pub(crate) kind: Option<String>,
    /// Only events after this sequence number.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) after: u64,
    /// At most this many.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// What and where.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// Flags of `graph`.
#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// In which language.
    #[arg(long, value_enum, default_value_t = GraphFormat::Mermaid)]
    pub(crate) format: GraphFormat,
    /// What and where.
    #[command(flatten)]
    pub(crate) query: QueryArgs,
}

/// A graph's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Mermaid
    Mermaid,
    /// Graphviz
    Dot,
    /// JSON
    Json,
}

/// `spec …`
#[derive(Debug, Subcommand)]
pub(crate) enum SpecCommand {
    /// Check a spec's folder, a folder of specs, or one tasks.md.
    Check {
        /// The path [default: .kiro/specs].
        #[arg(default_value = ".kiro/specs")]
        path: PathBuf,
        /// Treat every deviation from our own form as an error.
        #[arg(long)]
        strict: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tick a task in a tasks.md: changes its state byte, and its parent's when that is done with it.
    Tick {
        /// The tasks.md, or the spec's folder.
        path: PathBuf,
        /// The task's number.
        task: String,
        /// Clear the box instead.
        #[arg(long)]
        undo: bool,
    },
}

/// `artifact …`
#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactCommand {
    /// List artifacts.
    Ls {
        /// Only this task's.
        #[arg(long, value_name = "ID")]
        task: Option<String>,
        /// What and where.
        #[command(flatten)]
        query: QueryArgs,
    },
    /// Get an artifact's bytes.
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
    /// List the built-in plugins.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a plugin's kind, digest, imports and limits.
    Inspect {
        /// A built-in name, such as `routing/least-busy`, or a component file.
        plugin: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Where.
    #[command(flatten)]
    pub(crate) place: Place,
    /// The model, as for `run`.
    #[arg(long, env = "NECRO_LLM", value_name = "BACK-END")]
    pub(crate) llm: Option<String>,
    /// Base URL of an OpenAI-compatible server.
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The repository.
    #[arg(long, default_value = ".", value_name = "PATH")]
    pub(crate) repo: PathBuf,
    /// Replace a file that exists.
    #[arg(long)]
    pub(crate) force: bool,
}
