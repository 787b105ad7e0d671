//! Runs that are repeated whole: the demo, one that was killed, and those of earlier releases.

use std::fs;
use std::path::Path;

use necro_host::plugin::PluginKind;
use necro_host::plugin::builtin;

use crate::copies::{ReadOnly, bytes_below, copy, done, list, replay, replayed, replies};
use crate::golden::{RELEASES, SPEC, unpack};
use crate::world::{Pipe, Running, World, finish, git};

#[test]
fn the_demo_is_repeated_from_a_read_only_copy_without_its_repository() {
    let world = World::new(&[("README.md", "")]);
    let summary = finish(world.binary().args(["run", "--demo", "--json"])).done();
    let state = copy(&world, Path::new(summary["state"].as_str().unwrap()), "copy");
    fs::remove_dir_all(summary["repository"].as_str().unwrap()).unwrap();
    fs::remove_dir_all(state.join("repos")).unwrap();
    let before = bytes_below(&state);
    let kept = ReadOnly::make(&state);
    let (code, report) = replayed(&world, &state, &[]);
    assert_eq!((code, &report["run"]), (Some(0), &summary["run"]), "{report:#}");
    let count = |field: &str| report[field].as_u64().unwrap();
    assert!(count("executions") > 50 && count("calls") > 50, "{report:#}");
    assert_eq!((count("same"), count("fuel_compared")), (count("executions"), count("executions")), "{report:#}");
    let told = replay(&world, &state, &[summary["run"].as_str().unwrap()]);
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.stdout.contains("same: nothing differs from the record"), "{told:#?}");
    assert!(told.stderr.contains(" calls in "), "{told:#?}");
    a_heuristic_under_another_name_finds_everything_once_more(&world, &state);
    drop(kept);
    assert_eq!(before, bytes_below(&state), "replaying has changed the state directory");
}

/// In the demo one attempt is blocked by `secret-scan`.
fn a_heuristic_under_another_name_finds_everything_once_more(world: &World, state: &Path) {
    let scan = builtin::find(PluginKind::Review, "secret-scan").unwrap();
    let path = world.path("mine.wasm");
    fs::write(&path, scan.bytes).unwrap();
    let with = format!("review={}", path.display());
    let (code, report) = replayed(world, state, &["--with", &with, "--with", "review=secret-scan"]);
    assert_eq!(code, Some(0), "{report:#}");
    let [mine, same] = &report["tried"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert!(mine["decisions"].as_u64().unwrap() >= 7 && mine["changed"] == 1, "{report:#}");
    assert_eq!((&same["decisions"], &same["changed"]), (&mine["decisions"], &0.into()), "{report:#}");
    let changed = &report["changed"][0];
    assert_eq!((&changed["recorded"], &changed["new"]), (&"is blocked".into(), &"is blocked".into()), "{report:#}");
    assert_eq!(changed["review"]["added"][0]["rule"], "secret-scan/github-token", "{report:#}");
    assert_eq!((&changed["estimate"], &changed["failed"]), (&false.into(), &false.into()), "{report:#}");
}

/// A list whose command holds at `pipe` until `open` exists.
fn holding(world: &World) -> Pipe {
    let (pipe, open) = (world.path("pipe"), world.path("open"));
    let check = format!("[ -e {} ] || {{ echo > {}; sleep 600; }}", open.display(), pipe.display());
    // The command tells the test through a pipe outside its work tree, which the sandbox does not let it reach.
    let settings = format!(
        "[run]\nsandbox = \"off\"\n\n[gate]\ncommands = []\n\n[commands.check]\nrun = [\"sh\", \"-c\", '''{check}''']\n"
    );
    fs::write(world.repository().join("necro.toml"), settings).unwrap();
    let author = ["-c", "user.name=Reader", "-c", "user.email=reader@example.org"];
    git(&world.repository(), &[&author[..], &["commit", "-q", "-a", "-m", "Hold"]].concat());
    Pipe::new(pipe)
}

#[test]
fn a_run_that_was_killed_and_gone_on_with_is_repeated() {
    let world = list();
    let pipe = holding(&world);
    let script = format!("scripted:{}", world.file("replies.toml", &replies().text()));
    let running = Running::start(&mut world.command("run", &["--spec", "list", "--llm", &script]));
    pipe.wait();
    drop(running);
    let (code, cut) = replayed(&world, &world.state(), &[]);
    assert_eq!(code, Some(0), "{cut:#}");
    assert!(cut["partly"]["count"].as_u64().unwrap() >= 1 && cut["outcome"].is_null(), "{cut:#}");
    assert!(cut["calls"].as_u64().unwrap() >= 4, "what was written before the command is on record: {cut:#}");

    fs::write(world.path("open"), "").unwrap();
    let summary = world.run(&replies().text(), &["--spec", "list"]).done();
    assert_eq!(summary["run"], cut["run"], "another run was begun");
    let (code, whole) = replayed(&world, &world.state(), &[]);
    assert_eq!(code, Some(0), "{whole:#}");
    assert!(whole["calls"].as_u64() > cut["calls"].as_u64(), "{whole:#}");
    assert_eq!(whole["same"], whole["executions"], "{whole:#}");
}

#[test]
fn a_run_of_an_earlier_release_is_repeated_where_it_cannot_be_written() {
    for release in RELEASES {
        let world = World::new(&[("README.md", "")]);
        let Some(state) = unpack(release, &world.path(".")) else { return };
        let _kept = ReadOnly::make(&state);
        let (code, report) = replayed(&world, &state, &[]);
        assert_eq!((code, &report["spec"]), (Some(0), &SPEC.into()), "{release}: {report:#}");
        assert_eq!(report["same"], report["executions"], "{release}: {report:#}");
        assert!(report["calls"].as_u64().unwrap() > 50, "{release}: {report:#}");
    }
}

#[test]
fn a_run_whose_journals_were_pruned_says_so() {
    let world = done();
    let pruned = finish(&mut world.command("prune", &["--keep-size", "0B"]));
    assert_eq!(pruned.code, Some(0), "{pruned:#?}");
    let (code, report) = replayed(&world, &world.state(), &[]);
    assert_eq!((code, &report["not_repeatable"]["count"]), (Some(1), &report["executions"]), "{report:#}");
    assert!(report["not_repeatable"]["first"][0]["reason"].as_str().unwrap().contains("was pruned"), "{report:#}");
    let told = replay(&world, &world.state(), &["--with", "routing=least-busy"]);
    assert!(
        told.code == Some(0) && told.stdout.contains("0 of 0 decisions") && told.stdout.contains("pruned"),
        "{told:#?}"
    );
}

#[test]
fn a_run_or_attempt_that_is_not_there_is_a_slip() {
    let world = World::new(&[("README.md", "")]);
    for (args, part) in [
        (&["--into", "x"][..], "name it, such as 2.1#1"),
        (&["1#1"], "say with --into DIR"),
        (&["1#0", "--into", "x"], "names no attempt"),
        (&["--at", "1"], "--into"),
        (&["--with", "spirit=qa"], "a spirit cannot be tried"),
        (&[], "there is no state directory"),
    ] {
        let told = replay(&world, &world.path("nowhere"), args);
        assert_eq!(told.code, Some(2), "{args:?}: {told:#?}");
        assert!(told.stderr.contains(part), "{args:?}: {told:#?}");
    }
}
