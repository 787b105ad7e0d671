//! How a run looks while it goes on: on a terminal one line a spirit and a bar for the tasks, elsewhere
//! plain lines. Both go to standard error; standard output is for the result.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::style::Style;
use super::{neutral, out, words};
use crate::domain::assignment::WorkKind;
use crate::domain::event::Outcome;
use crate::domain::id::{self, AttemptKey, Instance};
use crate::service::{Observer, Progress};

/// Shows progress on standard error.
pub(crate) struct Display {
    style: Style,
    lines: Option<Mutex<Lines>>,
}

/// The moving part of a terminal.
struct Lines {
    all: MultiProgress,
    tasks: ProgressBar,
    spirits: BTreeMap<Instance, ProgressBar>,
}

impl Display {
    /// With moving lines on a terminal, and without elsewhere.
    pub(crate) fn new(style: Style, moving: bool) -> Self {
        let lines = moving.then(|| {
            let all = MultiProgress::new();
            let tasks = all.add(ProgressBar::new(0));
            let bar = ProgressStyle::with_template("{bar:30} {pos}/{len} tasks  {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            tasks.set_style(bar);
            Mutex::new(Lines { all, tasks, spirits: BTreeMap::new() })
        });
        Self { style, lines }
    }

    /// Takes the moving lines off the screen.
    pub(crate) fn clear(&self) {
        if let Some(lines) = &self.lines {
            let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.spirits.values().for_each(ProgressBar::finish_and_clear);
            lines.tasks.finish_and_clear();
        }
    }

    fn print(&self, line: &str) {
        let Some(lines) = &self.lines else { return out::tell(line) };
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Its `suspend` would end the program when the terminal is gone.
        if lines.all.is_hidden() || lines.all.println(line).is_err() {
            out::tell(line);
        }
    }

    fn move_lines(&self, progress: &Progress) {
        let Some(lines) = &self.lines else { return };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Planned { tasks, done } => {
                lines.tasks.set_length(*tasks as u64);
                lines.tasks.set_position(*done as u64);
            }
            Progress::Merged { done, total, .. } => {
                lines.tasks.set_length(*total as u64);
                lines.tasks.set_position(*done as u64);
            }
            Progress::AttemptStarted { instance, title, .. } => {
                let bar = lines.all.insert_before(&lines.tasks, ProgressBar::new_spinner());
                bar.set_prefix(instance.to_string());
                bar.set_message(neutral::line(title));
                if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:24} {wide_msg}") {
                    bar.set_style(style);
                }
                lines.spirits.insert(instance.clone(), bar);
            }
            Progress::Activity { instance, text } => {
                if let Some(bar) = lines.spirits.get(instance) {
                    bar.set_message(neutral::line(text));
                    bar.tick();
                }
            }
            Progress::AttemptFinished { instance, .. } => {
                if let Some(bar) = lines.spirits.remove(instance) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}

impl Observer for Display {
    fn observe(&self, progress: &Progress) {
        self.move_lines(progress);
        if let Some(line) = line(progress, &self.style) {
            self.print(&line);
        }
    }
}

/// The line that stays on the screen, if this is worth one.
fn line(progress: &Progress, style: &Style) -> Option<String> {
    Some(match progress {
        Progress::Started { run, spec, title, llm, scripted, resumed, sandbox, gate } => {
            let gate = if gate.is_empty() { "none".to_owned() } else { gate.join(", ") };
            let model = if *scripted { "scripted replies, no model is asked".to_owned() } else { neutral::line(llm) };
            let title = neutral::line(title);
            let again = if *resumed { format!("\n  goes on with run {run}") } else { String::new() };
            let kept_in = if *sandbox == "off" { " · sandbox: off, commands have your rights" } else { "" };
            let head = style.bold("necro-host");
            format!("{head} {title}\n  spec {spec} · model: {model} · gate: {gate}{}{again}", style.yellow(kept_in))
        }
        Progress::Planned { tasks, done } => format!("  plan: {}, {done} done", words::count(*tasks, "task")),
        Progress::AttemptStarted { attempt, kind, title, instance, reason } => {
            let title = neutral::line(title);
            let what = match kind {
                WorkKind::Implement => format!("task {} {title}", attempt.key.task),
                WorkKind::Specify | WorkKind::Plan => title,
            };
            let again = if attempt.attempt > 1 { format!(" (attempt {})", attempt.attempt) } else { String::new() };
            let why =
                if reason.is_empty() { String::new() } else { style.dim(&format!("  {}", neutral::line(reason))) };
            format!("{} {instance}  {what}{again}{why}", style.cyan("▸"))
        }
        Progress::AttemptFinished { attempt, instance, outcome, reason } => {
            attempt_end(attempt, instance, *outcome, reason.as_deref(), style)
        }
        Progress::Seated { seat, name, digest, replaces } => {
            let replaced = replaces.as_ref().map_or_else(String::new, |name| format!(" in place of {name}"));
            let (name, digest) = (neutral::line(name), digest.short());
            format!("{} {seat}: {name} ({digest}){}", style.cyan("⇄"), neutral::line(&replaced))
        }
        Progress::Merged { task, title, commit, done, total } => {
            let (commit, title) = (id::short(commit), neutral::line(title));
            format!("{} task {task} merged as {commit}  {title}  ({done}/{total})", style.green("✓"))
        }
        Progress::Failed { task, title, .. } => format!(
            "{} task {task} failed: every attempt is used up  {title}  (see `necro-host show {task}`)",
            style.red("✗"),
            title = neutral::line(title),
        ),
        Progress::Brought { plugin, digest, may } => {
            let may = if may.is_empty() { "nothing".to_owned() } else { may.join(", ") };
            let digest = digest.short();
            let plugin = style.bold(&neutral::line(plugin));
            format!("{} {plugin} ({digest}) may ask for: {}", style.dim("plugin"), neutral::line(&may))
        }
        Progress::Compiling { plugin, size_bytes } => {
            let size = words::size(*size_bytes as u64);
            format!("{} `{}` ({size}), once", style.dim("compiling"), neutral::line(plugin))
        }
        Progress::Warning { text } => format!("{} {}", style.yellow("warning:"), neutral::line(text)),
        Progress::Stopping => {
            "stopping: nothing new is started, journals are being closed (interrupt again to quit at once)".to_owned()
        }
        Progress::Activity { .. } => return None,
    })
}

/// How an attempt ended.
fn attempt_end(
    attempt: &AttemptKey,
    instance: &Instance,
    outcome: Outcome,
    reason: Option<&str>,
    style: &Style,
) -> String {
    let task = &attempt.key.task;
    match outcome {
        Outcome::Success if task.is_planning_step() => {
            format!("{} {instance}  passed the spec check", style.green("✓"))
        }
        Outcome::Success => format!("{} {instance}  task {task} passed gate and review", style.green("✓")),
        Outcome::Failed => format!(
            "{} {instance}  task {task} attempt {} failed: {}",
            style.red("✗"),
            attempt.attempt,
            neutral::line(&gist(reason.unwrap_or("no reason was given")))
        ),
        Outcome::Interrupted => format!("{} {instance}  task {task} interrupted", style.yellow("‖")),
    }
}

/// A reason's first line, and the next one where the first only announces it.
fn gist(reason: &str) -> String {
    let mut lines = reason.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    match lines.next() {
        Some(next) if first.ends_with(':') => format!("{first} {}", next.trim_start_matches("- ")),
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{SpecName, TaskId, TaskKey};

    #[test]
    fn a_failed_attempt_says_why_in_its_first_line() {
        let key = TaskKey { spec: SpecName::new("s").unwrap(), task: TaskId::new("2.1").unwrap() };
        let progress = Progress::AttemptFinished {
            attempt: AttemptKey { key, attempt: 2 },
            instance: Instance::new("qa_spirit_1").unwrap(),
            outcome: Outcome::Failed,
            reason: Some("\nThe command `test` failed:\nexit code 101\n\nmore".into()),
        };
        let text = line(&progress, &Style::plain()).unwrap();
        assert_eq!(text, "✗ qa_spirit_1  task 2.1 attempt 2 failed: The command `test` failed: exit code 101");
    }

    #[test]
    fn a_plan_of_one_task_has_one_task() {
        let text = |tasks| line(&Progress::Planned { tasks, done: 0 }, &Style::plain()).unwrap();
        assert_eq!((text(1), text(2)), ("  plan: 1 task, 0 done".to_owned(), "  plan: 2 tasks, 0 done".to_owned()));
    }

    #[test]
    fn activity_moves_a_line_and_leaves_none() {
        let progress = Progress::Activity { instance: Instance::new("qa_spirit_1").unwrap(), text: "reads".into() };
        assert_eq!(line(&progress, &Style::plain()), None);
    }
}
