//! Whether a run would find what it needs: git, repository, model, gate, engine, disk. Looks and
//! changes nothing; every answer says what to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::error::{ServiceError, chain};
use super::necromancer::{Extent, Goal, RunOptions};
use super::records::{Owner, owner};
use super::setup;
use super::state_dir::StateDir;
use crate::clock::SystemClock;
use crate::config::{self, Config, Detected, SandboxMode};
use crate::llm::config::{DEFAULT_KEY_ENV, LlmChoice, LlmConfig, is_key};
use crate::plugin::{Engine, EngineOptions, Expectation, builtin};
use crate::sandbox::{Confinement, HostEnv, Sandbox, Unconfinable, WANTED_ABI};
use crate::workspace::{Git, GitError, Inspection, Objects, Source, inspect};

/// The model's server has to answer within this.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// Less free space than this is too little for a run.
const MIN_FREE_BYTES: u64 = 200 << 20;
/// Less than this may become too little.
const LOW_FREE_BYTES: u64 = 2 << 30;
/// Models of the server that are named when the wanted one is not among them.
const MAX_NAMED_MODELS: usize = 10;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// A run works, but perhaps not as wanted.
    Warn,
    /// A run cannot work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examined {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub state: Health,
    /// In words.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// What to examine.
#[derive(Debug, Clone)]
pub struct DoctorOptions {
    /// The repository.
    pub repository: String,
    /// What relative paths are relative to.
    pub cwd: PathBuf,
    /// The state directory; absent: its usual place.
    pub state: Option<PathBuf>,
    /// Where compiled components are kept.
    pub cache: Option<PathBuf>,
    /// The model; absent: by configuration and environment.
    pub llm: Option<LlmChoice>,
    /// Base URL of the model's server.
    pub base_url: Option<String>,
    /// The environment variables that settings may name.
    pub env: BTreeMap<String, String>,
}

/// Looks at everything, in the order in which a run needs it.
pub async fn examine(options: DoctorOptions) -> Vec<Examined> {
    let mut report = Report::default();
    let git = report.git().await;
    let source = match setup::source(&options.repository, &options.cwd) {
        Ok(source) => Some(source),
        Err(error) => {
            report.fail("repository", chain(&error), "name one with --repo");
            None
        }
    };
    let seen = match (&git, &source) {
        (Some(git), Some(source)) => report.repository(git, source).await,
        _ => None,
    };
    let (config, detected) = report.config(source.as_ref(), seen.as_ref()).await;
    report.model(&options, &config).await;
    report.gate(source.as_ref(), &config, detected.as_ref());
    report.engine(options.cache).await;
    if let Some(source) = &source {
        report.state(&setup::state_path(source, &options.cwd, options.state.as_deref()), setup::work_tree(source));
    }
    report.0
}

#[derive(Default)]
struct Report(Vec<Examined>);

impl Report {
    fn ok(&mut self, name: &'static str, text: impl Into<String>) {
        self.0.push(Examined { name, state: Health::Ok, text: text.into(), advice: None });
    }

    fn warn(&mut self, name: &'static str, text: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Examined { name, state: Health::Warn, text: text.into(), advice: Some(advice.into()) });
    }

    fn fail(&mut self, name: &'static str, text: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Examined { name, state: Health::Fail, text: text.into(), advice: Some(advice.into()) });
    }

    async fn git(&mut self) -> Option<(Git, tempfile::TempDir)> {
        let located = async {
            let home = setup::temporary_dir()?;
            Ok::<_, ServiceError>((Git::locate(home.path()).await?, home))
        };
        match located.await {
            Ok(found) => {
                self.ok("git", found.0.version());
                return Some(found);
            }
            Err(ServiceError::Git(error @ (GitError::NotInstalled | GitError::TooOld { .. }))) => {
                self.fail("git", error.to_string(), "install a newer git; it is the one program that is needed");
            }
            Err(error) => self.fail("git", chain(&error), "see that `git --version` works here"),
        }
        None
    }

    async fn repository(&mut self, git: &(Git, tempfile::TempDir), source: &Source) -> Option<Inspection> {
        let base = setup::early_config(source).ok().and_then(|config| config.run.base_branch);
        let seen = match inspect(&git.0, source, base.as_deref()).await {
            Ok(seen) => seen,
            Err(error) => {
                let error = ServiceError::from(error);
                self.fail("repository", chain(&error), "`git init` and a first commit make one; --repo names another");
                return None;
            }
        };
        let text = format!("{}, base branch {}", source.display(), seen.base_branch);
        if let Err(error) = setup::check_branches(&seen) {
            self.fail("repository", chain(&error), "rename that branch: work is kept on branches below that name");
        } else if seen.dirty_count > 0 {
            let text = format!("{text}; changes that are in no commit: {}", seen.dirty_count);
            self.warn("repository", text, "commit or stash them, or run with --allow-dirty");
        } else {
            self.ok("repository", text);
        }
        Some(seen)
    }

