//! The host's judgement of what a spirit left in its slot: commit, gate, review, verdict. A spirit's
//! report is a claim; the host believes a commit, a clean tree, a green gate and a review that blocks
//! nothing.

use std::sync::Arc;

use jiff::Timestamp;

use super::capabilities::Desk;
use super::error::{ServiceError, chain};
use super::gate::GateRun;
use super::planning;
use super::review;
use super::runner::Work;
use super::slots;
use super::workshop::Workshop;
use crate::config::FILE_NAME;
use crate::domain::assignment::{Report, WorkKind};
use crate::domain::event::{Body, Outcome, TaskChange};
use crate::domain::id::CommitId;
use crate::domain::judges;
use crate::domain::playbook::StepResult;
use crate::domain::protocol::{self, Commit};
use crate::domain::review::{Change, Finding, GATE_CHANGED, Severity, UNREVIEWED, bounded};
use crate::domain::verdict::{self, Verdict};
use crate::workspace::{Identity, NewCommit, Objects, TreeDiff, TreeId, WorkspaceError};

/// At most this many paths that cannot be committed are named.
const MAX_NAMED_PATHS: usize = 20;

/// A chain of links is followed so far.
const MAX_LINKS: usize = 8;

/// What the host found in the slot.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// How the attempt ended; absent: nothing spoke against it.
    pub(crate) failure: Option<(Outcome, String)>,
    /// What it left.
    pub(crate) commit: Option<CommitId>,
    /// What that changes.
    pub(crate) diff: Option<TreeDiff>,
    /// What the gate saw.
    pub(crate) gate: GateRun,
    /// Scope of the commit's subject.
    pub(crate) scope: String,
    /// What was done, for the same.
    pub(crate) spell: String,
    /// The run was stopped before gate and review had seen all: nothing is decided.
    pub(crate) stopped: bool,
    /// What gate and review found, for the log: recorded together with the attempt's end.
    pub(crate) found: Vec<Body>,
}

impl Judged {
    /// How the attempt ended.
    pub(crate) fn outcome(&self) -> Outcome {
        self.failure.as_ref().map_or(Outcome::Success, |(outcome, _)| *outcome)
    }

    /// Why it did not succeed.
    pub(crate) fn reason(&self) -> Option<String> {
        self.failure.as_ref().map(|(_, reason)| reason.clone())
    }

    /// The attempt has failed; what was found before stays.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failure = Some((Outcome::Failed, reason));
    }

    /// The attempt ends without a result, which is nobody's failure.
    pub(crate) fn interrupt(&mut self, reason: String) {
        self.failure = Some((Outcome::Interrupted, reason));
    }

    /// What a spirit or its commands did to the slot is their failure; anything else is the host's trouble.
    pub(crate) fn blame(&mut self, ended: Result<(), ServiceError>, work: &Work) -> Result<(), ServiceError> {
        match ended {
            Err(error) if error.is_of_slot(work.slot.work_dir()) => {
                self.fail(chain(&error));
                Ok(())
            }
            other => other,
        }
    }
}

/// Looks at the work tree, makes the commit, and decides. The spirit returned `report` at `at`, as recorded:
/// a judgement that is made again makes the same commit. What `judged` holds after an error is true.
pub(crate) async fn judge(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Arc<Desk>,
    base_tree: &TreeId,
    (report, at): (&Report, Timestamp),
    judged: &mut Judged,
) -> Result<(), ServiceError> {
    let snapshot = work.slot.snapshot().await?;
    if !snapshot.skipped.is_empty() {
        // Committing the rest would lose this work without a word; cleaning the slot keeps it.
        let named = snapshot.skipped.iter().take(MAX_NAMED_PATHS);
        let named: Vec<String> = named.map(|path| format!("{} {}", path.path, path.reason.text())).collect();
        judged.fail(format!("The work tree cannot be committed as it is:\n{}", named.join("\n")));
        return Ok(());
    }
    if let Some(reason) = ignored(shop, desk, &snapshot.tree).await? {
        judged.fail(reason);
        return Ok(());
    }
    let (tree, base) = (snapshot.tree.clone(), base_tree.clone());
    let keep = planning::protected_paths(work.assignment.kind, &shop.spec);
    let (tree, diff) = shop
        .mirror
        .objects(move |objects| {
            let tree = objects.restore(&base, &tree, &keep)?;
            let diff = objects.diff(&base, &tree)?;
            Ok((tree, diff))
        })
        .await?;
    if diff.files.is_empty() {
        let reason = match work.assignment.kind {
            WorkKind::Implement => verdict::NO_CHANGE,
            WorkKind::Specify | WorkKind::Plan => "No document of the spec was written.",
        };
        judged.fail(reason.to_owned());
        return Ok(());
    }
    judged.scope = match work.assignment.kind {
        WorkKind::Implement => protocol::scope(&work.instance.role(), diff.files.iter().map(|file| file.path.as_str())),
        WorkKind::Specify | WorkKind::Plan => "spec".to_owned(),
    };
    judged.spell.clone_from(&report.title);
    let words = (judged.scope.as_str(), report.title.as_str());
    let commit = commit(shop, work, work.branch.as_deref(), tree.clone(), words, at).await?;
    judged.commit = Some(commit.clone());
    if snapshot.tree == tree {
        work.slot.mark_saved(&tree).await?;
    }
    let verdict = match work.assignment.kind {
        WorkKind::Implement => implemented(shop, work, desk, (base_tree, &tree), &commit, &diff, judged).await,
        kind => planning::check(shop, kind, &tree).await.map(Some),
    };
    judged.diff = Some(diff);
    if let Some(Verdict::Fail { reason }) = verdict? {
        judged.fail(reason);
    }
    Ok(())
}

