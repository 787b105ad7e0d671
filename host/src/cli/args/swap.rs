//! Flags of the commands that change who sits where while the host works.

use clap::Args;

use super::Place;
use crate::plugin::PluginKind;

/// Flags of `plugin swap`.
#[derive(Debug, Args)]
#[command(
    after_help = "The process that works in the state directory (a run, or `serve`) verifies the component, compiles it \
beside the work, lets it pass a self-test, and shows a policy or heuristic the newest recorded decisions of all \
runs: the table lists those that would change. Then it is recorded and seated in one step. What is refused changes \
nothing. Attempts under way keep their component; a spirit takes the place of its role for new ones. A run that is \
killed goes on with it; after `serve` ends the configuration says again who sits where.

What would change: a policy begins with an empty state, and what comes after the first change is an estimate (~), \
because its input is a consequence of the old decisions. A heuristic is called without a work tree or a model.

When nothing works there, choose it at the start: `run --plugin KIND=…`, or `[plugins]` in necro.toml.

Examples:
  necro-host plugin swap routing mine.wasm
  necro-host plugin swap routing round-robin --max-changed 10
  necro-host plugin swap review ./mine.wasm --last 500
  necro-host plugin swap spirit ./backend.wasm          for the role that it says it plays

JSON: an object with `refused` (null, or why nothing was changed), `seat`, `kind`, `name`, `digest`, `replaces` \
(null, or `name`, `digest`), `by`, `run`, `shadow` (null for spirits; `decisions`, `changed`, `failed`, `not_tried`, \
`first`: at most 100 with `at`, `execution`, `attempt`, `recorded`, `new`, `reason`, `estimate`, `failed`). Exit code \
1 when it was refused."
)]
pub(crate) struct SwapArgs {
    /// Whose place it takes: spirit, routing, scheduling or review.
    #[arg(value_name = "KIND")]
    pub kind: PluginKind,
    /// A component file, or a name of the built-in set or of what is installed.
    #[arg(value_name = "PATH|NAME")]
    pub plugin: String,
    /// Refuse it when it would change more of the recorded decisions [default: however many].
    #[arg(long, value_name = "N")]
    pub max_changed: Option<u64>,
    /// Show it so many of the newest recorded decisions [default: 100].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub last: Option<u32>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin rollback`.
#[derive(Debug, Args)]
#[command(
    after_help = "Seats the component that sat there before, from the state directory: the last five of each seat are \
kept, whatever is pruned. Typed again it goes one further back. There is no shadow replay.

Examples:
  necro-host plugin rollback routing
  necro-host plugin rollback spirit/backend --to 3f2a

JSON: as of `plugin swap`."
)]
pub(crate) struct RollbackArgs {
    /// A kind, or a seat such as `spirit/backend` or `review/diff-size`.
    #[arg(value_name = "KIND|SEAT")]
    pub seat: String,
    /// First digits of the component's digest, from `plugin history` [default: the one before].
    #[arg(long, value_name = "DIGEST")]
    pub to: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin history`.
#[derive(Debug, Args)]
#[command(
    after_help = "Seats that nobody has changed are not listed: there sits the built-in default. What decided one task \
says `show`, what decided one event `events --json` by its execution.

Examples:
  necro-host plugin history
  necro-host plugin history routing

JSON: a list of objects with `sequence`, `time`, `seat`, `kind`, `name`, `digest`, `replaces` (null, or `name`, \
`digest`), `by` (start, swap, rollback), `shadow` (null, or `decisions`, `changed`, `failed`), `run`, `spec` (null: \
decisions outside of runs)."
)]
pub(crate) struct HistoryArgs {
    /// Only this kind, or this seat such as `spirit/backend`.
    #[arg(value_name = "KIND|SEAT")]
    pub seat: Option<String>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
