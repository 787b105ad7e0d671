//! Components that take each other's places while the host works, and those that crash until they are called no more.

use std::fs;
use std::path::{Path, PathBuf};

use necro_host::domain::event::Body;
use necro_host::domain::id::Digest;
use necro_host::domain::seat::SeatedBy;
use necro_host::plugin::{PluginKind, builtin};
use necro_host::registry::ExecutionKind;
use necro_host::store::digest_of;
use serde_json::Value;

use crate::guests::{guest, guest_bytes};
use crate::records::Records;
use crate::replies::{Replies, command, finish as finishes, write};
use crate::world::{Finished, Pipe, Running, SETTINGS, SIDE_BY_SIDE, World, finish};

const PLAN: &str = "# Plan\n\n- [ ] 1. Add bread\n  - _Skill: backend_\n- [ ] 2. Add cheese\n  - _Skill: backend_\n";
const ROLES: [&str; 3] = ["backend", "frontend", "scrum_master"];

/// A run whose first attempt holds in a command of its spirit, until it is released.
struct Held {
    world: World,
    pipe: Pipe,
    release: PathBuf,
}

impl Held {
    fn new() -> Self {
        let world = World::new(&[("README.md", "")]);
        let (pipe, release, open) = (world.path("pipe"), world.path("release"), world.path("open"));
        let hold = format!("[ -e {} ] || {{ echo > {}; cat {}; }}", open.display(), pipe.display(), release.display());
        // The command tells the test through a pipe outside its work tree, which the sandbox does not let it reach.
        let settings = format!(
            "[run]\nsandbox = \"off\"\n\n{SETTINGS}\n[commands.hold]\nrun = [\"sh\", \"-c\", '''{hold}''']\nspirits = true\n"
        );
        fs::remove_dir_all(world.repository()).unwrap();
        let files = [("necro.toml", settings.as_str()), (".kiro/specs/list/tasks.md", PLAN)];
        let at = jiff::Timestamp::constant(1_767_225_600, 0);
        necro_host::workspace::seed_repository(&world.repository(), &files, "Begin", at).unwrap();
        // A second pipe: whoever reads it waits until somebody writes.
        drop(Pipe::new(release.clone()));
        Self { world, pipe: Pipe::new(pipe), release }
    }

    fn replies() -> Replies {
        ROLES.iter().fold(Replies::default(), |replies, role| {
            let turns: &[&[Value]] =
                &[&[command("hold")], &[write("bread.txt", "bread\n")], &[finishes("write bread.txt")]];
            replies.attempt(role, "1", None, turns).writes(role, "2", None, "cheese.txt", "cheese\n")
        })
    }

    fn start(&self) -> Running {
        let script = format!("scripted:{}", self.world.file("replies.toml", &Self::replies().text()));
        let running = Running::start(&mut self.world.command("run", &["--spec", "list", "--llm", &script]));
        self.pipe.wait();
        running
    }

    fn release(&self, running: Running) -> Finished {
        fs::write(self.world.path("open"), "").unwrap();
        fs::write(&self.release, "").unwrap();
        running.finish()
    }
}

/// `plugin …` in a world.
fn plugin(world: &World, args: &[&str]) -> Finished {
    let mut command = world.binary();
    command.arg("plugin").args(args).arg("--repo").arg(world.repository()).arg("--state").arg(world.state());
    finish(&mut command)
}

