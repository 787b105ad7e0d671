//! Changes that meet: conflicts go back to a spirit, and the user's repository gets a branch only when
//! it is asked for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::replies::Replies;
use crate::world::{SETTINGS, SIDE_BY_SIDE, World, finish, git, picture};

const PLAN: &str = "# Plan\n\n- [ ] 1. Add bread\n  - _Skill: backend_\n- [ ] 2. Add cheese\n  - _Skill: frontend_\n";

#[test]
fn a_conflict_is_a_new_attempt_that_is_told_about_it() {
    let plan = format!("{PLAN}{SIDE_BY_SIDE}");
    let world =
        World::new(&[("necro.toml", SETTINGS), ("list.txt", "to buy:\n"), (".kiro/specs/list/tasks.md", &plan)]);
    let both = "to buy:\nbread\ncheese\n";
    let replies = Replies::default()
        .writes("backend", "1", Some(1), "list.txt", "to buy:\nbread\n")
        .writes("frontend", "2", Some(1), "list.txt", "to buy:\ncheese\n")
        .writes("backend", "1", Some(2), "list.txt", both)
        .writes("frontend", "2", Some(2), "list.txt", both)
        .together(&["1", "2"]);
    let summary = world.run(&replies.text(), &["--spec", "list"]).done();
    assert_eq!(summary["attempts"], 3, "{summary}");
    assert_eq!(world.on_branch("list", "list.txt").unwrap(), both);

    let records = world.records();
    let again: Vec<&str> = ["1", "2"].into_iter().filter(|task| records.attempts(task).len() == 2).collect();
    let [task] = again[..] else { panic!("not one of the two was returned: {again:?}") };
    let told = records.told(task, 2);
    assert!(told.contains("conflicts with it") && told.contains("conflict in list.txt"), "{told}");
    // The change that did not merge is kept as it was.
    let kept = records.attempts(task)[0].commit.clone().unwrap();
    let first = git(&world.mirror(), &["show", &format!("{kept}:list.txt")]);
    assert_eq!(first, if task == "1" { "to buy:\nbread" } else { "to buy:\ncheese" });
    records.assert_sound();
}

#[test]
fn changes_that_pass_alone_and_not_together_are_not_merged_together() {
    let settings = r#"[gate]
commands = ["check"]

[commands.check]
run = ["sh", "-c", "test $(cat *.txt | wc -l) -le 2"]
"#;
    let plan = format!("{PLAN}{SIDE_BY_SIDE}");
    let world =
        World::new(&[("necro.toml", settings), ("list.txt", "to buy:\n"), (".kiro/specs/list/tasks.md", &plan)]);
    let replies = Replies::default()
        .writes("backend", "1", Some(1), "bread.txt", "bread\n")
        .writes("frontend", "2", Some(1), "cheese.txt", "cheese\n")
        .writes("backend", "1", Some(2), "bread.txt", "bread")
        .writes("frontend", "2", Some(2), "cheese.txt", "cheese")
        .together(&["1", "2"]);
    let summary = world.run(&replies.text(), &["--spec", "list"]).done();
    assert_eq!(summary["attempts"], 3, "{summary}");
    let records = world.records();
    let told: String =
        ["1", "2"].iter().filter(|t| records.attempts(t).len() == 2).map(|t| records.told(t, 2)).collect();
    assert!(told.contains("passed alone, but not together"), "{told}");
    let attempts = records.work();
    let merges: Vec<_> = attempts.iter().flat_map(|a| &a.gates).filter(|gate| gate.stage == "merge").collect();
    let results: Vec<bool> = merges.iter().flat_map(|gate| &gate.checks).map(|(_, passed)| *passed).collect();
    assert!(results.contains(&false), "the gate of the merged tree is on record: {results:?}");
    let artifacts = records.reader.artifacts_of_spec(&records.spec).unwrap();
    assert!(artifacts.iter().any(|a| a.artifact.name.ends_with("merge.log")));
}

/// Gives the world's repository a remote that is empty.
fn with_remote(world: &World) -> PathBuf {
    let remote = world.path("remote.git");
    fs::create_dir(&remote).unwrap();
    git(&remote, &["init", "--bare", "--quiet"]);
    git(&world.repository(), &["remote", "add", "origin", remote.to_str().unwrap()]);
    remote
}

