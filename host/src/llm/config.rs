//! Which back end, which model, which price: plain options that the command line, the environment
//! and `necro.toml` fill in, and the checked result. Nothing here reads the environment by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::gateway::{Gateway, Price, Route};
use super::http::Endpoint;
use super::openai::{Dialect, EndpointError, HttpLimits, OpenAiBackend};
use super::scripted::{ScriptError, ScriptedBackend};
use crate::domain::mask::Mask;

/// OpenAI's own address.
pub const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";
/// The model when none is named.
pub const DEFAULT_MODEL: &str = "gpt-5-codex";
/// The variable that holds the key when no other is named.
pub const DEFAULT_KEY_ENV: &str = "OPENAI_API_KEY";
/// The variable that holds the base URL when none is configured.
pub const BASE_URL_ENV: &str = "OPENAI_BASE_URL";
/// Aliases that always exist; those that are not configured mean the default model.
pub const ALIASES: [&str; 3] = ["default", "strong", "fast"];
/// Limit on an answer's tokens when none is configured.
pub const DEFAULT_MAX_OUTPUT_TOKENS: u32 = 16_384;
/// Calls at the same time when nothing is configured.
pub const DEFAULT_MAX_CONCURRENT: usize = 8;
/// Most calls at the same time.
pub const MAX_CONCURRENT: usize = 1024;

/// List prices of the default model; others have to be configured.
const DEFAULT_MODEL_PRICE: Price =
    Price { input_microusd: 1_250_000, cached_input_microusd: 125_000, output_microusd: 10_000_000 };

/// The value of `--llm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LlmChoice {
    /// `openai`: the configured model, in the dialect that it speaks.
    OpenAi,
    /// `responses:MODEL`
    Responses(String),
    /// `chat:MODEL`
    Chat(String),
    /// `scripted:FILE`
    Scripted(PathBuf),
}

/// A text that is no `--llm` value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no LLM; use `openai`, `responses:MODEL`, `chat:MODEL` or `scripted:FILE`")]
pub struct InvalidChoice {
    /// What was given, cut to 100 characters.
    pub text: String,
}

impl FromStr for LlmChoice {
    type Err = InvalidChoice;
    fn from_str(text: &str) -> Result<Self, InvalidChoice> {
        match text.split_once(':') {
            None if text == "openai" => Ok(Self::OpenAi),
            Some(("responses", model)) if is_model(model) => Ok(Self::Responses(model.to_owned())),
            Some(("chat", model)) if is_model(model) => Ok(Self::Chat(model.to_owned())),
            Some(("scripted", file)) if !file.is_empty() => Ok(Self::Scripted(PathBuf::from(file))),
            _ => Err(InvalidChoice { text: text.chars().take(100).collect() }),
        }
    }
}

impl std::fmt::Display for LlmChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OpenAi => f.write_str("openai"),
            Self::Responses(model) => write!(f, "responses:{model}"),
            Self::Chat(model) => write!(f, "chat:{model}"),
            Self::Scripted(path) => write!(f, "scripted:{}", path.display()),
        }
    }
}

fn is_model(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// What an alias means, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelOptions {
    /// The server's name for the model.
    pub model: Option<String>,
    /// How it is spoken to.
    pub dialect: Option<Dialect>,
    /// What it costs.
    pub price: Option<Price>,
    /// Limit on an answer's tokens.
    pub max_output_tokens: Option<u32>,
}

/// Everything that can be set about LLM access; absent fields mean the defaults of this module.
#[derive(Debug, Clone, Default)]
pub struct LlmOptions {
    /// `--llm`
    pub choice: Option<LlmChoice>,
    /// Up to before `/responses`.
    pub base_url: Option<String>,
    /// Name of the variable that holds the key.
    pub key_env: Option<String>,
    /// The model of alias `default`; a model in [`LlmOptions::choice`] comes first.
    pub model: Option<String>,
    /// The dialect of every model that has none of its own.
    pub dialect: Option<Dialect>,
    /// What the aliases mean. More than the three of [`ALIASES`] may be named.
    pub aliases: BTreeMap<String, ModelOptions>,
    /// Time limits; absent: those of [`HttpLimits::default`].
    pub limits: Option<HttpLimits>,
    /// Calls at the same time.
    pub max_concurrent: Option<usize>,
}