    /// What the base commit configures; for an address nothing is known before it was copied.
    async fn config(&mut self, source: Option<&Source>, seen: Option<&Inspection>) -> (Config, Option<Detected>) {
        let none = (Config::default(), None);
        let (Some(Source::Path(root)), Some(seen)) = (source, seen) else { return none };
        let (objects, base) = (Objects::of_work_tree(root), seen.base_commit.clone());
        let read = tokio::task::spawn_blocking(move || {
            let found = super::basefiles::BaseFiles::read(&objects, &base)?;
            Ok::<_, ServiceError>((found.config()?, found.is_configured(), found.detected))
        });
        match read.await.map_err(|error| ServiceError::Internal(error.to_string())).flatten() {
            Ok((config, is_configured, detected)) => {
                let of = format!("{} of the base commit", config::FILE_NAME);
                self.ok("settings", if is_configured { of } else { format!("the defaults: there is no {of}") });
                (config, detected)
            }
            Err(error) => {
                let advice = format!("mend {} and commit it: runs read it from the base commit", config::FILE_NAME);
                self.fail("settings", chain(&error), advice);
                none
            }
        }
    }

    async fn model(&mut self, options: &DoctorOptions, config: &Config) {
        let run = RunOptions {
            goal: Goal::Job(String::new()),
            extent: Extent::Plan,
            repository: options.repository.clone(),
            cwd: options.cwd.clone(),
            state: None,
            cache: None,
            base: None,
            llm: options.llm.clone(),
            base_url: options.base_url.clone(),
            max_parallel: None,
            lock_root: None,
            plugins: Vec::new(),
            max_changed: None,
            allow_dirty: false,
            env: options.env.clone(),
            going: super::Going::Anew,
        };
        let key_env = config.llm.key_env.as_deref().unwrap_or(DEFAULT_KEY_ENV);
        let has_key = options.env.get(key_env).is_some_and(|key| is_key(key));
        let llm = match super::llm_access::config(&run, config) {
            Ok(llm) => llm,
            Err(error) => {
                let advice = format!("`export {key_env}=…`, or choose another model with --llm and --base-url");
                self.fail("key", chain(&error), advice);
                return;
            }
        };
        if let Some(file) = llm.script() {
            match llm.open() {
                Ok(_) => self.ok("model", format!("scripted replies of {}; no model is asked", file.display())),
                Err(error) => {
                    self.fail("model", chain(&error), "mend the file, or name another with --llm scripted:FILE")
                }
            }
            return;
        }
        if has_key {
            self.ok("key", format!("{key_env} is set"));
        } else {
            self.warn("key", format!("{key_env} is not set"), "fine for a server of your own that wants no key");
        }
        self.server(&llm).await;
    }

    async fn server(&mut self, llm: &LlmConfig) {
        let Some(model) = llm.models.get("default") else { return };
        let backend = match llm.server(model.dialect) {
            Ok(Some(backend)) => backend,
            Ok(None) => return,
            Err(error) => return self.fail("model", chain(&error), "see key and base URL"),
        };
        let name = format!("{} ({})", model.model, model.dialect.name());
        match tokio::time::timeout(PROBE_TIMEOUT, backend.probe()).await {
            Err(_) => self.fail(
                "model",
                format!("the server gave no answer within {} s", PROBE_TIMEOUT.as_secs()),
                "see network and base URL",
            ),
            Ok(Err(error)) => self.fail("model", chain(&error), "see key, network and base URL"),
            Ok(Ok(models)) if models.is_empty() || models.contains(&model.model) => {
                self.ok("model", format!("{name} can be reached"));
            }
            Ok(Ok(models)) => {
                let named: Vec<&str> = models.iter().take(MAX_NAMED_MODELS).map(String::as_str).collect();
                let more = if models.len() > named.len() { ", …" } else { "" };
                self.warn(
                    "model",
                    format!("the server does not list {name}"),
                    format!("it lists {}{more}; --llm chat:MODEL names one", named.join(", ")),
                );
            }
        }
    }