fn shown(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:#?}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A built-in component as another one: its bytes end with a section that says nothing.
fn other(world: &World, kind: PluginKind, name: &str) -> (PathBuf, Digest) {
    let bytes = [builtin::find(kind, name).unwrap().bytes, &[0, 3, 1, b'x', 0][..]].concat();
    let path = world.path(&format!("{name}.wasm"));
    fs::write(&path, &bytes).unwrap();
    (path, digest_of(&bytes))
}

/// Digests of the components that decided, in order.
fn deciders(records: &Records) -> Vec<String> {
    records.executions(ExecutionKind::Routing).into_iter().map(|execution| execution.component.to_string()).collect()
}

fn least_busy() -> String {
    builtin::find(PluginKind::Routing, "least-busy").unwrap().digest.to_owned()
}

#[test]
fn a_policy_is_swapped_while_an_attempt_is_held_and_decides_from_then_on() {
    let held = Held::new();
    let (world, running) = (&held.world, held.start());
    let (mine, new) = (guest("last-candidate"), digest_of(&guest_bytes("last-candidate")).to_string());

    let refused = plugin(world, &["swap", "routing", text(&mine), "--max-changed", "0"]);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("it would change 1 of 1 recorded decisions, and 0 may"), "{refused:#?}");
    assert!(refused.stdout.contains("the last candidate") && !refused.stdout.contains("seated:"), "{refused:#?}");
    let trapped = plugin(world, &["swap", "routing", text(&guest("panic"))]);
    assert_eq!(trapped.code, Some(1), "{trapped:#?}");
    assert!(trapped.stderr.contains("does not pass its self-test") && trapped.stderr.contains("trapped"));
    let wrong = plugin(world, &["swap", "scheduling", text(&mine)]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("is a routing plugin"), "{wrong:#?}");
    let spirit = plugin(world, &["swap", "spirit", text(&mine), "--max-changed", "1"]);
    assert_eq!(spirit.code, Some(2), "{spirit:#?}");
    assert!(shown(&plugin(world, &["history", "--json"])).as_array().unwrap().is_empty(), "something was seated");

    let swapped = shown(&plugin(world, &["swap", "routing", text(&mine), "--json"]));
    assert_eq!((&swapped["refused"], &swapped["digest"]), (&Value::Null, &new.as_str().into()), "{swapped}");
    assert_eq!(swapped["replaces"]["digest"], least_busy().as_str());
    assert_eq!((&swapped["shadow"]["decisions"], &swapped["shadow"]["changed"]), (&1.into(), &1.into()), "{swapped}");
    let back = plugin(world, &["rollback", "routing"]);
    assert!(back.code == Some(0) && back.stdout.starts_with("seated again: routing least-busy ("), "{back:#?}");
    let nobody = plugin(world, &["rollback", "routing"]);
    assert!(nobody.code == Some(1) && nobody.stderr.contains("nobody sat in `routing`"), "{nobody:#?}");
    let again = plugin(world, &["rollback", "routing", "--to", &new[..8]]);
    assert_eq!(again.code, Some(0), "{again:#?}");

    let finished = held.release(running);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(finished.stderr.contains("⇄ routing: necro_guest_last_candidate"), "{finished:#?}");
    let records = world.records();
    assert_eq!(deciders(&records), [least_busy(), new.clone()]);
    assert_eq!(records.attempts("2")[0].reason, "the last candidate");
    let history = shown(&plugin(world, &["history", "routing", "--json"]));
    let by: Vec<&str> = history.as_array().unwrap().iter().map(|line| line["by"].as_str().unwrap()).collect();
    assert_eq!(by, ["swap", "rollback", "rollback"]);
    assert_eq!(history[0]["shadow"], serde_json::json!({ "decisions": 1, "changed": 1, "failed": 0 }));
    records.assert_sound();
}

