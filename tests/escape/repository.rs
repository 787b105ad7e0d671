//! A command that makes `.git` of its work tree something else.

use std::sync::Arc;

use necro_host::clock::SystemClock;
use necro_host::domain::mask::Mask;
use necro_host::domain::pool::PoolSettings;
use necro_host::sandbox::{CommandSpec, Limits};
use necro_host::workspace::{Git, Mirror, SlotPool, Source, Terms, seed_repository};

use crate::place::{Place, confinement};

/// What a command puts in the place of `.git`: everything in it that git would run.
const SCRIPT: &str = r#"
set -e
cat .git > /dev/null
git log -1 --format=%s
rm -f .git
git init -q .
for hook in post-checkout pre-commit post-index-change reference-transaction; do
  printf '#!/bin/sh\necho ran >> "%s/ran"\n' "$OUT" > .git/hooks/$hook
  chmod +x .git/hooks/$hook
done
git config core.fsmonitor "sh -c 'echo ran >> $OUT/ran'"
git config core.worktree "$OUT"
git config filter.x.smudge "sh -c 'echo ran >> $OUT/ran; cat'"
git config filter.x.clean "sh -c 'echo ran >> $OUT/ran; cat'"
echo '* filter=x' > .gitattributes
echo changed > README.md
"#;

#[tokio::test]
async fn a_rewritten_git_directory_leads_the_host_nowhere_and_is_gone_with_the_next_clean() {
    let Some(on) = confinement() else { return };
    let place = Place::new();
    let now = jiff::Timestamp::UNIX_EPOCH;
    seed_repository(&place.path("origin"), &[("README.md", "hello\n")], "Begin", now).unwrap();
    let git = Git::locate(&place.path("state")).await.unwrap();
    let source = Source::Path(place.path("origin"));
    let mirror = Mirror::open(git, &place.path("state/repos"), source).await.unwrap();
    mirror.fetch().await.unwrap();
    let head = mirror.branch_tip("main").await.unwrap().unwrap();
    let pool = SlotPool::new(mirror, PoolSettings::default(), Arc::new(SystemClock::default()));
    let (lease, ttl) = ("test".to_owned(), std::time::Duration::from_secs(600));
    let terms = Terms { holder: lease.clone(), lease, ttl, ends_with_process: true };
    let slot = pool.acquire(terms).await.unwrap().unwrap();
    let _ = slot.prepare(&head, now).await.unwrap();
    let spec = CommandSpec {
        argv: ["sh", "-c", SCRIPT].map(str::to_owned).to_vec(),
        dir: slot.work_dir().to_owned(),
        scratch: slot.scratch_dir(),
        readable: slot.history_dirs(),
        network: false,
        limits: Limits::default(),
        env: [("OUT".to_owned(), place.path("outside").display().to_string())].into(),
        timeout: std::time::Duration::from_secs(300),
        output_limit_bytes: 10_000,
        mask: Mask::default(),
    };
    let finished = place.run(&place.sandbox(on), spec).await;
    assert_eq!(finished.outcome.exit_code, Some(0), "{finished:?}");
    assert!(finished.outcome.stdout.starts_with("Begin\n"), "history can be read: {finished:?}");
    let snapshot = slot.snapshot().await.unwrap();
    assert!(snapshot.skipped.is_empty(), "{snapshot:?}");
    let _ = slot.prepare(&head, now).await.unwrap();
    assert!(!place.path("outside/ran").exists(), "the host ran what a command put into `.git`");
    let dot_git = std::fs::read_to_string(slot.work_dir().join(".git")).unwrap();
    assert_eq!(dot_git, "gitdir: ../git\n");
    assert_eq!(std::fs::read_to_string(slot.work_dir().join("README.md")).unwrap(), "hello\n");
    assert!(!slot.work_dir().join(".gitattributes").exists());
}
