//! Tables over titles and names.

use necro_sdk::review::change_of;

use super::*;

fn rules(title: &str, settings: &str) -> Vec<String> {
    let change = Change { commit_title: title.into(), ..change_of("qa", "") };
    CommitForm::review(&change, &Settings::new(settings)).unwrap().into_iter().map(|f| f.rule).collect()
}

#[test]
fn titles_that_say_what_was_done_pass() {
    for title in [
        "store books as text files",
        "Specify the spellbook search",
        "search by words, school and level",
        "show hits as a table",
        "test the way from book to table",
        "いちばん近い名前を提案する",
        "README を更新する",
        "fix the rounding of half a cent",
        "update the price list's reader",
        "read price lists",
        "handle `spirit(` in commit subjects",
        "wait for the answer...",
    ] {
        assert_eq!(rules(title, ""), [""; 0], "{title}");
    }
}

#[test]
fn each_slip_is_named_by_its_rule() {
    for (title, rule) in [
        ("", EMPTY),
        ("  \u{200b} … ", EMPTY),
        ("add search\nand more", LINES),
        ("add search\u{2028}and more", LINES),
        ("spirit(search): add search", FRAME),
        ("add search [Task 2.1]", FRAME),
        ("feat(search): add search", FRAME),
        ("fix!: add search", FRAME),
        ("wip", NOTHING),
        ("WIP: search", NOTHING),
        ("Update", NOTHING),
        ("update files", NOTHING),
        ("minor fixes", NOTHING),
        ("Task 3", NOTHING),
        ("completed the task", NOTHING),
        ("修正", NOTHING),
        ("fixup! add search", NOTHING),
        ("add search.", PERIOD),
        ("検索を加える。", PERIOD),
        ("add a search that finds spells by name and by school and by level and by words too", TOO_LONG),
    ] {
        assert_eq!(rules(title, ""), [rule], "{title:?}");
    }
}

#[test]
fn the_length_can_be_set_and_misspelt_settings_are_an_error() {
    assert_eq!(rules("あいうえお", r#"{"max_chars":5}"#), [""; 0]);
    assert_eq!(rules("あいうえおか", r#"{"max_chars":5}"#), [TOO_LONG]);
    assert!(CommitForm::review(&change_of("qa", ""), &Settings::new(r#"{"chars":5}"#)).is_err());
}

#[test]
fn names_that_make_no_branch_are_told() {
    let judge = |spec: &str, task: &str, instance: &str| {
        let change = Change { spec: spec.into(), task: task.into(), instance: instance.into(), ..change_of("qa", "") };
        branch(&change).len()
    };
    for (spec, task, instance, count) in [
        ("login", "2.1", "qa_spirit_1", 0),
        ("ログイン", "2a", "qa_spirit_12", 0),
        ("a..b", "1", "qa_spirit_1", 1),
        ("a b", "1", "qa_spirit_1", 1),
        ("x.lock", "1", "qa_spirit_1", 1),
        ("login", "one", "qa_spirit_1", 1),
        ("login", "1..2", "qa_spirit_1", 1),
        ("login", "1", "backend_spirit_1", 1),
        ("login", "1", "qa", 1),
        ("", "", "", 3),
    ] {
        assert_eq!(judge(spec, task, instance), count, "{spec} {task} {instance}");
    }
}

#[test]
fn every_rule_is_described() {
    let described: Vec<String> = CommitForm::describe().rules.into_iter().map(|r| r.id).collect();
    assert_eq!(described, [EMPTY, TOO_LONG, LINES, FRAME, NOTHING, PERIOD, BRANCH]);
}
