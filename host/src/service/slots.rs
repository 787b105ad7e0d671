//! Lending a slot to an attempt: the pool gives it out, the registry knows who holds it.

use std::sync::Arc;
use std::time::Duration;

use super::error::ServiceError;
use super::progress::Progress;
use super::workshop::Workshop;
use crate::domain::event::{Body, Subject};
use crate::domain::id::{AttemptKey, CommitId};
use crate::registry::{LeaseKind, LeaseRequest};
use crate::workspace::{Slot, SlotPool};

/// How long a slot's lease lasts without a sign of life; an attempt's wall limit is shorter.
const LEASE: Duration = Duration::from_secs(2 * 60 * 60);

/// A slot in an attempt's hands.
pub(crate) struct LentSlot {
    /// The slot.
    pub(crate) slot: Arc<Slot>,
    /// Id of the attempt's runner, which holds the lease.
    pub(crate) holder: String,
    lease: String,
    attempt: AttemptKey,
}

/// Takes a free slot. The caller has counted: none free is a mistake of ours.
pub(crate) async fn lend(
    shop: &Arc<Workshop>,
    pool: &SlotPool,
    attempt: &AttemptKey,
) -> Result<LentSlot, ServiceError> {
    let holder = shop.registry.ids().text();
    let slot = pool
        .acquire(&holder)
        .ok_or_else(|| ServiceError::Internal("every slot is in use although one was counted as free".to_owned()))?;
    let lease = shop
        .registry
        .acquire_lease(LeaseRequest {
            kind: LeaseKind::Slot,
            name: slot.id().to_string(),
            holder: holder.clone(),
            ttl: LEASE,
            // This process owns the state directory, and the pool says that the slot is free:
            // whoever the registry still names is gone.
            take_expired: true,
        })
        .await?;
    let event = Body::SlotAllocated { slot: slot.id().clone(), holder: holder.clone() };
    shop.registry.append(about(shop, attempt), vec![event]).await?;
    Ok(LentSlot { slot: Arc::new(slot), holder, lease: lease.id, attempt: attempt.clone() })
}

/// A slot is lent before the attempt is claimed: its events are about the task.
fn about(shop: &Workshop, attempt: &AttemptKey) -> Subject {
    Subject { attempt: None, ..Subject::attempt(&shop.run, attempt) }
}

/// Checks `commit` out in the slot, clean; what exists nowhere else is kept first and told.
pub(crate) async fn prepare(shop: &Workshop, slot: &Slot, commit: &CommitId) -> Result<(), ServiceError> {
    let prepared = slot.prepare(commit, shop.clock.now()).await?;
    if let Some(rescue) = prepared.rescued {
        shop.tell(&Progress::Warning { text: format!("work found in {} was kept: {rescue}", slot.id()) });
    }
    Ok(())
}

/// Cleans the slot and gives it back; what exists nowhere else is kept first.
pub(crate) async fn give_back(shop: &Arc<Workshop>, lent: LentSlot) -> Result<(), ServiceError> {
    let id = lent.slot.id().clone();
    // Whoever still holds the slot keeps it from being cleaned now; the next attempt prepares it then.
    let cleaned = match Arc::into_inner(lent.slot) {
        Some(slot) => Some(slot.release(shop.clock.now()).await),
        None => None,
    };
    shop.registry.release_lease(&lent.lease).await?;
    let event = Body::SlotReleased { slot: id.clone(), holder: lent.holder };
    shop.registry.append(about(shop, &lent.attempt), vec![event]).await?;
    match cleaned {
        Some(Ok(prepared)) => {
            if let Some(rescue) = prepared.rescued {
                shop.tell(&Progress::Warning { text: format!("work left in {id} was kept: {rescue}") });
            }
        }
        // The next attempt prepares the slot again, and fails loudly if it cannot.
        Some(Err(error)) => shop.tell(&Progress::Warning { text: format!("{id} could not be cleaned: {error}") }),
        None => tracing::warn!(slot = %id, "given back while something still uses it"),
    }
    Ok(())
}