    fn gate(&mut self, source: Option<&Source>, config: &Config, detected: Option<&Detected>) {
        let sandbox = Sandbox::new(HostEnv::from_process(), Arc::new(SystemClock::default()), Confinement::Off);
        let Some(Source::Path(root)) = source else {
            let advice = "a run copies it, and says then which gate it found";
            return self.warn("gate", "not known before the repository was copied", advice);
        };
        let commands = config.gate_commands(detected);
        if commands.is_empty() {
            self.warn("gate", config::detect::NO_GATE, "`necro-host init` writes a necro.toml to begin with");
        }
        for (name, command) in &commands {
            let shown = format!("{name}: {}", command.run.join(" "));
            let program = command.run.first().map_or("", String::as_str);
            let origin = match detected {
                Some(found) if config.gate.is_detected() => format!(" (found by {})", found.indicator),
                _ => String::new(),
            };
            match sandbox.find(program, root) {
                Ok(_) => self.ok("gate", format!("{shown}{origin}")),
                Err(error) => {
                    self.fail("gate", format!("{shown}{origin}: {error}"), "install it, or change [gate] in necro.toml")
                }
            }
        }
        self.sandbox(config.run.sandbox);
    }

    fn sandbox(&mut self, mode: SandboxMode) {
        if mode == SandboxMode::Off {
            return self.warn(
                "sandbox",
                "off: commands run without confinement, with your rights",
                "take `sandbox = \"off\"` out of necro.toml, or work in a container or a virtual machine",
            );
        }
        match Confinement::by_this_program() {
            Ok(Confinement::On { protection, .. }) => {
                let network = if protection.network_namespace { ", a network of their own" } else { "" };
                let text = format!("on: Landlock {}, seccomp{network}", protection.landlock_abi);
                if protection.landlock_abi < WANTED_ABI {
                    let advice = "with Linux 6.12 or later they can't send signals to your other processes either";
                    return self.warn("sandbox", text, advice);
                }
                self.ok("sandbox", text);
            }
            Ok(Confinement::Off) => {}
            Err(Unconfinable { reason }) => self.fail(
                "sandbox",
                format!("commands cannot be kept in: {reason}"),
                "use Linux 6.2 or later with Landlock, or say `sandbox = \"off\"` below [run] in necro.toml",
            ),
        }
    }

    async fn engine(&mut self, cache: Option<PathBuf>) {
        let started = async {
            let engine = Engine::new(EngineOptions { cache_dir: cache, ..EngineOptions::default() })?;
            if let Some(smallest) = builtin::ALL.iter().min_by_key(|entry| entry.bytes.len()) {
                engine.load(smallest.name, smallest.bytes, Expectation::Kind(smallest.kind)).await?;
            }
            Ok::<_, ServiceError>(engine)
        };
        match started.await {
            Ok(engine) if engine.is_pooled() => self.ok("engine", format!("{} starts", Engine::version())),
            Ok(_) => self.warn(
                "engine",
                format!("{} starts, but without its pool: address space is limited", Engine::version()),
                "`ulimit -v unlimited` lets many spirits work at the same time",
            ),
            Err(error) => {
                self.fail("engine", chain(&error), "a 64-bit machine and some hundred MB of memory are needed")
            }
        }
    }

    fn state(&mut self, path: &Path, work_tree: Option<&Path>) {
        if let Err(error) = StateDir::check(path, work_tree) {
            return self.fail("state", chain(&error), "name another place with --state DIR");
        }
        let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let shown = path.display();
        match StateDir::existing(path, work_tree).map(|state| owner(&state)) {
            Ok(Owner::Process(pid)) => self.warn(
                "state",
                format!("{shown} is in use by process {pid}"),
                "wait for it to end, or work elsewhere with --state DIR",
            ),
            _ if rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err() => {
                self.fail("state", format!("{shown} cannot be written"), "name another place with --state DIR");
            }
            Ok(Owner::Nobody) => self.ok("state", format!("{shown}")),
            Err(_) => self.ok("state", format!("{shown}, which the first run makes")),
        }
        let Ok(disk) = rustix::fs::statvfs(there) else { return };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let text = format!("{} MiB free at {}", free >> 20, there.display());
        match free {
            0..MIN_FREE_BYTES => self.fail("disk", text, "free some space: clones, builds and records need it"),
            MIN_FREE_BYTES..LOW_FREE_BYTES => {
                self.warn("disk", text, "clones and builds of several spirits may need more")
            }
            _ => self.ok("disk", text),
        }
    }
}
