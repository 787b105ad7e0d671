//! Shapes of task lines and of what stands under them.

use proptest::prelude::*;

use super::*;

fn ids(text: &str) -> Vec<String> {
    TaskFile::read(text.as_bytes()).items.iter().map(|item| item.id.to_string()).collect()
}

fn codes(text: &str) -> Vec<String> {
    TaskFile::read(text.as_bytes()).diagnostics.into_iter().map(|d| d.code).collect()
}

#[test]
fn every_spelling_of_a_task_line_is_read() {
    for (line, id, optional, title) in [
        ("- [ ] 1. Title", "1", false, "Title"),
        ("- [ ] 1 Title", "1", false, "Title"),
        ("- [ ] 2.1 Title", "2.1", false, "Title"),
        ("- [ ] 2.1. Title", "2.1", false, "Title"),
        ("  - [ ] 2.1 Title", "2.1", false, "Title"),
        ("\t- [ ] 2.1 Title", "2.1", false, "Title"),
        ("      - [ ] 7.3.5a Title", "7.3.5a", false, "Title"),
        ("- [ ]* 2.2 Title", "2.2", true, "Title"),
        ("- [ ]\\* 2.2 Title", "2.2", true, "Title"),
        ("- [ ] 2.1 (P) Title", "2.1", false, "Title"),
        ("- [ ] 3a. Title", "3a", false, "Title"),
        ("* [ ] 1. Title", "1", false, "Title"),
        ("-  [ ] 1. Title", "1", false, "Title"),
        ("  - [ ] 3. Title", "3", false, "Title"),
        ("- [ ] 1.", "1", false, ""),
        ("- [ ] 1.1 認証を追加する  ", "1.1", false, "認証を追加する"),
    ] {
        let file = TaskFile::read(line.as_bytes());
        let item = file.items.first().unwrap_or_else(|| panic!("{line:?} is not read"));
        assert_eq!((item.id.as_str(), item.optional, item.title.as_str()), (id, optional, title), "{line:?}");
    }
}

#[test]
fn what_is_no_task_is_not_read_as_one() {
    for line in [
        "- [ ] no number",
        "- [] 1. a",
        "- [ ]1. a",
        "-[ ] 1. a",
        "- [ ] 1.a",
        "- [ ] 3d printing",
        "  - [ ] 5 files exist",
        "- [ ] ~~7.3 struck out~~",
        "1. [ ] 1. a",
        "- [xx] 1. a",
        "- [link](x) 1. a",
        "text - [ ] 1. a",
        "> - [ ] 1. a",
    ] {
        assert_eq!(ids(line), Vec::<String>::new(), "{line:?}");
    }
}

#[test]
fn states_are_told_apart_and_unknown_ones_reported() {
    for (line, state, code) in [
        ("- [ ] 1. a", BoxState::Open, None),
        ("- [-] 1. a", BoxState::InProgress, None),
        ("- [~] 1. a", BoxState::Queued, None),
        ("- [x] 1. a", BoxState::Done, None),
        ("- [X] 1. a", BoxState::Done, Some("tasks/malformed-checkbox")),
        ("- [/] 1. a", BoxState::Unknown, Some("tasks/malformed-checkbox")),
        ("- [✅] 1. a", BoxState::Unknown, Some("tasks/malformed-checkbox")),
    ] {
        let file = TaskFile::read(line.as_bytes());
        assert_eq!(file.items[0].state, state, "{line}");
        assert_eq!(file.diagnostics.first().map(|d| d.code.as_str()), code, "{line}");
    }
}

#[test]
fn findings_name_their_line() {
    for (text, code, line) in [
        ("x\n\n- [ ] 1. a\n- [ ] 1. b", "tasks/duplicate-id", 4),
        ("- [ ] 1. a\n* [ ] 2. b", "tasks/bullet", 2),
        ("- [ ] 1. a\n- [ ] b", "tasks/unnumbered", 2),
        ("- [ ] 1. a\n- [] 2. b", "tasks/malformed-checkbox", 2),
        ("- [ ] 1. a\n  - [ ] 2. b", "tasks/indented-number", 2),
        ("- [ ] 1. a\n- [ ] 2 b", "tasks/number-dot", 2),
        ("- [ ] 1. a\n- [ ] 2.", "tasks/no-title", 2),
        ("- [ ] 1. a\n## Task 2", "tasks/task-heading", 2),
        ("- [ ] T001 [P] a\n- [ ] T002 b\n", "tasks/spec-kit", 1),
        ("# nothing", "tasks/none", 1),
    ] {
        let found = TaskFile::read(text.as_bytes()).diagnostics;
        assert!(found.iter().any(|d| d.code == code && d.line == line), "{text:?}: {found:?}");
    }
    assert_eq!(codes("- [ ] T001 a\n- [ ] T002 b\n").iter().filter(|c| *c == "tasks/spec-kit").count(), 1);
    let long = format!("- [ ] 1{}. a", ".1".repeat(40));
    assert!(codes(&long).contains(&"tasks/bad-id".to_owned()));
}

#[test]
fn text_stands_under_its_task_without_its_metadata() {
    let text = "\
- [ ] 1. Parent
  - parent's detail
  - [ ] 1.1 First



    - detail after blank lines
      - deeper
    - [ ] a sub-item without number
    ```
    - [ ] 9. in a fence
    ```
    - _Requirements: 1.1_
  - of the parent again
- [ ] 2.1 At column 0

  paragraph
  - bullet
### Phase two
prose between tasks
- [ ] 3. c
- bullet at column 0
";
    let file = TaskFile::read(text.as_bytes());
    let texts: Vec<(&str, &str)> = file.items.iter().map(|i| (i.id.as_str(), i.text.as_str())).collect();
    assert_eq!(
        texts,
        [
            ("1", "- parent's detail\n- of the parent again"),
            (
                "1.1",
                "- detail after blank lines\n  - deeper\n- [ ] a sub-item without number\n```\n- [ ] 9. in a fence\n```"
            ),
            ("2.1", "paragraph\n- bullet"),
            ("3", "- bullet at column 0"),
        ]
    );
    assert_eq!(file.items[1].fields.requirement_refs(), ["1.1"]);
    assert_eq!(file.boxes.fenced, 1);
}

#[test]
fn boxes_are_counted_as_they_are_written() {
    let boxes = TaskFile::read(
        b"- [ ] 1. a\n- [x] b\n- [-] 1.1 c\n- [~]* 1.2 d\n- [ ]* 1.3 e\n- [X] 2. f\n```\n- [ ] g\n```\n",
    )
    .boxes;
    let expected = BoxCounts {
        open: 2,
        done: 1,
        in_progress: 1,
        queued: 1,
        other: 1,
        optional_open: 1,
        optional_other: 1,
        fenced: 1,
        rejected_by_kiro: 3,
    };
    assert_eq!(boxes, expected);
}

#[test]
fn a_large_file_is_refused_with_its_reason() {
    let file = TaskFile::read(&vec![b'\n'; super::super::line::MAX_FILE_LINES + 1]);
    assert_eq!(file.diagnostics[0].code, "file/too-large");
    assert!(file.items.is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = super::super::order::plan(&bytes);
    }

    #[test]
    fn any_text_like_tasks_is_read_without_panic(
        text in "(- \\[[ x~-]\\]\\*? |[1-3](\\.[1-3])?\\.? |\n|  |`{3}|_Depends:|_Requirements: |_|[a-z日]|# |\\{\"waves\":\\[\\[\"1\"\\]\\]\\}){0,60}",
    ) {
        let _ = super::super::order::plan(text.as_bytes());
    }
}
