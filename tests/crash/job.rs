//! The small job that is killed: planning, two tasks side by side and two after them, a trivial gate, every
//! tool that spirits have, and one without a model whose effects lie in the registry. The model answers by what a request says, so it need not know of kills.

use std::path::PathBuf;
use std::process::Command;

use necro_host::llm::scripted::Script;
use serde_json::{Value, json};

use crate::guests::guest;
use crate::llm_server::{LlmServer, Recorded, position};
use crate::replies::{Replies, command, finish, write};
use crate::world::World;

/// The spec that comes of the job.
pub(crate) const SPEC: &str = "lunch-menu";

/// Numbers of everything that attempts are made at.
pub(crate) const TASKS: [&str; 6] = ["0.1", "0.2", "1", "2", "3", "4"];

/// A key as providers make them; it is nobody's.
const KEY: &str = concat!("sk", "-test-1b7e5a3c9d2f4e6a8c0b1d3f5a7c9e1b");

const JOB: &str = "# Lunch menu\n\nBread and cheese, and a menu that names both.\n";

/// A command of the spirits' that does something else when it is run twice.
const SETTINGS: &str = r#"[gate]
commands = ["check"]

[commands.check]
run = ["sh", "-c", "test -f README.txt"]

[commands.stamp]
spirits = true
run = ["sh", "-c", "echo stamped >> stamp.txt"]
"#;

const REQUIREMENTS: &str = "# Requirements Document

## Introduction

Lunch.

## Requirements

### Requirement 1: Lunch

**User Story:** As a guest, I want lunch, so that I am not hungry.

#### Acceptance Criteria

1. THE Kitchen SHALL have bread.
2. THE Kitchen SHALL have cheese.
3. THE Menu SHALL name both.
4. THE Clerk SHALL keep letters.
";

const DESIGN: &str = "# Design Document

## Overview

Text files.

## Architecture

One file for each dish.

## Components and Interfaces

None.

## Data Models

Lines of text.

## Error Handling

None.

## Testing Strategy

Reading.
";

const PLAN: &str = "# Implementation Plan

## Tasks

- [ ] 1. Bake bread
  - _Skill: backend_
  - _Requirements: 1.1_
- [ ] 2. Make cheese
  - _Skill: frontend_
  - _Requirements: 1.2_
- [ ] 3. Write the menu
  - _Skill: documentation_
  - _Depends: 1, 2_
  - _Requirements: 1.3_
- [ ] 4. Keep letters
  - _Skill: clerk_
  - _Depends: 1, 2_
  - _Requirements: 1.4_

## Task Dependency Graph

```json
{\"waves\":[{\"id\":0,\"tasks\":[\"1\",\"2\"]},{\"id\":1,\"tasks\":[\"3\",\"4\"]}]}
```
";

fn call(name: &str, arguments: Value) -> Value {
    json!({ "name": name, "arguments": arguments })
}

fn read(path: &str) -> Value {
    call("read", json!({ "path": path }))
}

fn edit(edits: &[(&str, &str, &str)]) -> Value {
    let edits: Vec<Value> =
        edits.iter().map(|(path, old, new)| json!({ "path": path, "old": old, "new": new })).collect();
    call("edit", json!({ "edits": edits }))
}

fn replies() -> Replies {
    let document = |file: &str| format!(".kiro/specs/{SPEC}/{file}");
    let list = call("list", json!({ "path": ".", "recursive": true }));
    let search = call("search", json!({ "pattern": "bread" }));
    Replies::default()
        .attempt(
            "architect",
            "0.1",
            None,
            &[
                &[
                    list.clone(),
                    write(&document("requirements.md"), REQUIREMENTS),
                    write(&document("design.md"), DESIGN),
                ],
                &[finish("specify lunch")],
            ],
        )
        .attempt(
            "scrum_master",
            "0.2",
            None,
            &[&[read(&document("requirements.md")), write(&document("tasks.md"), PLAN)], &[finish("plan lunch")]],
        )
        .attempt(
            "backend",
            "1",
            None,
            &[
                &[list, read("README.txt"), search],
                &[write("bread/rye.txt", "dark bread\n"), write("bread/wheat.txt", "bread\n")],
                &[
                    edit(&[("bread/rye.txt", "dark", "black"), ("bread/wheat.txt", "bread", "white bread")]),
                    call("remove", json!({ "path": "old/crumbs.txt" })),
                    command("stamp"),
                    read("stamp.txt"),
                ],
                &[edit(&[("bread/rye.txt", "black", "brown")])],
                &[finish("bake bread")],
            ],
        )
        .attempt(
            "frontend",
            "2",
            None,
            &[&[write("cheese.txt", "goat\n")], &[edit(&[("cheese.txt", "goat", "sheep")])], &[finish("make cheese")]],
        )
        .attempt(
            "documentation",
            "3",
            None,
            &[
                &[read("bread/rye.txt"), read("cheese.txt")],
                &[write("menu.txt", "bread and cheese\n")],
                &[finish("write the menu")],
            ],
        )
}

/// Where files need no disk: whoever is killed leaves to the next process all that it has written, on disk or not.
pub(crate) fn fast() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// A repository, a state directory, and a model that remembers what it was asked.
pub(crate) struct Kitchen {
    pub(crate) world: World,
    server: LlmServer,
    job: String,
}

/// Where in the run a request stood, and what it said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    /// Task, attempt and turn.
    pub(crate) at: (String, u32, u32),
    /// The whole request.
    pub(crate) text: String,
}

impl Kitchen {
    pub(crate) fn new() -> Self {
        let files = [("README.txt", "No bread yet\n"), ("necro.toml", SETTINGS), ("old/crumbs.txt", "a few\n")];
        let world = World::below(&fast(), &files);
        let server = LlmServer::scripted(Some(KEY), Script::parse(&replies().text(), "replies.toml").unwrap());
        let job = world.file("job.md", JOB);
        world.grant(&guest("clerk"));
        Self { world, server, job }
    }

    /// `run` of the job.
    pub(crate) fn run(&self) -> Command {
        self.with_model("run", &[&self.job, "--max-parallel", "2"])
    }

    /// `resume`.
    pub(crate) fn resume(&self) -> Command {
        self.with_model("resume", &[])
    }

    fn with_model(&self, name: &str, args: &[&str]) -> Command {
        let mut command = self.world.command(name, args);
        command.args(["--json", "--llm", "chat:m", "--base-url", self.server.base_url()]);
        command.arg("--plugin").arg(format!("spirit={}", guest("clerk").display()));
        command.env("OPENAI_API_KEY", KEY);
        command
    }

    /// All that the model was asked, sorted.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let mut asked: Vec<Asked> = self.server.recorded().iter().map(asked).collect();
        asked.sort();
        asked
    }

    /// What was wrong on the wire.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.server.problems()
    }
}

fn asked(recorded: &Recorded) -> Asked {
    let at = position(recorded).unwrap();
    Asked { at: (at.task.to_string(), at.attempt, at.turn), text: recorded.body.to_string() }
}
