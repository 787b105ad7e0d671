//! Playbooks as they are written: `[[gate.steps]]` of `necro.toml`, or a YAML file of the base commit. Both have the
//! same steps, and are held against the commands that there are before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{CommandSettings, Config, ConfigError, Detected, MAX_TIMEOUT_MS, condition, cut};
use crate::domain::playbook::{MAX_RETRIES, MAX_STEPS, Playbook, Step};

/// A longer playbook file is refused.
pub const MAX_PLAYBOOK_BYTES: usize = 64 * 1024;

/// A step as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSettings {
    name: String,
    command: String,
    #[serde(default, deserialize_with = "expression")]
    condition: Option<String>,
    #[serde(default = "super::yes")]
    fail_fast: bool,
    #[serde(default, deserialize_with = "seconds")]
    timeout_seconds: u64,
    #[serde(default, alias = "retry_count", deserialize_with = "retries")]
    retries: u32,
}

/// A playbook file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaybookFile {
    name: Option<String>,
    steps: Vec<StepSettings>,
    /// Whatever its author notes there.
    #[serde(default, rename = "metadata")]
    _metadata: Option<Value>,
}

impl From<StepSettings> for Step {
    fn from(step: StepSettings) -> Self {
        let StepSettings { name, command, condition, fail_fast, timeout_seconds, retries } = step;
        Self { name, command, condition, fail_fast, timeout_ms: timeout_seconds * 1000, retries }
    }
}

/// Why steps cannot be played with these commands.
pub(super) fn unplayable(steps: &[StepSettings], commands: &BTreeMap<String, CommandSettings>) -> Option<String> {
    if steps.len() > MAX_STEPS {
        return Some(format!("a playbook has at most {MAX_STEPS} steps, not {}", steps.len()));
    }
    let mut names = BTreeSet::new();
    for StepSettings { name, command, .. } in steps {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 40 || !name.bytes().all(fits) {
            return Some(format!("`{}` is no step's name: a-z, 0-9, `-` and `_`, at most 40", cut(name)));
        }
        if !names.insert(name) {
            return Some(format!("two steps are called `{name}`"));
        }
        if !commands.contains_key(command) {
            let command = cut(command);
            return Some(format!(
                "the step `{name}` names the command `{command}`, but there is no [commands.{command}]; a step runs a \
                 named command, no text of its own"
            ));
        }
    }
    None
}

/// The commands that steps name, each once.
pub(super) fn commands_of(steps: &[StepSettings]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    steps.iter().map(|step| step.command.clone()).filter(|name| seen.insert(name.clone())).collect()
}

impl Config {
    /// The gate's playbook: the file's (`text`, when `gate.playbook` names one), the configured steps, or one with a
    /// step for each command of the list or of the detected stack.
    ///
    /// # Errors
    /// [`ConfigError`] about the file, or about steps that name no command.
    pub fn playbook(&self, detected: Option<&Detected>, text: Option<&str>) -> Result<Playbook, ConfigError> {
        let all = self.all_commands(detected);
        match (&self.gate.playbook, &self.gate.steps, text) {
            (Some(file), _, Some(text)) => read(text, file, &all),
            (Some(file), _, None) => Err(at(file, 1, 1, "this file is not in the base commit".to_owned())),
            (None, Some(steps), _) => match unplayable(steps, &all) {
                Some(message) => Err(at(super::FILE_NAME, 1, 1, message)),
                None => {
                    let steps = steps.iter().cloned().map(Step::from).collect();
                    Ok(Playbook { name: "gate".to_owned(), steps })
                }
            },
            (None, None, _) => {
                let by = detected.filter(|_| self.gate.is_detected()).map_or("gate", |found| &found.indicator);
                let steps = self.gate_commands(detected).iter().map(|(name, _)| Step::plain(name)).collect();
                Ok(Playbook { name: by.to_owned(), steps })
            }
        }
    }
}

/// Reads a playbook file.
fn read(text: &str, file: &str, commands: &BTreeMap<String, CommandSettings>) -> Result<Playbook, ConfigError> {
    if text.len() > MAX_PLAYBOOK_BYTES {
        return Err(at(file, 1, 1, format!("the file has {} bytes; {MAX_PLAYBOOK_BYTES} are allowed", text.len())));
    }
    let parsed: PlaybookFile = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map_or((1, 1), |found| (found.line(), found.column()));
        let number = |n: u64| usize::try_from(n).unwrap_or(1).max(1);
        let words = error.to_string();
        at(file, number(place.0), number(place.1), words.lines().next().unwrap_or_default().to_owned())
    })?;
    if let Some(message) = unplayable(&parsed.steps, commands) {
        return Err(at(file, 1, 1, message));
    }
    let name = parsed.name.unwrap_or_else(|| file.to_owned());
    Ok(Playbook { name: cut(&name), steps: parsed.steps.into_iter().map(Step::from).collect() })
}

fn at(file: &str, line: usize, column: usize, message: String) -> ConfigError {
    ConfigError { file: file.to_owned(), line, column, message }
}

