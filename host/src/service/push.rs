//! Pushing gated task branches. It stands beside the run: a push that fails is told, with what to do, and no task
//! fails by it.

use std::future::Future;
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::error::chain;
use super::progress::Progress;
use super::workshop::{Workshop, stopped};
use crate::config::{FILE_NAME, WorkspaceSettings};
use crate::domain::event::{Body, Subject, TaskChange};
use crate::domain::id::{AttemptKey, CommitId};
use crate::workspace::{PUSH_TIMEOUT, Pushed, Source, push_address};

/// Who says in the log what became of a push.
const AUTHOR: &str = "necro-host";

/// What is said when there is nowhere to push to.
pub(crate) const NO_REMOTE: &str =
    "workspace.push has no effect: the repository has no remote `origin` whose address can be used";

/// Where task branches are pushed to, and which branches never are.
#[derive(Debug, Clone)]
pub(crate) struct Pushing {
    to: Source,
    protected: Protected,
}

/// Names that are never pushed to.
#[derive(Debug, Clone, Default)]
struct Protected(GlobSet);

impl Protected {
    /// The configured patterns and, unless there are none, the branches that a run starts from and works towards.
    fn new(patterns: &[String], also: &[&str]) -> Self {
        let mut all = GlobSetBuilder::new();
        let also = also.iter().map(|name| globset::escape(name)).filter(|_| !patterns.is_empty());
        for glob in patterns.iter().cloned().chain(also).filter_map(|pattern| Glob::new(&pattern).ok()) {
            all.add(glob);
        }
        Self(all.build().unwrap_or_default())
    }

    fn has(&self, branch: &str) -> bool {
        self.0.is_match(branch)
    }
}

impl Pushing {
    /// For a source, when the settings ask for it; `Err`: they do, and there is nowhere to push to.
    pub(crate) fn new(
        source: &Source,
        settings: &WorkspaceSettings,
        base_branch: &str,
        target: &str,
    ) -> Result<Option<Self>, &'static str> {
        if !settings.push {
            return Ok(None);
        }
        let to = push_address(source).ok_or(NO_REMOTE)?;
        Ok(Some(Self { to, protected: Protected::new(&settings.protected, &[base_branch, target]) }))
    }
}

/// The push of an attempt's commit, which has passed its gate, to the task's branch; none when it is not asked for.
/// It ends with the run, and by itself within [`PUSH_TIMEOUT`] for each name that it tries.
pub(crate) fn job(
    shop: &Arc<Workshop>,
    attempt: AttemptKey,
    branch: String,
    commit: CommitId,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let pushing = shop.pushing.clone()?;
    let shop = Arc::clone(shop);
    Some(async move {
        let pushed = async {
            let said = push(&shop, &pushing, &attempt, branch, &commit).await;
            record(&shop, &attempt, said).await;
        };
        tokio::select! {
            () = pushed => {}
            // Nothing is lost: the branch is in the mirror.
            () = stopped(shop.stop.clone()) => {}
        }
    })
}

/// What became of it: the good news, or what to do.
async fn push(
    shop: &Workshop,
    pushing: &Pushing,
    attempt: &AttemptKey,
    branch: String,
    commit: &CommitId,
) -> Result<String, String> {
    if pushing.protected.has(&branch) {
        return Err(format!("the branch {branch} is not pushed: workspace.protected of {FILE_NAME} names it"));
    }
    let to = pushing.to.display();
    // An attempt after the first may stand beside the one before, which nobody puts aside by force.
    let beside = format!("{branch}-attempt-no{}", attempt.attempt);
    for name in [branch.as_str(), beside.as_str()] {
        match shop.mirror.push(&pushing.to, commit, name, PUSH_TIMEOUT).await {
            Ok(Pushed::There) => return Ok(format!("pushed {name} to {to}")),
            Ok(Pushed::NotFastForward) => {}
            Ok(Pushed::Refused { detail }) => {
                return Err(format!(
                    "{to} refuses the branch {name} ({detail}); it stays in the mirror, and `git push` can bring it \
                     there later"
                ));
            }
            Err(error) => {
                return Err(format!(
                    "the branch {name} could not be pushed: {}; it stays in the mirror, and the task goes on",
                    chain(&error)
                ));
            }
        }
    }
    Err(format!("{to} has other commits on {branch} and on {beside}, and nothing is pushed by force; delete one there"))
}

/// Tells it, and writes it down.
async fn record(shop: &Arc<Workshop>, attempt: &AttemptKey, said: Result<String, String>) {
    let text = match said {
        Ok(text) => text,
        Err(text) => {
            let text = shop.mask.apply(&text);
            shop.tell(&Progress::Warning { text: format!("task {}: {text}", attempt.key.task) });
            text
        }
    };
    let change = TaskChange::NoteAdded { author: AUTHOR.to_owned(), text };
    let noted = shop.registry.append(Subject::attempt(&shop.run, attempt), vec![Body::TaskUpdated { change }]).await;
    if let Err(error) = noted {
        tracing::warn!("what became of a push is not in the log: {}", chain(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_branches_are_the_configured_ones_and_those_of_the_run() {
        let patterns = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let rows: [(&[&str], &str, bool); 8] = [
            (&["main", "master"], "main", true),
            (&["main", "master"], "develop", true),
            (&["main", "master"], "necro/app", true),
            (&["main", "master"], "feature/task-app-1-x", false),
            (&["main", "master"], "maintenance", false),
            (&["feature/**"], "feature/task-app-1-x", true),
            (&["[x"], "develop", true),
            (&[], "main", false),
        ];
        for (configured, branch, expected) in rows {
            let protected = Protected::new(&patterns(configured), &["develop", "necro/app"]);
            assert_eq!(protected.has(branch), expected, "{branch} with {configured:?}");
        }
    }
}
