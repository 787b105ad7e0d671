//! Lending a slot to an attempt: the pool gives it out, the log keeps who had it.

use std::sync::Arc;
use std::time::Duration;

use super::error::ServiceError;
use super::progress::Progress;
use super::runner::Ran;
use super::workshop::{Workshop, stopped};
use crate::config::FILE_NAME;
use crate::domain::event::{Body, Subject};
use crate::domain::id::{AttemptKey, CommitId, SlotId};
use crate::workspace::{Rescue, Slot, SlotPool, Terms, TreeId, WorkspaceError};

/// How long a slot's lease lasts without a sign of life; an attempt's wall limit is shorter.
const LEASE: Duration = Duration::from_secs(2 * 60 * 60);

/// A slot in an attempt's hands.
pub(crate) struct LentSlot {
    /// The slot.
    pub(crate) slot: Arc<Slot>,
    /// Id of the attempt's runner, which holds the lease.
    pub(crate) holder: String,
    attempt: AttemptKey,
}

impl LentSlot {
    /// Says that what was built in the slot may serve others: its gate was green on what is merged now.
    pub(crate) async fn keep_caches(&self, shop: &Workshop) {
        self.slot.keep_caches(shop.clock.now()).await;
    }
}

/// Takes a free slot, and waits for one while others have all that there may be.
pub(crate) async fn lend(
    shop: &Arc<Workshop>,
    pool: &SlotPool,
    attempt: &AttemptKey,
) -> Result<LentSlot, ServiceError> {
    let (holder, terms) = terms(shop, attempt);
    let slot = match pool.acquire(terms.clone()).await? {
        Some(slot) => slot,
        None => {
            let text = format!(
                "{attempt} waits for a slot: all are held; `necro-host slot ls` says by whom, `workspace.slots` in \
                 {FILE_NAME} sets how many there may be"
            );
            shop.tell(&Progress::Warning { text });
            tokio::select! {
                slot = pool.acquire_waiting(terms) => slot?,
                () = stopped(shop.stop.clone()) => return Err(WorkspaceError::Stopped.into()),
            }
        }
    };
    lent(shop, attempt, slot, holder).await
}

fn terms(shop: &Workshop, attempt: &AttemptKey) -> (String, Terms) {
    let holder = shop.registry.ids().text();
    let terms = Terms {
        lease: shop.registry.ids().text(),
        holder: format!("{attempt}, runner {holder}"),
        ttl: LEASE,
        ends_with_process: true,
    };
    (holder, terms)
}

async fn lent(
    shop: &Arc<Workshop>,
    attempt: &AttemptKey,
    slot: Slot,
    holder: String,
) -> Result<LentSlot, ServiceError> {
    let event = Body::SlotAllocated { slot: slot.id().clone(), holder: holder.clone() };
    shop.registry.append(about(shop, attempt), vec![event]).await?;
    Ok(LentSlot { slot: Arc::new(slot), holder, attempt: attempt.clone() })
}

/// A slot is lent before the attempt is claimed: its events are about the task.
fn about(shop: &Workshop, attempt: &AttemptKey) -> Subject {
    Subject { attempt: None, ..Subject::attempt(&shop.run, attempt) }
}

/// Takes this very slot, if it is free.
pub(crate) async fn lend_again(
    shop: &Arc<Workshop>,
    pool: &SlotPool,
    attempt: &AttemptKey,
    slot: &SlotId,
) -> Result<LentSlot, ServiceError> {
    let (holder, terms) = terms(shop, attempt);
    match pool.acquire_exact(slot, terms).await? {
        Some(slot) => lent(shop, attempt, slot, holder).await,
        None => lend(shop, pool, attempt).await,
    }
}

/// Checks `commit` out in the slot, clean; what exists nowhere else is kept first and told.
pub(crate) async fn prepare(shop: &Workshop, slot: &Slot, commit: &CommitId) -> Result<(), ServiceError> {
    let found = clear(shop, slot, commit).await?;
    tell(shop, slot, found.as_ref());
    Ok(())
}

