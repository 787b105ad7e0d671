//! Runs on a spec that the repository has: what is done stays done, what cannot be executed is refused
//! before anything is claimed.

use std::fs;

use necro_host::domain::event::Body;
use necro_host::domain::task::TaskState;

use crate::replies::Replies;
use crate::world::{Finished, SETTINGS, World, finish, git, picture};

const REQUIREMENTS: &str = "# Requirements Document

## Introduction

Pages of text.

## Requirements

### Requirement 1: Pages

**User Story:** As a reader, I want pages, so that I can read them.

#### Acceptance Criteria

1. THE book SHALL have a first page.
2. THE book SHALL have a second page.
";

const PLAN: &str = "# Implementation Plan

- [x] 1. Bind the book
- [ ] 2. Write the first page
  - _Skill: backend_
  - _Requirements: 1.1_
- [ ]* 3. Draw a border
  - _Skill: frontend_
- [ ] 4. Write the second page
  - _Skill: documentation_
  - _Depends: 2_
  - _Requirements: 1.2_
";

fn with_plan(plan: &str) -> World {
    World::new(&[
        ("necro.toml", SETTINGS),
        ("cover.txt", "A book\n"),
        (".kiro/specs/pages/requirements.md", REQUIREMENTS),
        (".kiro/specs/pages/tasks.md", plan),
    ])
}

#[test]
fn a_spec_is_executed_where_it_stands_and_only_what_is_open() {
    let world = with_plan(PLAN);
    let before = picture(&world.repository());
    let summary = world.run(&pages().text(), &["--spec", "pages"]).done();
    assert_eq!(summary["tasks"]["done"], 3, "{summary}");
    assert_eq!(summary["attempts"], 2, "{summary}");

    let ticked = PLAN.replace("- [ ] 2.", "- [x] 2.").replace("- [ ] 4.", "- [x] 4.");
    assert_eq!(world.on_branch("pages", ".kiro/specs/pages/tasks.md").unwrap(), ticked);
    assert_eq!(world.on_branch("pages", "second.txt").unwrap(), "The end\n");
    let records = world.records();
    assert_eq!(records.task("3").state, TaskState::Ready);
    assert!(records.attempts("1").is_empty() && records.attempts("3").is_empty());
    records.assert_sound();
    assert_eq!(picture(&world.repository()), before);

    // All that is open is done: the same command has nothing left to do and asks nobody.
    let again = world.run("version = 1\n", &["--spec", "pages"]).done();
    assert_eq!((&again["attempts"], &again["tree"]), (&serde_json::json!(0), &summary["tree"]));
}

#[test]
fn a_run_writes_into_the_checkout_only_its_own_folder() {
    let world = with_plan("# Plan\n\n- [ ] 1. Write a page\n  - _Skill: backend_\n");
    let before = picture(&world.repository());
    let replies = Replies::default().writes("backend", "1", None, "page.txt", "text\n");
    let script = format!("scripted:{}", world.file("replies.toml", &replies.text()));
    let mut run = world.binary();
    run.args(["run", "--json", "--spec", "pages", "--llm", &script]).current_dir(world.repository());
    let summary = finish(&mut run).done();
    let state = world.repository().join(".necro");
    assert!(state.join("registry.db").exists(), "{summary}");
    let after = picture(&world.repository());
    let differs = |path: &&std::path::PathBuf| before.get(*path) != after.get(*path);
    let changed: Vec<_> = before.keys().chain(after.keys()).filter(differs).collect();
    assert!(changed.is_empty(), "the run changed {changed:?}");
    assert_eq!(git(&world.repository(), &["status", "--porcelain", "--untracked-files=all"]), "");
}

/// The two tasks of [`PLAN`] that are to be done.
fn pages() -> Replies {
    Replies::default().writes("backend", "2", None, "first.txt", "Once upon a time\n").writes(
        "documentation",
        "4",
        None,
        "second.txt",
        "The end\n",
    )
}

