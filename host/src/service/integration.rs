//! Integration: gated attempts' commits become part of the spec branch. They are merged one after another, the tree
//! of the last is gated, and the branch moves by compare-and-swap; it is either before or after, never between.
//! `domain::queue` decides what is gated, what lands and who is returned; this does it.

mod chain;
mod judge;
mod told;

use std::sync::Arc;

use jiff::Timestamp;

use super::error::ServiceError;
use super::progress::Progress;
use super::workshop::Workshop;
use crate::config::MergeStrategy;
use crate::domain::id::{AttemptKey, CommitId, Instance};
use crate::domain::protocol;
use crate::domain::queue::{Batch, Next, Reason};
use crate::failpoint::{self, Side};
use crate::workspace::{Identity, MAX_LOG_ENTRIES, Mirror, Objects, Slot, TreeId, WorkspaceError};
use chain::Merged;
use judge::SlotJudge;

/// At most this often is a batch begun again because the branch had moved.
const MAX_MOVES: u32 = 5;

/// A commit that has passed its own gate.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Whose.
    pub attempt: AttemptKey,
    /// Who made it.
    pub instance: Instance,
    /// The commit.
    pub commit: CommitId,
    /// What it started from.
    pub base: CommitId,
    /// Scope of the commit's subject.
    pub scope: String,
    /// What was done, for the merge's subject.
    pub spell: String,
    /// When it was judged, as recorded: a merge that is made again, on the same tip, is the same commit.
    pub judged_at: Timestamp,
}

/// Where branches are brought together, and how.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The mirror.
    pub mirror: Arc<Mirror>,
    /// The ref that moves, such as `refs/heads/necro/lunch`.
    pub target: String,
    /// The file whose boxes are ticked, as a path of the repository.
    pub tasks_file: String,
    /// How a branch is brought in.
    pub strategy: MergeStrategy,
}

/// A candidate on top of the ones before it.
#[derive(Debug, Clone)]
pub struct Link {
    /// What the target would point to.
    pub commit: CommitId,
    /// What is gated, but for the box that is ticked in the same commit.
    pub tree: TreeId,
}

/// What the gate says of a link.
#[derive(Debug)]
pub enum Judgement {
    /// It may land.
    Green,
    /// It may not; in words for the next attempt.
    Red(String),
    /// The run was stopped meanwhile.
    Stopped,
}

/// Who gates merged trees.
pub trait Judge {
    /// Whether the tree was gated before, by the same gate, and was green.
    fn is_known(&self, tree: &TreeId) -> bool;

    /// Gates the last of `links`, each with whose it is.
    fn judge(
        &self,
        links: &[(&Candidate, Link)],
    ) -> impl std::future::Future<Output = Result<Judgement, ServiceError>> + Send;
}

/// What became of one candidate in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integrated {
    /// On the branch.
    Merged(CommitId),
    /// It conflicts with what is on the branch.
    Conflict {
        /// The tip that it was merged onto.
        tip: CommitId,
        /// Files in conflict.
        files: Vec<String>,
        /// The hunks.
        text: String,
    },
    /// Not on the branch: the next attempt is told why.
    Returned(String),
    /// Nothing yet: it waits for the next round.
    Undecided,
    /// The run was stopped meanwhile.
    Stopped,
}

/// How a round went.
#[derive(Debug)]
pub struct Round {
    /// What became of each candidate, in the order in which they were given.
    pub fates: Vec<Integrated>,
    /// Gates that ran.
    pub gates: u32,
    /// Gates that were red, and then green over the same tree.
    pub flakes: u32,
    /// The last of them was green.
    pub ends_green: bool,
}

/// What came of a run's batch.
pub(crate) struct Done {
    /// What became of each candidate, in the order in which they were given.
    pub(crate) fates: Vec<Integrated>,
    /// What the slot has is what the gate was green over, and some of it has landed.
    pub(crate) gated_well: bool,
}

/// Who signs merges.
pub(crate) fn host_identity() -> Identity {
    Identity { name: "necro-host".to_owned(), email: "necro-host@localhost".to_owned() }
}

