//! A run that is stopped, and a state directory that somebody holds.

use std::fs;

use necro_host::domain::event::Outcome;
use necro_host::domain::task::TaskState;

use crate::replies::Replies;
use crate::world::{Finished, Pipe, Running, World, finish, git};

const PLAN: &str = "# Plan

- [ ] 1. Add bread
  - _Skill: backend_
- [ ] 2. Add cheese
  - _Skill: frontend_
- [ ] 3. Add wine
  - _Skill: database_

## Task Dependency Graph

```json
{\"waves\":[{\"id\":0,\"tasks\":[\"1\",\"2\",\"3\"]}]}
```
";

/// A world whose gate stops at `pipe` once two of the three files are there, until `open` exists.
fn world() -> (World, Pipe) {
    let world = World::new(&[("README.md", "")]);
    let (held, open) = (world.path("pipe"), world.path("open"));
    let check = format!(
        "[ $(ls *.txt | wc -l) -lt 2 ] || [ -e {} ] || {{ echo > {}; sleep 600; }}",
        open.display(),
        held.display()
    );
    let settings =
        // The pipe lies outside of every slot.
        format!("[run]\nsandbox = \"off\"\n\n[gate]\ncommands = [\"check\"]\n\n[commands.check]\nrun = [\"sh\", \"-c\", '''{check}''']\n");
    fs::remove_dir_all(world.repository()).unwrap();
    let files = [("necro.toml", settings.as_str()), (".kiro/specs/list/tasks.md", PLAN)];
    let at = jiff::Timestamp::constant(1_767_225_600, 0);
    necro_host::workspace::seed_repository(&world.repository(), &files, "Begin", at).unwrap();
    (world, Pipe::new(held))
}

fn replies() -> Replies {
    [("backend", "1", "bread.txt"), ("frontend", "2", "cheese.txt"), ("database", "3", "wine.txt")].iter().fold(
        Replies::default(),
        |replies, (role, task, path)| {
            let replies = replies.writes(role, task, Some(1), path, "yes\n");
            replies.writes(role, task, Some(2), path, "yes\n")
        },
    )
}

fn start(world: &World, replies: &Replies) -> Running {
    let script = format!("scripted:{}", world.file("replies.toml", &replies.text()));
    Running::start(&mut world.command("run", &["--spec", "list", "--llm", &script]))
}

/// A run that has merged one task and holds in the gate of the second merge; the third waits behind it.
fn merging() -> (World, Pipe, Running) {
    let (world, pipe) = world();
    let mut running = start(&world, &replies().together(&["1", "2", "3"]));
    running.wait_for("merged as", 1);
    pipe.wait();
    (world, pipe, running)
}

fn assert_stopped_in_order(world: &World, finished: &Finished, done: usize) {
    assert_eq!(finished.code, Some(130), "{finished:#?}");
    assert!(finished.stdout.contains("interrupted") && finished.stdout.contains("necro-host resume"));
    let records = world.records();
    records.assert_suspended();
    let states: Vec<TaskState> = records.tasks().iter().map(|task| task.state).collect();
    assert_eq!(states.iter().filter(|state| **state == TaskState::Done).count(), done, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == TaskState::Running).count(), 3 - done, "{states:?}");
}

#[test]
fn an_interrupt_suspends_its_attempts_and_the_same_command_goes_on_with_them() {
    let (world, _pipe) = world();
    let mut running = start(&world, &replies().held(&["1", "2", "3"]));
    running.wait_for("▸", 3);
    running.interrupt();
    let finished = running.finish();
    assert_stopped_in_order(&world, &finished, 0);
    for attempt in world.records().work() {
        assert_eq!(attempt.outcome, None);
    }

    fs::write(world.path("open"), "").unwrap();
    let summary = world.run(&replies().text(), &["--spec", "list"]).done();
    // The same attempts, in the same run.
    assert_eq!((&summary["tasks"]["done"], &summary["attempts"]), (&3.into(), &3.into()), "{summary}");
    assert!(world.records().work().iter().all(|attempt| attempt.outcome == Some(Outcome::Success)));
    world.records().assert_sound();
}

