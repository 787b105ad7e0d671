//! Playbooks: the steps of a gate, and what comes next given what was seen. Whoever runs a gate asks
//! [`Play::next`] and tells what happened; nothing is decided elsewhere.

use serde::Serialize;

/// Steps that a playbook may have, at most.
pub const MAX_STEPS: usize = 50;
/// Further tries that a step may have, at most.
pub const MAX_RETRIES: u32 = 5;

/// A step of a playbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name, unlike that of any other step.
    pub name: String,
    /// Name of the command that it runs.
    pub command: String,
    /// It runs only where this expression is true; absent: always.
    pub condition: Option<String>,
    /// Whether nothing runs after its failure.
    pub fail_fast: bool,
    /// Each try is killed after this; 0: the command's own limit.
    pub timeout_ms: u64,
    /// Further tries after a failed one, at most [`MAX_RETRIES`].
    pub retries: u32,
}

impl Step {
    /// A step that runs a command once, always, and whose failure ends the gate.
    #[must_use]
    pub fn plain(command: &str) -> Self {
        let name = command.to_owned();
        Self { command: name.clone(), name, condition: None, fail_fast: true, timeout_ms: 0, retries: 0 }
    }
}

/// Steps in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Playbook {
    /// What it is called.
    pub name: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// Its last try ended well.
    Passed,
    /// Its last try did not.
    Failed,
    /// Its last try was killed by the time limit.
    TimedOut,
    /// It did not run, which speaks neither for nor against a change.
    Skipped,
}

impl StepState {
    /// Whether it speaks against a change.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut)
    }

    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Skipped => "skipped",
        }
    }
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepResult {
    /// The step's name.
    pub name: String,
    /// The command's.
    pub command: String,
    /// How it ended.
    pub state: StepState,
    /// How often it ran.
    pub tries: u32,
    /// It failed first and passed later: what it says is not to be relied on.
    pub flaky: bool,
    /// How long it ran, all tries together.
    pub duration_ms: u64,
    /// Why it was skipped, or ran although its condition could not be evaluated.
    pub why: Option<String>,
}

impl StepResult {
    /// In one line, when there is more to it than that it passed.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        let why = self.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        match self.state {
            StepState::Passed if self.flaky => Some(format!("`{}` passed at try {}{why}", self.name, self.tries)),
            StepState::Passed if self.why.is_none() => None,
            state if self.tries > 1 => Some(format!("`{}` {} {} times{why}", self.name, state.as_str(), self.tries)),
            state => Some(format!("`{}` {}{why}", self.name, state.as_str())),
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// Say whether this expression is true, by [`Play::decided`].
    Evaluate(&'a str),
    /// Run this step once and tell how it ended, by [`Play::ran`].
    Run(&'a Step),
    /// Nothing: every step has its result.
    Done,
}

/// A playbook as it is played.
#[derive(Debug, Clone)]
pub struct Play<'a> {
    steps: &'a [Step],
    results: Vec<StepResult>,
    /// The present step's condition is true.
    opened: bool,
    /// What its result will say, its tries so far, and their time.
    why: Option<String>,
    tries: u32,
    duration_ms: u64,
}

impl<'a> Play<'a> {
    /// From the start.
    #[must_use]
    pub const fn new(playbook: &'a Playbook) -> Self {
        Self {
            steps: playbook.steps.as_slice(),
            results: Vec::new(),
            opened: false,
            why: None,
            tries: 0,
            duration_ms: 0,
        }
    }

    /// What is to be done now.
    #[must_use]
    pub fn next(&self) -> Next<'a> {
        match self.steps.get(self.results.len()) {
            None => Next::Done,
            Some(step) => match &step.condition {
                Some(condition) if !self.opened => Next::Evaluate(condition),
                _ => Next::Run(step),
            },
        }
    }

    /// The condition that was asked for is true, false, or cannot be evaluated: then the step runs, because a check
    /// that nobody decided to leave out is not left out.
    pub fn decided(&mut self, value: Result<bool, String>) {
        match value {
            Ok(true) => self.opened = true,
            Ok(false) => {
                self.why = Some("its condition is false".to_owned());
                self.close(StepState::Skipped);
            }
            Err(why) => {
                self.why = Some(format!("its condition cannot be evaluated: {why}"));
                self.opened = true;
            }
        }
    }

    /// The step that was asked for has run once. A step that failed and has tries left is asked for again.
    pub fn ran(&mut self, state: StepState, duration_ms: u64) {
        let Some(step) = self.steps.get(self.results.len()) else { return };
        self.tries += 1;
        self.duration_ms = self.duration_ms.saturating_add(duration_ms);
        if state.is_bad() && self.tries <= step.retries.min(MAX_RETRIES) {
            return;
        }
        self.close(state);
        if state.is_bad() && step.fail_fast {
            while self.results.len() < self.steps.len() {
                self.why = Some(format!("`{}` {}", step.name, state.as_str()));
                self.close(StepState::Skipped);
            }
        }
    }