/// Why there is no LLM access.
#[derive(Debug, thiserror::Error)]
pub enum LlmConfigError {
    /// No key, and nothing else chosen.
    #[error("no language model to ask: set {key_env}, or play scripted replies with `--llm scripted:FILE`")]
    NoKey {
        /// The variable that was looked for.
        key_env: String,
    },
    /// Base URL or key.
    #[error("{key_env} and the base URL give no usable endpoint")]
    Endpoint {
        /// The variable that holds the key.
        key_env: String,
        /// Which rule is broken.
        source: EndpointError,
    },
    /// The script.
    #[error("the scripted replies cannot be played")]
    Script(#[from] ScriptError),
    /// A number or name out of its bounds.
    #[error("{field} {reason}")]
    OutOfBounds {
        /// Which setting.
        field: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
}

impl LlmConfigError {
    /// Whether something is missing in the environment, rather than wrong in the configuration.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::NoKey { .. })
    }
}

/// One alias, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The server's name for the model.
    pub model: String,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// What it costs; absent: unknown.
    pub price: Option<Price>,
    /// Limit on an answer's tokens.
    pub max_output_tokens: u32,
}

/// The checked options. `Debug` shows no key.
#[derive(Debug, Clone)]
pub struct LlmConfig {
    source: Source,
    /// Every alias.
    pub models: BTreeMap<String, ModelConfig>,
    /// Calls at the same time.
    pub max_concurrent: usize,
    mask: Mask,
}

#[derive(Debug, Clone)]
enum Source {
    Script(PathBuf),
    Server { base_url: String, key_env: String, key: Option<SecretString>, limits: HttpLimits },
}

impl LlmOptions {
    /// Checks the options. `env` looks up environment variables.
    ///
    /// # Errors
    /// [`LlmConfigError::NoKey`] when nothing is chosen that works without a key,
    /// [`LlmConfigError::Endpoint`] and [`LlmConfigError::OutOfBounds`].
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<LlmConfig, LlmConfigError> {
        let max_concurrent = self.max_concurrent.unwrap_or(DEFAULT_MAX_CONCURRENT);
        if !(1..=MAX_CONCURRENT).contains(&max_concurrent) {
            return Err(out_of_bounds("the number of concurrent calls", "is not between 1 and 1024"));
        }
        let key_env = self.key_env.clone().unwrap_or_else(|| DEFAULT_KEY_ENV.to_owned());
        let key = env(&key_env).filter(|key| is_key(key)).map(SecretString::from);
        let mask = Mask::new(key.iter().map(ExposeSecret::expose_secret));
        let models = self.models()?;
        let source = if let Some(LlmChoice::Scripted(file)) = &self.choice {
            Source::Script(file.clone())
        } else {
            let given = self.base_url.clone().or_else(|| env(BASE_URL_ENV).filter(|url| !url.is_empty()));
            // Servers of one's own often want no key; OpenAI always does.
            if key.is_none() && given.is_none() {
                return Err(LlmConfigError::NoKey { key_env });
            }
            let base_url = given.unwrap_or_else(|| DEFAULT_BASE_URL.to_owned());
            // Nothing has been written or asked yet: the best time to say that neither will do.
            if let Err(source) = Endpoint::new(&base_url, key.clone()) {
                return Err(LlmConfigError::Endpoint { key_env, source });
            }
            Source::Server { base_url, key_env, key, limits: self.limits.unwrap_or_default() }
        };
        Ok(LlmConfig { source, models, max_concurrent, mask })
    }

    fn models(&self) -> Result<BTreeMap<String, ModelConfig>, LlmConfigError> {
        let none = ModelOptions::default();
        let default = self.model_config("default", self.aliases.get("default").unwrap_or(&none))?;
        let mut models = BTreeMap::new();
        for (alias, options) in &self.aliases {
            models.insert(alias.clone(), self.model_config(alias, options)?);
        }
        for alias in ALIASES {
            models.entry(alias.to_owned()).or_insert_with(|| default.clone());
        }
        Ok(models)
    }