#[test]
fn an_attempt_after_one_that_was_pushed_is_pushed_beside_it() {
    let plan = format!("{PLAN}{SIDE_BY_SIDE}");
    let settings = format!("{SETTINGS}\n[workspace]\npush = true\n");
    let world =
        World::new(&[("necro.toml", &settings), ("list.txt", "to buy:\n"), (".kiro/specs/list/tasks.md", &plan)]);
    let remote = with_remote(&world);
    let both = "to buy:\nbread\ncheese\n";
    let replies = Replies::default()
        .writes("backend", "1", Some(1), "list.txt", "to buy:\nbread\n")
        .writes("frontend", "2", Some(1), "list.txt", "to buy:\ncheese\n")
        .writes("backend", "1", Some(2), "list.txt", both)
        .writes("frontend", "2", Some(2), "list.txt", both)
        .together(&["1", "2"]);
    world.run(&replies.text(), &["--spec", "list"]).done();
    let records = world.records();
    let mut expected = Vec::new();
    for attempt in records.work() {
        let (branch, commit) = (&attempt.branch, attempt.commit.as_ref().unwrap());
        let beside = if attempt.key.attempt == 1 { String::new() } else { "-attempt-no2".to_owned() };
        expected.push(format!("{branch}{beside} {commit}"));
    }
    expected.sort();
    let refs = git(&remote, &["for-each-ref", "--format=%(refname:short) %(objectname)"]);
    let mut found: Vec<&str> = refs.lines().collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(found.len(), 3);
}

#[test]
fn of_a_role_with_two_spirits_the_branch_says_which_one() {
    let plan = "# Plan\n\n- [ ] 1. Add bread\n  - _Skill: backend_\n- [ ] 2. Add cheese\n  - _Skill: backend_\n\
                - [ ] 3. Add tea\n  - _Skill: frontend_\n";
    let settings = format!("{SETTINGS}\n[team]\nbackend = 2\n");
    let world = World::new(&[("necro.toml", &settings), (".kiro/specs/list/tasks.md", plan)]);
    let replies = Replies::default()
        .writes("backend", "1", None, "bread.txt", "rye\n")
        .writes("backend", "2", None, "cheese.txt", "gouda\n")
        .writes("frontend", "3", None, "tea.txt", "green\n");
    world.run(&replies.text(), &["--spec", "list"]).done();
    let records = world.records();
    for (task, words) in [("1", "add-bread"), ("2", "add-cheese")] {
        let attempt = &records.attempts(task)[0];
        let number = attempt.instance.number();
        assert_eq!(attempt.branch, format!("backend/spirit-{number}/list-{task}-{words}"));
    }
    assert_eq!(records.attempts("3")[0].branch, "feature/task-list-3-add-tea");
}

#[test]
fn a_landing_that_is_refused_is_said_in_the_summary_of_what_was_done() {
    let settings = format!("{SETTINGS}\n[run]\nland = true\n");
    let plan = "# Plan\n\n- [ ] 1. Add bread\n  - _Skill: backend_\n";
    let world = World::new(&[("necro.toml", &settings), (".kiro/specs/list/tasks.md", plan)]);
    git(&world.repository(), &["checkout", "-q", "-b", "necro/list"]);
    let before = picture(&world.repository());
    let replies = Replies::default().writes("backend", "1", None, "bread.txt", "bread\n").text();
    let finished = world.run(&replies, &["--spec", "list"]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let summary = finished.json();
    assert_eq!((&summary["outcome"], &summary["landed"]), (&"done".into(), &false.into()), "{summary}");
    assert!(summary["problems"][0].as_str().unwrap().contains("`necro/list` is checked out at"), "{summary}");
    assert!(picture(&world.repository()) == before);

    // With the branch free, the same command lands what there is.
    git(&world.repository(), &["checkout", "-q", "main"]);
    let summary = world.run("version = 1\n", &["--spec", "list"]).done();
    assert_eq!((&summary["landed"], &summary["problems"]), (&true.into(), &serde_json::json!([])), "{summary}");
    assert_eq!(git(&world.repository(), &["show", "necro/list:bread.txt"]), "bread");
}

/// Landing adds a branch, its objects and its log, and changes nothing else.
pub(crate) fn landing_adds_one_branch_and_changes_nothing(world: &World, spec: &str, commit: &str) {
    let repository = world.repository();
    let before = picture(&repository);
    let landed = finish(&mut world.command("land", &[spec]));
    assert_eq!(landed.code, Some(0), "{landed:#?}");
    let after = picture(&repository);
    for (path, was) in &before {
        assert!(after.get(path) == Some(was), "landing changed {}", path.display());
    }
    let branch = format!("refs/heads/necro/{spec}");
    assert_eq!(git(&repository, &["rev-parse", &branch]), commit);
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        let expected = [Path::new(".git/objects"), Path::new(".git/logs").join(&branch).as_path()]
            .iter()
            .any(|folder| path.starts_with(folder));
        assert!(expected || *path == Path::new(".git").join(&branch), "landing added {}", path.display());
    }
    git(&repository, &["fsck", "--strict"]);
}
