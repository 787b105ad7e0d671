//! The gate: a playbook of the operator's named commands, played by the host over a commit. What a spirit says
//! about its tests is a claim; this is the evidence.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::workshop::stopped;
use crate::config::condition::{Facts, evaluate};
use crate::domain::mask::Mask;
use crate::domain::playbook::{Next, Play, Playbook, StepResult, StepState};
use crate::domain::review::Check;
use crate::sandbox::{CommandSpec, Limits, Sandbox, SandboxError};
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
    /// Whether it may use networks.
    pub(crate) network: bool,
    /// What it may use.
    pub(crate) limits: Limits,
}

/// What decides.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    /// Its steps.
    pub(crate) playbook: Playbook,
    /// The commands that they name, each once.
    pub(crate) commands: Vec<GateCommand>,
    /// Who runs them.
    pub(crate) sandbox: Sandbox,
    /// Taken out of every output.
    pub(crate) mask: Arc<Mask>,
}

/// What the gate saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct GateRun {
    /// One for each step that ran.
    pub(crate) checks: Vec<Check>,
    /// What became of each step.
    pub(crate) steps: Vec<StepResult>,
    /// In which sandbox they ran: on or off; empty when nothing ran.
    pub(crate) sandbox: &'static str,
    /// The whole output of each step, its retries one after the other.
    pub(crate) outputs: Vec<(String, Vec<u8>)>,
    /// Output of all of them, in order of arrival, capped by the sandbox.
    pub(crate) log: Vec<u8>,
    /// The run was stopped meanwhile: the checks say nothing.
    pub(crate) cancelled: bool,
    /// A step was left out for what did not change: green says nothing of the tree as a whole.
    pub(crate) narrowed: bool,
}

impl GateRun {
    fn keep(&mut self, step: &str, log: &[u8]) {
        match self.outputs.iter_mut().find(|(name, _)| name == step) {
            Some((_, kept)) => kept.extend_from_slice(log),
            None => self.outputs.push((step.to_owned(), log.to_vec())),
        }
    }

    /// Every command that ran has passed.
    pub(crate) fn passed(&self) -> bool {
        !self.cancelled && self.checks.iter().all(|check| check.passed)
    }
}

impl Gate {
    /// What the gate plays, in one word: another word, another gate.
    pub(crate) fn definition(&self) -> String {
        let sandbox = self.sandbox.confinement().name();
        digest_of(format!("{sandbox}\n{:?}\n{:?}", self.playbook, self.commands).as_bytes()).to_string()
    }

    /// Plays over what the slot has checked out, without knowing what changed: no step is left out for that.
    pub(crate) async fn run(&self, slot: &Slot, stop: &watch::Receiver<bool>) -> Result<GateRun, SandboxError> {
        self.run_over(None, slot, stop).await
    }

    /// Plays over what the slot has checked out, in which these paths changed.
    pub(crate) async fn run_over(
        &self,
        changed: Option<Arc<[String]>>,
        slot: &Slot,
        stop: &watch::Receiver<bool>,
    ) -> Result<GateRun, SandboxError> {
        let work = slot.work_dir().to_owned();
        let facts = Facts { changed, exists: Arc::new(move |path| exists(&work, path)), ended: Arc::default() };
        let (mut run, mut play) = (GateRun::default(), Play::new(&self.playbook));
        run.sandbox = self.sandbox.confinement().name();
        loop {
            let step = match play.next() {
                Next::Done => break,
                Next::Evaluate(condition) => {
                    let facts = facts.after(play.results());
                    let value = evaluate(condition, &facts);
                    run.narrowed |= value == Ok(false) && evaluate(condition, &facts.of_any_change()) == Ok(true);
                    play.decided(value);
                    continue;
                }
                Next::Run(step) => step,
            };
            let Some(command) = self.commands.iter().find(|command| command.name == step.command) else {
                // The configuration was held against the commands; a step that has none speaks against the change.
                play.ran(StepState::Failed, 0);
                run.checks.push(check(&step.name, false, format!("there is no command `{}`\n", step.command)));
                continue;
            };
            let limit = if step.timeout_ms == 0 { command.timeout } else { Duration::from_millis(step.timeout_ms) };
            let command = GateCommand { timeout: limit, ..command.clone() };
            let finished = self.command(&command, Vec::new(), slot, stop).await?;
            run.log.extend_from_slice(format!("$ {}\n", command.argv.join(" ")).as_bytes());
            run.log.extend_from_slice(&finished.log);
            run.keep(&step.name, &finished.log);
            if finished.cancelled {
                run.cancelled = true;
                break;
            }
            let outcome = &finished.outcome;
            let state = match (outcome.passed(), outcome.timed_out) {
                (true, _) => StepState::Passed,
                (false, true) => StepState::TimedOut,
                (false, false) => StepState::Failed,
            };
            let ended = play.results().len();
            play.ran(state, outcome.duration_ms);
            if play.results().len() > ended {
                run.checks.push(check(&step.name, outcome.passed(), words(outcome, &command)));
            }
        }
        run.steps = play.into_results();
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
            readable: slot.history_dirs(),
            network: command.network,
            limits: command.limits,
            env: BTreeMap::new(),
            timeout: command.timeout,
            output_limit_bytes: OUTPUT_LIMIT_BYTES,
            mask: Mask::clone(&self.mask),
        };
        self.sandbox.run(spec, stopped(stop.clone())).await
    }
}

fn check(name: &str, passed: bool, output: String) -> Check {
    Check { name: name.to_owned(), passed, output }
}

/// Whether the work tree has `path`. Links are not followed: what is behind them is not part of it.
fn exists(work: &Path, path: &str) -> bool {
    let path = Path::new(path);
    if path.as_os_str().is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return false;
    }
    let mut folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    folders.all(|folder| std::fs::symlink_metadata(work.join(folder)).is_ok_and(|found| found.is_dir()))
        && std::fs::symlink_metadata(work.join(path)).is_ok()
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
    fn a_condition_sees_files_of_the_work_tree_and_nothing_behind_links() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir_all(work.join("src")).unwrap();
        std::fs::write(work.join("src/a.rs"), "").unwrap();
        std::fs::write(dir.path().join("secret"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), work.join("out")).unwrap();
        for (path, expected) in [
            ("src", true),
            ("src/a.rs", true),
            ("out", true),
            ("src/b.rs", false),
            ("out/secret", false),
            ("../secret", false),
            ("", false),
            ("/etc", false),
        ] {
            assert_eq!(exists(&work, path), expected, "{path}");
        }
    }

    #[test]
    fn a_short_limit_is_said_in_milliseconds() {
        for (ms, words) in [(0, "0 ms"), (250, "250 ms"), (9_999, "9999 ms"), (10_000, "10 s"), (300_000, "300 s")] {
            assert_eq!(limit(Duration::from_millis(ms)), words);
        }
    }
}