#[test]
fn a_plan_with_open_boxes_is_work_to_do_whatever_its_numbers_were_before() {
    let world = with_plan(PLAN);
    let first = world.run(&pages().text(), &["--spec", "pages"]).done();
    git(&world.repository(), &["fetch", "-q", &world.mirror().display().to_string(), "necro/pages"]);
    git(&world.repository(), &["merge", "-q", "--ff-only", "FETCH_HEAD"]);
    let plan = PLAN.replace("the first page", "an index").replace("the second page", "a glossary");
    fs::write(world.repository().join(".kiro/specs/pages/tasks.md"), plan).unwrap();
    let author = ["-c", "user.name=Reader", "-c", "user.email=reader@example.org"];
    git(&world.repository(), &[&author[..], &["commit", "-q", "-a", "-m", "Plan more"]].concat());
    let replies = Replies::default().writes("backend", "2", None, "index.txt", "1\n").writes(
        "documentation",
        "4",
        None,
        "glossary.txt",
        "a\n",
    );
    let second = world.run(&replies.text(), &["--spec", "pages"]).done();
    assert_eq!((&second["tasks"], &second["attempts"]), (&first["tasks"], &serde_json::json!(2)), "{second}");
    assert_eq!(world.on_branch("pages", "glossary.txt").unwrap(), "a\n");
    assert_eq!(world.on_branch("pages", "second.txt").unwrap(), "The end\n");
    world.records().assert_sound();
}

#[test]
fn a_state_directory_serves_one_repository() {
    let (world, other) = (with_plan(PLAN), with_plan(PLAN));
    world.run(&pages().text(), &["--spec", "pages"]).done();
    let script = format!("scripted:{}", other.file("replies.toml", &pages().text()));
    let mut command = other.binary();
    command.args(["run", "--spec", "pages", "--llm", &script]);
    command.arg("--repo").arg(other.repository()).arg("--state").arg(world.state());
    let finished = finish(&mut command);
    assert_eq!(finished.code, Some(2), "{finished:#?}");
    let whose = format!("belongs to the repository {}", world.repository().display());
    assert!(finished.stderr.contains(&whose) && finished.stderr.contains("--state DIR"), "{finished:#?}");
}

