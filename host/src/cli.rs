//! The command line: one file a command. `report` alone turns errors into words and exit codes.

mod args;
mod artifact;
mod author;
mod completions;
mod display;
mod doctor;
mod events;
mod exchange;
mod gc;
mod graph;
mod init;
mod issue;
mod land;
mod log;
mod logs;
mod neutral;
mod open;
mod out;
mod plugin;
mod prune;
mod registry;
mod replay;
mod report;
mod rescue;
mod run;
mod serve;
mod show;
mod slot;
mod spec;
mod status;
mod stop;
mod style;
mod sync;
mod table;
mod task;
mod tasks;
mod words;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

use args::{ArtifactCommand, Cli, Command, SpecCommand};
use style::Style;

use crate::service::{Extent, ServiceError};

/// After so many steps of tasks each thread of the executor looks for timers, sockets and processes. A step of a
/// guest that loops takes a tick of the engine's, so that with tokio's 61 everything else would wait for most of a
/// second once as many guests loop as there are threads.
pub const EVENT_INTERVAL: u32 = 8;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let err = Style::stderr(cli.color);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.event_interval(EVENT_INTERVAL).enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return report::report(&ServiceError::Io { path: "the async runtime".into(), source }, err),
    };
    let result = runtime.block_on(dispatch(cli, err));
    runtime.shutdown_background();
    result.unwrap_or_else(|error| report::report(&error, err))
}

async fn dispatch(cli: Cli, err: Style) -> Result<ExitCode, ServiceError> {
    let out = Style::stdout(cli.color);
    log::start(cli.log.as_deref(), cli.log_format, err)?;
    match cli.command {
        Command::Run(args) => return run::run(args, Extent::Run, out, err).await,
        Command::Resume(args) => return run::resume(args, out, err).await,
        Command::Plan(args) => return run::run(args, Extent::Plan, out, err).await,
        Command::Doctor(args) => return doctor::run(args, out).await,
        Command::Spec(SpecCommand::Check { path, strict, json }) => {
            return spec::check(path, strict, json, out).await;
        }
        Command::Spec(SpecCommand::Tick { path, task, undo }) => spec::tick(path, task, undo).await?,
        Command::Spec(SpecCommand::Sync(args)) => return sync::run(args, out).await,
        Command::Land(args) => land::run(args, out).await?,
        Command::Stop(args) => stop::run(args, out).await?,
        Command::Status(args) => status::run(args.query, out).await?,
        Command::Tasks(args) => tasks::run(args, out).await?,
        Command::Task(command) => return task::run(command, out).await,
        Command::Issue(command) => issue::run(command, out).await?,
        Command::Serve(args) => serve::run(args).await?,
        Command::Show(args) => show::run(args, out).await?,
        Command::Logs(args) => logs::run(args, out).await?,
        Command::Events(args) => events::run(args, out).await?,
        Command::Replay(args) => return replay::run(args, out, err).await,
        Command::Graph(args) => graph::run(args).await?,
        Command::Artifact(ArtifactCommand::Ls { task, query }) => artifact::ls(task, query, out).await?,
        Command::Artifact(ArtifactCommand::Get { uri, output, place }) => artifact::get(uri, output, place).await?,
        Command::Plugin(command) => return plugin::run(command, out, err).await,
        Command::Prune(args) => prune::run(args, out).await?,
        Command::Registry(command) => return registry::run(command, out).await,
        Command::Lock(command) => registry::lock(command, out).await?,
        Command::Slot(command) => return slot::run(command, out).await,
        Command::Gc(args) => gc::run(args, out).await?,
        Command::Workspace(command) => workspace::run(command, out).await?,
        Command::Rescue(command) => rescue::run(command, out).await?,
        Command::Init(args) => init::run(args).await?,
        Command::Completions { shell } => completions::run(shell)?,
    }
    Ok(ExitCode::SUCCESS)
}
