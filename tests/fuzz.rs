//! Every reader of text that people, tools or models write, fed with what nobody would write. A byte of the
//! input stands for a piece of the format, or for itself, so that random bytes get past the first line; the
//! same functions serve an engine that looks for new paths (`tests/README.md` says how to run longer).

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or the test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bolero::check;
use necro_host::domain::id::{AttemptKey, Digest, Instance, SpecName, TaskId, TaskKey};
use necro_host::domain::protocol::{Commit, parse_branch, parse_commit, task_branch};
use necro_host::domain::task::TaskState;
use necro_host::plugin::manifest::Manifest;
use necro_host::service::plugins::lock::LockFile;
use necro_host::spec::diagnostic::MAX_DIAGNOSTICS;
use necro_host::spec::sync::{Base, Changes, States, changes, predict, write};
use necro_host::spec::tasks::{BoxState, TaskFile, reassemble};
use necro_host::spec::tick::{TickError, TickState, tick};
use necro_host::spec::{
    Diagnostic, Requirements, Rules, check_design, check_requirements, check_tasks, config, design, job, plan, steering,
};

/// Inputs of each reader in a short run, unless `BOLERO_RANDOM_ITERATIONS` says otherwise.
const INPUTS: usize = 1_500;
/// No longer than this for each reader, unless `BOLERO_RANDOM_TEST_TIME_MS` says otherwise.
const TIME: Duration = Duration::from_secs(2);
/// Bytes of an input; each may stand for a piece of some twenty bytes.
const MAX_INPUT: usize = 192;

/// Pieces of a plugin.toml and of a necro.lock.
const PLUGINS: &[&str] = &[
    "[plugin]\nname = \"a-b\"\nversion = \"1.2.3\"\nkind = \"spirit\"\n",
    "[plugin]\nname = \"a\"\nversion = \"1.2\"\nkind = \"routing\"\n",
    "description = \"one line\"\n",
    "[wants.llm]\nwhy = \"asks\"\n",
    "[wants.workspace]\nwhy = \"reads\"\n",
    "[wants.log]\n",
    "optional = true\n",
    "models = [\"fast\"]\n",
    "max_tokens = 5\n",
    "read = [\"src/**\", \"a[\"]\n",
    "read = [\"*.rs\"]\n",
    "names = []\n",
    "[limits]\nfuel = 1\n",
    "[limits]\nfuel = 0\n",
    "[settings.a]\ntype = \"integer\"\ndefault = 3\n",
    "[settings.b]\ntype = \"strings\"\none_of = [\"x\"]\n",
    "min = 1\nmax = 9\n",
    "min = nan\n",
    "required = true\n",
    "version = 1\n",
    "version = 2\n",
    "[[plugin]]\nname = \"a\"\nkind = \"routing\"\nsize_bytes = 1\nsource = \"x\"\n",
    "digest = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n",
    "[[grant]]\nplugin = \"a\"\n",
    "[grant.interfaces.llm]\n",
    "[grant.interfaces.workspace]\nread = [\"src/**\"]\n",
    "[grant.limits]\nwall_ms = 7\n",
];

/// Pieces of a tasks.md.
const TASKS: &[&str] = &[
    "- [ ] 1. a\n",
    "- [x] 1.1 b\n",
    "  - [ ]* 1.2 c\n",
    "  - [-] 1.3 d\n",
    "- [ ]\\* 2. e\n",
    "- [~] 2.1 f\r\n",
    "- [X] 3. g\r",
    "- [!] 3.1 h\n",
    "- [✓] 4. i\n",
    "- [] 5. j\n",
    "* [ ] 6. k\n",
    "\t- [x] 1.1.1 l\n",
    "- [ ] 1. again\n",
    "- [ ] 7.3.5a (P) m\n",
    "- [ ] T001 n\n",
    "  - [ ] no number\n",
    "\n",
    "\n\n\n\n\n",
    "  - detail\n",
    "## Task 2\n",
    "# Plan\n",
    "## Tasks\n",
    "## Task Dependency Graph\n",
    "```json\n",
    "```\n",
    "~~~\n",
    "````a`b\n",
    "```json\n{\"waves\":[[\"1\"],[\"1.1\",\"2\"]]}\n```\n",
    "{\"waves\":[[\"1\"],[\"1.1\",\"2\"]]}\n",
    "{\"waves\":[{\"id\":0,\"tasks\":[\"1\",2]}]}\n",
    "{\"waves\":",
    "\u{feff}",
    "  - _Depends: 1, 2.1_\n",
    "  - _Depends: 1-3_\n",
    "  - _Depends:_ none\n",
    "  - **Dependencies**: 7\n",
    "  - _Requirements: 1.1,\n",
    "    2.3_\n",
    "  - _要件：1.1_\n",
    "  - **Validates: Requirements 1.2**\n",
    "  - _Skill: backend_ | _Priority: high_\n",
    "  - _Note: x_\n",
    "  - _filter_tasks()メソッド: y\n",
    "<<<<<<< HEAD\n",
    ">>>>>>> x\n",
    "_",
    "*",
    ": ",
    "[",
    "]",
    " ",
    "- ",
    "1.",
    "x",
    "~",
    "-",
    "\\",
    "`",
    "\r",
    "、",
    "\u{202e}",
];

