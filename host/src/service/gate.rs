//! The gate: the operator's named commands, run by the host over a commit. What a spirit says about
//! its tests is a claim; this is the evidence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::workshop::stopped;
use crate::domain::mask::Mask;
use crate::domain::review::Check;
use crate::sandbox::{CommandSpec, Sandbox, SandboxError};
use crate::store::digest_of;
use crate::workspace::Slot;

/// Head and tail of a command's output that a check carries, in bytes for each stream.
const OUTPUT_LIMIT_BYTES: usize = 16 * 1024;

/// One command of the gate, or one that spirits may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GateCommand {
    /// Its name in the configuration.
    pub(crate) name: String,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// It is killed after this.
    pub(crate) timeout: Duration,
}

/// The commands that decide, in order.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    /// Run in this order; the first that fails ends the gate.
    pub(crate) commands: Vec<GateCommand>,
    /// Who runs them.
    pub(crate) sandbox: Sandbox,
    /// Taken out of every output.
    pub(crate) mask: Arc<Mask>,
}

/// What the gate saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct GateRun {
    /// One for each command that ran.
    pub(crate) checks: Vec<Check>,
    /// Output of all of them, in order of arrival, capped by the sandbox.
    pub(crate) log: Vec<u8>,
    /// The run was stopped meanwhile: the checks say nothing.
    pub(crate) cancelled: bool,
}

impl GateRun {
    /// Every command that ran has passed.
    pub(crate) fn passed(&self) -> bool {
        !self.cancelled && self.checks.iter().all(|check| check.passed)
    }
}

impl Gate {
    /// What the gate runs, in one word: another word, another gate.
    pub(crate) fn definition(&self) -> String {
        let of = |command: &GateCommand| format!("{:?} {:?} {:?}", command.name, command.argv, command.timeout);
        let all: Vec<String> = self.commands.iter().map(of).collect();
        digest_of(all.join("\n").as_bytes()).to_string()
    }

    /// Runs the commands over what the slot has checked out, up to the first failure.
    pub(crate) async fn run(&self, slot: &Slot, stop: &watch::Receiver<bool>) -> Result<GateRun, SandboxError> {
        let mut run = GateRun::default();
        for command in &self.commands {
            let finished = self.command(command, Vec::new(), slot, stop).await?;
            run.log.extend_from_slice(format!("$ {}\n", command.argv.join(" ")).as_bytes());
            run.log.extend_from_slice(&finished.log);
            run.cancelled |= finished.cancelled;
            let passed = finished.outcome.passed();
            run.checks.push(Check { name: command.name.clone(), passed, output: words(&finished.outcome, command) });
            if !passed || run.cancelled {
                break;
            }
        }
        Ok(run)
    }

    /// Runs one command with extra arguments.
    pub(crate) async fn command(
        &self,
        command: &GateCommand,
        extra: Vec<String>,
        slot: &Slot,
        stop: &watch::Receiver<bool>,
    ) -> Result<crate::sandbox::Finished, SandboxError> {
        let spec = CommandSpec {
            argv: command.argv.iter().cloned().chain(extra).collect(),
            dir: slot.work_dir().to_owned(),
            scratch: slot.scratch_dir().to_owned(),
            env: BTreeMap::new(),
            timeout: command.timeout,
            output_limit_bytes: OUTPUT_LIMIT_BYTES,
            mask: Mask::clone(&self.mask),
        };
        self.sandbox.run(spec, stopped(stop.clone())).await
    }
}

fn words(outcome: &crate::domain::work::CommandOutcome, command: &GateCommand) -> String {
    let mut text = String::new();
    if outcome.timed_out {
        text.push_str(&format!("killed after {}\n", limit(command.timeout)));
    } else if let Some(code) = outcome.exit_code.filter(|code| *code != 0) {
        text.push_str(&format!("exit code {code}\n"));
    }
    text.push_str(&outcome.stdout);
    if !outcome.stdout.is_empty() && !outcome.stdout.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&outcome.stderr);
    text
}

/// A time limit as it was set: below ten seconds, the milliseconds say something.
fn limit(limit: Duration) -> String {
    if limit < Duration::from_secs(10) { format!("{} ms", limit.as_millis()) } else { format!("{} s", limit.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_limit_is_said_in_milliseconds() {
        for (ms, words) in [(0, "0 ms"), (250, "250 ms"), (9_999, "9999 ms"), (10_000, "10 s"), (300_000, "300 s")] {
            assert_eq!(limit(Duration::from_millis(ms)), words);
        }
    }
}
