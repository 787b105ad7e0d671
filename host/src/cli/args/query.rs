//! Flags of the commands that ask the registry: tasks, events, the graph.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};

use super::QueryArgs;
use crate::domain::task::TaskState;

/// Flags of `tasks`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  necro-host tasks
  necro-host tasks --only failed --json
  necro-host tasks --only ready --only running --skill backend --sort priority
  necro-host tasks --text login --limit 50 --after '@login-ui/2.10'

JSON: a list of objects with `spec`, `task`, `title`, `text`, `state`, `depends`, `skill`, `optional`, \
`container`, `priority`, `requirements`, `metadata`, `set` (what an operator set), `attempts`, `assigned` (`instance`, \
`slot`, `branch`, `runner`), `last_failure`, `merged_commit`, `version`, `created_at`, `updated_at`, `cursor` (for \
--after, in the same order).")]
pub(crate) struct TasksArgs {
    /// Only tasks in this state; again for another one.
    #[arg(long, value_name = "STATE", value_parser = task_state())]
    pub only: Vec<TaskState>,
    /// Only tasks for this role.
    #[arg(long, value_name = "ROLE")]
    pub skill: Option<String>,
    /// Only optional tasks, or only required ones.
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    pub optional: Option<bool>,
    /// Only what this runner or worker works on.
    #[arg(long, value_name = "NAME")]
    pub runner: Option<String>,
    /// Only what is worked on in this slot.
    #[arg(long, value_name = "NAME")]
    pub slot: Option<String>,
    /// Only tasks with this in title or text.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// The order: natural by number, most urgent first, oldest first, or changed last first.
    #[arg(long, value_enum, default_value_t = Sort::Number)]
    pub sort: Sort,
    /// The other way round.
    #[arg(long)]
    pub reverse: bool,
    /// At most this many [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: Option<u32>,
    /// Go on after this place, from `cursor` or the note below a page.
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Tasks of all specs.
    #[arg(long, conflicts_with = "spec")]
    pub all_specs: bool,
    /// What and where.
    #[command(flatten)]
    pub query: QueryArgs,
}

/// The order of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// By number: 2 before 10
    Number,
    /// The most urgent first
    Priority,
    /// The oldest first
    Created,
    /// What changed last first
    Updated,
}

/// A time, or the beginning of a day, UTC.
fn time(text: &str) -> Result<jiff::Timestamp, String> {
    let day = || format!("{text}T00:00:00Z").parse::<jiff::Timestamp>();
    text.parse().or_else(|_| day()).map_err(|_| "write it as 2026-11-22T10:00:00Z or 2026-11-22".to_owned())
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

fn task_state() -> impl clap::builder::TypedValueParser<Value = TaskState> {
    PossibleValuesParser::new(TaskState::ALL.map(TaskState::as_str)).try_map(|text| text.parse::<TaskState>())
}

/// Flags of `events`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  necro-host events --task 2.1
  necro-host events --kind TaskCompleted --json
  necro-host events --since 2026-11-22T10:00:00Z --until 2026-11-22T11:00:00Z
  necro-host events -f --json | jq -r .event            one object a line, as they become durable

JSON: a list of objects with `sequence`, `time`, `event`, `details`, and `run`, `spec`, `task`, `attempt` \
where the event has them; with --follow one object a line.")]
pub(crate) struct EventsArgs {
    /// Only events of this task.
    #[arg(long, value_name = "ID")]
    pub task: Option<String>,
    /// Only events of this attempt at the task.
    #[arg(long, value_name = "N", requires = "task")]
    pub attempt: Option<u32>,
    /// Only events of this kind, such as `TaskCompleted`; again for another one.
    #[arg(long, value_name = "NAME")]
    pub kind: Vec<String>,
    /// Only events from this time on, such as `2026-11-22T10:00:00Z` or `2026-11-22`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<jiff::Timestamp>,
    /// Only events before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<jiff::Timestamp>,
    /// Events of all specs, and of none.
    #[arg(long, conflicts_with_all = ["spec", "task"])]
    pub all_specs: bool,
    /// Go on and show new events as they become durable, until it is interrupted.
    #[arg(short, long, conflicts_with = "until")]
    pub follow: bool,
    /// Only events after this sequence number.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub after: u64,
    /// At most this many.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// What and where.
    #[command(flatten)]
    pub query: QueryArgs,
}

/// Flags of `graph`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  necro-host graph --format dot | dot -Tsvg > graph.svg
  necro-host graph --format waves                       what can run at the same time, and what decides the time

JSON: an object with `tasks` (`id`, `title`, `state`, `optional`, `depends`), `edges` (`from`, `to`), `waves` \
(lists of ids) and `critical_path` (ids).")]
pub(crate) struct GraphArgs {
    /// In which language; --json is the same as json.
    #[arg(long, value_enum, default_value_t = GraphFormat::Mermaid)]
    pub format: GraphFormat,
    /// What and where.
    #[command(flatten)]
    pub query: QueryArgs,
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
    /// Text: waves of tasks that can run at the same time, and the critical path
    Waves,
}
