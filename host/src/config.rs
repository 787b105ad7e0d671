//! `necro.toml`: the operator's settings. A key that is not known is an error that names it and its
//! line: a setting that is silently ignored is worse than none. The text comes from the operator or
//! from the base commit, never from an attempt.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use toml::Spanned;

use crate::domain::budget;
use crate::domain::id::Role;
use crate::domain::limits::LimitSettings;
use crate::domain::llm::Dialect;
use crate::domain::review::Severity;

pub mod condition;
pub mod detect;
mod playbook;
mod template;
mod workspace;

pub use detect::Detected;
pub use playbook::{MAX_PLAYBOOK_BYTES, StepSettings};
pub use template::TEMPLATE;
pub use workspace::{IntegrationSettings, MAX_BATCH, MergeStrategy, SandboxMode, WorkspaceSettings};

/// The file's name at the root of a repository.
pub const FILE_NAME: &str = "necro.toml";

/// A longer file is refused.
pub const MAX_FILE_BYTES: usize = 256 * 1024;
/// Attempts at the same time, at most.
pub const MAX_PARALLEL: u32 = 64;
/// Attempts that a task may have, at most.
pub const MAX_ATTEMPTS: u32 = 10;
/// A command is killed after this when its entry says nothing else.
pub const DEFAULT_TIMEOUT_MS: u64 = 300_000;
/// No command may run longer: one day.
pub const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ConfigError {
    /// The file, as the caller names it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong, with the key's name.
    pub message: String,
}

/// Every setting, with the defaults filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// `[run]`
    pub run: RunSettings,
    /// `[llm]`
    pub llm: LlmSettings,
    /// `[workspace]`
    pub workspace: WorkspaceSettings,
    /// `[integration]`
    pub integration: IntegrationSettings,
    /// `[gate]`
    pub gate: GateSettings,
    /// `[commands.<name>]`
    pub commands: BTreeMap<String, CommandSettings>,
    /// `[budget]`
    pub budget: budget::Limits,
    /// `[plugins]`
    pub plugins: PluginSettings,
    /// `[limits.<kind>]` and `[limits.<name>]`
    pub limits: BTreeMap<String, LimitSettings>,
    /// `[review]`
    pub review: ReviewSettings,
    /// `[team]`: how many spirits of a role.
    pub team: BTreeMap<Role, u32>,
    /// `[secrets]`
    pub secrets: SecretSettings,
}

/// How a run works.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunSettings {
    /// Attempts at the same time.
    #[serde(deserialize_with = "parallel")]
    pub max_parallel: u32,
    /// Attempts that a task may have in all.
    #[serde(deserialize_with = "attempts")]
    pub max_attempts: u32,
    /// The branch that work starts from; absent: the repository's current one.
    pub base_branch: Option<String>,
    /// Whether a finished run brings its branch into the repository by itself.
    pub land: bool,
    /// Whether optional tasks are done as well.
    pub optional_tasks: bool,
    /// Whether commands are kept in.
    pub sandbox: SandboxMode,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            max_parallel: 4,
            max_attempts: 3,
            base_branch: None,
            land: false,
            optional_tasks: false,
            sandbox: SandboxMode::On,
        }
    }
}

/// What becomes of an uncertain model call. It is charged at its reservation in both cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uncertain {
    /// It is sent once more, and charged again.
    #[default]
    Resend,
    /// It fails, and the spirit is told.
    Fail,
}

/// Which model, where. Absent fields are left to the defaults of LLM access.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LlmSettings {
    /// The dialect of models that name none.
    pub dialect: Option<Dialect>,
    /// The server, up to before `/responses` or `/chat/completions`.
    pub base_url: Option<String>,
    /// The model of alias `default`.
    pub model: Option<String>,
    /// Name of the environment variable that holds the key.
    #[serde(deserialize_with = "variable")]
    pub key_env: Option<String>,
    /// Limit on an answer's tokens, where an alias has none of its own.
    #[serde(deserialize_with = "positive")]
    pub max_output_tokens: Option<u32>,
    /// Calls at the same time.
    #[serde(deserialize_with = "positive")]
    pub max_concurrent: Option<u32>,
    /// What becomes of a call that was sent, perhaps, and not answered before the host ended.
    pub uncertain: Uncertain,
    /// `[llm.models.<alias>]`
    pub models: BTreeMap<String, ModelSettings>,
}

