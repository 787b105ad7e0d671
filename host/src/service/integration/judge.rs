//! Gates merged trees in a slot, and knows those that were green before.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Candidate, Judge, Judgement, Link};
use crate::domain::verdict;
use crate::service::error::{ServiceError, chain};
use crate::service::gate::GateRun;
use crate::service::workshop::Workshop;
use crate::service::{remains, slots};
use crate::workspace::{Slot, TreeId};

/// The run's gate, in a slot.
pub(super) struct SlotJudge<'a> {
    shop: &'a Arc<Workshop>,
    slot: &'a Slot,
    /// What the gate is, in short: under another one nothing is known.
    gate: String,
    known: HashSet<TreeId>,
}

impl<'a> SlotJudge<'a> {
    /// Reads what is known.
    pub(super) async fn new(shop: &'a Arc<Workshop>, slot: &'a Slot) -> Result<Self, ServiceError> {
        let gate = shop.gate.definition();
        let known = shop.mirror.gated(&gate).await?;
        Ok(Self { shop, slot, gate, known })
    }

    async fn run(&self, link: &Link) -> Result<GateRun, ServiceError> {
        slots::prepare(self.shop, self.slot, &link.commit).await?;
        Ok(self.shop.gate.run(self.slot, &self.shop.stop).await?)
    }
}

impl Judge for SlotJudge<'_> {
    fn is_known(&self, tree: &TreeId) -> bool {
        self.known.contains(tree)
    }

    async fn judge(&self, links: &[(&Candidate, Link)]) -> Result<Judgement, ServiceError> {
        let Some(((last, link), below)) = links.split_last() else {
            return Err(ServiceError::Internal("nothing was to be gated".to_owned()));
        };
        let gated = match self.run(link).await {
            Ok(gated) => gated,
            // What a change does to the slot is its own failure.
            Err(error) if error.is_of_slot(self.slot.work_dir()) => return Ok(Judgement::Red(chain(&error))),
            Err(error) => return Err(error),
        };
        if gated.cancelled {
            return Ok(Judgement::Stopped);
        }
        remains::store_merge(self.shop, &last.attempt, &gated).await?;
        if !gated.passed() {
            return Ok(Judgement::Red(verdict::merged_gate_reason(&gated.checks)));
        }
        // Those below pass with it, by the same gate; its output stands with the last of them.
        for (candidate, _) in below {
            remains::note_merge(self.shop, &candidate.attempt, &gated.checks).await?;
        }
        self.shop.mirror.note_gated(&self.gate, &link.tree).await?;
        Ok(Judgement::Green)
    }
}
