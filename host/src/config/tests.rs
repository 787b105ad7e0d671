//! The file as people write it, right and wrong.

use proptest::prelude::*;

use super::*;
use crate::domain::pool::SlotChoice;

fn error(text: &str) -> String {
    Config::parse(text, "necro.toml").expect_err("the text is wrong").to_string()
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = Config::parse("", FILE_NAME).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!((config.run.max_parallel, config.run.max_attempts), (4, 3));
    assert_eq!((config.plugins.routing.as_str(), config.plugins.scheduling.as_str()), ("least-busy", "priority"));
    assert_eq!(config.plugin_settings("least-busy"), serde_json::json!({}));
}

/// Every setting once.
const FULL: &str = r#"
        [run]
        max_parallel = 2
        max_attempts = 1
        base_branch = "trunk"
        land = true
        optional_tasks = true
        [llm]
        dialect = "chat"
        base_url = "http://127.0.0.1:8000/v1"
        model = "qwen3"
        key_env = "MY_KEY"
        max_output_tokens = 100
        max_concurrent = 3
        [llm.models.strong]
        model = "big"
        dialect = "responses"
        max_output_tokens = 200
        price = { input_microusd = 1, output_microusd = 3 }
        [gate]
        commands = ["build", "test"]
        [commands.build]
        run = ["make"]
        spirits = false
        [commands.test]
        run = ["make", "test"]
        description = "runs the tests"
        timeout_ms = 1000
        extra_args = true
        [budget]
        tokens = 1
        cost_microusd = 2
        calls = 3
        [plugins]
        routing = "mine.wasm"
        review = []
        [plugins.settings.mine]
        weights = { a = 1.5, b = [1, "x"] }
        [limits.routing]
        fuel = 1
        wall_ms = 2
        [limits.mine]
        fuel = 9
        [review.severity]
        "diff-size" = "block"
        [workspace]
        slots = 7
        choice = "least-recently-used"
        protected = ["release/*"]
        quota_bytes = 5
        [integration]
        strategy = "rebase"
        max_batch = 3
        [team]
        backend = 2
        qa = 0
        [secrets]
        mask = ["env:A_KEY", "env:B"]
        "#;

#[test]
fn every_setting_is_read() {
    let config = Config::parse(FULL, FILE_NAME).unwrap();
    assert_eq!(config.run.base_branch.as_deref(), Some("trunk"));
    assert_eq!(config.llm.dialect, Some(Dialect::Chat));
    let strong = &config.llm.models["strong"];
    assert_eq!(strong.price.unwrap().output_microusd, 3);
    assert_eq!(config.commands["build"].timeout_ms, DEFAULT_TIMEOUT_MS);
    assert!(!config.commands["build"].spirits && config.commands["test"].spirits);
    assert_eq!(config.budget.calls, Some(3));
    assert_eq!(config.plugins.review, Some(vec![]));
    assert_eq!(config.plugin_settings("mine"), serde_json::json!({ "weights": { "a": 1.5, "b": [1, "x"] } }));
    let limits = config.plugin_limits("routing", "mine");
    assert_eq!((limits.fuel, limits.wall_ms, limits.memory_bytes), (Some(9), Some(2), None));
    assert_eq!(config.review.severity["diff-size"], Severity::Block);
    let (workspace, integration) = (&config.workspace, &config.integration);
    assert_eq!((workspace.slots, workspace.choice, workspace.quota_bytes), (7, SlotChoice::LeastRecentlyUsed, 5));
    assert_eq!(workspace.protected.join(" "), "release/*");
    assert_eq!((integration.strategy, integration.max_batch), (MergeStrategy::Rebase, 3));
    assert_eq!(config.run.sandbox, SandboxMode::On);
    assert_eq!(config.team[&Role::new("backend").unwrap()], 2);
    assert_eq!(config.secrets.mask, ["A_KEY", "B"]);
    let gate: Vec<String> = config.gate_commands(None).into_iter().map(|(name, _)| name).collect();
    assert_eq!(gate, ["build", "test"]);
}

