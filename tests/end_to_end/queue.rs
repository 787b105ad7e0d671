//! The integration queue: who lands, who is returned and how often the gate runs, in a yard where the order is
//! known, and in a whole run with fifty spirits at once.

use std::collections::BTreeSet;

use necro_host::config::MergeStrategy;
use necro_host::domain::event::Outcome;
use necro_host::service::integration::{Candidate, Integrated, Judgement, round};

use crate::replies::Replies;
use crate::world::World;
use crate::yard::{Shell, Yard, git_in};

/// Red where three changes meet that pass alone and in pairs.
const TOGETHER: &str = "! { test -f break-1.txt && test -f break-2.txt && test -f break-3.txt; }";

fn tasks(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}

/// Fifty branches: those at `conflicting` write what the first writes, those at `breaking` break together.
async fn fifty(yard: &Yard, conflicting: &[usize], breaking: &[usize]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for task in 1..=50 {
        let own = (format!("own-{task}.txt"), format!("{task}\n"));
        let candidate = if task == 1 || conflicting.contains(&task) {
            yard.branch(task, &[("list.txt", &format!("to buy:\nby {task}\n"))]).await
        } else if let Some(at) = breaking.iter().position(|other| *other == task) {
            yard.branch(task, &[(&format!("break-{}.txt", at + 1), "1\n")]).await
        } else {
            yard.branch(task, &[(&own.0, &own.1)]).await
        };
        candidates.push(candidate);
    }
    candidates
}

async fn fifty_are_integrated(strategy: MergeStrategy, max: usize) {
    let yard = Yard::new(&[("list.txt", "to buy:\n")], 50, strategy).await;
    let (conflicting, breaking) = ([5, 9, 17, 23, 31, 44, 50], [12, 28, 40]);
    let candidates = fifty(&yard, &conflicting, &breaking).await;
    let judge = Shell::new(&yard, TOGETHER);
    let drained = yard.drain(&judge, candidates, max).await;

    assert_eq!(drained.conflicts.keys().cloned().collect::<BTreeSet<_>>(), tasks(conflicting), "{drained:#?}");
    assert_eq!(drained.returned.keys().cloned().collect::<BTreeSet<_>>(), tasks([40]), "{drained:#?}");
    let landed = tasks((1..=50).filter(|task| !conflicting.contains(task) && *task != 40));
    assert_eq!(drained.landed.iter().cloned().collect::<BTreeSet<_>>(), landed);
    assert_eq!(drained.flakes, 0);
    let most = if max >= 50 { 10 } else { 14 };
    assert!(drained.gates <= most, "{} gates", drained.gates);
    for (files, text) in drained.conflicts.values() {
        assert_eq!(files, &["list.txt"]);
        assert!(text.contains("by 1\n"), "the hunk has both sides: {text}");
    }

    let tip = yard.tip().await;
    assert_eq!(judge.is_green(&tip), Ok(()), "the tip is green");
    let mirror = yard.ground.mirror.path();
    let plan = git_in(mirror, &["show", &format!("{tip}:{}", yard.ground.tasks_file)]);
    assert_eq!(plan.matches("[x]").count(), 42, "{plan}");
    let first_parents = git_in(mirror, &["log", "--first-parent", "--format=%P", &format!("{}..{tip}", yard.base)]);
    let parents: BTreeSet<usize> = first_parents.lines().map(|line| line.split(' ').count()).collect();
    let expected = if strategy == MergeStrategy::Merge { 2 } else { 1 };
    assert_eq!((first_parents.lines().count(), parents), (42, BTreeSet::from([expected])));
    let authors: BTreeSet<String> = git_in(mirror, &["log", "--first-parent", "-42", "--format=%an", tip.as_str()])
        .lines()
        .map(str::to_owned)
        .collect();
    let author = if strategy == MergeStrategy::Rebase { "backend_spirit_1" } else { "necro-host" };
    assert_eq!(authors, BTreeSet::from([author.to_owned()]));
    git_in(mirror, &["fsck", "--strict"]);
}