/// Pieces of a requirements.md, a bugfix.md or a design.md.
const DOCUMENTS: &[&str] = &[
    "# Requirements Document\n",
    "# Bugfix Requirements Document\n",
    "# Design Document\n",
    "## Introduction\n",
    "### Requirement 1: T\n",
    "### Requirement 4A\n",
    "## 2. Title\n",
    "### 需求 1：x\n",
    "### 要件 1\n",
    "- FR-1.1: x SHALL y\n",
    "**User Story:** As a x, I want y\n",
    "#### Acceptance Criteria\n",
    "**Acceptance Criteria:**\n",
    "1. WHEN x THEN THE SYSTEM SHALL y\n",
    "2. IF x\n",
    "   goes on SHALL z\n",
    "1.1 WHEN x THE SYSTEM SHALL y\n",
    "2.1 x SHALL CONTINUE TO y\n",
    "## Bug Analysis\n",
    "### Current Behavior (Defect)\n",
    "### Expected Behavior (Correct)\n",
    "### Unchanged Behavior (Regression Prevention)\n",
    "## Overview\n",
    "## Architecture\n",
    "### Property 1: P\n",
    "*For any* x\n",
    "**Validates: Requirements 1.2**\n",
    "```\n",
    "```mermaid\n",
    "---\n",
    "\n",
    "- x\n",
    "1) y\n",
    "   a) z\n",
    "\r\n",
    "\u{feff}",
    " ",
    "#",
    "1",
    ".",
    ":",
    "：",
    "*",
    "SHALL",
    "しなければならない\n",
];

/// Pieces of a steering document, `.config.kiro` and `spec.json`.
const SETTINGS: &[&str] = &[
    "---\n",
    "---\r\n",
    "...\n",
    "inclusion: always\n",
    "inclusion: fileMatch\n",
    "inclusion: manual\n",
    "inclusion: auto\n",
    "fileMatchPattern: \"**/*.{a,b}\"\n",
    "fileMatchPattern: ['a', \"b,c\"]\n",
    "filePatterns:\n",
    "  - a/*\n",
    "name: n\n",
    "description: d e f\n",
    "#n",
    "#[[file:a/b.md]]\n",
    "#[[file:../x]]\n",
    "#[[file:",
    "]]",
    "\u{feff}",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    ",",
    ":",
    "{\"specId\":\"x\"",
    "\"specType\":\"bugfix\"",
    "\"language\":1",
    "\"phase\":\"p\"",
    "null",
    "a",
    " ",
];

/// Pieces of branches, commits, jobs and numbers.
const NAMES: &[&str] = &[
    "feature/task-",
    "/spirit-",
    "backend",
    "shop",
    "shop-2",
    "-",
    "1",
    "2.1",
    "7a",
    "/",
    ".",
    "..",
    "_",
    "spirit(",
    "): ",
    " [Task ",
    "]",
    "\n",
    "\n\n",
    "Spec: shop\n",
    "Task: 2.1\n",
    "Spirit: backend_spirit_1\n",
    "Attempt: 1\n",
    "Issue: x\n",
    ": ",
    "\r",
    "ü",
    "日本",
    "\u{202e}",
    "\u{200b}",
    " ",
    "# ",
    "a",
    "Z",
    "0",
    "\u{130}",
    "ẞ",
];

/// Bytes from this one on stand for themselves: most of them are no UTF-8.
const RAW: u8 = 0xE8;

/// The text that an input stands for.
fn text(input: &[u8], pieces: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in input {
        match byte {
            RAW.. => out.push(*byte),
            _ => out.extend_from_slice(pieces[usize::from(*byte) % pieces.len()].as_bytes()),
        }
    }
    out
}

/// Feeds a reader.
macro_rules! feed {
    ($pieces:expr, $read:expr) => {
        check!()
            .with_max_len(MAX_INPUT)
            .with_iterations(INPUTS)
            .with_test_time(TIME)
            .for_each(|input: &[u8]| $read(&text(input, $pieces)))
    };
}