/// What an alias means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// The server's name for the model.
    pub model: Option<String>,
    /// How it is spoken to.
    pub dialect: Option<Dialect>,
    /// Limit on an answer's tokens.
    #[serde(deserialize_with = "positive")]
    pub max_output_tokens: Option<u32>,
    /// What it costs; absent: unknown.
    pub price: Option<PriceSettings>,
}

/// Prices of a million tokens, in millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSettings {
    /// Tokens sent.
    pub input_microusd: u64,
    /// Tokens sent that the provider had in its cache; absent: like other tokens sent.
    pub cached_input_microusd: Option<u64>,
    /// Tokens received.
    pub output_microusd: u64,
}

/// What decides about a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateSettings {
    /// Names of commands, in order; absent: detected from the files of the base commit. An empty list
    /// is a gate that lets everything through.
    pub commands: Option<Vec<String>>,
    /// A YAML file of the repository with the steps.
    pub playbook: Option<String>,
    /// `[[gate.steps]]`
    pub steps: Option<Vec<StepSettings>>,
}

/// A named command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSettings {
    /// Program and arguments; no shell.
    #[serde(deserialize_with = "argv")]
    pub run: Vec<String>,
    /// What it does, for spirits.
    #[serde(default)]
    pub description: String,
    /// It is killed after this.
    #[serde(default = "default_timeout", deserialize_with = "timeout")]
    pub timeout_ms: u64,
    /// Whether spirits may add arguments.
    #[serde(default)]
    pub extra_args: bool,
    /// Whether spirits may run it.
    #[serde(default = "yes")]
    pub spirits: bool,
    /// Whether it may use networks.
    #[serde(default)]
    pub network: bool,
    /// Memory that each of its processes may write to, in bytes; 0: the sandbox's default, as for those below.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Processor time of each of its processes, in seconds.
    #[serde(default)]
    pub cpu_seconds: u64,
    /// Its processes at the same time.
    #[serde(default)]
    pub processes: u64,
    /// The largest file that it may write, in bytes.
    #[serde(default)]
    pub file_bytes: u64,
}

/// Which component takes which place: a name of the built-in set, or the path of a file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginSettings {
    /// The routing policy.
    pub routing: String,
    /// The scheduling policy.
    pub scheduling: String,
    /// Spirits beside the built-in ones; each replaces the one of its role.
    pub spirit: Option<Vec<String>>,
    /// The review heuristics; absent: all built-in ones.
    pub review: Option<Vec<String>>,
    /// `[plugins.settings.<name>]`: what a plugin is told, as JSON.
    pub settings: BTreeMap<String, serde_json::Map<String, Value>>,
}

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            routing: "least-busy".to_owned(),
            scheduling: "priority".to_owned(),
            spirit: None,
            review: None,
            settings: BTreeMap::new(),
        }
    }
}

/// What becomes of findings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewSettings {
    /// Severity by rule, in place of the heuristic's own.
    pub severity: BTreeMap<String, Severity>,
}

/// What no text may carry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretSettings {
    /// Names of environment variables whose values are masked. Written `env:NAME`; a value itself has
    /// no place in a file.
    #[serde(deserialize_with = "secrets")]
    pub mask: Vec<String>,
}

/// The file before its parts are checked against each other.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    run: RunSettings,
    llm: LlmSettings,
    workspace: WorkspaceSettings,
    integration: IntegrationSettings,
    gate: GateFile,
    commands: BTreeMap<CommandName, CommandSettings>,
    budget: BudgetFile,
    plugins: PluginSettings,
    limits: BTreeMap<String, LimitSettings>,
    review: ReviewSettings,
    team: BTreeMap<Role, Spirits>,
    secrets: SecretSettings,
}

