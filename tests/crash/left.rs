//! What a run has left, in the form in which two runs can be compared, and what must never be left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use necro_host::domain::call::Function;
use necro_host::domain::event::{Body, Outcome};
use necro_host::registry::{ExecutionFilter, ExecutionKind};

use crate::job::{Kitchen, SPEC, TASKS};
use crate::records::Records;
use crate::world::{files_below, finish, plain};

/// What has to be the same, whatever happened on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    /// The tree of the spec branch.
    tree: String,
    /// The diff of each task's attempt, by task.
    diffs: BTreeMap<String, String>,
    /// Subjects of the spec branch's commits, sorted: tasks side by side are merged in any order.
    subjects: Vec<String>,
    /// Commits that some ref of ours leads to; rescued work is not counted.
    commits: usize,
    /// Names of the refs.
    refs: Vec<String>,
    /// How often each kind of event stands in the log, of those whose number does not depend on the way.
    events: BTreeMap<&'static str, usize>,
    /// Notes, by task, as they were written.
    notes: Vec<String>,
    /// What the model was asked, each once.
    asked: Vec<crate::job::Asked>,
}

impl Left {
    /// Looks at what there is.
    pub(crate) fn of(kitchen: &Kitchen) -> Self {
        let records = kitchen.world.records();
        let mirror = kitchen.world.mirror();
        let diffs = TASKS.into_iter().map(|task| {
            let attempts = records.attempts(task);
            let commit = attempts.iter().rev().find_map(|attempt| attempt.commit.clone());
            let diff = commit.map(|commit| git(&mirror, &["diff", &format!("{commit}^"), commit.as_str()]));
            (task.to_owned(), diff.unwrap_or_default())
        });
        let mut subjects = lines(&mirror, &["log", "--format=%an: %s", &format!("refs/heads/necro/{SPEC}")]);
        subjects.sort();
        let refs = lines(&mirror, &["for-each-ref", "--format=%(refname)", "refs/heads", "refs/necro"]);
        let refs: Vec<String> = refs.into_iter().filter(|name| !name.starts_with("refs/necro/rescue/")).collect();
        let reached =
            lines(&mirror, &[&["rev-list"][..], &refs.iter().map(String::as_str).collect::<Vec<_>>()].concat());
        let mut asked = kitchen.asked();
        asked.dedup();
        Self {
            tree: git(&mirror, &["rev-parse", &format!("refs/heads/necro/{SPEC}^{{tree}}")]),
            diffs: diffs.collect(),
            subjects,
            commits: reached.len(),
            refs,
            events: events(&records),
            notes: notes(&records),
            asked,
        }
    }

    /// In what this differs from a run that nobody disturbed. Where a model call was `given_up`, because each of
    /// its sendings was cut off, a fresh attempt has done the work: only what came of it is compared.
    pub(crate) fn differences(&self, undisturbed: &Self, given_up: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ = |what: &str, found_here: String, expected: String| {
            if found_here != expected {
                found.push(format!("{what}:\n--- found\n{found_here}\n--- expected\n{expected}"));
            }
        };
        differ("the final tree", self.tree.clone(), undisturbed.tree.clone());
        for (task, diff) in &undisturbed.diffs {
            differ(&format!("the diff of task {task}"), self.diffs[task].clone(), diff.clone());
        }
        differ("the branch's history", self.subjects.join("\n"), undisturbed.subjects.join("\n"));
        differ("the notes", self.notes.join("\n"), undisturbed.notes.join("\n"));
        if given_up {
            return found;
        }
        differ("the number of commits", self.commits.to_string(), undisturbed.commits.to_string());
        differ("the refs", self.refs.join("\n"), undisturbed.refs.join("\n"));
        differ("the events", format!("{:#?}", self.events), format!("{:#?}", undisturbed.events));
        let places =
            |left: &Self| left.asked.iter().map(|asked| format!("{:?}", asked.at)).collect::<Vec<_>>().join("\n");
        differ("where the model was asked", places(self), places(undisturbed));
        for (here, there) in self.asked.iter().zip(&undisturbed.asked).filter(|(here, there)| here.at == there.at) {
            differ(&format!("the request {:?}", here.at), here.text.clone(), there.text.clone());
        }
        found
    }
}

/// Counts events. A slot is lent again to an attempt that goes on, and what is merged second has a gate of
/// its own.
fn events(records: &Records) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for event in records.events() {
        let varies = matches!(
            event.body,
            Body::RunResumed { .. }
                | Body::TeamAssembled { .. }
                | Body::SlotAllocated { .. }
                | Body::SlotReleased { .. }
                | Body::TaskUpdated { .. }
        );
        if !varies {
            *counts.entry(event.body.name()).or_insert(0) += 1;
        }
    }
    counts
}

fn notes(records: &Records) -> Vec<String> {
    let of = |task: &str| {
        let notes = records.reader.notes(&records.key(task)).unwrap();
        notes.into_iter().map(|note| format!("{task}: {}", note.text)).collect::<Vec<_>>()
    };
    TASKS.into_iter().flat_map(of).collect()
}

