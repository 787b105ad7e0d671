//! A run whose process was killed in the middle of a spirit's command, and what somebody does to the state
//! directory before it goes on.

use std::fs;
use std::path::PathBuf;

use necro_host::domain::call::{CallRequest, Function};
use necro_host::domain::event::Outcome;
use necro_host::domain::id::Digest;
use necro_host::domain::task::TaskState;
use necro_host::plugin::PluginKind;
use necro_host::plugin::builtin;
use necro_host::registry::{ExecutionKind, request_digest};
use rusqlite::Connection;
use serde_json::json;

use crate::replies::{Replies, command, finish as finishes, write};
use crate::world::{Finished, Pipe, Running, SETTINGS, SIDE_BY_SIDE, World, files_below, finish, git};

const PLAN: &str = "# Plan\n\n- [ ] 1. Buy bread\n  - _Skill: backend_\n";

/// A killed run: its spirit has written `bread.txt`, run a command, written `cheese.txt`, and was in the
/// middle of another command.
struct Cut {
    world: World,
    llm: String,
}

impl Cut {
    fn new(args: &[&str]) -> Self {
        let world = World::new(&[(".kiro/specs/list/tasks.md", PLAN)]);
        Self::of(world, args)
    }

    fn of(world: World, args: &[&str]) -> Self {
        let (pipe, open) = (Pipe::new(world.path("pipe")), world.path("open"));
        let hold = format!(
            "echo half > half.txt; [ -e {0} ] || {{ echo > {1}; sleep 600; }}; echo whole > half.txt",
            open.display(),
            world.path("pipe").display()
        );
        // The command tells the test through a pipe outside its work tree, which the sandbox does not let it reach.
        let settings = format!(
            "[run]\nsandbox = \"off\"\n\n[gate]\ncommands = [\"check\"]\n\n[commands.check]\nrun = [\"true\"]\n\n[commands.count]\nrun = [\"sh\", \
             \"-c\", \"ls > files.txt\"]\nspirits = true\n\n[commands.hold]\nrun = [\"sh\", \"-c\", '''{hold}''']\n\
             spirits = true\n"
        );
        fs::write(world.repository().join("necro.toml"), settings).unwrap();
        git(&world.repository(), &["add", "necro.toml"]);
        git(&world.repository(), &["-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qm", "Set up"]);
        let replies = Replies::default().attempt(
            "backend",
            "1",
            None,
            &[
                &[write("bread.txt", "rye\n"), command("count")],
                &[write("cheese.txt", "gouda\n")],
                &[command("hold")],
                &[finishes("buy bread")],
            ],
        );
        let llm = format!("scripted:{}", world.file("replies.toml", &replies.text()));
        let args: Vec<&str> = ["--spec", "list", "--llm", &llm].iter().copied().chain(args.iter().copied()).collect();
        let running = Running::start(&mut world.command("run", &args));
        pipe.wait();
        // SIGKILL, and what it had started stays behind.
        drop(running);
        fs::write(world.path("open"), "").unwrap();
        Self { world, llm }
    }

    fn slot(&self) -> PathBuf {
        let state = self.world.state();
        let bread = files_below(&state).into_iter().find(|path| path.ends_with("work/bread.txt")).unwrap();
        state.join(bread).parent().unwrap().to_owned()
    }

    fn registry(&self) -> Connection {
        Connection::open(self.world.state().join("registry.db")).unwrap()
    }

    fn resume(&self) -> Finished {
        finish(&mut self.world.command("resume", &["--json"]))
    }

    /// The run is done, with all that the spirit was to do; by so many attempts.
    fn assert_done(&self, finished: &Finished, attempts: usize) {
        self.assert_done_without(finished, attempts, Vec::new());
    }

