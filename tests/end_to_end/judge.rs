//! A spirit does not choose what it is judged by, and nothing that it leaves is lost in silence.

use necro_host::domain::event::Outcome;
use necro_host::domain::task::TaskState;

use crate::replies::{Replies, command, finish, write};
use crate::world::{World, git};

const PLAN: &str = "# Plan

- [ ] 1. Write the first page
  - _Skill: backend_
- [ ] 2. Write the second page
  - _Skill: backend_
  - _Depends: 1_
";

fn world(settings: &str) -> World {
    World::new(&[("necro.toml", settings), ("cover.txt", "A book\n"), (".kiro/specs/pages/tasks.md", PLAN)])
}

fn settings(command: &str) -> String {
    format!(
        "[gate]\ncommands = [\"check\"]\n\n[commands.check]\nrun = [\"sh\", \"-c\", \"! grep -n broken *.txt\"]\n\n\
         [commands.own]\nspirits = true\nrun = [\"sh\", \"-c\", '''{command}''']\n"
    )
}

#[test]
fn the_gate_is_the_base_commits_whatever_spirits_write() {
    let place = tempfile::tempdir().unwrap();
    let sprung = place.path().join("sprung");
    let plant = format!(
        "printf '#!/bin/sh\\ntouch {0}\\n' > hook; chmod +x hook; \
         for name in pre-commit post-checkout post-merge reference-transaction; do \
         mkdir -p .git/hooks; cp hook .git/hooks/$name; done; \
         printf '[core]\\n\\tfsmonitor = touch {0}\\n\\thooksPath = .\\n' >> .git/config; rm hook",
        sprung.display()
    );
    let world = world(&settings(&plant));
    let nothing = write("necro.toml", "[gate]\ncommands = []\n");
    let ticked = PLAN.replace("[ ]", "[x]");
    let tick = write(".kiro/specs/pages/tasks.md", &ticked);
    let replies = Replies::default()
        .attempt("backend", "1", Some(1), &[&[nothing.clone(), write("first.txt", "broken\n")], &[finish("cheat")]])
        .attempt(
            "backend",
            "1",
            Some(2),
            &[
                &[command("own"), write(".git/hooks/pre-commit", "#!/bin/sh\n")],
                &[nothing, tick, write("first.txt", "whole\n")],
                &[finish("write the first page")],
            ],
        )
        // It starts from a commit in which the settings are the spirit's own.
        .writes("backend", "2", Some(1), "second.txt", "broken\n")
        .writes("backend", "2", Some(2), "second.txt", "whole\n");
    let summary = world.run(&replies.text(), &["--spec", "pages"]).done();
    assert_eq!(summary["attempts"], 4, "{summary}");

    let records = world.records();
    for task in ["1", "2"] {
        let attempts = records.attempts(task);
        let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes, [Some(Outcome::Failed), Some(Outcome::Success)], "task {task}");
        assert_eq!(attempts[0].gates[0].checks, [("check".to_owned(), false)]);
        assert!(records.told(task, 2).contains("`check` failed"), "{}", records.told(task, 2));
    }
    // Its ticks were dropped: when task 1 was merged, the host had ticked task 1 alone.
    let first = records.task("1").merged_commit.unwrap();
    let plan = git(&world.mirror(), &["show", &format!("{first}:.kiro/specs/pages/tasks.md")]);
    assert_eq!(plan.trim_end(), PLAN.replacen("[ ]", "[x]", 1).trim_end());
    assert!(!sprung.exists(), "something that a spirit planted was executed");
    records.assert_sound();
}

/// Task 1 is refused once for what `first` does, with `part` among the words, and then done.
fn refused_once(settings: &str, files: &[(&str, &str)], first: &[serde_json::Value], part: &str) {
    let plan = PLAN.split("- [ ] 2.").next().unwrap();
    let base = [("necro.toml", settings), ("cover.txt", "A book\n"), (".kiro/specs/pages/tasks.md", plan)];
    let world = World::new(&[&base, files].concat());
    let replies = Replies::default()
        .attempt("backend", "1", Some(1), &[first, &[finish("write the first page")]])
        .writes("backend", "1", Some(2), "first.txt", "whole\n");
    world.run(&replies.text(), &["--spec", "pages"]).done();
    let records = world.records();
    let outcomes: Vec<_> = records.attempts("1").iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Failed), Some(Outcome::Success)]);
    assert!(records.told("1", 2).contains(part), "{}", records.told("1", 2));
    records.assert_sound();
}

#[test]
fn what_the_review_cannot_see_is_not_merged() {
    let endless = write("first.txt", &"a line\n".repeat(200_001));
    refused_once(&settings("true"), &[], &[endless], "too large for the review to see this file");
}

#[test]
fn a_change_of_what_the_gate_does_is_not_merged() {
    let settings = "[gate]\ncommands = [\"check\"]\n\n[commands.check]\nrun = [\"sh\", \"ci/check.sh\"]\n";
    let cheat = [write("ci/check.sh", "true\n"), write("first.txt", "broken\n")];
    refused_once(settings, &[("ci/check.sh", "! grep -n broken *.txt\n")], &cheat, "necro/gate-changed");
}