#[test]
fn a_stop_from_another_terminal_is_an_interrupt_and_says_when_it_is_over() {
    let (world, _pipe) = world();
    let mut running = start(&world, &replies().held(&["1", "2", "3"]));
    running.wait_for("▸", 3);
    let status = finish(&mut world.command("status", &["--json"]));
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["owner"]["pid"], running.id());
    assert_eq!((&status["owner"]["run"], &status["owner"]["answers"]), (&status["run"]["id"], &true.into()));
    let pruned = finish(&mut world.command("prune", &["--keep-size", "0B"]));
    assert_eq!(pruned.code, Some(0), "{pruned:#?}");
    assert!(
        pruned.stdout.contains("no run has journals") && pruned.stdout.contains("while a run goes on"),
        "{pruned:#?}"
    );
    let stopped = finish(&mut world.command("stop", &["--json"]));
    assert_eq!(stopped.code, Some(0), "{stopped:#?}");
    let summary: serde_json::Value = serde_json::from_str(&stopped.stdout).unwrap();
    assert_eq!((&summary["stopped"], &summary["owner"]["pid"]), (&true.into(), &running.id().into()));
    assert_eq!((&summary["owner"]["run"], &summary["owner"]["spec"]), (&status["run"]["id"], &"list".into()));
    let finished = running.finish();
    assert_stopped_in_order(&world, &finished, 0);
    let again = finish(&mut world.command("stop", &[]));
    assert!(again.code == Some(0) && again.stdout.starts_with("nothing to stop"), "{again:#?}");
}

#[test]
fn lock_and_socket_of_an_owner_that_was_killed_are_taken_over() {
    let (world, _pipe) = world();
    let mut running = start(&world, &replies().held(&["1", "2", "3"]));
    running.wait_for("▸", 3);
    let id = running.id();
    // Kills it.
    drop(running);
    assert!(world.state().join("owner.sock").exists(), "it did not listen");
    let stopped = finish(&mut world.command("stop", &[]));
    assert!(stopped.code == Some(0) && stopped.stdout.starts_with("nothing to stop"), "{stopped:#?}");
    let mut next = start(&world, &replies().held(&["1", "2", "3"]));
    next.wait_for("▸", 3);
    let stopped = finish(&mut world.command("stop", &["--json"]));
    let summary: serde_json::Value = serde_json::from_str(&stopped.stdout).unwrap();
    assert_eq!(summary["owner"]["pid"], next.id());
    assert_ne!(summary["owner"]["pid"], id);
    assert_eq!(next.finish().code, Some(130));
    assert!(!world.state().join("owner.sock").exists(), "its socket is left");
}

#[test]
fn an_interrupt_during_a_merge_costs_no_attempt() {
    let (world, pipe) = world();
    let mut running = start(&world, &replies().together(&["1", "2", "3"]));
    running.wait_for("passed gate and review", 3);
    running.wait_for("merged as", 1);
    // The second merge's gate holds, and the third waits behind it.
    pipe.wait();
    running.interrupt();
    let finished = running.finish();
    assert_stopped_in_order(&world, &finished, 1);

    fs::write(world.path("open"), "").unwrap();
    let summary = world.run(&replies().text(), &["--spec", "list"]).done();
    assert_eq!((&summary["tasks"]["done"], &summary["attempts"]), (&3.into(), &3.into()), "{summary}");
    world.records().assert_sound();
}

#[test]
fn what_is_merged_can_be_landed_while_a_run_goes_on() {
    let (world, _pipe, running) = merging();
    // As the run itself holds it while it moves a ref.
    let held = world.mirror().join("refs/heads/held.lock");
    fs::write(&held, "").unwrap();
    let landed = finish(&mut world.command("land", &["list", "--json"]));
    assert_eq!(landed.code, Some(0), "{landed:#?}");
    assert!(held.exists(), "landing took a lock of the run away");
    let tip = git(&world.mirror(), &["rev-parse", "refs/heads/necro/list"]);
    assert_eq!(git(&world.repository(), &["rev-parse", "refs/heads/necro/list"]), tip);
    fs::remove_file(held).unwrap();
    running.interrupt();
    let finished = running.finish();
    assert_stopped_in_order(&world, &finished, 1);
}

#[test]
fn a_second_run_is_told_who_holds_the_state_directory_and_since_when() {
    let (world, _pipe, running) = merging();
    let script = format!("scripted:{}", world.path("replies.toml").display());
    let second = finish(&mut world.command("run", &["--spec", "list", "--json", "--llm", &script]));
    assert_eq!((second.code, second.stdout.as_str()), (Some(2), ""), "{second:#?}");
    assert!(second.stderr.contains(&format!("process {} since 20", running.id())), "{second:#?}");
    running.interrupt();
    let finished = running.finish();
    assert_stopped_in_order(&world, &finished, 1);
}
