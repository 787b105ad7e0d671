//! What options come to, and the ways out that errors name.

use super::*;

fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
    move |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

const KEY: &[(&str, &str)] = &[("OPENAI_API_KEY", "sk-0123456789")];

fn chosen(text: &str) -> LlmOptions {
    LlmOptions { choice: Some(text.parse().unwrap()), ..LlmOptions::default() }
}

#[test]
fn choices_are_read_and_nonsense_is_named() {
    for (text, choice) in [
        ("openai", LlmChoice::OpenAi),
        ("responses:gpt-5", LlmChoice::Responses("gpt-5".to_owned())),
        ("chat:qwen/qwen3:8b", LlmChoice::Chat("qwen/qwen3:8b".to_owned())),
        ("scripted:a b.toml", LlmChoice::Scripted(PathBuf::from("a b.toml"))),
    ] {
        assert_eq!(text.parse(), Ok(choice));
    }
    for bad in ["", "gpt-5", "chat:", "responses:a b", "scripted:", "openai:gpt-5", "Chat:x"] {
        let error = bad.parse::<LlmChoice>().unwrap_err().to_string();
        assert!(error.contains("scripted:FILE"), "{error}");
    }
}

#[test]
fn without_a_key_the_error_names_both_ways_out() {
    let error = LlmOptions::default().resolve(&env(&[])).unwrap_err();
    assert!(error.is_missing());
    assert_eq!(
        error.to_string(),
        "no language model to ask: set OPENAI_API_KEY, or play scripted replies with `--llm scripted:FILE`"
    );
    let options = LlmOptions { key_env: Some("MY_KEY".to_owned()), ..LlmOptions::default() };
    assert!(options.resolve(&env(KEY)).unwrap_err().to_string().contains("set MY_KEY"));
}

#[test]
fn a_script_or_a_server_of_ones_own_needs_no_key() {
    assert!(chosen("scripted:x.toml").resolve(&env(&[])).is_ok());
    let own = LlmOptions { base_url: Some("http://127.0.0.1:8080/v1".to_owned()), ..chosen("chat:qwen3") };
    let backend = own.resolve(&env(&[])).unwrap().server(Dialect::Chat).unwrap().unwrap();
    assert_eq!(backend.name(), "chat at 127.0.0.1:8080");
    assert!(chosen("chat:qwen3").resolve(&env(&[("OPENAI_BASE_URL", "http://[::1]:1")])).is_ok());
}

#[test]
fn the_dialect_follows_the_model_unless_it_is_named() {
    for (model, dialect) in [
        ("gpt-5-codex", Dialect::Responses),
        ("gpt-5.1", Dialect::Responses),
        ("o3", Dialect::Responses),
        ("codex-mini-latest", Dialect::Responses),
        ("gpt-4o", Dialect::Chat),
        ("qwen3", Dialect::Chat),
        ("olmo", Dialect::Chat),
    ] {
        let options = LlmOptions { model: Some(model.to_owned()), ..LlmOptions::default() };
        assert_eq!(options.resolve(&env(KEY)).unwrap().models["default"].dialect, dialect, "{model}");
    }
    let named = LlmOptions { dialect: Some(Dialect::Chat), ..LlmOptions::default() };
    assert_eq!(named.resolve(&env(KEY)).unwrap().models["default"].dialect, Dialect::Chat);
}

#[test]
fn aliases_that_are_not_configured_mean_the_default_model() {
    let fast =
        ModelOptions { model: Some("small".to_owned()), max_output_tokens: Some(500), ..ModelOptions::default() };
    let options = LlmOptions { aliases: [("fast".to_owned(), fast)].into(), ..chosen("chat:big") };
    let config = options.resolve(&env(KEY)).unwrap();
    let models: Vec<(&str, &str, Dialect)> =
        config.models.iter().map(|(alias, m)| (alias.as_str(), m.model.as_str(), m.dialect)).collect();
    assert_eq!(
        models,
        [("default", "big", Dialect::Chat), ("fast", "small", Dialect::Chat), ("strong", "big", Dialect::Chat)]
    );
    assert_eq!(config.models["fast"].max_output_tokens, 500);
}

#[test]
fn a_price_belongs_to_its_model() {
    let config = LlmOptions::default().resolve(&env(KEY)).unwrap();
    assert_eq!(config.models["default"].price, Some(DEFAULT_MODEL_PRICE));
    let price = Some(Price { input_microusd: 7, ..Price::default() });
    let default = ModelOptions { model: Some("mine".to_owned()), price, ..ModelOptions::default() };
    let aliases: BTreeMap<String, ModelOptions> = [("default".to_owned(), default)].into();
    let same = LlmOptions { aliases: aliases.clone(), ..LlmOptions::default() };
    assert_eq!(same.resolve(&env(KEY)).unwrap().models["default"].price, price);
    let other = LlmOptions { aliases, ..chosen("chat:other") };
    assert_eq!(other.resolve(&env(KEY)).unwrap().models["default"].price, None);
}

#[test]
fn numbers_and_names_are_bounded() {
    for concurrent in [0, MAX_CONCURRENT + 1] {
        let options = LlmOptions { max_concurrent: Some(concurrent), ..LlmOptions::default() };
        assert!(matches!(options.resolve(&env(KEY)), Err(LlmConfigError::OutOfBounds { .. })));
    }
    let options = LlmOptions { model: Some("two words".to_owned()), ..LlmOptions::default() };
    assert!(matches!(options.resolve(&env(KEY)), Err(LlmConfigError::OutOfBounds { .. })));
    let none = ModelOptions { max_output_tokens: Some(0), ..ModelOptions::default() };
    let options = LlmOptions { aliases: [("fast".to_owned(), none)].into(), ..LlmOptions::default() };
    assert!(matches!(options.resolve(&env(KEY)), Err(LlmConfigError::OutOfBounds { .. })));
}

#[test]
fn no_debug_output_and_no_error_shows_the_key() {
    let options = LlmOptions::default();
    let config = options.resolve(&env(KEY)).unwrap();
    let gateway = config.open().unwrap();
    let shown = format!("{config:?} {gateway:?} {:?}", config.server(Dialect::Chat).unwrap());
    assert!(!shown.contains("0123456789"), "{shown}");
    let error = options.resolve(&env(&[("OPENAI_API_KEY", "sk-0123456789\nx")])).unwrap_err();
    assert!(!error.is_missing());
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("OPENAI_API_KEY") && shown.contains("line break"), "{shown}");
    assert!(!shown.contains("0123456789"), "{shown}");
}
