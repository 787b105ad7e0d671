//! `logs`: what spirits do, from the journals of their executions; with `-f` as it happens, by asking
//! the database again and again.

mod call;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::args::LogsArgs;
use super::open::{self, Records};
use super::out::{self, Reading};
use super::style::Style;
use super::{neutral, words};
use crate::domain::call::{Cost, Function};
use crate::domain::id::{ExecutionId, Instance, SpecName, TaskId};
use crate::registry::{CallRecord, ExecutionFilter, ExecutionKind, ExecutionRecord};
use crate::service::{self, Owner, ServiceError};

/// Time between two questions while following.
const POLL: Duration = Duration::from_millis(500);

/// One call as it is printed; the form of `logs --json`.
#[derive(Debug, Serialize)]
struct Line {
    at: jiff::Timestamp,
    task: TaskId,
    attempt: u32,
    instance: Instance,
    execution: ExecutionId,
    sequence: u64,
    function: Function,
    /// In words.
    text: String,
    /// Whether the call failed; absent when no answer was recorded.
    failed: Option<bool>,
    cost: Cost,
}

/// An execution whose calls are shown.
#[derive(Debug)]
struct Followed {
    who: Instance,
    task: TaskId,
    attempt: u32,
    /// Sequence number of the last call that was shown.
    shown: u64,
    /// Model calls so far.
    turns: u32,
    ended: bool,
}

/// What one question found.
struct Polled {
    lines: Vec<Line>,
    /// The newest run of the spec has ended: nothing more will come.
    ended: bool,
    /// Executions whose journals were dropped.
    pruned: usize,
}

/// Where following stands.
struct Follower {
    records: Records,
    spec: SpecName,
    only: Option<String>,
    known: BTreeMap<ExecutionId, Followed>,
}

/// Runs `logs`.
pub(crate) async fn run(args: LogsArgs, style: Style) -> Result<(), ServiceError> {
    let LogsArgs { spirit, follow, lines, query } = args;
    let (named, place, json) = (query.spec, query.place, query.json);
    let mut follower = open::blocking(move || {
        let records = Records::open(&place)?;
        let spec = records.spec(named.as_deref())?;
        Follower::new(records, spec, spirit)
    })
    .await?;
    let mut first = true;
    loop {
        let (back, found) = open::blocking(move || {
            let found = follower.poll(follow);
            Ok((follower, found))
        })
        .await?;
        follower = back;
        let Polled { lines: mut found, ended, pruned } = found?;
        let nothing = first && found.is_empty() && pruned == 0;
        if first && pruned > 0 && !json {
            out::tell(&format!("{} pruned", words::count(pruned, "journal")));
        }
        if first {
            let skipped = found.len().saturating_sub(lines.unwrap_or(usize::MAX));
            found.drain(..skipped);
        }
        let reading =
            if json && !follow { out::json(&found).map(|()| Reading::No)? } else { print(&found, json, style)? };
        if !follow {
            if nothing && !json {
                out::tell("no spirit has done anything yet");
            }
            return Ok(());
        }
        if reading == Reading::No || ended {
            return Ok(());
        }
        first = false;
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = out::unread() => return Ok(()),
        }
    }
}

fn print(lines: &[Line], json: bool, style: Style) -> Result<Reading, ServiceError> {
    for line in lines {
        let reading = if json { out::json_line(line)? } else { out::write(words(line, style).as_bytes())? };
        if reading == Reading::No {
            return Ok(Reading::No);
        }
    }
    Ok(Reading::Yes)
}

fn words(line: &Line, style: Style) -> String {
    let Line { at, task, attempt, instance, text, failed, .. } = line;
    let text = neutral::line(text);
    let text = match failed {
        Some(true) => style.red(&text),
        Some(false) => text,
        None => style.yellow(&text),
    };
    format!("{} {} {task}#{attempt}  {text}\n", style.dim(&words::clock(*at)), style.cyan(instance.as_str()))
}