/// How many spirits a role has: as many as can run at the same time are enough.
#[derive(Deserialize, Clone, Copy)]
#[serde(transparent)]
struct Spirits(#[serde(deserialize_with = "spirits")] u32);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct GateFile {
    commands: Option<Vec<Spanned<String>>>,
    playbook: Option<Spanned<String>>,
    steps: Option<Spanned<Vec<StepSettings>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct BudgetFile {
    tokens: Option<u64>,
    cost_microusd: Option<u64>,
    calls: Option<u64>,
}

impl GateSettings {
    /// Whether nothing is configured, so that the files of the repository decide.
    #[must_use]
    pub const fn is_detected(&self) -> bool {
        self.commands.is_none() && self.playbook.is_none() && self.steps.is_none()
    }
}

impl GateFile {
    /// The settings, or where and why there are none.
    fn read(self) -> Result<GateSettings, (usize, String)> {
        let Self { commands, playbook, steps } = self;
        let place = playbook.as_ref().map(|path| path.span().start).or(steps.as_ref().map(|steps| steps.span().start));
        if [commands.is_some(), playbook.is_some(), steps.is_some()].into_iter().filter(|given| *given).count() > 1 {
            let message = "a gate has one of `commands`, `playbook` and `steps`, not several".to_owned();
            return Err((place.unwrap_or_default(), message));
        }
        if let Some(path) = playbook.as_ref().filter(|path| !workspace::is_path(path.get_ref())) {
            let message = format!("`{}` is no file of the repository: write it as `ci/gate.yaml`", cut(path.get_ref()));
            return Err((path.span().start, message));
        }
        Ok(GateSettings {
            commands: commands.map(|names| names.into_iter().map(Spanned::into_inner).collect()),
            playbook: playbook.map(Spanned::into_inner),
            steps: steps.map(Spanned::into_inner),
        })
    }
}

/// Named commands appear in prompts, logs and on the command line.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
struct CommandName(String);

impl TryFrom<String> for CommandName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 40 || !name.bytes().all(fits) {
            return Err(format!("`{}` is no command name: a-z, 0-9, `-` and `_`, at most 40", cut(&name)));
        }
        Ok(Self(name))
    }
}

impl Config {
    /// Reads the text of a `necro.toml`. `file` is its name in errors.
    ///
    /// # Errors
    /// [`ConfigError`] with line and column: no TOML, an unknown key, a value out of its bounds, or a
    /// gate that names no command.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let error = |offset: usize, message: &str| {
            let before = &text[..text.floor_char_boundary(offset)];
            let line_start = before.rfind('\n').map_or(0, |n| n + 1);
            ConfigError {
                file: file.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                message: message.trim().replace('\n', "; "),
            }
        };
        if text.len() > MAX_FILE_BYTES {
            return Err(error(0, &format!("the file has {} bytes; {MAX_FILE_BYTES} are allowed", text.len())));
        }
        let parsed: File = toml::from_str(text)
            .map_err(|e: toml::de::Error| error(e.span().map_or(0, |span| span.start), e.message()))?;
        let commands: BTreeMap<String, CommandSettings> =
            parsed.commands.into_iter().map(|(name, command)| (name.0, command)).collect();
        for name in parsed.gate.commands.iter().flatten() {
            if !commands.contains_key(name.get_ref()) {
                let name_text = cut(name.get_ref());
                let message = format!("gate.commands names `{name_text}`, but there is no [commands.{name_text}]");
                return Err(error(name.span().start, &message));
            }
        }
        let gate = parsed.gate.read().map_err(|(offset, message)| error(offset, &message))?;
        let BudgetFile { tokens, cost_microusd, calls } = parsed.budget;
        Ok(Self {
            run: parsed.run,
            llm: parsed.llm,
            workspace: parsed.workspace,
            integration: parsed.integration,
            gate,
            commands,
            budget: budget::Limits { tokens, cost_microusd, calls },
            plugins: parsed.plugins,
            limits: parsed.limits,
            review: parsed.review,
            team: parsed.team.into_iter().map(|(role, spirits)| (role, spirits.0)).collect(),
            secrets: parsed.secrets,
        })
    }

    /// What a plugin is told: a JSON object, empty when nothing is configured.
    #[must_use]
    pub fn plugin_settings(&self, name: &str) -> Value {
        Value::Object(self.plugins.settings.get(name).cloned().unwrap_or_default())
    }

    /// Limits of a plugin: those of its name, then those of its kind.
    #[must_use]
    pub fn plugin_limits(&self, kind: &str, name: &str) -> LimitSettings {
        let find = |key: &str| self.limits.get(key).copied().unwrap_or_default();
        find(name).or(find(kind))
    }

    /// All named commands: the configured ones, and the detected ones whose names are free.
    #[must_use]
    pub fn all_commands(&self, detected: Option<&Detected>) -> BTreeMap<String, CommandSettings> {
        let mut all = self.commands.clone();
        for (name, command) in detected.iter().flat_map(|d| &d.commands) {
            all.entry((*name).to_owned()).or_insert_with(|| command.clone());
        }
        all
    }

    /// The gate's commands in order: the configured list, those of the steps, else what was detected (a configured command
    /// takes the place of a detected one of its name). Empty: everything passes, and the caller should
    /// say so.
    #[must_use]
    pub fn gate_commands(&self, detected: Option<&Detected>) -> Vec<(String, CommandSettings)> {
        let all = self.all_commands(detected);
        let names: Vec<String> = match (&self.gate.commands, &self.gate.steps, &self.gate.playbook) {
            (Some(names), ..) => names.clone(),
            (None, Some(steps), _) => playbook::commands_of(steps),
            // Any of them may be a step's.
            (None, None, Some(_)) => all.keys().cloned().collect(),
            (None, None, None) => {
                detected.iter().flat_map(|d| &d.commands).map(|(name, _)| (*name).to_owned()).collect()
            }
        };
        names.into_iter().filter_map(|name| all.get(&name).cloned().map(|command| (name, command))).collect()
    }
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