#[tokio::test]
async fn of_fifty_branches_exactly_those_that_conflict_or_break_the_gate_are_returned() {
    fifty_are_integrated(MergeStrategy::Merge, 256).await;
}

#[tokio::test]
async fn the_size_of_a_batch_changes_nothing_about_who_is_returned() {
    fifty_are_integrated(MergeStrategy::Merge, 16).await;
}

#[tokio::test]
async fn squash_returns_the_same_branches() {
    fifty_are_integrated(MergeStrategy::Squash, 32).await;
}

#[tokio::test]
async fn rebase_returns_the_same_branches() {
    fifty_are_integrated(MergeStrategy::Rebase, 32).await;
}

async fn five(yard: &Yard) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for task in 1..=5 {
        candidates.push(yard.branch(task, &[(&format!("own-{task}.txt"), "1\n")]).await);
    }
    candidates
}

#[tokio::test]
async fn a_gate_that_is_red_once_returns_nobody() {
    let yard = Yard::new(&[], 5, MergeStrategy::Merge).await;
    let mut judge = Shell::new(&yard, "true");
    judge.meanwhile = Box::new(|number| (number == 1).then(|| Judgement::Red("the network was down".to_owned())));
    let drained = yard.drain(&judge, five(&yard).await, 32).await;
    assert_eq!((drained.landed.len(), drained.gates, drained.flakes), (5, 2, 1), "{drained:#?}");
}

#[tokio::test]
async fn what_was_put_on_the_branch_meanwhile_is_merged_with_and_gated() {
    let yard = Yard::new(&[], 5, MergeStrategy::Merge).await;
    let other = yard.branch(9, &[("other.txt", "1\n")]).await.commit;
    let mut judge = Shell::new(&yard, "true");
    let (yard, base, moved) = (&yard, yard.base.clone(), other.clone());
    judge.meanwhile = Box::new(move |number| {
        if number == 1 {
            git_in(yard.ground.mirror.path(), &["update-ref", &yard.ground.target, moved.as_str(), base.as_str()]);
        }
        None
    });
    let drained = yard.drain(&judge, five(yard).await, 32).await;
    assert_eq!((drained.landed.len(), drained.gates), (5, 2), "the other tree has a gate of its own: {drained:#?}");
    let tip = yard.tip().await;
    git_in(yard.ground.mirror.path(), &["merge-base", "--is-ancestor", other.as_str(), tip.as_str()]);
}

#[tokio::test]
async fn a_branch_that_moves_for_ever_is_left_as_it_is() {
    let yard = Yard::new(&[], 5, MergeStrategy::Merge).await;
    let mut commits = vec![yard.base.clone()];
    for task in 10..20 {
        commits.push(yard.branch(task, &[(&format!("{task}.txt"), "1\n")]).await.commit);
    }
    let mut judge = Shell::new(&yard, "true");
    let target = &yard.ground;
    judge.meanwhile = Box::new(move |number| {
        let (from, to) = (&commits[number as usize - 1], &commits[number as usize]);
        git_in(target.mirror.path(), &["update-ref", &target.target, to.as_str(), from.as_str()]);
        None
    });
    let drained = yard.drain(&judge, five(&yard).await, 32).await;
    assert_eq!((drained.landed.len(), drained.returned.len(), drained.gates), (0, 5, 5), "{drained:#?}");
    assert!(drained.returned["1"].contains("moved 5 times"));
}

#[tokio::test]
async fn a_stop_in_the_middle_leaves_the_branch_where_it_was() {
    for at in 1..=4 {
        let yard = Yard::new(&[], 5, MergeStrategy::Merge).await;
        let mut judge = Shell::new(&yard, "! test -f own-3.txt");
        judge.meanwhile = Box::new(move |number| (number == at).then_some(Judgement::Stopped));
        let candidates = five(&yard).await;
        let stopped = round(&yard.ground, &judge, &candidates).await.unwrap();
        if stopped.fates.contains(&Integrated::Stopped) {
            assert_eq!(stopped.fates, vec![Integrated::Stopped; 5]);
            assert_eq!(yard.tip().await, yard.base, "stopped at gate {at}");
        }
        judge.meanwhile = Box::new(|_| None);
        if yard.tip().await == yard.base {
            let drained = yard.drain(&judge, candidates, 32).await;
            assert_eq!((drained.landed.len(), drained.returned.contains_key("3")), (4, true), "{drained:#?}");
        }
    }
}

