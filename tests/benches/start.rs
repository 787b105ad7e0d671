//! From the start of the process to the first claim: the real binary executes a spec with one ready
//! task, with all built-in plugins from a warm cache and a state directory that exists. The time ends
//! when the line about the claim arrives, which is told after its commit.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod measure;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::plugin::{Engine, EngineOptions, Expectation, builtin};
use necro_host::workspace::seed_repository;

/// Starts that are measured; each executes a spec of its own.
const ROUNDS: usize = 25;
/// Specs that are executed first: the state directory is made, and all caches are warm.
const WARM_UP: usize = 2;
const BOUND: Bound = Bound::AtMost(100.0);

/// One ready task; nothing is checked after it, and it is tried once.
const SETTINGS: &str = "[run]\nmax_attempts = 1\n\n[gate]\ncommands = []\n";
/// A script without a reply: the attempt ends soon after its claim.
const SCRIPT: &str = "version = 1\n";

/// When what was heard, since the process was started.
struct Start {
    set_up: Duration,
    planned: Duration,
    claimed: Duration,
}

fn main() -> Result<ExitCode> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let place = Place::make(dir.path())?;
    let clock = SystemClock::default();
    let mut starts = Vec::new();
    let (mut processes, mut plugins) = (Vec::new(), Vec::new());
    for number in 0..WARM_UP + ROUNDS {
        let start = place.start(&clock, &spec(number))?;
        let process = place.process(&clock)?;
        let loaded = place.load_plugins(&clock)?;
        if number >= WARM_UP {
            starts.push(start);
            processes.push(process);
            plugins.push(loaded);
        }
    }
    let times = |part: fn(&Start) -> Duration| shown(median(&starts.iter().map(part).collect::<Vec<_>>()));
    println!("start to first claim: {} built-in plugins, warm cache; medians of {ROUNDS} starts", builtin::ALL.len());
    row("process alone (`--version`)", shown(median(&processes)));
    row("plugins alone (engine, loading, trial), in this process", shown(median(&plugins)));
    row("until the run is set up", times(|start| start.set_up));
    row("from there until the tasks are created", times(|start| start.planned - start.set_up));
    row("from there until the claim", times(|start| start.claimed - start.planned));
    let claimed: Vec<f64> = starts.iter().map(|start| start.claimed.as_secs_f64() * 1000.0).collect();
    Ok(exit(&[verdict("start to first claim", median(&claimed), " ms", BOUND)]))
}

fn spec(number: usize) -> String {
    format!("greeting-{number}")
}

/// A repository with specs, and where the rest is.
struct Place {
    repository: PathBuf,
    state: PathBuf,
    cache: PathBuf,
    script: PathBuf,
}

impl Place {
    fn make(root: &Path) -> Result<Self> {
        let place = Self {
            repository: root.join("repository"),
            state: root.join("state"),
            cache: root.join("cache"),
            script: root.join("replies.toml"),
        };
        std::fs::write(&place.script, SCRIPT)?;
        let mut files = vec![("necro.toml".to_owned(), SETTINGS), ("README.md".to_owned(), "# Greeting\n")];
        for number in 0..WARM_UP + ROUNDS {
            let folder = format!(".kiro/specs/{}", spec(number));
            files.push((format!("{folder}/tasks.md"), TASKS));
            files.push((format!("{folder}/requirements.md"), REQUIREMENTS));
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        seed_repository(&place.repository, &files, "Begin", jiff::Timestamp::UNIX_EPOCH)?;
        Ok(place)
    }

    #[expect(clippy::disallowed_methods, reason = "a bench of the binary starts it")]
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_necro-host"));
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("NECRO_CACHE", &self.cache).stdin(Stdio::null());
        command
    }

    /// Executes a spec and listens.
    fn start(&self, clock: &dyn Clock, spec: &str) -> Result<Start> {
        let mut command = self.command();
        command.args(["run", "--color", "never", "--spec", spec]);
        command.arg("--repo").arg(&self.repository).arg("--state").arg(&self.state);
        command.arg("--llm").arg(format!("scripted:{}", self.script.display()));
        let start = clock.elapsed();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stderr.take().context("standard error is a pipe")?).lines();
        let (mut set_up, mut planned, mut claimed) = (None, None, None);
        let mut said = String::new();
        for line in lines {
            let (line, at) = (line?, clock.elapsed() - start);
            let moment = match line.chars().next() {
                Some('n') if line.starts_with("necro-host ") => &mut set_up,
                Some(' ') if line.starts_with("  plan: ") => &mut planned,
                Some('▸') => &mut claimed,
                _ => &mut None,
            };
            moment.get_or_insert(at);
            said.push_str(&format!("{line}\n"));
        }
        child.wait()?;
        let heard = set_up.zip(planned).zip(claimed);
        let ((set_up, planned), claimed) = heard.with_context(|| format!("nothing was claimed:\n{said}"))?;
        Ok(Start { set_up, planned, claimed })
    }

    /// How long a process takes that does nothing.
    fn process(&self, clock: &dyn Clock) -> Result<Duration> {
        let start = clock.elapsed();
        let status = self.command().arg("--version").stdout(Stdio::null()).status()?;
        ensure!(status.success(), "`--version` fails");
        Ok(clock.elapsed() - start)
    }

    /// How long the engine and all plugins take by themselves.
    fn load_plugins(&self, clock: &dyn Clock) -> Result<Duration> {
        let start = clock.elapsed();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let engine = Engine::new(EngineOptions { cache_dir: Some(self.cache.clone()), ..Default::default() })?;
            let mut loading = tokio::task::JoinSet::new();
            for plugin in builtin::ALL {
                let engine = engine.clone();
                loading.spawn(async move {
                    engine.load(plugin.name, plugin.bytes, Expectation::Kind(plugin.kind)).await.map(drop)
                });
            }
            while let Some(loaded) = loading.join_next().await {
                loaded??;
            }
            anyhow::Ok(())
        })?;
        Ok(clock.elapsed() - start)
    }
}

const TASKS: &str = "# Implementation Plan\n\n- [ ] 1. Add the greeting endpoint\n  - It answers with a greeting\n  \
    - _Requirements: 1.1_\n";

const REQUIREMENTS: &str = "# Requirements Document\n\n## Introduction\n\nA service that greets.\n\n## Requirements\n\n\
    ### Requirement 1: Greeting\n\n**User Story:** As a visitor, I want to be greeted, so that I feel welcome.\n\n\
    #### Acceptance Criteria\n\n1. WHEN a visitor comes THEN the service SHALL greet.\n";