/// The same, and gives what was kept instead of telling it.
pub(crate) async fn clear(shop: &Workshop, slot: &Slot, commit: &CommitId) -> Result<Option<Rescue>, ServiceError> {
    Ok(slot.prepare(commit, shop.clock.now()).await?.rescued)
}

/// Brings a slot that was cleared to `tree`.
pub(crate) async fn restore(shop: &Workshop, slot: &Slot, tree: &str) -> Result<(), ServiceError> {
    let restored = slot.restore(&TreeId::new(tree)?, shop.clock.now()).await?;
    tell(shop, slot, restored.rescued.as_ref());
    Ok(())
}

/// What was found in a slot when its attempt went on: when the record has led to the very same work tree, it
/// need not be kept any more; otherwise it is told.
pub(crate) async fn explain(shop: &Workshop, slot: &Slot, found: Rescue) {
    if let (Rescue::Commit { reference, commit }, Ok(now)) = (&found, slot.snapshot().await) {
        let (reference, commit, tree) = (reference.clone(), commit.clone(), now.tree.clone());
        let same =
            shop.mirror.objects(move |objects| Ok((objects.tree_of(&commit)? == tree).then_some((reference, commit))));
        if let Ok(Some((reference, commit))) = same.await {
            // In this order: a tree that counts as saved has its ref.
            let gone = match slot.forget_saved(&now.tree).await {
                Ok(()) => shop.mirror.objects(move |objects| objects.delete_ref(&reference, &commit)).await,
                Err(error) => Err(error),
            };
            if gone.is_ok() {
                return;
            }
        }
    }
    tell(shop, slot, Some(&found));
}

/// Tells what was kept of a slot's work.
pub(crate) fn tell(shop: &Workshop, slot: &Slot, rescued: Option<&Rescue>) {
    if let Some(rescue) = rescued {
        shop.tell(&Progress::Warning { text: format!("work found in {} was kept: {rescue}", slot.id()) });
    }
}

/// Gives a slot back as it is: the attempt goes on in it, or in what its record says of it.
pub(crate) async fn put_down(shop: &Arc<Workshop>, lent: LentSlot) -> Result<(), ServiceError> {
    let event = Body::SlotReleased { slot: lent.slot.id().clone(), holder: lent.holder };
    shop.registry.append(about(shop, &lent.attempt), vec![event]).await?;
    Ok(())
}

/// Gives a slot back after an attempt: clean when that has ended, as it is when it goes on later.
pub(crate) async fn hand_back(
    shop: &Arc<Workshop>,
    lent: LentSlot,
    ran: &Result<Ran, ServiceError>,
) -> Result<(), ServiceError> {
    match ran {
        Ok(Ran::Ended(_)) => give_back(shop, lent).await,
        Ok(Ran::Suspended) | Err(_) => put_down(shop, lent).await,
    }
}

/// Cleans the slot and gives it back; what exists nowhere else is kept first.
pub(crate) async fn give_back(shop: &Arc<Workshop>, lent: LentSlot) -> Result<(), ServiceError> {
    let id = lent.slot.id().clone();
    // Whoever still holds the slot keeps it from being cleaned now; the next attempt prepares it then.
    let slot = Arc::into_inner(lent.slot);
    let cleaned = match &slot {
        Some(slot) => Some(slot.begin_release(shop.clock.now()).await),
        None => None,
    };
    let event = Body::SlotReleased { slot: id.clone(), holder: lent.holder };
    shop.registry.append(about(shop, &lent.attempt), vec![event]).await?;
    // Only now can the pool lend it: the log tells who has had it in the order in which they had it.
    if let (Some(slot), Some(cleaned)) = (slot, &cleaned) {
        slot.finish_release(cleaned).await?;
    }
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