/// Files that a spirit wrote on purpose and git ignores are in no commit: that must not look like success.
async fn ignored(shop: &Arc<Workshop>, desk: &Desk, tree: &TreeId) -> Result<Option<String>, ServiceError> {
    let (tree, written) = (tree.clone(), desk.written().await?);
    let lost = shop.mirror.objects(move |objects| objects.missing(&tree, written)).await?;
    if lost.is_empty() {
        return Ok(None);
    }
    let named: Vec<&str> = lost.iter().take(MAX_NAMED_PATHS).map(String::as_str).collect();
    let more = if lost.len() > named.len() { ", …" } else { "" };
    Ok(Some(format!(
        "Git ignores files that were written, so they are in no commit: {}{more}. Write them elsewhere or change \
         .gitignore; remove those that are not needed.",
        named.join(", ")
    )))
}

/// Gate and review of a task's commit. `None`: the run was stopped meanwhile.
async fn implemented(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Arc<Desk>,
    (base, tree): (&TreeId, &TreeId),
    commit: &CommitId,
    diff: &TreeDiff,
    judged: &mut Judged,
) -> Result<Option<Verdict>, ServiceError> {
    // The gate sees what the commit holds and nothing else: no ignored or left-over file helps it.
    slots::prepare(shop, &work.slot, commit).await?;
    desk.says("is done; the gate runs".to_owned());
    let changed = diff.files.iter().map(|file| file.path.clone()).chain(diff.unseen.iter().cloned()).collect();
    judged.gate = shop.gate.run_over(Some(changed), &work.slot, &shop.stop).await?;
    let remarks: Vec<String> = judged.gate.steps.iter().filter_map(StepResult::remark).collect();
    if !remarks.is_empty() {
        desk.says(format!("gate: {}", remarks.join("; ")));
    }
    if judged.gate.cancelled {
        judged.stopped = true;
        return Ok(None);
    }
    if judged.gate.passed() && !judged.gate.narrowed {
        // On what it started from, this very tree need not be gated again.
        shop.mirror.note_gated(&shop.gate.definition(), tree).await?;
    }
    // The gate's own commands may have changed files; the review looks at the commit as well.
    slots::prepare(shop, &work.slot, commit).await?;
    let mut findings = unseen(diff);
    findings.extend(rewritten(shop, base, tree).await?);
    decide(shop, work, desk, diff, judged, findings).await
}

/// Review of the commit, and the verdict over gate and review. `None`: the run was stopped meanwhile.
async fn decide(
    shop: &Arc<Workshop>,
    work: &Work,
    desk: &Arc<Desk>,
    diff: &TreeDiff,
    judged: &mut Judged,
    own: Vec<Finding>,
) -> Result<Option<Verdict>, ServiceError> {
    let checks = &judged.gate.checks;
    let change = Change {
        spec: work.attempt.key.spec.clone(),
        task: work.attempt.key.task.clone(),
        title: work.assignment.title.clone(),
        text: work.assignment.text.clone(),
        commit_title: judged.spell.clone(),
        instance: work.instance.to_string(),
        role: work.instance.role(),
        attempt: work.attempt.attempt,
        files: diff.files.clone(),
        checks: checks.clone(),
    };
    let Some(reviewed) = review::review(shop, desk, &work.attempt, change).await? else {
        judged.stopped = true;
        return Ok(None);
    };
    let findings = own.into_iter().chain(reviewed.findings).collect();
    let findings = bounded(verdict::with_severities(findings, &shop.config.review.severity));
    let verdict = verdict::decide(checks, &findings);
    judged.found = vec![
        Body::TaskUpdated { change: TaskChange::gate("attempt", checks) },
        Body::ReviewReported { findings, executions: reviewed.executions },
    ];
    Ok(Some(verdict))
}

