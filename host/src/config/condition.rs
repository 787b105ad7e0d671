//! Conditions of a playbook's steps: expressions of minijinja over what is known before a step runs. An expression
//! has no loops and no templates, no functions but those below, and a bound on its work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use globset::Glob;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::domain::playbook::{StepResult, StepState};

/// A longer expression is refused; bytes.
pub const MAX_CONDITION_BYTES: usize = 1_000;
/// Instructions that an evaluation may take.
const FUEL: u64 = 10_000;

/// What conditions can ask.
#[derive(Clone)]
pub struct Facts {
    /// Paths that the change touches; absent: not known, and a condition that asks for them holds.
    pub changed: Option<Arc<[String]>>,
    /// Whether the work tree has this path.
    pub exists: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Steps that have ended.
    pub ended: Arc<BTreeMap<String, StepState>>,
}

impl Facts {
    /// The same for whoever does not know what changed.
    #[must_use]
    pub fn of_any_change(&self) -> Self {
        Self { changed: None, ..self.clone() }
    }

    /// The same with these results.
    #[must_use]
    pub fn after(&self, results: &[StepResult]) -> Self {
        let ended = results.iter().map(|result| (result.name.clone(), result.state)).collect();
        Self { ended: Arc::new(ended), ..self.clone() }
    }
}

/// Refuses an expression that is no expression.
///
/// # Errors
/// Why, in words.
pub fn check(expression: &str) -> Result<(), String> {
    if expression.len() > MAX_CONDITION_BYTES {
        return Err(format!("it has {} bytes; {MAX_CONDITION_BYTES} are allowed", expression.len()));
    }
    let environment = Environment::empty();
    let compiled = environment.compile_expression(expression).map_err(|error| words(&error))?;
    let known = ["changed", "exists", "passed", "failed"];
    match compiled.undeclared_variables(false).iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("`{name}` is not known; {} are", known.map(|name| format!("{name}(…)")).join(", "))),
        None => Ok(()),
    }
}

/// Whether the expression is true.
///
/// # Errors
/// Why that cannot be said, in words.
pub fn evaluate(expression: &str, facts: &Facts) -> Result<bool, String> {
    check(expression)?;
    let mut environment = Environment::empty();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let (changed, in_the_dark) = (facts.changed.clone(), Arc::new(AtomicBool::new(false)));
    let asked = Arc::clone(&in_the_dark);
    environment.add_function("changed", move |pattern: String| {
        let glob = Glob::new(&pattern)
            .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
        let matcher = glob.compile_matcher();
        let Some(paths) = &changed else {
            asked.store(true, Ordering::Relaxed);
            return Ok(true);
        };
        Ok(paths.iter().any(|path| matcher.is_match(path)))
    });
    let exists = Arc::clone(&facts.exists);
    environment.add_function("exists", move |path: String| exists(&path));
    let ended = Arc::clone(&facts.ended);
    environment.add_function("passed", move |step: String| ended.get(&step) == Some(&StepState::Passed));
    let ended = Arc::clone(&facts.ended);
    environment.add_function("failed", move |step: String| ended.get(&step).is_some_and(|state| state.is_bad()));
    let compiled = environment.compile_expression(expression).map_err(|error| words(&error))?;
    let value = compiled.eval(()).map_err(|error| words(&error))?;
    // Not even `not changed(…)` leaves a step out when nobody knows.
    Ok(value.is_true() || in_the_dark.load(Ordering::Relaxed))
}

fn words(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let ended = [("lint", StepState::Passed), ("slow", StepState::TimedOut), ("docs", StepState::Skipped)];
        Facts {
            changed: Some(vec!["src/a/b.rs".to_owned(), "README.md".to_owned()].into()),
            exists: Arc::new(|path| path == "Cargo.toml"),
            ended: Arc::new(ended.map(|(name, state)| (name.to_owned(), state)).into()),
        }
    }

    #[test]
    fn conditions_ask_for_changes_files_and_earlier_steps() {
        for (expression, expected) in [
            ("true", Ok(true)),
            ("false", Ok(false)),
            ("changed('src/**')", Ok(true)),
            ("changed(\"*.md\") and not changed('web/**')", Ok(true)),
            ("exists('Cargo.toml') and not exists('package.json')", Ok(true)),
            ("passed('lint') and not failed('lint')", Ok(true)),
            ("failed('slow')", Ok(true)),
            ("passed('docs') or failed('docs') or passed('none')", Ok(false)),
            ("1 < 2 and 'a' != 'b'", Ok(true)),
            ("changed('[x')", Err(())),
            ("changed()", Err(())),
            ("changed", Ok(true)),
        ] {
            assert_eq!(evaluate(expression, &facts()).map_err(|_| ()), expected, "{expression}");
        }
        for (expression, expected) in [
            ("changed('web/**')", true),
            ("not changed('web/**')", true),
            ("changed('src/**') and not changed('web/**')", true),
            ("passed('docs') and changed('web/**')", false),
            ("exists('none')", false),
        ] {
            assert_eq!(evaluate(expression, &facts().of_any_change()), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_beforehand() {
        for bad in ["", "a b", "changed('x'", "{% if %}", "{{ true }}", "unknown('x')", "env.HOME", "range(9)"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"x".repeat(MAX_CONDITION_BYTES + 1)).is_err());
        let long = vec!["true"; 100].join(" and ");
        assert_eq!(check(&long), Ok(()));
        let costly = format!("{} == 1", "[1]".repeat(300));
        assert!(evaluate(&costly, &facts()).is_err());
    }
}