fn refused(plan: &str) -> (World, Finished) {
    let world = with_plan(plan);
    let finished = world.run("version = 1\n", &["--spec", "pages"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:#?}");
    (world, finished)
}

fn assert_nothing_was_claimed(world: &World) {
    let events = world.records().events();
    assert!(!events.iter().any(|event| matches!(event.body, Body::TaskAssigned { .. } | Body::TaskCreated { .. })));
    world.records().assert_sound();
}

#[test]
fn a_cycle_is_refused_with_file_line_and_path_before_anything_is_claimed() {
    let plan = "# Plan\n\n- [ ] 1. Egg\n  - _Depends: 2_\n- [ ] 2. Hen\n  - _Depends: 1_\n- [ ] 3. Nest\n";
    let (world, finished) = refused(plan);
    let said = finished.stderr.lines().find(|line| line.contains("tasks/dependency-cycle")).unwrap_or_default();
    assert!(said.contains(".kiro/specs/pages/tasks.md:6"), "{finished:#?}");
    assert!(said.contains('1') && said.contains('2') && said.contains("->") || said.contains('→'), "{said}");
    assert_nothing_was_claimed(&world);
}

#[test]
fn an_unknown_dependency_is_refused_with_file_and_line() {
    let (world, finished) = refused("# Plan\n\n- [ ] 1. Egg\n- [ ] 2. Hen\n  - _Depends: 1, 9_\n");
    let said = finished.stderr.lines().find(|line| line.contains("tasks/unknown-dependency")).unwrap_or_default();
    assert!(said.contains(".kiro/specs/pages/tasks.md:5") && said.contains('9'), "{finished:#?}");
    assert_nothing_was_claimed(&world);
}

#[test]
fn a_plan_that_is_a_link_is_called_one() {
    let world = with_plan(PLAN);
    let (repository, plan) = (world.repository(), world.repository().join(".kiro/specs/pages/tasks.md"));
    fs::rename(&plan, repository.join("plan.md")).unwrap();
    std::os::unix::fs::symlink("../../../plan.md", &plan).unwrap();
    git(&repository, &["add", "-A"]);
    git(&repository, &["-c", "user.name=U", "-c", "user.email=u@example.org", "commit", "-qm", "Link the plan"]);
    let finished = world.run("version = 1\n", &["--spec", "pages"]);
    assert_eq!(finished.code, Some(2), "{finished:#?}");
    assert!(finished.stderr.contains(".kiro/specs/pages/tasks.md is a symbolic link"), "{finished:#?}");
    assert_nothing_was_claimed(&world);
}

#[test]
fn a_spec_that_is_not_there_is_wrong_usage() {
    let world = with_plan(PLAN);
    let finished = world.run("version = 1\n", &["--spec", "chapters"]);
    assert_eq!(finished.code, Some(2), "{finished:#?}");
    assert!(finished.stderr.contains("chapters"), "{finished:#?}");
}

#[test]
fn a_plan_of_optional_tasks_alone_names_the_setting_that_has_them_done() {
    let world = with_plan("# Plan\n\n- [ ]* 1. Draw a border\n- [ ]* 2. Colour it\n");
    let finished = world.run("version = 1\n", &["--spec", "pages"]);
    assert!(finished.stderr.contains("run.optional_tasks = true"), "{finished:#?}");
    assert_eq!(finished.done()["attempts"], 0);
}

#[test]
fn steering_reaches_a_spirit_by_its_rule_with_the_files_it_refers_to() {
    let plan = "# Plan\n\n- [ ] 1. Write `pages/first.txt`\n  - _Skill: backend_\n  - _Depends: none_\n\
                - [ ] 2. Keep the #glossary\n  - _Skill: backend_\n  - _Depends: none_\n";
    let world = World::new(&[
        ("necro.toml", SETTINGS),
        (".kiro/specs/pages/tasks.md", plan),
        (".kiro/specs/pages/design.md", "# Design\n\n## Overview\n\nAs in #[[file:docs/style.md]].\n"),
        (".kiro/steering/always.md", "Be kind: #[[file:docs/style.md]], #[[file:../secret]], #[[file:.git/config]].\n"),
        (".kiro/steering/pages.md", "---\ninclusion: fileMatch\nfileMatchPattern: pages/**\n---\nPAGES\n"),
        (".kiro/steering/glossary.md", "---\ninclusion: manual\n---\nGLOSSARY\n"),
        ("docs/style.md", "STYLE\n"),
    ]);
    fs::write(world.path("secret"), "SECRET").unwrap();
    let replies = Replies::default().writes("backend", "1", None, "pages/first.txt", "text\n").writes(
        "backend",
        "2",
        None,
        "glossary.txt",
        "text\n",
    );
    world.run(&replies.text(), &["--spec", "pages"]).done();
    let records = world.records();
    let given = |task: &str| {
        let assignment = records.assignment(task, 1);
        let documents = assignment["steering"].as_array().unwrap().clone();
        let name = |document: &serde_json::Value| document["name"].as_str().unwrap().replace(".kiro/steering/", "");
        (documents.iter().map(name).collect::<Vec<_>>(), assignment)
    };
    let (names, assignment) = given("1");
    assert_eq!(names, ["always.md", "pages.md"]);
    let always = assignment["steering"][0]["text"].as_str().unwrap();
    assert!(always.contains("## File docs/style.md\n\n```\nSTYLE\n```\n"), "{always}");
    assert_eq!(always.matches("(not taken in: no path of a file of this repository)").count(), 2, "{always}");
    assert!(!assignment.to_string().contains("SECRET") && !always.contains("[core]"), "{assignment}");
    assert!(assignment["documents"][0]["text"].as_str().unwrap().contains("STYLE"), "{assignment}");
    let (names, assignment) = given("2");
    assert_eq!(names, ["always.md", "glossary.md", ".kiro/steering (more)"]);
    assert!(assignment["steering"][2]["text"].as_str().unwrap().contains("pages.md: before you change files"));
}