#[test]
fn an_attempt_ends_with_the_spirit_that_it_began_with() {
    let held = Held::new();
    let (world, running) = (&held.world, held.start());
    let (mine, new) = other(world, PluginKind::Spirit, "backend");
    let refused = plugin(world, &["swap", "spirit", text(&mine)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("necro-host plugin grant"), "{refused:#?}");
    world.grant(&mine);
    let swapped = plugin(world, &["swap", "spirit", text(&mine)]);
    assert!(swapped.code == Some(0) && swapped.stdout.starts_with("seated: spirit/backend backend ("), "{swapped:#?}");
    let finished = held.release(running);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let records = world.records();
    let component = |task: &str| records.attempts(task)[0].component.clone().unwrap();
    let old = builtin::find(PluginKind::Spirit, "backend").unwrap().digest;
    assert_eq!((component("1").as_str(), component("2")), (old, new));
    records.assert_sound();
}

#[test]
fn a_run_that_is_killed_after_a_swap_goes_on_with_what_was_seated() {
    let held = Held::new();
    let (world, running) = (&held.world, held.start());
    let new = digest_of(&guest_bytes("last-candidate")).to_string();
    let swapped = plugin(world, &["swap", "routing", text(&guest("last-candidate"))]);
    assert_eq!(swapped.code, Some(0), "{swapped:#?}");
    // Kills it.
    drop(running);
    fs::write(world.path("open"), "").unwrap();
    let finished = world.run(&Held::replies().text(), &["--spec", "list"]);
    finished.done();
    let records = world.records();
    assert_eq!(deciders(&records), [least_busy(), new.clone()]);
    let run = records.reader.latest_run().unwrap().unwrap();
    assert_eq!(run.plugins["routing/necro_guest_last_candidate"].as_str(), new);
    assert!(!run.plugins.contains_key("routing/least-busy"), "{:?}", run.plugins);
    records.assert_sound();
}

#[test]
fn without_an_owner_there_is_nothing_to_be_swapped_and_it_is_said_what_to_do() {
    let world = World::new(&[("necro.toml", SETTINGS)]);
    let refused = plugin(&world, &["swap", "routing", text(&guest("last-candidate"))]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:#?}");
    let says = |part: &str| refused.stderr.contains(part);
    assert!(says("no run and no `serve` works in") && says("necro-host run --plugin routing="), "{refused:#?}");
}

#[test]
fn what_serves_decides_with_what_was_seated() {
    let world = World::new(&[("necro.toml", SETTINGS)]);
    let issue = |args: &[&str]| {
        let mut command = world.binary();
        command.arg("issue").args(args).arg("--repo").arg(world.repository()).arg("--state").arg(world.state());
        finish(&mut command)
    };
    assert_eq!(issue(&["add", "Bake bread"]).code, Some(0));
    let mut serving = Running::start(&mut world.command("serve", &[]));
    serving.wait_for("makes changes for others", 1);
    assert_eq!(issue(&["route", "ISSUE-001"]).code, Some(0));
    let swapped = plugin(&world, &["swap", "routing", text(&guest("last-candidate"))]);
    assert!(swapped.stdout.contains("outside of runs"), "{swapped:#?}");
    let routed = issue(&["route", "ISSUE-001"]);
    assert_eq!(routed.code, Some(0), "{routed:#?}");
    serving.interrupt();
    assert_eq!(serving.finish().code, Some(0));
    let blobs = necro_host::store::BlobStore::open(world.state().join("blobs")).unwrap();
    let reader = necro_host::registry::Reader::open(&world.state().join("registry.db"), blobs).unwrap();
    let routed = reader.newest_executions(ExecutionKind::Routing, 9).unwrap();
    let components: Vec<String> =
        routed.iter().map(|id| reader.execution(id).unwrap().unwrap().component.to_string()).collect();
    assert_eq!(components, [least_busy(), digest_of(&guest_bytes("last-candidate")).to_string()]);
}

#[test]
fn a_start_is_refused_when_more_would_change_than_may() {
    let plan = format!("{PLAN}{SIDE_BY_SIDE}");
    let world = World::new(&[
        ("necro.toml", SETTINGS),
        (".kiro/specs/list/tasks.md", &plan),
        (".kiro/specs/more/tasks.md", "# Plan\n\n- [ ] 1. Add wine\n  - _Skill: backend_\n"),
    ]);
    let replies = ROLES.iter().fold(Replies::default(), |replies, role| {
        replies.writes(role, "1", None, "bread.txt", "bread\n").writes(role, "2", None, "cheese.txt", "cheese\n")
    });
    world.run(&replies.text(), &["--spec", "list"]).done();
    let choice = format!("routing={}", guest("last-candidate").display());
    let refused = world.run(&replies.text(), &["--spec", "more", "--plugin", &choice, "--max-changed", "0"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:#?}");
    assert!(refused.stderr.contains("recorded decisions, and 0 may (--max-changed)"), "{refused:#?}");
    assert_eq!(world.records().reader.runs().unwrap().len(), 1);
    world.run(&replies.text(), &["--spec", "more", "--plugin", &choice, "--max-changed", "50"]).done();
    let seated: Vec<Body> = world.records().reader.seatings().unwrap().into_iter().map(|event| event.body).collect();
    let [Body::PluginSeated { kind, by: SeatedBy::Start, replaces: Some(replaced), shadow: Some(shadow), .. }] =
        &seated[..]
    else {
        panic!("{seated:#?}")
    };
    assert_eq!((kind.as_str(), replaced.name.as_str()), ("routing", "least-busy"));
    assert!(shadow.decisions >= 2 && shadow.changed > 0, "{shadow:?}");
}

#[test]
fn a_policy_that_keeps_crashing_is_called_no_more_and_says_so_once() {
    let (world, replies) = one_by_one("");
    let choice = format!("routing={}", guest("panic").display());
    let finished = world.run(&replies.text(), &["--spec", "list", "--plugin", &choice]);
    finished.done();
    let said = |part: &str| finished.stderr.lines().filter(|line| line.contains(part)).count();
    assert!(said("has crashed 3 times in a row and is switched off for 30 s") >= 1, "{finished:#?}");
    assert!(
        finished.stderr.contains("digest=") && finished.stderr.contains("execution="),
        "no backtrace: {finished:#?}"
    );
    let records = world.records();
    let crashed = records.executions(ExecutionKind::Routing);
    assert_eq!(crashed.len(), 3, "a single call tries it again after 30 s");
    assert!(crashed.iter().all(|execution| execution.outcome.as_ref().unwrap()["backtrace"].is_string()));
    let last = records.attempts("6").remove(0);
    assert_eq!(last.routing, None);
    assert!(last.reason.starts_with("built-in rule: ") && last.reason.contains("is switched off"), "{}", last.reason);
    let show = finish(&mut world.command("show", &["6"]));
    assert!(show.stdout.contains("built-in rule"), "{show:#?}");
    records.assert_sound();
    let replayed = finish(&mut world.command("replay", &[]));
    assert_eq!(replayed.code, Some(0), "{replayed:#?}");
}

/// Six tasks one after the other, each of which writes a file; `limits` is added to the settings.
fn one_by_one(limits: &str) -> (World, Replies) {
    let tasks: String = (1..=6).map(|n| format!("- [ ] {n}. Add line {n}\n  - _Skill: backend_\n")).collect();
    let settings = format!("{SETTINGS}\n{limits}");
    let world = World::new(&[("necro.toml", &settings), (".kiro/specs/list/tasks.md", &format!("# Plan\n\n{tasks}"))]);
    let replies = (1..=6).fold(Replies::default(), |replies, n| {
        replies.writes("backend", &n.to_string(), None, &format!("{n}.txt"), "yes\n")
    });
    (world, replies)
}

#[test]
fn a_heuristic_that_keeps_crashing_leaves_a_warning_that_it_is_switched_off() {
    let (world, replies) = one_by_one("[limits.diff-size]\nfuel = 1000\n");
    let finished = world.run(&replies.text(), &["--spec", "list"]);
    finished.done();
    let records = world.records();
    let said = |task: &str| -> Vec<String> {
        let found = records.reader.findings(&records.key(task)).unwrap().into_iter().map(|found| found.finding);
        found.filter(|finding| finding.rule == "diff-size/heuristic").map(|finding| finding.message).collect()
    };
    assert!(said("3")[0].contains("the heuristic failed"), "{:?}", said("3"));
    assert!(said("4")[0].contains("the heuristic is switched off for now"), "{:?}", said("4"));
    let reviews = records.executions(ExecutionKind::Review);
    assert_eq!(reviews.iter().filter(|execution| execution.plugin == "diff-size").count(), 3);
    records.assert_sound();
}

#[test]
fn attempts_of_a_spirit_that_keeps_crashing_fail_at_once_and_cost_nothing() {
    let (world, replies) = one_by_one("[run]\nmax_attempts = 5\n\n[limits.backend]\nfuel = 1000\n");
    let finished = world.run(&replies.text(), &["--spec", "list"]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("necro-host plugin swap spirit PATH"), "{finished:#?}");
    let records = world.records();
    assert_eq!(records.executions(ExecutionKind::Spirit).len(), 3);
    let attempts = records.attempts("1");
    assert_eq!(attempts.len(), 5);
    for refused in &attempts[3..] {
        assert_eq!((&refused.execution, refused.cost.input_tokens), (&None, 0));
        assert!(refused.failure.as_ref().unwrap().contains("the spirit `backend` is switched off"), "{refused:?}");
    }
    let show = finish(&mut world.command("show", &["1"]));
    assert!(show.code == Some(0) && show.stdout.contains("is switched off"), "{show:#?}");
    records.assert_sound();
}
