//! The command line: one file a command. `report` alone turns errors into words and exit codes.

#![expect(clippy::print_stdout, reason = "the command line is where output goes to standard output")]

mod args;
mod display;
mod report;
mod run;
mod style;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use style::Style;

use crate::service::{Extent, ServiceError};

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let err = Style::stderr(cli.color);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return report::report(&ServiceError::Io { path: "the async runtime".into(), source }, err),
    };
    let result = runtime.block_on(dispatch(cli, err));
    runtime.shutdown_background();
    result.unwrap_or_else(|error| report::report(&error, err))
}

async fn dispatch(cli: Cli, err: Style) -> Result<ExitCode, ServiceError> {
    let out = Style::stdout(cli.color);
    match cli.command {
        Command::Run(args) => run::run(args, Extent::Run, out, err).await,
        Command::Plan(args) => run::run(args, Extent::Plan, out, err).await,
        _ => Err(ServiceError::Usage("not yet".to_owned())),
    }
}