    /// The same, although components were taken away.
    fn assert_done_without(&self, finished: &Finished, attempts: usize, lost: Vec<Digest>) {
        let summary = finished.done();
        assert_eq!((&summary["tasks"]["done"], &summary["attempts"]), (&1.into(), &attempts.into()), "{finished:#?}");
        for (path, text) in [("bread.txt", "rye\n"), ("cheese.txt", "gouda\n"), ("half.txt", "whole\n")] {
            assert_eq!(self.world.on_branch("list", path).as_deref(), Some(text), "{path}");
        }
        assert_eq!(self.world.on_branch("list", "files.txt").as_deref(), Some("bread.txt\nfiles.txt\nnecro.toml\n"));
        let mut records = self.world.records();
        records.lost = lost;
        records.assert_sound();
        let last = records.work().pop().unwrap();
        assert_eq!(last.outcome, Some(Outcome::Success));
        assert_eq!(records.task("1").state, TaskState::Done);
    }

    fn rescued(&self) -> String {
        git(&self.world.mirror(), &["for-each-ref", "--format=%(refname)", "refs/necro/rescue"])
    }
}

#[test]
fn a_merged_tree_whose_gate_was_green_is_not_gated_again_by_the_next_process() {
    let plan = format!(
        "# Plan\n\n- [ ] 1. Buy bread\n  - _Skill: backend_\n- [ ] 2. Buy cheese\n  - _Skill: frontend_\n{SIDE_BY_SIDE}"
    );
    let world = World::new(&[("necro.toml", SETTINGS), (".kiro/specs/list/tasks.md", &plan)]);
    let replies = Replies::default()
        .writes("backend", "1", None, "bread.txt", "rye\n")
        .writes("frontend", "2", None, "cheese.txt", "gouda\n")
        .together(&["1", "2"]);
    let llm = format!("scripted:{}", world.file("replies.toml", &replies.text()));
    let mut command = world.command("run", &["--spec", "list", "--llm", &llm]);
    // The one who is second has a gate of its own.
    let killed = finish(command.env("NECRO_FAILPOINT", "kill integration.gate.after 1"));
    assert_eq!(killed.code, None, "{killed:#?}");
    finish(&mut world.command("resume", &["--json"])).done();
    let records = world.records();
    let artifacts = records.reader.artifacts_of_spec(&records.spec).unwrap();
    let gates = artifacts.iter().filter(|found| found.artifact.name.ends_with("merge-gate.json")).count();
    assert_eq!(gates, 1, "{artifacts:#?}");
    for file in ["bread.txt", "cheese.txt"] {
        assert!(world.on_branch("list", file).is_some(), "{file}");
    }
    records.assert_sound();
}

#[test]
fn what_is_on_the_branch_is_not_brought_in_twice_whatever_the_strategy() {
    for strategy in ["merge", "squash", "rebase"] {
        let settings = format!("{SETTINGS}\n[integration]\nstrategy = \"{strategy}\"\n");
        let world = World::new(&[("necro.toml", &settings), (".kiro/specs/list/tasks.md", PLAN)]);
        let replies = Replies::default().writes("backend", "1", None, "bread.txt", "rye\n").text();
        let llm = format!("scripted:{}", world.file("replies.toml", &replies));
        let mut command = world.command("run", &["--spec", "list", "--llm", &llm]);
        // On the branch, and nobody has written that down.
        let killed = finish(command.env("NECRO_FAILPOINT", "kill integration.land.after 1"));
        assert_eq!(killed.code, None, "{killed:#?}");
        let tip = git(&world.mirror(), &["rev-parse", "necro/list"]);
        let summary = finish(&mut world.command("resume", &["--json"])).done();
        assert_eq!((&summary["tasks"]["done"], &summary["attempts"]), (&1.into(), &1.into()), "{strategy}: {summary}");
        assert_eq!(git(&world.mirror(), &["rev-parse", "necro/list"]), tip, "{strategy}");
        let commits = git(&world.mirror(), &["log", "--format=%an: %s", "--first-parent", "necro/list"]);
        let author = if strategy == "rebase" { "backend_spirit_1" } else { "necro-host" };
        assert!(commits.starts_with(&format!("{author}: spirit(")) && commits.lines().count() == 2, "{commits}");
        let plan = world.on_branch("list", ".kiro/specs/list/tasks.md").unwrap();
        assert!(plan.contains("[x] 1."), "{plan}");
        let records = world.records();
        assert_eq!(records.task("1").merged_commit.unwrap().as_str(), tip);
        records.assert_sound();
    }
}