fn expression<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if let Some(text) = &text {
        condition::check(text)
            .map_err(|why| serde::de::Error::custom(format!("`{}` is no condition: {why}", cut(text))))?;
    }
    Ok(text)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    super::between(deserializer, 0, MAX_TIMEOUT_MS / 1000)
}

fn retries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    super::between(deserializer, 0, MAX_RETRIES.into()).map(|n| u32::try_from(n).unwrap_or(MAX_RETRIES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: &str = "[commands.test]\nrun = [\"t\"]\n[commands.lint]\nrun = [\"l\"]\n";

    fn steps(text: &str) -> Result<Vec<Step>, String> {
        let config = Config::parse(&format!("{COMMANDS}{text}"), "necro.toml").map_err(|error| error.to_string())?;
        config.playbook(None, None).map(|playbook| playbook.steps).map_err(|error| error.to_string())
    }

    fn yaml(text: &str) -> Result<Playbook, String> {
        let config = Config::parse(&format!("{COMMANDS}[gate]\nplaybook = \"ci/p.yaml\"\n"), "necro.toml").unwrap();
        config.playbook(None, Some(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn steps_are_the_same_in_toml_and_in_yaml() {
        let toml = "[[gate.steps]]\nname = \"l\"\ncommand = \"lint\"\ncondition = \"changed('src/**')\"\nfail_fast = false\n\
                    timeout_seconds = 7\nretries = 2\n[[gate.steps]]\nname = \"t\"\ncommand = \"test\"\n";
        let text = "name: ours\nmetadata: {owner: me}\nsteps:\n  - name: l\n    command: lint\n    condition: changed('src/**')\n\
                    \x20   fail_fast: false\n    timeout_seconds: 7\n    retry_count: 2\n  - {name: t, command: test}\n";
        let lint = Step {
            name: "l".to_owned(),
            condition: Some("changed('src/**')".to_owned()),
            fail_fast: false,
            timeout_ms: 7_000,
            retries: 2,
            ..Step::plain("lint")
        };
        let expected = vec![lint, Step { name: "t".to_owned(), ..Step::plain("test") }];
        assert_eq!(steps(toml).unwrap(), expected);
        assert_eq!(yaml(text).unwrap(), Playbook { name: "ours".to_owned(), steps: expected });
    }

    #[test]
    fn a_list_of_commands_is_a_playbook_of_plain_steps() {
        assert_eq!(
            steps("[gate]\ncommands = [\"lint\", \"test\"]\n").unwrap(),
            [Step::plain("lint"), Step::plain("test")]
        );
        assert_eq!(steps("[gate]\ncommands = []\n").unwrap(), []);
        let found = Detected {
            indicator: "Cargo.toml".to_owned(),
            commands: vec![("test", Config::parse(COMMANDS, "x").unwrap().commands["test"].clone())],
        };
        let playbook = Config::default().playbook(Some(&found), None).unwrap();
        assert_eq!(playbook, Playbook { name: "Cargo.toml".to_owned(), steps: vec![Step::plain("test")] });
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_its_place() {
        let step =
            |more: &str| steps(&format!("[[gate.steps]]\nname = \"a\"\ncommand = \"test\"\n{more}")).unwrap_err();
        for (more, words) in [
            ("condition = \"a b\"", "is no condition"),
            ("condition = \"shell('x')\"", "`shell` is not known"),
            ("retries = 6", "6 is not between 0 and 5"),
            ("timeout_seconds = 90000", "90000 is not between"),
            ("run = \"rm\"", "unknown field `run`"),
            ("[[gate.steps]]\nname = \"a\"\ncommand = \"test\"", "two steps are called `a`"),
            ("[[gate.steps]]\nname = \"b\"\ncommand = \"echo hi\"", "there is no [commands.echo hi]"),
            ("[[gate.steps]]\nname = \"B b\"\ncommand = \"test\"", "is no step's name"),
        ] {
            let error = step(more);
            assert!(error.starts_with("necro.toml:") && error.contains(words), "{more}: {error}");
        }
        assert!(steps("[gate]\ncommands = []\nplaybook = \"x\"\n").unwrap_err().contains("one of"));
        assert!(steps("[gate]\nplaybook = \"../x\"\n").unwrap_err().contains("no file of the repository"));
        for (text, words) in [
            ("steps: [", "ci/p.yaml:"),
            ("steps:\n  - {name: a, command: test, shell: x}\n", "shell"),
            ("steps:\n  - {name: a, name: b, command: test}\n", "name"),
            ("steps:\n  - {name: a, command: none}\n", "there is no [commands.none]"),
            ("steps:\n  - {name: a, command: test, condition: 'a b'}\n", "is no condition"),
            ("- 1", "ci/p.yaml:"),
        ] {
            let error = yaml(text).unwrap_err();
            assert!(error.starts_with("ci/p.yaml:") && error.contains(words), "{text}: {error}");
        }
        assert!(yaml(&format!("steps: []\n#{}", "x".repeat(MAX_PLAYBOOK_BYTES))).unwrap_err().contains("bytes"));
        assert!(yaml(&format!("a: &a [x]\nsteps: {}", "[".repeat(5_000))).is_err());
    }
}