    /// Results so far, in order.
    #[must_use]
    pub fn results(&self) -> &[StepResult] {
        &self.results
    }

    /// All results.
    #[must_use]
    pub fn into_results(self) -> Vec<StepResult> {
        self.results
    }

    fn close(&mut self, state: StepState) {
        let Some(step) = self.steps.get(self.results.len()) else { return };
        self.results.push(StepResult {
            name: step.name.clone(),
            command: step.command.clone(),
            state,
            tries: self.tries,
            flaky: state == StepState::Passed && self.tries > 1,
            duration_ms: self.duration_ms,
            why: self.why.take(),
        });
        (self.opened, self.tries, self.duration_ms) = (false, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step(name: &str, condition: Option<&str>, fail_fast: bool, retries: u32) -> Step {
        Step { condition: condition.map(str::to_owned), fail_fast, retries, ..Step::plain(name) }
    }

    /// Plays with conditions that say their own value, and ends of tries in order.
    fn play(steps: Vec<Step>, ends: &str) -> Vec<String> {
        let playbook = Playbook { name: "p".to_owned(), steps };
        let (mut play, mut ends) = (Play::new(&playbook), ends.chars());
        loop {
            match play.next() {
                Next::Evaluate("?") => play.decided(Err("no".to_owned())),
                Next::Evaluate(condition) => play.decided(Ok(condition == "true")),
                Next::Run(_) => {
                    let state = match ends.next().unwrap() {
                        '+' => StepState::Passed,
                        '-' => StepState::Failed,
                        _ => StepState::TimedOut,
                    };
                    play.ran(state, 10);
                }
                Next::Done => break,
            }
        }
        assert_eq!(ends.next(), None, "every try was asked for");
        let word =
            |r: &StepResult| format!("{} {} {}{}", r.name, r.state.as_str(), r.tries, ["", "!"][usize::from(r.flaky)]);
        play.results().iter().map(word).collect()
    }

    #[test]
    fn steps_follow_each_other_as_their_results_say() {
        let plain = |name| step(name, None, true, 0);
        let rows: Vec<(Vec<Step>, &str, &[&str])> = vec![
            (vec![], "", &[]),
            (vec![plain("a"), plain("b")], "++", &["a passed 1", "b passed 1"]),
            (vec![plain("a"), plain("b")], "-", &["a failed 1", "b skipped 0"]),
            (vec![plain("a"), plain("b")], "x", &["a timed out 1", "b skipped 0"]),
            (vec![step("a", None, false, 0), plain("b")], "-+", &["a failed 1", "b passed 1"]),
            (vec![step("a", None, true, 2), plain("b")], "--++", &["a passed 3!", "b passed 1"]),
            (vec![step("a", None, true, 2), plain("b")], "-x-", &["a failed 3", "b skipped 0"]),
            (vec![step("a", Some("false"), true, 2), plain("b")], "+", &["a skipped 0", "b passed 1"]),
            (vec![step("a", Some("true"), true, 1)], "-+", &["a passed 2!"]),
            (vec![step("a", Some("?"), true, 0)], "-", &["a failed 1"]),
        ];
        for (steps, ends, expected) in rows {
            assert_eq!(play(steps, ends), expected, "{ends}");
        }
    }

    proptest! {
        #[test]
        fn every_step_ends_within_its_tries_and_nothing_runs_after_a_fatal_failure(
            rows in prop::collection::vec((any::<bool>(), prop::option::of(any::<bool>()), 0..20_u32), 0..12),
            ends in prop::collection::vec(0..3_u8, 200),
        ) {
            let steps: Vec<Step> = rows.iter().enumerate().map(|(n, (fast, condition, retries))| {
                let condition = condition.map(|value| value.to_string());
                Step { condition, fail_fast: *fast, retries: *retries, ..Step::plain(&format!("s{n}")) }
            }).collect();
            let playbook = Playbook { name: String::new(), steps };
            let (mut play, mut ends, mut asked) = (Play::new(&playbook), ends.into_iter(), 0);
            loop {
                match play.next() {
                    Next::Evaluate(condition) => play.decided(Ok(condition == "true")),
                    Next::Run(step) => {
                        asked += 1;
                        let fatal = |r: &StepResult| {
                            r.state.is_bad() && playbook.steps.iter().any(|s| s.name == r.name && s.fail_fast)
                        };
                        prop_assert!(!play.results().iter().any(fatal), "{} ran after a failure", step.name);
                        let states = [StepState::Passed, StepState::Failed, StepState::TimedOut];
                        play.ran(states[usize::from(ends.next().unwrap())], 1);
                    }
                    Next::Done => break,
                }
            }
            let results = play.into_results();
            prop_assert_eq!(results.len(), playbook.steps.len());
            prop_assert_eq!(results.iter().map(|r| r.tries).sum::<u32>(), asked);
            for result in &results {
                prop_assert!(result.tries <= MAX_RETRIES + 1);
                prop_assert_eq!(result.state == StepState::Skipped, result.tries == 0);
                prop_assert_eq!(u64::from(result.tries), result.duration_ms);
            }
        }
    }
}