#[test]
fn a_killed_run_goes_on_in_the_same_attempt_and_asks_nothing_twice() {
    let cut = Cut::new(&[]);
    let before = cut.world.records();
    assert_eq!(before.task("1").state, TaskState::Running);
    let finished = cut.resume();
    cut.assert_done(&finished, 1);
    let records = cut.world.records();
    let [execution] = &records.executions(ExecutionKind::Spirit)[..] else { panic!("one spirit was run") };
    let calls = records.calls(&execution.id);
    let sequence: Vec<u64> = calls.iter().map(|call| call.sequence).collect();
    assert_eq!(sequence, (1..=calls.len() as u64).collect::<Vec<_>>());
    assert!(calls.iter().all(|call| call.tries == 1 && call.answer.is_some()));
    assert_eq!(calls.iter().filter(|call| call.function == Function::LlmComplete).count(), 4);
    // What the command had left half done is told and kept: nobody can know whether it is of use.
    assert!(finished.stderr.contains("refs/necro/rescue/"), "{finished:#?}");
    let again = cut.resume();
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("there is nothing to go on with"), "{again:#?}");
}

#[test]
fn the_same_run_command_goes_on_and_a_fresh_one_does_not() {
    let cut = Cut::new(&[]);
    let finished = finish(&mut cut.world.command("run", &["--spec", "list", "--json", "--llm", &cut.llm]));
    cut.assert_done(&finished, 1);

    let cut = Cut::new(&[]);
    let finished = finish(&mut cut.world.command("run", &["--spec", "list", "--json", "--fresh", "--llm", &cut.llm]));
    cut.assert_done(&finished, 1);
    let outcomes: Vec<_> = cut.world.records().work().into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Interrupted), Some(Outcome::Success)]);
}

#[test]
fn what_a_person_did_in_the_slot_is_kept_and_does_not_count() {
    let cut = Cut::new(&[]);
    fs::write(cut.slot().join("mine.txt"), "do not lose this\n").unwrap();
    fs::write(cut.slot().join("bread.txt"), "white\n").unwrap();
    let finished = cut.resume();
    cut.assert_done(&finished, 1);
    assert_eq!(cut.world.on_branch("list", "mine.txt"), None);
    let reference = cut.rescued();
    assert!(finished.stderr.contains(reference.trim()), "{reference}: {finished:#?}");
    let kept = git(&cut.world.mirror(), &["show", &format!("{}:mine.txt", reference.trim())]);
    assert_eq!(kept.trim(), "do not lose this");
}

#[test]
fn a_slot_that_is_gone_is_made_from_the_record() {
    let cut = Cut::new(&[]);
    fs::remove_dir_all(cut.slot().parent().unwrap()).unwrap();
    cut.assert_done(&cut.resume(), 1);
    assert_eq!(cut.rescued(), "");
}

#[test]
fn a_damaged_journal_is_named_and_its_task_gets_a_fresh_attempt() {
    let cut = Cut::new(&[]);
    let changed = cut.registry().execute("UPDATE calls SET answer = '{\"Ok\":1}' WHERE function = 'command.run' AND seq = (SELECT min(seq) FROM calls WHERE function = 'command.run')", []);
    assert_eq!(changed.unwrap(), 1);
    let finished = cut.resume();
    assert!(finished.stderr.contains("is damaged at call") && finished.stderr.contains("checksum"), "{finished:#?}");
    cut.assert_done(&finished, 2);
    let first = cut.world.records().work().remove(0);
    assert_eq!(first.outcome, Some(Outcome::Interrupted));
    assert!(first.failure.unwrap().contains("is damaged at call"));
}

