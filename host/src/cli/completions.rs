//! `completions`: a script that completes this very command line.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;
use super::out;
use crate::service::ServiceError;

/// Runs `completions`.
pub(crate) fn run(shell: Shell) -> Result<(), ServiceError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "necro-host", &mut script);
    out::write(&script).map(drop)
}