/// Brings a run's `candidates` in, using `slot` for the gates, and gives what became of each.
pub(crate) async fn integrate(
    shop: &Arc<Workshop>,
    slot: &Slot,
    candidates: &[Candidate],
) -> Result<Done, ServiceError> {
    let ground = Ground {
        mirror: Arc::clone(&shop.mirror),
        target: shop.branch_ref(),
        tasks_file: shop.spec_path("tasks.md"),
        strategy: shop.config.integration.strategy,
    };
    let judge = SlotJudge::new(shop, slot).await?;
    let mut round = round(&ground, &judge, candidates).await?;
    if round.flakes > 0 {
        let text = format!(
            "the gate was red, and then green over the same merged tree, {}: no task was returned for it, but it cannot \
             be relied on",
            if round.flakes == 1 { "once".to_owned() } else { format!("{} times", round.flakes) }
        );
        shop.tell(&Progress::Warning { text });
    }
    for (candidate, fate) in candidates.iter().zip(&mut round.fates) {
        if let Integrated::Conflict { tip, files, text } = fate {
            *fate = Integrated::Returned(told::conflict(shop, candidate, tip, files, text).await?);
        }
    }
    let gated_well = round.ends_green && round.fates.iter().any(|fate| matches!(fate, Integrated::Merged(_)));
    Ok(Done { fates: round.fates, gated_well })
}

/// The commit of the branch with this `tip` that brings in an attempt's `commit`, whatever the strategy was: a merge
/// has it as its second parent, what squash and rebase make of it says whose it is. `None`: it is not there.
///
/// # Errors
/// [`WorkspaceError`]: the history cannot be read.
pub fn brought_in(
    objects: &Objects,
    tip: &CommitId,
    base: &CommitId,
    commit: &CommitId,
    attempt: &AttemptKey,
) -> Result<Option<CommitId>, WorkspaceError> {
    let says_so = |message: &str| protocol::parse_commit(message).is_ok_and(|form| form.attempt() == attempt);
    let history = objects.log(tip, Some(base), MAX_LOG_ENTRIES)?;
    let found = history
        .into_iter()
        .find(|entry| entry.parents.get(1) == Some(commit) || (entry.commit != *commit && says_so(&entry.message)));
    Ok(match found {
        Some(entry) => Some(entry.commit),
        // Behind more commits than are looked at, it is merged all the same.
        None => objects.is_ancestor(commit, tip)?.then(|| tip.clone()),
    })
}