fn bounded(found: &[Diagnostic], lines: usize) {
    assert!(found.len() <= MAX_DIAGNOSTICS);
    let last = u32::try_from(lines.max(1)).unwrap();
    assert!(found.iter().all(|found| (1..=last + 1).contains(&found.line)), "{found:?}");
}

/// Lines as every reader counts them.
fn lines(file: &[u8]) -> usize {
    file.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1
}

/// The file without what boxes say.
fn masked(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_owned();
    for task in BTreeSet::from_iter(TaskFile::read(&file).items.into_iter().map(|item| item.id)) {
        if let Ok(open) = tick(&file, &task, TickState::InProgress) {
            file = open;
        }
    }
    file
}

#[test]
fn tasks_are_read_ordered_and_ticked() {
    feed!(TASKS, |file: &[u8]| {
        assert_eq!(reassemble(file).unwrap(), file);
        let read = TaskFile::read(file);
        bounded(&read.diagnostics, lines(file));
        assert_eq!(TaskFile::read(file), read);
        let plan = plan(file);
        bounded(&plan.diagnostics, lines(file));
        let _ = check_tasks(&String::from_utf8_lossy(file), None, Rules::own(Some(&["backend"])));
        let known: BTreeSet<&TaskId> = plan.tasks.iter().map(|task| &task.id).collect();
        assert_eq!(known.len(), plan.tasks.len());
        for task in &plan.tasks {
            assert!(task.depends.iter().all(|on| known.contains(on) && *on != task.id), "{task:?}");
        }
        for item in &read.items {
            let twice = read.items.iter().filter(|other| other.id == item.id).count() > 1;
            match tick(file, &item.id, TickState::Done) {
                Ok(after) => {
                    assert_eq!(masked(&after), masked(file));
                    let now = TaskFile::read(&after);
                    assert_eq!(now.task(&item.id).unwrap().state, BoxState::Done);
                    assert_eq!(
                        tick(&after, &item.id, TickState::Done),
                        Err(TickError::Already { id: item.id.clone() })
                    );
                }
                Err(TickError::Ambiguous { .. }) => assert!(twice),
                Err(TickError::Already { .. }) => assert_eq!(item.state, BoxState::Done),
                Err(error) => panic!("{error}"),
            }
        }
    });
}

/// The registry's states, made of a file's own length and numbers.
fn states(file: &[u8], turn: usize) -> States {
    let ids = TaskFile::read(file).items.into_iter().map(|item| item.id);
    let state = |at: usize| TaskState::ALL[(at + turn + file.len()) % TaskState::ALL.len()];
    ids.enumerate().map(|(at, id)| (id, state(at))).collect()
}

#[test]
fn files_are_brought_in_step_by_their_boxes_alone() {
    feed!(TASKS, |file: &[u8]| {
        let definitions = plan(file).tasks;
        let mut base: Option<Base> = None;
        let mut file = file.to_owned();
        for turn in 0..3 {
            let before = states(&file, turn);
            let changes = changes(base.as_ref(), &file, &definitions, &before);
            assert!(changes.ticked.is_disjoint(&changes.opened));
            let after = predict(&definitions, &before, &changes);
            let new = write(base.as_ref(), &file, &after);
            assert_eq!(masked(&new), masked(&file));
            let agreed = Base::agreed(&new, &after);
            assert_eq!(Base::read(&agreed.to_bytes()).as_ref(), Some(&agreed));
            let again = necro_host::spec::sync::changes(Some(&agreed), &new, &definitions, &after);
            assert_eq!(again, Changes { followed: again.followed.clone(), ..Changes::default() });
            assert_eq!(write(Some(&agreed), &new, &after), new);
            (file, base) = (new, Some(agreed));
        }
    });
}

#[test]
fn any_bytes_are_a_base_or_none() {
    const PIECES: &[&str] =
        &["{\"version\":1,\"boxes\":{", "\"1\":\"x\"", "\"1.1\":\" -\"", ",", "}}", "\"", ":", "x", "2"];
    feed!(PIECES, |bytes: &[u8]| {
        if let Some(base) = Base::read(bytes) {
            assert_eq!(Base::read(&base.to_bytes()), Some(base));
        }
    });
}