#[test]
fn errors_name_the_key_and_its_line() {
    let rows = [
        ("[run]\nmax_paralel = 4", "necro.toml:2:1: unknown field `max_paralel`", "max_parallel"),
        ("\n\n[rum]\n", "necro.toml:3:2: unknown field `rum`", "`run`"),
        ("[run]\nmax_parallel = 0", "necro.toml:2:16: 0 is not between 1 and 64", ""),
        ("[run]\nmax_attempts = 11", "necro.toml:2:16: 11 is not between 1 and 10", ""),
        ("[run]\nmax_parallel = \"4\"", "necro.toml:2:16: invalid type: string \"4\"", ""),
        (
            "[gate]\ncommands = [\n \"test\" ]",
            "necro.toml:3:2: gate.commands names `test`, but there is no [commands.test]",
            "",
        ),
        ("[run]\nsandbox = \"of\"", "necro.toml:2:11: unknown variant `of`", "`off`"),
        ("[workspace]\nslots = 257", "necro.toml:2:9: 257 is not between 0 and 256", ""),
        ("[workspace]\nprotected = [\"a[\"]", "necro.toml:2:13: error parsing glob", ""),
        ("[integration]\nmax_batch = 0", "necro.toml:2:13: 0 is not between 1 and 256", ""),
        ("[commands.test]\nrun = []", "necro.toml:2:7: `run` names no program", ""),
        ("[commands.test]\ndescription = \"\"", "necro.toml:1:1: missing field `run`", ""),
        ("[commands.\"A b\"]\nrun = [\"x\"]", "necro.toml:1:11: `A b` is no command name", ""),
        ("[commands.test]\nrun = [\"x\"]\ntimeout_ms = 999999999", "necro.toml:3:14: 999999999 is not between", ""),
        ("[review.severity]\nx = \"fatal\"", "necro.toml:2:5: unknown variant `fatal`", "block"),
        ("[team]\n\"Back End\" = 2", "necro.toml:2:1: `Back End` is not a role", ""),
        ("[team]\nbackend = -1", "necro.toml:2:11: ", ""),
        ("[secrets]\nmask = [\"sk-1234\"]", "necro.toml:2:8: an entry of secrets.mask has the form `env:NAME`", ""),
        ("[llm]\nkey_env = \"sk-proj-12345\"", "necro.toml:2:11: this is no name of an environment variable", ""),
        ("[limits.routing]\nmemory = 3", "necro.toml:2:1: unknown field `memory`", "memory_bytes"),
        ("[limits.routing]\nfuel = 0", "necro.toml:2:8: 0 is not between", ""),
        ("認証 = 1", "necro.toml:1:1: ", ""),
        ("[run]\n[run]", "necro.toml:2:", "duplicate"),
        ("x = ", "necro.toml:1:", ""),
    ];
    for (text, start, part) in rows {
        let error = error(text);
        assert!(error.starts_with(start), "{text:?} gives {error:?}, not {start:?}");
        assert!(error.contains(part), "{text:?} gives {error:?}, without {part:?}");
        assert!(!error.contains('\n'), "{error:?}");
    }
    assert!(error(&" ".repeat(MAX_FILE_BYTES + 1)).contains("262144 are allowed"));
}

#[test]
fn no_error_repeats_a_value_that_may_be_a_key() {
    for text in ["[llm]\nkey_env = \"sk-proj-12345\"", "[secrets]\nmask = [\"sk-proj-12345\"]"] {
        assert!(!error(text).contains("sk-proj"), "{}", error(text));
    }
}

#[test]
fn the_template_changes_nothing_and_its_settings_are_right() {
    assert_eq!(Config::parse(TEMPLATE, FILE_NAME), Ok(Config::default()));
    let settings: String = TEMPLATE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' '))
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = Config::parse(&settings, FILE_NAME).unwrap();
    let defaults = Config::default();
    assert_eq!(RunSettings { base_branch: None, ..config.run }, defaults.run);
    assert_eq!(
        (config.plugins.routing, config.plugins.scheduling),
        (defaults.plugins.routing, defaults.plugins.scheduling)
    );
    let test = &config.commands["test"];
    assert_eq!((test.timeout_ms, test.extra_args, test.spirits), (DEFAULT_TIMEOUT_MS, false, true));
    // Every top-level key of the file is explained.
    for table in ["run", "llm", "gate", "commands", "budget", "plugins", "limits", "review", "team", "secrets"] {
        assert!(settings.contains(&format!("[{table}")), "[{table}] is missing");
    }
}

#[test]
fn a_configured_command_takes_the_place_of_a_detected_one() {
    let detected = detect::detect(&["Cargo.toml".to_owned()], &|_| Some(b"[package]".to_vec())).unwrap();
    let plain = Config::default().gate_commands(Some(&detected));
    assert_eq!(
        plain.iter().map(|(n, c)| (n.as_str(), c.run.join(" "))).collect::<Vec<_>>(),
        [("test", "cargo test".into())]
    );
    let own = Config::parse("[commands.test]\nrun = [\"just\", \"test\"]", FILE_NAME).unwrap();
    assert_eq!(own.gate_commands(Some(&detected))[0].1.run, ["just", "test"]);
    let none = Config::parse("[gate]\ncommands = []", FILE_NAME).unwrap();
    assert!(none.gate_commands(Some(&detected)).is_empty());
    assert!(none.all_commands(Some(&detected)).contains_key("test"), "spirits may still run it");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), key in "[a-z.]{0,12}", value in "[0-9a-z\"\\[\\]{}=,. ]{0,20}") {
        let _ = Config::parse(&text, FILE_NAME);
        let _ = Config::parse(&format!("{key} = {value}"), FILE_NAME);
        let _ = Config::parse(&format!("[{key}]\n{key} = {value}"), FILE_NAME);
    }
}