/// One round: as many of `candidates` land as the gate lets through, at least one of them is decided about, and
/// the rest waits for the next round. The target is where it was, or has all that landed.
///
/// # Errors
/// [`ServiceError`]: git or the gate could not do their work. The target may have moved; who asks again finds out.
pub async fn round<J: Judge + Sync>(
    ground: &Ground,
    judge: &J,
    candidates: &[Candidate],
) -> Result<Round, ServiceError> {
    let mut sum = Round { fates: Vec::new(), gates: 0, flakes: 0, ends_green: false };
    for _ in 0..MAX_MOVES {
        let name = ground.target.clone();
        let tip = ground.mirror.objects(move |objects| objects.read_ref(&name)).await?;
        let tip =
            tip.ok_or_else(|| ServiceError::Internal(format!("the branch {} is gone from the mirror", ground.target)))?;
        let mut attempt = Attempt::new(ground, judge, candidates, tip);
        let decided = attempt.decide().await?;
        sum.gates += attempt.batch.gates();
        sum.flakes += attempt.batch.flakes();
        sum.ends_green = attempt.ends_green;
        sum.fates = if decided { attempt.fates() } else { vec![Integrated::Stopped; candidates.len()] };
        match attempt.land().await {
            Ok(()) => return Ok(sum),
            Err(ServiceError::Workspace(WorkspaceError::RefMoved { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    let reason = format!("the spec branch moved {MAX_MOVES} times while this change was being merged");
    sum.fates = vec![Integrated::Returned(reason); candidates.len()];
    Ok(sum)
}

/// A batch on one tip.
struct Attempt<'a, J> {
    ground: &'a Ground,
    judge: &'a J,
    candidates: &'a [Candidate],
    tip: CommitId,
    batch: Batch,
    links: Vec<(&'a Candidate, Link)>,
    /// Conflicts with the tip, by member.
    conflicts: Vec<(usize, Vec<String>, String)>,
    /// What the gate said last of a link that was red.
    reds: Vec<(usize, String)>,
    decided: bool,
    /// The last gate was green.
    ends_green: bool,
}

impl<'a, J: Judge + Sync> Attempt<'a, J> {
    fn new(ground: &'a Ground, judge: &'a J, candidates: &'a [Candidate], tip: CommitId) -> Self {
        let (links, conflicts, reds) = (Vec::new(), Vec::new(), Vec::new());
        let batch = Batch::new(candidates.len());
        Self { ground, judge, candidates, tip, batch, links, conflicts, reds, decided: false, ends_green: false }
    }

    /// Merges and gates until the batch is decided about; false when the run was stopped.
    async fn decide(&mut self) -> Result<bool, ServiceError> {
        loop {
            match self.batch.next() {
                Next::Merge { member } => self.merge(member).await?,
                Next::Gate { link } => {
                    failpoint::reach("integration", "gate", Side::Before);
                    let said = self.judge.judge(&self.links[..=link]).await?;
                    self.ends_green = matches!(said, Judgement::Green);
                    match said {
                        Judgement::Green => self.batch.gated(link, true),
                        Judgement::Red(reason) => {
                            self.reds.push((link, reason));
                            self.batch.gated(link, false);
                        }
                        Judgement::Stopped => return Ok(false),
                    }
                    failpoint::reach("integration", "gate", Side::After);
                }
                Next::End => {
                    self.decided = true;
                    return Ok(true);
                }
            }
        }
    }

    async fn merge(&mut self, member: usize) -> Result<(), ServiceError> {
        let Some(candidate) = self.candidates.get(member) else {
            return Err(ServiceError::Internal(format!("there is no candidate {member} in the batch")));
        };
        let on = self.links.last().map_or(&self.tip, |(_, link)| &link.commit);
        match chain::link(self.ground, on, candidate).await? {
            Merged::Link(link) => {
                self.batch.merged(self.judge.is_known(&link.tree));
                self.links.push((candidate, link));
                failpoint::reach("integration", "merge", Side::After);
            }
            Merged::Conflict { files, text } if self.batch.is_on_target() => {
                self.conflicts.push((member, files, text));
                self.batch.conflicted(true);
            }
            Merged::Conflict { .. } => {
                let alone = chain::link(self.ground, &self.tip, candidate).await?;
                let with_target = matches!(alone, Merged::Conflict { .. });
                if let Merged::Conflict { files, text } = alone {
                    self.conflicts.push((member, files, text));
                }
                self.batch.conflicted(with_target);
            }
        }
        Ok(())
    }

    /// What becomes of each, once the target has moved.
    fn fates(&self) -> Vec<Integrated> {
        let mut fates = vec![Integrated::Undecided; self.candidates.len()];
        let ended = self.batch.ended();
        let commits = self.links.iter().map(|(_, link)| link.commit.clone());
        for (member, commit) in ended.landed.into_iter().zip(commits) {
            fates[member] = Integrated::Merged(commit);
        }
        for (member, reason) in ended.returned {
            fates[member] = match reason {
                Reason::Conflict => {
                    let found = self.conflicts.iter().find(|(other, ..)| *other == member);
                    let (files, text) = found.map(|(_, files, text)| (files.clone(), text.clone())).unwrap_or_default();
                    Integrated::Conflict { tip: self.tip.clone(), files, text }
                }
                Reason::Red { link } => {
                    let said = self.reds.iter().rev().find(|(other, _)| *other == link);
                    Integrated::Returned(said.map(|(_, reason)| reason.clone()).unwrap_or_default())
                }
            };
        }
        fates
    }

    /// Moves the target over all that lands, at once.
    async fn land(&self) -> Result<(), ServiceError> {
        let landed = if self.decided { self.batch.ended().landed.len() } else { 0 };
        let Some((_, last)) = landed.checked_sub(1).and_then(|last| self.links.get(last)) else { return Ok(()) };
        let (target, new, tip) = (self.ground.target.clone(), last.commit.clone(), self.tip.clone());
        failpoint::reach("integration", "land", Side::Before);
        self.ground.mirror.objects(move |objects| objects.update_ref(&target, &new, Some(&tip))).await?;
        failpoint::reach("integration", "land", Side::After);
        Ok(())
    }
}