impl Follower {
    fn new(records: Records, spec: SpecName, only: Option<String>) -> Result<Self, ServiceError> {
        let follower = Self { records, spec, only, known: BTreeMap::new() };
        let Some(only) = &follower.only else { return Ok(follower) };
        let mut there: Vec<Instance> = follower.executions(false)?.iter().filter_map(instance_of).collect();
        there.sort();
        there.dedup();
        // A spirit that has not begun yet can be waited for; a slip is better told at once.
        if there.is_empty() || there.iter().any(|instance| is_meant(instance, only)) {
            return Ok(follower);
        }
        let there = words::listing(there);
        Err(ServiceError::Usage(format!(
            "no spirit or role `{only}` has worked on `{}` yet; there are: {there}",
            follower.spec
        )))
    }

    fn executions(&self, open: bool) -> Result<Vec<ExecutionRecord>, ServiceError> {
        let filter = ExecutionFilter {
            kind: Some(ExecutionKind::Spirit),
            spec: Some(self.spec.clone()),
            open,
            ..ExecutionFilter::default()
        };
        Ok(self.records.reader.executions(&filter)?)
    }

    /// What is new since the last time, in order of time. With `more` to come, a call that waits for
    /// its answer is kept back until it has it.
    fn poll(&mut self, more: bool) -> Result<Polled, ServiceError> {
        // Asked first: what is recorded before a run's end is then seen below.
        let has_end = self.records.run(&self.spec)?.is_some_and(|run| run.outcome.is_some());
        // A process that was killed writes no end.
        let ended = has_end || service::owner(&self.records.state) == Owner::Nobody;
        let more = more && !ended;
        let mut pruned = 0;
        for execution in self.executions(false)? {
            if execution.pruned_at.is_some() {
                pruned += 1;
                continue;
            }
            let (Some(who), Some(task), Some(attempt)) = (instance_of(&execution), execution.task, execution.attempt)
            else {
                continue;
            };
            if self.only.as_deref().is_some_and(|only| !is_meant(&who, only)) {
                continue;
            }
            let ended = execution.ended_at.is_some();
            let followed = self.known.entry(execution.id).or_insert(Followed {
                who,
                task,
                attempt,
                shown: 0,
                turns: 0,
                ended: false,
            });
            // Calls that came with the end are still read once.
            if followed.ended {
                continue;
            }
            followed.ended = ended;
        }
        let mut lines = Vec::new();
        for (id, followed) in &mut self.known {
            let calls = self.records.reader.calls_after(id, followed.shown)?;
            let last = calls.len();
            for (position, call) in calls.into_iter().enumerate() {
                let waits = call.answer.is_none() && position + 1 == last && !followed.ended;
                if waits && more {
                    break;
                }
                followed.shown = call.sequence;
                lines.push(line(id, followed, &call));
            }
        }
        lines.sort_by(|a, b| (a.at, &a.execution, a.sequence).cmp(&(b.at, &b.execution, b.sequence)));
        Ok(Polled { lines, ended, pruned })
    }
}

fn line(id: &ExecutionId, followed: &mut Followed, call: &CallRecord) -> Line {
    followed.turns += u32::from(call.function == Function::LlmComplete);
    Line {
        at: call.at,
        task: followed.task.clone(),
        attempt: followed.attempt,
        instance: followed.who.clone(),
        execution: id.clone(),
        sequence: call.sequence,
        function: call.function,
        text: call::words(call, followed.turns),
        failed: call.answer.as_ref().map(|answer| answer.get("Err").is_some()),
        cost: call.cost,
    }
}

/// Who works, as the assignment says.
pub(super) fn instance_of(execution: &ExecutionRecord) -> Option<Instance> {
    let name = execution.input.pointer("/assignment/envelope/agent_instance")?.as_str()?;
    Instance::new(name).ok()
}

fn is_meant(instance: &Instance, only: &str) -> bool {
    instance.as_str() == only || instance.role().as_str() == only
}
