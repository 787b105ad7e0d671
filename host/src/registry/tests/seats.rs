//! Components that take seats: what a run goes on with, and what stays in the store for a way back.

use std::collections::BTreeMap;

use super::*;
use crate::clock::Clock as _;
use crate::domain::event::{Body, Subject};
use crate::domain::id::CommitId;
use crate::domain::seat::{Component, SeatedBy, ShadowCounts};
use crate::registry::{BackedUp, PruneChoice, back_up};

impl Fixture {
    fn component(&self, name: &str) -> Component {
        let blobs = BlobStore::open(self.dir.path().join("blobs")).unwrap();
        Component { name: name.to_owned(), digest: blobs.put(format!("bytes of {name}").as_bytes()).unwrap() }
    }

    /// A run whose routing policy is `routing` at its start.
    async fn begin_run(&self, routing: &Component) {
        let body = Body::RunStarted {
            job: None,
            title: "a job".to_owned(),
            repository: ".".to_owned(),
            base_branch: "main".to_owned(),
            base_commit: CommitId::new("abc").unwrap(),
            branch: "necro/demo".to_owned(),
            llm: "scripted:demo".to_owned(),
            language: "en".to_owned(),
            team: Vec::new(),
            plugins: BTreeMap::from([
                (format!("routing/{}", routing.name), routing.digest.clone()),
                ("scheduling/priority".to_owned(), digest_of(b"priority")),
            ]),
            options: None,
        };
        self.registry.append(Subject::run(&run()), vec![body]).await.unwrap();
    }

    async fn seat(&self, run: Option<&RunId>, kind: &str, now: &Component, replaces: Option<&Component>) {
        let shadow = Some(ShadowCounts { decisions: 9, changed: 2, failed: 1 });
        let body = Body::PluginSeated {
            kind: kind.to_owned(),
            name: now.name.clone(),
            digest: now.digest.clone(),
            role: None,
            replaces: replaces.cloned(),
            by: SeatedBy::Swap,
            shadow,
        };
        let subject = Subject { run: run.cloned(), ..Subject::default() };
        self.registry.append(subject, vec![body]).await.unwrap();
    }

    async fn plugins(&self) -> Vec<(String, Digest)> {
        let run = self.registry.read(|reader| reader.run(&run())).await.unwrap().unwrap();
        run.plugins.into_iter().collect()
    }

    fn saved(&self, name: &str) -> Result<BackedUp, crate::registry::BackupError> {
        let blobs = BlobStore::open(self.dir.path().join("blobs")).unwrap();
        back_up((&self.path(), &blobs), &self.dir.path().join(name), self.clock.now(), false, &mut |_| {})
    }
}

#[tokio::test]
async fn a_run_goes_on_with_who_was_seated_last() {
    let fixture = Fixture::new();
    let (old, new) = (fixture.component("old"), fixture.component("new"));
    fixture.begin_run(&old).await;
    let scheduling = ("scheduling/priority".to_owned(), digest_of(b"priority"));
    fixture.seat(Some(&run()), "routing", &new, Some(&old)).await;
    assert_eq!(fixture.plugins().await, [("routing/new".to_owned(), new.digest.clone()), scheduling.clone()]);
    // Under its own name, and a heuristic that joins.
    let newer = Component { digest: digest_of(b"newer"), ..new.clone() };
    fixture.seat(Some(&run()), "routing", &newer, Some(&new)).await;
    let joins = fixture.component("mine");
    fixture.seat(Some(&run()), "review", &joins, None).await;
    // Outside of the run.
    fixture.seat(None, "scheduling", &old, None).await;
    let expected = [("review/mine".to_owned(), joins.digest), ("routing/new".to_owned(), newer.digest), scheduling];
    assert_eq!(fixture.plugins().await, expected);
    fixture.verified().await;
    let seatings = fixture.registry.read(|reader| reader.seatings()).await.unwrap();
    assert_eq!(seatings.len(), 4);
    assert!(seatings.is_sorted_by_key(|event| event.sequence));
}

#[tokio::test]
async fn a_seat_in_a_run_that_never_was_is_refused() {
    let fixture = Fixture::new();
    let body = Body::PluginSeated {
        kind: "routing".to_owned(),
        name: "x".to_owned(),
        digest: digest_of(b"x"),
        role: None,
        replaces: None,
        by: SeatedBy::Swap,
        shadow: None,
    };
    let refused = fixture.registry.append(Subject::run(&run()), vec![body]).await;
    assert!(matches!(refused, Err(RegistryError::UnknownRun(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_last_five_of_a_seat_survive_pruning_and_are_in_backups() {
    let fixture = Fixture::new();
    let all: Vec<Component> = (0..8).map(|number| fixture.component(&format!("p{number}"))).collect();
    fixture.begin_run(&all[0]).await;
    for pair in all.windows(2) {
        fixture.seat(Some(&run()), "routing", &pair[1], Some(&pair[0])).await;
    }
    let end = Body::RunFinished { outcome: "done".to_owned(), commit: None, tree: None, reason: None };
    fixture.registry.append(Subject::run(&run()), vec![end]).await.unwrap();
    let everything = PruneChoice { before: Some(jiff::Timestamp::MAX), keep_bytes: None };
    fixture.registry.prune(everything, std::time::Duration::ZERO).await.unwrap();
    let blobs = fixture.registry.blobs().clone();
    let left: Vec<bool> = all.iter().map(|component| blobs.contains(&component.digest)).collect();
    assert_eq!(left, [false, false, false, true, true, true, true, true]);
    let made = fixture.saved("saved").unwrap();
    assert_eq!((made.blobs, made.missing.len()), (5, 0));
    let (shard, rest) = all[4].digest.as_str().split_at(2);
    std::fs::remove_file(fixture.dir.path().join("blobs").join(shard).join(rest)).unwrap();
    let made = fixture.saved("again").unwrap();
    assert_eq!(made.missing, [all[4].digest.clone()]);
}