/// What no heuristic can have seen must not pass as if one had.
fn unseen(diff: &TreeDiff) -> Vec<Finding> {
    let message = "the change is too large for the review to see this file: make it smaller, or do it in several tasks";
    diff.unseen.iter().map(|path| own(UNREVIEWED, path, format!("{message}{}", override_of(UNREVIEWED)))).collect()
}

/// Changes of what the gate's commands do, in files that the attempt could write.
async fn rewritten(shop: &Arc<Workshop>, base: &TreeId, tree: &TreeId) -> Result<Vec<Finding>, ServiceError> {
    // A playbook is the base commit's in this run, and would be the attempt's in the next.
    let playbook =
        shop.config.gate.playbook.iter().map(|path| ("playbook".to_owned(), judges::Judge::File(path.clone())));
    let judges: Vec<(String, judges::Judge)> = shop
        .gate
        .commands
        .iter()
        .flat_map(|command| {
            judges::judges(&command.argv).into_iter().map(|judge| (format!("command `{}`", command.name), judge))
        })
        .chain(playbook)
        .collect();
    let (base, tree) = (base.clone(), tree.clone());
    let found = shop
        .mirror
        .objects(move |objects| {
            let mut found = Vec::new();
            for (command, judge) in judges {
                let old = content(objects, &base, judge.path())?;
                let new = content(objects, &tree, judge.path())?;
                if judge.differs(old.as_deref(), new.as_deref()) {
                    let message = format!(
                        "what the gate's {command} does is said here, and the change rewrites it: leave it as \
                         it was{}",
                        override_of(GATE_CHANGED)
                    );
                    found.push(own(GATE_CHANGED, judge.path(), message));
                }
            }
            Ok(found)
        })
        .await?;
    Ok(found)
}

/// What stands at `path`; where links lead, the file at their end.
fn content(objects: &Objects, tree: &TreeId, path: &str) -> Result<Option<Vec<u8>>, WorkspaceError> {
    let mut path = path.to_owned();
    let mut bytes = objects.read_file(tree, &path)?;
    for _ in 0..MAX_LINKS {
        let Some(target) = bytes.as_ref().filter(|_| objects.is_link(tree, &path).unwrap_or(false)) else { break };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let Some(next) = judges::inside(folder, &String::from_utf8_lossy(target)) else { break };
        path = next;
        bytes = objects.read_file(tree, &path)?;
    }
    Ok(bytes)
}

fn own(rule: &str, path: &str, message: String) -> Finding {
    let (rule, file) = (rule.to_owned(), Some(path.to_owned()));
    Finding { rule, severity: Severity::Block, file, line: None, message }
}

fn override_of(rule: &str) -> String {
    format!(" (an operator allows it by `\"{rule}\" = \"warn\"` under [review.severity] in {FILE_NAME})")
}

/// Commits `tree` on the attempt's base, and keeps it under its own ref and on its task branch.
async fn commit(
    shop: &Arc<Workshop>,
    work: &Work,
    branch: Option<&str>,
    tree: TreeId,
    (scope, spell): (&str, &str),
    time: Timestamp,
) -> Result<CommitId, ServiceError> {
    let message = Commit::new(scope, spell, work.attempt.clone(), work.instance.clone(), None).message();
    let author = Identity { name: work.instance.to_string(), email: format!("{}@necrocode.invalid", work.instance) };
    let request = NewCommit { tree, parents: vec![work.base.clone()], message, author, time };
    let kept = protocol::attempt_ref(&work.attempt);
    let branch = branch.map(|branch| format!("refs/heads/{branch}"));
    let commit = shop
        .mirror
        .objects(move |objects| {
            let commit = objects.commit(&request)?;
            for name in std::iter::once(kept).chain(branch) {
                let before = objects.read_ref(&name)?;
                objects.update_ref(&name, &commit, before.as_ref())?;
            }
            Ok(commit)
        })
        .await?;
    Ok(commit)
}

/// An attempt that ended without a report, at `at`, may leave work: it is kept before the slot is cleaned.
pub(crate) async fn keep_unfinished(
    shop: &Arc<Workshop>,
    work: &Work,
    base_tree: &TreeId,
    at: Timestamp,
    judged: &mut Judged,
) -> Result<(), ServiceError> {
    let snapshot = work.slot.snapshot().await?;
    if snapshot.tree == *base_tree {
        return Ok(());
    }
    let (base, tree) = (base_tree.clone(), snapshot.tree.clone());
    let diff = shop.mirror.objects(move |objects| objects.diff(&base, &tree)).await?;
    let words = ("unfinished", "keep unfinished work");
    judged.commit = Some(commit(shop, work, None, snapshot.tree.clone(), words, at).await?);
    judged.diff = Some(diff);
    work.slot.mark_saved(&snapshot.tree).await?;
    Ok(())
}