#[test]
fn a_divergence_is_named_with_both_requests_and_its_work_is_kept() {
    let cut = Cut::new(&[]);
    let arguments = json!({ "path": "butter.txt", "text": "none" });
    let other = CallRequest { function: Function::WorkspaceWrite, arguments, effect: None };
    let digest = request_digest(&other).to_string();
    // As if the spirit had asked for something else then: without a checksum, as the first release wrote.
    let changed = cut.registry().execute(
        "UPDATE calls SET sum = NULL, request = ?1, digest = ?2
         WHERE seq = (SELECT max(seq) FROM calls WHERE function = 'workspace-edit.write')
               AND function = 'workspace-edit.write'",
        (other.arguments.to_string(), digest),
    );
    assert_eq!(changed.unwrap(), 1);
    let finished = cut.resume();
    for part in ["is another one than on record", "butter.txt", "cheese.txt"] {
        assert!(finished.stderr.contains(part), "{part}: {finished:#?}");
    }
    cut.assert_done(&finished, 2);
    let first = cut.world.records().work().remove(0);
    assert_eq!(first.outcome, Some(Outcome::Interrupted));
    let kept = first.commit.unwrap();
    assert_eq!(git(&cut.world.mirror(), &["show", &format!("{kept}:bread.txt")]).trim(), "rye");
}

/// The built-in component of the role `backend` with other bytes: a custom section behind it.
fn own_component(world: &World) -> String {
    let built_in = builtin::find(PluginKind::Spirit, "backend").unwrap();
    let bytes = [built_in.bytes, &[0, 5, 4, b'm', b'i', b'n', b'e']].concat();
    let path = world.path("mine.wasm");
    fs::write(&path, bytes).unwrap();
    world.grant(&path);
    format!("spirit={}", path.display())
}

#[test]
fn a_run_goes_on_with_the_components_that_it_began_with() {
    let world = World::new(&[(".kiro/specs/list/tasks.md", PLAN)]);
    let choice = own_component(&world);
    let cut = Cut::of(world, &["--plugin", &choice]);
    fs::remove_file(cut.world.path("mine.wasm")).unwrap();
    cut.assert_done(&cut.resume(), 1);
    let execution = cut.world.records().executions(ExecutionKind::Spirit).remove(0);
    assert_eq!(execution.plugin, "mine");
}

#[test]
fn a_component_that_is_lost_is_named_and_its_task_gets_a_fresh_attempt() {
    let world = World::new(&[(".kiro/specs/list/tasks.md", PLAN)]);
    let choice = own_component(&world);
    let cut = Cut::of(world, &["--plugin", &choice]);
    let digest = cut.world.records().executions(ExecutionKind::Spirit).remove(0).component;
    let (shard, name) = digest.as_str().split_at(2);
    fs::remove_file(cut.world.state().join("blobs").join(shard).join(name)).unwrap();
    let finished = cut.resume();
    assert!(finished.stderr.contains("the component `mine` cannot be loaded again"), "{finished:#?}");
    assert!(finished.stderr.contains(digest.as_str()), "{finished:#?}");
    cut.assert_done_without(&finished, 2, vec![digest]);
}

#[test]
fn a_state_directory_that_cannot_be_written_or_is_newer_is_left_alone() {
    let cut = Cut::new(&[]);
    cut.registry().pragma_update(None, "user_version", 99).unwrap();
    let newer = cut.resume();
    assert!(newer.code == Some(1) && newer.stderr.contains("use a newer necro-host"), "{newer:#?}");
    cut.registry().pragma_update(None, "user_version", 2).unwrap();
    cut.assert_done(&cut.resume(), 1);
}
