//! `spec check` and `spec tick` on files, without a run.

use std::fs;

use crate::place::Place;

const TASKS: &str = "# Implementation Plan: Shop

## Tasks

- [ ] 1. Make the cart
  - [x] 1.1 Add an item
  - [ ] 1.2 Remove an item
    - _Requirements: 1.1_
- [ ] 2. Write the manual\r
  - _Depends: 1_
";

const REQUIREMENTS: &str = "# Requirements Document

### Requirement 1: Cart

**User Story:** As a buyer, I want a cart, so that I can buy.

#### Acceptance Criteria

1. WHEN an item is added THE SYSTEM SHALL keep it.
";

fn shop(place: &Place) {
    place.write(".kiro/specs/shop/tasks.md", TASKS);
    place.write(".kiro/specs/shop/requirements.md", REQUIREMENTS);
}

#[test]
fn a_sound_spec_passes_by_any_of_its_paths() {
    let place = Place::new();
    shop(&place);
    for path in [".kiro/specs", ".kiro/specs/shop", ".kiro/specs/shop/tasks.md", "."] {
        let report = place.run("", &["spec", "check", path, "--json"]).json();
        assert_eq!(report[0]["spec"], "shop", "{path}");
        assert_eq!(report[0]["mode"], "depends", "{path}");
        assert_eq!(report[0]["tasks"].as_array().unwrap().len(), 4, "{path}");
    }
    let out = place.run("", &["spec", "check"]).done();
    assert!(out.contains("shop: ") && out.contains("1 of 4 boxes ticked"), "{out}");
}

#[test]
fn the_specs_of_the_repository_are_found_from_below_its_root() {
    let place = Place::new();
    place.repository("r", &[(".kiro/specs/shop/tasks.md", TASKS), ("src/deep/a.txt", "")]);
    for folder in ["r", "r/src/deep"] {
        let out = place.run(folder, &["spec", "check"]).done();
        assert!(out.contains("shop: "), "{folder}: {out}");
    }
    place.repository("none", &[("src/a.txt", "")]);
    let out = place.run("none/src", &["spec", "check"]).done();
    assert!(out.contains("none/.kiro/specs: nothing to check"), "{out}");
    place.run("none/src", &["spec", "check", ".kiro/specs"]).refused(2, &["there is no `.kiro/specs`"]);
}

#[test]
fn errors_are_named_by_file_and_line_and_end_with_1() {
    let place = Place::new();
    place.write(".kiro/specs/shop/tasks.md", "# P\n- [ ] 1. a\n  - _Depends: 9_\n");
    place.write(".kiro/specs/loop/tasks.md", "# P\n- [ ] 1. a\n  - _Depends: 2_\n- [ ] 2. b\n  - _Depends: 1_\n");
    let ended = place.run("", &["spec", "check"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.contains("shop/tasks.md:3: error: "), "{ended:?}");
    assert!(ended.out.contains("loop/tasks.md:") && ended.out.contains("1 error"), "{ended:?}");
    let one = place.run("", &["spec", "check", ".kiro/specs/loop", "--json"]);
    assert_eq!(one.code, Some(1), "{one:?}");
    let report: serde_json::Value = serde_json::from_str(&one.out).unwrap();
    assert_eq!(report.as_array().unwrap().len(), 1);
    assert_eq!(report[0]["diagnostics"][0]["severity"], "error");
}

#[test]
fn nothing_to_check_is_said_and_a_slip_is_refused() {
    let place = Place::new();
    let out = place.run("", &["spec", "check"]).done();
    assert!(out.contains("there are no specs in .kiro/specs"), "{out}");
    place.write("docs/notes.md", "x");
    assert!(place.run("", &["spec", "check", "docs"]).done().contains("there are no specs in docs"));
    assert_eq!(place.run("", &["spec", "check", "docs", "--json"]).done(), "[]\n");
    place.run("", &["spec", "check", "dosc"]).refused(2, &["there is no `dosc`"]);
    place.run("", &["spec", "check", "docs/notes.md"]).refused(2, &["tasks.md"]);
}

#[test]
fn text_of_a_spec_cannot_steer_the_terminal() {
    let place = Place::new();
    place.write(".kiro/specs/x/tasks.md", "# P\n- [ ] 1. a\n  - _Depends: \u{1b}[2J9_\n");
    let ended = place.run("", &["spec", "check"]);
    assert!(!ended.out.contains('\u{1b}') && !ended.err.contains('\u{1b}'), "{ended:?}");
}

#[test]
fn a_tick_changes_the_boxes_that_it_names_and_no_other_byte() {
    let place = Place::new();
    shop(&place);
    let path = place.path(".kiro/specs/shop/tasks.md");
    let out = place.run("", &["spec", "tick", ".kiro/specs/shop", "1.2"]).done();
    assert!(out.starts_with("ticked 1, 1.2 in "), "{out}");
    let ticked = TASKS.replace("- [ ] 1. Make", "- [x] 1. Make").replace("- [ ] 1.2", "- [x] 1.2");
    assert_eq!(fs::read_to_string(&path).unwrap(), ticked);
    let out = place.run("", &["spec", "tick", path.to_str().unwrap(), "1.2"]).done();
    assert!(out.contains("ticked already"), "{out}");
    assert_eq!(fs::read_to_string(&path).unwrap(), ticked);
    place.run("", &["spec", "tick", ".kiro/specs/shop", "1.2", "--undo"]).done();
    assert_eq!(fs::read_to_string(&path).unwrap(), ticked.replace("- [x] 1.2", "- [ ] 1.2"));
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[cfg(unix)]
#[test]
fn a_tick_keeps_permissions() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    shop(&place);
    let path = place.path(".kiro/specs/shop/tasks.md");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    place.run("", &["spec", "tick", ".kiro/specs/shop", "2"]).done();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_task_that_is_not_there_is_answered_with_those_that_are() {
    let place = Place::new();
    shop(&place);
    let tick = |task: &str| place.run("", &["spec", "tick", ".kiro/specs/shop", task]);
    tick("7").refused(2, &["there is no task 7", "1, 1.1, 1.2, 2"]);
    tick("x").refused(2, &["`x` is not a task id"]);
    place.run("", &["spec", "tick", "nowhere", "1"]).refused(2, &["there is no `nowhere`"]);
    assert_eq!(fs::read_to_string(place.path(".kiro/specs/shop/tasks.md")).unwrap(), TASKS);
}