    fn model_config(&self, alias: &str, options: &ModelOptions) -> Result<ModelConfig, LlmConfigError> {
        let chosen = match &self.choice {
            Some(LlmChoice::Responses(model)) => Some((model, Dialect::Responses)),
            Some(LlmChoice::Chat(model)) => Some((model, Dialect::Chat)),
            Some(LlmChoice::OpenAi | LlmChoice::Scripted(_)) | None => None,
        };
        // A model named on the command line is the default one; other aliases keep theirs.
        let chosen = chosen.filter(|_| alias == "default" || options.model.is_none());
        let model = chosen.map(|(model, _)| model).or(options.model.as_ref()).or(self.model.as_ref());
        let model = model.map_or(DEFAULT_MODEL, String::as_str);
        if !is_model(model) {
            let field = format!("the model of alias `{alias}`");
            return Err(out_of_bounds(&field, "is empty, longer than 200 bytes or has white space in it"));
        }
        let max_output_tokens = options.max_output_tokens.unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS);
        if max_output_tokens == 0 {
            return Err(out_of_bounds(&format!("max_output_tokens of alias `{alias}`"), "is 0"));
        }
        // The configured price belongs to the configured model, not to one from the command line.
        let same_model = options.model.as_deref().is_none_or(|configured| configured == model);
        let known = (model == DEFAULT_MODEL).then_some(DEFAULT_MODEL_PRICE);
        Ok(ModelConfig {
            model: model.to_owned(),
            dialect: chosen
                .map(|(_, dialect)| dialect)
                .or(options.dialect)
                .or(self.dialect)
                .unwrap_or_else(|| dialect_of(model)),
            price: options.price.filter(|_| same_model).or(known),
            max_output_tokens,
        })
    }
}

/// Whether a variable's value is meant to be a key: blanks are what is left of one that is not set.
#[must_use]
pub fn is_key(value: &str) -> bool {
    !value.trim().is_empty()
}

fn out_of_bounds(field: &str, reason: &'static str) -> LlmConfigError {
    LlmConfigError::OutOfBounds { field: field.to_owned(), reason }
}

/// OpenAI's newer models are at their best, or at all, in Responses; everything else speaks Chat.
fn dialect_of(model: &str) -> Dialect {
    let reasoning = model.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if model.starts_with("gpt-5") || model.starts_with("codex") || reasoning {
        Dialect::Responses
    } else {
        Dialect::Chat
    }
}

impl LlmConfig {
    /// Masks the configured key; for everything that is written down elsewhere.
    #[must_use]
    pub const fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The script, when replies are scripted.
    #[must_use]
    pub const fn script(&self) -> Option<&PathBuf> {
        match &self.source {
            Source::Script(file) => Some(file),
            Source::Server { .. } => None,
        }
    }

    /// The back end of one dialect at the configured server, for probing; `None` for a script.
    ///
    /// # Errors
    /// [`LlmConfigError::Endpoint`].
    pub fn server(&self, dialect: Dialect) -> Result<Option<OpenAiBackend>, LlmConfigError> {
        let Source::Server { base_url, key_env, key, limits } = &self.source else { return Ok(None) };
        OpenAiBackend::new(base_url, key.clone(), dialect, *limits, self.mask.clone())
            .map(Some)
            .map_err(|source| LlmConfigError::Endpoint { key_env: key_env.clone(), source })
    }

    /// Opens the back ends. Reads the script's file, if there is one; connects to nothing.
    ///
    /// # Errors
    /// [`LlmConfigError::Endpoint`] and [`LlmConfigError::Script`].
    pub fn open(&self) -> Result<Gateway, LlmConfigError> {
        let mut backends: BTreeMap<&str, Arc<dyn Backend>> = BTreeMap::new();
        let scripted = match self.script() {
            Some(file) => Some(Arc::new(ScriptedBackend::load(file.clone())?) as Arc<dyn Backend>),
            None => None,
        };
        let mut routes = BTreeMap::new();
        for (alias, config) in &self.models {
            let (backend, price) = if let Some(scripted) = &scripted {
                (Arc::clone(scripted), Some(Price::default()))
            } else {
                let name = config.dialect.name();
                if !backends.contains_key(name)
                    && let Some(server) = self.server(config.dialect)?
                {
                    backends.insert(name, Arc::new(server));
                }
                let Some(backend) = backends.get(name) else { continue };
                (Arc::clone(backend), config.price)
            };
            let model = config.model.clone();
            let route = Route { backend, model, price, max_output_tokens: config.max_output_tokens };
            routes.insert(alias.clone(), route);
        }
        Ok(Gateway::new(routes, self.max_concurrent))
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