#[test]
fn a_run_of_fifty_spirits_at_once_comes_to_a_green_branch() {
    let settings = format!(
        "[run]\nmax_attempts = 5\n\n[gate]\ncommands = [\"check\"]\n\n[commands.check]\nrun = [\"sh\", \"-c\", '''{TOGETHER}''']\n\n[team]\nbackend = 50\n"
    );
    let boxes: String = (1..=50).map(|n| format!("- [ ] {n}. Write {n}\n  - _Skill: backend_\n")).collect();
    let numbers: Vec<String> = (1..=50).map(|n| n.to_string()).collect();
    let waves = serde_json::json!({ "waves": [{ "id": 0, "tasks": numbers }] });
    let plan = format!("# Plan\n\n{boxes}\n## Task Dependency Graph\n\n```json\n{waves}\n```\n");
    let world =
        World::new(&[("necro.toml", &settings), ("list.txt", "to buy:\n"), (".kiro/specs/list/tasks.md", &plan)]);
    // Eight write one line each at the same place: one lands, seven conflict. Three break the gate together.
    let mut replies = Replies::default();
    for (number, task) in (1..).zip(&numbers) {
        let (own, again) = (format!("own-{task}.txt"), format!("again-{task}.txt"));
        replies = match number {
            1..=8 => replies.writes("backend", task, Some(1), "list.txt", &format!("to buy:\nby {task}\n")),
            9..=11 => replies.writes("backend", task, Some(1), &format!("break-{}.txt", number - 8), "1\n"),
            _ => replies.writes("backend", task, Some(1), &own, "1\n"),
        };
        replies = replies.writes("backend", task, Some(2), &again, "1\n");
    }
    let all: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let replies = replies.together(&all).text();
    let summary = world.run(&replies, &["--spec", "list", "--max-parallel", "50"]).done();
    assert_eq!((&summary["tasks"]["done"], &summary["attempts"]), (&50.into(), &58.into()), "{summary}");

    let records = world.records();
    let twice = |among: std::ops::RangeInclusive<usize>| {
        among.filter(|task| records.attempts(&task.to_string()).len() == 2).collect::<Vec<_>>()
    };
    assert_eq!((twice(1..=8).len(), twice(9..=11).len(), twice(12..=50).len()), (7, 1, 0));
    for task in twice(1..=8) {
        let told = records.told(&task.to_string(), 2);
        assert!(told.contains("conflict in list.txt"), "{told}");
        assert!(told.contains(&format!("This task: {task} Write {task}")), "{told}");
        assert!(told.contains("Merged before: "), "{told}");
        assert!(told.contains(&format!("kept as refs/necro/list/{task}/1")), "{told}");
        assert!(told.contains(&format!("by {task}\n")), "{told}");
        let kept = git_in(&world.mirror(), &["show", &format!("refs/necro/list/{task}/1:list.txt")]);
        assert!(kept.contains(&format!("by {task}")), "{kept}");
    }
    assert!(records.told(&twice(9..=11)[0].to_string(), 2).contains("not together"));
    let attempts = records.work();
    assert!(attempts.iter().all(|attempt| attempt.outcome == Some(Outcome::Success)));
    let gates = records.reader.artifacts_of_spec(&records.spec).unwrap();
    let gates = gates.iter().filter(|a| a.artifact.name.ends_with("merge-gate.json")).count();
    assert!(gates < 50, "{gates} gates of merged trees for 58 attempts");
    records.assert_sound();
}
