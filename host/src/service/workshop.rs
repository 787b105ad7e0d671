//! Everything that the parts of one run share: the adapters, the run's identity, its gate and who
//! listens. Made once by `necromancer`, then only read.

use std::sync::Arc;

use tokio::sync::watch;

use super::breakers::Breakers;
use super::executions::Scene;
use super::gate::{Gate, GateCommand};
use super::progress::{Observer, Progress};
use super::push::Pushing;
use super::seats::Seats;
use super::steering::SteeringSet;
use crate::artifact::ArtifactStore;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::assignment::BudgetLeft;
use crate::domain::id::{RunId, SpecName};
use crate::domain::mask::Mask;
use crate::domain::protocol;
use crate::llm::gateway::{Gateway, SharedBudget};
use crate::registry::Registry;
use crate::workspace::Mirror;

/// What the parts of one run share.
pub(crate) struct Workshop {
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// The registry, owned by this process.
    pub(crate) registry: Registry,
    /// Bytes of artifacts.
    pub(crate) artifacts: ArtifactStore,
    /// The repository's mirror.
    pub(crate) mirror: Arc<Mirror>,
    /// Components: those of the moment, which may be others the next time that one asks.
    pub(crate) plugins: Arc<Seats>,
    /// Which of them are not called for now.
    pub(crate) breakers: Arc<Breakers>,
    /// Models.
    pub(crate) gateway: Arc<Gateway>,
    /// What the run may spend.
    pub(crate) budget: SharedBudget,
    /// The operator's settings.
    pub(crate) config: Config,
    /// Secrets that no text may carry.
    pub(crate) mask: Arc<Mask>,
    /// Who listens.
    pub(crate) observer: Arc<dyn Observer>,
    /// Becomes true when the run shall stop.
    pub(crate) stop: watch::Receiver<bool>,
    /// The run.
    pub(crate) run: RunId,
    /// Its spec.
    pub(crate) spec: SpecName,
    /// `en` or `ja`.
    pub(crate) language: String,
    /// Steering of the base commit.
    pub(crate) steering: SteeringSet,
    /// What decides about a change.
    pub(crate) gate: Gate,
    /// Where task branches are pushed to, if they are.
    pub(crate) pushing: Option<Pushing>,
    /// Commands that spirits may run.
    pub(crate) commands: Vec<SpiritCommand>,
    /// Attempts that a task may have in all.
    pub(crate) max_attempts: u32,
}

/// A command that spirits may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpiritCommand {
    /// What runs.
    pub(crate) command: GateCommand,
    /// What it does, for the spirit.
    pub(crate) description: String,
    /// Whether the spirit may add arguments.
    pub(crate) extra_args: bool,
}

impl Workshop {
    /// Where its components are invoked.
    pub(crate) fn scene(&self) -> Scene {
        Scene {
            registry: self.registry.clone(),
            run: Some(self.run.clone()),
            spec: Some(self.spec.clone()),
            uncertain: self.config.llm.uncertain,
            observer: Arc::clone(&self.observer),
            stop: self.stop.clone(),
            breakers: Arc::clone(&self.breakers),
        }
    }

    /// The spec branch, without `refs/heads/`.
    pub(crate) fn branch(&self) -> String {
        protocol::spec_branch(&self.spec)
    }

    /// The spec branch as a ref of the mirror.
    pub(crate) fn branch_ref(&self) -> String {
        format!("refs/heads/{}", self.branch())
    }

    /// A path of the spec's folder.
    pub(crate) fn spec_path(&self, file: &str) -> String {
        format!(".kiro/specs/{}/{file}", self.spec)
    }

    /// Tells the listener.
    pub(crate) fn tell(&self, progress: &Progress) {
        self.observer.observe(progress);
    }

    /// What is left to spend.
    pub(crate) fn budget_left(&self) -> BudgetLeft {
        self.budget.lock().unwrap_or_else(std::sync::PoisonError::into_inner).left()
    }

    /// Whether a stop was asked for.
    pub(crate) fn stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

/// Resolves when a stop is asked for; never when nobody can ask any more.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}