/// What no run may leave, however it went.
pub(crate) fn wrong(kitchen: &Kitchen) -> Vec<String> {
    let records = kitchen.world.records();
    let mut found = kitchen.wrong();
    let mut demand = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    let sent = sent(kitchen);
    let report = records.reader.verify().unwrap();
    demand(report.passed() && report.events > 0, format!("the log and the tables differ: {report:#?}"));
    let open = ExecutionFilter { open: true, ..ExecutionFilter::default() };
    let open: Vec<String> =
        records.reader.executions(&open).unwrap().iter().map(|e| format!("{} ({:?})", e.plugin, e.kind)).collect();
    demand(open.is_empty(), format!("journals are open: {open:?}"));
    let leases = records.reader.leases(None).unwrap();
    demand(leases.is_empty(), format!("still lent: {leases:?}"));
    let runs = records.reader.runs().unwrap();
    let outcomes: Vec<_> = runs.iter().map(|run| run.outcome.clone().unwrap_or_default()).collect();
    demand(outcomes == ["done"], format!("the runs ended as {outcomes:?}"));
    for task in TASKS {
        let attempts = records.attempts(task);
        let ended: Vec<_> = attempts.iter().map(|attempt| attempt.outcome).collect();
        let failed = vec![Some(Outcome::Failed); sent.iter().filter(|call| call.given_up && call.at.0 == task).count()];
        let expected = [failed, vec![Some(Outcome::Success)]].concat();
        demand(ended == expected, format!("the attempts at {task} ended as {ended:?}"));
        let artifacts = records.reader.artifacts(&records.key(task)).unwrap();
        // A merged tree is gated again when nobody has seen the branch move.
        let names = artifacts.into_iter().map(|record| record.artifact.name);
        let mut names: Vec<String> = names.filter(|name| !name.contains("-merge")).collect();
        names.sort();
        let once = names.windows(2).all(|two| two[0] != two[1]);
        demand(once, format!("artifacts of {task} stand there twice: {names:?}"));
    }
    for execution in records.reader.executions(&ExecutionFilter::default()).unwrap() {
        let damaged = records.reader.record(&execution.id).err();
        demand(damaged.is_none(), format!("the journal of {} is damaged: {damaged:?}", execution.plugin));
    }
    let half = half_written(&kitchen.world.state());
    demand(half.is_empty(), format!("half-written files are left: {half:?}"));
    let unanswered: u64 = sent.iter().map(|call| call.tries - u64::from(!call.given_up)).sum();
    let charged: u64 = runs.iter().map(|run| records.reader.cost(&run.id).unwrap().uncertain_sendings).sum();
    demand(charged == unanswered, format!("{unanswered} sendings had no answer, and {charged} are charged"));
    found.extend(asked_too_often(kitchen, &sent));
    found
}

/// Whether a model call failed because each of its sendings was cut off.
pub(crate) fn gave_up(kitchen: &Kitchen) -> bool {
    sent(kitchen).iter().any(|call| call.given_up)
}

/// Files that a process had begun to write. What stands in a slot is taken away before that is used again.
fn half_written(folder: &Path) -> Vec<String> {
    let begun = |path: &&PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        let half = name.starts_with(".new-") || name.starts_with("tmp_") || path.starts_with("blobs/begun");
        // Those of a process, not those of a step.
        let locked = name.ends_with(".lock") && !["owner.lock", "pool.lock"].contains(&name.as_ref());
        (half || locked) && !path.iter().any(|part| part == "slots")
    };
    files_below(folder).iter().filter(begun).map(|path| path.display().to_string()).collect()
}

/// Requests that the model has seen more often than their calls say, by where they stood.
fn asked_too_often(kitchen: &Kitchen, sent: &[Sent]) -> Vec<String> {
    let mut seen: BTreeMap<(String, u32, u32), Vec<String>> = BTreeMap::new();
    for asked in kitchen.asked() {
        seen.entry(asked.at).or_default().push(asked.text);
    }
    let mut found = Vec::new();
    for (at, texts) in seen {
        let allowed = sent.iter().find(|call| call.at == at).map_or(0, |call| call.tries);
        if texts.len() as u64 > allowed {
            found.push(format!("the request {at:?} was sent {} times, and {allowed} are on record", texts.len()));
        }
        if texts.iter().any(|text| *text != texts[0]) {
            found.push(format!("the request {at:?} was sent with different words: {texts:#?}"));
        }
    }
    found
}

/// A model call as the registry has it.
struct Sent {
    /// Task, attempt and turn.
    at: (String, u32, u32),
    tries: u64,
    /// It was answered with a failure, because each of its sendings was cut off.
    given_up: bool,
}

fn sent(kitchen: &Kitchen) -> Vec<Sent> {
    let records = kitchen.world.records();
    let spirits = ExecutionFilter { kind: Some(ExecutionKind::Spirit), ..ExecutionFilter::default() };
    let mut sent = Vec::new();
    for execution in records.reader.executions(&spirits).unwrap() {
        let (task, attempt) = (execution.task.clone().unwrap(), execution.attempt.unwrap());
        let calls = records.reader.calls(&execution.id).unwrap();
        for (turn, call) in (1..).zip(calls.iter().filter(|call| call.function == Function::LlmComplete)) {
            let failed = call.answer.as_ref().and_then(|answer| answer["Err"]["error"].as_str());
            let at = (task.to_string(), attempt, turn);
            sent.push(Sent { at, tries: u64::from(call.tries), given_up: failed == Some("uncertain") });
        }
    }
    sent
}

fn git(mirror: &Path, args: &[&str]) -> String {
    let finished = finish(plain("git").arg("--git-dir").arg(mirror).args(args));
    if finished.code == Some(0) { finished.stdout.trim_end().to_owned() } else { format!("git {args:?}: {finished:?}") }
}

fn lines(mirror: &Path, args: &[&str]) -> Vec<String> {
    git(mirror, args).lines().map(str::to_owned).collect()
}