fn between<'de, D: Deserializer<'de>>(deserializer: D, low: u64, high: u64) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if (low..=high).contains(&number) {
        Ok(number)
    } else {
        Err(serde::de::Error::custom(format!("{number} is not between {low} and {high}")))
    }
}

fn parallel<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 1, MAX_PARALLEL.into()).map(|n| u32::try_from(n).unwrap_or(MAX_PARALLEL))
}

fn attempts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 1, MAX_ATTEMPTS.into()).map(|n| u32::try_from(n).unwrap_or(MAX_ATTEMPTS))
}

fn spirits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 0, MAX_PARALLEL.into()).map(|n| u32::try_from(n).unwrap_or(MAX_PARALLEL))
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    between(deserializer, 1, MAX_TIMEOUT_MS)
}

const fn default_timeout() -> u64 {
    DEFAULT_TIMEOUT_MS
}

const fn yes() -> bool {
    true
}

fn positive<'de, D: Deserializer<'de>, N: TryFrom<u64>>(deserializer: D) -> Result<Option<N>, D::Error> {
    let number = between(deserializer, 1, u64::MAX)?;
    N::try_from(number).map(Some).map_err(|_| serde::de::Error::custom(format!("{number} is too large")))
}

fn argv<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let argv = Vec::<String>::deserialize(deserializer)?;
    if argv.first().is_none_or(String::is_empty) {
        return Err(serde::de::Error::custom("`run` names no program"));
    }
    if argv.iter().any(|a| a.contains('\0')) {
        return Err(serde::de::Error::custom("`run` has a NUL character in it"));
    }
    Ok(argv)
}

fn check_variable<E: serde::de::Error>(name: &str) -> Result<(), E> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > 200 || !name.chars().all(fits) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(E::custom("this is no name of an environment variable (the value itself does not belong here)"));
    }
    Ok(())
}

fn variable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    check_variable(&name)?;
    Ok(Some(name))
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let entries = Vec::<String>::deserialize(deserializer)?;
    let name = |entry: &String| -> Result<String, D::Error> {
        let name = entry
            .strip_prefix("env:")
            .ok_or_else(|| serde::de::Error::custom("an entry of secrets.mask has the form `env:NAME`"))?;
        check_variable(name)?;
        Ok(name.to_owned())
    };
    entries.iter().map(name).collect()
}

#[cfg(test)]
mod tests;
