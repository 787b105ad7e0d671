//! Which model, with which key, and what must never be shown of it.

use super::error::ServiceError;
use super::necromancer::RunOptions;
use crate::config::{self, Config};
use crate::domain::mask::Mask;
use crate::llm::config::{BASE_URL_ENV, DEFAULT_KEY_ENV, LlmChoice, LlmConfig, LlmOptions, ModelOptions, is_key};
use crate::llm::gateway::{Gateway, Price};
use crate::workspace::Source;

/// LLM access by flag, then environment, then `necro.toml`.
pub(crate) fn config(options: &RunOptions, config: &Config) -> Result<LlmConfig, ServiceError> {
    let settings = &config.llm;
    let env = |name: &str| options.env.get(name).cloned();
    let key_env = settings.key_env.clone();
    let named = options.base_url.clone().or_else(|| env(BASE_URL_ENV));
    if let (None, Some(url)) = (&named, &settings.base_url)
        && !matches!(options.llm, Some(LlmChoice::Scripted(_)))
        && env(key_env.as_deref().unwrap_or(DEFAULT_KEY_ENV)).is_some_and(|key| is_key(&key))
    {
        // A repository must not be able to have the operator's key sent to a server of its choice.
        return Err(ServiceError::Usage(format!(
            "{} sends your key to {url}: say that you want it with --base-url {url}",
            config::FILE_NAME
        )));
    }
    let alias = |model: &config::ModelSettings| ModelOptions {
        model: model.model.clone(),
        dialect: model.dialect,
        max_output_tokens: model.max_output_tokens.or(settings.max_output_tokens),
        price: model.price.map(|price| Price {
            input_microusd: price.input_microusd,
            cached_input_microusd: price.cached_input_microusd.unwrap_or(price.input_microusd),
            output_microusd: price.output_microusd,
        }),
    };
    let options = LlmOptions {
        choice: options.llm.clone(),
        base_url: named.or_else(|| settings.base_url.clone()),
        key_env,
        model: settings.model.clone(),
        dialect: settings.dialect,
        aliases: settings.models.iter().map(|(name, model)| (name.clone(), alias(model))).collect(),
        limits: None,
        max_concurrent: settings.max_concurrent.and_then(|calls| usize::try_from(calls).ok()),
    };
    Ok(options.resolve(&env)?)
}

/// Secrets that no text may carry: the key, the values of the variables that the operator names, and
/// what the address of the repository lets in with.
pub(crate) fn mask(options: &RunOptions, config: &Config, source: &Source) -> Mask {
    let key_env = config.llm.key_env.as_deref().unwrap_or(DEFAULT_KEY_ENV);
    let names = config.secrets.mask.iter().map(String::as_str).chain([key_env, DEFAULT_KEY_ENV]);
    Mask::new(names.filter_map(|name| options.env.get(name)).cloned().chain(source.secrets()))
}

/// Opens the gateway; a money budget needs every price.
pub(crate) fn open(llm: &LlmConfig, config: &Config) -> Result<Gateway, ServiceError> {
    let gateway = llm.open()?;
    let unpriced = gateway.unpriced().join(", ");
    if config.budget.cost_microusd.is_some() && !unpriced.is_empty() {
        return Err(ServiceError::Usage(format!(
            "a money budget needs the price of every model; missing for {unpriced}: set [llm.models.<alias>.price]"
        )));
    }
    Ok(gateway)
}
