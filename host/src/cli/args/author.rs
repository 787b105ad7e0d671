//! Flags of the commands for people who write plugins: `plugin new`, `build`, `check`, `test`, `dev`, `exec`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::service::author::Language;

/// What an author does with a project.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthorCommand {
    /// Write the project of a plugin: it builds, and its tests pass.
    New(NewArgs),
    /// Build a plugin's project to a component.
    Build(BuildArgs),
    /// Say everything that is wrong with a component, and what it will ask for.
    Check(CheckArgs),
    /// Build a plugin's project and run its tests.
    Test(TestArgs),
    /// Build on each save, check, and put the component into the running host.
    Dev(DevArgs),
    /// Run one call of a component in a place of its own, and print what it did.
    Exec(ExecArgs),
}

/// Which kind of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Does assignments in a role.
    Spirit,
    /// Picks the instance for an issue.
    Routing,
    /// Orders tasks that are ready.
    Scheduling,
    /// Judges a change.
    Review,
}

/// In which language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lang {
    /// Rust, built by cargo.
    Rust,
    /// Python, built by componentize-py.
    Python,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Rust => Self::Rust,
            Lang::Python => Self::Python,
        }
    }
}

/// Flags of `plugin new`.
#[derive(Debug, Args)]
#[command(after_help = "The SDK is written into the project, so that nothing else is needed; --sdk names a copy \
that is used in its place. Nothing that is there is replaced.

Examples:
  necro-host plugin new --kind routing night-shift
  necro-host plugin new --kind review --lang python no-shouting --path plugins/no-shouting

JSON: an object with `name`, `kind`, `language`, `folder`, `files`.")]
pub(crate) struct NewArgs {
    /// The plugin's name: a-z, 0-9 and `-`, beginning with a letter.
    pub name: String,
    /// What it is for.
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    pub lang: Lang,
    /// Where it is written: a new or empty folder [default: a folder of the plugin's name].
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// Use the SDK in this folder (Rust) instead of writing one into the project.
    #[arg(long, value_name = "PATH")]
    pub sdk: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin build`.
#[derive(Debug, Args)]
#[command(
    after_help = "Rust is built by cargo for wasm32-wasip2, Python by componentize-py. plugin.toml goes into the \
component. Exit code 1 when the build fails, 3 when a tool is missing.

Example:
  necro-host plugin build night-shift

JSON: an object with `name`, `kind`, `component` (the file), `size_bytes`, `digest`, `wants`."
)]
pub(crate) struct BuildArgs {
    /// The project's folder.
    #[arg(default_value = ".", value_name = "DIR")]
    pub project: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin check`.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 1 when something is wrong; all of it is said at once.

Examples:
  necro-host plugin check target/plugin/night-shift.wasm
  necro-host plugin check night-shift                   the component that `plugin build` made there

JSON: an object with `component`, `problems` (a list of sentences), `name`, `kind`, `world`, `contract`, `version`, \
`size_bytes`, `digest`, `imports`, `asks` (by interface: `why`, `optional`, `scope`, `imported`), `limits`, `settings`, \
`says`; what cannot be known is null.")]
pub(crate) struct CheckArgs {
    /// A component, or a project's folder.
    #[arg(default_value = ".", value_name = "PATH|DIR")]
    pub path: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin test`.
#[derive(Debug, Args)]
#[command(after_help = "Builds the component, then runs `cargo test` or `python -m unittest` in the project with \
NECRO_HOST (this program) and NECRO_COMPONENT set. Exit code 1 when a test fails.

Example:
  necro-host plugin test night-shift

JSON: an object with `name`, `component`, `passed`, `output`.")]
pub(crate) struct TestArgs {
    /// The project's folder.
    #[arg(default_value = ".", value_name = "DIR")]
    pub project: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin dev`.
#[derive(Debug, Args)]
#[command(after_help = "Looks for saved files several times a second. What does not build changes nothing in the \
host. Ctrl-C ends it.

Examples:
  necro-host plugin dev night-shift
  necro-host plugin dev night-shift --state ../shop/.necro
  necro-host plugin dev night-shift --once               build, check and swap now, then end

JSON: one object a line for each build: `built` (null, or as of `plugin build`), `problems`, `swapped`, `text`.")]
pub(crate) struct DevArgs {
    /// The project's folder.
    #[arg(default_value = ".", value_name = "DIR")]
    pub project: PathBuf,
    /// The state directory of the host that the component is put into [default: .necro].
    #[arg(long, env = "NECRO_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Build once, and end.
    #[arg(long)]
    pub once: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `plugin exec`.
#[derive(Debug, Args)]
#[command(after_help = "The host is the real one, with its limits, journal and grants; around it lie a temporary \
repository with the files of the request, a fresh registry, and a model whose replies are given. The answer has \
the result or a named error, every host call with arguments and answer, log, fuel and memory, and files and diff \
after it. The exit code is 0 whatever the component does; with --fixture it is 1 when it does something else than \
is recorded.

A request is a JSON object: `call` (route, order, review, perform, describe), `input`, `settings`, `grant` (a list of \
interfaces; all that are imported when it is left out), `limits`, `files`, `changes` (of the work tree), `replies` \
(`text`, `calls` with `name` and `arguments`), `commands` (by name: `run`, or `answers` with `exit_code`, `stdout`, \
`stderr`), `time`, `component`.

Examples:
  echo '{\"call\": \"route\", \"input\": {\"candidates\": [{\"instance\": \"qa_spirit_1\"}]}}' | necro-host plugin exec x.wasm
  necro-host plugin exec x.wasm --request request.json
  necro-host plugin exec x.wasm --fixture fixtures/0007-routing-least-busy-1.2.json

JSON: an object with `plugin`, `call`, `outcome` (`ok`, or `error`, `message` and `failure`), `calls`, `log`, `usage`, \
`files`, `diff`; with --fixture `plugin`, `call`, `same`, `outcome`, `recorded`, `calls`, `fuel`, `difference`, `reason`.")]
pub(crate) struct ExecArgs {
    /// The component [default: the one that the request names].
    pub component: Option<PathBuf>,
    /// Read the request from this file [default: standard input].
    #[arg(long, value_name = "FILE", conflicts_with = "fixture")]
    pub request: Option<PathBuf>,
    /// Replay this recorded decision (`run --record-fixtures`): what the host answered is answered again.
    #[arg(long, value_name = "FILE", requires = "component")]
    pub fixture: Option<PathBuf>,
}
