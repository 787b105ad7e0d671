//! `status`: how far the newest run of a spec is, also while it goes on.

use serde::Serialize;

use super::args::QueryArgs;
use super::open::Records;
use super::style::Style;
use super::{neutral, open, out, words};
use crate::clock::{Clock as _, SystemClock};
use crate::domain::id::{Instance, SpecName, TaskId};
use crate::domain::task::{Task, TaskState};
use crate::registry::{CostSummary, Run};
use crate::service::disk::{self, Sizes};
use crate::service::{self, Ownership, ServiceError};

/// How many tasks are in a state, its name, and its colour.
type Other<'a> = (usize, &'a str, fn(Style, &str) -> String);

/// A failure is shown up to here.
const MAX_FAILURE_PLACES: usize = 160;

/// What `status --json` prints.
#[derive(Debug, Serialize)]
struct Status {
    spec: SpecName,
    state_dir: String,
    /// The newest run on the spec.
    run: Option<Run>,
    /// It has no end yet, and a process works on it.
    going_on: bool,
    /// Who works in the state directory.
    owner: Option<Ownership>,
    tasks: Counts,
    active: Vec<Active>,
    failed: Vec<Failed>,
    /// Of the newest run.
    cost: Option<CostSummary>,
    /// What the state directory takes on disk.
    disk: Sizes,
    #[serde(skip)]
    flags: String,
}

/// Tasks by state, without containers.
#[derive(Debug, Default, Serialize)]
struct Counts {
    total: usize,
    done: usize,
    failed: usize,
    running: usize,
    ready: usize,
    blocked: usize,
    cancelled: usize,
}

/// A task that is being worked on.
#[derive(Debug, Serialize)]
struct Active {
    task: TaskId,
    attempt: u32,
    instance: Instance,
    title: String,
    since: jiff::Timestamp,
}

/// A task whose attempts are used up.
#[derive(Debug, Serialize)]
struct Failed {
    task: TaskId,
    title: String,
    reason: Option<String>,
}

/// Runs `status`.
pub(crate) async fn run(query: QueryArgs, style: Style) -> Result<(), ServiceError> {
    let named = query.spec;
    // Asked first: an owner that is gone by the time of the reading has written its end.
    let owner = match open::state(&query.place).await {
        Ok(state) => service::ownership(&state).await,
        // What is wrong with the place is said below.
        Err(_) => None,
    };
    let status = open::read(&query.place, move |records| status(records, named.as_deref(), owner)).await?;
    if query.json {
        return out::json(&status);
    }
    out::print(&text(&status, SystemClock::default().now(), style))
}

fn status(records: &Records, named: Option<&str>, owner: Option<Ownership>) -> Result<Status, ServiceError> {
    let spec = records.spec(named)?;
    let run = records.run(&spec)?;
    let tasks = records.reader.tasks(&spec)?;
    let unfinished = run.as_ref().is_some_and(|run| run.finished_at.is_none());
    // One that answers may work on another run, or on none.
    let is_meant = |owner: &Ownership| !owner.answers || owner.run.as_ref() == run.as_ref().map(|run| &run.id);
    let going_on = unfinished && owner.as_ref().is_some_and(is_meant);
    let active = tasks.iter().filter_map(|task| {
        let assigned = task.assigned.as_ref()?;
        Some(Active {
            task: task.key.task.clone(),
            attempt: task.attempts,
            instance: assigned.instance.clone(),
            title: task.definition.title.clone(),
            since: task.updated_at,
        })
    });
    let failed = tasks.iter().filter(|task| task.state == TaskState::Failed).map(|task| Failed {
        task: task.key.task.clone(),
        title: task.definition.title.clone(),
        reason: task.last_failure.clone(),
    });
    Ok(Status {
        state_dir: records.state.root().display().to_string(),
        going_on,
        owner,
        tasks: Counts::of(&tasks),
        active: active.collect(),
        failed: failed.collect(),
        cost: run.as_ref().map(|run| records.reader.cost(&run.id)).transpose()?,
        disk: disk::sizes(records.state.root()),
        flags: records.flags.clone(),
        run,
        spec,
    })
}

impl Counts {
    fn of(tasks: &[Task]) -> Self {
        let mut counts = Self::default();
        for task in tasks.iter().filter(|task| !task.definition.container) {
            counts.total += 1;
            *match task.state {
                TaskState::Done => &mut counts.done,
                TaskState::Failed => &mut counts.failed,
                TaskState::Running => &mut counts.running,
                TaskState::Ready => &mut counts.ready,
                TaskState::Blocked => &mut counts.blocked,
                TaskState::Cancelled => &mut counts.cancelled,
            } += 1;
        }
        counts
    }