#[test]
fn a_secret_in_the_title_of_the_work_is_not_merged() {
    let plan = PLAN.split("- [ ] 2.").next().unwrap();
    let world = World::new(&[("necro.toml", &settings("true")), (".kiro/specs/pages/tasks.md", plan), ("a.txt", "")]);
    let token = format!("{}{}", concat!("gh", "p_"), "k7Qw2ZpR9sXv4LmT8bNc3HdY6gJf5VaE1uWo");
    let replies = Replies::default()
        .attempt("backend", "1", Some(1), &[&[write("first.txt", "whole\n")], &[finish(&format!("use {token}"))]])
        .writes("backend", "1", Some(2), "first.txt", "whole\n");
    world.run(&replies.text(), &["--spec", "pages"]).done();
    assert!(world.records().told("1", 2).contains("title of the work has a GitHub token"));
    let history = git(&world.mirror(), &["log", "--format=%B", "necro/pages"]);
    assert!(!history.contains(&token), "{history}");
}

#[test]
fn what_git_ignores_is_not_taken_for_done() {
    let files = [(".gitignore", "lib/\n")];
    let both = [write("lib/core.txt", "lost\n"), write("first.txt", "whole\n")];
    refused_once(&settings("true"), &files, &both, "in no commit: lib/core.txt");
}

#[test]
fn a_nested_repository_is_refused_with_its_reason_and_not_lost() {
    let world = world(&settings("mkdir inner && git init -q inner && echo work > inner/page.txt"));
    let replies = Replies::default()
        .attempt(
            "backend",
            "1",
            Some(1),
            &[&[command("own"), write("first.txt", "whole\n")], &[finish("write the first page")]],
        )
        .writes("backend", "1", Some(2), "first.txt", "whole\n")
        .writes("backend", "2", None, "second.txt", "whole\n");
    world.run(&replies.text(), &["--spec", "pages"]).done();
    let records = world.records();
    let outcomes: Vec<_> = records.attempts("1").iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Failed), Some(Outcome::Success)]);
    let told = records.told("1", 2);
    assert!(told.contains("inner") && told.contains("git repository of its own"), "{told}");
}

#[test]
fn a_model_that_talks_nonsense_fails_its_tasks_and_keeps_its_work() {
    let world = world(&settings("true"));
    let unknown = serde_json::json!({ "name": "summon", "arguments": {} });
    let garbage = serde_json::json!({ "name": "write", "arguments_text": "{\"path\": " });
    let nonsense: &[&[serde_json::Value]] = &[&[write("first.txt", "half\n")], &[], &[unknown], &[garbage]];
    let replies = Replies::default().attempt("backend", "1", None, nonsense);
    let finished = world.run(&replies.text(), &["--spec", "pages"]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let summary = finished.json();
    assert_eq!(summary["outcome"], "failed");
    assert_eq!((&summary["tasks"]["done"], &summary["tasks"]["failed"]), (&0.into(), &1.into()), "{summary}");
    assert!(summary["problems"].to_string().contains("2 waits for 1 (failed)"), "{summary}");

    let records = world.records();
    assert_eq!((records.task("1").state, records.task("2").state), (TaskState::Failed, TaskState::Blocked));
    assert_eq!(records.attempts("1").len(), 3);
    for attempt in records.attempts("1") {
        assert!(attempt.commit.is_some() && attempt.files == ["first.txt"], "{attempt:?}");
        let artifacts = records.reader.artifacts(&attempt.key.key).unwrap();
        let diff = artifacts.iter().find(|a| a.attempt == Some(attempt.key.attempt) && a.artifact.kind == "diff");
        assert!(diff.unwrap().artifact.size_bytes > 50, "unfinished work is shown, too");
    }
    assert!(records.told("1", 2).contains("usable tool call"), "{}", records.told("1", 2));
    assert_eq!(world.on_branch("pages", "first.txt"), None, "nothing is merged");
    let refs = git(&world.mirror(), &["for-each-ref", "--format=%(refname)", "refs/necro"]);
    assert_eq!(refs.lines().count(), 3, "{refs}");
    for kept in refs.lines() {
        assert_eq!(git(&world.mirror(), &["show", &format!("{kept}:first.txt")]), "half");
    }
    records.assert_sound();
}

#[test]
fn a_job_that_no_spec_comes_of_ends_with_the_reason() {
    let world = world(&settings("true"));
    let job = world.file("job.md", "# Write a third page\n\nIt is missing.\n");
    let bad = "# Requirements\n\nPages.\n";
    let replies = Replies::default().writes("architect", "0.1", None, ".kiro/specs/write-a-third-page/design.md", bad);
    let finished = world.run(&replies.text(), &[&job]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stdout.contains("no spec came of the job"), "{finished:#?}");
    assert!(finished.stdout.contains("requirements.md is missing"), "{finished:#?}");
    world.records().assert_sound();
}