#[test]
fn requirements_are_read_to_criteria() {
    feed!(DOCUMENTS, |file: &[u8]| {
        let read = Requirements::read(file);
        bounded(&read.diagnostics, lines(file));
        let all = read.resolve(&["all".to_owned()]);
        assert_eq!(all.criteria.len(), read.criteria().count());
        for criterion in read.criteria() {
            assert!(!criterion.text.is_empty() && criterion.line as usize <= lines(file));
        }
        let text = String::from_utf8_lossy(file);
        for rules in [Rules::foreign(), Rules::own(None)] {
            bounded(&check_requirements(&text, rules), lines(file));
        }
    });
}

#[test]
fn designs_are_cut_to_size_by_their_sections() {
    feed!(DOCUMENTS, |file: &[u8]| {
        let text = String::from_utf8_lossy(file);
        for section in design::sections(&text) {
            assert!(section.level <= 6 && section.line as usize <= lines(text.as_bytes()));
        }
        for budget in [0, 10, 200] {
            assert!(design::extract(&text, "overview of the property", budget).len() <= budget);
        }
        bounded(&check_design(&text, Rules::own(None)), lines(text.as_bytes()));
    });
}

#[test]
fn steering_and_settings_are_read() {
    feed!(SETTINGS, |file: &[u8]| {
        let text = String::from_utf8_lossy(file);
        let read = steering::read("n.md", &text);
        assert!(text.ends_with(&read.text));
        let _ = (read.applies(&["a/b.a"], &text), read.applies(&[], "#n d"));
        let mut asked = 0;
        let with = steering::with_files(&text, |_| {
            asked += 1;
            Err("!".to_owned())
        });
        assert!(asked <= steering::MAX_FILES);
        assert!(with.starts_with(text.split("#[[").next().unwrap()) && with.len() >= text.len());
        let _ = (config::read_kiro(file), config::read_cc_sdd(file));
    });
}

#[test]
fn commits_are_read_back_as_they_were_written() {
    feed!(NAMES, |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        if let Ok(commit) = parse_commit(&text) {
            assert_eq!(parse_commit(&commit.message()), Ok(commit));
        }
        let key = TaskKey { spec: SpecName::new("shop").unwrap(), task: TaskId::new("2.1").unwrap() };
        let spirit = Instance::new("backend_spirit_1").unwrap();
        let (scope, spell) = text.split_at(text.floor_char_boundary(text.len() / 2));
        let issue = (!spell.is_empty()).then_some(spell);
        let commit = Commit::new(scope, spell, AttemptKey { key, attempt: 3 }, spirit, issue);
        assert_eq!(parse_commit(&commit.message()), Ok(commit));
    });
}

#[test]
fn branches_are_read_back_as_they_were_named() {
    feed!(NAMES, |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        let known = ["shop", "shop-2", "2"].map(|name| SpecName::new(name).unwrap());
        let _ = parse_branch(&text, &known);
        let instance = Instance::new("backend_spirit_2").unwrap();
        for spec in &known {
            let key = TaskKey { spec: spec.clone(), task: TaskId::new("2.1").unwrap() };
            for live in [1, 2] {
                let branch = parse_branch(&task_branch(&key, &text, &instance, live), &known).unwrap();
                assert_eq!(branch.key, key);
                assert_eq!(branch.instance, (live == 2).then(|| instance.clone()));
            }
        }
    });
}

#[test]
fn jobs_and_numbers_have_names() {
    feed!(NAMES, |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        let slug = job::slug(&text);
        assert_eq!(job::slug(&slug), slug);
        let digest = Digest::new("ab".repeat(32)).unwrap();
        assert!(SpecName::new(job::spec_name(&text, &digest).to_string()).is_ok());
        assert!(job::title(&text).chars().count() <= 120);
        if let Ok(task) = TaskId::new(text.to_string()) {
            assert_eq!(task.as_str(), text);
            let sorted: BTreeMap<TaskId, ()> = [(task.clone(), ()), (TaskId::new("1").unwrap(), ())].into();
            assert!(sorted.contains_key(&task));
        }
    });
}

#[test]
fn manifests_and_lock_files_are_read_whole_or_refused() {
    feed!(PLUGINS, |text: &[u8]| {
        if let Ok(Ok(manifest)) = std::str::from_utf8(text).map(Manifest::parse) {
            assert!(manifest.asks().keys().all(|interface| manifest.kind.may_import(*interface)));
            let settings = manifest.settings(&serde_json::Map::new());
            let required = manifest.settings.values().any(|setting| setting.required);
            assert_eq!(settings.is_err(), required);
        }
        if let Ok(lock) = LockFile::parse(text) {
            assert_eq!(LockFile::parse(lock.text().as_bytes()).unwrap(), lock);
        }
    });
}
