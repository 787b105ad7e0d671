//! What the benches share: interleaved rounds, medians, and a verdict against a bound. A missed bound
//! fails the process only with `--strict`, because a busy machine is no bug.

use std::process::ExitCode;
use std::time::Duration;

/// What was promised of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    const fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
        }
    }

    fn words(self, unit: &str) -> String {
        match self {
            Self::AtMost(bound) => format!("≤ {bound}{unit}"),
            Self::AtLeast(bound) => format!("≥ {bound}{unit}"),
        }
    }
}

// A bound includes its figure. (It also names both kinds: each bench is a program of its own.)
const _: () = assert!(Bound::AtMost(1.0).holds(1.0) && Bound::AtLeast(1.0).holds(1.0));

/// The value in the middle; of an even number, the lower one.
pub(crate) fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("times and their ratios are numbers"));
    *sorted.get((sorted.len().max(1) - 1) / 2).expect("at least one round was measured")
}

/// One line of the table.
pub(crate) fn row(what: &str, figure: impl std::fmt::Display) {
    println!("  {what:<58} {figure:>12}");
}

/// A time with three digits.
pub(crate) fn shown(time: Duration) -> String {
    format!("{time:.2?}")
}

/// Prints the figure beside its bound, and gives whether it holds.
pub(crate) fn verdict(what: &str, figure: f64, unit: &str, bound: Bound) -> bool {
    let holds = bound.holds(figure);
    let verdict = if holds { "ok" } else { "MISSED" };
    row(what, format!("{figure:.2}{unit}"));
    row("bound", format!("{}  {verdict}", bound.words(unit)));
    holds
}

/// The exit code of the bench.
pub(crate) fn exit(verdicts: &[bool]) -> ExitCode {
    let strict = std::env::args().any(|argument| argument == "--strict");
    if !strict || verdicts.iter().all(|holds| *holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
