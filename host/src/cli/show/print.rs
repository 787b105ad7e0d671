//! A task in words. Text of models and repositories passes through `neutral` on its way here.

use super::conversation::Conversation;
use super::gather::{Routing, Shown, ShownAttempt};
use crate::cli::style::Style;
use crate::cli::table::Table;
use crate::cli::{neutral, out, words};
use crate::domain::id;
use crate::domain::llm::{Message, Speaker};
use crate::domain::review::Severity;
use crate::domain::task::TaskState;
use crate::domain::verdict;

/// Lines of a failed command's output.
const MAX_FAILED_LINES: usize = 60;
/// Lines of a command's output that passed.
const MAX_PASSED_LINES: usize = 12;
/// Lines of a tool's reply in a conversation.
const MAX_REPLY_LINES: usize = 40;

/// The whole page.
pub(super) fn text(shown: &Shown, flags: &str, style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    page.task(shown);
    let last = shown.attempts.last().map(|attempt| attempt.attempt);
    for attempt in &shown.attempts {
        page.attempt(attempt, Some(attempt.attempt) == last, flags);
    }
    for note in &shown.notes {
        page.line("note", &format!("{}: {}", note.author, neutral::line(&note.text)));
    }
    if shown.attempts.is_empty() {
        page.line("tries", "none yet");
    }
    page.text
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn line(&mut self, name: &str, value: &str) {
        let name = self.style.dim(&format!("{name:<9}"));
        self.text.push_str(format!("{name} {value}").trim_end());
        self.text.push('\n');
    }

    fn block(&mut self, text: &str) {
        self.text.push_str(&words::indent(text, "    "));
    }

    fn task(&mut self, shown: &Shown) {
        let style = self.style;
        let Some(task) = &shown.task else {
            let title = if shown.key.task.as_str() == "0.1" { "requirements and design" } else { "the task list" };
            let heading = style.bold(&format!("{} {title}", shown.key.task));
            self.text.push_str(&format!("{heading}  (planning step of {})\n", shown.key.spec));
            return;
        };
        let facts = &task.definition;
        let heading = style.bold(&format!("{} {}", task.key.task, neutral::line(&facts.title)));
        self.text.push_str(&format!("{heading}  (of {})\n", task.key.spec));
        let mut state = words::state_paint(task.state)(style, task.state.as_str());
        if let Some(assigned) = &task.assigned {
            state.push_str(&format!(" by {} in {}", assigned.instance, assigned.slot));
        }
        if let Some(commit) = &task.merged_commit {
            state.push_str(&format!(", merged as {}", neutral::line(id::short(commit))));
        }
        self.line("state", &state);
        if let Some(skill) = &facts.skill {
            self.line("skill", &neutral::line(skill));
        }
        if !facts.depends.is_empty() {
            let depends: Vec<&str> = facts.depends.iter().map(|id| id.as_str()).collect();
            self.line("needs", &depends.join(", "));
        }
        if !facts.requirements.is_empty() {
            self.line("for", &format!("requirements {}", neutral::line(&facts.requirements.join(", "))));
        }
        if !facts.text.trim().is_empty() {
            let text = neutral::block(facts.text.trim_end());
            self.block(&words::head(&text, out::MAX_LINES));
        }
        if let (TaskState::Failed, Some(failure)) = (task.state, &task.last_failure) {
            self.line("failed on", "");
            self.block(&words::ends(&neutral::block(failure), MAX_FAILED_LINES));
        }
    }

    fn attempt(&mut self, attempt: &ShownAttempt, whole: bool, flags: &str) {
        let style = self.style;
        let (how, paint) = words::outcome(attempt.outcome);
        let who = attempt.instance.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let took = attempt.duration_ms.map_or_else(String::new, |ms| format!(" after {}", words::took(ms)));
        let since = attempt.started_at.map_or_else(String::new, |at| format!(", started {} UTC", words::when(at)));
        let heading = style.bold(&format!("attempt {}", attempt.attempt));
        self.text.push_str(&format!("\n{heading} by {who}: {}{took}{since}\n", paint(style, how)));
        self.routing(attempt);
        if let Some(summary) = &attempt.summary {
            self.line("says", "");
            self.block(&words::head(&neutral::block(summary), MAX_FAILED_LINES));
        }
        if let Some(commit) = &attempt.commit {
            let branch = attempt.branch.as_deref().filter(|branch| !branch.is_empty());
            let branch = branch.map_or_else(String::new, |branch| format!(" on {}", neutral::line(branch)));
            self.line("commit", &format!("{}{branch}", commit.short()));
        }
        if !attempt.files.is_empty() {
            let more = if attempt.more_files > 0 { format!(" and {} more", attempt.more_files) } else { String::new() };
            self.line("files", &format!("{}{more}", neutral::line(&attempt.files.join(", "))));
        }
        self.gates(attempt);
        self.findings(attempt);
        if let Some(failure) = &attempt.failure {
            // What a command printed follows below, in the last attempt.
            let follows = whole && attempt.checks.iter().any(|check| !check.passed);
            let failure = neutral::block(failure);
            self.line("failed on", "");
            self.block(&if follows {
                words::head(&failure, MAX_PASSED_LINES)
            } else {
                words::ends(&failure, MAX_FAILED_LINES)
            });
        }
        if whole {
            self.output(attempt);
            self.diff(attempt, flags);
        }
        self.conversation(attempt, flags);
        for artifact in &attempt.artifacts {
            let size = words::size(artifact.size_bytes);
            self.line("artifact", &format!("{} {} ({size})", artifact.uri, neutral::line(&artifact.name)));
        }
    }

    fn routing(&mut self, attempt: &ShownAttempt) {
        if !attempt.reason.is_empty() {
            self.line("why", &neutral::line(&attempt.reason));
        }
        let Some(Routing { execution: _, plugin, decision, error, candidates }) = &attempt.routing else { return };
        let plugin = neutral::line(plugin);
        if let Some(error) = error {
            self.line("routing", &format!("`{plugin}` failed ({}); the built-in rule decided", neutral::line(error)));
        }
        let Some(decision) = decision else { return };
        let chose = format!("`{plugin}` chose {} among {}", decision.instance, candidates.len());
        if attempt.instance.as_ref() == Some(&decision.instance) {
            self.line("routing", &chose);
        } else {
            self.line("routing", &format!("{chose}, which cannot be followed; the built-in rule decided"));
        }
        if decision.scores.is_empty() {
            return;
        }
        let mut table = Table::new(&["    SCORE", "ROLE", "WORDS"]);
        for score in &decision.scores {
            let points = format!("    {}", score.points);
            table.row(vec![points.into(), score.role.as_str().into(), score.matched.join(", ").into()]);
        }
        self.text.push_str(&table.render(self.style, out::columns()));
    }

    fn gates(&mut self, attempt: &ShownAttempt) {
        for gate in &attempt.gates {
            let style = self.style;
            let checks: Vec<String> = gate
                .checks
                .iter()
                .map(|(name, passed)| {
                    let name = neutral::line(name);
                    if *passed { style.green(&format!("{name} passed")) } else { style.red(&format!("{name} failed")) }
                })
                .collect();
            let checks = if checks.is_empty() { "nothing to run".to_owned() } else { checks.join(", ") };
            self.line("gate", &format!("of the {}: {checks}", neutral::line(&gate.stage)));
        }
        if attempt.sandbox.as_deref() == Some("off") {
            self.line("sandbox", "off (its commands ran with your rights)");
        }
    }

    fn findings(&mut self, attempt: &ShownAttempt) {
        for finding in &attempt.findings {
            let severity = match finding.severity {
                Severity::Block => self.style.red("blocks"),
                Severity::Warn => self.style.yellow("warns"),
                Severity::Note => self.style.dim("notes"),
            };
            self.line("review", &format!("{severity} {}", neutral::line(&verdict::line(finding))));
        }
    }

    fn output(&mut self, attempt: &ShownAttempt) {
        for check in &attempt.checks {
            let how = if check.passed { self.style.green("passed") } else { self.style.red("failed") };
            self.line("output", &format!("of `{}`, which {how}", neutral::line(&check.name)));
            let output = neutral::block(check.output.trim_end());
            self.block(&words::ends(&output, if check.passed { MAX_PASSED_LINES } else { MAX_FAILED_LINES }));
        }
    }

    fn diff(&mut self, attempt: &ShownAttempt, flags: &str) {
        let Some(diff) = attempt.diff.as_deref().filter(|diff| !diff.trim().is_empty()) else { return };
        self.line("diff", "");
        let diff = neutral::block(diff);
        for line in diff.lines().take(out::MAX_LINES) {
            let painted = match line.as_bytes().first() {
                Some(b'+') => self.style.green(line),
                Some(b'-') => self.style.red(line),
                Some(b'@') => self.style.cyan(line),
                _ => line.to_owned(),
            };
            self.text.push_str(&format!("    {painted}\n"));
        }
        let more = diff.lines().count().saturating_sub(out::MAX_LINES);
        if let (Some(artifact), true) = (attempt.artifacts.iter().find(|artifact| artifact.kind == "diff"), more > 0) {
            self.text.push_str(&format!("    … {more} more lines: necro-host artifact get {}{flags}\n", artifact.uri));
        }
    }

    fn conversation(&mut self, attempt: &ShownAttempt, flags: &str) {
        if let Some(pruned) = attempt.pruned_at {
            self.line("talk", &format!("its journal was pruned on {} UTC", words::when(pruned)));
        }
        let Some(conversation) = &attempt.conversation else { return };
        let Conversation { turns, tool_calls, cost, messages, errors } = conversation;
        let turns = words::count(usize::try_from(*turns).unwrap_or(usize::MAX), "turn");
        let mut summary = format!("{turns}, {}, {}", words::count(*tool_calls, "tool call"), words::cost(cost));
        if messages.is_empty() {
            summary.push_str(&format!("; --conversation shows it, `necro-host logs{flags}` every call"));
        }
        self.line("talk", &summary);
        for message in messages {
            self.message(message);
        }
        for error in errors {
            self.line("", &self.style.red(&neutral::line(error)));
        }
    }

    fn message(&mut self, message: &Message) {
        let Message { speaker, text, tool_calls, .. } = message;
        let (name, lines) = match speaker {
            Speaker::System => ("instructions", MAX_REPLY_LINES),
            Speaker::User => ("told", out::MAX_LINES),
            Speaker::Assistant => ("model", out::MAX_LINES),
            Speaker::Tool => ("tool", MAX_REPLY_LINES),
        };
        self.text.push_str(&format!("  {}\n", self.style.cyan(name)));
        if !text.trim().is_empty() {
            self.block(&words::head(&neutral::block(text.trim_end()), lines));
        }
        for call in tool_calls {
            let name = self.style.bold(&neutral::line(&call.name));
            self.text.push_str(&format!("    {name}\n"));
            let arguments = neutral::block(&arguments(&call.arguments));
            self.text.push_str(&words::indent(&words::head(&arguments, out::MAX_LINES), "      "));
        }
    }
}

/// A call's arguments, one a line; a text of several lines as such.
fn arguments(json: &str) -> String {
    let Ok(serde_json::Value::Object(map)) = serde_json::from_str(json) else { return json.to_owned() };
    map.iter()
        .map(|(key, value)| match value.as_str() {
            Some(text) if text.contains('\n') => format!("{key}:\n{}", words::indent(text, "  ")),
            Some(text) => format!("{key}: {text}\n"),
            None => format!("{key}: {value}\n"),
        })
        .collect()
}