    fn words(&self, style: Style) -> String {
        let Self { total, done, failed, running, ready, blocked, cancelled } = self;
        if *total == 0 {
            return "none yet: the spec is being written".to_owned();
        }
        let mut text = format!("{done} of {total} done");
        let others: [Other<'_>; 5] = [
            (*running, "running", Style::cyan),
            (*ready, "ready", Style::bold),
            (*blocked, "blocked", Style::dim),
            (*failed, "failed", Style::red),
            (*cancelled, "cancelled", Style::dim),
        ];
        for (number, name, paint) in others.iter().filter(|(number, ..)| *number > 0) {
            text.push_str(&format!(" · {}", paint(style, &format!("{number} {name}"))));
        }
        text
    }
}

fn text(status: &Status, now: jiff::Timestamp, style: Style) -> String {
    let Status { spec, state_dir, run, going_on, owner, tasks, active, failed, cost, disk, flags } = status;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{} {value}\n", style.dim(&format!("{name:<8}"))));
    line("spec", &style.bold(spec.as_str()));
    if let Some(run) = run {
        line("job", &neutral::line(&run.title));
        line("run", &how_it_goes(run, *going_on, now, style));
        line("model", &neutral::line(&run.llm));
        if run.options.as_ref().is_some_and(|options| options.sandbox_off) {
            line("sandbox", &style.yellow("off (its commands run with your rights)"));
        }
        let at = run.commit.as_ref().map_or_else(String::new, |commit| format!(" at {}", commit.short()));
        line("branch", &format!("{}{at}, from {}", neutral::line(&run.branch), neutral::line(&run.base_branch)));
    }
    line("tasks", &tasks.words(style));
    for Active { task, attempt, instance, title, since } in active {
        let title = neutral::line(title);
        let since = words::between(*since, now);
        let (name, how) = if *going_on { ("now", "") } else { ("open", ", goes on with the run") };
        line(name, &format!("{} {instance}: {task} {title} (attempt {attempt}, {since}{how})", style.cyan("▸")));
    }
    for Failed { task, title, reason } in failed {
        let reason = reason.as_deref().and_then(|reason| reason.lines().find(|line| !line.trim().is_empty()));
        let reason = super::table::cut(&neutral::line(reason.unwrap_or_default()), MAX_FAILURE_PLACES);
        line("failed", &format!("{} {task} {}: {reason}", style.red("✗"), neutral::line(title)));
    }
    if let Some(cost) = cost {
        line("cost", &format!("{} · {}", words::cost(&cost.cost), words::count(saturated(cost.calls), "model call")));
        if cost.uncertain_sendings > 0 {
            let calls = words::count(saturated(cost.uncertain_sendings), "model call");
            let said = "cut off before its answer was kept, and charged at its reservation";
            line("", &style.yellow(&format!("with {calls} uncertain: {said}")));
        }
        if cost.unanswered_calls > 0 && !going_on {
            let calls = words::count(saturated(cost.unanswered_calls), "model call");
            line("", &style.yellow(&format!("{calls} without an answer: maybe paid for, maybe not")));
        }
    }
    if let Some(Ownership { pid, since, run: _, answers }) = owner {
        let since = since.map_or_else(String::new, |since| format!(" since {} UTC", words::when(since)));
        let silent = if *answers { String::new() } else { style.yellow("; it does not answer") };
        line("owner", &format!("process {pid}{since}{silent}"));
    }
    line("kept in", state_dir);
    line("disk", &taken(disk));
    text.push_str(&format!(
        "\nlook: necro-host tasks{flags} · necro-host show <task>{flags} · necro-host logs -f{flags}\n"
    ));
    if owner.is_some() {
        text.push_str(&format!("end:  necro-host stop{flags}\n"));
    }
    text
}

fn how_it_goes(run: &Run, going_on: bool, now: jiff::Timestamp, style: Style) -> String {
    let started = words::when(run.started_at);
    let how = match (&run.outcome, run.finished_at) {
        (Some(outcome), Some(end)) => {
            let painted = match outcome.as_str() {
                "done" | "planned" => style.green(outcome),
                "interrupted" => style.yellow(outcome),
                other => style.red(&neutral::line(other)),
            };
            format!("{painted} after {}", words::between(run.started_at, end))
        }
        _ if going_on => format!("{} for {}", style.cyan("running"), words::between(run.started_at, now)),
        _ => format!("{}: its process is gone; `necro-host resume` goes on", style.yellow("cut off")),
    };
    let again = if run.resumed > 0 {
        format!(", gone on with {}", words::count(run.resumed as usize, "time"))
    } else {
        String::new()
    };
    format!("{how}, started {started} UTC{again} ({})", run.id)
}

fn saturated(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The size of the state directory, and of its parts with the largest first.
fn taken(disk: &Sizes) -> String {
    let mut parts = disk.parts.clone();
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let parts: Vec<String> = parts.iter().map(|part| format!("{} {}", part.what, words::size(part.bytes))).collect();
    format!("{}: {}", words::size(disk.total_bytes), parts.join(", "))
}
