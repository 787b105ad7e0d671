//! Flags of `spec sync`.

use clap::Args;

use super::Place;

/// Flags of `spec sync`.
#[derive(Debug, Args)]
#[command(
    after_help = "The file decides what tasks say, and that a newly ticked box is a done task. A box that was ticked \
at the last sync and is open now opens its task again. Every other state is the registry's: done tasks are \
ticked in the file, running ones get `[-]`, and what is not true any more is cleared. No other byte of the \
file changes, and what somebody writes into it meanwhile is taken into account. When nothing has changed, \
nothing is recorded or written.

While a run goes on, its process does it; a box that is ticked while an attempt works on the task counts \
when that has ended. A file with errors is left as it is, with exit code 1, and the others go on.

Examples:
  necro-host spec sync                                  the specs here that the registry knows; when it knows
                                                        none of them, all that have a tasks.md
  necro-host spec sync login-ui --dry-run               what would change, on both sides

JSON: a list of objects with `spec`, `path`, `dry_run`, `refused`, `added`, `changed`, `removed`, `ticked`, \
`opened`, `waiting`, `followed`, `boxes` (each with `count` and the first 1000 `tasks`), `diagnostics`."
)]
pub(crate) struct SyncArgs {
    /// Names of specs.
    #[arg(value_name = "SPEC")]
    pub specs: Vec<String>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
